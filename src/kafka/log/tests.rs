use super::*;
use crate::kafka::fixture::{Broker, Sent};
use crate::kafka::reader::{Arrived, Reader};
use crate::record::Run;
use crate::settings::GroupProtocol;

const WAIT: Duration = Duration::from_secs(10);

fn log(brokers: &str, timeout: Duration) -> Log {
    let kafka = Kafka {
        brokers: brokers.to_owned(),
        group: "g".to_owned(),
        topics: Vec::new(),
        properties: BTreeMap::new(),
        token: None,
        protocol: GroupProtocol::Classic,
    };
    Log::new(&kafka, timeout).unwrap()
}

/// Two topics of two partitions; `a.users` has records 0 to 2 in partition 0 and one in partition 1.
fn broker() -> Broker {
    let broker = Broker::start(&[("a.users", 2), ("b", 2)]);
    let told = [(0, "k0", Some("v0")), (0, "k1", None), (0, "k2", Some("")), (1, "k3", Some("v3"))];
    broker.send(told.iter().map(|(partition, key, value)| Sent {
        topic: "a.users",
        partition: *partition,
        timestamp: 1_700_000_000_000,
        key: Some(key.as_bytes()),
        value: value.map(str::as_bytes),
        headers: &[("h", Some("x"))],
    }));
    broker
}

#[tokio::test]
async fn topics_are_found_by_name_and_by_expression() {
    let broker = broker();
    let log = log(&broker.address(), WAIT);
    let patterns = ["^a\\..*", "b", "c"].map(|text| TopicPattern::new(text).unwrap());

    let topics = log.topics(&patterns).await.unwrap();

    let counts = [("a.users".to_owned(), 2), ("b".to_owned(), 2)];
    assert_eq!(topics.partition_counts, BTreeMap::from(counts));
    assert_eq!(topics.missing, ["c"]);
    assert_eq!(topics.partitions().len(), 4);
    assert!(!log.cluster_id().await.unwrap().is_empty());
    assert_eq!(log.partition_count("b").await.unwrap(), 2);
    let missing = log.partition_count("c").await;
    assert!(matches!(missing, Err(LogError::TopicMissing { .. })), "{missing:?}");
}

#[tokio::test]
async fn the_ends_of_a_partition_are_known_and_a_group_that_never_was_has_no_offsets() {
    let broker = broker();
    let log = log(&broker.address(), WAIT);
    let partitions = [TopicPartition::new("a.users", 0), TopicPartition::new("b", 1)];

    let ends = log.watermarks(&partitions).await.unwrap();
    let pair = |low, high| Watermarks { low: NextOffset::at(low), high: NextOffset::at(high) };
    assert_eq!(ends.into_values().collect::<Vec<_>>(), [pair(0, 3), pair(0, 0)]);
    assert_eq!(log.committed(&partitions).await.unwrap(), BTreeMap::new());
}

#[tokio::test]
async fn reading_brings_records_as_they_are_until_the_end_is_reached() {
    let broker = broker();
    let log = log(&broker.address(), WAIT);
    let starts = [(0, NextOffset::at(1)), (1, NextOffset::at(0))];
    let mut reader = Reader::start(&log, "a.users", &starts).unwrap();

    let mut seen = Vec::new();
    let mut ended = Vec::new();
    while ended.len() < 2 {
        let Arrived { runs, ended: now } = reader.next(WAIT).await.unwrap();
        ended.extend(now);
        for record in runs.values().flat_map(Run::iter) {
            let text =
                |bytes: Option<&[u8]>| bytes.map(|b| String::from_utf8_lossy(b).into_owned());
            assert_eq!(record.headers.find("h"), Some(&b"x"[..]));
            assert_eq!(record.timestamp, Some(1_700_000_000_000));
            seen.push((record.offset, text(record.key).unwrap(), text(record.value)));
        }
    }
    seen.sort();
    let told =
        |offset, key: &str, value: Option<&str>| (offset, key.to_owned(), value.map(str::to_owned));
    assert_eq!(seen, [told(0, "k3", Some("v3")), told(1, "k1", None), told(2, "k2", Some(""))]);
}

#[tokio::test]
async fn brokers_that_do_not_answer_are_named_with_the_reason() {
    let log = log("127.0.0.1:1", Duration::from_secs(2));
    let error = log.cluster_id().await.unwrap_err();
    assert!(error.is_passing());
    let told = error.to_string();
    assert!(told.starts_with("brokers \"127.0.0.1:1\" could not be reached: "), "{told}");
    assert!(told.contains("Connection refused"), "{told}");
}

#[test]
fn an_assignment_of_kafkas_protocol_is_counted() {
    let mut bytes = vec![0, 1, 0, 0, 0, 2];
    for (name, partitions) in [("ab", vec![0_i32, 3]), ("c", vec![])] {
        bytes.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend(i32::try_from(partitions.len()).unwrap().to_be_bytes());
        partitions.iter().for_each(|number| bytes.extend(number.to_be_bytes()));
    }
    assert_eq!(assigned_count(&bytes), Some(2));
    assert_eq!(assigned_count(&bytes[..9]), None);
    assert_eq!(assigned_count(&[]), None);
}

#[tokio::test]
async fn topics_are_told_by_ids_and_partition_counts() {
    let broker = broker();
    let log = log(&broker.address(), WAIT);
    let asked = ["a.users", "b", "gone"].map(Arc::from).into();

    let told = log.identities(&asked).await.unwrap();

    let counts = told.iter().map(|(topic, it)| (&**topic, it.partition_count));
    assert_eq!(counts.collect::<Vec<_>>(), [("a.users", 2), ("b", 2)]);
    let ids = told.values().filter_map(|it| it.id).collect::<BTreeSet<_>>();
    assert_eq!(ids.len(), 2, "each has its own: {told:?}");
    assert_eq!(log.identities(&asked).await.unwrap(), told, "and keeps it");
}

#[tokio::test]
async fn records_prove_where_partitions_stood_as_far_as_they_are_there() {
    let broker = broker();
    let log = log(&broker.address(), WAIT);
    let at = |topic: &str, number, offset| (TopicPartition::new(topic, number), offset);
    // A record, an end, and an offset beyond it.
    let asked = [at("a.users", 0, 2), at("a.users", 1, 1), at("b", 0, 5)].into();

    let told = log.traces(&asked).await.unwrap();

    let found = told.iter().map(|(partition, it)| (partition.to_string(), it.offset, it.timestamp));
    let record = ("a.users[0]".to_owned(), 2, Some(1_700_000_000_000));
    assert_eq!(found.collect::<Vec<_>>(), [record]);
}
