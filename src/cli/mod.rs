//! The command line: every flag with its variable and its default.
//!
//! What a value may be is decided in [`settings`](crate::settings), which reports all problems at
//! once; here a value is text, wherever it was written.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

pub use checkpoint::{
    AdoptArgs, AdoptAt, CheckpointCommand, CheckpointListArgs, PlaceArgs, ReleaseArgs, RewindArgs,
    SkipArgs,
};
pub use dead_letters::{
    DeadLettersCommand, DiscardArgs, LetterArgs, LettersArgs, ReplayArgs, StateArg,
};
pub use layers::{Environment, Flag, Invocation, Refused, Secrets, flags, parse, spelling};

mod checkpoint;
mod dead_letters;
mod layers;

/// Applies Debezium change events from Kafka to relational databases, exactly once.
#[derive(Debug, Parser)]
#[command(
    name = "consumer",
    version,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    help_template = "{about}\n\nUsage: consumer [COMMAND] [OPTIONS]\n\nCommands:\n{subcommands}{after-help}",
    after_help = "Without a command, the service runs, with the options of `consumer run --help`.\n\
                  Flags win over variables, variables over the file of --config (CONSUMER_CONFIG),\n\
                  the file over defaults. Data goes to standard output, talk to standard error.\n\
                  Exit codes: 0 done, 1 found differences or problems, 2 could not do it."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service: keep the target's tables equal to the source's
    #[command(after_help = SECRETS)]
    Run(Box<RunArgs>),
    /// Show it in one process, nothing installed, and prove it right
    Demo(DemoArgs),
    /// Look at topics, records and the target's tables
    #[command(subcommand)]
    Debug(DebugCommand),
    /// Show how far each partition is, and what is stopped or late
    Status(StatusArgs),
    /// Print the DDL that would run; run nothing
    Plan(Box<PlanArgs>),
    /// See refused records, apply them, or give them up
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
    /// See and set where a partition stands
    #[command(subcommand)]
    Checkpoint(CheckpointCommand),
}

const SECRETS: &str = "Secrets, from a variable or from a file that the same name with _FILE names: \
TARGET_DATABASE_URL, TARGET_DATABASE_PASSWORD, SCHEMA_REGISTRY_USER, SCHEMA_REGISTRY_PASSWORD, \
SCHEMA_REGISTRY_TOKEN, KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD, KAFKA_SASL_TOKEN. RUST_LOG filters the log.";

/// The service's flags.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// The config file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where the records come from.
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// Where Avro schemas come from.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Where the rows go.
    #[command(flatten)]
    pub target: TargetArgs,
    /// What becomes of each table.
    #[command(flatten)]
    pub tables: TableArgs,
    /// How the service works.
    #[command(flatten)]
    pub work: WorkArgs,
}

/// Where the config file is.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// Config file (TOML) with the same settings and rules for tables
    #[arg(long, value_name = "FILE", env = "CONSUMER_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Where the records come from.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Kafka")]
pub struct KafkaArgs {
    /// Brokers to ask first, separated by commas
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "KAFKA_BOOTSTRAP_SERVERS",
        default_value = "localhost:9092"
    )]
    pub brokers: String,
    /// Consumer group
    #[arg(long, value_name = "NAME", env = "KAFKA_GROUP_ID", default_value = "afterimage")]
    pub group: String,
    /// Topics; one that begins with ^ is a regular expression (repeatable; commas in the variable)
    #[arg(
        long,
        value_name = "TOPIC",
        env = "KAFKA_TOPICS",
        default_value = r"^dbserver1\..*",
        action = clap::ArgAction::Append
    )]
    pub topics: Vec<String>,
    /// Property of librdkafka, TLS and SASL included (repeatable; lines or ; in the variable)
    #[arg(
        long,
        value_name = "KEY=VALUE",
        env = "KAFKA_PROPERTIES",
        action = clap::ArgAction::Append
    )]
    pub kafka_property: Vec<String>,
    /// File with such properties, one a line; # begins a comment
    #[arg(long, value_name = "FILE", env = "KAFKA_PROPERTIES_FILE")]
    pub kafka_properties_file: Option<PathBuf>,
}

