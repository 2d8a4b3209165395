//! Packed literals: the parts of an array, a struct or a map, one behind the other in a buffer.
//!
//! A value with parts is walked once in its record and once in this form, so that nothing is
//! allocated for a part, and a target's encoder need not know which format the record had.

use crate::decode::value::kind::Kind;
use crate::decode::value::semantic::Literal;

const NULL: u8 = b'n';
const FALSE: u8 = b'0';
const TRUE: u8 = b'1';
const INT: u8 = b'i';
const FLOAT32: u8 = b'f';
const FLOAT64: u8 = b'd';
const TEXT: u8 = b't';
const OCTETS: u8 = b'o';
const PARTS: u8 = b'p';

/// How a literal is packed, which its kind says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing<'a> {
    /// As it stands.
    Plain,
    /// As octets, which JSON carries as base64.
    Octets,
    /// As a number of single precision, which JSON prints by its own shortest digits.
    Single,
    /// As the octets of an unscaled integer, or a number's text.
    Decimal,
    /// An array: its elements, each of this kind.
    List(&'a Kind),
    /// A map: each key, and behind it its value; both plain.
    Pairs,
    /// The struct of a decimal that brings its scale, or a number's text; no text is either.
    Scaled,
    /// A number's text, in quotes or not.
    Digits,
    /// A struct: for each field that is there its index, and behind it its value.
    Fields(&'static [(&'static str, Packing<'static>)]),
}

/// Reads a number of single precision from its own digits: those of a double in between may round
/// to its neighbour. More digits than tell such numbers apart are none's, unless they are exact.
pub fn single(text: &str) -> Option<Literal<'static>> {
    const DIGITS_MAX: usize = 9;
    let is_number = text.starts_with(|letter: char| letter == '-' || letter.is_ascii_digit());
    let single = text.parse::<f32>().ok().filter(|single| is_number && single.is_finite())?;
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0');
    let is_of_single = || digits.count() <= DIGITS_MAX;
    let is_exact = || text.parse::<f64>().is_ok_and(|double| double == f64::from(single));
    (is_exact() || is_of_single()).then_some(Literal::Float32(single))
}

impl Packing<'_> {
    /// The struct of a decimal that brings its scale.
    pub const SCALED: Packing<'static> =
        Packing::Fields(&[("scale", Packing::Plain), ("value", Packing::Octets)]);

    /// Returns whether the literal has parts.
    pub fn has_parts(self) -> bool {
        matches!(self, Self::List(_) | Self::Pairs | Self::Scaled | Self::Fields(_))
    }
}

/// Literals that lie packed in a buffer, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    /// Reads what a [`Packer`] wrote.
    pub fn new(packed: &'a [u8]) -> Self {
        Self(packed)
    }

    /// Returns whether there is no part.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the parts of a struct by the index of their field; a field that is not there is null.
    pub fn fields<const N: usize>(self) -> [Literal<'a>; N] {
        let mut fields = [Literal::Null; N];
        let mut parts = self;
        while let (Some(Literal::Int(index)), Some(literal)) = (parts.next(), parts.next()) {
            let slot = usize::try_from(index).ok().and_then(|index| fields.get_mut(index));
            if let Some(slot) = slot {
                *slot = literal;
            }
        }
        fields
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn take_content(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(u64::from_le_bytes(self.take()?)).ok()?;
        let (content, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(content)
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Literal<'a>;

    fn next(&mut self) -> Option<Literal<'a>> {
        let [tag] = self.take()?;
        Some(match tag {
            FALSE => Literal::Bool(false),
            TRUE => Literal::Bool(true),
            INT => Literal::Int(i64::from_le_bytes(self.take()?)),
            FLOAT32 => Literal::Float32(f32::from_le_bytes(self.take()?)),
            FLOAT64 => Literal::Float64(f64::from_le_bytes(self.take()?)),
            TEXT => Literal::Text(std::str::from_utf8(self.take_content()?).ok()?),
            OCTETS => Literal::Bytes(self.take_content()?),
            PARTS => Literal::Parts(Parts(self.take_content()?)),
            _ => Literal::Null,
        })
    }
}

/// Packs literals behind what a buffer holds.
#[derive(Debug)]
pub struct Packer<'a>(&'a mut Vec<u8>);

/// Where a literal with parts began.
#[derive(Debug)]
pub struct Opened(usize);

