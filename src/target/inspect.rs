//! What the looking commands read of a target, as plain rows.

use crate::checkpoint::NextOffset;
use crate::record::TopicPartition;
use crate::settings::TargetAddress;
use crate::table::TableName;
use crate::target::{Sink, TargetError};

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
    /// `running` or `stopped`.
    pub state: String,
    /// Why it is stopped.
    pub state_reason: Option<String>,
    /// How far the source is applied.
    pub source_position: Option<String>,
    /// When the row was last written, in milliseconds since the epoch.
    pub updated_at: Option<i64>,
}

/// A table that is written from a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicatedTable {
    /// Its name.
    pub name: TableName,
    /// Its rows.
    pub row_count: u64,
    /// The newest time of writing, as the target prints it; `None` for an empty table.
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
/// Where our own tables do not exist yet, there are no rows, which is no error.
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

    /// Returns rows of a table, newest time of writing first; `None` when there is no such table.
    fn newest(
        &mut self,
        table: &TableName,
        synced_at_column: &str,
        limit: u32,
    ) -> impl Future<Output = Result<Option<Sample>, TargetError>> + Send;

    /// Makes the rows of partitions that have none, and their audit rows, in one transaction.
    ///
    /// Returns the partitions that had a row already, which is left as it is.
    fn adopt(
        &mut self,
        first: &[(TopicPartition, NextOffset)],
        reason: &str,
    ) -> impl Future<Output = Result<Vec<TopicPartition>, TargetError>> + Send;
}

/// A target of any kind, opened to be looked at.
///
/// SEAM: becomes `enum Opened { Postgres(Postgres), Sqlite(Sqlite) }`, which hands each method on,
/// once the two are there.
#[derive(Debug)]
pub struct Opened(());

/// Opens the target to be looked at.
///
/// SEAM: as [`Opened`].
pub async fn open(address: &TargetAddress, _sink: Sink) -> Result<Opened, TargetError> {
    Err(TargetError::Statement(format!("looking at {address} waits for the target").into()))
}

impl Inspect for Opened {
    async fn checkpoints(&mut self) -> Result<Vec<(TopicPartition, CheckpointRow)>, TargetError> {
        Ok(Vec::new())
    }

    async fn dead_letter_counts(&mut self) -> Result<Vec<(TopicPartition, u64)>, TargetError> {
        Ok(Vec::new())
    }

    async fn replicated_tables(
        &mut self,
        _synced_at_column: &str,
    ) -> Result<Vec<ReplicatedTable>, TargetError> {
        Ok(Vec::new())
    }

    async fn newest(
        &mut self,
        _table: &TableName,
        _synced_at_column: &str,
        _limit: u32,
    ) -> Result<Option<Sample>, TargetError> {
        Ok(None)
    }

    async fn adopt(
        &mut self,
        _first: &[(TopicPartition, NextOffset)],
        _reason: &str,
    ) -> Result<Vec<TopicPartition>, TargetError> {
        Ok(Vec::new())
    }
}
