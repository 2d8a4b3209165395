//! One module for each subcommand; the only code that prints.

use crate::cli::Secrets;
use crate::rules::ConfigFile;

pub mod checkpoint;
pub mod dead_letters;
pub mod debug;
pub mod demo;
mod look;
mod peek;
pub mod plan;
pub mod run;
pub mod status;
mod table;
mod trial;

/// Says something to the person at the terminal, beside the data on standard output.
#[expect(clippy::print_stderr, reason = "talk goes to standard error")]
pub(crate) fn say(line: impl std::fmt::Display) {
    eprintln!("{line}");
}

/// What no flag carries.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Secrets from variables and files.
    pub secrets: Secrets,
    /// Rules from the config file.
    pub file: ConfigFile,
    /// `RUST_LOG`.
    pub log_filter: Option<String>,
    /// The operator, for the audit.
    pub actor: Option<String>,
}

impl Context {
    /// Names who acts, in the audit.
    fn actor(&self) -> &str {
        self.actor.as_deref().unwrap_or("consumer")
    }
}
