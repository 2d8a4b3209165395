//! What the fuzz targets share: their entry functions, and the way of the seeds to libFuzzer.

use std::fs;
use std::path::Path;

use targets::Target;

pub mod targets;

/// Writes a target's seeds where libFuzzer looks for them; it asks before it reads its corpus.
pub fn plant(target: &Target) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    fs::create_dir_all(&folder).expect("the corpus has a folder");
    for (name, seed) in (target.seeds)() {
        let file = format!("seed-{}", name.replace('/', "-"));
        fs::write(folder.join(file), seed).expect("a seed is written");
    }
}
