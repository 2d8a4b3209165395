//! Widening: the type that holds what a column holds and what its source's column has come to hold.
//!
//! Only types that the server turns into the wider one without losing anything are known here; what
//! the source leaves open, such as the length of a text whose type is not propagated, asks for
//! nothing.

use crate::decode::value::kind::{Kind, SourceColumn};
use crate::table::Column;
use crate::target::postgres::catalog::{
    self, BIT, BPCHAR, FLOAT4, FLOAT8, INT2, INT4, INT8, NUMERIC, TEXT, TIME, TIMESTAMP, VARBIT,
    VARCHAR,
};
use crate::target::postgres::ddl::{self, Chosen};

/// Returns the column in a wider type; `None` where it needs none.
pub(super) fn widened(existing: &Column, source: &SourceColumn) -> Option<Column> {
    let wanted = ddl::column(source, false)?;
    let Chosen { id, name, modifier } = match (existing.type_id, wanted.type_id) {
        (INT2, INT4 | INT8 | FLOAT4 | FLOAT8) | (INT4, INT8 | FLOAT8) | (FLOAT4, FLOAT8)
            if source.kind != Kind::Year =>
        {
            Chosen { id: wanted.type_id, name: wanted.type_name, modifier: wanted.modifier }
        }
        // Not every integer is a real.
        (INT4, FLOAT4) => Chosen::plain(FLOAT8, "double precision"),
        (INT2 | INT4 | INT8, NUMERIC) | (NUMERIC, INT2 | INT4 | INT8 | NUMERIC) => {
            number(existing, &wanted, source)?
        }
        (BPCHAR | VARCHAR, BPCHAR | VARCHAR | TEXT) => text(existing, &wanted, source)?,
        (TIME, TIME) | (TIMESTAMP, TIMESTAMP)
            if (0..wanted.modifier).contains(&existing.modifier) =>
        {
            Chosen { id: wanted.type_id, name: wanted.type_name, modifier: wanted.modifier }
        }
        (BIT | VARBIT, BIT | VARBIT) => bits(existing, &wanted, source)?,
        _ => return None,
    };
    let encode = catalog::encode_of(id);
    Some(Column { type_id: id, type_name: name, modifier, encode, ..existing.clone() })
}

/// How many digits a number has before and after the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Digits {
    before: i32,
    after: i32,
}

impl Digits {
    /// Returns the most digits of a column's numbers; `None` where there is no bound.
    fn of(column: &Column) -> Option<Self> {
        let before = match column.type_id {
            INT2 => 5,
            INT4 => 10,
            INT8 => 19,
            _ if column.modifier < 0 => return None,
            _ => {
                let bits = column.modifier - ddl::HEADER;
                // The scale has eleven bits, the uppermost of which is its sign.
                let after = ((bits & 0x7ff) ^ 0x400) - 0x400;
                return Some(Self { before: (bits >> 16) - after, after });
            }
        };
        Some(Self { before, after: 0 })
    }
}

fn number(existing: &Column, wanted: &Column, source: &SourceColumn) -> Option<Chosen> {
    // A column without a bound holds everything.
    let existing = Digits::of(existing)?;
    let wanted = match (&source.kind, Digits::of(wanted)) {
        (_, Some(wanted)) => wanted,
        // The source tells only the digits behind the point.
        (Kind::Decimal { scale, precision: None }, None) if *scale <= existing.after => {
            return None;
        }
        (_, None) => return Some(Chosen::plain(NUMERIC, "numeric")),
    };
    let before = existing.before.max(wanted.before);
    let after = existing.after.max(wanted.after);
    if (Digits { before, after }) == existing {
        return None;
    }
    Some(ddl::numeric(after, u32::try_from(before + after).ok()))
}

fn text(existing: &Column, wanted: &Column, source: &SourceColumn) -> Option<Chosen> {
    let length = |column: &Column| u32::try_from(column.modifier - ddl::HEADER).ok();
    let own = length(existing)?;
    if source.kind != Kind::Text || source.source_type.is_none() {
        return None;
    }
    match length(wanted) {
        Some(length) if length <= own => None,
        Some(length) if (existing.type_id, wanted.type_id) == (BPCHAR, BPCHAR) => {
            Chosen::sized(BPCHAR, "character", Some(length), ddl::HEADER)
        }
        Some(length) => Chosen::sized(VARCHAR, "character varying", Some(length), ddl::HEADER),
        None => Some(Chosen::plain(TEXT, "text")),
    }
}

