//! An in-process broker with given records, for tests.

use std::ffi::CString;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};

const WAIT: Duration = Duration::from_secs(10);

/// A broker that ends with the test.
pub(crate) struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
}

/// A record to send.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [(&'a str, Option<&'a str>)],
}

impl Broker {
    /// Starts a broker with topics, each with its number of partitions.
    pub(crate) fn start(topics: &[(&str, i32)]) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        for (topic, partition_count) in topics {
            cluster.create_topic(topic, *partition_count, 1).unwrap();
        }
        let brokers = cluster.bootstrap_servers();
        let producer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
        Self { cluster, producer }
    }

    /// Returns the address.
    pub(crate) fn address(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// Sends records in order and waits until the broker has them.
    pub(crate) fn send<'a>(&self, records: impl IntoIterator<Item = Sent<'a>>) {
        for sent in records {
            let headers = sent.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header { key, value: *value })
            });
            let mut record = BaseRecord::<[u8], [u8]>::to(sent.topic)
                .partition(sent.partition)
                .timestamp(sent.timestamp)
                .headers(headers);
            (record.key, record.payload) = (sent.key, sent.value);
            self.producer.send(record).unwrap();
        }
        self.producer.flush(WAIT).unwrap();
    }

    /// Sends a record of nothing but a header, whose name may be any bytes.
    #[expect(unsafe_code, reason = "rust-rdkafka takes UTF-8 only")]
    pub(crate) fn send_with_header(&self, topic: &str, name: &[u8], value: &[u8]) {
        let topic = CString::new(topic).unwrap();
        let client = self.producer.client().native_ptr();
        let length = |part: &[u8]| part.len().try_into().unwrap();
        // SAFETY: the client is alive, name and value live until they are copied, and the headers
        // are the producer's once it has taken the record.
        unsafe {
            let headers = native::rd_kafka_headers_new(1);
            let (name_at, value_at) = (name.as_ptr().cast(), value.as_ptr().cast());
            native::rd_kafka_header_add(headers, name_at, length(name), value_at, length(value));
            let mut parts: [native::rd_kafka_vu_t; 2] = std::mem::zeroed();
            let [topic_part, headers_part] = &mut parts;
            topic_part.vtype = native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TOPIC;
            topic_part.u.cstr = topic.as_ptr();
            headers_part.vtype = native::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS;
            headers_part.u.headers = headers;
            let error = native::rd_kafka_produceva(client, parts.as_ptr(), parts.len());
            assert!(error.is_null());
        }
        self.producer.flush(WAIT).unwrap();
    }

    /// Returns whether the group has committed an offset of any partition of the topic.
    pub(crate) fn has_committed(&self, group: &str, topic: &str, partition_count: i32) -> bool {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.address())
            .set("group.id", group)
            .create()
            .unwrap();
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition_range(topic, 0, partition_count - 1);
        let committed = consumer.committed_offsets(list, WAIT).unwrap();
        committed.elements().iter().any(|one| one.offset() != rdkafka::Offset::Invalid)
    }
}
