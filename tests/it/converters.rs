//! The converters of others, each with connectors of its own: Apicurio's Avro in all its frames, and
//! CloudEvents in JSON and in Avro; whatever carries the changes, the target is the same.

use crate::delivery::{CHANGES, SAMPLE};
use crate::support::{Format, LATER, Source, Stack, World, judge};

const TABLES: [&str; 4] = ["users", "orders", "employees", "places"];

/// A way from the source to the target: the suffix of its connector, which is the target's schema as
/// well, and what it sets.
struct Way {
    name: &'static str,
    format: Format,
    settings: Vec<(String, String)>,
    /// What the member must be told.
    use_id: &'static str,
}

/// Apicurio's own converter for keys and values, with these settings.
fn apicurio(name: &'static str, settings: &[(&str, &str)]) -> Way {
    let root = Stack::get().registry.split("/apis/").next().unwrap();
    let url = format!("{root}/apis/registry/v3");
    let mut set = Vec::new();
    for side in ["key", "value"] {
        let converter = format!("{side}.converter");
        let class = "io.apicurio.registry.utils.converter.AvroConverter";
        set.push((converter.clone(), class.to_owned()));
        let common = [("url", url.as_str()), ("auto-register", "true")];
        for (setting, value) in common.iter().chain(settings) {
            set.push((format!("{converter}.apicurio.registry.{setting}"), (*value).to_owned()));
        }
    }
    Way { name, format: Format::Json, settings: set, use_id: "" }
}

/// Debezium's converter to CloudEvents, with these formats of the event and of its data; keys are
/// those of `format`.
fn cloud_events(name: &'static str, format: Format, event: &str, data: &str) -> Way {
    let class = "io.debezium.converters.CloudEventsConverter";
    let registry = &Stack::get().registry;
    let settings = [
        ("", class),
        (".serializer.type", event),
        (".data.serializer.type", data),
        (".avro.schema.registry.url", registry),
    ];
    let setting =
        |(name, value): (&str, &str)| (format!("value.converter{name}"), value.to_owned());
    Way { name, format, settings: settings.map(setting).to_vec(), use_id: "" }
}

#[test]
fn apicurios_frames_give_the_sources_rows() {
    let eight_bytes = ("id-handler", "io.apicurio.registry.serde.Legacy8ByteIdHandler");
    let headers = ("headers.enabled", "true");
    let (global, content) = (("use-id", "globalId"), ("use-id", "contentId"));
    // Both kinds count up, so that most numbers are ids of either.
    let told = |use_id, way: Way| Way { use_id, ..way };
    carry(
        "apicurio",
        &[
            apicurio("four_bytes", &[]),
            told("globalId", apicurio("four_bytes_global", &[global])),
            told("globalId", apicurio("eight_bytes_global", &[eight_bytes, global])),
            told("contentId", apicurio("eight_bytes_content", &[eight_bytes, content])),
            apicurio("header_global", &[headers, global]),
            apicurio("header_content", &[headers, content]),
        ],
    );
}

#[test]
fn cloud_events_of_every_format_give_the_sources_rows() {
    carry(
        "cloud",
        &[
            cloud_events("json_json", Format::Json, "json", "json"),
            cloud_events("json_avro", Format::Json, "json", "avro"),
            cloud_events("avro_avro", Format::Avro, "avro", "avro"),
        ],
    );
}

/// Sends a snapshot and every kind of change each way, and waits until all targets are the source.
fn carry(test: &str, ways: &[Way]) {
    let world = World::new(test);
    let source = world.source(SAMPLE);
    source.database.run(
        "CREATE TABLE places (id int PRIMARY KEY, size numeric, height numeric NOT NULL);
         GRANT SELECT ON places TO debezium;
         INSERT INTO places VALUES (1, 1.5, -2), (2, NULL, 1e20);
         INSERT INTO employees (first_name, last_name, dob, city, salary)
         VALUES ('Ella', 'Novak', '2000-02-29', NULL, 49999.999), ('O', '', '0001-01-01', '', 1e20)",
    );
    let prefixes = ways.iter().map(|way| connect(&source, way)).collect::<Vec<_>>();
    let mut members = Vec::new();
    for (way, prefix) in ways.iter().zip(&prefixes) {
        let setup = world
            .member(way.name)
            .topics(&format!(r"^{prefix}\..*"))
            .variable("SINK_NAME", prefix)
            .variable("KAFKA_GROUP_ID", prefix)
            .variable("SCHEMA_REGISTRY_USE_ID", way.use_id)
            .args(["--table", &format!("{}.*={}.{{table}}", world.name, way.name)]);
        members.push(setup.start());
    }
    ways.iter().for_each(|way| until_equal(&world, way));
    for (_, sql) in CHANGES {
        source.database.run(sql);
    }
    source.database.run("UPDATE employees SET salary = salary * 1.1, city = 'Prague'");
    source.database.run("DELETE FROM places WHERE id = 1");
    ways.iter().for_each(|way| until_equal(&world, way));
    assert_eq!(world.dead_letters(), []);
}

fn connect(source: &Source, way: &Way) -> String {
    source.connect_with(way.format, &format!("_{}", way.name), &way.settings)
}

fn until_equal(world: &World, way: &Way) {
    // The source's schema has the world's name.
    let pairs = TABLES.map(|table| format!("{}.{table}={}.{table}", world.name, way.name));
    judge::until_equal(LATER, &Stack::get().source_admin, world.target.url(), &pairs);
}
