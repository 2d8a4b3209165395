//! JSON: one pass over a record's bytes, from its text straight into the row's cells.

mod field;
pub(in crate::decode) mod parts;

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::decode::flat::with_literal;
use crate::decode::found::{Broken, Found};
use crate::decode::json::field::FieldSeed;
use crate::decode::layout::{Layout, Step};
use crate::decode::schema::envelope::op;
use crate::rows::RowWriter;

/// Walks an envelope; the row goes to the writer.
///
/// # Errors
///
/// The record is not of this layout, or is to be refused; the writer must be dropped.
pub fn walk_envelope(
    bytes: &[u8],
    layout: &Layout,
    writer: &mut RowWriter<'_>,
    scratch: &mut Vec<u8>,
) -> Result<Found, Broken> {
    let mut found = Found::default();
    let mut broken = None;
    let row =
        RowSeed { steps: &layout.row, writer, scratch, broken: &mut broken, found: &mut found };
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let seed = EnvelopeSeed { layout, row };
    let walked = seed.deserialize(&mut json).and_then(|()| json.end());
    walked.map(|()| found).map_err(|error| ended(&error, broken))
}

/// Walks a flat record; the row goes to the writer.
///
/// # Errors
///
/// As for [`walk_envelope`].
pub fn walk_flat(
    bytes: &[u8],
    layout: &Layout,
    writer: &mut RowWriter<'_>,
    scratch: &mut Vec<u8>,
) -> Result<Found, Broken> {
    let mut found = Found::default();
    found.has_after = walk_row(bytes, &layout.row, writer, (scratch, &mut found))?;
    Ok(found)
}

/// Walks a record's key, an object with the layout's key fields in their order.
///
/// # Errors
///
/// As for [`walk_envelope`].
pub fn walk_key(
    bytes: &[u8],
    layout: &Layout,
    writer: &mut RowWriter<'_>,
    scratch: &mut Vec<u8>,
) -> Result<(), Broken> {
    walk_row(bytes, &layout.key, writer, (scratch, &mut Found::default())).map(drop)
}

/// Walks an object whose fields are the steps'; yields whether it was there.
fn walk_row(
    bytes: &[u8],
    steps: &[Step],
    writer: &mut RowWriter<'_>,
    (scratch, found): (&mut Vec<u8>, &mut Found),
) -> Result<bool, Broken> {
    let mut broken = None;
    let row = RowSeed { steps, writer, scratch, broken: &mut broken, found };
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let walked = row.deserialize(&mut json).and_then(|is_there| json.end().map(|()| is_there));
    walked.map_err(|error| ended(&error, broken))
}

/// Says why a walk has ended. Of a text that is no JSON the walk knows the column, and the parser the
/// place; what it expected there it says with the value.
fn ended(error: &serde_json::Error, broken: Option<Broken>) -> Broken {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "breaks off",
        serde_json::error::Category::Data => "is not of the expected form",
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => "is no JSON",
    };
    let (line, byte) = (error.line(), error.column());
    let malformed = format!("the text {what} at byte {byte} of line {line}");
    match broken {
        Some(Broken::Malformed(place)) => Broken::Malformed(format!("{malformed}, in {place}")),
        Some(broken) => broken,
        None => Broken::Malformed(malformed),
    }
}

/// Reads an envelope's fields by name, in any order.
struct EnvelopeSeed<'a, 'w, 'r> {
    layout: &'a Layout,
    row: RowSeed<'a, 'w, 'r>,
}

impl<'de> DeserializeSeed<'de> for EnvelopeSeed<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EnvelopeSeed<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an envelope")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { layout, row } = self;
        let RowSeed { steps, writer, scratch, broken, found } = row;
        while let Some(name) = map.next_key_seed(NameSeed(&["after", "source", "op", "before"]))? {
            match name {
                Some(0) => {
                    let row = RowSeed { steps, writer, scratch, broken, found };
                    found.has_after = map.next_value_seed(row)?;
                }
                Some(1) => {
                    let is_ours = map.next_value_seed(SourceSeed { layout, found })?;
                    if !is_ours {
                        *broken = Some(Broken::Mismatch);
                        return Err(A::Error::custom("another table"));
                    }
                }
                Some(2) => found.letter = map.next_value_seed(TextSeed(op))?,
                // The cells of the row follow those of the image before.
                Some(_) if layout.reads_before() && !found.has_after => {
                    let row = RowSeed { steps, writer, scratch, broken, found };
                    found.has_before = map.next_value_seed(row)?;
                    if found.has_before {
                        writer.end_before();
                    }
                }
                Some(_) | None => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

/// Compares a key of an object with names, without keeping it; yields the name's index.
struct NameSeed<'a>(&'a [&'a str]);

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| *name == text))
    }
}

