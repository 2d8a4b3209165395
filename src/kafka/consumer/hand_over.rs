//! Handing over: records go to their lanes in runs, and a full lane's partitions are paused.

use std::collections::VecDeque;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use tokio::sync::mpsc as channel;

use super::{Poll, Route, one};
use crate::checkpoint::NextOffset;
use crate::kafka::Event;
use crate::kafka::queue::Message;
use crate::record::{Run, TopicPartition};

/// Records in one run: enough that the hand-over costs nothing a record.
pub(super) const RUN_RECORDS: usize = 350;

/// Bytes in one run: with the channel's length this bounds what waits before a lane. Small ones leave
/// small gaps in the heap when they go.
const RUN_BYTES: usize = 112 * 1024;

/// Runs that wait before a lane.
pub const RUNS_WAITING: usize = 4;

/// How long a full lane holds the poll up before its partitions are paused: longer than a batch
/// usually takes, because a pause throws the records away that the client has fetched ahead, and
/// librdkafka takes up to a second to fetch again.
const FULL_LANE_WAIT: Duration = Duration::from_millis(500);

/// The poll thread's ends of a lane's channels.
#[derive(Clone)]
pub struct LaneEnds {
    /// Rebalances; never full, because a callback must not wait for a slow lane.
    pub events: channel::UnboundedSender<Event>,
    /// Records.
    pub runs: channel::Sender<Run>,
}

/// One lane as the poll thread sees it.
pub(in crate::kafka) struct Lane {
    pub(in crate::kafka) events: channel::UnboundedSender<Event>,
    runs: channel::Sender<Run>,
    filling: Option<Run>,
    // Records and bytes that the next run probably has: those of the last one.
    last: (usize, usize),
    // Runs that found the lane full; not empty exactly while the lane's partitions are paused.
    waiting: VecDeque<Run>,
}

impl Lane {
    pub(super) fn new(LaneEnds { events, runs }: LaneEnds) -> Self {
        Self { events, runs, filling: None, last: (0, 0), waiting: VecDeque::new() }
    }

    /// Returns whether it has not taken all that it was given.
    pub(super) fn is_full(&self) -> bool {
        !self.waiting.is_empty()
    }
}

/// Returns whether the run takes no more records.
fn has_ended(run: &Run) -> bool {
    run.len() >= RUN_RECORDS || run.byte_count() >= RUN_BYTES
}

impl Poll {
    pub(super) fn take(&mut self, message: Message<'_>) -> Result<(), String> {
        let Some((partition, route)) = self.route(message) else { return Ok(()) };
        self.copy(message, &partition, route)?;
        self.last = Some((partition, route));
        Ok(())
    }

    /// Copies a record to the run that is being filled.
    fn copy(
        &mut self,
        message: Message<'_>,
        partition: &TopicPartition,
        route: Route,
    ) -> Result<(), String> {
        let epoch = message.leader_epoch();
        // A full run waits for the next record, so that it can say so, or for the queue to be empty.
        let ends = |run: &Run| has_ended(run) || (!run.is_empty() && run.leader_epoch != epoch);
        let lane = self.lanes.get(route.lane).and_then(|lane| lane.filling.as_ref());
        if lane.is_some_and(ends) {
            self.flush(route.lane, true)?;
        }
        let run = self.filling(partition, route)?;
        run.leader_epoch = epoch;
        let at = (message.offset(), message.timestamp());
        run.push(at, message.key(), message.value(), message.headers());
        Ok(())
    }

    /// Hands the end of a partition's log over, behind all records before it.
    pub(super) fn end(
        &mut self,
        partition: &TopicPartition,
        end: NextOffset,
    ) -> Result<(), String> {
        let Some(&route) = self.routes.get(partition) else { return Ok(()) };
        self.filling(partition, route)?.end = Some(end.get());
        self.flush(route.lane, false)
    }

