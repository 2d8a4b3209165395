//! Structured times through the real program, from the records of a connector that the stack does not
//! run.

use std::collections::HashMap;

use expect_test::expect;
use serde_json::{Value as Json, json};

use crate::framing::Subjects;
use crate::support::file::file_rows;
use crate::support::kafka::{Draft, produce};
use crate::support::{LATER, Member, World, judge, until};

/// What the source's table had when `scripts/capture.py` took the records, but for the two times that
/// were 24:00:00: the connector itself sends NULL for them.
const SOURCE: &str = "
CREATE TABLE public.source (id int PRIMARY KEY, d date, tm time, tm3 time(3), tz timetz,
    ts timestamp, ts3 timestamp(3), tstz timestamptz, iv interval, ds date[], tss timestamp[]);
INSERT INTO public.source VALUES
(1, '2016-11-04', '13:51:30.123456', '13:51:30.123', '13:51:30.789+02',
    '2016-11-04 13:51:30.123456', '2016-11-04 13:51:30.123', '2016-11-04 13:51:30.123456+02',
    '1 year 2 mons 3 days 04:05:06.000007', '{2016-11-04,NULL}', '{2016-11-04 13:51:30.123456}'),
(3, '4713-01-01 BC', '00:00', '00:00', '00:00+15:59:59', '4713-01-01 00:00 BC',
    '4713-01-01 00:00 BC', '4713-01-02 00:00+00 BC', '-178000000 years', '{}', '{}'),
(4, '5874897-12-31', NULL, NULL, '24:00-15:59:59', '294276-12-31 23:59:59.999999',
    '294276-12-31 23:59:59.999', '294276-12-31 23:59:59.999999+00',
    '178000000 years 11 mons 31 days 838:59:59.999999', NULL, NULL),
(5, 'infinity', NULL, NULL, NULL, 'infinity', 'infinity', 'infinity', NULL, '{infinity}',
    '{infinity}'),
(6, '-infinity', NULL, NULL, NULL, '-infinity', '-infinity', '-infinity',
    '-1 years -2 mons +3 days -04:05:06.000007', '{-infinity}', '{-infinity}'),
(7, '1969-12-31', '23:59:59.999999', '23:59:59.999', '23:59:59.999999-00:30',
    '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59.999', '1969-12-31 09:59:59.999999+00',
    '-00:00:00.000001', NULL, NULL),
(8, '0044-03-15 BC', NULL, NULL, NULL, '0001-12-31 23:59:59 BC', NULL,
    '0001-12-31 23:59:59+00 BC', '1 mon -1 day', NULL, NULL);
INSERT INTO public.source (id) VALUES (2)";

const COLUMNS: [&str; 11] = ["id", "d", "tm", "tm3", "tz", "ts", "ts3", "tstz", "iv", "ds", "tss"];

const SITUATIONS: [&str; 8] = [
    "ordinary",
    "null",
    "earliest",
    "latest",
    "positive-infinity",
    "negative-infinity",
    "before-epoch",
    "bc",
];

fn captured(format: &str) -> Vec<Draft> {
    SITUATIONS.map(|name| Draft::fixture(&format!("structured/{format}-{name}"))).into()
}

/// Leaves the schemas away.
fn without_schemas(draft: Draft) -> Draft {
    let payload = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        let (_, payload) = text.split_once(r#","payload":"#).unwrap();
        payload.strip_suffix('}').unwrap().as_bytes().to_vec()
    };
    Draft { key: draft.key.map(payload), value: draft.value.map(payload), ..draft }
}

/// Registers the schemas of the captured records, and has the records refer to them.
fn registered(drafts: Vec<Draft>, subjects: &mut Subjects, name: &str) -> Vec<Draft> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/structured/schemas.json");
    let schemas = std::fs::read_to_string(path).unwrap();
    let schemas: HashMap<String, String> = serde_json::from_str(&schemas).unwrap();
    let mut register = |(id, schema): (&String, &String)| {
        let schema = serde_json::from_str::<Json>(schema).unwrap();
        let new = subjects.register(&format!("{name}-{id}"), &schema, &json!([]));
        (id.parse::<u32>().unwrap().to_be_bytes(), new.to_be_bytes())
    };
    let ids = schemas.iter().map(&mut register).collect::<HashMap<_, _>>();
    let framed = |mut bytes: Vec<u8>| {
        let old: [u8; 4] = bytes[1..5].try_into().unwrap();
        bytes[1..5].copy_from_slice(&ids[&old]);
        bytes
    };
    let draft = |draft: Draft| Draft {
        key: draft.key.map(framed),
        value: draft.value.map(framed),
        ..draft
    };
    drafts.into_iter().map(draft).collect()
}

