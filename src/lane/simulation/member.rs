//! A member: a process with its client, its lane and its writer, that can freeze and crash.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::client::{Client, Ends};
use super::group::Seat;
use super::guarded::GUARDED;
use super::history::Met;
use super::target::Connection;
use super::world::World;
use crate::checkpoint::NextOffset;
use crate::identity::{TopicIdentity, Trace};
use crate::kafka::log::{Ask, LogError, Watermarks};
use crate::kafka::{Assignments, Link, RUNS_WAITING};
use crate::lane::{Jitter, Lane, Limits, Parts, Window};
use crate::mapping::Mapping;
use crate::record::TopicPartition;
use crate::rules::{DeletePolicy, Pattern, Rules, TableSection};
use crate::settings::{SchemaChanges, Tables};
use crate::status::StatusBoard;
use crate::target::Target as _;

/// What holds all tasks of a process up while it is frozen.
#[derive(Debug, Default)]
struct Gate(Mutex<Frozen>);

#[derive(Debug, Default)]
struct Frozen {
    since: Option<Instant>,
    wakers: Vec<Waker>,
}

/// A task that turns only while its process is not frozen.
struct Gated {
    gate: Arc<Gate>,
    task: BoxFuture<'static, ()>,
}

impl Future for Gated {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut frozen = self.gate.0.lock().unwrap();
        if frozen.since.is_some() {
            frozen.wakers.push(context.waker().clone());
            return Poll::Pending;
        }
        drop(frozen);
        self.task.as_mut().poll(context)
    }
}

