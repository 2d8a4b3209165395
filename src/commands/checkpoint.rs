//! Checkpoints as the operator sees and sets them.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::json;

use crate::checkpoint::NextOffset;
use crate::cli::{AdoptArgs, AdoptAt, CheckpointCommand, CheckpointListArgs, Format};
use crate::commands::look::{Places, time};
use crate::commands::table::Listing;
use crate::commands::{Context, say};
use crate::record::TopicPartition;
use crate::target::inspect::{Deed, Inspect};

/// Does what is asked for.
pub async fn run(
    what: CheckpointCommand,
    context: &Context,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    match what {
        CheckpointCommand::List(args) => list(&args, context, out).await?,
        CheckpointCommand::Adopt(args) => adopt(&args, context, out).await?,
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
            json!(row.state),
            json!(row.state_reason),
        ]);
    }
    Ok(listing.write(args.format.format, out)?)
}

async fn adopt(args: &AdoptArgs, context: &Context, out: &mut impl Write) -> anyhow::Result<()> {
    if args.reason.trim().is_empty() {
        bail!("--reason must say why: it is kept in the audit table");
    }
    let places = Places::new(&args.kafka, &args.target, context)?;
    let mut target = places.required_target().await?;
    let first = first_positions(&places, args.at).await?;
    if first.is_empty() {
        bail!("no topic fits, so there is nothing to adopt");
    }
    let deed = Deed { actor: context.actor(), reason: &args.reason };
    let known = target.adopt(&first, deed).await.context("set the first positions")?;
    for partition in &known {
        say(format_args!("{partition} has a checkpoint already, which is left as it is"));
    }
    let mut listing = Listing::new(["topic", "partition", "next_offset"]);
    for (partition, at) in first.iter().filter(|(partition, _)| !known.contains(partition)) {
        listing.push([json!(*partition.topic), json!(partition.partition), json!(at.get())]);
    }
    Ok(listing.write(Format::Table, out)?)
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