/// Where Avro schemas come from.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Kafka")]
pub struct RegistryArgs {
    /// Schema registry; needed for Avro only
    #[arg(long, value_name = "URL", env = "SCHEMA_REGISTRY_URL")]
    pub schema_registry_url: Option<String>,
    /// Which id Apicurio's converter writes before the bytes: globalId or contentId, as its
    /// apicurio.registry.use-id [default: Confluent's id in four bytes, either in eight]
    #[arg(long, value_name = "KIND", env = "SCHEMA_REGISTRY_USE_ID")]
    pub schema_registry_use_id: Option<String>,
    /// Certificates (PEM) of who alone may vouch for the registry, in place of the system's
    #[arg(long, value_name = "FILE", env = "SCHEMA_REGISTRY_CA_FILE")]
    pub schema_registry_ca_file: Option<PathBuf>,
}

/// Where the rows go.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Target")]
pub struct TargetArgs {
    /// Target database: postgres://USER@HOST:PORT/DATABASE or sqlite://FILE
    #[arg(long, value_name = "URL", env = "TARGET_DATABASE_URL")]
    pub target: Option<String>,
    /// Names the checkpoint rows, so that a renamed group keeps its place
    #[arg(long, value_name = "NAME", env = "SINK_NAME", default_value = "afterimage")]
    pub sink: String,
}

/// What becomes of each table.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Tables")]
pub struct TableArgs {
    /// Where a table goes, as in 'inventory.*=mirror.{table}'; knows {database} {schema} {table};
    /// the first match wins (repeatable; ; in the variable) [default: names as they are]
    #[arg(
        long,
        value_name = "PATTERN=TEMPLATE",
        env = "TABLES",
        action = clap::ArgAction::Append
    )]
    pub table: Vec<String>,
    /// A schema the target lacks: apply creates and adds, check stops, ignore drops columns
    #[arg(long, value_name = "POLICY", env = "SCHEMA_CHANGES", default_value = "apply")]
    pub schema_changes: String,
    /// What a delete does: hard, soft or ignore
    #[arg(long, value_name = "POLICY", env = "DELETES", default_value = "hard")]
    pub deletes: String,
    /// Column for the target's transaction time on every upsert; empty for none
    #[arg(long, value_name = "COLUMN", env = "SYNCED_AT_COLUMN", default_value = "synced_at")]
    pub synced_at_column: String,
    /// Leave a row alone that the target has already as it comes, its time of writing included
    #[arg(long, env = "SKIP_UNCHANGED", value_parser = BoolishValueParser::new())]
    pub skip_unchanged: bool,
    /// Column for the time of a soft delete
    #[arg(long, value_name = "COLUMN", env = "DELETED_AT_COLUMN", default_value = "deleted_at")]
    pub deleted_at_column: String,
}

/// How the service works.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Service")]
pub struct WorkArgs {
    /// Claim partitions that another group holds under this sink name
    #[arg(long)]
    pub take_over: bool,
    /// A record that cannot be applied: dead-letter keeps it and goes on, stop stops its partition
    #[arg(long, value_name = "POLICY", env = "ON_REFUSED", default_value = "dead-letter")]
    pub on_refused: String,
    /// Topic for copies of refused records, with Connect's headers [default: none]
    #[arg(long, value_name = "TOPIC", env = "DEAD_LETTER_TOPIC")]
    pub dead_letter_topic: Option<String>,
    /// Rows of a batch at most
    #[arg(long, value_name = "ROWS", env = "BATCH_ROWS", default_value = "50000")]
    pub batch_rows: String,
    /// Size of a batch at most
    #[arg(long, value_name = "SIZE", env = "BATCH_BYTES", default_value = "16MiB")]
    pub batch_bytes: String,
    /// How long a batch goes on filling at most while records keep coming
    #[arg(long, value_name = "DURATION", env = "BATCH_AGE", default_value = "50ms")]
    pub batch_age: String,
    /// Parallel target connections in this member
    #[arg(long, value_name = "NUMBER", env = "LANES", default_value = "1")]
    pub lanes: String,
    /// Address of /livez, /readyz, /metrics and /status; off for none [default: 127.0.0.1:9187, or
    /// the next free port]
    #[arg(long, value_name = "HOST:PORT", env = "HTTP_LISTEN")]
    pub http: Option<String>,
    /// How long unreachable services are tried at the start
    #[arg(long, value_name = "DURATION", env = "STARTUP_TIMEOUT", default_value = "60s")]
    pub startup_timeout: String,
    /// Form of the log on standard error: text or json
    #[arg(long, value_name = "FORMAT", env = "LOG_FORMAT", default_value = "text")]
    pub log_format: String,
    /// End once all that was there when the partitions were assigned is applied
    #[arg(long)]
    pub until_caught_up: bool,
}

