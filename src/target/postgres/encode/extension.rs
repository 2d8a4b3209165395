//! Types of extensions, as the texts that they read: `hstore`, and the vectors of pgvector.

use std::fmt;

use serde::de::{Deserializer as _, Error as _, MapAccess, Visitor};

use crate::decode::value::Value;
use crate::table::Misfit;
use crate::target::parts_text;
use crate::target::postgres::encode::array::quoted;
use crate::target::postgres::encode::text::write;
use crate::target::text::print;

/// Writes an `hstore` from a map, or from a JSON object of texts and nulls.
pub(in crate::target::postgres) fn hstore(
    value: Value<'_>,
    _: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    match value {
        Value::Map(pairs) => {
            for pair in pairs.texts() {
                let (name, text) = pair?;
                hstore_pair(name, text, out)?;
            }
            Ok(())
        }
        Value::Json(text) => {
            let mut json = serde_json::Deserializer::from_str(text);
            let written = json.deserialize_map(HstoreVisitor(out));
            written.and_then(|()| json.end()).map_err(|_| Misfit::Form)
        }
        _ => Err(Misfit::Type),
    }
}

/// Writes a pair; the server allows a comma behind the last one.
fn hstore_pair(name: &str, text: Option<&str>, out: &mut Vec<u8>) -> Result<(), Misfit> {
    quoted(out, |out| write(name, out))?;
    out.extend_from_slice(b"=>");
    match text {
        Some(text) => quoted(out, |out| write(text, out))?,
        None => out.extend_from_slice(b"NULL"),
    }
    out.push(b',');
    Ok(())
}

struct HstoreVisitor<'a>(&'a mut Vec<u8>);

impl<'de> Visitor<'de> for HstoreVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        use std::borrow::Cow;
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            let text = map.next_value::<Option<Cow<'_, str>>>()?;
            hstore_pair(&name, text.as_deref(), self.0).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

/// Writes a `vector` or `halfvec`, whose elements are all there.
pub(in crate::target::postgres) fn vector(
    value: Value<'_>,
    _: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    let Value::Array(items) = value else { return Err(Misfit::Type) };
    if !matches!(items.kind.sample(), Some(Value::Float32(_) | Value::Float64(_))) {
        return Err(Misfit::Type);
    }
    out.push(b'[');
    for (index, value) in items.values().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        element(value?, out)?;
    }
    out.push(b']');
    Ok(())
}

/// Writes a `sparsevec`.
pub(in crate::target::postgres) fn sparse_vector(
    value: Value<'_>,
    _: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    let Value::SparseVector { dimensions, elements } = value else { return Err(Misfit::Type) };
    parts_text::write_sparse(dimensions, elements, out)
}

/// Writes a number of single precision by its shortest digits.
fn element(value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Misfit> {
    match value {
        Value::Float32(value) if value.is_finite() => print(out, format_args!("{value}")),
        // What single precision was printed with is a double of its own.
        Value::Float64(value) if value.is_finite() => print(out, format_args!("{value}")),
        _ => return Err(Misfit::Form),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::value::kind::Kind;
    use crate::decode::value::packed::{Packer, Parts};
    use crate::decode::value::semantic::Literal;
    use crate::decode::value::{Items, Pairs};
    use crate::table::Encode;

    fn packed(literals: &[Literal<'_>]) -> Vec<u8> {
        let mut packed = Vec::new();
        let mut packer = Packer::new(&mut packed);
        literals.iter().for_each(|literal| packer.push(*literal));
        packed
    }

    fn check(encode: Encode, value: Value<'_>, expected: Result<&str, Misfit>) {
        let mut out = Vec::new();
        let found = encode(value, -1, &mut out).map(|()| String::from_utf8(out).unwrap());
        assert_eq!(found.as_deref(), expected.as_deref());
    }

    #[test]
    fn a_map_and_a_json_object_are_the_same_hstore() {
        let pairs = packed(&[
            Literal::Text("q\"\\"),
            Literal::Text("x,y"),
            Literal::Text("n"),
            Literal::Null,
        ]);
        let expected = Ok(r#""q\"\\"=>"x,y","n"=>NULL,"#);
        check(hstore, Value::Map(Pairs(Parts::new(&pairs))), expected);
        check(hstore, Value::Json(r#"{"q\"\\":"x,y","n":null}"#), expected);
        check(hstore, Value::Json("{}"), Ok(""));
        check(hstore, Value::Json(r#"{"a":1}"#), Err(Misfit::Form));
        check(hstore, Value::Json(r#"{"a":"\u0000"}"#), Err(Misfit::Form));
        check(hstore, Value::Json("[]"), Err(Misfit::Form));
        check(hstore, Value::Text("a=>1"), Err(Misfit::Type));
    }

    #[test]
    fn a_vector_has_its_numbers_in_brackets() {
        let parts = packed(&[Literal::Float32(0.1), Literal::Float32(-2.0)]);
        let items = Items { kind: &Kind::Float32, parts: Parts::new(&parts) };
        check(vector, Value::Array(items), Ok("[0.1,-2]"));
        let parts = packed(&[Literal::Null]);
        let items = Items { kind: &Kind::Float64, parts: Parts::new(&parts) };
        check(vector, Value::Array(items), Err(Misfit::Form));
        let items = Items { kind: &Kind::Text, parts: Parts::default() };
        check(vector, Value::Array(items), Err(Misfit::Type));
    }
}
