//! What the decoder's tests share: captured records, a target that writes cells as text, and a lane
//! in miniature.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use crate::batch::Batch;
use crate::checkpoint::{Claim, NextOffset};
use crate::decode::value::figure::Figure;
use crate::decode::value::kind::{Kind, SourceColumn, SourceTable};
use crate::decode::value::{Day, Decimal, Geometry, Moment, Point, Value};
use crate::decode::{Arrival, Decoded, Decoder, LayoutRequest, Mapped, RegisteredSchema, SchemaId};
use crate::mapping::Mapping;
use crate::record::{Run, TopicPartition};
use crate::rows::{Cell, Cells, Deletes, Keyless, Origin, Row, RowOp, Rows, Shape};
use crate::rules::{AfterRefused, Changelog};
use crate::table::{Column, Encode, Misfit, Table, TableName};

/// A record to decode.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    pub topic: String,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Sample {
    pub(super) fn new(topic: &str, key: Option<&str>, value: Option<&str>) -> Self {
        let bytes = |text: &str| text.as_bytes().to_vec();
        let (topic, key, value) = (topic.to_owned(), key.map(bytes), value.map(bytes));
        Self { topic, key, value, headers: Vec::new() }
    }

    pub(super) fn with_header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), Some(value.as_ref().to_vec())));
        self
    }

    /// Reads a captured record, such as `json/orders-create`.
    pub(super) fn captured(name: &str) -> Self {
        let json = read(&format!("{name}.json"));
        let bytes =
            |json: &serde_json::Value| json.as_str().map(|text| STANDARD.decode(text).unwrap());
        let topic = json["topic"].as_str().unwrap().to_owned();
        let header =
            |pair: &serde_json::Value| (pair[0].as_str().unwrap().to_owned(), bytes(&pair[1]));
        let headers = json["headers"].as_array().unwrap().iter().map(header).collect();
        Self { topic, key: bytes(&json["key"]), value: bytes(&json["value"]), headers }
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn read(name: &str) -> serde_json::Value {
    let path = fixtures().join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("reads {path:?}"));
    serde_json::from_str(&text).unwrap()
}

/// Returns the names of a folder's captured records.
pub(super) fn captured_names(folder: &str) -> Vec<String> {
    let mut names = std::fs::read_dir(fixtures().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name != "schemas")
        .map(|name| format!("{folder}/{name}"))
        .collect::<Vec<_>>();
    names.sort();
    names
}

/// Does what a lane does, for one record at a time.
#[derive(Debug)]
pub(super) struct Bench {
    pub decoder: Decoder,
    pub batch: Batch,
    pub is_tainted: bool,
    pub is_alone: Option<bool>,
    /// Whether the target keeps how new each row is.
    pub is_guarded: bool,
    /// Whether the target has no table yet.
    pub is_absent: bool,
    pub deletes: Deletes,
    pub keyless: Keyless,
    /// The kinds that the target's columns stand for where a record has no schema, by `table.column`.
    pub kinds: Vec<(&'static str, Kind)>,
    /// The tables that were asked for.
    pub asked: Vec<(SourceTable, bool)>,
    /// What writes the cells of the bench's own target.
    pub encode: Encode,
    /// A column that is not written.
    pub excluded: Option<&'static str>,
    /// The only columns that are written.
    pub only: Option<&'static [&'static str]>,
    /// The columns that identify a row, whatever the records' key says.
    pub key: Option<&'static [&'static str]>,
    /// Takes the place of the bench's own target; nothing exists there.
    pub mapping: Option<Mapping>,
    /// What flat records' columns say of what happened.
    pub changelog: Option<Changelog>,
    /// What becomes of records behind a refused one of their key.
    pub after_refused: AfterRefused,
    schemas: serde_json::Value,
    offset: i64,
}

