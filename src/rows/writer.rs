//! Writing a change: its cells one after the other, then its place in the index.

use std::ops::Range;

use super::{Cell, Cells, NULL, Row, RowOp, Rows, UNAVAILABLE};
use crate::decode::value::Value;
use crate::refused::KeptRecord;
use crate::table::{Column, Misfit};

/// Writes one change; dropped before [`RowWriter::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct RowWriter<'a> {
    rows: &'a mut Rows,
    op: RowOp,
    start: usize,
    before: Option<Range<usize>>,
    count: usize,
    is_partial: bool,
    is_new: bool,
    is_finished: bool,
}

/// Where a change comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// Its partition, as an index into the batch's steps.
    pub step: usize,
    /// Its record's offset.
    pub offset: i64,
    /// When its record was sent, in milliseconds since the epoch; 0 when nothing says so.
    pub sent_at: i64,
}

impl<'a> RowWriter<'a> {
    pub(super) fn new(rows: &'a mut Rows, op: RowOp) -> Self {
        let start = rows.bytes.len();
        let (is_partial, is_new, is_finished) = (false, false, false);
        Self { rows, op, start, before: None, count: 0, is_partial, is_new, is_finished }
    }

    /// Returns the column that the next cell belongs to; `None` behind the last one.
    #[inline]
    pub fn column(&self) -> Option<&Column> {
        let shape = &self.rows.shape;
        let index = match self.op {
            RowOp::Upsert => self.count,
            RowOp::Delete => *shape.key.get(self.count)?,
        };
        shape.columns.get(index)
    }

    /// Returns whether the next cell belongs to the key.
    pub fn is_at_key(&self) -> bool {
        self.op == RowOp::Delete || self.rows.shape.key.contains(&self.count)
    }

    /// Returns which columns so far are unavailable.
    pub fn unavailable(&self) -> Vec<usize> {
        let cells = Cells::new(self.rows.bytes.get(self.start..).unwrap_or_default()).enumerate();
        cells.filter(|(_, cell)| *cell == Cell::Unavailable).map(|(column, _)| column).collect()
    }

    /// Returns the cells so far.
    pub fn cells(&self) -> &[u8] {
        self.rows.bytes.get(self.start..).unwrap_or_default()
    }

    /// Puts values in the places of those that are unavailable, in the columns' order.
    pub fn supply(&mut self, values: &[Option<Vec<u8>>]) {
        let mut values = values.iter();
        let mut cells = Vec::new();
        for cell in Cells::new(self.rows.bytes.get(self.start..).unwrap_or_default()) {
            let content = match cell {
                Cell::Content(content) => Some(content),
                Cell::Null => None,
                Cell::Unavailable => values.next().and_then(Option::as_deref),
            };
            let length = content.map_or(NULL, |content| {
                i32::try_from(content.len()).expect("a cell has a 32-bit length")
            });
            cells.extend_from_slice(&length.to_be_bytes());
            cells.extend_from_slice(content.unwrap_or_default());
        }
        self.rows.bytes.truncate(self.start);
        self.rows.bytes.extend_from_slice(&cells);
        self.is_partial = false;
    }

    /// Returns whether a value so far is unavailable.
    pub fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// Takes whether the row is said to be new.
    pub fn note_new(&mut self, is_new: bool) {
        self.is_new = is_new;
    }

    /// Takes the cells so far as the image before; those of the row follow.
    pub fn end_before(&mut self) {
        self.before = Some(self.start..self.rows.bytes.len());
        self.count = 0;
    }

