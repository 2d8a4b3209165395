//! DDL: which type holds a source's column, and the changes that a batch brings.

use sqlx::Row;
use sqlx::postgres::PgArguments;

use crate::batch::SchemaChange;
use crate::decode::value::kind::{FigureForm, Kind, SourceColumn, SourceType, Unit};
use crate::table::{Column, Encode, TableName};
use crate::target::postgres::error::{Doing, target_error};
use crate::target::postgres::labels::labelled;
use crate::target::postgres::named::typed;
use crate::target::postgres::session::{Session, bind};
use crate::target::postgres::widen::widened;
use crate::target::postgres::{catalog, encode, sql};
use crate::target::{Dialect, TargetError};

/// How PostgreSQL spells types and DDL.
pub(super) const DIALECT: Dialect = Dialect {
    column,
    widened,
    encode: encode_from,
    labelled,
    typed,
    time_column,
    create_table: sql::create_table,
    add_column: sql::add_column,
    // Nobody knows what the source has made of its own rows: those of one length are of another now.
    alter_column: |table, before, after| {
        let is_known = after.type_id != catalog::BIT || before.type_name == after.type_name;
        is_known.then(|| sql::alter_column(table, before, after))
    },
    bootstrap: sql::bootstrap,
    has_schemas: true,
    name_bytes_max: Some(63),
};

/// The most digits and the longest text that a modifier can say.
const PRECISION_MAX: u32 = 1000;
const LENGTH_MAX: u32 = 10_485_760;

/// The digits of the largest integer of 64 bits without a sign.
const UNSIGNED_DIGITS: u32 = 20;

/// What the modifiers of `numeric` and the character types are above what they say.
pub(super) const HEADER: i32 = 4;

/// A type with its modifier, as the catalogue will have it.
pub(super) struct Chosen {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) modifier: i32,
}

impl Chosen {
    pub(super) fn plain(id: u32, name: &str) -> Self {
        Self { id, name: name.to_owned(), modifier: -1 }
    }

    /// Chooses a type that takes one number, or what it is without.
    pub(super) fn sized(id: u32, name: &str, length: Option<u32>, header: i32) -> Option<Self> {
        let length = length.filter(|length| (1..=LENGTH_MAX).contains(length))?;
        let modifier = i32::try_from(length).ok()? + header;
        Some(Self { id, name: format!("{name}({length})"), modifier })
    }
}

/// Returns the column that holds every value of the source's column.
pub(super) fn column(source: &SourceColumn, is_key: bool) -> Option<Column> {
    let kind = &source.kind;
    let mut chosen = chosen(kind, source.source_type.as_ref())?;
    if is_key && matches!(chosen.id, catalog::JSON | catalog::XML) {
        chosen = Chosen::plain(catalog::TEXT, "text");
    }
    Some(Column {
        name: source.name.clone(),
        type_name: chosen.name,
        type_id: chosen.id,
        modifier: chosen.modifier,
        not_null: is_key || !source.optional,
        generated: false,
        has_default: false,
        identity: None,
        enumeration: None,
        base_name: None,
        encode: catalog::encode_of_chosen(chosen.id),
    })
}

/// Chooses by the source's own type where it says more than the schema.
fn chosen(kind: &Kind, source: Option<&SourceType>) -> Option<Chosen> {
    if let Kind::Array(element) = kind {
        let source = source.cloned().map(|source| {
            let name = source.name.trim_start_matches('_').to_owned();
            SourceType { name, ..source }
        });
        return listed(chosen(element, source.as_ref())?);
    }
    source.and_then(|source| propagated(kind, source)).or_else(|| choose(kind))
}

/// Returns the array of a type.
fn listed(element: Chosen) -> Option<Chosen> {
    let Chosen { id, name, modifier } = element;
    Some(Chosen { id: catalog::array_of(id)?, name: format!("{name}[]"), modifier })
}

