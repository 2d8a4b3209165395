//! What the looking commands share: where to look, and what a partition looks like.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};

use crate::cli::{KafkaArgs, TargetArgs};
use crate::commands::{Context, say};
use crate::kafka::log::{Log, Watermarks};
use crate::record::TopicPartition;
use crate::settings::{Kafka, Problems, TargetAddress, TopicPattern};
use crate::target::Sink;
use crate::target::inspect::{Opened, open};

/// Long enough for a slow cluster, short enough for somebody who waits.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A cluster to look at, and the target beside it where one is given.
pub(crate) struct Places {
    /// The settings.
    pub(crate) kafka: Kafka,
    /// The log.
    pub(crate) log: Log,
    target: Option<TargetAddress>,
    sink: String,
}

impl Places {
    /// Finds the places of what was written; nothing is asked yet.
    pub(crate) fn new(
        kafka: &KafkaArgs,
        target: &TargetArgs,
        context: &Context,
    ) -> anyhow::Result<Self> {
        let mut problems = Problems::default();
        let kafka = problems.collect(Kafka::new(kafka, &context.secrets));
        let address = problems.collect(TargetAddress::new(target, &context.secrets));
        let (Some(kafka), Some(address)) = (kafka, address) else { return Err(problems.into()) };
        let log = Log::new(&kafka, TIMEOUT)?;
        Ok(Self { kafka, log, target: address, sink: target.sink.clone() })
    }

    /// Opens the target, if one is given.
    pub(crate) async fn target(&self) -> anyhow::Result<Option<Opened>> {
        let Some(address) = &self.target else { return Ok(None) };
        let cluster_id = self.log.cluster_id().await?;
        let sink = Sink { name: self.sink.clone(), cluster_id, group_id: self.kafka.group.clone() };
        let opened = open(address, sink).await.with_context(|| format!("open {address}"))?;
        Ok(Some(opened))
    }

    /// Opens the target, which must be given.
    pub(crate) async fn required_target(&self) -> anyhow::Result<Opened> {
        match self.target().await? {
            Some(target) => Ok(target),
            None => bail!("--target (TARGET_DATABASE_URL) must say which target to look at"),
        }
    }

    /// Returns the ends of every partition of the topics.
    pub(crate) async fn ends(&self) -> anyhow::Result<BTreeMap<TopicPartition, Watermarks>> {
        let topics = self.log.topics(&self.kafka.topics).await?;
        if let Some(missing) = topics.missing.first() {
            bail!("topic \"{missing}\" does not exist, or may not be seen");
        }
        if topics.partition_counts.is_empty() {
            let patterns: Vec<_> = self.kafka.topics.iter().map(TopicPattern::as_str).collect();
            say(format_args!("no topic fits {}", patterns.join(" ")));
        }
        Ok(self.log.watermarks(&topics.partitions()).await?)
    }
}

/// Returns a time as listings show it: RFC 3339, UTC, milliseconds.
pub(crate) fn time(millis: i64) -> String {
    let span = Duration::from_millis(millis.unsigned_abs());
    let time = match millis {
        0.. => SystemTime::UNIX_EPOCH.checked_add(span),
        _ => SystemTime::UNIX_EPOCH.checked_sub(span),
    };
    // The formatter knows the years 1970 to 9999; anything else is told as the number it is.
    let is_known = (0..=253_402_300_799_999).contains(&millis);
    match time.filter(|_| is_known) {
        Some(time) => humantime::format_rfc3339_millis(time).to_string(),
        None => millis.to_string(),
    }
}

/// Reads a moment: RFC 3339 with any offset, or milliseconds since the epoch.
pub(crate) fn moment(text: &str) -> anyhow::Result<i64> {
    if let Ok(millis) = text.parse::<i64>() {
        return Ok(millis);
    }
    let wrong = || format!("\"{text}\" is neither RFC 3339 nor milliseconds since the epoch");
    let (local, offset) = match text.char_indices().nth_back(5) {
        Some((at, '+' | '-')) => text.split_at(at),
        _ => (text.trim_end_matches('Z'), "+00:00"),
    };
    let time = humantime::parse_rfc3339_weak(local).with_context(wrong)?;
    let since = time.duration_since(SystemTime::UNIX_EPOCH).with_context(wrong)?;
    let (sign, rest) = offset.split_at_checked(1).with_context(wrong)?;
    let (hours, minutes) = rest.split_once(':').with_context(wrong)?;
    let minutes = hours.parse::<i64>().with_context(wrong)? * 60
        + minutes.parse::<i64>().with_context(wrong)?;
    let east = if sign == "-" { -minutes } else { minutes };
    Ok(i64::try_from(since.as_millis()).with_context(wrong)? - east * 60_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_may_be_written_in_several_ways() {
        let check = |text: &str| moment(text).unwrap();

        assert_eq!(check("1700000000123"), 1_700_000_000_123);
        assert_eq!(check("2023-11-14T22:13:20Z"), 1_700_000_000_000);
        assert_eq!(check("2023-11-14T22:13:20.5Z"), 1_700_000_000_500);
        assert_eq!(check("2023-11-14T23:43:20+01:30"), 1_700_000_000_000);
        assert_eq!(check("2023-11-14T17:13:20-05:00"), 1_700_000_000_000);
        assert_eq!(check("2023-11-14 22:13:20"), 1_700_000_000_000);
        for wrong in ["yesterday", "", "2023-11-14T22:13:20+0x:00", "äöüäöü+aa:aa"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_that_no_calendar_knows_is_a_number() {
        assert_eq!(time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(time(-1), "-1");
        assert_eq!(time(i64::MAX), i64::MAX.to_string());
    }
}
