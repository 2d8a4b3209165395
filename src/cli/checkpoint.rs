//! The command line of `consumer checkpoint`.

use clap::{Args, Subcommand, ValueEnum};

use super::{ConfigArgs, FormatArgs, KafkaArgs, TargetArgs};

/// What to do with checkpoints.
#[derive(Debug, Subcommand)]
pub enum CheckpointCommand {
    /// Every checkpoint of the sink
    List(CheckpointListArgs),
    /// Set the first position of partitions that have none, or whose topic is another one now
    Adopt(AdoptArgs),
    /// Read records again that are applied
    Rewind(RewindArgs),
    /// Go on behind records that are not applied, or that are gone
    Skip(SkipArgs),
    /// Go on though keys have moved between partitions
    Release(ReleaseArgs),
}

/// Flags of `checkpoint list`.
#[derive(Clone, Debug, Args)]
pub struct CheckpointListArgs {
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

/// Flags of `checkpoint adopt`.
#[derive(Clone, Debug, Args)]
pub struct AdoptArgs {
    /// The first position: the log's beginning, the group's committed offset, or the log's end
    #[arg(long, value_enum)]
    pub at: AdoptAt,
    /// Why; kept in the audit table
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
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

/// A first position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AdoptAt {
    /// The low watermark.
    Earliest,
    /// The offset that the group has committed to Kafka.
    Committed,
    /// The high watermark.
    Latest,
}

/// Which partitions, and why.
#[derive(Clone, Debug, Args)]
pub struct PlaceArgs {
    /// The topic
    #[arg(long, value_name = "NAME")]
    pub topic: String,
    /// The partition [default: all of the topic's]
    #[arg(long, value_name = "P")]
    pub partition: Option<i32>,
    /// Why; kept in the audit table
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
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

/// Flags of `checkpoint rewind`.
#[derive(Clone, Debug, Args)]
pub struct RewindArgs {
    /// Where to: an offset, earliest, or @ and a time (RFC 3339, or milliseconds since the epoch)
    #[arg(long, value_name = "WHERE")]
    pub to: String,
    /// Which partitions, and why.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Flags of `checkpoint skip`.
#[derive(Clone, Debug, Args)]
pub struct SkipArgs {
    /// The next offset to apply [default: behind what is gone from the log]
    #[arg(long, value_name = "OFFSET")]
    pub to: Option<i64>,
    /// Which partitions, and why.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Flags of `checkpoint release`.
#[derive(Clone, Debug, Args)]
pub struct ReleaseArgs {
    /// Which partitions, and why.
    #[command(flatten)]
    pub place: PlaceArgs,
}