/// Chooses by what the schema says of every source.
fn choose(kind: &Kind) -> Option<Chosen> {
    let (id, name) = match kind {
        Kind::Bool => (catalog::BOOL, "boolean"),
        Kind::Int8 | Kind::Int16 => (catalog::INT2, "smallint"),
        Kind::Int32 | Kind::Year => (catalog::INT4, "integer"),
        Kind::Int64 => (catalog::INT8, "bigint"),
        Kind::Float32 => (catalog::FLOAT4, "real"),
        Kind::Float64 => (catalog::FLOAT8, "double precision"),
        Kind::Text | Kind::Enum(_) | Kind::EnumSet | Kind::Ltree | Kind::SparseVector => {
            (catalog::TEXT, "text")
        }
        Kind::Tsvector => (catalog::TSVECTOR, "tsvector"),
        Kind::Bytes | Kind::Encoded(_) | Kind::Geometry => (catalog::BYTEA, "bytea"),
        Kind::Unsigned => return Some(numeric(0, Some(UNSIGNED_DIGITS))),
        Kind::Decimal { scale, precision } => return Some(numeric(*scale, *precision)),
        Kind::VariableScaleDecimal | Kind::DecimalText => (catalog::NUMERIC, "numeric"),
        Kind::Date | Kind::IsoDate | Kind::StructuredDate => (catalog::DATE, "date"),
        Kind::Time(unit) => return Some(timed(catalog::TIME, "time", *unit)),
        Kind::IsoTime | Kind::StructuredTime => {
            return Some(timed(catalog::TIME, "time", Unit::Micros));
        }
        Kind::Timestamp(unit) => return Some(timed(catalog::TIMESTAMP, "timestamp", *unit)),
        Kind::IsoTimestamp | Kind::StructuredTimestamp => {
            return Some(timed(catalog::TIMESTAMP, "timestamp", Unit::Micros));
        }
        Kind::ZonedTime | Kind::StructuredZonedTime => (catalog::TIMETZ, "time with time zone"),
        Kind::ZonedTimestamp | Kind::StructuredZonedTimestamp => {
            (catalog::TIMESTAMPTZ, TIMESTAMPTZ_NAME)
        }
        Kind::MicroDuration
        | Kind::NanoDuration
        | Kind::Interval
        | Kind::Span(_)
        | Kind::StructuredDuration => (catalog::INTERVAL, "interval"),
        Kind::Bits { length } => {
            let fixed = Chosen::sized(catalog::BIT, "bit", *length, 0);
            return fixed.or_else(|| Some(Chosen::plain(catalog::VARBIT, "bit varying")));
        }
        // It keeps the digits of -0 and keys that come twice, which a `json` of the source may have.
        Kind::Json => (catalog::JSON, "json"),
        Kind::Map => (catalog::JSONB, "jsonb"),
        Kind::Point => (catalog::POINT, "point"),
        Kind::Figure(FigureForm::Circle, _) => (catalog::CIRCLE, "circle"),
        Kind::Figure(FigureForm::Line, _) => (catalog::LINE, "line"),
        Kind::Figure(FigureForm::Geometry, _) => return None,
        Kind::Array(_) => return chosen(kind, None),
        Kind::Xml => (catalog::XML, "xml"),
        Kind::Uuid => (catalog::UUID, "uuid"),
        Kind::Unsupported(_) | Kind::Untyped | Kind::Either(_) => return None,
    };
    Some(Chosen::plain(id, name))
}

/// Only the source's type tells what blanks behind a `character(n)` mean, and whether a string of
/// bits begins with zeros that the connector does not send.
fn encode_from(existing: &Column, source: &SourceColumn) -> Option<Encode> {
    let name = source.source_type.as_ref().map(|it| it.name.as_str());
    match (existing.type_id, name) {
        (catalog::BPCHAR, Some("BPCHAR")) => Some(encode::bpchar_padded),
        (catalog::BPCHAR, Some(_)) => Some(encode::bpchar_unpadded),
        (catalog::VARBIT, Some("BIT")) => Some(encode::varbit_fixed),
        _ => existing.encode,
    }
}

const TIMESTAMPTZ_NAME: &str = "timestamp with time zone";

