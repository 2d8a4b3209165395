//! Records that are no plain envelopes, through the real program: flat rows, CloudEvents, change logs,
//! tables without a key.

use serde_json::json;

use crate::framing::{Subjects, confluent};
use crate::support::kafka::{Draft, produce};
use crate::support::{Format, LATER, World, judge, kafka, until};

fn draft(value: String) -> Draft {
    Draft { value: Some(value.into_bytes()), ..Draft::default() }
}

/// Waits until a query yields these rows, each as text with `|` between its columns.
fn until_rows(world: &World, query: &str, expected: &[&str]) {
    let mut seen = Vec::new();
    let reached = crate::support::within(LATER, || {
        let table = query.split(" FROM ").nth(1).unwrap().split(' ').next().unwrap();
        if !world.target.has(table) {
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

/// What a change log says of two employees: its order, the employee, the city, the action.
const LOGGED: [(i64, i64, &str, &str); 5] = [
    (1, 7, "Oslo", "INSERT"),
    (2, 8, "Bergen", "INSERT"),
    (3, 7, "Rome", "UPDATE"),
    (2, 7, "Old", "UPDATE"),
    (4, 8, "", "DELETE"),
];

/// A record of a change log; its fields stand in their order.
fn logged(entry: (i64, i64, &str, &str)) -> String {
    let (action_id, emp_id, city, action) = entry;
    format!(r#"{{"action_id":{action_id},"emp_id":{emp_id},"city":"{city}","action":"{action}"}}"#)
}

/// The rule of a change log's table.
fn log_rule(table: &str) -> String {
    format!(
        "[table.'public.{table}']\nkey = ['emp_id']\n\
         changelog = {{ op = 'action', order = 'action_id' }}\n"
    )
}

#[test]
fn a_change_log_becomes_its_table() {
    let world = World::new("changelog");
    let topic = world.topic("public.employees", &[]);
    world.target.run(
        "CREATE TABLE public.employees (emp_id int PRIMARY KEY, city text, synced_at timestamptz);
         GRANT ALL ON public.employees TO writer",
    );
    produce(&topic, 0, &LOGGED.map(|entry| draft(logged(entry))));

    let _member = world.member("member").config(&log_rule("employees")).start();

    until_rows(&world, "SELECT emp_id, city FROM public.employees", &["7|Rome"]);
    world.until_at_ends(&world.name);
    let letters = world.dead_letters();
    let reasons = letters.iter().map(|(offset, reason, _)| (*offset, reason.as_str()));
    assert_eq!(reasons.collect::<Vec<_>>(), [(3, "out_of_order")]);
}

#[test]
fn a_change_log_with_schemas_makes_its_table_in_both_databases() {
    let world = World::new("logged");
    let name = &world.name;
    let literals =
        [("action_id", "int64"), ("emp_id", "int32"), ("city", "string"), ("action", "string")];
    let fields = literals.map(|(field, literal)| json!({"field": field, "type": literal}));
    let schema = json!({"type": "struct", "name": "log.Value", "fields": fields});
    let json = LOGGED.map(|entry| Draft {
        key: Some(entry.0.to_string().into_bytes()),
        ..draft(format!(r#"{{"schema":{schema},"payload":{}}}"#, logged(entry)))
    });
    produce(&world.topic("public.json", &[]), 0, &json);

    let avro = literals.map(|(field, literal)| {
        let literal = literal.replace("int64", "long").replace("int32", "int");
        json!({"name": field, "type": literal})
    });
    let record = json!({"type": "record", "name": "Value", "namespace": name, "fields": avro});
    let mut subjects = Subjects::default();
    let id = subjects.register(&format!("{name}-value"), &record, &json!([]));
    // Every number is below 64, and every text too, so that each is one octet, and its length is.
    let number = |number: i64| vec![u8::try_from(number * 2).unwrap()];
    let text = |text: &str| [&[u8::try_from(text.len() * 2).unwrap()], text.as_bytes()].concat();
    let avro = LOGGED.map(|(action_id, emp_id, city, action)| {
        let body = [number(action_id), number(emp_id), text(city), text(action)].concat();
        let value = Some(confluent(id, &body));
        Draft { key: Some(b"key".to_vec()), value, headers: Vec::new() }
    });
    produce(&world.topic("public.avro", &[]), 0, &avro);

    let file = format!("sqlite://{}", world.folder().join("target.db").display());
    let rules = log_rule("json") + &log_rule("avro");
    let _members =
        [("postgres", world.target_url()), ("sqlite", file.clone())].map(|(label, target)| {
            let setup = world.member(label).target(&target).config(&rules);
            setup.variable("KAFKA_GROUP_ID", &format!("{name}_{label}")).start()
        });

    for table in ["json", "avro"] {
        let query = format!("SELECT emp_id, city FROM public.{table}");
        until_rows(&world, &query, &["7|Rome"]);
        let columns = format!(
            "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute
             WHERE attrelid = 'public.{table}'::regclass AND attnum > 0"
        );
        let columns = world.target.value(&columns);
        assert_eq!(columns.as_deref(), Some("emp_id city synced_at"), "nothing of the log");
    }
    world.until_at_ends(name);
    let reasons = world.dead_letters().into_iter().map(|(offset, reason, _)| (offset, reason));
    let back = || (3, "out_of_order".to_owned());
    assert_eq!(reasons.collect::<Vec<_>>(), [back(), back()]);
    let tables = ["public.json=json".to_owned(), "public.avro=avro".to_owned()];
    judge::until_equal(LATER, world.target.url(), &file, &tables);
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
fn a_key_that_comes_after_rows_without_one_stops_its_partition() {
    let world = World::new("latekey");
    let topic = world.topic("public.orders", &[]);
    let create = Draft::fixture("json/orders-create");
    produce(&topic, 0, &[Draft { key: None, ..create.clone() }]);
    let member = world.member("member").start();
    world.until_at_ends(&world.name);
    until_rows(&world, "SELECT id, quantity FROM public.orders", &["9001|3"]);

    produce(&topic, 0, &[create.with("\"quantity\":3", "\"quantity\":4")]);

    let line = member.until_logged(&["stopped a partition", "key_unfit"]);
    assert!(line.contains("has no unique key over"), "{line}");
    assert_eq!(world.dead_letters(), []);
    // Mended by hand, it goes on from the checkpoint.
    world.target.run("ALTER TABLE public.orders ADD PRIMARY KEY (id)");
    assert_eq!(member.terminate(), 0);
    let _again = world.member("again").start();
    until_rows(&world, "SELECT id, quantity FROM public.orders", &["9001|4"]);
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
