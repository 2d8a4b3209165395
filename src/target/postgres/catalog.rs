//! The catalogue: tables as the server has them, and how each type takes cells.

use sqlx::Row;
use sqlx::postgres::PgArguments;
use sqlx::postgres::types::Oid;

use crate::table::{Column, Encode, Table, TableName};
use crate::target::postgres::session::{Session, bind};
use crate::target::postgres::{encode, sql};

/// A column with the way of its cells.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub(super) column: Column,
    pub(super) wire: Wire,
}

/// How a column's cells reach the server: as an array of which type, and what becomes of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wire {
    /// The array's type, without modifiers.
    pub(super) array: String,
    /// The number of the elements' type, as the array itself says it.
    pub(super) element: u32,
    /// What an element is cast to, where it travels as text.
    pub(super) cast: Option<String>,
}

/// Reads the columns of tables; none for a table that does not exist.
pub(super) async fn describe(
    session: &mut Session,
    names: &[&TableName],
) -> Result<Vec<Vec<Described>>, sqlx::Error> {
    let mut tables = vec![Vec::new(); names.len()];
    if names.is_empty() {
        return Ok(tables);
    }
    for row in session.fetch(sql::COLUMNS.to_owned(), arguments(names)?).await? {
        let base = Base {
            id: row.try_get::<Oid, _>(9)?.0,
            kind: row.try_get(10)?,
            name: row.try_get(11)?,
        };
        let (type_id, taker) = (row.try_get::<Oid, _>(3)?.0, taker(&base));
        let (schema, name): (String, String) = (row.try_get(7)?, row.try_get(8)?);
        let column = Column {
            name: row.try_get(1)?,
            type_name: row.try_get(2)?,
            type_id,
            modifier: row.try_get(4)?,
            not_null: row.try_get(5)?,
            generated: row.try_get(6)?,
            has_default: row.try_get(12)?,
            encode: taker.map(|(encode, _)| encode),
        };
        let wire = match taker {
            Some((_, Form::Text)) => Wire {
                array: sql::array_type("pg_catalog", "text"),
                element: TEXT,
                cast: Some(sql::qualified_type(&schema, &name)),
            },
            Some((_, Form::Binary)) | None => {
                Wire { array: sql::array_type(&schema, &name), element: type_id, cast: None }
            }
        };
        let ordinal = usize::try_from(row.try_get::<i64, _>(0)? - 1).unwrap_or(usize::MAX);
        if let Some(table) = tables.get_mut(ordinal) {
            table.push(Described { column, wire });
        }
    }
    Ok(tables)
}

/// Reads tables; `None` for one that does not exist.
pub(super) async fn tables(
    session: &mut Session,
    names: &[&TableName],
) -> Result<Vec<Option<Table>>, sqlx::Error> {
    let mut keys = vec![Vec::new(); names.len()];
    let described = describe(session, names).await?;
    for row in session.fetch(sql::UNIQUE_KEYS.to_owned(), arguments(names)?).await? {
        let ordinal = usize::try_from(row.try_get::<i64, _>(0)? - 1).unwrap_or(usize::MAX);
        if let Some(keys) = keys.get_mut(ordinal) {
            keys.push(row.try_get::<Vec<String>, _>(1)?);
        }
    }
    let parts = names.iter().zip(described).zip(keys);
    let table = |((name, described), unique_keys): ((&&TableName, Vec<Described>), _)| {
        let columns = described.into_iter().map(|described| described.column).collect::<Vec<_>>();
        (!columns.is_empty()).then(|| Table { name: (*name).clone(), columns, unique_keys })
    };
    Ok(parts.map(table).collect())
}

fn arguments(names: &[&TableName]) -> Result<PgArguments, sqlx::Error> {
    let schemas = names.iter().map(|name| sql::schema(name)).collect::<Vec<_>>();
    let tables = names.iter().map(|name| name.table.as_str()).collect::<Vec<_>>();
    let mut arguments = PgArguments::default();
    bind(&mut arguments, schemas)?;
    bind(&mut arguments, tables)?;
    Ok(arguments)
}

/// A type below all domains.
#[derive(Debug)]
struct Base {
    id: u32,
    /// `pg_type.typtype`.
    kind: String,
    name: String,
}

