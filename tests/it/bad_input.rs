//! Bad input gives one clear line that names the thing and the place, and nothing is lost in silence.

use crate::framing::confluent;
use crate::support::kafka::{Draft, produce};
use crate::support::{LATER, SOON, Stack, World, member::Ended, until};

/// Room for records as large as the broker of the stack lets through.
const LARGE: [(&str, &str); 1] = [("max.message.bytes", "10485760")];

/// Exit 2, and a line with all of these words in it.
fn assert_refused(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code, 2, "{}", ended.error);
    assert!(!ended.lines_with(words).is_empty(), "no line with {words:?} in:\n{}", ended.error);
    assert!(!ended.error.contains("panicked"), "{}", ended.error);
}

#[test]
fn no_brokers() {
    let world = World::new("nobroker");
    let setup = world.member("member").args(["--startup-timeout", "3s"]);
    let setup = setup.variable("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1");

    assert_refused(&setup.run(&["run"], LATER), &["127.0.0.1:1"]);
}

#[test]
fn a_listed_topic_that_does_not_exist() {
    let world = World::new("notopic");
    let setup = world.member("member").topics("no_such_topic_here");

    assert_refused(&setup.run(&["run"], SOON), &["no_such_topic_here"]);
}

#[test]
fn a_registry_that_does_not_answer() {
    let world = World::new("noregistry");
    let setup = world.member("member").args(["--startup-timeout", "3s"]);
    let setup = setup.variable("SCHEMA_REGISTRY_URL", "http://127.0.0.1:1/registry");

    assert_refused(&setup.run(&["run"], LATER), &["127.0.0.1:1"]);
}

#[test]
fn a_wrong_password_for_the_target() {
    let world = World::new("password");
    let url = world.target_url().replace("writer:writer@", "writer:s3cr3t-and-wrong@");

    let ended = world.member("member").target(&url).run(&["run"], SOON);

    assert_refused(&ended, &["writer"]);
    assert!(!ended.error.contains("s3cr3t-and-wrong"), "the password is in the log");
}

#[test]
fn a_target_without_rights() {
    let world = World::new("norights");
    world.target.run(&format!(
        "REVOKE CREATE ON DATABASE {0} FROM writer; REVOKE CREATE ON SCHEMA public FROM writer, PUBLIC",
        world.name
    ));

    let ended = world.member("member").run(&["run"], SOON);

    assert_refused(&ended, &["permission denied", &world.name]);
}

#[test]
fn a_table_without_rights_stops_its_partition() {
    let world = World::new("foreign");
    let (users, orders) = (world.topic("public.users", &[]), world.topic("public.orders", &[]));
    world.target.run("CREATE TABLE public.users (id bigint PRIMARY KEY, name text)");
    produce(&users, 0, &[Draft::fixture("json/users-create")]);
    produce(&orders, 0, &[Draft::fixture("json/orders-create")]);

    let member = world.member("member").start();

    until_stopped(&world, &users, "right_missing");
    until(SOON, "the other table goes on", || count(&world, "public.orders") == 1);
    until(SOON, "the member is not ready, and says why", || {
        let ready = member.get("/readyz");
        ready.status == 503 && ready.body.contains(&users)
    });
}

#[test]
fn a_table_whose_columns_do_not_fit_stops_its_partition() {
    let world = World::new("unfit");
    let (users, orders) = (world.topic("public.users", &[]), world.topic("public.orders", &[]));
    world.target.run("CREATE TABLE public.users (id bigint PRIMARY KEY, name date)");
    world.target.run("GRANT ALL ON public.users TO writer");
    world.target.run("ALTER TABLE public.users OWNER TO writer");
    produce(&users, 0, &[Draft::fixture("json/users-create")]);
    produce(&orders, 0, &[Draft::fixture("json/orders-create")]);

    let member = world.member("member").start();

    let reason = until_stopped(&world, &users, "column_unfit");
    assert!(reason.contains("name"), "names the column: {reason}");
    until(SOON, "the other table goes on", || count(&world, "public.orders") == 1);
    let line = member.until_logged(&["column_unfit", &users]);
    assert!(line.contains("name"), "{line}");
    assert_eq!(count(&world, "public.users"), 0);
    assert_eq!(world.checkpoint().get(&(users, 0)), Some(&0), "nothing was skipped");
}

