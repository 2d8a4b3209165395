//! Values that an update leaves out because they have not changed and are stored out of line.

use crate::support::{Format, LATER, SOON, Source, World, until, within};

/// A text that no connector has by itself, with letters of two octets.
const PLACEHOLDER: &str = "«weg»";

/// A column of each type that has a placeholder, and of each what one row of a list is made from.
const LISTS: [(&str, &str); 7] = [
    ("text", "md5(i::text)"),
    ("bytea", "decode(md5(i::text), 'hex')"),
    ("json", "json_build_object('i', i)"),
    ("uuid", "md5(i::text)::uuid"),
    ("int4", "i * 7919"),
    ("int8", "i * 7919000000000"),
    ("date", "date '1900-01-01' + i * 7"),
];

/// Texts of a row's long values, alike at the source and at the target.
const VALUES: [&str; 14] = [
    "a_text",
    "a_varchar",
    "a_json::jsonb",
    "a_jsonb",
    "a_xml",
    "a_bytea",
    "to_jsonb(a_hstore)",
    "text_list",
    "bytea_list",
    "json_list::text::text[]::jsonb[]",
    "uuid_list",
    "int4_list",
    "int8_list",
    "date_list",
];

/// A query of all of them, each as 32 letters.
fn values() -> String {
    VALUES.map(|value| format!("coalesce(md5(({value})::text), repeat('-', 32))")).join(" || ")
}

fn source(world: &World) -> Source {
    let lists = LISTS.map(|(name, _)| format!("{name}_list {name}[]")).join(", ");
    let source = world.source(&format!(
        "CREATE EXTENSION IF NOT EXISTS hstore SCHEMA public;
         SET search_path = {}, public;
         CREATE TABLE long (id int PRIMARY KEY, n int, a_text text, a_varchar varchar(20000),
             a_json json, a_jsonb jsonb, a_xml xml, a_bytea bytea, a_hstore hstore, {lists})",
        world.name
    ));
    for column in ["a_text", "a_varchar", "a_json", "a_jsonb", "a_xml", "a_bytea", "a_hstore"]
        .map(str::to_owned)
        .into_iter()
        .chain(LISTS.map(|(name, _)| format!("{name}_list")))
    {
        source.database.run(&format!("ALTER TABLE long ALTER {column} SET STORAGE EXTERNAL"));
    }
    source
}

fn insert(source: &Source) {
    let lists = LISTS.map(|(_, one)| format!("array_agg({one})")).join(", ");
    source.database.run(&format!(
        "INSERT INTO long SELECT 1, 0, string_agg(md5(i::text), ''), string_agg(md5(i::text), ''),
             json_object_agg(i, md5(i::text)), jsonb_object_agg(i, md5(i::text)),
             xmlelement(name x, string_agg(md5(i::text), '')),
             decode(string_agg(md5(i::text), ''), 'hex'),
             hstore(array_agg(i::text), array_agg(md5(i::text))), {lists}
         FROM generate_series(1, 600) AS i"
    ));
}

/// The values of the one row, by its `n`; nothing while it is not there.
fn values_at(world: &World, schema: &str, n: i32) -> Option<String> {
    world.target.has(&format!("{schema}.long")).then(|| {
        world.target.value(&format!("SELECT {} FROM {schema}.long WHERE n = {n}", values()))
    })?
}

#[test]
fn a_placeholder_of_the_users_own_stands_for_a_value_of_every_type() {
    check_placeholder("placeholder", "bytes", "json", &[]);
}

#[test]
fn a_placeholder_of_the_users_own_stands_for_octets_in_hex_and_for_a_map() {
    // The connector sends null for such a list, as its record in tests/matrix/lost.jsonl shows.
    check_placeholder("placehex", "hex", "map", &["bytea_list"]);
}

#[test]
fn a_placeholder_of_the_users_own_stands_for_a_map_where_octets_are_base64() {
    // And for octets that it sends as base64.
    check_placeholder("placebase", "base64", "map", &["a_bytea", "bytea_list"]);
}

