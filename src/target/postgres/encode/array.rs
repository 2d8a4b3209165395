//! Arrays: those of built-in types in their binary form, all others as the text that casts read.

use crate::decode::value::{Items, Value};
use crate::rows::NULL;
use crate::table::{Encode, Misfit};
use crate::target::postgres::catalog;
use crate::target::postgres::encode::{hstore, textual};

/// Writes an array of the built-in type of this number, as `array_recv` reads it. The column's
/// modifier is that of its elements.
pub(in crate::target::postgres) fn array<const ELEMENT: u32>(
    value: Value<'_>,
    modifier: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    const FIRST_INDEX: i32 = 1;
    const MAY_HAVE_NULL: i32 = 1;
    let Value::Array(items) = value else { return Err(Misfit::Type) };
    let encode = catalog::encode_of(ELEMENT).ok_or(Misfit::Type)?;
    let dimensions = i32::from(!items.parts.is_empty());
    for part in [dimensions, MAY_HAVE_NULL] {
        out.extend_from_slice(&part.to_be_bytes());
    }
    out.extend_from_slice(&ELEMENT.to_be_bytes());
    if items.parts.is_empty() {
        return probe(items, encode, modifier, out);
    }
    let head = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&FIRST_INDEX.to_be_bytes());
    let mut count = 0_i32;
    for value in items.values() {
        count = count.checked_add(1).ok_or(Misfit::Length)?;
        match value? {
            Value::Null => out.extend_from_slice(&NULL.to_be_bytes()),
            value => {
                let head = out.len();
                out.extend_from_slice(&[0; 4]);
                encode(value, modifier, out)?;
                let length = i32::try_from(out.len() - head - 4).map_err(|_| Misfit::Length)?;
                patch(out, head, length);
            }
        }
    }
    patch(out, head, count);
    Ok(())
}

fn patch(out: &mut [u8], head: usize, number: i32) {
    let slot = out.get_mut(head..head + 4).expect("the number's place was made before");
    slot.copy_from_slice(&number.to_be_bytes());
}

/// Finds out by a sample whether elements fit at all: an empty array has none to show it.
fn probe(items: Items<'_>, encode: Encode, modifier: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let length = out.len();
    let probed = items.kind.sample().map(|sample| encode(sample, modifier, out));
    out.truncate(length);
    match probed {
        None | Some(Err(Misfit::Type)) => Err(Misfit::Type),
        Some(_) => Ok(()),
    }
}

/// Writes an array of a type that travels as its text, such as `inet[]` or an enum's, as the text
/// that the server reads as an array.
pub(in crate::target::postgres) fn text_array(
    value: Value<'_>,
    modifier: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    texts(value, modifier, (textual, b','), out)
}

/// The same for an array of `hstore`, whose elements have a text of their own.
pub(in crate::target::postgres) fn hstore_array(
    value: Value<'_>,
    modifier: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    texts(value, modifier, (hstore, b','), out)
}

/// The same for an array of `box`, the one type whose elements have no comma between them.
pub(in crate::target::postgres) fn box_array(
    value: Value<'_>,
    modifier: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    texts(value, modifier, (textual, b';'), out)
}

fn texts(
    value: Value<'_>,
    modifier: i32,
    (encode, between): (Encode, u8),
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    let Value::Array(items) = value else { return Err(Misfit::Type) };
    out.push(b'{');
    probe(items, encode, modifier, out)?;
    for (index, value) in items.values().enumerate() {
        if index > 0 {
            out.push(between);
        }
        match value? {
            Value::Null => out.extend_from_slice(b"NULL"),
            value => quoted(out, |out| encode(value, modifier, out))?,
        }
    }
    out.push(b'}');
    Ok(())
}

/// Puts quotes around what a function writes, and a backslash before quotes and backslashes in it.
pub(super) fn quoted(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), Misfit>,
) -> Result<(), Misfit> {
    out.push(b'"');
    let start = out.len();
    write(out)?;
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\');
    let written = out.get(start..).unwrap_or_default();
    let (mut from, count) = (out.len(), written.iter().filter(|byte| is_special(byte)).count());
    out.resize(from + count, b'\\');
    let mut to = out.len();
    // From the end, so that each byte moves once.
    while let (true, Some(byte)) = (to > from, out.get(from - 1).copied()) {
        (from, to) = (from - 1, to - 1);
        set(out, to, byte);
        if is_special(&byte) {
            to -= 1;
            set(out, to, b'\\');
        }
    }
    out.push(b'"');
    Ok(())
}

