#![no_main]

use afterimage_fuzz::plant;
use afterimage_fuzz::targets::JSON_ENVELOPE;

libfuzzer_sys::fuzz_target!(init: plant(&JSON_ENVELOPE), |bytes: &[u8]| {
    _ = (JSON_ENVELOPE.run)(bytes);
});