#[test]
fn a_name_that_the_database_would_cut_stops_its_partition() {
    let world = World::new("longname");
    let (users, orders) = (world.topic("public.users", &[]), world.topic("public.orders", &[]));
    produce(&users, 0, &[Draft::fixture("json/users-create")]);
    produce(&orders, 0, &[Draft::fixture("json/orders-create")]);

    let rule = format!("public.users=public.{}", "n".repeat(64));
    let _member = world.member("member").args(["--table", &rule]).start();

    let reason = until_stopped(&world, &users, "table_missing");
    assert!(reason.contains("64 bytes"), "{reason}");
    until(SOON, "the other table goes on", || count(&world, "public.orders") == 1);
}

#[test]
fn f40_records_that_cannot_be_rows_are_dead_letters_and_the_rest_lands() {
    let world = World::new("letters");
    let users = world.topic("public.users", &LARGE);
    let good = |id: &str| Draft::fixture("json/users-create").with("9001", id);
    let bad = |id: &str, value: &[u8]| good(id).with_value(Some(value.to_vec()));
    let text = String::from_utf8(good("18").value.unwrap()).unwrap();
    let broken_text = text.replace("Alan", "Al\u{1}an").into_bytes();
    let broken_text: Vec<u8> =
        broken_text.into_iter().map(|byte| if byte == 1 { 0xff } else { byte }).collect();
    let records = [
        good("11"),
        bad("12", b"{\"hello\": \"world\"}"),
        good("13"),
        bad("14", b""),
        good("15"),
        bad("16", b"no JSON at all"),
        good("17"),
        bad("18", &broken_text),
        good("19"),
        bad("20", &text.as_bytes()[..text.len() / 2]),
        good("21"),
    ];
    produce(&users, 0, &records);

    let member = world.member("member").start();

    world.until_at_ends(&world.name);
    let letters = world.dead_letters();
    let reasons: Vec<(i64, &str)> =
        letters.iter().map(|(offset, reason, _)| (*offset, reason.as_str())).collect();
    assert_eq!(
        reasons,
        [
            (1, "not_an_envelope"),
            (3, "malformed"),
            (5, "malformed"),
            (7, "malformed"),
            (9, "malformed"),
        ],
        "{letters:?}"
    );
    assert!(letters.iter().all(|(_, _, error)| !error.is_empty() && !error.contains('\n')));
    assert_kept_whole(&world, &records);
    let ids = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM public.users";
    assert_eq!(world.target.value(ids).unwrap(), "11 13 15 17 19 21");
    member.until_ready();
}

/// A dead letter has the record's bytes.
fn assert_kept_whole(world: &World, records: &[Draft]) {
    let hex = |bytes: &Option<Vec<u8>>| {
        bytes.as_ref().map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    };
    let kept = world.target.rows(
        "SELECT record_offset, encode(key, 'hex'), encode(value, 'hex')
         FROM afterimage.dead_letter",
    );
    for row in kept {
        let [offset, key, value] = <[_; 3]>::try_from(row).unwrap();
        let index: usize = offset.unwrap().parse().unwrap();
        let record = records.get(index).unwrap();
        assert_eq!((key, value), (hex(&record.key), hex(&record.value)), "offset {index}");
    }
}

#[test]
fn f11_a_record_of_five_megabytes_lands() {
    let world = World::new("large");
    let users = world.topic("public.users", &LARGE);
    let long = "x".repeat(5 * 1024 * 1024);
    let record = Draft::fixture("json/users-create").with("\"name\":\"Alan\"", "\"name\":\"LONG\"");
    produce(&users, 0, &[record.with("LONG", &long), Draft::fixture("json/users-read")]);

    let _member = world.member("member").start();

    world.until_at_ends(&world.name);
    assert_eq!(world.dead_letters(), []);
    let length = "SELECT max(length(name)) FROM public.users";
    assert_eq!(world.target.number(length), i64::try_from(long.len()).unwrap());
    assert_eq!(count(&world, "public.users"), 2);
}

