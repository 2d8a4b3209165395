//! Which records are looked at: from where, how many, and in which order.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::Mutex;

use crate::checkpoint::NextOffset;
use crate::commands::look::moment;
use crate::commands::trial::Trial;
use crate::kafka::log::{Log, Watermarks};
use crate::kafka::reader::{Arrived, Reader};
use crate::record::{Record, Run, TopicPartition};

/// How long nothing may come from brokers that have more.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// At the last records.
    Newest,
    /// At the first record that is still there.
    Beginning,
    /// Behind the last record.
    End,
    /// At an offset, or the nearest that is there.
    Offset(i64),
    /// At the first record of a time or later, in milliseconds since the epoch.
    Time(i64),
}

impl From {
    /// Reads a position as `--from` spells it.
    pub(crate) fn parse(text: Option<&str>) -> anyhow::Result<Self> {
        match text {
            None => Ok(Self::Newest),
            Some("beginning") => Ok(Self::Beginning),
            Some("end") => Ok(Self::End),
            Some(text) => match text.strip_prefix('@') {
                Some(time) => Ok(Self::Time(moment(time).context("read --from")?)),
                None => match text.parse::<i64>() {
                    Ok(offset) if offset >= 0 => Ok(Self::Offset(offset)),
                    _ => bail!("--from \"{text}\" must be beginning, end, an offset or @TIME"),
                },
            },
        }
    }
}

/// One record, kept.
#[derive(Debug)]
pub(crate) struct Peeked(Run);

impl Peeked {
    /// Takes a run of exactly one record.
    pub(crate) fn new(run: Run) -> Self {
        Self(run)
    }

    /// Returns the partition's number.
    pub(crate) fn partition(&self) -> i32 {
        self.0.partition.partition
    }

    /// Returns the record.
    pub(crate) fn record(&self) -> Record<'_> {
        self.0.get(0).expect("a run of exactly one record")
    }

    fn order(&self) -> (Option<i64>, i32, i64) {
        (self.record().timestamp, self.partition(), self.record().offset)
    }
}

/// Which records are wanted of a topic.
pub(crate) struct Wanted<'a> {
    /// The log.
    pub(crate) log: &'a Log,
    /// The topic.
    pub(crate) topic: &'a str,
    /// The ends of the partitions, as they are now.
    pub(crate) ends: BTreeMap<i32, Watermarks>,
    /// How many records at most.
    pub(crate) limit: usize,
    /// What the key must contain.
    pub(crate) key: Option<KeyText<'a>>,
}

/// A text that a record's key must contain.
#[derive(Clone, Copy)]
pub(crate) struct KeyText<'a> {
    /// The text.
    pub(crate) text: &'a str,
    /// What reads a key whose bytes are no text; `None` to look at the bytes alone.
    pub(crate) trial: Option<&'a Mutex<Trial>>,
}

impl KeyText<'_> {
    async fn is_in(&self, topic: &str, record: Record<'_>) -> anyhow::Result<bool> {
        let (text, key) = (self.text.as_bytes(), record.key.unwrap_or_default());
        if text.is_empty() || key.windows(text.len()).any(|part| part == text) {
            return Ok(true);
        }
        let Some(trial) = self.trial else { return Ok(false) };
        let alone = Record { value: None, ..record };
        let seen = trial.lock().await.inspect(topic, alone).await?;
        Ok(seen.key.is_some_and(|key| key.to_string().contains(self.text)))
    }
}