/// A process. Dropped, it has crashed.
pub(super) struct Member {
    world: Arc<World>,
    pub(super) lane: u64,
    gate: Arc<Gate>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Member {
    /// Starts a process, whose lane is the only one with that number.
    pub(super) fn start(world: &Arc<World>, lane: u64) -> Self {
        let seat = Seat { world: Arc::clone(world), lane, member: AtomicU64::new(0) };
        let (seat, assignments) = (Arc::new(seat), Assignments::default());
        let (link, commands) = Link::new(Arc::clone(&seat) as _, assignments.clone());
        let (events_tx, events) = mpsc::unbounded_channel();
        let (runs_tx, runs) = mpsc::channel(RUNS_WAITING);
        let ends = Ends { commands, events: events_tx, runs: runs_tx, assignments };
        let shutdown = CancellationToken::new();
        let client = Client::new(seat, ends, shutdown.clone());
        let board = StatusBoard::default();
        let (_, watermarks) = watch::channel(HashMap::new());
        let pulse = board.watch("lane 0");
        let parts = Parts {
            limits: limits(world),
            link,
            log: Arc::new(Log(Arc::clone(world))),
            registry: None,
            mapping: mapping(),
            events,
            runs,
            window: Window { board, lane: 0, pulse, watermarks },
            jitter: Jitter::new(world.draw(super::chance::Chance::number)),
        };
        let target = Connection::new(Arc::clone(world), lane, format!("lane {lane}"));
        let (lane_loop, writer) = Lane::with_writer(parts, target, false);
        let (gate, mut tasks) = (Arc::<Gate>::default(), JoinSet::new());
        let all: [BoxFuture<'static, ()>; 3] =
            [Box::pin(client.run()), Box::pin(lane_loop.run()), Box::pin(writer.run())];
        for task in all {
            tasks.spawn(Gated { gate: Arc::clone(&gate), task });
        }
        world.note(&format!("lane {lane}"), || "starts".to_owned());
        Self { world: Arc::clone(world), lane, gate, shutdown, tasks }
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.gate.0.lock().unwrap().since.is_some()
    }

    pub(super) fn freeze(&self) {
        if self.is_frozen() {
            return;
        }
        self.gate.0.lock().unwrap().since = Some(Instant::now());
        self.world.group().hear(self.lane, true);
        self.world.strike(Met::MemberFroze, &self.who(), || "freezes".to_owned());
        if self.world.database().holds_locks(self.lane) {
            self.world.met(Met::FrozenInTransaction);
        }
    }

    pub(super) fn wake(&self) {
        let mut frozen = self.gate.0.lock().unwrap();
        if frozen.since.take().is_none() {
            return;
        }
        frozen.wakers.drain(..).for_each(Waker::wake);
        drop(frozen);
        if !self.world.group().is_member(self.lane) {
            self.world.met(Met::ZombieWoke);
        }
        self.world.group().hear(self.lane, false);
        self.world.note(&self.who(), || "wakes".to_owned());
    }

    pub(super) fn crash(self) {
        self.world.group().hear(self.lane, true);
        self.world.strike(Met::MemberCrashed, &self.who(), || "crashes".to_owned());
    }

    pub(super) fn shut_down(&self) {
        if self.shutdown.is_cancelled() {
            return;
        }
        self.leave();
        self.world.strike(Met::ShutDown, &self.who(), || "is shut down".to_owned());
        if self.world.database().holds_locks(self.lane) {
            self.world.met(Met::ShutDownInFlight);
        }
    }

    /// Has the member leave the group and end.
    pub(super) fn leave(&self) {
        self.shutdown.cancel();
    }

    /// Returns whether all tasks have ended; one that has panicked is a violation.
    pub(super) fn has_ended(&mut self) -> bool {
        while let Some(ended) = self.tasks.try_join_next() {
            if let Err(error) = ended {
                let what = format!("lane {}: a task has panicked: {error}", self.lane);
                self.world.history().violate(&what);
            }
        }
        self.tasks.is_empty()
    }

    fn who(&self) -> String {
        format!("lane {}", self.lane)
    }
}

fn limits(world: &World) -> Limits {
    Limits {
        batch_rows: world.draw(|chance| *chance.pick(&[1, 3, 8, 100])),
        batch_bytes: 1 << 20,
        batch_age: world.millis(20, 800),
        stop_on_refused: false,
    }
}

fn mapping() -> Mapping {
    let mut guarded = TableSection::default();
    guarded.row_guard = true;
    let rules = Rules {
        targets: Vec::new(),
        tables: vec![(Pattern::new(format!("public.{GUARDED}")), guarded)],
        sources: BTreeMap::new(),
        deletes: DeletePolicy::Hard,
        deleted_at_column: "deleted_at".to_owned(),
    };
    let schema_changes = SchemaChanges::Apply;
    Mapping::new(
        Tables { rules, schema_changes, synced_at_column: None, skips_unchanged: false },
        Connection::DIALECT,
    )
}

/// The log as one asks it questions.
struct Log(Arc<World>);

impl Ask for Log {
    fn partition_count<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<usize, LogError>> {
        Box::pin(async move {
            self.0.pause(1, 100).await;
            Ok(self.0.partitions().filter(|partition| &*partition.topic == topic).count())
        })
    }

    fn watermarks<'a>(
        &'a self,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<BTreeMap<TopicPartition, Watermarks>, LogError>> {
        Box::pin(async move {
            self.0.pause(1, 100).await;
            let ends = partitions.iter().map(|partition| {
                let high = NextOffset::at(self.0.end(partition));
                let low = NextOffset::at(self.0.jump(partition).low);
                (partition.clone(), Watermarks { low, high })
            });
            Ok(ends.collect())
        })
    }

    fn compacted<'a>(
        &'a self,
        _topics: &'a BTreeSet<Arc<str>>,
    ) -> BoxFuture<'a, BTreeMap<Arc<str>, Duration>> {
        Box::pin(async { BTreeMap::new() })
    }

    fn identities<'a>(
        &'a self,
        topics: &'a BTreeSet<Arc<str>>,
    ) -> BoxFuture<'a, Result<BTreeMap<Arc<str>, TopicIdentity>, LogError>> {
        Box::pin(async move {
            self.0.pause(1, 100).await;
            let identity = |topic: &Arc<str>| {
                let partitions = self.0.partitions().filter(|it| it.topic == *topic);
                let partition_count = i32::try_from(partitions.count()).unwrap();
                let first = TopicPartition::new(Arc::clone(topic), 0);
                let id = Some(Uuid::from_u128(1 + self.0.jump(&first).remade));
                (Arc::clone(topic), TopicIdentity { id, partition_count })
            };
            Ok(topics.iter().map(identity).collect())
        })
    }

    fn traces<'a>(
        &'a self,
        offsets: &'a BTreeMap<TopicPartition, i64>,
    ) -> BoxFuture<'a, Result<BTreeMap<TopicPartition, Trace>, LogError>> {
        Box::pin(async move {
            self.0.pause(1, 100).await;
            let now = self.0.began.elapsed();
            let found = offsets.iter().filter_map(|(partition, offset)| {
                let jump = self.0.jump(partition);
                let mut log = self.0.source.logs[partition].iter().filter(|it| it.at <= now);
                let first = log.find(|it| it.offset >= *offset.max(&jump.low))?;
                let timestamp = Some(jump.timestamp(first.sent_at));
                let trace = Trace { offset: first.offset, timestamp, leader_epoch: None };
                (*offset >= jump.low).then(|| (partition.clone(), trace))
            });
            Ok(found.collect())
        })
    }

    fn committed<'a>(
        &'a self,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<BTreeMap<TopicPartition, NextOffset>, LogError>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let group = self.0.group();
            let committed = partitions.iter().filter_map(|partition| {
                Some((partition.clone(), *group.committed.get(partition)?))
            });
            Ok(committed.collect())
        })
    }
}
