//! What the looking commands see of a target, as plain rows.

use crate::amend::{Decision, Standing};
use crate::batch::{Leader, SchemaChange};
use crate::checkpoint::NextOffset;
use crate::record::TopicPartition;
use crate::settings::TargetAddress;
use crate::table::{Table, TableName};
use crate::target::postgres::Postgres;
use crate::target::sqlite::Sqlite;
use crate::target::{Dialect, Sink, Target, TargetError};

/// A row of the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRow {
    /// Where the partition stands.
    pub next: NextOffset,
    /// Counts the claims.
    pub epoch: i64,
    /// The session token of the owner; `None` after a clean hand-over.
    pub owner: Option<String>,
    /// The group of the last claim.
    pub group_id: Option<String>,
    /// `running` or `stopped`; `None` before the first batch.
    pub state: Option<String>,
    /// Why it is stopped.
    pub state_reason: Option<String>,
    /// How far the source is applied, as the connector prints it.
    pub source_position: Option<String>,
    /// Which log of the source that is in: counted up where an operator says that it is another one;
    /// `None` before.
    pub source_incarnation: Option<String>,
    /// When the row was last written, in milliseconds since the epoch.
    pub updated_at: Option<i64>,
}

/// A table that has the column for the time of writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicatedTable {
    /// Its name.
    pub name: TableName,
    /// How many rows it has.
    pub row_count: u64,
    /// Whether the rows were counted, or are what the server estimates for a large table.
    pub is_exact: bool,
    /// The newest time of writing, as the target prints it; `None` for a table that is empty, or
    /// whose rows were not counted.
    pub newest: Option<String>,
}

/// Rows of a table, as the target prints them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// The columns, in the catalogue's order.
    pub columns: Vec<String>,
    /// The values of each row, in the columns' order; `None` for NULL.
    pub rows: Vec<Vec<Option<String>>>,
}

/// A target that can be looked at; each method is one attempt.
///
/// Where our own tables do not exist yet there are no rows, which is no error; only
/// [`Inspect::amend`] makes them, and nothing else writes.
pub trait Inspect: Send {
    /// Returns the checkpoints of this sink and cluster.
    fn checkpoints(
        &mut self,
    ) -> impl Future<Output = Result<Vec<(TopicPartition, CheckpointRow)>, TargetError>> + Send;

    /// Returns how many open dead letters each partition of this sink and cluster has.
    fn dead_letter_counts(
        &mut self,
    ) -> impl Future<Output = Result<Vec<(TopicPartition, u64)>, TargetError>> + Send;

    /// Returns the tables that have the column for the time of writing, ordered by name.
    fn replicated_tables(
        &mut self,
        synced_at_column: &str,
    ) -> impl Future<Output = Result<Vec<ReplicatedTable>, TargetError>> + Send;

    /// Returns rows of a table, the newest time of writing first, or any when it has no such
    /// column; `None` when there is no such table.
    fn newest(
        &mut self,
        table: &TableName,
        synced_at_column: &str,
        limit: u32,
    ) -> impl Future<Output = Result<Option<Sample>, TargetError>> + Send;

    /// Returns a table as the catalogue has it; `None` when it does not exist.
    fn describe(
        &mut self,
        name: &TableName,
    ) -> impl Future<Output = Result<Option<Table>, TargetError>> + Send;

    /// Returns which source tables lead to a table.
    fn leaders_of(
        &mut self,
        name: &TableName,
    ) -> impl Future<Output = Result<Vec<Leader>, TargetError>> + Send;

    /// Returns whether our own tables are there.
    fn is_bootstrapped(&mut self) -> impl Future<Output = Result<bool, TargetError>> + Send;

    /// Returns those statements of a change that do more than to make what is there.
    fn needed(
        &mut self,
        change: &SchemaChange,
    ) -> impl Future<Output = Result<Vec<String>, TargetError>> + Send;

    /// Returns the statements that let our role write these tables and our own, when they belong to
    /// another; none where a target knows no rights.
    fn grants(
        &mut self,
        tables: &[TableName],
    ) -> impl Future<Output = Result<Vec<String>, TargetError>> + Send;

    /// Decides about each row while nobody else can write it, and writes what is decided with its
    /// audit, in one transaction: all of it, or nothing where one is refused.
    ///
    /// A row is written under a claim of our own: an owner is fenced, and reads the row again.
    fn amend(
        &mut self,
        wanted: &[TopicPartition],
        decide: Decide<'_>,
        deed: Deed<'_>,
    ) -> impl Future<Output = Result<Amendments, TargetError>> + Send;
}

/// Decides what becomes of a row; `None` stands for one that is not there.
pub type Decide<'a> = &'a (dyn Fn(&TopicPartition, Option<&Standing>) -> Decision + Sync);