/// Has a value of each type left out of an update in these modes of the connector, which loses some.
fn check_placeholder(name: &str, binary: &str, hstore: &str, lost: &[&str]) {
    let world = World::new(name);
    let source = source(&world);
    let settings = [
        ("unavailable.value.placeholder", PLACEHOLDER),
        ("column.propagate.source.type", ".*"),
        ("binary.handling.mode", binary),
        ("hstore.handling.mode", hstore),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let formats = [(Format::Json, "json"), (Format::Avro, "avro"), (Format::Plain, "plain")];
    let prefixes =
        formats.map(|(format, name)| source.connect_with(format, &format!("_{name}"), &settings));
    insert(&source);
    let expected = source.database.value(&format!("SELECT {} FROM long", values()));
    assert!(expected.is_some());
    let mut members = Vec::new();
    for ((format, name), prefix) in formats.into_iter().zip(&prefixes) {
        if format == Format::Plain {
            // JSON without schemas creates nothing: the same table, made beforehand.
            world.target.run(
                "CREATE SCHEMA plain; CREATE TABLE plain.long (LIKE json.long INCLUDING ALL);
                 GRANT USAGE ON SCHEMA plain TO writer; GRANT ALL ON plain.long TO writer",
            );
        }
        let setup = world
            .member(name)
            .topics(&format!(r"^{prefix}\..*"))
            .variable("SINK_NAME", prefix)
            .variable("KAFKA_GROUP_ID", prefix)
            .args(["--table", &format!("{}.*={name}.{{table}}", world.name)])
            .config(&format!(
                "[source.\"{prefix}\"]\ntime_precision_mode = \"adaptive\"\n\
                 decimal_handling_mode = \"precise\"\nbinary_handling_mode = \"{binary}\"\n\
                 hstore_handling_mode = \"{hstore}\"\n\
                 unavailable_value_placeholder = \"{PLACEHOLDER}\"\n"
            ));
        members.push(setup.start());
        until_values(&world, name, 0, expected.as_deref(), &[]);
    }

    source.database.run("UPDATE long SET n = 1");

    for (_, name) in formats {
        until_values(&world, name, 1, expected.as_deref(), lost);
    }
    assert_eq!(world.dead_letters(), []);
    // Each value was left out of that record, or its column shows nothing.
    let topic = format!("{}.{}.long", prefixes.last().unwrap(), world.name);
    let messages = world.member("look").run(&["debug", "messages", &topic, "--raw"], SOON);
    let update = messages.out.lines().find(|line| line.contains(r#""n":1"#)).unwrap_or_default();
    let after = update.split(r#""after":"#).nth(1).unwrap_or_default();
    let after = after.split(r#""source":"#).next().unwrap_or_default();
    assert!(!after.is_empty() && after.len() < 2000, "{} octets: {}", after.len(), messages.error);
}

fn until_values(world: &World, schema: &str, n: i32, expected: Option<&str>, lost: &[&str]) {
    let mut seen = None;
    let reached = within(LATER, || {
        seen = values_at(world, schema, n);
        seen.is_some()
    });
    assert!(reached, "no row in {schema} with n = {n}: {:?}", world.dead_letters());
    // Each value is a text of 32 letters: the first that differs names its column.
    let at = |text: Option<&str>, index: usize| {
        text.and_then(|text| text.get(index * 32..index * 32 + 32)).map(str::to_owned)
    };
    for (index, value) in VALUES.iter().enumerate() {
        let nothing = lost.contains(value).then(|| "-".repeat(32));
        assert_eq!(
            at(seen.as_deref(), index),
            nothing.or(at(expected, index)),
            "{schema}: {value}"
        );
    }
}

#[test]
fn an_update_of_a_thousand_columns_keeps_the_one_that_was_left_out() {
    let world = World::new("wide");
    const TYPES: [&str; 8] =
        ["int", "smallint", "boolean", "date", "text", "real", "numeric", "varchar(9)"];
    let columns = (0..997).zip(TYPES.iter().cycle());
    let columns = columns.map(|(number, name)| format!("c{number} {name}")).collect::<Vec<_>>();
    let source = world.source(&format!(
        "CREATE TABLE wide (id int PRIMARY KEY, {}, long text, n int)",
        columns.join(", ")
    ));
    source.connect(Format::Json);
    let _member = world.member("member").start();
    // Wide rows must fit a page: every third column has a value.
    let set = (0..997).zip(TYPES.iter().cycle()).filter(|(number, _)| number % 3 == 0);
    let set = set.map(|(number, name)| match *name {
        "date" => format!("c{number} = date '2000-01-01' + {number}"),
        "boolean" => format!("c{number} = true"),
        _ => format!("c{number} = {number}"),
    });
    source.database.run("INSERT INTO wide (id, n) VALUES (1, 0), (2, 0)");
    source.database.run(&format!("UPDATE wide SET {}", set.collect::<Vec<_>>().join(", ")));
    source.database.run(
        "UPDATE wide SET long = (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 600) AS i)
         WHERE id = 1",
    );
    world.until_equal(&["wide"]);

    source
        .database
        .run("UPDATE wide SET n = 1, c1 = 32000, c3 = '1999-12-31', c4 = 'new', c9 = NULL");

    let arrived = format!("SELECT count(*) = 2 FROM {}.wide WHERE n = 1", world.name);
    until(LATER, "the update arrives", || world.target.holds(&arrived));
    world.until_equal(&["wide"]);
    let length = format!("SELECT length(long) FROM {}.wide WHERE id = 1", world.name);
    assert_eq!(world.target.number(&length), 19_200);
    assert_eq!(world.dead_letters(), []);
}
