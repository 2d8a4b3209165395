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
                let named =
                    |field: &RecordField| Some((field.name.clone(), self.tree(&field.reader)?));
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
