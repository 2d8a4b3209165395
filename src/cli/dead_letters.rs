//! The flags of `dead-letters`.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use crate::cli::{ConfigArgs, FormatArgs, KafkaArgs, RegistryArgs, TableArgs, TargetArgs};

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadLettersCommand {
    /// Refused records with their reasons, the newest last
    List(LettersArgs),
    /// All about one of them, its record decoded as `debug messages` does
    Show(Box<LetterArgs>),
    /// Apply records after all, by the schemas, tables and rules of now
    Replay(Box<ReplayArgs>),
    /// Give records up
    Discard(DiscardArgs),
}

/// In which state a dead letter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StateArg {
    /// Nothing was done about it.
    Open,
    /// Its record is applied.
    Replayed,
    /// Its record is given up.
    Discarded,
    /// Any.
    All,
}

/// Flags of `dead-letters list`.
#[derive(Clone, Debug, Args)]
pub struct LettersArgs {
    /// Only of this topic
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
    /// Only for this reason
    #[arg(long, value_name = "REASON")]
    pub reason: Option<String>,
    /// Only in this state: open, replayed, discarded or all
    #[arg(
        long,
        value_enum,
        value_name = "STATE",
        default_value = "open",
        hide_possible_values = true
    )]
    pub state: StateArg,
    /// The newest, as many as this
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub limit: u32,
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

/// Flags of `dead-letters show`.
#[derive(Clone, Debug, Args)]
pub struct LetterArgs {
    /// Number of the dead letter, as the list has it
    pub id: i64,
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

/// Flags of `dead-letters replay`.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["ids", "all"]))]
pub struct ReplayArgs {
    /// Numbers of dead letters, as the list has them
    #[arg(value_name = "ID")]
    pub ids: Vec<i64>,
    /// All that are open
    #[arg(long)]
    pub all: bool,
    /// Why; kept in the audit table
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
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

/// Flags of `dead-letters discard`.
#[derive(Clone, Debug, Args)]
pub struct DiscardArgs {
    /// Numbers of dead letters, as the list has them
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<i64>,
    /// Why; kept in the audit table
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
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
