//! Changes of keys: a delete and a create, in general in different partitions, which know each other
//! by their place in the source's log.
//!
//! The create may lack a value that only the row under the old key has. So the delete leaves the
//! values behind, under the place, and the create waits until they are there.

use std::sync::Arc;

use crate::rows::{NULL, Shape};

/// What a delete leaves behind when its row goes on under another key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The change's place in the source's log.
    pub place: String,
    /// The partition of its record, as an index into the batch's steps.
    pub step: usize,
    /// The encoded cells of the old key.
    pub key: Vec<u8>,
    /// The columns that a create may lack, as indexes into the shape's.
    pub columns: Arc<[usize]>,
    /// Whether the delete is refused, or a refused record of the key may have had the values.
    pub is_refused: bool,
    /// The cells that the row has if the target has none: it came to the old key in this batch.
    pub otherwise: Option<Vec<u8>>,
}

impl Departure {
    /// Makes what a refused delete leaves: that its row's values are not to be had. No row has NULLs
    /// for its key, which is not known.
    pub fn of_refused(place: String, step: usize, shape: &Shape, columns: Arc<[usize]>) -> Self {
        let key = NULL.to_be_bytes().repeat(shape.key.len());
        Self { place, step, key, columns, is_refused: true, otherwise: None }
    }
}

/// A create's question for the values that it lacks.
#[derive(Clone, Debug)]
pub struct MoveRequest {
    /// The topic of both halves.
    pub topic: Arc<str>,
    /// The create's partition.
    pub partition: i32,
    /// The create's offset.
    pub offset: i64,
    /// The change's place in the source's log.
    pub place: String,
    /// The row's shape.
    pub shape: Arc<Shape>,
    /// The columns it lacks, as indexes into the shape's.
    pub columns: Vec<usize>,
}

/// What the delete has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// The values, in the order of [`MoveRequest::columns`], in the target's own form; `None` is
    /// NULL.
    Values(Vec<Option<Vec<u8>>>),
    /// That there was no row, or one whose values are not to be trusted.
    Gone,
}
