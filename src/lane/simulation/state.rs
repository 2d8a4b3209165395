//! The database's content: what has committed, and what a batch writes into it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::Planted;
use super::guard::Seen;
use super::guarded::{GUARDED, Guarded};
use super::oracle::{Expected, Row, RowKey};
use crate::batch::{Folded, KeyMark, without_row};
use crate::checkpoint::{Deleted, NextOffset, Step};
use crate::fold::{Taken, Winners};
use crate::identity::Remembered;
use crate::moves::{Departure, MoveRequest, Moved};
use crate::record::TopicPartition;
use crate::refused::DeadLetter;
use crate::rows::{Cell, Cells, Rows, Shape};
use crate::stopped::StopReason;
use crate::table::{Table, TableName};
use crate::target::TargetError;

/// A row's columns by their names.
pub(super) type Columns = BTreeMap<String, Option<Vec<u8>>>;

/// A place in the checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Checkpoint {
    pub(super) next: i64,
    pub(super) deleted: Option<Deleted>,
    pub(super) epoch: i64,
    pub(super) token: Option<Uuid>,
    /// The lane that owns it, by the token of its sessions; `None` after a release.
    pub(super) owner: Option<u64>,
    /// What it remembers of its log.
    pub(super) remembered: Remembered,
    /// Why it is stopped.
    pub(super) stopped: Option<StopReason>,
    /// Lanes that owned it before without a release, and had a session at the last claim.
    pub(super) former: BTreeSet<u64>,
}

/// The key of what was found out about a row's key: partition, transaction, key and place.
type TakenKey = (TopicPartition, i64, Vec<u8>, i64);

/// The key of a value that a row has left: topic, place and column.
type LeftKey = (Arc<str>, String, String);

/// A value that a row has left, if it can be had: NULL, or its cell.
type Left = Option<Option<Vec<u8>>>;

/// All that has committed.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) catalogue: BTreeMap<TableName, Table>,
    pub(super) rows: BTreeMap<(String, Vec<u8>), Columns>,
    pub(super) checkpoints: BTreeMap<TopicPartition, Checkpoint>,
    /// What the guard has seen of each row.
    seen: BTreeMap<(String, Vec<u8>), Seen>,
    /// The change that each guarded row has shown, for the check that none gets older.
    shown: BTreeMap<RowKey, i64>,
    pub(super) letters: BTreeMap<(TopicPartition, i64), u32>,
    pub(super) refused_keys: BTreeSet<(TopicPartition, Vec<u8>)>,
    left: BTreeMap<LeftKey, Left>,
    taken: BTreeMap<TakenKey, (bool, Option<i64>)>,
}

/// One write of a transaction.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Table(Table),
    Row((String, Vec<u8>), Option<Columns>),
    Seen((String, Vec<u8>), Seen),
    Letter(TopicPartition, i64),
    Mark(KeyMark),
    Left(LeftKey, Left),
    Taken(TakenKey, bool, Option<i64>),
    ForgetTaken(TopicPartition, i64, i64),
}

/// What a batch would write, and what its answer must tell.
#[derive(Debug, Default)]
pub(super) struct Planned {
    pub(super) writes: Vec<Write>,
    pub(super) refused: Vec<DeadLetter>,
    /// Whether a row kept a value that its record leaves out.
    pub(super) has_kept: bool,
    /// How many rows the guard has kept out.
    pub(super) older: usize,
}

/// A transaction that is being thought through on a state of its own.
struct Plan<'a> {
    state: State,
    batch: &'a Folded,
    planned: Planned,
    planted: Option<Planted>,
}

impl State {
    /// Works out what a batch writes.
    pub(super) fn plan(
        &self,
        batch: &Folded,
        planted: Option<Planted>,
    ) -> Result<Planned, TargetError> {
        let planned = Planned::default();
        let mut plan = Plan { state: self.clone(), batch, planned, planted };
        plan.run()?;
        Ok(plan.planned)
    }

