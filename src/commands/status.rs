//! How far each partition of this sink is, and what is stopped or late.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::cli::{Format, StatusArgs};
use crate::commands::look::Places;
use crate::commands::table::Listing;
use crate::commands::{Context, say};
use crate::kafka::log::{GroupMember, Log, Watermarks};
use crate::kafka::reader::Reader;
use crate::record::TopicPartition;
use crate::settings::{Problems, units};
use crate::target::inspect::{CheckpointRow, Inspect};

/// Longer than any log is kept.
const AGE_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// How long the first record that is not applied may take to come.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shows the status; with `--check` the exit code tells whether anything is stopped or late.
pub async fn run(
    args: StatusArgs,
    context: &Context,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let limits = Limits::new(&args)?;
    let places = Places::new(&args.kafka, &args.target, context)?;
    let mut target = places.required_target().await?;
    let ends = places.ends().await?;
    let mut seen = see(&mut target, ends).await?;
    if limits.age_max.is_some() {
        for one in seen.iter_mut().filter(|one| one.lag() > Some(0)) {
            one.age = age(&places.log, one).await?;
        }
    }
    let members = places.log.members(&places.kafka.group).await?;

    let format = args.format.format;
    partitions(&seen).write(format, out)?;
    let idle: Vec<_> = members.iter().filter(|member| member.partition_count == Some(0)).collect();
    if !idle.is_empty() {
        if format == Format::Table {
            writeln!(out)?;
        }
        without_partition(&idle).write(format, out)?;
    }
    if !args.check {
        return Ok(ExitCode::SUCCESS);
    }
    let wrong: Vec<String> = seen.iter().filter_map(|one| limits.breach(one)).collect();
    wrong.iter().for_each(say);
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// A partition as log and target together show it.
#[derive(Clone, Debug)]
struct Seen {
    partition: TopicPartition,
    /// `None` for a partition of the sink whose topic is not there, or is not asked for.
    ends: Option<Watermarks>,
    row: Option<CheckpointRow>,
    dead_letters: u64,
    /// Of the first record that is not applied.
    age: Option<Duration>,
}

/// Puts the log's partitions and the sink's rows together.
async fn see(
    target: &mut impl Inspect,
    ends: BTreeMap<TopicPartition, Watermarks>,
) -> anyhow::Result<Vec<Seen>> {
    let mut rows: BTreeMap<_, _> =
        target.checkpoints().await.context("read the checkpoints")?.into_iter().collect();
    let counts: BTreeMap<_, _> =
        target.dead_letter_counts().await.context("count the dead letters")?.into_iter().collect();
    let all: BTreeSet<TopicPartition> = ends.keys().chain(rows.keys()).cloned().collect();
    let one = |partition: TopicPartition| Seen {
        ends: ends.get(&partition).copied(),
        row: rows.remove(&partition),
        dead_letters: counts.get(&partition).copied().unwrap_or(0),
        age: None,
        partition,
    };
    Ok(all.into_iter().map(one).collect())
}

impl Seen {
    /// Returns the records between the checkpoint, or the log's beginning, and its end.
    fn lag(&self) -> Option<u64> {
        let ends = self.ends?;
        let next = self.row.as_ref().map_or(ends.low, |row| row.next);
        Some(u64::try_from(ends.high.get() - next.get()).unwrap_or(0))
    }

    fn is_stopped(&self) -> bool {
        self.row.as_ref().is_some_and(|row| row.state.as_deref() == Some("stopped"))
    }
}

/// Returns how old the first record is that is not applied; `None` when none can be read.
async fn age(log: &Log, seen: &Seen) -> anyhow::Result<Option<Duration>> {
    let Some(ends) = seen.ends else { return Ok(None) };
    let next = seen.row.as_ref().map_or(ends.low, |row| row.next).max(ends.low);
    let (topic, number) = (seen.partition.topic.clone(), seen.partition.partition);
    let mut reader = Reader::start(log, topic, &[(number, next)])?;
    let arrived = reader.next(PATIENCE).await?;
    let first = arrived.runs.get(&number).and_then(|run| run.get(0));
    let Some(millis) = first.and_then(|record| record.timestamp) else { return Ok(None) };
    let written =
        SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    Ok(Some(SystemTime::now().duration_since(written).unwrap_or_default()))
}

/// What is too much.
struct Limits {
    lag_max: Option<u64>,
    age_max: Option<Duration>,
}

impl Limits {
    fn new(args: &StatusArgs) -> Result<Self, Problems> {
        let age_max = args.age_max.as_deref().map(|text| units::duration(text, AGE_MAX));
        let age_max = age_max.transpose().map_err(|rule| Problems::of("--age-max", rule))?;
        Ok(Self { lag_max: args.lag_max, age_max })
    }

    /// Returns what is wrong with a partition, if anything.
    fn breach(&self, seen: &Seen) -> Option<String> {
        let name = &seen.partition;
        if seen.is_stopped() {
            let reason = seen.row.as_ref().and_then(|row| row.state_reason.as_deref());
            return Some(format!("{name} is stopped: {}", reason.unwrap_or("no reason is given")));
        }
        let lag = seen.lag().filter(|lag| self.lag_max.is_some_and(|max| *lag > max));
        if let Some(lag) = lag {
            return Some(format!("{name} is {lag} records behind"));
        }
        let age = seen.age.filter(|age| self.age_max.is_some_and(|max| *age > max))?;
        Some(format!("{name} has waited for {} s", age.as_secs()))
    }
}

fn partitions(seen: &[Seen]) -> Listing {
    let mut listing = Listing::new([
        "topic",
        "partition",
        "checkpoint",
        "high_watermark",
        "lag",
        "owner",
        "epoch",
        "dead_letters",
        "age_seconds",
        "state",
        "reason",
    ]);
    for one in seen {
        let row = one.row.as_ref();
        listing.push([
            json!(*one.partition.topic),
            json!(one.partition.partition),
            json!(row.map(|row| row.next.get())),
            json!(one.ends.map(|ends| ends.high.get())),
            json!(one.lag()),
            json!(row.and_then(|row| row.owner.as_deref())),
            json!(row.map(|row| row.epoch)),
            json!(one.dead_letters),
            json!(one.age.map(|age| age.as_secs())),
            json!(row.map_or(Some("no checkpoint"), |row| row.state.as_deref())),
            row.and_then(|row| row.state_reason.as_deref()).map_or(Value::Null, Value::from),
        ]);
    }
    listing
}

fn without_partition(members: &[&GroupMember]) -> Listing {
    let mut listing = Listing::new(["member_without_partition", "host"]);
    for member in members {
        listing.push([json!(member.client_id), json!(member.host)]);
    }
    listing
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::checkpoint::NextOffset;

    fn row(next: i64, state: &str, reason: Option<&str>) -> CheckpointRow {
        CheckpointRow {
            next: NextOffset::at(next),
            epoch: 3,
            owner: Some("a1b2".to_owned()),
            group_id: Some("afterimage".to_owned()),
            state: Some(state.to_owned()),
            state_reason: reason.map(str::to_owned),
            source_position: None,
            source_incarnation: None,
            updated_at: None,
        }
    }

    fn seen(number: i32, row: Option<CheckpointRow>, age: Option<u64>) -> Seen {
        Seen {
            partition: TopicPartition::new("t", number),
            ends: Some(Watermarks { low: NextOffset::at(0), high: NextOffset::at(100) }),
            row,
            dead_letters: 2,
            age: age.map(Duration::from_secs),
        }
    }

    fn four() -> Vec<Seen> {
        vec![
            seen(0, Some(row(100, "running", None)), None),
            seen(1, Some(row(40, "running", None)), Some(90)),
            seen(2, Some(row(40, "stopped", Some("log_gap: 3..9 are gone"))), None),
            seen(3, None, None),
        ]
    }

    #[test]
    fn every_partition_has_a_line() {
        let mut out = Vec::new();
        partitions(&four()).write(Format::Table, &mut out).unwrap();
        expect![[r#"
            TOPIC  PARTITION  CHECKPOINT  HIGH_WATERMARK  LAG  OWNER  EPOCH  DEAD_LETTERS  AGE_SECONDS  STATE          REASON
            t              0         100             100    0  a1b2       3             2            -  running        -
            t              1          40             100   60  a1b2       3             2           90  running        -
            t              2          40             100   60  a1b2       3             2            -  stopped        log_gap: 3..9 are gone
            t              3           -             100  100  -          -             2            -  no checkpoint  -
        "#]].assert_eq(&String::from_utf8(out).unwrap());
    }

    #[test]
    fn a_check_names_what_is_stopped_and_what_is_late() {
        let check = |lag_max, age_max: Option<u64>| {
            let limits = Limits { lag_max, age_max: age_max.map(Duration::from_secs) };
            four().iter().filter_map(|one| limits.breach(one)).collect::<Vec<_>>()
        };
        let stopped = "t[2] is stopped: log_gap: 3..9 are gone";

        assert_eq!(check(None, None), [stopped]);
        let late = ["t[1] is 60 records behind", stopped, "t[3] is 100 records behind"];
        assert_eq!(check(Some(59), None), late);
        assert_eq!(check(Some(100), Some(89)), ["t[1] has waited for 90 s", stopped]);
        assert_eq!(check(Some(100), Some(90)), [stopped]);
    }
}
