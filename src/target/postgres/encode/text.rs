//! Characters: every type whose binary form is its text.

use serde::de::IgnoredAny;

use crate::decode::value::Value;
use crate::table::Misfit;
use crate::target::{self, parts_text};

/// The longest identifier in bytes (`NAMEDATALEN - 1`).
const NAME_BYTES_MAX: usize = 63;

/// What a modifier of a character type is above its length (`VARHDRSZ`).
pub(in crate::target::postgres) const HEADER: i32 = 4;

/// Writes a `text`, also from whatever else has one canonical text.
pub(in crate::target::postgres) fn text(
    value: Value<'_>,
    _: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    match value {
        Value::Text(value) | Value::Json(value) => write(value, out),
        // No other text has U+0000 in it: JSON escapes it.
        value => target::text::write(value, out),
    }
}

/// Writes a `character varying(n)`; the server would cut spaces beyond `n`, so they are refused.
pub(in crate::target::postgres) fn varchar(
    value: Value<'_>,
    modifier: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    let start = out.len();
    text(value, modifier, out)?;
    let written = out.get(start..).unwrap_or_default();
    if is_longer(written, modifier) { Err(Misfit::Length) } else { Ok(()) }
}

/// Writes a `character(n)` from what may be one: blanks behind the text are those that the server
/// adds if they fill it up.
pub(in crate::target::postgres) fn bpchar(
    value: Value<'_>,
    modifier: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    let start = out.len();
    varchar(value, modifier, out)?;
    let written = out.get(start..).unwrap_or_default();
    let is_full = limit(modifier).is_some_and(|limit| characters(written) == limit);
    trim(modifier, start, out, is_full)
}

/// Writes a `character(n)` from one that the source pads to its own length.
pub(in crate::target::postgres) fn bpchar_padded(
    value: Value<'_>,
    modifier: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    let start = out.len();
    text(value, modifier, out)?;
    trim(modifier, start, out, true)?;
    let written = out.get(start..).unwrap_or_default();
    if is_longer(written, modifier) { Err(Misfit::Length) } else { Ok(()) }
}

/// Writes a `character(n)` from a type whose blanks mean something.
pub(in crate::target::postgres) fn bpchar_unpadded(
    value: Value<'_>,
    modifier: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    let start = out.len();
    varchar(value, modifier, out)?;
    trim(modifier, start, out, false)
}

/// Takes off the blanks behind a `character(n)`, so that one value has one form.
fn trim(modifier: i32, start: usize, out: &mut Vec<u8>, is_padded: bool) -> Result<(), Misfit> {
    while modifier >= HEADER && out.len() > start && out.last() == Some(&b' ') {
        if !is_padded {
            return Err(Misfit::Blanks);
        }
        out.pop();
    }
    Ok(())
}

fn is_longer(text: &[u8], modifier: i32) -> bool {
    limit(modifier).is_some_and(|limit| text.len() > limit && characters(text) > limit)
}

/// Returns how many characters a column holds at most.
fn limit(modifier: i32) -> Option<usize> {
    usize::try_from(modifier.saturating_sub(HEADER)).ok()
}

