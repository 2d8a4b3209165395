//! Semantics: a literal and its kind make a value.

use crate::decode::kind::{Kind, Unit};
use crate::decode::text;
use crate::decode::value::{Day, Decimal, Interval, Moment, Special, Value};

/// What stands in a record for a value, before its kind gives it a meaning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Literal<'a> {
    /// Null.
    Null,
    /// `boolean`.
    Bool(bool),
    /// `int8` to `int64`.
    Int(i64),
    /// `float`.
    Float32(f32),
    /// `double`, and every JSON number with a fraction or an exponent.
    Float64(f64),
    /// `string`.
    Text(&'a str),
    /// `bytes`.
    Bytes(&'a [u8]),
    /// The struct of a `VariableScaleDecimal`.
    Scaled(i32, &'a [u8]),
}

/// Why a literal makes no value of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfit(pub &'static str);

/// Makes the value that a literal stands for.
///
/// # Errors
///
/// The literal is of another type than the kind's, or says what the kind cannot mean.
pub fn value<'a>(kind: &Kind, literal: Literal<'a>) -> Result<Value<'a>, Unfit> {
    match literal {
        Literal::Null => Ok(Value::Null),
        Literal::Bool(bool) if *kind == Kind::Bool => Ok(Value::Bool(bool)),
        Literal::Int(int) => integer(kind, int),
        Literal::Float32(float) if *kind == Kind::Float32 => Ok(Value::Float32(float)),
        Literal::Float64(float) => double(kind, float),
        Literal::Text(text) => string(kind, text),
        Literal::Bytes(bytes) => octets(kind, bytes),
        Literal::Scaled(scale, unscaled) if *kind == Kind::VariableScaleDecimal => {
            binary(unscaled, scale)
        }
        Literal::Bool(_) | Literal::Float32(_) | Literal::Scaled(..) => Err(OTHER),
    }
}

const OTHER: Unfit = Unfit("is of another type than its schema says");

fn integer(kind: &Kind, int: i64) -> Result<Value<'static>, Unfit> {
    const BEYOND: Unfit = Unfit("is beyond its type");
    let fits = |is_inside: bool| if is_inside { Ok(Value::Int(int)) } else { Err(BEYOND) };
    match kind {
        Kind::Int8 => fits(i8::try_from(int).is_ok()),
        Kind::Int16 => fits(i16::try_from(int).is_ok()),
        Kind::Int32 | Kind::Year => fits(i32::try_from(int).is_ok()),
        Kind::Int64 => Ok(Value::Int(int)),
        // JSON prints a double without a fraction as an integer now and then.
        Kind::Float32 | Kind::Float64 => double(kind, exact(int).ok_or(BEYOND)?),
        Kind::Date => Ok(Value::Date(day(i32::try_from(int).map_err(|_| BEYOND)?))),
        Kind::Time(unit) => int.checked_mul(nanos_of(*unit)).map(Value::Time).ok_or(BEYOND),
        Kind::Timestamp(unit) => Ok(Value::Timestamp(moment(int, *unit))),
        Kind::MicroDuration => Ok(Value::Interval(span(i128::from(int) * 1000))),
        Kind::NanoDuration => Ok(Value::Interval(span(i128::from(int)))),
        _ => Err(OTHER),
    }
}

/// Returns the integer as a double when none of its digits is lost.
fn exact(int: i64) -> Option<f64> {
    let parts = (i32::try_from(int >> 32).ok()?, u32::try_from(int & 0xffff_ffff).ok()?);
    let double = f64::from(parts.0) * 4_294_967_296.0 + f64::from(parts.1);
    (int.unsigned_abs() <= 1 << 53).then_some(double)
}

fn span(nanos: i128) -> Interval {
    Interval { nanos, ..Interval::default() }
}

/// The connector prints an infinite date as the day of a constant of its own, which differs between
/// snapshot and streaming.
fn day(days: i32) -> Day {
    match days {
        -2_147_472_692 | -622_191_234 => Day::PositiveInfinity,
        -2_147_472_691 | -625_821_272 => Day::NegativeInfinity,
        days => Day::Finite(days),
    }
}

const fn nanos_of(unit: Unit) -> i64 {
    match unit {
        Unit::Millis => 1_000_000,
        Unit::Micros => 1_000,
        Unit::Nanos => 1,
    }
}

