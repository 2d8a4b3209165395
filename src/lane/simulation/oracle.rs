//! The oracle: what the target must hold for the offsets that its checkpoint claims.
//!
//! It knows what each record means from whoever made it, and shares no code with decoding, folding
//! or the lane: a table is a map, and records go into it one by one.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::TopicPartition;

/// A row besides its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) count: i64,
    pub(super) note: Option<String>,
}

/// The key of a row: its table and its id.
pub(super) type RowKey = (&'static str, i64);

/// What a record does to the row of its key.
#[derive(Clone, Debug)]
pub(super) enum Meaning {
    /// The row is this.
    Put(Row),
    /// The row is this but for its note, which stays.
    Update(i64),
    /// There is no row.
    Delete,
    /// There is no row: it goes on under another key, and what it has stays behind at a place.
    Leave(i64),
    /// A row has come here whose note was left behind at a place.
    Arrive(i64, i64),
    /// Nothing that can be read.
    Broken,
}

/// What stands at a record in its log.
type Place = (TopicPartition, i64);

/// A row behind a record of its key.
#[derive(Debug)]
struct Behind {
    place: Place,
    row: Option<Row>,
    /// The row that may stay as well, because the record is known to be a repetition.
    or: Option<Row>,
}

/// All that follows from the logs.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    rows: BTreeMap<RowKey, Row>,
    tainted: BTreeSet<RowKey>,
    left: BTreeMap<i64, Option<Option<String>>>,
    history: BTreeMap<RowKey, Vec<Behind>>,
    /// Records that must be kept as dead letters.
    refused: BTreeSet<Place>,
    /// Records that find no row to lean on: dead letters, unless their batch has a newer whole row.
    baseless: BTreeSet<Place>,
}

impl Oracle {
    /// Takes the next record, in the order the connector sends them.
    pub(super) fn take(&mut self, place: Place, key: Option<RowKey>, meaning: &Meaning) {
        let Some(key) = key else {
            self.refused.insert(place);
            return;
        };
        let is_tainted = self.tainted.contains(&key);
        let or = self.may_stay(key, meaning);
        match meaning {
            Meaning::Put(row) => self.put(key, Some(row.clone())),
            Meaning::Update(_) if is_tainted => _ = self.refused.insert(place.clone()),
            Meaning::Update(count) => match self.rows.get_mut(&key) {
                Some(row) => row.count = *count,
                None => _ = self.baseless.insert(place.clone()),
            },
            Meaning::Delete => self.put(key, None),
            Meaning::Leave(at) => {
                let note = self.rows.get(&key).map(|row| row.note.clone());
                self.left.entry(*at).or_insert(note.filter(|_| !is_tainted));
                self.put(key, None);
            }
            Meaning::Arrive(count, at) => match self.left[at].clone() {
                Some(note) => self.put(key, Some(Row { count: *count, note })),
                None => self.refuse(key, &place),
            },
            Meaning::Broken => self.refuse(key, &place),
        }
        let row = self.rows.get(&key).cloned();
        self.history.entry(key).or_default().push(Behind { place, row, or });
    }

    /// Returns the row that may stay though the record says that it goes: the delete is a repetition,
    /// and what stands there may be known to have come later. The records that the connector repeats
    /// behind it bring the row up to date.
    fn may_stay(&self, key: RowKey, meaning: &Meaning) -> Option<Row> {
        match meaning {
            Meaning::Leave(at) if self.left.contains_key(at) => self.rows.get(&key).cloned(),
            // The tombstone behind that.
            Meaning::Delete => self.history.get(&key)?.last()?.or.clone(),
            _ => None,
        }
    }

    fn put(&mut self, key: RowKey, row: Option<Row>) {
        self.tainted.remove(&key);
        match row {
            Some(row) => _ = self.rows.insert(key, row),
            None => _ = self.rows.remove(&key),
        }
    }

    fn refuse(&mut self, key: RowKey, place: &Place) {
        self.tainted.insert(key);
        self.refused.insert(place.clone());
    }

    /// Returns the tables behind all records so far.
    pub(super) fn rows(&self) -> &BTreeMap<RowKey, Row> {
        &self.rows
    }

    /// Returns the rows as they are where the partitions stand, each with what may stand there
    /// instead.
    pub(super) fn rows_at(
        &self,
        next: impl Fn(&TopicPartition) -> i64,
    ) -> impl Iterator<Item = (RowKey, [Option<&Row>; 2])> {
        self.history.iter().filter_map(move |(key, changes)| {
            // A key has one partition.
            let next = next(&changes.first()?.place.0);
            let applied = changes.partition_point(|behind| behind.place.1 < next);
            let Some(last) = changes[..applied].last() else { return Some((*key, [None, None])) };
            Some((*key, [last.row.as_ref(), last.or.as_ref()]))
        })
    }

    /// Compares what is kept as dead letters with what must and may be, below the next offsets.
    pub(super) fn check_letters(
        &self,
        kept: &BTreeMap<Place, u32>,
        next: impl Fn(&TopicPartition) -> i64,
    ) -> Result<(), String> {
        let is_applied = |(partition, offset): &&Place| *offset < next(partition);
        for place in self.refused.iter().filter(is_applied) {
            if !kept.contains_key(place) {
                return Err(format!("record {}@{} is refused and not kept", place.0, place.1));
            }
        }
        for (place, count) in kept {
            let is_known = self.refused.contains(place) || self.baseless.contains(place);
            if !is_known || !is_applied(&place) || *count != 1 {
                return Err(format!("record {}@{} is kept {count} times", place.0, place.1));
            }
        }
        Ok(())
    }
}
