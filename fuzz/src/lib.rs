//! What the fuzz targets share: their entry functions, and the way of the seeds to libFuzzer.

use std::fs;
use std::path::Path;

use targets::Target;

pub mod targets;

/// Writes a target's seeds where libFuzzer looks for them; it asks before it reads its corpus.
pub fn plant(target: &Target) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    fs::create_dir_all(&folder).expect("the corpus has a folder");
    for (number, seed) in (target.seeds)().iter().enumerate() {
        fs::write(folder.join(format!("seed-{number}")), seed).expect("a seed is written");
    }
}
