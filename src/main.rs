//! The program: parse, dispatch, report.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use afterimage::cli::{self, Command, Environment, Invocation, Refused};
use afterimage::commands;
use afterimage::memory;
use afterimage::panics;
use afterimage::settings::{LogFormat, Problems};
use afterimage::telemetry;

fn main() -> ExitCode {
    panics::end_the_process();
    memory::give_back_large_buffers();
    let args: Vec<OsString> = std::env::args_os().collect();
    let invocation = match cli::parse(&args, &Environment::of_process()) {
        Ok(invocation) => invocation,
        // Prints help where it was asked for, and ends with 0 or 2.
        Err(Refused::Usage(usage)) => usage.exit(),
        Err(Refused::Written(problems)) => return report(&problems.into()),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return report(&error.into()),
    };
    let code = runtime.block_on(dispatch(invocation)).unwrap_or_else(|error| report(&error));
    // A client that waits for brokers which are away may block its thread for longer than anybody
    // waits for a process to end.
    runtime.shutdown_background();
    code
}

async fn dispatch(asked: Invocation) -> anyhow::Result<ExitCode> {
    let Invocation { command, secrets, file, log_filter, actor } = asked;
    // The service and the demo choose the log's form and level by themselves.
    if !matches!(command, Command::Run(_) | Command::Demo(_)) {
        telemetry::install_log(LogFormat::Text, log_filter.as_deref(), "warn");
    }
    let context = commands::Context { secrets, file, log_filter, actor };
    let out = &mut io::stdout().lock();
    match command {
        Command::Run(args) => Box::pin(commands::run::run(*args, context)).await,
        Command::Demo(args) => Box::pin(commands::demo::run(args, &context, out)).await,
        Command::Debug(what) => Box::pin(commands::debug::run(what, &context, out)).await,
        Command::Status(args) => Box::pin(commands::status::run(args, &context, out)).await,
        Command::Plan(args) => Box::pin(commands::plan::run(*args, &context, out)).await,
        Command::DeadLetters(what) => {
            Box::pin(commands::dead_letters::run(what, &context, out)).await
        }
        Command::Checkpoint(what) => Box::pin(commands::checkpoint::run(what, &context, out)).await,
    }
}

#[expect(clippy::print_stderr, reason = "the log subscriber may not be installed yet")]
fn report(error: &anyhow::Error) -> ExitCode {
    let is_closed_pipe = |cause: &(dyn std::error::Error + 'static)| {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        kind == Some(io::ErrorKind::BrokenPipe)
    };
    // The reader of a listing has seen enough, as `head` has.
    if error.chain().any(is_closed_pipe) {
        return ExitCode::SUCCESS;
    }
    match error.downcast_ref::<Problems>() {
        Some(problems) => problems.iter().for_each(|problem| eprintln!("error: {problem}")),
        None => eprintln!("error: {error:#}"),
    }
    ExitCode::from(2)
}
