//! Copies of refused records in a topic, with the headers that Connect's dead letter queue has.

use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;

use crate::kafka::{config, token};
use crate::record::TopicPartition;
use crate::refused::{KeptRecord, Reason};
use crate::settings::{BearerToken, Kafka};

/// How long a dropped producer may still send what it has.
const FAREWELL: Duration = Duration::from_secs(1);

/// A producer that writes into one topic; a copy may come twice, and none is lost in silence.
pub struct Copies {
    producer: ThreadedProducer<Deliveries>,
    token: Option<BearerToken>,
    topic: String,
}

/// A refused record, as its copy tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Copy<'a> {
    /// The sink, in the place of Connect's connector.
    pub sink: &'a str,
    /// Where the record stands.
    pub partition: &'a TopicPartition,
    /// The record.
    pub record: &'a KeptRecord,
    /// Why it was refused, as it is kept.
    pub reason: &'a str,
    /// What is kept of it besides.
    pub error: &'a str,
}

/// Why there is no copy; a later try may succeed.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The settings do not make a producer.
    #[error("cannot make a Kafka producer of the settings")]
    Client(#[source] KafkaError),
    /// There is no token to show.
    #[error("could not show who we are: {0}")]
    Denied(String),
    /// The broker did not take it.
    #[error("could not copy a record to topic \"{topic}\"")]
    Refused {
        /// The topic of the copies.
        topic: String,
        /// What librdkafka says.
        #[source]
        source: KafkaError,
    },
    /// The producer has ended.
    #[error("the producer has ended")]
    Ended,
}

impl Copies {
    /// Makes the producer; nothing is asked of a broker yet.
    ///
    /// # Errors
    ///
    /// [`CopyError::Client`].
    pub fn new(kafka: &Kafka, topic: &str) -> Result<Self, CopyError> {
        let config = config::producer(kafka);
        let producer = config.create_with_context(Deliveries).map_err(CopyError::Client)?;
        Ok(Self { producer, token: kafka.token.clone(), topic: topic.to_owned() })
    }

    /// Sends copies, and waits until the broker has each of them or it is clear that it has not.
    pub async fn send(&self, copies: &[Copy<'_>]) -> Vec<Result<(), CopyError>> {
        if let Err(reason) = token::give(self.producer.client(), self.token.as_ref()) {
            return copies.iter().map(|_| Err(CopyError::Denied(reason.clone()))).collect();
        }
        let sent: Vec<_> = copies.iter().map(|copy| self.queue(copy)).collect();
        let mut results = Vec::with_capacity(sent.len());
        for queued in sent {
            results.push(match queued {
                Ok(delivered) => delivered.await.unwrap_or(Err(None)),
                Err(error) => Err(Some(error)),
            });
        }
        let refused = |source| CopyError::Refused { topic: self.topic.clone(), source };
        let failed = |error: Option<KafkaError>| error.map_or(CopyError::Ended, refused);
        results.into_iter().map(|result| result.map_err(failed)).collect()
    }

    fn queue(&self, copy: &Copy<'_>) -> Result<oneshot::Receiver<Delivered>, KafkaError> {
        let (told, delivered) = oneshot::channel();
        let mut record = BaseRecord::<[u8], [u8], _>::with_opaque_to(&self.topic, Box::new(told));
        (record.key, record.payload) = (copy.record.key.as_deref(), copy.record.value.as_deref());
        record.timestamp = copy.record.timestamp;
        record.headers = Some(headers(copy));
        self.producer.send(record).map_err(|(error, _)| error)?;
        Ok(delivered)
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        // What is not delivered by then is not marked as copied, and is sent again.
        _ = self.producer.flush(FAREWELL);
    }
}

/// Whether the broker has a copy; without an error, nobody was there to tell.
type Delivered = Result<(), Option<KafkaError>>;

/// Tells each copy's sender what became of it.
struct Deliveries;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<oneshot::Sender<Delivered>>;

    fn delivery(&self, result: &DeliveryResult<'_>, told: Self::DeliveryOpaque) {
        let result = result.as_ref().map(|_| ()).map_err(|(error, _)| Some(error.clone()));
        // Who does not wait any more sends it again.
        _ = told.send(result);
    }
}

