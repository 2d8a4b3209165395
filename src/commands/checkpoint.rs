//! Checkpoints as the operator sees and sets them.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde_json::json;

use crate::amend::{Decision, Ends, Standing, Wish};
use crate::checkpoint::NextOffset;
use crate::cli::{
    AdoptArgs, AdoptAt, CheckpointCommand, CheckpointListArgs, Format, KafkaArgs, PlaceArgs,
    ReleaseArgs, RewindArgs, SkipArgs, TargetArgs,
};
use crate::commands::look::{Places, moment, time};
use crate::commands::table::Listing;
use crate::commands::{Context, say};
use crate::record::TopicPartition;
use crate::target::inspect::{Amended, Deed, Inspect};

/// Does what is asked for.
pub async fn run(
    what: CheckpointCommand,
    context: &Context,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    match what {
        CheckpointCommand::List(args) => list(&args, context, out).await?,
        CheckpointCommand::Adopt(args) => adopt(&args, context, out).await?,
        CheckpointCommand::Rewind(args) => rewind(&args, context, out).await?,
        CheckpointCommand::Skip(args) => skip(&args, context, out).await?,
        CheckpointCommand::Release(args) => release(&args, context, out).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(
    args: &CheckpointListArgs,
    context: &Context,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let places = Places::new(&args.kafka, &args.target, context)?;
    let mut target = places.required_target().await?;
    let mut rows = target.checkpoints().await.context("read the checkpoints")?;
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut listing = Listing::new([
        "topic",
        "partition",
        "next_offset",
        "epoch",
        "owner",
        "group",
        "updated_at",
        "source_position",
        "source_incarnation",
        "state",
        "reason",
    ]);
    for (partition, row) in rows {
        listing.push([
            json!(*partition.topic),
            json!(partition.partition),
            json!(row.next.get()),
            json!(row.epoch),
            json!(row.owner),
            json!(row.group_id),
            json!(row.updated_at.map(time)),
            json!(row.source_position),
            json!(row.source_incarnation),
            json!(row.state),
            json!(row.state_reason),
        ]);
    }
    Ok(listing.write(args.format.format, out)?)
}

async fn adopt(args: &AdoptArgs, context: &Context, out: &mut impl Write) -> anyhow::Result<()> {
    let hand = Hand::new(&args.kafka, &args.target, &args.reason, context)?;
    let first = first_positions(&hand.places, args.at).await?;
    if first.is_empty() {
        bail!("no topic fits, so there is nothing to adopt");
    }
    let wishes = first.into_iter().map(|(at, next)| (at, Wish::Adopt(next))).collect();
    hand.amend(wishes, out).await
}

async fn rewind(args: &RewindArgs, context: &Context, out: &mut impl Write) -> anyhow::Result<()> {
    let hand = Hand::of(&args.place, context)?;
    let partitions = hand.partitions(&args.place).await?;
    let log = &hand.places.log;
    let to = match (args.to.as_str(), args.to.strip_prefix('@')) {
        ("earliest", _) => {
            let ends = log.watermarks(&partitions).await?;
            ends.into_iter().map(|(partition, ends)| (partition, ends.low)).collect()
        }
        (_, Some(time)) => {
            let mut found = log.at_time(&partitions, moment(time)?).await?;
            // Behind the newest record stands none: the log's end.
            for (partition, ends) in log.watermarks(&partitions).await? {
                found.entry(partition).or_insert(ends.high);
            }
            found
        }
        (offset, None) => {
            let offset = offset.parse::<i64>().with_context(|| {
                format!("--to \"{offset}\" is neither an offset nor earliest nor @ and a time")
            })?;
            partitions.into_iter().map(|it| (it, NextOffset::at(offset))).collect()
        }
    };
    hand.amend(to.into_iter().map(|(at, to)| (at, Wish::Rewind(to))).collect(), out).await
}

async fn skip(args: &SkipArgs, context: &Context, out: &mut impl Write) -> anyhow::Result<()> {
    let hand = Hand::of(&args.place, context)?;
    let wish = args.to.map_or(Wish::SkipGap, |to| Wish::Skip(NextOffset::at(to)));
    let partitions = hand.partitions(&args.place).await?;
    hand.amend(partitions.into_iter().map(|at| (at, wish)).collect(), out).await
}

async fn release(
    args: &ReleaseArgs,
    context: &Context,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let hand = Hand::of(&args.place, context)?;
    let partitions = hand.partitions(&args.place).await?;
    hand.amend(partitions.into_iter().map(|at| (at, Wish::Release)).collect(), out).await
}

/// An operator's hand on the checkpoint.
struct Hand<'a> {
    places: Places,
    actor: &'a str,
    reason: &'a str,
}

impl<'a> Hand<'a> {
    fn new(
        kafka: &KafkaArgs,
        target: &TargetArgs,
        reason: &'a str,
        context: &'a Context,
    ) -> anyhow::Result<Self> {
        if reason.trim().is_empty() {
            bail!("--reason must say why: it is kept in the audit table");
        }
        let places = Places::new(kafka, target, context)?;
        Ok(Self { places, actor: context.actor(), reason })
    }

    fn of(place: &'a PlaceArgs, context: &'a Context) -> anyhow::Result<Self> {
        Self::new(&place.kafka, &place.target, &place.reason, context)
    }

    /// Returns the partitions that are meant, which must exist.
    async fn partitions(&self, place: &PlaceArgs) -> anyhow::Result<Vec<TopicPartition>> {
        let topic = &place.topic;
        let count = self.places.log.partition_count(topic).await?;
        let count = i32::try_from(count).context("count the partitions")?;
        let numbers = match place.partition {
            None => 0..count,
            Some(number) if (0..count).contains(&number) => number..number + 1,
            Some(number) => {
                bail!("topic \"{topic}\" has {count} partitions, from 0 on, and no {number}")
            }
        };
        let topic = Arc::<str>::from(topic.as_str());
        Ok(numbers.map(|number| TopicPartition::new(Arc::clone(&topic), number)).collect())
    }

    /// Has the target do what is wished, all of it or nothing, and tells what came of it.
    async fn amend(
        &self,
        wishes: BTreeMap<TopicPartition, Wish>,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let mut target = self.places.required_target().await?;
        let wanted = wishes.keys().cloned().collect::<Vec<_>>();
        let ranges = self.places.log.watermarks(&wanted).await?;
        let topics = wanted.iter().map(|it| Arc::clone(&it.topic)).collect();
        let topics = self.places.log.identities(&topics).await?;
        let decide = |at: &TopicPartition, row: Option<&Standing>| {
            let ends = ranges.get(at).zip(topics.get(&at.topic));
            match (wishes.get(at), ends) {
                (Some(wish), Some((&range, &topic))) => wish.decide(at, row, Ends { range, topic }),
                _ => Decision::Refuse(format!("{at} is not there any more")),
            }
        };
        let command = wishes.values().next().map(|wish| wish.command()).unwrap_or_default();
        let deed = Deed { actor: self.actor, command, reason: self.reason };
        let amended = target.amend(&wanted, &decide, deed).await.context("set the checkpoint")?;
        if !amended.refused.is_empty() {
            bail!("nothing was done: {}", amended.refused.join("; "));
        }
        for left in &amended.left {
            say(left);
        }
        let is_adoption = wishes.values().any(|wish| matches!(wish, Wish::Adopt(_)));
        if amended.made.is_empty() && !is_adoption {
            bail!("nothing was done");
        }
        let mut listing = Listing::new(["topic", "partition", "before_offset", "next_offset"]);
        for Amended { partition, before, after } in amended.made {
            let (topic, number) = (json!(*partition.topic), json!(partition.partition));
            listing.push([topic, number, json!(before.map(NextOffset::get)), json!(after.get())]);
        }
        Ok(listing.write(Format::Table, out)?)
    }
}

/// Returns where each partition of the topics would begin.
async fn first_positions(
    places: &Places,
    at: AdoptAt,
) -> anyhow::Result<Vec<(TopicPartition, NextOffset)>> {
    let ends = places.ends().await?;
    let partitions: Vec<TopicPartition> = ends.keys().cloned().collect();
    let committed = match at {
        AdoptAt::Committed => places.log.committed(&partitions).await?,
        AdoptAt::Earliest | AdoptAt::Latest => BTreeMap::new(),
    };
    let mut first = Vec::new();
    let mut missing = Vec::new();
    for (partition, ends) in ends {
        let position = match at {
            AdoptAt::Earliest => Some(ends.low),
            AdoptAt::Latest => Some(ends.high),
            AdoptAt::Committed => committed.get(&partition).copied(),
        };
        match position {
            Some(position) => first.push((partition, position)),
            None => missing.push(partition.to_string()),
        }
    }
    if !missing.is_empty() {
        let group = &places.kafka.group;
        bail!("group \"{group}\" has committed no offset for {}", missing.join(", "));
    }
    Ok(first)
}
