//! Cells: values in PostgreSQL's binary forms, as the types' receive functions read them.
//!
//! Nothing is rounded, cut or padded here that the server would not pad itself: a value that does
//! not fit is refused. What picks the function for a column is the catalogue.

mod array;
mod bits;
mod digits;
mod extension;
mod geometry;
mod money;
mod numeric;
mod text;
mod time;

pub(super) use array::{array, box_array, hstore_array, text_array};
pub(super) use bits::{bit, varbit, varbit_fixed};
pub(super) use extension::{hstore, sparse_vector, vector};
pub(super) use geometry::{geometry, point};
pub(super) use money::money;
pub(super) use numeric::numeric;
pub(super) use text::{
    bpchar, bpchar_padded, bpchar_unpadded, json, jsonb, label, name, single_char, text, textual,
    varchar, xml,
};
pub(super) use time::{date, interval, time, timestamp, timestamptz, timetz};

use uuid::Uuid;

use crate::decode::value::{Value, exact};
use crate::table::Misfit;
use crate::target::octets;

/// Writes a `boolean`, also from 0 and 1.
pub(super) fn boolean(value: Value<'_>, _: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let value = match value {
        Value::Bool(value) => value,
        // MariaDB's booleans are integers, which a snapshot says and the stream does not.
        Value::Int(value @ 0..=1) => value == 1,
        Value::Int(_) => return Err(Misfit::Range),
        _ => return Err(Misfit::Type),
    };
    out.push(u8::from(value));
    Ok(())
}

/// Writes a `smallint`.
pub(super) fn int2(value: Value<'_>, _: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let value = i16::try_from(integer(value)?).map_err(|_| Misfit::Range)?;
    out.extend_from_slice(&value.to_be_bytes());
    Ok(())
}

/// Writes an `integer`.
pub(super) fn int4(value: Value<'_>, _: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let value = i32::try_from(integer(value)?).map_err(|_| Misfit::Range)?;
    out.extend_from_slice(&value.to_be_bytes());
    Ok(())
}

/// Writes a `bigint`.
pub(super) fn int8(value: Value<'_>, _: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    out.extend_from_slice(&integer(value)?.to_be_bytes());
    Ok(())
}

/// Writes an `oid`.
pub(super) fn oid(value: Value<'_>, _: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let value = u32::try_from(integer(value)?).map_err(|_| Misfit::Range)?;
    out.extend_from_slice(&value.to_be_bytes());
    Ok(())
}

/// Takes an integer, also from a decimal without a fraction, as Debezium sends an unsigned `bigint`,
/// and from a boolean, as MariaDB's snapshot and stream differ.
fn integer(value: Value<'_>) -> Result<i64, Misfit> {
    match value {
        Value::Int(value) => Ok(value),
        Value::Bool(value) => Ok(value.into()),
        Value::Unsigned(value) => i64::try_from(value).map_err(|_| Misfit::Range),
        value @ Value::Decimal(_) => digits::units(value, 0),
        _ => Err(Misfit::Type),
    }
}

/// Writes a `real`.
pub(super) fn float4(value: Value<'_>, _: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let value = match value {
        Value::Float32(value) => value,
        Value::Float64(value) => narrow(value)?,
        Value::Int(value) => narrow(exact(value).ok_or(Misfit::Range)?)?,
        _ => return Err(Misfit::Type),
    };
    out.extend_from_slice(&value.to_be_bytes());
    Ok(())
}

/// Writes a `double precision`.
pub(super) fn float8(value: Value<'_>, _: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let value = match value {
        Value::Float32(value) => f64::from(value),
        Value::Float64(value) => value,
        Value::Int(value) => exact(value).ok_or(Misfit::Range)?,
        _ => return Err(Misfit::Type),
    };
    out.extend_from_slice(&value.to_be_bytes());
    Ok(())
}

/// Takes a float in single precision if that is exactly it.
fn narrow(value: f64) -> Result<f32, Misfit> {
    #[expect(clippy::cast_possible_truncation, reason = "what the cast loses is looked at next")]
    let narrow = value as f32;
    if f64::from(narrow) == value || value.is_nan() { Ok(narrow) } else { Err(Misfit::Range) }
}

/// Writes a `bytea`; a geometry with its reference system in it.
pub(super) fn bytea(value: Value<'_>, _: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    octets::write(value, out)
}

