//! The rebalance callback: sends events to the lanes, waits for their answers, assigns.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError as ClientError, KafkaResult};
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};
use tokio::sync::{mpsc as channel, oneshot};
use tracing::{error, info, warn};

use super::Event;
use crate::checkpoint::NextOffset;
use crate::record::TopicPartition;
use crate::status::StatusBoard;
use crate::telemetry;

/// How long an assignment waits for claims; what is late is assigned paused.
const CLAIM_WAIT: Duration = Duration::from_secs(3);

/// How long a revocation waits for the batch in flight; afterwards the fence takes over.
const RELEASE_WAIT: Duration = Duration::from_secs(5);

/// What a rebalance means for the poll loop.
#[derive(Debug)]
pub(super) enum Change {
    /// Records of the partition go to this lane under this number; a late one is paused until its
    /// position is known.
    Routed { partition: TopicPartition, route: Route, is_late: bool },
    /// Records of the partition go nowhere.
    Unrouted(TopicPartition),
    /// The client refused the assignment: only a new client helps.
    Failed(String),
}

/// Where a partition's records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) lane: usize,
    pub(super) assignment: u64,
}

/// The client's callbacks.
pub(super) struct Context {
    lanes: Vec<channel::UnboundedSender<Event>>,
    outlets: Outlets,
    assignments: Arc<AtomicU64>,
    // Only rebalance callbacks lock it, and they run one after the other on the poll thread.
    lane_by_partition: Mutex<HashMap<TopicPartition, usize>>,
    runtime: tokio::runtime::Handle,
}

/// Where the callbacks leave what they learn.
pub(super) struct Outlets {
    pub(super) changes: mpsc::Sender<Change>,
    pub(super) watermarks: tokio::sync::watch::Sender<Watermarks>,
    pub(super) board: StatusBoard,
}

/// The end of each partition's log as the last fetch saw it: the offset behind the newest record
/// that a consumer of committed records can reach.
pub type Watermarks = HashMap<TopicPartition, i64>;

/// The first positions of an assignment, as lanes offer them to the callback that waits.
#[derive(Debug, Default)]
pub struct Positions {
    // Locked for a moment only, by a lane and by the callback: no lane waits for another here.
    offered: Mutex<Offered>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Offered {
    is_closed: bool,
    positions: HashMap<TopicPartition, NextOffset>,
}

impl Positions {
    /// Offers a position; `false` when the callback waits no longer, so that the partition is
    /// assigned paused and wants a seek.
    pub fn offer(&self, partition: TopicPartition, next: NextOffset) -> bool {
        let mut offered = self.offered.lock().expect("no holder panics");
        if !offered.is_closed {
            offered.positions.insert(partition, next);
            self.arrived.notify_one();
        }
        !offered.is_closed
    }

    /// Takes what is offered until there is as much as expected, or the time is over.
    pub(crate) fn wait(
        &self,
        expected: usize,
        bound: Duration,
    ) -> HashMap<TopicPartition, NextOffset> {
        let offered = self.offered.lock().expect("no holder panics");
        let (mut offered, _) = self
            .arrived
            .wait_timeout_while(offered, bound, |offered| offered.positions.len() < expected)
            .expect("no holder panics");
        offered.is_closed = true;
        std::mem::take(&mut offered.positions)
    }
}

impl Context {
    pub(super) fn new(
        lanes: Vec<channel::UnboundedSender<Event>>,
        outlets: Outlets,
        assignments: Arc<AtomicU64>,
    ) -> Self {
        let runtime = tokio::runtime::Handle::current();
        let lane_by_partition = Mutex::default();
        Self { lanes, outlets, assignments, lane_by_partition, runtime }
    }

    pub(super) fn out_of_range(&self) {
        for lane in &self.lanes {
            _ = lane.send(Event::OutOfRange);
        }
    }

    pub(super) fn close(&self) {
        for lane in &self.lanes {
            _ = lane.send(Event::Closed);
        }
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let partitions = partitions(list);
        info!(count = partitions.len(), "assigned");
        self.outlets.board.set_joined(true);
        let routes = self.route(partitions);
        let positions = self.positions(&routes);
        let (ready, late) = split(&routes, &positions);
        let mut all = ready.clone();
        for element in late.elements() {
            // An absolute offset: one that the client would look up reports a reset instead.
            _ = all.add_partition_offset(element.topic(), element.partition(), Offset::Offset(0));
        }
        for (partition, route) in routes {
            let is_late = !positions.contains_key(&partition);
            self.change(Change::Routed { partition, route, is_late });
        }
        let outcome = consumer
            .incremental_assign(&all)
            .and_then(|()| if late.count() > 0 { consumer.pause(&late) } else { Ok(()) })
            // A pause survives revocation and a new assignment in the same process.
            .and_then(|()| if ready.count() > 0 { consumer.resume(&ready) } else { Ok(()) });
        self.settle(outcome);
        if late.count() > 0 {
            warn!(count = late.count(), "assigned paused: claims are still under way");
        }
    }

    /// Gives each partition to the lane with the fewest.
    fn route(&self, partitions: Vec<TopicPartition>) -> Vec<(TopicPartition, Route)> {
        let mut lane_by_partition = self.lane_by_partition.lock().expect("callbacks never panic");
        let mut loads = vec![0_usize; self.lanes.len()];
        for &lane in lane_by_partition.values() {
            if let Some(load) = loads.get_mut(lane) {
                *load += 1;
            }
        }
        let mut routes = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let least = loads.iter_mut().enumerate().min_by_key(|(_, load)| **load);
            let Some((lane, load)) = least else { break };
            *load += 1;
            lane_by_partition.insert(partition.clone(), lane);
            let assignment = self.assignments.fetch_add(1, Ordering::Relaxed) + 1;
            routes.push((partition, Route { lane, assignment }));
        }
        routes
    }

