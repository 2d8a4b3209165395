//! Flat records: rows that a transform took out of their envelopes, and change logs.

use crate::checkpoint::SourcePosition;
use crate::decode::testing::{Bench, Sample};
use crate::decode::value::kind::{Form, Kind};
use crate::decode::{Decoded, Op};
use crate::mapping::Mapping;
use crate::rules::{Changelog, ConfigFile, DeletePolicy, Rules};
use crate::settings::{SchemaChanges, Tables};
use crate::target::postgres::Postgres;
use crate::target::sqlite::Sqlite;
use crate::target::{Dialect, Target as _};

const TOPIC: &str = "s.public.t";

/// A row as `ExtractNewRecordState` writes it, of an id, a note, and what the transform adds.
fn row(note: &str, added: &[(&str, &str)]) -> String {
    let column = |name: &str, literal: &str| {
        format!(r#"{{"type":"{literal}","optional":true,"field":"{name}"}}"#)
    };
    let literal = |value: &str| match value.as_bytes() {
        [b'"', ..] => "string",
        [b't' | b'f', ..] => "boolean",
        _ => "int64",
    };
    let mut fields = vec![column("id", "int64"), column("note", "string")];
    let mut values = format!(r#""id":1,"note":{note}"#);
    for (name, value) in added {
        fields.push(column(name, literal(value)));
        values.push_str(&format!(r#","{name}":{value}"#));
    }
    format!(
        r#"{{"schema":{{"type":"struct","fields":[{}],"optional":false,"name":"s.public.t.Value"}},"payload":{{{values}}}}}"#,
        fields.join(",")
    )
}

fn record(value: &str) -> Sample {
    let key = r#"{"schema":{"type":"struct","fields":[{"type":"int64","optional":false,"field":"id"}],"optional":false,"name":"s.public.t.Key"},"payload":{"id":1}}"#;
    Sample::new(TOPIC, Some(key), Some(value))
}

fn check(bench: &mut Bench, sample: &Sample, expected: &str) {
    assert_eq!(bench.decode(sample), expected);
}

/// A bench whose target has only the row's own columns.
fn bench() -> Bench {
    let mut bench = Bench::default();
    bench.kinds = vec![("t.id", Kind::Int64), ("t.note", Kind::Text)];
    bench.only = Some(&["id", "note"]);
    bench
}

#[test]
fn a_row_alone_is_the_row_as_it_is_now() {
    let bench = &mut bench();
    check(bench, &record(&row("\"n\"", &[])), "Update t id=1 note='n'");
    check(bench, &record(r#"{"id":1,"note":"n"}"#), "Update t id=1 note='n'");
    assert!(bench.asked.iter().all(|(table, _)| table.form == Form::Flat));
    assert_eq!(bench.asked[0].0.name.to_string(), "s.public.t");
}

#[test]
fn an_object_without_the_columns_of_its_key_is_no_row() {
    let bench = &mut bench();
    let neither =
        "not_an_envelope: the value is neither an envelope nor a row with the columns of its key";
    check(bench, &record(r#"{"hello":"world"}"#), neither);
}

#[test]
fn a_rewritten_delete_is_of_the_records_key() {
    let bench = &mut bench();
    let deleted = |said: &str, note: &str| record(&row(note, &[("__deleted", said)]));
    for said in ["\"false\"", "false"] {
        check(bench, &deleted(said, "\"n\""), "Update t id=1 note='n'");
    }
    for said in ["\"true\"", "true"] {
        check(bench, &deleted(said, "null"), "Delete t id=1");
        // The fallback of a column that may not be null need not be of its type.
        check(bench, &deleted(said, "\"too long\""), "Delete t id=1");
    }
    let unfit = "value_unfit: column \"note\" is longer than the column allows (text)";
    check(bench, &deleted("\"false\"", "\"too long\""), unfit);
}

#[test]
fn the_tombstone_behind_a_rewritten_delete_is_nothing_and_alone_it_is_the_delete() {
    let bench = &mut bench();
    let deleted = row("null", &[("__deleted", "\"true\"")]);
    let tombstone = Sample { value: None, ..record("") };
    check(bench, &record(&deleted), "Delete t id=1");
    check(bench, &tombstone, "Ignored(Tombstone)");
    check(bench, &record(&row("\"n\"", &[])), "Update t id=1 note='n'");
    check(bench, &tombstone, "Delete t id=1");
    let with_schema = r#"{"schema":{"type":"struct","fields":[]},"payload":null}"#;
    for null in [with_schema, "null"] {
        check(bench, &record(&row("\"n\"", &[])), "Update t id=1 note='n'");
        check(bench, &record(null), "Delete t id=1");
    }
}

#[test]
fn the_letter_stands_in_the_row_or_in_a_header() {
    let bench = &mut bench();
    let ops = [("c", "Create"), ("r", "Read"), ("u", "Update")];
    for (letter, op) in ops {
        let expected = format!("{op} t id=1 note='n'");
        let quoted = format!("\"{letter}\"");
        check(bench, &record(&row("\"n\"", &[("__op", &quoted)])), &expected);
        let framed = format!(r#"{{"schema":{{"type":"string"}},"payload":{quoted}}}"#);
        for header in [letter, &quoted, &framed] {
            let record = record(&row("\"n\"", &[])).with_header("__op", header);
            check(bench, &record, &expected);
        }
    }
    check(bench, &record(&row("null", &[("__op", "\"d\"")])), "Delete t id=1");
    check(bench, &record(&row("null", &[])).with_header("__op", "d"), "Delete t id=1");
    let unknown = "value_unfit: column \"__op\" is no letter of an envelope's op";
    check(bench, &record(&row("null", &[("__op", "\"x\"")])), unknown);
}

#[test]
fn added_fields_say_where_and_when_and_are_written_only_to_columns_that_exist() {
    let added = [
        ("__op", "\"u\""),
        ("__table", "\"t\""),
        ("__lsn", "7"),
        ("__source_ts_ms", "5"),
        ("__transaction_id", "\"571:1\""),
    ];
    let bench = &mut bench();
    let sample = record(&row("\"n\"", &added));
    check(bench, &sample, "Update t id=1 note='n'");
    let Decoded::Change(change) = bench.settle(&sample) else { panic!("changes") };
    assert_eq!((change.op, change.age.source_time), (Op::Update, Some(5)));
    assert_eq!(change.source_position, Some(SourcePosition::Lsn(7)));
    bench.only = Some(&["id", "note", "__lsn", "__op"]);
    bench.decoder.forget_layouts();
    check(bench, &sample, "Update t id=1 note='n' __op='u' __lsn=7");
}

#[test]
fn tables_that_share_a_topic_are_told_apart_by_an_added_field() {
    let bench = &mut bench();
    for table in ["a", "b", "a"] {
        let name = format!("\"{table}\"");
        let sample = record(&row("\"n\"", &[("__table", &name)]));
        check(bench, &sample, &format!("Update {table} id=1 note='n'"));
    }
    assert_eq!(bench.asked.len(), 2);
}

#[test]
fn an_unavailable_value_is_kept_in_a_flat_row_too() {
    let bench = &mut bench();
    let placeholder = "\"__debezium_unavailable_value\"";
    check(bench, &record(&row(placeholder, &[])), "Update partial t id=1 note=unavailable");
    let read = record(&row(placeholder, &[("__op", "\"r\"")]));
    check(bench, &read, "Read t id=1 note='__debezium_unavailable_value'");
}

#[test]
fn avro_carries_flat_rows_too() {
    let bench = &mut bench();
    let note = r#"{"name":"note","type":["null","string"]}"#;
    let deleted = r#"{"name":"__deleted","type":["null","string"]}"#;
    let schema = format!(
        r#"{{"type":"record","name":"Value","namespace":"s.public.t","fields":[
            {{"name":"id","type":"long"}},{note},{deleted}]}}"#
    );
    bench.register(1, &schema);
    let framed = |body: &[u8]| {
        let mut sample = record("");
        sample.value = Some([&[0, 0, 0, 0, 1], body].concat());
        sample
    };
    check(bench, &framed(b"\x02\x02\x02n\x02\x0afalse"), "Update t id=1 note='n'");
    check(bench, &framed(b"\x02\x00\x02\x08true"), "Delete t id=1");
    check(bench, &framed(b"\x02\x02\x10too long\x02\x08true"), "Delete t id=1");
}

/// A change log as the tutorial's producer writes it.
fn logged(action_id: i64, id: i64, note: &str, action: &str) -> Sample {
    let value =
        format!(r#"{{"action_id":{action_id},"id":{id},"note":{note},"action":"{action}"}}"#);
    Sample::new(TOPIC, Some(&action_id.to_string()), Some(&value))
}

/// A bench by the rules of a config file.
fn ruled(file: &str) -> Bench {
    let file = ConfigFile::parse(file, &[]).unwrap();
    let changelog = file.tables[0].1.changelog.clone();
    let mut bench = bench();
    bench.changelog = changelog;
    bench.key = Some(&["id"]);
    bench
}

const LOG: &str =
    "[table.'public.t']\nkey = ['id']\nchangelog = { op = 'action', order = 'action_id' }";

#[test]
fn a_change_log_says_in_a_column_what_happened() {
    let bench = &mut ruled(LOG);
    check(bench, &logged(7, 1, "\"n\"", "INSERT"), "Create t id=1 note='n'");
    check(bench, &logged(8, 1, "\"m\"", "UPDATE"), "Update t id=1 note='m'");
    check(bench, &logged(9, 1, "null", "DELETE"), "Delete t id=1");
    check(bench, &logged(9, 2, "\"too long\"", "DELETE"), "Delete t id=2");
    assert_eq!(bench.asked[0].0.form, Form::FlatUnkeyed);
    let unknown = "value_unfit: column \"action\" is none of the change log's words";
    check(bench, &logged(10, 1, "\"m\"", "insert"), unknown);
}

/// The same with its schema, in JSON; the row is always of the id 1.
fn logged_with_schema(action_id: i64, note: &str, action: &str) -> Sample {
    let (order, action) = (action_id.to_string(), format!("\"{action}\""));
    let value = row(note, &[("action_id", &order), ("action", &action)]);
    Sample::new(TOPIC, Some(&order), Some(&value))
}

/// The same in Avro, whose schema [`register_log`] has given; numbers and texts are short.
fn logged_in_avro(action_id: u8, note: Option<&str>, action: &str) -> Sample {
    let text = |text: &str| [&[u8::try_from(text.len() * 2).unwrap()], text.as_bytes()].concat();
    let note = note.map_or(vec![0], |note| [vec![2], text(note)].concat());
    let body = [vec![0, 0, 0, 0, 1, action_id * 2, 2], note, text(action)].concat();
    Sample { value: Some(body), ..Sample::new(TOPIC, Some("key"), None) }
}

fn register_log(bench: &mut Bench) {
    bench.register(
        1,
        r#"{"type":"record","name":"Value","namespace":"s.public.t","fields":[
            {"name":"action_id","type":"long"},{"name":"id","type":"long"},
            {"name":"note","type":["null","string"]},{"name":"action","type":"string"}]}"#,
    );
}

#[test]
fn a_change_log_may_have_schemas_in_json_and_in_avro() {
    let json: fn(u8, Option<&str>, &str) -> Sample = |order, note, action| {
        let note = note.map_or("null".to_owned(), |note| format!("\"{note}\""));
        logged_with_schema(i64::from(order), &note, action)
    };
    for logged in [json, logged_in_avro] {
        let bench = &mut ruled(LOG);
        register_log(bench);
        check(bench, &logged(7, Some("n"), "INSERT"), "Create t id=1 note='n'");
        check(bench, &logged(8, Some("m"), "UPDATE"), "Update t id=1 note='m'");
        let back = "out_of_order: the change log's order steps back behind an earlier record's";
        check(bench, &logged(7, Some("old"), "UPDATE"), back);
        check(bench, &logged(9, None, "DELETE"), "Delete t id=1");
        check(bench, &logged(9, Some("too long"), "DELETE"), "Delete t id=1");
        let unknown = "value_unfit: column \"action\" is none of the change log's words";
        check(bench, &logged(10, None, "insert"), unknown);
        assert_eq!(bench.asked[0].0.form, Form::FlatUnkeyed);
        let kinds = bench.asked[0].0.columns.iter().filter(|it| it.name.starts_with("action"));
        let kinds = kinds.map(|it| it.kind.clone()).collect::<Vec<_>>();
        assert_eq!(kinds, [Kind::Int64, Kind::Text], "its own types are told");
    }
}

#[test]
fn a_change_logs_words_are_those_of_the_rule() {
    let bench = &mut ruled(
        "[table.'public.t']\nkey = ['id']\n\
         changelog = { op = 'action', insert = 'I', update = 'U', delete = 'D' }",
    );
    check(bench, &logged(7, 1, "\"n\"", "I"), "Create t id=1 note='n'");
    check(bench, &logged(6, 1, "\"n\"", "U"), "Update t id=1 note='n'");
    check(bench, &logged(5, 1, "\"n\"", "D"), "Delete t id=1");
}

#[test]
fn a_change_log_does_not_step_back() {
    let bench = &mut ruled(LOG);
    check(bench, &logged(7, 1, "\"new\"", "INSERT"), "Create t id=1 note='new'");
    check(bench, &logged(7, 2, "\"n\"", "INSERT"), "Create t id=2 note='n'");
    let back = "out_of_order: the change log's order steps back behind an earlier record's";
    check(bench, &logged(6, 1, "\"old\"", "INSERT"), back);
    check(bench, &logged(8, 1, "\"newer\"", "UPDATE"), "Update t id=1 note='newer'");
    // What is read again after a rewind is behind nothing.
    bench.rewind_to(0);
    check(bench, &logged(7, 1, "\"new\"", "INSERT"), "Create t id=1 note='new'");
    let no_number =
        Sample::new(TOPIC, None, Some(r#"{"action_id":"7","id":1,"note":null,"action":"INSERT"}"#));
    let detail = "value_unfit: column \"action_id\" is no integer, as a change log's order must be";
    check(bench, &no_number, detail);
}

#[test]
fn the_log_of_a_change_log_becomes_no_column_of_its_table() {
    let plan = |file: &str, form: Form, dialect: Dialect| {
        let file = ConfigFile::parse(file, &[]).unwrap();
        let rules = Rules {
            targets: Vec::new(),
            tables: file.tables,
            sources: file.sources,
            deletes: DeletePolicy::Hard,
            deleted_at_column: "deleted_at".to_owned(),
        };
        let schema_changes = SchemaChanges::Apply;
        let tables =
            Tables { rules, schema_changes, synced_at_column: None, skips_unchanged: false };
        let mut bench = Bench::default();
        let added = [("action_id", "7"), ("action", "\"INSERT\""), ("__lsn", "1")];
        bench.settle(&record(&row("\"n\"", &added)));
        let (mut source, _) = bench.asked.remove(0);
        source.form = form;
        let plan = Mapping::new(tables, dialect).plan(source, None);
        let columns = plan.map(|plan| plan.mapped.shape.columns.clone());
        columns.map(|columns| columns.into_iter().map(|it| it.name).collect::<Vec<_>>())
    };
    for dialect in [Postgres::DIALECT, Sqlite::DIALECT] {
        assert_eq!(plan(LOG, Form::FlatUnkeyed, dialect).unwrap(), ["id", "note"]);
        assert_eq!(plan("", Form::Flat, dialect).unwrap(), ["id", "note", "action_id", "action"]);
        let stop = plan("", Form::FlatUnkeyed, dialect).unwrap_err();
        assert_eq!(
            stop.to_string(),
            "key_unfit: the records' keys of table \"s.public.t\" are no structs of columns: set \
             the connector's key.converter to JSON or Avro"
        );
    }
}

#[test]
fn a_change_log_needs_to_know_what_identifies_a_row() {
    let parse = |text: &str| ConfigFile::parse(text, &[]);
    let problems = parse("[table.'t']\nchangelog = { op = 'action' }").unwrap_err();
    assert_eq!(
        problems.to_string(),
        "table.\"t\".changelog needs key: the columns that identify a row of the table"
    );
    let file = parse(LOG).unwrap();
    let words = |text: &str| text.to_owned();
    let expected = Changelog {
        op: words("action"),
        insert: words("INSERT"),
        update: words("UPDATE"),
        delete: words("DELETE"),
        order: Some(words("action_id")),
    };
    assert_eq!(file.tables[0].1.changelog, Some(expected));
}
