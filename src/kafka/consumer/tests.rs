//! The poll thread against the in-process broker; the test plays the lane.

use std::collections::BTreeMap;

use tokio::sync::mpsc as channel;

use super::hand_over::RUN_RECORDS;
use super::*;
use crate::kafka::mock::{Broker, Message};
use crate::kafka::{Membership, config};
use crate::record::Run;
use crate::settings::{GroupProtocol, Kafka};

const WAIT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_whose_claim_is_late_delivers_nothing_until_its_seek() {
    let broker = Broker::start(&["t"], 2).unwrap();
    send(&broker, 0, 10);
    send(&broker, 1, 1);
    let mut member = Member::join(&broker);
    let (late, ready) = (TopicPartition::new("t", 0), TopicPartition::new("t", 1));
    let Event::Assigned { positions, .. } = member.event().await else { panic!() };
    assert!(positions.offer(ready.clone(), NextOffset::at(0)));

    assert_eq!(member.run().await.partition, ready, "the callback has waited long enough");
    assert!(!positions.offer(late.clone(), NextOffset::at(5)));
    let number = member.link.seek(&late, NextOffset::at(5));
    member.expect(number, 5..10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_under_the_number_of_an_assignment_that_is_gone_are_ignored() {
    let broker = Broker::start(&["t"], 1).unwrap();
    send(&broker, 0, 3);
    let mut member = Member::join(&broker);
    let (partition, number) = member.claim_at(0).await;
    member.expect(number, 0..3).await;

    member.link.command(Command::Pause(partition.clone(), number - 1));
    member.link.command(Command::Seek(partition.clone(), NextOffset::at(0), number - 1));
    // The first may be on its way already; the second only comes once the commands were met.
    for offset in 3..5 {
        send(&broker, 0, 1);
        member.expect(number, offset..offset + 1).await;
    }

    member.link.pause(&partition, number);
    let newer = member.link.seek(&partition, NextOffset::at(2));
    member.expect(newer, 2..5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_the_broker_had_no_record_for_is_read_on_after_a_seek() {
    let broker = Broker::start(&["t"], 1).unwrap();
    send(&broker, 0, 3);
    let mut member = Member::join(&broker);
    let (partition, first) = member.claim_at(100).await;
    let Event::OutOfRange(reset) = member.event().await else { panic!() };
    assert_eq!((&reset.partition, reset.assignment, reset.asked.get()), (&partition, first, 100));

    let number = member.link.seek(&partition, NextOffset::at(1));
    member.expect(number, 1..3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_says_whether_another_is_about_to_follow() {
    // The last run is a full one.
    let count = 3 * RUN_RECORDS;
    let sent = i64::try_from(count).unwrap();
    let broker = Broker::start(&["t"], 1).unwrap();
    send(&broker, 0, count);
    let mut member = Member::join(&broker);
    member.claim_at(0).await;

    let (mut next, mut followed) = (0, 0);
    while next < sent {
        let run = member.run().await;
        assert_eq!(run.get(0).map(|first| first.offset), Some(next));
        next += i64::try_from(run.len()).unwrap();
        followed += usize::from(run.is_followed);
        assert!(!run.is_followed || next < sent, "nothing follows the last");
    }
    assert!(followed > 0, "the first ones are full, and more was here");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_two_topics_with_partitions_of_one_number_stay_apart() {
    let broker = Broker::start(&["t", "u"], 1).unwrap();
    for (topic, count) in [("t", 1), ("u", 2), ("t", 3), ("u", 4)] {
        send_to(&broker, topic, 0, count);
    }
    let mut member = Member::join_for(&broker, &["t", "u"]);
    let Event::Assigned { partitions, positions } = member.event().await else { panic!() };
    for (partition, _) in partitions {
        positions.offer(partition, NextOffset::at(0));
    }

    let mut next = BTreeMap::from([("t", 0), ("u", 0)]);
    while next != BTreeMap::from([("t", 4), ("u", 6)]) {
        let run = member.run().await;
        for record in run.iter() {
            let next = next.get_mut(&*run.partition.topic).unwrap();
            assert_eq!(
                (record.value, record.offset),
                (Some(run.partition.topic.as_bytes()), *next)
            );
            *next += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_coordinator_says_of_a_commit_proves_a_membership_or_its_end() {
    use rdkafka::types::RDKafkaRespErr::{
        RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, RD_KAFKA_RESP_ERR_FENCED_MEMBER_EPOCH,
        RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE,
        RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH,
        RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
    };
    let expels = [
        RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
        RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
        RD_KAFKA_RESP_ERR_FENCED_MEMBER_EPOCH,
        RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID,
    ];
    let says_nothing = [
        RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
        RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH,
        RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE,
    ];
    let answers = expels.map(|error| (error, Membership::Expelled)).into_iter();
    for (error, expected) in answers.chain(says_nothing.map(|error| (error, Membership::Unknown))) {
        let broker = Broker::start(&["t"], 1).unwrap();
        send(&broker, 0, 1);
        let mut member = Member::join(&broker);
        let (partition, number) = member.claim_at(0).await;
        member.expect(number, 0..1).await;
        let prove = || member.link.prove(vec![(partition.clone(), NextOffset::at(1))]);

        assert_eq!(prove().await, Membership::Member, "before {error:?}");
        broker.refuse_commit(error);
        assert_eq!(prove().await, expected, "{error:?}");
    }
}

/// A poll thread with one lane, which is the test.
struct Member {
    link: Link,
    events: channel::UnboundedReceiver<Event>,
    runs: channel::Receiver<Run>,
    shutdown: CancellationToken,
}

impl Member {
    fn join(broker: &Broker) -> Self {
        Self::join_for(broker, &["t"])
    }

    fn join_for(broker: &Broker, topics: &[&str]) -> Self {
        let kafka = Kafka {
            brokers: broker.bootstrap_servers(),
            group: "g".to_owned(),
            topics: Vec::new(),
            properties: BTreeMap::new(),
            token: None,
            protocol: GroupProtocol::Classic,
        };
        let (events_tx, events) = channel::unbounded_channel();
        let (runs_tx, runs) = channel::channel(RUNS_WAITING);
        let shutdown = CancellationToken::new();
        let (link, poll) = start(Start {
            config: config::consumer(&kafka),
            token: None,
            lanes: vec![LaneEnds { events: events_tx, runs: runs_tx }],
            watermarks: tokio::sync::watch::channel(Watermarks::new()).0,
            shutdown: shutdown.clone(),
            board: StatusBoard::default(),
        })
        .unwrap();
        std::thread::spawn(poll);
        link.subscribe(topics.iter().map(|topic| (*topic).to_owned()).collect());
        Self { link, events, runs, shutdown }
    }

    /// Answers the assignment of one partition in time.
    async fn claim_at(&mut self, next: i64) -> (TopicPartition, u64) {
        let Event::Assigned { mut partitions, positions } = self.event().await else { panic!() };
        let (partition, number) = partitions.remove(0);
        assert!(positions.offer(partition.clone(), NextOffset::at(next)));
        (partition, number)
    }

    async fn event(&mut self) -> Event {
        tokio::time::timeout(WAIT, self.events.recv()).await.expect("an event comes").unwrap()
    }

    /// Takes the next run with records; others only tell an end.
    async fn run(&mut self) -> Run {
        loop {
            let run = tokio::time::timeout(WAIT, self.runs.recv()).await;
            let run = run.expect("records come").unwrap();
            if !run.is_empty() {
                return run;
            }
        }
    }

    /// Takes runs under that number until these offsets have come, and no others.
    async fn expect(&mut self, number: u64, offsets: std::ops::Range<i64>) {
        let mut next = offsets.start;
        while next < offsets.end {
            let run = self.run().await;
            assert_eq!(run.assignment, number);
            for record in run.iter() {
                assert_eq!(record.offset, next);
                next += 1;
            }
        }
        assert_eq!(next, offsets.end);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn send(broker: &Broker, partition: i32, count: usize) {
    send_to(broker, "t", partition, count);
}

/// Sends records whose value is the topic's name.
fn send_to(broker: &Broker, topic: &str, partition: i32, count: usize) {
    for _ in 0..count {
        let (key, value, headers) = (None, Some(topic.as_bytes()), &[][..]);
        let message = Message { topic, partition, timestamp: 1, key, value, headers };
        broker.send(&message).unwrap();
    }
    broker.flush().unwrap();
}