/// Writes a `uuid`.
pub(super) fn uuid(value: Value<'_>, _: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let value = match value {
        Value::Uuid(value) => value,
        Value::Text(value) => Uuid::try_parse(value).map_err(|_| Misfit::Form)?,
        _ => return Err(Misfit::Type),
    };
    out.extend_from_slice(value.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::value::Decimal;
    use crate::decode::value::spelling::Spelling;
    use crate::table::Encode;

    fn cell(encode: Encode, value: Value<'_>) -> Result<Vec<u8>, Misfit> {
        let mut out = Vec::new();
        encode(value, -1, &mut out).map(|()| out)
    }

    #[test]
    fn an_integer_is_big_endian_and_in_range() {
        assert_eq!(cell(int2, Value::Int(-2)), Ok(vec![0xff, 0xfe]));
        assert_eq!(cell(int2, Value::Int(32_768)), Err(Misfit::Range));
        assert_eq!(cell(int4, Value::Int(i64::from(i32::MIN))), Ok(vec![0x80, 0, 0, 0]));
        assert_eq!(cell(int4, Value::Int(1 << 31)), Err(Misfit::Range));
        assert_eq!(cell(int8, Value::Int(i64::MAX)), Ok(i64::MAX.to_be_bytes().to_vec()));
        assert_eq!(cell(oid, Value::Int(4_294_967_295)), Ok(vec![0xff; 4]));
        assert_eq!(cell(oid, Value::Int(-1)), Err(Misfit::Range));
        assert_eq!(cell(int8, Value::Text("1")), Err(Misfit::Type));
        assert_eq!(cell(int2, Value::Bool(true)), Ok(vec![0, 1]));
        assert_eq!(cell(int8, Value::Unsigned(1 << 63)), Err(Misfit::Range));
    }

    #[test]
    fn a_decimal_without_a_fraction_is_an_integer() {
        let decimal = |text| Value::Decimal(Decimal::Text(text));
        let unsigned = Value::Decimal(Decimal::Binary { unscaled: &[0, 0xff], scale: 0 });
        assert_eq!(cell(int2, unsigned), Ok(vec![0, 0xff]));
        assert_eq!(cell(int8, decimal("-9223372036854775808")), cell(int8, Value::Int(i64::MIN)));
        assert_eq!(cell(int8, decimal("9223372036854775808")), Err(Misfit::Range));
        assert_eq!(cell(int8, decimal("10.00")), cell(int8, Value::Int(10)));
        assert_eq!(cell(int8, decimal("10.5")), Err(Misfit::Range));
    }

    #[test]
    fn a_float_takes_only_what_it_can_hold_exactly() {
        let two_53 = 9_007_199_254_740_992;
        assert_eq!(
            cell(float8, Value::Int(-two_53)),
            cell(float8, Value::Float64(-(2f64.powi(53))))
        );
        assert_eq!(cell(float8, Value::Int(-5)), cell(float8, Value::Float64(-5.0)));
        assert_eq!(cell(float8, Value::Int(two_53 + 1)), Err(Misfit::Range));
        assert_eq!(cell(float4, Value::Float64(0.5)), Ok(vec![0x3f, 0, 0, 0]));
        assert_eq!(cell(float4, Value::Float64(0.1)), Err(Misfit::Range));
        assert_eq!(cell(float4, Value::Int(16_777_217)), Err(Misfit::Range));
        assert_eq!(cell(float4, Value::Float64(f64::NEG_INFINITY)), Ok(vec![0xff, 0x80, 0, 0]));
        assert!(cell(float4, Value::Float64(f64::NAN)).is_ok());
    }

    #[test]
    fn a_uuid_is_taken_from_its_text() {
        let id = Uuid::from_u128(7);
        assert_eq!(cell(uuid, Value::Text(&id.to_string())), cell(uuid, Value::Uuid(id)));
        assert_eq!(cell(uuid, Value::Text("seven")), Err(Misfit::Form));
    }

    #[test]
    fn a_boolean_is_true_or_false_also_in_digits() {
        assert_eq!(cell(boolean, Value::Bool(true)), Ok(vec![1]));
        assert_eq!(cell(boolean, Value::Int(0)), Ok(vec![0]));
        assert_eq!(cell(boolean, Value::Int(2)), Err(Misfit::Range));
        assert_eq!(cell(boolean, Value::Int(-1)), Err(Misfit::Range));
        assert_eq!(cell(boolean, Value::Text("t")), Err(Misfit::Type));
    }

    #[test]
    fn octets_are_taken_as_they_are_or_as_a_text_spells_them() {
        assert_eq!(cell(bytea, Value::Bytes(&[0, 255])), Ok(vec![0, 255]));
        let hex = |text| Value::Spelled { spelling: Spelling::Hex, text };
        assert_eq!(cell(bytea, hex("00ff")), Ok(vec![0, 255]));
        assert_eq!(cell(bytea, hex("00f")), Err(Misfit::Form));
        assert_eq!(cell(bytea, Value::Text("00ff")), Err(Misfit::Type));
    }
}
