//! Identity: whether the logs are still the ones that the checkpoint was made in.
//!
//! A claimed partition is read only once its log is known to be the one that was read before; a
//! topic that is held is looked at again now and then, and whenever partitions come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::Lane;
use super::errands::{ASK_AGAIN, Finding, again, no_answer};
use super::held::{GROWTH, State};
use super::jitter::Pauses;
use super::writer::Order;
use crate::checkpoint::{Claim, NextOffset};
use crate::identity::{TopicIdentity, Trace};
use crate::kafka::log::{Ask, LogError, Watermarks};
use crate::record::TopicPartition;
use crate::stopped::{Stop, StopReason};

/// How often the topics that are held are looked at: a topic that is made again between two looks is
/// read under the old one's offsets until the next one.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Owners show that they live more often than this.
const OWNERS_TOUCH: Duration = Duration::from_secs(60);

/// What was found of the logs of claimed partitions.
#[derive(Debug)]
pub(super) struct Proofs {
    claims: Vec<(TopicPartition, Claim)>,
    topics: BTreeMap<Arc<str>, TopicIdentity>,
    traces: BTreeMap<TopicPartition, Trace>,
}

/// What a lane knows of topics that may have changed.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// When the topics were looked at; `None` when they must be at once.
    pub(super) at: Option<Instant>,
    /// Topics with more partitions than before, whose partitions' places are to be read.
    grown: BTreeSet<Arc<str>>,
}

impl Lane {
    /// Finds out whether the logs of claimed partitions are the ones that were read before.
    pub(super) fn look_at_logs(&mut self, claims: Vec<(TopicPartition, Claim)>) {
        if claims.is_empty() {
            return;
        }
        let log = Arc::clone(&self.log);
        let last = |partition: &TopicPartition| self.held.get(partition)?.remembered.last;
        let offsets = claims.iter().map(|(it, _)| it);
        let offsets = offsets.filter_map(|it| Some((it.clone(), last(it)?.offset)));
        let offsets = offsets.collect::<BTreeMap<_, _>>();
        let unread = claims.iter().filter_map(|(partition, _)| {
            let held = self.held.get(partition).filter(|held| held.unowned > OWNERS_TOUCH)?;
            Some((partition.clone(), (held.expected, held.unowned)))
        });
        let unread = unread.collect::<BTreeMap<_, _>>();
        let mut pauses = Pauses::new(&mut self.jitter);
        self.errands.spawn(async move {
            loop {
                match find(log.as_ref(), &claims, &offsets).await {
                    Ok((topics, traces)) => {
                        warn_of_lost_deletes(log.as_ref(), &unread).await;
                        return Finding::Proofs(Proofs { claims, topics, traces });
                    }
                    Err(error) => again("log", &error, &mut pauses).await,
                }
            }
        });
    }

    /// Starts the partitions whose logs are what they were, and stops the others.
    pub(super) fn judge(&mut self, proofs: Proofs) {
        let Proofs { claims, topics, traces } = proofs;
        let mut missing = Vec::new();
        for (partition, claim) in claims {
            let Some(held) = self.held.get(&partition) else { continue };
            if held.state != State::Proving || held.claim != Some(claim) {
                continue;
            }
            let Some(topic) = topics.get(&partition.topic).copied() else {
                missing.push((partition, claim));
                continue;
            };
            if let Some(stop) =
                held.remembered.contradiction(topic, traces.get(&partition).copied())
            {
                self.stop(&partition, stop);
            } else if held.remembered.has_grown(topic) {
                self.await_growth(&partition);
            } else {
                self.recognise(&partition, topic);
            }
        }
        if !missing.is_empty() {
            let topics = missing.iter().map(|(partition, _)| &partition.topic);
            let topics = topics.collect::<BTreeSet<_>>();
            warn!(?topics, "topics are not there, or may not be seen: looking again");
            self.errands.spawn(async move {
                tokio::time::sleep(ASK_AGAIN).await;
                Finding::Unproven(missing)
            });
        }
    }

    /// Keeps what tells the partition's log from others, and has it read.
    fn recognise(&mut self, partition: &TopicPartition, topic: TopicIdentity) {
        let Some(held) = self.held.get_mut(partition) else { return };
        held.is_identity_due |= held.remembered.learn(topic);
        held.state = State::Running;
        let (waiting, next) = (held.positions.take(), held.expected);
        if !waiting.is_some_and(|positions| positions.offer(partition.clone(), next)) {
            held.assignment = self.link.seek(partition, next);
        }
    }

