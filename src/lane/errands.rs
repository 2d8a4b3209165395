//! Errands: questions to the registry, the log and the group that must not hold the lane up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::held::State;
use super::{Blocked, Lane};
use crate::checkpoint::NextOffset;
use crate::decode::RegisteredSchema;
use crate::decode::registry::Registry;
use crate::kafka::Membership;
use crate::kafka::log::{Log, LogError, Watermarks};
use crate::record::TopicPartition;
use crate::stopped::{Stop, StopReason};
use crate::telemetry;

/// The pause before a question is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How long a registry that does not know an id is asked again: it may lag behind the producer.
const SCHEMA_PATIENCE: Duration = Duration::from_secs(60);

/// The ends of the partitions' logs.
type Ranges = BTreeMap<TopicPartition, Watermarks>;

/// What an errand came back with.
#[derive(Debug)]
pub(super) enum Finding {
    /// A schema, or that the registry has no such id.
    Schema(u32, Option<RegisteredSchema>),
    /// First positions, or why there is none.
    First(Vec<(TopicPartition, Result<NextOffset, Stop>)>),
    /// Whether the group still counts us.
    Membership(Membership),
    /// What the logs hold now.
    Ranges(Ranges),
    /// How many partitions a topic has.
    PartitionCount(Arc<str>, usize),
}

impl Lane {
    pub(super) fn use_finding(&mut self, finding: Finding) {
        match finding {
            Finding::Schema(id, schema) => self.learn_schema(id, schema),
            Finding::First(first) => self.place(first),
            Finding::Membership(membership) => self.proven(membership),
            Finding::Ranges(ranges) => self.compare_ranges(&ranges),
            Finding::PartitionCount(topic, count) => self.learn_partition_count(topic, count),
        }
    }

    /// Sends for a schema, unless somebody is on the way already.
    pub(super) fn fetch_schema(&mut self, id: u32) {
        if !self.fetching.insert(id) {
            return;
        }
        let registry = self.registry.clone();
        self.errands.spawn(async move {
            let schema = match registry {
                Some(registry) => fetch(&registry, id).await,
                None => None,
            };
            Finding::Schema(id, schema)
        });
    }

    fn learn_schema(&mut self, id: u32, schema: Option<RegisteredSchema>) {
        self.fetching.remove(&id);
        self.decoder.learn_schema(id, schema);
        if matches!(self.blocked, Some(Blocked::Schema(blocked, _)) if blocked == id) {
            self.blocked = None;
        }
        let waiting = State::Waiting("schema");
        let parked = self.held.iter().filter(|(_, held)| held.state == waiting);
        for partition in parked.map(|(partition, _)| partition.clone()).collect::<Vec<_>>() {
            self.unpark(&partition);
        }
    }

    /// Asks how many partitions a topic has.
    pub(super) fn count_partitions(&mut self, topic: &Arc<str>) {
        let (log, topic) = (self.log.clone(), Arc::clone(topic));
        self.errands.spawn(async move {
            loop {
                match log.partition_count(&topic).await {
                    Ok(count) => return Finding::PartitionCount(topic, count),
                    Err(error) => again("log", &error).await,
                }
            }
        });
    }

    fn learn_partition_count(&mut self, topic: Arc<str>, count: usize) {
        let head = self.current.as_ref().map(|run| &run.partition.topic);
        if matches!(self.blocked, Some(Blocked::PartitionCount)) && head == Some(&topic) {
            self.blocked = None;
        }
        self.partition_counts.insert(topic, count);
    }

    /// Finds where partitions without a checkpoint begin.
    pub(super) fn look_up_first_positions(&mut self, unknown: Vec<(TopicPartition, bool)>) {
        let log = self.log.clone();
        self.errands.spawn(async move {
            loop {
                match first_positions(&log, &unknown).await {
                    Ok(first) => return Finding::First(first),
                    Err(error) => again("log", &error).await,
                }
            }
        });
    }

    fn place(&mut self, first: Vec<(TopicPartition, Result<NextOffset, Stop>)>) {
        for (partition, position) in first {
            if self.held.get(&partition).is_none_or(|held| held.state != State::Placing) {
                continue;
            }
            match position {
                Ok(next) => self.begins.push((partition, next)),
                Err(stop) => self.stop(&partition, stop),
            }
        }
    }

    /// Asks the group whether it still counts us.
    pub(super) fn prove(&mut self) {
        self.prove_after(Duration::ZERO);
    }