/// A string of a fixed length may begin with zeros, which `bit varying` does not know of, and what the
/// source has made of its own rows no record says: nothing leads to another `bit(n)`, so that the
/// table stops.
fn bits(existing: &Column, wanted: &Column, source: &SourceColumn) -> Option<Chosen> {
    let length = |column: &Column| u32::try_from(column.modifier).ok();
    let is_fixed = existing.type_id == BIT;
    let is_wanted_fixed = wanted.type_id == BIT && (is_fixed || source.source_type.is_some());
    if is_wanted_fixed {
        let is_same = is_fixed && length(existing) == length(wanted);
        return Chosen::sized(BIT, "bit", length(wanted), 0).filter(|_| !is_same);
    }
    let own = length(existing)?;
    match length(wanted) {
        Some(length) if length <= own && !is_fixed => None,
        Some(length) => Chosen::sized(VARBIT, "bit varying", Some(length.max(own)), 0),
        None => Some(Chosen::plain(VARBIT, "bit varying")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::decode::value::kind::{SourceType, Unit};
    use crate::target::postgres::named::typed;

    fn check(existing: &str, source: (Kind, Option<(&str, u32)>), expected: Option<&str>) {
        let (kind, source_type) = source;
        let source_type = source_type.map(|(name, length)| SourceType {
            name: name.to_owned(),
            length: Some(length),
            scale: None,
        });
        let column = typed("c", existing, true).unwrap();
        let source = SourceColumn { name: "c".to_owned(), kind, optional: true, source_type };
        let found = widened(&column, &source);
        assert!(found.iter().all(|found| found.not_null && found.encode.is_some()));
        let name = found.as_ref().map(|found| found.type_name.as_str());
        assert_eq!(name, expected, "{existing} for {source:?}");
    }

    fn decimal(precision: u32, scale: i32) -> (Kind, Option<(&'static str, u32)>) {
        (Kind::Decimal { scale, precision: Some(precision) }, None)
    }

    #[test]
    fn an_integer_grows_to_what_holds_both() {
        check("smallint", (Kind::Int32, None), Some("integer"));
        check("integer", (Kind::Int64, None), Some("bigint"));
        check("bigint", (Kind::Int16, None), None);
        check("smallint", (Kind::Year, None), None);
        check("smallint", decimal(4, 0), None);
        check("integer", decimal(12, 2), Some("numeric(12,2)"));
        check("bigint", decimal(12, 2), Some("numeric(21,2)"));
        check("bigint", decimal(20, 0), Some("numeric(20,0)"));
        check("bigint", (Kind::VariableScaleDecimal, None), Some("numeric"));
        check("integer", (Kind::Float64, None), Some("double precision"));
        check("integer", (Kind::Float32, None), Some("double precision"));
        check("bigint", (Kind::Float64, None), None);
        check("boolean", (Kind::Int16, None), None);
    }

    #[test]
    fn a_number_keeps_the_digits_of_both_on_either_side_of_the_point() {
        check("numeric(10,2)", decimal(12, 2), Some("numeric(12,2)"));
        check("numeric(10,2)", decimal(10, 4), Some("numeric(12,4)"));
        check("numeric(10,2)", decimal(8, 1), None);
        check("numeric(5)", (Kind::Int32, None), Some("numeric(10,0)"));
        check("numeric(10)", (Kind::Int32, None), None);
        check("numeric(1000,10)", decimal(1000, 20), Some("numeric"));
        check("numeric(10,2)", (Kind::VariableScaleDecimal, None), Some("numeric"));
        check("numeric(10,2)", (Kind::Decimal { scale: 2, precision: None }, None), None);
        check(
            "numeric(10,2)",
            (Kind::Decimal { scale: 3, precision: None }, None),
            Some("numeric"),
        );
        check("numeric", decimal(1000, 500), None);
        check("real", (Kind::Float64, None), Some("double precision"));
        check("double precision", (Kind::Float32, None), None);
    }

    #[test]
    fn a_text_grows_only_where_the_source_says_how_long_it_is() {
        let varchar = |length| (Kind::Text, Some(("VARCHAR", length)));
        check("varchar(10)", varchar(20), Some("character varying(20)"));
        check("varchar(10)", varchar(10), None);
        check("varchar(10)", varchar(2_147_483_647), Some("text"));
        check("varchar(10)", (Kind::Text, Some(("LONGTEXT", 0))), Some("text"));
        check("varchar(10)", (Kind::Text, None), None);
        check("varchar(10)", (Kind::Enum(Arc::default()), Some(("ENUM", 20))), None);
        check("varchar", varchar(20), None);
        check("char(3)", (Kind::Text, Some(("BPCHAR", 5))), Some("character(5)"));
        check("char(3)", varchar(5), Some("character varying(5)"));
        check("char(3)", varchar(3), None);
        check("text", varchar(5), None);
    }

    #[test]
    fn times_and_bits_grow_and_never_shrink() {
        check("time(3)", (Kind::Time(Unit::Micros), None), Some("time(6) without time zone"));
        check(
            "timestamp(0)",
            (Kind::Timestamp(Unit::Millis), None),
            Some("timestamp(3) without time zone"),
        );
        check("timestamp", (Kind::Timestamp(Unit::Nanos), None), None);
        check("timestamp(6)", (Kind::Timestamp(Unit::Millis), None), None);
        check("timestamptz(3)", (Kind::ZonedTimestamp, None), None);
        check("bit(3)", (Kind::Bits { length: Some(3) }, None), None);
        check("bit(3)", (Kind::Bits { length: Some(5) }, None), Some("bit(5)"));
        check("bit(5)", (Kind::Bits { length: Some(3) }, None), Some("bit(3)"));
        check(
            "bit(3)",
            (Kind::Bits { length: Some(5) }, Some(("VARBIT", 5))),
            Some("bit varying(5)"),
        );
        check("varbit(5)", (Kind::Bits { length: Some(5) }, Some(("BIT", 5))), Some("bit(5)"));
        check("varbit(5)", (Kind::Bits { length: Some(3) }, None), None);
        check("varbit(5)", (Kind::Bits { length: None }, None), Some("bit varying"));
        check("varbit", (Kind::Bits { length: Some(3) }, None), None);
    }

    #[test]
    fn what_no_type_holds_is_left_to_the_values() {
        check("integer", (Kind::Text, None), None);
        check("text", (Kind::Int64, None), None);
        check("integer", (Kind::Unsupported("point".to_owned()), None), None);
        check("date", (Kind::Timestamp(Unit::Micros), None), None);
    }
}
