//! Types: what writes the cells of each, and the form in which they travel.

use crate::table::Encode;
use crate::target::postgres::encode;

/// A type below all domains.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) id: u32,
    /// `pg_type.typtype`.
    pub(super) kind: String,
    pub(super) name: String,
    /// What it is an array of.
    pub(super) element: Option<Box<Base>>,
}

impl Base {
    /// Returns whether it is a multirange or an array of them, or may hold one further within.
    pub(super) fn may_have_multiranges(&self) -> bool {
        let may_have = |kind: &str| matches!(kind, "m" | "c" | "d");
        may_have(&self.kind) || self.element.as_ref().is_some_and(|it| may_have(&it.kind))
    }
}

/// The form in which cells travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The type's own binary form.
    Binary,
    /// The same, inside a row.
    Row,
    /// Text that the server reads as it reads a literal.
    Text,
}

/// Finds what writes a type's cells; `None` when no conversion leads there.
pub(super) fn taker(base: &Base) -> Option<(Encode, Form)> {
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
pub(in crate::target::postgres) const TEXTUAL: [(u32, &str, &str); 32] = [
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
pub(in crate::target::postgres) fn array_of(type_id: u32) -> Option<u32> {
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

/// The fields of `afterimage.array_cell`, in order, with their types: the arrays that have a binary
/// form here.
pub(super) const ARRAY_CELL: [(&str, u32); 25] = [
    ("bool", 1000),
    ("bytea", 1001),
    ("name", 1003),
    ("int8", 1016),
    ("int2", 1005),
    ("int4", 1007),
    ("text", 1009),
    ("oid", 1028),
    ("json", 199),
    ("float4", 1021),
    ("float8", 1022),
    ("bpchar", 1014),
    ("varchar", 1015),
    ("date", 1182),
    ("time", 1183),
    ("timestamp", 1115),
    ("timestamptz", 1185),
    ("interval", 1187),
    ("timetz", 1270),
    ("bit", 1561),
    ("varbit", 1563),
    ("numeric", 1231),
    ("uuid", 2951),
    ("jsonb", 3807),
    ("point", 1017),
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
pub(in crate::target::postgres) fn encode_of_chosen(type_id: u32) -> Option<Encode> {
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
pub(super) const FIRST_FREE: u32 = 16_384;

/// Numbers of built-in types; <https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_type.dat>.
pub(in crate::target::postgres) const BOOL: u32 = 16;
pub(in crate::target::postgres) const BYTEA: u32 = 17;
const NAME: u32 = 19;
pub(in crate::target::postgres) const INT8: u32 = 20;
pub(in crate::target::postgres) const INT2: u32 = 21;
pub(in crate::target::postgres) const INT4: u32 = 23;
pub(in crate::target::postgres) const TEXT: u32 = 25;
pub(in crate::target::postgres) const OID: u32 = 26;
pub(in crate::target::postgres) const JSON: u32 = 114;
pub(in crate::target::postgres) const XML: u32 = 142;
pub(in crate::target::postgres) const CIDR: u32 = 650;
pub(in crate::target::postgres) const CHAR: u32 = 18;
pub(in crate::target::postgres) const POINT: u32 = 600;
const BOX: u32 = 603;
pub(in crate::target::postgres) const LINE: u32 = 628;
pub(in crate::target::postgres) const CIRCLE: u32 = 718;
pub(in crate::target::postgres) const FLOAT4: u32 = 700;
pub(in crate::target::postgres) const FLOAT8: u32 = 701;
pub(super) const MONEY: u32 = 790;
pub(in crate::target::postgres) const MACADDR8: u32 = 774;
pub(in crate::target::postgres) const MACADDR: u32 = 829;
pub(in crate::target::postgres) const INET: u32 = 869;
pub(in crate::target::postgres) const BPCHAR: u32 = 1042;
pub(in crate::target::postgres) const VARCHAR: u32 = 1043;
pub(in crate::target::postgres) const DATE: u32 = 1082;
pub(in crate::target::postgres) const TIME: u32 = 1083;
pub(in crate::target::postgres) const TIMESTAMP: u32 = 1114;
pub(in crate::target::postgres) const TIMESTAMPTZ: u32 = 1184;
pub(in crate::target::postgres) const INTERVAL: u32 = 1186;
pub(in crate::target::postgres) const TIMETZ: u32 = 1266;
pub(in crate::target::postgres) const BIT: u32 = 1560;
pub(in crate::target::postgres) const VARBIT: u32 = 1562;
pub(in crate::target::postgres) const NUMERIC: u32 = 1700;
pub(in crate::target::postgres) const UUID: u32 = 2950;
pub(in crate::target::postgres) const TSVECTOR: u32 = 3614;
pub(in crate::target::postgres) const JSONB: u32 = 3802;

/// Finds what writes a built-in type in its binary form.
pub(in crate::target::postgres) fn encode_of(type_id: u32) -> Option<Encode> {
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