/// Chooses what the source's own type allows to say more exactly.
fn propagated(kind: &Kind, source: &SourceType) -> Option<Chosen> {
    let (id, name) = match (kind, source.name.as_str()) {
        // Only PostgreSQL's own pads, and calls itself BPCHAR.
        (Kind::Text, "VARCHAR" | "CHARACTER VARYING" | "NVARCHAR" | "CHAR" | "NCHAR") => {
            return Chosen::sized(catalog::VARCHAR, "character varying", source.length, HEADER);
        }
        (Kind::Text, "BPCHAR") => {
            return Chosen::sized(catalog::BPCHAR, "character", source.length, HEADER);
        }
        (Kind::Bits { .. }, "VARBIT" | "BIT VARYING") => {
            let sized = Chosen::sized(catalog::VARBIT, "bit varying", source.length, 0);
            return sized.or_else(|| Some(Chosen::plain(catalog::VARBIT, "bit varying")));
        }
        // A mode of the connector makes these texts.
        (Kind::Text, "NUMERIC" | "DECIMAL") => {
            return Some(numeric(source.scale.unwrap_or(0), source.length));
        }
        (Kind::Text, "BYTEA" | "BINARY" | "VARBINARY") => (catalog::BYTEA, "bytea"),
        (Kind::Text, "BLOB" | "TINYBLOB" | "MEDIUMBLOB" | "LONGBLOB") => (catalog::BYTEA, "bytea"),
        (Kind::Json, "JSONB" | "HSTORE") => (catalog::JSONB, "jsonb"),
        (Kind::Int64, "OID") => (catalog::OID, "oid"),
        // The connector sends types that it does not know as octets, which are their text; later
        // ones send figures as geometries.
        (Kind::Text | Kind::Bytes | Kind::Figure(..), source) => {
            let found = catalog::TEXTUAL.iter().find(|(_, _, name)| *name == source)?;
            (found.0, found.1)
        }
        _ => return None,
    };
    Some(Chosen::plain(id, name))
}

/// Chooses `numeric(p,s)` where the schema says both and they are of the usual kind.
pub(super) fn numeric(scale: i32, precision: Option<u32>) -> Chosen {
    let usual = precision
        .filter(|precision| (1..=PRECISION_MAX).contains(precision))
        .and_then(|precision| i32::try_from(precision).ok())
        .filter(|precision| (0..=*precision).contains(&scale));
    match usual {
        Some(precision) => Chosen {
            id: catalog::NUMERIC,
            name: format!("numeric({precision},{scale})"),
            modifier: (precision << 16 | scale) + HEADER,
        },
        None => Chosen::plain(catalog::NUMERIC, "numeric"),
    }
}

fn timed(id: u32, name: &str, unit: Unit) -> Chosen {
    let digits = match unit {
        Unit::Millis => 3,
        Unit::Micros | Unit::Nanos | Unit::WholeMicrosInNanos => 6,
    };
    Chosen { id, name: format!("{name}({digits}) without time zone"), modifier: digits }
}

/// Returns a column for a time of writing.
fn time_column(name: &str, not_null: bool) -> Column {
    Column {
        name: name.to_owned(),
        type_name: TIMESTAMPTZ_NAME.to_owned(),
        type_id: catalog::TIMESTAMPTZ,
        modifier: -1,
        not_null,
        generated: false,
        has_default: false,
        identity: None,
        enumeration: None,
        base_name: None,
        encode: catalog::encode_of(catalog::TIMESTAMPTZ),
    }
}

/// Makes our own tables where they are not; needs no right to create when they are.
pub(super) async fn bootstrap(session: &mut Session) -> Result<(), TargetError> {
    let failed = |error| target_error(error, Doing::Ddl);
    if is_bootstrapped(session).await.map_err(failed)? {
        return Ok(());
    }
    session.run_all(sql::START.to_owned()).await.map_err(failed)?;
    session.run_all(sql::LOCK_DDL.to_owned()).await.map_err(failed)?;
    if !is_bootstrapped(session).await.map_err(failed)? {
        for statement in sql::bootstrap() {
            session.run_all(statement).await.map_err(failed)?;
        }
    }
    session.run_all(sql::COMMIT.to_owned()).await.map_err(failed)
}

