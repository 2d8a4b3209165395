//! Errands: questions to the registry, the log and the group that must not hold the lane up.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, warn};

use super::held::{CONSTRAINT, MOVE, PARTITION_COUNT, State, TABLE};
use super::identity::Proofs;
use super::jitter::Pauses;
use super::{Blocked, Lane};
use crate::checkpoint::{Claim, NextOffset};
use crate::decode::schema::registry::Schemas;
use crate::decode::value::kind::SourceTable;
use crate::decode::{LayoutId, RegisteredSchema, SchemaId};
use crate::identity::TopicIdentity;
use crate::kafka::log::{Ask, LogError, Watermarks};
use crate::kafka::{Membership, Reset};
use crate::record::{Record, TopicPartition};
use crate::status::SCHEMA;
use crate::stopped::{Stop, StopReason};
use crate::target::Known;
use crate::telemetry;

/// The pause before a question is asked again.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The pause before a row is looked for again that another member's batch must leave first.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How long a truncate waits for its table, and how often it is looked for: the other partitions may
/// be far behind.
const TABLE_PATIENCE: Duration = Duration::from_secs(600);
const TABLE_PAUSE: Duration = Duration::from_secs(1);

/// How long a registry that does not know an id is asked again: it may lag behind the producer.
const SCHEMA_PATIENCE: Duration = Duration::from_secs(60);

/// How long a registry that did not know an id is taken at its word: somebody may mend it.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);

/// What an errand came back with.
#[derive(Debug)]
pub(super) enum Finding {
    /// A schema, or that the registry has no such id.
    Schema(SchemaId, Option<RegisteredSchema>),
    /// It is time to ask the registry again for an id that it did not know.
    Unknown(SchemaId),
    /// First positions, or why there is none.
    First(Vec<(TopicPartition, Result<NextOffset, Stop>)>),
    /// Whether the group still counts us.
    Membership(Membership),
    /// What the log holds where the broker had no record; `None` when nobody answered.
    Range(Reset, Option<Watermarks>),
    /// It is time to look again for what partitions wait for.
    Look(&'static str),
    /// How many partitions a topic has.
    PartitionCount(Arc<str>, usize),
    /// Lost partitions that are no more.
    Gone(Vec<(TopicPartition, Claim)>),
    /// What proves that logs of claimed partitions are what they were, or not.
    Proofs(Proofs),
    /// It is time to look again at logs whose topics were not there.
    Unproven(Vec<(TopicPartition, Claim)>),
    /// The topics that are held, as they are now.
    Topics(BTreeMap<Arc<str>, TopicIdentity>),
    /// A grown topic, how many partitions it had and what it is now, and one that was not at its end.
    Growth(Arc<str>, i32, Option<TopicIdentity>, Option<TopicPartition>),
}

impl Lane {
    pub(super) fn use_finding(&mut self, finding: Finding) {
        match finding {
            Finding::Schema(id, schema) => self.learn_schema(id, schema),
            Finding::Unknown(id) => self.decoder.forget_schema(id),
            Finding::First(first) => self.place(first),
            Finding::Membership(membership) => self.proven(membership),
            Finding::Range(reset, ends) => self.compare_range(reset, ends),
            Finding::Look(what) => {
                self.looking_for.remove(what);
                if what == CONSTRAINT {
                    self.try_early();
                }
                self.unpark_all(what);
            }
            Finding::PartitionCount(topic, count) => self.learn_partition_count(topic, count),
            Finding::Gone(gone) => self.give_up(gone),
            Finding::Proofs(proofs) => self.judge(proofs),
            Finding::Unproven(claims) => self.look_at_logs(claims),
            Finding::Topics(topics) => self.compare_topics(&topics),
            Finding::Growth(topic, seen, identity, behind) => {
                self.settle_growth(&topic, seen, identity, behind);
            }
        }
    }

    /// Sends for all schemas that a record names, so that none waits for another one.
    pub(super) fn fetch_schemas(&mut self, record: Record<'_>) {
        if self.registry.is_some() {
            for id in self.decoder.unlearned_schemas(record).collect::<Vec<_>>() {
                self.fetch_schema(id);
            }
        }
    }

