//! What the client tells besides records and rebalances: its statistics and its errors.

use std::collections::HashMap;

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};
use rdkafka::{ClientContext, Statistics, TopicPartitionList};
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::record::TopicPartition;
use crate::status::StatusBoard;

/// The end of each partition's log as the last fetch saw it.
pub type Watermarks = HashMap<TopicPartition, LogEnd>;

/// Where a partition's log ends, for those who read committed records and for all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// Behind the newest record that a consumer of committed records can reach.
    pub stable: i64,
    /// Behind the newest record: beyond `stable` while a producer's transaction is open.
    pub high: i64,
}

/// Where the client leaves what it tells.
pub(super) struct Context {
    pub(super) watermarks: watch::Sender<Watermarks>,
    pub(super) board: StatusBoard,
}

impl Context {
    /// Takes the statistics as the client prints them.
    pub(super) fn learn(&self, json: &[u8]) {
        let statistics = match serde_json::from_slice::<Statistics>(json) {
            Ok(statistics) => statistics,
            Err(error) => return debug!(%error, "the client's statistics cannot be read"),
        };
        // A member without partitions sees no rebalance of its own.
        let is_joined = statistics.cgrp.is_some_and(|group| group.join_state == "steady");
        self.board.set_joined(is_joined);
        let is_up = |state: &str| matches!(state, "UP" | "UPDATE" | "REAUTH");
        let is_cut_off = !statistics.brokers.values().any(|broker| is_up(&broker.state));
        self.board.set_cut_off(is_cut_off);
        let mut watermarks = Watermarks::new();
        for topic in statistics.topics.values() {
            for partition in topic.partitions.values().filter(|partition| partition.desired) {
                if partition.ls_offset >= 0 {
                    let named = TopicPartition::new(topic.topic.as_str(), partition.partition);
                    let (stable, high) = (partition.ls_offset, partition.hi_offset);
                    watermarks.insert(named, LogEnd { stable, high });
                }
            }
        }
        self.watermarks.send_replace(watermarks);
    }

    /// Says what failed, unless it is known or expected.
    pub(super) fn report(code: Code, reason: &str) {
        match code {
            // A topic that was deleted, or a pattern that nothing matches yet, which was said at
            // the start.
            Code::UnknownTopicOrPartition | Code::UnknownTopic => {}
            // The client reconnects for ever by itself; the line says what it meets.
            _ => warn!(%code, reason, "kafka client"),
        }
    }
}

impl ClientContext for Context {}

impl ConsumerContext for Context {
    /// Called only for a client that is dropped before it could leave the group: what it still has
    /// assigned must be let go for the client to end, and the fence protects the next owner.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        _code: RDKafkaRespErr,
        _list: &mut TopicPartitionList,
    ) {
        if let Err(error) = consumer.unassign() {
            debug!(%error, "could not unassign at the end");
        }
    }
}
