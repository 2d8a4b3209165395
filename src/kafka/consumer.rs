//! The poll thread: records from the client to the lanes, commands from the lanes to the client.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError as ClientError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::context::{Context, Watermarks};
use super::queue::{Item, Queue, Said};
use super::wanted::Wanted;
use super::{Assignments, Command, Event, Link, Reset, token};
use crate::checkpoint::NextOffset;
use crate::record::TopicPartition;
use crate::settings::BearerToken;
use crate::status::{Pulse, StatusBoard};
use crate::telemetry;

mod hand_over;

use hand_over::Lane;
pub use hand_over::{LaneEnds, RUNS_WAITING};

/// Events that are taken before the commands are looked at again, unless a lane has to be waited for.
const EVENTS_MAX: usize = 100;

/// How long one poll waits when nothing arrives; so long may commands wait, or for a full lane.
const POLL_WAIT: Duration = Duration::from_millis(50);

/// How long the group may take to take back what is assigned, the lanes' release included.
const LEAVE_WAIT: Duration = Duration::from_secs(8);

/// How long a seek may take; it asks no broker.
const SEEK_WAIT: Duration = Duration::from_secs(5);

/// What the poll thread is started with.
pub struct Start {
    /// The client's configuration.
    pub config: ClientConfig,
    /// The token of SASL/OAUTHBEARER, if the configuration wants one.
    pub token: Option<BearerToken>,
    /// Where each lane takes its events and runs.
    pub lanes: Vec<LaneEnds>,
    /// Takes the ends of the partitions' logs every few seconds.
    pub watermarks: tokio::sync::watch::Sender<Watermarks>,
    /// Ends the thread, after the group was left.
    pub shutdown: CancellationToken,
    /// Learns whether the group has taken us in, and that the loop turns.
    pub board: StatusBoard,
}

/// Makes the client, and returns the loop that must run on a thread of its own.
///
/// The loop leaves the group and closes the lanes when it ends; its error means that only a new
/// client helps.
///
/// # Errors
///
/// The client refuses its configuration.
pub fn start(
    start: Start,
) -> Result<(Link, impl FnOnce() -> Result<(), String> + Send + 'static), ClientError> {
    let assignments = Assignments::default();
    let pulse = start.board.watch("poll");
    let wanted = Wanted::of(&start.config);
    let is_static = start.config.get("group.instance.id").is_some();
    let context = Context { watermarks: start.watermarks, board: start.board };
    let consumer = Arc::new(start.config.create_with_context::<_, BaseConsumer<_>>(context)?);
    let coordinator = Arc::clone(&consumer);
    let (link, commands) = Link::new(coordinator, assignments.clone());
    let poll = Poll {
        queue: Queue::of(consumer),
        token: start.token,
        is_static,
        lanes: start.lanes.into_iter().map(Lane::new).collect(),
        assignments,
        commands,
        routes: HashMap::new(),
        last: None,
        wanted,
        seeks: HashMap::new(),
        resets: HashSet::new(),
        held: HashSet::new(),
        has_waited: false,
        runtime: tokio::runtime::Handle::current(),
    };
    let shutdown = start.shutdown;
    Ok((link, move || poll.run(&shutdown, &pulse)))
}

/// The loop and what it owns.
pub(super) struct Poll {
    queue: Queue<Context>,
    token: Option<BearerToken>,
    // Whether the member has an instance id.
    is_static: bool,
    pub(super) lanes: Vec<Lane>,
    pub(super) assignments: Assignments,
    commands: mpsc::Receiver<Command>,
    pub(super) routes: HashMap<TopicPartition, Route>,
    last: Option<(TopicPartition, Route)>,
    wanted: Wanted,
    // Seeks that the client could not do yet.
    seeks: HashMap<TopicPartition, (NextOffset, u64)>,
    // Partitions that the client fetches no more, because the broker lacked a record.
    pub(super) resets: HashSet<TopicPartition>,
    // Partitions that their lane has paused, or not placed yet; back-pressure must not resume them.
    pub(super) held: HashSet<TopicPartition>,
    // Whether a full lane has been waited for.
    has_waited: bool,
    pub(super) runtime: tokio::runtime::Handle,
}

/// Where a partition's records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) lane: usize,
    pub(super) assignment: u64,
}