fn set(out: &mut [u8], at: usize, byte: u8) {
    *out.get_mut(at).expect("the place was made before") = byte;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::value::kind::Kind;
    use crate::decode::value::packed::{Packer, Parts};
    use crate::decode::value::semantic::Literal;

    fn cell(
        encode: Encode,
        kind: &Kind,
        literals: &[Literal<'_>],
        modifier: i32,
    ) -> Result<Vec<u8>, Misfit> {
        let (mut packed, mut out) = (Vec::new(), Vec::new());
        let mut packer = Packer::new(&mut packed);
        literals.iter().for_each(|literal| packer.push(*literal));
        let items = Items { kind, parts: Parts::new(&packed) };
        encode(Value::Array(items), modifier, &mut out).map(|()| out)
    }

    #[test]
    fn an_array_brings_its_type_and_its_elements() {
        let literals = [Literal::Int(7), Literal::Null];
        let found = cell(array::<{ catalog::INT4 }>, &Kind::Int32, &literals, -1).unwrap();
        let numbers = [1, 1, 23, 2, 1, 4, 7, -1_i32];
        assert_eq!(found, numbers.map(i32::to_be_bytes).concat());
        let empty = cell(array::<{ catalog::INT4 }>, &Kind::Int32, &[], -1).unwrap();
        assert_eq!(empty, [0, 1, 23_i32].map(i32::to_be_bytes).concat());
    }

    #[test]
    fn an_element_is_refused_as_a_value_of_its_type_is() {
        let varchar = array::<{ catalog::VARCHAR }>;
        let long = [Literal::Text("abc")];
        assert!(cell(varchar, &Kind::Text, &long, 7).is_ok());
        assert_eq!(cell(varchar, &Kind::Text, &long, 6), Err(Misfit::Length));
        let int2 = array::<{ catalog::INT2 }>;
        assert_eq!(cell(int2, &Kind::Int32, &[Literal::Int(40_000)], -1), Err(Misfit::Range));
        assert_eq!(cell(int2, &Kind::Text, &[], -1), Err(Misfit::Type));
        assert_eq!(cell(int2, &Kind::Int32, &[Literal::Text("1")], -1), Err(Misfit::Form));
        assert_eq!(int2(Value::Int(1), -1, &mut Vec::new()), Err(Misfit::Type));
        assert_eq!(cell(text_array, &Kind::Int32, &[], -1), Err(Misfit::Type));
    }

    #[test]
    fn the_name_of_an_array_is_no_element() {
        let check = |text, expected: Option<Misfit>| {
            let found = cell(array::<{ catalog::TEXT }>, &Kind::Text, &[Literal::Text(text)], -1);
            assert_eq!(found.err(), expected, "{text}");
        };
        check("[Ljava.lang.String;@65228b5b", Some(Misfit::Nested));
        check("[[Ljava.lang.String;@ece179", Some(Misfit::Nested));
        check("[Ljava.lang.Object;@4f51b3e0", Some(Misfit::Nested));
        check("[Lorg.postgresql.util.PGobject;@1f", Some(Misfit::Nested));
        for own in ["[Ljava.lang.String;", "Ljava.lang.String;@1", "[Ljava.lang.String;@1x", "[1]"]
        {
            check(own, None);
        }
    }

    #[test]
    fn an_array_as_text_quotes_its_elements() {
        let literals = ["a,b", "q\"\\", "", "NULL"].map(Literal::Text);
        let found = cell(text_array, &Kind::Text, &literals, -1).unwrap();
        assert_eq!(found, br#"{"a,b","q\"\\","","NULL"}"#);
        let found = cell(text_array, &Kind::Text, &[Literal::Null], -1).unwrap();
        assert_eq!(found, b"{NULL}");
        assert_eq!(cell(text_array, &Kind::Text, &[], -1).unwrap(), b"{}");
        let maps = [Literal::Text(r#"{"a":"\"","n":null}"#), Literal::Null];
        let found = cell(hstore_array, &Kind::Json, &maps, -1).unwrap();
        assert_eq!(found, br#"{"\"a\"=>\"\\\"\",\"n\"=>NULL,",NULL}"#);
        assert_eq!(cell(hstore_array, &Kind::Text, &[], -1), Err(Misfit::Type));
        let boxes = [b"(3,4),(1,2)"; 2].map(|text| Literal::Bytes(text));
        let found = cell(box_array, &Kind::Bytes, &boxes, -1).unwrap();
        assert_eq!(found, br#"{"(3,4),(1,2)";"(3,4),(1,2)"}"#);
    }
}
