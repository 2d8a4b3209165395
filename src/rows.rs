//! The changes of one table and batch, packed: cells in the target's own form, and an index.

use std::borrow::Cow;
use std::hash::BuildHasher as _;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap};
use serde::Deserialize;

use crate::guard::Age;
use crate::moves::Departure;
use crate::refused::KeptRecord;
use crate::table::{Column, Table};

mod row;
mod writer;

pub use row::{Row, RowOp};
pub use writer::{Origin, RowWriter};

/// The length that marks a cell as NULL, as PostgreSQL's binary forms do.
pub const NULL: i32 = -1;

/// The length that marks a cell as unavailable; it never leaves this process.
pub const UNAVAILABLE: i32 = -2;

/// Which columns of a table its rows fill, and what identifies a row.
#[derive(Debug)]
pub struct Shape {
    /// The target's table.
    pub table: Arc<Table>,
    /// The columns that a row writes, in the order of its cells.
    pub columns: Vec<Column>,
    /// The key, as indexes into `columns`, in the key's order; empty when rows are appended.
    pub key: Vec<usize>,
    /// What becomes of updates and deletes when there is no key.
    pub keyless: Keyless,
    /// What a delete does.
    pub deletes: Deletes,
    /// The column that takes the time of the transaction, if any.
    pub synced_at: Option<String>,
    /// Whether the target keeps how new each row is, and takes no older one.
    pub is_guarded: bool,
    /// Whether a row that the target has as it comes is left alone, its time of writing included.
    pub skips_unchanged: bool,
}

impl Shape {
    /// Iterates over the columns that no record and no time of writing fills, nor the target by
    /// itself.
    pub fn others(&self) -> impl Iterator<Item = &Column> {
        let deleted_at = match &self.deletes {
            Deletes::Soft(name) => Some(name),
            Deletes::Hard | Deletes::Ignore => None,
        };
        let is_filled = move |column: &Column| {
            let mut times = self.synced_at.iter().chain(deleted_at);
            self.columns.iter().any(|it| it.name == column.name)
                || times.any(|name| *name == column.name)
        };
        self.table.columns.iter().filter(move |it| !it.generated && !is_filled(it))
    }

    /// Returns the key in the order of its columns' names, which is the same whatever a record's is.
    pub fn key_by_name(&self) -> Vec<usize> {
        let mut key = self.key.clone();
        key.sort_by_key(|&column| self.columns.get(column).map(|column| column.name.as_str()));
        key
    }

    /// Returns whether a row that goes and comes again is as it was.
    pub fn is_replaceable(&self) -> bool {
        self.deletes == Deletes::Hard && self.others().next().is_none()
    }
}

/// What a delete at the source does at the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletes {
    /// The row goes.
    Hard,
    /// The row stays, and this column takes the time of the transaction.
    Soft(String),
    /// Nothing.
    Ignore,
}

/// What becomes of updates and deletes of a table without a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keyless {
    /// They are refused.
    #[default]
    Refuse,
    /// They find exactly one row, by the whole image before.
    Match,
    /// A row as it is after an update is one more row, and a delete is nothing.
    Append,
    /// Nor are new rows taken: the table has a key, which these records lack.
    #[serde(skip)]
    Missing,
}

/// A truncate of a guarded table.
#[derive(Clone, Copy, Debug)]
pub struct Truncate {
    /// Where it comes from.
    pub origin: Origin,
    /// How new it is.
    pub age: Age,
}

/// The changes of one table in the order they came.
///
/// A cell is a length in four big-endian bytes and as many bytes of content, or one of the marks
/// [`NULL`] and [`UNAVAILABLE`] in the length's place.
#[derive(Debug)]
pub struct Rows {
    shape: Arc<Shape>,
    bytes: Vec<u8>,
    index: Vec<Row>,
    kept: Vec<(usize, KeptRecord)>,
    kept_bytes: usize,
    moves: Vec<(usize, Move)>,
    departures: Vec<Departure>,
    touches: Touches,
    is_truncated: bool,
    /// Of a guarded table: its truncates, how new each row is, and the cells that rows had before
    /// others filled them.
    truncates: Vec<Truncate>,
    ages: Vec<Age>,
    unfilled: Vec<(usize, Range<usize>)>,
}

