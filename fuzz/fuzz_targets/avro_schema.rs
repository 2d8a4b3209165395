#![no_main]

use afterimage_fuzz::plant;
use afterimage_fuzz::targets::AVRO_SCHEMA;

libfuzzer_sys::fuzz_target!(init: plant(&AVRO_SCHEMA), |bytes: &[u8]| {
    _ = (AVRO_SCHEMA.run)(bytes);
});
