//! The same changes in three formats give the same target.

use crate::delivery::{CHANGES, SAMPLE};
use crate::support::kafka::{Draft, produce};
use crate::support::{Format, LATER, Member, SOON, Stack, World, judge, until};

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
    judge::until_equal(LATER, source, world.target.url(), &pairs);
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

#[test]
fn null_stays_null_in_a_column_with_a_default_where_the_converter_says_so() {
    let world = World::new("nulls");
    let ddl = "id int PRIMARY KEY, n int DEFAULT 7, note text DEFAULT 'seven', b bool DEFAULT true";
    let source = world.source(&format!(
        "CREATE TABLE t ({ddl}); INSERT INTO t VALUES (1, NULL, NULL, NULL), (2, 2, 'two', false)"
    ));
    world.target.run(&format!(
        "CREATE SCHEMA plain; CREATE TABLE plain.t ({ddl}, synced_at timestamptz);
         GRANT USAGE ON SCHEMA plain TO writer; GRANT ALL ON plain.t TO writer"
    ));
    let formats = [(Format::Json, "json"), (Format::Plain, "plain"), (Format::Avro, "avro")];
    let members = formats.map(|(format, name)| {
        let prefix = source.connect(format);
        let setup = world.member(name).topics(&format!(r"^{prefix}\..*"));
        let setup = setup.variable("SINK_NAME", &prefix).variable("KAFKA_GROUP_ID", &prefix);
        setup.args(["--table", &format!("{}.*={name}.{{table}}", world.name)]).start()
    });
    source.database.run(
        "UPDATE t SET n = NULL, note = NULL, b = NULL WHERE id = 2;
         INSERT INTO t VALUES (3, NULL, 'three', NULL); INSERT INTO t (id) VALUES (4)",
    );

    let equal = |schema: &str| {
        let pairs = [format!("{}.t={schema}.t", world.name)];
        judge::until_equal(LATER, &Stack::get().source_admin, world.target.url(), &pairs);
    };
    equal("json");
    equal("plain");
    // The stack's converter to Avro has no such setting yet: it sends the default.
    let told = "SELECT count(*) FROM avro.t
         WHERE n = 7 AND b AND note = CASE id WHEN 3 THEN 'three' ELSE 'seven' END";
    until(LATER, "the converter's defaults arrive", || {
        world.target.has("avro.t") && world.target.number(told) == 4
    });
    assert_eq!(world.dead_letters(), []);
    assert_eq!(members.map(Member::terminate), [0; 3]);
}

#[test]
fn a_setting_that_json_without_schemas_needs_is_named() {
    let world = World::new("unset");
    let topic = world.topic("public.orders", &[]);
    world.target.run(
        "CREATE TABLE public.orders (id bigint PRIMARY KEY, user_id bigint, status text,
             amount numeric(12, 2), quantity int, note text, created_at timestamp,
             updated_at timestamptz, synced_at timestamptz);
         GRANT ALL ON public.orders TO writer",
    );
    produce(&topic, 0, &[Draft::fixture("plain/orders-create")]);
    // Each setting that is told brings the next.
    let source = "[source.\"dbserver1_plain\"]\n";
    let settings =
        ["decimal_handling_mode = \"precise\"\n", "time_precision_mode = \"adaptive\"\n"];
    for (told, missing) in [(0, "decimal_handling_mode"), (1, "time_precision_mode")] {
        let config = format!("{source}{}", settings[..told].concat());
        let member = world.member(missing).config(&config).start();
        let line = member.until_logged(&["stopped a partition", "source_setting_missing"]);
        assert!(line.contains(missing) && line.contains("dbserver1_plain"), "{line}");
        assert_eq!(member.terminate(), 0);
    }
    let config = format!("{source}{}", settings.concat());
    let _member = world.member("told").config(&config).start();
    world.until_at_ends(&world.name);
    let row = "SELECT concat_ws('|', id, amount, created_at) FROM public.orders";
    let expected = "9001|-0.01|2024-05-06 07:08:09.123456";
    assert_eq!(world.target.value(row).as_deref(), Some(expected));
    assert_eq!(world.dead_letters(), []);
}