/// What came of an operator's wish.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Amendments {
    /// What was written.
    pub made: Vec<Amended>,
    /// Why rows were left as they are.
    pub left: Vec<String>,
    /// Why nothing was written at all.
    pub refused: Vec<String>,
}

/// A row that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amended {
    /// Which partition.
    pub partition: TopicPartition,
    /// Where it stood; `None` where there was no row.
    pub before: Option<NextOffset>,
    /// Where it stands.
    pub after: NextOffset,
}

/// Who does something to checkpoints, and why: what the audit keeps.
#[derive(Clone, Copy, Debug)]
pub struct Deed<'a> {
    /// Who.
    pub actor: &'a str,
    /// By which command.
    pub command: &'a str,
    /// Why.
    pub reason: &'a str,
}

/// A target of any kind, opened to be looked at.
#[derive(Debug)]
pub enum Opened {
    /// PostgreSQL.
    Postgres(Box<Postgres>),
    /// SQLite.
    Sqlite(Sqlite),
}

/// Opens the target to be looked at; a SQLite file that does not exist counts as an empty one.
///
/// # Errors
///
/// The target cannot be reached, or does not let us in.
pub async fn open(address: &TargetAddress, sink: Sink) -> Result<Opened, TargetError> {
    Ok(match address {
        TargetAddress::Postgres { url, password_file } => {
            let mut target = Postgres::new(url.expose(), password_file.clone(), sink)?;
            target.connect().await?;
            Opened::Postgres(Box::new(target))
        }
        TargetAddress::Sqlite(path) => Opened::Sqlite(Sqlite::new(path, sink)),
    })
}

impl Opened {
    /// Returns how the target spells types and DDL.
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Postgres(_) => Postgres::DIALECT,
            Self::Sqlite(_) => Sqlite::DIALECT,
        }
    }
}

impl Inspect for Opened {
    async fn checkpoints(&mut self) -> Result<Vec<(TopicPartition, CheckpointRow)>, TargetError> {
        match self {
            Self::Postgres(target) => target.checkpoints().await,
            Self::Sqlite(target) => target.checkpoints().await,
        }
    }

    async fn dead_letter_counts(&mut self) -> Result<Vec<(TopicPartition, u64)>, TargetError> {
        match self {
            Self::Postgres(target) => target.dead_letter_counts().await,
            Self::Sqlite(target) => target.dead_letter_counts().await,
        }
    }

    async fn replicated_tables(
        &mut self,
        synced_at_column: &str,
    ) -> Result<Vec<ReplicatedTable>, TargetError> {
        match self {
            Self::Postgres(target) => target.replicated_tables(synced_at_column).await,
            Self::Sqlite(target) => target.replicated_tables(synced_at_column).await,
        }
    }

    async fn newest(
        &mut self,
        table: &TableName,
        synced_at_column: &str,
        limit: u32,
    ) -> Result<Option<Sample>, TargetError> {
        match self {
            Self::Postgres(target) => target.newest(table, synced_at_column, limit).await,
            Self::Sqlite(target) => target.newest(table, synced_at_column, limit).await,
        }
    }

    async fn describe(&mut self, name: &TableName) -> Result<Option<Table>, TargetError> {
        match self {
            Self::Postgres(target) => target.describe(name).await,
            Self::Sqlite(target) => target.describe(name).await,
        }
    }

    async fn leaders_of(&mut self, name: &TableName) -> Result<Vec<Leader>, TargetError> {
        match self {
            Self::Postgres(target) => target.leaders_of(name).await,
            Self::Sqlite(target) => target.leaders_of(name).await,
        }
    }

    async fn is_bootstrapped(&mut self) -> Result<bool, TargetError> {
        match self {
            Self::Postgres(target) => target.is_bootstrapped().await,
            Self::Sqlite(target) => target.is_bootstrapped().await,
        }
    }

    async fn needed(&mut self, change: &SchemaChange) -> Result<Vec<String>, TargetError> {
        match self {
            Self::Postgres(target) => target.needed(change).await,
            Self::Sqlite(target) => target.needed(change).await,
        }
    }

    async fn grants(&mut self, tables: &[TableName]) -> Result<Vec<String>, TargetError> {
        match self {
            Self::Postgres(target) => target.grants(tables).await,
            Self::Sqlite(target) => target.grants(tables).await,
        }
    }

    async fn amend(
        &mut self,
        wanted: &[TopicPartition],
        decide: Decide<'_>,
        deed: Deed<'_>,
    ) -> Result<Amendments, TargetError> {
        match self {
            Self::Postgres(target) => target.amend(wanted, decide, deed).await,
            Self::Sqlite(target) => target.amend(wanted, decide, deed).await,
        }
    }
}
