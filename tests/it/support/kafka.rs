//! The broker as the tests need it: topics, records put there by hand, ends of partitions.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::support::{SOON, Stack, until, until_some};

/// How long the broker may take for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// A record to be put into a topic.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Draft {
    /// Reads a record of `tests/fixtures`, as the real stack has sent it.
    pub(crate) fn fixture(name: &str) -> Self {
        let path = format!("{}/tests/fixtures/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let record: serde_json::Value = serde_json::from_str(&text).unwrap();
        let bytes = |value: &serde_json::Value| {
            value.as_str().map(|text| BASE64_STANDARD.decode(text).unwrap())
        };
        let header = |pair: &serde_json::Value| {
            (pair.get(0).unwrap().as_str().unwrap().to_owned(), bytes(pair.get(1).unwrap()))
        };
        let headers = record.get("headers").and_then(|headers| headers.as_array());
        Self {
            key: record.get("key").and_then(bytes),
            value: record.get("value").and_then(bytes),
            headers: headers.map(|pairs| pairs.iter().map(header).collect()).unwrap_or_default(),
        }
    }

    /// Replaces text in key and value: another id, another name.
    pub(crate) fn with(mut self, from: &str, to: &str) -> Self {
        for bytes in [&mut self.key, &mut self.value].into_iter().flatten() {
            *bytes = String::from_utf8(bytes.clone()).unwrap().replace(from, to).into_bytes();
        }
        self
    }

    /// Replaces the value.
    pub(crate) fn with_value(mut self, value: Option<Vec<u8>>) -> Self {
        self.value = value;
        self
    }
}

/// Returns the cluster's id.
pub(crate) fn try_cluster_id(brokers: &str) -> Result<Option<String>, KafkaError> {
    let client: BaseConsumer = config(brokers).create()?;
    client.fetch_metadata(None, ANSWER_MAX)?;
    Ok(client.client().fetch_cluster_id(ANSWER_MAX))
}

/// Makes a topic.
pub(crate) fn create_topic(name: &str, partitions: i32, settings: &[(&str, &str)]) {
    create_topic_at(&Stack::get().brokers, name, partitions, settings);
}

/// Makes a topic at other brokers.
pub(crate) fn create_topic_at(
    brokers: &str,
    name: &str,
    partitions: i32,
    settings: &[(&str, &str)],
) {
    let topic = NewTopic {
        name,
        num_partitions: partitions,
        replication: TopicReplication::Fixed(1),
        config: settings.to_vec(),
    };
    let results = admin(brokers, |client, options| {
        runtime().block_on(client.create_topics([&topic], options)).unwrap()
    });
    for result in results {
        result.unwrap_or_else(|(topic, error)| panic!("cannot make topic {topic}: {error}"));
    }
}

/// Deletes topics; those that do not exist are no error.
pub(crate) fn delete_topics(names: &[String]) {
    if names.is_empty() {
        return;
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let brokers = &Stack::get().brokers;
    _ = admin(brokers, |client, options| runtime().block_on(client.delete_topics(&names, options)));
}

/// Deletes a group that nobody is in any more, with all that it has committed.
pub(crate) fn delete_group(name: &str) {
    until(SOON, "the group is deleted", || {
        let results = admin(&Stack::get().brokers, |client, options| {
            runtime().block_on(client.delete_groups(&[name], options)).unwrap()
        });
        results.into_iter().all(|result| result.is_ok())
    });
}

/// Gives a topic more partitions.
pub(crate) fn add_partitions(topic: &str, count: usize) {
    let wanted = NewPartitions::new(topic, count);
    let results = admin(&Stack::get().brokers, |client, options| {
        runtime().block_on(client.create_partitions([&wanted], options)).unwrap()
    });
    for result in results {
        result.unwrap_or_else(|(topic, error)| panic!("cannot extend {topic}: {error}"));
    }
}

/// Returns the names of the topics that begin with `prefix`.
pub(crate) fn topics(prefix: &str) -> Vec<String> {
    let metadata = client().fetch_metadata(None, ANSWER_MAX).unwrap();
    let names = metadata.topics().iter().map(MetadataTopic::name);
    names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect()
}

/// Returns the end of each partition of the topics that begin with `prefix`.
pub(crate) fn ends(prefix: &str) -> BTreeMap<(String, i32), i64> {
    let client = client();
    let metadata = client.fetch_metadata(None, ANSWER_MAX).unwrap();
    let topics = metadata.topics().iter().filter(|topic| topic.name().starts_with(prefix));
    let partitions = topics.flat_map(|topic| {
        topic.partitions().iter().map(|partition| (topic.name().to_owned(), partition.id()))
    });
    let end = |(topic, partition): (String, i32)| {
        // A topic that has just been made may have no leader yet.
        let (_, high) = until_some(SOON, "the partition has a leader", || {
            client.fetch_watermarks(&topic, partition, ANSWER_MAX).ok()
        });
        ((topic, partition), high)
    };
    partitions.map(end).collect()
}

/// Returns the offsets that the group has committed in these partitions; those without are left out.
pub(crate) fn committed(
    group: &str,
    partitions: impl IntoIterator<Item = (String, i32)>,
) -> BTreeMap<(String, i32), i64> {
    let client: BaseConsumer =
        config(&Stack::get().brokers).set("group.id", group).create().unwrap();
    let mut asked = TopicPartitionList::new();
    for (topic, partition) in partitions {
        asked.add_partition(&topic, partition);
    }
    let answer = client.committed_offsets(asked, ANSWER_MAX).unwrap();
    let offsets = answer.elements().into_iter().filter_map(|element| {
        let offset = element.offset().to_raw().filter(|offset| *offset >= 0)?;
        Some(((element.topic().to_owned(), element.partition()), offset))
    });
    offsets.collect()
}

/// Commits an offset for a group that nobody is in.
pub(crate) fn commit(group: &str, topic: &str, offset: i64) {
    let client: BaseConsumer =
        config(&Stack::get().brokers).set("group.id", group).create().unwrap();
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
    client.commit(&offsets, CommitMode::Sync).unwrap();
}

/// Removes the records of partition 0 before an offset, as retention would.
pub(crate) fn delete_before(topic: &str, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, rdkafka::Offset::Offset(offset)).unwrap();
    admin(&Stack::get().brokers, |client, options| {
        runtime().block_on(client.delete_records(&list, options)).unwrap();
    });
}

