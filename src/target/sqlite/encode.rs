//! Cells for SQLite: a tag for the storage class, then the content, as a bind takes it.
//!
//! Which encoder a column has follows from its declared type, by SQLite's own rules of affinity
//! (<https://sqlite.org/datatype3.html#determination_of_column_affinity>): a value goes into a column
//! only when the affinity leaves it as it is. A column of NUMERIC affinity would turn `1.10` into
//! 1.1, so it takes no decimals.

use crate::decode::value::{Value, exact};
use crate::table::{Encode, Misfit};
use crate::target::{octets, text};

const INT: u8 = b'i';
const REAL: u8 = b'r';
const TEXT: u8 = b't';
const BLOB: u8 = b'b';

/// The content of a cell, borrowed from the rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Content<'a> {
    Int(i64),
    Real(f64),
    Text(&'a str),
    Blob(&'a [u8]),
}

/// Reads what an encoder of this module wrote; `None` never comes out of one.
pub(super) fn content(cell: &[u8]) -> Option<Content<'_>> {
    let (tag, rest) = cell.split_first()?;
    match *tag {
        INT => Some(Content::Int(i64::from_be_bytes(*rest.first_chunk()?) ^ i64::MIN)),
        REAL => Some(Content::Real(f64::from_be_bytes(*rest.first_chunk()?))),
        TEXT => std::str::from_utf8(rest).ok().map(Content::Text),
        BLOB => Some(Content::Blob(rest)),
        _ => None,
    }
}

/// Writes a content as an encoder of this module would.
pub(super) fn write(content: Content<'_>, out: &mut Vec<u8>) {
    match content {
        Content::Int(value) => push_int(value, out),
        Content::Real(value) => {
            out.push(REAL);
            out.extend_from_slice(&value.to_be_bytes());
        }
        Content::Text(value) => {
            out.push(TEXT);
            out.extend_from_slice(value.as_bytes());
        }
        Content::Blob(value) => {
            out.push(BLOB);
            out.extend_from_slice(value);
        }
    }
}

/// Chooses the encoder for a column by its declared type.
pub(super) fn of_declared(declared: &str, is_strict: bool) -> Option<Encode> {
    let declared = declared.to_ascii_uppercase();
    let contains = |part: &str| declared.contains(part);
    let base = declared.split(['(', ' ']).next().unwrap_or_default();
    match base {
        _ if contains("INT") => Some(integer),
        _ if contains("CHAR") || contains("CLOB") || contains("TEXT") => Some(text),
        "" => Some(any),
        "ANY" if is_strict => Some(any),
        _ if contains("BLOB") => Some(blob),
        _ if contains("REAL") || contains("FLOA") || contains("DOUB") => Some(real),
        "BOOLEAN" | "BOOL" => Some(boolean),
        // What these write never looks like a number, so NUMERIC affinity leaves it alone.
        "DATE" | "DATETIME" | "TIME" | "TIMESTAMP" | "TIMESTAMPTZ" => Some(temporal),
        "UUID" | "GUID" => Some(uuid),
        "JSON" | "JSONB" => Some(json),
        _ => None,
    }
}

pub(super) fn integer(value: Value<'_>, _: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    match value {
        Value::Int(value) => push_int(value, out),
        Value::Bool(value) => push_int(i64::from(value), out),
        Value::Unsigned(value) => push_int(i64::try_from(value).map_err(|_| Misfit::Range)?, out),
        Value::Decimal(value) => push_int(text::integer(value)?, out),
        _ => return Err(Misfit::Type),
    }
    Ok(())
}

pub(super) fn boolean(value: Value<'_>, _: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    match value {
        Value::Bool(value) => push_int(i64::from(value), out),
        Value::Int(value @ 0..=1) => push_int(value, out),
        Value::Int(_) => return Err(Misfit::Range),
        _ => return Err(Misfit::Type),
    }
    Ok(())
}

/// -0.0 is refused: REAL affinity stores an integer in its place, which has no such zero.
pub(super) fn real(value: Value<'_>, modifier: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let is_negative_zero = match value {
        Value::Float32(value) => value == 0.0 && value.is_sign_negative(),
        Value::Float64(value) => value == 0.0 && value.is_sign_negative(),
        _ => false,
    };
    if is_negative_zero {
        return Err(Misfit::Range);
    }
    float(value, modifier, out)
}

/// NaN is refused: SQLite stores NULL in its place.
fn float(value: Value<'_>, _: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let value = match value {
        Value::Float32(value) => f64::from(value),
        Value::Float64(value) => value,
        Value::Int(value) => exact(value).ok_or(Misfit::Range)?,
        _ => return Err(Misfit::Type),
    };
    if value.is_nan() {
        return Err(Misfit::Range);
    }
    out.push(REAL);
    out.extend_from_slice(&value.to_be_bytes());
    Ok(())
}

pub(super) fn text(value: Value<'_>, _: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    out.push(TEXT);
    text::write(value, out)
}

pub(super) fn blob(value: Value<'_>, _: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    out.push(BLOB);
    octets::write(value, out)
}

fn temporal(value: Value<'_>, modifier: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    match value {
        Value::Date(_)
        | Value::Time(_)
        | Value::TimeZoned { .. }
        | Value::Timestamp(_)
        | Value::TimestampZoned(_) => text(value, modifier, out),
        _ => Err(Misfit::Type),
    }
}

fn uuid(value: Value<'_>, modifier: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    match value {
        Value::Uuid(_) => text(value, modifier, out),
        _ => Err(Misfit::Type),
    }
}