    /// Sends for a schema, unless somebody is on the way already.
    pub(super) fn fetch_schema(&mut self, id: SchemaId) {
        if !self.fetching.insert(id) {
            return;
        }
        let registry = self.registry.clone();
        let patience =
            if self.unknown_schemas.contains(&id) { Duration::ZERO } else { SCHEMA_PATIENCE };
        let mut pauses = Pauses::new(&mut self.jitter);
        self.errands.spawn(async move {
            let schema = match registry {
                Some(registry) => fetch(registry.as_ref(), id, patience, &mut pauses).await,
                None => None,
            };
            Finding::Schema(id, schema)
        });
    }

    fn learn_schema(&mut self, id: SchemaId, schema: Option<RegisteredSchema>) {
        self.fetching.remove(&id);
        if schema.is_none() {
            self.unknown_schemas.insert(id);
            self.errands.spawn(async move {
                tokio::time::sleep(UNKNOWN_FOR).await;
                Finding::Unknown(id)
            });
        }
        self.decoder.learn_schema(id, schema);
        if matches!(self.blocked, Some(Blocked::Schema(blocked, _)) if blocked == id) {
            self.blocked = None;
        }
        self.unpark_all(SCHEMA);
    }

    /// Lets all go on that wait for this; those that still lack something wait again.
    pub(super) fn unpark_all(&mut self, what: &'static str) {
        let waiting = State::Waiting(what);
        let parked = self.held.iter().filter(|(_, held)| held.state == waiting);
        for partition in parked.map(|(partition, _)| partition.clone()).collect::<Vec<_>>() {
            self.read_on(&partition);
        }
    }

    /// Takes that the target has no table for what could only delete from it, or empty it.
    ///
    /// Rows that are older than a truncate may still come from other partitions, and make the table:
    /// the truncate waits for that, because it is kept with the table.
    pub(super) fn miss_table(&mut self, id: LayoutId, source: &SourceTable) {
        let head = self.current.as_ref().map(|run| run.partition.clone());
        let held = head.as_ref().and_then(|head| self.held.get(head));
        let (Some(partition), Some(held)) = (&head, held) else { return };
        let is_truncate =
            source.key.is_empty() && self.mapping.is_guarded(&source.name.rule_name());
        if !is_truncate || held.remembered.partitions_seen == Some(1) {
            return self.decoder.learn_absent(id);
        }
        if held.moved_at.elapsed() < TABLE_PATIENCE {
            self.look_later(TABLE, TABLE_PAUSE);
            return self.park(partition, State::Waiting(TABLE));
        }
        let detail = format!(
            "table \"{}\" was emptied, which nothing has made at the target: consumer checkpoint skip \
             passes over it",
            source.name
        );
        self.stop_head(Stop::new(StopReason::TruncatePartitioned, detail));
    }

    /// Has the partitions go on soon that wait for a delete under an old key.
    pub(super) fn look_for_moves_later(&mut self) {
        self.look_later(MOVE, LOOK_AGAIN);
    }

    /// Has the partitions go on after a pause that wait for this.
    pub(super) fn look_later(&mut self, what: &'static str, pause: Duration) {
        if !self.looking_for.insert(what) {
            return;
        }
        self.errands.spawn(async move {
            tokio::time::sleep(pause).await;
            Finding::Look(what)
        });
    }

    /// Asks how many partitions a topic has, unless somebody is on the way already.
    pub(super) fn count_partitions(&mut self, topic: &Arc<str>) {
        if !self.counting.insert(Arc::clone(topic)) {
            return;
        }
        let (log, topic) = (Arc::clone(&self.log), Arc::clone(topic));
        let mut pauses = Pauses::new(&mut self.jitter);
        self.errands.spawn(async move {
            loop {
                match log.partition_count(&topic).await {
                    Ok(count) => return Finding::PartitionCount(topic, count),
                    Err(error) => again("log", &error, &mut pauses).await,
                }
            }
        });
    }

    fn learn_partition_count(&mut self, topic: Arc<str>, count: usize) {
        self.counting.remove(&topic);
        let head = self.current.as_ref().map(|run| &run.partition.topic);
        if matches!(self.blocked, Some(Blocked::PartitionCount(_))) && head == Some(&topic) {
            self.blocked = None;
        }
        self.partition_counts.insert(topic, count);
        self.unpark_all(PARTITION_COUNT);
    }

