//! Statements that travel with others in one message: each session prepares them under a name, and
//! their values stand in the text.

use std::fmt::Display;

use super::{catalog, fence, literal, schema};
use crate::decode::inspect::hexadecimal;
use crate::table::TableName;

/// Prepares them. A session does so once, in its first transaction that needs them: whatever becomes of
/// that, they stay.
pub(in crate::target::postgres) fn prepare() -> String {
    const TYPES_OF_STEP: &str = "pg_catalog.text, pg_catalog.text, pg_catalog.text[], \
        pg_catalog.int4[], pg_catalog.int8[], pg_catalog.uuid[], pg_catalog.int8[], \
        pg_catalog.int8[], pg_catalog.int8[], pg_catalog.int8[], pg_catalog.text[], \
        pg_catalog.text, pg_catalog.text, pg_catalog.int4[], pg_catalog.bytea[]";
    format!(
        "PREPARE afterimage_columns (pg_catalog.text[], pg_catalog.text[]) AS {};\n\
         PREPARE afterimage_step ({TYPES_OF_STEP}) AS {}",
        catalog::COLUMNS,
        fence::STEP
    )
}

/// Reads the columns of tables.
pub(super) fn columns(tables: &[&TableName]) -> String {
    let schemas = array(tables.iter().map(|name| Some(schema(name))));
    let names = array(tables.iter().map(|name| Some(&name.table)));
    format!("EXECUTE afterimage_columns ({schemas}, {names})")
}

/// Moves the partitions of a batch; the values are spelled, in the order of [`fence::STEP`].
pub(in crate::target::postgres) fn step(values: &[String]) -> String {
    format!("EXECUTE afterimage_step ({})", values.join(", "))
}

/// Spells octets as a `bytea`'s text.
pub(in crate::target::postgres) fn bytea(octets: &[u8]) -> String {
    hexadecimal(octets).replacen("0x", "\\x", 1)
}

/// Spells an array of values, `None` for NULL, whatever its type.
pub(in crate::target::postgres) fn array(
    values: impl IntoIterator<Item = Option<impl Display>>,
) -> String {
    let spelled = values.into_iter().map(|value| match value {
        Some(value) => {
            let value = value.to_string().replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{value}\"")
        }
        None => "NULL".to_owned(),
    });
    literal(&format!("{{{}}}", spelled.collect::<Vec<_>>().join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_so_that_nothing_leaves_its_place() {
        let name = |schema: Option<&str>, table: &str| TableName {
            schema: schema.map(str::to_owned),
            table: table.to_owned(),
        };
        assert_eq!(
            columns(&[&name(None, "orders"), &name(Some("a,b"), "c'd")]),
            r#"EXECUTE afterimage_columns ('{"public","a,b"}', '{"orders","c''d"}')"#
        );
        assert_eq!(
            columns(&[&name(Some("}"), r#"a"b\c'"#)]),
            r#"EXECUTE afterimage_columns ('{"}"}', E'{"a\\"b\\\\c''"}')"#
        );
    }

    #[test]
    fn an_array_says_what_is_null() {
        assert_eq!(array([Some(1), None]), r#"'{"1",NULL}'"#);
        assert_eq!(array([Some("NULL")]), r#"'{"NULL"}'"#);
        assert_eq!(array([Some(bytea(b"a\xff"))]), r#"E'{"\\\\x61ff"}'"#);
        assert_eq!(array(Vec::<Option<i64>>::new()), "'{}'");
        assert_eq!(
            step(&[literal("s"), array([Some(7)])]),
            r#"EXECUTE afterimage_step ('s', '{"7"}')"#
        );
    }
}
