//! Rows that the target's database refuses: their records are kept, and all others arrive.

use regex::Regex;

use crate::support::kafka::{Draft, produce};
use crate::support::moments::Moment;
use crate::support::proxy::Proxy;
use crate::support::{Format, LATER, Member, SOON, World, until};

/// What the source lets through and the target does not.
const ITEMS: &str = "
CREATE TABLE items (id int PRIMARY KEY, n int, code text, note text);
INSERT INTO items SELECT id, id, 'c' || id, 'note' FROM generate_series(1, 3000) AS id;
UPDATE items SET n = -1 WHERE id % 1000 = 7;
UPDATE items SET code = 'too long' WHERE id = 55;
UPDATE items SET code = NULL WHERE id = 1555;
UPDATE items SET n = 500 WHERE id = 333;
UPDATE items SET n = 501 WHERE id = 500;
UPDATE items SET note = 'a secret' WHERE id = 2222";

const STRICT_ITEMS: &str = "
CREATE SCHEMA NAME AUTHORIZATION writer; SET ROLE writer;
CREATE DOMAIN NAME.short AS varchar(5) NOT NULL;
CREATE TABLE NAME.items (id int PRIMARY KEY, n int CONSTRAINT positive CHECK (n > 0),
    code NAME.short, note text, synced_at timestamptz NOT NULL);
CREATE UNIQUE INDEX codes ON NAME.items (code);
CREATE INDEX ratios ON NAME.items ((1000 / (n - 500)));
CREATE FUNCTION NAME.judge() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN IF new.note = ''a secret'' THEN RAISE ''not %'', new.note; END IF; RETURN new; END';
CREATE TRIGGER judge BEFORE INSERT OR UPDATE ON NAME.items
    FOR EACH ROW EXECUTE FUNCTION NAME.judge();
RESET ROLE";

#[test]
fn f50_refused_rows_are_kept_and_all_others_land() {
    let world = World::new("refused");
    let source = world.source(ITEMS);
    source.connect(Format::Json);
    let (name, target) = (&world.name, &world.target);
    target.run(&STRICT_ITEMS.replace("NAME", name));

    let member = world.member("member").start();

    let count = format!("SELECT count(*) FROM {name}.items");
    until(LATER, "the good rows arrive", || target.number(&count) == 2993);
    world.until_at_ends(name);
    let letters =
        "SELECT string_agg(concat_ws(' ', convert_from(key, 'UTF8')::json #>> '{payload,id}',
            reason, sqlstate, table_name), ', ' ORDER BY sqlstate, id)
        FROM (SELECT *, substring(convert_from(key, 'UTF8') FROM '\"id\":([0-9]+)}')::int AS row
            FROM afterimage.dead_letter) AS letter";
    let expected = [
        "55 value_unfit",
        "333 22012",
        "1555 23502",
        "7 23514",
        "1007 23514",
        "2007 23514",
        "2222 P0001",
    ];
    let mut found = target.value(letters).unwrap().replace(&format!(" {name}.items"), "");
    found = found.replace("row_refused ", "");
    let mut found = found.split(", ").collect::<Vec<_>>();
    found.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
    let errors = world.dead_letters().into_iter().map(|(_, _, error)| error).collect::<Vec<_>>();
    assert!(errors.iter().any(|error| error.contains("\"positive\"")), "{errors:?}");
    let says = |secret: &str| errors.iter().any(|error| error.contains(secret));
    assert!(!says("secret") && !says("too long"), "{errors:?}");
    assert_few_tries(&member, 6, 3000);

    // A whole image that the database takes is applied, whatever was before it.
    source.database.run("UPDATE items SET n = id + 1000, code = 'c' || id, note = 'good'");
    world.until_equal(&["items"]);
    assert_eq!(target.number("SELECT count(*) FROM afterimage.refused_key"), 0);

    // Values change hands, in one transaction and between partitions: live, and as a backlog.
    for turn in 0..2 {
        source.database.run(SWAPS);
        world.until_equal(&["items"]);
        assert_eq!(world.dead_letters().len(), 7, "turn {turn}");
    }
    assert_eq!(member.terminate(), 0);
    (0..3).for_each(|_| source.database.run(SWAPS));
    source
        .database
        .run("DELETE FROM items WHERE id = 9; UPDATE items SET code = 'c9' WHERE id = 3");
    let _member = world.member("backlog").start();
    world.until_equal(&["items"]);
    assert_eq!(world.dead_letters().len(), 7);
}

