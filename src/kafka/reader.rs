//! A reader of one topic's records that belongs to no group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::Message;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;

use crate::checkpoint::NextOffset;
use crate::kafka::log::{Log, LogError};
use crate::kafka::queue;
use crate::record::{Run, TopicPartition};

/// Records taken at once: enough to be quick, few enough to stay small.
const CHUNK: usize = 1000;

/// Reads a topic's records from given offsets on.
pub struct Reader {
    log: Log,
    topic: Arc<str>,
}

/// What one turn of a reader brought.
#[derive(Debug, Default)]
pub struct Arrived {
    /// Records, by partition.
    pub runs: BTreeMap<i32, Run>,
    /// Partitions whose end was reached, for now.
    pub ended: Vec<i32>,
}

impl Reader {
    /// Starts to read; the log reads for one reader at a time.
    pub fn start(
        log: &Log,
        topic: impl Into<Arc<str>>,
        starts: &[(i32, NextOffset)],
    ) -> Result<Self, LogError> {
        let topic = topic.into();
        let starts: Vec<_> = starts
            .iter()
            .map(|(partition, at)| (TopicPartition::new(topic.clone(), *partition), *at))
            .collect();
        log.assign(&starts)?;
        Ok(Self { log: log.clone(), topic })
    }

    /// Waits for records or the end of a partition; brings nothing when `wait` is over.
    pub async fn next(&mut self, wait: Duration) -> Result<Arrived, LogError> {
        let topic = self.topic.clone();
        self.log
            .call(move |log| {
                let mut arrived = Arrived::default();
                let mut patience = wait;
                for _ in 0..CHUNK {
                    match log.consumer().poll(patience) {
                        None => break,
                        Some(Ok(message)) => arrived.push(&topic, &message),
                        Some(Err(KafkaError::PartitionEOF(partition))) => {
                            arrived.ended.push(partition);
                        }
                        Some(Err(error)) if is_passing(&error) => {}
                        Some(Err(error)) => return Err(error),
                    }
                    patience = Duration::ZERO;
                }
                Ok(arrived)
            })
            .await
    }
}

/// Connections come and go; librdkafka makes them anew by itself.
fn is_passing(error: &KafkaError) -> bool {
    use rdkafka::error::RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::OperationTimedOut)
    )
}

impl Arrived {
    fn push(&mut self, topic: &Arc<str>, message: &BorrowedMessage<'_>) {
        let run = self.runs.entry(message.partition()).or_insert_with(|| {
            Run::new(TopicPartition::new(topic.clone(), message.partition()), 0)
        });
        let at = (message.offset(), message.timestamp().to_millis());
        run.push(at, message.key(), message.payload(), queue::Message::behind(message).headers());
    }
}
