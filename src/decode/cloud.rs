//! CloudEvents: the images of the row are `data`, in a frame or a format of its own, and what an
//! envelope says besides stands beside them in attributes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::decode::flat::with_literal;
use crate::decode::found::Found;
use crate::decode::schema::connect::Field;
use crate::decode::schema::envelope::{Origin, op};
use crate::decode::schema::json::{fields, untyped};
use crate::decode::value::kind::SourceName;
use crate::decode::value::semantic::Literal;

/// What the names of Debezium's attributes begin with.
pub const PREFIX: &str = "iodebezium";

/// A CloudEvent of Debezium's converter in JSON, with the attributes that are used.
#[derive(Debug, Deserialize)]
pub struct CloudEvent<'a> {
    #[serde(rename = "specversion")]
    _version: IgnoredAny,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow, rename = "iodebeziumop")]
    op: Option<&'a RawValue>,
    #[serde(borrow, rename = "iodebeziumconnector")]
    connector: Option<&'a RawValue>,
    #[serde(borrow, rename = "iodebeziumname")]
    name: Option<&'a RawValue>,
    #[serde(borrow, rename = "iodebeziumdb")]
    db: Option<&'a RawValue>,
    #[serde(borrow, rename = "iodebeziumschema")]
    schema: Option<&'a RawValue>,
    #[serde(borrow, rename = "iodebeziumtable")]
    table: Option<&'a RawValue>,
    #[serde(borrow, rename = "iodebeziumtsms")]
    ts_ms: Option<&'a RawValue>,
    #[serde(borrow, rename = "iodebeziumlsn")]
    lsn: Option<&'a RawValue>,
    #[serde(borrow, rename = "iodebeziumfile")]
    file: Option<&'a RawValue>,
    #[serde(borrow, rename = "iodebeziumpos")]
    pos: Option<&'a RawValue>,
    #[serde(borrow, rename = "iodebeziumrow")]
    row: Option<&'a RawValue>,
    #[serde(borrow, rename = "iodebeziumtxId")]
    tx_id: Option<&'a RawValue>,
}

/// The images of a CloudEvent.
#[derive(Debug)]
pub enum Data<'a> {
    /// An object, or an object with its schema.
    Json(&'a str),
    /// Framed Avro.
    Binary(Vec<u8>),
}

impl<'a> CloudEvent<'a> {
    /// Reads a CloudEvent; `None` for any other text.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(bytes).ok()
    }

    /// Returns the images; `None` when they are neither an object nor base64.
    pub fn data(&self) -> Option<Data<'a>> {
        let text = self.data.get();
        let Some(base64) = text.strip_prefix('"') else { return Some(Data::Json(text)) };
        STANDARD.decode(base64.strip_suffix('"')?).ok().map(Data::Binary)
    }

    /// Returns where the images come from.
    pub fn origin(&self) -> Origin {
        let mut origin = Origin::default();
        for (attribute, raw) in self.attributes() {
            with_literal(raw.get(), |said| {
                if let Literal::Text(text) = said {
                    place(attribute, text, &mut origin);
                }
            });
        }
        origin
    }

    /// Notes what the attributes say; `false` when they name another table.
    pub fn note(&self, source: &SourceName, found: &mut Found) -> bool {
        let mut attributes = self.attributes();
        attributes.all(|(attribute, raw)| {
            with_literal(raw.get(), |said| note(attribute, said, source, found))
        })
    }

    fn attributes(&self) -> impl Iterator<Item = (&'static str, &'a RawValue)> {
        let attributes = [
            ("op", self.op),
            ("connector", self.connector),
            ("name", self.name),
            ("db", self.db),
            ("schema", self.schema),
            ("table", self.table),
            ("tsms", self.ts_ms),
            ("lsn", self.lsn),
            ("file", self.file),
            ("pos", self.pos),
            ("row", self.row),
            ("txId", self.tx_id),
        ];
        attributes.into_iter().filter_map(|(name, raw)| Some((name, raw?)))
    }
}

/// Notes what an attribute says, by its name behind [`PREFIX`]; `false` when it names another table.
pub fn note(attribute: &str, said: Literal<'_>, source: &SourceName, found: &mut Found) -> bool {
    match (attribute, said) {
        ("op", Literal::Text(letter)) => found.letter = op(letter),
        ("schema", Literal::Text(name)) => return name == source.schema,
        ("table", Literal::Text(name)) => return name == source.table,
        ("db", Literal::Text(name)) => {
            return source.database.as_deref().is_none_or(|database| database == name);
        }
        ("tsms", said) => found.source_time = number(said),
        ("lsn", said) => found.lsn = number(said),
        ("file", Literal::Text(file)) => found.file = Some(file.to_owned()),
        ("pos", said) => found.pos = number(said),
        ("row", said) => found.row = number(said),
        ("txId", said) => found.transaction = number(said),
        _ => {}
    }
    true
}

/// Takes over what an attribute says of where a row comes from.
pub fn place(attribute: &str, text: &str, origin: &mut Origin) {
    match attribute {
        "op" => origin.is_truncate = text == "t",
        "connector" => origin.connector = Some(text.to_owned()),
        "name" => text.clone_into(&mut origin.server),
        "db" => origin.database = Some(text.to_owned()),
        "schema" => origin.schema = Some(text.to_owned()),
        "table" => origin.table = Some(text.to_owned()),
        _ => {}
    }
}

/// Reads a number, which the converter to JSON writes as a text.
fn number(said: Literal<'_>) -> Option<i64> {
    match said {
        Literal::Int(number) => Some(number),
        Literal::Text(text) => text.parse().ok(),
        _ => None,
    }
}

/// Returns whether a schema is that of a CloudEvent in Avro.
pub fn is_event(value: &Field) -> bool {
    let name = value.schema_name.as_deref().unwrap_or_default();
    name.ends_with("CloudEvents.Envelope") && value.field("data").is_some()
}

/// Describes an envelope whose images are those of `data`, given the schema of `data`.
pub fn envelope(data: Field) -> Field {
    Field { schema_name: Some(".Envelope".to_owned()), ..data }
}

/// Describes an envelope by images without a schema; `None` when they are no object.
pub fn plain_envelope(data: &str) -> Option<Field> {
    let images = fields(data)?;
    let image = |name: &str| images.iter().find(|(it, _)| it == name);
    let row = |name: &str| image(name).and_then(|(_, row)| fields(row.get()));
    let row = row("after").or_else(|| row("before")).unwrap_or_default();
    let names = row.into_iter().map(|(name, _)| name).collect();
    let mut described = envelope(untyped(vec!["before".to_owned(), "after".to_owned()]));
    if let Some(after) = described.fields.last_mut() {
        after.fields = untyped(names).fields;
    }
    Some(described)
}