/// The demo's flags.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Changes of rows that the source makes
    #[arg(long, value_name = "NUMBER", default_value_t = 100_000)]
    pub rows: u64,
    /// SQLite file of the target, made anew [default: one in the directory for temporary files]
    #[arg(long, value_name = "FILE")]
    pub database: Option<PathBuf>,
    /// Go on after the proof until it is interrupted, then prove again
    #[arg(long)]
    pub keep_running: bool,
}

/// What to look at.
#[derive(Debug, Subcommand)]
pub enum DebugCommand {
    /// Topics, partitions, low and high watermark, checkpoint, lag
    Topics(TopicsArgs),
    /// Peek at records, without joining the group and without writing anything
    Messages(Box<MessagesArgs>),
    /// Rows of the target's replicated tables, newest first
    Target(TargetRowsArgs),
}

/// How a listing is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns.
    #[default]
    Table,
    /// One JSON object a line.
    Json,
}

/// The flag that every listing has.
#[derive(Clone, Debug, Args)]
pub struct FormatArgs {
    /// table: aligned columns; json: one object a line
    #[arg(long, value_enum, default_value = "table", hide_possible_values = true)]
    pub format: Format,
}

/// Flags of `debug topics`.
#[derive(Clone, Debug, Args)]
pub struct TopicsArgs {
    /// How the listing is written.
    #[command(flatten)]
    pub format: FormatArgs,
    /// The config file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where the records come from.
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// Where the rows go.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Flags of `debug messages`.
#[derive(Clone, Debug, Args)]
pub struct MessagesArgs {
    /// Topic to read
    pub topic: String,
    /// Records at most
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    pub limit: usize,
    /// Where to begin: beginning, end, an offset, or @TIME (RFC 3339, or milliseconds since the
    /// epoch) [default: the newest records]
    #[arg(long, value_name = "POSITION")]
    pub from: Option<String>,
    /// Only this partition
    #[arg(long, value_name = "NUMBER")]
    pub partition: Option<i32>,
    /// Go on with records as they come
    #[arg(long)]
    pub follow: bool,
    /// Only records whose key contains this text
    #[arg(long, value_name = "TEXT")]
    pub key: Option<String>,
    /// Bytes as they are, hexadecimal where they are no text
    #[arg(long)]
    pub raw: bool,
    /// How the listing is written.
    #[command(flatten)]
    pub format: FormatArgs,
    /// The config file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where the records come from.
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// Where Avro schemas come from.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Where the rows go.
    #[command(flatten)]
    pub target: TargetArgs,
    /// What becomes of each table.
    #[command(flatten)]
    pub tables: TableArgs,
}

/// Flags of `debug target`.
#[derive(Clone, Debug, Args)]
pub struct TargetRowsArgs {
    /// Table to read, as SCHEMA.TABLE [default: counts of all]
    pub table_name: Option<String>,
    /// Rows at most
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    pub limit: u32,
    /// How the listing is written.
    #[command(flatten)]
    pub format: FormatArgs,
    /// The config file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where the rows go.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Column that a replicated table is known and ordered by
    #[arg(long, value_name = "COLUMN", env = "SYNCED_AT_COLUMN", default_value = "synced_at")]
    pub synced_at_column: String,
}

/// Flags of `status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Exit with 1 when a partition is stopped or late
    #[arg(long)]
    pub check: bool,
    /// Records behind the end that are late, for --check
    #[arg(long, value_name = "RECORDS", requires = "check")]
    pub lag_max: Option<u64>,
    /// Age of the oldest record not yet applied that is late, for --check
    #[arg(long, value_name = "DURATION", requires = "check")]
    pub age_max: Option<String>,
    /// How the listing is written.
    #[command(flatten)]
    pub format: FormatArgs,
    /// The config file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where the records come from.
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// Where the rows go.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Flags of `plan`.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// All that a DBA must run when the writer may create nothing
    #[arg(long)]
    pub bootstrap: bool,
    /// The config file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where the records come from.
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// Where Avro schemas come from.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Where the rows go.
    #[command(flatten)]
    pub target: TargetArgs,
    /// What becomes of each table.
    #[command(flatten)]
    pub tables: TableArgs,
}

#[cfg(test)]
mod tests;
