//! Sights: the schemas of a topic as they were met, and what records that carry them mean.

use std::sync::Arc;

use md5::{Digest as _, Md5};

use crate::decode::cloud::{CloudEvent, Data};
use crate::decode::layout::Layout;
use crate::decode::schema;
use crate::decode::schema::avro::Compiled;
use crate::decode::schema::frame::{Pair, Part};
use crate::decode::value::kind::SourceTable;
use crate::decode::{Ignored, LayoutId, SchemaId};

/// How many schemas of a topic are remembered: those of a snapshot, of the stream, of a change of
/// the table under way, of each table that is routed to the topic.
const SIGHTS_MAX: usize = 64;

/// What was met in one topic, the newest first.
#[derive(Debug, Default)]
pub(super) struct Topic(Vec<Sight>);

/// A pair of schemas, and what records that carry it mean.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) value: Mark,
    pub(super) key: Mark,
    /// What the value's id stands for.
    pub(super) schema: Option<(SchemaId, Arc<Compiled>)>,
    pub(super) known: Known,
}

/// What tells a schema without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// There is no value, or no key.
    Absent,
    /// The bytes before the payload of a framed JSON text.
    Prefix(Box<[u8]>),
    /// JSON without a schema; its fields are compared while it is walked.
    Plain,
    /// The registry's id.
    Id(SchemaId),
    /// A key that is no struct in any format.
    Opaque,
    /// A CloudEvent in JSON; the mark of its data.
    Cloud(Box<Mark>),
    /// A CloudEvent in Avro; the ids of its own schema and of its data's.
    CloudIds(SchemaId, SchemaId),
}

/// What is known of a sight's records.
#[derive(Debug)]
pub(super) enum Known {
    /// Rows, whose layout may still be asked for.
    Rows(Box<RowSight>),
    /// Nothing to write.
    Ignored(Ignored),
}

/// Rows of one table by one schema.
#[derive(Debug)]
pub(super) struct RowSight {
    pub(super) id: LayoutId,
    pub(super) source: SourceTable,
    /// Whether only the key's columns are known, from records without a row.
    pub(super) is_partial: bool,
    pub(super) layout: Option<Arc<Layout>>,
    /// Whether the target has no such table: there is nothing to delete.
    pub(super) is_absent: bool,
}

