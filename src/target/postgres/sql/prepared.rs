//! Statements that travel with others in one message: each session prepares them under a name, and
//! their values stand in the text.

use std::fmt::Display;

use super::{catalog, fence, literal, relation, schema};
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
        "PREPARE afterimage_stamps (pg_catalog.regclass[]) AS {};\n\
         PREPARE afterimage_columns (pg_catalog.text[], pg_catalog.text[]) AS {};\n\
         PREPARE afterimage_step ({TYPES_OF_STEP}) AS {}",
        catalog::STAMPS,
        catalog::COLUMNS,
        fence::STEP
    )
}

/// Holds the tables against changes, and reads their stamps, and of some their columns.
pub(in crate::target::postgres) fn hold(tables: &[&TableName], unknown: &[&TableName]) -> String {
    // Partitions of a table and children need no lock: their parent is what is written.
    let list = tables.iter().map(|name| format!("ONLY {}", relation(name)));
    let list = list.collect::<Vec<_>>().join(", ");
    let lock = format!("LOCK TABLE {list} IN ROW EXCLUSIVE MODE");
    let columns = (!unknown.is_empty()).then(|| columns(unknown));
    let statements = [Some(lock), Some(stamps(tables)), columns].into_iter().flatten();
    statements.collect::<Vec<_>>().join(";\n")
}

/// Reads the stamps of tables that are there.
fn stamps(tables: &[&TableName]) -> String {
    let relations = array(tables.iter().map(|name| Some(relation(name))));
    format!("EXECUTE afterimage_stamps ({relations})")
}

/// Reads the columns of tables.
pub(in crate::target::postgres) fn columns(tables: &[&TableName]) -> String {
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
        assert_eq!(
            stamps(&[&name(None, "orders"), &name(Some("a"), r#"b"c"#)]),
            r#"EXECUTE afterimage_stamps (E'{"\\"public\\".\\"orders\\"","\\"a\\".\\"b\\"\\"c\\""}')"#
        );
    }

    #[test]
    fn tables_are_held_and_read_in_one_message() {
        let name = TableName { schema: Some("s".to_owned()), table: "t".to_owned() };
        let lock = r#"LOCK TABLE ONLY "s"."t" IN ROW EXCLUSIVE MODE"#;
        let (stamps, columns) = (stamps(&[&name]), columns(&[&name]));
        assert_eq!(hold(&[&name], &[]), format!("{lock};\n{stamps}"));
        assert_eq!(hold(&[&name], &[&name]), format!("{lock};\n{stamps};\n{columns}"));
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
