//! The feed: sends a source's changes to the broker, no faster than the members apply them.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::demo::records::{self, ORDERS, Outgoing, Place, USERS};
use crate::demo::source::{Change, Source, What};
use crate::demo::{DemoError, Progress};
use crate::kafka::mock::{Broker, Message, RETENTION_BYTES, Sent};
use crate::target::sqlite::Plain;

/// The topics of the demo.
pub(super) const TOPICS: [&str; 2] = [USERS, ORDERS];

/// Partitions of each topic: more than the members, so that both have some.
pub(super) const PARTITIONS: u8 = 3;

/// What may be sent and not applied, for each partition, in bytes as they are guessed before their
/// compression. The guess is high: the broker still kept everything at eight times as much.
const UNAPPLIED_MAX: usize = RETENTION_BYTES * 4 / 5;

/// What the schema of a JSON record still costs once it is compressed: an eighth even in the
/// smallest batches, next to nothing in large ones.
const REPEATED_SHARE: usize = 8;

/// How often the checkpoint is looked at while the feed waits.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// How long the members may stand still before the demo gives up.
const STALL_MAX: Duration = Duration::from_secs(60);

/// What Debezium says of itself in every record.
const CONTEXT: [(&str, &str); 4] = [
    ("__debezium.context.connectorLogicalName", "dbserver1"),
    ("__debezium.context.taskId", "0"),
    ("__debezium.context.connectorName", "postgresql"),
    ("__debezium.context.runId", "01a1faa0-7c95-7c81-9f20-d3976f96989b"),
];

/// How many changes of each kind were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows of the snapshot.
    pub reads: u64,
    /// New rows.
    pub creates: u64,
    /// Changed rows.
    pub updates: u64,
    /// Those of them whose long value is not in the record.
    pub unavailable: u64,
    /// Rows that went.
    pub deletes: u64,
    /// Rows that got another key: a delete and a create each.
    pub key_changes: u64,
    /// Records of all these, tombstones included.
    pub records: u64,
}

impl Counts {
    /// Returns how many changes there were.
    pub fn changes(&self) -> u64 {
        self.reads + self.creates + self.updates + self.deletes + self.key_changes
    }

    fn add(&mut self, change: Change, records: usize) {
        match change.what {
            What::Read(_) => self.reads += 1,
            What::Create(_) => self.creates += 1,
            What::Update { is_note_unavailable, .. } => {
                self.updates += 1;
                self.unavailable += u64::from(is_note_unavailable);
            }
            What::Delete(_) => self.deletes += 1,
            What::Move { .. } => self.key_changes += 1,
        }
        self.records += u64::try_from(records).unwrap_or_default();
    }
}

/// A source with its way into the broker.
pub(super) struct Feed {
    pub(super) progress: watch::Sender<Progress>,
    pub(super) source: Source,
    pub(super) counts: Counts,
    pub(super) lanes: Vec<Partition>,
    place: Place<'static>,
    records: Vec<Outgoing>,
}

/// What is under way in one partition.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) topic: &'static str,
    pub(super) number: u8,
    /// The offset of the next record.
    pub(super) end: i64,
    /// The checkpoint as it was last seen.
    pub(super) applied: i64,
    /// The end and the weight of each record that is not applied yet.
    unapplied: VecDeque<(i64, usize)>,
    weight: usize,
}

impl Partition {
    fn push(&mut self, weight: usize) {
        self.end += 1;
        self.weight += weight;
        self.unapplied.push_back((self.end, weight));
    }

    fn see(&mut self, applied: i64) {
        self.applied = self.applied.max(applied);
        while let Some((end, weight)) = self.unapplied.front().copied() {
            if end > self.applied {
                break;
            }
            self.weight -= weight;
            self.unapplied.pop_front();
        }
    }
}

impl Feed {
    pub(super) fn new(seed: u64) -> Self {
        let lanes = TOPICS.into_iter().flat_map(|topic| {
            (0..PARTITIONS).map(move |number| Partition {
                topic,
                number,
                end: 0,
                applied: 0,
                unapplied: VecDeque::new(),
                weight: 0,
            })
        });
        Self {
            progress: watch::Sender::default(),
            source: Source::new(seed),
            counts: Counts::default(),
            lanes: lanes.collect(),
            place: Place::first(),
            records: Vec::new(),
        }
    }

    /// Makes one change and sends its records.
    pub(super) async fn send(
        &mut self,
        broker: &Broker,
        is_snapshot: bool,
    ) -> Result<(), DemoError> {
        let change = if is_snapshot { self.source.fill() } else { self.source.change() };
        self.step(is_snapshot);
        let mut records = std::mem::take(&mut self.records);
        records::write(&self.source, change, self.place, &mut records);
        self.counts.add(change, records.len());
        for record in records.drain(..) {
            self.send_record(broker, &record).await?;
        }
        self.records = records;
        Ok(())
    }

