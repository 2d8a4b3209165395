//! The mapping as a lane sees it: names, keys, and what is created.

mod stops;

use std::sync::Arc;

use expect_test::{Expect, expect};

use super::*;
use crate::decode::value::kind::{Form, Kind, SourceColumn};
use crate::rows::Keyless;
use crate::rules::{ConfigFile, DeletePolicy, Rules};
use crate::settings::SchemaChanges;
use crate::table::{Column, Enumeration, Identity, Table};
use crate::target::Target as _;
use crate::target::postgres::Postgres;
use crate::target::sqlite::Sqlite;

#[test]
fn a_rules_key_takes_the_order_of_the_records_key() {
    let key = |rule: &[&str], record: &[&str]| {
        let file = format!("[table.\"public.t\"]\nkey = {rule:?}");
        let mapping = mapping(&file, Postgres::DIALECT);
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
        mapping(&file, dialect).target(&source("t", &["a"]).name).unwrap_err()
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

fn of(server: &str, database: Option<&str>, table: &str) -> Leader {
    let (schema, database) = ("public".to_owned(), database.map(str::to_owned));
    let source =
        SourceName { server: server.to_owned(), database, schema, table: table.to_owned() };
    Leader { topic: format!("{server}.public.{table}").into(), source }
}

#[test]
fn two_source_tables_meet_by_a_rule_or_not_at_all() {
    let (one, other) = (of("s", Some("d"), "t"), of("s2", Some("d"), "t"));
    let known = std::slice::from_ref(&other);
    let stop = mapping("", Postgres::DIALECT).lead(one.clone(), known).unwrap_err();
    assert_eq!(stop.reason, StopReason::TableShared);
    expect![[
        r#"tables "s.public.t" and "s2.public.t" both lead to table "public.t": set another target for one of them, and delete its row there from afterimage.source_table"#
    ]]
    .assert_eq(&stop.detail);
    let same = mapping("", Postgres::DIALECT).lead(other.clone(), std::slice::from_ref(&one));
    assert_eq!(same.unwrap_err(), stop, "both stop with the same line");

    let ruled = mapping("[table.'*.t']\ntarget = 'mirror.t'", Postgres::DIALECT);
    let lead = ruled.lead(one.clone(), known).unwrap().unwrap();
    assert_eq!(lead.target.to_string(), "mirror.t");
    assert_eq!(lead.beside, std::slice::from_ref(&other.source));
    assert_eq!(ruled.lead(one.clone(), &[other, one]), Ok(None), "it is kept already");
}

#[test]
fn a_name_without_a_database_stands_for_no_database() {
    let mapping = mapping("", Postgres::DIALECT);
    let [any, d, e] = [None, Some("d"), Some("e")].map(|database| of("s", database, "t"));
    let lead = |leader: &Leader, known: &[Leader]| {
        mapping.lead(leader.clone(), known).map(|it| it.is_some())
    };
    assert_eq!(lead(&any, &[]), Ok(true));
    assert_eq!(lead(&any, std::slice::from_ref(&d)), Ok(false));
    assert_eq!(lead(&d, std::slice::from_ref(&any)), Ok(true), "so that another's is noticed");
    assert!(lead(&e, &[any.clone(), d.clone()]).is_err());
}

#[test]
fn sqlite_tells_no_names_apart_by_case() {
    let meet = |dialect| {
        let (one, other) = (of("s", None, "Users"), of("s", None, "users"));
        mapping("", dialect).is_same_target(&one.source, &other.source)
    };
    assert!(meet(Sqlite::DIALECT) && !meet(Postgres::DIALECT));
}

#[test]
fn a_partial_table_changes_nothing_and_deletes_by_its_key() {
    let mapping = mapping("", Postgres::DIALECT);
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
    let mapping = mapping("[table.\"public.t\"]\nkey = [\"c\", \"a\"]", Postgres::DIALECT);
    let existing = mapping.plan(source("t", &["a"]), None).unwrap();
    let existing = Table::clone(&existing.mapped.shape.table);
    let mut partial = source("t", &["a"]);
    partial.columns.truncate(1);
    let plan = mapping.plan_partial(partial, existing).unwrap();
    assert_eq!(plan.mapped.shape.key, [0, 1]);
    assert_eq!(plan.mapped.is_written, [true]);
}

/// Plans a source's table for one that is there, and returns the statements or why it stops.
fn planned(mode: SchemaChanges, file: &str, source: SourceTable, table: &Table) -> String {
    let mut mapping = mapping(file, Postgres::DIALECT);
    mapping.tables.schema_changes = mode;
    match mapping.plan(source, Some(table.clone())) {
        Ok(Plan { change: None, .. }) => "nothing".to_owned(),
        Ok(Plan { change: Some(change), mapped }) => {
            assert_eq!(change.before.as_ref(), Some(table));
            assert_eq!(mapped.shape.table, change.after);
            [change.labels, change.statements].concat().join("; ")
        }
        Err(stop) => stop.to_string(),
    }
}

/// The table that is created for [`source`] with the key a.
fn created(file: &str) -> Table {
    let plan = mapping(file, Postgres::DIALECT).plan(source("t", &["a"]), None).unwrap();
    Table::clone(&plan.mapped.shape.table)
}

fn check_modes(source: &SourceTable, table: &Table, expected: [&str; 3]) {
    let modes = [SchemaChanges::Apply, SchemaChanges::Check, SchemaChanges::Ignore];
    let found = modes.map(|mode| planned(mode, "", source.clone(), table));
    assert_eq!(found, expected);
}

#[test]
fn a_column_that_has_become_too_narrow_is_widened_or_stops() {
    let table = created("");
    let mut wider = source("t", &["a"]);
    wider.columns[1].kind = Kind::VariableScaleDecimal;
    wider.columns[1].optional = true;
    check_modes(
        &wider,
        &table,
        [
            "ALTER TABLE \"public\".\"t\" ALTER COLUMN \"b\" TYPE numeric; \
             ALTER TABLE \"public\".\"t\" ALTER COLUMN \"b\" DROP NOT NULL",
            "column_narrow: column \"b\" of table \"public.t\" is bigint, which does not hold every \
             value of the source's variable scale decimal, and --schema-changes forbids to change it",
            "nothing",
        ],
    );
    let mut other = source("t", &["a"]);
    other.columns[2].kind = Kind::Text;
    let unfit =
        "column_unfit: column \"c\" of table \"public.t\": no conversion from text to bigint";
    check_modes(&other, &table, [unfit; 3]);
}

#[test]
fn a_column_that_the_source_drops_stays_and_takes_null() {
    let table = created("");
    let mut narrower = source("t", &["a"]);
    narrower.columns.remove(1);
    check_modes(
        &narrower,
        &table,
        [
            "ALTER TABLE \"public\".\"t\" ALTER COLUMN \"b\" DROP NOT NULL",
            "column_narrow: column \"b\" of table \"public.t\" refuses NULL, and the source has no \
             such column, and --schema-changes forbids to change it",
            "nothing",
        ],
    );
    let mut filled = table;
    filled.columns[1].has_default = true;
    check_modes(&narrower, &filled, ["nothing"; 3]);
}

#[test]
fn a_renamed_column_is_a_new_one() {
    let mut renamed = source("t", &["a"]);
    renamed.columns[1].name = "d".to_owned();
    check_modes(
        &renamed,
        &created(""),
        [
            "ALTER TABLE \"public\".\"t\" ADD COLUMN IF NOT EXISTS \"d\" bigint; \
             ALTER TABLE \"public\".\"t\" ALTER COLUMN \"b\" DROP NOT NULL",
            "column_missing: table \"public.t\" has no column \"d\"",
            "nothing",
        ],
    );
}

#[test]
fn the_keys_columns_refuse_null_for_good() {
    let mut source = source("t", &["a"]);
    source.columns[0].optional = true;
    check_modes(&source, &created(""), ["nothing"; 3]);
}

#[test]
fn a_rules_type_is_for_new_columns_and_keeps_old_ones_as_they_are() {
    let file = "[table.'public.t'.columns]\ntype = { b = 'varchar(40)', d = 'strng' }";
    let table = created(file);
    let column = table.column("b").unwrap();
    assert_eq!((column.type_name.as_str(), column.not_null), ("character varying(40)", true));

    let mut grown = source("t", &["a"]);
    grown.columns[1].kind = Kind::Text;
    assert_eq!(planned(SchemaChanges::Apply, file, grown.clone(), &table), "nothing");
    let d = SourceColumn { name: "d".to_owned(), ..grown.columns[2].clone() };
    grown.columns.push(d);
    let stop = planned(SchemaChanges::Apply, file, grown.clone(), &table);
    assert!(stop.starts_with("column_unfit: column \"d\"") && stop.contains("strng"), "{stop}");
    let file = "[table.'public.t'.columns]\ntype = { d = 'date' }";
    let stop = planned(SchemaChanges::Apply, file, grown, &table);
    assert!(stop.ends_with("no conversion from int64 to date"), "{stop}");
}

#[test]
fn json_without_a_schema_adds_only_what_a_rule_types() {
    let mut plain = source("t", &["a"]);
    plain.columns.push(SourceColumn { name: "d".to_owned(), ..plain.columns[2].clone() });
    for column in &mut plain.columns {
        (column.kind, column.optional) = (Kind::Untyped, true);
    }
    let missing = "column_missing: table \"public.t\" has no column \"d\"";
    check_modes(&plain, &created(""), [missing, missing, "nothing"]);
    let file = "[table.'public.t'.columns]\ntype = { d = 'text' }";
    let typed = planned(SchemaChanges::Apply, file, plain.clone(), &created(""));
    assert_eq!(typed, "ALTER TABLE \"public\".\"t\" ADD COLUMN IF NOT EXISTS \"d\" text");
    plain.columns.remove(1);
    let stop = planned(SchemaChanges::Apply, file, plain, &created(""));
    assert!(stop.starts_with("column_narrow: column \"b\""), "{stop}");
    assert!(stop.ends_with("JSON without a schema cannot change it"), "{stop}");
}

#[test]
fn no_two_columns_meet_in_one() {
    let stop = |file: &str, dialect| {
        let mut source = source("t", &["a"]);
        source.columns[1].name = "A".to_owned();
        mapping(file, dialect).plan(source, None).map(|_| ()).map_err(|stop| stop.reason)
    };
    assert_eq!(stop("", Postgres::DIALECT), Ok(()));
    assert_eq!(stop("", Sqlite::DIALECT), Err(StopReason::ColumnShared));
    let renamed = "[table.'public.t'.columns]\nrename = { c = 'a' }";
    assert_eq!(stop(renamed, Postgres::DIALECT), Err(StopReason::ColumnShared));
    let reserved = "[table.'public.t']\ndeletes = 'soft'\n[table.'public.t'.columns]\n\
                    rename = { c = 'deleted_at' }";
    assert_eq!(stop(reserved, Postgres::DIALECT), Err(StopReason::ColumnReserved));
}

#[test]
fn sqlite_stops_where_it_cannot_change_a_column() {
    let mapping = mapping("", Sqlite::DIALECT);
    let plan = mapping.plan(source("t", &["a"]), None).unwrap();
    let mut table = Table::clone(&plan.mapped.shape.table);
    let mut wider = source("t", &["a"]);
    wider.columns[1].kind = Kind::Decimal { scale: 0, precision: Some(30) };
    assert!(mapping.plan(wider.clone(), Some(table.clone())).unwrap().change.is_none());
    wider.columns[1].kind = Kind::Decimal { scale: 2, precision: Some(30) };
    let stop = mapping.plan(wider, Some(table.clone())).map(|_| ()).unwrap_err();
    assert_eq!(stop.reason, StopReason::ColumnNarrow);
    assert!(stop.detail.ends_with("and the target cannot change it"), "{}", stop.detail);
    table.columns[2].not_null = true;
    let stop = mapping.plan(source("t", &["a"]), Some(table)).map(|_| ()).unwrap_err();
    assert_eq!(stop.reason, StopReason::ColumnNarrow);
}

#[test]
fn a_name_that_the_target_would_cut_stops_its_table_alone() {
    let plan =
        |file: &str, dialect, table: &str| mapping(file, dialect).plan(source(table, &["a"]), None);
    let longest = "é".repeat(31) + "x";
    assert_eq!(longest.len(), 63);
    let too_long = longest.clone() + "y";
    assert!(plan("", Postgres::DIALECT, &longest).is_ok());
    assert!(plan("", Sqlite::DIALECT, &too_long).is_ok());
    let stop = plan("", Postgres::DIALECT, &too_long).unwrap_err();
    assert_eq!(stop.reason, StopReason::TableMissing);

    let renamed = format!("[table.\"public.t\".columns]\nrename = {{ b = \"{too_long}\" }}");
    let stop = plan(&renamed, Postgres::DIALECT, "t").unwrap_err();
    assert_eq!(stop.reason, StopReason::ColumnMissing);
    expect![[r#"table "public.t": the name of column "éééééééééééééééééééééééééééééééxy" has 64 bytes, and the target takes 63: give it another name in the config file"#]].assert_eq(&stop.detail);
}

#[test]
fn a_column_that_its_target_fixes_is_freed_unless_it_is_the_key() {
    let mapping = mapping("", Postgres::DIALECT);
    let plan = mapping.plan(source("t", &["a"]), None).unwrap();
    let mut table = (*plan.mapped.shape.table).clone();
    for column in &mut table.columns {
        column.identity = (column.name != "c").then_some(Identity::Always);
    }
    let change = mapping.plan(source("t", &["a"]), Some(table.clone())).unwrap().change.unwrap();
    assert_eq!(
        change.statements,
        [r#"ALTER TABLE "public"."t" ALTER COLUMN "b" SET GENERATED BY DEFAULT"#]
    );
    // Rows that are only appended are never changed.
    assert!(mapping.plan(source("t", &[]), Some(table)).unwrap().change.is_none());
}

#[test]
fn an_enum_gets_the_labels_that_its_source_has_where_it_may() {
    let mut source = source("t", &["a"]);
    let labels = ["low", "high"].map(str::to_owned);
    source.columns[1].kind = Kind::Enum(Arc::from(labels));
    let plan = mapping("", Postgres::DIALECT).plan(source.clone(), None).unwrap();
    let mut table = (*plan.mapped.shape.table).clone();
    check_modes(&source, &table, ["nothing"; 3]);
    let enumeration = Enumeration { name: "e".to_owned(), labels: vec!["high".to_owned()] };
    table.columns[1].enumeration = Some(Arc::new(enumeration));
    let added = "ALTER TYPE e ADD VALUE IF NOT EXISTS 'low' BEFORE 'high'";
    let narrow = "column_narrow: column \"b\" of table \"public.t\" is of the enum e, which lacks a \
                  label of the source's, and --schema-changes forbids to add it";
    check_modes(&source, &table, [added, narrow, "nothing"]);
    let typed = "[table.\"public.t\".columns]\ntype = { b = \"text\" }";
    assert_eq!(planned(SchemaChanges::Check, typed, source, &table), "nothing");
}

#[test]
fn an_identity_goes_on_to_refuse_null_where_its_source_takes_it() {
    let mapping = mapping("", Postgres::DIALECT);
    let mut source = source("t", &["a"]);
    source.columns.iter_mut().for_each(|column| column.optional = column.name == "b");
    let plan = mapping.plan(source.clone(), None).unwrap();
    let mut table = (*plan.mapped.shape.table).clone();
    for column in table.columns.iter_mut().filter(|column| column.name == "b") {
        (column.not_null, column.identity) = (true, Some(Identity::ByDefault));
    }
    assert!(mapping.plan(source, Some(table)).unwrap().change.is_none());
}

#[test]
fn records_without_a_key_lack_that_of_a_table_which_has_one() {
    let keyless = |rules: &str, dialect: Dialect, change: fn(&mut Table)| {
        let of_records = mapping("", dialect).plan(source("t", &["a"]), None).unwrap();
        let mut table = (*of_records.mapped.shape.table).clone();
        change(&mut table);
        let plan = mapping(rules, dialect).plan(source("t", &[]), Some(table)).unwrap();
        assert!(plan.mapped.shape.key.is_empty());
        plan.mapped.shape.keyless
    };
    let own = |table: &mut Table| {
        let mut own = table.columns[0].clone();
        (own.name, own.has_default) = ("own".to_owned(), true);
        table.columns.push(own);
        table.unique_keys = vec![vec!["own".to_owned()]];
    };
    for dialect in [Postgres::DIALECT, Sqlite::DIALECT] {
        assert_eq!(keyless("", dialect, |_| {}), Keyless::Missing);
        // A key of the target's own, or none.
        assert_eq!(keyless("", dialect, own), Keyless::Refuse);
        assert_eq!(keyless("", dialect, |table| table.unique_keys.clear()), Keyless::Refuse);
        // Where somebody has said what becomes of rows without a key.
        for (name, said) in [("append", Keyless::Append), ("match", Keyless::Match)] {
            let rules = format!("[table.\"public.t\"]\nkeyless = \"{name}\"");
            assert_eq!(keyless(&rules, dialect, |_| {}), said);
        }
        let appended = "[table.\"public.t\"]\nmode = \"append\"";
        assert_eq!(keyless(appended, dialect, |_| {}), Keyless::Append);
    }
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
    Mapping::new(
        Tables { rules, schema_changes, synced_at_column: None, skips_unchanged: false },
        dialect,
    )
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
    SourceTable { name, columns, key, retyped: Vec::new(), form, is_mysql: false }
}
