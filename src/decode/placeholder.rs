//! Placeholders: what stands in a record for a value that is not there, type by type.
//!
//! PostgreSQL's connector has no column that says so, and writes a value of the column's own type
//! (`UnchangedToastedPlaceholder`). For types that are not listed here it writes null, which
//! nobody can tell from NULL.

use std::sync::Arc;

use md5::{Digest as _, Md5};
use uuid::{Builder, Uuid};

use crate::decode::value::kind::Kind;
use crate::decode::value::packed::Parts;
use crate::decode::value::semantic::Literal;

/// The text that a connector is set to (`unavailable.value.placeholder`), and what it makes of it.
#[derive(Clone, Debug)]
pub struct Placeholder {
    text: Arc<str>,
    in_json: Arc<str>,
    uuid: Uuid,
}

impl Placeholder {
    /// Derives everything from the text.
    pub fn new(text: &str) -> Self {
        let name = serde_json::to_string(text).expect("a text is JSON");
        Self {
            text: text.into(),
            in_json: format!("{{{name}:{name}}}").into(),
            // Java's `UUID.nameUUIDFromBytes`.
            uuid: Builder::from_md5_bytes(Md5::digest(text).into()).into_uuid(),
        }
    }

    /// Returns whether a value of the kind may ever be unavailable.
    pub fn is_for(kind: &Kind) -> bool {
        !matches!(
            kind,
            Kind::Bool
                | Kind::Int8
                | Kind::Int16
                | Kind::Int32
                | Kind::Int64
                | Kind::Float32
                | Kind::Float64
                | Kind::Decimal { .. }
                | Kind::Bits { .. }
                | Kind::MicroDuration
                | Kind::NanoDuration
                | Kind::Date
                | Kind::Time(_)
                | Kind::Timestamp(_)
                | Kind::ZonedTime
                | Kind::ZonedTimestamp
                | Kind::Year
                | Kind::Uuid
                | Kind::Enum(_)
        )
    }

    /// Returns whether a literal stands for a value of the kind that is not there.
    #[inline]
    pub fn is(&self, kind: &Kind, literal: Literal<'_>) -> bool {
        match literal {
            Literal::Text(text) => {
                text == &*self.text || matches!(kind, Kind::Json) && text == &*self.in_json
            }
            Literal::Bytes(octets) => matches!(kind, Kind::Bytes) && octets == self.text.as_bytes(),
            Literal::Parts(parts) => match kind {
                Kind::Array(element) => self.is_list(element, parts),
                Kind::Map => parts.eq([Literal::Text(&self.text); 2]),
                _ => false,
            },
            _ => false,
        }
    }

    fn is_list(&self, element: &Kind, parts: Parts<'_>) -> bool {
        match element {
            Kind::Bytes => parts.eq([Literal::Bytes(self.text.as_bytes())]),
            Kind::Int16 | Kind::Int32 | Kind::Int64 | Kind::Date => {
                let octets = self.text.bytes().map(|octet| i64::from(octet.cast_signed()));
                !self.text.is_empty() && parts.eq(octets.map(Literal::Int))
            }
            Kind::Uuid => {
                let mut parts = parts;
                let (first, second) = (parts.next(), parts.next());
                let is_it = |text| Uuid::try_parse(text).is_ok_and(|uuid| uuid == self.uuid);
                matches!(first, Some(Literal::Text(text)) if is_it(text)) && second.is_none()
            }
            _ => parts.eq([Literal::Text(&self.text)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::value::packed::Packer;

    const DEFAULT: &str = "__debezium_unavailable_value";

    fn check(text: &str, kind: &Kind, literal: Literal<'_>, expected: bool) {
        assert_eq!(Placeholder::new(text).is(kind, literal), expected, "{kind:?} {literal:?}");
    }

    fn check_list(text: &str, element: Kind, literals: &[Literal<'_>], expected: bool) {
        let mut packed = Vec::new();
        let mut packer = Packer::new(&mut packed);
        literals.iter().for_each(|literal| packer.push(*literal));
        let parts = Literal::Parts(Parts::new(&packed));
        check(text, &Kind::Array(Box::new(element)), parts, expected);
    }

    #[test]
    fn each_type_has_a_placeholder_of_its_own() {
        for kind in [Kind::Text, Kind::Json, Kind::Xml, Kind::Tsvector, Kind::DecimalText] {
            check(DEFAULT, &kind, Literal::Text(DEFAULT), true);
            check(DEFAULT, &kind, Literal::Text(""), false);
        }
        check(DEFAULT, &Kind::Bytes, Literal::Bytes(DEFAULT.as_bytes()), true);
        check(DEFAULT, &Kind::Bits { length: None }, Literal::Bytes(DEFAULT.as_bytes()), false);
        let pair = format!("{{\"{DEFAULT}\":\"{DEFAULT}\"}}");
        check(DEFAULT, &Kind::Json, Literal::Text(&pair), true);
        check(DEFAULT, &Kind::Text, Literal::Text(&pair), false);
        let text = Literal::Text(DEFAULT);
        check_list(DEFAULT, Kind::Text, &[text], true);
        check_list(DEFAULT, Kind::Json, &[text], true);
        check_list(DEFAULT, Kind::Text, &[text, text], false);
        check_list(DEFAULT, Kind::Text, &[], false);
        check_list(DEFAULT, Kind::Bytes, &[Literal::Bytes(DEFAULT.as_bytes())], true);
        let uuid = Literal::Text("b68a35a7-17ad-35b3-af2a-ae46edb4545a");
        check_list(DEFAULT, Kind::Uuid, &[uuid], true);
        check_list(DEFAULT, Kind::Text, &[uuid], false);
        let codes = DEFAULT.bytes().map(|code| Literal::Int(code.into())).collect::<Vec<_>>();
        for kind in [Kind::Int32, Kind::Int64, Kind::Date] {
            check_list(DEFAULT, kind.clone(), &codes, true);
            check_list(DEFAULT, kind, &codes[1..], false);
        }
        check_list(DEFAULT, Kind::Float64, &codes, false);
        let mut packed = Vec::new();
        let mut packer = Packer::new(&mut packed);
        [text, text].into_iter().for_each(|literal| packer.push(literal));
        check(DEFAULT, &Kind::Map, Literal::Parts(Parts::new(&packed)), true);
    }

    #[test]
    fn a_placeholder_of_the_users_own_is_made_into_the_same_types() {
        check("«weg»", &Kind::Text, Literal::Text("«weg»"), true);
        check("«weg»", &Kind::Text, Literal::Text(DEFAULT), false);
        check("a\"b", &Kind::Json, Literal::Text(r#"{"a\"b":"a\"b"}"#), true);
        check_list("é", Kind::Int32, &[Literal::Int(-61), Literal::Int(-87)], true);
        let uuid = Literal::Text("5d41402a-bc4b-3a76-b971-9d911017c592");
        check_list("hello", Kind::Uuid, &[uuid], true);
        check_list("", Kind::Int32, &[], false);
    }
}
