//! The shapes of records: what is a change, what is nothing, what is refused.

use crate::decode::testing::{Bench, Sample};
use crate::decode::value::kind::Kind;
use crate::decode::{Decoded, RegisteredSchema, SchemaId};
use crate::rows::{Deletes, Keyless};
use crate::stopped::StopReason;

const TOPIC: &str = "s.public.t";

/// A key with its schema.
fn key(id: i64) -> String {
    let field = r#"{"type":"int64","optional":false,"field":"id"}"#;
    format!(
        r#"{{"schema":{{"type":"struct","fields":[{field}],"optional":false}},"payload":{{"id":{id}}}}}"#
    )
}

/// An envelope with its schema; the row has an id and a note.
fn envelope(op: &str, after: &str) -> String {
    envelope_from("t", op, after)
}

fn envelope_from(table: &str, op: &str, after: &str) -> String {
    envelope_of(("d", "public", table), op, after)
}

fn envelope_of(place: (&str, &str, &str), op: &str, after: &str) -> String {
    let (db, schema_name, table) = place;
    let row = r#"{"type":"struct","optional":true,"field":"after","fields":[
        {"type":"int64","optional":false,"field":"id"},
        {"type":"string","optional":true,"field":"note"}]}"#;
    let op_field = r#"{"type":"string","optional":false,"field":"op"}"#;
    let schema = format!(r#"{{"type":"struct","fields":[{row},{op_field}],"optional":false}}"#);
    let source =
        format!(r#"{{"name":"s","db":"{db}","schema":"{schema_name}","table":"{table}","lsn":7}}"#);
    let payload = format!(r#"{{"after":{after},"source":{source},"op":"{op}","new":[{{}}]}}"#);
    format!(r#"{{"schema":{schema},"payload":{payload}}}"#)
}

fn sample(id: i64, value: Option<&str>) -> Sample {
    Sample::new(TOPIC, Some(&key(id)), value)
}

fn change(op: &str, after: &str) -> Sample {
    sample(1, Some(&envelope(op, after)))
}

fn check(bench: &mut Bench, sample: &Sample, expected: &str) {
    assert_eq!(bench.decode(sample), expected);
}

#[test]
fn a_tombstone_is_nothing_behind_its_delete_and_a_delete_on_its_own() {
    let bench = &mut Bench::default();
    check(bench, &change("d", "null"), "Delete t id=1");
    check(bench, &sample(1, None), "Ignored(Tombstone)");
    check(bench, &change("c", r#"{"id":1,"note":null}"#), "Create t id=1 note=null");
    check(bench, &sample(1, None), "Delete t id=1");
    check(bench, &change("d", "null"), "Delete t id=1");
    check(bench, &sample(2, None), "Delete t id=2");
    check(bench, &Sample::new(TOPIC, None, None), "Ignored(Tombstone)");

    // A delete of another topic may be decoded in between.
    let other = |value: Option<&str>| Sample::new("s.public.other", Some(&key(1)), value);
    check(bench, &change("d", "null"), "Delete t id=1");
    check(bench, &other(Some(&envelope("d", "null"))), "Delete t id=1");
    check(bench, &other(None), "Ignored(Tombstone)");
}

#[test]
fn a_null_in_json_is_a_tombstone_too() {
    let bench = &mut Bench::default();
    let payload_null = r#"{"schema":null,"payload":null}"#;
    let with_schema = r#"{"schema":{"type":"struct","fields":[]},"payload":null}"#;
    let spaced = r#"{"schema":{"type":"struct","fields":[]}, "payload" : null } "#;
    for value in ["null", "null \n", payload_null, with_schema, with_schema, spaced] {
        check(bench, &change("c", r#"{"id":1,"note":"n"}"#), "Create t id=1 note='n'");
        check(bench, &sample(1, Some(value)), "Delete t id=1");
    }
}

#[test]
fn a_tombstone_in_a_topic_without_a_value_yet_asks_for_the_key_only() {
    let bench = &mut Bench::default();
    check(bench, &sample(5, None), "Delete t id=5");
    let (table, is_partial) = &bench.asked[0];
    assert!(is_partial);
    assert_eq!((table.name.to_string().as_str(), table.columns.len()), ("s.public.t", 1));
    check(bench, &change("c", r#"{"id":1,"note":"n"}"#), "Create t id=1 note='n'");
    assert!(!bench.asked[1].1, "the whole table is asked for as well");
    check(bench, &sample(5, None), "Delete t id=5");
    assert_eq!(bench.asked.len(), 2);
}

#[test]
fn nothing_is_deleted_from_a_table_that_does_not_exist_until_a_row_comes() {
    let bench = &mut Bench::default();
    bench.is_absent = true;
    bench.kinds = vec![("t.id", Kind::Int64)];
    let plain = |key: Option<&str>, op: &str, after: &str| {
        let source = r#"{"name":"s","schema":"public","table":"t"}"#;
        let value = format!(r#"{{"before":null,"after":{after},"source":{source},"op":"{op}"}}"#);
        Sample::new(TOPIC, key, Some(&value))
    };
    let id = Some(r#"{"id":1}"#);
    check(bench, &Sample::new(TOPIC, id, None), "Ignored(Tombstone)");
    check(bench, &plain(id, "d", "null"), "Ignored(Tombstone)");
    check(bench, &plain(None, "t", "null"), "Ignored(Tombstone)");
    assert!(bench.asked.iter().all(|(_, is_partial)| *is_partial));
    check(bench, &plain(id, "c", r#"{"id":1}"#), "Create t id=1");
    check(bench, &Sample::new(TOPIC, id, None), "Delete t id=1");
    check(bench, &plain(id, "d", "null"), "Delete t id=1");
    bench.is_absent = false;
    check(bench, &plain(None, "t", "null"), "Truncate");
}

#[test]
fn an_empty_value_is_no_tombstone() {
    let bench = &mut Bench::default();
    check(bench, &sample(1, Some("")), "malformed: the value is empty");
}

#[test]
fn a_truncate_empties_the_table_before_its_columns_are_known_and_after() {
    let bench = &mut Bench::default();
    let truncate = Sample::new(TOPIC, None, Some(&envelope("t", "null")));
    check(bench, &truncate, "Truncate");
    assert!(bench.asked[0].1);
    check(bench, &change("c", r#"{"id":1,"note":"n"}"#), "Create t id=1 note='n'");
    check(bench, &truncate, "Truncate");
    assert_eq!(bench.asked.len(), 2);
}

#[test]
fn a_truncate_stops_a_partition_that_is_not_alone_and_leaves_the_rows() {
    let bench = &mut Bench::default();
    bench.is_alone = None;
    check(bench, &change("c", r#"{"id":1,"note":"n"}"#), "Create t id=1 note='n'");
    assert!(matches!(bench.settle(&change("c", r#"{"id":1,"note":"n"}"#)), Decoded::Change(_)));
    let truncate = Sample::new(TOPIC, None, Some(&envelope("t", "null")));
    assert!(matches!(bench.once(&truncate), Decoded::NeedsLayout(_)));
    let truncate = change("t", "null");
    assert!(matches!(bench.once(&truncate), Decoded::NeedsPartitionCount));
    bench.is_alone = Some(false);
    let Decoded::Stopped(stop) = bench.once(&truncate) else { panic!("stops") };
    assert_eq!(stop.reason, StopReason::TruncatePartitioned);
    assert_eq!(bench.batch.row_count(), 1);
    bench.is_alone = Some(true);
    check(bench, &truncate, "Truncate");
}

#[test]
fn a_truncate_of_a_guarded_table_goes_on_where_its_place_is_known() {
    let bench = &mut Bench::default();
    (bench.is_guarded, bench.is_alone) = (true, Some(false));
    check(bench, &change("t", "null"), "Truncate");
    let placeless = envelope("t", "null").replace(r#","lsn":7"#, "");
    assert!(matches!(bench.settle(&sample(1, Some(&placeless))), Decoded::Stopped(_)));
}

#[test]
fn deletes_and_truncates_are_nothing_where_the_settings_say_so() {
    let bench = &mut Bench::default();
    bench.deletes = Deletes::Ignore;
    check(bench, &change("d", "null"), "Ignored(Delete)");
    check(bench, &sample(1, None), "Ignored(Tombstone)");
    check(bench, &sample(2, None), "Ignored(Delete)");
    check(bench, &Sample::new(TOPIC, None, Some(&envelope("t", "null"))), "Ignored(Delete)");
}

#[test]
fn a_table_without_a_key_takes_new_rows_only() {
    let bench = &mut Bench::default();
    let row = r#"{"id":1,"note":"n"}"#;
    let keyless = |op: &str, after: &str| Sample::new(TOPIC, None, Some(&envelope(op, after)));
    check(bench, &keyless("c", row), "Create t id=1 note='n'");
    check(bench, &keyless("r", row), "Read t id=1 note='n'");
    check(bench, &keyless("u", row), "no_key: an update of a table without a key");
    check(bench, &keyless("d", "null"), "no_key: a delete of a table without a key");
}

/// An envelope without schemas with the row before.
fn imaged(op: &str, before: &str, after: &str) -> Sample {
    let source = r#"{"name":"s","schema":"public","table":"t"}"#;
    let value = format!(r#"{{"before":{before},"after":{after},"source":{source},"op":"{op}"}}"#);
    Sample::new(TOPIC, None, Some(&value))
}

#[test]
fn a_table_without_a_key_finds_rows_by_the_whole_image_before() {
    let bench = &mut Bench::default();
    bench.keyless = Keyless::Match;
    bench.kinds = vec![("t.id", Kind::Int64), ("t.note", Kind::Text)];
    let (old, new) = (r#"{"id":1,"note":null}"#, r#"{"id":1,"note":"n"}"#);
    check(bench, &imaged("c", "null", old), "Create t id=1 note=null");
    check(bench, &imaged("u", old, new), "Update t id=1 note='n' before id=1 note=null");
    check(bench, &imaged("d", new, "null"), "Delete t before id=1 note='n'");
    let lacks =
        |what: &str| format!("no_key: {what} of a table without a key lacks the row before");
    check(bench, &imaged("u", "null", new), &lacks("an update"));
    let unavailable = r#"{"id":1,"note":"__debezium_unavailable_value"}"#;
    check(
        bench,
        &imaged("d", unavailable, "null"),
        "unavailable_without_row: a value of the row before is unavailable, and there is no key",
    );
    bench.is_alone = None;
    assert!(matches!(bench.once(&imaged("u", old, new)), Decoded::NeedsPartitionCount));
    bench.is_alone = Some(false);
    for stopped in [imaged("u", old, new), imaged("d", old, "null")] {
        let Decoded::Stopped(stop) = bench.once(&stopped) else { panic!("stops") };
        assert_eq!(stop.reason, StopReason::MatchPartitioned);
    }
    check(bench, &imaged("c", "null", old), "Create t id=1 note=null");
}

#[test]
fn a_table_without_a_key_may_take_every_image_as_a_row() {
    let bench = &mut Bench::default();
    bench.keyless = Keyless::Append;
    bench.kinds = vec![("t.id", Kind::Int64), ("t.note", Kind::Text)];
    let (old, new) = (r#"{"id":1,"note":null}"#, r#"{"id":1,"note":"n"}"#);
    check(bench, &imaged("u", old, new), "Update t id=1 note='n'");
    check(bench, &imaged("d", new, "null"), "Ignored(Delete)");
}

#[test]
fn avro_carries_the_row_before_too() {
    let bench = &mut Bench::default();
    bench.keyless = Keyless::Match;
    let row = r#"{"type":"record","name":"Value","fields":[{"name":"id","type":"long"}]}"#;
    let schema = format!(
        r#"{{"type":"record","name":"Envelope","namespace":"s.public.t","fields":[
            {{"name":"before","type":["null",{row}]}},
            {{"name":"after","type":["null","Value"]}},
            {{"name":"op","type":"string"}}]}}"#
    );
    bench.register(1, &schema);
    let framed = |body: &[u8]| Sample {
        topic: TOPIC.to_owned(),
        value: Some([&[0, 0, 0, 0, 1], body].concat()),
        ..Sample::default()
    };
    check(bench, &framed(b"\x02\x0e\x02\x10\x02u"), "Update t id=8 before id=7");
    check(bench, &framed(b"\x02\x10\x00\x02d"), "Delete t before id=8");
}

#[test]
fn the_placeholder_stands_for_a_missing_value_unless_a_snapshot_or_a_key_has_it() {
    let bench = &mut Bench::default();
    let row = r#"{"id":1,"note":"__debezium_unavailable_value"}"#;
    check(bench, &change("u", row), "Update partial t id=1 note=unavailable");
    check(bench, &change("c", row), "Create partial t id=1 note=unavailable");
    check(bench, &change("r", row), "Read t id=1 note='__debezium_unavailable_value'");
    check(bench, &change("r", r#"{"id":1,"note":"n"}"#), "Read t id=1 note='n'");
    bench.is_tainted = true;
    let behind = "behind_dead_letter: a value is unavailable, and a refused record of its key may \
                  have had it";
    check(bench, &change("u", row), behind);
    check(bench, &change("u", r#"{"id":1,"note":null}"#), "Update t id=1 note=null");
}

#[test]
fn a_table_that_blocks_keeps_every_record_behind_a_refused_one() {
    let bench = &mut Bench::default();
    (bench.is_tainted, bench.after_refused) = (true, crate::rules::AfterRefused::Block);
    let behind = "behind_dead_letter: a record of its key is refused";
    for op in ["c", "u", "r", "d"] {
        check(bench, &change(op, r#"{"id":1,"note":"n"}"#), behind);
    }
    check(bench, &sample(1, None), behind);
    bench.is_tainted = false;
    check(bench, &change("u", r#"{"id":1,"note":"n"}"#), "Update t id=1 note='n'");
}

#[test]
fn tables_that_share_a_topic_and_a_schema_are_told_apart_by_the_source() {
    let bench = &mut Bench::default();
    let row = r#"{"id":1,"note":"n"}"#;
    let from = |table: &str| sample(1, Some(&envelope_from(table, "c", row)));
    for _ in 0..2 {
        check(bench, &from("a"), "Create a id=1 note='n'");
        check(bench, &from("b"), "Create b id=1 note='n'");
    }
    assert_eq!(bench.asked.len(), 2);
    let alone =
        "not_an_envelope: a tombstone alone does not say which of the topic's tables it is of";
    check(bench, &sample(1, None), alone);
}

#[test]
fn tables_of_two_databases_are_told_apart() {
    let bench = &mut Bench::default();
    let row = r#"{"id":1,"note":"n"}"#;
    for database in ["a", "b", "a"] {
        let value = envelope_of((database, "public", "t"), "c", row);
        check(bench, &sample(1, Some(&value)), "Create t id=1 note='n'");
    }
    let databases = bench.asked.iter().map(|(table, _)| table.name.database.as_deref());
    assert_eq!(databases.collect::<Vec<_>>(), [Some("a"), Some("b")]);
}

#[test]
fn the_tombstone_of_another_topic_is_its_own() {
    let bench = &mut Bench::default();
    check(bench, &change("d", "null"), "Delete t id=1");
    check(bench, &Sample::new("s.public.u", Some(&key(1)), None), "Delete u id=1");
}

#[test]
fn fields_that_are_not_the_schemas_in_their_order_are_refused() {
    let bench = &mut Bench::default();
    check(bench, &change("c", r#"{"id":1,"note":"n"}"#), "Create t id=1 note='n'");
    let other = "malformed: the fields are not those of the schema";
    check(bench, &change("c", r#"{"note":"m","id":2}"#), other);
    check(bench, &change("c", r#"{"id":1}"#), other);
    check(bench, &change("c", r#"{"id":1,"id":2,"note":null}"#), other);
    check(bench, &change("c", r#"{"id":1,"note":null,"other":1}"#), other);
}

#[test]
fn a_key_that_is_null_is_refused_as_missing() {
    let bench = &mut Bench::default();
    let missing = "key_missing: the key's column \"id\" is null or unavailable";
    check(bench, &change("c", r#"{"id":null,"note":"n"}"#), missing);
    let key = key(1).replace(r#""id":1"#, r#""id":null"#);
    for value in [Some(envelope("d", "null")), None] {
        check(bench, &Sample::new(TOPIC, Some(&key), value.as_deref()), missing);
    }
}

#[test]
fn a_record_without_a_key_is_no_row_of_a_table_that_has_one() {
    let bench = &mut Bench::default();
    bench.keyless = Keyless::Missing;
    bench.kinds = vec![("t.id", Kind::Int64), ("t.note", Kind::Text)];
    let missing = "key_missing: the record has no key, and the target's table has one";
    let row = r#"{"id":1,"note":"n"}"#;
    for op in ["c", "r", "u"] {
        check(bench, &imaged(op, row, row), missing);
    }
    check(bench, &imaged("d", row, "null"), missing);
    check(bench, &imaged("t", "null", "null"), "Truncate");
}

#[test]
fn a_value_that_does_not_fit_is_refused_by_its_column() {
    let bench = &mut Bench::default();
    let other = "column \"id\" is of another type than its schema says (Int64)";
    let refused = [
        (r#"{"id":1.5,"note":"n"}"#, other),
        (r#"{"id":1e3,"note":"n"}"#, other),
        (r#"{"id":9223372036854775808,"note":"n"}"#, "column \"id\" is beyond 64 bits"),
        (r#"{"id":"1","note":"n"}"#, other),
        (
            r#"{"id":1,"note":"too long"}"#,
            "column \"note\" is longer than the column allows (text)",
        ),
    ];
    for _ in 0..2 {
        for (row, detail) in refused {
            check(bench, &change("c", row), &format!("value_unfit: {detail}"));
        }
        check(bench, &change("c", r#"{"id":9223372036854775807,"note":""}"#), {
            "Create t id=9223372036854775807 note=''"
        });
    }
}

#[test]
fn what_is_neither_an_envelope_nor_known_is_refused() {
    let bench = &mut Bench::default();
    let row = r#"{"id":1,"note":"n"}"#;
    check(bench, &change("x", row), "not_an_envelope: the op is missing or unknown");
    check(bench, &change("c", "null"), "not_an_envelope: the row is missing");
    check(bench, &change("m", "null"), "Ignored(Message)");
    let empty = r#"{"schema":{"type":"struct","name":"t.Value","fields":[]},"payload":{}}"#;
    let neither =
        |name: &str| format!("not_an_envelope: schema \"{name}\" is neither an envelope nor a row");
    check(bench, &sample(1, Some(empty)), &neither("t.Value"));
    check(bench, &sample(1, Some("{}")), &neither(""));
    let unknown = r#"{"schema":{"type":"struct","name":"io.debezium.connector.x.New","fields":[
        {"type":"int64","field":"id"}]},"payload":{"id":1}}"#;
    check(bench, &sample(1, Some(unknown)), &neither("io.debezium.connector.x.New"));
    check(
        bench,
        &sample(1, Some("Struct{id=1}")),
        "malformed: the value is the text of a struct, as StringConverter writes it: set the \
         connector's value.converter to JSON or Avro",
    );
    let with_key = |key: &str| Sample::new(TOPIC, Some(key), Some(&envelope("c", row)));
    check(
        bench,
        &with_key("Struct{id=1}"),
        "malformed: the key is the text of a struct, as StringConverter writes it: set the \
         connector's key.converter to JSON or Avro",
    );
    check(bench, &with_key("x"), "malformed: the key is neither a JSON object nor framed Avro");
}

#[test]
fn a_schema_of_the_registry_may_be_missing_or_unreadable() {
    let bench = &mut Bench::default();
    let framed = |id: u8| Sample {
        topic: TOPIC.to_owned(),
        value: Some(vec![0, 0, 0, 0, id, 0]),
        ..Sample::default()
    };
    check(bench, &framed(9), "schema_not_found: the registry has no schema with the id 9");
    bench.register(8, r#"{"type":"record"}"#);
    let unreadable = "schema_unreadable: schema 8: No `name` field";
    check(bench, &framed(8), unreadable);
    bench.register(7, r#""long""#);
    check(bench, &framed(7), "not_an_envelope: schema \"\" is neither an envelope nor a row");
}

#[test]
fn json_without_schemas_takes_a_new_layout_for_other_fields() {
    let bench = &mut Bench::default();
    bench.kinds = vec![("t.id", Kind::Int64), ("t.note", Kind::Text), ("t.more", Kind::Bool)];
    let plain = |after: &str| {
        let source = r#"{"name":"s","schema":"public","table":"t"}"#;
        let value = format!(r#"{{"before":null,"after":{after},"source":{source},"op":"c"}}"#);
        Sample::new(TOPIC, Some(r#"{"id":1}"#), Some(&value))
    };
    check(bench, &plain(r#"{"id":1,"note":"n"}"#), "Create t id=1 note='n'");
    check(bench, &plain(r#"{"id":1,"note":"n","more":true}"#), {
        "Create t id=1 note='n' more=true"
    });
    check(bench, &plain(r#"{"id":1,"note":"n"}"#), "Create t id=1 note='n'");
    check(bench, &plain(r#"{"note":"n","id":1}"#), "Create t note='n' id=1");
    assert_eq!(bench.asked.len(), 3);
}

#[test]
fn json_without_schemas_reads_no_digits_into_what_may_be_base64() {
    let bench = &mut Bench::default();
    let scaled = Kind::VariableScaleDecimal;
    bench.kinds = vec![("t.id", Kind::Int64), ("t.n", scaled), ("t.s", Kind::DecimalText)];
    let plain = |n: &str, s: &str| {
        let source = r#"{"name":"s","schema":"public","table":"t"}"#;
        let after = format!(r#"{{"id":1,"n":{n},"s":{s}}}"#);
        let value = format!(r#"{{"before":null,"after":{after},"source":{source},"op":"c"}}"#);
        Sample::new(TOPIC, Some(r#"{"id":1}"#), Some(&value))
    };
    check(bench, &plain(r#"{"scale":2,"value":"eA=="}"#, r#""1.10""#), {
        "Create t id=1 n=120e-2 s=decimal 1.10"
    });
    check(bench, &plain("1.20", "-7"), "Create t id=1 n=decimal 1.20 s=decimal -7");
    check(bench, &plain(r#""1234""#, "null"), {
        "value_unfit: column \"n\" is no VariableScaleDecimal"
    });
}

#[test]
fn a_truncate_in_avro_asks_for_no_columns_of_its_table() {
    let bench = &mut Bench::default();
    let row = r#"{"type":"record","name":"Value","fields":[{"name":"id","type":"long"}]}"#;
    let source = r#"{"type":"record","name":"Source","fields":[{"name":"table","type":"string"}]}"#;
    let schema = format!(
        r#"{{"type":"record","name":"Envelope","namespace":"s.public.t","fields":[
            {{"name":"after","type":["null",{row}]}},
            {{"name":"source","type":{source}}},
            {{"name":"op","type":"string"}}]}}"#
    );
    bench.register(1, &schema);
    let framed = |body: &[u8]| Sample {
        topic: TOPIC.to_owned(),
        value: Some([&[0, 0, 0, 0, 1], body].concat()),
        ..Sample::default()
    };
    check(bench, &framed(b"\x00\x02t\x02t"), "Truncate");
    check(bench, &framed(b"\x02\x0e\x02t\x02c"), "Create t id=7");
    check(bench, &framed(b"\x00\x02t\x02t"), "Truncate");
    assert_eq!(bench.asked.iter().map(|it| it.1).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn a_schema_of_the_registry_may_refer_to_others_that_refer_to_others() {
    let bench = &mut Bench::default();
    let id = r#"{"type":"record","name":"n.Id","fields":[{"name":"id","type":"long"}]}"#;
    let row = r#"{"type":"record","name":"n.Row","fields":[{"name":"nested","type":"n.Id"}]}"#;
    let text = r#"{"type":"record","name":"n.Envelope","fields":[
        {"name":"after","type":["null","n.Row"]},{"name":"op","type":"string"}]}"#;
    let message = |id: u8| {
        let value = Some([[0, 0, 0, 0, id].as_slice(), b"\x00\x02m"].concat());
        Sample { topic: TOPIC.to_owned(), value, ..Sample::default() }
    };
    for (number, references) in [(1, vec![id, row]), (2, vec![row, id])] {
        let references = references.into_iter().map(str::to_owned).collect();
        let schema = RegisteredSchema { text: text.to_owned(), references };
        bench.decoder.learn_schema(SchemaId::Plain(number.into()), Some(schema));
        check(bench, &message(number), "Ignored(Message)");
    }
    let schema = RegisteredSchema { text: text.to_owned(), references: vec![row.to_owned()] };
    bench.decoder.learn_schema(SchemaId::Plain(3), Some(schema));
    let Decoded::Stopped(stop) = bench.settle(&message(3)) else { panic!("stops") };
    assert_eq!(stop.reason, StopReason::SchemaUnreadable);
}
