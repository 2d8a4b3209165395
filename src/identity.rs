//! Identity: what tells that a log is still the one that a checkpoint was made in.
//!
//! The topic's id decides where the brokers give one; the last record that was read tells of all
//! else that was put in its place. Pure: what was found is compared here, and asked for elsewhere.

use std::sync::Arc;

use uuid::Uuid;

use crate::stopped::{Stop, StopReason};

/// What the brokers say of a topic besides its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicIdentity {
    /// Drawn when the topic is made; `None` from brokers before Kafka 2.8.
    pub id: Option<Uuid>,
    /// How many partitions it has.
    pub partition_count: i32,
}

/// What of a record its log cannot repeat by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp in milliseconds since the epoch.
    pub timestamp: Option<i64>,
    /// Which leadership of the partition has written it.
    pub leader_epoch: Option<i32>,
}

/// What a checkpoint's row remembers of its log; a row of an earlier version remembers less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// The topic's id.
    pub topic_id: Option<Uuid>,
    /// How many partitions the topic had.
    pub partitions_seen: Option<i32>,
    /// The last record that was applied.
    pub last: Option<Trace>,
}

/// How keys of a source table are encoded, as a topic's records have shown it: the bytes of a key
/// choose its partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyMet {
    /// The topic.
    pub topic: Arc<str>,
    /// The source table: one topic may hold several.
    pub source: String,
    /// What stands for the key's schema in its bytes.
    pub encoding: String,
    /// Whether the topic has one partition only, so that no key can move.
    pub is_alone: bool,
}

impl Remembered {
    /// Returns why this is not the log that was read; `found` is the record at the offset of the
    /// last one, which compaction and retention may have taken.
    pub fn contradiction(&self, topic: TopicIdentity, found: Option<Trace>) -> Option<Stop> {
        if let (Some(stored), Some(id)) = (self.topic_id, topic.id)
            && stored != id
        {
            let detail = "the topic was deleted and made again: its id is another one; consumer \
                          checkpoint adopt --at earliest reads the new one";
            return Some(Stop::new(StopReason::TopicRecreated, detail));
        }
        let (last, found) = (self.last?, found?);
        let differs = |one: Option<i64>, other: Option<i64>| {
            one.zip(other).is_some_and(|(one, other)| one != other)
        };
        let is_other = last.offset == found.offset
            && (differs(last.timestamp, found.timestamp)
                || differs(last.leader_epoch.map(i64::from), found.leader_epoch.map(i64::from)));
        is_other.then(|| {
            let detail = format!(
                "the record at {} is not the one that was applied: another log stands under the \
                 name; consumer checkpoint adopt --at earliest reads it",
                last.offset
            );
            Stop::new(StopReason::LogReplaced, detail)
        })
    }

    /// Returns whether the topic has more partitions than when it was last read.
    pub fn has_grown(&self, topic: TopicIdentity) -> bool {
        self.partitions_seen.is_some_and(|seen| topic.partition_count > seen)
    }

    /// Takes over what the brokers say; `true` when the row must be told.
    pub fn learn(&mut self, topic: TopicIdentity) -> bool {
        let before = *self;
        self.topic_id = topic.id.or(self.topic_id);
        self.partitions_seen = Some(topic.partition_count);
        *self != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: TopicIdentity = TopicIdentity { id: Some(Uuid::from_u128(1)), partition_count: 3 };

    fn trace(timestamp: i64, leader_epoch: i32) -> Option<Trace> {
        Some(Trace { offset: 7, timestamp: Some(timestamp), leader_epoch: Some(leader_epoch) })
    }

    /// Says the reason by name, or `ok`.
    fn check(stored_id: Option<u128>, last: Option<Trace>, found: Option<Trace>) -> &'static str {
        let topic_id = stored_id.map(Uuid::from_u128);
        let remembered = Remembered { topic_id, partitions_seen: None, last };
        remembered.contradiction(TOPIC, found).map_or("ok", |stop| stop.reason.name())
    }

    #[test]
    fn another_topic_or_another_record_is_another_log() {
        assert_eq!(check(Some(1), trace(5, 0), trace(5, 0)), "ok");
        assert_eq!(check(Some(2), trace(5, 0), trace(5, 0)), "topic_recreated");
        assert_eq!(check(Some(1), trace(5, 0), trace(6, 0)), "log_replaced");
        assert_eq!(check(Some(1), trace(5, 0), trace(5, 1)), "log_replaced");
        assert_eq!(check(None, trace(5, 0), trace(6, 0)), "log_replaced");
    }

    #[test]
    fn what_is_not_known_contradicts_nothing() {
        assert_eq!(check(None, None, None), "ok");
        assert_eq!(check(None, trace(5, 0), None), "ok", "compaction has taken it");
        let later = Some(Trace { offset: 8, timestamp: Some(6), leader_epoch: Some(1) });
        assert_eq!(check(Some(1), trace(5, 0), later), "ok", "the first that compaction has left");
        let bare = Some(Trace { offset: 7, timestamp: None, leader_epoch: None });
        assert_eq!(check(Some(1), trace(5, 0), bare), "ok");
    }

    #[test]
    fn a_row_is_told_once_and_sees_growth() {
        let mut remembered = Remembered::default();
        assert!(!remembered.has_grown(TOPIC), "nobody has counted before");
        assert!(remembered.learn(TOPIC) && !remembered.learn(TOPIC));
        assert!(!remembered.has_grown(TOPIC));
        assert!(remembered.has_grown(TopicIdentity { partition_count: 4, ..TOPIC }));
    }
}
