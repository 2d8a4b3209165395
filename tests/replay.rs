//! What the fuzz targets start from and what they have found, through their own entry functions.

#![expect(clippy::indexing_slicing, reason = "a test stops at the first surprise")]

use std::path::Path;
use std::{fs, panic};

#[expect(unreachable_pub, reason = "a library of its own for the fuzz targets")]
#[path = "../fuzz/src/targets/mod.rs"]
mod targets;

use targets::{AVRO_BODY, JSON_ENVELOPE, TARGETS};

#[test]
fn captured_records_hold_every_invariant_and_make_rows() {
    for target in TARGETS {
        let rows = (target.seeds)().iter().map(|(_, seed)| (target.run)(seed)).sum::<usize>();
        assert!(rows > 0, "no seed of {} is a row", target.name);
    }
}

#[test]
fn each_way_of_a_row_is_among_the_seeds() {
    for (target, name) in [
        (JSON_ENVELOPE, "json/log-INSERT"),
        (JSON_ENVELOPE, "json/log-DELETE"),
        (JSON_ENVELOPE, "plain/log-UPDATE"),
        (JSON_ENVELOPE, "json/orders-create"),
        (JSON_ENVELOPE, "plain/orders-create"),
        (JSON_ENVELOPE, "events/json-keyless-update"),
        (JSON_ENVELOPE, "events/plain-keyless-delete"),
        (AVRO_BODY, "events/avro-keyless-update"),
        (AVRO_BODY, "avro/log-INSERT"),
        (AVRO_BODY, "avro/log-DELETE"),
        (AVRO_BODY, "apicurio/four-bytes-create"),
        (AVRO_BODY, "apicurio/eight-bytes-create"),
        (AVRO_BODY, "apicurio/eight-bytes-delete"),
        (AVRO_BODY, "apicurio/header-global-update"),
        (AVRO_BODY, "apicurio/header-content-update"),
    ] {
        let seeds = (target.seeds)();
        let seed = seeds.iter().find(|(it, _)| it == name).map(|(_, seed)| seed);
        let rows = seed.map(|seed| (target.run)(seed));
        assert!(rows.is_some_and(|rows| rows > 0), "{name} makes no row: {rows:?}");
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
