//! Records that are no plain envelopes, through the real program: flat rows, CloudEvents, change logs,
//! tables without a key.

use serde_json::json;

use crate::support::kafka::{Draft, produce};
use crate::support::{Format, LATER, World, kafka, until};

fn draft(value: &serde_json::Value) -> Draft {
    Draft { value: Some(value.to_string().into_bytes()), ..Draft::default() }
}

/// Waits until a query yields these rows, each as text with `|` between its columns.
fn until_rows(world: &World, query: &str, expected: &[&str]) {
    let mut seen = Vec::new();
    let reached = crate::support::within(LATER, || {
        let table = query.split(" FROM ").nth(1).unwrap().split(' ').next().unwrap();
        if !world.target.holds(&format!("SELECT to_regclass('{table}') IS NOT NULL")) {
            return false;
        }
        let text = |cell: Option<String>| cell.unwrap_or_else(|| "null".to_owned());
        let row =
            |row: Vec<Option<String>>| row.into_iter().map(text).collect::<Vec<_>>().join("|");
        seen = world.target.rows(query).into_iter().map(row).collect();
        seen == expected
    });
    assert!(reached, "{seen:?}, not {expected:?}; dead letters: {:?}", world.dead_letters());
}

#[test]
fn flat_rows_and_cloud_events_become_tables() {
    let world = World::new("flat");
    for (table, folder, kept, gone) in [
        ("rewritten", "flat", "rewrite-update", "rewrite-delete"),
        ("framed", "flat", "tombstone-update", "tombstone-tombstone"),
        ("events", "cloudevents", "schema-update", "schema-delete"),
    ] {
        let topic = world.topic(&format!("public.{table}"), &[]);
        let fixture = |name: &str| Draft::fixture(&format!("{folder}/{name}"));
        // Two rows, of which one is deleted.
        let table = |draft: Draft| draft.with("\"users\"", &format!("\"{table}\""));
        let drafts = [fixture(kept).with("9001", "9002"), fixture(kept), fixture(gone)];
        produce(&topic, 0, &drafts.map(table));
    }

    let _member = world.member("member").start();

    for table in ["rewritten", "framed", "events"] {
        let query = format!("SELECT id, name, active FROM public.{table}");
        until_rows(&world, &query, &["9002|Alan|f"]);
    }
    // Nothing that the transform has added became a column.
    let added = "SELECT count(*) FROM information_schema.columns WHERE column_name ~ '^__'";
    assert_eq!(world.target.number(added), 0);
    assert_eq!(world.dead_letters(), []);
}

#[test]
fn a_change_log_becomes_its_table() {
    let world = World::new("changelog");
    let topic = world.topic("public.employees", &[]);
    world.target.run(
        "CREATE TABLE public.employees (emp_id int PRIMARY KEY, city text, synced_at timestamptz);
         GRANT ALL ON public.employees TO writer",
    );
    let log = |action_id: i64, emp_id: i64, city: &str, action: &str| {
        let (id, action) = (action_id, action);
        draft(&json!({"action_id": id, "emp_id": emp_id, "city": city, "action": action}))
    };
    let records = [
        log(1, 7, "Oslo", "INSERT"),
        log(2, 8, "Bergen", "INSERT"),
        log(3, 7, "Rome", "UPDATE"),
        log(2, 7, "Old", "UPDATE"),
        log(4, 8, "", "DELETE"),
    ];
    produce(&topic, 0, &records);

    let setup = world.member("member").config(
        "[table.'public.employees']\nkey = ['emp_id']\n\
         changelog = { op = 'action', order = 'action_id' }",
    );
    let _member = setup.start();

    until_rows(&world, "SELECT emp_id, city FROM public.employees", &["7|Rome"]);
    world.until_at_ends(&world.name);
    let letters = world.dead_letters();
    let reasons = letters.iter().map(|(offset, reason, _)| (*offset, reason.as_str()));
    assert_eq!(reasons.collect::<Vec<_>>(), [(3, "out_of_order")]);
}

#[test]
fn rows_without_a_key_are_found_by_their_images() {
    let world = World::new("keyless");
    let topic = world.topic("shapes.keyless", &[]);
    let fixture = |name: &str| Draft::fixture(&format!("events/json-keyless-{name}"));
    let records = [
        fixture("create"),
        fixture("create"),
        fixture("update"),
        fixture("create"),
        fixture("delete"),
        fixture("tombstone"),
        // No second row is as this one was.
        fixture("delete"),
        fixture("tombstone"),
    ];
    produce(&topic, 0, &records);

    let setup = world.member("member").config("[table.'shapes.keyless']\nkeyless = 'match'");
    let _member = setup.start();

    world.until_at_ends(&world.name);
    until_rows(&world, "SELECT id, note FROM shapes.keyless", &["1|null", "1|null"]);
    until(LATER, "the dead letter is there", || world.dead_letters().len() == 1);
    let (offset, reason, _) = world.dead_letters().remove(0);
    assert_eq!((offset, reason.as_str()), (6, "no_match"));
}

