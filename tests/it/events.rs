//! What the connectors send beside inserts, updates and deletes by the primary key, through the real
//! program: keys of the user's own, truncates, and records that are no rows.

use regex::Regex;

use crate::support::kafka::{Draft, produce};
use crate::support::{Format, LATER, SOON, Source, World, kafka, until, within};

fn settings(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn rows(world: &World, table: &str) -> String {
    let name = format!("{}.{table}", world.name);
    if !world.target.has(&name) {
        return String::new();
    }
    let text = "SELECT string_agg(concat_ws(' ', region, code, id, name), ', ' ORDER BY id)";
    world.target.value(&format!("{text} FROM {name}")).unwrap_or_default()
}

fn until_rows(world: &World, table: &str, expected: &str) {
    let mut seen = String::new();
    let reached = within(LATER, || {
        seen = rows(world, table);
        seen == expected
    });
    assert!(reached, "{seen:?}, not {expected:?}; dead letters: {:?}", world.dead_letters());
}

/// A table whose records' keys are not its primary key, in the prefix that it returns.
fn keyed(world: &World) -> (Source, String) {
    let source = world.source(
        "CREATE TABLE keyed (id int PRIMARY KEY, region text NOT NULL, code int NOT NULL, name text,
             UNIQUE (region, code));
         ALTER TABLE keyed REPLICA IDENTITY FULL",
    );
    let keys = format!("{}.keyed:region,code", world.name);
    let settings = settings(&[("message.key.columns", &keys), ("skipped.operations", "none")]);
    let prefix = source.connect_with(Format::Json, "", &settings);
    (source, prefix)
}

#[test]
fn a_row_is_followed_by_the_key_that_the_user_chose() {
    let world = World::new("custom");
    let (source, _) = keyed(&world);
    let member = world.member("member").start();
    let run = |sql: &str| source.database.run(sql);

    run("INSERT INTO keyed VALUES (1, 'no', 7, 'a'), (2, 'no', 8, 'b'), (3, 'se', 7, 'c')");
    until_rows(&world, "keyed", "no 7 1 a, no 8 2 b, se 7 3 c");
    let key = format!(
        "SELECT string_agg(attname, ' ' ORDER BY attname) FROM pg_index
         JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
         WHERE indrelid = '{}.keyed'::regclass AND indisprimary",
        world.name
    );
    assert_eq!(world.target.value(&key).as_deref(), Some("code region"));

    run("UPDATE keyed SET name = 'a2' WHERE id = 1");
    until_rows(&world, "keyed", "no 7 1 a2, no 8 2 b, se 7 3 c");
    // The primary key changes and the chosen one does not, then the other way round.
    run("UPDATE keyed SET id = 4 WHERE id = 1");
    until_rows(&world, "keyed", "no 8 2 b, se 7 3 c, no 7 4 a2");
    run("UPDATE keyed SET region = 'dk' WHERE id = 2");
    until_rows(&world, "keyed", "dk 8 2 b, se 7 3 c, no 7 4 a2");
    run("DELETE FROM keyed WHERE id = 3");
    until_rows(&world, "keyed", "dk 8 2 b, no 7 4 a2");
    assert_eq!(world.dead_letters(), []);
    member.until_ready();
}

#[test]
fn a_truncate_empties_the_table_between_the_rows_before_and_behind_it() {
    let world = World::new("emptied");
    // Before the connector would make it with more partitions.
    world.topic(&format!("{}.keyed", world.name), &[]);
    let (source, _) = keyed(&world);
    let member = world.member("live").start();
    let change = |from: i32| {
        source.database.run(&format!(
            "INSERT INTO keyed SELECT i, 'old', i, 'gone' FROM generate_series({from}, {from} + 9) AS i"
        ));
        source.database.run("TRUNCATE keyed");
        source.database.run(&format!(
            "INSERT INTO keyed VALUES ({from}, 'new', {from}, 'again'), (0, 'new', 0, 'only')"
        ));
    };
    change(1);
    until_rows(&world, "keyed", "new 0 0 only, new 1 1 again");

    // The same where all of it is there before a member reads.
    assert_eq!(member.terminate(), 0);
    let before = kafka::ends(&format!("{}.", world.name)).values().sum::<i64>();
    change(21);
    until(LATER, "the records are there", || {
        kafka::ends(&format!("{}.", world.name)).values().sum::<i64>() == before + 13
    });
    let _member = world.member("backlog").start();
    until_rows(&world, "keyed", "new 0 0 only, new 21 21 again");
    assert_eq!(world.dead_letters(), []);
}

