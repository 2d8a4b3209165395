//! Captured records: each becomes the row that was in the source, whatever its format.

use expect_test::{Expect, expect};

use crate::decode::testing::{Bench, captured_names};
use crate::decode::value::kind::{Kind, SourceName, Unit};
use crate::rows::Keyless;

#[test]
fn json_with_schemas_becomes_the_sources_rows() {
    check(
        "json",
        &expect![[r#"
            employees-create: Create employees emp_id=9001 first_name='Eve' last_name='Moe' dob=day -3594 city=null salary=12345678e-3
            employees-delete: Delete employees emp_id=9001
            employees-read: Read employees emp_id=1 first_name='Nina' last_name='Berg' dob=day 5250 city='Oslo' salary=72000e0
            employees-tombstone: Ignored(Tombstone)
            heartbeat: Ignored(Heartbeat)
            orders-create: Create orders id=9001 user_id=1 status='new' amount=-1e-2 quantity=3 note='first' created_at=wall 1714979289.123456000 updated_at=moment 1714979289.500000000
            orders-create-long: Create orders id=9003 user_id=2 status='new' amount=100e-2 quantity=1 note='c4ca4238a0b923820dcc509a6f75849bc81e728d9d4c2f636f067f89cc14862ceccbc87e4b5ce2fe28308fd9f2a7baf3a87ff679a2f3e71d9181a67b7542122ce4da3b7fbbce2345d7772b0674a318d51679091c5a880f
            orders-delete: Delete orders id=9002
            orders-move-create: Create orders id=9002 user_id=1 status='new' amount=123456789e-2 quantity=3 note=null created_at=wall 1714979289.123456000 updated_at=moment 1714979289.500000000
            orders-move-delete: Delete orders id=9001
            orders-move-tombstone: Ignored(Tombstone)
            orders-move-unavailable-create: needs what [5] left
            orders-move-unavailable-delete: Delete orders id=9003
            orders-move-unavailable-tombstone: Ignored(Tombstone)
            orders-read: Read orders id=1 user_id=1 status='paid' amount=12050e-2 quantity=2 note='leave at the door' created_at=wall 1709287200.000000000 updated_at=moment 1709287500.000000000
            orders-tombstone: Delete orders id=9002
            orders-update: Update orders id=9001 user_id=1 status='new' amount=123456789e-2 quantity=3 note=null created_at=wall 1714979289.123456000 updated_at=moment 1714979289.500000000
            orders-update-unavailable: Update partial orders id=9003 user_id=2 status='paid' amount=100e-2 quantity=1 note=unavailable created_at=wall 1704067200.000000000 updated_at=null
            transaction-begin: Ignored(Transaction)
            transaction-end: Ignored(Transaction)
            users-create: Create users id=9001 name='Alan' email='alan@example.org' active=true token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
            users-delete: Delete users id=9002
            users-move-create: Create users id=9002 name='Alan' email=null active=false token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
            users-move-delete: Delete users id=9001
            users-move-tombstone: Ignored(Tombstone)
            users-read: Read users id=1 name='Ada Lovelace' email='ada@example.org' active=true token=0b6f3f5e-7c1d-4d0a-9a55-1c7d3b6f2a10 profile=json {"plan": "pro", "tags": ["math", "engine"]} age=36 created_at=moment 1704879000.000000000
            users-tombstone: Delete users id=9002
            users-update: Update users id=9001 name='Alan' email=null active=false token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
            users-update-in-transaction: Update users id=1 name='Ada Lovelace' email='ada@example.org' active=true token=0b6f3f5e-7c1d-4d0a-9a55-1c7d3b6f2a10 profile=json {"plan": "pro", "tags": ["math", "engine"]} age=37 created_at=moment 1704879000.000000000
        "#]],
    );
}

#[test]
fn json_of_mariadb_becomes_the_sources_rows() {
    check(
        "mariadb",
        &expect![[r#"
            customers-create: Create customers id=9001 name='Alan' email=null active=1 created_at=wall 1714979289.123456000
            customers-delete: Delete customers id=9001
            customers-read: Read customers id=1 name='Ada Lovelace' email='ada@example.org' active=1 created_at=wall 1704879000.000000000
            customers-tombstone: Ignored(Tombstone)
            customers-update: Update customers id=9001 name='Alan' email=null active=0 created_at=wall 1714979289.123456000
            products-create: Create products sku='Z-9' title='Zither' price=1999e-2 stock=2 released=day 19849
            products-delete: Delete products sku='Z-9'
            products-read: Read products sku='LAMP-1' title='Desk lamp' price=2490e-2 stock=12 released=day 19601
            products-tombstone: Ignored(Tombstone)
            schema-change: Ignored(SchemaChange)
        "#]],
    );
}

#[test]
fn flat_records_become_the_sources_rows_in_every_mode_of_the_transform() {
    check(
        "flat",
        &expect![[r#"
        delete-to-tombstone-tombstone: Delete users id=9001
        drop-create: Update users id=9001 name='Alan' email='alan@example.org' active=true token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
        drop-update: Update users id=9001 name='Alan' email=null active=false token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
        rewrite-avro-create: Create users id=9001 name='Alan' email='alan@example.org' active=true token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
        rewrite-avro-delete: Delete users id=9001
        rewrite-avro-update: Update users id=9001 name='Alan' email=null active=false token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
        rewrite-create: Create users id=9001 name='Alan' email='alan@example.org' active=true token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
        rewrite-delete: Delete users id=9001
        rewrite-plain-create: Create users id=9001 name='Alan' email='alan@example.org' active=true token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
        rewrite-plain-delete: Delete users id=9001
        rewrite-plain-update: Update users id=9001 name='Alan' email=null active=false token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
        rewrite-update: Update users id=9001 name='Alan' email=null active=false token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
        rewrite-with-tombstone-create: Update users id=9001 name='Alan' email='alan@example.org' active=true token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
        rewrite-with-tombstone-delete: Delete users id=9001
        rewrite-with-tombstone-tombstone: Ignored(Tombstone)
        rewrite-with-tombstone-update: Update users id=9001 name='Alan' email=null active=false token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
        tombstone-create: Create users id=9001 name='Alan' email='alan@example.org' active=true token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
        tombstone-plain-create: Update users id=9001 name='Alan' email='alan@example.org' active=true token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
        tombstone-plain-tombstone: Delete users id=9001
        tombstone-tombstone: Delete users id=9001
        tombstone-update: Update users id=9001 name='Alan' email=null active=false token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
    "#]],
    );
}

#[test]
fn cloud_events_become_the_sources_rows() {
    check(
        "cloudevents",
        &expect![[r#"
            avro-avro-create: Create users id=9001 name='Alan' email='alan@example.org' active=true token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
            avro-avro-delete: Delete users id=9001
            avro-avro-tombstone: Ignored(Tombstone)
            avro-avro-update: Update users id=9001 name='Alan' email=null active=false token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
            json-avro-create: Create users id=9001 name='Alan' email='alan@example.org' active=true token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
            json-avro-delete: Delete users id=9001
            json-avro-tombstone: Ignored(Tombstone)
            json-avro-update: Update users id=9001 name='Alan' email=null active=false token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
            plain-create: Create users id=9001 name='Alan' email='alan@example.org' active=true token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
            plain-delete: Delete users id=9001
            plain-tombstone: Ignored(Tombstone)
            plain-update: Update users id=9001 name='Alan' email=null active=false token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
            schema-create: Create users id=9001 name='Alan' email='alan@example.org' active=true token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
            schema-delete: Delete users id=9001
            schema-tombstone: Ignored(Tombstone)
            schema-update: Update users id=9001 name='Alan' email=null active=false token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
        "#]],
    );
}

#[test]
fn avro_of_apicurios_converter_says_the_same_in_every_frame() {
    let all = lines("apicurio");
    let of = |frame: &str| {
        let lines = all.lines().filter_map(|line| line.strip_prefix(frame));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let frames = ["four-bytes-", "eight-bytes-", "header-global-", "header-content-"].map(of);
    expect![[r#"
        create: Create users id=9001 name='Alan' email='alan@example.org' active=true token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
        delete: Delete users id=9001
        tombstone: Ignored(Tombstone)
        update: Update users id=9001 name='Alan' email=null active=false token=6f1d2c3b-4a59-4687-9788-99aabbccddee profile=json {"a": [1, 2.5, null], "b": "ü"} age=41 created_at=moment 1714972089.123456000
    "#]].assert_eq(frames.first().unwrap());
    assert!(frames.iter().all(|frame| *frame == frames[0]), "{frames:?}");
}

#[test]
fn truncates_messages_and_changes_without_the_primary_key_are_the_same_in_every_format() {
    let all = lines("events");
    let of = |format: &str| {
        let lines = all.lines().filter_map(|line| line.strip_prefix(format));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    assert_eq!((of("plain-"), of("avro-")), (of("json-"), of("json-")));
    expect![[r#"
        keyed-create: Create keyed id=1 region='north' code=7
        keyed-move-create: Create keyed id=2 region='north' code=8
        keyed-move-delete: Delete keyed region='north' code=7
        keyed-move-tombstone: Ignored(Tombstone)
        keyed-truncate: Truncate
        keyed-update: Update keyed id=2 region='north' code=7
        keyless-create: Create keyless id=1 note=null
        keyless-delete: Delete keyless before id=1 note='n'
        keyless-tombstone: Ignored(Tombstone)
        keyless-truncate: Truncate
        keyless-update: Update keyless id=1 note='n' before id=1 note=null
        message-message: Ignored(Message)
    "#]]
    .assert_eq(&of("json-"));
}

#[test]
fn avro_says_what_json_says() {
    assert_eq!(lines("avro"), lines("json"));
}

#[test]
fn json_without_schemas_says_what_json_says() {
    assert_eq!(lines("plain"), lines("json"));
}

#[test]
fn the_lane_is_asked_for_each_table_once() {
    for folder in ["json", "plain", "avro"] {
        let mut bench = bench();
        for name in captured_names(folder).iter().filter(|name| !name.contains("transaction")) {
            bench.captured(name);
        }
        let name = |(table, is_partial): &(crate::decode::value::kind::SourceTable, bool)| {
            assert!(!is_partial);
            let SourceName { database, schema, table, .. } = &table.name;
            format!("{}.{schema}.{table}", database.as_deref().unwrap_or_default())
        };
        let asked = bench.asked.iter().map(name).collect::<Vec<_>>();
        let tables = ["employees", "orders", "users"];
        assert_eq!(asked, tables.map(|table| format!("inventory.public.{table}")), "{folder}");
    }
}

fn check(folder: &str, expected: &Expect) {
    expected.assert_eq(&lines(folder));
}

/// Decodes a folder's records in the order of their names, one line each.
fn lines(folder: &str) -> String {
    let mut bench = bench();
    if folder == "flat" {
        bench.only = Some(&USERS);
    }
    bench.keyless = Keyless::Match;
    let mut lines = String::new();
    for name in captured_names(folder) {
        let line = bench.captured(&name).chars().take(250).collect::<String>();
        let name = name.strip_prefix(folder).unwrap().trim_start_matches('/');
        lines.push_str(&format!("{name}: {line}\n"));
    }
    lines
}

/// The columns of the table that flat records are of.
const USERS: [&str; 8] = ["id", "name", "email", "active", "token", "profile", "age", "created_at"];

fn bench() -> Bench {
    let mut bench = Bench::default();
    bench.kinds = vec![
        ("users.id", Kind::Int64),
        ("users.name", Kind::Text),
        ("users.email", Kind::Text),
        ("users.active", Kind::Bool),
        ("users.token", Kind::Uuid),
        ("users.profile", Kind::Json),
        ("users.age", Kind::Int16),
        ("users.created_at", Kind::ZonedTimestamp),
        ("orders.id", Kind::Int64),
        ("orders.user_id", Kind::Int64),
        ("orders.status", Kind::Text),
        ("orders.amount", Kind::Decimal { scale: 2, precision: Some(12) }),
        ("orders.quantity", Kind::Int32),
        ("orders.note", Kind::Text),
        ("orders.created_at", Kind::Timestamp(Unit::Micros)),
        ("orders.updated_at", Kind::ZonedTimestamp),
        ("keyless.id", Kind::Int32),
        ("keyless.note", Kind::Text),
        ("keyed.id", Kind::Int32),
        ("keyed.region", Kind::Text),
        ("keyed.code", Kind::Int32),
        ("employees.emp_id", Kind::Int32),
        ("employees.first_name", Kind::Text),
        ("employees.last_name", Kind::Text),
        ("employees.dob", Kind::Date),
        ("employees.city", Kind::Text),
        ("employees.salary", Kind::VariableScaleDecimal),
    ];
    bench
}
