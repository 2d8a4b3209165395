//! Soon.
use crate::cli::PlanArgs;
use crate::commands::Context;
use std::io::Write;
use std::process::ExitCode;
/// Soon.
#[expect(clippy::unused_async, reason = "soon")]
pub async fn run(
    _args: PlanArgs,
    _context: &Context,
    _out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    anyhow::bail!("soon")
}
