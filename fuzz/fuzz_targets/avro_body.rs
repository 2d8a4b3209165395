#![no_main]

use afterimage_fuzz::plant;
use afterimage_fuzz::targets::AVRO_BODY;

libfuzzer_sys::fuzz_target!(init: plant(&AVRO_BODY), |bytes: &[u8]| {
    _ = (AVRO_BODY.run)(bytes);
});