fn characters(text: &[u8]) -> usize {
    // A byte that continues a character is 0b10xxxxxx.
    text.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

/// Writes a `name`.
pub(in crate::target::postgres) fn name(
    value: Value<'_>,
    modifier: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    let start = out.len();
    text(value, modifier, out)?;
    if out.len() - start > NAME_BYTES_MAX { Err(Misfit::Length) } else { Ok(()) }
}

/// Writes a `"char"`, which holds one byte, and none as zero.
pub(in crate::target::postgres) fn single_char(
    value: Value<'_>,
    _: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    let Value::Text(text) = value else { return Err(Misfit::Type) };
    match text.as_bytes() {
        [] => out.push(0),
        [byte @ 1..=0x7f] => out.push(*byte),
        [0] => return Err(Misfit::Form),
        _ => return Err(Misfit::Length),
    }
    Ok(())
}

/// Writes a label of an enum; whether the type has it, only the server knows.
pub(in crate::target::postgres) fn label(
    value: Value<'_>,
    modifier: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    name(only_text(value)?, modifier, out)
}

/// Writes the text form of a type that the server reads itself, such as `inet`; Debezium sends that
/// of types it does not know as octets.
pub(in crate::target::postgres) fn textual(
    value: Value<'_>,
    _: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    match value {
        Value::Bytes(octets) => write(str::from_utf8(octets).map_err(|_| Misfit::Form)?, out),
        Value::Spelled { spelling, text } => {
            let start = out.len();
            spelling.read(text, out).ok_or(Misfit::Form)?;
            let octets = out.get(start..).unwrap_or_default();
            let is_text = str::from_utf8(octets).is_ok_and(|text| !text.contains('\0'));
            if is_text { Ok(()) } else { Err(Misfit::Form) }
        }
        value @ Value::Figure(_) => text(value, -1, out),
        value => text(only_text(value)?, -1, out),
    }
}

/// Writes an `xml`.
pub(in crate::target::postgres) fn xml(
    value: Value<'_>,
    _: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    text(only_text(value)?, -1, out)
}

fn only_text(value: Value<'_>) -> Result<Value<'_>, Misfit> {
    if matches!(value, Value::Text(_)) { Ok(value) } else { Err(Misfit::Type) }
}

/// Writes a `json`, also from arrays and maps.
pub(in crate::target::postgres) fn json(
    value: Value<'_>,
    _: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    match value {
        Value::Json(value) | Value::Text(value) => {
            serde_json::from_str::<IgnoredAny>(value).map_err(|_| Misfit::Form)?;
            write(value, out)
        }
        Value::Map(_) | Value::Array(_) => parts_text::write_json(value, out),
        _ => Err(Misfit::Type),
    }
}

/// Writes a `jsonb`, which unlike `json` refuses U+0000 and lone surrogates.
pub(in crate::target::postgres) fn jsonb(
    value: Value<'_>,
    modifier: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    const VERSION: u8 = 1;
    out.push(VERSION);
    let start = out.len();
    json(value, modifier, out)?;
    if has_unstorable_escape(out.get(start..).unwrap_or_default()) {
        return Err(Misfit::Form);
    }
    Ok(())
}

/// Finds `\u0000` and a surrogate without its other half, in valid JSON.
fn has_unstorable_escape(json: &[u8]) -> bool {
    let mut rest = json;
    let mut is_high_before = false;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        if is_high_before && at > 0 {
            return true;
        }
        let (escape, after) = rest.split_at(at).1.split_at_checked(2).unwrap_or_default();
        let unit = after
            .get(..4)
            .filter(|_| escape.ends_with(b"u"))
            .and_then(|hex| u16::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        let is_low = unit.is_some_and(|unit| (0xdc00..0xe000).contains(&unit));
        if unit == Some(0) || is_high_before != is_low {
            return true;
        }
        is_high_before = unit.is_some_and(|unit| (0xd800..0xdc00).contains(&unit));
        rest = if unit.is_some() { after.split_at(4).1 } else { after };
    }
    is_high_before
}

pub(super) fn write(text: &str, out: &mut Vec<u8>) -> Result<(), Misfit> {
    if text.contains('\0') {
        return Err(Misfit::Form);
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::value::Day;
    use crate::decode::value::spelling::Spelling;
    use crate::table::Encode;

    fn cell(encode: Encode, value: Value<'_>, modifier: i32) -> Result<String, Misfit> {
        let mut out = Vec::new();
        encode(value, modifier, &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_length_counts_characters() {
        assert_eq!(cell(varchar, Value::Text("äöü"), 3 + HEADER), Ok("äöü".to_owned()));
        assert_eq!(cell(varchar, Value::Text("äöüa"), 3 + HEADER), Err(Misfit::Length));
        assert_eq!(cell(varchar, Value::Text("abc "), 3 + HEADER), Err(Misfit::Length));
        assert_eq!(cell(varchar, Value::Text("any"), -1), Ok("any".to_owned()));
        let char_3 = |encode, text| cell(encode, Value::Text(text), 3 + HEADER);
        let ab = || Ok("ab".to_owned());
        for encode in [bpchar as Encode, bpchar_padded, bpchar_unpadded] {
            assert_eq!(char_3(encode, "ab"), ab());
            assert_eq!(char_3(encode, "äöü"), Ok("äöü".to_owned()));
            assert_eq!(char_3(encode, "abcd"), Err(Misfit::Length));
            assert_eq!(cell(encode, Value::Text("ab  "), -1), Ok("ab  ".to_owned()));
        }
        assert_eq!(char_3(bpchar, "ab "), ab());
        assert_eq!(char_3(bpchar, "ä  "), Ok("ä".to_owned()));
        assert_eq!(char_3(bpchar, "a "), Err(Misfit::Blanks));
        assert_eq!(char_3(bpchar, "ab  "), Err(Misfit::Length));
        assert_eq!(char_3(bpchar_padded, "a "), Ok("a".to_owned()));
        assert_eq!(char_3(bpchar_padded, "ab   "), ab());
        assert_eq!(char_3(bpchar_unpadded, "ab "), Err(Misfit::Blanks));
        assert_eq!(char_3(bpchar_unpadded, "ab  "), Err(Misfit::Length));
        assert_eq!(cell(name, Value::Text(&"a".repeat(64)), -1), Err(Misfit::Length));
        assert_eq!(cell(single_char, Value::Text("a"), -1), Ok("a".to_owned()));
        assert_eq!(cell(single_char, Value::Text(""), -1), Ok("\0".to_owned()));
        assert_eq!(cell(single_char, Value::Text("ab"), -1), Err(Misfit::Length));
        assert_eq!(cell(single_char, Value::Text("é"), -1), Err(Misfit::Length));
    }

    #[test]
    fn text_takes_what_has_one_text_form() {
        assert_eq!(cell(text, Value::Int(-5), -1), Ok("-5".to_owned()));
        assert_eq!(cell(text, Value::Json("{ }"), -1), Ok("{ }".to_owned()));
        assert_eq!(cell(text, Value::Uuid(uuid::Uuid::nil()), -1).unwrap().len(), 36);
        assert_eq!(cell(text, Value::Bytes(b"a"), -1), Err(Misfit::Type));
        assert_eq!(cell(text, Value::Text("a\0b"), -1), Err(Misfit::Form));
        assert_eq!(cell(text, Value::Bool(true), -1), Ok("true".to_owned()));
        assert_eq!(cell(text, Value::Date(Day::Finite(17_109)), -1), Ok("2016-11-04".to_owned()));
        assert_eq!(cell(varchar, Value::Bool(true), 3 + HEADER), Err(Misfit::Length));
        assert_eq!(cell(textual, Value::Int(1), -1), Err(Misfit::Type));
        assert_eq!(cell(textual, Value::Bytes(b"{1,2}"), -1), Ok("{1,2}".to_owned()));
        assert_eq!(cell(textual, Value::Bytes(&[0xff]), -1), Err(Misfit::Form));
        let hex = |text| Value::Spelled { spelling: Spelling::Hex, text };
        assert_eq!(cell(textual, hex("7b317d"), -1), Ok("{1}".to_owned()));
        assert_eq!(cell(textual, hex("00"), -1), Err(Misfit::Form));
        assert_eq!(cell(textual, hex("ff"), -1), Err(Misfit::Form));
    }

    #[test]
    fn json_keeps_its_text_and_must_be_json() {
        assert_eq!(cell(json, Value::Json("{\"a\": 1 }"), -1), Ok("{\"a\": 1 }".to_owned()));
        assert_eq!(cell(jsonb, Value::Text("[1]"), -1), Ok("\u{1}[1]".to_owned()));
        assert_eq!(cell(jsonb, Value::Text("[1"), -1), Err(Misfit::Form));
        assert_eq!(cell(json, Value::Text(r#""\u0000""#), -1).unwrap().len(), 8);
    }

    #[test]
    fn jsonb_refuses_what_the_server_cannot_store() {
        let good = [r#""\\u0000""#, r#""\ud83d\ude00 \n\u00e4""#, r#"{"a\"":"\\"}"#, "\"ä\""];
        let bad =
            [r#""\u0000""#, r#""\ud83d""#, r#""\ude00""#, r#""\ud83dx\ude00""#, r#""\ud83d\n""#];
        for text in good {
            assert!(cell(jsonb, Value::Json(text), -1).is_ok(), "{text}");
        }
        for text in bad {
            assert_eq!(cell(jsonb, Value::Json(text), -1), Err(Misfit::Form), "{text}");
        }
    }
}
