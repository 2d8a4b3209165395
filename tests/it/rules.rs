//! What the config file's rules make of tables, and tables that are filled already.

use serde_json::{Value, json};

use crate::support::kafka::{self, Draft, produce};
use crate::support::{Database, Format, LATER, SOON, World, until};

#[test]
fn three_prefixes_go_into_one_schema_by_one_rule() {
    let world = World::new("prefixes");
    let name = &world.name;
    for (prefix, table) in [("a", "users"), ("b", "orders"), ("c", "employees")] {
        let topic = world.topic(&format!("{prefix}.public.{table}"), &[]);
        let record = Draft::fixture(&format!("json/{table}-create"));
        produce(&topic, 0, &[record.with("dbserver1", &format!("{name}.{prefix}"))]);
    }
    // The same table of another prefix: the rule leads it to the same place.
    let topic = world.topic("d.public.users", &[]);
    let record = Draft::fixture("json/users-read").with("dbserver1", &format!("{name}.d"));
    produce(&topic, 0, &[record]);

    let config = "[table.\"*\"]\ntarget = \"mirror.{table}\"";
    let meet = |member: &str, config: &str| {
        world.member(member).config(config).args(["--until-caught-up"]).run(&["run"], LATER)
    };
    let ended = meet("member", config);
    assert_eq!(ended.code, 1, "{}", ended.error);
    let line = ended.lines_with(&["stopped a partition", "table_shared"]).concat();
    for prefix in ["a", "d"] {
        assert!(line.contains(&format!("{name}.{prefix}.public.users")), "{line}");
    }
    let tables = "SELECT string_agg(table_name, ' ' ORDER BY table_name)
         FROM information_schema.tables WHERE table_schema = 'mirror'";
    assert_eq!(world.target.value(tables).as_deref(), Some("employees orders users"));
    let count = "SELECT count(*) FROM mirror.users";
    assert_eq!(world.target.number(count), 1, "rows of two tables never meet");

    // Also the one that came first stops at its next record.
    let of = |sink: &str, config: &str, topics: &str| {
        let setup = world.member(sink).config(config).topics(topics);
        setup.variable("SINK_NAME", sink).variable("KAFKA_GROUP_ID", &format!("{name}_{sink}"))
    };
    let first = format!("{name}.a.public.users");
    let member = of("both", config, &format!("{first},{topic}")).start();
    member.until_logged(&["stopped a partition"]);
    for (topic, prefix) in [(&first, "a"), (&topic, "d")] {
        let record = Draft::fixture("json/users-update");
        produce(topic, 0, &[record.with("dbserver1", &format!("{name}.{prefix}"))]);
        member.until_logged(&["stopped a partition", topic, "table_shared"]);
    }
    assert_eq!(member.terminate(), 0);

    // A rule that keeps them apart.
    let apart = "[table.\"*\"]\ntarget = \"mirror.{database}_{table}\"";
    let topic = world.topic("e.public.users", &[]);
    let record = Draft::fixture("json/users-read").with("dbserver1", &format!("{name}.e"));
    produce(&topic, 0, &[record.with("\"inventory\"", "\"shop\"")]);
    let setup = of("apart", apart, &format!("{first},{topic}")).args(["--until-caught-up"]);
    let ended = setup.run(&["run"], LATER);
    assert_eq!(ended.code, 0, "{}", ended.error);
    let found = world.target.value(tables).unwrap();
    assert_eq!(found, "employees inventory_users orders shop_users users");
}

/// The live source's tables for the rules, and what the rules make of them.
const TABLES: &str = "
CREATE TABLE people (id int PRIMARY KEY, first text NOT NULL, secret text NOT NULL, n int, code text);
CREATE TABLE events (id int PRIMARY KEY, what text);
CREATE TABLE pairs (id int PRIMARY KEY, a int NOT NULL, b text NOT NULL, n int);
CREATE TABLE few (id int PRIMARY KEY, kept text, dropped text, other int);
INSERT INTO people VALUES (1, 'Ada', 'x', 1, 'c'), (2, 'Grace', 'y', 2, NULL);
INSERT INTO events VALUES (1, 'first');
INSERT INTO pairs VALUES (1, 1, 'x', 1);
INSERT INTO few VALUES (1, 'kept', 'dropped', 1)";

