//! A lane: the loop that owns some partitions, their batches and one target connection.
//!
//! It is the only place that decides. Whatever it learns (an answer of the target, a rebalance, a
//! run of records, a finding of an errand) changes its state; then it collects what it may collect
//! and gives the writer the most urgent order. One batch is being applied while the next one fills.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::batch::{Batch, Folded, KeyMark};
use crate::checkpoint::{Claim, Deleted, NextOffset, Step};
use crate::decode::schema::registry::Schemas;
use crate::decode::{Decoder, LayoutRequest, SchemaId};
use crate::kafka::log::Ask;
use crate::kafka::{Event, Link};
use crate::mapping::Mapping;
use crate::moves::{Departure, MoveRequest};
use crate::record::{Run, TopicPartition};
use crate::status::{TargetState, Written};
use crate::stopped::Stop;
use crate::target::{Holding, Target};
use crate::telemetry;

mod ahead;
mod collect;
mod errands;
mod held;
mod identity;
mod jitter;
mod leads;
mod rebalance;
mod refused;
mod settle;
mod show;
#[cfg(test)]
mod simulation;
mod tables;
#[cfg(test)]
mod testing;
mod writer;

use ahead::Ahead;
use errands::Finding;
use held::{Held, HeldByPartition, State};
use identity::Looks;
use leads::Leads;
use writer::{Desk, Order};

pub use jitter::Jitter;
pub use show::Window;
pub use writer::Writer;

/// How often an owner shows that it lives, and looks whether its rows are still as it believes: a claim
/// of another group is refused while the row is younger than 90 s, so three signs may be missed.
const TOUCH_INTERVAL: Duration = Duration::from_secs(25);

/// How often the group's offsets follow the checkpoint.
const MIRROR_INTERVAL: Duration = Duration::from_secs(5);

/// How long a lane waits for an answer about its head before the partition does, so that the others
/// go on.
const HEAD_WAIT: Duration = Duration::from_secs(1);

/// The limits and choices of a lane.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows of a batch.
    pub batch_rows: usize,
    /// Bytes of a batch's cells.
    pub batch_bytes: usize,
    /// The longest that a free lane goes on filling a batch.
    pub batch_age: Duration,
    /// Whether a refused record stops its partition instead of becoming a dead letter.
    pub stop_on_refused: bool,
}

/// What a lane works with.
pub struct Parts {
    /// Its limits.
    pub limits: Limits,
    /// The way to the consumer.
    pub link: Link,
    /// Questions to the log that the consumer does not answer.
    pub log: Arc<dyn Ask>,
    /// Where schemas come from; `None` when no registry was named.
    pub registry: Option<Arc<dyn Schemas>>,
    /// How source tables go to target tables.
    pub mapping: Mapping,
    /// Rebalances.
    pub events: mpsc::UnboundedReceiver<Event>,
    /// Records.
    pub runs: mpsc::Receiver<Run>,
    /// Where the lane shows itself.
    pub window: Window,
    /// What varies the pauses before an order is given again.
    pub jitter: Jitter,
}

/// A loop with its partitions, its batches and its way to the target.
pub struct Lane {
    limits: Limits,
    link: Link,
    log: Arc<dyn Ask>,
    registry: Option<Arc<dyn Schemas>>,
    mapping: Mapping,
    leads: Leads,
    window: Window,
    published: Option<Instant>,
    target_state: TargetState,
    written: Written,
    decoder: Decoder,
    held: HeldByPartition,
    leaving: Vec<Leaving>,
    desk: Desk,
    // When the order was given that is under way.
    ordered: Option<Instant>,
    // The end of each step of the batch that is being applied or waits to be applied again, and the
    // last record before it, if it is a delete.
    in_flight: BTreeMap<TopicPartition, (NextOffset, Option<Deleted>)>,
    in_flight_marks: Vec<KeyMark>,
    again: Option<Box<Folded>>,
    retry: Retry,
    jitter: Jitter,
    filling: Batch,
    filling_since: Option<Instant>,
    // Whether the batch takes no more records: something must come before the next one.
    is_ended: bool,
    current: Option<Run>,
    ahead: Ahead,
    // Whether another run was about to follow the last one that came.
    is_followed: bool,
    blocked: Option<Blocked>,
    begins: Vec<(TopicPartition, NextOffset)>,
    errands: JoinSet<Finding>,
    fetching: HashSet<SchemaId>,
    // Ids that were asked for with patience already, without success.
    unknown_schemas: HashSet<SchemaId>,
    counting: HashSet<Arc<str>>,
    // For what a partition that waits is soon to look again.
    looking_for: HashSet<&'static str>,
    // How many partitions the topics of truncates have; forgotten when partitions are assigned.
    partition_counts: HashMap<Arc<str>, usize>,
    looks: Looks,
    // Partitions that were ours until their topics were deleted; to be marked so.
    gone: Vec<(TopicPartition, Claim, Stop)>,
    touch_at: Instant,
    mirrored: Instant,
    stale_count: u32,
}

