//! The service.

use std::process::ExitCode;

use crate::cli::RunArgs;
use crate::commands::Context;
use crate::settings::Settings;

/// Runs until it is told to stop.
#[expect(clippy::unused_async, reason = "the lead's module takes this one's place")]
pub async fn run(args: RunArgs, context: Context) -> anyhow::Result<ExitCode> {
    let settings = Settings::new(&args, &context.secrets, &context.file)?;
    anyhow::bail!("target {} waits for the pipeline", settings.target)
}
