//! The log as it can be looked at: metadata, watermarks and records, without joining the group.
//!
//! librdkafka's calls block, so each runs on a thread for blocking work and has a time-out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResourceResult, ResourceSpecifier};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::groups::{GroupInfo, GroupMemberInfo};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use crate::checkpoint::NextOffset;
use crate::identity::{TopicIdentity, Trace};
use crate::kafka::{config, token};
use crate::record::TopicPartition;
use crate::settings::{BearerToken, Kafka, TopicPattern};

mod describe;
mod identity;

/// A few lines for each broker and attempt.
const EVENTS_WAITING: usize = 100;

/// How long the first turn of a question for metadata takes: enough where nothing is wrong.
const FIRST_TURN: Duration = Duration::from_millis(500);

/// What a lane asks of the log; each question is one attempt.
pub trait Ask: Send + Sync {
    /// Returns how many partitions a topic has.
    fn partition_count<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<usize, LogError>>;

    /// Returns the ends of each partition's log.
    fn watermarks<'a>(
        &'a self,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<BTreeMap<TopicPartition, Watermarks>, LogError>>;

    /// Returns how long each compacted topic keeps tombstones; none when the brokers do not tell.
    fn compacted<'a>(
        &'a self,
        topics: &'a BTreeSet<Arc<str>>,
    ) -> BoxFuture<'a, BTreeMap<Arc<str>, Duration>>;

    /// Returns the offsets that the group has committed, for the partitions that have one.
    fn committed<'a>(
        &'a self,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<BTreeMap<TopicPartition, NextOffset>, LogError>>;

    /// Returns what tells the topics from others of their names; none of those that are not there.
    fn identities<'a>(
        &'a self,
        topics: &'a BTreeSet<Arc<str>>,
    ) -> BoxFuture<'a, Result<BTreeMap<Arc<str>, TopicIdentity>, LogError>>;

    /// Returns the first record at or behind each offset; none where the log has no such offset.
    fn traces<'a>(
        &'a self,
        offsets: &'a BTreeMap<TopicPartition, i64>,
    ) -> BoxFuture<'a, Result<BTreeMap<TopicPartition, Trace>, LogError>>;
}

/// A client that looks; a handle, cheap to clone.
#[derive(Clone)]
pub struct Log {
    consumer: Arc<BaseConsumer<Witness>>,
    config: ClientConfig,
    token: Option<BearerToken>,
    brokers: Arc<str>,
    timeout: Duration,
}

/// Why the log could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No broker answers: a later try may succeed.
    #[error("brokers \"{brokers}\" could not be reached: {detail}")]
    Unreachable {
        /// Those of the settings.
        brokers: String,
        /// What librdkafka says of the last attempt.
        detail: String,
    },
    /// The brokers answer, and refuse us: credentials, TLS or rights.
    #[error("brokers \"{brokers}\" refuse access: {detail}")]
    Denied {
        /// Those of the settings.
        brokers: String,
        /// What librdkafka says of the last attempt.
        detail: String,
    },
    /// There is no such topic, or none that we may see.
    #[error("topic \"{topic}\" does not exist, or may not be seen")]
    TopicMissing {
        /// The topic.
        topic: String,
    },
    /// The settings do not make a client.
    #[error("cannot make a Kafka client of the settings")]
    Client(#[source] KafkaError),
}

impl LogError {
    /// Returns whether the same call may succeed later, with nothing changed by hand.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Denied { .. } | Self::TopicMissing { .. } | Self::Client(_) => false,
        }
    }
}

/// The topics that patterns stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics {
    /// The number of partitions of each topic that exists.
    pub partition_counts: BTreeMap<String, i32>,
    /// Topics that are listed by name and do not exist.
    pub missing: Vec<String>,
}

impl Topics {
    /// Returns every partition, by topic and number.
    pub fn partitions(&self) -> Vec<TopicPartition> {
        let mut partitions = Vec::new();
        for (topic, count) in &self.partition_counts {
            let topic: Arc<str> = topic.as_str().into();
            let numbers = 0..*count;
            partitions.extend(numbers.map(|number| TopicPartition::new(topic.clone(), number)));
        }
        partitions
    }
}

