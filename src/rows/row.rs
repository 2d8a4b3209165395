//! An entry of the index: what one change does, where it comes from, and where its cells lie.

use std::ops::Range;

use super::Origin;

/// What a row of the index does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOp {
    /// The cells are the whole row.
    Upsert,
    /// There are no cells: the row of the key, or of the image before, goes.
    Delete,
}

/// One change in the index.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it does.
    pub op: RowOp,
    /// Whether a cell is unavailable.
    pub is_partial: bool,
    /// Whether the target has had no row of its key before the batch, as its records say.
    pub is_new: bool,
    /// Its record's offset.
    pub offset: i64,
    /// When its record was sent, in milliseconds since the epoch; 0 when nothing says so.
    pub sent_at: i64,
    // There are many rows: two ranges would take as much again as all the rest.
    step: u32,
    key: usize,
    key_length: u32,
    cells: usize,
    cells_length: u32,
}

impl Row {
    /// Describes a change whose key and cells lie there in the buffer.
    ///
    /// # Panics
    ///
    /// The key or the cells are as large as no record can be.
    pub(super) fn new(op: RowOp, origin: Origin, key: &Range<usize>, cells: &Range<usize>) -> Self {
        let Origin { step, offset, sent_at } = origin;
        Self {
            op,
            is_partial: false,
            is_new: false,
            offset,
            sent_at,
            step: u32::try_from(step).expect("a batch has fewer partitions"),
            key: key.start,
            key_length: length(key),
            cells: cells.start,
            cells_length: length(cells),
        }
    }

    /// Returns its partition, as an index into the batch's steps.
    pub fn step(&self) -> usize {
        usize::try_from(self.step).unwrap_or(usize::MAX)
    }

    /// Returns where it comes from.
    pub fn origin(&self) -> Origin {
        Origin { step: self.step(), offset: self.offset, sent_at: self.sent_at }
    }

    pub(super) fn key(&self) -> Range<usize> {
        range(self.key, self.key_length)
    }

    pub(super) fn cells(&self) -> Range<usize> {
        range(self.cells, self.cells_length)
    }

    pub(super) fn set_cells(&mut self, cells: &Range<usize>) {
        (self.cells, self.cells_length) = (cells.start, length(cells));
    }
}

fn length(range: &Range<usize>) -> u32 {
    u32::try_from(range.len()).expect("a record is smaller than 4 GiB")
}

fn range(start: usize, length: u32) -> Range<usize> {
    start..start + usize::try_from(length).unwrap_or(usize::MAX)
}
