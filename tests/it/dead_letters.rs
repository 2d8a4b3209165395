//! The operator's commands for dead letters: what they show, what a replay writes, and what it must
//! not write.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::looking::registry;
use crate::support::file::on_file;
use crate::support::kafka::{Draft, produce};
use crate::support::member::Ended;
use crate::support::{Database, LATER, MemberSetup, SOON, World, until};

/// A table whose names must be short, and a member that changes no table.
fn narrow(label: &str) -> (World, String) {
    let world = World::new(label);
    let users = world.topic("public.users", &[]);
    world.target.run(
        "CREATE TABLE public.users (id bigint PRIMARY KEY, name varchar(3), age integer);
         ALTER TABLE public.users OWNER TO writer",
    );
    (world, users)
}

fn member(world: &World, label: &str) -> MemberSetup {
    world.member(label).variable("SCHEMA_CHANGES", "ignore").variable("SYNCED_AT_COLUMN", "")
}

fn call(world: &World, command: &[&str]) -> Ended {
    let command = [&["dead-letters"], command].concat();
    member(world, "operator").variable("USER", "op").run(&command, SOON)
}

/// Calls in JSON, and returns the objects.
fn objects(world: &World, command: &[&str], code: i32) -> Vec<Value> {
    let ended = call(world, &[command, &["--format", "json"]].concat());
    assert_eq!(ended.code, code, "{}\n{}", ended.out, ended.error);
    ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn field<'a>(object: &'a Value, name: &str) -> &'a Value {
    object.get(name).unwrap_or_else(|| panic!("no {name} in {object}"))
}

/// Returns one field of each object, as text.
fn each(objects: &[Value], name: &str) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    objects.iter().map(|object| text(field(object, name))).collect()
}

/// Returns the number of the dead letter of an offset.
fn letter(world: &World, offset: i64) -> String {
    let text = format!("SELECT id FROM afterimage.dead_letter WHERE record_offset = {offset}");
    world.target.value(&text).unwrap()
}

fn user(id: i64, name: &str, age: i64) -> Draft {
    let record = Draft::fixture("json/users-create").with("9001", &id.to_string());
    record
        .with("\"name\":\"Alan\"", &format!("\"name\":\"{name}\""))
        .with("\"age\":41", &format!("\"age\":{age}"))
}

/// An update that does not say the name.
fn older_by(id: i64, age: i64) -> Draft {
    user(id, "__debezium_unavailable_value", age).with("\"op\":\"c\"", "\"op\":\"u\"")
}

fn rows(world: &World) -> String {
    let text = "SELECT string_agg(id || ' ' || name || ' ' || age, ', ' ORDER BY id)
                FROM public.users";
    world.target.value(text).unwrap_or_default()
}

