//! The same changes in three formats give the same target.

use crate::delivery::{CHANGES, SAMPLE};
use crate::support::{Format, SOON, Stack, World, judge};

const TABLES: [&str; 3] = ["users", "orders", "employees"];

#[test]
fn json_with_schemas_json_without_and_avro_give_the_same_target() {
    let world = World::new("formats");
    let source = world.source(SAMPLE);
    source.database.run(
        "INSERT INTO employees (first_name, last_name, dob, city, salary)
         VALUES ('Ella', 'Novak', '2000-02-29', NULL, 49999.999), ('O', '', '0001-01-01', '', 1e20)",
    );
    let formats = [(Format::Json, "json"), (Format::Avro, "avro"), (Format::Plain, "plain")];
    let prefixes = formats.map(|(format, _)| source.connect(format));

    let mut members = Vec::new();
    for ((format, name), prefix) in formats.into_iter().zip(&prefixes) {
        if format == Format::Plain {
            // JSON without schemas creates nothing: the same tables, made beforehand.
            until_equal(&world, "json");
            make_plain_tables(&world);
        }
        let setup = world
            .member(name)
            .topics(&format!(r"^{prefix}\..*"))
            .variable("SINK_NAME", prefix)
            .variable("KAFKA_GROUP_ID", prefix)
            .args(["--table", &format!("{}.*={name}.{{table}}", world.name)])
            .config(&format!(
                "[source.\"{prefix}\"]\ntime_precision_mode = \"adaptive\"\n\
                 decimal_handling_mode = \"precise\"\nbinary_handling_mode = \"bytes\"\n"
            ));
        members.push(setup.start());
    }
    for (_, name) in formats {
        until_equal(&world, name);
    }
    for (_, sql) in CHANGES {
        source.database.run(sql);
    }
    source.database.run("UPDATE employees SET salary = salary * 1.1, city = 'Prague'");
    for (_, name) in formats {
        until_equal(&world, name);
    }
    assert_eq!(world.dead_letters(), []);
}

fn make_plain_tables(world: &World) {
    world.target.run("CREATE SCHEMA plain");
    for table in TABLES {
        world.target.run(&format!(
            "CREATE TABLE plain.{table} (LIKE json.{table} INCLUDING ALL);
             GRANT SELECT, INSERT, UPDATE, DELETE ON plain.{table} TO writer"
        ));
    }
    world.target.run("GRANT USAGE ON SCHEMA plain TO writer");
}

fn until_equal(world: &World, schema: &str) {
    // The source's schema has the world's name.
    let pairs = TABLES.map(|table| format!("{}.{table}={schema}.{table}", world.name));
    let source = &Stack::get().source_admin;
    judge::until_equal(crate::support::LATER, source, world.target.url(), &pairs);
}

#[test]
fn decimals_that_json_writes_as_numbers_keep_their_digits() {
    let world = World::new("numeric");
    let source = world.source(
        "CREATE TABLE amounts (id numeric(20, 3) PRIMARY KEY, small numeric(12, 2),
             large numeric(60, 20), free numeric, list numeric(12, 2)[]);
         INSERT INTO amounts VALUES (0.001, 1.10, 1e39, 1.5, '{1.20,NULL,-3.40}'),
             (12345678901234567.125, -0.01, -1e-20, 1e20, '{}'), (-1, NULL, NULL, NULL, NULL)",
    );
    let settings = ["key", "value"]
        .map(|side| (format!("{side}.converter.decimal.format"), "NUMERIC".to_owned()));
    let prefix = source.connect_with(Format::Json, "", &settings);
    let _member = world.member("member").start();
    world.until_equal(&["amounts"]);
    source.database.run(
        "UPDATE amounts SET small = 9999999999.99, large = large / 7 WHERE id = 0.001;
         UPDATE amounts SET id = 1.125 WHERE id = -1;
         DELETE FROM amounts WHERE small = -0.01",
    );
    world.until_equal(&["amounts"]);
    assert_eq!(world.dead_letters(), []);

    let topic = format!("{prefix}.{}.amounts", world.name);
    let sent = world.member("look").run(&["debug", "messages", &topic, "--raw"], SOON);
    assert!(sent.out.contains(r#""small":1.10"#), "numbers were sent: {}", sent.out);
}
