//! The judge: `tests/compare.py`, which shares no code with the program.

use std::process::Command;
use std::time::Duration;

use crate::support::within;

/// What the judge found.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// 0 equal, 1 different, 2 could not look.
    pub(crate) code: i32,
    /// What it printed.
    pub(crate) report: String,
}

/// Compares tables of two databases, of which the source is PostgreSQL and the target that or a
/// SQLite file; each is `TABLE` or `TABLE=TARGET_TABLE`. When the rows were written does not count.
pub(crate) fn compare(source: &str, target: &str, tables: &[String]) -> Verdict {
    let target = match target.strip_prefix("sqlite://") {
        Some(file) => ["--sqlite", file],
        None => ["--target", target],
    };
    let output = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compare.py"))
        .args(["--source", source, "--exclude-column", "synced_at"])
        .args(target)
        .args(tables)
        .output()
        .unwrap();
    let report = [output.stdout, output.stderr].concat();
    Verdict {
        code: output.status.code().unwrap_or(-1),
        report: String::from_utf8_lossy(&report).into_owned(),
    }
}

/// Waits until the judge finds the tables equal; panics with its last report when it does not.
pub(crate) fn until_equal(deadline: Duration, source: &str, target: &str, tables: &[String]) {
    let mut report = String::new();
    let equal = within(deadline, || {
        let verdict = compare(source, target, tables);
        report = verdict.report;
        verdict.code == 0
    });
    assert!(equal, "source and target are not equal within {deadline:?}:\n{report}");
}