/// How the batch has touched keys, up to a row: found out only once a row leaves its key.
#[derive(Debug, Default)]
struct Touches {
    by_key: HashMap<u64, Touch>,
    next: usize,
    hasher: DefaultHashBuilder,
}

/// How the batch has touched a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// By this row alone.
    Once(usize),
    /// By several rows.
    Often,
}

/// Half of a change of a row's key, which arrives as a delete and a create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Whether this is the create, under the new key.
    pub is_create: bool,
    /// The source's transaction.
    pub transaction: i64,
    /// The change's place in the source's log, which a repeated record has again.
    pub lsn: i64,
    /// Whether this is a create over a key whose newest image was refused: what the target has there
    /// is not to be trusted.
    pub is_over_refused: bool,
}

impl Rows {
    /// Starts without a change.
    pub fn new(shape: Arc<Shape>) -> Self {
        Self {
            shape,
            bytes: Vec::new(),
            index: Vec::new(),
            kept: Vec::new(),
            kept_bytes: 0,
            moves: Vec::new(),
            departures: Vec::new(),
            touches: Touches::default(),
            is_truncated: false,
            truncates: Vec::new(),
            ages: Vec::new(),
            unfilled: Vec::new(),
        }
    }

    /// Notes how new the last change is, if its table is guarded.
    pub fn note_age(&mut self, age: Age) {
        if !self.shape.is_guarded {
            return;
        }
        self.ages.resize(self.index.len().saturating_sub(1), Age::default());
        self.ages.push(age);
    }

    /// Returns how new a row is, if its table is guarded.
    pub fn age(&self, row: usize) -> Option<Age> {
        self.ages.get(row).copied()
    }

    /// Returns how the batch has touched a key so far; keys that hash alike count as one.
    pub fn touch(&mut self, key: &[u8]) -> Option<Touch> {
        let Touches { by_key, next, hasher } = &mut self.touches;
        for (row, entry) in self.index.iter().enumerate().skip(*next) {
            let key = self.bytes.get(entry.key()).unwrap_or_default();
            let touched = by_key.entry(hasher.hash_one(key));
            touched.and_modify(|touch| *touch = Touch::Often).or_insert(Touch::Once(row));
        }
        *next = self.index.len();
        by_key.get(&hasher.hash_one(key)).copied()
    }

    /// Leaves values behind for a create elsewhere.
    pub fn depart(&mut self, departure: Departure) {
        self.kept_bytes += departure.otherwise.as_ref().map_or(0, Vec::len);
        self.departures.push(departure);
    }

    /// Returns what is left behind, in the order of the changes.
    pub fn departures(&self) -> &[Departure] {
        &self.departures
    }

    /// Notes that the last change is half of a change of its row's key.
    pub fn note_move(&mut self, half: Move) {
        self.moves.extend(self.index.len().checked_sub(1).map(|last| (last, half)));
    }

    /// Returns which half of a change of its key a row is, if any.
    pub fn half(&self, row: usize) -> Option<Move> {
        let found = self.moves.binary_search_by_key(&row, |(moved, _)| *moved).ok()?;
        self.moves.get(found).map(|(_, half)| *half)
    }

    /// Iterates over the halves of changed keys, with the rows that they are.
    pub fn halves(&self) -> impl Iterator<Item = (usize, Move)> {
        self.moves.iter().copied()
    }

    /// Takes a truncate: a barrier that no change before it survives. What rows have left behind
    /// stays: they went on under other keys before.
    pub fn truncate(&mut self) {
        let departures = std::mem::take(&mut self.departures);
        *self = Self::new(Arc::clone(&self.shape));
        departures.into_iter().for_each(|departure| self.depart(departure));
        self.is_truncated = true;
    }

    /// Takes a truncate of a guarded table, which is no barrier: what is older than it goes, wherever
    /// it came.
    pub fn outdate(&mut self, origin: Origin, age: Age) {
        self.truncates.push(Truncate { origin, age });
    }

    /// Returns the truncates that are no barriers, in the order they came.
    pub fn truncates(&self) -> &[Truncate] {
        &self.truncates
    }