impl Wanted<'_> {
    /// Returns the newest records, ordered by time, partition and offset.
    pub(crate) async fn newest(&self) -> anyhow::Result<Vec<Peeked>> {
        let mut found = self.newest_of_each().await?;
        found.drain(..found.len().saturating_sub(self.limit));
        Ok(found)
    }

    /// Returns the newest records of each partition, ordered by time, partition and offset; the
    /// limit is that of a partition.
    ///
    /// Offsets may be sparse and keys rare: the window grows until there are enough records or the
    /// log has no more.
    pub(crate) async fn newest_of_each(&self) -> anyhow::Result<Vec<Peeked>> {
        let mut window = i64::try_from(self.limit).unwrap_or(i64::MAX).max(1);
        loop {
            let start = |ends: &Watermarks| (ends.high.get() - window).max(ends.low.get());
            let starts = self.ends.iter().map(|(&number, ends)| (number, start(ends))).collect();
            let mut found = self.read(&starts, Keep::Last).await?;
            let is_whole = self.ends.iter().all(|(_, ends)| start(ends) == ends.low.get());
            // Each partition must bring its full share, or the newest of all might be missing.
            let mut counts = BTreeMap::<i32, usize>::new();
            found.iter().for_each(|one| *counts.entry(one.partition()).or_default() += 1);
            let is_enough = self.ends.iter().all(|(number, ends)| {
                start(ends) == ends.low.get() || counts.get(number) == Some(&self.limit)
            });
            if is_whole || is_enough {
                found.sort_by_key(Peeked::order);
                return Ok(found);
            }
            window = window.saturating_mul(8);
        }
    }

    /// Returns the first records from a position on, ordered by time, partition and offset.
    pub(crate) async fn first(&self, from: From) -> anyhow::Result<Vec<Peeked>> {
        let starts = self.starts(from).await?;
        let mut found = self.read(&starts, Keep::First).await?;
        found.sort_by_key(Peeked::order);
        found.truncate(self.limit);
        Ok(found)
    }

    /// Returns where each partition begins.
    pub(crate) async fn starts(&self, from: From) -> anyhow::Result<BTreeMap<i32, i64>> {
        let times = match from {
            From::Time(millis) => {
                let partition = |&number: &i32| TopicPartition::new(self.topic, number);
                let partitions: Vec<_> = self.ends.keys().map(partition).collect();
                self.log.at_time(&partitions, millis).await?
            }
            From::Newest | From::Beginning | From::End | From::Offset(_) => BTreeMap::new(),
        };
        let times: BTreeMap<i32, i64> =
            times.into_iter().map(|(partition, at)| (partition.partition, at.get())).collect();
        let start = |(&number, ends): (&i32, &Watermarks)| {
            let (low, high) = (ends.low.get(), ends.high.get());
            let start = match from {
                From::Beginning => low,
                From::Newest | From::End => high,
                From::Offset(offset) => offset.clamp(low, high),
                From::Time(_) => times.get(&number).copied().unwrap_or(high),
            };
            (number, start)
        };
        Ok(self.ends.iter().map(start).collect())
    }

    /// Reads from the starts to the ends, and keeps the first or the last records of each partition.
    async fn read(&self, starts: &BTreeMap<i32, i64>, keep: Keep) -> anyhow::Result<Vec<Peeked>> {
        let mut kept = BTreeMap::<i32, std::collections::VecDeque<Peeked>>::new();
        let mut open: BTreeMap<i32, i64> = BTreeMap::new();
        for (number, ends) in &self.ends {
            let start = starts.get(number).copied().unwrap_or(ends.high.get());
            if start < ends.high.get() && self.limit > 0 {
                open.insert(*number, start);
            }
        }
        if open.is_empty() {
            return Ok(Vec::new());
        }
        let begin: Vec<_> =
            open.iter().map(|(number, at)| (*number, NextOffset::at(*at))).collect();
        let mut reader = Reader::start(self.log, self.topic, &begin)?;
        while !open.is_empty() {
            let Arrived { runs, ended } = reader.next(SILENCE_MAX).await?;
            if runs.is_empty() && ended.is_empty() {
                bail!("topic \"{}\" brings no more records, and has more", self.topic);
            }
            for (number, run) in runs {
                let end = self.ends.get(&number).map_or(0, |ends| ends.high.get());
                let queue = kept.entry(number).or_default();
                for record in run.iter().filter(|record| record.offset < end) {
                    if !self.is_wanted(record).await? {
                        continue;
                    }
                    queue.push_back(Peeked(only(&run, record)));
                    match keep {
                        Keep::First => queue.truncate(self.limit),
                        Keep::Last if queue.len() > self.limit => _ = queue.pop_front(),
                        Keep::Last => {}
                    }
                }
                let is_read = run.iter().last().is_some_and(|last| last.offset + 1 >= end);
                if is_read || (keep == Keep::First && queue.len() >= self.limit) {
                    open.remove(&number);
                }
            }
            ended.iter().for_each(|number| _ = open.remove(number));
        }
        Ok(kept.into_values().flatten().collect())
    }

    /// Keeps what is wanted of records as they come.
    pub(crate) async fn sift(&self, arrived: &Arrived) -> anyhow::Result<Vec<Peeked>> {
        let mut found = Vec::new();
        for run in arrived.runs.values() {
            for record in run.iter() {
                if self.is_wanted(record).await? {
                    found.push(Peeked(only(run, record)));
                }
            }
        }
        found.sort_by_key(Peeked::order);
        Ok(found)
    }

    async fn is_wanted(&self, record: Record<'_>) -> anyhow::Result<bool> {
        match self.key {
            Some(key) => key.is_in(self.topic, record).await,
            None => Ok(true),
        }
    }
}

/// Which records of a partition are kept when there are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    First,
    Last,
}

/// Returns a run of this record alone.
fn only(run: &Run, record: Record<'_>) -> Run {
    let mut alone = Run::new(run.partition.clone(), run.assignment);
    let at = (record.offset, record.timestamp);
    alone.push(at, record.key, record.value, record.headers.parts());
    alone
}