    /// Looks at the topics that are held, when it is time.
    pub(super) fn look_now_and_then(&mut self) {
        if self.looks.at.is_some_and(|at| at.elapsed() < LOOK_INTERVAL) {
            return;
        }
        self.looks.at = Some(Instant::now());
        let known = self.held.iter().filter(|(_, held)| held.is_known());
        let topics = known.map(|(partition, _)| Arc::clone(&partition.topic));
        let topics = topics.collect::<BTreeSet<_>>();
        if topics.is_empty() {
            return;
        }
        let log = Arc::clone(&self.log);
        self.errands.spawn(async move {
            let found = log.identities(&topics).await;
            Finding::Topics(found.unwrap_or_else(|error| {
                no_answer("log", &error);
                BTreeMap::new()
            }))
        });
    }

    /// Compares the topics with what they were: those that are not there say nothing here.
    pub(super) fn compare_topics(&mut self, topics: &BTreeMap<Arc<str>, TopicIdentity>) {
        let known = self.held.iter().filter(|(_, held)| held.is_known());
        let known = known.map(|(partition, held)| (partition.clone(), held.remembered));
        for (partition, remembered) in known.collect::<Vec<_>>() {
            let Some(topic) = topics.get(&partition.topic).copied() else { continue };
            if let Some(stop) = remembered.contradiction(topic, None) {
                self.stop(&partition, stop);
            } else if remembered.has_grown(topic) {
                self.await_growth(&partition);
            }
        }
    }

    /// Reads a partition no further until it is known where all of the topic's stood when their
    /// number had grown.
    fn await_growth(&mut self, partition: &TopicPartition) {
        let waiting = State::Waiting(GROWTH);
        match self.held.get_mut(partition) {
            Some(held) if held.state == waiting => return,
            // It is not delivered yet.
            Some(held) if held.state == State::Proving => held.state = waiting,
            _ => self.park(partition, waiting),
        }
        self.looks.grown.insert(Arc::clone(&partition.topic));
    }

    /// Returns the question for where a grown topic's partitions stand, once nothing of it is on
    /// the way to the target.
    pub(super) fn places_due(&mut self) -> Option<Order> {
        let is_under_way = |topic: &Arc<str>| {
            let mut steps = self.filling.steps().iter().filter(|step| step.moves());
            steps.any(|step| step.partition.topic == *topic)
        };
        let topic = self.looks.grown.iter().find(|topic| !is_under_way(topic)).cloned()?;
        self.looks.grown.remove(&topic);
        Some(Order::Places(topic))
    }

    /// Has the question asked again, which the target could not answer.
    pub(super) fn ask_places_again(&mut self, topic: Arc<str>) {
        self.looks.grown.insert(topic);
    }

    /// Finds out whether the partitions that a topic has had stand at their ends.
    pub(super) fn look_for_ends(
        &mut self,
        topic: Arc<str>,
        places: Vec<(TopicPartition, NextOffset)>,
    ) {
        let grown = self.held.iter().filter(|(partition, held)| {
            partition.topic == topic && held.state == State::Waiting(GROWTH)
        });
        let seen = grown.filter_map(|(_, held)| held.remembered.partitions_seen).min();
        let Some(seen) = seen else { return };
        let old = (0..seen).map(|number| TopicPartition::new(Arc::clone(&topic), number));
        let (old, places) = (old.collect::<Vec<_>>(), BTreeMap::from_iter(places));
        let log = Arc::clone(&self.log);
        let mut pauses = Pauses::new(&mut self.jitter);
        self.errands.spawn(async move {
            let asked = BTreeSet::from([Arc::clone(&topic)]);
            loop {
                let found = async {
                    Ok::<_, LogError>((
                        log.watermarks(&old).await?,
                        log.identities(&asked).await?.remove(&topic),
                    ))
                };
                match found.await {
                    Ok((ends, identity)) => {
                        let behind = first_behind(&ends, &places);
                        return Finding::Growth(topic, seen, identity, behind);
                    }
                    Err(error) => again("log", &error, &mut pauses).await,
                }
            }
        });
    }