impl<'a> Packer<'a> {
    /// Starts in a buffer.
    pub fn new(buffer: &'a mut Vec<u8>) -> Self {
        Self(buffer)
    }

    /// Packs a literal.
    pub fn push(&mut self, literal: Literal<'_>) {
        match literal {
            Literal::Null => self.0.push(NULL),
            Literal::Bool(value) => self.0.push(if value { TRUE } else { FALSE }),
            Literal::Int(value) => self.tagged(INT, &value.to_le_bytes()),
            Literal::Float32(value) => self.tagged(FLOAT32, &value.to_le_bytes()),
            Literal::Float64(value) => self.tagged(FLOAT64, &value.to_le_bytes()),
            Literal::Text(text) => self.content(TEXT, text.as_bytes()),
            Literal::Bytes(octets) => self.content(OCTETS, octets),
            Literal::Parts(parts) => self.content(PARTS, parts.0),
        }
    }

    /// Packs octets that a function writes; `false` when it could not.
    pub fn push_octets(&mut self, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        let opened = self.begin(OCTETS);
        let is_written = write(self.0);
        self.close(&opened);
        is_written
    }

    /// Begins a literal whose parts follow.
    pub fn open(&mut self) -> Opened {
        self.begin(PARTS)
    }

    /// Ends the literal that was begun last.
    pub fn close(&mut self, opened: &Opened) {
        let Opened(start) = *opened;
        let length = u64::try_from(self.0.len() - start).expect("memory is below 2^64 bytes");
        let slot = self.0.get_mut(start - 8..start).expect("the length stands before its content");
        slot.copy_from_slice(&length.to_le_bytes());
    }

    fn begin(&mut self, tag: u8) -> Opened {
        self.tagged(tag, &[0; 8]);
        Opened(self.0.len())
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8]) {
        self.0.push(tag);
        self.0.extend_from_slice(bytes);
    }

    fn content(&mut self, tag: u8, bytes: &[u8]) {
        let opened = self.begin(tag);
        self.0.extend_from_slice(bytes);
        self.close(&opened);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_single_precision_has_no_more_digits_than_that() {
        let read = |text| match single(text) {
            Some(Literal::Float32(single)) => Some(single),
            _ => None,
        };
        assert_eq!(read("0.1"), Some(0.1));
        assert_eq!(read("-1.17549435E-38"), Some(-f32::MIN_POSITIVE));
        assert_eq!(read("16777217.55"), None);
        assert_eq!(read("1.23456789012"), None);
        assert_eq!(read("0.000012345678"), Some(0.000_012_345_678));
        assert_eq!(read("3.0000000000000"), Some(3.0));
    }

    #[test]
    fn what_was_packed_comes_out_again() {
        let mut inner = Vec::new();
        Packer::new(&mut inner).push(Literal::Text("é\0"));
        let literals = [
            Literal::Null,
            Literal::Bool(true),
            Literal::Bool(false),
            Literal::Int(i64::MIN),
            Literal::Float32(-0.5),
            Literal::Float64(f64::INFINITY),
            Literal::Text(""),
            Literal::Bytes(&[0, 255]),
            Literal::Parts(Parts::new(&inner)),
            Literal::Parts(Parts::default()),
        ];
        let mut packed = Vec::new();
        let mut packer = Packer::new(&mut packed);
        literals.into_iter().for_each(|literal| packer.push(literal));
        assert_eq!(Parts::new(&packed).collect::<Vec<_>>(), literals);
        let Some(Literal::Parts(mut parts)) = Parts::new(&packed).nth(8) else { panic!("parts") };
        assert_eq!((parts.next(), parts.next()), (Some(Literal::Text("é\0")), None));
    }

    #[test]
    fn a_structs_fields_are_found_in_any_order() {
        let mut packed = Vec::new();
        let mut packer = Packer::new(&mut packed);
        let opened = packer.open();
        for (index, literal) in [(2, Literal::Text("two")), (0, Literal::Int(7))] {
            packer.push(Literal::Int(index));
            packer.push(literal);
        }
        packer.close(&opened);
        assert!(packer.push_octets(|out| {
            out.push(9);
            true
        }));
        let mut literals = Parts::new(&packed);
        let Some(Literal::Parts(parts)) = literals.next() else { panic!("parts") };
        let expected = [Literal::Int(7), Literal::Null, Literal::Text("two")];
        assert_eq!(parts.fields::<3>(), expected);
        assert_eq!(literals.next(), Some(Literal::Bytes(&[9])));
    }
}
