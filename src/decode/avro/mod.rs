//! Avro: one walk over a record's bytes, by the readers that its schema was compiled into.

mod long;
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
    for field in cursor.record(reader)?? {
        let (name, reader) = (&field.name, cursor.reader(field)?);
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
        for field in cursor.record(reader)?? {
            let (name, reader) = (&field.name, cursor.reader(field)?);
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
    for field in cursor.record(reader)?? {
        let (name, reader) = (&field.name, cursor.reader(field)?);
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

/// What is left of a record's bytes. Every method that returns an option returns `None` when the
/// bytes break off or say what no schema allows.
///
/// What is inlined always is a few instructions that each of a record's thirty fields takes: calls
/// would keep what is left in memory instead of registers, a third of the walk.
pub(super) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn end(&self) -> Result<(), Broken> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(Broken::Malformed(format!("{} bytes stand behind the record", self.0.len())))
    }

    #[inline(always)]
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(part)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N).and_then(|part| part.try_into().ok())
    }

    /// Reads octets behind their length.
    #[inline(always)]
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.long().and_then(|length| usize::try_from(length).ok())?;
        self.take(length)
    }

    /// Reads whether a field is null, or which of a union's values it is; returns how the rest of its
    /// bytes is read, which is no union.
    #[inline(always)]
    pub(super) fn reader<'r>(&mut self, field: &'r RecordField) -> Option<&'r Reader> {
        let Some(null) = field.null else { return self.resolve(&field.reader) };
        match self.long()? {
            branch if branch == null => Some(&Reader::Null),
            0 | 1 => Some(&field.reader),
            _ => None,
        }
    }

    /// Reads the branches of unions, up to what is none.
    #[inline(always)]
    pub(super) fn resolve<'r>(&mut self, reader: &'r Reader) -> Option<&'r Reader> {
        let mut reader = reader;
        while let Reader::Union(branches) = reader {
            reader = self.branch(branches)?;
        }
        Some(reader)
    }

    /// Reads the branch of a union.
    #[inline(always)]
    pub(super) fn branch<'r>(&mut self, branches: &'r [Reader]) -> Option<&'r Reader> {
        let index = self.long().and_then(|index| usize::try_from(index).ok())?;
        branches.get(index)
    }

    /// Enters a record that may be null: its fields, which the caller reads in turn.
    #[expect(clippy::option_option, reason = "the outer one is broken bytes, the inner one null")]
    pub(super) fn record<'r>(&mut self, reader: &'r Reader) -> Option<Option<&'r [RecordField]>> {
        match self.resolve(reader)? {
            Reader::Record(fields) => Some(Some(fields)),
            Reader::Null => Some(None),
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
        for field in fields {
            let broken = || broken_in(&format!("field \"{}\"", field.name));
            let reader = self.reader(field).ok_or_else(broken)?;
            match field.part {
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
        for (field, step) in fields.iter().zip(steps) {
            let broken = || broken_in(&step.place());
            let reader = self.reader(field).ok_or_else(broken)?;
            if step.role.is_none() && (!step.is_written || step.is_blank) {
                self.skip(reader).ok_or_else(broken)?;
                if step.is_blank {
                    step.write(writer, Literal::Null)?;
                }
                continue;
            }
            let literal = match reader {
                Reader::Array(_) | Reader::Map(_) | Reader::Record(_) => {
                    scratch.clear();
                    let packer = &mut Packer::new(scratch);
                    self.pack(reader, step.kind.packing(), packer).ok_or_else(broken)?;
                    Parts::new(scratch).next().ok_or_else(broken)?
                }
                reader => self.plain(reader).ok_or_else(broken)?,
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
        let reader = self.resolve(reader)?;
        self.plain(reader)
    }

    /// Reads a value without parts, behind the branches of its unions.
    #[inline]
    fn plain<'r>(&mut self, reader: &'r Reader) -> Option<Literal<'r>>
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
            Reader::Enum(symbols) => Literal::Text(self.symbol(symbols)?),
            Reader::Record(_) | Reader::Array(_) | Reader::Map(_) | Reader::Union(_) => {
                return None;
            }
        })
    }

    fn symbol<'r>(&mut self, symbols: &'r [String]) -> Option<&'r str> {
        let index = usize::try_from(self.long()?).ok()?;
        symbols.get(index).map(String::as_str)
    }

    /// Reads the source block; `false` when it names another table than the layout's. What nobody
    /// needs of it is not looked at.
    fn source(&mut self, reader: &Reader, layout: &Layout, found: &mut Found) -> Option<bool> {
        let mut is_ours = true;
        for field in self.record(reader)?? {
            match (field.part, self.reader(field)?) {
                (Some(part), Reader::Int) => {
                    let number = self.long()?;
                    match part {
                        EnvelopeField::Time => found.source_time = Some(number),
                        EnvelopeField::Lsn => found.lsn = Some(number),
                        EnvelopeField::Pos => found.pos = Some(number),
                        EnvelopeField::Row => found.row = Some(number),
                        EnvelopeField::Transaction => found.transaction = Some(number),
                        _ => {}
                    }
                }
                (Some(part), reader @ (Reader::Text | Reader::Enum(_))) => {
                    let ours = match part {
                        EnvelopeField::Database => layout.source.database.as_deref(),
                        EnvelopeField::Schema => Some(&*layout.source.schema),
                        EnvelopeField::Table => Some(&*layout.source.table),
                        _ => None,
                    };
                    let text = match reader {
                        Reader::Enum(symbols) => self.symbol(symbols)?.as_bytes(),
                        _ => self.bytes()?,
                    };
                    if part == EnvelopeField::File {
                        found.file = Some(str::from_utf8(text).ok()?.to_owned());
                    } else if ours.is_some_and(|ours| ours.as_bytes() != text) {
                        // What is no text names no other table.
                        str::from_utf8(text).ok()?;
                        is_ours = false;
                    }
                }
                (_, reader) => self.skip(reader)?,
            }
        }
        Some(is_ours)
    }

    #[inline(always)]
    pub(super) fn skip(&mut self, reader: &Reader) -> Option<()> {
        match reader {
            Reader::Null => Some(()),
            Reader::Int | Reader::Enum(_) => self.skip_long(),
            Reader::Bytes | Reader::Text => self.bytes().map(drop),
            reader => self.skip_rarer(reader),
        }
    }

    fn skip_rarer(&mut self, reader: &Reader) -> Option<()> {
        match reader {
            Reader::Bool => self.take(1).map(drop),
            Reader::Float => self.take(4).map(drop),
            Reader::Double => self.take(8).map(drop),
            Reader::Fixed(size) => self.take(*size).map(drop),
            Reader::Array(items) => self.skip_blocks(|cursor| cursor.skip(items)),
            Reader::Map(values) => self.skip_blocks(|cursor| {
                cursor.bytes()?;
                cursor.skip(values)
            }),
            Reader::Record(fields) => fields.iter().try_for_each(|field| {
                let reader = self.reader(field)?;
                self.skip(reader)
            }),
            Reader::Union(branches) => {
                let branch = self.branch(branches)?;
                self.skip(branch)
            }
            // Taken by the caller.
            Reader::Null | Reader::Int | Reader::Enum(_) | Reader::Bytes | Reader::Text => None,
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
