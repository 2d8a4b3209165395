//! Records of the other connectors, and those that are no rows: from Debezium's documentation. Those of
//! MySQL, SQL Server and Oracle are not seen live.

use crate::decode::Decoded;
use crate::decode::testing::{Bench, Sample};
use crate::decode::value::kind::Kind;

const MYSQL: &str = r#"{"before":{"id":1004,"first_name":"Anne","last_name":"Kretchmar"},
    "after":{"id":1004,"first_name":"Anne Marie","last_name":"Kretchmar"},
    "source":{"version":"3.6.3.Final","name":"s","connector":"mysql","ts_ms":1465581029100,
        "ts_us":1465581029100000,"ts_ns":1465581029100000000,"snapshot":"false","db":"inventory",
        "sequence":null,"table":"t","server_id":223344,"gtid":null,"file":"mysql-bin.000003",
        "pos":484,"row":0,"thread":7,"query":"UPDATE customers SET first_name='Anne Marie'"},
    "transaction":null,"op":"u","ts_ms":1465581029523}"#;

const SQL_SERVER: &str = r#"{"before":null,
    "after":{"id":1005,"first_name":"john","last_name":"doe"},
    "source":{"version":"3.6.3.Final","connector":"sqlserver","name":"s","ts_ms":1559729468470,
        "snapshot":"false","db":"testDB","sequence":null,"schema":"dbo","table":"t",
        "change_lsn":"00000027:00000758:0003","commit_lsn":"00000027:00000758:0005",
        "event_serial_no":"1"},
    "op":"c","ts_ms":1559729471739,"transaction":null}"#;

const ORACLE: &str = r#"{"before":{"ID":1004,"FIRST_NAME":"Anne","LAST_NAME":null},"after":null,
    "source":{"version":"3.6.3.Final","connector":"oracle","name":"s","ts_ms":1520085154000,
        "ts_us":1520085154000000,"snapshot":"false","db":"ORCLPDB1","sequence":null,
        "schema":"DEBEZIUM","table":"t","txId":"6.28.807","scn":"2122184","commit_scn":"2122185",
        "lcr_position":null,"rs_id":"001234.00012345.0124","ssn":1,"redo_thread":1,
        "user_name":"user","row_id":"AAASgjAAMAAAACnAAA"},
    "op":"d","ts_ms":1532592105960}"#;

fn check(topic: &str, key: &str, value: &str, expected: (&str, &str, Option<&str>)) {
    let mut bench = Bench::default();
    bench.kinds = vec![
        ("t.id", Kind::Int64),
        ("t.first_name", Kind::Text),
        ("t.last_name", Kind::Text),
        ("t.ID", Kind::Int64),
    ];
    let sample = Sample::new(topic, Some(key), Some(value));
    let (line, name, position) = expected;
    assert_eq!(bench.decode(&sample), line);
    let (source, _) = &bench.asked[0];
    let database = source.name.database.as_deref().unwrap_or_default();
    assert_eq!(format!("{database} {}", source.name), name);
    let Decoded::Change(change) = bench.settle(&sample) else { panic!("changes") };
    let found = change.source_position.map(|it| it.to_string());
    assert_eq!(found.as_deref(), position);
    assert!(change.age.source_time.is_some());
}

#[test]
fn envelopes_of_other_connectors_become_rows() {
    check(
        "s.inventory.t",
        r#"{"id":1004}"#,
        MYSQL,
        (
            "Update t id=1004 first_name='Anne Marie' last_name='Kretchmar'",
            "inventory s.inventory.t",
            Some("mysql-bin.000003:484"),
        ),
    );
    check(
        "s.testDB.dbo.t",
        r#"{"id":1005}"#,
        SQL_SERVER,
        ("Create t id=1005 first_name='john' last_name='doe'", "testDB s.dbo.t", None),
    );
    check(
        "s.DEBEZIUM.t",
        r#"{"ID":1004}"#,
        ORACLE,
        ("Delete t ID=1004", "ORCLPDB1 s.DEBEZIUM.t", None),
    );
}