/// Splits a count of units since the epoch; PostgreSQL's infinities arrive as its own sentinels.
fn moment(count: i64, unit: Unit) -> Moment {
    match (unit, count) {
        (Unit::Nanos, i64::MAX) => return Moment::PositiveInfinity,
        (Unit::Nanos, i64::MIN) => return Moment::NegativeInfinity,
        _ => {}
    }
    let per_second = 1_000_000_000 / nanos_of(unit);
    let rest = count.rem_euclid(per_second) * nanos_of(unit);
    let nanos = u32::try_from(rest).expect("a rest is below a second");
    unbounded(Moment::Finite { seconds: count.div_euclid(per_second), nanos })
}

/// Recognises the moments that stand for PostgreSQL's infinities in all modes but nanoseconds.
fn unbounded(moment: Moment) -> Moment {
    match moment {
        Moment::Finite { seconds: 9_223_372_036_825, nanos: 200_000_000 } => {
            Moment::PositiveInfinity
        }
        Moment::Finite { seconds: -9_223_372_036_833, nanos: 600_000_000 } => {
            Moment::NegativeInfinity
        }
        moment => moment,
    }
}

fn double(kind: &Kind, float: f64) -> Result<Value<'static>, Unfit> {
    match kind {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the shortest digits of an f32 round to it"
        )]
        Kind::Float32 => Ok(Value::Float32(float as f32)),
        Kind::Float64 => Ok(Value::Float64(float)),
        _ => Err(OTHER),
    }
}

fn string<'a>(kind: &Kind, text: &'a str) -> Result<Value<'a>, Unfit> {
    const FORM: Unfit = Unfit("is not of its type's form");
    match kind {
        Kind::Text | Kind::Xml | Kind::Enum | Kind::EnumSet | Kind::Ltree | Kind::Tsvector => {
            Ok(Value::Text(text))
        }
        Kind::Json => Ok(Value::Json(text)),
        Kind::Uuid => uuid::Uuid::try_parse(text).map(Value::Uuid).map_err(|_| FORM),
        Kind::Float32 | Kind::Float64 => double(kind, named_double(text).ok_or(FORM)?),
        Kind::Decimal { .. } | Kind::VariableScaleDecimal => Ok(decimal(text)),
        Kind::ZonedTimestamp => {
            text::moment(text).map(|(moment, _)| Value::TimestampZoned(moment)).ok_or(FORM)
        }
        // The source's value has no zone: a `Z` says nothing, and another would shift the clock.
        Kind::IsoTimestamp => match text::moment(text) {
            Some((moment, 0)) => Ok(Value::Timestamp(unbounded(moment))),
            _ => Err(FORM),
        },
        Kind::IsoDate => match text::day(text.strip_suffix('Z').unwrap_or(text)) {
            Some(Day::Finite(days)) => Ok(Value::Date(day(days))),
            _ => Err(FORM),
        },
        Kind::IsoTime => match text::time(text) {
            Some((nanos, None | Some(0))) => Ok(Value::Time(nanos)),
            _ => Err(FORM),
        },
        Kind::ZonedTime => {
            let (nanos, offset) = text::time(text).ok_or(FORM)?;
            Ok(Value::TimeZoned { nanos, offset: offset.ok_or(FORM)? })
        }
        Kind::Interval => text::interval(text).map(Value::Interval).ok_or(FORM),
        _ => Err(OTHER),
    }
}

/// The names that JSON gives to doubles that are no number.
fn named_double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// Decimals in string mode; the names are those of the connector.
fn decimal(text: &str) -> Value<'_> {
    match text {
        "NAN" | "NaN" => Value::DecimalSpecial(Special::NaN),
        "POSITIVE_INFINITY" | "Infinity" => Value::DecimalSpecial(Special::PositiveInfinity),
        "NEGATIVE_INFINITY" | "-Infinity" => Value::DecimalSpecial(Special::NegativeInfinity),
        text => Value::Decimal(Decimal::Text(text)),
    }
}

/// A decimal as its unscaled integer, which has one byte at least.
fn binary(unscaled: &[u8], scale: i32) -> Result<Value<'_>, Unfit> {
    if unscaled.is_empty() {
        return Err(Unfit("is a decimal without a byte"));
    }
    Ok(Value::Decimal(Decimal::Binary { unscaled, scale }))
}

fn octets<'a>(kind: &Kind, bytes: &'a [u8]) -> Result<Value<'a>, Unfit> {
    match *kind {
        Kind::Bytes => Ok(Value::Bytes(bytes)),
        Kind::Decimal { scale, .. } => binary(bytes, scale),
        Kind::Bits { length } => Ok(Value::Bits { octets: bytes, length }),
        _ => Err(OTHER),
    }
}
