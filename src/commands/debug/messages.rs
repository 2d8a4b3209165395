//! Records of a topic, as bytes or as what the consumer makes of them.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::checkpoint::NextOffset;
use crate::cli::{Format, MessagesArgs};
use crate::commands::Context;
use crate::commands::debug::decoded;
use crate::commands::look::{Places, time};
use crate::commands::peek::{From, KeyText, Peeked, Wanted};
use crate::commands::table::Listing;
use crate::commands::trial::{self, Trial};
use crate::decode::inspect::hexadecimal;
use crate::kafka::log::LogError;
use crate::kafka::reader::Reader;
use crate::record::{Headers, Record, TopicPartition};
use crate::settings::TopicPattern;

/// How long a turn of `--follow` waits before it looks whether it should end.
const TURN: Duration = Duration::from_millis(500);

pub(super) async fn run(
    args: &MessagesArgs,
    context: &Context,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let from = From::parse(args.from.as_deref())?;
    let means = match args.raw {
        true => None,
        false => Some(trial::means(&args.registry, &args.tables, context)?),
    };
    let places = Places::new(&args.kafka, &args.target, context)?;
    let partitions = partitions(&places, args).await?;
    let ends = places.log.watermarks(&partitions).await?;
    let ends = ends.into_iter().map(|(partition, ends)| (partition.partition, ends)).collect();
    let trial = match means {
        Some((registry, tables)) => {
            Some(Mutex::new(Trial::new(registry, tables, places.target().await?)))
        }
        None => None,
    };
    let key = args.key.as_deref().map(|text| KeyText { text, trial: trial.as_ref() });
    let (log, topic, limit) = (&places.log, &*args.topic, args.limit);
    let wanted = Wanted { log, topic, ends, limit, key };
    let view = View { format: args.format.format, trial: trial.as_ref(), topic: topic.into() };
    if !args.follow {
        let found = match from {
            From::Newest => wanted.newest().await?,
            From::Beginning | From::End | From::Offset(_) | From::Time(_) => {
                wanted.first(from).await?
            }
        };
        return view.write(&found, true, out).await;
    }
    if from == From::Newest {
        view.write(&wanted.newest().await?, true, out).await?;
    }
    follow(&wanted, from, &view, out).await
}

/// Shows records as they come, until the process is told to end.
async fn follow(
    wanted: &Wanted<'_>,
    from: From,
    view: &View<'_>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let starts = wanted.starts(from).await?;
    let starts: Vec<_> =
        starts.into_iter().map(|(number, at)| (number, NextOffset::at(at))).collect();
    let mut reader = Reader::start(wanted.log, wanted.topic, &starts)?;
    let mut has_header = from != From::Newest;
    let mut ending = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let arrived = tokio::select! {
            biased;
            // To be interrupted is how following ends.
            _ = &mut ending => return Ok(()),
            arrived = reader.next(TURN) => arrived?,
        };
        let found = wanted.sift(&arrived).await?;
        if !found.is_empty() {
            view.write(&found, has_header, out).await?;
            out.flush()?;
            has_header = false;
        }
    }
}

/// Returns the partitions to read, once it is clear that they exist.
async fn partitions(places: &Places, args: &MessagesArgs) -> anyhow::Result<Vec<TopicPartition>> {
    let missing = || LogError::TopicMissing { topic: args.topic.clone() };
    let pattern = TopicPattern::new(&args.topic).map_err(anyhow::Error::msg)?;
    let topics = places.log.topics(&[pattern]).await?;
    let all = topics.partitions();
    let count = topics.partition_counts.get(&args.topic).ok_or_else(missing)?;
    match args.partition {
        None => Ok(all),
        Some(number) if (0..*count).contains(&number) => {
            Ok(all.into_iter().filter(|partition| partition.partition == number).collect())
        }
        Some(number) => bail!("topic \"{}\" has no partition {number} of {count}", args.topic),
    }
}

/// How records are shown.
struct View<'a> {
    format: Format,
    /// What makes something of them; `None` to show the bytes as they are.
    trial: Option<&'a Mutex<Trial>>,
    topic: Arc<str>,
}

impl View<'_> {
    async fn write(
        &self,
        records: &[Peeked],
        has_header: bool,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let listing = match (self.trial, self.format) {
            (None, Format::Table) => raw_table(records),
            (None, Format::Json) => raw_json(&self.topic, records),
            (Some(trial), format) => {
                let mut trial = trial.lock().await;
                let shown = decoded::show(&self.topic, records, &mut trial).await?;
                match format {
                    Format::Table => decoded::table(&shown),
                    Format::Json => decoded::json(&self.topic, &shown),
                }
            }
        };
        let listing = if has_header { listing } else { listing.continued() };
        listing.write(self.format, out).context("write the records")
    }
}

fn raw_table(records: &[Peeked]) -> Listing {
    let columns = ["partition", "offset", "timestamp", "headers", "key", "value"];
    let mut listing = Listing::new(columns);
    for peeked in records {
        let record = peeked.record();
        listing.push([
            json!(peeked.partition()),
            json!(record.offset),
            timestamp(record),
            headers_text(record.headers),
            record.key.map_or(Value::Null, |key| json!(readable(key))),
            record.value.map_or(Value::Null, |value| json!(readable(value))),
        ]);
    }
    listing
}

fn raw_json(topic: &str, records: &[Peeked]) -> Listing {
    let columns = ["topic", "partition", "offset", "timestamp", "headers", "key", "value"];
    let mut listing = Listing::new(columns);
    for peeked in records {
        let record = peeked.record();
        listing.push([
            json!(topic),
            json!(peeked.partition()),
            json!(record.offset),
            timestamp(record),
            headers_base64(record.headers),
            base64(record.key),
            base64(record.value),
        ]);
    }
    listing
}

pub(crate) fn timestamp(record: Record<'_>) -> Value {
    record.timestamp.map_or(Value::Null, |millis| json!(time(millis)))
}

pub(crate) fn headers_base64(headers: Headers<'_>) -> Value {
    headers.iter().map(|(name, value)| json!([name, base64(value)])).collect()
}

pub(crate) fn base64(bytes: Option<&[u8]>) -> Value {
    bytes.map_or(Value::Null, |bytes| json!(BASE64.encode(bytes)))
}

pub(crate) fn headers_text(headers: Headers<'_>) -> Value {
    let parts = headers.iter().map(|(name, value)| match value {
        Some(value) => format!("{name}={}", readable(value)),
        None => name.into_owned(),
    });
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { Value::Null } else { json!(parts.join(" ")) }
}

/// Returns bytes as text where they are text, else as hexadecimal digits.
pub(crate) fn readable(bytes: &[u8]) -> String {
    let is_shown = |c: char| !c.is_control() || c.is_whitespace();
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().all(is_shown) => text.to_owned(),
        _ => hexadecimal(bytes),
    }
}

#[cfg(test)]
mod tests;
