//! The database's row guard: what it has seen of each guarded row, by a plain reading of the rule.

use crate::checkpoint::Step;
use crate::record::TopicPartition;
use crate::rows::Rows;

/// What has brought a row.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    partition: TopicPartition,
    offset: i64,
    /// The place in the source's log; a tombstone has none.
    place: Option<i64>,
    /// The place of the newest change before, where a snapshot has read the row.
    changed: Option<i64>,
    is_read: bool,
    sent_at: i64,
}

impl Seen {
    /// Returns what a row of a batch comes from.
    pub(super) fn of(rows: &Rows, row: usize, steps: &[Step]) -> Option<Self> {
        let (age, origin) = (rows.age(row)?, rows.index()[row].origin());
        Some(Self {
            partition: steps[origin.step].partition.clone(),
            offset: origin.offset,
            place: age.place.map(|place| place.pos),
            changed: None,
            is_read: age.is_snapshot,
            sent_at: origin.sent_at,
        })
    }

    /// Returns whether it goes over what was seen before.
    pub(super) fn is_over(&self, before: &Self) -> bool {
        let is_same_log = self.partition == before.partition;
        if is_same_log && self.offset <= before.offset {
            return self.offset == before.offset;
        }
        let is_later = is_same_log || self.sent_at > before.sent_at;
        let (Some(place), Some(place_before)) = (self.place, before.place) else {
            return is_later;
        };
        match (before.is_read, self.is_read) {
            (false, false) => place >= place_before,
            (true, true) => is_later,
            (false, true) => is_later && place > place_before,
            (true, false) => {
                let is_again = before.changed.is_some_and(|changed| place <= changed);
                place > place_before || is_later && !is_again
            }
        }
    }

    /// Returns what is known once it has gone over what was seen before: a snapshot may stand at a place
    /// before others.
    pub(super) fn behind(mut self, before: Option<&Self>) -> Self {
        if let Some(before) = before.filter(|_| self.is_read) {
            self.place = self.place.max(before.place);
            self.changed = if before.is_read { before.changed } else { before.place };
        }
        self
    }
}