#[test]
fn an_update_is_the_row_after_it_whatever_the_source_says_of_the_one_before() {
    let before = r#""before":{"id":1005,"first_name":"jon","last_name":"doe"}"#;
    let update =
        SQL_SERVER.replace(r#""before":null"#, before).replace(r#""op":"c""#, r#""op":"u""#);
    check("s.testDB.dbo.t", r#"{"id":1005}"#, &update, {
        ("Update t id=1005 first_name='john' last_name='doe'", "testDB s.dbo.t", None)
    });
    let deleted = r#""before":{"ID":1004,"FIRST_NAME":"Anne","LAST_NAME":null},"after":null"#;
    assert!(ORACLE.contains(deleted));
    // As a large object that is not in the log of an update.
    let updated = r#""before":{"ID":1004,"FIRST_NAME":"__debezium_unavailable_value"},
        "after":{"ID":1004,"FIRST_NAME":"__debezium_unavailable_value"}"#;
    let update = ORACLE.replace(deleted, updated).replace(r#""op":"d""#, r#""op":"u""#);
    let mut bench = Bench::default();
    bench.kinds = vec![("t.ID", Kind::Int64), ("t.FIRST_NAME", Kind::Text)];
    let sample = Sample::new("s.DEBEZIUM.t", Some(r#"{"ID":1004}"#), Some(&update));
    assert_eq!(bench.decode(&sample), "Update partial t ID=1004 FIRST_NAME=unavailable");
}

#[test]
fn bits_in_a_key_are_refused_where_a_snapshot_may_have_turned_their_octets() {
    let check = |connector: &str, op: &str, length: u32, expected: Result<&str, &str>| {
        let expected = expected.map_or_else(str::to_owned, |change| {
            let bits = |octets: &str| format!("bits [{octets}] Some({length})");
            format!("{change} t flags={} other={}", bits("0, 5"), bits("5, 0"))
        });
        let mut bench = Bench::default();
        let kind = Kind::Bits { length: Some(length) };
        bench.kinds = vec![("t.flags", kind.clone()), ("t.other", kind)];
        let source = format!(r#"{{"name":"s","db":"d","connector":"{connector}","table":"t"}}"#);
        let after = r#"{"flags":"AAU=","other":"BQA="}"#;
        let value = format!(r#"{{"before":null,"after":{after},"source":{source},"op":"{op}"}}"#);
        let sample = Sample::new("s.d.t", Some(r#"{"flags":"AAU="}"#), Some(&value));
        assert_eq!(bench.decode(&sample), expected, "{connector} {op} {length}");
    };
    let turned = "value_unfit: column \"flags\" may have its octets in reverse: a snapshot of \
                  MariaDB's connector turns a bit(n) of more than 8 bits in a key around";
    check("mariadb", "r", 16, Err(turned));
    check("mysql", "r", 9, Err(turned));
    check("mariadb", "r", 8, Ok("Read"));
    check("mariadb", "c", 16, Ok("Create"));
    check("postgresql", "r", 16, Ok("Read"));
}

#[test]
fn an_envelope_is_read_by_its_fields_names_whatever_their_order_and_number() {
    let source =
        r#""source":{"name":"s","db":"inventory","table":"t","ts_ms":1,"pos":4,"file":"f"}"#;
    let row = r#""after":{"id":1,"first_name":"a","last_name":"b"}"#;
    let added = r#""ts_us":1,"new":{"after":[1]},"transaction":{"id":"571:5","total_order":1}"#;
    let expected =
        ("Create t id=1 first_name='a' last_name='b'", "inventory s.inventory.t", Some("f:4"));
    let envelopes = [
        // As the first versions wrote it: neither microseconds nor a transaction.
        format!(r#"{{"before":null,{row},{source},"op":"c","ts_ms":1}}"#),
        format!(r#"{{"op":"c",{source},{row}}}"#),
        format!(r#"{{{added},{row},"op":"c","before":null,{source}}}"#),
    ];
    for envelope in envelopes {
        check("s.inventory.t", r#"{"id":1}"#, &envelope, expected);
    }
}

/// A value with its schema's name.
fn named(name: &str, payload: &str) -> String {
    let fields = r#"[{"type":"string","optional":true,"field":"id"}]"#;
    format!(
        r#"{{"schema":{{"type":"struct","name":"io.debezium.connector.{name}","fields":{fields}}},
            "payload":{payload}}}"#
    )
}

#[test]
fn what_is_no_row_is_counted_and_not_applied() {
    let transaction = r#"{"status":"END","id":"571:53195829","event_count":2,"data_collections":[
        {"data_collection":"s1.a","event_count":2}],"ts_ms":1486500577125}"#;
    let schema_change = r#"{"source":{"name":"s","db":"d"},"ts_ms":1,"databaseName":"d",
        "schemaName":null,"ddl":"CREATE TABLE t (id int)","tableChanges":[]}"#;
    let history = r#"{"source":{"server":"s"},"position":{"pos":4},"ts_ms":1,"databaseName":"d",
        "ddl":"CREATE TABLE t (id int)","tableChanges":[]}"#;
    let message = r#"{"op":"m","ts_ms":1,"source":{"name":"s","schema":"","table":""},
        "message":{"prefix":"audit","content":"AQI="}}"#;
    let notification = r#"{"id":"c485ccc3","type":"COMPLETED","aggregate_type":"Initial Snapshot",
        "additional_data":{"connector_name":"s"},"timestamp":1695817046353}"#;
    let heartbeat = r#"{"ts_ms":1}"#;
    let records = [
        ("common.TransactionMetadataValue", transaction, "Transaction"),
        ("sqlserver.SchemaChangeValue", schema_change, "SchemaChange"),
        ("oracle.SchemaChangeValue", history, "SchemaChange"),
        ("postgresql.MessageValue", message, "Message"),
        ("common.Notification", notification, "Message"),
        ("common.Heartbeat", heartbeat, "Heartbeat"),
    ];
    for (name, payload, expected) in records {
        let expected = format!("Ignored({expected})");
        for key in [None, Some(r#"{"id":"571"}"#), Some("Struct{id=571}"), Some("571")] {
            let bench = &mut Bench::default();
            // Twice: by a schema that is met, and by one that is known.
            for value in [payload, payload, &named(name, payload), &named(name, payload)] {
                let sample = Sample::new("s.side", key, Some(value));
                assert_eq!(bench.decode(&sample), expected, "{name} {key:?}");
            }
        }
    }
}

#[test]
fn a_row_that_looks_like_a_side_record_in_part_is_a_row() {
    let mut bench = Bench::default();
    bench.kinds = vec![("t.id", Kind::Int64), ("t.status", Kind::Text)];
    let sample = Sample::new("s.public.t", Some(r#"{"id":1}"#), Some(r#"{"id":1,"status":"END"}"#));
    assert_eq!(bench.decode(&sample), "Update t id=1 status='END'");
}