/// The ends of a partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The first record that is still there.
    pub low: NextOffset,
    /// Behind the last record that may be read.
    pub high: NextOffset,
}

/// A member of the group, as its coordinator knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// `client.id`.
    pub client_id: String,
    /// Where it connects from.
    pub host: String,
    /// How many partitions it has; `None` where the group's protocol does not tell.
    pub partition_count: Option<usize>,
}

impl Log {
    /// Makes the client; nothing is asked yet, and each call takes `timeout` at most.
    pub fn new(kafka: &Kafka, timeout: Duration) -> Result<Self, LogError> {
        let config = config::looking(kafka);
        let consumer = config.create_with_context(Witness::default()).map_err(LogError::Client)?;
        let (consumer, brokers) = (Arc::new(consumer), kafka.brokers.as_str().into());
        Ok(Self { consumer, config, token: kafka.token.clone(), brokers, timeout })
    }

    /// Returns the cluster's own id, which never changes.
    pub async fn cluster_id(&self) -> Result<String, LogError> {
        self.call(|log| {
            // The id comes with any metadata; asking for them first tells why there are none.
            log.metadata(None)?;
            let id = log.consumer.client().fetch_cluster_id(log.timeout);
            id.ok_or(KafkaError::MetadataFetch(Code::BrokerTransportFailure))
        })
        .await
    }

    /// Returns the topics that the patterns stand for.
    pub async fn topics(&self, patterns: &[TopicPattern]) -> Result<Topics, LogError> {
        let metadata = self.call(|log| log.metadata(None)).await?;
        let mut topics = Topics::default();
        // One without a leader for the moment is still there.
        let exists = |topic: &&MetadataTopic| {
            topic.error().is_none_or(|error| Code::from(error) != Code::UnknownTopicOrPartition)
        };
        for topic in metadata.topics().iter().filter(exists) {
            if patterns.iter().any(|pattern| pattern.matches(topic.name())) {
                let count = i32::try_from(topic.partitions().len()).expect("Kafka counts in i32");
                topics.partition_counts.insert(topic.name().to_owned(), count);
            }
        }
        let listed = patterns.iter().filter_map(|pattern| match pattern {
            TopicPattern::Literal(name) => Some(name),
            TopicPattern::Regex(_) => None,
        });
        let missing = listed.filter(|name| !topics.partition_counts.contains_key(*name));
        topics.missing = missing.cloned().collect();
        Ok(topics)
    }

    /// Returns how many partitions a topic has.
    pub async fn partition_count(&self, topic: &str) -> Result<usize, LogError> {
        let name = topic.to_owned();
        let metadata = self.call(move |log| log.metadata(Some(&name))).await?;
        let found = metadata.topics().iter().find(|it| it.name() == topic && it.error().is_none());
        let count = found.map(|topic| topic.partitions().len()).filter(|count| *count > 0);
        count.ok_or_else(|| LogError::TopicMissing { topic: topic.to_owned() })
    }

