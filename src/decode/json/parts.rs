//! JSON arrays, maps and structs: one pass from the text into packed literals.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::decode::value::packed::{Packer, Packing, single};
use crate::decode::value::semantic::Literal;

/// Packs one value.
pub(in crate::decode) struct PackSeed<'a, 'p> {
    pub(in crate::decode) packing: Packing<'a>,
    pub(in crate::decode) packer: &'a mut Packer<'p>,
}

impl<'a, 'p> PackSeed<'a, 'p> {
    fn part<'s>(packing: Packing<'s>, packer: &'s mut Packer<'p>) -> PackSeed<'s, 'p> {
        PackSeed { packing, packer }
    }

    fn push<E>(self, literal: Literal<'_>) -> Result<(), E> {
        self.packer.push(literal);
        Ok(())
    }

    /// Takes a decimal as a text, or as a number, whose digits no double holds.
    fn decimal<E: Error>(self, text: &str) -> Result<(), E> {
        if text == "null" {
            return self.push(Literal::Null);
        }
        if !text.starts_with('"') {
            return self.push(Literal::Text(text));
        }
        let text = serde_json::from_str::<Cow<'_, str>>(text).map_err(E::custom)?;
        self.visit_str(&text)
    }
}

impl PackSeed<'_, '_> {
    /// Takes a number of single precision, or the name of one that is none.
    fn single<E: Error>(self, text: &str) -> Result<(), E> {
        if let Some(literal) = single(text) {
            return self.push(literal);
        }
        let seed = PackSeed { packing: Packing::Plain, packer: self.packer };
        serde_json::Deserializer::from_str(text).deserialize_any(seed).map_err(E::custom)
    }

    /// Takes a decimal as a struct that brings its scale, or as a number. A text is refused: it may
    /// be one of digits, or base64 of an integer whose scale no schema tells.
    fn scaled<E: Error>(self, text: &str) -> Result<(), E> {
        if text.starts_with('"') {
            return Err(E::custom("a text for a decimal that brings its scale"));
        }
        if !text.starts_with(['{', 'n']) {
            return self.push(Literal::Text(text));
        }
        let mut json = serde_json::Deserializer::from_str(text);
        let seed = PackSeed { packing: Packing::SCALED, packer: self.packer };
        json.deserialize_any(seed).map_err(E::custom)
    }
}

