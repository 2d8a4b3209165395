//! Decode: bytes to values, and values to packed rows, by layouts that are compiled once a schema.

use std::sync::Arc;

use crate::checkpoint::SourcePosition;
use crate::decode::value::kind::SourceTable;
use crate::guard::Age;
use crate::moves::MoveRequest;
use crate::record::Record;
use crate::refused::Refusal;
use crate::rows::{Origin, Shape};
use crate::rules::{AfterRefused, Changelog};
use crate::stopped::Stop;

pub mod avro;
pub mod cloud;
mod decoder;
mod departed;
pub mod flat;
pub mod found;
pub mod inspect;
pub mod json;
pub mod layout;
mod pass;
pub mod placeholder;
pub mod schema;
mod sight;
#[cfg(test)]
mod testing;
pub mod untyped;
pub mod value;

pub use decoder::Decoder;
pub use schema::frame::SchemaId;

/// What decoding a record came to.
///
/// Only after [`Decoded::Change`], [`Decoded::Truncate`], [`Decoded::Ignored`] and
/// [`Decoded::Refused`] is the record dealt with. After the others the batch is as it was, and the
/// same record is decoded again once the lane has done what is asked.
#[derive(Debug)]
pub enum Decoded {
    /// A row went into the batch.
    Change(Change),
    /// The table's earlier rows of the batch are gone, and the table will be emptied.
    Truncate(Change),
    /// Nothing to write.
    Ignored(Ignored),
    /// The record is refused; the lane keeps it as a dead letter.
    Refused(Refusal),
    /// The schema of this id must be fetched and given to [`Decoder::learn_schema`].
    NeedsSchema(SchemaId),
    /// The target's side of this table must be found and given to [`Decoder::learn_layout`].
    NeedsLayout(Box<LayoutRequest>),
    /// The row lacks values that its old key has had: they must be found and given to
    /// [`Decoder::learn_moved`].
    NeedsMoved(Box<MoveRequest>),
    /// A truncate must be told whether its partition is the topic's only one
    /// ([`Arrival::is_alone`]).
    NeedsPartitionCount,
    /// The batch holds rows of the same table in another shape and must be applied first.
    NeedsNewBatch,
    /// No record of this partition can be applied until an operator has acted.
    Stopped(Stop),
}

/// What is known of a change besides its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Debezium's `op`.
    pub op: Op,
    /// Whether the row is an upsert that leans on no other image of it, or a delete: after it, an
    /// earlier dead letter of the key no longer matters.
    pub is_whole: bool,
    /// Where it stands in the source's log.
    pub source_position: Option<SourcePosition>,
    /// How new it is.
    pub age: Age,
}

/// Debezium's operations on rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// `c`: an insert.
    Create,
    /// `u`: an update.
    Update,
    /// `d`, or a tombstone that stands alone: a delete.
    Delete,
    /// `r`: a row of a snapshot.
    Read,
    /// `t`: the table was emptied.
    Truncate,
}

impl Op {
    /// Every operation, in the order of their letters' first use.
    pub const ALL: [Self; 5] =
        [Self::Create, Self::Update, Self::Delete, Self::Read, Self::Truncate];

    /// Returns the operation as metrics spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Read => "read",
            Self::Truncate => "truncate",
        }
    }
}

/// Why a record writes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// The tombstone behind a delete.
    Tombstone,
    /// A heartbeat of the connector.
    Heartbeat,
    /// Metadata of a source transaction.
    Transaction,
    /// A change of the source's schema.
    SchemaChange,
    /// A logical decoding message, or another record of the connector that is no row.
    Message,
    /// A delete or truncate that the settings say to ignore.
    Delete,
}

impl Ignored {
    /// Every kind, in the order of README's sentence on them.
    pub const ALL: [Self; 6] = [
        Self::Tombstone,
        Self::Heartbeat,
        Self::Transaction,
        Self::SchemaChange,
        Self::Message,
        Self::Delete,
    ];

    /// Returns the kind as metrics spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tombstone => "tombstone",
            Self::Heartbeat => "heartbeat",
            Self::Transaction => "transaction",
            Self::SchemaChange => "schema_change",
            Self::Message => "message",
            Self::Delete => "delete",
        }
    }
}

/// A table as a new schema describes it, for which the lane must find the target's side.
#[derive(Debug)]
pub struct LayoutRequest {
    /// Names the request when it is answered.
    pub id: LayoutId,
    /// The source's side.
    pub source: SourceTable,
    /// What stands for the key's schema in its bytes, which choose the partition; `None` where
    /// nothing does.
    pub key_encoding: Option<String>,
    /// Whether the source's side has no columns but the key's, because the record has no row: the
    /// table is only good to delete from. One that does not exist is told to
    /// [`Decoder::learn_absent`].
    pub is_partial: bool,
}

/// A schema of a topic's rows, numbered by the decoder in the order of first sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayoutId(pub u64);

/// The target's side of a table, compiled by the lane's mapping.
#[derive(Clone, Debug)]
pub struct Mapped {
    /// The source's table, with every [`Kind`](crate::decode::value::kind::Kind) resolved.
    pub source: SourceTable,
    /// For each of the source's columns, whether the shape's next column takes it; the cells of a
    /// row follow the source's columns.
    pub is_written: Vec<bool>,
    /// The target's side.
    pub shape: Arc<Shape>,
    /// The text that stands for an unavailable value (`unavailable.value.placeholder`).
    pub placeholder: Arc<str>,
    /// What a flat record's columns say of what happened; `None` for those of a transform.
    pub changelog: Option<Changelog>,
    /// What becomes of records behind a refused one of their key.
    pub after_refused: AfterRefused,
}

/// A record as it reaches the decoder.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Its topic.
    pub topic: &'a Arc<str>,
    /// Its partition.
    pub partition: i32,
    /// The record.
    pub record: Record<'a>,
    /// What its row is indexed under.
    pub origin: Origin,
    /// Whether the newest image of the record's key was refused: a row with an unavailable value is
    /// then refused too.
    pub is_tainted: bool,
    /// Whether its partition is the topic's only one; `None` when nobody has asked yet.
    pub is_alone: Option<bool>,
}

/// A schema as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredSchema {
    /// The schema's text.
    pub text: String,
    /// The texts of the schemas it refers to, in any order.
    pub references: Vec<String>,
}

#[cfg(test)]
mod tests;