#[test]
fn rows_without_a_key_are_only_appended_unless_the_table_says_more() {
    for (config, rows, refused) in [
        ("", ["1|null", "1|null"].as_slice(), ["no_key", "no_key"].as_slice()),
        ("keyless = 'refuse'", &["1|null", "1|null"], &["no_key", "no_key"]),
        ("keyless = 'append'", &["1|n", "1|null", "1|null"], &[]),
        ("mode = 'append'", &["1|n", "1|null", "1|null"], &[]),
    ] {
        let world = World::new("appended");
        let source = world.source(
            "CREATE TABLE t (id int, note text); ALTER TABLE t REPLICA IDENTITY FULL;
             INSERT INTO t VALUES (1, NULL)",
        );
        source.connect(Format::Json);
        let section = format!("[table.'{}.t']\n{config}", world.name);
        let member = world.member("member").config(&section).start();
        let all = format!("SELECT id, note FROM {}.t ORDER BY note", world.name);
        until_rows(&world, &all, &["1|null"]);

        source.database.run("INSERT INTO t VALUES (1, NULL)");
        until_rows(&world, &all, &["1|null", "1|null"]);
        source
            .database
            .run("UPDATE t SET note = 'n' WHERE ctid = '(0,1)'; DELETE FROM t WHERE note = 'n'");

        let topic = format!("{0}.{0}.t", world.name);
        until(LATER, "the changes are sent", || kafka::ends(&topic).values().sum::<i64>() == 5);
        world.until_at_ends(&world.name);
        until_rows(&world, &all, rows);
        let reasons = world.dead_letters().into_iter().map(|(_, reason, _)| reason);
        assert_eq!(reasons.collect::<Vec<_>>(), refused, "{config}");
        // Nothing comes twice when another member takes over.
        assert_eq!(member.terminate(), 0);
        let _member = world.member("next").config(&section).start();
        source.database.run("INSERT INTO t VALUES (2, 'last')");
        let last = format!("SELECT count(*) FROM {}.t WHERE id = 2", world.name);
        until_rows(&world, &last, &["1"]);
        let count = format!("SELECT count(*) FROM {}.t WHERE id = 1", world.name);
        assert_eq!(world.target.number(&count), i64::try_from(rows.len()).unwrap());
    }
}

#[test]
fn records_that_lack_their_tables_key_are_refused_as_such() {
    let world = World::new("lacking");
    let topic = world.topic("public.orders", &[]);
    let fixture = |name: &str| Draft::fixture(&format!("json/orders-{name}"));
    let bare = |name: &str| Draft { key: None, ..fixture(name) };
    let null = |name: &str| {
        let draft = fixture(name);
        let key = String::from_utf8(draft.key.clone().unwrap()).unwrap();
        let (schema, _) = key.split_once("\"payload\"").unwrap();
        Draft { key: Some(format!("{schema}\"payload\":{{\"id\":null}}}}").into_bytes()), ..draft }
    };
    let bad = [bare("create"), bare("update"), bare("delete"), null("delete"), null("tombstone")];
    produce(&topic, 0, &[fixture("create")]);
    produce(&topic, 0, &bad);
    let member = world.member("member").start();
    world.until_at_ends(&world.name);
    assert_eq!(member.terminate(), 0);
    // Also where a member meets one of them first.
    produce(&topic, 0, &bad);
    let _member = world.member("again").start();
    world.until_at_ends(&world.name);

    let reasons = world.dead_letters().into_iter().map(|(_, reason, _)| reason);
    assert_eq!(reasons.collect::<Vec<_>>(), ["key_missing"; 10]);
    until_rows(&world, "SELECT id, quantity FROM public.orders", &["9001|3"]);
}

#[test]
fn rows_that_move_to_each_others_keys_in_one_transaction_stay() {
    let world = World::new("deferrable");
    let source = world.source(
        "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, email text UNIQUE);
         ALTER TABLE t REPLICA IDENTITY FULL;
         INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')",
    );
    let prefix = source.connect(Format::Json);
    let setup =
        |label: &str| world.member(label).short_session().topics(&format!(r"^{prefix}\..*"));
    let first = setup("first").start();
    world.until_equal(&["t"]);
    drop(first);

    let count = || kafka::ends(&format!("{prefix}.")).values().sum::<i64>();
    // All are there before a member reads them: in one batch, in one each, in some between.
    for (label, rows) in [("one", "50000"), ("each", "1"), ("some", "2")] {
        let before = count();
        source.database.run("UPDATE t SET id = id + 1");
        until(LATER, "deletes, tombstones and creates are there", || count() == before + 9);
        let _member = setup(label).args(["--batch-rows", rows]).start();
        world.until_equal(&["t"]);
    }
    assert_eq!(world.dead_letters(), []);
}