    /// Writes.
    pub(super) fn make(&mut self, write: &Write) {
        match write.clone() {
            Write::Table(table) => _ = self.catalogue.insert(table.name.clone(), table),
            Write::Row(key, Some(columns)) => _ = self.rows.insert(key, columns),
            Write::Row(key, None) => _ = self.rows.remove(&key),
            Write::Seen(key, seen) => _ = self.seen.insert(key, seen),
            Write::Letter(partition, offset) => {
                *self.letters.entry((partition, offset)).or_default() += 1;
            }
            Write::Mark(KeyMark { partition, key, is_refused: true, .. }) => {
                self.refused_keys.insert((partition, key));
            }
            Write::Mark(KeyMark { partition, key, is_refused: false, .. }) => {
                self.refused_keys.remove(&(partition, key));
            }
            Write::Left(key, value) => _ = self.left.entry(key).or_insert(value),
            Write::Taken(key, was_taken, left_at) => {
                self.taken.entry(key).or_insert((was_taken, left_at)).1 = left_at;
            }
            Write::ForgetTaken(partition, transaction, place) => {
                self.taken.retain(|(of, within, _, came_at), (was_taken, _)| {
                    *was_taken || *of != partition || *within == transaction || *came_at >= place
                });
            }
        }
    }

    /// Returns where a topic's partitions stand.
    pub(super) fn places(&self, topic: &str) -> Vec<(TopicPartition, NextOffset)> {
        let rows = self.checkpoints.iter().filter(|(partition, _)| &*partition.topic == topic);
        rows.map(|(partition, row)| (partition.clone(), NextOffset::at(row.next))).collect()
    }

    /// Finds what a row has left under its old key, or would leave if its batch were written now.
    pub(super) fn find_left(&self, request: &MoveRequest) -> Option<Moved> {
        if let Some((departure, step)) = &request.leaves {
            let mut state = self.clone();
            let left = self.leaving(&request.shape, departure, step);
            left.iter().for_each(|write| state.make(write));
            return state.find_left(&MoveRequest { leaves: None, ..request.clone() });
        }
        let columns = &request.shape.columns;
        let key = |name: &str| (Arc::clone(&request.topic), request.place.clone(), name.to_owned());
        columns.iter().find(|column| self.left.contains_key(&key(&column.name)))?;
        let wanted = request.columns.iter().map(|&column| &columns[column].name);
        let values = wanted.map(|name| self.left.get(&key(name)).cloned().flatten());
        Some(values.collect::<Option<Vec<_>>>().map_or(Moved::Gone, Moved::Values))
    }

    /// Works out what a row leaves behind whose key changes.
    fn leaving(&self, shape: &Shape, departure: &Departure, step: &Step) -> Vec<Write> {
        let key = (shape.table.name.table.clone(), departure.key.clone());
        let of_batch = departure.otherwise.as_deref().map(|cells| columns(shape, cells, None));
        let is_over = departure.half.as_ref().is_some_and(|(half, key)| {
            let (partition, transaction) = (step.partition.clone(), half.transaction);
            let kept = self.taken_at((partition, transaction, key.clone(), half.lsn));
            kept.is_some_and(|kept| kept.is_over(half.lsn))
        });
        let found = self.rows.get(&key).cloned().or(of_batch);
        let found = found.filter(|_| !departure.is_refused && !is_over);
        let left = departure.columns.iter().map(|&column| {
            let name = shape.columns[column].name.clone();
            let value = found.as_ref().map(|found| found[&name].clone());
            let key = (Arc::clone(&step.partition.topic), departure.place.clone(), name);
            Write::Left(key, value)
        });
        left.collect()
    }

    /// Returns what is known of the last row that came to a key up to a place.
    fn taken_at(&self, to: TakenKey) -> Option<Taken> {
        let from = (to.0.clone(), to.1, to.2.clone(), i64::MIN);
        let kept = self.taken.range(from..=to).next_back();
        kept.map(|((_, _, _, came_at), (was_taken, left_at))| Taken {
            came_at: *came_at,
            was_taken: *was_taken,
            left_at: *left_at,
        })
    }

