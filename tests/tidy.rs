//! Rules about the tree that no compiler checks.
//!
//! Textual on purpose: a mention in a comment counts, because whoever reads it looks for the code.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::path::{Path, PathBuf};

use afterimage::cli;
use afterimage::refused::Reason;
use afterimage::settings::REFUSED;
use afterimage::status::PartitionState;
use afterimage::stopped::StopReason;
use afterimage::telemetry::{METRICS, RETRY_REASONS};

const LINES_MAX: usize = 500;

/// A crate, and where alone it may be named.
const HOMES: [(&str, &[&str]); 4] = [
    ("rdkafka::", &["src/kafka/"]),
    ("sqlx::", &["src/target/", "src/demo"]),
    ("apache_avro", &["src/decode/schema/avro.rs", "src/demo"]),
    ("schema_registry_converter", &["src/decode/", "src/demo"]),
];

/// What makes a tree of JSON: its type, a reader whose result nobody names, and Avro's trees.
const TREES: [&str; 5] = [
    "serde_json::Value",
    "serde_json::{",
    "serde_json::from_slice(",
    "serde_json::from_str(",
    "avro::tree",
];

/// Where alone the decoder may have trees: a schema is one, as is a record that people look at, or
/// the key of one that the target is asked about.
const TREE_HOMES: [&str; 6] = [
    "src/decode/schema/",
    "src/decode/inspect.rs",
    "src/decode/departed.rs",
    "src/decode/avro/tree.rs",
    "src/decode/testing.rs",
    "src/decode/tests/",
];

/// Returns the Rust files below a folder of the package, with their texts.
fn sources(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut found) = (vec![root.join(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap();
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name: PathBuf = path.strip_prefix(root).unwrap().to_owned();
                found.push((name.to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {folder}");
    found
}

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// Fails with all that README lacks.
fn told(what: &str, names: impl Iterator<Item = String>) {
    let readme = readme();
    let missing: Vec<String> =
        names.map(|name| format!("`{name}`")).filter(|name| !readme.contains(name)).collect();
    assert!(missing.is_empty(), "README.md lacks {what}: {}", missing.join(" "));
}

#[test]
fn a_foreign_crate_is_named_only_in_its_home() {
    let mut strays = Vec::new();
    for (file, text) in sources("src") {
        for (name, homes) in HOMES {
            if text.contains(name) && !homes.iter().any(|home| file.starts_with(home)) {
                strays.push(format!("{file} names {name}"));
            }
        }
    }
    assert!(strays.is_empty(), "{}", strays.join("\n"));
}

#[test]
fn a_row_goes_its_way_without_trees() {
    let (mut strays, mut homes) = (Vec::new(), 0);
    for (file, text) in sources("src/decode") {
        let trees = TREES.iter().filter(|tree| text.contains(**tree));
        match TREE_HOMES.iter().any(|home| file.starts_with(home)) {
            true => homes += trees.count(),
            false => strays.extend(trees.map(|tree| format!("{file} names {tree}"))),
        }
    }
    assert!(strays.is_empty(), "{}", strays.join("\n"));
    assert!(homes > TREES.len(), "the names are still those that the trees have");
}

#[test]
fn a_file_can_be_held_in_mind() {
    let files = sources("src").into_iter().chain(sources("tests"));
    let long: Vec<String> = files
        .map(|(file, text)| (file, text.lines().count()))
        .filter(|(_, count)| *count > LINES_MAX)
        .map(|(file, count)| format!("{file}: {count} lines"))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn readme_names_every_flag_with_its_variable() {
    told("flags", cli::flags().into_iter().map(|flag| format!("--{}", flag.name)));
    told("variables", cli::flags().into_iter().filter_map(|flag| flag.variable));
    let secrets = ["TARGET_DATABASE_PASSWORD", "SCHEMA_REGISTRY_USER", "SCHEMA_REGISTRY_PASSWORD"];
    let secrets = secrets.into_iter().chain(["KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"]);
    let secrets = secrets.chain(["KAFKA_SASL_TOKEN", "SCHEMA_REGISTRY_TOKEN"]);
    told("secrets", secrets.map(str::to_owned));
    told("refused properties", REFUSED.iter().map(|(key, _)| (*key).to_owned()));
}

#[test]
fn readme_names_every_metric() {
    told("metrics", METRICS.iter().map(|metric| metric.name.to_owned()));
}

#[test]
fn readme_names_every_reason_and_state() {
    told("stop reasons", StopReason::ALL.iter().map(|reason| reason.name().to_owned()));
    told("dead-letter reasons", Reason::ALL.iter().map(|reason| reason.name().to_owned()));
    told("retry reasons", RETRY_REASONS.iter().map(|reason| (*reason).to_owned()));
    told("states", PartitionState::NAMES.iter().map(|name| (*name).to_owned()));
}
