//! The client: the poll thread as a lane meets it, over the logs of the source.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Planted;
use super::database::short;
use super::group::{Said, Seat};
use super::history::Met;
use super::world::World;
use crate::checkpoint::NextOffset;
use crate::kafka::{Assignments, Command, Event, Positions, Reset};
use crate::record::{Run, TopicPartition};

/// How long a revocation waits for the release.
const RELEASE_WAIT: Duration = Duration::from_secs(5);

/// How long a seek behind an assignment may find that the client has not taken it up.
const TAKE_UP: Duration = Duration::from_millis(500);

/// Where a partition's records go, and from where they come.
struct Route {
    assignment: u64,
    position: i64,
    is_held: bool,
    /// The end of the log that the lane was last told.
    told_end: Option<i64>,
    assigned_at: Instant,
    /// A run that was fetched and not handed over yet.
    ahead: Option<Run>,
}

/// The poll thread.
pub(super) struct Client {
    pub(super) world: Arc<World>,
    pub(super) who: String,
    pub(super) seat: Arc<Seat>,
    pub(super) assignments: Assignments,
    pub(super) commands: std::sync::mpsc::Receiver<Command>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    pub(super) runs: mpsc::Sender<Run>,
    pub(super) shutdown: CancellationToken,
    pub(super) said: Option<mpsc::UnboundedReceiver<Said>>,
    routes: BTreeMap<TopicPartition, Route>,
    /// Runs that found the lane full.
    waiting: VecDeque<Run>,
}

/// What a client is made of.
pub(super) struct Ends {
    pub(super) commands: std::sync::mpsc::Receiver<Command>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    pub(super) runs: mpsc::Sender<Run>,
    pub(super) assignments: Assignments,
}

impl Client {
    pub(super) fn new(seat: Arc<Seat>, ends: Ends, shutdown: CancellationToken) -> Self {
        Self {
            world: Arc::clone(&seat.world),
            who: format!("client {}", seat.lane),
            seat,
            assignments: ends.assignments,
            commands: ends.commands,
            events: ends.events,
            runs: ends.runs,
            shutdown,
            said: None,
            routes: BTreeMap::new(),
            waiting: VecDeque::new(),
        }
    }