/// Hands a text to a function, without keeping it; null yields nothing.
struct TextSeed<F>(F);

impl<'de, T, F: FnOnce(&str) -> Option<T>> DeserializeSeed<'de> for TextSeed<F> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<T, F: FnOnce(&str) -> Option<T>> Visitor<'_> for TextSeed<F> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or null")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok((self.0)(text))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Reads the source block: whether it names the layout's table, the time and the position.
struct SourceSeed<'a> {
    layout: &'a Layout,
    found: &'a mut Found,
}

impl<'de> DeserializeSeed<'de> for SourceSeed<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for SourceSeed<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a source block")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        const NAMES: [&str; 9] =
            ["ts_ms", "schema", "table", "lsn", "file", "db", "pos", "txId", "row"];
        let Self { layout, found } = self;
        let mut is_ours = true;
        while let Some(name) = map.next_key_seed(NameSeed(&NAMES))? {
            match name {
                Some(0) => found.source_time = map.next_value()?,
                Some(1) => {
                    let is_same = |text: &str| Some(text == layout.source.schema);
                    is_ours &= map.next_value_seed(TextSeed(is_same))?.unwrap_or(true);
                }
                Some(2) => {
                    let is_same = |text: &str| Some(text == layout.source.table);
                    is_ours &= map.next_value_seed(TextSeed(is_same))?.unwrap_or(true);
                }
                Some(3) => found.lsn = map.next_value()?,
                Some(4) => found.file = map.next_value()?,
                Some(5) => {
                    let is_same = |text: &str| {
                        let database = layout.source.database.as_deref();
                        Some(database.is_none_or(|database| database == text))
                    };
                    is_ours &= map.next_value_seed(TextSeed(is_same))?.unwrap_or(true);
                }
                Some(6) => found.pos = map.next_value()?,
                Some(8) => found.row = map.next_value()?,
                Some(_) => found.transaction = map.next_value::<&RawValue>()?.get().parse().ok(),
                None => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(is_ours)
    }
}

/// Reads an object whose fields are the steps', in their order; yields whether it was there.
struct RowSeed<'a, 'w, 'r> {
    steps: &'a [Step],
    writer: &'a mut RowWriter<'r>,
    scratch: &'w mut Vec<u8>,
    broken: &'a mut Option<Broken>,
    found: &'a mut Found,
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_, '_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_, '_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row or null")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut row = self;
        for step in row.steps {
            if map.next_key_seed(NameSeed(&[&step.name]))? != Some(Some(0)) {
                *row.broken = Some(Broken::Mismatch);
                return Err(A::Error::custom("other fields"));
            }
            if let Err(error) = row.take(step, &mut map) {
                row.broken.get_or_insert_with(|| Broken::Malformed(step.place()));
                return Err(error);
            }
        }
        if map.next_key::<IgnoredAny>()?.is_some() {
            *row.broken = Some(Broken::Mismatch);
            return Err(A::Error::custom("more fields"));
        }
        Ok(true)
    }
}

impl RowSeed<'_, '_, '_> {
    /// Takes the value of a step's field.
    fn take<'de, A: MapAccess<'de>>(&mut self, step: &Step, map: &mut A) -> Result<(), A::Error> {
        let Self { writer, scratch, broken, found, .. } = self;
        let Some(role) = &step.role else {
            if step.is_written {
                return map.next_value_seed(FieldSeed { step, writer, scratch, broken });
            }
            return map.next_value::<IgnoredAny>().map(drop);
        };
        let raw = map.next_value::<&RawValue>()?;
        with_literal(raw, |said| role.note(&step.name, said, found)).map_err(|why| {
            **broken = Some(why);
            A::Error::custom("says otherwise")
        })?;
        if step.is_written {
            let field = FieldSeed { step, writer, scratch, broken };
            field.deserialize(raw).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}
