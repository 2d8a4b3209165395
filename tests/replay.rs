//! What the fuzz targets start from and what they have found, through their own entry functions.

#![expect(clippy::indexing_slicing, reason = "a test stops at the first surprise")]

use std::path::Path;
use std::{fs, panic};

#[expect(unreachable_pub, reason = "a library of its own for the fuzz targets")]
#[path = "../fuzz/src/targets/mod.rs"]
mod targets;

use targets::TARGETS;

#[test]
fn captured_records_hold_every_invariant_and_make_rows() {
    for target in TARGETS {
        let rows = (target.seeds)().iter().map(|seed| (target.run)(seed)).sum::<usize>();
        assert!(rows > 0, "no seed of {} is a row", target.name);
    }
}

#[test]
fn what_was_found_holds_every_invariant() {
    for target in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/finds").join(target.name);
        // A target that has found nothing has no folder.
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            let find = fs::read(&path).expect("a find");
            let replayed = panic::catch_unwind(|| (target.run)(&find));
            assert!(replayed.is_ok(), "{} breaks an invariant again", path.display());
        }
    }
}
