//! A bench for the lane: the test itself plays the target, the log, the registry and the group, and
//! the clock stands still until nobody has anything to do.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::checkpoint::NextOffset;
use crate::decode::schema::registry::{RegistryError, Schemas};
use crate::decode::{RegisteredSchema, SchemaId};
use crate::kafka::{
    Assignments, Command, Coordinator, Event, Link, Membership, Positions, RUNS_WAITING,
};
use crate::lane::writer::Outcome;
use crate::lane::{Jitter, Lane, Limits, Parts, Window};
use crate::mapping::Mapping;
use crate::record::{Run, TopicPartition};
use crate::rules::{DeletePolicy, Rules};
use crate::settings::{SchemaChanges, Tables};
use crate::status::{PartitionState, StatusBoard};
use crate::target::{Target as _, TargetError};

mod log;
mod records;
mod target;

use log::Shelf;
pub(super) use log::{Known, LogAnswer, Logs, REMEMBERED, TOPIC};
pub(super) use records::{
    KEY, SCHEMA, Sent, avro, came, create, malformed, malformed_of, partial, tombstone, truncate,
    went,
};
use target::Actor;
pub(super) use target::{
    absent, behind_delete, claim_in, claims, committed, denied, done, elsewhere, fenced, found,
    held_by, led_by, nothing, places, refused, remembering, stale, stopped, together, touched,
    unknown, unreachable,
};

/// Longer than anything a lane waits for by itself.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the lane asked and waits for: the question, and where the answer goes.
pub(super) struct Call<T> {
    pub(super) text: String,
    pub(super) reply: oneshot::Sender<T>,
}

/// The lane's end of somebody whom the test plays.
#[derive(Clone)]
pub(super) struct Caller<T>(mpsc::UnboundedSender<Call<T>>);

impl<T> Caller<T> {
    /// Asks, and waits until the test answers; a test that never does is waited for.
    pub(super) async fn ask(&self, text: String) -> T {
        let (reply, answer) = oneshot::channel();
        // Names in tests go without what all of them share.
        let text = text.replace("s.public.", "");
        _ = self.0.send(Call { text, reply });
        match answer.await {
            Ok(answer) => answer,
            Err(_) => std::future::pending().await,
        }
    }
}

pub(super) type TargetAnswer = Result<Outcome, TargetError>;

impl Schemas for Caller<Option<RegisteredSchema>> {
    fn schema(
        &self,
        id: SchemaId,
    ) -> BoxFuture<'_, Result<Option<RegisteredSchema>, RegistryError>> {
        Box::pin(async move { Ok(self.ask(format!("schema {id}")).await) })
    }
}

/// Lists partitions, each behind a space.
pub(super) fn names<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> String {
    partitions.into_iter().map(|partition| format!(" {partition}")).collect()
}

/// The group's coordinator: answers by the script, and tells what it was told.
#[derive(Default)]
struct Script {
    answers: VecDeque<Membership>,
    told: Vec<String>,
}

impl Coordinator for Mutex<Script> {
    fn mirror(&self, offsets: &[(TopicPartition, NextOffset)]) {
        self.lock().unwrap().told.push(format!("mirror{}", at(offsets)));
    }

    fn prove(
        self: Arc<Self>,
        offsets: Vec<(TopicPartition, NextOffset)>,
    ) -> BoxFuture<'static, Membership> {
        Box::pin(async move {
            let mut script = self.lock().unwrap();
            script.told.push(format!("prove{}", at(&offsets)));
            script.answers.pop_front().expect("the test has an answer")
        })
    }
}

fn at(offsets: &[(TopicPartition, NextOffset)]) -> String {
    let text = |(partition, next): &(TopicPartition, NextOffset)| {
        format!(" {}@{}", partition.to_string().replace("s.public.", ""), next.get())
    };
    offsets.iter().map(text).collect()
}

/// Reads a partition's short name, such as `t[0]`.
pub(super) fn partition(name: &str) -> TopicPartition {
    let (topic, number) = name.trim_end_matches(']').split_once('[').unwrap();
    TopicPartition::new(format!("s.public.{topic}"), number.parse().unwrap())
}

