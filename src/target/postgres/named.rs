//! Types by the names that users give them.

use crate::table::Column;
use crate::target::postgres::catalog;
use crate::target::postgres::ddl::{self, Chosen};

/// Returns the column of a built-in type, as the catalogue will have it; `None` for a name that is
/// not known, or one with numbers that it does not take.
pub(super) fn typed(name: &str, type_name: &str, not_null: bool) -> Option<Column> {
    let Chosen { id, name: type_name, modifier } = chosen(type_name)?;
    Some(Column {
        name: name.to_owned(),
        type_name,
        type_id: id,
        modifier,
        not_null,
        generated: false,
        has_default: false,
        identity: None,
        enumeration: None,
        base_name: None,
        encode: catalog::encode_of_chosen(id),
    })
}

fn chosen(type_name: &str) -> Option<Chosen> {
    let (base, numbers) = parts(type_name)?;
    let number = match numbers.as_slice() {
        [] => None,
        [number] => Some(u32::try_from(*number).ok()?),
        [precision, scale] if matches!(base.as_str(), "numeric" | "decimal") => {
            let chosen = ddl::numeric(*scale, u32::try_from(*precision).ok());
            return Some(chosen).filter(|chosen| chosen.modifier >= 0);
        }
        _ => return None,
    };
    match (base.as_str(), number) {
        ("numeric" | "decimal", Some(_)) => {
            return Some(ddl::numeric(0, number)).filter(|chosen| chosen.modifier >= 0);
        }
        ("varchar" | "character varying", Some(_)) => {
            return Chosen::sized(catalog::VARCHAR, "character varying", number, ddl::HEADER);
        }
        ("char" | "character", _) => {
            let length = number.or(Some(1));
            return Chosen::sized(catalog::BPCHAR, "character", length, ddl::HEADER);
        }
        ("bit", _) => return Chosen::sized(catalog::BIT, "bit", number.or(Some(1)), 0),
        ("varbit" | "bit varying", Some(_)) => {
            return Chosen::sized(catalog::VARBIT, "bit varying", number, 0);
        }
        (base, Some(digits)) => return timed(base, i32::try_from(digits).ok()?),
        (_, None) => {}
    }
    plain(&base)
}

/// Chooses a type that takes the digits of its seconds.
fn timed(base: &str, digits: i32) -> Option<Chosen> {
    let (id, name, zone) = match base {
        "time" | "time without time zone" => (catalog::TIME, "time", "without"),
        "timetz" | "time with time zone" => (catalog::TIMETZ, "time", "with"),
        "timestamp" | "timestamp without time zone" => (catalog::TIMESTAMP, "timestamp", "without"),
        "timestamptz" | "timestamp with time zone" => (catalog::TIMESTAMPTZ, "timestamp", "with"),
        _ => return None,
    };
    let name = format!("{name}({digits}) {zone} time zone");
    (0..=6).contains(&digits).then_some(Chosen { id, name, modifier: digits })
}

fn plain(base: &str) -> Option<Chosen> {
    let (id, name) = match base {
        "boolean" | "bool" => (catalog::BOOL, "boolean"),
        "smallint" | "int2" => (catalog::INT2, "smallint"),
        "integer" | "int" | "int4" => (catalog::INT4, "integer"),
        "bigint" | "int8" => (catalog::INT8, "bigint"),
        "real" | "float4" => (catalog::FLOAT4, "real"),
        "double precision" | "float8" => (catalog::FLOAT8, "double precision"),
        "numeric" | "decimal" => (catalog::NUMERIC, "numeric"),
        "text" => (catalog::TEXT, "text"),
        "varchar" | "character varying" => (catalog::VARCHAR, "character varying"),
        "bytea" => (catalog::BYTEA, "bytea"),
        "varbit" | "bit varying" => (catalog::VARBIT, "bit varying"),
        "json" => (catalog::JSON, "json"),
        "jsonb" => (catalog::JSONB, "jsonb"),
        "xml" => (catalog::XML, "xml"),
        "uuid" => (catalog::UUID, "uuid"),
        "date" => (catalog::DATE, "date"),
        "time" | "time without time zone" => (catalog::TIME, "time without time zone"),
        "timetz" | "time with time zone" => (catalog::TIMETZ, "time with time zone"),
        "timestamp" | "timestamp without time zone" => {
            (catalog::TIMESTAMP, "timestamp without time zone")
        }
        "timestamptz" | "timestamp with time zone" => {
            (catalog::TIMESTAMPTZ, "timestamp with time zone")
        }
        "interval" => (catalog::INTERVAL, "interval"),
        "oid" => (catalog::OID, "oid"),
        "inet" => (catalog::INET, "inet"),
        "cidr" => (catalog::CIDR, "cidr"),
        "macaddr" => (catalog::MACADDR, "macaddr"),
        "macaddr8" => (catalog::MACADDR8, "macaddr8"),
        "tsvector" => (catalog::TSVECTOR, "tsvector"),
        _ => return None,
    };
    Some(Chosen::plain(id, name))
}

/// Splits `Timestamp(3) with time zone` into its name in small letters and its numbers.
fn parts(type_name: &str) -> Option<(String, Vec<i32>)> {
    let (before, rest) = type_name.split_once('(').unwrap_or((type_name, ""));
    let (inside, after) = match rest {
        "" => ("", ""),
        rest => rest.split_once(')')?,
    };
    let words = before.split_whitespace().chain(after.split_whitespace());
    let base = words.collect::<Vec<_>>().join(" ").to_ascii_lowercase();
    let numbers = match inside {
        "" => Vec::new(),
        inside => inside.split(',').map(|it| it.trim().parse().ok()).collect::<Option<_>>()?,
    };
    Some((base, numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spelling: &str, expected: Option<(&str, i32)>) {
        let column = typed("c", spelling, true);
        let found = column.as_ref().map(|column| (column.type_name.as_str(), column.modifier));
        assert_eq!(found, expected, "{spelling}");
        assert!(column.iter().all(|column| column.not_null && column.encode.is_some()));
    }

    #[test]
    fn a_type_is_known_by_its_aliases_and_numbers() {
        check("TEXT", Some(("text", -1)));
        check("int", Some(("integer", -1)));
        check("double  precision", Some(("double precision", -1)));
        check("Varchar (20)", Some(("character varying(20)", 24)));
        check("char", Some(("character(1)", 5)));
        check("bit", Some(("bit(1)", 1)));
        check("varbit(7)", Some(("bit varying(7)", 7)));
        check("decimal(12, 2)", Some(("numeric(12,2)", 12 * 65_536 + 6)));
        check("numeric(5)", Some(("numeric(5,0)", 5 * 65_536 + 4)));
        check("timestamptz(3)", Some(("timestamp(3) with time zone", 3)));
        check("time(0) without time zone", Some(("time(0) without time zone", 0)));
        check("inet", Some(("inet", -1)));
    }

    #[test]
    fn an_unknown_type_is_none() {
        for spelling in ["", "strng", "int(4)", "text(3)", "numeric(2,3)", "numeric(0)", "bit(x)"] {
            check(spelling, None);
        }
        for spelling in ["timestamp(7)", "varchar(0)", "varchar(20", "int); DROP TABLE t"] {
            check(spelling, None);
        }
    }
}