impl<'de> DeserializeSeed<'de> for PackSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        match self.packing {
            Packing::Decimal | Packing::Digits => {
                self.decimal(<&RawValue>::deserialize(json)?.get())
            }
            Packing::Single => self.single(<&RawValue>::deserialize(json)?.get()),
            Packing::Scaled => self.scaled(<&RawValue>::deserialize(json)?.get()),
            _ => json.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for PackSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value for {:?}", self.packing)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.push(Literal::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.push(Literal::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.push(Literal::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        let value = i64::try_from(value).map_err(E::custom)?;
        self.push(Literal::Int(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.push(Literal::Float64(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if !matches!(self.packing, Packing::Octets | Packing::Decimal) {
            return self.push(Literal::Text(text));
        }
        let is_base64 = self.packer.push_octets(|out| STANDARD.decode_vec(text, out).is_ok());
        if is_base64 { Ok(()) } else { Err(E::custom("no base64")) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { packing, packer } = self;
        let opened = packer.open();
        match packing {
            Packing::List(kind) => {
                let packing = kind.packing();
                while seq.next_element_seed(PackSeed::part(packing, packer))?.is_some() {}
            }
            // A map whose keys are no texts is a list of pairs.
            Packing::Pairs => while seq.next_element_seed(PairSeed(packer))?.is_some() {},
            _ => return Err(A::Error::custom("a list")),
        }
        packer.close(&opened);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { packing, packer } = self;
        let opened = packer.open();
        match packing {
            Packing::Pairs => {
                while map.next_key_seed(PackSeed::part(Packing::Plain, packer))?.is_some() {
                    map.next_value_seed(PackSeed::part(Packing::Plain, packer))?;
                }
            }
            Packing::Fields(fields) => {
                while let Some(found) = map.next_key_seed(FieldSeed(fields))? {
                    let Some((index, packing)) = found else {
                        map.next_value::<serde::de::IgnoredAny>()?;
                        continue;
                    };
                    packer.push(Literal::Int(index));
                    map.next_value_seed(PackSeed::part(packing, packer))?;
                }
            }
            _ => return Err(A::Error::custom("an object")),
        }
        packer.close(&opened);
        Ok(())
    }
}

/// Packs a pair that is a list of two.
struct PairSeed<'a, 'p>(&'a mut Packer<'p>);

impl<'de> DeserializeSeed<'de> for PairSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for PairSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pair")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        for _ in 0..2 {
            let part = PackSeed::part(Packing::Plain, self.0);
            seq.next_element_seed(part)?.ok_or_else(|| A::Error::custom("half a pair"))?;
        }
        match seq.next_element::<serde::de::IgnoredAny>()? {
            None => Ok(()),
            Some(_) => Err(A::Error::custom("more than a pair")),
        }
    }
}

/// Finds a field's index and packing by its name.
struct FieldSeed(&'static [(&'static str, Packing<'static>)]);

impl<'de> DeserializeSeed<'de> for FieldSeed {
    type Value = Option<(i64, Packing<'static>)>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldSeed {
    type Value = Option<(i64, Packing<'static>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        let mut fields = (0..).zip(self.0);
        Ok(fields
            .find(|(_, (name, _))| *name == text)
            .map(|(index, (_, packing))| (index, *packing)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::value::kind::Kind;
    use crate::decode::value::packed::Parts;

    fn check(kind: &Kind, json: &str, expected: Option<&str>) {
        let mut packed = Vec::new();
        let mut packer = Packer::new(&mut packed);
        let seed = PackSeed { packing: kind.packing(), packer: &mut packer };
        let mut json = serde_json::Deserializer::from_str(json);
        let is_packed = seed.deserialize(&mut json).and_then(|()| json.end()).is_ok();
        let found = is_packed.then(|| print(Parts::new(&packed)));
        assert_eq!(found.as_deref(), expected, "{kind:?}");
    }

    /// Prints literals side by side, parts in brackets.
    fn print(parts: Parts<'_>) -> String {
        let literals = parts.map(|literal| match literal {
            Literal::Parts(parts) => format!("[{}]", print(parts)),
            other => format!("{other:?}"),
        });
        literals.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_array_is_packed_by_its_elements() {
        let array = |kind: Kind| Kind::Array(Box::new(kind));
        check(&array(Kind::Int32), " [1, null,-2] ", Some("[Int(1) Null Int(-2)]"));
        check(&array(Kind::Text), "[]", Some("[]"));
        check(&array(Kind::Text), "null", Some("Null"));
        check(&array(Kind::Text), r#"["a\"\u00e4"]"#, Some(r#"[Text("a\"ä")]"#));
        check(&array(Kind::Bytes), r#"["AAH/"]"#, Some("[Bytes([0, 1, 255])]"));
        check(&array(Kind::Bytes), r#"["AA"]"#, None);
        check(
            &array(Kind::Float64),
            r#"[1.5,"NaN",2]"#,
            Some(r#"[Float64(1.5) Text("NaN") Int(2)]"#),
        );
        check(&array(array(Kind::Bool)), "[[true],[]]", Some("[[Bool(true)] []]"));
        let decimal = array(Kind::Decimal { scale: 2, precision: None });
        let number = "123456789012345678901234567890.10";
        let expected = format!("[Bytes([120]) Null Text(\"{number}\")]");
        check(&decimal, &format!(r#"["eA==",null,{number}]"#), Some(&expected));
        check(&array(Kind::Int32), "[1", None);
        check(&array(Kind::Int32), "{}", None);
        check(&array(Kind::Int32), "[[1]]", None);
        check(&array(Kind::Int64), "[18446744073709551615]", None);
    }

    #[test]
    fn a_struct_is_packed_by_its_fields_and_a_map_by_its_pairs() {
        let decimal = Kind::VariableScaleDecimal;
        check(
            &decimal,
            r#"{"scale":4,"value":"AYr3"}"#,
            Some("[Int(0) Int(4) Int(1) Bytes([1, 138, 247])]"),
        );
        check(&decimal, "1.50e3", Some("Text(\"1.50e3\")"));
        check(&decimal, r#""1234""#, None);
        check(&Kind::DecimalText, r#""NaN""#, Some("Text(\"NaN\")"));
        check(&Kind::DecimalText, "1.50e3", Some("Text(\"1.50e3\")"));
        check(&Kind::DecimalText, "null", Some("Null"));
        check(&decimal, r#"{"new":[{}],"scale":4}"#, Some("[Int(0) Int(4)]"));
        check(&Kind::Map, r#"{"a":"1","b":null}"#, Some(r#"[Text("a") Text("1") Text("b") Null]"#));
        check(
            &Kind::Map,
            r#"[["a","1"],["b",null]]"#,
            Some(r#"[Text("a") Text("1") Text("b") Null]"#),
        );
        check(&Kind::Map, r#"[["a"]]"#, None);
        check(&Kind::Map, r#"[["a","b","c"]]"#, None);
        let sparse = r#"{"dimensions":3,"vector":[[1,0.5],[3,2]]}"#;
        let expected = "[Int(0) Int(3) Int(1) [Int(1) Float64(0.5) Int(3) Int(2)]]";
        check(&Kind::SparseVector, sparse, Some(expected));
    }
}
