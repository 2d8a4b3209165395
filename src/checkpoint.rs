//! The checkpoint: the next offset of each partition, and the steps that move it.

use std::fmt;

use uuid::Uuid;

use crate::record::TopicPartition;

/// The first offset that is not yet applied: Kafka's own convention for a committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextOffset(i64);

impl NextOffset {
    /// Takes an offset that is already a next one, as a checkpoint row or a watermark holds it.
    pub const fn at(offset: i64) -> Self {
        Self(offset)
    }

    /// Returns the next offset once the record at `offset` is dealt with.
    pub const fn after(offset: i64) -> Self {
        Self(offset + 1)
    }

    /// Returns the offset as Kafka and the checkpoint row spell it.
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// What a lane holds of a partition that it has claimed: the two marks of the fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Counts the claims of the partition.
    pub epoch: i64,
    /// Drawn anew for each claim, so that an epoch that a restore has brought back proves nothing.
    pub token: Uuid,
}

/// The move of one partition that a transaction makes: it happens only if the row still says `from`
/// and still carries the claim.
#[derive(Clone, Debug)]
pub struct Step {
    /// Which partition moves.
    pub partition: TopicPartition,
    /// The claim under which its records were collected.
    pub claim: Claim,
    /// Where the checkpoint stands before.
    pub from: NextOffset,
    /// Where it stands afterwards.
    pub to: NextOffset,
    /// The last record of the step, as proof of where we were; `None` while it covers none.
    pub last: Option<LastRecord>,
}

impl Step {
    /// Returns whether the step covers an offset.
    pub fn moves(&self) -> bool {
        self.to > self.from
    }

    /// Extends the step over a record.
    ///
    /// Offsets inside a step may be sparse (compaction, control records), but they ascend.
    pub fn extend(&mut self, last: LastRecord) {
        debug_assert!(last.offset >= self.to.get(), "offsets of a partition ascend");
        self.to = NextOffset::after(last.offset);
        let before = self.last.take().and_then(|before| before.source_position);
        self.last = Some(LastRecord { source_position: last.source_position.or(before), ..last });
    }

    /// Returns the delete that is the step's last record, if it is one.
    pub fn deleted(&self) -> Option<Deleted> {
        let last = self.last.as_ref()?;
        Some(Deleted { offset: last.offset, key: last.deleted_key.clone()? })
    }

    /// Extends the step to the log's end, behind offsets that no record stands at any more:
    /// markers of transactions, and what compaction has removed.
    pub fn reach(&mut self, end: NextOffset) {
        self.to = self.to.max(end);
    }
}

/// The last record of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRecord {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp in milliseconds since the epoch.
    pub timestamp: Option<i64>,
    /// Which leadership of the partition has written it, where the client is told.
    pub leader_epoch: Option<i32>,
    /// How far the source was when it wrote the newest change so far.
    pub source_position: Option<SourcePosition>,
    /// Its key, if it is a delete.
    pub deleted_key: Option<Vec<u8>>,
}

/// Where a change stands in the source's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourcePosition {
    /// PostgreSQL's.
    Lsn(i64),
    /// MariaDB's and MySQL's.
    Binlog {
        /// The file's name.
        file: String,
        /// The place in it.
        pos: i64,
    },
}

impl fmt::Display for SourcePosition {
    /// As the connector prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lsn(lsn) => lsn.fmt(f),
            Self::Binlog { file, pos } => write!(f, "{file}:{pos}"),
        }
    }
}

/// A delete that is the last record before an offset: its tombstone, which the connector sends right
/// behind it, is no delete of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Its offset.
    pub offset: i64,
    /// The record's key.
    pub key: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(offset: i64, position: Option<i64>) -> LastRecord {
        let source_position = position.map(SourcePosition::Lsn);
        LastRecord {
            offset,
            timestamp: None,
            leader_epoch: None,
            source_position,
            deleted_key: None,
        }
    }

    #[test]
    fn a_step_ends_behind_its_last_record_and_keeps_the_newest_position() {
        let mut step = Step {
            partition: TopicPartition::new("t", 0),
            claim: Claim { epoch: 1, token: Uuid::nil() },
            from: NextOffset::at(5),
            to: NextOffset::after(5),
            last: Some(last(5, Some(1))),
        };

        step.extend(last(9, None));

        assert_eq!((step.from.get(), step.to.get()), (5, 10));
        assert_eq!(step.last, Some(last(9, Some(1))));

        step.reach(NextOffset::at(12));
        step.reach(NextOffset::at(11));
        assert_eq!((step.from.get(), step.to.get()), (5, 12));
        assert_eq!(step.last, Some(last(9, Some(1))), "no record moved it");
    }

    #[test]
    fn a_position_is_spelled_as_its_connector_does() {
        assert_eq!(SourcePosition::Lsn(-7).to_string(), "-7");
        let binlog = SourcePosition::Binlog { file: "bin.000003".to_owned(), pos: 4 };
        assert_eq!(binlog.to_string(), "bin.000003:4");
    }

    #[test]
    fn only_a_delete_that_is_the_last_record_is_what_a_step_ends_with() {
        let mut step = Step {
            partition: TopicPartition::new("t", 0),
            claim: Claim { epoch: 1, token: Uuid::nil() },
            from: NextOffset::at(5),
            to: NextOffset::at(5),
            last: None,
        };

        step.extend(LastRecord { deleted_key: Some(b"k".to_vec()), ..last(5, None) });
        step.reach(NextOffset::at(7));
        assert_eq!(step.deleted(), Some(Deleted { offset: 5, key: b"k".to_vec() }));

        step.extend(last(7, None));
        assert_eq!(step.deleted(), None);
    }
}
