//! What only MariaDB's connector does, on the real one.

use crate::support::{LATER, MariaDb, SOON, World, connector, kafka, until, within};

fn until_rows(world: &World, query: &str, expected: &str) {
    let table = query.split(" FROM ").nth(1).unwrap().split(' ').next().unwrap();
    let mut seen = None;
    let reached = within(LATER, || {
        seen = world.target.has(table).then(|| world.target.value(query)).flatten();
        seen.as_deref() == Some(expected)
    });
    assert!(reached, "{seen:?}, not {expected:?}; dead letters: {:?}", world.dead_letters());
}

#[test]
fn ones_and_noughts_go_into_booleans_and_other_numbers_are_refused_by_name() {
    let world = World::new("flags");
    let source = MariaDb::new(
        &world.name,
        "CREATE TABLE flags (id int PRIMARY KEY, b bit(1), t tinyint(1));
         INSERT INTO flags VALUES (1, 1, 1), (2, 0, 0), (3, NULL, NULL)",
    );
    world.target.run(
        "CREATE TABLE public.flags (id int PRIMARY KEY, b boolean, t boolean, synced_at timestamptz);
         CREATE TABLE public.later (LIKE public.flags INCLUDING ALL);
         GRANT ALL ON public.flags, public.later TO writer;
         ALTER TABLE public.flags OWNER TO writer; ALTER TABLE public.later OWNER TO writer",
    );
    let prefix = source.connect("flags", &[]);
    let rule = format!("{}.*=public.{{table}}", world.name);
    let member =
        world.member("member").topics(&format!(r"^{prefix}\..*")).args(["--table", &rule]).start();
    let all = |table: &str| {
        format!(
            "SELECT string_agg(concat_ws(' ', id, b, t), ', ' ORDER BY id) FROM public.{table} t"
        )
    };
    // The snapshot's integers, and those of the stream.
    until_rows(&world, &all("flags"), "1 t t, 2 f f, 3");
    source.run("INSERT INTO flags VALUES (4, 1, 0); UPDATE flags SET b = 0, t = 1 WHERE id = 2");
    until_rows(&world, &all("flags"), "1 t t, 2 f t, 3, 4 t f");
    // A table that the connector has seen being made has booleans.
    source.run(
        "CREATE TABLE later (id int PRIMARY KEY, b bit(1), t boolean);
         INSERT INTO later VALUES (1, 1, true), (2, 0, false), (3, NULL, NULL)",
    );
    until_rows(&world, &all("later"), "1 t t, 2 f f, 3");
    for (table, type_of_t) in [("flags", "int16"), ("later", "boolean")] {
        let topic = format!("{prefix}.{}.{table}", world.name);
        let sent = world.member("look").run(&["debug", "messages", &topic, "--raw"], SOON).out;
        let field = format!(r#"{{"type":"{type_of_t}","optional":true,"field":"t"}}"#);
        assert!(sent.contains(&field), "{table}: {sent}");
    }

    source.run("INSERT INTO flags VALUES (5, 1, 2), (6, 0, -1), (7, 1, 1)");
    until_rows(&world, &all("flags"), "1 t t, 2 f t, 3, 4 t f, 7 t t");
    until(SOON, "the others are refused", || world.dead_letters().len() == 2);
    let letters = world.dead_letters();
    for (_, reason, error) in &letters {
        assert_eq!(reason, "value_unfit");
        assert!(error.contains("\"t\"") && error.contains("boolean"), "{error}");
    }
    member.until_ready();
}

/// The connector cannot read such an image: it ends, and sends nothing that lacks a value.
#[test]
fn a_row_image_without_its_long_values_ends_the_connector() {
    let world = World::new("noblob");
    let source = MariaDb::new(
        &world.name,
        "CREATE TABLE docs (id int PRIMARY KEY, n int, t text, b blob, j json)",
    );
    let modes = ["bytes", "base64", "base64-url-safe", "hex"];
    let prefixes = modes.map(|mode| source.connect(mode, &[("binary.handling.mode", mode)]));
    let topics = prefixes.iter().map(|prefix| format!("{prefix}.{}.docs", world.name));
    let topics = topics.collect::<Vec<_>>();
    let all = || topics.iter().map(|topic| kafka::ends(topic).values().sum::<i64>()).sum::<i64>();
    source.run("INSERT INTO docs VALUES (1, 0, 'text', 'octets', '{}')");
    until(LATER, "each connector sends the row", || all() == 4);

    source.run("SET SESSION binlog_row_image = NOBLOB; UPDATE docs SET n = 1");

    for prefix in &prefixes {
        let why = "Error processing row in docs, internal schema size 5, but row size 2";
        until(LATER, "the connector ends", || connector::status(prefix).contains(why));
    }
    assert_eq!(all(), 4);
}

#[test]
fn a_truncate_empties_the_table_between_the_rows_before_and_behind_it() {
    let world = World::new("cleared");
    let source = MariaDb::new(
        &world.name,
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')",
    );
    // Of one partition, so that a truncate has its place between the rows.
    let topic = world.topic(&format!("{}.t", world.name), &[]);
    let prefix = topic.split('.').next().unwrap();
    source.connect_as(prefix, &[("skipped.operations", "none")]);
    let member = world.member("live").start();
    let all =
        format!("SELECT string_agg(concat_ws(' ', id, v), ', ' ORDER BY id) FROM {}.t", world.name);
    until_rows(&world, &all, "1 a, 2 b");

    source.run("INSERT INTO t VALUES (3, 'c'); TRUNCATE t; INSERT INTO t VALUES (2, 'new')");
    until_rows(&world, &all, "2 new");

    // The same where all of it is there before a member reads.
    assert_eq!(member.terminate(), 0);
    let before = kafka::ends(&topic).values().sum::<i64>();
    source.run("INSERT INTO t VALUES (4, 'd'); TRUNCATE TABLE t; INSERT INTO t VALUES (5, 'e')");
    until(LATER, "the records are there", || {
        kafka::ends(&topic).values().sum::<i64>() == before + 3
    });
    let _member = world.member("backlog").start();
    until_rows(&world, &all, "5 e");
    let sent = world.member("look").run(&["debug", "messages", &topic, "--raw"], SOON).out;
    assert!(sent.contains(r#""op":"t""#), "{sent}");
    assert_eq!(world.dead_letters(), []);
}