#[test]
fn what_is_mended_is_replayed_and_what_is_newer_stays() {
    let (world, users) = narrow("mended");
    let bad = user(2, "Alan", 1);
    let records =
        [user(1, "Al", 1), bad.clone(), user(3, "Alan", 1), user(3, "Bo", 2), older_by(2, 2)];
    produce(&users, 0, &records);
    let running = member(&world, "member").start();
    world.until_at_ends(&world.name);
    assert_eq!(rows(&world), "1 Al 1, 3 Bo 2");

    let listed = objects(&world, &["list"], 0);
    assert_eq!(each(&listed, "offset"), ["1", "2", "4"]);
    assert_eq!(each(&listed, "reason"), ["value_unfit", "value_unfit", "behind_dead_letter"]);
    assert_eq!(each(&listed, "state"), ["open", "open", "open"]);
    let table = call(&world, &["list", "--reason", "behind_dead_letter"]);
    assert_eq!(table.out.lines().count(), 2, "{}", table.out);
    assert!(table.out.starts_with("ID ") && table.out.contains(&users), "{}", table.out);
    assert!(!table.out.contains("Alan"), "a listing shows no values: {}", table.out);
    let (first, overtaken, behind) = (letter(&world, 1), letter(&world, 2), letter(&world, 4));
    assert_shown(&world, &first, &bad);

    let refused = objects(&world, &["replay", &first, "--reason", "too early"], 1);
    assert_eq!(each(&refused, "state"), ["open"]);
    let alone = objects(&world, &["replay", &behind, "--reason", "alone"], 1);
    assert!(each(&alone, "detail").concat().starts_with("behind_dead_letter"), "{alone:?}");
    world.target.run("ALTER TABLE public.users ALTER name TYPE text");
    let replayed = objects(&world, &["replay", "--all", "--reason", "widened"], 1);
    assert_eq!(each(&replayed, "id"), [first.clone(), overtaken.clone(), behind]);
    assert_eq!(each(&replayed, "state"), ["replayed", "open", "replayed"]);
    assert!(each(&replayed, "detail").concat().contains("newer"), "{replayed:?}");
    assert_eq!(rows(&world), "1 Al 1, 2 Alan 2, 3 Bo 2");

    // The member knows that the key is mended: what leans on the row lands again.
    produce(&users, 0, &[older_by(2, 3)]);
    until(SOON, "the next update lands", || rows(&world) == "1 Al 1, 2 Alan 3, 3 Bo 2");
    assert_eq!(running.get("/readyz").status, 200);

    let discarded = objects(&world, &["discard", &overtaken, "--reason", "is right"], 0);
    assert_eq!(each(&discarded, "state"), ["discarded"]);
    assert_eq!(objects(&world, &["discard", &overtaken, "--reason", "again"], 1).len(), 1);
    assert!(objects(&world, &["list"], 0).is_empty());
    let all = objects(&world, &["list", "--state", "all"], 0);
    assert_eq!(each(&all, "state"), ["replayed", "discarded", "replayed"]);
    let audit = "SELECT string_agg(concat_ws(' ', actor, command, before_offset, reason), ', '
                 ORDER BY at, before_offset) FROM afterimage.audit";
    assert_eq!(
        world.target.value(audit).unwrap(),
        "op dead-letters replay 1 widened, op dead-letters replay 4 widened, \
         op dead-letters discard 2 is right"
    );
    assert_eq!(world.target.number("SELECT count(*) FROM afterimage.refused_key"), 0);
}

/// A dead letter is shown decoded, and as the bytes that it has.
fn assert_shown(world: &World, id: &str, record: &Draft) {
    let shown = objects(world, &["show", id], 0).pop().unwrap();
    let name = field(field(field(&shown, "after"), "name"), "value");
    assert_eq!((name.as_str(), field(&shown, "op").as_str()), (Some("Alan"), Some("c")));
    assert!(field(&shown, "refused").as_str().unwrap().starts_with("value_unfit"), "{shown}");
    let raw = objects(world, &["show", id, "--raw"], 0).pop().unwrap();
    let bytes = |name: &str| BASE64_STANDARD.decode(field(&raw, name).as_str().unwrap()).unwrap();
    assert_eq!(Some(bytes("value")), record.value);
    assert_eq!(Some(bytes("key")), record.key);
    let table = call(world, &["show", id]);
    assert!(table.out.contains("name=\"Alan\""), "{}", table.out);
    let table = call(world, &["show", id, "--raw"]);
    assert!(table.out.contains("\"name\":\"Alan\""), "{}", table.out);
    assert!(!table.error.contains("Alan"), "no value is logged: {}", table.error);
}

