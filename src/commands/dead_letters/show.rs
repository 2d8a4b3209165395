//! All about one dead letter.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::cli::{Format, LetterArgs};
use crate::commands::Context;
use crate::commands::dead_letters::missing;
use crate::commands::debug::decoded;
use crate::commands::debug::messages::{base64, headers_base64, headers_text, readable};
use crate::commands::look::{Places, time};
use crate::commands::peek::Peeked;
use crate::commands::table::Listing;
use crate::commands::trial::{self, Trial};
use crate::target::letters::{KeptLetter, Letters as _};

pub(super) async fn run(
    args: &LetterArgs,
    context: &Context,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let (registry, tables) = trial::means(&args.registry, &args.tables, context)?;
    let places = Places::new(&args.kafka, &args.target, context)?;
    let mut target = places.required_target().await?;
    let found = target.letter(args.id).await.context("read the dead letter")?;
    let kept = found.ok_or_else(|| missing(&args.id.to_string()))?;
    let format = args.format.format;
    let mut fields = about(&kept);
    let peeked = Peeked::new(kept.record.run(kept.letter.partition.clone()));
    let record = peeked.record();
    fields.push(match format {
        Format::Json => ("headers", headers_base64(record.headers)),
        Format::Table => ("headers", headers_text(record.headers)),
    });
    if args.raw {
        let bytes = |bytes: Option<&[u8]>| match format {
            Format::Json => base64(bytes),
            Format::Table => bytes.map_or(Value::Null, |bytes| json!(readable(bytes))),
        };
        fields.extend([("key", bytes(record.key)), ("value", bytes(record.value))]);
    } else {
        let mut trial = Trial::new(registry, tables, Some(target));
        let topic = Arc::clone(&kept.letter.partition.topic);
        let shown = decoded::show(&topic, std::slice::from_ref(&peeked), &mut trial).await?;
        fields.extend(shown.first().map(|shown| shown.fields(format)).unwrap_or_default());
    }
    Ok(Listing::of_one(fields, format).write(format, out)?)
}

/// Returns what is kept beside the record.
fn about(kept: &KeptLetter) -> Vec<(&'static str, Value)> {
    let letter = &kept.letter;
    vec![
        ("id", json!(letter.id)),
        ("state", json!(letter.state)),
        ("topic", json!(*letter.partition.topic)),
        ("partition", json!(letter.partition.partition)),
        ("offset", json!(letter.offset)),
        ("timestamp", json!(letter.timestamp.map(time))),
        ("first_seen", json!(letter.first_seen.map(time))),
        ("last_seen", json!(letter.last_seen.map(time))),
        ("reason", json!(letter.reason)),
        ("sqlstate", json!(letter.sqlstate)),
        ("error", json!(letter.error)),
    ]
}