/// Partitions that the group takes back, and the callback that waits.
#[derive(Debug)]
struct Leaving {
    partitions: Vec<TopicPartition>,
    released: oneshot::Sender<()>,
}

/// Why the record at the head cannot be decoded yet.
#[derive(Debug)]
enum Blocked {
    /// It needs a schema, which is being fetched; after the moment its partition waits alone.
    Schema(SchemaId, Instant),
    /// It needs the target's side of its table.
    Layout(Box<LayoutRequest>),
    /// It needs the number of its topic's partitions, which is being asked for; after the moment its
    /// partition waits alone.
    PartitionCount(Instant),
    /// It needs what its row has left under its old key.
    Moved(Box<MoveRequest>),
    /// It needs a batch of its own.
    Batch,
}

/// The pause after an order that the target could not carry out.
#[derive(Debug, Default)]
struct Retry {
    tries: u32,
    until: Option<Instant>,
}

impl Lane {
    /// Makes a lane and the writer that must run beside it.
    pub fn with_writer<T: Target>(
        parts: Parts,
        target: T,
        take_over: bool,
    ) -> (LaneLoop, Writer<T>) {
        let (desk, writer) = Desk::new(target, take_over);
        let now = Instant::now();
        let lane = Self {
            limits: parts.limits,
            link: parts.link,
            log: parts.log,
            registry: parts.registry,
            mapping: parts.mapping,
            leads: Leads::default(),
            window: parts.window,
            published: None,
            target_state: TargetState::default(),
            written: Written::default(),
            decoder: Decoder::default(),
            held: HeldByPartition::new(),
            leaving: Vec::new(),
            desk,
            ordered: None,
            in_flight: BTreeMap::new(),
            in_flight_marks: Vec::new(),
            again: None,
            retry: Retry::default(),
            jitter: parts.jitter,
            filling: Batch::default(),
            filling_since: None,
            is_ended: false,
            current: None,
            ahead: Ahead::default(),
            is_followed: false,
            blocked: None,
            begins: Vec::new(),
            errands: JoinSet::new(),
            fetching: HashSet::new(),
            unknown_schemas: HashSet::new(),
            counting: HashSet::new(),
            looking_for: HashSet::new(),
            partition_counts: HashMap::new(),
            looks: Looks::default(),
            gone: Vec::new(),
            touch_at: now + TOUCH_INTERVAL,
            mirrored: now,
            stale_count: 0,
        };
        (LaneLoop { lane, events: parts.events, runs: parts.runs }, writer)
    }

    /// Returns the most urgent thing that the target can do now.
    fn next_order(&mut self, is_queue_empty: bool) -> Option<Order> {
        if self.retry.until.is_some_and(|until| until > Instant::now()) {
            return None;
        }
        // First what a rebalance waits for, and what is small; a batch may always be due.
        if let Some(claims) = self.claims_due() {
            return Some(claims);
        }
        if !self.begins.is_empty() {
            return Some(Order::Begin(std::mem::take(&mut self.begins)));
        }
        if let Some(batch) = self.again.take() {
            return Some(Order::Apply(batch));
        }
        let small = self.release_due().or_else(|| self.mark_due()).or_else(|| self.identify_due());
        let small = small.or_else(|| self.places_due()).or_else(|| self.contest_due());
        if let Some(small) = small.or_else(|| self.touch_due()) {
            return Some(small);
        }
        // First what is asked of a new table, so that the next batch has it while the one that ends
        // there is applied; but a rebalance waits for no table, nor does a batch for a busy target.
        let is_urgent = !self.leaving.is_empty() || self.retry.tries > 0;
        if is_urgent && self.is_apply_due(is_queue_empty) {
            return Some(self.apply());
        }
        if let Some(table) = self.keys_due().or_else(|| self.tables_due()) {
            return Some(table);
        }
        if self.is_apply_due(is_queue_empty) {
            return Some(self.apply());
        }
        let moved = self.moved_due();
        // A claim of nothing connects, so that a member without partitions is ready for some.
        let is_unconnected = self.target_state != TargetState::Reachable && self.held.is_empty();
        moved.or_else(|| is_unconnected.then(|| Order::Claim(Vec::new(), Uuid::nil())))
    }

