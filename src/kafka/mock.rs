//! The in-process broker of the demo and of tests, with the producer that feeds it.
//!
//! librdkafka's mock cluster speaks Kafka's protocol on a loopback port. It keeps 5 MiB of stored
//! bytes a partition and drops what is older, read or not: whoever sends must wait for the readers.

use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::bindings::{
    rd_kafka_handle_mock_cluster, rd_kafka_mock_group_initial_rebalance_delay_ms,
};
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};

/// What a partition keeps, in stored bytes: fixed in librdkafka.
pub const RETENTION_BYTES: usize = 5 << 20;

/// How long a topic's making may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A broker in this process; it ends when it is dropped.
pub struct Broker {
    producer: ThreadedProducer<Deliveries>,
}

/// A record to send.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// The key; `None` for a null key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: &'a [(&'a str, &'a str)],
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way, behind all that were sent to its partition before.
    Queued,
    /// The queue is full: again in a moment.
    QueueFull,
}

/// Why the broker cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// It could not be started.
    #[error("the in-process broker cannot start")]
    Start(#[source] ClientError),
    /// It refused a request.
    #[error("the in-process broker refuses a request")]
    Request(#[source] ClientError),
    /// A message was lost after it was queued.
    #[error("the in-process broker lost a record: {0}")]
    Lost(String),
}

impl Broker {
    /// Starts a broker with these topics and as many partitions of each.
    ///
    /// # Errors
    ///
    /// The port, the threads or the topics cannot be made.
    pub fn start(topics: &[&str], partitions: i32) -> Result<Self, BrokerError> {
        let producer = ClientConfig::new()
            .set("test.mock.num.brokers", "1")
            .set("enable.idempotence", "true")
            .set("compression.codec", "lz4")
            .set("linger.ms", "5")
            .set("batch.num.messages", "5000")
            .set("queue.buffering.max.kbytes", "65536")
            .create_with_context::<_, ThreadedProducer<_>>(Deliveries::default())
            .map_err(BrokerError::Start)?;
        let broker = Self { producer };
        broker.skip_rebalance_delay();
        let cluster = broker.producer.client().mock_cluster();
        let cluster = cluster.expect("test.mock.num.brokers makes a mock cluster");
        for topic in topics {
            cluster.create_topic(topic, partitions, 1).map_err(BrokerError::Start)?;
        }
        drop(cluster);
        Ok(broker)
    }

    /// Lets the first member join at once instead of after three seconds.
    #[expect(unsafe_code, reason = "rust-rdkafka has no call for this setting of the mock cluster")]
    fn skip_rebalance_delay(&self) {
        let client = self.producer.client().native_ptr();
        // SAFETY: the client lives as long as `self`, and it was made with a mock cluster, which it
        // owns; both calls only read and set that cluster under its own lock.
        unsafe {
            let cluster = rd_kafka_handle_mock_cluster(client);
            rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0);
        }
    }

    /// Has the next commit of offsets be answered with this error.
    #[cfg(test)]
    pub(crate) fn refuse_commit(&self, error: rdkafka::types::RDKafkaRespErr) {
        let cluster = self.producer.client().mock_cluster();
        let cluster = cluster.expect("test.mock.num.brokers makes a mock cluster");
        cluster.request_errors(rdkafka::types::RDKafkaApiKey::OffsetCommit, &[error]);
    }

    /// Returns the addresses that clients start with.
    pub fn bootstrap_servers(&self) -> String {
        let cluster = self.producer.client().mock_cluster();
        cluster.map(|cluster| cluster.bootstrap_servers()).unwrap_or_default()
    }

    /// Queues a message.
    ///
    /// # Errors
    ///
    /// The message cannot be sent at all, or one that was queued before was lost.
    pub fn send(&self, message: &Message<'_>) -> Result<Sent, BrokerError> {
        if let Some(lost) = self.producer.context().lost.get() {
            return Err(BrokerError::Lost(lost.clone()));
        }
        let mut headers = OwnedHeaders::new_with_capacity(message.headers.len());
        for (key, value) in message.headers {
            headers = headers.insert(Header { key, value: Some(*value) });
        }
        let mut record = BaseRecord::<[u8], [u8]>::to(message.topic)
            .partition(message.partition)
            .timestamp(message.timestamp)
            .headers(headers);
        record.key = message.key;
        record.payload = message.value;
        match self.producer.send(record) {
            Ok(()) => Ok(Sent::Queued),
            Err((ClientError::MessageProduction(Code::QueueFull), _)) => Ok(Sent::QueueFull),
            Err((error, _)) => Err(BrokerError::Request(error)),
        }
    }

    /// Returns the first offset that a partition still holds, and the one behind its last.
    ///
    /// # Errors
    ///
    /// The broker does not answer.
    pub fn watermarks(&self, topic: &str, partition: i32) -> Result<(i64, i64), BrokerError> {
        let client = self.producer.client();
        client.fetch_watermarks(topic, partition, TIMEOUT).map_err(BrokerError::Request)
    }

    /// Waits until all that was queued lies in the broker; blocks for some milliseconds.
    ///
    /// # Errors
    ///
    /// A message was lost, or the broker does not answer.
    pub fn flush(&self) -> Result<(), BrokerError> {
        self.producer.flush(TIMEOUT).map_err(BrokerError::Request)?;
        match self.producer.context().lost.get() {
            Some(lost) => Err(BrokerError::Lost(lost.clone())),
            None => Ok(()),
        }
    }
}

/// Remembers the first message that was lost.
#[derive(Default)]
struct Deliveries {
    lost: OnceLock<String>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.lost.get_or_init(|| error.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::Message as _;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    use rdkafka::message::Headers as _;

    use super::*;

    #[test]
    fn what_is_sent_is_read_in_order_by_a_group_that_joins_at_once() {
        let broker = Broker::start(&["t"], 2).unwrap();
        for number in 0..1000 {
            let key = format!("{number}");
            let message = Message {
                topic: "t",
                partition: number % 2,
                timestamp: 5,
                key: Some(key.as_bytes()),
                value: (number % 3 != 0).then_some(b"value"),
                headers: &[("h", "1")],
            };
            assert_eq!(broker.send(&message).unwrap(), Sent::Queued);
        }
        broker.flush().unwrap();
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", broker.bootstrap_servers())
            .set("group.id", "g")
            .set("auto.offset.reset", "earliest")
            .create()
            .unwrap();
        let started = tokio::time::Instant::now();
        consumer.subscribe(&["t"]).unwrap();

        let mut next = [0, 1];
        while next != [1000, 1001] {
            assert!(started.elapsed() < TIMEOUT, "only {next:?} came");
            let Some(message) = consumer.poll(TIMEOUT).transpose().unwrap() else { continue };
            let partition = usize::try_from(message.partition()).unwrap();
            let number = next[partition];
            assert_eq!(message.key(), Some(format!("{number}").as_bytes()));
            assert_eq!(message.payload().is_some(), number % 3 != 0);
            assert_eq!(message.headers().unwrap().get(0).value, Some(&b"1"[..]));
            next[partition] += 2;
        }
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    }
}
