//! Kafka: the only module that names its client library.
//!
//! One thread polls, always. Records and rebalances go to the lanes as events; what a lane wants of
//! the client goes back as commands. A rebalance sends an event and waits, within a bound, for the
//! answer; it decides nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use futures::future::BoxFuture;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::oneshot;

use crate::checkpoint::NextOffset;
use crate::record::TopicPartition;

mod comeback;
pub mod config;
mod consumer;
mod context;
pub mod copies;
#[cfg(test)]
pub(crate) mod fixture;
pub mod log;
pub mod mock;
mod queue;
pub mod reader;
mod rebalance;
pub mod subscription;
mod token;
mod wanted;

pub use consumer::{LaneEnds, RUNS_WAITING, Start, start};
use context::Context;
pub use context::{LogEnd, Watermarks};
pub use rebalance::Positions;

/// What a lane learns about its partitions, besides their records.
#[derive(Debug)]
pub enum Event {
    /// The group gave these partitions to this lane.
    Assigned {
        /// The partitions, each with its assignment's number.
        partitions: Vec<(TopicPartition, u64)>,
        /// Takes the first positions as they become known; the callback waits a few seconds for
        /// them. A partition whose position comes later is assigned paused and wants a seek.
        positions: Arc<Positions>,
    },
    /// The group takes these partitions back, once the lane has given them up.
    Revoked {
        /// The partitions.
        partitions: Vec<TopicPartition>,
        /// To be answered when the partitions are released, or cannot be in time.
        released: oneshot::Sender<()>,
    },
    /// The group has already given these partitions to somebody else.
    Lost {
        /// The partitions.
        partitions: Vec<TopicPartition>,
    },
    /// The broker has no record where one was asked for, or damaged ones, and the partition stands
    /// until a seek.
    OutOfRange(Reset),
    /// The group is left, and nothing more comes.
    Closed,
}

/// A position that the broker has no record for, or none that is whole.
#[derive(Debug)]
pub struct Reset {
    /// Which partition.
    pub partition: TopicPartition,
    /// The number that it was fetched under.
    pub assignment: u64,
    /// The first offset that it lacks, behind all records that were delivered.
    pub asked: NextOffset,
    /// Whether the records there fail their checksum, or cannot be unpacked.
    pub is_damaged: bool,
}

/// What others want of the poll thread.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Deliver no more records of this assignment until a seek.
    Pause(TopicPartition, u64),
    /// Drop what is under way, and go on from an offset under a new assignment number.
    Seek(TopicPartition, NextOffset, u64),
    /// Read these topics from now on, and no others.
    Subscribe(Vec<String>),
}

/// Numbers for assignments: an assignment begins one, and so does a seek; records under another are
/// dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Assignments(Arc<AtomicU64>);

impl Assignments {
    /// Draws the next number, from 1 on.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// A lane's way to the consumer: commands, the mirrored commit, the proof of membership.
#[derive(Clone)]
pub struct Link {
    coordinator: Arc<dyn Coordinator>,
    commands: mpsc::Sender<Command>,
    assignments: Assignments,
}

/// The group's coordinator, as a member commits to it.
pub trait Coordinator: Send + Sync {
    /// Commits offsets without waiting: a mirror for lag tools.
    fn mirror(&self, offsets: &[(TopicPartition, NextOffset)]);

    /// Proves by a synchronous commit of what is already applied that the group still counts us.
    ///
    /// Takes seconds when the coordinator is away, and is never for the poll thread, which the
    /// answer may depend on.
    fn prove(
        self: Arc<Self>,
        offsets: Vec<(TopicPartition, NextOffset)>,
    ) -> BoxFuture<'static, Membership>;
}

/// What a synchronous commit to the group's coordinator proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// We are a member of the current generation.
    Member,
    /// The group has moved on without us: our partitions are somebody else's.
    Expelled,
    /// Nothing: the coordinator is away or in the middle of a rebalance.
    Unknown,
}

impl Link {
    /// Makes a link and the poll thread's end of it; assignments are numbered by that counter.
    pub(crate) fn new(
        coordinator: Arc<dyn Coordinator>,
        assignments: Assignments,
    ) -> (Self, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel();
        (Self { coordinator, commands, assignments }, receiver)
    }

    /// Stops the delivery of a partition's records until [`Link::seek`].
    ///
    /// A number that a newer assignment has overtaken is ignored, as it is for a seek.
    pub fn pause(&self, partition: &TopicPartition, assignment: u64) {
        self.command(Command::Pause(partition.clone(), assignment));
    }

    /// Goes on from an offset; records under older assignment numbers than the returned one are
    /// from before the seek.
    pub fn seek(&self, partition: &TopicPartition, next: NextOffset) -> u64 {
        let assignment = self.assignments.next();
        self.command(Command::Seek(partition.clone(), next, assignment));
        assignment
    }

    /// Has the group read these topics, and no others.
    pub fn subscribe(&self, topics: Vec<String>) {
        self.command(Command::Subscribe(topics));
    }

    fn command(&self, command: Command) {
        // A closed channel means that the poll thread has ended, and with it the assignment.
        _ = self.commands.send(command);
    }

    /// As [`Coordinator::mirror`].
    pub fn mirror(&self, offsets: &[(TopicPartition, NextOffset)]) {
        self.coordinator.mirror(offsets);
    }

    /// As [`Coordinator::prove`].
    pub async fn prove(&self, offsets: Vec<(TopicPartition, NextOffset)>) -> Membership {
        Arc::clone(&self.coordinator).prove(offsets).await
    }
}

impl Coordinator for BaseConsumer<Context> {
    fn mirror(&self, offsets: &[(TopicPartition, NextOffset)]) {
        if let Err(error) = self.commit(&list(offsets), CommitMode::Async) {
            metrics::counter!(crate::telemetry::RETRIES, "reason" => "mirror").increment(1);
            tracing::debug!(%error, "could not mirror offsets");
        }
    }

    fn prove(
        self: Arc<Self>,
        offsets: Vec<(TopicPartition, NextOffset)>,
    ) -> BoxFuture<'static, Membership> {
        Box::pin(async move {
            // The client blocks its thread, which must not be one of the runtime's.
            let commit = move || self.commit(&list(&offsets), CommitMode::Sync);
            match tokio::task::spawn_blocking(commit).await {
                Ok(Ok(())) => Membership::Member,
                Ok(Err(error)) => membership(&error),
                Err(_) => Membership::Unknown,
            }
        })
    }
}

fn membership(error: &ClientError) -> Membership {
    match error.rdkafka_error_code() {
        Some(
            Code::UnknownMemberId
            | Code::IllegalGeneration
            | Code::FencedMemberEpoch
            | Code::FencedInstanceId,
        ) => Membership::Expelled,
        _ => Membership::Unknown,
    }
}

fn list(offsets: &[(TopicPartition, NextOffset)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (partition, next) in offsets {
        let offset = rdkafka::Offset::Offset(next.get());
        list.add_partition_offset(&partition.topic, partition.partition, offset)
            .expect("an offset of the checkpoint is an offset");
    }
    list
}