/// Starts a member of its own group for a topic.
fn start(world: &World, name: &str, format: &str, target: &str) -> Member {
    let setup = world.member(name).target(target);
    setup
        .topics(&format!(r"^{}\.public\.{format}$", world.name))
        .variable("SINK_NAME", name)
        .variable("KAFKA_GROUP_ID", &format!("{}_{name}", world.name))
        .args(["--table", &format!("structured.*={format}.{{table}}")])
        .config("[source.structured_json]\ntime_precision_mode = \"structured\"\n")
        .start()
}

#[test]
fn structured_times_arrive_in_both_databases() {
    let world = World::new("structured");
    world.target.run(SOURCE);
    world.target.run(
        "CREATE SCHEMA plain;
         CREATE TABLE plain.t (LIKE public.source INCLUDING ALL, synced_at timestamptz);
         GRANT USAGE ON SCHEMA plain TO writer;
         GRANT SELECT, INSERT, UPDATE, DELETE ON plain.t TO writer",
    );
    let mut subjects = Subjects::default();
    let plain = captured("json").into_iter().map(without_schemas).collect();
    let avro = registered(captured("avro"), &mut subjects, &world.name);
    let formats = [("json", captured("json")), ("plain", plain), ("avro", avro)];
    for (format, drafts) in &formats {
        produce(&world.topic(&format!("public.{format}"), &[]), 0, drafts);
    }
    let files = ["json", "avro"].map(|format| (format, world.folder().join(format)));

    let members = formats.map(|(format, _)| start(&world, format, format, &world.target_url()));
    let others = files.each_ref().map(|(format, file)| {
        let target = format!("sqlite://{}", file.display());
        start(&world, &format!("{format}_file"), format, &target)
    });

    let pairs = ["json", "plain", "avro"].map(|schema| format!("public.source={schema}.t"));
    judge::until_equal(LATER, world.target.url(), world.target.url(), &pairs);
    let mut rows = [Vec::new(), Vec::new()];
    until(LATER, "all rows are in the files", || {
        rows = files.each_ref().map(|(_, file)| file_rows(file, "t", &COLUMNS));
        rows.iter().all(|rows| rows.len() == SITUATIONS.len())
    });
    assert_eq!(rows[0], rows[1]);
    let line = |row: &Vec<Option<String>>| {
        let cells = row.iter().map(|cell| cell.as_deref().unwrap_or("NULL"));
        cells.collect::<Vec<_>>().join(" ") + "\n"
    };
    expect![[r#"
        1 2016-11-04 13:51:30.123456 13:51:30.123000 13:51:30.789000+02:00 2016-11-04T13:51:30.123456 2016-11-04T13:51:30.123000 2016-11-04T11:51:30.123456Z P1Y2M3DT4H5M6.000007S ["2016-11-04",null] ["2016-11-04T13:51:30.123456"]
        2 NULL NULL NULL NULL NULL NULL NULL NULL NULL NULL
        3 -4712-01-01 00:00:00.000000 00:00:00.000000 00:00:00.000000+15:59:59 -4712-01-01T00:00:00.000000 -4712-01-01T00:00:00.000000 -4712-01-02T00:00:00.000000Z P-178000000Y [] []
        4 +5874897-12-31 NULL NULL 24:00:00.000000-15:59:59 +294276-12-31T23:59:59.999999 +294276-12-31T23:59:59.999000 +294276-12-31T23:59:59.999999Z P178000000Y11M31DT838H59M59.999999S NULL NULL
        5 infinity NULL NULL NULL infinity infinity infinity NULL ["infinity"] ["infinity"]
        6 -infinity NULL NULL NULL -infinity -infinity -infinity P-1Y-2M3DT-4H-5M-6.000007S ["-infinity"] ["-infinity"]
        7 1969-12-31 23:59:59.999999 23:59:59.999000 23:59:59.999999-00:30 1969-12-31T23:59:59.999999 1969-12-31T23:59:59.999000 1969-12-31T09:59:59.999999Z PT-0.000001S NULL NULL
        8 -0043-03-15 NULL NULL NULL 0000-12-31T23:59:59.000000 NULL 0000-12-31T23:59:59.000000Z P1M-1D NULL NULL
    "#]].assert_eq(&rows[0].iter().map(line).collect::<String>());
    drop((members, others));
}
