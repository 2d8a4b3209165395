//! The row guard: what is read again, moves between partitions or comes from elsewhere never puts an
//! older image over a newer one.

use crate::support::kafka::{self, Draft, produce};
use crate::support::{Ended, Format, LATER, SOON, World, until};

/// Guards every table of the world's own schema, and the fixtures' users.
fn guarded(world: &World) -> String {
    format!(
        "[table.\"{}.*\"]\nrow_guard = true\n[table.\"public.users\"]\nrow_guard = true\n",
        world.name
    )
}

fn caught_up(world: &World) -> Ended {
    let setup = world.member("caught").config(&guarded(world));
    setup.run(&["run", "--until-caught-up"], LATER)
}

fn checkpoint(world: &World, command: &[&str]) {
    let args = [&["checkpoint"], command, &["--reason", "a test"]].concat();
    let ended = world.member("checkpoint").run(&args, SOON);
    assert_eq!(ended.code, 0, "{}", ended.error);
}

#[test]
fn f28_keys_that_move_between_partitions_of_a_topic_that_is_behind() {
    let world = World::new("guardgrow");
    let source = world.source(
        "CREATE TABLE t (id int PRIMARY KEY, version int NOT NULL, note text);
         INSERT INTO t SELECT i, 0, repeat('long ', 2000) || i FROM generate_series(1, 60) AS i",
    );
    let topic = format!("{0}.{0}.t", world.name);
    kafka::create_topic(&topic, 2, &[]);
    source.connect(Format::Json);
    assert_eq!(caught_up(&world).code, 0);

    source.database.run(
        "UPDATE t SET version = 1; DELETE FROM t WHERE id % 5 = 0;
         UPDATE t SET version = 2, id = id + 1000 WHERE id % 7 = 0",
    );
    until(LATER, "the first changes are sent", || kafka::ends(&topic).values().sum::<i64>() > 150);
    kafka::add_partitions(&topic, 5);
    // Only a new producer knows at once of the new partitions.
    source.restart();
    source.database.run(
        "UPDATE t SET version = 3 WHERE id % 2 = 0; INSERT INTO t VALUES (5, 4, 'again'), (10, 4, NULL);
         DELETE FROM t WHERE id % 11 = 0; UPDATE t SET version = 5, id = id - 1000 WHERE id > 1000",
    );

    let members = ["one", "two"].map(|label| world.member(label).config(&guarded(&world)).start());
    world.until_equal(&["t"]);
    let partitions = "SELECT count(*) FROM afterimage.checkpoint WHERE last_offset IS NOT NULL";
    assert_eq!(world.target.number(partitions), 5, "every partition has had records");
    for member in members {
        assert_eq!(member.terminate(), 0);
    }

    checkpoint(&world, &["rewind", "--to", "earliest", "--topic", &topic]);
    assert_eq!(caught_up(&world).code, 0);
    world.until_equal_within(SOON, &["t"]);
}

/// The first user's row at a place in the source's log, committed at that second.
fn user(fixture: &str, name: &str, place: i64) -> Draft {
    user_of(1, fixture, name, place)
}

/// Any user's.
fn user_of(id: i64, fixture: &str, name: &str, place: i64) -> Draft {
    let draft = Draft::fixture(&format!("json/users-{fixture}"));
    let (Some(key), Some(value)) = (&draft.key, &draft.value) else { panic!("it has both") };
    let [key, value] = [key, value].map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    let (schema, payload) = value.split_once("\"payload\":").unwrap();
    let (time, quoted) = ((place * 1000).to_string(), format!("\"{name}\""));
    let payload = set(payload, "\"lsn\":", &place.to_string());
    let payload = set(&payload, "\"ts_ms\":", &time);
    let payload = if payload.contains("\"after\":null") {
        payload
    } else {
        let (before, after) = payload.split_once("\"after\":").unwrap();
        let after = set(&set(after, "\"id\":", &id.to_string()), "\"name\":", &quoted);
        format!("{before}\"after\":{after}")
    };
    let key = set(&key, "\"payload\":{\"id\":", &id.to_string());
    Draft { key: Some(key.into_bytes()), ..draft }
        .with_value(Some(format!("{schema}\"payload\":{payload}").into_bytes()))
}

/// Replaces what stands behind a mark's first place, up to a comma or a bracket.
fn set(text: &str, mark: &str, value: &str) -> String {
    let (before, behind) = text.split_once(mark).unwrap();
    let end = behind.find([',', '}']).unwrap();
    format!("{before}{mark}{value}{}", &behind[end..])
}

fn name(world: &World) -> Option<String> {
    world.target.value("SELECT name FROM public.users WHERE id = 1")
}

