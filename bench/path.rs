//! The path of records in memory: captured records of `orders` with new keys, decoded into batches.

use std::collections::BTreeMap;

use afterimage::batch::Batch;
use afterimage::checkpoint::{Claim, NextOffset};
use afterimage::decode::{Arrival, Decoded, Decoder, RegisteredSchema, SchemaId};
use afterimage::mapping::Mapping;
use afterimage::record::{Record, Run, TopicPartition};
use afterimage::rows::Origin;
use afterimage::rules::{DeletePolicy, Rules, SourceSettings};
use afterimage::settings::{SchemaChanges, Tables};
use afterimage::table::Table;
use afterimage::target::Target as _;
use afterimage::target::postgres::Postgres;
use anyhow::{Context as _, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use uuid::Uuid;

/// The key of the captured record.
const CAPTURED: i64 = 9001;
/// The first key of those that take its place: Avro spells all of them in as many bytes.
const FIRST: i64 = 2_000_000;

/// Of the connector whose records have no schemas, and so do not say its settings.
const PREFIX: &str = "dbserver1_plain";

/// How the records are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    PlainJson,
    Avro,
}

impl Format {
    pub(crate) const ALL: [Self; 3] = [Self::Json, Self::PlainJson, Self::Avro];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::PlainJson => "plain_json",
            Self::Avro => "avro",
        }
    }

    fn fixture(self) -> &'static str {
        match self {
            Self::Json => include_str!("../tests/fixtures/json/orders-create.json"),
            Self::PlainJson => include_str!("../tests/fixtures/plain/orders-create.json"),
            Self::Avro => include_str!("../tests/fixtures/avro/orders-create.json"),
        }
    }

    /// Returns the key as the record's bytes have it.
    fn spelled(self, key: i64) -> Vec<u8> {
        match self {
            Self::Json | Self::PlainJson => format!("\"id\":{key}").into_bytes(),
            Self::Avro => varint(key),
        }
    }
}

/// A lane without its edges: what it has learned, and the batch that it fills.
pub(crate) struct Path {
    decoder: Decoder,
    mapping: Mapping,
    existing: Option<Table>,
    partition: TopicPartition,
    /// What is being filled.
    pub(crate) batch: Batch,
}

impl Path {
    /// Starts with all that the format's records need learned.
    pub(crate) fn new(format: Format) -> anyhow::Result<Self> {
        // A record without a schema finds its types in the target's table.
        let existing = match format {
            Format::PlainJson => Some(Self::new(Format::Json)?.table(Format::Json)?),
            Format::Json | Format::Avro => None,
        };
        let settings = SourceSettings {
            time_precision_mode: Some("adaptive".to_owned()),
            decimal_handling_mode: Some("precise".to_owned()),
            ..Default::default()
        };
        let rules = Rules {
            targets: Vec::new(),
            tables: Vec::new(),
            sources: BTreeMap::from([(PREFIX.to_owned(), settings)]),
            deletes: DeletePolicy::Hard,
            deleted_at_column: "deleted_at".to_owned(),
        };
        let synced_at_column = Some("synced_at".to_owned());
        let tables = Tables {
            rules,
            schema_changes: SchemaChanges::Apply,
            synced_at_column,
            skips_unchanged: false,
        };
        let mut path = Self {
            decoder: Decoder::default(),
            mapping: Mapping::new(tables, Postgres::DIALECT),
            existing,
            partition: TopicPartition::new(fixture(format)?.topic, 0),
            batch: Batch::default(),
        };
        path.fill(&records(format, [0])?)?;
        path.batch = Batch::default();
        Ok(path)
    }

    /// Decodes every record of a run into the batch.
    pub(crate) fn fill(&mut self, run: &Run) -> anyhow::Result<()> {
        let claim = Claim { epoch: 1, token: Uuid::nil() };
        let step = self.batch.step(&self.partition, claim, NextOffset::at(0));
        for (offset, record) in (0..).zip(run.iter()) {
            while let Some(asked) = self.decode(Origin { step, offset, sent_at: 0 }, record)? {
                self.answer(asked)?;
            }
        }
        Ok(())
    }