    /// Finds where partitions without a checkpoint begin.
    pub(super) fn look_up_first_positions(&mut self, unknown: Vec<(TopicPartition, Known)>) {
        let log = Arc::clone(&self.log);
        let mut pauses = Pauses::new(&mut self.jitter);
        self.errands.spawn(async move {
            loop {
                match first_positions(log.as_ref(), &unknown).await {
                    Ok(first) => return Finding::First(first),
                    Err(error) => again("log", &error, &mut pauses).await,
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

    /// Finds out which lost partitions are lost because their topics were deleted.
    pub(super) fn look_for_topics(&mut self, mut lost: Vec<(TopicPartition, Claim)>) {
        if lost.is_empty() {
            return;
        }
        let log = self.log.clone();
        self.errands.spawn(async move {
            let topics = lost.iter().map(|(partition, _)| Arc::clone(&partition.topic));
            for topic in topics.collect::<BTreeSet<_>>() {
                // A broker that does not answer says nothing: the group assigns what is there.
                let found = log.partition_count(&topic).await;
                if !matches!(found, Err(LogError::TopicMissing { .. })) {
                    lost.retain(|(partition, _)| partition.topic != topic);
                }
            }
            Finding::Gone(lost)
        });
    }

    /// Names partitions that nobody will be assigned again, and has their rows say so.
    fn give_up(&mut self, gone: Vec<(TopicPartition, Claim)>) {
        for (partition, claim) in gone {
            let detail = "the topic was deleted: its rows stay, and its checkpoint too";
            let stop = Stop::new(StopReason::TopicGone, detail);
            error!(
                topic = %partition.topic,
                partition = partition.partition,
                reason = stop.reason.name(),
                detail,
                "stopped a partition",
            );
            self.gone.push((partition, claim, stop));
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
            Finding::Membership(link.prove(offsets).await)
        });
    }

    /// Finds out why the broker has no record where the client has asked for one.
    pub(super) fn look_up_range(&mut self, reset: Reset) {
        let log = Arc::clone(&self.log);
        self.errands.spawn(async move {
            // What was fetched before is collected meanwhile.
            tokio::time::sleep(ASK_AGAIN).await;
            let found = log.watermarks(std::slice::from_ref(&reset.partition)).await;
            let ends = found.map(|found| found.get(&reset.partition).copied());
            let ends = ends.unwrap_or_else(|error| {
                no_answer("log", &error);
                None
            });
            Finding::Range(reset, ends)
        });
    }

    /// Stops a partition whose next record is gone or was never there; any other is read on.
    fn compare_range(&mut self, reset: Reset, ends: Option<Watermarks>) {
        let Reset { partition, assignment, asked, is_damaged } = &reset;
        let Some(held) = self.held.get(partition).filter(|held| held.takes(*assignment)) else {
            // Whatever has happened to it, it does not read on without a seek.
            return;
        };
        let is_behind = held.expected < *asked;
        let Some(Watermarks { low, high }) = ends.filter(|_| !is_behind) else {
            return self.look_up_range(reset);
        };
        if *is_damaged {
            let detail = format!(
                "the records at {} are damaged: their checksum is another, or they cannot be \
                 unpacked; consumer checkpoint skip --to goes on behind them",
                asked.get()
            );
            return self.stop(partition, Stop::new(StopReason::LogDamaged, detail));
        }
        // Where the broker has told of a truncation, the client does not say what it asked for.
        let is_truncated = asked.get() < 0;
        let asked = if is_truncated { held.expected.get() } else { asked.get() };
        let (low, high) = (low.get(), high.get());
        let stop = if is_truncated {
            let detail = format!("the log was cut before {asked}, and ends at {high} now");
            Stop::new(StopReason::LogTruncated, detail)
        } else if asked < low {
            Stop::new(StopReason::LogGap, format!("records {asked}..{low} are gone from the log"))
        } else if asked > high {
            let detail = format!("the log ends at {high}, and the next record is {asked}");
            Stop::new(StopReason::LogTruncated, detail)
        } else {
            return self.read_on(partition);
        };
        self.stop(partition, stop);
    }
}

/// Fetches a schema: an outage is waited for, an unknown id asked for again as long as patience lasts.
async fn fetch(
    registry: &dyn Schemas,
    id: SchemaId,
    patience: Duration,
    pauses: &mut Pauses,
) -> Option<RegisteredSchema> {
    let until = Instant::now() + patience;
    loop {
        match registry.schema(id).await {
            Ok(Some(schema)) => return Some(schema),
            Ok(None) if Instant::now() >= until => return None,
            Ok(None) => tokio::time::sleep(ASK_AGAIN).await,
            Err(error) => again("registry", &error, pauses).await,
        }
    }
}

pub(super) async fn again(
    reason: &'static str,
    error: &(dyn std::error::Error + Sync),
    pauses: &mut Pauses,
) {
    no_answer(reason, error);
    tokio::time::sleep(pauses.next()).await;
}

pub(super) fn no_answer(reason: &'static str, error: &(dyn std::error::Error + Sync)) {
    metrics::counter!(telemetry::RETRIES, "reason" => reason).increment(1);
    warn!(%error, reason, "no answer yet: asking again");
}

/// Finds the first positions of partitions without a checkpoint: a new partition of a known topic
/// starts at 0, a topic seen for the first time at its low watermark, unless the group has already
/// read it, which only an operator can explain.
async fn first_positions(
    log: &dyn Ask,
    unknown: &[(TopicPartition, Known)],
) -> Result<Vec<(TopicPartition, Result<NextOffset, Stop>)>, LogError> {
    let fresh = unknown.iter().filter(|(_, known)| *known == Known::Nothing);
    let fresh = fresh.map(|(partition, _)| partition.clone()).collect::<Vec<_>>();
    let committed = log.committed(&fresh).await?;
    let ranges = log.watermarks(&fresh).await?;
    warn_of_missing_records(log, &ranges, &committed).await;
    let mut first = Vec::with_capacity(unknown.len());
    for (partition, known) in unknown {
        let position = match (known, committed.get(partition)) {
            (Known::Topic, _) => Ok(NextOffset::at(0)),
            (Known::OtherCluster(cluster), _) => Err(moved(partition, cluster)),
            (Known::Nothing, Some(committed)) => Err(adopted(partition, committed.get())),
            (Known::Nothing, None) => {
                Ok(ranges.get(partition).map_or(NextOffset::at(0), |ends| ends.low))
            }
        };
        first.push((partition.clone(), position));
    }
    Ok(first)
}

/// Says of topics that are read for the first time what of them was already gone. What compaction
/// has removed is no loss: a newer record of the key is there.
async fn warn_of_missing_records(
    log: &dyn Ask,
    ranges: &BTreeMap<TopicPartition, Watermarks>,
    committed: &BTreeMap<TopicPartition, NextOffset>,
) {
    let mut gone = BTreeMap::<Arc<str>, i64>::new();
    let begun = ranges.iter().filter(|(partition, _)| !committed.contains_key(*partition));
    for (partition, ends) in begun.filter(|(_, ends)| ends.low.get() > 0) {
        *gone.entry(Arc::clone(&partition.topic)).or_default() += ends.low.get();
    }
    if gone.is_empty() {
        return;
    }
    let compacted = log.compacted(&gone.keys().cloned().collect()).await;
    for (topic, count) in gone.iter().filter(|(topic, _)| !compacted.contains_key(*topic)) {
        warn!(%topic, count, "records were already gone before the first start");
    }
}

fn adopted(partition: &TopicPartition, committed: i64) -> Stop {
    let detail = format!(
        "topic \"{}\" has the group's committed offset {committed} in partition {} but no \
         checkpoint: choose the first position with consumer checkpoint adopt",
        partition.topic, partition.partition
    );
    Stop::new(StopReason::PositionUnknown, detail)
}

fn moved(partition: &TopicPartition, cluster: &str) -> Stop {
    let detail = format!(
        "the sink has applied topic \"{}\" from the cluster {cluster}, and this is another one, \
         whose offsets are others: choose the first position with consumer checkpoint adopt",
        partition.topic
    );
    Stop::new(StopReason::ClusterChanged, detail)
}
