//! The target: a relational database that holds replicated tables and their checkpoint.

use std::time::Duration;

use uuid::Uuid;

use crate::batch::{Folded, Lead, Leader};
use crate::checkpoint::{Claim, Deleted, NextOffset, Step};
use crate::decode::value::kind::SourceColumn;
use crate::identity::{KeyMet, Remembered};
use crate::moves::{MoveRequest, Moved};
use crate::record::TopicPartition;
use crate::refused::DeadLetter;
use crate::rows::{Origin, Rows};
use crate::stopped::{Stop, StopReason};
use crate::table::{Column, Encode, Enumeration, Table, TableName};

mod ewkb;
mod fault;
mod figure_text;
pub mod inspect;
pub mod letters;
mod octets;
mod parts_text;
pub mod postgres;
mod search;
pub mod sqlite;
mod text;

pub use fault::{Fault, RefusedRow};

/// Whose checkpoint rows a connection reads and writes.
#[derive(Clone, Debug)]
pub struct Sink {
    /// The sink's name: first part of the checkpoint's key.
    pub name: String,
    /// The Kafka cluster's own id: second part of the key.
    pub cluster_id: String,
    /// The consumer group, kept beside each claim.
    pub group_id: String,
}

/// One connection to a target; each lane has its own.
///
/// Every method is one attempt. After an error the connection may be broken: the implementation
/// opens it anew at the next call. The caller decides about retries by
/// [`TargetError::disposition`].
pub trait Target: Send + 'static {
    /// How this database spells types and DDL.
    const DIALECT: Dialect;

    /// Takes the partitions: counts up their epochs, draws `token`, names this connection as owner.
    ///
    /// Waits for a former owner's transaction in flight; one that blocks the claim for more than a
    /// second is ended. Partitions without a row are returned in [`Claims::unknown`], those that
    /// another group holds in [`Claims::held`]; both are left untouched.
    fn claim(
        &mut self,
        partitions: &[TopicPartition],
        token: Uuid,
        take_over: bool,
    ) -> impl Future<Output = Result<Claims, TargetError>> + Send;

    /// Makes the rows of partitions that have none, at their first positions.
    ///
    /// A row that another member has made meanwhile is left as it is.
    fn begin(
        &mut self,
        first: &[(TopicPartition, NextOffset)],
    ) -> impl Future<Output = Result<(), TargetError>> + Send;

    /// Gives the partitions up after the last commit; a claim that is no longer ours is left alone.
    fn release(
        &mut self,
        claims: &[(TopicPartition, Claim)],
    ) -> impl Future<Output = Result<(), TargetError>> + Send;

    /// Shows that the owner lives: sets `updated_at`; a claim that is no longer ours is left alone.
    ///
    /// Returns what of the target has changed behind the owner's back.
    fn touch(
        &mut self,
        holdings: &[Holding],
    ) -> impl Future<Output = Result<Touched, TargetError>> + Send;

    /// Writes what tells the logs from others into the rows; a claim that is no longer ours is left
    /// alone.
    fn identify(
        &mut self,
        claims: &[(TopicPartition, Claim, Remembered)],
    ) -> impl Future<Output = Result<(), TargetError>> + Send;

    /// Reads where every partition of a topic stands, whoever owns it.
    fn places(
        &mut self,
        topic: &str,
    ) -> impl Future<Output = Result<Vec<(TopicPartition, NextOffset)>, TargetError>> + Send;

    /// Keeps how keys of tables are encoded, and returns of each in turn whether records with such
    /// keys may be applied: those of the table's first encoding, those of a topic's only partition,
    /// and those that an operator has released.
    fn meet_keys(
        &mut self,
        met: &[KeyMet],
    ) -> impl Future<Output = Result<Vec<bool>, TargetError>> + Send;

    /// Writes why a partition is stopped into its row; `None` when it runs again.
    fn mark(
        &mut self,
        partition: &TopicPartition,
        claim: Claim,
        stop: Option<&Stop>,
    ) -> impl Future<Output = Result<(), TargetError>> + Send;

    /// Reads tables, and returns each in turn as the target has it.
    fn tables(
        &mut self,
        names: &[TableName],
    ) -> impl Future<Output = Result<Vec<Existing>, TargetError>> + Send;

    /// Keeps that a source table leads to a table where it may not write, so that those learn of it
    /// that lead there too.
    fn contest(&mut self, lead: &Lead) -> impl Future<Output = Result<(), TargetError>> + Send;

    /// Reads what a row has left under its old key; `None` while its delete is not applied.
    fn moved(
        &mut self,
        request: &MoveRequest,
    ) -> impl Future<Output = Result<Option<Moved>, TargetError>> + Send;

    /// Applies the batch and moves the checkpoint, in one transaction.
    ///
    /// Where a source table leads to a table that another one leads to meanwhile, the layout counts
    /// as stale.
    ///
    /// A batch that the database refuses for its data is tried in parts, until the records are found
    /// whose rows it refuses, or all of it has gone in.
    ///
    /// After [`TargetError::Unreachable`] the outcome is unknown; repeating the same batch settles
    /// it, because the steps are conditional.
    fn apply(
        &mut self,
        batch: &Folded,
    ) -> impl Future<Output = Result<Applied, TargetError>> + Send;
}

