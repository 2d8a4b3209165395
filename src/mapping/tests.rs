//! The mapping as a lane sees it: names, keys, and what is created.

use expect_test::{Expect, expect};

use super::*;
use crate::decode::kind::SourceColumn;
use crate::rules::{ConfigFile, DeletePolicy, Rules};
use crate::target::Target as _;
use crate::target::postgres::Postgres;
use crate::target::sqlite::Sqlite;

#[test]
fn a_rules_key_takes_the_order_of_the_records_key() {
    let key = |rule: &[&str], record: &[&str]| {
        let file = format!("[table.\"public.t\"]\nkey = {rule:?}");
        let mut mapping = mapping(&file, Postgres::DIALECT);
        let plan = mapping.plan(source("t", record), None).unwrap();
        let shape = &plan.mapped.shape;
        shape.key.iter().map(|at| shape.columns[*at].name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(key(&["b", "a"], &["a", "b"]), ["a", "b"]);
    assert_eq!(key(&["c", "b", "a"], &["b", "a"]), ["b", "a", "c"]);
    assert_eq!(key(&["b", "a"], &["a", "c", "b"]), ["a", "b"]);
}

#[test]
fn the_dialect_says_which_new_columns_refuse_null() {
    let not_null = |dialect: Dialect| {
        let plan = mapping("", dialect).plan(source("t", &["a"]), None).unwrap();
        let columns = plan.mapped.shape.table.columns.clone();
        let refuses = |column: Column| column.not_null.then_some(column.name);
        columns.into_iter().filter_map(refuses).collect::<Vec<_>>()
    };
    assert_eq!(not_null(Postgres::DIALECT), ["a", "b"]);
    assert_eq!(not_null(Sqlite::DIALECT), ["a"]);
}

#[test]
fn no_source_table_gets_a_name_that_the_program_uses() {
    let stop = |target: &str, dialect| {
        let file = format!("[table.\"public.t\"]\ntarget = {target:?}");
        mapping(&file, dialect).plan(source("t", &["a"]), None).map(|_| ()).unwrap_err()
    };
    let check = |stop: Stop, expected: Expect| {
        assert_eq!(stop.reason, StopReason::TableShared);
        expected.assert_eq(&stop.detail);
    };
    check(
        stop("afterimage.checkpoint", Postgres::DIALECT),
        expect![[
            r#"table "s.public.t" leads to "afterimage.checkpoint", a name that is kept for the checkpoint and what belongs to it: set another target"#
        ]],
    );
    check(
        stop("Afterimage_Checkpoint", Sqlite::DIALECT),
        expect![[
            r#"table "s.public.t" leads to "Afterimage_Checkpoint", a name that is kept for the checkpoint and what belongs to it: set another target"#
        ]],
    );
}

#[test]
fn sqlite_tells_no_names_apart_by_case() {
    let both = |dialect| {
        let mut mapping = mapping("", dialect);
        mapping.plan(source("Users", &["a"]), None).unwrap();
        mapping.plan(source("users", &["a"]), None).map(|_| ()).map_err(|stop| stop.reason)
    };
    assert_eq!(both(Postgres::DIALECT), Ok(()));
    assert_eq!(both(Sqlite::DIALECT), Err(StopReason::TableShared));
}

#[test]
fn a_partial_table_changes_nothing_and_deletes_by_its_key() {
    let mut mapping = mapping("", Postgres::DIALECT);
    let whole = mapping.plan(source("t", &["a"]), None).unwrap();
    let existing = Table::clone(&whole.mapped.shape.table);
    let mut partial = source("t", &["a"]);
    partial.columns.truncate(1);
    let plan = mapping.plan_partial(partial.clone(), existing.clone()).unwrap();
    assert_eq!((plan.change, plan.mapped.shape.key.as_slice()), (None, [0].as_slice()));
    let unknown = Table { columns: Vec::new(), ..existing };
    let stop = mapping.plan_partial(partial, unknown).map(|_| ()).unwrap_err();
    assert_eq!(stop.reason, StopReason::ColumnMissing);
}

#[test]
fn a_partial_table_keeps_the_columns_of_a_rules_key_that_the_record_lacks() {
    let mut mapping = mapping("[table.\"public.t\"]\nkey = [\"c\", \"a\"]", Postgres::DIALECT);
    let existing = mapping.plan(source("t", &["a"]), None).unwrap();
    let existing = Table::clone(&existing.mapped.shape.table);
    let mut partial = source("t", &["a"]);
    partial.columns.truncate(1);
    let plan = mapping.plan_partial(partial, existing).unwrap();
    assert_eq!(plan.mapped.shape.key, [0, 1]);
    assert_eq!(plan.mapped.is_written, [true]);
}

fn mapping(file: &str, dialect: Dialect) -> Mapping {
    let file = ConfigFile::parse(file, &[]).unwrap();
    let rules = Rules {
        targets: Vec::new(),
        tables: file.tables,
        sources: file.sources,
        deletes: DeletePolicy::Hard,
        deleted_at_column: "deleted_at".to_owned(),
    };
    let schema_changes = SchemaChanges::Apply;
    Mapping::new(Tables { rules, schema_changes, synced_at_column: None }, dialect)
}

/// A table with the columns a, b and c, of which c may be null.
fn source(table: &str, key: &[&str]) -> SourceTable {
    let column = |name: &str| SourceColumn {
        name: name.to_owned(),
        kind: Kind::Int64,
        optional: name == "c",
        source_type: None,
    };
    let (server, schema) = ("s".to_owned(), "public".to_owned());
    let name = SourceName { server, database: None, schema, table: table.to_owned() };
    let key = key.iter().map(|name| (*name).to_owned()).collect();
    let (columns, form) = (["a", "b", "c"].map(column).to_vec(), Form::Enveloped);
    SourceTable { name, columns, key, form }
}