    /// Asks the lanes to claim, and waits for the positions.
    fn positions(&self, routes: &[(TopicPartition, Route)]) -> HashMap<TopicPartition, NextOffset> {
        let positions = Arc::new(Positions::default());
        for (lane, events) in self.lanes.iter().enumerate() {
            let partitions = routes
                .iter()
                .filter(|(_, route)| route.lane == lane)
                .map(|(partition, route)| (partition.clone(), route.assignment))
                .collect::<Vec<_>>();
            if !partitions.is_empty() {
                let positions = Arc::clone(&positions);
                _ = events.send(Event::Assigned { partitions, positions });
            }
        }
        positions.wait(routes.len(), CLAIM_WAIT)
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let partitions = partitions(list);
        let is_lost = consumer.assignment_lost();
        info!(count = partitions.len(), is_lost, "revoked");
        let mut waits = Vec::new();
        for (lane, partitions) in self.unroute(&partitions) {
            let Some(events) = self.lanes.get(lane) else { continue };
            if is_lost {
                _ = events.send(Event::Lost { partitions });
                continue;
            }
            let (released, wait) = oneshot::channel();
            _ = events.send(Event::Revoked { partitions, released });
            waits.push(wait);
        }
        let all = futures::future::join_all(waits);
        let waited = self.runtime.block_on(async { tokio::time::timeout(RELEASE_WAIT, all).await });
        if waited.is_err() {
            warn!("partitions are not released in time: the next owner's claim fences this member");
        }
        for partition in partitions {
            self.change(Change::Unrouted(partition));
        }
        self.settle(unassign(consumer, list));
    }

    fn unroute(&self, partitions: &[TopicPartition]) -> HashMap<usize, Vec<TopicPartition>> {
        let mut lane_by_partition = self.lane_by_partition.lock().expect("callbacks never panic");
        let mut by_lane = HashMap::<usize, Vec<TopicPartition>>::new();
        for partition in partitions {
            if let Some(lane) = lane_by_partition.remove(partition) {
                by_lane.entry(lane).or_default().push(partition.clone());
            }
        }
        by_lane
    }

    fn settle(&self, outcome: KafkaResult<()>) {
        if let Err(error) = outcome {
            self.change(Change::Failed(error.to_string()));
        }
    }

    fn change(&self, change: Change) {
        // A dropped receiver means that the client is closing: nobody reads records any more.
        _ = self.outlets.changes.send(change);
    }
}

/// Unassigns what of the list is still assigned: the rest would be an error.
fn unassign(consumer: &BaseConsumer<Context>, list: &TopicPartitionList) -> KafkaResult<()> {
    let assigned = partitions(&consumer.assignment()?).into_iter().collect::<BTreeSet<_>>();
    let mut held = TopicPartitionList::new();
    for partition in partitions(list).iter().filter(|partition| assigned.contains(partition)) {
        held.add_partition(&partition.topic, partition.partition);
    }
    if held.count() == 0 { Ok(()) } else { consumer.incremental_unassign(&held) }
}

/// Splits the partitions into those with a position, at it, and those without.
fn split(
    routes: &[(TopicPartition, Route)],
    positions: &HashMap<TopicPartition, NextOffset>,
) -> (TopicPartitionList, TopicPartitionList) {
    let (mut ready, mut late) = (TopicPartitionList::new(), TopicPartitionList::new());
    for (partition, _) in routes {
        let TopicPartition { topic, partition: number } = partition;
        match positions.get(partition) {
            Some(next) => {
                _ = ready.add_partition_offset(topic, *number, Offset::Offset(next.get()));
            }
            None => _ = late.add_partition(topic, *number),
        }
    }
    (ready, late)
}

fn partitions(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let elements = list.elements();
    let mut partitions = elements
        .iter()
        .map(|element| TopicPartition::new(element.topic(), element.partition()))
        .collect::<Vec<_>>();
    partitions.sort();
    partitions
}

impl ClientContext for Context {
    fn stats(&self, statistics: Statistics) {
        // A member without partitions sees no rebalance of its own.
        let is_joined = statistics.cgrp.is_some_and(|group| group.join_state == "steady");
        self.outlets.board.set_joined(is_joined);
        let mut watermarks = Watermarks::new();
        for topic in statistics.topics.values() {
            for partition in topic.partitions.values().filter(|partition| partition.desired) {
                if partition.ls_offset >= 0 {
                    let named = TopicPartition::new(topic.topic.as_str(), partition.partition);
                    watermarks.insert(named, partition.ls_offset);
                }
            }
        }
        self.outlets.watermarks.send_replace(watermarks);
    }

    fn error(&self, error: ClientError, reason: &str) {
        match error.rdkafka_error_code() {
            // The poll loop meets these as well.
            Some(Code::PartitionEOF | Code::AutoOffsetReset) => {}
            // A pattern that nothing matches yet, which was said at the start.
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => {}
            // The client reconnects for ever by itself; the line says what it meets.
            _ => warn!(%error, reason, "kafka client"),
        }
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        metrics::counter!(telemetry::REBALANCES).increment(1);
        match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, list),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => self.revoke(consumer, list),
            other => error!(code = ?other, "the group's rebalance failed"),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            metrics::counter!(telemetry::RETRIES, "reason" => "mirror").increment(1);
            tracing::debug!(%error, "could not mirror offsets");
        }
    }
}