/// What the target has of a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Existing {
    /// The table as the catalogue has it; `None` when it does not exist.
    pub table: Option<Table>,
    /// The source tables that lead to it.
    pub leaders: Vec<Leader>,
}

/// What an owner believes of a partition's row.
#[derive(Clone, Debug)]
pub struct Holding {
    /// Which partition.
    pub partition: TopicPartition,
    /// The marks of its claim.
    pub claim: Claim,
    /// Where the checkpoint stands.
    pub next: NextOffset,
}

/// What an owner learns when it touches its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Partitions whose rows say something else than the owner believes: another one has claimed
    /// them, or the target went back in time.
    pub elsewhere: Vec<TopicPartition>,
    /// Partitions whose rows say that they are stopped.
    pub stopped: Vec<TopicPartition>,
    /// How many source tables lead to a table beside another one: a change says that some have met.
    pub met: u64,
}

/// What a claim found.
#[derive(Debug, Default)]
pub struct Claims {
    /// Partitions that are ours now.
    pub claimed: Vec<Claimed>,
    /// Partitions without a row; what the sink knows of their topics.
    pub unknown: Vec<(TopicPartition, Known)>,
    /// Partitions that another group has touched within the last 90 s, with its name.
    pub held: Vec<(TopicPartition, String)>,
}

/// What a sink knows of the topic of a partition without a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    Nothing,
    /// Another partition of it.
    Topic,
    /// One of that name in another cluster, which is named here.
    OtherCluster(String),
}

/// A partition that is ours now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Which partition.
    pub partition: TopicPartition,
    /// The marks that each step must carry.
    pub claim: Claim,
    /// Where to resume: read under the claim's lock, so it is behind every commit of former owners.
    pub next: NextOffset,
    /// What the row remembers of its log.
    pub remembered: Remembered,
    /// Record keys whose newest image was refused.
    pub refused_keys: Vec<Vec<u8>>,
    /// The last record that was applied, if it is a delete.
    pub deleted: Option<Deleted>,
    /// How long no owner had shown that it lives.
    pub unowned: Duration,
}

/// How an attempt to apply a batch ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Applied {
    /// The transaction has committed, now or at an earlier attempt whose answer was lost.
    Committed {
        /// Partial rows without a row at the target, kept as dead letters in the same transaction.
        refused: Vec<DeadLetter>,
        /// How many rows of guarded tables were older than what the target has.
        older: usize,
    },
    /// The database refuses rows for what they are: nothing of the batch was applied, and without
    /// them it would be.
    Refused {
        /// The records' rows.
        rows: Vec<RefusedRow>,
    },
    /// A partition is no longer ours or stands elsewhere: nothing of the batch was applied.
    Fenced {
        /// The partitions whose row did not match.
        partitions: Vec<TopicPartition>,
    },
}