    /// Returns whether a truncate of either kind has come.
    pub fn has_truncate(&self) -> bool {
        self.is_truncated || !self.truncates.is_empty()
    }

    /// Returns the columns and the key.
    pub fn shape(&self) -> &Arc<Shape> {
        &self.shape
    }

    /// Returns whether the table is emptied before the changes.
    pub fn is_truncated(&self) -> bool {
        self.is_truncated
    }

    /// Returns the changes in the order they came.
    pub fn index(&self) -> &[Row] {
        &self.index
    }

    /// Returns how many bytes the cells and the kept records take.
    pub fn byte_count(&self) -> usize {
        self.bytes.len() + self.kept_bytes
    }

    /// Returns whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty() && self.departures.is_empty() && !self.has_truncate()
    }

    /// Starts an upsert: a cell for each of the shape's columns follows.
    pub fn upsert(&mut self) -> RowWriter<'_> {
        RowWriter::new(self, RowOp::Upsert)
    }

    /// Starts a delete: a cell for each of the key's columns follows.
    pub fn delete(&mut self) -> RowWriter<'_> {
        RowWriter::new(self, RowOp::Delete)
    }

    /// Returns the encoded key cells, which identify the row; without a key, the cells of the whole
    /// image before, if the change has one.
    pub fn key(&self, row: &Row) -> &[u8] {
        self.bytes.get(row.key()).expect("a row's key lies in its buffer")
    }

    /// Returns the key's cells in the order of [`Shape::key_by_name`].
    pub fn key_by_name(&self, row: &Row) -> Cow<'_, [u8]> {
        let (key, by_name) = (self.key(row), self.shape.key_by_name());
        if by_name == self.shape.key {
            return Cow::Borrowed(key);
        }
        let cells = Cells::ranges(key, 0..key.len()).collect::<Vec<_>>();
        let places =
            by_name.iter().filter_map(|it| self.shape.key.iter().position(|key| key == it));
        let sorted = places.filter_map(|place| key.get(cells.get(place)?.clone()));
        Cow::Owned(sorted.collect::<Vec<_>>().concat())
    }

    /// Returns the table's name and the encoded key cells, which identify the row in its topic.
    pub fn named_key(&self, row: &Row) -> Vec<u8> {
        self.name_key(self.key(row))
    }

    /// Returns the table's name and these encoded key cells.
    pub fn name_key(&self, key: &[u8]) -> Vec<u8> {
        [self.shape.table.name.to_string().as_bytes(), b"\0", key].concat()
    }

    /// Returns the encoded cells of an upsert.
    pub fn cells(&self, row: &Row) -> &[u8] {
        self.bytes.get(row.cells()).expect("a row's cells lie in its buffer")
    }

    /// Iterates over the records that rows came from which lean on one of the target's, with the row's
    /// index.
    pub fn kept(&self) -> impl Iterator<Item = (usize, &KeptRecord)> {
        self.kept.iter().map(|(row, record)| (*row, record))
    }

    /// Copies some of the changes as a batch of their own; what rows leave behind, and a truncate,
    /// stay here.
    pub fn part(&self, rows: &[usize]) -> Self {
        let mut part = Self::new(Arc::clone(&self.shape));
        for (&row, at) in rows.iter().zip(0..) {
            let Some(found) = self.index.get(row) else { continue };
            let mut copy = |bytes: &[u8]| {
                let start = part.bytes.len();
                part.bytes.extend_from_slice(bytes);
                start..part.bytes.len()
            };
            let (key, cells) = (copy(self.key(found)), copy(self.cells(found)));
            let mut copied = Row::new(found.op, found.origin(), &key, &cells);
            (copied.is_partial, copied.is_new) = (found.is_partial, found.is_new);
            part.index.push(copied);
            part.moves.extend(self.half(row).map(|half| (at, half)));
            part.ages.extend(self.age(row));
            let kept = self.kept.binary_search_by_key(&row, |(kept, _)| *kept).ok();
            let kept = kept.and_then(|kept| self.kept.get(kept));
            part.kept.extend(kept.map(|(_, record)| (at, record.clone())));
        }
        part
    }

    /// Copies all changes but some, each as its record has it.
    pub fn without(&self, others: &[usize]) -> Self {
        let rows = (0..self.index.len()).filter(|row| others.binary_search(row).is_err());
        let rows = rows.collect::<Vec<_>>();
        let mut unfilled = self.part(&rows);
        for (row, cells) in self.unfilled.iter().rev() {
            let Ok(at) = rows.binary_search(row) else { continue };
            let start = unfilled.bytes.len();
            unfilled.bytes.extend_from_slice(self.bytes.get(cells.clone()).unwrap_or_default());
            let end = unfilled.bytes.len();
            if let Some(copy) = unfilled.index.get_mut(at) {
                copy.set_cells(&(start..end));
                copy.is_partial = true;
            }
        }
        unfilled
    }

    /// Takes from an earlier change of the key whether the target has had its row.
    pub fn follow(&mut self, row: usize, earlier: usize) {
        let is_new = self.index.get(earlier).is_some_and(|earlier| earlier.is_new);
        if let Some(row) = self.index.get_mut(row) {
            row.is_new = is_new;
        }
    }

    /// Fills the unavailable cells of an upsert with those of an earlier one.
    pub fn overlay(&mut self, row: usize, earlier: usize) {
        let (Some(over), Some(under)) = (self.index.get(row), self.index.get(earlier)) else {
            return;
        };
        let start = self.bytes.len();
        let pairs = Cells::ranges(&self.bytes, over.cells())
            .zip(Cells::ranges(&self.bytes, under.cells()))
            .collect::<Vec<_>>();
        let mut is_partial = false;
        for (over, under) in pairs {
            let is_missing = |range: &Range<usize>| {
                self.bytes.get(range.clone()).is_some_and(|cell| cell == UNAVAILABLE.to_be_bytes())
            };
            let chosen = if is_missing(&over) { under } else { over };
            is_partial |= is_missing(&chosen);
            self.bytes.extend_from_within(chosen);
        }
        let end = self.bytes.len();
        if self.shape.is_guarded {
            self.unfilled.push((row, over.cells()));
        }
        if let Some(row) = self.index.get_mut(row) {
            row.set_cells(&(start..end));
            row.is_partial = is_partial;
        }
    }
}

