//! The bench's log: the test answers its questions, but for those that every claim asks, which are
//! answered from what the test has set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use uuid::Uuid;

use super::{Caller, names};
use crate::checkpoint::NextOffset;
use crate::identity::{Remembered, TopicIdentity, Trace};
use crate::kafka::log::{Ask, LogError, Watermarks};
use crate::record::TopicPartition;

/// What the test's log answers.
pub(in crate::lane) enum Known {
    Count(usize),
    Ends(BTreeMap<TopicPartition, Watermarks>),
    Committed(BTreeMap<TopicPartition, NextOffset>),
    Compacted(BTreeMap<Arc<str>, Duration>),
}

pub(in crate::lane) type LogAnswer = Result<Known, LogError>;

/// Topics and records as they stand in the log.
#[derive(Debug, Default)]
pub(in crate::lane) struct Logs {
    /// Topics that are not as [`TOPIC`] says; `None` for those that are not there.
    pub(in crate::lane) topics: BTreeMap<String, Option<TopicIdentity>>,
    /// The first records at or behind the offsets that are asked for.
    pub(in crate::lane) traces: BTreeMap<TopicPartition, Trace>,
}

/// What a topic is unless the test says otherwise.
pub(in crate::lane) const TOPIC: TopicIdentity =
    TopicIdentity { id: Some(Uuid::from_u128(1)), partition_count: 2 };

/// What rows remember of such a topic.
pub(in crate::lane) const REMEMBERED: Remembered =
    Remembered { topic_id: TOPIC.id, partitions_seen: Some(TOPIC.partition_count), last: None };

/// The lane's way to the log.
pub(super) struct Shelf {
    pub(super) caller: Caller<LogAnswer>,
    pub(super) logs: Arc<Mutex<Logs>>,
}

impl Ask for Shelf {
    fn partition_count<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<usize, LogError>> {
        Box::pin(async move {
            match self.caller.ask(format!("count {topic}")).await? {
                Known::Count(count) => Ok(count),
                _ => panic!("no partition count"),
            }
        })
    }

    fn watermarks<'a>(
        &'a self,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<BTreeMap<TopicPartition, Watermarks>, LogError>> {
        Box::pin(async move {
            match self.caller.ask(format!("ends{}", names(partitions))).await? {
                Known::Ends(ends) => Ok(ends),
                _ => panic!("no ends"),
            }
        })
    }

    fn compacted<'a>(
        &'a self,
        topics: &'a BTreeSet<Arc<str>>,
    ) -> BoxFuture<'a, BTreeMap<Arc<str>, Duration>> {
        Box::pin(async move {
            let text = topics.iter().map(|topic| format!(" {topic}")).collect::<String>();
            match self.caller.ask(format!("compacted{text}").replace("s.public.", "")).await {
                Ok(Known::Compacted(compacted)) => compacted,
                _ => panic!("no policies"),
            }
        })
    }

    fn committed<'a>(
        &'a self,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<BTreeMap<TopicPartition, NextOffset>, LogError>> {
        Box::pin(async move {
            match self.caller.ask(format!("committed{}", names(partitions))).await? {
                Known::Committed(committed) => Ok(committed),
                _ => panic!("no committed offsets"),
            }
        })
    }

    fn identities<'a>(
        &'a self,
        topics: &'a BTreeSet<Arc<str>>,
    ) -> BoxFuture<'a, Result<BTreeMap<Arc<str>, TopicIdentity>, LogError>> {
        Box::pin(async move {
            let logs = self.logs.lock().unwrap();
            let identity = |topic: &Arc<str>| {
                let name = topic.trim_start_matches("s.public.");
                let set = logs.topics.get(name).copied();
                Some((Arc::clone(topic), set.unwrap_or(Some(TOPIC))?))
            };
            Ok(topics.iter().filter_map(identity).collect())
        })
    }

    fn traces<'a>(
        &'a self,
        offsets: &'a BTreeMap<TopicPartition, i64>,
    ) -> BoxFuture<'a, Result<BTreeMap<TopicPartition, Trace>, LogError>> {
        Box::pin(async move {
            let logs = self.logs.lock().unwrap();
            let trace = |(partition, offset): (&TopicPartition, &i64)| {
                let found = logs.traces.get(partition).filter(|trace| trace.offset >= *offset);
                Some((partition.clone(), *found?))
            };
            Ok(offsets.iter().filter_map(trace).collect())
        })
    }
}