#[test]
fn f36_f37_what_a_connector_or_a_snapshot_brings_again_is_kept_out() {
    let world = World::new("guardagain");
    let topic = world.topic_of(2, "public.users", &[]);
    produce(&topic, 0, &[user("create", "first", 100), user("update", "second", 200)]);
    assert_eq!(caught_up(&world).code, 0);
    assert_eq!(name(&world).as_deref(), Some("second"));

    produce(&topic, 0, &[user("create", "first", 100), user("read", "first", 150)]);
    produce(&topic, 1, &[user("create", "first", 100), user("read", "first", 150)]);
    assert_eq!(caught_up(&world).code, 0);
    assert_eq!(name(&world).as_deref(), Some("second"));

    produce(&topic, 1, &[user("delete", "", 300)]);
    assert_eq!(caught_up(&world).code, 0);
    produce(&topic, 0, &[user("update", "second", 200)]);
    assert_eq!(caught_up(&world).code, 0);
    assert_eq!(name(&world), None, "a row that is gone does not come back");
    assert!(world.dead_letters().is_empty());
}

#[test]
fn f23_a_topic_that_is_made_again_is_read_again_without_harm() {
    let world = World::new("guardanew");
    let topic = world.topic("public.users", &[]);
    let all = [user("create", "a", 100), user("update", "b", 200), user("update", "c", 300)];
    produce(&topic, 0, &all);
    assert_eq!(caught_up(&world).code, 0);

    kafka::delete_topics(std::slice::from_ref(&topic));
    until(LATER, "the topic is gone", || kafka::topics(&topic).is_empty());
    let topic = world.topic("public.users", &[]);
    produce(&topic, 0, &[user("create", "a", 100), user("update", "b", 200)]);
    checkpoint(&world, &["adopt", "--at", "earliest"]);
    assert_eq!(caught_up(&world).code, 0);
    assert_eq!(name(&world).as_deref(), Some("c"));
    produce(&topic, 0, &[user("update", "d", 400)]);
    assert_eq!(caught_up(&world).code, 0);
    assert_eq!(name(&world).as_deref(), Some("d"));
}

#[test]
fn f56_a_source_that_has_gone_back_stops_until_it_is_released() {
    let world = World::new("guardback");
    let topic = world.topic("public.users", &[]);
    let other = world.topic("public.employees", &[]);
    produce(&topic, 0, &[user("create", "before", 500)]);
    assert_eq!(caught_up(&world).code, 0);
    let mut restored = user("update", "after", 400);
    let later = |text: String| text.replace("\"ts_ms\":400000", "\"ts_ms\":600000");
    restored.value = restored.value.map(|it| later(String::from_utf8(it).unwrap()).into_bytes());
    produce(&topic, 0, &[restored]);
    produce(&other, 0, &[Draft::fixture("json/employees-create")]);

    let ended = caught_up(&world);
    assert_eq!(ended.code, 1, "{}", ended.error);
    let stops = ended.lines_with(&["stopped a partition", "source_went_back", "at 1"]);
    assert_eq!(stops.len(), 1, "{}", ended.error);
    assert_eq!(name(&world).as_deref(), Some("before"));
    assert_eq!(world.target.number("SELECT count(*) FROM public.employees"), 1);

    checkpoint(&world, &["release", "--topic", &topic]);
    let logs = "SELECT string_agg(concat(topic, ' ', source_incarnation), ', ' ORDER BY topic DESC)
        FROM afterimage.checkpoint";
    let counted = format!("{topic} 2, {other} ");
    assert_eq!(world.target.value(logs), Some(counted), "the log is another one from here on");
    assert_eq!(caught_up(&world).code, 0);
    assert_eq!(name(&world).as_deref(), Some("after"));
}

#[test]
fn f57_a_connector_of_another_prefix_brings_the_same_table() {
    let world = World::new("guardprefix");
    let name = &world.name;
    let source = world.source(
        "CREATE TABLE t (id int PRIMARY KEY, version int NOT NULL);
         INSERT INTO t SELECT i, 0 FROM generate_series(1, 20) AS i",
    );
    let config = format!("[table.\"{name}.*\"]\ntarget = \"{name}.t\"\nrow_guard = true\n");
    let read = |prefix: &str| {
        let setup =
            world.member("caught").config(&config).topics(&format!("^{prefix}\\.{name}\\..*"));
        let ended = setup.run(&["run", "--until-caught-up"], LATER);
        assert_eq!(ended.code, 0, "{}", ended.error);
    };
    let first = source.connect_with(Format::Json, "_first", &[]);
    read(&first);
    world.until_equal_within(SOON, &["t"]);
    source.database.run("UPDATE t SET version = 1; DELETE FROM t WHERE id = 20");
    until(LATER, "the changes are sent", || kafka::ends(&first).values().sum::<i64>() >= 42);
    source.database.run("UPDATE t SET version = 2 WHERE id < 10; INSERT INTO t VALUES (20, 3)");

    let second = source.connect_with(Format::Json, "_second", &[]);
    read(&second);
    world.until_equal_within(SOON, &["t"]);
    read(&first);
    world.until_equal_within(SOON, &["t"]);
}