const RULES: &str = r#"
[table."NAME.people"]
target = "mirror.persons"
deletes = "soft"
[table."NAME.people".columns]
exclude = ["secret"]
rename = { first = "first name" }
type = { n = "bigint", code = "varchar(40)" }

[table."NAME.events"]
mode = "append"

[table."NAME.pairs"]
key = ["b", "a"]

[table."NAME.few".columns]
include = ["id", "kept"]
"#;

#[test]
fn a_rule_decides_about_names_columns_types_keys_and_deletes() {
    let world = World::new("rules");
    let source = world.source(TABLES);
    let (name, target) = (&world.name, &world.target);
    source.connect(Format::Json);
    let member = world.member("member").config(&RULES.replace("NAME", name)).start();
    let holds = |sql: &str, expected: &str| {
        let sql = sql.replace("NAME", name);
        let expected = Some(expected.to_owned());
        until(SOON, &format!("{sql} is {expected:?}"), || {
            target.try_run(&sql).is_ok() && target.value(&sql) == expected
        });
    };
    let rows = "SELECT string_agg(concat_ws('|', id, \"first name\", n, code,
        CASE WHEN deleted_at IS NOT NULL THEN 'deleted' END), ' ' ORDER BY id) FROM mirror.persons";
    holds(rows, "1|Ada|1|c 2|Grace|2");
    holds(
        "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
         FROM pg_attribute WHERE attrelid = 'mirror.persons'::regclass AND attnum > 0",
        "id integer, first name text, n bigint, code character varying(40), \
         deleted_at timestamp with time zone, synced_at timestamp with time zone",
    );

    source.database.run(
        "DELETE FROM people WHERE id = 1; UPDATE people SET n = 3 WHERE id = 2;
         UPDATE events SET what = 'second'; DELETE FROM events;
         UPDATE pairs SET n = 2; INSERT INTO pairs VALUES (2, 2, 'x', 2);
         UPDATE few SET kept = 'still'",
    );
    holds(rows, "1|Ada|1|c|deleted 2|Grace|3");
    holds("SELECT string_agg(what, ' ' ORDER BY what) FROM NAME.events", "first second");
    holds("SELECT count(*) FROM pg_index WHERE indrelid = 'NAME.events'::regclass", "0");
    holds(
        "SELECT string_agg(concat_ws('|', a, b, n), ' ' ORDER BY a) FROM NAME.pairs",
        "1|x|2 2|x|2",
    );
    holds(
        "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_constraint
         JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY (conkey)
         WHERE contype = 'p' AND conrelid = 'NAME.pairs'::regclass",
        "a b",
    );
    holds("SELECT to_jsonb(few) - 'synced_at' FROM NAME.few", r#"{"id": 1, "kept": "still"}"#);

    source.database.run("INSERT INTO people VALUES (1, 'Ada', 'z', 9, NULL)");
    holds(rows, "1|Ada|9 2|Grace|3");
    assert_eq!(world.dead_letters(), []);
    assert_eq!(member.terminate(), 0);
}