    /// Compares the rows with what they must be, or may be instead.
    pub(super) fn check_rows<'o>(
        &self,
        expected: impl Iterator<Item = (RowKey, Expected<'o>)>,
    ) -> Result<(), String> {
        let mut known = 0;
        for (key, expected) in expected {
            let found = self.row(key);
            known += usize::from(found.is_some() && key.0 != GUARDED);
            let is_there = is_row(found, expected.row);
            if !is_there && !expected.or.is_some_and(|row| is_row(found, row)) {
                return Err(format!("row {key:?} must be {expected:?} and is {}", said(found)));
            }
        }
        match self.rows.keys().filter(|(table, _)| table != GUARDED).count() - known {
            0 => Ok(()),
            others => Err(format!("there are {others} rows of keys that no record has")),
        }
    }

    /// Makes sure that no guarded row has gone back.
    pub(super) fn check_guarded(&mut self, guarded: &Guarded) -> Result<(), String> {
        let mut shown = std::mem::take(&mut self.shown);
        let next = |partition: &TopicPartition| {
            self.checkpoints.get(partition).map_or(0, |checkpoint| checkpoint.next)
        };
        let result = guarded.check(|key, row| is_row(self.row(key), row), next, &mut shown);
        self.shown = shown;
        result
    }

    fn row(&self, (table, id): RowKey) -> Option<&Columns> {
        let cells = [&9_i32.to_be_bytes()[..], &int(id)].concat();
        self.rows.get(&(table.to_owned(), cells))
    }
}

fn is_row(found: Option<&Columns>, expected: Option<&Row>) -> bool {
    let (Some(found), Some(row)) = (found, expected) else {
        return found.is_none() && expected.is_none();
    };
    let note = row.note.as_ref().map(|note| [b"t", note.as_bytes()].concat());
    found.get("count") == Some(&Some(int(row.count))) && found.get("note") == Some(&note)
}

/// Spells an integer as the target's encoder does.
fn int(value: i64) -> Vec<u8> {
    [&b"i"[..], &(value ^ i64::MIN).to_be_bytes()].concat()
}

fn said(found: Option<&Columns>) -> String {
    let Some(columns) = found else { return "missing".to_owned() };
    let text = |value: &Option<Vec<u8>>| match value.as_deref() {
        None => "null".to_owned(),
        Some([b'i', number @ ..]) => number
            .try_into()
            .map_or("?".to_owned(), |number| (i64::from_be_bytes(number) ^ i64::MIN).to_string()),
        Some(text) => String::from_utf8_lossy(text).into_owned(),
    };
    columns.iter().map(|(name, value)| format!("{name}={} ", text(value))).collect()
}

