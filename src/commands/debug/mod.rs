//! Looking at topics, records and the target's tables; nothing is written anywhere.

use std::io::Write;
use std::process::ExitCode;

use crate::cli::DebugCommand;
use crate::commands::Context;

pub(crate) mod decoded;
pub(crate) mod messages;
mod rows;
mod topics;

/// Shows what is asked for.
pub async fn run(
    what: DebugCommand,
    context: &Context,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    match what {
        DebugCommand::Topics(args) => topics::run(&args, context, out).await?,
        DebugCommand::Messages(args) => Box::pin(messages::run(&args, context, out)).await?,
        DebugCommand::Target(args) => rows::run(&args, context, out).await?,
    }
    Ok(ExitCode::SUCCESS)
}