impl Default for Bench {
    fn default() -> Self {
        let (decoder, batch) = (Decoder::default(), Batch::default());
        let schemas = serde_json::Value::Null;
        let (kinds, asked, deletes) = (Vec::new(), Vec::new(), Deletes::Hard);
        Self {
            decoder,
            batch,
            is_tainted: false,
            is_alone: Some(true),
            is_guarded: false,
            is_absent: false,
            deletes,
            keyless: Keyless::Refuse,
            kinds,
            asked,
            encode,
            excluded: None,
            only: None,
            key: None,
            mapping: None,
            changelog: None,
            after_refused: AfterRefused::Continue,
            schemas,
            offset: 0,
        }
    }
}

impl Bench {
    /// Decodes a captured record to one line.
    pub(super) fn captured(&mut self, name: &str) -> String {
        let schemas = format!("{}/schemas.json", name.split('/').next().unwrap());
        if fixtures().join(&schemas).exists() {
            self.schemas = read(&schemas);
        }
        self.decode(&Sample::captured(name))
    }

    /// Gives the registry's schema of an id.
    pub(super) fn register(&mut self, id: u32, text: &str) {
        self.register_as(SchemaId::Plain(id), text);
    }

    /// Gives the registry's schema of an id of any kind.
    pub(super) fn register_as(&mut self, id: SchemaId, text: &str) {
        let references = Vec::new();
        self.decoder.learn_schema(id, Some(RegisteredSchema { text: text.to_owned(), references }));
    }

    /// Decodes a record to one line: what it came to, and the row if there is one.
    pub(super) fn decode(&mut self, sample: &Sample) -> String {
        self.batch = Batch::default();
        let decoded = self.settle(sample);
        self.describe(&decoded)
    }

    /// Decodes a record, doing whatever must come first.
    pub(super) fn settle(&mut self, sample: &Sample) -> Decoded {
        for _ in 0..8 {
            match self.once(sample) {
                Decoded::NeedsSchema(id) => {
                    self.decoder.learn_schema(id, self.captured_schema(id));
                }
                Decoded::NeedsLayout(request) => {
                    self.asked.push((request.source.clone(), request.is_partial));
                    let id = request.id;
                    if self.is_absent && request.is_partial {
                        self.decoder.learn_absent(id);
                        continue;
                    }
                    let mapped = match &mut self.mapping {
                        Some(mapping) => mapping.plan(request.source, None).unwrap().mapped,
                        None => self.map(*request),
                    };
                    self.decoder.learn_layout(id, mapped);
                }
                Decoded::NeedsNewBatch => self.batch = Batch::default(),
                decoded => return decoded,
            }
        }
        panic!("the decoder asks for the same again and again");
    }

    /// Finds a captured schema: its text, or a list of those that it refers to and its own.
    fn captured_schema(&self, id: SchemaId) -> Option<RegisteredSchema> {
        let found = &self.schemas[id.to_string()];
        let listed = found.as_array().map_or(std::slice::from_ref(found), Vec::as_slice);
        let mut references =
            listed.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect::<Vec<_>>();
        Some(RegisteredSchema { text: references.pop()?, references })
    }

