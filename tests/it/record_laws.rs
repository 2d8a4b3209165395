//! Whatever a row is, the server has of its record what it makes of the row's literal: bytes go in at
//! the broker, texts come out of PostgreSQL, in each format.

use apache_avro::Schema;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value as Json, json};

use crate::framing::{Subjects, confluent};
use crate::postgres_laws::{COLUMNS, Row, any_rows, differing};
use crate::support::kafka::{Draft, produce};
use crate::support::{LATER, World, until};

/// So many that the last batches of each topic are copied.
const ROWS: usize = 600;

/// The settings that the records are sent with.
const SETTINGS: &str = r#"time_precision_mode = "adaptive"
decimal_handling_mode = "precise"
binary_handling_mode = "bytes"
interval_handling_mode = "string"
money_fraction_digits = 2
"#;

#[test]
fn a_records_bytes_become_what_the_server_makes_of_the_rows_literal() {
    let world = World::new("laws");
    let rows = any_rows(ROWS);
    let settings = format!("[source.\"{}\"]\n{SETTINGS}", world.name);
    for table in ["json", "plain", "avro"] {
        world.target.run(&format!(
            "CREATE TABLE public.{table} ({COLUMNS}, synced_at timestamptz);
             GRANT SELECT, INSERT, UPDATE, DELETE ON public.{table} TO writer"
        ));
    }
    let numbered = || (0..).zip(&rows);
    let json = numbered().map(|(id, row)| {
        let framed =
            |schema: Json, payload: String| format!(r#"{{"schema":{schema},"payload":{payload}}}"#);
        let key = framed(key_schema(), key(id));
        draft(key, framed(envelope_schema(), envelope(id, row)))
    });
    let plain = numbered().map(|(id, row)| draft(key(id), envelope(id, row)));
    produce(&world.topic("public.json", &[]), 0, &json.collect::<Vec<_>>());
    produce(&world.topic("public.plain", &[]), 0, &plain.collect::<Vec<_>>());
    let mut subjects = Subjects::default();
    let avro = in_avro(&mut subjects, &world.name, &rows);
    produce(&world.topic("public.avro", &[]), 0, &avro);

    let member = world.member("member").config(&settings).start();

    world.until_at_ends(&world.name);
    assert_eq!(world.dead_letters(), []);
    for table in ["json", "plain", "avro"] {
        let count = format!("SELECT count(*) FROM public.{table}");
        until(LATER, table, || world.target.number(&count) == i64::try_from(ROWS).unwrap());
        let query = differing(&format!("public.{table}"), &rows);
        assert_eq!(world.target.rows(&query), Vec::<Vec<Option<String>>>::new(), "{table}");
    }
    drop(member);
}

fn draft(key: String, value: String) -> Draft {
    Draft { key: Some(key.into()), value: Some(value.into()), headers: Vec::new() }
}

fn key(id: i64) -> String {
    format!(r#"{{"id":{id}}}"#)
}

/// Spells a created row, its fields in the schema's order.
fn envelope(id: i64, row: &Row) -> String {
    let decimal = |unscaled: i128| BASE64_STANDARD.encode(octets(unscaled));
    // As Connect prints it, not widened.
    let single = serde_json::from_str::<Json>(&format!("{:e}", row.single)).unwrap();
    let number = format!(r#"{{"scale":{},"value":"{}"}}"#, row.scale, decimal(row.unscaled));
    let after = [
        ("id", json!(id).to_string()),
        ("n", number),
        ("d", json!(row.days).to_string()),
        ("ts", json!(row.micros_since_1970()).to_string()),
        ("tz", json!(row.moment()).to_string()),
        ("t", json!(row.micros).to_string()),
        ("iv", json!(row.span()).to_string()),
        ("f8", json!(row.double).to_string()),
        ("f4", single.to_string()),
        ("tx", json!(row.text).to_string()),
        ("by", json!(BASE64_STANDARD.encode(&row.octets)).to_string()),
        ("a", json!(row.numbers).to_string()),
        ("u", json!(decimal(row.unsigned.into())).to_string()),
        ("m", json!(decimal(row.unsigned.cast_signed().into())).to_string()),
    ];
    let after = after.map(|(name, value)| format!(r#""{name}":{value}"#)).join(",");
    format!(r#"{{"op":"c","source":{{"connector":"postgresql"}},"after":{{{after}}}}}"#)
}

/// Returns a number's octets, the highest first and none too many, as `BigInteger` does.
fn octets(number: i128) -> Vec<u8> {
    let octets = number.to_be_bytes();
    let sign = if number < 0 { 0xff } else { 0 };
    let is_idle = |pair: &[u8]| pair[0] == sign && (pair[1] ^ sign) < 0x80;
    let idle = octets.windows(2).take_while(|pair| is_idle(pair)).count();
    octets[idle..].to_vec()
}

/// A column's name, its literal and name in Connect, and what else its schema says.
fn fields() -> [Json; 14] {
    let plain = |field: &str, literal: &str| json!({"field": field, "type": literal});
    let named = |field: &str, literal: &str, name: &str| json!({"field": field, "type": literal, "name": name});
    let decimal = |field: &str, precision: &str, scale: &str| {
        json!({"field": field, "type": "bytes", "name": "org.apache.kafka.connect.data.Decimal",
            "parameters": {"scale": scale, "connect.decimal.precision": precision}})
    };
    [
        plain("id", "int64"),
        json!({"field": "n", "type": "struct", "name": "io.debezium.data.VariableScaleDecimal",
            "fields": [plain("scale", "int32"), plain("value", "bytes")]}),
        named("d", "int32", "io.debezium.time.Date"),
        named("ts", "int64", "io.debezium.time.MicroTimestamp"),
        named("tz", "string", "io.debezium.time.ZonedTimestamp"),
        named("t", "int64", "io.debezium.time.MicroTime"),
        named("iv", "string", "io.debezium.time.Interval"),
        plain("f8", "double"),
        plain("f4", "float"),
        plain("tx", "string"),
        plain("by", "bytes"),
        json!({"field": "a", "type": "array", "items": {"type": "int64", "optional": true}}),
        decimal("u", "20", "0"),
        decimal("m", "19", "2"),
    ]
}

fn key_schema() -> Json {
    json!({"type": "struct", "fields": [{"field": "id", "type": "int64"}]})
}

fn envelope_schema() -> Json {
    let source = json!([{"field": "connector", "type": "string"}]);
    json!({"type": "struct", "name": "laws.Envelope", "fields": [
        {"field": "op", "type": "string"},
        {"field": "source", "type": "struct", "fields": source},
        {"field": "after", "type": "struct", "optional": true, "fields": fields()},
    ]})
}

/// Says in Avro what a field's schema in Connect says.
fn avro_field(field: &Json) -> Json {
    let literal = match field["type"].as_str().unwrap() {
        "int64" => json!("long"),
        "int32" => json!("int"),
        "array" => json!({"type": "array", "items": ["null", "long"]}),
        "struct" => {
            let inner = field["fields"].as_array().unwrap().iter().map(avro_field);
            json!({"type": "record", "name": "Inner", "fields": inner.collect::<Vec<_>>()})
        }
        other => json!(other),
    };
    let mut schema = if literal.is_object() { literal } else { json!({"type": literal}) };
    if !field["name"].is_null() {
        schema["connect.name"] = field["name"].clone();
        schema["connect.parameters"] = field["parameters"].clone();
    }
    json!({"name": field["field"], "type": schema})
}

/// Frames the rows as Confluent's converter does, under subjects of the world's.
fn in_avro(subjects: &mut Subjects, name: &str, rows: &[Row]) -> Vec<Draft> {
    let record = |record: &str, fields: Json| json!({"type": "record", "name": record, "namespace": name, "fields": fields});
    let row = record("Row", fields().iter().map(avro_field).collect());
    let source = record("Source", json!([{"name": "connector", "type": "string"}]));
    let key = record("Key", json!([{"name": "id", "type": "long"}]));
    let value = record(
        "Envelope",
        json!([{"name": "op", "type": "string"}, {"name": "source", "type": source},
            {"name": "after", "type": ["null", row]}]),
    );
    let framing = [("key", key), ("value", value)].map(|(side, schema)| {
        let id = subjects.register(&format!("{name}-{side}"), &schema, &json!([]));
        (id, Schema::parse(&schema).unwrap())
    });
    let framed = |(id, schema): &(u32, Schema), value: Avro| {
        let writer = GenericDatumWriter::builder(schema).build().unwrap();
        let body = writer.write_value_to_vec(value).unwrap();
        Some(confluent(*id, &body))
    };
    let [key, value] = &framing;
    let draft = |(id, row): (i64, &Row)| Draft {
        key: framed(key, named([("id", Avro::Long(id))])),
        value: framed(value, avro_envelope(id, row)),
        headers: Vec::new(),
    };
    (0..).zip(rows).map(draft).collect()
}

fn named<const N: usize>(fields: [(&str, Avro); N]) -> Avro {
    Avro::Record(fields.map(|(name, value)| (name.to_owned(), value)).into())
}

fn avro_envelope(id: i64, row: &Row) -> Avro {
    let number = |number: &Option<i64>| match number {
        None => Avro::Union(0, Avro::Null.into()),
        Some(number) => Avro::Union(1, Avro::Long(*number).into()),
    };
    let decimal = |unscaled: i128| Avro::Bytes(octets(unscaled));
    let after = named([
        ("id", Avro::Long(id)),
        ("n", named([("scale", Avro::Int(row.scale)), ("value", decimal(row.unscaled))])),
        ("d", Avro::Int(row.days)),
        ("ts", Avro::Long(row.micros_since_1970())),
        ("tz", Avro::String(row.moment())),
        ("t", Avro::Long(row.micros)),
        ("iv", Avro::String(row.span())),
        ("f8", Avro::Double(row.double)),
        ("f4", Avro::Float(row.single)),
        ("tx", Avro::String(row.text.clone())),
        ("by", Avro::Bytes(row.octets.clone())),
        ("a", Avro::Array(row.numbers.iter().map(number).collect())),
        ("u", decimal(row.unsigned.into())),
        ("m", decimal(row.unsigned.cast_signed().into())),
    ]);
    named([
        ("op", Avro::String("c".to_owned())),
        ("source", named([("connector", Avro::String("postgresql".to_owned()))])),
        ("after", Avro::Union(1, after.into())),
    ])
}
