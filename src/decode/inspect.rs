//! What a record says, laid open for people: only here a record becomes a tree of values.
//!
//! Whether the record is applied is not decided here: the decoder itself is asked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeSeed as _;
use serde_json::Value as Json;

use crate::decode::json::parts::PackSeed;
use crate::decode::schema;
use crate::decode::schema::connect::Field;
use crate::decode::schema::envelope::{Meaning, meaning, source_table};
use crate::decode::schema::frame::{Pair, Part};
use crate::decode::value::Value;
use crate::decode::value::kind::{Kind, SourceColumn, SourceTable, Unit};
use crate::decode::value::packed::{Packer, Parts};
use crate::decode::value::semantic::value;
use crate::decode::{Decoded, Decoder, Ignored, SchemaId, avro, flat};
use crate::record::Record;

/// What Debezium sends in place of octets that did not change.
const UNAVAILABLE: &[u8] = b"__debezium_unavailable_value";

/// A record, laid open; what cannot be read is not there.
#[derive(Clone, Debug, Default)]
pub struct Inspected {
    /// `json`, `json without schema` or `avro`.
    pub format: Option<&'static str>,
    /// The registry's id of the value's schema, or of the key's where there is no value.
    pub schema_id: Option<SchemaId>,
    /// Debezium's letter, or what a record is that is no row: `tombstone`, `heartbeat`, …
    pub op: Option<String>,
    /// The source's table; `None` for a record that is no row.
    pub source: Option<SourceTable>,
    /// Whether the record has no row, so that the source's columns are only those of the key.
    pub is_partial: bool,
    /// The key, as the tree that JSON carries.
    pub key: Option<Json>,
    /// The row before, as for the key.
    pub before: Option<Json>,
    /// The row after, as for the key.
    pub after: Option<Json>,
}

/// A value or a key, read.
#[derive(Default)]
struct Side {
    format: Option<&'static str>,
    schema_id: Option<SchemaId>,
    tree: Option<Json>,
}

impl Decoder {
    /// Lays a record open by the schemas that were learned.
    ///
    /// # Errors
    ///
    /// The schema of this id must be learned first.
    pub fn inspect(&self, topic: &str, record: Record<'_>) -> Result<Inspected, SchemaId> {
        let parts = Pair::of(record);
        let value = parts.value.filter(|value| value.bytes != b"null");
        let (key_field, key) = self.side(parts.key, "key")?;
        let (value_field, mut side) = self.side(value, "value")?;
        let first = if value.is_some() { &side } else { &key };
        let (format, schema_id) = (first.format, first.schema_id);
        let key = key.tree.filter(|key| !key.is_null());
        let mut seen = Inspected { format, schema_id, key, ..Inspected::default() };
        let Ok((_, _, place)) = self.read(value, "value") else { return Ok(seen) };
        let row = match value_field.as_ref().map(meaning) {
            Some(Meaning::Ignored(ignored)) => {
                seen.op = Some(ignored.name().to_owned());
                return Ok(seen);
            }
            Some(Meaning::Unknown(_)) => return Ok(seen),
            Some(Meaning::Rows(form, row)) => Some((form, row)),
            None => None,
        };
        let form = row.as_ref().map(|(form, _)| *form).unwrap_or_default();
        match side.tree.as_mut().and_then(Json::as_object_mut) {
            Some(row) if form.is_flat() => {
                let is_deleted =
                    row.get("__deleted").is_some_and(|it| *it == true || *it == "true");
                let letter = row.get("__op").and_then(Json::as_str);
                let letter = if is_deleted { Some("d") } else { letter };
                seen.op = letter.map(str::to_owned).or_else(|| flat::op_header(record.headers));
                seen.after = side.tree.take();
            }
            Some(event) if event.contains_key("specversion") => {
                let letter = event.get("iodebeziumop").and_then(Json::as_str);
                seen.op = letter.map(str::to_owned);
                let mut data = event.remove("data").map(|data| self.images(data));
                let mut take = |name| {
                    let image = data.as_mut()?.as_object_mut()?.remove(name);
                    image.filter(|row| !row.is_null())
                };
                (seen.before, seen.after) = (take("before"), take("after"));
            }
            Some(envelope) => {
                let letter = envelope.get("op").and_then(Json::as_str);
                seen.op = letter.map(str::to_owned);
                let mut take = |name| envelope.remove(name).filter(|row| !row.is_null());
                (seen.before, seen.after) = (take("before"), take("after"));
            }
            None => seen.op = Some(Ignored::Tombstone.name().to_owned()),
        }
        if row.is_some() || key_field.as_ref().is_some_and(|key| !key.fields.is_empty()) {
            let row = row.as_ref().map(|(_, row)| row).filter(|row| !row.fields.is_empty());
            seen.is_partial = row.is_none();
            seen.source = Some(source_table(place, topic, form, row, key_field.as_ref()));
        }
        Ok(seen)
    }