    /// Decides whether the batch ends here: a free lane applies what it has once nothing more is at
    /// hand or about to follow, or the batch is full or old, or something waits behind it.
    fn is_apply_due(&self, is_queue_empty: bool) -> bool {
        let is_old = || {
            let age = self.filling_since.map(|since| since.elapsed());
            age.is_some_and(|age| age >= self.limits.batch_age)
        };
        let is_here = !is_queue_empty || self.current.is_some() || !self.ahead.is_empty();
        let is_at_end = !is_here && !self.is_followed;
        !self.filling.is_empty()
            && (is_at_end
                || self.is_ended
                || !self.leaving.is_empty()
                || self.is_full()
                || is_old())
    }

    /// Returns whether the batch ends before the record at the head.
    fn ends_batch(&self, blocked: &Blocked) -> bool {
        match blocked {
            // The table must be as the row's values are read.
            Blocked::Moved(request) => {
                !self.filling.schema_changes.is_empty() || self.filling.leaves(request).is_none()
            }
            Blocked::Schema(..)
            | Blocked::Layout(_)
            | Blocked::PartitionCount(_)
            | Blocked::Batch => true,
        }
    }

    fn is_full(&self) -> bool {
        self.filling.row_count() >= self.limits.batch_rows
            || self.filling.byte_count() >= self.limits.batch_bytes
    }

    fn apply(&mut self) -> Order {
        let rows = u32::try_from(self.filling.row_count()).unwrap_or(u32::MAX);
        metrics::histogram!(telemetry::BATCH_ROWS).record(rows);
        let mut batch = std::mem::take(&mut self.filling).fold();
        batch.leads = self.leads.of(&batch);
        (self.filling_since, self.is_ended) = (None, false);
        if matches!(self.blocked, Some(Blocked::Batch)) {
            self.blocked = None;
        }
        let moving = batch.steps.iter().filter(|step| step.moves());
        let end = |step: &Step| {
            let held = self.held.get(&step.partition);
            (step.to, held.and_then(|held| held.deleted_behind(step)))
        };
        self.in_flight = moving.map(|step| (step.partition.clone(), end(step))).collect();
        self.in_flight_marks.clone_from(&batch.key_marks);
        Order::Apply(Box::new(batch))
    }

    fn claims_due(&mut self) -> Option<Order> {
        let now = Instant::now();
        let due = |held: &Held| match held.state {
            State::Claiming => true,
            State::HeldByGroup(_, until) => until <= now,
            _ => held.is_claim_due,
        };
        let mut partitions = Vec::new();
        for (partition, held) in self.held.iter_mut().filter(|(_, held)| due(held)) {
            held.is_claim_due = false;
            partitions.push(partition.clone());
        }
        (!partitions.is_empty()).then(|| Order::Claim(partitions, Uuid::new_v4()))
    }

    /// Returns the question for what a row has left under its old key, or is about to leave: then
    /// the batch goes on filling, else it has ended.
    fn moved_due(&mut self) -> Option<Order> {
        let Some(Blocked::Moved(request)) = &self.blocked else { return None };
        // The table must be as the row's values are read, also when nothing else is to be applied.
        if !self.filling.schema_changes.is_empty() {
            return Some(self.apply());
        }
        let leaves = self.filling.leaves(request);
        let is_due = self.filling.is_empty() || leaves.is_some();
        let alone =
            |(it, step): (&Departure, &Step)| (Departure { step: 0, ..it.clone() }, step.clone());
        let leaves = leaves.map(alone);
        is_due.then(|| Order::Moved(Box::new(MoveRequest { leaves, ..(**request).clone() })))
    }

