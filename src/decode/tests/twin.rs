//! Twins: one value as both of Connect's converters would write it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use crate::decode::testing::{Bench, Sample};
use crate::table::Encode;

/// A row with a key and one column `v`, in both formats.
pub(super) struct Twin {
    schema: Json,
    payload: String,
    encode: Option<Encode>,
}

/// Spells a named schema.
pub(super) fn of(literal: &str, name: &str, rest: &str) -> String {
    format!(r#""type":"{literal}","name":"{name}"{rest}"#)
}

/// A decimal whose scale each value says.
pub(super) const VARIABLE: &str = r#""type":"struct","name":"io.debezium.data.VariableScaleDecimal",
    "fields":[{"type":"int32","field":"scale"},{"type":"bytes","field":"value"}]"#;

/// Spells the fields of a struct.
pub(super) fn fields(names: &[(&str, &str)]) -> String {
    let field = |(name, literal): &(&str, &str)| {
        format!(r#"{{"type":"{literal}","optional":true,"field":"{name}"}}"#)
    };
    let fields = names.iter().map(field).collect::<Vec<_>>().join(",");
    format!(r#","fields":[{fields}]"#)
}

/// Spells a decimal of a column with these.
pub(super) fn decimal(scale: i32, precision: u32) -> String {
    let parameters =
        format!(r#","parameters":{{"scale":"{scale}","connect.decimal.precision":"{precision}"}}"#);
    of("bytes", "org.apache.kafka.connect.data.Decimal", &parameters)
}

/// Spells a literal whose column's type is propagated.
pub(super) fn propagated(literal: &str, column: &str) -> String {
    format!(r#""type":"{literal}","parameters":{{"__debezium.source.column.type":"{column}"}}"#)
}

/// Decodes a value in both formats; the schema is Connect's, without its field name.
pub(super) fn check(schema: &str, payload: &str, expected: &str) {
    let twin = Twin::new(schema, payload);
    assert_eq!(twin.json(), expected, "JSON {schema} {payload}");
    assert_eq!(twin.avro(), expected, "Avro {schema} {payload}");
}

impl Twin {
    /// Takes the inside of the column's schema in Connect's JSON, and the value's JSON.
    pub(super) fn new(schema: &str, payload: &str) -> Self {
        let schema = format!(r#"{{"optional":true,"field":"v",{schema}}}"#);
        let schema = serde_json::from_str(&schema).unwrap();
        Self { schema, payload: payload.to_owned(), encode: None }
    }

    /// Has the cells written by this.
    pub(super) fn written_by(self, encode: Encode) -> Self {
        Self { encode: Some(encode), ..self }
    }

    fn bench(&self) -> Bench {
        let mut bench = Bench::default();
        bench.encode = self.encode.unwrap_or(bench.encode);
        bench
    }

    fn fields(&self) -> [Json; 2] {
        let id = json!({"type": "int32", "optional": false, "field": "id"});
        [id, self.schema.clone()]
    }

    fn envelope_schema(&self) -> Json {
        let [id, v] = self.fields();
        let after =
            json!({"type": "struct", "optional": true, "field": "after", "fields": [id, v]});
        let op = json!({"type": "string", "optional": false, "field": "op"});
        json!({"type": "struct", "optional": false, "name": "s.public.t.Envelope", "fields": [after, op]})
    }

    fn key_schema(&self) -> Json {
        let [id, _] = self.fields();
        json!({"type": "struct", "optional": false, "fields": [id]})
    }

    /// Decodes the value through JSON with a schema.
    pub(super) fn json(&self) -> String {
        let framed =
            |schema: &Json, payload: &str| format!(r#"{{"schema":{schema},"payload":{payload}}}"#);
        let row = format!(r#"{{"after":{{"id":1,"v":{}}},"op":"c"}}"#, self.payload);
        let value = framed(&self.envelope_schema(), &row);
        let key = framed(&self.key_schema(), r#"{"id":1}"#);
        decode(&mut self.bench(), &Sample::new("s.public.t", Some(&key), Some(&value)))
    }

    /// Decodes the value through Avro.
    pub(super) fn avro(&self) -> String {
        let (key, value) = (self.key_schema(), self.envelope_schema());
        let mut bench = self.bench();
        let mut names = 0;
        bench.register(1, &avro_schema(&key, &mut names).to_string());
        bench.register(2, &avro_schema(&value, &mut names).to_string());
        let payload = serde_json::from_str::<Json>(&self.payload).unwrap();
        let row = json!({"after": {"id": 1, "v": payload}, "op": "c"});
        let framed = |id: u8, schema: &Json, payload: &Json| {
            let mut bytes = vec![0, 0, 0, 0, id];
            write(schema, payload, &mut bytes);
            bytes
        };
        let sample = Sample {
            topic: "s.public.t".to_owned(),
            key: Some(framed(1, &key, &json!({"id": 1}))),
            value: Some(framed(2, &value, &row)),
            ..Sample::default()
        };
        decode(&mut bench, &sample)
    }
}

fn decode(bench: &mut Bench, sample: &Sample) -> String {
    let line = bench.decode(sample);
    line.strip_prefix("Create t id=1 v=").unwrap_or(&line).to_owned()
}

/// Writes a schema as `AvroData` does.
fn avro_schema(schema: &Json, names: &mut u32) -> Json {
    let literal = schema["type"].as_str().unwrap();
    let mut plain = match literal {
        "int8" | "int16" => json!({"type": "int", "connect.type": literal}),
        "int32" => json!({"type": "int"}),
        "int64" => json!({"type": "long"}),
        "array" => json!({"type": "array", "items": avro_schema(&schema["items"], names)}),
        "map" if schema["keys"]["type"] == "string" => {
            json!({"type": "map", "values": avro_schema(&schema["values"], names)})
        }
        "map" => {
            let entry = ["keys", "values"].map(|side| avro_schema(&schema[side], names));
            let [key, value] = entry;
            let fields = json!([{"name": "key", "type": key}, {"name": "value", "type": value}]);
            json!({"type": "array", "items": {
                "type": "record", "name": "MapEntry",
                "namespace": "io.confluent.connect.avro", "fields": fields}})
        }
        "struct" => {
            *names += 1;
            let fields =
                schema["fields"].as_array().unwrap().iter().map(
                    |field| json!({"name": field["field"], "type": avro_schema(field, names)}),
                );
            let fields = fields.collect::<Vec<_>>();
            json!({"type": "record", "name": format!("R{names}"), "fields": fields})
        }
        plain => json!({"type": plain}),
    };
    if let Some(name) = schema["name"].as_str() {
        plain["connect.name"] = name.into();
    }
    if !schema["parameters"].is_null() {
        plain["connect.parameters"] = schema["parameters"].clone();
    }
    match (schema["optional"] == true, schema.get("default")) {
        // The branch of the default stands first.
        (true, Some(default)) => {
            plain["connect.default"] = default.clone();
            json!([plain, "null"])
        }
        (true, None) => json!(["null", plain]),
        (false, _) => plain,
    }
}

/// Writes a value's bytes by the schema that it has in Connect.
fn write(schema: &Json, value: &Json, out: &mut Vec<u8>) {
    if schema["optional"] == true {
        let has_default = schema.get("default").is_some();
        long(i64::from(value.is_null() == has_default), out);
        if value.is_null() {
            return;
        }
    }
    let float = || match value.as_str() {
        Some("NaN") => f64::NAN,
        Some("Infinity") => f64::INFINITY,
        Some(_) => f64::NEG_INFINITY,
        None => value.as_f64().unwrap(),
    };
    match schema["type"].as_str().unwrap() {
        "boolean" => out.push(value.as_bool().unwrap().into()),
        "float" => out.extend(float().to_string().parse::<f32>().unwrap().to_le_bytes()),
        "double" => out.extend(float().to_le_bytes()),
        "string" => octets(value.as_str().unwrap().as_bytes(), out),
        "bytes" => octets(&STANDARD.decode(value.as_str().unwrap()).unwrap(), out),
        "array" => {
            blocks(value.as_array().unwrap().len(), out);
            value.as_array().unwrap().iter().for_each(|item| write(&schema["items"], item, out));
            long(0, out);
        }
        "map" => {
            let pairs = match value {
                Json::Object(object) => object.iter().map(|(k, v)| (json!(k), v.clone())).collect(),
                other => {
                    let pairs = other.as_array().unwrap().iter();
                    pairs.map(|pair| (pair[0].clone(), pair[1].clone())).collect::<Vec<_>>()
                }
            };
            blocks(pairs.len(), out);
            for (key, value) in pairs {
                write(&schema["keys"], &key, out);
                write(&schema["values"], &value, out);
            }
            long(0, out);
        }
        "struct" => {
            for field in schema["fields"].as_array().unwrap() {
                write(field, &value[field["field"].as_str().unwrap()], out);
            }
        }
        _ => long(value.as_i64().unwrap(), out),
    }
}

fn blocks(count: usize, out: &mut Vec<u8>) {
    if count > 0 {
        long(i64::try_from(count).unwrap(), out);
    }
}

fn octets(octets: &[u8], out: &mut Vec<u8>) {
    long(i64::try_from(octets.len()).unwrap(), out);
    out.extend_from_slice(octets);
}

/// Writes a number in zig-zag form.
fn long(number: i64, out: &mut Vec<u8>) {
    let mut rest = (number << 1 ^ number >> 63).cast_unsigned();
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap());
}
