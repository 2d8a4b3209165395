//! Records that do not fit become dead letters that name all but their values, and a schema that none
//! can fit stops its partition.

use serde_json::json;

use crate::framing::{Subjects, confluent};
use crate::support::kafka::{Draft, produce};
use crate::support::{LATER, Member, World, until};

/// What stands in every row, and must stand in no log.
const SECRET: &str = "hunter2";

/// A dead letter as an operator reads it: offset, table, reason, error.
fn letters(world: &World, topic: &str) -> Vec<[String; 4]> {
    let rows = world.target.rows(&format!(
        "SELECT record_offset, table_name, reason, error FROM afterimage.dead_letter
         WHERE topic = '{topic}' AND partition = 0 ORDER BY record_offset"
    ));
    let text = |row: Vec<Option<String>>| {
        <[_; 4]>::try_from(row).unwrap().map(|cell: Option<String>| cell.unwrap_or_default())
    };
    rows.into_iter().map(text).collect()
}

/// Each is the offset, the reason, and words of the error; the table is named in all of them.
fn assert_letters(world: &World, topic: &str, table: &str, expected: &[(i64, &str, &[&str])]) {
    let found = letters(world, topic);
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ([offset, name, reason, error], (at, why, words)) in found.iter().zip(expected) {
        let place = (offset.as_str(), name.as_str(), reason.as_str());
        assert_eq!(place, (at.to_string().as_str(), table, *why), "{error}");
        assert!(words.iter().all(|word| error.contains(word)), "{offset}: {error}");
    }
}

/// The member has logged each dead letter with its place, and nothing of any row.
fn assert_logged(member: &Member, topic: &str, offsets: &[i64], values: &[&str]) {
    for offset in offsets {
        let line = member.until_logged(&["refused a record", &format!("offset={offset} ")]);
        assert!(line.contains(topic) && line.contains("partition=0"), "{line}");
    }
    let log = member.log();
    assert!(log.contains("TRACE"), "everything that could be logged was");
    for value in values {
        let line = log.lines().find(|line| line.contains(value));
        assert_eq!(line, None, "{value} is in the log");
    }
}

#[test]
fn json_that_does_not_fit_is_named_without_its_values() {
    let world = World::new("unfitting");
    let topic = world.topic("public.users", &[]);
    let good = |id: &str| {
        Draft::fixture("json/users-create").with("9001", id).with("\"Alan\"", "\"hunter2\"")
    };
    let mut octets = good("14").value.unwrap();
    let at = octets.windows(7).rposition(|window| window == SECRET.as_bytes()).unwrap();
    octets[at + 1] = 0xff;
    let records = [
        good("11"),
        good("12").with("\"age\":41", "\"age\":70041"),
        good("13").with("\"age\":41", "\"age\":\"hunter2\""),
        good("14").with_value(Some(octets)),
        // The row of an update brings its key, but not which row it is: that says the record's.
        Draft { key: None, ..good("15") }.with("\"op\":\"c\"", "\"op\":\"u\""),
        good("16").with("\"active\":true", "\"active\":\"hunter2\""),
        good("17").with("6f1d2c3b-4a59-4687-9788-99aabbccddee", "hunter2"),
        good("18").with("2024-05-06T05:08:09.123456Z", "hunter2"),
        good("20").with("\"age\":41", "\"age\":{\"hunter2\":1}"),
        good("21").with("\"active\":true", "\"active\":[\"hunter2\"]"),
        Draft::fixture("json/users-delete")
            .with("\"payload\":{\"id\":9002}", "\"payload\":{\"id\":null}"),
        good("19"),
    ];
    produce(&topic, 0, &records);

    let member = world.member("member").variable("RUST_LOG", "trace").start();

    world.until_at_ends(&world.name);
    let ids = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM public.users";
    assert_eq!(world.target.value(ids).as_deref(), Some("11 19"), "the records around them land");
    let expected: [(i64, &str, &[&str]); 10] = [
        (1, "value_unfit", &["\"age\"", "Int16"]),
        (2, "value_unfit", &["\"age\"", "Int16"]),
        (3, "malformed", &["no JSON", "column \"name\"", "Text"]),
        (4, "key_missing", &["no key"]),
        (5, "value_unfit", &["\"active\"", "Bool"]),
        (6, "value_unfit", &["\"token\"", "Uuid"]),
        (7, "value_unfit", &["\"created_at\"", "ZonedTimestamp"]),
        (8, "value_unfit", &["\"age\"", "Int16"]),
        (9, "value_unfit", &["\"active\"", "Bool"]),
        (10, "key_missing", &["\"id\"", "null"]),
    ];
    assert_letters(&world, &topic, "public.users", &expected);
    assert_logged(
        &member,
        &topic,
        &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        &[SECRET, "70041", "alan@example.org"],
    );
    member.until_ready();
}