    /// Asks again, after a pause.
    pub(super) fn prove_later(&mut self) {
        self.prove_after(ASK_AGAIN);
    }

    fn prove_after(&mut self, pause: Duration) {
        let claimed = self.held.iter().filter(|(_, held)| held.claim.is_some());
        let offsets =
            claimed.map(|(partition, held)| (partition.clone(), held.applied)).collect::<Vec<_>>();
        let link = self.link.clone();
        self.errands.spawn(async move {
            tokio::time::sleep(pause).await;
            let asked = tokio::task::spawn_blocking(move || link.prove(&offsets)).await;
            Finding::Membership(asked.unwrap_or(Membership::Unknown))
        });
    }

    /// Finds out which partition's checkpoint the broker has no record for.
    pub(super) fn look_up_ranges(&mut self) {
        let running = self.held.iter().filter(|(_, held)| held.state == State::Running);
        let partitions = running.map(|(partition, _)| partition.clone()).collect::<Vec<_>>();
        let log = self.log.clone();
        self.errands.spawn(async move {
            loop {
                match log.watermarks(&partitions).await {
                    Ok(ranges) => return Finding::Ranges(ranges),
                    Err(error) => again("log", &error).await,
                }
            }
        });
    }

    /// Stops the partitions whose next record is gone or was never there.
    fn compare_ranges(&mut self, ranges: &Ranges) {
        for (partition, &Watermarks { low, high }) in ranges {
            let Some(held) = self.held.get(partition) else { continue };
            let next = held.applied;
            if held.state != State::Running || (low..=high).contains(&next) {
                continue;
            }
            let stop = if next < low {
                let (next, low) = (next.get(), low.get());
                let detail = format!("records {next}..{low} are gone from the log");
                Stop::new(StopReason::LogGap, detail)
            } else {
                let (next, high) = (next.get(), high.get());
                let detail = format!("the log ends at {high}, the checkpoint is at {next}");
                Stop::new(StopReason::LogTruncated, detail)
            };
            self.stop(partition, stop);
        }
    }
}

/// Fetches a schema: an outage is waited for, an unknown id asked for again for a minute.
async fn fetch(registry: &Registry, id: u32) -> Option<RegisteredSchema> {
    let patience = Instant::now() + SCHEMA_PATIENCE;
    loop {
        match registry.schema(id).await {
            Ok(Some(schema)) => return Some(schema),
            Ok(None) if Instant::now() >= patience => return None,
            Ok(None) => tokio::time::sleep(ASK_AGAIN).await,
            Err(error) => again("registry", &error).await,
        }
    }
}

async fn again(reason: &'static str, error: &(dyn std::error::Error + Sync)) {
    metrics::counter!(telemetry::RETRIES, "reason" => reason).increment(1);
    warn!(%error, reason, "no answer yet: asking again");
    tokio::time::sleep(ASK_AGAIN).await;
}

/// Finds the first positions of partitions without a checkpoint: a new partition of a known topic
/// starts at 0, a topic seen for the first time at its low watermark, unless the group has already
/// read it, which only an operator can explain.
async fn first_positions(
    log: &Log,
    unknown: &[(TopicPartition, bool)],
) -> Result<Vec<(TopicPartition, Result<NextOffset, Stop>)>, LogError> {
    let fresh = unknown.iter().filter(|(_, is_topic_known)| !is_topic_known);
    let fresh = fresh.map(|(partition, _)| partition.clone()).collect::<Vec<_>>();
    let committed = log.committed(&fresh).await?;
    let ranges = log.watermarks(&fresh).await?;
    let mut first = Vec::with_capacity(unknown.len());
    for (partition, is_topic_known) in unknown {
        let position = if *is_topic_known {
            Ok(NextOffset::at(0))
        } else if let Some(committed) = committed.get(partition) {
            Err(adopted(partition, committed.get()))
        } else {
            let low = ranges.get(partition).map_or(NextOffset::at(0), |ends| ends.low);
            if low.get() > 0 {
                let count = low.get();
                warn!(%partition, count, "records were already gone before the first start");
            }
            Ok(low)
        };
        first.push((partition.clone(), position));
    }
    Ok(first)
}

fn adopted(partition: &TopicPartition, committed: i64) -> Stop {
    let detail = format!(
        "topic \"{}\" has the group's committed offset {committed} in partition {} but no \
         checkpoint: choose the first position with consumer checkpoint adopt",
        partition.topic, partition.partition
    );
    Stop::new(StopReason::PositionUnknown, detail)
}
