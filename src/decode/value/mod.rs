//! What Debezium can say of one column: a closed, borrowed value between decoder and target.

pub mod figure;
pub mod kind;
pub mod packed;
pub mod semantic;
pub mod spelling;
pub mod structured;
pub mod text;

use crate::decode::value::figure::Figure;
use crate::decode::value::kind::Kind;
use crate::decode::value::packed::Parts;
use crate::decode::value::semantic::{Literal, value};
use crate::decode::value::spelling::Spelling;
use crate::table::Misfit;

/// One value of a change, borrowed from the record.
///
/// It lives on the stack between the decoder, which makes it from a literal and the column's
/// [`Kind`], and the target's encoder, which writes it as a cell at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// SQL NULL.
    Null,
    /// The column did not change and its value is not in the record (unchanged TOAST).
    Unavailable,
    /// A truth value.
    Bool(bool),
    /// An integer of up to 64 bits.
    Int(i64),
    /// A single-precision number, NaN and infinities included.
    Float32(f32),
    /// A double-precision number, NaN and infinities included.
    Float64(f64),
    /// An exact decimal.
    Decimal(Decimal<'a>),
    /// A decimal that is no number.
    DecimalSpecial(Special),
    /// Characters.
    Text(&'a str),
    /// Octets.
    Bytes(&'a [u8]),
    /// Octets that a text spells.
    Spelled {
        /// How.
        spelling: Spelling,
        /// The text.
        text: &'a str,
    },
    /// A bit string: octets in little-endian order, and its length in bits where the schema has it.
    Bits {
        /// The octets, least significant first; high zero octets may be missing.
        octets: &'a [u8],
        /// The declared length in bits; `None` for an unbounded column.
        length: Option<u32>,
    },
    /// A UUID.
    Uuid(uuid::Uuid),
    /// JSON text as the source printed it.
    Json(&'a str),
    /// A calendar day.
    Date(Day),
    /// Nanoseconds since midnight; MariaDB's TIME may be negative or beyond a day.
    Time(i64),
    /// Nanoseconds since midnight at an offset from UTC in seconds.
    TimeZoned {
        /// Nanoseconds since local midnight.
        nanos: i64,
        /// Seconds east of UTC.
        offset: i32,
    },
    /// Wall-clock time without a zone, counted as if it were UTC.
    Timestamp(Moment),
    /// A moment in time.
    TimestampZoned(Moment),
    /// A span of time.
    Interval(Interval),
    /// An integer of 64 bits without a sign.
    Unsigned(u64),
    /// A list of values of one kind.
    Array(Items<'a>),
    /// Texts by name (`hstore`).
    Map(Pairs<'a>),
    /// A point of a plane.
    Point(Point<'a>),
    /// A geometry.
    Geometry(Geometry<'a>),
    /// One of PostgreSQL's own figures.
    Figure(Figure<'a>),
    /// A vector of which most elements are zero.
    SparseVector {
        /// How many elements it has.
        dimensions: i64,
        /// The index of each element that is not zero, from 1, and behind it the element.
        elements: Parts<'a>,
    },
}

/// The elements of an array, as they were packed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Items<'a> {
    /// The kind of each.
    pub kind: &'a Kind,
    /// Their literals.
    pub parts: Parts<'a>,
}

impl<'a> Items<'a> {
    /// Iterates over the elements.
    ///
    /// # Errors
    ///
    /// An element is not of its kind, or stands for an array that was not sent.
    pub fn values(self) -> impl Iterator<Item = Result<Value<'a>, Misfit>> {
        self.parts.map(move |literal| match literal {
            Literal::Text(text) if is_name_of_array(text) => Err(Misfit::Nested),
            // The schema allows every literal of the kind: what is wrong is the element's form.
            literal => value(self.kind, literal).map_err(|_| Misfit::Form),
        })
    }
}

/// Returns whether a text is what Java prints for an array of objects (`[Ljava.lang.Object;@4f51b3e0`):
/// PostgreSQL's connector sends it for each element of an array of more than one dimension, with the
/// class that its driver reads the type as.
fn is_name_of_array(text: &str) -> bool {
    let inner = text.trim_start_matches('[');
    let Some((class, hash)) = inner.strip_prefix('L').and_then(|it| it.split_once(";@")) else {
        return false;
    };
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'$');
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    inner.len() < text.len()
        && class.contains('.')
        && class.bytes().all(is_of_name)
        && matches!(hash.len(), 1..=8)
        && hash.bytes().all(is_hex)
}

/// The pairs of a map, as they were packed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pairs<'a>(pub Parts<'a>);

impl<'a> Pairs<'a> {
    /// Iterates over names and texts.
    ///
    /// # Errors
    ///
    /// A name or a text is none.
    pub fn texts(self) -> impl Iterator<Item = Result<(&'a str, Option<&'a str>), Misfit>> {
        let mut parts = self.0;
        std::iter::from_fn(move || {
            Some(match (parts.next()?, parts.next()) {
                (Literal::Text(name), Some(Literal::Text(text))) => Ok((name, Some(text))),
                (Literal::Text(name), Some(Literal::Null)) => Ok((name, None)),
                _ => Err(Misfit::Form),
            })
        })
    }
}

/// A point, and what else a source says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point<'a> {
    /// The first coordinate.
    pub x: f64,
    /// The second.
    pub y: f64,
    /// The same as a geometry.
    pub geometry: Geometry<'a>,
}

/// A geometry in well-known binary, with or without the reference system in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Geometry<'a> {
    /// The binary.
    pub wkb: &'a [u8],
    /// The spatial reference system.
    pub srid: Option<i32>,
}

/// An exact decimal: an unscaled integer and the number of its digits after the point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decimal<'a> {
    /// Big-endian two's complement, and the scale, which may be negative.
    Binary {
        /// The unscaled integer.
        unscaled: &'a [u8],
        /// Digits after the point.
        scale: i32,
    },
    /// As text: an optional sign, digits, an optional point and exponent.
    Text(&'a str),
}

/// A decimal that is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// Not a number.
    NaN,
    /// Above every number.
    PositiveInfinity,
    /// Below every number.
    NegativeInfinity,
}

/// A calendar day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Day {
    /// Days since 1970-01-01, in the proleptic Gregorian calendar.
    Finite(i32),
    /// PostgreSQL's `infinity`.
    PositiveInfinity,
    /// PostgreSQL's `-infinity`.
    NegativeInfinity,
}

/// A point on the time line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Seconds since 1970-01-01T00:00:00 and nanoseconds within the second (0 to 999,999,999).
    Finite {
        /// Whole seconds, rounded down.
        seconds: i64,
        /// The rest.
        nanos: u32,
    },
    /// PostgreSQL's `infinity`.
    PositiveInfinity,
    /// PostgreSQL's `-infinity`.
    NegativeInfinity,
}

/// A span of time whose parts do not convert into each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// Months, years included.
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Nanoseconds.
    pub nanos: i128,
}

/// Returns the integer as a double when none of its digits is lost: up to 2^53 either way.
pub fn exact(int: i64) -> Option<f64> {
    let parts = (i32::try_from(int >> 32).ok()?, u32::try_from(int & 0xffff_ffff).ok()?);
    let double = f64::from(parts.0) * 4_294_967_296.0 + f64::from(parts.1);
    (int.unsigned_abs() <= 1 << 53).then_some(double)
}