    /// Returns the run that the next record of a partition goes into.
    fn filling(&mut self, partition: &TopicPartition, route: Route) -> Result<&mut Run, String> {
        let fits = |run: &Run| run.partition == *partition && run.assignment == route.assignment;
        let is_other =
            self.lanes.get(route.lane).is_some_and(|lane| !lane.filling.as_ref().is_some_and(fits));
        if is_other {
            self.flush(route.lane, true)?;
        }
        let lane = self.lanes.get_mut(route.lane).ok_or("a lane has ended")?;
        let room = lane.last;
        let begun = || Run::with_room(partition.clone(), route.assignment, room);
        Ok(lane.filling.get_or_insert_with(begun))
    }

    /// Finds where a record goes; mostly where the one before it went, which is taken out of `last`
    /// and is the caller's to put back.
    fn route(&mut self, message: Message<'_>) -> Option<(TopicPartition, Route)> {
        let last = self.last.take().filter(|(partition, _)| message.is_of(partition));
        last.or_else(|| {
            let partition = TopicPartition::new(message.topic(), message.partition());
            let route = *self.routes.get(&partition)?;
            Some((partition, route))
        })
    }

    pub(super) fn flush_all(&mut self) -> Result<(), String> {
        (0..self.lanes.len()).try_for_each(|lane| self.flush(lane, false))
    }

    /// Hands the run that is being filled to its lane, with whether another is about to follow.
    pub(super) fn flush(&mut self, index: usize, is_followed: bool) -> Result<(), String> {
        let Some(lane) = self.lanes.get_mut(index) else { return Ok(()) };
        let Some(mut run) = lane.filling.take() else { return Ok(()) };
        run.is_followed = is_followed;
        // A little more, so that the next one does not have to move for its last record.
        lane.last = (run.len(), run.byte_count() + run.byte_count() / 8);
        if lane.is_full() {
            // What was in hand when the lane was found full, or a partition that came since; it is
            // resumed with the others.
            let list = one(&run.partition);
            lane.waiting.push_back(run);
            self.quietly("pause", self.consumer().pause(&list));
            return Ok(());
        }
        let full = match lane.runs.try_send(run) {
            Ok(()) => return Ok(()),
            Err(channel::error::TrySendError::Closed(_)) => return Err("a lane has ended".into()),
            Err(channel::error::TrySendError::Full(run)) => run,
        };
        self.has_waited = true;
        let runs = lane.runs.clone();
        let waited = self
            .runtime
            .block_on(async { tokio::time::timeout(FULL_LANE_WAIT, runs.reserve()).await });
        match waited {
            Ok(Ok(place)) => place.send(full),
            Ok(Err(_)) => return Err("a lane has ended".into()),
            Err(_) => {
                lane.waiting.push_back(full);
                let list = self.partitions_of(index);
                self.quietly("pause", self.consumer().pause(&list));
            }
        }
        Ok(())
    }

    /// Hands over what waits for a lane that was full, and resumes its partitions after the last.
    pub(super) fn retry(&mut self, index: usize) -> Result<(), String> {
        let Some(lane) = self.lanes.get_mut(index) else { return Ok(()) };
        if !lane.is_full() {
            return Ok(());
        }
        while let Some(run) = lane.waiting.pop_front() {
            match lane.runs.try_send(run) {
                Ok(()) => {}
                Err(channel::error::TrySendError::Closed(_)) => {
                    return Err("a lane has ended".into());
                }
                Err(channel::error::TrySendError::Full(run)) => {
                    lane.waiting.push_front(run);
                    return Ok(());
                }
            }
        }
        self.quietly("resume", self.consumer().resume(&self.partitions_of(index)));
        Ok(())
    }

    /// Lists the partitions of a lane that the lane itself has not paused.
    fn partitions_of(&self, lane: usize) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (partition, route) in &self.routes {
            if route.lane == lane && !self.held.contains(partition) {
                list.add_partition(&partition.topic, partition.partition);
            }
        }
        list
    }
}