#[test]
fn what_cannot_be_asked_for_is_refused_with_what_would_be_right() {
    let (world, users) = narrow("asked");
    produce(&users, 0, &[user(1, "Alan", 1)]);
    let _running = member(&world, "member").start();
    world.until_at_ends(&world.name);
    let id = letter(&world, 0);

    for (command, told) in [
        (vec!["show", "4711"], "no dead letter 4711"),
        (vec!["replay", &id, "4711", "--reason", "x"], "no dead letter 4711"),
        (vec!["discard", "4711", "--reason", "x"], "no dead letter 4711"),
        (vec!["replay", "--reason", "x"], "<ID|--all>"),
        (vec!["replay", "--all", &id, "--reason", "x"], "--all"),
        (vec!["replay", &id], "--reason"),
        (vec!["discard", &id, "--reason", " "], "--reason must say why"),
        (vec!["list", "--reason", "bad_luck"], "must be one of malformed"),
        (vec!["list", "--state", "lost"], "lost"),
        (vec!["show", "x"], "invalid value"),
    ] {
        let ended = call(&world, &command);
        assert_eq!(ended.code, 2, "{command:?}: {}", ended.out);
        assert!(ended.error.contains(told), "{command:?}: {}", ended.error);
    }
    let other = member(&world, "other").variable("SINK_NAME", "another");
    let ended = other.run(&["dead-letters", "show", &id], SOON);
    assert_eq!(ended.code, 2, "another sink's dead letter is not ours: {}", ended.out);

    world.target.run("DROP TABLE public.users");
    let gone = objects(&world, &["replay", &id, "--reason", "x"], 1);
    let detail = each(&gone, "detail").concat();
    assert!(detail.contains("does not exist") && detail.contains("consumer plan"), "{detail}");
    assert!(!world.target.has("public.users"));
    assert_eq!(world.dead_letters().len(), 1);
}

#[test]
fn a_replay_beside_a_running_member_puts_nothing_over_what_is_newer() {
    const KEYS: i64 = 150;
    let (world, users) = narrow("race");
    let refused: Vec<Draft> = (1..=KEYS).map(|id| user(id, "Alan", 1)).collect();
    let newer: Vec<Draft> = (1..=KEYS).map(|id| user(id, "Zz", 2)).collect();
    produce(&users, 0, &refused);
    let _running = member(&world, "member").variable("BATCH_ROWS", "5").start();
    world.until_at_ends(&world.name);
    world.target.run("ALTER TABLE public.users ALTER name TYPE text");

    let replayed = "SELECT count(*) FROM afterimage.dead_letter WHERE state = 'replayed'";
    let replay = std::thread::scope(|scope| {
        let operator = member(&world, "operator");
        let replay = scope.spawn(move || {
            operator.run(
                &["dead-letters", "replay", "--all", "--reason", "race", "--format", "json"],
                LATER,
            )
        });
        // The replay goes up from the first key, what is newer down from the last: they meet.
        let has_begun = || world.target.number(replayed) > 0 || replay.is_finished();
        until(LATER, "a replay", has_begun);
        for record in newer.rchunks(5) {
            produce(&users, 0, record);
        }
        replay.join().unwrap()
    });

    world.until_at_ends(&world.name);
    assert!(replay.code < 2, "{}", replay.error);
    let stale = "SELECT count(*) FROM public.users WHERE name <> 'Zz'";
    assert_eq!(world.target.number("SELECT count(*) FROM public.users"), KEYS);
    assert_eq!(world.target.number(stale), 0, "{}", replay.out);
    assert!(world.target.number(replayed) > 0, "nothing raced: {}", replay.out);
}

#[test]
fn a_row_that_moved_and_a_delete_are_replayed_and_a_truncate_is_not() {
    let (world, users) = narrow("others");
    let went = Draft::fixture("json/users-move-delete");
    let came = Draft::fixture("json/users-move-create");
    let broken = |draft: &Draft| {
        let mut draft = draft.clone();
        draft.value.as_mut().unwrap().truncate(40);
        draft
    };
    let truncate = Draft::fixture("events/json-keyed-truncate");
    let truncate = truncate.with(
        "\"schema\":\"shapes\",\"table\":\"keyed\"",
        "\"schema\":\"public\",\"table\":\"users\"",
    );
    produce(&users, 0, &[broken(&went), broken(&came), broken(&truncate)]);
    let _running = member(&world, "member").start();
    world.until_at_ends(&world.name);
    world.target.run("ALTER TABLE public.users ALTER name TYPE text");
    world.target.run("INSERT INTO public.users VALUES (9001, 'old', 1)");
    assert_eq!(world.dead_letters().len(), 3);
    // An operator repairs the records by hand.
    for (offset, draft) in [(0, &went), (1, &came), (2, &truncate)] {
        let value = BASE64_STANDARD.encode(draft.value.as_ref().unwrap());
        world.target.run(&format!(
            "UPDATE afterimage.dead_letter SET value = decode('{value}', 'base64')
             WHERE record_offset = {offset}"
        ));
    }

    let replayed = objects(&world, &["replay", "--all", "--reason", "repaired"], 1);
    assert_eq!(each(&replayed, "state"), ["replayed", "replayed", "open"], "{replayed:?}");
    assert!(each(&replayed, "detail").concat().contains("truncate"), "{replayed:?}");
    let ids = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM public.users";
    let moved = world.target.value(ids).unwrap();
    assert_ne!(moved, "9001", "the old row is gone");
    assert_eq!(moved.split(' ').count(), 1, "{moved}");
}