/// Catches up in PostgreSQL and in a file of SQLite, and returns what they show of the users.
fn users_in_both(world: &World) -> [String; 2] {
    let file = format!("sqlite://{}", world.folder().join("target.db").display());
    [("postgres", world.target_url()), ("sqlite", file)].map(|(label, url)| {
        let setup = world.member(label).config(&guarded(world)).target(&url);
        let ended = setup.run(&["run", "--until-caught-up"], LATER);
        assert_eq!(ended.code, 0, "{}", ended.error);
        let command = ["debug", "target", "users", "--format", "json"];
        world.member("look").target(&url).run(&command, SOON).out
    })
}

/// That all users went, at a place in the source's log.
fn emptied(place: i64) -> Draft {
    let truncate = user("delete", "", place).with("\"op\":\"d\"", "\"op\":\"t\"");
    Draft { key: None, ..truncate }
}

#[test]
fn f36_a_change_that_comes_again_behind_a_snapshot_is_kept_out() {
    let world = World::new("guardread");
    let topic = world.topic("public.users", &[]);
    let shown = |name: &str| users_in_both(&world).map(|users| users.contains(name));
    produce(&topic, 0, &[user("create", "first", 100), user("update", "second", 200)]);
    produce(&topic, 0, &[user("read", "second", 250)]);
    assert_eq!(shown("second"), [true; 2]);

    produce(&topic, 0, &[user("create", "first", 100), user("read", "second", 250)]);
    assert_eq!(shown("second"), [true; 2]);
    produce(&topic, 0, &[user("create", "first", 100)]);
    assert_eq!(shown("second"), [true; 2], "the snapshots have read what came behind it");
    produce(&topic, 0, &[user("update", "third", 220)]);
    assert_eq!(shown("third"), [true; 2], "of a transaction that was open at the snapshot");
}

#[test]
fn f60_a_truncate_removes_what_is_older_and_keeps_out_what_comes_late() {
    let world = World::new("guardempty");
    let topic = world.topic_of(3, "public.users", &[]);
    let both = || users_in_both(&world);
    let has = |shown: &[String; 2], name: &str| shown.each_ref().map(|it| it.contains(name));

    produce(&topic, 0, &[user("create", "before", 100)]);
    assert_eq!(has(&both(), "before"), [true; 2]);
    produce(&topic, 1, &[emptied(200)]);
    assert_eq!(has(&both(), "before"), [false; 2]);
    produce(&topic, 2, &[user("update", "late", 150)]);
    assert_eq!(has(&both(), "late"), [false; 2], "what is older than a truncate stays out");
    produce(&topic, 2, &[user("create", "behind", 300)]);
    produce(&topic, 1, &[emptied(200)]);
    assert_eq!(has(&both(), "behind"), [true; 2], "a truncate that comes again removes nothing");
    produce(&topic, 0, &[emptied(250)]);
    assert_eq!(has(&both(), "behind"), [true; 2], "nor does one that is older than the row");
}

#[test]
fn f60_a_truncate_whose_table_nothing_has_made_yet_waits_for_it() {
    let world = World::new("guardfirst");
    let topic = world.topic_of(2, "public.users", &[]);
    produce(&topic, 1, &[emptied(200)]);
    let member = world.member("member").config(&guarded(&world)).start();
    until(SOON, "the truncate waits", || {
        member.get("/metrics").body.contains("afterimage_partitions{state=\"waiting\"} 1")
    });

    produce(&topic, 0, &[user("create", "older", 100)]);
    world.until_at_ends(&world.name);
    assert_eq!(name(&world), None, "what makes the table is older than the truncate");
    produce(&topic, 0, &[user("create", "newer", 300)]);
    world.until_at_ends(&world.name);
    assert_eq!(name(&world).as_deref(), Some("newer"));
    member.until_ready();
}