    /// Asks for metadata in turns that grow: a denial is an event, and ends no call that waits for an
    /// answer.
    fn metadata(&self, topic: Option<&str>) -> KafkaResult<Metadata> {
        let end = Instant::now() + self.timeout;
        let mut turn = FIRST_TURN;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let told = self.consumer.fetch_metadata(topic, turn.min(left));
            if told.is_ok() || turn >= left || self.is_denied() {
                return told;
            }
            turn *= 2;
        }
    }

    /// Returns the topics whose policy is to compact, with how long their tombstones stay.
    async fn cleanup_policies(
        &self,
        topics: &BTreeSet<Arc<str>>,
    ) -> KafkaResult<BTreeMap<Arc<str>, Duration>> {
        let admin = self.config.create::<AdminClient<_>>()?;
        token::give(admin.inner(), self.token.as_ref()).map_err(KafkaError::AdminOpCreation)?;
        let options = AdminOptions::new().request_timeout(Some(self.timeout));
        let asked = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect::<Vec<_>>();
        let told = admin.describe_configs(&asked, &options).await?;
        let kept = |resource: &ConfigResourceResult| {
            let setting = |name| resource.as_ref().ok()?.get(name)?.value.as_deref();
            let kept = Duration::from_millis(setting("delete.retention.ms")?.parse().ok()?);
            setting("cleanup.policy")?.contains("compact").then_some(kept)
        };
        let paired = topics.iter().cloned().zip(&told);
        Ok(paired.filter_map(|(topic, told)| Some((topic, kept(told)?))).collect())
    }

    /// Returns the ends of each partition's log.
    pub async fn watermarks(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Watermarks>, LogError> {
        let partitions = partitions.to_vec();
        self.call(move |log| {
            let mut found = BTreeMap::new();
            for partition in partitions {
                let (low, high) = log.consumer.fetch_watermarks(
                    &partition.topic,
                    partition.partition,
                    log.timeout,
                )?;
                let ends = Watermarks { low: NextOffset::at(low), high: NextOffset::at(high) };
                found.insert(partition, ends);
            }
            Ok(found)
        })
        .await
    }

    /// Returns the offsets that the group has committed, for the partitions that have one.
    pub async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, NextOffset>, LogError> {
        let list = list(partitions.iter().map(|partition| (partition, Offset::Invalid)));
        let found = self.call(move |log| log.consumer.committed_offsets(list, log.timeout)).await?;
        Ok(offsets(&found))
    }

    /// Returns the first offset at or after a time, in milliseconds since the epoch, for the
    /// partitions that have one.
    pub async fn at_time(
        &self,
        partitions: &[TopicPartition],
        millis: i64,
    ) -> Result<BTreeMap<TopicPartition, NextOffset>, LogError> {
        let list = list(partitions.iter().map(|partition| (partition, Offset::Offset(millis))));
        let found = self.call(move |log| log.consumer.offsets_for_times(list, log.timeout)).await?;
        Ok(offsets(&found))
    }

    /// Returns the group's members; none for a group that does not exist.
    ///
    /// Groups of the broker's protocol (KIP-848) show no members to this request.
    pub async fn members(&self, group: &str) -> Result<Vec<GroupMember>, LogError> {
        let group = group.to_owned();
        self.call(move |log| {
            let list = log.consumer.fetch_group_list(Some(&group), log.timeout)?;
            let members = list.groups().iter().flat_map(GroupInfo::members);
            let member = |member: &GroupMemberInfo| GroupMember {
                client_id: member.client_id().to_owned(),
                host: member.client_host().trim_start_matches('/').to_owned(),
                partition_count: member.assignment().and_then(assigned_count),
            };
            Ok(members.map(member).collect())
        })
        .await
    }

    /// Starts to read partitions at these offsets, in place of what was read before.
    pub(crate) fn assign(&self, starts: &[(TopicPartition, NextOffset)]) -> Result<(), LogError> {
        let starts = starts.iter().map(|(partition, at)| (partition, Offset::Offset(at.get())));
        self.consumer.assign(&list(starts)).map_err(|error| self.classify(&error))
    }

    /// Runs a call that blocks.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Self) -> KafkaResult<T> + Send + 'static,
    ) -> Result<T, LogError> {
        let log = self.clone();
        let answer = tokio::task::spawn_blocking(move || {
            token::give(log.consumer.client(), log.token.as_ref())
                .map_err(|detail| LogError::Denied { brokers: log.brokers.to_string(), detail })?;
            ask(&log).map_err(|error| {
                log.drain();
                log.classify(&error)
            })
        });
        answer.await.expect("a call to librdkafka neither panics nor is cancelled")
    }

    /// Takes the errors of connections, which wait in the queue until somebody polls.
    fn drain(&self) {
        for _ in 0..EVENTS_WAITING {
            _ = self.consumer.poll(Duration::ZERO);
        }
    }

    fn is_denied(&self) -> bool {
        self.drain();
        self.consumer.context().seen().as_ref().is_some_and(|(is_denied, _)| *is_denied)
    }

    pub(crate) fn consumer(&self) -> &BaseConsumer<Witness> {
        &self.consumer
    }

    fn classify(&self, error: &KafkaError) -> LogError {
        let seen = self.consumer.context().seen().take();
        let brokers = self.brokers.to_string();
        let code = error.rdkafka_error_code();
        let is_denied = code.is_some_and(is_denial) || seen.as_ref().is_some_and(|seen| seen.0);
        let detail = seen.map_or_else(|| error.to_string(), |(_, detail)| detail);
        if is_denied {
            return LogError::Denied { brokers, detail };
        }
        LogError::Unreachable { brokers, detail }
    }
}

