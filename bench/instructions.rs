//! Decodes records in one format, for `valgrind --tool=callgrind` to count: `instructions FORMAT COUNT`.
//!
//! Two counts tell what a record costs without what comes before the first one.

use std::hint::black_box;

use anyhow::Context as _;

mod path;

use path::{Format, Path};

/// Records of a run, which is made once and decoded again.
const RUN: i64 = 100;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [format, count] = arguments.as_slice() else {
        anyhow::bail!("usage: instructions FORMAT COUNT");
    };
    let format =
        Format::ALL.into_iter().find(|it| it.name() == format).context("no such format")?;
    let run = path::records(format, 0..RUN)?;
    let mut path = Path::new(format)?;
    for _ in 0..count.parse::<i64>()? / RUN {
        path.fill(black_box(&run))?;
    }
    black_box(path.batch.row_count());
    Ok(())
}