/// The part of a value or a key that holds the fields.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body<'a> {
    /// There is none.
    Absent,
    /// A JSON object, or null.
    Json(&'a [u8]),
    /// Avro, with its schema's id.
    Avro(SchemaId, &'a [u8]),
    /// A key that is no struct.
    Opaque,
    /// A CloudEvent in JSON, with the mark of its data.
    Cloud(&'a Mark, &'a [u8]),
    /// A CloudEvent in Avro, with the ids of its own schema and of its data's.
    CloudIds(SchemaId, SchemaId, &'a [u8]),
}

impl Mark {
    /// Returns what stands for a key's schema in its bytes; `None` where nothing does. The same in
    /// every version of the program: the target keeps it.
    pub(super) fn encoding(&self) -> Option<String> {
        match self {
            Self::Absent | Self::Opaque => None,
            Self::Plain => Some("JSON without a schema".to_owned()),
            Self::Prefix(prefix) => {
                let digest = Md5::digest(prefix);
                let digits = digest.iter().map(|byte| format!("{byte:02x}"));
                Some(format!("JSON with the schema {}", digits.collect::<String>()))
            }
            Self::Id(id) => Some(format!("Avro with the schema {id}")),
            Self::Cloud(data) => data.encoding(),
            Self::CloudIds(event, data) => {
                Some(format!("Avro with the schemas {event} and {data}"))
            }
        }
    }

    /// Takes off what marks the schema; `None` when the bytes carry another mark.
    pub(super) fn body<'a>(&'a self, part: Option<Part<'a>>) -> Option<Body<'a>> {
        let Some(part) = part else {
            return (*self == Self::Absent).then_some(Body::Absent);
        };
        let bytes = part.bytes;
        match self {
            Self::Absent => None,
            Self::Prefix(prefix) => schema::json::payload_behind(bytes, prefix).map(Body::Json),
            Self::Plain => {
                let is_plain = bytes.starts_with(b"{") && !bytes.starts_with(b"{\"schema\":");
                is_plain.then_some(Body::Json(bytes))
            }
            Self::Id(id) => {
                let (found, body) = part.frame()?;
                (found == *id).then_some(Body::Avro(found, body))
            }
            Self::Cloud(data) => {
                let is_ours = match CloudEvent::read(bytes)?.data()? {
                    Data::Json(text) => data.body(Some(Part::alone(text.as_bytes()))).is_some(),
                    Data::Binary(framed) => data.body(Some(Part::alone(&framed))).is_some(),
                };
                is_ours.then_some(Body::Cloud(data, bytes))
            }
            // Whose data it is shows only its walk.
            Self::CloudIds(event, data) => {
                let (found, body) = part.frame()?;
                (found == *event).then_some(Body::CloudIds(*event, *data, body))
            }
            Self::Opaque => {
                let is_struct = bytes.starts_with(b"{") || part.frame().is_some();
                (!is_struct).then_some(Body::Opaque)
            }
        }
    }
}

impl Sight {
    fn rows(&self) -> Option<&RowSight> {
        match &self.known {
            Known::Rows(rows) => Some(rows),
            Known::Ignored(_) => None,
        }
    }

    /// Takes the marks off a record's value, which may be absent, and off its key; `None` where one
    /// carries another.
    pub(super) fn bodies<'a>(&'a self, parts: Pair<'a>) -> Option<(Body<'a>, Body<'a>)> {
        let value = match parts.value {
            Some(part) => self.value.body(Some(part))?,
            None => Body::Absent,
        };
        Some((value, self.key.body(parts.key)?))
    }

    /// Returns whether a record with these marks may have a row that this does not know.
    pub(super) fn may_lack_row(&self) -> bool {
        self.rows().is_some_and(|rows| rows.is_partial)
    }
}

impl Topic {
    /// Brings the sight that fits a record to the front; `false` when none does.
    pub(super) fn find(&mut self, parts: Pair<'_>) -> bool {
        if parts.value.is_none() {
            let fits = |sight: &Sight, is_partial: bool| {
                sight.rows().is_some_and(|rows| rows.is_partial == is_partial)
                    && sight.bodies(parts).is_some()
            };
            return self.bring(|sight| fits(sight, false)) || self.bring(|sight| fits(sight, true));
        }
        self.bring(|sight| !sight.may_lack_row() && sight.bodies(parts).is_some())
    }

    /// Returns whether rows of several tables were met, among which a tombstone cannot choose.
    pub(super) fn is_shared(&self) -> bool {
        let whole = self.0.iter().filter_map(Sight::rows).filter(|rows| !rows.is_partial);
        let mut names = whole.map(|rows| &rows.source.name);
        names.next().is_some_and(|first| names.any(|name| !name.is_same_table(first)))
    }

    /// Brings a sight to the front that means the same, or puts this one there.
    pub(super) fn meet(&mut self, sight: Sight) {
        let is_same = |known: &Sight| {
            let is_meant = match (&known.known, &sight.known) {
                (Known::Rows(known), Known::Rows(sight)) => {
                    known.source == sight.source && known.is_partial == sight.is_partial
                }
                (Known::Ignored(known), Known::Ignored(sight)) => known == sight,
                _ => false,
            };
            is_meant && known.value == sight.value && known.key == sight.key
        };
        if !self.bring(is_same) {
            self.0.truncate(SIGHTS_MAX - 1);
            self.0.insert(0, sight);
        }
    }

    fn bring(&mut self, fits: impl Fn(&Sight) -> bool) -> bool {
        let Some(index) = self.0.iter().position(fits) else { return false };
        self.0.get_mut(..=index).expect("the index is that of a sight").rotate_right(1);
        true
    }

    /// Returns the sight that was found or met last.
    pub(super) fn front(&self) -> Option<&Sight> {
        self.0.first()
    }

    /// Iterates over the layouts that are known, each with the mark of the values it is for.
    pub(super) fn layouts(&self) -> impl Iterator<Item = (&Mark, &Arc<Layout>)> {
        self.0.iter().filter_map(|sight| Some((&sight.value, sight.rows()?.layout.as_ref()?)))
    }

    /// Iterates over the rows' sights.
    pub(super) fn rows_mut(&mut self) -> impl Iterator<Item = &mut RowSight> {
        self.0.iter_mut().filter_map(|sight| match &mut sight.known {
            Known::Rows(rows) => Some(rows.as_mut()),
            Known::Ignored(_) => None,
        })
    }
}