impl Ask for Log {
    fn partition_count<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<usize, LogError>> {
        Box::pin(self.partition_count(topic))
    }

    fn watermarks<'a>(
        &'a self,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<BTreeMap<TopicPartition, Watermarks>, LogError>> {
        Box::pin(self.watermarks(partitions))
    }

    fn compacted<'a>(
        &'a self,
        topics: &'a BTreeSet<Arc<str>>,
    ) -> BoxFuture<'a, BTreeMap<Arc<str>, Duration>> {
        Box::pin(async {
            self.cleanup_policies(topics).await.unwrap_or_else(|error| {
                tracing::debug!(%error, "could not read the topics' settings");
                BTreeMap::new()
            })
        })
    }

    fn committed<'a>(
        &'a self,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<BTreeMap<TopicPartition, NextOffset>, LogError>> {
        Box::pin(self.committed(partitions))
    }

    fn identities<'a>(
        &'a self,
        topics: &'a BTreeSet<Arc<str>>,
    ) -> BoxFuture<'a, Result<BTreeMap<Arc<str>, TopicIdentity>, LogError>> {
        Box::pin(self.identities(topics))
    }

    fn traces<'a>(
        &'a self,
        offsets: &'a BTreeMap<TopicPartition, i64>,
    ) -> BoxFuture<'a, Result<BTreeMap<TopicPartition, Trace>, LogError>> {
        Box::pin(self.traces(offsets))
    }
}

fn list<'a>(entries: impl Iterator<Item = (&'a TopicPartition, Offset)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in entries {
        list.add_partition_offset(&partition.topic, partition.partition, offset)
            .expect("every offset here is one that a list can hold");
    }
    list
}

fn offsets(list: &TopicPartitionList) -> BTreeMap<TopicPartition, NextOffset> {
    let mut found = BTreeMap::new();
    for element in list.elements() {
        if let Offset::Offset(offset) = element.offset() {
            let partition = TopicPartition::new(element.topic(), element.partition());
            found.insert(partition, NextOffset::at(offset));
        }
    }
    found
}

/// Counts the partitions in an assignment of Kafka's own consumer protocol: a version, and for each
/// topic its name and its partitions.
fn assigned_count(bytes: &[u8]) -> Option<usize> {
    let (_version, rest) = bytes.split_first_chunk::<2>()?;
    let (topic_count, mut rest) = rest.split_first_chunk::<4>()?;
    let mut count = 0;
    for _ in 0..i32::from_be_bytes(*topic_count) {
        let (length, tail) = rest.split_first_chunk::<2>()?;
        let (_name, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let (partitions, tail) = tail.split_first_chunk::<4>()?;
        let partitions = usize::try_from(i32::from_be_bytes(*partitions)).ok()?;
        (_, rest) = tail.split_at_checked(partitions.checked_mul(4)?)?;
        count += partitions;
    }
    Some(count)
}

fn is_denial(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::SSL
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
    )
}

/// Keeps what librdkafka reports beside the answers to calls: why there are none.
#[derive(Debug, Default)]
pub(crate) struct Witness(Mutex<Option<(bool, String)>>);

impl Witness {
    /// Returns whether access was denied, and what was said.
    fn seen(&self) -> MutexGuard<'_, Option<(bool, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Witness {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // A broker that wants another certificate says so when we already think that we are connected.
        let is_denied =
            error.rdkafka_error_code().is_some_and(is_denial) || reason.contains("SSL alert");
        let is_summary = error.rdkafka_error_code() == Some(Code::AllBrokersDown);
        let mut seen = self.seen();
        // A denial says more than the lost connections that follow it, and any connection says
        // more than that all are lost.
        let keeps = seen.as_ref().is_some_and(|(was_denied, _)| *was_denied || is_summary);
        if is_denied || !keeps {
            let also = if reason.contains("certificate verify failed") {
                // The client's own advice knows one reason of two.
                "; or the certificate is for another host"
            } else {
                ""
            };
            *seen = Some((is_denied, format!("{reason}{also}")));
        }
    }
}

impl ConsumerContext for Witness {}

#[cfg(test)]
mod tests;
