//! The oracle: what the target must hold for the offsets that its checkpoint claims.
//!
//! It knows what each record means from whoever made it, and shares no code with decoding, folding
//! or the lane: a table is a map, and records go into it one by one.

use std::collections::{BTreeMap, BTreeSet};

use super::guarded::{Guarded, Image};
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
    /// The row that was here before the last one came goes on under another key, and what it has
    /// stays behind at a place; the last one stays.
    Vacate(i64),
    /// The row is guarded, and was this.
    Image(Image),
    /// Nothing.
    Nothing,
    /// Nothing that can be read.
    Broken,
}

/// What stands at a record in its log.
pub(super) type Place = (TopicPartition, i64);

/// A row behind a record of its key.
#[derive(Debug)]
struct Behind {
    place: Place,
    row: Option<Row>,
    /// What may be there as well, if anything.
    or: Option<Option<Row>>,
}

/// What must stand under a key, and what may instead.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    pub(super) row: Option<&'a Row>,
    pub(super) or: Option<Option<&'a Row>>,
}

impl<'a> Expected<'a> {
    /// Nothing but this may be there.
    pub(super) fn only(row: Option<&'a Row>) -> Self {
        Self { row, or: None }
    }
}

/// All that follows from the logs.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    rows: BTreeMap<RowKey, Row>,
    tainted: BTreeSet<RowKey>,
    /// What rows have left at a place: their notes, if they can be had.
    left: BTreeMap<i64, Option<Option<String>>>,
    /// Places that rows have left after another one had come over them: their notes can be had only
    /// where both came in one batch.
    left_over: BTreeSet<i64>,
    /// What the row had that the last one of its key came over.
    under: BTreeMap<RowKey, Option<Option<String>>>,
    history: BTreeMap<RowKey, Vec<Behind>>,
    pub(super) guarded: Guarded,
    /// Records that must be kept as dead letters.
    refused: BTreeSet<Place>,
    /// Records that may be kept as well: those that find no row to lean on, unless their batch has a
    /// newer whole row, and those whose note may be gone.
    doubtful: BTreeSet<Place>,
}

impl Oracle {
    /// Takes the next record, in the order the connector sends them.
    pub(super) fn take(&mut self, place: Place, key: Option<RowKey>, meaning: &Meaning) {
        let Some(key) = key else {
            self.refused.insert(place);
            return;
        };
        if let Meaning::Image(image) = meaning {
            return self.guarded.take(place, key, image);
        }
        let is_tainted = self.tainted.contains(&key);
        let or = self.may_be(key, meaning);
        let note = self.rows.get(&key).map(|row| row.note.clone()).filter(|_| !is_tainted);
        match meaning {
            Meaning::Put(row) => self.put(key, Some(row.clone())),
            Meaning::Update(_) if is_tainted => _ = self.refused.insert(place.clone()),
            Meaning::Update(count) => match self.rows.get_mut(&key) {
                Some(row) => {
                    row.count = *count;
                    self.doubtful.extend(or.as_ref().map(|_| place.clone()));
                }
                None => _ = self.doubtful.insert(place.clone()),
            },
            Meaning::Delete => self.put(key, None),
            Meaning::Leave(at) => {
                self.left.entry(*at).or_insert(note.clone());
                self.put(key, None);
            }
            Meaning::Vacate(at) => {
                self.left_over.insert(*at);
                let note = self.under[&key].clone().filter(|_| !is_tainted);
                self.left.entry(*at).or_insert(note);
                if is_tainted {
                    // The other row was refused: that which goes is the one that stands here.
                    self.put(key, None);
                }
            }
            Meaning::Arrive(count, at) => match self.left[at].clone() {
                Some(note) => {
                    if self.left_over.contains(at) {
                        self.doubtful.insert(place.clone());
                    }
                    self.put(key, Some(Row { count: *count, note }));
                }
                None => self.refuse(key, &place),
            },
            Meaning::Image(_) | Meaning::Nothing => {}
            Meaning::Broken => self.refuse(key, &place),
        }
        self.under.extend(
            matches!(meaning, Meaning::Put(_) | Meaning::Arrive(..)).then_some((key, note)),
        );
        let row = self.rows.get(&key).cloned();
        self.history.entry(key).or_default().push(Behind { place, row, or });
    }

    /// Returns what may be there as well behind a record.
    ///
    /// That is for as long as no later record of the key is applied that says the whole row, or that
    /// there is none: the records that a repetition brings up to date are such ones, so no alternative
    /// outlives them. Within that span it cannot be told apart: whether a repeated departure counts
    /// depends on what came in one batch, which the logs do not say.
    fn may_be(&self, key: RowKey, meaning: &Meaning) -> Option<Option<Row>> {
        match meaning {
            // The delete is a repetition, and what stands there may be known to have come later. The
            // records that the connector repeats behind it bring the row up to date.
            Meaning::Leave(at) if self.left.contains_key(at) => {
                self.rows.get(&key).map(|row| Some(row.clone()))
            }
            // The tombstone behind that.
            Meaning::Delete | Meaning::Nothing => self.history.get(&key)?.last()?.or.clone(),
            // Refused: what may be there stays.
            Meaning::Broken => self.history.get(&key)?.last()?.or.clone(),
            Meaning::Update(_) if self.tainted.contains(&key) => {
                self.history.get(&key)?.last()?.or.clone()
            }
            // A repetition, by which the last one may count as the one that goes, until the records
            // behind it bring the row up to date.
            Meaning::Vacate(at) if self.left.contains_key(at) => Some(None),
            // The last one was refused, and the one before it goes.
            Meaning::Vacate(_) => self.history.get(&key)?.last()?.or.as_ref().map(|_| None),
            // Refused, where the row is gone.
            Meaning::Update(_) => {
                self.history.get(&key)?.last()?.or.clone().filter(Option::is_none)
            }
            // Refused, because what its row had is gone.
            Meaning::Arrive(_, at) if self.left_over.contains(at) => {
                Some(self.rows.get(&key).cloned())
            }
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
    ) -> impl Iterator<Item = (RowKey, Expected<'_>)> {
        self.history.iter().filter_map(move |(key, changes)| {
            // A key has one partition.
            let next = next(&changes.first()?.place.0);
            let applied = changes.partition_point(|behind| behind.place.1 < next);
            let last = changes[..applied].last();
            let row = last.and_then(|behind| behind.row.as_ref());
            let or = last.and_then(|behind| behind.or.as_ref()).map(Option::as_ref);
            Some((*key, Expected { row, or }))
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
            let is_known = self.refused.contains(place) || self.doubtful.contains(place);
            if !is_known || !is_applied(&place) || *count != 1 {
                return Err(format!("record {}@{} is kept {count} times", place.0, place.1));
            }
        }
        Ok(())
    }
}