    /// Goes on where all stood at their ends, so that nothing of a moved key can be overtaken, or
    /// where the row guard keeps what is overtaken out; stops where not.
    pub(super) fn settle_growth(
        &mut self,
        topic: &Arc<str>,
        seen: i32,
        identity: Option<TopicIdentity>,
        behind: Option<TopicPartition>,
    ) {
        let grown = self.held.iter().filter(|(partition, held)| {
            partition.topic == *topic && held.state == State::Waiting(GROWTH)
        });
        let grown = grown.map(|(partition, _)| partition.clone()).collect::<Vec<_>>();
        let Some(identity) = identity else {
            // Deleted meanwhile: the group takes it away.
            return;
        };
        let count = identity.partition_count;
        let is_guarded = self.mapping.is_guarded_topic(topic);
        match &behind {
            None => info!(%topic, seen, count, "the topic has more partitions, and all is applied"),
            Some(behind) => warn!(%topic, seen, count, %behind, "the topic has more partitions"),
        }
        for partition in grown {
            let Some(behind) = behind.as_ref().filter(|_| !is_guarded) else {
                self.recognise(&partition, identity);
                continue;
            };
            let detail = format!(
                "the topic has {count} partitions and had {seen}, and {behind} was not applied to \
                 its end: keys have moved; consumer checkpoint release goes on"
            );
            self.stop(&partition, Stop::new(StopReason::PartitionsIncreased, detail));
        }
    }

    /// Stops what waits for a question that the target refuses.
    pub(super) fn stop_grown(&mut self, topic: &Arc<str>, stop: &Stop) {
        let grown = self.held.iter().filter(|(partition, held)| {
            partition.topic == *topic && held.state == State::Waiting(GROWTH)
        });
        for partition in grown.map(|(partition, _)| partition.clone()).collect::<Vec<_>>() {
            self.stop(&partition, stop.clone());
        }
    }

    /// Returns what tells logs from others, where the rows do not say it yet.
    pub(super) fn identify_due(&mut self) -> Option<Order> {
        let mut due = Vec::new();
        for (partition, held) in self.held.iter_mut().filter(|(_, held)| held.is_identity_due) {
            held.is_identity_due = false;
            due.extend(held.claim.map(|claim| (partition.clone(), claim, held.remembered)));
        }
        (!due.is_empty()).then_some(Order::Identify(due))
    }
}

/// Says of compacted topics that were read by nobody for longer than their tombstones are kept that
/// deletes among what is unread may be gone: then no record is left that says so.
async fn warn_of_lost_deletes(
    log: &dyn Ask,
    unread: &BTreeMap<TopicPartition, (NextOffset, Duration)>,
) {
    if unread.is_empty() {
        return;
    }
    let topics = unread.keys().map(|partition| Arc::clone(&partition.topic)).collect();
    let kept = log.compacted(&topics).await;
    let is_over = |(partition, (_, unowned)): &(&TopicPartition, &(NextOffset, Duration))| {
        kept.get(&partition.topic).is_some_and(|kept| unowned > kept)
    };
    let over = unread.iter().filter(is_over).collect::<BTreeMap<_, _>>();
    let partitions = over.keys().map(|partition| (*partition).clone()).collect::<Vec<_>>();
    let Ok(ends) = log.watermarks(&partitions).await else { return };
    for (partition, (next, unowned)) in over {
        if ends.get(partition).is_some_and(|ends| ends.high > *next) {
            let (topic, partition) = (&partition.topic, partition.partition);
            let kept = kept.get(topic).copied().unwrap_or_default();
            warn!(
                %topic,
                partition,
                ?unowned,
                delete_retention = ?kept,
                "deletes may be lost: the topic is compacted, and nobody has read it for longer than \
                 it keeps tombstones; compare the table with its source",
            );
        }
    }
}

/// Asks for the topics of claimed partitions, and for the records that prove where they stood.
async fn find(
    log: &dyn Ask,
    claims: &[(TopicPartition, Claim)],
    offsets: &BTreeMap<TopicPartition, i64>,
) -> Result<(BTreeMap<Arc<str>, TopicIdentity>, BTreeMap<TopicPartition, Trace>), LogError> {
    let topics = claims.iter().map(|(partition, _)| Arc::clone(&partition.topic));
    let topics = log.identities(&topics.collect()).await?;
    let there = offsets.iter().filter(|(partition, _)| topics.contains_key(&partition.topic));
    let there = there.map(|(partition, offset)| (partition.clone(), *offset)).collect();
    let traces = log.traces(&there).await?;
    Ok((topics, traces))
}

/// Returns a partition that is not applied to its end.
fn first_behind(
    ends: &BTreeMap<TopicPartition, Watermarks>,
    places: &BTreeMap<TopicPartition, NextOffset>,
) -> Option<TopicPartition> {
    let is_behind = |(partition, ends): &(&TopicPartition, &Watermarks)| {
        places.get(*partition).map_or(ends.high > ends.low, |next| *next < ends.high)
    };
    ends.iter().find(is_behind).map(|(partition, _)| partition.clone())
}
