#![no_main]

use afterimage_fuzz::plant;
use afterimage_fuzz::targets::HEADERS;

libfuzzer_sys::fuzz_target!(init: plant(&HEADERS), |bytes: &[u8]| {
    _ = (HEADERS.run)(bytes);
});