    /// Returns the stop that its partition's row is to say; the batch before it, which says that the
    /// partition runs, has ended.
    fn mark_due(&mut self) -> Option<Order> {
        if let Some((partition, claim, stop)) = self.gone.pop() {
            return Some(Order::Mark(partition, claim, stop));
        }
        let moves = |partition: &TopicPartition| {
            let mut steps = self.filling.steps().iter().filter(|step| step.moves());
            steps.any(|step| step.partition == *partition)
        };
        let mut due = self.held.iter_mut();
        let (partition, held) =
            due.find(|(partition, held)| held.is_mark_due && !moves(partition))?;
        held.is_mark_due = false;
        let (State::Stopped(stop), Some(claim)) = (&held.state, held.claim) else { return None };
        Some(Order::Mark(partition.clone(), claim, stop.clone()))
    }

    fn touch_due(&mut self) -> Option<Order> {
        if self.touch_at > Instant::now() {
            return None;
        }
        self.touch_at = Instant::now() + TOUCH_INTERVAL;
        let mut holdings = Vec::new();
        for (partition, held) in &mut self.held {
            let (partition, next) = (partition.clone(), held.applied);
            holdings.extend(held.claim.map(|claim| Holding { partition, claim, next }));
            // Nothing stands where an operator could show that it goes on, but its row.
            held.is_claim_due = held.claim.is_none() && matches!(held.state, State::Stopped(_));
        }
        (!holdings.is_empty()).then_some(Order::Touch(holdings))
    }

    /// Returns when the loop must turn again though nothing arrives, after a turn that began then.
    fn alarm(&self, began: Instant) -> Instant {
        let mut alarm = began + Duration::from_secs(1);
        let claims = self.held.values().filter_map(|held| match held.state {
            State::HeldByGroup(_, until) => Some(until),
            _ => None,
        });
        let filled = self.filling_since.map(|since| since + self.limits.batch_age);
        let head = match self.blocked {
            Some(Blocked::Schema(_, until) | Blocked::PartitionCount(until)) => Some(until),
            _ => None,
        };
        for moment in claims.chain(self.retry.until).chain(filled).chain(head) {
            // What was due already waits for the writer's answer, not for the clock.
            if moment > began {
                alarm = alarm.min(moment);
            }
        }
        alarm
    }

    /// Tells the group's coordinator how far the checkpoint is, now and then.
    fn mirror(&mut self) {
        if self.mirrored.elapsed() < MIRROR_INTERVAL {
            return;
        }
        self.mirrored = Instant::now();
        let mut offsets = Vec::new();
        for (partition, held) in &mut self.held {
            if held.state == State::Running && held.mirrored != held.applied {
                held.mirrored = held.applied;
                offsets.push((partition.clone(), held.applied));
            }
        }
        if !offsets.is_empty() {
            self.link.mirror(&offsets);
        }
    }
}

/// A lane with what arrives at it.
pub struct LaneLoop {
    lane: Lane,
    events: mpsc::UnboundedReceiver<Event>,
    runs: mpsc::Receiver<Run>,
}

impl LaneLoop {
    /// Runs until the group is left and what was assigned is given up.
    pub async fn run(self) {
        let Self { mut lane, mut events, mut runs } = self;
        let mut is_closed = false;
        while !(is_closed && lane.leaving.is_empty()) {
            let began = Instant::now();
            lane.collect();
            if lane.ordered.is_none()
                && let Some(order) = lane.next_order(runs.is_empty())
            {
                lane.ordered = Some(Instant::now());
                lane.desk.send(order);
                // What this task wakes is next on this thread, where no other may take it from:
                // without a break it would wait until there is nothing left to collect.
                tokio::task::yield_now().await;
            }
            lane.mirror();
            lane.look_now_and_then();
            lane.publish();
            let alarm = lane.alarm(began);
            tokio::select! {
                biased;
                // An answer first: it frees the writer, which is the bottleneck.
                Some(answer) = lane.desk.answers.recv() => lane.settle(answer),
                // A rebalance holds the group up.
                Some(event) = events.recv(), if !is_closed => is_closed = lane.meet(event),
                // What an errand found may unblock the head.
                Some(Ok(finding)) = lane.errands.join_next() => lane.use_finding(finding),
                // The clock before records, which could otherwise starve it.
                () = tokio::time::sleep_until(alarm) => {}
                // Runs that are here already, one a turn.
                () = std::future::ready(()), if lane.has_more() => {}
                // Records, when there is use for them.
                Some(run) = runs.recv(), if lane.takes_runs() => lane.take_run(run),
            }
        }
    }
}

#[cfg(test)]
mod tests;
