//! Rebalances as the poll thread meets them: it has the lanes claim or release, waits for them
//! within a bound, then assigns or unassigns.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{info, warn};

use super::Event;
use super::consumer::{Poll, Route};
use crate::checkpoint::NextOffset;
use crate::record::TopicPartition;
use crate::telemetry;

/// How long an assignment waits for claims; what is late is assigned paused.
const CLAIM_WAIT: Duration = Duration::from_secs(3);

/// How long a revocation waits for the batch in flight; afterwards the fence takes over.
const RELEASE_WAIT: Duration = Duration::from_secs(5);

/// The first positions of an assignment, as lanes offer them to the poll thread that waits.
#[derive(Debug, Default)]
pub struct Positions {
    // Locked for a moment only, by a lane and by the poll thread: no lane waits for another here.
    offered: Mutex<Offered>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Offered {
    is_closed: bool,
    positions: HashMap<TopicPartition, NextOffset>,
}

impl Positions {
    /// Offers a position; `false` when nobody waits any longer, so that the partition is assigned
    /// paused and wants a seek.
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

impl Poll {
    /// Has the lanes claim the partitions that the group gives, and starts to fetch them.
    pub(super) fn assign(&mut self, mut partitions: Vec<TopicPartition>) -> KafkaResult<()> {
        metrics::counter!(telemetry::REBALANCES).increment(1);
        info!(count = partitions.len(), "assigned");
        self.consumer().client().context().board.set_joined(true);
        partitions.sort();
        let routes = self.share_out(partitions);
        let positions = self.positions(&routes);
        let (ready, late) = split(&routes, &positions);
        for (partition, route) in routes {
            // Back-pressure must not resume what waits for its position.
            if positions.contains_key(&partition) {
                self.held.remove(&partition);
            } else {
                self.held.insert(partition.clone());
            }
            self.routes.insert(partition, route);
        }
        let mut all = ready.clone();
        for element in late.elements() {
            // An absolute offset: one that the client would look up reports a reset instead.
            _ = all.add_partition_offset(element.topic(), element.partition(), Offset::Offset(0));
        }
        let consumer = self.consumer();
        consumer.incremental_assign(&all)?;
        if late.count() > 0 {
            consumer.pause(&late)?;
            warn!(count = late.count(), "assigned paused: claims are still under way");
        }
        // A pause survives revocation and a new assignment in the same process.
        if ready.count() > 0 { consumer.resume(&ready) } else { Ok(()) }
    }

    /// Gives each partition to the lane with the fewest.
    fn share_out(&self, partitions: Vec<TopicPartition>) -> Vec<(TopicPartition, Route)> {
        let mut loads = vec![0_usize; self.lanes.len()];
        for route in self.routes.values() {
            if let Some(load) = loads.get_mut(route.lane) {
                *load += 1;
            }
        }
        let mut routes = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let least = loads.iter_mut().enumerate().min_by_key(|(_, load)| **load);
            let Some((lane, load)) = least else { break };
            *load += 1;
            let assignment = self.assignments.next();
            routes.push((partition, Route { lane, assignment }));
        }
        routes
    }

    /// Asks the lanes to claim, and waits for the positions.
    fn positions(&self, routes: &[(TopicPartition, Route)]) -> HashMap<TopicPartition, NextOffset> {
        let positions = Arc::new(Positions::default());
        for (number, lane) in self.lanes.iter().enumerate() {
            let partitions = routes
                .iter()
                .filter(|(_, route)| route.lane == number)
                .map(|(partition, route)| (partition.clone(), route.assignment))
                .collect::<Vec<_>>();
            if !partitions.is_empty() {
                let positions = Arc::clone(&positions);
                _ = lane.events.send(Event::Assigned { partitions, positions });
            }
        }
        positions.wait(routes.len(), CLAIM_WAIT)
    }

    /// Has the lanes give up the partitions that the group takes, and fetches them no more.
    pub(super) fn revoke(&mut self, partitions: &[TopicPartition]) -> KafkaResult<()> {
        metrics::counter!(telemetry::REBALANCES).increment(1);
        let is_lost = self.consumer().assignment_lost();
        info!(count = partitions.len(), is_lost, "revoked");
        let mut waits = Vec::new();
        for (lane, partitions) in self.unroute(partitions) {
            let Some(lane) = self.lanes.get(lane) else { continue };
            if is_lost {
                _ = lane.events.send(Event::Lost { partitions });
                continue;
            }
            let (released, wait) = oneshot::channel();
            _ = lane.events.send(Event::Revoked { partitions, released });
            waits.push(wait);
        }
        let all = futures::future::join_all(waits);
        if self.runtime.block_on(async { timeout(RELEASE_WAIT, all).await }).is_err() {
            warn!("partitions are not released in time: the next owner's claim fences this member");
        }
        self.unassign(partitions)
    }

    fn unroute(&mut self, partitions: &[TopicPartition]) -> HashMap<usize, Vec<TopicPartition>> {
        let mut by_lane = HashMap::<usize, Vec<TopicPartition>>::new();
        for partition in partitions {
            self.held.remove(partition);
            self.resets.remove(partition);
            if let Some(route) = self.routes.remove(partition) {
                by_lane.entry(route.lane).or_default().push(partition.clone());
            }
        }
        by_lane
    }

    /// Unassigns what of the list is still assigned: the rest would be an error.
    pub(super) fn unassign(&self, partitions: &[TopicPartition]) -> KafkaResult<()> {
        let assigned = self.consumer().assignment()?;
        let assigned = assigned.elements();
        let assigned = assigned.iter().map(|it| (it.topic(), it.partition()));
        let assigned = assigned.collect::<BTreeSet<_>>();
        let mut held = TopicPartitionList::new();
        for partition in partitions {
            if assigned.contains(&(&*partition.topic, partition.partition)) {
                held.add_partition(&partition.topic, partition.partition);
            }
        }
        if held.count() == 0 { Ok(()) } else { self.consumer().incremental_unassign(&held) }
    }
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
