//! The text of values with parts: arrays and maps as JSON, vectors as pgvector prints them.
//!
//! In JSON only numbers that every reader takes as they are stand bare; all else is a text in the
//! form that its value has by itself, octets are hexadecimal digits.

use crate::decode::value::Value;
use crate::decode::value::kind::Kind;
use crate::decode::value::packed::Parts;
use crate::decode::value::semantic::{Literal, value};
use crate::table::Misfit;
use crate::target::text::{self, print};

/// Writes a value as JSON.
pub(crate) fn write_json(value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Misfit> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(_) | Value::Int(_) | Value::Unsigned(_) => text::write(value, out)?,
        Value::Float32(value) if value.is_finite() => print(out, format_args!("{value:?}")),
        Value::Float64(value) if value.is_finite() => print(out, format_args!("{value:?}")),
        Value::Text(text) | Value::Json(text) => write_text(text, out)?,
        Value::Bytes(octets) => {
            out.push(b'"');
            octets.iter().for_each(|octet| print(out, format_args!("{octet:02x}")));
            out.push(b'"');
        }
        Value::Spelled { spelling, text } => {
            let mut octets = Vec::new();
            spelling.read(text, &mut octets).ok_or(Misfit::Form)?;
            write_json(Value::Bytes(&octets), out)?;
        }
        Value::Array(items) => {
            out.push(b'[');
            for (index, value) in items.values().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_json(value?, out)?;
            }
            out.push(b']');
        }
        Value::Map(pairs) => {
            out.push(b'{');
            for (index, pair) in pairs.texts().enumerate() {
                let (name, text) = pair?;
                if index > 0 {
                    out.push(b',');
                }
                write_text(name, out)?;
                out.push(b':');
                write_json(text.map_or(Value::Null, Value::Text), out)?;
            }
            out.push(b'}');
        }
        value => {
            out.push(b'"');
            text::write(value, out)?;
            out.push(b'"');
        }
    }
    Ok(())
}

fn write_text(text: &str, out: &mut Vec<u8>) -> Result<(), Misfit> {
    serde_json::to_writer(out, text).map_err(|_| Misfit::Form)
}

/// Writes a sparse vector as pgvector prints it.
pub(crate) fn write_sparse(
    dimensions: i64,
    elements: Parts<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    out.push(b'{');
    let mut parts = elements;
    while let Some(index) = parts.next() {
        let (Literal::Int(index), Some(element)) = (index, parts.next()) else {
            return Err(Misfit::Form);
        };
        let Ok(Value::Float64(element)) = value(&Kind::Float64, element) else {
            return Err(Misfit::Form);
        };
        if !out.ends_with(b"{") {
            out.push(b',');
        }
        print(out, format_args!("{index}:{element}"));
    }
    print(out, format_args!("}}/{dimensions}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::value::packed::Packer;
    use crate::decode::value::{Items, Pairs};

    fn packed(literals: &[Literal<'_>]) -> Vec<u8> {
        let mut packed = Vec::new();
        let mut packer = Packer::new(&mut packed);
        literals.iter().for_each(|literal| packer.push(*literal));
        packed
    }

    fn check(value: Value<'_>, expected: Result<&str, Misfit>) {
        let mut out = Vec::new();
        let found = text::write(value, &mut out).map(|()| String::from_utf8(out).unwrap());
        assert_eq!(found.as_deref(), expected.as_deref());
    }

    fn check_array(kind: &Kind, literals: &[Literal<'_>], expected: Result<&str, Misfit>) {
        let packed = packed(literals);
        check(Value::Array(Items { kind, parts: Parts::new(&packed) }), expected);
    }

    #[test]
    fn an_array_is_json_that_keeps_each_digit() {
        check_array(&Kind::Int64, &[Literal::Int(i64::MAX), Literal::Null], {
            Ok("[9223372036854775807,null]")
        });
        check_array(&Kind::Text, &[], Ok("[]"));
        check_array(&Kind::Text, &[Literal::Text("q\"\\\n")], Ok(r#"["q\"\\\n"]"#));
        check_array(&Kind::Float32, &[Literal::Float32(0.1)], Ok("[0.1]"));
        check_array(&Kind::Float64, &[Literal::Float64(f64::NAN)], Ok(r#"["NaN"]"#));
        check_array(&Kind::Float32, &[Literal::Float32(f32::NEG_INFINITY)], {
            Ok(r#"["-Infinity"]"#)
        });
        check_array(&Kind::Bytes, &[Literal::Bytes(&[0, 255])], Ok(r#"["00ff"]"#));
        check_array(&Kind::Date, &[Literal::Int(17_109)], Ok(r#"["2016-11-04"]"#));
        let decimal = Kind::Decimal { scale: 2, precision: None };
        check_array(&decimal, &[Literal::Bytes(&[110])], Ok(r#"["1.10"]"#));
        check_array(&Kind::Json, &[Literal::Text("1.10")], Ok(r#"["1.10"]"#));
        check_array(&Kind::Int32, &[Literal::Text("1")], Err(Misfit::Form));
    }

    #[test]
    fn a_map_is_a_json_object() {
        let pairs =
            packed(&[Literal::Text("a\""), Literal::Text("1"), Literal::Text("b"), Literal::Null]);
        check(Value::Map(Pairs(Parts::new(&pairs))), Ok(r#"{"a\"":"1","b":null}"#));
        let half = packed(&[Literal::Text("a")]);
        check(Value::Map(Pairs(Parts::new(&half))), Err(Misfit::Form));
    }

    #[test]
    fn points_and_sparse_vectors_are_printed_as_postgresql_does() {
        let elements =
            packed(&[Literal::Int(1), Literal::Float64(0.5), Literal::Int(3), Literal::Int(2)]);
        let sparse = |parts| Value::SparseVector { dimensions: 5, elements: parts };
        check(sparse(Parts::new(&elements)), Ok("{1:0.5,3:2}/5"));
        check(sparse(Parts::default()), Ok("{}/5"));
        check(sparse(Parts::new(&half_pair())), Err(Misfit::Form));
    }

    fn half_pair() -> Vec<u8> {
        packed(&[Literal::Int(1)])
    }
}