    /// Goes on in the source's log.
    fn step(&mut self, is_snapshot: bool) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        self.place.sent_nanos = nanos;
        self.place.commit_micros = nanos / 1000;
        if !is_snapshot {
            self.place.committed_lsn = Some(self.place.lsn);
            self.place.lsn += 280;
            self.place.transaction += 1;
            self.place.snapshot = "false";
        }
    }

    async fn send_record(&mut self, broker: &Broker, record: &Outgoing) -> Result<(), DemoError> {
        let number = partition_of(&record.key);
        let is_its = |lane: &&mut Partition| lane.topic == record.topic && lane.number == number;
        let lane = self.lanes.iter_mut().find(is_its).expect("every topic has these partitions");
        let mut headers = [("", ""); CONTEXT.len() + 1];
        let (first, context) = headers.split_at_mut(1);
        context.copy_from_slice(&CONTEXT);
        let headers = match &record.link {
            Some((name, value)) => {
                first.fill((*name, value.as_str()));
                &headers[..]
            }
            None => &CONTEXT[..],
        };
        let message = Message {
            topic: record.topic,
            partition: i32::from(number),
            timestamp: self.place.sent_nanos / 1_000_000,
            key: Some(&record.key),
            value: record.value.as_deref(),
            headers,
        };
        while broker.send(&message)? == Sent::QueueFull {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let headers = headers.iter().map(|(name, value)| name.len() + value.len());
        let size = record.key.len() + record.value.as_ref().map_or(0, Vec::len);
        let size = size + headers.sum::<usize>();
        lane.push(size - record.repeated + record.repeated / REPEATED_SHARE);
        Ok(())
    }

    /// Returns whether no partition holds more than the broker surely keeps.
    pub(super) fn may_send(&self) -> bool {
        self.lanes.iter().all(|lane| lane.weight < UNAPPLIED_MAX)
    }

    /// Returns whether the members have applied all that was sent.
    pub(super) fn is_applied(&self) -> bool {
        self.lanes.iter().all(|lane| lane.applied >= lane.end)
    }

    /// Shows how far the demo is.
    pub(super) fn show(&self) {
        let (changes, sent) = (self.counts.changes(), self.counts.records);
        self.progress.send_replace(Progress { changes, sent, applied: self.applied() });
    }

    /// Returns how many records are applied.
    fn applied(&self) -> u64 {
        let applied = self.lanes.iter().map(|lane| lane.applied.min(lane.end));
        applied.map(i64::unsigned_abs).sum()
    }

    /// Looks at the checkpoint until it is as wanted.
    pub(super) async fn wait(
        &mut self,
        plain: &mut Plain,
        is_enough: fn(&Self) -> bool,
    ) -> Result<(), DemoError> {
        let mut moved = (self.applied(), Instant::now());
        loop {
            self.look(plain).await?;
            self.show();
            if is_enough(self) {
                return Ok(());
            }
            if self.applied() > moved.0 {
                moved = (self.applied(), Instant::now());
            }
            if moved.1.elapsed() > STALL_MAX {
                return Err(DemoError::Stalled(STALL_MAX));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Reads the checkpoint, by plain SQL.
    pub(super) async fn look(&mut self, plain: &mut Plain) -> Result<(), DemoError> {
        let table = "SELECT 1 FROM sqlite_schema WHERE name = 'afterimage_checkpoint'";
        if plain.rows(table).await?.is_empty() {
            return Ok(());
        }
        let checkpoint = "SELECT topic, \"partition\", next_offset, state, state_reason
            FROM afterimage_checkpoint";
        for row in plain.rows(checkpoint).await? {
            let Ok([Some(topic), Some(number), Some(next), state, reason]) =
                <[Option<String>; 5]>::try_from(row)
            else {
                continue;
            };
            if state.as_deref() == Some("stopped") {
                let (partition, reason) =
                    (format!("{topic}[{number}]"), reason.unwrap_or_default());
                return Err(DemoError::Stopped { partition, reason });
            }
            let (Ok(number), Ok(next)) = (number.parse::<u8>(), next.parse()) else { continue };
            let is_its = |lane: &&mut Partition| lane.topic == topic && lane.number == number;
            if let Some(lane) = self.lanes.iter_mut().find(is_its) {
                lane.see(next);
            }
        }
        Ok(())
    }
}

/// Hashes a key to its partition (FNV-1a), as a producer does: the same key, the same partition.
fn partition_of(key: &[u8]) -> u8 {
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    u8::try_from((hash >> 32) % u64::from(PARTITIONS)).unwrap_or_default()
}