impl Poll {
    pub(super) fn consumer(&self) -> &BaseConsumer<Context> {
        self.queue.consumer()
    }

    fn run(mut self, shutdown: &CancellationToken, pulse: &Pulse) -> Result<(), String> {
        let outcome = self.poll(shutdown, pulse);
        let left = self.leave(pulse);
        for lane in &self.lanes {
            _ = lane.events.send(Event::Closed);
        }
        outcome.and(left)
    }

    fn poll(&mut self, shutdown: &CancellationToken, pulse: &Pulse) -> Result<(), String> {
        self.give_token();
        while !shutdown.is_cancelled() {
            pulse.beat();
            self.obey()?;
            self.poll_some()?;
        }
        Ok(())
    }

    /// Takes what has arrived, or waits for something.
    fn poll_some(&mut self) -> Result<(), String> {
        self.has_waited = false;
        for _ in 0..EVENTS_MAX {
            if self.has_waited {
                break;
            }
            let Some(item) = self.queue.poll(Duration::ZERO) else {
                // Hand over what was collected before waiting for more.
                self.flush_all()?;
                let arrived = self.queue.poll(POLL_WAIT);
                return arrived.map_or(Ok(()), |item| self.meet(item.said()));
            };
            self.meet(item.said())?;
        }
        Ok(())
    }

