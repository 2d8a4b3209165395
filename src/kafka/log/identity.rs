//! The identity of logs: topic ids, and records as proof of where a checkpoint was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::MetadataBroker;
use tokio::time::Instant;

use super::{Log, LogError, Witness, describe, list};
use crate::identity::{TopicIdentity, Trace};
use crate::kafka::queue::{Queue, Said};
use crate::kafka::token;
use crate::record::TopicPartition;

/// How long one poll waits for the next record.
const POLL_WAIT: Duration = Duration::from_millis(100);

impl Log {
    /// Returns what tells the topics from others of their names; none of those that are not there.
    pub async fn identities(
        &self,
        topics: &BTreeSet<Arc<str>>,
    ) -> Result<BTreeMap<Arc<str>, TopicIdentity>, LogError> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let topics = topics.clone();
        self.call(move |log| {
            let metadata = log.metadata(topics.first().map(|topic| &**topic))?;
            let broker = metadata.brokers().first().map(MetadataBroker::id);
            let broker = broker.ok_or(KafkaError::MetadataFetch(Code::AllBrokersDown))?;
            describe::describe(log.consumer.client(), broker, topics, log.timeout)
        })
        .await
    }

    /// Returns the first record at or behind each offset; none where the log has no such offset.
    pub async fn traces(
        &self,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<BTreeMap<TopicPartition, Trace>, LogError> {
        if offsets.is_empty() {
            return Ok(BTreeMap::new());
        }
        let offsets = offsets.clone();
        self.call(move |log| {
            // A client of its own: several may ask at once, and each assignment replaces the last.
            let mut config = log.config.clone();
            config.set("queued.min.messages", "1");
            let consumer: BaseConsumer<Witness> = config.create_with_context(Witness::default())?;
            token::give(consumer.client(), log.token.as_ref())
                .map_err(KafkaError::AdminOpCreation)?;
            let starts = offsets.iter().map(|(at, offset)| (at, Offset::Offset(*offset)));
            consumer.assign(&list(starts))?;
            let queue = Queue::of(Arc::new(consumer));
            let mut waited = offsets.into_keys().collect::<BTreeSet<_>>();
            let (mut found, end) = (BTreeMap::new(), Instant::now() + log.timeout);
            while !waited.is_empty() {
                if Instant::now() > end {
                    return Err(KafkaError::MessageConsumption(Code::OperationTimedOut));
                }
                let Some(item) = queue.poll(POLL_WAIT) else { continue };
                let (partition, trace) = match item.said() {
                    Said::Record(message) => {
                        let partition = TopicPartition::new(message.topic(), message.partition());
                        let (offset, timestamp) = (message.offset(), message.timestamp());
                        let leader_epoch = message.leader_epoch();
                        (partition, Some(Trace { offset, timestamp, leader_epoch }))
                    }
                    Said::End(partition, _) | Said::OutOfRange(partition, _) => (partition, None),
                    _ => continue,
                };
                // The first of a partition counts; more is fetched with it.
                if let (true, Some(trace)) = (waited.remove(&partition), trace) {
                    found.insert(partition, trace);
                }
            }
            Ok(found)
        })
        .await
    }
}
