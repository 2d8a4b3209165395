//! A row goes on under another key without its long value, which only the old key's row has.

use serde_json::json;

use crate::delivery::SAMPLE;
use crate::support::kafka::{Draft, produce};
use crate::support::{Format, LATER, SOON, Source, World, until};

const LONG: &str = "(SELECT string_agg(md5((i * id)::text), '') FROM generate_series(1, 200) AS i)";

/// What the key of a long row goes through, one transaction a line.
const MOVES: [&str; 7] = [
    "UPDATE orders SET id = id + 1000 WHERE id = 1",
    // There and back, in one transaction and in several.
    "BEGIN; UPDATE orders SET id = 2002 WHERE id = 2; UPDATE orders SET id = 2 WHERE id = 2002;
     UPDATE orders SET id = 2002 WHERE id = 2; COMMIT",
    "UPDATE orders SET id = 3003 WHERE id = 3",
    "UPDATE orders SET id = 3 WHERE id = 3003",
    // A value that is new just before the move.
    "BEGIN; UPDATE orders SET note = repeat('new ', 2000) WHERE id = 4;
     UPDATE orders SET id = 4004 WHERE id = 4; COMMIT",
    "UPDATE orders SET note = repeat('newer ', 2000) WHERE id = 4004",
    "UPDATE orders SET id = id + 10000, status = 'moved'",
];

fn long_source(world: &World) -> Source {
    let source = world.source(SAMPLE);
    source.database.run(&format!("UPDATE orders SET note = {LONG}"));
    source
}

#[test]
fn a_moved_row_keeps_its_long_value() {
    let world = World::new("moved");
    let source = long_source(&world);
    source.connect(Format::Json);
    let member = world.member("live").start();
    world.until_equal(&["orders"]);
    for change in MOVES {
        source.database.run(change);
        world.until_equal(&["orders"]);
    }

    // The same again, but all that changed lies there when the member starts: in one batch.
    assert_eq!(member.terminate(), 0);
    source.database.run("UPDATE orders SET id = id % 1000 - 10 * ((id % 1000) / 10)");
    MOVES.iter().for_each(|change| source.database.run(change));
    let _member = world.member("backlog").start();
    world.until_equal_within(LATER, &["orders"]);
    assert_eq!(world.dead_letters(), []);
}

#[test]
fn rows_move_between_the_partitions_of_two_members() {
    let world = World::new("movers");
    let source = world.source(SAMPLE);
    source.database.run(&format!(
        "INSERT INTO orders (id, user_id, status, amount, note)
         SELECT id, 1, 'new', id, {LONG} FROM generate_series(1001, 1060) AS id"
    ));
    source.connect(Format::Json);
    let _members = ["one", "two"].map(|label| world.member(label).start());
    world.until_equal_within(LATER, &["orders"]);
    for turn in 0..3 {
        source.database.run("UPDATE orders SET id = -id");
        source.database.run("UPDATE orders SET id = -id WHERE id % 3 = 0");
        source.database.run("UPDATE orders SET id = id + 10000 WHERE id % 5 = 0");
        source.database.run(&format!("UPDATE orders SET status = 'turn {turn}'"));
    }
    world.until_equal_within(LATER, &["orders"]);
    assert_eq!(world.dead_letters(), []);
}

fn fixture(name: &str) -> Draft {
    Draft::fixture(&format!("json/orders-{name}"))
}

/// The rows of the target, each as its key and the length of its long value.
fn rows(world: &World) -> String {
    let text = "SELECT string_agg(id || ' ' || length(note), ', ' ORDER BY id) FROM public.orders";
    world.target.rows(text).remove(0).remove(0).unwrap_or_default()
}