    pub(super) async fn run(mut self) {
        self.world.pause(0, 300).await;
        self.join();
        while !self.shutdown.is_cancelled() {
            self.obey();
            self.fetch();
            let turn = self.world.millis(5, 150);
            let said = self.said.as_mut().expect("it has joined").recv();
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => {}
                Some(said) = said => self.hear(said).await,
                () = tokio::time::sleep(turn) => {}
            }
        }
        let held = self.routes.keys().cloned().collect::<Vec<_>>();
        self.revoke(held).await;
        self.world.group().leave(self.seat.member.load(Ordering::Relaxed));
        _ = self.events.send(Event::Closed);
    }

    fn join(&mut self) {
        let (said_tx, said) = mpsc::unbounded_channel();
        let member = self.world.group().join(self.seat.lane, said_tx);
        self.seat.member.store(member, Ordering::Relaxed);
        self.said = Some(said);
    }

    async fn hear(&mut self, said: Said) {
        // A callback comes when the thread gets to it.
        self.world.pause(0, 200).await;
        match said {
            Said::Assigned(partitions) => self.assign(partitions).await,
            Said::Revoked(partitions, released) => {
                self.revoke(partitions).await;
                _ = released.send(());
            }
            Said::Expelled => {
                self.lose();
                self.world.pause(0, 1_000).await;
                self.join();
            }
        }
    }

    fn note_old_records(&self) {
        if self.runs.capacity() < self.runs.max_capacity() {
            self.world.met(Met::OldRecordsInFlight);
        }
    }

    async fn assign(&mut self, partitions: Vec<TopicPartition>) {
        self.note_old_records();
        let numbered = partitions.into_iter().map(|partition| (partition, self.assignments.next()));
        let numbered = numbered.collect::<Vec<_>>();
        let positions = Arc::new(Positions::default());
        let offered = Arc::clone(&positions);
        _ = self.events.send(Event::Assigned { partitions: numbered.clone(), positions: offered });
        let wait = if self.world.one_in(3) { (0, 60) } else { (50, 3_000) };
        let is_planted = self.world.planted == Some(Planted::SeekLost);
        if !is_planted {
            self.world.pause(wait.0, wait.1).await;
        }
        let offered = positions.wait(0, Duration::ZERO);
        for (partition, assignment) in numbered {
            let next = offered.get(&partition).map(|next| next.get());
            let met = if next.is_some() { Met::ClaimInTime } else { Met::ClaimLate };
            self.world.met(met);
            self.world.note(&self.who, || format!("assigns {} at {next:?}", short(&partition)));
            let mirrored = self.world.group().committed.get(&partition).map(|next| next.get());
            let position = if is_planted { mirrored } else { next };
            let route = Route {
                assignment,
                position: position.unwrap_or(0),
                is_held: next.is_none() && !is_planted,
                told_end: None,
                assigned_at: Instant::now(),
                ahead: None,
            };
            self.routes.insert(partition, route);
        }
    }

    async fn revoke(&mut self, partitions: Vec<TopicPartition>) {
        for partition in &partitions {
            self.routes.remove(partition);
        }
        if partitions.is_empty() {
            return;
        }
        self.world.note(&self.who, || {
            let names = partitions.iter().map(|it| format!(" {}", short(it))).collect::<String>();
            format!("is revoked{names}")
        });
        if self.world.database().holds_locks(self.seat.lane) {
            self.world.met(Met::RevokedInFlight);
        }
        let (released, wait) = oneshot::channel();
        _ = self.events.send(Event::Revoked { partitions, released });
        if timeout(RELEASE_WAIT, wait).await.is_err() {
            self.world.met(Met::ReleasedLate);
        }
    }

    /// The group has given the partitions away already.
    fn lose(&mut self) {
        let partitions = std::mem::take(&mut self.routes).into_keys().collect::<Vec<_>>();
        self.world.note(&self.who, || format!("has lost {} partitions", partitions.len()));
        if !partitions.is_empty() {
            self.world.met(Met::PartitionLost);
            _ = self.events.send(Event::Lost { partitions });
        }
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Pause(partition, assignment) => self.hold(&partition, assignment),
                Command::Seek(partition, next, assignment) => {
                    self.seek(&partition, next, assignment);
                }
                Command::Subscribe(topics) => unreachable!("no lane subscribes: {topics:?}"),
            }
        }
    }

    fn hold(&mut self, partition: &TopicPartition, assignment: u64) {
        let route = self.routes.get_mut(partition);
        if let Some(route) = route.filter(|route| assignment >= route.assignment) {
            route.is_held = true;
            self.world.met(Met::Paused);
        }
    }

    fn seek(&mut self, partition: &TopicPartition, next: NextOffset, assignment: u64) {
        let route = self.routes.get_mut(partition);
        let Some(route) = route.filter(|route| assignment >= route.assignment) else { return };
        self.world.met(Met::Sought);
        self.world.note(&self.who, || format!("seeks {} to {}", short(partition), next.get()));
        route.assignment = assignment;
        (route.is_held, route.told_end) = (false, None);
        match self.world.planted {
            // As librdkafka does behind an assignment that it has not taken up.
            Some(Planted::SeekLost) if route.assigned_at.elapsed() < TAKE_UP => {}
            // What was fetched before is handed over under the new number.
            Some(Planted::BufferKept) => {
                if let Some(old) = route.ahead.take() {
                    route.ahead = Some(renumbered(&old, assignment));
                }
                route.position = next.get();
            }
            _ => {
                route.ahead = None;
                route.position = next.get();
            }
        }
        self.note_old_records();
    }

    /// Hands records over, and fetches more.
    fn fetch(&mut self) {
        while let Some(run) = self.waiting.pop_front() {
            if let Err(run) = self.hand_over(run) {
                self.waiting.push_front(run);
                return;
            }
        }
        for partition in self.routes.keys().cloned().collect::<Vec<_>>() {
            if self.routes[&partition].is_held || self.world.one_in(3) {
                continue;
            }
            let next = self.read(&partition);
            let route = self.routes.get_mut(&partition).expect("it has just been there");
            let ready = std::mem::replace(&mut route.ahead, next);
            let Some(mut run) = ready else { continue };
            // A seek may throw that one away: then the batch waits until it is old.
            run.is_followed = route.ahead.is_some();
            if let Err(run) = self.hand_over(run) {
                self.world.met(Met::LaneFull);
                self.waiting.push_back(run);
                return;
            }
        }
    }

    fn hand_over(&self, run: Run) -> Result<(), Run> {
        match self.runs.try_send(run) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(run)) => Err(run),
        }
    }

    /// Reads the next records of a partition, and tells the log's end where it is met.
    fn read(&mut self, partition: &TopicPartition) -> Option<Run> {
        let jump = self.world.jump(partition);
        let route = self.routes.get_mut(partition)?;
        if route.position < jump.low {
            route.is_held = true;
            let (assignment, asked) = (route.assignment, NextOffset::at(route.position));
            let (partition, is_damaged) = (partition.clone(), false);
            let reset = Reset { partition, assignment, asked, is_damaged };
            _ = self.events.send(Event::OutOfRange(reset));
            return None;
        }
        let log = &self.world.source.logs[partition];
        let now = self.world.began.elapsed();
        let from = log.partition_point(|record| record.offset < route.position);
        let count = self.world.draw(|chance| chance.between(1, 12));
        let mut run = Run::new(partition.clone(), route.assignment);
        let visible = log[from..].iter().take_while(|record| record.at <= now);
        for record in visible.take(usize::try_from(count).expect("small")) {
            let (key, value) = (record.sent.key.as_deref(), record.sent.value.as_deref());
            let headers = record.sent.header.map(|name| (name.as_bytes(), Some(&b"{}"[..])));
            run.push(
                (record.offset, Some(jump.timestamp(record.sent_at))),
                key,
                value,
                headers.into_iter(),
            );
            route.position = record.offset + 1;
        }
        let end = self.world.end(partition);
        let is_at_end = log[from + run.len()..].first().is_none_or(|record| record.at > now);
        if is_at_end && route.told_end != Some(end) && route.position <= end {
            (run.end, route.told_end) = (Some(end), Some(end));
            // The client passes over what is no record.
            route.position = end;
        }
        (!run.is_empty() || run.end.is_some()).then_some(run)
    }
}

fn renumbered(old: &Run, assignment: u64) -> Run {
    let mut run = Run::new(old.partition.clone(), assignment);
    run.end = old.end;
    for record in old.iter() {
        let headers = record.headers.parts();
        run.push((record.offset, record.timestamp), record.key, record.value, headers);
    }
    run
}