    /// Encodes the next column's value.
    ///
    /// # Errors
    ///
    /// The value does not fit [`RowWriter::column`], which stays as it is; the writer must then be
    /// dropped.
    #[inline(always)]
    pub fn push(&mut self, value: Value<'_>) -> Result<(), Misfit> {
        let column = self.column().ok_or(Misfit::Type)?;
        let (is_not_null, encode, modifier) = (column.not_null, column.encode, column.modifier);
        match value {
            Value::Null if is_not_null => return Err(Misfit::Form),
            Value::Null => self.rows.bytes.extend_from_slice(&NULL.to_be_bytes()),
            Value::Unavailable => {
                self.is_partial = true;
                self.rows.bytes.extend_from_slice(&UNAVAILABLE.to_be_bytes());
            }
            value => {
                let head = self.rows.bytes.len();
                self.rows.bytes.extend_from_slice(&[0; 4]);
                encode.ok_or(Misfit::Type)?(value, modifier, &mut self.rows.bytes)?;
                let length = self.rows.bytes.len() - head - 4;
                let length = i32::try_from(length).map_err(|_| Misfit::Length)?;
                let slot = self.rows.bytes.get_mut(head..head + 4).ok_or(Misfit::Length)?;
                slot.copy_from_slice(&length.to_be_bytes());
            }
        }
        self.count += 1;
        Ok(())
    }

    /// Adds the change to the index, with the record it was made from when it leans on a row of the
    /// target's: a value is unavailable, or the row is found by its image before.
    ///
    /// # Errors
    ///
    /// The index of the key's column that is NULL or unavailable; nothing is left behind.
    pub fn finish(mut self, origin: Origin, record: impl Into<KeptRecord>) -> Result<(), usize> {
        let start = self.before.as_ref().map_or(self.start, |before| before.end);
        let cells = start..self.rows.bytes.len();
        // A key that lacks a column would stand for another row.
        if self.op == RowOp::Delete && (self.column().is_some() || self.is_partial) {
            return Err(self.count);
        }
        let key = match (self.op, &self.before) {
            (_, Some(before)) => before.clone(),
            (RowOp::Upsert, None) => self.place_key(cells.clone())?,
            (RowOp::Delete, None) => cells.clone(),
        };
        if self.is_partial || self.before.is_some() {
            self.keep(record);
        }
        let mut row = Row::new(self.op, origin, &key, &cells);
        (row.is_partial, row.is_new) = (self.is_partial, self.is_new);
        self.rows.index.push(row);
        self.is_finished = true;
        Ok(())
    }

    /// Adds a delete of the row whose key is among the cells, of which others may be unavailable, or
    /// of the row that is equal to the image before.
    ///
    /// # Errors
    ///
    /// As for [`RowWriter::finish`].
    pub fn finish_delete(
        mut self,
        origin: Origin,
        record: impl Into<KeptRecord>,
    ) -> Result<(), usize> {
        let key = match self.before.take() {
            Some(before) => {
                self.keep(record);
                before
            }
            None => self.place_key(self.start..self.rows.bytes.len())?,
        };
        self.rows.index.push(Row::new(RowOp::Delete, origin, &key, &key));
        self.is_finished = true;
        Ok(())
    }

    fn keep(&mut self, record: impl Into<KeptRecord>) {
        let record = record.into();
        self.rows.kept_bytes += record.byte_count();
        self.rows.kept.push((self.rows.index.len(), record));
    }

    /// Returns where the key's cells lie as one run of bytes: among the row's own where they follow one
    /// another, else copied behind them.
    fn place_key(&mut self, cells: Range<usize>) -> Result<Range<usize>, usize> {
        let Rows { shape, bytes, .. } = &mut *self.rows;
        let start = bytes.len();
        let mut run = start..start;
        for &column in &shape.key {
            let found = Cells::ranges(bytes, cells.clone()).nth(column);
            let is_mark = |cell: &Range<usize>| bytes.get(cell.start).is_none_or(|it| *it == 0xff);
            let found = found.filter(|cell| cell.len() > 4 || !is_mark(cell)).ok_or(column)?;
            if run.is_empty() {
                run = found;
            } else if run.end == found.start {
                run.end = found.end;
            } else {
                if run.start < start {
                    bytes.extend_from_within(run);
                }
                bytes.extend_from_within(found);
                run = start..bytes.len();
            }
        }
        Ok(run)
    }
}

impl Drop for RowWriter<'_> {
    fn drop(&mut self) {
        if !self.is_finished {
            self.rows.bytes.truncate(self.start);
        }
    }
}