#[test]
fn a_create_waits_for_its_delete_in_another_partition_and_holds_nobody_up() {
    let world = World::new("awaited");
    let topic = world.topic_of(3, "public.orders", &[]);
    produce(&topic, 0, &[fixture("create-long"), fixture("update-unavailable")]);
    produce(&topic, 1, &[fixture("move-unavailable-create")]);
    let member = world.member("member").start();
    until(SOON, "the create waits", || {
        let status = member.get("/status").body;
        status.contains("\"waiting\"") && status.contains("\"move\"")
    });
    produce(&topic, 2, &[fixture("create")]);
    until(SOON, "the others go on", || rows(&world) == "9001 5, 9003 2560");

    produce(
        &topic,
        0,
        &[fixture("move-unavailable-delete"), fixture("move-unavailable-tombstone")],
    );
    until(SOON, "the row arrives whole", || rows(&world) == "9001 5, 9004 2560");

    // Debezium repeats after a crash of its own what it has sent before.
    let again = ["move-unavailable-delete", "move-unavailable-tombstone"].map(fixture);
    produce(&topic, 0, &again);
    produce(&topic, 1, &[fixture("move-unavailable-create")]);
    world.until_at_ends(&world.name);
    assert_eq!(rows(&world), "9001 5, 9004 2560");
    assert_eq!(world.dead_letters(), []);

    for side in ["key_move", "key_taken"] {
        let older = format!("UPDATE afterimage.{side} SET at = at - interval '8 days'");
        world.target.run(&older);
    }
    until(LATER, "what nobody needs any more is forgotten", || {
        world.target.holds(
            "SELECT NOT EXISTS (SELECT FROM afterimage.key_move)
              AND NOT EXISTS (SELECT FROM afterimage.key_taken)",
        )
    });
}

#[test]
fn f61_a_create_whose_value_is_lost_for_good_is_a_dead_letter() {
    let world = World::new("lost");
    let topic = world.topic_of(2, "public.orders", &[]);
    // The long value is in a record that cannot be read; the row behind it is not to be trusted.
    let unread = fixture("create-long").with_value(Some(b"{\"schema\":".to_vec()));
    produce(&topic, 0, &[unread, fixture("move-unavailable-delete")]);
    produce(&topic, 1, &[fixture("move-unavailable-create"), fixture("create")]);
    let _member = world.member("member").start();
    world.until_at_ends(&world.name);

    let reasons = world.dead_letters().into_iter().map(|(_, reason, _)| reason);
    assert_eq!(reasons.collect::<Vec<_>>(), ["malformed", "unavailable_without_row"]);
    assert_eq!(rows(&world), "9001 5");
    let state = "SELECT bool_and(state = 'refused' AND value IS NULL) FROM afterimage.key_move";
    assert!(world.target.holds(state));
}

#[test]
fn a_create_does_not_wait_for_a_delete_that_was_refused() {
    let world = World::new("unmoved");
    let topic = world.topic_of(2, "public.orders", &[]);
    let delete = fixture("move-unavailable-delete");
    let unread = Draft { key: Some(b"{\"schema\":".to_vec()), ..delete };
    produce(&topic, 0, &[fixture("create-long"), unread]);
    produce(&topic, 1, &[fixture("move-unavailable-create"), fixture("create")]);
    let _member = world.member("member").start();
    // Far sooner than a create gives up that has nothing to wait for.
    world.until_at_ends(&world.name);

    let reasons = world.dead_letters().into_iter().map(|(_, reason, _)| reason);
    assert_eq!(reasons.collect::<Vec<_>>(), ["malformed", "unavailable_without_row"]);
    assert_eq!(rows(&world), "9001 5, 9003 2560", "the row under the old key is as it was");
    let state = "SELECT bool_and(state = 'refused' AND value IS NULL) FROM afterimage.key_move";
    assert!(world.target.holds(state));
}

