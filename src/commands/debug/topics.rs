//! Topics: partitions with the ends of their logs and their checkpoints.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::checkpoint::NextOffset;
use crate::cli::TopicsArgs;
use crate::commands::Context;
use crate::commands::look::Places;
use crate::commands::table::Listing;
use crate::kafka::log::Watermarks;
use crate::record::TopicPartition;
use crate::target::inspect::Inspect;

pub(super) async fn run(
    args: &TopicsArgs,
    context: &Context,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let places = Places::new(&args.kafka, &args.target, context)?;
    let ends = places.ends().await?;
    let rows = match places.target().await? {
        Some(mut target) => target.checkpoints().await.context("read the checkpoints")?,
        None => Vec::new(),
    };
    let checkpoints = rows.into_iter().map(|(partition, row)| (partition, row.next)).collect();
    listing(&ends, &checkpoints).write(args.format.format, out)?;
    Ok(())
}

fn listing(
    ends: &BTreeMap<TopicPartition, Watermarks>,
    checkpoints: &BTreeMap<TopicPartition, NextOffset>,
) -> Listing {
    let columns = ["topic", "partition", "low_watermark", "high_watermark", "checkpoint", "lag"];
    let mut listing = Listing::new(columns);
    for (partition, ends) in ends {
        let next = checkpoints.get(partition).map(|next| next.get());
        listing.push([
            json!(*partition.topic),
            json!(partition.partition),
            json!(ends.low.get()),
            json!(ends.high.get()),
            next.map_or(Value::Null, Value::from),
            next.map_or(Value::Null, |next| json!((ends.high.get() - next).max(0))),
        ]);
    }
    listing
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::cli::Format;

    #[test]
    fn a_partition_without_a_checkpoint_has_no_lag() {
        let ends = |low, high| Watermarks { low: NextOffset::at(low), high: NextOffset::at(high) };
        let (first, second) = (TopicPartition::new("t", 0), TopicPartition::new("t", 1));
        let ends = BTreeMap::from([(first.clone(), ends(3, 120)), (second, ends(0, 0))]);
        let checkpoints = BTreeMap::from([(first, NextOffset::at(100))]);

        let mut out = Vec::new();
        listing(&ends, &checkpoints).write(Format::Table, &mut out).unwrap();
        expect![[r#"
            TOPIC  PARTITION  LOW_WATERMARK  HIGH_WATERMARK  CHECKPOINT  LAG
            t              0              3             120         100   20
            t              1              0               0           -    -
        "#]]
        .assert_eq(&String::from_utf8(out).unwrap());
    }
}
