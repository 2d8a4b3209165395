//! The DDL that would run, from the topics' newest schemas; nothing is run.

use std::io::Write;
use std::process::ExitCode;

use anyhow::bail;

use crate::cli::PlanArgs;
use crate::commands::Context;
use crate::settings::{Problems, Registry, Tables, TargetAddress};
use crate::target::Dialect;

/// Prints the statements, each with its semicolon.
pub async fn run(
    args: PlanArgs,
    context: &Context,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let mut problems = Problems::default();
    let address = problems.collect(TargetAddress::required(&args.target, &context.secrets));
    let registry = problems.collect(Registry::new(&args.registry, &context.secrets));
    let tables = problems.collect(Tables::new(&args.tables, &context.file));
    let (Some(address), Some(_registry), Some(_tables)) = (address, registry, tables) else {
        return Err(problems.into());
    };
    let dialect = dialect(&address)?;
    if args.bootstrap {
        print(&(dialect.bootstrap)(), out)?;
    }
    print(&tables_missing().await?, out)?;
    Ok(ExitCode::SUCCESS)
}

fn print(statements: &[String], out: &mut impl Write) -> anyhow::Result<()> {
    for statement in statements {
        writeln!(out, "{};\n", statement.trim_end().trim_end_matches(';'))?;
    }
    Ok(())
}

/// SEAM: `Postgres::DIALECT` or `Sqlite::DIALECT`, once the two are there.
fn dialect(address: &TargetAddress) -> anyhow::Result<Dialect> {
    bail!("the plan for {address} waits for the target")
}

/// SEAM: for each topic its newest record, `decode::inspect` for its source table, `mapping` for the
/// target's side, and the change that this would make, once they are there.
#[expect(clippy::unused_async, reason = "the log and the target are asked in this one's place")]
async fn tables_missing() -> anyhow::Result<Vec<String>> {
    Ok(Vec::new())
}