#[test]
fn f60_a_truncate_of_a_topic_with_three_partitions_stops_its_partition_and_empties_nothing() {
    let world = World::new("parted");
    let topic = world.topic_of(3, &format!("{}.keyed", world.name), &[]);
    let (source, _) = keyed(&world);
    let member = world.member("member").start();
    source.database.run("INSERT INTO keyed VALUES (1, 'no', 7, 'a'), (2, 'se', 8, 'b')");
    until_rows(&world, "keyed", "no 7 1 a, se 8 2 b");

    source.database.run("TRUNCATE keyed");

    let line = member.until_logged(&["stopped a partition", "truncate_partitioned"]);
    assert!(line.contains(&topic) && line.contains("keyed"), "{line}");
    let stopped = "SELECT count(*) FROM afterimage.checkpoint
         WHERE state = 'stopped' AND state_reason LIKE 'truncate_partitioned%'";
    until(SOON, "the row says it", || world.target.number(stopped) == 1);
    assert_eq!(rows(&world, "keyed"), "no 7 1 a, se 8 2 b");
}

/// How many records of a kind a member has ignored.
fn ignored(metrics: &str, kind: &str) -> u64 {
    let line =
        Regex::new(&format!(r#"afterimage_ignored_total\{{kind="{kind}"\}} (\d+)"#)).unwrap();
    line.captures(metrics).map_or(0, |found| found.get(1).unwrap().as_str().parse().unwrap())
}

#[test]
fn records_that_are_no_rows_are_counted_by_their_kind() {
    let world = World::new("sides");
    let source = world.source("CREATE TABLE t (id int PRIMARY KEY)");
    let settings =
        settings(&[("heartbeat.interval.ms", "500"), ("provide.transaction.metadata", "true")]);
    let prefix = source.connect_with(Format::Json, "", &settings);
    // What only MariaDB's connector sends, as it has sent it.
    let changes = world.topic("changes", &[]);
    produce(&changes, 0, &[(); 3].map(|()| Draft::fixture("mariadb/schema-change")));
    let heartbeats = format!("__debezium-heartbeat.{prefix}");
    until(LATER, "the heart beats", || !kafka::ends(&heartbeats).is_empty());
    let topics = format!(r"^{prefix}\..*,{heartbeats}");
    let member = world.member("member").topics(&topics).start();

    source.database.run("INSERT INTO t VALUES (1), (2); DELETE FROM t WHERE id = 1");
    source.database.run("SELECT pg_logical_emit_message(true, 'audit', 'text')");
    source.database.run("SELECT pg_logical_emit_message(false, 'audit', 'text')");

    let mut metrics = String::new();
    let counted = within(LATER, || {
        metrics = member.get("/metrics").body;
        let count = |kind: &str| ignored(&metrics, kind);
        // A transaction has a record for its begin and one for its end.
        count("message") == 2
            && count("schema_change") == 3
            && count("tombstone") == 1
            && count("transaction") >= 2
            && count("heartbeat") >= 2
    });
    let of_interest = metrics.lines().filter(|line| line.contains("_ignored_"));
    assert!(counted, "{}", of_interest.collect::<Vec<_>>().join("\n"));
    let tables = format!(
        "SELECT string_agg(table_name, ' ') FROM information_schema.tables
         WHERE table_schema IN ('public', '{}')",
        world.name
    );
    world.until_at_ends(&format!("{prefix}.{}", world.name));
    assert_eq!(world.target.value(&tables).as_deref(), Some("t"), "they made no table");
    assert_eq!(world.dead_letters(), []);
    member.until_ready();
}