/// Iterates over cells: `None` for NULL and for an unavailable value alike is not enough, so each is
/// a [`Cell`].
#[derive(Clone, Debug)]
pub struct Cells<'a>(&'a [u8]);

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// SQL NULL.
    Null,
    /// Keep what the target has.
    Unavailable,
    /// The value in the target's own form.
    Content(&'a [u8]),
}

impl<'a> Cells<'a> {
    /// Walks the cells that lie in these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Returns how many bytes the cells take that are left.
    pub fn byte_count(&self) -> usize {
        self.0.len()
    }

    /// Copies the cells at some places.
    pub fn chosen(bytes: &[u8], places: &[usize]) -> Vec<u8> {
        let cells = Self::ranges(bytes, 0..bytes.len()).enumerate();
        let chosen = cells.filter(|(place, _)| places.contains(place));
        chosen.filter_map(|(_, range)| bytes.get(range)).collect::<Vec<_>>().concat()
    }

    /// Yields where each cell lies, its length included.
    fn ranges(bytes: &[u8], within: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let mut start = within.start;
        std::iter::from_fn(move || {
            let head = bytes.get(start..within.end)?.first_chunk::<4>()?;
            let content = usize::try_from(i32::from_be_bytes(*head)).unwrap_or(0);
            let range = start..start + 4 + content;
            start = range.end;
            Some(range)
        })
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = Cell<'a>;

    fn next(&mut self) -> Option<Cell<'a>> {
        let (head, tail) = self.0.split_first_chunk::<4>()?;
        let length = i32::from_be_bytes(*head);
        let (cell, rest) = match usize::try_from(length) {
            Ok(length) => {
                let (content, rest) = tail.split_at_checked(length)?;
                (Cell::Content(content), rest)
            }
            Err(_) if length == UNAVAILABLE => (Cell::Unavailable, tail),
            Err(_) => (Cell::Null, tail),
        };
        self.0 = rest;
        Some(cell)
    }
}