/// Returns the record's own headers, and behind them what Connect would add.
fn headers(copy: &Copy<'_>) -> OwnedHeaders {
    let (stage, class) = place(copy.reason);
    let own = copy.record.headers.iter();
    let own = own.map(|(name, value)| (name.as_str(), value.as_deref()));
    let number = copy.partition.partition.to_string();
    let offset = copy.record.offset.to_string();
    let added = [
        ("topic", &*copy.partition.topic),
        ("partition", &number),
        ("offset", &offset),
        ("connector.name", copy.sink),
        ("task.id", "0"),
        ("stage", stage),
        ("class.name", class),
        ("exception.class.name", copy.reason),
        ("exception.message", copy.error),
    ];
    let mut headers = OwnedHeaders::new_with_capacity(own.len() + added.len());
    for (key, value) in own {
        headers = headers.insert(Header { key, value });
    }
    for (name, value) in added {
        let key = format!("__connect.errors.{name}");
        headers = headers.insert(Header { key: &key, value: Some(value.as_bytes()) });
    }
    headers
}

/// Returns Connect's name for where a record was refused, and ours.
fn place(reason: &str) -> (&'static str, &'static str) {
    let is_one_of = |reasons: &[Reason]| reasons.iter().any(|known| known.name() == reason);
    if is_one_of(&[Reason::KeyMissing]) {
        return ("KEY_CONVERTER", "afterimage::decode");
    }
    if is_one_of(&[Reason::Malformed, Reason::NotAnEnvelope, Reason::SchemaNotFound]) {
        return ("VALUE_CONVERTER", "afterimage::decode");
    }
    ("TASK_PUT", "afterimage::target")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rdkafka::message::Headers as _;

    use super::*;
    use crate::kafka::fixture::Broker;
    use crate::settings::{GroupProtocol, Secret};

    fn kept() -> KeptRecord {
        KeptRecord {
            offset: 7,
            timestamp: Some(5),
            key: Some(b"k".to_vec()),
            value: None,
            headers: vec![("own".to_owned(), None), ("own".to_owned(), Some(b"\xff".to_vec()))],
        }
    }

    fn copy<'a>(partition: &'a TopicPartition, record: &'a KeptRecord) -> Copy<'a> {
        Copy { sink: "s", partition, record, reason: "value_unfit", error: "too long" }
    }

    #[test]
    fn connects_headers_stand_behind_the_records_own() {
        let (partition, record) = (TopicPartition::new("t", 3), kept());
        let headers = headers(&copy(&partition, &record));
        let shown: Vec<String> = headers
            .as_borrowed()
            .iter()
            .map(|header| {
                let value = header.value.map(String::from_utf8_lossy);
                format!("{}={}", header.key, value.as_deref().unwrap_or("null"))
            })
            .collect();
        expect_test::expect![[r#"
            own=null
            own=�
            __connect.errors.topic=t
            __connect.errors.partition=3
            __connect.errors.offset=7
            __connect.errors.connector.name=s
            __connect.errors.task.id=0
            __connect.errors.stage=TASK_PUT
            __connect.errors.class.name=afterimage::target
            __connect.errors.exception.class.name=value_unfit
            __connect.errors.exception.message=too long"#]]
        .assert_eq(&shown.join("\n"));
    }

    #[tokio::test]
    async fn a_copy_is_known_to_have_come_or_not() {
        let broker = Broker::start(&[("letters", 1)]);
        let small = ("message.max.bytes".to_owned(), Secret::new("1000"));
        let settings = Kafka {
            brokers: broker.address(),
            group: "g".to_owned(),
            topics: Vec::new(),
            properties: BTreeMap::from([small]),
            token: None,
            protocol: GroupProtocol::Classic,
        };
        let (partition, record) = (TopicPartition::new("t", 0), kept());
        let copies = Copies::new(&settings, "letters").unwrap();
        let results = copies.send(&[copy(&partition, &record), copy(&partition, &record)]).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");

        let mut large = kept();
        large.value = Some(vec![0; 2000]);
        let results = copies.send(&[copy(&partition, &large)]).await;
        assert!(matches!(results[0], Err(CopyError::Refused { .. })), "{results:?}");
    }
}