/// A lane at work, and all that it meets.
pub(super) struct Bench {
    pub(super) target: mpsc::UnboundedReceiver<Call<TargetAnswer>>,
    pub(super) log: mpsc::UnboundedReceiver<Call<LogAnswer>>,
    pub(super) registry: mpsc::UnboundedReceiver<Call<Option<RegisteredSchema>>>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    runs: mpsc::Sender<Run>,
    board: StatusBoard,
    commands: std::sync::mpsc::Receiver<Command>,
    assignments: Assignments,
    // The number that the poll thread would give a partition's records now.
    numbers: HashMap<TopicPartition, u64>,
    obeyed: Vec<String>,
    group: Arc<Mutex<Script>>,
    pub(super) logs: Arc<Mutex<Logs>>,
    /// Encodings of keys that the target does not accept, as it is asked.
    pub(super) foreign_keys: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Bench {
    /// Starts a lane that has connected and holds nothing.
    pub(super) async fn start() -> Self {
        Self::with_limits(|_| {}).await
    }

    /// Starts a lane with other limits than 1000 rows, 1 MiB and 500 ms.
    pub(super) async fn with_limits(change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits {
            batch_rows: 1000,
            batch_bytes: 1 << 20,
            batch_age: Duration::from_millis(500),
            stop_on_refused: false,
        };
        change(&mut limits);
        let (target_tx, target) = mpsc::unbounded_channel();
        let (log_tx, log) = mpsc::unbounded_channel();
        let (registry_tx, registry) = mpsc::unbounded_channel();
        let (events_tx, events) = mpsc::unbounded_channel();
        let (runs_tx, runs) = mpsc::channel(RUNS_WAITING);
        let (board, group) = (StatusBoard::default(), Arc::<Mutex<Script>>::default());
        let assignments = Assignments::default();
        let (link, commands) = Link::new(Arc::clone(&group) as _, assignments.clone());
        board.set_joined(true);
        let pulse = board.watch("lane 0");
        let (_, watermarks) = watch::channel(HashMap::new());
        let window = Window { board: board.clone(), lane: 0, pulse, watermarks };
        let rules = Rules {
            targets: Vec::new(),
            tables: Vec::new(),
            sources: BTreeMap::new(),
            deletes: DeletePolicy::Hard,
            deleted_at_column: "deleted_at".to_owned(),
        };
        let (schema_changes, skips_unchanged) = (SchemaChanges::Apply, false);
        let tables = Tables { rules, schema_changes, synced_at_column: None, skips_unchanged };
        let mapping = Mapping::new(tables, Actor::DIALECT);
        let registry_caller = Caller(registry_tx);
        let logs = Arc::<Mutex<Logs>>::default();
        let shelf = Shelf { caller: Caller(log_tx), logs: Arc::clone(&logs) };
        let parts = Parts {
            limits,
            link,
            log: Arc::new(shelf),
            registry: Some(Arc::new(registry_caller)),
            mapping,
            events,
            runs,
            window,
            jitter: Jitter::new(0),
        };
        let foreign_keys = Arc::<Mutex<Vec<String>>>::default();
        let actor = Actor::new(Caller(target_tx), Arc::clone(&foreign_keys));
        let (lane, writer) = Lane::with_writer(parts, actor, false);
        let mut tasks = JoinSet::new();
        tasks.spawn(lane.run());
        tasks.spawn(writer.run());
        let mut bench = Self {
            target,
            log,
            registry,
            events: events_tx,
            runs: runs_tx,
            board,
            commands,
            assignments,
            numbers: HashMap::new(),
            obeyed: Vec::new(),
            group,
            logs,
            foreign_keys,
            _tasks: tasks,
        };
        bench.answer("claim", nothing()).await;
        bench
    }

    /// Lets the lane do all that it can do without a new answer or the clock.
    pub(super) async fn settle(&mut self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        for command in self.commands.try_iter() {
            let (text, partition, number) = match command {
                Command::Pause(partition, number) => ("pause".to_owned(), partition, number),
                Command::Seek(partition, next, number) => {
                    self.numbers.insert(partition.clone(), number);
                    (format!("seek to {}", next.get()), partition, number)
                }
                Command::Subscribe(topics) => panic!("no lane subscribes: {topics:?}"),
            };
            assert_eq!(self.numbers.get(&partition), Some(&number), "{text}: stale");
            self.obeyed.push(format!("{text} {partition}").replace("s.public.", ""));
        }
    }

    /// Returns what the lane has wanted of the poll thread since the last call.
    pub(super) async fn commands(&mut self) -> Vec<String> {
        self.settle().await;
        std::mem::take(&mut self.obeyed)
    }

    /// Returns the target's next question once it is there, whose text must be this.
    pub(super) async fn asked(&mut self, expected: &str) -> oneshot::Sender<TargetAnswer> {
        let call = timeout(PATIENCE, self.target.recv()).await;
        let call = call.unwrap_or_else(|_| panic!("the target is never asked: {expected}"));
        let Call { text, reply } = call.expect("the lane lives");
        assert_eq!(text, expected);
        reply
    }

    /// As [`Bench::asked`], behind questions of another text, which are answered with done.
    pub(super) async fn asked_but(
        &mut self,
        other: &str,
        expected: &str,
    ) -> oneshot::Sender<TargetAnswer> {
        let until = Instant::now() + PATIENCE;
        loop {
            let call = timeout_at(until, self.target.recv()).await;
            let call = call.unwrap_or_else(|_| panic!("the target is never asked: {expected}"));
            let Call { text, reply } = call.expect("the lane lives");
            if text != other {
                assert_eq!(text, expected);
                return reply;
            }
            reply.send(done()).unwrap();
        }
    }

    /// Answers the target's next question, whose text must be this.
    pub(super) async fn answer(&mut self, expected: &str, answer: TargetAnswer) {
        self.asked(expected).await.send(answer).unwrap();
        self.settle().await;
    }

    /// Answers the log's next question, whose text must be this.
    pub(super) async fn answer_log(&mut self, expected: &str, answer: LogAnswer) {
        let call = timeout(PATIENCE, self.log.recv()).await;
        let call = call.unwrap_or_else(|_| panic!("the log is never asked: {expected}"));
        let Call { text, reply } = call.expect("the lane lives");
        assert_eq!(text, expected);
        assert!(reply.send(answer).is_ok(), "the lane waits for the log");
        self.settle().await;
    }

    /// Answers the registry's next question, whose text must be this.
    pub(super) async fn answer_registry(&mut self, expected: &str, schema: Option<&str>) {
        let call = timeout(PATIENCE, self.registry.recv()).await;
        let call = call.unwrap_or_else(|_| panic!("the registry is never asked: {expected}"));
        let Call { text, reply } = call.expect("the lane lives");
        assert_eq!(text, expected);
        let references = Vec::new();
        let schema = schema.map(|text| RegisteredSchema { text: text.to_owned(), references });
        reply.send(schema).unwrap();
        self.settle().await;
    }

    /// Makes sure that the target is asked nothing for a while.
    pub(super) async fn quiet(&mut self, duration: Duration) {
        tokio::time::sleep(duration).await;
        if let Ok(call) = self.target.try_recv() {
            panic!("the target was asked: {}", call.text);
        }
    }

    /// Assigns partitions, as the callback does; the positions are what it waits for.
    pub(super) async fn assign(&mut self, partitions: &[&str]) -> Arc<Positions> {
        let positions = Arc::new(Positions::default());
        let mut numbered = Vec::new();
        for partition in partitions.iter().map(|name| partition(name)) {
            let number = self.assignments.next();
            self.numbers.insert(partition.clone(), number);
            numbered.push((partition, number));
        }
        let offered = Arc::clone(&positions);
        self.events.send(Event::Assigned { partitions: numbered, positions: offered }).unwrap();
        self.settle().await;
        positions
    }

    /// Assigns partitions and has them claimed, each at offset 0.
    pub(super) async fn hold(&mut self, partitions: &[&str]) {
        _ = self.assign(partitions).await;
        let all = partitions.iter().map(|name| partition(name)).collect::<Vec<_>>();
        let asked = format!("claim{}", names(&all)).replace("s.public.", "");
        let first = partitions.iter().map(|name| (*name, 0)).collect::<Vec<_>>();
        self.answer(&asked, claims(&first)).await;
    }

    /// Takes partitions back; the receiver is what the callback waits for.
    pub(super) async fn revoke(&mut self, partitions: &[&str]) -> oneshot::Receiver<()> {
        let (released, wait) = oneshot::channel();
        let partitions = partitions.iter().map(|name| partition(name)).collect();
        self.events.send(Event::Revoked { partitions, released }).unwrap();
        self.settle().await;
        wait
    }

    /// Returns the number that records of the partition come under now.
    pub(super) fn number(&self, name: &str) -> u64 {
        self.numbers[&partition(name)]
    }

    /// Delivers records from an offset on, under the newest number.
    pub(super) async fn deliver(&mut self, name: &str, from: i64, records: &[Sent]) {
        self.settle().await;
        self.queue(self.number(name), name, from, records);
        self.settle().await;
    }

    /// Delivers a run that another is about to follow.
    pub(super) async fn deliver_followed(&mut self, name: &str, from: i64, records: &[Sent]) {
        self.settle().await;
        let mut run = run_of(self.number(name), name, from, records);
        run.is_followed = true;
        self.runs.try_send(run).unwrap();
        self.settle().await;
    }

    /// Puts a run into the lane's queue, which has room, and lets nobody turn.
    pub(super) fn queue(&self, number: u64, name: &str, from: i64, records: &[Sent]) {
        self.runs.try_send(run_of(number, name, from, records)).unwrap();
    }

    /// Runs another partition of the table `t`, which is there.
    pub(super) async fn run_more(&mut self, name: &str) {
        self.hold(&[name]).await;
        self.deliver(name, 0, &[create("t", 1)]).await;
        self.answer(&format!("apply {name} 0..1, t +0"), committed()).await;
    }

    /// Runs a partition of the table `t`, which is made for its first record.
    pub(super) async fn run(&mut self, name: &str) {
        self.hold(&[name]).await;
        self.deliver(name, 0, &[create("t", 1)]).await;
        self.answer("table t", absent()).await;
        self.answer(&format!("apply {name} 0..1, creates t, t leads to t, t +0"), committed())
            .await;
    }

    /// Returns how many more runs the lane's queue takes.
    pub(super) fn room(&self) -> usize {
        self.runs.capacity()
    }

    /// Sets what the group's coordinator answers to the next proofs.
    pub(super) fn prove_as(&self, answers: &[Membership]) {
        self.group.lock().unwrap().answers.extend(answers);
    }

    /// Returns what the group's coordinator was told since the last call.
    pub(super) async fn told(&mut self) -> Vec<String> {
        self.settle().await;
        std::mem::take(&mut self.group.lock().unwrap().told)
    }

    /// Returns what the lane shows of a partition; `None` when it shows none.
    pub(super) async fn state(&mut self, name: &str) -> Option<PartitionState> {
        // A lane shows itself a few times a second.
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.settle().await;
        let member = self.board.member();
        let mut partitions = member.partitions();
        partitions.find(|it| it.partition == partition(name)).map(|it| it.state.clone())
    }

    /// Returns why the member is not ready.
    pub(super) fn unready(&self) -> Vec<String> {
        self.board.member().unready()
    }
}

fn run_of(number: u64, name: &str, from: i64, records: &[Sent]) -> Run {
    let mut run = Run::new(partition(name), number);
    for (offset, Sent { key, value, header }) in (from..).zip(records) {
        let (key, value) = (key.as_deref(), value.as_deref());
        let headers = header.iter().map(|name| (name.as_bytes(), Some(&b"{}"[..])));
        run.push((offset, Some(1_000)), key, value, headers);
    }
    run
}