/// The form in which cells travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The type's own binary form.
    Binary,
    /// Text that the server reads as it reads a literal.
    Text,
}

/// Finds what writes a type's cells; `None` when no conversion leads there.
fn taker(base: &Base) -> Option<(Encode, Form)> {
    if let Some(encode) = encode_of(base.id) {
        return Some((encode, Form::Binary));
    }
    match (base.kind.as_str(), base.id, base.name.as_str()) {
        ("e", _, _) => Some((encode::label, Form::Binary)),
        // Ranges arrive as their text.
        ("r" | "m", _, _) => Some((encode::textual, Form::Text)),
        ("b", INET | CIDR | MACADDR | MACADDR8 | TSVECTOR | PG_LSN, _) => {
            Some((encode::textual, Form::Text))
        }
        // Types of extensions, whose numbers differ from database to database.
        ("b", FIRST_FREE.., "citext" | "ltree") => Some((encode::textual, Form::Text)),
        ("b", FIRST_FREE.., "ean13" | "isbn" | "isbn13" | "ismn" | "ismn13") => {
            Some((encode::textual, Form::Text))
        }
        ("b", FIRST_FREE.., "issn" | "issn13" | "upc") => Some((encode::textual, Form::Text)),
        _ => None,
    }
}

/// The first number that the server gives to a type of a user or an extension.
const FIRST_FREE: u32 = 16_384;

/// Numbers of built-in types; <https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_type.dat>.
pub(super) const BOOL: u32 = 16;
pub(super) const BYTEA: u32 = 17;
const NAME: u32 = 19;
pub(super) const INT8: u32 = 20;
pub(super) const INT2: u32 = 21;
pub(super) const INT4: u32 = 23;
pub(super) const TEXT: u32 = 25;
pub(super) const OID: u32 = 26;
pub(super) const JSON: u32 = 114;
pub(super) const XML: u32 = 142;
pub(super) const CIDR: u32 = 650;
pub(super) const FLOAT4: u32 = 700;
pub(super) const FLOAT8: u32 = 701;
pub(super) const MACADDR8: u32 = 774;
pub(super) const MACADDR: u32 = 829;
pub(super) const INET: u32 = 869;
pub(super) const BPCHAR: u32 = 1042;
pub(super) const VARCHAR: u32 = 1043;
pub(super) const DATE: u32 = 1082;
pub(super) const TIME: u32 = 1083;
pub(super) const TIMESTAMP: u32 = 1114;
pub(super) const TIMESTAMPTZ: u32 = 1184;
pub(super) const INTERVAL: u32 = 1186;
pub(super) const TIMETZ: u32 = 1266;
pub(super) const BIT: u32 = 1560;
pub(super) const VARBIT: u32 = 1562;
pub(super) const NUMERIC: u32 = 1700;
pub(super) const UUID: u32 = 2950;
const PG_LSN: u32 = 3220;
pub(super) const TSVECTOR: u32 = 3614;
pub(super) const JSONB: u32 = 3802;

/// Finds what writes a built-in type in its binary form.
pub(super) fn encode_of(type_id: u32) -> Option<Encode> {
    let encode: Encode = match type_id {
        BOOL => encode::boolean,
        BYTEA => encode::bytea,
        NAME => encode::name,
        INT8 => encode::int8,
        INT2 => encode::int2,
        INT4 => encode::int4,
        TEXT => encode::text,
        OID => encode::oid,
        JSON => encode::json,
        XML => encode::xml,
        FLOAT4 => encode::float4,
        FLOAT8 => encode::float8,
        BPCHAR => encode::bpchar,
        VARCHAR => encode::varchar,
        DATE => encode::date,
        TIME => encode::time,
        TIMESTAMP => encode::timestamp,
        TIMESTAMPTZ => encode::timestamptz,
        INTERVAL => encode::interval,
        TIMETZ => encode::timetz,
        BIT => encode::bit,
        VARBIT => encode::varbit,
        NUMERIC => encode::numeric,
        UUID => encode::uuid,
        JSONB => encode::jsonb,
        _ => return None,
    };
    Some(encode)
}
