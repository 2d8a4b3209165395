//! Frames of Avro: what names a record's schema, before its bytes or in a header.

use std::fmt;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::record::Record;

/// What names a schema in a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SchemaId {
    /// Confluent's id, which Apicurio answers to as well.
    Plain(u32),
    /// Confluent's newer id, which is the same in every registry.
    Guid(Uuid),
    /// Apicurio's `globalId`: one version of one artifact.
    Global(i64),
    /// Apicurio's `contentId`: one text.
    Content(i64),
    /// Apicurio's id in eight bytes, which does not say which of the two it is.
    Wide(i64),
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(id) => id.fmt(f),
            Self::Guid(id) => id.fmt(f),
            Self::Global(id) => write!(f, "globalId {id}"),
            Self::Content(id) => write!(f, "contentId {id}"),
            Self::Wide(id) => write!(f, "{id} of eight bytes"),
        }
    }
}

impl Serialize for SchemaId {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(id) => out.serialize_u32(*id),
            other => out.collect_str(other),
        }
    }
}

/// A record's value or key.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// The schema that a header names: the bytes then have no frame.
    pub id: Option<SchemaId>,
}

impl<'a> Part<'a> {
    /// Stands for bytes that no header is about.
    pub fn alone(bytes: &'a [u8]) -> Self {
        Self { bytes, id: None }
    }

    /// Takes the frame off; `None` for what is no framed Avro.
    pub fn frame(&self) -> Option<(SchemaId, &'a [u8])> {
        self.id.map_or_else(|| frame(self.bytes), |id| Some((id, self.bytes)))
    }
}

/// Both parts of a record.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// The value, unless the record is a tombstone.
    pub value: Option<Part<'a>>,
    /// The key, if there is one.
    pub key: Option<Part<'a>>,
}

impl<'a> Pair<'a> {
    /// Takes a record apart.
    pub fn of(record: Record<'a>) -> Self {
        let (mut value, mut key) = (InHeaders::default(), InHeaders::default());
        if !record.headers.is_context() {
            for (name, content) in record.headers.parts() {
                value.note(&VALUE, name, content);
                key.note(&KEY, name, content);
            }
        }
        let part = |bytes: Option<&'a [u8]>, named: InHeaders| {
            bytes.map(|bytes| Part { bytes, id: named.id() })
        };
        Self { value: part(record.value, value), key: part(record.key, key) }
    }
}

/// The names of the headers that are about a value or a key.
#[derive(Debug)]
struct Side {
    confluent: &'static str,
    global: &'static str,
    content: &'static str,
    encoding: &'static str,
}

/// The headers about a value.
const VALUE: Side = Side {
    confluent: "__value_schema_id",
    global: "apicurio.value.globalId",
    content: "apicurio.value.contentId",
    encoding: "apicurio.value.encoding",
};

/// The headers about a key.
const KEY: Side = Side {
    confluent: "__key_schema_id",
    global: "apicurio.key.globalId",
    content: "apicurio.key.contentId",
    encoding: "apicurio.key.encoding",
};

/// What the headers name as the schema of one part.
#[derive(Debug, Default)]
struct InHeaders {
    found: Option<SchemaId>,
    is_json: bool,
}

impl InHeaders {
    fn note(&mut self, side: &Side, name: &[u8], content: Option<&[u8]>) {
        let is = |known: &str| name == known.as_bytes();
        let wide = || content?.try_into().ok().map(i64::from_be_bytes);
        if is(side.confluent) {
            self.found = content.and_then(frame).map(|(id, _)| id);
        } else if is(side.content) {
            self.found = wide().map(SchemaId::Content);
        } else if is(side.global) {
            self.found = wide().map(SchemaId::Global).or(self.found);
        } else if is(side.encoding) {
            self.is_json |= content == Some(b"JSON");
        }
    }

    /// Returns the schema; a record that is JSON needs none to be read.
    fn id(&self) -> Option<SchemaId> {
        self.found.filter(|_| !self.is_json)
    }
}

/// Takes a frame off: a zero byte and an id of four bytes, or of eight, which begin with zeros where
/// four would be an id that no registry gives; or a one byte and a GUID.
fn frame(bytes: &[u8]) -> Option<(SchemaId, &[u8])> {
    let (magic, rest) = bytes.split_first()?;
    match (magic, rest.split_first_chunk::<4>()) {
        (0, Some(([0, 0, 0, 0], _))) => {
            let (id, body) = rest.split_first_chunk::<8>()?;
            Some((SchemaId::Wide(i64::from_be_bytes(*id)), body))
        }
        (0, Some((id, body))) => Some((SchemaId::Plain(u32::from_be_bytes(*id)), body)),
        (1, Some(_)) => {
            let (id, body) = rest.split_first_chunk::<16>()?;
            Some((SchemaId::Guid(Uuid::from_bytes(*id)), body))
        }
        _ => None,
    }
}
