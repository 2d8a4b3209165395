#![no_main]

use afterimage_fuzz::plant;
use afterimage_fuzz::targets::KEY;

libfuzzer_sys::fuzz_target!(init: plant(&KEY), |bytes: &[u8]| {
    _ = (KEY.run)(bytes);
});