#[test]
fn a_schema_that_comes_late_is_replayed_into_a_table_that_was_made_for_it() {
    let world = World::new("late");
    let users = world.topic("public.users", &[]);
    produce(&users, 0, &["avro/users-create", "avro/users-update"].map(Draft::fixture));
    let known = registry();
    // Knows no schema at all.
    let lost = format!("{known}/lost");
    let _running = world.member("member").variable("SCHEMA_REGISTRY_URL", &lost).start();
    until(LATER * 2, "the registry is given up", || world.dead_letters().len() == 2);
    let call = |command: &[&str]| {
        let setup = world.member("operator").variable("SCHEMA_REGISTRY_URL", &known);
        setup.run(command, SOON)
    };
    let replay = ["dead-letters", "replay", "--all", "--reason", "registered", "--format", "json"];

    let gone = call(&replay);
    assert_eq!(gone.code, 1, "{}", gone.error);
    assert_eq!(gone.out.matches("consumer plan").count(), 2, "{}", gone.out);
    let plan = call(&["plan"]);
    assert_eq!(plan.code, 0, "{}", plan.error);
    Database::open(&world.target_url()).run(&plan.out);
    let replayed = call(&replay);
    assert_eq!(replayed.code, 0, "{} {}", replayed.out, replayed.error);
    assert_eq!(world.target.number("SELECT count(*) FROM public.users WHERE id = 9001"), 1);
    assert_eq!(world.target.number("SELECT count(*) FROM afterimage.refused_key"), 0);
}

#[test]
fn refused_rows_are_replayed_in_order_once_the_target_takes_them() {
    let (world, users) = narrow("parents");
    world.target.run(
        "CREATE TABLE public.ages (age integer PRIMARY KEY);
         GRANT SELECT ON public.ages TO writer;
         INSERT INTO public.ages VALUES (1);
         CREATE FUNCTION public.judge() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN IF NOT EXISTS (SELECT FROM public.ages WHERE age = new.age)
              THEN RAISE ''no parent''; END IF; RETURN new; END';
         CREATE TRIGGER judge BEFORE INSERT OR UPDATE ON public.users
             FOR EACH ROW EXECUTE FUNCTION public.judge()",
    );
    let setup =
        |label: &str| member(&world, label).config("[table.\"*\"]\nafter_refused = \"block\"");
    let call = |command: &[&str]| {
        let command = [&["dead-letters"], command].concat();
        setup("operator").variable("USER", "op").run(&command, SOON)
    };
    let all = ["replay", "--all", "--reason", "the parent is there"];
    let states = || {
        let text = "SELECT string_agg(concat_ws(' ', record_offset, reason, sqlstate, state), ', '
                        ORDER BY record_offset)
                    FROM afterimage.dead_letter";
        world.target.value(text).unwrap_or_default()
    };
    produce(&users, 0, &[user(1, "Al", 7), user(2, "Cy", 8)]);
    let _running = setup("member").start();
    // In one batch with the first ones, the next would stand for them.
    until(LATER, "the first are refused", || world.dead_letters().len() == 2);
    produce(&users, 0, &[user(1, "Bo", 1), user(2, "Di", 1)]);
    until(LATER, "the next stay behind them", || world.dead_letters().len() == 4);
    let open = "0 row_refused P0001 open, 1 row_refused P0001 open, \
                2 behind_dead_letter open, 3 behind_dead_letter open";
    assert_eq!(states(), open);

    let early = call(&all);
    assert_eq!(early.code, 1, "{} {}", early.out, early.error);
    assert_eq!((states(), rows(&world)), (open.to_owned(), String::new()));

    world.target.run("INSERT INTO public.ages VALUES (7)");
    let discarded = call(&["discard", &letter(&world, 1), "--reason", "its parent never comes"]);
    assert_eq!(discarded.code, 0, "{} {}", discarded.out, discarded.error);
    let replayed = call(&all);
    assert_eq!(replayed.code, 0, "{} {}", replayed.out, replayed.error);
    assert_eq!(rows(&world), "1 Bo 1, 2 Di 1");
    let ended = "0 row_refused P0001 replayed, 1 row_refused P0001 discarded, \
                 2 behind_dead_letter replayed, 3 behind_dead_letter replayed";
    assert_eq!(states(), ended);

    produce(&users, 0, &[user(1, "Ed", 7), user(2, "Flo", 1)]);
    until(SOON, "both keys go on", || rows(&world) == "1 Ed 7, 2 Flo 1");
}