    /// Decodes a record once.
    pub(super) fn once(&mut self, sample: &Sample) -> Decoded {
        self.offset += 1;
        let partition = TopicPartition::new(sample.topic.as_str(), 0);
        let claim = Claim { epoch: 1, token: Uuid::nil() };
        let step = self.batch.step(&partition, claim, NextOffset::at(0));
        let mut run = Run::new(partition, 1);
        let (key, value) = (sample.key.as_deref(), sample.value.as_deref());
        let headers =
            sample.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref()));
        run.push((self.offset, None), key, value, headers);
        let arrival = Arrival {
            topic: &run.partition.topic,
            partition: 0,
            record: run.get(0).unwrap(),
            origin: Origin { step, offset: self.offset, sent_at: 0 },
            is_tainted: self.is_tainted,
            is_alone: self.is_alone,
        };
        self.decoder.decode(arrival, &mut self.batch)
    }

    /// Goes on as if the records behind an offset had not been read.
    pub(super) fn rewind_to(&mut self, offset: i64) {
        self.offset = offset;
    }

    fn map(&self, request: LayoutRequest) -> Mapped {
        let mut source = request.source;
        for column in &mut source.columns {
            let full_name = format!("{}.{}", source.name.table, column.name);
            let kind = self.kinds.iter().find(|(name, _)| *name == full_name);
            if let Some((_, kind)) = kind.filter(|_| column.kind == Kind::Untyped) {
                column.kind = kind.clone();
            }
        }
        let is_written = |column: &SourceColumn| {
            Some(&*column.name) != self.excluded
                && self.only.is_none_or(|only| only.contains(&&*column.name))
        };
        let written = source.columns.iter().filter(|column| is_written(column));
        let columns = written.map(|column| target_column(column, self.encode)).collect::<Vec<_>>();
        let name = TableName { schema: None, table: source.name.table.clone() };
        let table = Table { name, columns: columns.clone(), unique_keys: Vec::new() };
        let position = |name: &String| columns.iter().position(|column| column.name == *name);
        let ruled = self.key.map(|key| key.iter().map(|name| (*name).to_owned()).collect());
        let key = ruled.as_ref().unwrap_or(&source.key).iter().filter_map(position).collect();
        let (deletes, synced_at) = (self.deletes.clone(), None);
        let (table, keyless) = (Arc::new(table), self.keyless);
        let (is_guarded, skips_unchanged) = (self.is_guarded, false);
        let shape =
            Shape { table, columns, key, keyless, deletes, synced_at, is_guarded, skips_unchanged };
        let is_written = source.columns.iter().map(is_written).collect();
        let placeholder = "__debezium_unavailable_value".into();
        let (shape, changelog) = (Arc::new(shape), self.changelog.clone());
        let after_refused = self.after_refused;
        Mapped { source, is_written, shape, placeholder, changelog, after_refused }
    }

    fn describe(&mut self, decoded: &Decoded) -> String {
        let folded = std::mem::take(&mut self.batch).fold();
        let mut rows = folded
            .tables
            .iter()
            .flat_map(|(rows, _)| rows.index().iter().map(move |row| print(rows, row)));
        let (row, none) = (rows.next(), rows.next());
        assert_eq!(none, None, "a record is one row at most");
        match decoded {
            Decoded::Change(change) => {
                let whole = if change.is_whole { "" } else { " partial" };
                format!("{:?}{whole} {}", change.op, row.expect("a change is a row"))
            }
            Decoded::Refused(refusal) => {
                assert_eq!(row, None, "a refusal leaves no row");
                format!("{}: {}", refusal.reason, refusal.detail)
            }
            other => {
                assert_eq!(row, None, "no row without a change");
                match other {
                    Decoded::Truncate(_) => "Truncate".to_owned(),
                    Decoded::Stopped(stop) => stop.to_string(),
                    Decoded::NeedsMoved(request) => {
                        format!("needs what {:?} left", request.columns)
                    }
                    other => format!("{other:?}"),
                }
            }
        }
    }
}

fn target_column(column: &SourceColumn, encode: Encode) -> Column {
    let (name, type_name) = (column.name.clone(), "text".to_owned());
    let (not_null, encode) = (!column.optional, Some(encode));
    Column {
        name,
        type_name,
        type_id: 0,
        modifier: -1,
        not_null,
        generated: false,
        has_default: false,
        identity: None,
        enumeration: None,
        base_name: None,
        encode,
    }
}

fn print(rows: &Rows, row: &Row) -> String {
    let shape = rows.shape();
    let key = shape.key.iter().map(|cell| &shape.columns[*cell]).collect::<Vec<_>>();
    let all = shape.columns.iter().collect::<Vec<_>>();
    let before = rows.key(row);
    let mut text = shape.table.name.to_string();
    match row.op {
        RowOp::Upsert => text.push_str(&print_cells(&all, rows.cells(row))),
        RowOp::Delete => text.push_str(&print_cells(&key, before)),
    }
    if key.is_empty() && !before.is_empty() {
        text.push_str(" before");
        text.push_str(&print_cells(&all, before));
    }
    text
}

