//! One module for each subcommand; the only code that prints.

use crate::cli::Secrets;
use crate::rules::ConfigFile;

pub mod checkpoint;
pub mod debug;
pub mod demo;
pub mod plan;
pub mod run;
pub mod status;
mod table;

/// What no flag carries.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Secrets from variables and files.
    pub secrets: Secrets,
    /// Rules from the config file.
    pub file: ConfigFile,
    /// `RUST_LOG`.
    pub log_filter: Option<String>,
}
