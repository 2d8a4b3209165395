//! What commands see of a target: checkpoints, dead letters, tables, rows.

use crate::record::TopicPartition;
use crate::table::TableName;

/// A checkpoint row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRow {
    /// The Kafka cluster's own id.
    pub cluster_id: String,
    /// The partition.
    pub partition: TopicPartition,
    /// The first offset that is not yet applied.
    pub next_offset: i64,
    /// How often the partition was claimed.
    pub epoch: i64,
    /// The lane that owns it; `None` after a clean hand-over.
    pub owner: Option<String>,
    /// The group of the last claim.
    pub group_id: Option<String>,
    /// `running` or `stopped`; `None` before the first batch.
    pub state: Option<String>,
    /// Why it is stopped.
    pub state_reason: Option<String>,
    /// How far the source is applied, as the connector prints it.
    pub source_position: Option<String>,
    /// The offset of the last record that was applied.
    pub last_offset: Option<i64>,
    /// That record's timestamp, in milliseconds since the epoch.
    pub last_timestamp: Option<i64>,
    /// When it was claimed, in milliseconds since the epoch.
    pub claimed_at: Option<i64>,
    /// When the row was written last, in milliseconds since the epoch.
    pub updated_at: i64,
}

/// How many open dead letters a topic has for a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterCount {
    /// The topic.
    pub topic: String,
    /// The reason's name.
    pub reason: String,
    /// How many.
    pub count: i64,
}

/// A replicated table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicatedTable {
    /// Its name.
    pub name: TableName,
    /// How many rows it has.
    pub row_count: i64,
    /// Whether the count is exact, or what the server estimates for a large table.
    pub is_exact: bool,
}

/// Rows as text, in the order of their columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextRows {
    /// The columns' names.
    pub columns: Vec<String>,
    /// The rows; `None` is NULL.
    pub rows: Vec<Vec<Option<String>>>,
}

/// What an operator did to a partition.
#[derive(Clone, Copy, Debug)]
pub struct Deed<'a> {
    /// Who.
    pub actor: &'a str,
    /// By which command.
    pub command: &'a str,
    /// To which partition.
    pub partition: &'a TopicPartition,
    /// The next offset before.
    pub before: Option<i64>,
    /// The next offset afterwards.
    pub after: Option<i64>,
    /// Why.
    pub reason: &'a str,
}
