//! Avro: one walk over a record's bytes, by the readers that its schema was compiled into.

mod parts;
pub mod tree;

use crate::decode::cloud;
use crate::decode::found::{Broken, Found};
use crate::decode::layout::{Layout, Step};
use crate::decode::schema::avro::{Reader, RecordField};
use crate::decode::schema::envelope::{EnvelopeField, Origin, op};
use crate::decode::value::packed::{Packer, Parts};
use crate::decode::value::semantic::Literal;
use crate::rows::RowWriter;

/// Walks an envelope; the row goes to the writer.
///
/// # Errors
///
/// The record is not of this layout, or is to be refused; the writer must be dropped.
pub fn walk_envelope(
    body: &[u8],
    reader: &Reader,
    layout: &Layout,
    (writer, scratch): (&mut RowWriter<'_>, &mut Vec<u8>),
) -> Result<Found, Broken> {
    let mut cursor = Cursor(body);
    let mut found = Found::default();
    let fields = cursor.record(reader).ok_or_else(broken_off)?.ok_or_else(broken_off)?;
    cursor.envelope(fields, layout, (writer, scratch), &mut found)?;
    cursor.end()?;
    Ok(found)
}

/// Walks a record's key.
///
/// # Errors
///
/// As for [`walk_envelope`].
pub fn walk_key(
    body: &[u8],
    reader: &Reader,
    layout: &Layout,
    (writer, scratch): (&mut RowWriter<'_>, &mut Vec<u8>),
) -> Result<(), Broken> {
    let mut cursor = Cursor(body);
    let fields = cursor.record(reader).ok_or_else(broken_off)?.ok_or_else(broken_off)?;
    cursor.row(fields, &layout.key, (writer, scratch), &mut Found::default())?;
    cursor.end()
}

/// Walks a flat record; the row goes to the writer.
///
/// # Errors
///
/// As for [`walk_envelope`].
pub fn walk_flat(
    body: &[u8],
    reader: &Reader,
    layout: &Layout,
    (writer, scratch): (&mut RowWriter<'_>, &mut Vec<u8>),
) -> Result<Found, Broken> {
    let mut cursor = Cursor(body);
    let mut found = Found { has_after: true, ..Found::default() };
    let fields = cursor.record(reader).ok_or_else(broken_off)?.ok_or_else(broken_off)?;
    cursor.row(fields, &layout.row, (writer, scratch), &mut found)?;
    cursor.end()?;
    Ok(found)
}

/// Reads where an envelope comes from; `None` when the bytes are no envelope's.
pub fn origin(body: &[u8], reader: &Reader) -> Option<Origin> {
    let mut cursor = Cursor(body);
    let mut origin = Origin::default();
    for RecordField { name, reader, .. } in cursor.record(reader)?? {
        if let Some(part) = origin.added(name) {
            if let Literal::Text(text) = cursor.literal(reader)? {
                *part = Some(text.to_owned());
            }
            continue;
        }
        if name == "op" {
            origin.is_truncate = cursor.literal(reader)? == Literal::Text("t");
            continue;
        }
        if name != "source" {
            cursor.skip(reader)?;
            continue;
        }
        for RecordField { name, reader, .. } in cursor.record(reader)?? {
            if !["name", "connector", "db", "schema", "table"].contains(&name.as_str()) {
                cursor.skip(reader)?;
                continue;
            }
            let Literal::Text(text) = cursor.literal(reader)? else { continue };
            match name.as_str() {
                "name" => text.clone_into(&mut origin.server),
                "connector" => origin.connector = Some(text.to_owned()),
                "db" => origin.database = Some(text.to_owned()),
                "schema" => origin.schema = Some(text.to_owned()),
                _ => origin.table = Some(text.to_owned()),
            }
        }
    }
    Some(origin)
}

/// Reads a CloudEvent: `note` gets its attributes by their names behind [`cloud::PREFIX`], and its
/// data is returned; `None` when the bytes are no such event's.
pub fn cloud_event<'a>(
    body: &'a [u8],
    reader: &'a Reader,
    mut note: impl FnMut(&str, Literal<'_>),
) -> Option<&'a [u8]> {
    let mut cursor = Cursor(body);
    let mut data = None;
    for RecordField { name, reader, .. } in cursor.record(reader)?? {
        if let Some(attribute) = name.strip_prefix(cloud::PREFIX) {
            note(attribute, cursor.literal(reader)?);
        } else if name == "data" {
            let Literal::Bytes(bytes) = cursor.literal(reader)? else { return None };
            data = Some(bytes);
        } else {
            cursor.skip(reader)?;
        }
    }
    data.filter(|_| cursor.0.is_empty())
}

fn broken_off() -> Broken {
    Broken::Malformed("the bytes do not follow their schema".to_owned())
}

fn broken_in(place: &str) -> Broken {
    Broken::Malformed(format!("the bytes do not follow their schema in {place}"))
}

/// Undoes the zig-zag, which has the sign in the lowest bit.
fn signed(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// What is left of a record's bytes. Every method that returns an option returns `None` when the
/// bytes break off or say what no schema allows.
pub(super) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn end(&self) -> Result<(), Broken> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(Broken::Malformed(format!("{} bytes stand behind the record", self.0.len())))
    }

    /// Reads a number in zig-zag form.
    #[inline]
    fn long(&mut self) -> Option<i64> {
        // Most are lengths, branches or counts.
        if let [byte @ ..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Some(signed(u64::from(*byte)));
        }
        self.long_of_many()
    }

    fn long_of_many(&mut self) -> Option<i64> {
        let mut number = 0_u64;
        for (byte, shift) in self.0.iter().zip((0..64).step_by(7)) {
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                self.0 = self.0.get(shift / 7 + 1..)?;
                return Some(signed(number));
            }
        }
        None
    }

    fn skip_long(&mut self) -> Option<()> {
        // Only the last byte lacks the highest bit.
        let ends = |word: &[u8; 8]| !u64::from_le_bytes(*word) & 0x8080_8080_8080_8080;
        let length = match self.0.split_first_chunk().map(|(word, _)| ends(word)) {
            None | Some(0) => return self.long_of_many().map(drop),
            Some(ends) => ends.trailing_zeros() / 8 + 1,
        };
        self.take(usize::try_from(length).ok()?).map(drop)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(part)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N).and_then(|part| part.try_into().ok())
    }

    /// Reads octets behind their length.
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.long().and_then(|length| usize::try_from(length).ok())?;
        self.take(length)
    }

    /// Reads the branch of a union.
    pub(super) fn branch<'r>(&mut self, branches: &'r [Reader]) -> Option<&'r Reader> {
        let index = self.long().and_then(|index| usize::try_from(index).ok())?;
        branches.get(index)
    }

    /// Enters a record that may be null: its fields, which the caller reads in turn.
    #[expect(clippy::option_option, reason = "the outer one is broken bytes, the inner one null")]
    pub(super) fn record<'r>(&mut self, reader: &'r Reader) -> Option<Option<&'r [RecordField]>> {
        match reader {
            Reader::Record(fields) => Some(Some(fields)),
            Reader::Null => Some(None),
            Reader::Union(branches) => {
                let branch = self.branch(branches)?;
                self.record(branch)
            }
            _ => None,
        }
    }

    /// Reads the fields of an envelope.
    fn envelope(
        &mut self,
        fields: &[RecordField],
        layout: &Layout,
        (writer, scratch): (&mut RowWriter<'_>, &mut Vec<u8>),
        found: &mut Found,
    ) -> Result<(), Broken> {
        for RecordField { name, part, reader } in fields {
            let broken = || broken_in(&format!("field \"{name}\""));
            match part {
                Some(EnvelopeField::Before) if layout.reads_before() && !found.has_after => {
                    if let Some(row) = self.record(reader).ok_or_else(broken)? {
                        self.row(row, &layout.row, (writer, scratch), found)?;
                        writer.end_before();
                        found.has_before = true;
                    }
                }
                Some(EnvelopeField::After) => {
                    if let Some(row) = self.record(reader).ok_or_else(broken)? {
                        self.row(row, &layout.row, (writer, scratch), found)?;
                        found.has_after = true;
                    }
                }
                Some(EnvelopeField::Source) => {
                    if !self.source(reader, layout, found).ok_or_else(broken)? {
                        return Err(Broken::Mismatch);
                    }
                }
                Some(EnvelopeField::Op) => {
                    if let Literal::Text(letter) = self.literal(reader).ok_or_else(broken)? {
                        found.letter = op(letter);
                    }
                }
                _ => self.skip(reader).ok_or_else(broken)?,
            }
        }
        Ok(())
    }

    fn row(
        &mut self,
        fields: &[RecordField],
        steps: &[Step],
        (writer, scratch): (&mut RowWriter<'_>, &mut Vec<u8>),
        found: &mut Found,
    ) -> Result<(), Broken> {
        if fields.len() != steps.len() {
            return Err(Broken::Mismatch);
        }
        for (RecordField { reader, .. }, step) in fields.iter().zip(steps) {
            let broken = || broken_in(&step.place());
            if step.role.is_none() && (!step.is_written || step.is_blank) {
                self.skip(reader).ok_or_else(broken)?;
                if step.is_blank {
                    step.write(writer, Literal::Null)?;
                }
                continue;
            }
            let packing = step.kind.packing();
            let literal = if packing.has_parts() {
                scratch.clear();
                self.pack(reader, packing, &mut Packer::new(scratch)).ok_or_else(broken)?;
                Parts::new(scratch).next().ok_or_else(broken)?
            } else {
                self.literal(reader).ok_or_else(broken)?
            };
            if let Some(role) = &step.role {
                role.note(&step.name, literal, found)?;
            }
            if !step.is_written {
                continue;
            }
            step.write(writer, literal)?;
        }
        Ok(())
    }

    /// Reads a value that has no parts; those that have some are packed.
    pub(super) fn literal<'r>(&mut self, reader: &'r Reader) -> Option<Literal<'r>>
    where
        'a: 'r,
    {
        Some(match reader {
            Reader::Null => Literal::Null,
            Reader::Bool => match self.array()? {
                [0] => Literal::Bool(false),
                [1] => Literal::Bool(true),
                _ => return None,
            },
            Reader::Int => Literal::Int(self.long()?),
            Reader::Float => Literal::Float32(f32::from_le_bytes(self.array()?)),
            Reader::Double => Literal::Float64(f64::from_le_bytes(self.array()?)),
            Reader::Bytes => Literal::Bytes(self.bytes()?),
            Reader::Text => Literal::Text(std::str::from_utf8(self.bytes()?).ok()?),
            Reader::Fixed(size) => Literal::Bytes(self.take(*size)?),
            Reader::Union(branches) => {
                let branch = self.branch(branches)?;
                return self.literal(branch);
            }
            Reader::Enum(symbols) => {
                let index = usize::try_from(self.long()?).ok()?;
                Literal::Text(symbols.get(index)?)
            }
            Reader::Record(_) | Reader::Array(_) | Reader::Map(_) => return None,
        })
    }

    /// Reads the source block; `false` when it names another table than the layout's.
    fn source(&mut self, reader: &Reader, layout: &Layout, found: &mut Found) -> Option<bool> {
        let mut is_ours = true;
        for RecordField { part, reader, .. } in self.record(reader)?? {
            let Some(part) = part.filter(|part| part.is_of_source()) else {
                self.skip(reader)?;
                continue;
            };
            match (part, self.literal(reader)?) {
                (EnvelopeField::Time, Literal::Int(int)) => found.source_time = Some(int),
                (EnvelopeField::Lsn, Literal::Int(int)) => found.lsn = Some(int),
                (EnvelopeField::Pos, Literal::Int(int)) => found.pos = Some(int),
                (EnvelopeField::Row, Literal::Int(int)) => found.row = Some(int),
                (EnvelopeField::Transaction, Literal::Int(int)) => found.transaction = Some(int),
                (EnvelopeField::Database, Literal::Text(text)) => {
                    let database = layout.source.database.as_deref();
                    is_ours &= database.is_none_or(|database| database == text);
                }
                (EnvelopeField::Schema, Literal::Text(text)) => {
                    is_ours &= text == layout.source.schema;
                }
                (EnvelopeField::Table, Literal::Text(text)) => {
                    is_ours &= text == layout.source.table;
                }
                (EnvelopeField::File, Literal::Text(text)) => found.file = Some(text.to_owned()),
                _ => {}
            }
        }
        Some(is_ours)
    }

    pub(super) fn skip(&mut self, reader: &Reader) -> Option<()> {
        match reader {
            Reader::Null => Some(()),
            Reader::Bool => self.take(1).map(drop),
            Reader::Int | Reader::Enum(_) => self.skip_long(),
            Reader::Float => self.take(4).map(drop),
            Reader::Double => self.take(8).map(drop),
            Reader::Bytes | Reader::Text => self.bytes().map(drop),
            Reader::Fixed(size) => self.take(*size).map(drop),
            Reader::Array(items) => self.skip_blocks(|cursor| cursor.skip(items)),
            Reader::Map(values) => self.skip_blocks(|cursor| {
                cursor.bytes()?;
                cursor.skip(values)
            }),
            Reader::Record(fields) => fields.iter().try_for_each(|it| self.skip(&it.reader)),
            Reader::Union(branches) => {
                let branch = self.branch(branches)?;
                self.skip(branch)
            }
        }
    }

    /// Reads blocks of items up to the empty one; a negative count brings the block's length.
    pub(super) fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        loop {
            let mut count = self.long()?;
            if count == 0 {
                return Some(());
            }
            if count < 0 {
                count = count.checked_neg()?;
                self.long()?;
            }
            for _ in 0..count {
                let before = self.0.len();
                item(self)?;
                // Items without bytes would let a count run for ever.
                if self.0.len() == before {
                    return None;
                }
            }
        }
    }

    /// Skips blocks of items up to the empty one; a negative count brings the block's length.
    fn skip_blocks(&mut self, skip: impl Fn(&mut Self) -> Option<()>) -> Option<()> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Some(());
            }
            if count < 0 {
                self.bytes()?;
                continue;
            }
            for _ in 0..count {
                let before = self.0.len();
                skip(self)?;
                // Items without bytes would let a count run for ever.
                if self.0.len() == before {
                    return None;
                }
            }
        }
    }
}
