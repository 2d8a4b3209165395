//! Flags over variables, variables over the file, the file over defaults.
//!
//! The variables and the file become the defaults of a second parse: clap then decides, and nothing
//! reads the process's environment but [`Environment::of_process`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::{Arg, Command as ClapCommand, CommandFactory, FromArgMatches};

use crate::cli::{Cli, Command};
use crate::rules::ConfigFile;
use crate::settings::{BearerToken, Problems, Secret};

/// What was asked for, with all that was written in any place.
#[derive(Debug)]
pub struct Invocation {
    /// What to do.
    pub command: Command,
    /// What no flag carries.
    pub secrets: Secrets,
    /// The rules for tables and sources; its `[run]` part is already in the flags.
    pub file: ConfigFile,
    /// `RUST_LOG`.
    pub log_filter: Option<String>,
    /// Who has called, as the login shell says it: `USER` or `LOGNAME`.
    pub actor: Option<String>,
}

/// Secrets that have no flag.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// `TARGET_DATABASE_PASSWORD`.
    pub target_password: Option<Secret>,
    /// `TARGET_DATABASE_PASSWORD_FILE`, where the password is from there.
    pub target_password_file: Option<PathBuf>,
    /// `SCHEMA_REGISTRY_USER`.
    pub registry_user: Option<Secret>,
    /// `SCHEMA_REGISTRY_PASSWORD`.
    pub registry_password: Option<Secret>,
    /// `SCHEMA_REGISTRY_TOKEN`.
    pub registry_token: Option<BearerToken>,
    /// `KAFKA_SASL_USERNAME`.
    pub sasl_username: Option<Secret>,
    /// `KAFKA_SASL_PASSWORD`.
    pub sasl_password: Option<Secret>,
    /// `KAFKA_SASL_TOKEN`.
    pub sasl_token: Option<BearerToken>,
}

/// Why nothing can be run.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Wrong usage, or a call for help or for the version.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// Files that cannot be read or that say what they must not.
    #[error(transparent)]
    Written(#[from] Problems),
}

/// The variables that the process was started with.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Reads the process's own variables; those that are no UTF-8 are left out.
    pub fn of_process() -> Self {
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// Takes given variables.
    pub fn of(variables: impl IntoIterator<Item = (&'static str, &'static str)>) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self(variables.into_iter().map(owned).collect())
    }

    /// Returns a variable's value; one that is set to nothing counts as not set, as compose files
    /// leave it.
    fn find(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Returns a secret from the variable, or from the file that `NAME_FILE` names.
    fn secret(&self, name: &str, problems: &mut Problems) -> Option<Secret> {
        self.take(name, problems, Secret::from_file, |text| Ok(Secret::new(text)))
    }

    /// Returns where a bearer token comes from, which must be there now.
    fn token(&self, name: &str, problems: &mut Problems) -> Option<BearerToken> {
        let checked = |token: BearerToken| token.read().map(|_| token);
        let in_file = |path: &Path| checked(BearerToken::File(path.to_owned()));
        self.take(name, problems, in_file, |text| checked(BearerToken::Given(Secret::new(text))))
    }

    /// Takes a secret from where it is; no more than one place may have it.
    fn take<T>(
        &self,
        name: &str,
        problems: &mut Problems,
        in_file: impl FnOnce(&Path) -> Result<T, String>,
        in_variable: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let file_name = format!("{name}_FILE");
        let (key, taken) = match (self.find(name), self.find(&file_name)) {
            (None, None) => return None,
            (Some(text), None) => (name, in_variable(text)),
            (None, Some(path)) => (file_name.as_str(), in_file(Path::new(path))),
            (Some(_), Some(_)) => {
                (name, Err(format!("is set, and {file_name} as well: one of them must go")))
            }
        };
        taken.map_err(|rule| problems.add(key, rule)).ok()
    }
}

impl Secrets {
    fn read(environment: &Environment, problems: &mut Problems) -> Self {
        Self {
            target_password: environment.secret("TARGET_DATABASE_PASSWORD", problems),
            target_password_file: environment
                .find("TARGET_DATABASE_PASSWORD_FILE")
                .map(PathBuf::from),
            registry_user: environment.secret("SCHEMA_REGISTRY_USER", problems),
            registry_password: environment.secret("SCHEMA_REGISTRY_PASSWORD", problems),
            registry_token: environment.token("SCHEMA_REGISTRY_TOKEN", problems),
            sasl_username: environment.secret("KAFKA_SASL_USERNAME", problems),
            sasl_password: environment.secret("KAFKA_SASL_PASSWORD", problems),
            sasl_token: environment.token("KAFKA_SASL_TOKEN", problems),
        }
    }
}