fn print_cells(columns: &[&Column], bytes: &[u8]) -> String {
    let cells = columns.iter().zip(Cells::new(bytes)).map(|(column, cell)| {
        let text = match cell {
            Cell::Null => "null".to_owned(),
            Cell::Unavailable => "unavailable".to_owned(),
            Cell::Content(content) => String::from_utf8(content.to_vec()).unwrap(),
        };
        format!(" {}={text}", column.name)
    });
    cells.collect()
}

/// Writes a value so that each has a text of its own.
pub(super) fn encode(value: Value<'_>, _: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let text = match value {
        Value::Null | Value::Unavailable => return Err(Misfit::Type),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float32(value) => format!("{value:?}f32"),
        Value::Float64(value) => format!("{value:?}"),
        Value::Decimal(Decimal::Binary { unscaled, scale }) => {
            let negative = unscaled.first().is_some_and(|first| *first >= 0x80);
            let start = if negative { -1_i128 } else { 0 };
            let integer = unscaled.iter().fold(start, |sum, byte| sum << 8 | i128::from(*byte));
            format!("{integer}e{}", -scale)
        }
        Value::Decimal(Decimal::Text(text)) => format!("decimal {text}"),
        Value::DecimalSpecial(special) => format!("{special:?}"),
        Value::Text("too long") => return Err(Misfit::Length),
        Value::Text(text) => format!("'{text}'"),
        Value::Bytes(octets) => format!("{octets:02x?}"),
        Value::Bits { octets, length } => format!("bits {octets:?} {length:?}"),
        Value::Uuid(uuid) => uuid.to_string(),
        Value::Json(text) => format!("json {text}"),
        Value::Date(Day::Finite(days)) => format!("day {days}"),
        Value::Date(day) => format!("{day:?}"),
        Value::Time(nanos) => format!("time {nanos}"),
        Value::TimeZoned { nanos, offset } => format!("time {nanos} offset {offset}"),
        Value::Timestamp(moment) => format!("wall {}", print_moment(moment)),
        Value::TimestampZoned(moment) => format!("moment {}", print_moment(moment)),
        Value::Interval(it) => format!("{} months {} days {} ns", it.months, it.days, it.nanos),
        Value::Spelled { spelling, text } => format!("{spelling:?} '{text}'"),
        Value::Unsigned(value) => format!("unsigned {value}"),
        Value::Array(items) => {
            let items = items.values().map(|item| print_value(item?));
            format!("[{}]", items.collect::<Result<Vec<_>, _>>()?.join(", "))
        }
        Value::Map(pairs) => {
            let pairs = pairs.texts().map(|pair| pair.map(|pair| format!("{pair:?}")));
            format!("{{{}}}", pairs.collect::<Result<Vec<_>, _>>()?.join(", "))
        }
        Value::Point(Point { x, y, geometry: Geometry { wkb, srid } }) => {
            format!("point {x} {y} {wkb:02x?} {srid:?}")
        }
        Value::Figure(Figure::Path { is_closed, places }) => {
            format!("path {is_closed} {:?}", places.iter().collect::<Vec<_>>())
        }
        Value::Figure(Figure::Polygon(places)) => {
            format!("polygon {:?}", places.iter().collect::<Vec<_>>())
        }
        Value::Figure(figure) => format!("{figure:?}"),
        Value::Geometry(Geometry { wkb, srid }) => format!("geometry {wkb:02x?} {srid:?}"),
        Value::SparseVector { dimensions, elements } => {
            format!("{:?} of {dimensions}", elements.collect::<Vec<_>>())
        }
    };
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn print_value(value: Value<'_>) -> Result<String, Misfit> {
    if value == Value::Null {
        return Ok("null".to_owned());
    }
    let mut out = Vec::new();
    encode(value, -1, &mut out).map(|()| String::from_utf8(out).unwrap())
}

fn print_moment(moment: Moment) -> String {
    match moment {
        Moment::Finite { seconds, nanos } => format!("{seconds}.{nanos:09}"),
        other => format!("{other:?}"),
    }
}