#[test]
fn avro_that_is_not_of_its_schema_is_named_without_its_values() {
    let world = World::new("lying");
    let topic = world.topic("public.people", &[]);
    let (mut subjects, name) = (Subjects::default(), &world.name);
    let id = json!({"name": "id", "type": "long"});
    let fields = json!([id, {"name": "age", "type": "int"}, {"name": "name", "type": "string"}]);
    let key = json!({"type": "record", "name": "Key", "namespace": name, "fields": [id]});
    let row = json!({"type": "record", "name": "Value", "fields": fields});
    let value = json!({"type": "record", "name": "Envelope", "namespace": name, "fields": [
        {"name": "after", "type": ["null", row]}, {"name": "op", "type": "string"}]});
    let key_id = subjects.register(&format!("{name}-key"), &key, &json!([]));
    let value_id = subjects.register(&format!("{name}-value"), &value, &json!([]));
    let framed = |id: u32, body: &[u8]| Some(confluent(id, body));
    let record = |id: u8, body: &[u8]| Draft {
        key: framed(key_id, &[id * 2]),
        value: framed(value_id, body),
        headers: Vec::new(),
    };
    let body = |id: u8| [&[2, id * 2, 82, 14][..], SECRET.as_bytes(), b"\x02c"].concat();
    let cut = |id: u8| body(id)[..9].to_vec();
    let long = |id: u8| [body(id), SECRET.into()].concat();
    // A row of a schema that has the name first.
    let other = [&[2, 14][..], SECRET.as_bytes(), &[4, 82], b"\x02c"].concat();
    let no_text = [&[2, 8, 82, 14][..], b"hunter\xff\x02c"].concat();
    // An integer of ten octets is more than 32 bits.
    let wide = [&[2, 10][..], &[0xff; 9], &[1, 14], SECRET.as_bytes(), b"\x02c"].concat();
    let records = [
        record(1, &body(1)),
        record(2, &cut(2)),
        record(3, &long(3)),
        record(4, &no_text),
        record(5, &wide),
        record(6, &other),
        record(7, &[2, 14, 82]),
        record(8, &body(8)),
    ];
    produce(&topic, 0, &records);

    let member = world.member("member").variable("RUST_LOG", "trace").start();

    world.until_at_ends(&world.name);
    let ids = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM public.people";
    assert_eq!(world.target.value(ids).as_deref(), Some("1 8"), "the records around them land");
    let malformed = "malformed";
    let expected: [(i64, &str, &[&str]); 6] = [
        (1, malformed, &["column \"name\"", "Text"]),
        (2, malformed, &["7 bytes stand behind the record"]),
        (3, malformed, &["column \"name\"", "Text"]),
        (4, "value_unfit", &["\"age\"", "Int32"]),
        (5, malformed, &["column \"name\"", "Text"]),
        (6, malformed, &["column \"name\"", "Text"]),
    ];
    assert_letters(&world, &topic, "public.people", &expected);
    assert_logged(&member, &topic, &[1, 2, 3, 4, 5, 6], &[SECRET]);
    member.until_ready();
}

#[test]
fn a_protobuf_schema_stops_its_partition_by_name() {
    let world = World::new("protobuf");
    let (topic, users) = (world.topic("public.t", &[]), world.topic("public.users", &[]));
    let mut subjects = Subjects::default();
    let file = "syntax = \"proto3\"; message Envelope { int64 id = 1; }";
    let id = subjects.register_protobuf(&format!("{}-value", world.name), file);
    // Behind the id stand the message's place in the file, and the message.
    let value = confluent(id, b"\x00\x08\x07");
    produce(&topic, 0, &[Draft { value: Some(value), ..Draft::fixture("json/users-create") }]);
    produce(&users, 0, &[Draft::fixture("json/users-create")]);

    let member = world.member("member").start();

    let state = format!(
        "SELECT state_reason FROM afterimage.checkpoint WHERE topic = '{topic}' AND state = 'stopped'"
    );
    member.until_logged(&["stopped a partition", &topic]);
    let mut reason = None;
    until(LATER, "the row says it", || {
        reason = world.target.value(&state);
        reason.is_some()
    });
    let reason = reason.unwrap();
    assert!(reason.starts_with("schema_unreadable") && reason.contains("Protobuf"), "{reason}");
    until(LATER, "the other topic goes on", || {
        world.checkpoint().get(&(users.clone(), 0)) == Some(&1)
    });
    assert_eq!(world.dead_letters(), []);
}