/// A record as the MariaDB connector writes it: the type of the column is an int16 after a
/// snapshot, and a boolean once it has seen the DDL.
fn flag(prefix: &str, id: i64, literal: &str, value: Value) -> Draft {
    // In the order that the payload's fields get, which is the letters'.
    let columns = json!([
        { "field": "flag", "type": literal, "optional": true },
        { "field": "id", "type": "int64", "optional": false },
    ]);
    let schema = json!({ "type": "struct", "name": "m.shop.t.Envelope", "fields": [
        { "field": "before", "type": "struct", "optional": true, "fields": columns },
        { "field": "after", "type": "struct", "optional": true, "fields": columns },
        { "field": "source", "type": "struct", "fields": [
            { "field": "name", "type": "string" }, { "field": "db", "type": "string" },
            { "field": "table", "type": "string" },
        ] },
        { "field": "op", "type": "string" },
    ] });
    let payload = json!({
        "before": null,
        "after": { "id": id, "flag": value },
        "source": { "name": prefix, "db": "public", "table": "t" },
        "op": if literal == "int16" { "r" } else { "c" },
    });
    let key_schema = json!({ "type": "struct", "fields": [
        { "field": "id", "type": "int64", "optional": false },
    ] });
    // By hand: the schema must stand before the payload.
    let frame = |schema: &Value, payload: &Value| {
        Some(format!("{{\"schema\":{schema},\"payload\":{payload}}}").into_bytes())
    };
    let key = frame(&key_schema, &json!({ "id": id }));
    Draft { key, value: frame(&schema, &payload), headers: Vec::new() }
}

#[test]
fn a_tinyint_goes_into_a_boolean_as_zero_or_one_and_nothing_else() {
    let world = World::new("flags");
    let topic = world.topic("public.t", &[]);
    let prefix = world.name.clone();
    world.target.run(
        "CREATE TABLE public.t (id bigint PRIMARY KEY, flag boolean, synced_at timestamptz NOT NULL);
         ALTER TABLE public.t OWNER TO writer",
    );
    let flag = |id, literal, value| flag(&prefix, id, literal, value);
    produce(
        &topic,
        0,
        &[
            flag(1, "int16", json!(0)),
            flag(2, "int16", json!(1)),
            flag(3, "int16", json!(2)),
            flag(4, "boolean", json!(true)),
            flag(5, "int16", json!(null)),
            flag(6, "boolean", json!(false)),
            flag(7, "int16", json!(-1)),
        ],
    );

    let ended = world.member("member").args(["--until-caught-up"]).run(&["run"], LATER);
    assert_eq!(ended.code, 0, "{}", ended.error);
    let rows = "SELECT string_agg(id || ':' || coalesce(flag::text, '-'), ' ' ORDER BY id) FROM t";
    assert_eq!(world.target.value(rows).as_deref(), Some("1:false 2:true 4:true 5:- 6:false"));
    let letters = world.dead_letters();
    let refused = letters.iter().map(|(offset, reason, _)| (*offset, reason.as_str()));
    assert_eq!(refused.collect::<Vec<_>>(), [(2, "value_unfit"), (6, "value_unfit")]);
    for (_, _, error) in letters {
        assert!(error.contains("\"flag\"") && error.contains("boolean"), "{error}");
    }
}

#[test]
fn a_text_that_ends_in_blanks_is_kept_or_refused_by_a_column_of_a_fixed_length() {
    let world = World::new("blanks");
    let source = world.source(
        "CREATE TABLE fixed (code char(3) PRIMARY KEY, note char(2));
         CREATE TABLE free (code varchar(9) PRIMARY KEY, note text);
         INSERT INTO fixed VALUES ('a', 'n'), ('abc', ''), (' b', NULL);
         INSERT INTO free VALUES ('a', 'n'), ('a ', 'other'), ('b', 'n '), ('abc', '')",
    );
    let name = &world.name;
    world.target.run(&format!(
        "CREATE SCHEMA {name};
         CREATE TABLE {name}.fixed (code char(3) PRIMARY KEY, note char(2), synced_at timestamptz);
         CREATE TABLE {name}.free (code char(3) PRIMARY KEY, note char(4), synced_at timestamptz);
         GRANT USAGE ON SCHEMA {name} TO writer;
         ALTER TABLE {name}.fixed OWNER TO writer;
         ALTER TABLE {name}.free OWNER TO writer"
    ));
    for table in ["fixed", "free"] {
        kafka::create_topic(&format!("{name}.{name}.{table}"), 1, &[]);
    }
    source.connect_with(Format::Avro, "", &[]);

    let member = world.member("member").start();
    world.until_equal(&["fixed"]);
    until(LATER, "both letters", || world.dead_letters().len() == 2);
    for (_, reason, error) in world.dead_letters() {
        assert_eq!(reason, "value_unfit");
        assert!(error.contains("ends in blanks"), "{error}");
    }
    let rows =
        format!("SELECT string_agg(code || '|' || note, ' ' ORDER BY code) FROM {name}.free");
    let free = format!("{name}.free");
    until(LATER, "the other rows", || {
        world.target.has(&free) && world.target.value(&rows).as_deref() == Some("a|n abc|")
    });

    source.database.run("DELETE FROM fixed WHERE code = 'a'; UPDATE fixed SET note = 'x'");
    world.until_equal(&["fixed"]);
    assert_eq!(member.terminate(), 0);
}