/// Returns whether our own tables are there.
pub(super) async fn is_bootstrapped(session: &mut Session) -> Result<bool, sqlx::Error> {
    let rows = session.fetch(sql::IS_BOOTSTRAPPED.to_owned(), PgArguments::default()).await?;
    rows.first().map_or(Ok(false), |row| row.try_get(0))
}

/// Adds the labels that a batch's rows may have, each in a transaction of its own: in the one that
/// adds it no row may have it. One that another member has added meanwhile is left alone.
pub(super) async fn add_labels(
    session: &mut Session,
    changes: &[SchemaChange],
) -> Result<(), TargetError> {
    for statement in changes.iter().flat_map(|change| &change.labels) {
        let added = session.run_all(statement.clone()).await;
        added.map_err(|error| target_error(error, Doing::Ddl))?;
    }
    Ok(())
}

/// Makes the schema changes of a batch, inside its transaction.
///
/// A change that another member has made meanwhile is skipped; a table that stands otherwise than
/// the change was planned for is a stale layout.
pub(super) async fn change(
    session: &mut Session,
    changes: &[SchemaChange],
) -> Result<(), TargetError> {
    let failed = |error| target_error(error, Doing::Ddl);
    session.run_all(sql::LOCK_DDL.to_owned()).await.map_err(failed)?;
    let mut changes = changes.iter().collect::<Vec<_>>();
    // Stable: two changes of one table stay in their order.
    changes.sort_by(|a, b| a.after.name.cmp(&b.after.name));
    for change in &changes {
        let table = &change.after.name;
        if let [Some(_)] = catalog::tables(session, &[table]).await.map_err(failed)?.as_slice() {
            let gone = |error| target_error(error, Doing::Rows(table));
            session.run_all(sql::lock_exclusive(table)).await.map_err(gone)?;
        }
    }
    for change in changes {
        let table = &change.after.name;
        let now = catalog::tables(session, &[table]).await.map_err(failed)?.pop().flatten();
        if now.as_ref() == Some(&*change.after) {
            continue;
        }
        if now != change.before {
            return Err(TargetError::StaleLayout { table: table.clone() });
        }
        for statement in &change.statements {
            if is_needed(session, table, statement).await.map_err(failed)? {
                session.run_all(statement.clone()).await.map_err(failed)?;
            }
        }
    }
    Ok(())
}