    /// Returns the images of a CloudEvent's data, which may stand behind their schema or in base64.
    fn images(&self, mut data: Json) -> Json {
        if let Some(text) = data.as_str() {
            let framed = STANDARD.decode(text).unwrap_or_default();
            let tree = Part::alone(&framed)
                .frame()
                .and_then(|(id, body)| avro::tree::read(body, &self.schema(id).ok()?.reader));
            return tree.unwrap_or(data);
        }
        data.get_mut("payload").map(Json::take).unwrap_or(data)
    }

    /// Reads the schema and the tree of a value or a key.
    fn side(&self, part: Option<Part<'_>>, name: &str) -> Result<(Option<Field>, Side), SchemaId> {
        let Some(part) = part else { return Ok((None, Side::default())) };
        let bytes = part.bytes;
        let field = match self.read(Some(part), name) {
            Ok((_, field, _)) => field,
            Err(early) => match *early {
                Decoded::NeedsSchema(id) => return Err(id),
                _ => None,
            },
        };
        if let Some((id, body)) = part.frame() {
            let compiled = self.schema(id).ok();
            let tree = compiled.and_then(|compiled| avro::tree::read(body, &compiled.reader));
            let side = Side { format: Some("avro"), schema_id: Some(id), tree };
            return Ok((field, side));
        }
        let framed = schema::json::split(bytes).ok().flatten();
        let (format, text) = match &framed {
            Some(framed) if framed.schema.is_some() => ("json", framed.payload.as_bytes()),
            Some(framed) => ("json without schema", framed.payload.as_bytes()),
            None => ("json without schema", bytes),
        };
        let tree = serde_json::from_slice::<Json>(text).ok();
        let format = tree.is_some().then_some(format);
        Ok((field, Side { format, schema_id: None, tree }))
    }
}

/// Writes a value that is no plain JSON, such as a time or a decimal; `None` for what it has no
/// text for.
pub type Print = fn(Value<'_>) -> Option<String>;

/// Returns what a tree's leaf means to people: times as ISO, decimals with their digits, octets in
/// hexadecimal; one that is not of its kind stays as it is.
pub fn readable(kind: &Kind, raw: &Json, print: Print) -> Json {
    let kind = kind.of_object().filter(|_| raw.is_object()).unwrap_or(kind.of_value());
    let mut scratch = Vec::new();
    let seed = PackSeed { packing: kind.packing(), packer: &mut Packer::new(&mut scratch) };
    let packed = seed.deserialize(&mut serde_json::Deserializer::from_str(&raw.to_string()));
    let literal = packed.ok().and_then(|()| Parts::new(&scratch).next());
    let meant = literal.and_then(|literal| value(kind, literal).ok());
    meant.and_then(|value| shown(value, print)).unwrap_or_else(|| raw.clone())
}

fn shown(value: Value<'_>, print: Print) -> Option<Json> {
    Some(match value {
        Value::Null => Json::Null,
        Value::Bool(value) => value.into(),
        Value::Int(value) => value.into(),
        Value::Text(value) | Value::Json(value) => value.into(),
        Value::Bytes(UNAVAILABLE) => String::from_utf8_lossy(UNAVAILABLE).into(),
        Value::Bytes(value) => hexadecimal(value).into(),
        Value::Float32(_) | Value::Float64(_) => return None,
        other => print(other)?.into(),
    })
}

/// Returns octets as hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |mut text, byte| {
        // Writing to a string cannot fail.
        _ = std::fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"));
        text
    })
}

/// Names a column's type at the source: as the connector propagates it, else what the schema says;
/// `None` for JSON without a schema.
pub fn source_type(column: &SourceColumn) -> Option<String> {
    if let Some(propagated) = &column.source_type {
        let name = propagated.name.to_lowercase();
        return Some(match (propagated.length, propagated.scale) {
            (Some(length), Some(scale)) => format!("{name}({length},{scale})"),
            (Some(length), None) => format!("{name}({length})"),
            (None, _) => name,
        });
    }
    (column.kind != Kind::Untyped).then(|| kind_name(&column.kind))
}