/// Puts records into a partition, in order, and waits until the broker has them.
pub(crate) fn produce(topic: &str, partition: i32, records: &[Draft]) {
    produce_to(&Stack::get().brokers, topic, partition, records);
}

/// Puts records into a partition at other brokers.
pub(crate) fn produce_to(brokers: &str, topic: &str, partition: i32, records: &[Draft]) {
    let producer: BaseProducer = config(brokers)
        .set("message.max.bytes", "20000000")
        .set("linger.ms", "5")
        .create()
        .unwrap();
    send(&producer, topic, partition, records);
}

/// Reads partition 0 from its beginning, until there are as many records as this.
pub(crate) fn read(topic: &str, count: usize) -> Vec<Draft> {
    let consumer: BaseConsumer =
        config(&Stack::get().brokers).set("auto.offset.reset", "earliest").create().unwrap();
    let mut start = TopicPartitionList::new();
    start.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&start).unwrap();
    let mut found = Vec::new();
    crate::support::until(crate::support::LATER, &format!("{topic} has {count} records"), || {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let message = message.unwrap();
            let owned = |header: Header<'_, &[u8]>| {
                (header.key.to_owned(), header.value.map(<[u8]>::to_vec))
            };
            found.push(Draft {
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
                headers: message
                    .headers()
                    .map(|it| it.iter().map(owned).collect())
                    .unwrap_or_default(),
            });
        }
        found.len() >= count
    });
    found
}

/// Puts records into a partition in a transaction of the broker's, which leaves a marker behind
/// them whether it commits or is aborted.
pub(crate) fn produce_in_transaction(topic: &str, records: &[Draft], commits: bool) {
    let producer: BaseProducer = config(&Stack::get().brokers)
        .set("transactional.id", format!("{topic}-producer"))
        .create()
        .unwrap();
    producer.init_transactions(ANSWER_MAX).unwrap();
    producer.begin_transaction().unwrap();
    send(&producer, topic, 0, records);
    if commits {
        producer.commit_transaction(ANSWER_MAX).unwrap();
    } else {
        producer.abort_transaction(ANSWER_MAX).unwrap();
    }
}

/// A transaction of the broker's that its producer has begun and does not end.
pub(crate) struct OpenTransaction(BaseProducer);

impl OpenTransaction {
    /// Puts records into partition 0.
    pub(crate) fn begin(topic: &str, records: &[Draft]) -> Self {
        let producer: BaseProducer = config(&Stack::get().brokers)
            .set("transactional.id", format!("{topic}-hangs"))
            .create()
            .unwrap();
        producer.init_transactions(ANSWER_MAX).unwrap();
        producer.begin_transaction().unwrap();
        send(&producer, topic, 0, records);
        Self(producer)
    }

    /// Ends it, and takes its records back.
    pub(crate) fn abort(self) {
        self.0.abort_transaction(ANSWER_MAX).unwrap();
    }
}

/// Returns the offsets of the records that partition 0 still has.
pub(crate) fn offsets(brokers: &str, topic: &str) -> Vec<i64> {
    let consumer: BaseConsumer = config(brokers).create().unwrap();
    let (_, end) = consumer.fetch_watermarks(topic, 0, ANSWER_MAX).unwrap();
    let mut start = TopicPartitionList::new();
    start.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&start).unwrap();
    let mut found = Vec::new();
    // The newest record is never compacted.
    crate::support::until(crate::support::SOON, &format!("{topic} is read"), || {
        let message = consumer.poll(Duration::from_millis(100));
        found.extend(message.map(|message| message.unwrap().offset()));
        found.last().is_some_and(|last| *last + 1 >= end)
    });
    found
}

fn send(producer: &BaseProducer, topic: &str, partition: i32, records: &[Draft]) {
    for draft in records {
        let mut record: BaseRecord<'_, Vec<u8>, Vec<u8>> =
            BaseRecord::to(topic).partition(partition);
        record.key = draft.key.as_ref();
        record.payload = draft.value.as_ref();
        if !draft.headers.is_empty() {
            record = record.headers(headers(&draft.headers));
        }
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(ANSWER_MAX).unwrap();
}

fn headers(pairs: &[(String, Option<Vec<u8>>)]) -> OwnedHeaders {
    pairs.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: value.as_ref() })
    })
}

fn admin<T>(
    brokers: &str,
    work: impl FnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> T,
) -> T {
    let client = config(brokers).create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_MAX));
    work(&client, &options)
}

fn client() -> BaseConsumer {
    config(&Stack::get().brokers).create().unwrap()
}

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("allow.auto.create.topics", "false");
    // A group of its own name: nobody joins it, but librdkafka wants one.
    config.set("group.id", "afterimage-tests");
    config
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