/// How one database spells types and DDL: pure functions over plain data.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// Returns the column that holds every value of the source's column; `None` when the source's
    /// type has no conversion. `is_key` asks for a type that can be indexed.
    pub column: fn(source: &SourceColumn, is_key: bool) -> Option<Column>,
    /// Returns the existing column in a type that holds every value of the source's column as well
    /// as its own; `None` where it does so as it is, and where no such type is known.
    pub widened: fn(existing: &Column, source: &SourceColumn) -> Option<Column>,
    /// Returns how the existing column takes the values of the source's column.
    pub encode: fn(existing: &Column, source: &SourceColumn) -> Option<Encode>,
    /// Returns the enum with the labels that it lacks of these, which come in their order, and the
    /// statements that add them.
    pub labelled: fn(existing: &Enumeration, wanted: &[String]) -> (Enumeration, Vec<String>),
    /// Returns the column of a type as users spell it; `None` for a spelling that is not known.
    pub typed: fn(name: &str, type_name: &str, not_null: bool) -> Option<Column>,
    /// Returns the column of that name for a time of writing (`synced_at`, `deleted_at`).
    pub time_column: fn(name: &str, not_null: bool) -> Column,
    /// Returns the statements that create the table and what it stands in.
    pub create_table: fn(table: &Table) -> Vec<String>,
    /// Returns the statement that adds the column.
    pub add_column: fn(table: &TableName, column: &Column) -> String,
    /// Returns the statement that gives a column its new type, or lets it be NULL or be changed;
    /// `None` where the target can do none of it.
    pub alter_column: fn(table: &TableName, before: &Column, after: &Column) -> Option<String>,
    /// Returns all that must exist before the first claim: schema, checkpoint, dead letters.
    pub bootstrap: fn() -> Vec<String>,
    /// Whether table names have a schema.
    pub has_schemas: bool,
    /// How long a name may be, in bytes; a longer one would be cut.
    pub name_bytes_max: Option<usize>,
}

/// Why the target could not do what it was asked; each variant is a situation.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The connection is lost or cannot be made, or the server is starting, stopping or read-only.
    #[error("target is unreachable")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// TLS cannot be agreed on: the server has none, or cannot prove that it is the one asked for.
    #[error("target cannot be trusted")]
    Untrusted(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server does not let the role in: its password is another one by now, or a rule keeps it out.
    #[error("target does not let the role in")]
    NotAdmitted(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A lock, a deadlock, a serialisation failure or a time-out.
    #[error("target is busy")]
    Busy(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server is out of connections, memory or disk.
    #[error("target is out of resources")]
    Exhausted(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The table is no longer as the rows were encoded for.
    #[error("table \"{table}\" is no longer as it was read")]
    StaleLayout {
        /// Which table.
        table: TableName,
    },
    /// A right is refused, or there is no such database.
    #[error("target denies access")]
    Denied(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A constraint or a conversion refuses a row, and no record of the batch brings it.
    #[error("target refuses a row{}", .0.table.as_ref().map(|table| format!(" of table \"{table}\"")).unwrap_or_default())]
    Row(#[source] Fault),
    /// A guarded table has newer rows from a source that has gone back since.
    #[error("the source has gone back: table \"{table}\", {partition} at {offset}")]
    WentBack {
        /// Which table.
        table: TableName,
        /// The partition of the record that shows it.
        partition: TopicPartition,
        /// Its offset.
        offset: i64,
    },
    /// Anything else: nothing unlisted is guessed.
    #[error("target refuses a statement")]
    Statement(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Says that a guarded table's row was committed later than what the target has, at a place before.
fn went_back(rows: &Rows, origin: Origin, steps: &[Step]) -> TargetError {
    let step = steps.get(origin.step).expect("a change has a step");
    let (table, partition) = (rows.shape().table.name.clone(), step.partition.clone());
    TargetError::WentBack { table, partition, offset: origin.offset }
}

/// What a lane does about an error of the target.
#[derive(Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The same again after a pause, for ever; the name is the metrics' label.
    Retry(&'static str),
    /// Read from the checkpoint again, with the catalogue read anew.
    Rewind,
    /// The partitions of the batch stop.
    Stop(StopReason),
    /// One partition of the batch stops, and the others read from the checkpoint again.
    StopOne(StopReason, TopicPartition),
}

impl TargetError {
    /// Returns what a lane does about this error.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Unreachable(_) => Disposition::Retry("unreachable"),
            Self::Untrusted(_) => Disposition::Retry("untrusted"),
            Self::NotAdmitted(_) => Disposition::Retry("not_admitted"),
            Self::Busy(_) => Disposition::Retry("busy"),
            Self::Exhausted(_) => Disposition::Retry("exhausted"),
            Self::StaleLayout { .. } => Disposition::Rewind,
            Self::Denied(_) => Disposition::Stop(StopReason::RightMissing),
            Self::WentBack { partition, .. } => {
                Disposition::StopOne(StopReason::SourceWentBack, partition.clone())
            }
            Self::Row(_) | Self::Statement(_) => Disposition::Stop(StopReason::TargetRefused),
        }
    }
}
