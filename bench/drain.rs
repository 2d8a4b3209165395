//! Reads records of topics and does nothing: what the Kafka client alone can do.
//!
//! `drain BROKERS COUNT TOPIC…` reads so many, and prints how many came behind the first tenth, and the
//! seconds that these took.

use std::collections::HashSet;
use std::io::{Write as _, stdout};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let brokers = arguments.next().context("usage: drain BROKERS COUNT TOPIC…")?;
    let count: u64 = arguments.next().context("no count")?.parse().context("the count")?;
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set("group.id", "bench-drain")
        .set("enable.auto.commit", "false")
        // A record's bytes are looked at by whoever trusts them.
        .set("check.crcs", "true")
        // A consumer that is faster than its queue would stand still for this long.
        .set("fetch.queue.backoff.ms", "10")
        .create()?;
    assign(&consumer, arguments)?;
    // What the client has fetched ahead is as much at the first of those that count as at the last.
    let uncounted = count / 10;
    let mut begin = SystemTime::now();
    for record in 0..count {
        if record == uncounted {
            begin = SystemTime::now();
        }
        consumer.poll(PATIENCE).context("nothing came")??;
    }
    let seconds = begin.elapsed()?.as_secs_f64();
    writeln!(stdout(), "{}", json!({ "records": count - uncounted, "seconds": seconds }))?;
    Ok(())
}

/// Starts at the beginning of every partition.
fn assign(consumer: &BaseConsumer, topics: impl Iterator<Item = String>) -> anyhow::Result<()> {
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
    Ok(())
}
