//! One module for each subcommand; the only code that prints.

pub mod demo;