impl Plan<'_> {
    fn run(&mut self) -> Result<(), TargetError> {
        let batch = self.batch;
        for change in &batch.schema_changes {
            let found = self.state.catalogue.get(&change.after.name);
            if found == Some(&*change.after) {
                continue;
            }
            if found != change.before.as_ref() {
                return Err(TargetError::StaleLayout { table: change.after.name.clone() });
            }
            self.write(Write::Table((*change.after).clone()));
        }
        for (rows, winners) in &batch.tables {
            let table = &rows.shape().table;
            if self.state.catalogue.get(&table.name) != Some(&**table) {
                return Err(TargetError::StaleLayout { table: table.name.clone() });
            }
            for departure in rows.departures() {
                let step = &batch.steps[departure.step];
                let left = self.state.leaving(rows.shape(), departure, step);
                left.into_iter().for_each(|write| self.write(write));
            }
            let older = self.sift(rows);
            if older.is_empty() {
                self.write_table(rows, winners);
                continue;
            }
            self.planned.older += older.len();
            let part = batch.without(rows, &older);
            part.tables.iter().for_each(|(rows, winners)| self.write_table(rows, winners));
            self.planned.refused.extend(part.refused);
        }
        let letters = batch.dead_letters.iter().chain(&self.planned.refused);
        let letters = letters.map(|letter| (letter.partition.clone(), letter.record.offset));
        for (partition, offset) in letters.collect::<Vec<_>>() {
            self.write(Write::Letter(partition, offset));
        }
        for (step, last) in &batch.last_halves {
            let partition = batch.steps[*step].partition.clone();
            self.write(Write::ForgetTaken(partition, last.transaction, last.lsn));
        }
        batch.key_marks.iter().for_each(|mark| self.write(Write::Mark(mark.clone())));
        Ok(())
    }

    fn write(&mut self, write: Write) {
        self.state.make(&write);
        self.planned.writes.push(write);
    }

    /// Finds the rows of a guarded table that are older than what it has, and keeps what it has then.
    fn sift(&mut self, rows: &Rows) -> Vec<usize> {
        let mut older = Vec::new();
        if !rows.shape().is_guarded || self.planted == Some(Planted::GuardNotAsked) {
            return older;
        }
        for row in 0..rows.index().len() {
            let Some(seen) = Seen::of(rows, row, &self.batch.steps) else { continue };
            let key = row_key(rows, row);
            let before = self.state.seen.get(&key);
            if before.is_some_and(|before| !seen.is_over(before)) {
                older.push(row);
                continue;
            }
            let seen = seen.behind(before);
            self.write(Write::Seen(key, seen));
        }
        older
    }

    fn write_table(&mut self, rows: &Rows, winners: &Winners) {
        let settled = self.settle(rows, winners);
        self.write_winners(rows, &settled);
    }

    /// Settles which keys were taken when rows moved to them.
    fn settle(&mut self, rows: &Rows, winners: &Winners) -> Winners {
        let found = |row: usize| {
            let (Some(half), index) = (rows.half(row), &rows.index()[row]) else {
                return (None, false);
            };
            let key = rows.named_key(index);
            let partition = self.batch.steps[index.step()].partition.clone();
            let kept = self.state.taken_at((partition, half.transaction, key, half.lsn));
            let is_there = self.state.rows.contains_key(&row_key(rows, row));
            (kept, is_there)
        };
        let verdict = winners.unsettled.verdict(rows, found);
        for (row, taken) in &verdict.kept {
            let (Some(half), index) = (rows.half(*row), &rows.index()[*row]) else { continue };
            let partition = self.batch.steps[index.step()].partition.clone();
            let key = (partition, half.transaction, rows.named_key(index), taken.came_at);
            self.write(Write::Taken(key, taken.was_taken, taken.left_at));
        }
        winners.settled(rows, &verdict)
    }

    fn write_winners(&mut self, rows: &Rows, winners: &Winners) {
        for &row in &winners.deletes {
            self.write(Write::Row(row_key(rows, row), None));
        }
        for &row in &winners.upserts {
            let columns = columns(rows.shape(), rows.cells(&rows.index()[row]), None);
            self.write(Write::Row(row_key(rows, row), Some(columns)));
        }
        let mut missing = Vec::new();
        for &row in &winners.partial {
            let key = row_key(rows, row);
            let Some(stored) = self.state.rows.get(&key).cloned() else {
                missing.push(row);
                continue;
            };
            let nothing = Columns::default();
            let under = if self.planted == Some(Planted::ValueLost) { &nothing } else { &stored };
            let columns = columns(rows.shape(), rows.cells(&rows.index()[row]), Some(under));
            self.planned.has_kept = true;
            self.write(Write::Row(key, Some(columns)));
        }
        self.planned.refused.extend(without_row(rows, &missing, &self.batch.steps));
    }
}

fn table_of(rows: &Rows) -> String {
    rows.shape().table.name.table.clone()
}

/// Returns what identifies a row of a batch in the database.
pub(super) fn row_key(rows: &Rows, row: usize) -> (String, Vec<u8>) {
    (table_of(rows), rows.key(&rows.index()[row]).to_vec())
}

/// Reads cells as columns, those that are unavailable from the row under them.
fn columns(shape: &Shape, cells: &[u8], under: Option<&Columns>) -> Columns {
    let pairs = shape.columns.iter().zip(Cells::new(cells)).map(|(column, cell)| {
        let value = match cell {
            Cell::Null => None,
            Cell::Content(content) => Some(content.to_vec()),
            Cell::Unavailable => under.and_then(|under| under.get(&column.name).cloned().flatten()),
        };
        (column.name.clone(), value)
    });
    pairs.collect()
}

/// Returns the steps that move.
pub(super) fn moving(batch: &Folded) -> Vec<Step> {
    batch.steps.iter().filter(|step| step.moves()).cloned().collect()
}
