//! The catalogue: tables as the server has them, and how each type takes cells.

use std::sync::Arc;

use sqlx::Row;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArguments, PgRow};

use crate::rows::NULL;
use crate::table::{Column, Encode, Enumeration, Identity, Table, TableName};
use crate::target::postgres::session::{Session, bind};
use crate::target::postgres::{encode, sql};

/// A table as the transaction sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Described {
    /// None of a table that does not exist.
    pub(super) columns: Vec<DescribedColumn>,
    /// Whether rules rewrite statements on it.
    pub(super) has_rules: bool,
    /// The time of the transaction, as the cell of a `timestamptz`.
    pub(super) now: Vec<u8>,
}

/// A column with the way of its cells.
#[derive(Clone, Debug)]
pub(super) struct DescribedColumn {
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
    /// The field of the table's row type that an element is, where it is an array itself: the
    /// elements of an array of arrays would all come out side by side.
    pub(super) field: Option<Field>,
}

/// A field of a row whose other fields are NULL, in the row type's binary form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// Its name.
    pub(super) name: String,
    /// What stands before its cell: the count of fields, those before it, its type.
    pub(super) head: Vec<u8>,
    /// The fields behind it.
    pub(super) tail: Vec<u8>,
}

impl Field {
    /// Finds the field in its row.
    fn new(name: &str, row: &[(String, u32)]) -> Self {
        let null =
            |(_, type_id): &(String, u32)| [type_id.to_be_bytes(), NULL.to_be_bytes()].concat();
        let at = row.iter().position(|(other, _)| other == name).unwrap_or(row.len());
        let (before, rest) = row.split_at(at);
        let mut head = u32::try_from(row.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        head.extend(before.iter().flat_map(null));
        head.extend(rest.first().into_iter().flat_map(|(_, type_id)| type_id.to_be_bytes()));
        let tail = rest.iter().skip(1).flat_map(null).collect();
        Self { name: name.to_owned(), head, tail }
    }
}

fn base(row: &PgRow) -> Result<Base, sqlx::Error> {
    let element = match row.try_get::<Option<Oid>, _>("element_id")? {
        Some(id) => Some(Box::new(Base {
            id: id.0,
            kind: row.try_get("element_kind")?,
            name: row.try_get("element_name")?,
            element: None,
        })),
        None => None,
    };
    let id = row.try_get::<Oid, _>(9)?.0;
    Ok(Base { id, kind: row.try_get(10)?, name: row.try_get(11)?, element })
}

fn identity(letter: &str) -> Option<Identity> {
    match letter {
        "a" => Some(Identity::Always),
        "d" => Some(Identity::ByDefault),
        _ => None,
    }
}

fn enumeration(row: &PgRow) -> Result<Option<Arc<Enumeration>>, sqlx::Error> {
    let name = row.try_get::<Option<String>, _>("enum_name")?;
    let labels = row.try_get::<Option<Vec<String>>, _>("enum_labels")?;
    Ok(name.zip(labels).map(|(name, labels)| Arc::new(Enumeration { name, labels })))
}

/// Reads tables.
pub(super) async fn describe(
    session: &mut Session,
    names: &[&TableName],
) -> Result<Vec<Described>, sqlx::Error> {
    let mut tables = vec![Described::default(); names.len()];
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut arrays = vec![(0, Vec::new()); names.len()];
    for row in session.fetch(sql::COLUMNS.to_owned(), arguments(names)?).await? {
        let (type_id, taker) = (row.try_get::<Oid, _>(3)?.0, taker(&base(&row)?));
        let (schema, name): (String, String) = (row.try_get(7)?, row.try_get(8)?);
        let column = Column {
            name: row.try_get(1)?,
            type_name: row.try_get(2)?,
            type_id,
            modifier: row.try_get(4)?,
            not_null: row.try_get(5)?,
            generated: row.try_get(6)?,
            has_default: row.try_get(12)?,
            identity: identity(row.try_get("identity")?),
            base_name: row.try_get("base_name")?,
            enumeration: enumeration(&row)?,
            encode: taker.map(|(encode, _)| encode),
        };
        let wire = match taker {
            Some((_, Form::Text)) => Wire {
                array: sql::array_type("pg_catalog", "text"),
                element: TEXT,
                cast: Some(sql::qualified_type(&schema, &name)),
                field: None,
            },
            Some((_, Form::Binary | Form::Row)) | None => Wire {
                array: sql::array_type(&schema, &name),
                element: type_id,
                cast: None,
                field: None,
            },
        };
        let ordinal = usize::try_from(row.try_get::<i64, _>(0)? - 1).unwrap_or(usize::MAX);
        if let (Some(table), Some((row_type, arrays))) =
            (tables.get_mut(ordinal), arrays.get_mut(ordinal))
        {
            *row_type = row.try_get::<Oid, _>("row_id")?.0;
            arrays.push(matches!(taker, Some((_, Form::Row))));
            table.columns.push(DescribedColumn { column, wire });
            table.has_rules = row.try_get("has_rules")?;
            table.now = row.try_get_raw("now")?.as_bytes().map_err(sqlx::Error::Decode)?.to_vec();
        }
    }
    for ((table, name), (row_type, is_array)) in tables.iter_mut().zip(names).zip(arrays) {
        let row = table.columns.iter().map(|it| (it.column.name.clone(), it.column.type_id));
        let row = row.collect::<Vec<_>>();
        let arrays = table.columns.iter_mut().zip(is_array).filter(|(_, is_array)| *is_array);
        for (described, _) in arrays {
            described.wire = Wire {
                array: sql::row_array(name),
                element: row_type,
                cast: None,
                field: Some(Field::new(&described.column.name, &row)),
            };
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
    let table = |((name, described), unique_keys): ((&&TableName, Described), _)| {
        let columns = described.columns.into_iter().map(|it| it.column).collect::<Vec<_>>();
        (!columns.is_empty()).then(|| Table { name: (*name).clone(), columns, unique_keys })
    };
    Ok(parts.map(table).collect())
}

/// Returns the triggers of a table that may change the rows that we write.
pub(super) async fn changing_triggers(
    session: &mut Session,
    name: &TableName,
) -> Result<Vec<String>, sqlx::Error> {
    let mut arguments = PgArguments::default();
    bind(&mut arguments, sql::schema(name))?;
    bind(&mut arguments, name.table.as_str())?;
    let rows = session.fetch(sql::CHANGING_TRIGGERS.to_owned(), arguments).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
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
    /// What it is an array of.
    element: Option<Box<Base>>,
}

/// The form in which cells travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The type's own binary form.
    Binary,
    /// The same, inside a row of the table's.
    Row,
    /// Text that the server reads as it reads a literal.
    Text,
}

/// Finds what writes a type's cells; `None` when no conversion leads there.
fn taker(base: &Base) -> Option<(Encode, Form)> {
    if let Some(encode) = encode_of(base.id) {
        // In binary form the server obeys the encoding that a document says it once had.
        let form = if base.id == XML { Form::Text } else { Form::Binary };
        return Some((encode, form));
    }
    if let Some(element) = &base.element {
        if let Some(encode) = element_of(base.id).and_then(array_encode) {
            return Some((encode, Form::Row));
        }
        return match taker(element)? {
            // Only what its text says as well may travel so. The connector sends no composite types
            // in arrays.
            (_, Form::Text) if element.name == "hstore" => Some((encode::hstore_array, Form::Text)),
            (_, Form::Text) if element.id == BOX => Some((encode::box_array, Form::Text)),
            (_, Form::Text) if element.kind != "c" => Some((encode::text_array, Form::Text)),
            _ if element.kind == "e" => Some((encode::text_array, Form::Text)),
            (_, Form::Binary | Form::Row | Form::Text) => None,
        };
    }
    let encode: Encode = match (base.kind.as_str(), base.id, base.name.as_str()) {
        ("e", _, _) => return Some((encode::label, Form::Binary)),
        // Ranges arrive as their text, and composite types as its octets.
        ("r" | "m" | "c", _, _) => encode::textual,
        ("b", ..FIRST_FREE, name) if TEXTUAL.iter().any(|(_, known, _)| *known == name) => {
            encode::textual
        }
        // Types of extensions, whose numbers differ from database to database.
        ("b", FIRST_FREE.., "citext" | "ltree") => encode::textual,
        ("b", FIRST_FREE.., "ean13" | "isbn" | "isbn13" | "ismn" | "ismn13") => encode::textual,
        ("b", FIRST_FREE.., "issn" | "issn13" | "upc") => encode::textual,
        ("b", FIRST_FREE.., "hstore") => encode::hstore,
        ("b", FIRST_FREE.., "geometry" | "geography") => encode::geometry,
        ("b", FIRST_FREE.., "vector" | "halfvec") => encode::vector,
        ("b", FIRST_FREE.., "sparsevec") => encode::sparse_vector,
        _ => return None,
    };
    Some((encode, Form::Text))
}

/// Built-in types whose cells travel as text: the number, the name, the name that Debezium says.
pub(super) const TEXTUAL: [(u32, &str, &str); 32] = [
    (INET, "inet", "INET"),
    (CIDR, "cidr", "CIDR"),
    (MACADDR, "macaddr", "MACADDR"),
    (MACADDR8, "macaddr8", "MACADDR8"),
    (TSVECTOR, "tsvector", "TSVECTOR"),
    (3615, "tsquery", "TSQUERY"),
    (3220, "pg_lsn", "PG_LSN"),
    (27, "tid", "TID"),
    (28, "xid", "XID"),
    (29, "cid", "CID"),
    (5069, "xid8", "XID8"),
    (2970, "txid_snapshot", "TXID_SNAPSHOT"),
    (5038, "pg_snapshot", "PG_SNAPSHOT"),
    (4072, "jsonpath", "JSONPATH"),
    (BOX, "box", "BOX"),
    (601, "lseg", "LSEG"),
    (602, "path", "PATH"),
    (604, "polygon", "POLYGON"),
    (LINE, "line", "LINE"),
    (CIRCLE, "circle", "CIRCLE"),
    (3904, "int4range", "INT4RANGE"),
    (3926, "int8range", "INT8RANGE"),
    (3906, "numrange", "NUMRANGE"),
    (3908, "tsrange", "TSRANGE"),
    (3910, "tstzrange", "TSTZRANGE"),
    (3912, "daterange", "DATERANGE"),
    (4451, "int4multirange", "INT4MULTIRANGE"),
    (4536, "int8multirange", "INT8MULTIRANGE"),
    (4532, "nummultirange", "NUMMULTIRANGE"),
    (4535, "datemultirange", "DATEMULTIRANGE"),
    (4533, "tsmultirange", "TSMULTIRANGE"),
    (4534, "tstzmultirange", "TSTZMULTIRANGE"),
];

/// Returns the type that a built-in array is of.
fn element_of(array_id: u32) -> Option<u32> {
    ARRAYS.iter().find(|(_, array)| *array == array_id).map(|(element, _)| *element)
}

/// Returns the built-in array of a built-in type.
pub(super) fn array_of(type_id: u32) -> Option<u32> {
    ARRAYS.iter().find(|(element, _)| *element == type_id).map(|(_, array)| *array)
}

/// Built-in types with their arrays.
const ARRAYS: [(u32, u32); 52] = [
    (BOOL, 1000),
    (BYTEA, 1001),
    (NAME, 1003),
    (INT2, 1005),
    (INT4, 1007),
    (TEXT, 1009),
    (BPCHAR, 1014),
    (VARCHAR, 1015),
    (INT8, 1016),
    (POINT, 1017),
    (FLOAT4, 1021),
    (FLOAT8, 1022),
    (OID, 1028),
    (TIMESTAMP, 1115),
    (DATE, 1182),
    (TIME, 1183),
    (TIMESTAMPTZ, 1185),
    (INTERVAL, 1187),
    (NUMERIC, 1231),
    (TIMETZ, 1270),
    (BIT, 1561),
    (VARBIT, 1563),
    (UUID, 2951),
    (JSON, 199),
    (JSONB, 3807),
    (XML, 143),
    (INET, 1041),
    (CIDR, 651),
    (MACADDR, 1040),
    (MACADDR8, 775),
    (TSVECTOR, 3643),
    (3615, 3645),
    (3220, 3221),
    (28, 1011),
    (BOX, 1020),
    (601, 1018),
    (602, 1019),
    (604, 1027),
    (LINE, 629),
    (CIRCLE, 719),
    (3904, 3905),
    (3926, 3927),
    (3906, 3907),
    (3908, 3909),
    (3910, 3911),
    (3912, 3913),
    (4451, 6150),
    (4532, 6151),
    (4533, 6152),
    (4534, 6153),
    (4535, 6155),
    (4536, 6157),
];

/// Finds what writes an array of a built-in type in its binary form.
fn array_encode(element: u32) -> Option<Encode> {
    use encode::array;
    let encode: Encode = match element {
        BOOL => array::<BOOL>,
        BYTEA => array::<BYTEA>,
        NAME => array::<NAME>,
        INT8 => array::<INT8>,
        INT2 => array::<INT2>,
        INT4 => array::<INT4>,
        TEXT => array::<TEXT>,
        OID => array::<OID>,
        JSON => array::<JSON>,
        FLOAT4 => array::<FLOAT4>,
        FLOAT8 => array::<FLOAT8>,
        BPCHAR => array::<BPCHAR>,
        VARCHAR => array::<VARCHAR>,
        DATE => array::<DATE>,
        TIME => array::<TIME>,
        TIMESTAMP => array::<TIMESTAMP>,
        TIMESTAMPTZ => array::<TIMESTAMPTZ>,
        INTERVAL => array::<INTERVAL>,
        TIMETZ => array::<TIMETZ>,
        BIT => array::<BIT>,
        VARBIT => array::<VARBIT>,
        NUMERIC => array::<NUMERIC>,
        UUID => array::<UUID>,
        JSONB => array::<JSONB>,
        POINT => array::<POINT>,
        _ => return None,
    };
    Some(encode)
}

/// Finds what writes a type that was chosen by its number.
pub(super) fn encode_of_chosen(type_id: u32) -> Option<Encode> {
    let array = || match element_of(type_id).map(|element| (element, array_encode(element))) {
        Some((_, Some(encode))) => Some(encode),
        Some((BOX, None)) => Some(encode::box_array as Encode),
        Some((_, None)) => Some(encode::text_array as Encode),
        None => None,
    };
    let textual = || {
        let is_textual = TEXTUAL.iter().any(|(id, _, _)| *id == type_id);
        is_textual.then_some(encode::textual as Encode)
    };
    encode_of(type_id).or_else(array).or_else(textual)
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
pub(super) const CHAR: u32 = 18;
pub(super) const POINT: u32 = 600;
const BOX: u32 = 603;
pub(super) const LINE: u32 = 628;
pub(super) const CIRCLE: u32 = 718;
pub(super) const FLOAT4: u32 = 700;
pub(super) const FLOAT8: u32 = 701;
const MONEY: u32 = 790;
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
pub(super) const TSVECTOR: u32 = 3614;
pub(super) const JSONB: u32 = 3802;

/// Finds what writes a built-in type in its binary form.
pub(super) fn encode_of(type_id: u32) -> Option<Encode> {
    let encode: Encode = match type_id {
        BOOL => encode::boolean,
        BYTEA => encode::bytea,
        CHAR => encode::single_char,
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
        MONEY => encode::money,
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
        POINT => encode::point,
        _ => return None,
    };
    Some(encode)
}
