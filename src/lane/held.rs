//! What a lane holds of each assigned partition.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::batch::KeyMark;
use crate::checkpoint::{Claim, Deleted, NextOffset, Step};
use crate::identity::Remembered;
use crate::kafka::Positions;
use crate::record::TopicPartition;
use crate::stopped::Stop;

use super::refused::{Early, Ruling};

/// The partitions of a lane, in order.
pub(super) type HeldByPartition = BTreeMap<TopicPartition, Held>;

/// One assigned partition.
#[derive(Debug)]
pub(super) struct Held {
    /// Records under older numbers are from before a seek.
    pub(super) assignment: u64,
    /// What it is doing.
    pub(super) state: State,
    /// The marks that its steps carry, once claimed.
    pub(super) claim: Option<Claim>,
    /// Where the checkpoint stands, as last read or committed.
    pub(super) applied: NextOffset,
    /// The last record before that, if it is a delete.
    pub(super) deleted: Option<Deleted>,
    /// The first offset that is not collected yet.
    pub(super) expected: NextOffset,
    /// What the group's coordinator was last told.
    pub(super) mirrored: NextOffset,
    /// Keys whose newest image was refused.
    pub(super) taints: Taints,
    /// How long no owner had shown that it lives, when it was claimed.
    pub(super) unowned: Duration,
    /// What its row remembers of its log.
    pub(super) remembered: Remembered,
    /// Whether the row must be told of its log.
    pub(super) is_identity_due: bool,
    /// Whether it is claimed though it is stopped: an operator may have made its row meanwhile.
    pub(super) is_claim_due: bool,
    /// The callback that waits for the first position.
    pub(super) positions: Option<Arc<Positions>>,
    /// When the checkpoint last moved.
    pub(super) moved_at: Instant,
    /// The place of the move whose delete it waits for, and since when.
    pub(super) waits_for: Option<(String, Instant)>,
    /// What is decided about records that the database has refused, by their offsets.
    pub(super) rulings: BTreeMap<i64, Ruling>,
    /// The record that last had to wait for other rows.
    pub(super) early: Option<Early>,
    /// Whether the stop still has to be written into the checkpoint.
    pub(super) is_mark_due: bool,
}

/// What a partition is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// To be claimed.
    Claiming,
    /// Another group, named here, holds it; to be claimed again at the moment.
    HeldByGroup(String, Instant),
    /// Its first position is being looked up.
    Placing,
    /// Claimed; whether its log is still the one that was read is being found out.
    Proving,
    /// Its records are collected.
    Running,
    /// Paused until something outside answers; the text says what.
    Waiting(&'static str),
    /// Paused until an operator acts.
    Stopped(Stop),
    /// Taken back by the group; to be released after its last batch.
    Leaving,
}

/// What [`State::Waiting`] says of the partition count that the log does not give.
pub(super) const PARTITION_COUNT: &str = "partition count";

/// What [`State::Waiting`] says of a row whose delete under its old key is not applied yet.
pub(super) const MOVE: &str = "move";

/// What [`State::Waiting`] says of a truncate whose table other partitions may still make.
pub(super) const TABLE: &str = "table";

/// What [`State::Waiting`] says of a topic that has more partitions than before.
pub(super) const GROWTH: &str = "partition increase";
/// What [`State::Waiting`] says of a record that the database refuses as long as other rows are, or
/// are not, there.
pub(super) const CONSTRAINT: &str = "constraint";

/// What [`State::Waiting`] says of a partition that another owner has claimed.
pub(super) const FENCED: &str = "fenced";

impl Held {
    /// Starts with a partition that the group has just assigned.
    pub(super) fn new(assignment: u64, positions: Arc<Positions>) -> Self {
        Self {
            assignment,
            state: State::Claiming,
            claim: None,
            applied: NextOffset::at(0),
            deleted: None,
            expected: NextOffset::at(0),
            mirrored: NextOffset::at(0),
            taints: Taints::default(),
            unowned: Duration::ZERO,
            remembered: Remembered::default(),
            is_identity_due: false,
            is_claim_due: false,
            positions: Some(positions),
            moved_at: Instant::now(),
            waits_for: None,
            rulings: BTreeMap::new(),
            early: None,
            is_mark_due: false,
        }
    }

    /// Returns the delete that is the last record before a step's end, if it is one.
    pub(super) fn deleted_behind(&self, step: &Step) -> Option<Deleted> {
        match step.last {
            Some(_) => step.deleted(),
            None => self.deleted.clone(),
        }
    }

    /// Returns whether its log was found to be the one that was read, so that a change of it counts.
    pub(super) fn is_known(&self) -> bool {
        matches!(self.state, State::Running | State::Waiting(_)) && self.claim.is_some()
    }

    /// Returns whether records under this assignment number are to be collected.
    pub(super) fn takes(&self, assignment: u64) -> bool {
        self.state == State::Running && self.assignment == assignment
    }
}

/// Record keys whose newest image was refused: as the checkpoint's transaction has them, and with
/// what was collected since.
#[derive(Debug, Default)]
pub(super) struct Taints {
    committed: HashSet<Vec<u8>>,
    collected: HashSet<Vec<u8>>,
}

impl Taints {
    /// Starts with what a claim has read.
    pub(super) fn new(keys: Vec<Vec<u8>>) -> Self {
        let committed = keys.into_iter().collect::<HashSet<_>>();
        Self { collected: committed.clone(), committed }
    }

    /// Returns whether the key's newest image was refused.
    pub(super) fn contains(&self, key: Option<&[u8]>) -> bool {
        !self.collected.is_empty() && key.is_some_and(|key| self.collected.contains(key))
    }

    /// Returns the keys whose newest image was refused.
    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.collected.iter().map(Vec::as_slice)
    }

    /// Notes that the key's newest image is refused, or whole again; says whether that is new.
    pub(super) fn note(&mut self, key: &[u8], is_refused: bool) -> bool {
        if is_refused {
            self.collected.insert(key.to_vec())
        } else {
            !self.collected.is_empty() && self.collected.remove(key)
        }
    }

    /// Takes a mark over that has committed.
    pub(super) fn commit(&mut self, mark: &KeyMark) {
        if mark.is_refused {
            self.committed.insert(mark.key.clone());
        } else {
            self.committed.remove(&mark.key);
        }
    }

    /// Forgets what was collected since the last commit.
    pub(super) fn rewind(&mut self) {
        self.collected.clone_from(&self.committed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewind_brings_back_what_has_committed_and_nothing_else() {
        let partition = TopicPartition::new("t", 0);
        let mut taints = Taints::new(vec![b"old".to_vec()]);

        assert!(taints.note(b"old", false) && taints.note(b"new", true));
        assert!(!taints.contains(Some(b"old")) && taints.contains(Some(b"new")));
        taints.rewind();
        assert!(taints.contains(Some(b"old")) && !taints.contains(Some(b"new")));

        taints.note(b"new", true);
        taints.commit(&KeyMark { partition, key: b"new".to_vec(), is_refused: true, offset: 1 });
        taints.rewind();
        assert!(taints.contains(Some(b"new")) && !taints.contains(None));
    }
}