#[test]
fn a_create_does_not_wait_for_a_delete_that_nobody_could_read() {
    let world = World::new("unread");
    let topic = world.topic_of(2, "public.orders", &[]);
    let cut = fixture("move-unavailable-delete").with_value(Some(b"{\"schema\":".to_vec()));
    produce(&topic, 0, &[fixture("create-long"), cut, fixture("move-unavailable-tombstone")]);
    produce(&topic, 1, &[fixture("move-unavailable-create"), fixture("create")]);
    let _member = world.member("member").start();
    // Far sooner than a create gives up that has nothing to wait for.
    world.until_at_ends(&world.name);

    let reasons = world.dead_letters().into_iter().map(|(_, reason, _)| reason);
    assert_eq!(reasons.collect::<Vec<_>>(), ["malformed", "unavailable_without_row"]);
    assert_eq!(rows(&world), "9001 5", "the tombstone says that the row is gone");
}

#[test]
fn f59_the_halves_of_a_move_reach_two_members_in_either_order() {
    let world = World::new("halves");
    let topic = world.topic_of(2, "public.orders", &[]);
    produce(&topic, 0, &[fixture("create-long")]);
    let _members = ["one", "two"].map(|label| world.member(label).start());
    until(LATER, "the row is there", || {
        world.target.has("public.orders") && rows(&world) == "9003 2560"
    });
    until(LATER, "each member has a partition", || owners(&world).len() == 2);
    let before = owners(&world);
    let (delete, create) = ("move-unavailable-delete", "move-unavailable-create");

    produce(&topic, 0, &[fixture(delete), fixture("move-unavailable-tombstone")]);
    until(SOON, "the row has left its key", || rows(&world).is_empty());
    produce(&topic, 1, &[fixture(create)]);
    until(SOON, "the row arrives whole", || rows(&world) == "9004 2560");

    // On to the next key, by a place of its own in the log; now the create comes first.
    let on = |name: &str| {
        let next = fixture(name).with("9004", "9005").with("9003", "9004");
        next.with("32494688", "32499999")
    };
    produce(&topic, 0, &[on(create)]);
    until(SOON, "the create waits", || {
        world.target.holds(&format!(
            "SELECT next_offset = 3 FROM afterimage.checkpoint
             WHERE topic = '{topic}' AND partition = 0"
        ))
    });
    produce(&topic, 1, &[on(delete), on("move-unavailable-tombstone")]);
    until(SOON, "the row arrives whole again", || rows(&world) == "9005 2560");

    world.until_at_ends(&world.name);
    assert_eq!(owners(&world), before, "each half was applied by a member of its own");
    assert_eq!(world.dead_letters(), []);
}

#[test]
fn f32_a_tombstone_behind_a_restart_takes_no_row_that_has_come_to_its_key() {
    let world = World::new("exchanged");
    let topic = world.topic_of(1, "public.orders", &[]);
    // In one transaction, as a deferrable key allows: 9001 goes to 9002, and the row there to 9001.
    let back = |name: &str| {
        let back = fixture(name).with("9002", "9000").with("9001", "9002").with("9000", "9001");
        back.with("32490968", "32490969")
    };
    let other = fixture("create").with("9001", "9002");
    produce(&topic, 0, &[fixture("create"), other]);
    let there = ["move-delete", "move-tombstone", "move-create"].map(fixture);
    produce(&topic, 0, &there);
    produce(&topic, 0, &[back("move-delete")]);
    let member = world.member("before").start();
    world.until_at_ends(&world.name);
    assert_eq!(member.terminate(), 0);
    assert_eq!(keys(&world), "9002", "the other one is still on its way");

    produce(&topic, 0, &[back("move-tombstone"), back("move-create")]);
    let _member = world.member("behind").start();
    world.until_at_ends(&world.name);
    assert_eq!(keys(&world), "9001 9002");
    assert_eq!(world.dead_letters(), []);
}

