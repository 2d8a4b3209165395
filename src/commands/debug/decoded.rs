//! What the consumer makes of records: their rows with types, and why they would be refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::cli::Format;
use crate::commands::debug::messages::{headers_base64, timestamp};
use crate::commands::peek::Peeked;
use crate::commands::table::Listing;
use crate::commands::trial::Trial;
use crate::decode::Decoded;
use crate::decode::inspect::{Inspected, readable, source_type};
use crate::decode::value::kind::{SourceColumn, SourceTable};
use crate::table::Column;
use crate::target::sqlite::text_of;

/// A record with all that is shown of it.
pub(crate) struct Shown<'a> {
    peeked: &'a Peeked,
    seen: Inspected,
    row: Option<Row>,
    refused: Option<String>,
}

/// A table as a record describes it, and where it goes.
struct Row {
    source: SourceTable,
    /// The target's table, where one is given.
    table: Option<String>,
    /// For each of the source's columns the target's; `None` for one that is not written.
    columns: Option<Vec<Option<Column>>>,
}

/// Puts records through a trial.
pub(crate) async fn show<'a>(
    topic: &Arc<str>,
    records: &'a [Peeked],
    trial: &mut Trial,
) -> anyhow::Result<Vec<Shown<'a>>> {
    let mut shown = Vec::with_capacity(records.len());
    for peeked in records {
        let refused = refused(trial.judge(topic, peeked.record()).await?);
        let seen = trial.inspect(topic, peeked.record()).await?;
        let row = match seen.source.clone() {
            Some(source) => Some(row(source, seen.is_partial, trial).await?),
            None => None,
        };
        shown.push(Shown { peeked, seen, row, refused });
    }
    Ok(shown)
}

async fn row(source: SourceTable, is_partial: bool, trial: &mut Trial) -> anyhow::Result<Row> {
    let has_target = trial.target().is_some();
    let mut row = Row { source, table: None, columns: None };
    if !has_target {
        return Ok(row);
    }
    if let Ok(Some(plan)) = trial.plan(&row.source, is_partial).await? {
        let mapped = &plan.mapped;
        let mut columns = mapped.shape.columns.iter().cloned();
        let mut next = |is_written: &bool| is_written.then(|| columns.next()).flatten();
        row.columns = Some(mapped.is_written.iter().map(&mut next).collect());
        row.table = Some(mapped.shape.table.name.to_string());
        // With every kind resolved that JSON without a schema leaves open.
        row.source = mapped.source.clone();
    }
    Ok(row)
}

fn refused(decoded: Decoded) -> Option<String> {
    match decoded {
        Decoded::Refused(refusal) => Some(format!("{}: {}", refusal.reason, refusal.detail)),
        Decoded::Stopped(stop) => Some(format!("stops the partition: {stop}")),
        Decoded::Change(_)
        | Decoded::Truncate(_)
        | Decoded::Ignored(_)
        | Decoded::NeedsSchema(_)
        | Decoded::NeedsLayout(_)
        | Decoded::NeedsMoved(_)
        | Decoded::NeedsPartitionCount
        | Decoded::NeedsNewBatch => None,
    }
}

