//! Avro as trees, for those who look at a record; the path of a row builds none.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use crate::decode::avro::Cursor;
use crate::decode::schema::avro::{Reader, RecordField};

/// Reads a whole value as the tree that JSON would carry for it, octets as base64; `None` when the
/// bytes do not follow their schema.
pub fn read(body: &[u8], reader: &Reader) -> Option<Json> {
    let mut cursor = Cursor(body);
    let tree = cursor.tree(reader)?;
    cursor.0.is_empty().then_some(tree)
}

impl Cursor<'_> {
    fn tree(&mut self, reader: &Reader) -> Option<Json> {
        Some(match reader {
            Reader::Null => Json::Null,
            Reader::Bool => match self.array()? {
                [0] => Json::Bool(false),
                [1] => Json::Bool(true),
                _ => return None,
            },
            Reader::Int => self.long()?.into(),
            // By its shortest digits, so that 0.1 stays 0.1.
            Reader::Float => double(f32::from_le_bytes(self.array()?).to_string().parse().ok()?),
            Reader::Double => double(f64::from_le_bytes(self.array()?)),
            Reader::Bytes => STANDARD.encode(self.bytes()?).into(),
            Reader::Fixed(size) => STANDARD.encode(self.take(*size)?).into(),
            Reader::Text => std::str::from_utf8(self.bytes()?).ok()?.into(),
            Reader::Enum(symbols) => {
                let index = usize::try_from(self.long()?).ok()?;
                symbols.get(index)?.as_str().into()
            }
            Reader::Array(items) => {
                let mut list = Vec::new();
                self.blocks(|cursor| cursor.tree(items).map(|item| list.push(item)))?;
                list.into()
            }
            Reader::Map(values) => {
                let mut map = serde_json::Map::new();
                self.blocks(|cursor| {
                    let name = std::str::from_utf8(cursor.bytes()?).ok()?;
                    map.insert(name.to_owned(), cursor.tree(values)?);
                    Some(())
                })?;
                map.into()
            }
            Reader::Record(fields) => {
                let named = |field: &RecordField| {
                    let reader = self.reader(field)?;
                    Some((field.name.clone(), self.tree(reader)?))
                };
                Json::Object(fields.iter().map(named).collect::<Option<_>>()?)
            }
            Reader::Union(branches) => {
                let branch = self.branch(branches)?;
                return self.tree(branch);
            }
        })
    }
}

/// Spells the doubles that JSON has no number for as the JSON converter does.
fn double(value: f64) -> Json {
    match serde_json::Number::from_f64(value) {
        Some(number) => Json::Number(number),
        None if value.is_nan() => "NaN".into(),
        None if value > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::decode::RegisteredSchema;
    use crate::decode::schema::avro::compile;

    #[test]
    fn unions_are_read_and_skipped_in_any_order() {
        let field = |name: &str, union: Json| json!({"name": name, "type": union});
        let fields = [
            field("first", json!(["null", "long"])),
            field("last", json!(["long", "null"])),
            field("of_three", json!(["null", "string", "long"])),
            field("alone", json!(["null"])),
        ];
        let text = json!({"type": "record", "name": "r", "fields": fields}).to_string();
        let compiled = compile(&RegisteredSchema { text, references: Vec::new() }).unwrap();
        let check = |bytes: &[u8], expected: Option<Json>| {
            let mut cursor = Cursor(bytes);
            let skipped = cursor.skip(&compiled.reader).filter(|()| cursor.0.is_empty());
            assert_eq!(skipped.is_some(), expected.is_some(), "{bytes:?}");
            assert_eq!(read(bytes, &compiled.reader), expected, "{bytes:?}");
        };
        let row = |first: Json, last: Json, of_three: Json| json!({"first": first, "last": last, "of_three": of_three, "alone": null});
        check(&[2, 4, 0, 6, 4, 8, 0], Some(row(json!(2), json!(3), json!(4))));
        check(&[2, 4, 0, 6, 2, 2, b'x', 0], Some(row(json!(2), json!(3), json!("x"))));
        check(&[0, 2, 0, 0], Some(row(Json::Null, Json::Null, Json::Null)));
        // A branch that is none of the union's.
        check(&[4, 2, 0, 0], None);
        check(&[1, 2, 0, 0], None);
        check(&[0, 4, 0, 0], None);
        check(&[0, 2, 6, 0], None);
        check(&[0, 2, 0, 2], None);
    }
}