/// Returns whether a statement does more than to create a schema that is there.
pub(super) async fn is_needed(
    session: &mut Session,
    table: &TableName,
    statement: &str,
) -> Result<bool, sqlx::Error> {
    let schema = sql::schema(table);
    if statement != sql::create_schema(schema) {
        return Ok(true);
    }
    let mut arguments = PgArguments::default();
    bind(&mut arguments, schema)?;
    let rows = session.fetch(sql::SCHEMA_EXISTS.to_owned(), arguments).await?;
    rows.first().map_or(Ok(true), |row| row.try_get::<bool, _>(0).map(|exists| !exists))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::value::Value;
    use crate::table::Misfit;

    fn check(kind: Kind, source_type: Option<(&str, u32)>, expected: Option<(&str, i32)>) {
        let source_type = source_type.map(|(name, length)| SourceType {
            name: name.to_owned(),
            length: Some(length),
            scale: None,
        });
        let source = SourceColumn { name: "c".to_owned(), kind, optional: true, source_type };
        let column = column(&source, false);
        let found = column.as_ref().map(|column| (column.type_name.as_str(), column.modifier));
        assert_eq!(found, expected, "{source:?}");
    }

    fn decimal(scale: i32, precision: Option<u32>) -> Kind {
        Kind::Decimal { scale, precision }
    }

    #[test]
    fn a_type_holds_every_value_of_the_source() {
        check(Kind::Int8, None, Some(("smallint", -1)));
        check(decimal(2, Some(12)), None, Some(("numeric(12,2)", 12 * 65_536 + 6)));
        check(decimal(-3, Some(5)), None, Some(("numeric", -1)));
        check(decimal(65_533, Some(5)), None, Some(("numeric", -1)));
        check(decimal(2, None), None, Some(("numeric", -1)));
        check(Kind::Time(Unit::Millis), None, Some(("time(3) without time zone", 3)));
        check(Kind::Timestamp(Unit::Nanos), None, Some(("timestamp(6) without time zone", 6)));
        check(Kind::Bits { length: Some(7) }, None, Some(("bit(7)", 7)));
        check(Kind::Bits { length: Some(2_147_483_647) }, None, Some(("bit varying", -1)));
        check(Kind::Bits { length: None }, None, Some(("bit varying", -1)));
        check(Kind::Figure(FigureForm::Circle, None), None, Some(("circle", -1)));
        check(Kind::Json, None, Some(("json", -1)));
        check(Kind::Map, None, Some(("jsonb", -1)));
        check(Kind::Untyped, None, None);
        check(Kind::Unsupported("point".to_owned()), None, None);
    }

    #[test]
    fn a_propagated_type_says_more() {
        check(Kind::Text, Some(("VARCHAR", 10)), Some(("character varying(10)", 14)));
        check(Kind::Text, Some(("VARCHAR", 2_147_483_647)), Some(("text", -1)));
        check(Kind::Text, Some(("BPCHAR", 3)), Some(("character(3)", 7)));
        check(Kind::Json, Some(("JSONB", 0)), Some(("jsonb", -1)));
        check(Kind::Bits { length: Some(8) }, Some(("VARBIT", 8)), Some(("bit varying(8)", 8)));
        check(Kind::Text, Some(("INET", 0)), Some(("inet", -1)));
        check(Kind::Bytes, Some(("TSMULTIRANGE", 0)), Some(("tsmultirange", -1)));
        check(Kind::Figure(FigureForm::Geometry, None), Some(("PATH", 0)), Some(("path", -1)));
        check(Kind::Int64, Some(("OID", 0)), Some(("oid", -1)));
    }

    #[test]
    fn the_sources_type_says_what_an_existing_column_may_leave_out() {
        let taken = |existing: &str, name: Option<&str>, value: Value<'_>| {
            let name = name.map(str::to_owned);
            let source_type = name.map(|name| SourceType { name, length: None, scale: None });
            let (name, kind) = ("c".to_owned(), Kind::Text);
            let source = SourceColumn { name, kind, optional: true, source_type };
            let column = (DIALECT.typed)("c", existing, false).unwrap();
            let encode = (DIALECT.encode)(&column, &source).unwrap();
            let mut out = Vec::new();
            encode(value, column.modifier, &mut out).map(|()| out)
        };
        let check = |name, text, expected: Result<&str, Misfit>| {
            let expected = expected.map(|text| text.as_bytes().to_vec());
            assert_eq!(taken("char(3)", name, Value::Text(text)), expected, "{name:?} '{text}'");
        };
        check(None, "a  ", Ok("a"));
        check(None, "a ", Err(Misfit::Blanks));
        check(Some("BPCHAR"), "a ", Ok("a"));
        check(Some("VARCHAR"), "a  ", Err(Misfit::Blanks));
        check(Some("VARCHAR"), "a", Ok("a"));
        let bits = || Value::Bits { octets: &[5], length: Some(4) };
        assert_eq!(taken("varbit(4)", Some("BIT"), bits()).unwrap(), [0, 0, 0, 4, 0b0101_0000]);
        assert_eq!(taken("varbit(4)", Some("VARBIT"), bits()).unwrap(), [0, 0, 0, 3, 0b1010_0000]);
        assert_eq!(taken("varbit(4)", None, bits()).unwrap(), [0, 0, 0, 3, 0b1010_0000]);
    }

    #[test]
    fn a_key_is_never_of_a_type_without_an_order() {
        let kind = Kind::Xml;
        let source = SourceColumn { name: "c".to_owned(), kind, optional: true, source_type: None };
        let column = column(&source, true).unwrap();
        assert_eq!((column.type_name.as_str(), column.not_null), ("text", true));
    }
}