pub(super) fn json(topic: &str, records: &[Shown<'_>]) -> Listing {
    let mut listing = Listing::new([
        "topic",
        "partition",
        "offset",
        "timestamp",
        "headers",
        "format",
        "schema_id",
        "op",
        "table",
        "target",
        "key",
        "before",
        "after",
        "refused",
    ]);
    for shown in records {
        let record = shown.peeked.record();
        listing.push([
            json!(topic),
            json!(shown.peeked.partition()),
            json!(record.offset),
            timestamp(record),
            headers_base64(record.headers),
            json!(shown.seen.format),
            json!(shown.seen.schema_id),
            json!(shown.seen.op),
            json!(shown.row.as_ref().map(Row::name)),
            json!(shown.row.as_ref().and_then(|row| row.table.as_deref())),
            shown.key(),
            shown.image(shown.seen.before.as_ref()),
            shown.image(shown.seen.after.as_ref()),
            json!(shown.refused),
        ]);
    }
    listing
}

pub(super) fn table(records: &[Shown<'_>]) -> Listing {
    let mut listing = Listing::new([
        "partition",
        "offset",
        "timestamp",
        "format",
        "schema_id",
        "op",
        "table",
        "key",
        "refused",
        "before",
        "after",
    ]);
    for shown in records {
        let record = shown.peeked.record();
        listing.push([
            json!(shown.peeked.partition()),
            json!(record.offset),
            timestamp(record),
            json!(shown.seen.format),
            json!(shown.seen.schema_id),
            json!(shown.seen.op),
            json!(shown.row.as_ref().map(Row::way)),
            shown.key(),
            json!(shown.refused),
            shown.line(shown.seen.before.as_ref()),
            shown.line(shown.seen.after.as_ref()),
        ]);
    }
    listing
}

impl Shown<'_> {
    /// Returns what the record says, by the names of the listing in JSON; its images on one line each
    /// for a table.
    pub(crate) fn fields(&self, format: Format) -> Vec<(&'static str, Value)> {
        let image = |image: &Option<Value>| match format {
            Format::Json => self.image(image.as_ref()),
            Format::Table => self.line(image.as_ref()),
        };
        vec![
            ("format", json!(self.seen.format)),
            ("schema_id", json!(self.seen.schema_id)),
            ("op", json!(self.seen.op)),
            ("table", json!(self.row.as_ref().map(Row::name))),
            ("target", json!(self.row.as_ref().and_then(|row| row.table.as_deref()))),
            ("key", self.key()),
            ("before", image(&self.seen.before)),
            ("after", image(&self.seen.after)),
            ("refused", json!(self.refused)),
        ]
    }

    /// Returns the key with its values readable.
    fn key(&self) -> Value {
        let Some(key) = &self.seen.key else { return Value::Null };
        let (Some(row), Some(fields)) = (&self.row, key.as_object()) else { return key.clone() };
        let kinds = row.source.columns.iter().map(|column| (&*column.name, &column.kind));
        let kinds: BTreeMap<_, _> = kinds.collect();
        let field = |(name, raw): (&String, &Value)| {
            let shown = kinds.get(&**name).map(|kind| readable(kind, raw, text_of));
            (name.clone(), shown.unwrap_or_else(|| raw.clone()))
        };
        Value::Object(fields.iter().map(field).collect())
    }

    /// Returns an image of the row: for each column its value, its type at the source, and the
    /// target's column where a target is given.
    fn image(&self, image: Option<&Value>) -> Value {
        let Some(image) = image else { return Value::Null };
        let (Some(row), Some(fields)) = (&self.row, image.as_object()) else {
            return image.clone();
        };
        let cell = |(name, raw): (&String, &Value)| {
            let place = row.source.columns.iter().position(|column| column.name == *name);
            (name.clone(), row.cell(place, raw))
        };
        Value::Object(fields.iter().map(cell).collect())
    }

    /// Returns the same on one line, in the columns' order.
    fn line(&self, image: Option<&Value>) -> Value {
        let fields = image.and_then(Value::as_object);
        let (Some(row), Some(fields)) = (&self.row, fields) else {
            return image.cloned().unwrap_or_default();
        };
        let cells = row.source.columns.iter().enumerate().filter_map(|(place, column)| {
            let value = readable(&column.kind, fields.get(&column.name)?, text_of);
            let types = [source_type(column), row.target_of(place)];
            let types = types.into_iter().flatten().collect::<Vec<_>>().join(" → ");
            let types = if types.is_empty() { types } else { format!(" ({types})") };
            Some(format!("{}={value}{types}", column.name))
        });
        json!(cells.collect::<Vec<_>>().join(" "))
    }
}

impl Row {
    /// Names the source's table as the rules for tables do.
    fn name(&self) -> String {
        self.source.name.rule_name()
    }

    /// Names the source's table, and the target's where it is another.
    fn way(&self) -> String {
        let name = self.name();
        match &self.table {
            Some(table) if *table != name => format!("{name} → {table}"),
            _ => name,
        }
    }

    fn cell(&self, place: Option<usize>, raw: &Value) -> Value {
        let column = place.and_then(|place| self.source.columns.get(place));
        let shown = column.map(|column| readable(&column.kind, raw, text_of));
        let mut cell = Map::new();
        cell.insert("value".to_owned(), shown.unwrap_or_else(|| raw.clone()));
        cell.insert("type".to_owned(), json!(column.and_then(source_type)));
        if self.columns.is_some() {
            let target = place.and_then(|place| self.target_of(place));
            cell.insert("target".to_owned(), json!(target));
        }
        Value::Object(cell)
    }

    /// Describes the target's column of one of the source's; `None` where no target is given.
    fn target_of(&self, place: usize) -> Option<String> {
        let target = self.columns.as_ref()?.get(place)?;
        let source: Option<&SourceColumn> = self.source.columns.get(place);
        Some(match target {
            Some(column) if source.is_some_and(|source| source.name == column.name) => {
                column.type_name.clone()
            }
            Some(column) => format!("{} {}", column.name, column.type_name),
            None => "not written".to_owned(),
        })
    }
}