    /// Leaves the group: the lanes release what is assigned, on good and on bad ends alike.
    ///
    /// One with an instance id stays a member: its partitions wait for it until its session ends
    /// (KIP-345), and only an unsubscription would tell the coordinator that it is gone.
    fn leave(&mut self, pulse: &Pulse) -> Result<(), String> {
        if self.is_static {
            let partitions = self.routes.keys().cloned().collect::<Vec<_>>();
            return self.revoked(&partitions);
        }
        self.consumer().unsubscribe();
        let until = Instant::now() + LEAVE_WAIT;
        while self.consumer().assignment().is_ok_and(|assigned| assigned.count() > 0) {
            pulse.beat();
            if Instant::now() > until {
                return Err("the group does not let go of what is assigned".into());
            }
            match self.queue.poll(POLL_WAIT).as_ref().map(Item::said) {
                Some(Said::Assigned(partitions)) => self.assigned(partitions)?,
                Some(Said::Revoked(partitions)) => self.revoked(&partitions)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn meet(&mut self, said: Said<'_>) -> Result<(), String> {
        match said {
            Said::Record(message) => self.take(message),
            Said::End(partition, end) => self.end(&partition, end),
            Said::Assigned(partitions) => self.assigned(partitions),
            Said::Revoked(partitions) => self.revoked(&partitions),
            Said::OutOfRange(partition, asked) => self.out_of_range(partition, asked),
            Said::Damaged(partition, at) => self.damaged(partition, at),
            Said::Committed(Ok(())) | Said::Nothing => Ok(()),
            Said::Committed(Err(code)) => {
                metrics::counter!(telemetry::RETRIES, "reason" => "mirror").increment(1);
                debug!(%code, "could not mirror offsets");
                Ok(())
            }
            Said::TokenWanted => {
                self.give_token();
                Ok(())
            }
            Said::Statistics(json) => {
                self.consumer().client().context().learn(json);
                Ok(())
            }
            Said::Failed { code, reason, is_fatal: true } => Err(format!("{code}: {reason}")),
            Said::Failed { code, reason, is_fatal: false } => {
                Context::report(code, &reason);
                Ok(())
            }
        }
    }

    /// Gives the client its token; why there is none comes back in the queue as a failure.
    fn give_token(&self) {
        _ = token::give(self.consumer().client(), self.token.as_ref());
    }

    fn assigned(&mut self, partitions: Vec<TopicPartition>) -> Result<(), String> {
        self.last = None;
        self.wanted.assigned();
        self.assign(partitions).map_err(|error| error.to_string())
    }

    fn revoked(&mut self, partitions: &[TopicPartition]) -> Result<(), String> {
        self.last = None;
        self.revoke(partitions).map_err(|error| error.to_string())
    }

    fn obey(&mut self) -> Result<(), String> {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Pause(partition, assignment) => self.hold(partition, assignment),
                Command::Seek(partition, next, assignment) => {
                    self.seeks.insert(partition, (next, assignment));
                }
                Command::Subscribe(topics) => self.wanted.want(topics),
            }
        }
        self.wanted.take_up(self.queue.consumer())?;
        for (partition, (next, assignment)) in std::mem::take(&mut self.seeks) {
            self.seek(partition, next, assignment)?;
        }
        (0..self.lanes.len()).try_for_each(|lane| self.retry(lane))
    }

    fn hold(&mut self, partition: TopicPartition, assignment: u64) {
        if self.routes.get(&partition).is_some_and(|route| assignment >= route.assignment) {
            self.seeks.remove(&partition);
            self.quietly("pause", self.consumer().pause(&one(&partition)));
            self.held.insert(partition);
        }
    }

    fn seek(
        &mut self,
        partition: TopicPartition,
        next: NextOffset,
        assignment: u64,
    ) -> Result<(), String> {
        let Some(route) = self.routes.get_mut(&partition) else { return Ok(()) };
        if assignment < route.assignment {
            // Asked for before the partition was taken away and came back.
            return Ok(());
        }
        route.assignment = assignment;
        let lane = route.lane;
        self.last = None;
        self.flush(lane, false)?;
        let list = one(&partition);
        // Paused first, so that nothing of the old place is delivered under the new number.
        self.quietly("pause", self.consumer().pause(&list));
        let (topic, number) = (&partition.topic, partition.partition);
        let offset = Offset::Offset(next.get());
        let outcome = if self.resets.contains(&partition) {
            self.assign_anew(&partition, offset)
        } else {
            self.consumer().seek(topic, number, offset, SEEK_WAIT)
        };
        if let Err(error) = outcome {
            // An assignment that the client has not taken up yet: the next turn tries again.
            debug!(%partition, %error, "could not seek");
            // Nor does back-pressure resume it at its old place.
            self.held.insert(partition.clone());
            self.seeks.insert(partition, (next, assignment));
            return Ok(());
        }
        self.resets.remove(&partition);
        self.held.remove(&partition);
        if self.lanes.get(lane).is_some_and(|lane| !lane.is_full()) {
            self.quietly("resume", self.consumer().resume(&list));
        }
        Ok(())
    }

    /// Starts a partition that the client fetches no more: a seek is refused then.
    fn assign_anew(&self, partition: &TopicPartition, offset: Offset) -> KafkaResult<()> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&partition.topic, partition.partition, offset)?;
        if self.unassign(std::slice::from_ref(partition)).is_err() {
            debug!(%partition, "could not unassign");
        }
        self.consumer().incremental_assign(&list)
    }

    /// Tells the lane where the broker has no record, behind all records before it.
    fn out_of_range(&mut self, partition: TopicPartition, asked: NextOffset) -> Result<(), String> {
        let Some(&Route { lane, assignment }) = self.routes.get(&partition) else { return Ok(()) };
        self.end(&partition, asked)?;
        self.resets.insert(partition.clone());
        let reset = Reset { partition, assignment, asked, is_damaged: false };
        self.tell_reset(lane, reset);
        Ok(())
    }

    /// Has a partition stand before damaged records, and tells the lane of them.
    fn damaged(&mut self, partition: TopicPartition, asked: NextOffset) -> Result<(), String> {
        let Some(&Route { lane, assignment }) = self.routes.get(&partition) else { return Ok(()) };
        // What the client has fetched behind them goes with the pause.
        self.quietly("pause", self.consumer().pause(&one(&partition)));
        self.held.insert(partition.clone());
        self.end(&partition, asked)?;
        // Behind them it takes any bytes for offsets: until a seek nothing of the partition is believed.
        let unbelieved = self.assignments.next();
        self.routes.insert(partition.clone(), Route { lane, assignment: unbelieved });
        self.last = None;
        self.tell_reset(lane, Reset { partition, assignment, asked, is_damaged: true });
        Ok(())
    }

    fn tell_reset(&self, lane: usize, reset: Reset) {
        if let Some(lane) = self.lanes.get(lane) {
            _ = lane.events.send(Event::OutOfRange(reset));
        }
    }

    /// Reports what can only fail when the partition has just been taken away.
    fn quietly(&self, what: &str, outcome: Result<(), ClientError>) {
        if let Err(error) = outcome {
            debug!(what, %error, "the client refused");
        }
    }
}

fn one(partition: &TopicPartition) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(&partition.topic, partition.partition);
    list
}

#[cfg(test)]
mod tests;