fn kind_name(kind: &Kind) -> String {
    match kind {
        Kind::Decimal { scale, precision: Some(precision) } => {
            format!("decimal({precision},{scale})")
        }
        Kind::Decimal { scale, precision: None } => format!("decimal(,{scale})"),
        Kind::Time(unit) => format!("time in {}", unit_name(*unit)),
        Kind::Span(unit) => format!("span in {}", unit_name(*unit)),
        Kind::Timestamp(unit) => format!("timestamp in {}", unit_name(*unit)),
        Kind::Bits { length: Some(length) } => format!("bits({length})"),
        Kind::Bits { length: None } => "bits".to_owned(),
        Kind::Array(element) => format!("array of {}", kind_name(element)),
        Kind::Enum(_) => "enum".to_owned(),
        Kind::Encoded(spelling) => format!("text of {}", words(&format!("{spelling:?}"))),
        Kind::Figure(form, _) => words(&format!("{form:?}")),
        Kind::Unsupported(name) => name.clone(),
        Kind::Either(_) => kind_name(kind.of_value()),
        plain => words(&format!("{plain:?}")),
    }
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Millis => "ms",
        Unit::Micros => "µs",
        Unit::Nanos | Unit::WholeMicrosInNanos => "ns",
    }
}

/// Spells `ZonedTimestamp` as `zoned timestamp`.
fn words(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use expect_test::{Expect, expect};
    use serde::Deserialize;

    use super::*;
    use crate::decode::RegisteredSchema;
    use crate::decode::value::spelling::Spelling;
    use crate::record::{Run, TopicPartition};

    #[derive(Deserialize)]
    struct Fixture {
        topic: String,
        key: Option<String>,
        value: Option<String>,
        #[serde(default)]
        headers: Vec<(String, Option<String>)>,
    }

    fn decoder() -> Decoder {
        decoder_of(include_str!("../../tests/fixtures/avro/schemas.json"))
    }

    fn decoder_of(schemas: &str) -> Decoder {
        let schemas = serde_json::from_str::<BTreeMap<u32, String>>(schemas).unwrap();
        let mut decoder = Decoder::default();
        for (id, text) in schemas {
            let id = SchemaId::Plain(id);
            decoder.learn_schema(id, Some(RegisteredSchema { text, references: Vec::new() }));
        }
        decoder
    }

    fn inspect(decoder: &Decoder, fixture: &str) -> Result<Inspected, SchemaId> {
        let fixture = serde_json::from_str::<Fixture>(fixture).unwrap();
        let bytes =
            |text: &Option<String>| text.as_ref().map(|text| STANDARD.decode(text).unwrap());
        let (key, value) = (bytes(&fixture.key), bytes(&fixture.value));
        let mut run = Run::new(TopicPartition::new(fixture.topic.as_str(), 0), 0);
        let headers = fixture.headers.iter().map(|(name, value)| (name, bytes(value)));
        let headers = headers.collect::<Vec<_>>();
        let headers = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref()));
        run.push((0, None), key.as_deref(), value.as_deref(), headers);
        decoder.inspect(&fixture.topic, run.get(0).unwrap())
    }

    /// Shows a record on a few lines, as commands do.
    fn check(fixture: &str, expected: &Expect) {
        let seen = inspect(&decoder(), fixture).unwrap();
        let (op, key) = (seen.op.unwrap_or_default(), seen.key.unwrap_or_default());
        let mut text = format!("{} {:?} {op} {key}\n", seen.format.unwrap(), seen.schema_id);
        for (name, row) in [("before", &seen.before), ("after", &seen.after)] {
            let (Some(row), Some(source)) = (row, &seen.source) else { continue };
            let columns = source.columns.iter().map(|column| {
                let shown = readable(&column.kind, &row[&column.name], |value| match value {
                    Value::Decimal(_) => Some("a decimal".to_owned()),
                    other => Some(format!("{other:?}")),
                });
                let source_type = source_type(column).unwrap_or_default();
                format!("  {} {source_type} {shown}\n", column.name)
            });
            text.extend([format!("{name} {}\n", source.name)].into_iter().chain(columns));
        }
        expected.assert_eq(&text);
    }

    #[test]
    fn json_is_laid_open_by_the_schema_in_it() {
        check(
            include_str!("../../tests/fixtures/json/orders-create.json"),
            &expect![[r#"
            json None c {"id":9001}
            after dbserver1.public.orders
              id int64 9001
              user_id int64 1
              status text "new"
              amount decimal(12,2) "a decimal"
              quantity int32 3
              note text "first"
              created_at timestamp in µs "Timestamp(Finite { seconds: 1714979289, nanos: 123456000 })"
              updated_at zoned timestamp "TimestampZoned(Finite { seconds: 1714979289, nanos: 500000000 })"
        "#]],
        );
    }

    #[test]
    fn avro_is_laid_open_by_the_registered_schema() {
        check(
            include_str!("../../tests/fixtures/avro/orders-create.json"),
            &expect![[r#"
                avro Some(Plain(4)) c {"id":9001}
                after dbserver1_avro.public.orders
                  id int64 9001
                  user_id int64 1
                  status text "new"
                  amount decimal(12,2) "a decimal"
                  quantity int32 3
                  note text "first"
                  created_at timestamp in µs "Timestamp(Finite { seconds: 1714979289, nanos: 123456000 })"
                  updated_at zoned timestamp "TimestampZoned(Finite { seconds: 1714979289, nanos: 500000000 })"
            "#]],
        );
        check(
            include_str!("../../tests/fixtures/avro/employees-delete.json"),
            &expect![[r#"
                avro Some(Plain(6)) d {"emp_id":9001}
                before dbserver1_avro.public.employees
                  emp_id int32 9001
                  first_name text ""
                  last_name text ""
                  dob date "Date(Finite(0))"
                  city text null
                  salary variable scale decimal "a decimal"
            "#]],
        );
    }

    #[test]
    fn json_without_a_schema_says_no_types() {
        check(
            include_str!("../../tests/fixtures/plain/orders-create.json"),
            &expect![[r#"
            json without schema None c {"id":9001}
            after dbserver1_plain.public.orders
              id  9001
              user_id  1
              status  "new"
              amount  "/w=="
              quantity  3
              note  "first"
              created_at  1714979289123456
              updated_at  "2024-05-06T07:08:09.500000Z"
        "#]],
        );
    }

    #[test]
    fn flat_records_and_cloud_events_are_laid_open() {
        let decoder = &decoder();
        let shown_by = |decoder: &Decoder, fixture| {
            let seen = inspect(decoder, fixture).unwrap();
            let after = seen.after.map(|row| row["name"].clone());
            format!("{:?} {:?} {:?}", seen.op, seen.before.map(|row| row["id"].clone()), after)
        };
        let shown = |fixture| shown_by(decoder, fixture);
        let flat = include_str!("../../tests/fixtures/flat/rewrite-delete.json");
        assert_eq!(shown(flat), r#"Some("d") None Some(String(""))"#);
        let headed = include_str!("../../tests/fixtures/flat/tombstone-update.json");
        assert_eq!(shown(headed), r#"Some("u") None Some(String("Alan"))"#);
        let with_schema = include_str!("../../tests/fixtures/cloudevents/schema-create.json");
        assert_eq!(shown(with_schema), r#"Some("c") None Some(String("Alan"))"#);
        let plain = include_str!("../../tests/fixtures/cloudevents/plain-delete.json");
        assert_eq!(shown(plain), r#"Some("d") Some(Number(9001)) None"#);
        let avro = &decoder_of(include_str!("../../tests/fixtures/cloudevents/schemas.json"));
        let framed = include_str!("../../tests/fixtures/cloudevents/json-avro-create.json");
        assert_eq!(shown_by(avro, framed), r#"Some("c") None Some(String("Alan"))"#);
        let whole = include_str!("../../tests/fixtures/cloudevents/avro-avro-update.json");
        assert_eq!(shown_by(avro, whole), r#"Some("u") None Some(String("Alan"))"#);
    }

    #[test]
    fn records_that_are_no_rows_are_named() {
        check(
            include_str!("../../tests/fixtures/avro/users-tombstone.json"),
            &expect![[r#"
                avro Some(Plain(1)) tombstone {"id":9002}
            "#]],
        );
        check(
            include_str!("../../tests/fixtures/json/heartbeat.json"),
            &expect![[r#"
            json None heartbeat {"serverName":"dbserver1"}
        "#]],
        );
        check(
            include_str!("../../tests/fixtures/plain/transaction-begin.json"),
            &expect![[r#"
            json without schema None transaction {"id":"948:32502200"}
        "#]],
        );
        check(
            include_str!("../../tests/fixtures/mariadb/schema-change.json"),
            &expect![[r#"
            json None schema_change {"databaseName":"inventory"}
        "#]],
        );
    }

    #[test]
    fn types_have_names_for_people() {
        let name = |kind: Kind| {
            let column =
                SourceColumn { name: "c".to_owned(), kind, optional: true, source_type: None };
            source_type(&column).unwrap_or_default()
        };
        let decimal = Kind::Decimal { scale: 2, precision: Some(10) };
        assert_eq!(name(Kind::Array(Box::new(decimal))), "array of decimal(10,2)");
        assert_eq!(name(Kind::Encoded(Spelling::Hex)), "text of hex");
        assert_eq!(name(Kind::StructuredZonedTime), "structured zoned time");
        assert_eq!(name(Kind::Untyped), "");
    }

    #[test]
    fn a_schema_that_is_not_known_is_asked_for() {
        let fixture = include_str!("../../tests/fixtures/avro/orders-create.json");
        assert_eq!(inspect(&Decoder::default(), fixture).unwrap_err(), SchemaId::Plain(3));
    }

    #[test]
    fn octets_that_are_no_record_are_not_there() {
        let fixture = r#"{"topic": "t", "key": null, "value": "/w=="}"#;
        let seen = inspect(&decoder(), fixture).unwrap();
        assert_eq!((seen.format, seen.op, seen.after), (None, None, None));
    }
}
