//! One column's value in JSON: from its text into the row's next cell.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use crate::decode::found::Broken;
use crate::decode::json::parts::PackSeed;
use crate::decode::layout::Step;
use crate::decode::value::kind::Kind;
use crate::decode::value::packed::{Packer, Packing, Parts, single};
use crate::decode::value::semantic::Literal;
use crate::rows::RowWriter;

/// Writes one field as the row's next cell.
pub(super) struct FieldSeed<'a, 'r> {
    pub(super) step: &'a Step,
    pub(super) writer: &'a mut RowWriter<'r>,
    pub(super) scratch: &'a mut Vec<u8>,
    pub(super) broken: &'a mut Option<Broken>,
}

impl FieldSeed<'_, '_> {
    fn write<E: serde::de::Error>(self, literal: Literal<'_>) -> Result<(), E> {
        self.step.write(self.writer, literal).map_err(|broken| ended(self.broken, broken))
    }
}

fn ended<E: serde::de::Error>(broken: &mut Option<Broken>, by: Broken) -> E {
    *broken = Some(by);
    E::custom("unfit")
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        if self.step.is_blank {
            IgnoredAny::deserialize(json)?;
            return self.write(Literal::Null);
        }
        if let Some(kind) = &self.step.object {
            let text = <&RawValue>::deserialize(json)?.get();
            if text.starts_with('{') {
                return self.write_parts(kind, text);
            }
            let mut json = serde_json::Deserializer::from_str(text);
            return json.deserialize_any(self).map_err(D::Error::custom);
        }
        match self.step.kind.packing() {
            // A decimal as a JSON number has digits that no double holds.
            Packing::Decimal | Packing::Digits => {
                let text = <&RawValue>::deserialize(json)?;
                self.write_decimal(text.get())
            }
            Packing::Single => {
                let text = <&RawValue>::deserialize(json)?.get();
                match single(text) {
                    Some(literal) => self.write(literal),
                    None => serde_json::Deserializer::from_str(text)
                        .deserialize_any(self)
                        .map_err(D::Error::custom),
                }
            }
            Packing::List(_) | Packing::Pairs | Packing::Scaled | Packing::Fields(_) => {
                let text = <&RawValue>::deserialize(json)?;
                let kind = &self.step.kind;
                self.write_parts(kind, text.get())
            }
            Packing::Plain | Packing::Octets => json.deserialize_any(self),
        }
    }
}

impl FieldSeed<'_, '_> {
    /// Takes a decimal as a text or as a number.
    fn write_decimal<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if text == "null" {
            return self.write(Literal::Null);
        }
        match text.as_bytes() {
            [b'"', ..] => {}
            [b'{' | b'[', ..] => return self.write(Literal::Parts(Parts::default())),
            _ => return self.write(Literal::Text(text)),
        }
        let text = serde_json::from_str::<Cow<'_, str>>(text).map_err(E::custom)?;
        self.visit_str(&text)
    }
}

impl FieldSeed<'_, '_> {
    /// Takes an array, a map or a struct.
    fn write_parts<E: serde::de::Error>(self, kind: &Kind, text: &str) -> Result<(), E> {
        let Self { step, writer, scratch, broken } = self;
        scratch.clear();
        let mut packer = Packer::new(scratch);
        let mut json = serde_json::Deserializer::from_str(text);
        let seed = PackSeed { packing: kind.packing(), packer: &mut packer };
        let packed = seed.deserialize(&mut json);
        let literal = packed.ok().and_then(|()| Parts::new(scratch).next());
        let written = match literal {
            Some(literal) => step.write_as(kind, writer, literal),
            None => {
                let detail = format!("column \"{}\" is no {kind:?}", step.name);
                Err(Broken::Unfit(detail))
            }
        };
        written.map_err(|by| ended(broken, by))
    }
}

impl<'de> Visitor<'de> for FieldSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a column's value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.write(Literal::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.write(Literal::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.write(Literal::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(value) => self.write(Literal::Int(value)),
            Err(_) => {
                let detail = format!("column \"{}\" is beyond 64 bits", self.step.name);
                Err(ended(self.broken, Broken::Unfit(detail)))
            }
        }
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.write(Literal::Float64(value))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if !matches!(self.step.kind.packing(), Packing::Octets | Packing::Decimal) {
            return self.write(Literal::Text(text));
        }
        let Self { step, writer, scratch, broken } = self;
        scratch.clear();
        if STANDARD.decode_vec(text, scratch).is_err() {
            let detail = format!("column \"{}\" is no base64 ({:?})", step.name, step.kind);
            return Err(ended(broken, Broken::Unfit(detail)));
        }
        step.write(writer, Literal::Bytes(scratch)).map_err(|by| ended(broken, by))
    }

    // What has parts where none are expected is as unfit as a number for a text, whatever the parts.

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        self.write(Literal::Parts(Parts::default()))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        self.write(Literal::Parts(Parts::default()))
    }
}