/// Twenty pairs of rows exchange their codes by way of a third.
const SWAPS: &str = "
CREATE TEMPORARY TABLE pairs ON COMMIT DROP AS
    SELECT a.id AS a, b.id AS b, a.code AS code_a, b.code AS code_b
    FROM items AS a JOIN items AS b ON b.id = 101 - a.id WHERE a.id BETWEEN 10 AND 30;
UPDATE items SET code = 't' || id FROM pairs WHERE id = a;
UPDATE items SET code = code_a FROM pairs WHERE id = b;
UPDATE items SET code = code_b FROM pairs WHERE id = a";

/// Each search has needed no more tries than it may: `2·log2(rows) + 1` for each row that it found.
fn assert_few_tries(member: &Member, refused: usize, rows: u32) {
    let line = Regex::new(r"tried a refused batch in parts.*tries=(\d+) refused=(\d+)").unwrap();
    let plain = Regex::new("\u{1b}\\[[0-9;]*m").unwrap();
    let log = member.log();
    let log = plain.replace_all(&log, "");
    let number = |text: &str| text.parse::<usize>().unwrap();
    let found = line.captures_iter(&log).map(|it| (number(&it[1]), number(&it[2])));
    let found = found.collect::<Vec<_>>();
    assert_eq!(found.iter().map(|(_, refused)| refused).sum::<usize>(), refused, "{found:?}");
    let most = 2 * usize::try_from(rows.ilog2() + 1).unwrap() + 1;
    assert!(found.iter().all(|(tries, refused)| *tries <= refused * most), "{found:?}");
}

/// Children before and after their parents, in the tables' names and in the log.
const FAMILY: &str = "
CREATE TABLE parents (id int PRIMARY KEY, name text);
CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents, name text);
INSERT INTO parents SELECT id, 'p' FROM generate_series(1, 50) AS id;
INSERT INTO children SELECT id, 1 + id % 50, 'c' FROM generate_series(1, 100) AS id";

const TURNS: [&str; 3] = [
    "DO 'BEGIN FOR i IN 51..120 LOOP
        INSERT INTO parents VALUES (i, ''p''); INSERT INTO children VALUES (i + 100, i, ''c'');
     END LOOP; END'",
    "DO 'BEGIN FOR i IN 51..80 LOOP
        DELETE FROM children WHERE parent = i; DELETE FROM parents WHERE id = i;
     END LOOP; END'",
    "UPDATE children SET parent = 3 WHERE parent > 90; DELETE FROM parents WHERE id > 90",
];

#[test]
fn f50_a_child_waits_for_its_parent_wherever_that_is() {
    let world = World::new("family");
    let source = world.source(FAMILY);
    source.connect(Format::Json);
    let name = &world.name;
    world.target.run(
        &"CREATE SCHEMA NAME AUTHORIZATION writer; SET ROLE writer;
        CREATE TABLE NAME.parents (id int PRIMARY KEY, name text, synced_at timestamptz NOT NULL);
        CREATE TABLE NAME.children (id int PRIMARY KEY, parent int REFERENCES NAME.parents,
            name text, synced_at timestamptz NOT NULL);
        RESET ROLE"
            .replace("NAME", name),
    );

    // Each reads one of the two tables: whose parent is late has to wait for the other member.
    let of = |table: &str| {
        let topics = format!(r"^{name}\.{name}\.{table}$");
        let setup = world.member(table).topics(&topics);
        setup.variable("KAFKA_GROUP_ID", &format!("{name}_{table}"))
    };
    let children = of("children").start();
    until(SOON, "the children wait", || {
        let status = children.get("/status").body;
        status.contains("\"waiting\"") && status.contains("\"constraint\"")
    });
    let parents = of("parents").start();
    for turn in TURNS {
        source.database.run(turn);
        world.until_equal(&["parents", "children"]);
    }
    assert_eq!(children.terminate(), 0);
    assert_eq!(parents.terminate(), 0);

    // All of it once more, for one member that finds it lying there.
    source.database.run("DELETE FROM children WHERE id > 100; DELETE FROM parents WHERE id > 50");
    TURNS.iter().for_each(|turn| source.database.run(turn));
    let both = format!("{name}.{name}.children,{name}.{name}.parents");
    let group = format!("{name}_both");
    let setup = world.member("both").topics(&both).args(["--take-over"]);
    let _both = setup.variable("KAFKA_GROUP_ID", &group).start();
    world.until_equal(&["parents", "children"]);
    assert_eq!(world.dead_letters(), []);
}

