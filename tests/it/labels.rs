//! Labels that an enum of the source gets while members run, and the target's own enum follows.

use crate::support::{Format, LATER, MariaDb, Member, SOON, Source, World, kafka, until};

const TABLE: &str = "
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE t (id int PRIMARY KEY, mood mood NOT NULL, moods mood[], at_first mood DEFAULT 'sad')";

/// A source with an enum, and a target whose columns are of an enum too, which the members' role owns.
fn worlds(test: &str) -> (World, Source) {
    let world = World::new(test);
    let source = world.source(TABLE);
    let name = &world.name;
    kafka::create_topic(&format!("{name}.{name}.t"), 4, &[]);
    world.target.run(&format!(
        "SET ROLE writer; CREATE SCHEMA {name};
         CREATE TYPE {name}.\"its mood\" AS ENUM ('sad', 'of its own', 'happy');
         CREATE DOMAIN {name}.first AS {name}.\"its mood\";
         CREATE TABLE {name}.t (id int PRIMARY KEY, mood {name}.\"its mood\" NOT NULL,
             moods {name}.\"its mood\"[], at_first {name}.first, synced_at timestamptz);
         RESET ROLE"
    ));
    (world, source)
}

fn labels(world: &World) -> String {
    let text = "SELECT string_agg(enumlabel, ' < ' ORDER BY enumsortorder) FROM pg_enum";
    world.target.value(text).unwrap_or_default()
}

#[test]
fn the_targets_enum_gets_the_labels_of_its_source_while_two_members_run() {
    let (world, source) = worlds("labels");
    source.connect(Format::Json);
    let members = ["one", "two"].map(|label| world.member(label).start());
    for member in &members {
        member.until_ready();
    }
    let insert = |from: i32, values: &str| {
        source.database.run(&format!(
            "INSERT INTO t SELECT i, {values} FROM generate_series({from}, {from} + 19) AS i"
        ));
    };
    insert(0, "'sad', '{happy,sad}', 'happy'");
    world.until_equal(&["t"]);

    // The connector goes on to tell the old labels: the first row that has one tells the new.
    source.database.run("ALTER TYPE mood ADD VALUE 'so, so' BEFORE 'happy'");
    insert(100, "'so, so', NULL, 'sad'");
    world.until_equal(&["t"]);
    source.database.run("ALTER TYPE mood ADD VALUE 'it''s \\ fine'");
    insert(200, "'sad', ARRAY['sad', 'it''s \\ fine']::mood[], 'sad'");
    world.until_equal(&["t"]);
    source.database.run("ALTER TYPE mood ADD VALUE 'glad'");
    insert(300, "'sad', NULL, 'glad'");
    world.until_equal(&["t"]);
    assert_eq!(labels(&world), "sad < of its own < happy < so, so < it's \\ fine < glad");
    assert_eq!(world.dead_letters(), []);
    assert_eq!(members.map(Member::terminate), [0, 0]);
}

#[test]
fn a_label_that_must_not_be_added_stops_its_partition() {
    let (world, source) = worlds("unlabelled");
    source.connect_with(Format::Avro, "", &[]);
    let member = world.member("check").args(["--schema-changes", "check"]).start();
    source.database.run("INSERT INTO t VALUES (1, 'sad')");
    world.until_equal(&["t"]);
    source.database.run("ALTER TYPE mood ADD VALUE 'glad'");
    source.database.run("INSERT INTO t VALUES (1001, 'glad')");
    let line = member.until_logged(&["stopped a partition", "column_narrow"]);
    assert!(line.contains("lacks a label of the source's"), "{line}");
    assert_eq!(member.terminate(), 0);
    assert_eq!(world.dead_letters(), []);

    let _member = world.member("apply").start();
    world.until_equal(&["t"]);
    assert_eq!(labels(&world), "sad < of its own < happy < glad");
}

#[test]
fn a_label_that_the_records_schema_tells_is_planned_where_the_source_has_it() {
    let (world, source) = worlds("planned");
    source.database.run(
        "ALTER TYPE mood ADD VALUE 'so so' BEFORE 'happy'; ALTER TYPE mood ADD VALUE 'low' BEFORE 'sad'",
    );
    source.database.run("INSERT INTO t VALUES (1, 'sad')");
    source.connect(Format::Json);
    until(LATER, "the row is read", || {
        kafka::ends(&format!("{}.", world.name)).values().sum::<i64>() == 1
    });
    let planned = world.member("plan").run(&["plan"], SOON);
    assert_eq!(planned.code, 0, "{}", planned.error);
    let add = |label: &str| {
        format!("ALTER TYPE {}.\"its mood\" ADD VALUE IF NOT EXISTS {label};", world.name)
    };
    for label in ["'low' BEFORE 'sad'", "'so so' AFTER 'sad'"] {
        assert_eq!(planned.out.matches(&add(label)).count(), 1, "{}", planned.out);
    }
    let _member = world.member("member").start();
    world.until_equal(&["t"]);
    assert_eq!(labels(&world), "low < sad < so so < of its own < happy");
}

#[test]
fn a_label_between_others_goes_between_them_where_the_connector_tells_it() {
    let world = World::new("between");
    let source = MariaDb::new(
        &world.name,
        "CREATE TABLE t (id int PRIMARY KEY, mood enum('sad', 'happy'));
         INSERT INTO t VALUES (1, 'sad')",
    );
    world.target.run(
        "SET ROLE writer; CREATE TYPE public.mood AS ENUM ('sad', 'happy');
         CREATE TABLE public.t (id int PRIMARY KEY, mood public.mood, synced_at timestamptz);
         RESET ROLE",
    );
    let prefix = source.connect("between", &[]);
    let rule = format!("{}.*=public.{{table}}", world.name);
    let topics = format!(r"^{prefix}\..*");
    let _member = world.member("member").topics(&topics).args(["--table", &rule]).start();
    let rows = "SELECT string_agg(id || ' ' || mood, ', ' ORDER BY mood) FROM public.t";
    until(LATER, "the row is there", || world.target.value(rows).as_deref() == Some("1 sad"));
    source.run("ALTER TABLE t MODIFY mood enum('sad', 'so so', 'happy', 'it')");
    source.run("INSERT INTO t VALUES (2, 'happy'), (3, 'so so')");
    until(LATER, "the others come in the source's order", || {
        world.target.value(rows).as_deref() == Some("1 sad, 3 so so, 2 happy")
    });
    assert_eq!(labels(&world), "sad < so so < happy < it");
    assert_eq!(world.dead_letters(), []);
}
