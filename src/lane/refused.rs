//! Refused by the database: what becomes of records whose rows it does not take.
//!
//! The target only says which records they are. The batch is read again, and at such a record the lane
//! does what it does with one that cannot be decoded, so that the record is kept whole in the
//! transaction of the rest. Where other rows decide, they may be another partition's that lags: the
//! record's partition waits first. Nothing of this outlives a claim: who comes next finds it out anew.

use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use crate::batch::{Batch, Folded};
use crate::decode::{Arrival, Decoded};
use crate::record::TopicPartition;
use crate::refused::{Reason, Refusal};
use crate::target::RefusedRow;

use super::Lane;
use super::held::{CONSTRAINT, Held};

/// How long a record waits for rows of other partitions: their member may be away, or their
/// partition stopped.
const PATIENCE: Duration = Duration::from_secs(600);

/// The shortest and the longest pause before a record is tried again: each try is a batch of its own.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// What is to happen at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// The record is refused.
    Refuse(Refusal),
    /// The partition waits before it.
    Wait,
    /// It is tried again, alone.
    Alone,
}

impl Ruling {
    fn is_early(&self) -> bool {
        match self {
            Self::Wait | Self::Alone => true,
            Self::Refuse(_) => false,
        }
    }
}

/// A record that other rows keep from being written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Early {
    offset: i64,
    since: Instant,
    /// When a record was refused because nothing had come for it.
    given_up: Option<Instant>,
}

impl Held {
    /// Decides whether the partition waits once more for what a record lacks. Once that was in vain,
    /// it is not waited for again for a while: the next records may lack the same.
    fn waits_for(&mut self, offset: i64) -> bool {
        let now = Instant::now();
        let fresh = Early { offset, since: now, given_up: None };
        let early = self.early.get_or_insert(fresh);
        let has_given_up = early.given_up.is_some_and(|at| now - at < PATIENCE);
        if !has_given_up && early.offset != offset {
            *early = fresh;
        }
        if has_given_up || now - early.since >= PATIENCE {
            early.given_up = Some(now);
        }
        early.given_up.is_none()
    }

    /// Returns whether a record keeps the partition waiting.
    pub(super) fn has_early(&self) -> bool {
        self.rulings.values().any(Ruling::is_early)
    }

    /// Forgets what is decided about records that are dealt with.
    pub(super) fn forget_rulings(&mut self) {
        self.rulings = self.rulings.split_off(&self.applied.get());
        let is_past = |early: &mut Early| early.offset < self.applied.get();
        _ = self.early.take_if(|early| early.given_up.is_none() && is_past(early));
    }
}

impl Lane {
    /// Decides about records that the database refuses, and reads the batch again.
    pub(super) fn refused(&mut self, batch: &Folded, mut rows: Vec<RefusedRow>) {
        rows.sort_by(|a, b| (&a.partition, a.offset).cmp(&(&b.partition, b.offset)));
        for RefusedRow { partition, offset, fault } in rows {
            let may_come = fault.is_of_others() && self.may_come(&partition, fault.is_taken());
            let Some(held) = self.held.get_mut(&partition) else { continue };
            // Behind a record that waits, all is found out again.
            if held.rulings.range(..offset).any(|(_, ruling)| ruling.is_early()) {
                continue;
            }
            let is_new = !held.rulings.contains_key(&offset);
            let ruling = if may_come && held.waits_for(offset) {
                if is_new {
                    info!(%partition, offset, %fault, "waits for other rows");
                }
                Ruling::Wait
            } else {
                let detail = fault.text;
                let refusal = Refusal::new(Reason::RowRefused, detail);
                let sqlstate = Some(fault.sqlstate);
                Ruling::Refuse(Refusal { table: fault.table, sqlstate, ..refusal })
            };
            let waits = ruling == Ruling::Wait;
            held.rulings.insert(offset, ruling);
            if waits {
                let since = held.early.map(|early| early.since.elapsed()).unwrap_or_default();
                let (shortest, longest) = PAUSES;
                self.look_later(CONSTRAINT, (since / 8).clamp(shortest, longest));
            }
        }
        let changes = [&batch.schema_changes, &self.filling.schema_changes];
        let is_changed = changes.iter().any(|changes| !changes.is_empty());
        self.abandon();
        if is_changed {
            // The tables are not as the layouts have them.
            self.forget_tables();
        }
    }

    /// Returns whether what a record lacks may come from elsewhere. Where one partition has all rows of
    /// the table, what has a unique value has it for good: its own partition waits.
    fn may_come(&mut self, partition: &TopicPartition, is_taken: bool) -> bool {
        if !is_taken {
            return true;
        }
        match self.partition_counts.get(&partition.topic) {
            Some(count) => *count > 1,
            None => {
                self.count_partitions(&partition.topic);
                true
            }
        }
    }

    /// Tries again what waits.
    pub(super) fn try_early(&mut self) {
        for ruling in self.held.values_mut().flat_map(|held| held.rulings.values_mut()) {
            if *ruling == Ruling::Wait {
                *ruling = Ruling::Alone;
            }
        }
    }

    /// Decodes a record into the batch, unless it is refused.
    pub(super) fn decode(&mut self, arrival: Arrival<'_>, ruling: Option<&Ruling>) -> Decoded {
        let Some(Ruling::Refuse(refusal)) = ruling else {
            return self.decoder.decode(arrival, &mut self.filling);
        };
        // What the decoder learns of it counts, and a refusal of its own comes first.
        match self.decoder.decode(arrival, &mut Batch::default()) {
            Decoded::Change(_) | Decoded::Truncate(_) => Decoded::Refused(refusal.clone()),
            other => other,
        }
    }
}
