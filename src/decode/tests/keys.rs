//! Keys: a delete finds the row that an upsert wrote, whatever order rule and record name columns in.

use crate::decode::Decoded;
use crate::decode::testing::{Bench, Sample};
use crate::decode::value::kind::{Form, Kind, SourceTable};
use crate::mapping::Mapping;
use crate::rows::Move;
use crate::rules::{ConfigFile, DeletePolicy, Rules};
use crate::settings::{SchemaChanges, Tables};
use crate::stopped::StopReason;
use crate::target::postgres::Postgres;
use crate::target::sqlite::Sqlite;
use crate::target::{Dialect, Target as _};

#[test]
fn a_delete_by_a_rules_key_in_another_order_is_of_the_row_that_was_written() {
    for rule in [r#"["b", "a"]"#, r#"["a", "b"]"#, r#"["b"]"#] {
        let bench = &mut bench(rule);
        assert!(matches!(bench.settle(&record("c", r#"{"a":1,"b":2,"c":3}"#)), Decoded::Change(_)));
        assert!(matches!(bench.settle(&record("d", "null")), Decoded::Change(_)));
        let folded = std::mem::take(&mut bench.batch).fold();
        let (rows, _) = &folded.tables[0];
        let [upsert, delete] = rows.index() else { panic!("two rows") };
        assert_eq!(rows.key(upsert), rows.key(delete), "{rule}");
    }
}

#[test]
fn a_delete_is_refused_when_the_records_key_lacks_a_column_of_the_rules() {
    for rule in [r#"["c"]"#, r#"["c", "a"]"#] {
        let bench = &mut bench(rule);
        let expected =
            "key_missing: the record's key lacks a column of the table's key, or it is null";
        assert_eq!(bench.decode(&record("d", "null")), expected, "{rule}");
    }
}

/// The types that a key's column may have, each with a value.
const KINDS: [(&str, &str); 22] = [
    (r#""type":"boolean""#, "true"),
    (r#""type":"int16""#, "-32768"),
    (r#""type":"int64""#, "9223372036854775807"),
    (r#""type":"float""#, "0.1"),
    (r#""type":"double""#, "\"NaN\""),
    (r#""type":"string""#, r#""a\"b\\ \u00fc \ud83d\ude00 \n,{}=\u007f""#),
    (r#""type":"string""#, "\"\""),
    (r#""type":"string""#, "\"__debezium_unavailable_value\""),
    (r#""type":"bytes""#, "\"AP8=\""),
    (DECIMAL, "\"z8c=\""),
    (VARIABLE, r#"{"scale":4,"value":"AYr3"}"#),
    (r#""type":"int32","name":"io.debezium.time.Date""#, "-1"),
    (r#""type":"int64","name":"io.debezium.time.MicroTime""#, "86400000000"),
    (r#""type":"int64","name":"io.debezium.time.MicroTimestamp""#, "-1"),
    (r#""type":"int64","name":"org.apache.kafka.connect.data.Timestamp""#, "1"),
    (r#""type":"string","name":"io.debezium.time.ZonedTimestamp""#, "\"infinity\""),
    (r#""type":"string","name":"io.debezium.time.ZonedTime""#, "\"11:51:30.123789Z\""),
    (r#""type":"int64","name":"io.debezium.time.MicroDuration""#, "37091106780000"),
    (r#""type":"string","name":"io.debezium.data.Uuid""#, UUID),
    (r#""type":"bytes","name":"io.debezium.data.Bits","parameters":{"length":"7"}"#, "\"QA==\""),
    (r#""type":"string","name":"io.debezium.data.Enum""#, "\"a,b\""),
    (r#""type":"string","name":"io.debezium.data.Json""#, r#""{\"a\": 1}""#),
];
const DECIMAL: &str =
    r#""type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}"#;
const VARIABLE: &str = r#""type":"struct","name":"io.debezium.data.VariableScaleDecimal","fields":[
    {"type":"int32","field":"scale"},{"type":"bytes","field":"value"}]"#;
const UUID: &str = "\"6f1d2c3b-4a59-4687-9788-99aabbccddee\"";

#[test]
fn a_delete_finds_its_row_by_a_key_of_every_kind() {
    for (kind, value) in KINDS {
        for dialect in [Postgres::DIALECT, Sqlite::DIALECT] {
            // SQLite refuses NaN, which it would make NULL.
            if dialect.has_schemas || !value.contains("NaN") {
                assert_one_row((kind, value), (kind, value), dialect);
            }
        }
    }
}

/// Types and values of a row's column that a transform of the connector has left alone in the key.
const RETYPED: [[(&str, &str); 2]; 4] = [
    [
        (r#""type":"int64","name":"org.apache.kafka.connect.data.Timestamp""#, "1478267490123"),
        (r#""type":"int64","name":"io.debezium.time.MicroTimestamp""#, "1478267490123000"),
    ],
    [(r#""type":"string""#, r#""12.50""#), (DECIMAL, r#""BOI=""#)],
    [(r#""type":"int64""#, "7"), (r#""type":"int16""#, "7")],
    [(r#""type":"string""#, UUID), (r#""type":"string","name":"io.debezium.data.Uuid""#, UUID)],
];

#[test]
fn a_delete_finds_its_row_by_a_key_that_is_typed_otherwise() {
    for [row, key] in RETYPED {
        assert_one_row(row, key, Sqlite::DIALECT);
    }
    for [row, key] in [RETYPED[0], RETYPED[2]] {
        assert_one_row(row, key, Postgres::DIALECT);
    }
}

fn assert_one_row((kind, value): (&str, &str), in_key: (&str, &str), dialect: Dialect) {
    let field = |name: &str, kind: &str| format!(r#"{{{kind},"optional":false,"field":"{name}"}}"#);
    let columns = |kind| [field("a", r#""type":"int64""#), field("k", kind)].join(",");
    let key = format!(
        r#"{{"schema":{{"type":"struct","fields":[{}]}},"payload":{{"a":1,"k":{}}}}}"#,
        columns(in_key.0),
        in_key.1
    );
    let columns = columns(kind);
    let op = r#"{"type":"string","field":"op"}"#;
    let schema = format!(
        r#"{{"type":"struct","name":"s.public.t.Envelope","fields":[
            {{"type":"struct","field":"after","fields":[{columns}]}},{op}]}}"#
    );
    let record = |op: &str, after: &str| {
        let payload = format!(r#"{{"after":{after},"op":"{op}"}}"#);
        let value = format!(r#"{{"schema":{schema},"payload":{payload}}}"#);
        Sample::new("s.public.t", Some(&key), Some(&value))
    };
    let mut bench = Bench::default();
    bench.mapping = Some(mapping("", dialect));
    let create = bench.settle(&record("c", &format!(r#"{{"a":1,"k":{value}}}"#)));
    assert!(matches!(create, Decoded::Change(_)), "{kind}: {create:?}");
    assert!(matches!(bench.settle(&record("d", "null")), Decoded::Change(_)), "{kind}");
    let tombstone = Sample { value: None, ..record("d", "null") };
    assert!(matches!(bench.settle(&tombstone), Decoded::Ignored(_)), "{kind}");
    let folded = std::mem::take(&mut bench.batch).fold();
    let (rows, winners) = &folded.tables[0];
    let [upsert, delete] = rows.index() else { panic!("two rows") };
    assert_eq!(rows.key(upsert), rows.key(delete), "{kind}");
    assert_eq!((winners.upserts.len(), winners.deletes.as_slice()), (0, [1].as_slice()));
}

/// A key as a router makes it, of a row that has an id and nothing of the router's.
fn routed(table: &str, value: Option<&str>) -> Sample {
    let key = format!(r#"{{"id":1,"__dbz__physicalTableIdentifier":"s.public.{table}"}}"#);
    Sample::new("s.public.all", Some(&key), value)
}

#[test]
fn a_routers_identifier_in_the_key_is_no_column() {
    let envelope = |table: &str, op: &str, after: &str| {
        let source = format!(r#"{{"name":"s","schema":"public","table":"{table}"}}"#);
        format!(r#"{{"before":null,"after":{after},"source":{source},"op":"{op}"}}"#)
    };
    let mut bench = Bench::default();
    bench.kinds = vec![("t1.id", Kind::Int64), ("t2.id", Kind::Int64)];
    let expected = [("c", r#"{"id":1}"#, "Create t1 id=1"), ("d", "null", "Delete t1 id=1")];
    for (op, after, expected) in expected {
        let value = envelope("t1", op, after);
        assert_eq!(bench.decode(&routed("t1", Some(&value))), expected);
    }
    assert_eq!(bench.decode(&routed("t1", None)), "Ignored(Tombstone)");
    let value = envelope("t2", "c", r#"{"id":1}"#);
    assert_eq!(bench.decode(&routed("t2", Some(&value))), "Create t2 id=1");

    let (source, _) = bench.asked.remove(0);
    assert_eq!(source.key, ["id", "__dbz__physicalTableIdentifier"]);
    let typed = |form: Form| {
        let mut source = SourceTable { form, ..source.clone() };
        source.columns.iter_mut().for_each(|column| column.kind = Kind::Int64);
        let plan = mapping("", Postgres::DIALECT).plan(source, None);
        plan.map(|plan| plan.mapped.shape.key.clone()).map_err(|stop| stop.reason)
    };
    assert_eq!(typed(Form::Enveloped), Ok(vec![0]));
    // A flat record does not say which table it is of: rows of several would meet in one.
    assert_eq!(typed(Form::Flat), Err(StopReason::KeyUnfit));
}

#[test]
fn the_halves_of_a_changed_key_are_known_by_their_headers() {
    let envelope = |op: &str, after: &str| {
        let source = r#"{"name":"s","schema":"public","table":"t","txId":571,"lsn":8}"#;
        format!(r#"{{"before":null,"after":{after},"source":{source},"op":"{op}"}}"#)
    };
    let mut bench = Bench::default();
    bench.kinds = vec![("t.id", Kind::Int64)];
    let mut settle = |op: &str, header: Option<&str>| {
        let after = if op == "c" { r#"{"id":2}"# } else { "null" };
        let mut sample = Sample::new("s.public.t", Some(r#"{"id":2}"#), Some(&envelope(op, after)));
        if let Some(name) = header {
            sample = sample.with_header(name, r#"{"id":1}"#);
        }
        assert!(matches!(bench.settle(&sample), Decoded::Change(_)));
    };
    settle("c", Some("__debezium.oldkey"));
    settle("d", Some("__debezium.newkey"));
    settle("c", None);
    settle("d", Some("__debezium.context.taskId"));
    let rows = &bench.batch.tables()[0];
    let half =
        |is_create| Some(Move { is_create, transaction: 571, lsn: 8, is_over_refused: false });
    let halves = (0..4).map(|row| rows.half(row)).collect::<Vec<_>>();
    assert_eq!(halves, [half(true), half(false), None, None]);
}

#[test]
fn what_a_row_had_is_not_to_be_trusted_that_another_came_over_behind_a_refused_record() {
    for is_tainted in [false, true] {
        let mut bench = Bench::default();
        bench.kinds = vec![("t.id", Kind::Int64), ("t.note", Kind::Text)];
        let settle = |bench: &mut Bench, op: &str, lsn: i64, header: &str, after: &str| {
            let source =
                format!(r#"{{"name":"s","schema":"public","table":"t","txId":5,"lsn":{lsn}}}"#);
            let value = format!(r#"{{"after":{after},"source":{source},"op":"{op}"}}"#);
            let sample = Sample::new("s.public.t", Some(r#"{"id":2}"#), Some(&value));
            let sample = sample.with_header(header, r#"{"id":1}"#);
            assert!(matches!(bench.settle(&sample), Decoded::Change(_)));
        };
        bench.is_tainted = is_tainted;
        settle(&mut bench, "c", 7, "__debezium.oldkey", r#"{"id":2,"note":"n"}"#);
        bench.is_tainted = false;
        settle(&mut bench, "d", 8, "__debezium.newkey", "null");

        let rows = &bench.batch.tables()[0];
        assert_eq!(rows.half(0).map(|half| half.is_over_refused), Some(is_tainted));
        let departure = &rows.departures()[0];
        assert_eq!(departure.is_refused, is_tainted);
        assert_eq!(departure.half.as_ref().map(|(half, _)| half.lsn), Some(8));
    }
}

fn bench(key: &str) -> Bench {
    let mut bench = Bench::default();
    let file = format!("[table.\"public.t\"]\nkey = {key}");
    bench.mapping = Some(mapping(&file, Postgres::DIALECT));
    bench
}

pub(super) fn mapping(file: &str, dialect: Dialect) -> Mapping {
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

/// A record whose key is of a and b, in that order.
fn record(op: &str, after: &str) -> Sample {
    let fields = |names: &[&str]| {
        let field =
            |name: &&str| format!(r#"{{"type":"int64","optional":false,"field":"{name}"}}"#);
        names.iter().map(field).collect::<Vec<_>>().join(",")
    };
    let key = format!(
        r#"{{"schema":{{"type":"struct","fields":[{}]}},"payload":{{"a":1,"b":2}}}}"#,
        fields(&["a", "b"])
    );
    let row =
        format!(r#"{{"type":"struct","field":"after","fields":[{}]}}"#, fields(&["a", "b", "c"]));
    let schema = format!(
        r#"{{"type":"struct","name":"s.public.t.Envelope","fields":[{row},{{"type":"string","field":"op"}}]}}"#
    );
    let source = r#"{"name":"s","db":"d","schema":"public","table":"t"}"#;
    let payload = format!(r#"{{"after":{after},"source":{source},"op":"{op}"}}"#);
    let value = format!(r#"{{"schema":{schema},"payload":{payload}}}"#);
    Sample::new("s.public.t", Some(&key), Some(&value))
}

#[test]
fn a_create_and_a_read_say_that_their_row_is_new() {
    let mut bench = Bench::default();
    bench.kinds = vec![("t.id", Kind::Int64)];
    for (op, id) in [("c", 1), ("u", 2), ("r", 3)] {
        let source = r#"{"name":"s","schema":"public","table":"t"}"#;
        let value = format!(r#"{{"after":{{"id":{id}}},"source":{source},"op":"{op}"}}"#);
        let key = format!(r#"{{"id":{id}}}"#);
        let decoded = bench.settle(&Sample::new("s.public.t", Some(&key), Some(&value)));
        assert!(matches!(decoded, Decoded::Change(_)), "{op}: {decoded:?}");
    }
    let index = bench.batch.tables().first().unwrap().index();
    assert_eq!(index.iter().map(|row| row.is_new).collect::<Vec<_>>(), [true, false, true]);
}
