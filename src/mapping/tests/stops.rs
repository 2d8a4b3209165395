//! What a table of the target does not take: columns of its own, keys it has not, and values that
//! nobody can read without a setting.

use super::*;

/// The table of [`created`] whose column of that name is one that the target fills by itself.
fn generated(name: &str) -> Table {
    let mut table = created("");
    for column in table.columns.iter_mut().filter(|column| column.name == name) {
        (column.generated, column.has_default) = (true, true);
    }
    table
}

#[test]
fn a_column_that_the_target_generates_is_left_out_and_stays_as_it_is() {
    let mut source = source("t", &["a"]);
    // Of a type that the column does not hold, with NULLs that it refuses, and with another's labels.
    for kind in [Kind::Int64, Kind::Text, Kind::VariableScaleDecimal, Kind::Enum(Arc::from([]))] {
        (source.columns[1].kind, source.columns[1].optional) = (kind.clone(), true);
        for mode in [SchemaChanges::Apply, SchemaChanges::Check, SchemaChanges::Ignore] {
            assert_eq!(planned(mode, "", source.clone(), &generated("b")), "nothing", "{kind:?}");
        }
        let plan = mapping("", Postgres::DIALECT).plan(source.clone(), Some(generated("b")));
        let mapped = plan.unwrap().mapped;
        let names = mapped.shape.columns.iter().map(|it| it.name.as_str()).collect::<Vec<_>>();
        assert_eq!(names, ["a", "c"]);
        assert_eq!(mapped.is_written, [true, false, true]);
        assert_eq!(mapped.shape.key, [0]);
    }
    // What the source drops is the target's own all the same.
    source.columns.remove(1);
    assert_eq!(planned(SchemaChanges::Check, "", source, &generated("b")), "nothing");
}

#[test]
fn a_column_that_the_target_generates_identifies_no_row() {
    let stop = planned(SchemaChanges::Apply, "", source("t", &["a"]), &generated("a"));
    assert_eq!(stop, "key_unfit: table \"public.t\": the key [\"a\"] is not in the row");
}

#[test]
fn a_key_that_the_table_does_not_keep_unique_stops_it() {
    let unfit = "key_unfit: table \"public.t\" has no unique key over [\"a\"]";
    // Records without a key have made it, or it has another key.
    let keyless = mapping("", Postgres::DIALECT).plan(source("t", &[]), None).unwrap();
    let keyless = Table::clone(&keyless.mapped.shape.table);
    assert!(keyless.unique_keys.is_empty());
    let mut other = created("");
    other.unique_keys = vec![vec!["b".to_owned()], vec!["a".to_owned(), "b".to_owned()]];
    for table in [&keyless, &other] {
        check_modes(&source("t", &["a"]), table, [unfit; 3]);
    }
    other.unique_keys.push(vec!["a".to_owned()]);
    check_modes(&source("t", &["a"]), &other, ["nothing"; 3]);
    // Rows that are only appended need none.
    let appended = "[table.'public.t']\nmode = 'append'";
    assert_eq!(planned(SchemaChanges::Apply, appended, source("t", &["a"]), &keyless), "nothing");
    let ruled = "[table.'public.t']\nkey = ['c']";
    let stop = planned(SchemaChanges::Apply, ruled, source("t", &["a"]), &created(""));
    assert_eq!(stop, unfit.replace("\"a\"", "\"c\""));
}

#[test]
fn a_truncate_of_a_guarded_table_needs_to_know_its_key() {
    let plan = |rules: &str, keys: &[&[&str]]| {
        let rules = format!("[table.'public.t']\nrow_guard = true\n{rules}");
        let mut table = created("");
        let key = |key: &&[&str]| key.iter().map(|name| (*name).to_owned()).collect();
        table.unique_keys = keys.iter().map(key).collect();
        let mut truncate = source("t", &[]);
        truncate.columns.clear();
        let plan = mapping(&rules, Postgres::DIALECT).plan_partial(truncate, table);
        plan.map(|plan| plan.mapped.shape.key.len()).map_err(|stop| stop.to_string())
    };
    assert_eq!(plan("", &[&["a", "b"]]), Ok(2));
    assert_eq!(plan("key = ['b']", &[&["a"], &["b"]]), Ok(1));
    for (keys, count) in [([].as_slice(), 0), (&[["a"].as_slice(), &["b"]], 2)] {
        let expected = format!(
            "key_unfit: table \"public.t\" was emptied, and has {count} unique keys: say in the \
             config file which one is its `key`"
        );
        assert_eq!(plan("", keys), Err(expected));
    }
}

#[test]
fn a_guarded_table_needs_a_key() {
    let guarded = "[table.'public.t']\nrow_guard = true\nkeyless = 'append'";
    let stop = planned(SchemaChanges::Apply, guarded, source("t", &[]), &created(""));
    assert_eq!(stop, "key_unfit: table \"public.t\": row_guard needs a key");
}

#[test]
fn a_setting_that_values_cannot_be_read_without_is_named_with_its_column() {
    let mut plain = source("t", &["a"]);
    for column in &mut plain.columns {
        (column.kind, column.optional) = (Kind::Untyped, true);
    }
    for (type_name, setting, value) in [
        ("date", "time_precision_mode", "'adaptive'"),
        ("numeric(12,2)", "decimal_handling_mode", "'precise'"),
        ("bytea", "binary_handling_mode", "'bytes'"),
        ("interval", "interval_handling_mode", "'string'"),
        ("public.hstore", "hstore_handling_mode", "'json'"),
    ] {
        let mut table = created("");
        table.columns[1].type_name = type_name.to_owned();
        let stop = planned(SchemaChanges::Apply, "", plain.clone(), &table);
        let expected = format!(
            "source_setting_missing: column \"b\" of table \"public.t\" needs {setting} under \
             [source.\"s\"]"
        );
        assert_eq!(stop, expected);
        let told = format!("[source.'s']\n{setting} = {value}");
        let stop = planned(SchemaChanges::Apply, &told, plain.clone(), &table);
        assert!(!stop.starts_with("source_setting_missing"), "{stop}");
    }
}

#[test]
fn a_target_that_is_named_by_a_database_needs_records_that_name_theirs() {
    let file = "[table.'public.t']\ntarget = '{database}.t'";
    let mapping = mapping(file, Postgres::DIALECT);
    let stop = mapping.target(&source("t", &["a"]).name).unwrap_err();
    assert_eq!(stop.reason, StopReason::SourceSettingMissing);
    assert!(stop.detail.contains("needs its database"), "{}", stop.detail);
    let name = SourceName { database: Some("d".to_owned()), ..source("t", &["a"]).name };
    assert_eq!(mapping.target(&name).unwrap().to_string(), "d.t");
}