/// The table of the records put there by hand.
const USERS: &str = "SET ROLE writer;
CREATE TABLE public.users (id bigint PRIMARY KEY, name text CHECK (name <> 'bad'),
    synced_at timestamptz NOT NULL);
RESET ROLE";

fn user(id: &str, name: &str) -> Draft {
    Draft::fixture("json/users-create").with("9001", id).with("\"Alan\"", &format!("\"{name}\""))
}

fn users(world: &World) -> String {
    let rows = "SELECT string_agg(id || ' ' || name, ', ' ORDER BY id) FROM public.users";
    world.target.value(rows).unwrap_or_default()
}

fn letters(world: &World) -> Vec<(i64, String)> {
    world.dead_letters().into_iter().map(|(offset, reason, _)| (offset, reason)).collect()
}

#[test]
fn f50_a_member_killed_while_it_searches_leaves_one_letter_of_each() {
    let world = World::new("refusedkill");
    world.target.run(USERS);
    let topic = world.topic("public.users", &[]);
    let name = |id: i32| if id % 100 == 42 { "bad" } else { "good" };
    let records = (0..500).map(|id| user(&id.to_string(), name(id))).collect::<Vec<_>>();
    produce(&topic, 0, &records);
    let proxy = Proxy::start(&world, None);

    for turn in ["first", "second", "third"] {
        let setup = world.member(turn).target(&world.target_url_through(&proxy)).short_session();
        let moment = if turn == "third" { Moment::Commit } else { Moment::Part };
        proxy.hold_at(moment);
        let member = setup.start();
        proxy.until_held();
        member.kill();
        proxy.cut();
        assert_eq!(world.progress(), 0, "{turn}: nothing is written before all is");
    }
    let _last = world.member("last").start();
    world.until_at_ends(&world.name);
    let expected = [42, 142, 242, 342, 442].map(|offset| (offset, "row_refused".to_owned()));
    assert_eq!(letters(&world), expected);
    assert_eq!(world.target.number("SELECT count(*) FROM public.users"), 495);
}

#[test]
fn a_table_that_blocks_keeps_what_comes_behind_a_refused_record() {
    let world = World::new("blocks");
    world.target.run(USERS);
    let topic = world.topic("public.users", &[]);
    let setup = || world.member("member").config("[table.\"*\"]\nafter_refused = \"block\"");
    produce(&topic, 0, &[user("1", "bad"), user("2", "two")]);
    let member = setup().start();
    until(SOON, "the other row arrives", || users(&world) == "2 two");
    produce(&topic, 0, &[user("1", "one"), user("2", "zwei")]);
    until(SOON, "the other key goes on", || users(&world) == "2 zwei");
    assert_eq!(member.terminate(), 0);

    produce(&topic, 0, &[user("1", "eins"), user("3", "three")]);
    let _next = setup().start();
    world.until_at_ends(&world.name);
    assert_eq!(users(&world), "2 zwei, 3 three");
    let (refused, behind) = ("row_refused".to_owned(), "behind_dead_letter".to_owned());
    assert_eq!(letters(&world), [(0, refused), (2, behind.clone()), (4, behind)]);
}

#[test]
fn a_refused_row_stops_its_partition_where_that_is_wished() {
    let world = World::new("refusedstop");
    world.target.run(USERS);
    let topic = world.topic_of(2, "public.users", &[]);
    produce(&topic, 0, &[user("1", "one"), user("2", "bad"), user("3", "three")]);
    produce(&topic, 1, &[user("11", "eleven")]);
    let member = world.member("member").args(["--on-refused", "stop"]).start();

    let line = member.until_logged(&["stopped a partition", "record_refused"]);
    assert!(line.contains("offset 1: row_refused") && line.contains("users_name_check"), "{line}");
    until(LATER, "what is before it, and the others", || users(&world) == "1 one, 11 eleven");
    assert_eq!(world.checkpoint().get(&(topic, 0)), Some(&1));
    assert_eq!(letters(&world), []);
}