/// Makes one invocation of the arguments (the program's name first), the variables and the config
/// file that they name.
///
/// # Errors
/// [`Refused::Usage`] also carries the text of `--help` and `--version`.
pub fn parse(args: &[OsString], environment: &Environment) -> Result<Invocation, Refused> {
    let command = Cli::command().mut_args(hide_value).mut_subcommands(hide_values);
    // Answers calls for help, which names the variables; clap reads them here, also where one that is
    // set to nothing counts as not set, so no other complaint counts.
    let help = command.clone().try_get_matches_from(args).err();
    if let Some(help) = help.filter(|answer| !answer.use_stderr()) {
        return Err(help.into());
    }
    // Finds wrong flags before any file.
    layered(command.clone(), &|_| None).try_get_matches_from(args)?;

    let mut problems = Problems::default();
    let target = environment.secret("TARGET_DATABASE_URL", &mut problems);
    let from_variables = |arg: &Arg| -> Option<Vec<String>> {
        if arg.get_id() == "target" {
            return target.as_ref().map(|url| vec![url.expose().to_owned()]);
        }
        let name = arg.get_env()?.to_str()?;
        let value = match arg.get_id().as_str() {
            // Set to nothing it means "none".
            "synced_at_column" => environment.0.get(name).map(String::as_str),
            _ => environment.find(name),
        }?;
        Some(split(arg, value))
    };

    let first = layered(command.clone(), &from_variables).try_get_matches_from(args)?;
    let file = match config_path(&first) {
        Some(path) => read_file(&path, &mut problems),
        None => ConfigFile::default(),
    };
    let secrets = Secrets::read(environment, &mut problems);
    problems.into_result()?;

    let from_both =
        |arg: &Arg| from_variables(arg).or_else(|| file.run.get(arg.get_id().as_str()).cloned());
    let matches = layered(command, &from_both).try_get_matches_from(args)?;
    let cli = Cli::from_arg_matches(&matches)?;
    let command = cli.command.unwrap_or_else(|| Command::Run(Box::new(cli.run)));
    let log_filter = environment.find("RUST_LOG").map(str::to_owned);
    let actor = environment.find("USER").or_else(|| environment.find("LOGNAME"));
    let actor = actor.map(str::to_owned);
    Ok(Invocation { command, secrets, file, log_filter, actor })
}

/// Returns a setting as an operator may have written it: `--batch-rows (BATCH_ROWS)`.
pub fn spelling(key: &str) -> String {
    let command = Cli::command();
    let Some(arg) = command.get_arguments().find(|arg| arg.get_id() == key) else {
        return key.to_owned();
    };
    let flag = format!("--{}", arg.get_long().unwrap_or(key));
    match arg.get_env().and_then(|name| name.to_str()) {
        Some(variable) => format!("{flag} ({variable})"),
        None => flag,
    }
}

/// A flag as README lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Its name, without dashes in front.
    pub name: String,
    /// The variable that may stand for it.
    pub variable: Option<String>,
}

/// Returns every flag of every command, those of `run` first.
pub fn flags() -> Vec<Flag> {
    let mut flags = Vec::new();
    let mut commands = vec![Cli::command()];
    while let Some(command) = commands.pop() {
        for arg in command.get_arguments() {
            let variable = arg.get_env().and_then(|name| name.to_str()).map(str::to_owned);
            let flag = arg.get_long().map(|name| Flag { name: name.to_owned(), variable });
            flags.extend(flag.filter(|flag| !flags.contains(flag)));
        }
        commands.extend(command.get_subcommands().cloned());
    }
    flags
}

/// Returns the keys of the file's `[run]` part: the flags of `run`, dashes as underscores.
fn file_keys() -> Vec<String> {
    let command = Cli::command();
    let keys = command.get_arguments().map(|arg| arg.get_id().to_string());
    keys.filter(|key| !["config", "help", "version"].contains(&key.as_str())).collect()
}

fn read_file(path: &Path, problems: &mut Problems) -> ConfigFile {
    let parsed = std::fs::read_to_string(path)
        .map_err(|error| {
            Problems::of(
                &spelling("config"),
                format!("cannot read \"{}\": {error}", path.display()),
            )
        })
        .and_then(|text| ConfigFile::parse(&text, &file_keys()));
    parsed.unwrap_or_else(|found| {
        problems.append(found);
        ConfigFile::default()
    })
}

fn config_path(matches: &clap::ArgMatches) -> Option<PathBuf> {
    if let Some((_, matches)) = matches.subcommand() {
        return config_path(matches);
    }
    matches.try_get_one::<PathBuf>("config").ok().flatten().cloned()
}

/// Gives each argument the values that `given` knows as its defaults, and takes it its variable.
fn layered(command: ClapCommand, given: &impl Fn(&Arg) -> Option<Vec<String>>) -> ClapCommand {
    let layer = |arg: Arg| {
        let values = given(&arg);
        let arg = arg.env(Resettable::Reset);
        match values {
            Some(values) => arg.default_values(values),
            None => arg,
        }
    };
    command.mut_args(layer).mut_subcommands(|command| layered(command, given))
}

/// Splits a variable that holds a list.
fn split(arg: &Arg, value: &str) -> Vec<String> {
    let separators: &[char] = match arg.get_id().as_str() {
        "topics" => &[','],
        "kafka_property" => &['\n', ';'],
        "table" => &[';'],
        _ => return vec![value.to_owned()],
    };
    let parts = value.split(separators).map(str::trim).filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

fn hide_values(command: ClapCommand) -> ClapCommand {
    command.mut_args(hide_value).mut_subcommands(hide_values)
}

/// Help names variables; it never shows what is in them.
fn hide_value(arg: Arg) -> Arg {
    arg.hide_env_values(true)
}
