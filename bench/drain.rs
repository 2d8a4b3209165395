//! Reads topics to their ends and does nothing: what the Kafka client alone can do.
//!
//! `drain BROKERS TOPIC…` prints records, bytes and the seconds from the first record to the last.

use std::collections::HashSet;
use std::io::{Write as _, stdout};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let brokers = arguments.next().context("usage: drain BROKERS TOPIC…")?;
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set("group.id", "bench-drain")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        // A record's bytes are looked at by whoever trusts them.
        .set("check.crcs", "true")
        // A consumer that is faster than its queue would stand still for this long.
        .set("fetch.queue.backoff.ms", "10")
        .create()?;
    let mut open = assign(&consumer, arguments)?;
    let (mut records, mut bytes, mut span) = (0_u64, 0_u64, None);
    while open > 0 {
        match consumer.poll(PATIENCE).context("nothing came")? {
            Ok(record) => {
                // The broker waits before it says that there is no more.
                let now = SystemTime::now();
                let (_, last) = span.get_or_insert((now, now));
                *last = now;
                records += 1;
                bytes += u64::try_from(record.payload_len() + record.key_len())?;
            }
            Err(KafkaError::PartitionEOF(_)) => open -= 1,
            Err(error) => return Err(error.into()),
        }
    }
    let (first, last) = span.context("the topics are empty")?;
    let seconds = last.duration_since(first)?.as_secs_f64();
    writeln!(stdout(), "{}", json!({ "records": records, "bytes": bytes, "seconds": seconds }))?;
    Ok(())
}

/// Starts at the beginning of every partition, and returns how many there are.
fn assign(consumer: &BaseConsumer, topics: impl Iterator<Item = String>) -> anyhow::Result<usize> {
    let mut list = TopicPartitionList::new();
    for topic in topics.collect::<HashSet<_>>() {
        let metadata = consumer.fetch_metadata(Some(&topic), PATIENCE)?;
        let found = metadata.topics().first().context("no metadata")?;
        for partition in found.partitions() {
            list.add_partition_offset(&topic, partition.id(), Offset::Beginning)?;
        }
    }
    ensure!(list.count() > 0, "no partitions");
    consumer.assign(&list)?;
    Ok(list.count())
}
