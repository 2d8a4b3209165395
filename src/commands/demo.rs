//! Everything in one process.

use std::process::ExitCode;

use crate::cli::DemoArgs;

/// Shows rows arriving, then proves source and target equal.
#[expect(clippy::unused_async, reason = "the demo's module takes this one's place")]
pub async fn run(_args: DemoArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("the demo waits for its module")
}