#[test]
fn a_file_takes_replays_as_well() {
    let world = World::new("file");
    let users = world.topic("public.users", &[]);
    let file = world.folder().join("target.db");
    let url = format!("sqlite://{}", file.display());
    let broken = user(2, "Alan", 1).with("\"op\":\"c\"", "\"op\":\"?\"");
    produce(&users, 0, &[user(1, "Ada", 1), broken, user(1, "Ada", 2)]);
    let setup = |label: &str| world.member(label).target(&url);
    let ended = setup("member").run(&["run", "--until-caught-up"], LATER);
    assert_eq!(ended.code, 0, "{}", ended.error);

    let call = |command: &[&str]| {
        let command = [&["dead-letters"], command].concat();
        setup("operator").run(&command, SOON)
    };
    let listed = call(&["list", "--format", "json"]);
    let listed: Value = serde_json::from_str(listed.out.trim()).unwrap();
    assert_eq!(field(&listed, "reason"), "not_an_envelope");
    let shown = call(&["show", "1", "--format", "json"]);
    assert_eq!(shown.code, 0, "{}", shown.error);
    let replayed = call(&["replay", "1", "--reason", "as it is"]);
    assert_eq!(replayed.code, 1, "{}", replayed.out);
    assert!(replayed.out.contains("not_an_envelope"), "{}", replayed.out);
    repair(&file, "\"op\":\"?\"", "\"op\":\"c\"");
    let replayed = call(&["replay", "1", "--reason", "repaired"]);
    assert_eq!(replayed.code, 0, "{} {}", replayed.out, replayed.error);
    let table = setup("operator").run(&["debug", "target", "users", "--format", "json"], SOON);
    assert!(table.out.contains("Alan"), "{} {}", table.out, table.error);
    assert!(call(&["list"]).out.is_empty());
}

/// Replaces text in the value of every dead letter of a file.
fn repair(file: &std::path::Path, from: &str, to: &str) {
    on_file(file, async |connection| {
        let text = "UPDATE afterimage_dead_letter
                    SET value = CAST(replace(CAST(value AS TEXT), ?, ?) AS BLOB)";
        let done = sqlx::query(text).bind(from).bind(to).execute(connection).await.unwrap();
        assert_eq!(done.rows_affected(), 1);
    });
}