#[test]
fn f60_truncates_of_a_real_table_whose_topic_has_three_partitions() {
    let world = World::new("guardtrunc");
    let topic = world.topic_of(3, &format!("{}.t", world.name), &[]);
    let source = world.source(
        "CREATE TABLE t (id int PRIMARY KEY, version int NOT NULL, note text);
         INSERT INTO t SELECT i, 0, 'first' FROM generate_series(1, 40) AS i",
    );
    let flags = [("skipped.operations".to_owned(), "none".to_owned())];
    source.connect_with(Format::Json, "", &flags);
    let change = |round: i32| {
        source.database.run(&format!(
            "UPDATE t SET version = {round} WHERE id % 2 = 0; DELETE FROM t WHERE id % 3 = 0;
             BEGIN; INSERT INTO t VALUES (1000 + {round}, {round}, 'goes too'); TRUNCATE t;
             INSERT INTO t SELECT i, {round}, 'again' FROM generate_series({round}, {round} + 30) AS i;
             COMMIT; UPDATE t SET note = 'changed' WHERE id % 5 = 0"
        ));
    };
    // Truncates that wait for a member, and others under two that run.
    change(1);
    change(2);
    let members = ["one", "two"].map(|label| world.member(label).config(&guarded(&world)).start());
    world.until_equal(&["t"]);
    (3..8).for_each(change);
    world.until_equal(&["t"]);
    source.database.run("TRUNCATE t");
    world.until_equal(&["t"]);
    assert_eq!(
        world.target.number("SELECT count(*) FROM afterimage.checkpoint WHERE state = 'stopped'"),
        0
    );
    for member in members {
        assert_eq!(member.terminate(), 0);
    }

    checkpoint(&world, &["rewind", "--to", "earliest", "--topic", &topic]);
    assert_eq!(caught_up(&world).code, 0);
    world.until_equal_within(SOON, &["t"]);
    assert!(world.dead_letters().is_empty());
}

#[test]
fn a_replay_is_judged_by_the_guard_and_not_by_what_came_behind_it() {
    let world = World::new("guardreplay");
    let topic = world.topic_of(2, "public.users", &[]);
    world.target.run(
        "CREATE TABLE public.users (id bigint PRIMARY KEY, name varchar(5));
         ALTER TABLE public.users OWNER TO writer",
    );
    let flags = "[run]\nschema_changes = \"ignore\"\nsynced_at_column = \"\"\n";
    let config = format!("{flags}{}", guarded(&world));
    let run = |command: &[&str]| world.member("caught").config(&config).run(command, LATER);
    let catch_up = || assert_eq!(run(&["run", "--until-caught-up"]).code, 0);
    let replay = || run(&["dead-letters", "replay", "--all", "--reason", "widened"]);

    // Nobody can say of the second partition what came before it, but the guard can.
    produce(&topic, 0, &[user("create", "one", 100), user("update", "too long", 300)]);
    produce(&topic, 1, &[user("update", "two", 200)]);
    catch_up();
    world.target.run("ALTER TABLE public.users ALTER name TYPE text");
    assert_eq!(replay().code, 0);
    assert_eq!(name(&world).as_deref(), Some("too long"));

    world.target.run("ALTER TABLE public.users ALTER name TYPE varchar(8)");
    produce(&topic, 0, &[user("update", "again too long", 400), user("update", "newer", 500)]);
    catch_up();
    world.target.run("ALTER TABLE public.users ALTER name TYPE text");
    let left = replay();
    assert_eq!(left.code, 1, "{}", left.out);
    assert!(left.out.contains("newer"), "{}", left.out);
    assert_eq!(name(&world).as_deref(), Some("newer"));
}

#[test]
fn f36_new_rows_that_come_again_are_kept_out_though_the_guard_trusts_new_ones() {
    let world = World::new("guardnew");
    let topic = world.topic("public.users", &[]);
    // As many as go by COPY at least.
    let users = |fixture: &str, place: i64| {
        (1..=250).map(|id| user_of(id, fixture, "a", place)).collect::<Vec<_>>()
    };
    produce(&topic, 0, &[users("create", 100), users("delete", 200)].concat());
    assert_eq!(caught_up(&world).code, 0);

    world.target.run(
        "CREATE TABLE public.came (id bigint);
         CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
           $$ BEGIN INSERT INTO public.came VALUES (NEW.id); RETURN NEW; END $$;
         CREATE TRIGGER note BEFORE INSERT ON public.users FOR EACH ROW EXECUTE FUNCTION public.note()",
    );
    produce(&topic, 0, &users("create", 100));
    assert_eq!(caught_up(&world).code, 0);
    assert_eq!(world.target.number("SELECT count(*) FROM public.came"), 0, "old rows came again");
}

#[test]
fn f63_keys_in_another_encoding_go_on_under_the_guard() {
    let world = World::new("guardkeys");
    let topic = world.topic_of(2, "public.users", &[]);
    let other = |draft: Draft| draft.with("public.users.Key", "public.users.Key2");
    produce(&topic, 0, &[user("create", "first", 100), user("update", "second", 200)]);
    produce(&topic, 1, &[other(user("update", "third", 300))]);
    assert_eq!(caught_up(&world).code, 0);
    assert_eq!(name(&world).as_deref(), Some("third"));
}