/// The table of users as a bulk load has left it, with a row that only this load knows.
fn load_users(target: &Database) {
    target.run(
        "CREATE TABLE public.users (id bigint PRIMARY KEY, name text NOT NULL, email text,
             active boolean NOT NULL, token uuid NOT NULL, profile jsonb, age smallint,
             created_at timestamptz NOT NULL);
         INSERT INTO public.users
             SELECT id, 'loaded', NULL, true, gen_random_uuid(), NULL, NULL, now()
             FROM unnest(ARRAY[1, 2, 9001]) AS id;
         ALTER TABLE public.users OWNER TO writer",
    );
}

const NAMES: &str = "SELECT string_agg(id || ' ' || name, ', ' ORDER BY id) FROM public.users";

#[test]
fn a_filled_table_is_taken_over_and_snapshot_reads_overwrite_equal_keys() {
    let world = World::new("filled");
    let topic = world.topic("public.users", &[]);
    load_users(&world.target);
    produce(&topic, 0, &[Draft::fixture("json/users-read")]);

    let ended = world.member("member").args(["--until-caught-up"]).run(&["run"], LATER);
    assert_eq!(ended.code, 0, "{}", ended.error);
    let names = world.target.value(NAMES).unwrap();
    assert!(names.starts_with("1 Ada") && names.ends_with("2 loaded, 9001 loaded"), "{names}");
    let synced = "SELECT count(*) FROM public.users WHERE synced_at IS NULL";
    assert_eq!(world.target.number(synced), 0, "rows that were there have a time of writing too");
}

#[test]
fn a_bulk_load_goes_on_where_another_sink_has_read_to() {
    let world = World::new("adopt");
    let (name, target) = (&world.name, &world.target);
    let topic = world.topic("public.users", &[]);
    load_users(target);
    let read = Draft::fixture("json/users-read");
    produce(&topic, 0, &[read.clone(), read, Draft::fixture("json/users-create")]);
    // What another sink has read, under the name that this group takes over.
    kafka::commit(name, &topic, 2);

    let refused = world.member("refused").args(["--until-caught-up"]).run(&["run"], LATER);
    assert_eq!(refused.code, 1, "{}", refused.error);
    assert!(!refused.lines_with(&["position_unknown", "committed offset 2"]).is_empty());
    assert_eq!(target.value(NAMES).as_deref(), Some("1 loaded, 2 loaded, 9001 loaded"));

    let adopt = ["checkpoint", "adopt", "--at", "committed", "--reason", "bulk load of today"];
    let adopted = world.member("adopt").run(&adopt, SOON);
    assert_eq!(adopted.code, 0, "{}", adopted.error);
    let audit = format!(
        "SELECT concat_ws('|', command, topic, \"partition\", after_offset, reason)
         FROM afterimage.audit WHERE topic = '{topic}' AND actor <> ''"
    );
    let kept = format!("checkpoint adopt|{topic}|0|2|bulk load of today");
    assert_eq!(target.value(&audit), Some(kept));

    let ended = world.member("member").args(["--until-caught-up"]).run(&["run"], LATER);
    assert_eq!(ended.code, 0, "{}", ended.error);
    let names = target.value(NAMES).unwrap();
    assert!(names.starts_with("1 loaded, 2 loaded, 9001 "), "{names}");
    assert!(!names.ends_with("9001 loaded"), "{names}");
}
