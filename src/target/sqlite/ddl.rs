//! How SQLite spells types and DDL.
//!
//! A created column has a declared type whose affinity leaves its values alone, and which says what
//! the values are: everything that is exact but no 64-bit integer is kept as text. `DECIMAL_TEXT`
//! has TEXT affinity, where `DECIMAL` would have NUMERIC and lose digits; a name with `INT` in it
//! would have INTEGER, whatever else it says.

use crate::decode::value::kind::{Kind, SourceColumn, SourceType};
use crate::table::{Column, Table};
use crate::target::Dialect;
use crate::target::sqlite::{encode, sql};

/// SQLite.
pub(super) const DIALECT: Dialect = Dialect {
    column,
    widened,
    encode: |existing, _| existing.encode,
    // It has no enums.
    labelled: |existing, _| (existing.clone(), Vec::new()),
    typed,
    time_column,
    create_table: |table: &Table| vec![sql::create_table(table)],
    add_column: sql::add_column,
    alter_column: |_, _, _| None,
    bootstrap: || sql::BOOTSTRAP.map(str::to_owned).to_vec(),
    has_schemas: false,
    name_bytes_max: None,
};

/// Only a key's columns refuse NULL: SQLite cannot take NOT NULL back when the source does.
fn column(source: &SourceColumn, is_key: bool) -> Option<Column> {
    let declared = match &source.kind {
        // A mode of the connector makes these texts.
        Kind::Text if source.source_type.as_ref().is_some_and(is_octets) => "BLOB",
        Kind::Bool => "BOOLEAN",
        Kind::Int8 | Kind::Int16 | Kind::Int32 | Kind::Int64 | Kind::Year => "INTEGER",
        Kind::Float32 | Kind::Float64 => "REAL",
        Kind::Bytes | Kind::Encoded(_) | Kind::Geometry => "BLOB",
        Kind::Array(element) => {
            element.sample()?;
            "ARRAY_TEXT"
        }
        Kind::Map => "MAP_TEXT",
        // No name with `POINT` in it: that has `INT` in it.
        Kind::Point => "PLACE_TEXT",
        Kind::Figure(..) => "FIGURE_TEXT",
        Kind::SparseVector => "VECTOR_TEXT",
        Kind::Text | Kind::Xml | Kind::Enum(_) | Kind::EnumSet | Kind::Ltree | Kind::Tsvector => {
            "TEXT"
        }
        Kind::Decimal { .. } | Kind::VariableScaleDecimal | Kind::DecimalText | Kind::Unsigned => {
            "DECIMAL_TEXT"
        }
        Kind::Date | Kind::IsoDate | Kind::StructuredDate => "DATE_TEXT",
        Kind::Time(_) | Kind::Span(_) | Kind::IsoTime | Kind::StructuredTime => "TIME_TEXT",
        Kind::ZonedTime | Kind::StructuredZonedTime => "TIMETZ_TEXT",
        Kind::Timestamp(_) | Kind::IsoTimestamp | Kind::StructuredTimestamp => "TIMESTAMP_TEXT",
        Kind::ZonedTimestamp | Kind::StructuredZonedTimestamp => TIMESTAMPTZ,
        Kind::MicroDuration | Kind::NanoDuration | Kind::Interval | Kind::StructuredDuration => {
            "DURATION_TEXT"
        }
        Kind::Bits { .. } => "BITS_TEXT",
        Kind::Json => "JSON_TEXT",
        Kind::Uuid => "UUID_TEXT",
        Kind::Unsupported(_) | Kind::Untyped | Kind::Either(_) => return None,
    };
    Some(declare(&source.name, declared, is_key))
}

/// Only an integer with a fraction needs another type than its column has: every other class of
/// values is as wide as it gets.
fn widened(existing: &Column, source: &SourceColumn) -> Option<Column> {
    let has_fraction = match &source.kind {
        Kind::Decimal { scale, .. } => *scale > 0,
        kind => *kind == Kind::VariableScaleDecimal,
    };
    let is_integer = existing.type_name.to_ascii_uppercase().contains("INT");
    (has_fraction && is_integer).then(|| declare(&existing.name, "DECIMAL_TEXT", existing.not_null))
}

fn typed(name: &str, type_name: &str, not_null: bool) -> Option<Column> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_ (),".contains(c);
    let column = declare(name, type_name, not_null);
    column.encode.filter(|_| type_name.chars().all(is_plain)).map(|_| column)
}

fn is_octets(source: &SourceType) -> bool {
    matches!(source.name.as_str(), "BYTEA" | "BINARY" | "VARBINARY")
        || source.name.ends_with("BLOB")
}

const TIMESTAMPTZ: &str = "TIMESTAMPTZ_TEXT";

fn time_column(name: &str, not_null: bool) -> Column {
    declare(name, TIMESTAMPTZ, not_null)
}

fn declare(name: &str, declared: &str, not_null: bool) -> Column {
    Column {
        name: name.to_owned(),
        type_name: declared.to_owned(),
        type_id: 0,
        modifier: -1,
        not_null,
        generated: false,
        has_default: false,
        identity: None,
        enumeration: None,
        base_name: None,
        encode: encode::of_declared(declared, false),
    }
}