/// The record's length, the bytes of a batch by default, and the records in `LONG_COUNT` batches.
const LONG_MIB: u64 = 5;
const BATCH_MIB: u64 = 16;
const LONG_COUNT: usize = 80;

#[test]
fn f11_a_backlog_of_long_records_takes_the_memory_of_a_few_batches() {
    let world = World::new("long");
    let users = world.topic("public.users", &LARGE);
    let long = "x".repeat(usize::try_from(LONG_MIB).unwrap() * 1024 * 1024);
    let record = Draft::fixture("json/users-create").with("\"name\":\"Alan\"", "\"name\":\"LONG\"");
    produce(&users, 0, &[Draft::fixture("json/users-create").with("9001", "1")]);
    let small = world.member("small").start();
    world.until_at_ends(&world.name);
    let base = small.peak_mib();
    assert_eq!(small.terminate(), 0);
    for id in 0..LONG_COUNT {
        let id = (100 + id).to_string();
        produce(&users, 0, &[record.clone().with("9001", &id).with("LONG", &long)]);
    }

    let member = world.member("member").start();
    world.until_at_ends(&world.name);

    let rows = i64::try_from(LONG_COUNT + 1).unwrap();
    assert_eq!(world.target.number("SELECT count(*) FROM public.users"), rows);
    // Rows that are filled, and that are applied as rows, as arguments and as a message; then runs that
    // wait or are on their way, and what the client has fetched.
    let promised = base + 4 * (BATCH_MIB + LONG_MIB) + 12 * LONG_MIB;
    let peak = member.peak_mib();
    eprintln!("f11: {peak} MiB at the most, {base} of them without a record; {promised} promised");
    assert!(peak <= promised, "{peak} MiB, and {promised} are promised over {base}");
    member.until_ready();
}

#[test]
fn f41_a_schema_id_that_does_not_exist_is_a_dead_letter_after_a_minute() {
    let world = World::new("noschema");
    let users = world.topic("public.users", &[]);
    let good = Draft::fixture("json/users-create");
    let unknown = confluent(987_654_321, b"\x02\x04");
    produce(&users, 0, &[good.clone().with("9001", "1")]);
    produce(&users, 0, &[good.clone().with("9001", "2").with_value(Some(unknown))]);
    produce(&users, 0, &[good.with("9001", "3")]);

    let member = world.member("member").start();

    // Asked again for 60 s: a registry may lag behind its records.
    until(LATER * 2, "the good records land", || count(&world, "public.users") == 2);
    world.until_at_ends(&world.name);
    let letters = world.dead_letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!((letters[0].0, letters[0].1.as_str()), (1, "schema_not_found"));
    assert!(letters[0].2.contains("987654321"), "{letters:?}");
    member.until_ready();
}

#[test]
fn a_target_database_that_does_not_exist() {
    let world = World::new("nodb");
    let url = crate::support::world::at(&Stack::get().target, "no_such_database");

    assert_refused(&world.member("member").target(&url).run(&["run"], SOON), &["no_such_database"]);
}

fn count(world: &World, table: &str) -> i64 {
    if !world.target.has(table) {
        return 0;
    }
    world.target.number(&format!("SELECT count(*) FROM {table}"))
}

/// Waits until the topic's partition is stopped for that reason; returns what its row says.
fn until_stopped(world: &World, topic: &str, reason: &str) -> String {
    let state = format!(
        "SELECT state_reason FROM afterimage.checkpoint WHERE topic = '{topic}' AND state = 'stopped'"
    );
    let mut found = None;
    until(LATER, &format!("{topic} is stopped"), || {
        found =
            world.target.has("afterimage.checkpoint").then(|| world.target.value(&state)).flatten();
        found.is_some()
    });
    let found = found.unwrap();
    assert!(found.starts_with(reason), "{found}");
    found
}