#[test]
fn rows_that_a_file_refused_are_replayed_once_it_takes_them() {
    let world = World::new("filerows");
    let users = world.topic("public.users", &[]);
    let file = world.folder().join("target.db");
    let run = |script: &'static str| {
        on_file(&file, async |connection| {
            sqlx::raw_sql(script).execute(connection).await.unwrap();
        });
    };
    run(
        "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT CHECK (length(name) < 4), age INTEGER)",
    );
    let url = format!("sqlite://{}", file.display());
    let setup = |label: &str| member(&world, label).target(&url);
    let call = |command: &[&str]| {
        let command = [&["dead-letters"], command, &["--format", "json"]].concat();
        let ended = setup("operator").run(&command, SOON);
        let objects = ended.out.lines().map(|line| serde_json::from_str(line).unwrap());
        (ended.code, objects.collect::<Vec<Value>>())
    };
    let users_now = || {
        let command = ["debug", "target", "users", "--format", "json"];
        setup("operator").run(&command, SOON).out
    };
    produce(&users, 0, &[user(1, "Ada", 1), user(2, "Alan", 1), user(3, "Bo", 1)]);
    let ended = setup("member").run(&["run", "--until-caught-up"], LATER);
    assert_eq!(ended.code, 0, "{}", ended.error);
    let (_, listed) = call(&["list"]);
    assert_eq!(each(&listed, "reason"), ["row_refused"]);
    assert_eq!(each(&listed, "offset"), ["1"]);

    let (code, left) = call(&["replay", "--all", "--reason", "too early"]);
    assert_eq!((code, each(&left, "state")), (1, vec!["open".to_owned()]), "{left:?}");
    assert!(users_now().contains("Bo") && !users_now().contains("Alan"), "{}", users_now());
    run("CREATE TABLE wider (id INTEGER PRIMARY KEY, name TEXT, age INTEGER);
         INSERT INTO wider SELECT * FROM users; DROP TABLE users; ALTER TABLE wider RENAME TO users");
    let (code, replayed) = call(&["replay", "--all", "--reason", "the check is gone"]);
    assert_eq!((code, each(&replayed, "state")), (0, vec!["replayed".to_owned()]), "{replayed:?}");
    assert!(users_now().contains("Alan"), "{}", users_now());

    // The key goes on: what leans on the row finds it.
    produce(&users, 0, &[older_by(2, 77)]);
    let ended = setup("member").run(&["run", "--until-caught-up"], LATER);
    assert_eq!(ended.code, 0, "{}", ended.error);
    assert!(users_now().contains("77"), "{}", users_now());
    assert_eq!(call(&["list"]), (0, vec![]));
}

#[test]
fn a_row_is_replayed_once_the_parent_of_its_foreign_key_is_there() {
    let world = World::new("child");
    let [orders, users] = ["orders", "users"].map(|it| world.topic(&format!("public.{it}"), &[]));
    world.target.run(
        "SET ROLE writer;
         CREATE TABLE public.users (id bigint PRIMARY KEY, name text, age integer);
         CREATE TABLE public.orders (id bigint PRIMARY KEY, status varchar(2),
             user_id bigint REFERENCES public.users);
         RESET ROLE",
    );
    let order = Draft::fixture("json/orders-create");
    produce(&orders, 0, &[order]);
    let running = member(&world, "member").start();
    world.until_at_ends(&world.name);
    let refused = letter(&world, 0);
    let count = || world.target.number("SELECT count(*) FROM public.orders WHERE user_id = 1");

    // Its own fault is mended, and now the foreign key refuses it: it is asked for no longer than once.
    world.target.run("ALTER TABLE public.orders ALTER status TYPE text");
    let early = objects(&world, &["replay", &refused, "--reason", "widened"], 1);
    assert_eq!(each(&early, "state"), ["open"]);
    assert!(each(&early, "detail").concat().contains("orders_user_id_fkey"), "{early:?}");
    assert_eq!(count(), 0);

    produce(&users, 0, &[user(1, "Al", 1)]);
    until(SOON, "the parent is there", || rows(&world) == "1 Al 1");
    let replayed = objects(&world, &["replay", &refused, "--reason", "its parent is there"], 0);
    assert_eq!(each(&replayed, "state"), ["replayed"]);
    assert_eq!(count(), 1);
    assert!(objects(&world, &["list"], 0).is_empty());
    running.until_ready();
}
