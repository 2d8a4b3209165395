//! JSON: one pass over a record's bytes, from its text straight into the row's cells.

mod cursor;
mod field;
mod names;
pub(in crate::decode) mod parts;

use serde::de::IgnoredAny;

use crate::decode::flat::with_literal;
use crate::decode::found::{Broken, Found};
use crate::decode::json::cursor::{Cursor, Met};
use crate::decode::layout::{Layout, Step};
use crate::decode::schema::envelope::{EnvelopeField, op};
use crate::rows::RowWriter;

pub use names::Names;
use names::Next;

/// Walks an envelope; the row goes to the writer.
///
/// # Errors
///
/// The record is not of this layout, or is to be refused; the writer must be dropped.
pub fn walk_envelope(
    bytes: &[u8],
    names: &mut Names,
    layout: &Layout,
    (writer, scratch): (&mut RowWriter<'_>, &mut Vec<u8>),
) -> Result<Found, Broken> {
    walk(bytes, |cursor| {
        let mut found = Found::default();
        names.begin();
        envelope(cursor, names, layout, (writer, scratch), &mut found)?;
        Ok(found)
    })
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
    walk(bytes, |cursor| {
        let mut found = Found::default();
        found.has_after = row(cursor, &layout.row, (writer, scratch), &mut found)?;
        Ok(found)
    })
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
    walk(bytes, |cursor| {
        row(cursor, &layout.key, (writer, scratch), &mut Found::default()).map(drop)
    })
}

/// Walks a whole text. Of one that breaks off, or is no UTF-8 from somewhere on, the walk tells how
/// far it came.
fn walk<T>(
    bytes: &[u8],
    read: impl FnOnce(&mut Cursor<'_>) -> Result<T, Broken>,
) -> Result<T, Broken> {
    let text = std::str::from_utf8(bytes)
        .or_else(|error| std::str::from_utf8(bytes.get(..error.valid_up_to()).unwrap_or_default()))
        .unwrap_or_default();
    let mut cursor = Cursor::new(text);
    let read = read(&mut cursor).and_then(|read| {
        let is_all = cursor.end().is_some() && text.len() == bytes.len();
        is_all.then_some(read).ok_or_else(unexpected)
    });
    read.map_err(|broken| match broken {
        Broken::Malformed(place) => Broken::Malformed(describe(bytes, cursor.at(), &place)),
        other => other,
    })
}

/// Stands for a text that is no JSON, or not of the form that a record has; [`describe`] finds out.
fn unexpected() -> Broken {
    Broken::Malformed(String::new())
}

/// Says what is wrong with a text. Of one that is no JSON the library knows the place; of a value that
/// says nothing, and of another form, only the walk does, which has come so far.
fn describe(bytes: &[u8], at: usize, place: &str) -> String {
    let read = bytes.get(..at).unwrap_or_default();
    let line = read.split(|byte| *byte == b'\n').count();
    let byte = read.rsplit(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len);
    let (what, line, byte) = match serde_json::from_slice::<IgnoredAny>(bytes) {
        Err(error) if error.is_eof() => ("breaks off", error.line(), error.column()),
        Err(error) => ("is no JSON", error.line(), error.column()),
        Ok(_) if place.is_empty() && std::str::from_utf8(bytes).is_ok() => {
            ("is not of the expected form", line, byte)
        }
        Ok(_) => ("is no JSON", line, byte),
    };
    let within = if place.is_empty() { String::new() } else { format!(", in {place}") };
    format!("the text {what} at byte {byte} of line {line}{within}")
}

/// Reads an envelope's fields, in any order.
fn envelope(
    cursor: &mut Cursor<'_>,
    names: &mut Names,
    layout: &Layout,
    (writer, scratch): (&mut RowWriter<'_>, &mut Vec<u8>),
    found: &mut Found,
) -> Result<(), Broken> {
    if cursor.object() != Some(true) {
        return Err(unexpected());
    }
    let mut is_first = true;
    while let Next::Field(part) = names.take(cursor, is_first).ok_or_else(unexpected)? {
        is_first = false;
        match part {
            Some(EnvelopeField::After) => {
                found.has_after = row(cursor, &layout.row, (writer, scratch), found)?;
            }
            Some(EnvelopeField::Source) => {
                if !source(cursor, names, layout, found).ok_or_else(unexpected)? {
                    return Err(Broken::Mismatch);
                }
            }
            Some(EnvelopeField::Op) => {
                found.letter = cursor.text(op).ok_or_else(unexpected)?.flatten();
            }
            // The cells of the row follow those of the image before.
            Some(EnvelopeField::Before) if layout.reads_before() && !found.has_after => {
                found.has_before = row(cursor, &layout.row, (writer, scratch), found)?;
                if found.has_before {
                    writer.end_before();
                }
            }
            _ => cursor.skip().ok_or_else(unexpected)?,
        }
    }
    Ok(())
}

/// Reads the source block: whether it names the layout's table, the time and the position; `None` when
/// the text goes on with something else.
fn source(
    cursor: &mut Cursor<'_>,
    names: &mut Names,
    layout: &Layout,
    found: &mut Found,
) -> Option<bool> {
    if !cursor.object()? {
        return None;
    }
    let (mut is_first, mut is_ours) = (true, true);
    while let Next::Field(part) = names.take(cursor, is_first)? {
        is_first = false;
        match part {
            Some(EnvelopeField::Time) => found.source_time = cursor.int()?,
            Some(EnvelopeField::Lsn) => found.lsn = cursor.int()?,
            Some(EnvelopeField::Pos) => found.pos = cursor.int()?,
            Some(EnvelopeField::Row) => found.row = cursor.int()?,
            Some(EnvelopeField::Transaction) => {
                found.transaction = cursor.value()?.text.parse().ok();
            }
            Some(EnvelopeField::File) => found.file = cursor.text(str::to_owned)?,
            Some(EnvelopeField::Schema) => {
                is_ours &= cursor.text(|it| it == layout.source.schema)?.unwrap_or(true);
            }
            Some(EnvelopeField::Table) => {
                is_ours &= cursor.text(|it| it == layout.source.table)?.unwrap_or(true);
            }
            Some(EnvelopeField::Database) => {
                let ours = layout.source.database.as_deref();
                let is_same = |it: &str| ours.is_none_or(|ours| it == ours);
                is_ours &= cursor.text(is_same)?.unwrap_or(true);
            }
            _ => cursor.skip()?,
        }
    }
    Some(is_ours)
}

/// Reads an object whose fields are the steps', in their order; returns whether it was there.
fn row(
    cursor: &mut Cursor<'_>,
    steps: &[Step],
    (writer, scratch): (&mut RowWriter<'_>, &mut Vec<u8>),
    found: &mut Found,
) -> Result<bool, Broken> {
    if !cursor.object().ok_or_else(unexpected)? {
        return Ok(false);
    }
    let mut is_first = true;
    for step in steps {
        let malformed = || Broken::Malformed(step.place());
        if !cursor.take(step.spelled(is_first)) {
            let is_there = cursor.field(is_first).ok_or_else(unexpected)?;
            if !(is_there && cursor.name(|name| name == step.name).ok_or_else(malformed)?) {
                return Err(Broken::Mismatch);
            }
        }
        is_first = false;
        let met = cursor.value().ok_or_else(malformed)?;
        if let Some(role) = &step.role {
            match met {
                Met { plain: Some(said), .. } => role.note(&step.name, said, found)?,
                Met { text, .. } => {
                    with_literal(text, |said| role.note(&step.name, said, found))?;
                }
            }
        }
        if step.is_written {
            field::write(step, met, writer, scratch)?;
        }
    }
    if cursor.field(is_first).ok_or_else(unexpected)? {
        return Err(Broken::Mismatch);
    }
    Ok(true)
}
