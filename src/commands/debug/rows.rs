//! The target's tables: how many rows they have, and the newest of them.

use std::io::Write;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::cli::TargetRowsArgs;
use crate::commands::Context;
use crate::commands::table::Listing;
use crate::settings::TargetAddress;
use crate::table::TableName;
use crate::target::Sink;
use crate::target::inspect::{Inspect, open};

pub(super) async fn run(
    args: &TargetRowsArgs,
    context: &Context,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let address = TargetAddress::required(&args.target, &context.secrets)?;
    // No checkpoint is read: cluster and group do not matter.
    let (cluster_id, group_id) = (String::new(), String::new());
    let sink = Sink { name: args.target.sink.clone(), cluster_id, group_id };
    let mut target = open(&address, sink).await.with_context(|| format!("open {address}"))?;
    let listing = match &args.table_name {
        None => tables(&mut target, &args.synced_at_column).await?,
        Some(name) => rows(&mut target, name, args).await?,
    };
    listing.write(args.format.format, out)?;
    Ok(())
}

async fn tables(target: &mut impl Inspect, synced_at_column: &str) -> anyhow::Result<Listing> {
    let mut listing = Listing::new(["table", "rows", "is_exact", "newest"]);
    let tables = target.replicated_tables(synced_at_column).await;
    for table in tables.context("read the replicated tables")? {
        listing.push([
            json!(table.name.to_string()),
            json!(table.row_count),
            json!(table.is_exact),
            table.newest.map_or(Value::Null, Value::from),
        ]);
    }
    Ok(listing)
}

async fn rows(
    target: &mut impl Inspect,
    name: &str,
    args: &TargetRowsArgs,
) -> anyhow::Result<Listing> {
    let table = match name.split_once('.') {
        Some((schema, table)) => {
            TableName { schema: Some(schema.to_owned()), table: table.to_owned() }
        }
        None => TableName { schema: None, table: name.to_owned() },
    };
    let sample = target.newest(&table, &args.synced_at_column, args.limit).await;
    let Some(sample) = sample.with_context(|| format!("read table \"{table}\""))? else {
        bail!("table \"{table}\" does not exist, or may not be seen");
    };
    let mut listing = Listing::new(sample.columns.iter().map(String::as_str));
    for row in sample.rows {
        listing.push(row.into_iter().map(|value| value.map_or(Value::Null, Value::from)));
    }
    Ok(listing)
}