    /// Returns what the decoder asks for, if it has not made a row.
    fn decode(&mut self, origin: Origin, record: Record<'_>) -> anyhow::Result<Option<Decoded>> {
        let arrival = Arrival {
            topic: &self.partition.topic,
            partition: 0,
            record,
            origin,
            is_tainted: false,
            is_alone: Some(false),
        };
        match self.decoder.decode(arrival, &mut self.batch) {
            Decoded::Change(_) => Ok(None),
            asked @ (Decoded::NeedsSchema(_) | Decoded::NeedsLayout(_)) => Ok(Some(asked)),
            other => bail!("a captured record is {other:?}"),
        }
    }

    fn answer(&mut self, asked: Decoded) -> anyhow::Result<()> {
        match asked {
            Decoded::NeedsSchema(id) => {
                let SchemaId::Plain(number) = id else { bail!("{id:?} is not Confluent's") };
                let text = schemas()?.remove(&number.to_string()).context("no such schema")?;
                let schema = RegisteredSchema { text, references: Vec::new() };
                self.decoder.learn_schema(id, Some(schema));
            }
            Decoded::NeedsLayout(request) => {
                let plan = self.mapping.plan(request.source, self.existing.clone());
                let plan = plan.map_err(|stop| anyhow!("{stop}"))?;
                self.decoder.learn_layout(request.id, plan.mapped);
            }
            other => bail!("nobody answers {other:?}"),
        }
        Ok(())
    }

    /// Returns the table that the records make.
    pub(crate) fn table(&mut self, format: Format) -> anyhow::Result<Table> {
        self.fill(&records(format, [0])?)?;
        let folded = std::mem::take(&mut self.batch).fold();
        let (rows, _) = folded.tables.first().context("no table")?;
        Ok(Table::clone(&rows.shape().table))
    }
}

/// Returns a create for each number, which stands for a row.
pub(crate) fn records(
    format: Format,
    numbers: impl IntoIterator<Item = i64>,
) -> anyhow::Result<Run> {
    let fixture = fixture(format)?;
    let (key, value) = (STANDARD.decode(&fixture.key)?, STANDARD.decode(&fixture.value)?);
    let headers = fixture.headers.iter().map(|(name, value)| Ok((name, STANDARD.decode(value)?)));
    let headers: Vec<_> = headers.collect::<anyhow::Result<_>>()?;
    let mut run = Run::new(TopicPartition::new(fixture.topic, 0), 1);
    for (offset, number) in (0..).zip(numbers) {
        let key = with_key(&key, format, FIRST + number)?;
        let value = with_key(&value, format, FIRST + number)?;
        let headers = headers.iter().map(|(name, value)| (name.as_bytes(), Some(&value[..])));
        run.push((offset, None), Some(&key), Some(&value), headers);
    }
    Ok(run)
}

fn with_key(bytes: &[u8], format: Format, key: i64) -> anyhow::Result<Vec<u8>> {
    let captured = format.spelled(CAPTURED);
    let mut windows = bytes.windows(captured.len());
    let at = windows.position(|window| window == captured).context("the captured key")?;
    let (before, rest) = bytes.split_at(at);
    let (_, after) = rest.split_at(captured.len());
    Ok([before, &format.spelled(key), after].concat())
}

#[derive(Deserialize)]
struct Fixture {
    topic: String,
    key: String,
    value: String,
    headers: Vec<(String, String)>,
}

fn fixture(format: Format) -> anyhow::Result<Fixture> {
    Ok(serde_json::from_str(format.fixture())?)
}

fn schemas() -> anyhow::Result<BTreeMap<String, String>> {
    Ok(serde_json::from_str(include_str!("../tests/fixtures/avro/schemas.json"))?)
}

/// Avro's own: zigzag, seven bits a byte.
fn varint(value: i64) -> Vec<u8> {
    let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    bytes.push(rest.to_le_bytes()[0]);
    bytes
}