/// A document that is a bare number would be stored as one, without its spelling.
fn json(value: Value<'_>, modifier: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    match value {
        Value::Json(document)
            if !document.trim_start().starts_with(['{', '[', '"', 't', 'f', 'n']) =>
        {
            Err(Misfit::Form)
        }
        Value::Json(_) | Value::Map(_) => text(value, modifier, out),
        _ => Err(Misfit::Type),
    }
}

/// For a column without affinity: each value in the class that is closest to it.
fn any(value: Value<'_>, modifier: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    match value {
        Value::Int(_) | Value::Bool(_) => integer(value, modifier, out),
        Value::Float32(_) | Value::Float64(_) => float(value, modifier, out),
        Value::Bytes(_) | Value::Spelled { .. } | Value::Geometry(_) => blob(value, modifier, out),
        value => text(value, modifier, out),
    }
}

/// The sign bit is turned, so that the order of the bytes is the order of the numbers, and winners
/// in key order walk the table's tree from left to right.
fn push_int(value: i64, out: &mut Vec<u8>) {
    out.push(INT);
    out.extend_from_slice(&(value ^ i64::MIN).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::value::packed::Parts;
    use crate::decode::value::{Decimal, Pairs};

    fn encoded(declared: &str, value: Value<'_>) -> Result<Vec<u8>, Option<Misfit>> {
        let mut out = Vec::new();
        let encode = of_declared(declared, false).ok_or(None)?;
        encode(value, -1, &mut out).map_err(Some)?;
        Ok(out)
    }

    fn check(declared: &str, value: Value<'_>, expected: Content<'_>) {
        let cell = encoded(declared, value).unwrap();
        assert_eq!(content(&cell), Some(expected), "{value:?} into {declared}");
    }

    fn check_refused(declared: &str, value: Value<'_>, expected: Option<Misfit>) {
        assert_eq!(encoded(declared, value), Err(expected), "{value:?} into {declared}");
    }

    #[test]
    fn a_value_takes_the_class_that_its_column_leaves_alone() {
        check("BIGINT", Value::Int(i64::MIN), Content::Int(i64::MIN));
        check("INTEGER", Value::Int(i64::MAX), Content::Int(i64::MAX));
        check("INTEGER", Value::Decimal(Decimal::Text("-12.00")), Content::Int(-12));
        check("tinyint(1)", Value::Bool(true), Content::Int(1));
        check("BOOLEAN", Value::Bool(false), Content::Int(0));
        check("DOUBLE PRECISION", Value::Float64(-0.1), Content::Real(-0.1));
        check("REAL", Value::Float32(0.1), Content::Real(f64::from(0.1f32)));
        check("REAL", Value::Int(-9_007_199_254_740_992), Content::Real(-9_007_199_254_740_992.0));
        check("REAL", Value::Float64(f64::INFINITY), Content::Real(f64::INFINITY));
        check("TEXT", Value::Float64(-0.0), Content::Text("-0"));
        check("TEXT", Value::Float32(f32::NAN), Content::Text("NaN"));
        check("VARCHAR(20)", Value::Text("a\0ü"), Content::Text("a\0ü"));
        check("DECIMAL_TEXT", Value::Decimal(Decimal::Text("1.10")), Content::Text("1.10"));
        check("BLOB", Value::Bytes(&[0, 255]), Content::Blob(&[0, 255]));
        check("", Value::Bytes(b"x"), Content::Blob(b"x"));
        check("", Value::Float32(-0.0), Content::Real(-0.0));
        check("JSON", Value::Json("{\"a\": 1.10}"), Content::Text("{\"a\": 1.10}"));
        check("JSON", Value::Map(Pairs(Parts::default())), Content::Text("{}"));
    }

    #[test]
    fn what_a_column_would_change_is_refused() {
        check_refused("NUMERIC(12,2)", Value::Decimal(Decimal::Text("1.10")), None);
        check_refused("ANY", Value::Text("1.10"), None);
        check_refused("REAL", Value::Float64(f64::NAN), Some(Misfit::Range));
        check_refused("REAL", Value::Float64(-0.0), Some(Misfit::Range));
        check_refused("FLOAT", Value::Float32(-0.0), Some(Misfit::Range));
        check_refused("", Value::Float64(f64::NAN), Some(Misfit::Range));
        check_refused("REAL", Value::Int(9_007_199_254_740_993), Some(Misfit::Range));
        check_refused("REAL", Value::Decimal(Decimal::Text("1.10")), Some(Misfit::Type));
        check_refused("INTEGER", Value::Decimal(Decimal::Text("1.5")), Some(Misfit::Range));
        check_refused("INTEGER", Value::Text("1"), Some(Misfit::Type));
        check_refused("BOOLEAN", Value::Int(2), Some(Misfit::Range));
        check_refused("DATETIME", Value::Text("2024"), Some(Misfit::Type));
        check_refused("UUID", Value::Text("12"), Some(Misfit::Type));
        check_refused("JSON", Value::Json(" 1.10"), Some(Misfit::Form));
        check_refused("TEXT", Value::Bytes(b"x"), Some(Misfit::Type));
        check_refused("BLOB", Value::Text("x"), Some(Misfit::Type));
    }

    #[test]
    fn the_order_of_encoded_integers_is_the_order_of_the_numbers() {
        let ordered = [i64::MIN, -2, -1, 0, 1, 255, 256, i64::MAX];
        let cells = ordered.map(|value| encoded("INT", Value::Int(value)).unwrap());

        assert!(cells.is_sorted());
    }
}
