//! JSON, looked at once a schema: the schema block, the fields' names, the origin.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::decode::schema::connect::{Field, UNTYPED};
use crate::decode::schema::envelope::{Origin, side_object, side_topic_name};

/// A text of JSON with its schema taken off.
#[derive(Debug)]
pub struct Framed<'a> {
    /// Everything before the payload: the same bytes mean the same schema.
    pub prefix: &'a [u8],
    /// The schema, if the text carries one that is not null.
    pub schema: Option<Field>,
    /// The payload's text.
    pub payload: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Frame<'a> {
    #[serde(borrow)]
    schema: &'a RawValue,
    #[serde(borrow)]
    payload: &'a RawValue,
}

/// Splits `{"schema":…,"payload":…}`; `None` for any other text, which has no schema.
///
/// # Errors
///
/// The text is a frame, and its schema cannot be read; the reason.
pub fn split(bytes: &[u8]) -> Result<Option<Framed<'_>>, String> {
    let Ok(frame) = serde_json::from_slice::<Frame<'_>>(bytes) else { return Ok(None) };
    let payload = frame.payload.get();
    let at = payload.as_ptr().addr().saturating_sub(bytes.as_ptr().addr());
    if frame.schema.get().as_ptr() > payload.as_ptr() {
        return Err("the schema stands behind the payload".to_owned());
    }
    let prefix = bytes.get(..at).unwrap_or_default();
    let schema = serde_json::from_str::<Option<Block>>(frame.schema.get());
    let schema = schema.map_err(|error| format!("the schema block cannot be read: {error}"))?;
    Ok(Some(Framed { prefix, schema: schema.map(Field::from), payload }))
}

/// Takes the payload off a text that begins with a known prefix.
pub fn payload_behind<'a>(bytes: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    bytes.strip_prefix(prefix)?.trim_ascii_end().strip_suffix(b"}")
}

/// Connect's JSON form of a schema.
#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type")]
    literal: String,
    #[serde(default)]
    optional: bool,
    name: Option<String>,
    field: Option<String>,
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    #[serde(default)]
    fields: Vec<Block>,
    #[serde(alias = "items")]
    values: Option<Box<Block>>,
}

impl From<Block> for Field {
    fn from(block: Block) -> Self {
        Self {
            name: block.field.unwrap_or_default(),
            literal: block.literal,
            schema_name: block.name,
            parameters: block.parameters,
            is_optional: block.optional,
            fields: block.fields.into_iter().map(Self::from).collect(),
            element: block.values.map(|values| Box::new(Self::from(*values))),
        }
    }
}

/// Returns the names of an object's fields in their order, each with its value's text.
pub fn fields(text: &str) -> Option<Vec<(String, &RawValue)>> {
    struct Fields<'a>(Vec<(String, &'a RawValue)>);
    impl<'de> Deserialize<'de> for Fields<'de> {
        fn deserialize<D: serde::Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
            json.deserialize_map(Visitor)
        }
    }
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Fields<'de>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut map: A,
        ) -> Result<Fields<'de>, A::Error> {
            let mut fields = Vec::new();
            while let Some(field) = map.next_entry()? {
                fields.push(field);
            }
            Ok(Fields(fields))
        }
    }
    serde_json::from_str::<Fields<'_>>(text).ok().map(|fields| fields.0)
}

/// Returns where an envelope comes from.
pub fn origin(payload: &str) -> Origin {
    #[derive(Deserialize, Default)]
    struct Envelope {
        source: Option<Source>,
        op: Option<String>,
    }
    #[derive(Deserialize, Default)]
    struct Source {
        #[serde(default)]
        name: Option<String>,
        connector: Option<String>,
        db: Option<String>,
        schema: Option<String>,
        table: Option<String>,
    }
    let Envelope { source, op } = serde_json::from_str(payload).unwrap_or_default();
    let Source { name, connector, db, schema, table } = source.unwrap_or_default();
    let is_truncate = op.as_deref() == Some("t");
    let server = name.unwrap_or_default();
    let mut origin = Origin { server, database: db, schema, table, connector, is_truncate };
    for (name, value) in fields(payload).unwrap_or_default() {
        if let Some(part) = origin.added(&name) {
            *part = serde_json::from_str(value.get()).unwrap_or_default();
        }
    }
    origin
}

/// Describes an object without a schema: its fields, of unknown types.
pub fn untyped(names: Vec<String>) -> Field {
    let field = |name: String| Field {
        name,
        literal: UNTYPED.to_owned(),
        schema_name: None,
        parameters: BTreeMap::new(),
        is_optional: true,
        fields: Vec::new(),
        element: None,
    };
    let fields = names.into_iter().map(field).collect();
    Field { fields, ..field(String::new()) }
}

/// Describes a JSON object without a schema as a schema would: an envelope around a row, or a row.
pub fn plain(object: Vec<(String, &RawValue)>) -> Field {
    let names = |text: &str| {
        let object = fields(text)?;
        Some(object.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
    };
    let find = |name: &str| object.iter().find(|(it, _)| it == name).map(|(_, value)| value.get());
    let row = find("after").and_then(names).or_else(|| find("before").and_then(names));
    let is_envelope = find("op").is_some() && (row.is_some() || find("source").is_some());
    let all = object.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let ignored = side_object(&all);
    let mut described = untyped(all);
    if let Some(ignored) = ignored {
        described.schema_name = Some(side_topic_name(ignored).to_owned());
    } else if is_envelope {
        described.schema_name = Some(".Envelope".to_owned());
        if let Some(after) = described.fields.iter_mut().find(|field| field.name == "after") {
            after.fields = untyped(row.unwrap_or_default()).fields;
        }
    }
    described
}