#[test]
fn f61_a_value_that_another_row_was_written_over_is_not_taken_from_that() {
    let world = World::new("overwritten");
    let topic = world.topic_of(1, "public.orders", &[]);
    // In one transaction, 9003 goes to 9004, and the row there to 9003, both without their notes.
    let back = |name: &str| {
        let back = fixture(name).with("9004", "9000").with("9003", "9004").with("9000", "9003");
        back.with("32494688", "32494689")
    };
    let [delete, tombstone, create] = ["delete", "tombstone", "create"]
        .map(|half| move |of: &dyn Fn(&str) -> Draft| of(&format!("move-unavailable-{half}")));
    produce(&topic, 0, &[fixture("create-long"), fixture("create").with("9001", "9004")]);
    produce(&topic, 0, &[delete(&fixture), tombstone(&fixture), create(&fixture)]);
    let member = world.member("before").start();
    world.until_at_ends(&world.name);
    assert_eq!(member.terminate(), 0);
    assert_eq!(rows(&world), "9004 2560", "the other one is still on its way");

    produce(&topic, 0, &[delete(&back), tombstone(&back), create(&back)]);
    let _member = world.member("behind").start();
    world.until_at_ends(&world.name);
    assert_eq!(rows(&world), "9004 2560");
    let reasons = world.dead_letters().into_iter().map(|(_, reason, _)| reason);
    assert_eq!(reasons.collect::<Vec<_>>(), ["unavailable_without_row"]);
}

/// The keys of the target's rows.
fn keys(world: &World) -> String {
    let text = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM public.orders";
    world.target.value(text).unwrap_or_default()
}

/// The sessions that own partitions, without repetition.
fn owners(world: &World) -> Vec<String> {
    let owners =
        "SELECT DISTINCT owner FROM afterimage.checkpoint WHERE owner IS NOT NULL ORDER BY 1";
    world.target.rows(owners).into_iter().flatten().flatten().collect()
}

/// An image of a row of `people`, as a connector sends it without schemas.
fn person(names: [Option<(&str, i64)>; 2]) -> Draft {
    let image = |it: Option<(&str, i64)>| it.map(|(name, n)| json!({ "name": name, "n": n }));
    let [before, after] = names;
    let name = after.or(before).unwrap().0;
    let source = json!({
        "version": "3.6.3.Final", "connector": "postgresql", "name": "shop", "ts_ms": 1,
        "snapshot": "false", "db": "shop", "schema": "public", "table": "people", "lsn": 1,
    });
    let op = if after.is_some() { "c" } else { "d" };
    let (before, after) = (image(before), image(after));
    let value = json!({ "before": before, "after": after, "source": source, "op": op });
    let bytes = |value: serde_json::Value| Some(value.to_string().into_bytes());
    Draft { key: bytes(json!({ "name": name })), value: bytes(value), headers: Vec::new() }
}

#[test]
fn a_row_moves_to_a_key_that_differs_in_its_capitals() {
    let world = World::new("capitals");
    world.target.run(
        "CREATE EXTENSION IF NOT EXISTS citext;
         CREATE TABLE public.people (name citext PRIMARY KEY, n int NOT NULL);
         ALTER TABLE public.people OWNER TO writer",
    );
    let topic = world.topic_of(2, "public.people", &[]);
    let held = |world: &World| {
        world.target.value("SELECT string_agg(name || ' ' || n, ', ') FROM public.people")
    };
    produce(&topic, 0, &[person([None, Some(("Ada", 1))])]);
    let _member = world.member("member").start();
    until(SOON, "the row is there", || held(&world).as_deref() == Some("Ada 1"));
    produce(&topic, 1, &[person([None, Some(("ADA", 2))])]);
    until(SOON, "the row has moved", || held(&world).as_deref() == Some("ADA 2"));
    let gone = person([Some(("Ada", 1)), None]);
    produce(&topic, 0, &[gone.clone(), gone.with_value(None)]);
    world.until_at_ends(&world.name);
    assert_eq!(held(&world).as_deref(), Some("ADA 2"));
    produce(&topic, 1, &[person([Some(("ADA", 2)), None])]);
    until(SOON, "the row is gone", || held(&world).is_none());
    assert_eq!(world.dead_letters(), []);
}
