//! CloudEvents whose data is Avro, and those that are Avro themselves, in the converter's form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::SourcePosition;
use crate::decode::testing::{Bench, Sample};
use crate::decode::value::kind::Kind;

const ROW: &str = r#"{"type":"record","name":"Value","namespace":"s.public.t","fields":[
    {"name":"id","type":"long"},{"name":"note","type":["null","string"]}]}"#;

fn data_schema() -> String {
    format!(
        r#"{{"type":"record","name":"Data","namespace":"io.debezium.connector.postgresql","fields":[
            {{"name":"before","type":["null",{ROW}]}},
            {{"name":"after","type":["null","s.public.t.Value"]}}]}}"#
    )
}

fn event(op: &str, table: &str, data: &str) -> Sample {
    let value = format!(
        r#"{{"id":"name:s;lsn:7;txId:5","source":"/debezium/postgresql/s","specversion":"1.0",
            "type":"io.debezium.connector.postgresql.DataChangeEvent",
            "dataschema":"http://registry/schemas/ids/1","iodebeziumop":"{op}",
            "iodebeziumname":"s","iodebeziumdb":"d","iodebeziumschema":"public",
            "iodebeziumtable":"{table}","iodebeziumlsn":"7","iodebeziumtsms":"5","data":{data}}}"#
    );
    Sample::new("s.public.t", Some(r#"{"id":8}"#), Some(&value))
}

fn check(bench: &mut Bench, sample: &Sample, expected: &str) {
    assert_eq!(bench.decode(sample), expected);
}

#[test]
fn data_may_be_avro_in_base64() {
    let bench = &mut Bench::default();
    bench.register(1, &data_schema());
    let framed = |body: &[u8]| {
        let framed = [&[0, 0, 0, 0, 1], body].concat();
        format!("\"{}\"", STANDARD.encode(framed))
    };
    let create = event("c", "t", &framed(b"\x00\x02\x10\x02\x02n"));
    check(bench, &create, "Create t id=8 note='n'");
    let crate::decode::Decoded::Change(change) = bench.settle(&create) else { panic!("changes") };
    let position = Some(SourcePosition::Lsn(7));
    assert_eq!((change.age.source_time, change.source_position), (Some(5), position));
    check(bench, &event("d", "t", &framed(b"\x02\x10\x00\x00")), "Delete t id=8");
    check(bench, &event("c", "u", &framed(b"\x00\x02\x10\x00")), "Create u id=8 note=null");
    check(bench, &event("c", "t", "\"?\""), "malformed: the data is neither JSON nor base64");
    check(bench, &event("c", "t", "\"AAAA\""), "malformed: the data is no framed Avro");
}

#[test]
fn a_truncate_and_a_message_may_be_events() {
    let bench = &mut Bench::default();
    bench.is_alone = Some(false);
    let images = r#"{"before":null,"after":null}"#;
    let truncate = event("t", "t", images);
    let crate::decode::Decoded::Stopped(stop) = bench.settle(&truncate) else { panic!("stops") };
    assert_eq!(stop.reason, crate::stopped::StopReason::TruncatePartitioned);
    bench.is_alone = Some(true);
    check(bench, &truncate, "Truncate");
    check(bench, &event("m", "t", images), "Ignored(Message)");
    let unknown = "not_an_envelope: the op is missing or unknown";
    check(bench, &event("x", "t", images), unknown);
}

#[test]
fn an_event_without_debeziums_attributes_is_refused() {
    let bench = &mut Bench::default();
    bench.kinds = vec![("t.id", Kind::Int64)];
    bench.register(1, &data_schema());
    let missing = "not_an_envelope: the op is missing or unknown";
    let framed = "\"AAAAAAEAAhAA\"";
    for data in [r#"{"before":null,"after":{"id":8}}"#, framed] {
        let value = format!(r#"{{"specversion":"1.0","data":{data}}}"#);
        let bare = Sample::new("s.public.t", Some(r#"{"id":8}"#), Some(&value));
        check(bench, &bare, missing);
    }
    let schema = r#"{"type":"record","name":"Envelope","namespace":"s.public.t.CloudEvents",
        "fields":[{"name":"id","type":"string"},{"name":"data","type":"bytes"}]}"#;
    bench.register(9, schema);
    let data = b"\0\0\0\0\x01\x00\x02\x10\x00";
    let event = [b"\0\0\0\0\x09\x02i\x12".as_slice(), data].concat();
    let bare = Sample::new("s.public.t", Some(r#"{"id":8}"#), None);
    check(bench, &Sample { value: Some(event), ..bare }, missing);
}

/// The schema of a whole event, and its bytes: letter, table, data.
fn framed_event(bench: &mut Bench) -> impl Fn(&str, &str, &[u8]) -> Sample + use<> {
    let text = |name: &str| format!(r#"{{"name":"{name}","type":["null","string"]}}"#);
    let attributes = ["op", "connector", "name", "schema", "table", "tsms"];
    let attributes = attributes.map(|it| text(&format!("iodebezium{it}")));
    let schema = format!(
        r#"{{"type":"record","name":"Envelope","namespace":"s.public.t.CloudEvents","fields":[
            {{"name":"id","type":"string"}},{{"name":"source","type":"string"}},{},
            {{"name":"data","type":"bytes"}}]}}"#,
        attributes.join(",")
    );
    bench.register(9, &schema);
    |op, table, data| {
        let text =
            |text: &str| [&[u8::try_from(text.len() * 2).unwrap()], text.as_bytes()].concat();
        let said = [op, "mariadb", "s", "public", table, "5"];
        let said = said.map(|attribute| [vec![2], text(attribute)].concat());
        let length = u8::try_from(data.len() * 2).unwrap();
        let mut sample = Sample::new("s.public.t", Some(r#"{"id":8}"#), None);
        let frame = [0, 0, 0, 0, 9];
        let event = [frame.to_vec(), text("i"), text("/"), said.concat(), vec![length]];
        sample.value = Some([event.concat().as_slice(), data].concat());
        sample
    }
}

#[test]
fn the_whole_event_may_be_avro() {
    let bench = &mut Bench::default();
    bench.kinds = vec![("t.id", Kind::Int64)];
    bench.register(1, &data_schema());
    let event = framed_event(bench);
    let create = b"\0\0\0\0\x01\x00\x02\x10\x02\x02n".as_slice();
    check(bench, &event("c", "t", create), "Create t id=8 note='n'");
    check(bench, &event("d", "t", b"\0\0\0\0\x01\x02\x10\x00\x00"), "Delete t id=8");
    check(bench, &event("c", "u", create), "Create u id=8 note='n'");
    assert_eq!(bench.asked[0].0.name.to_string(), "s.public.t");
    let crate::decode::Decoded::Change(change) = bench.settle(&event("c", "t", create)) else {
        panic!("changes")
    };
    assert_eq!(change.age.source_time, Some(5));
    check(bench, &event("c", "t", b"AAAA"), "malformed: the event's data is no framed Avro");
}

#[test]
fn an_event_whose_data_has_another_schema_is_read_by_that() {
    let bench = &mut Bench::default();
    bench.register(1, &data_schema());
    bench.register(2, &data_schema().replace("note", "name"));
    let event = framed_event(bench);
    check(bench, &event("c", "t", b"\0\0\0\0\x01\x00\x02\x10\x00"), "Create t id=8 note=null");
    check(bench, &event("c", "t", b"\0\0\0\0\x02\x00\x02\x10\x00"), "Create t id=8 name=null");
    check(bench, &event("c", "t", b"\0\0\0\0\x01\x00\x02\x10\x00"), "Create t id=8 note=null");
}

#[test]
fn an_event_says_whose_times_are_spans() {
    let data = data_schema().replace(
        r#"["null","string"]"#,
        r#"{"type":"long","connect.name":"io.debezium.time.MicroTime"}"#,
    );
    let bench = &mut Bench::default();
    bench.register(1, &data);
    let event = framed_event(bench);
    bench.settle(&event("c", "t", b"\0\0\0\0\x01\x00\x02\x10\x02"));
    let json = Sample::new(
        "s.public.t",
        Some(r#"{"id":8}"#),
        Some(
            r#"{"specversion":"1.0","iodebeziumop":"c","iodebeziumconnector":"mariadb",
            "data":"AAAAAAEAAhAC"}"#,
        ),
    );
    bench.settle(&json);
    let kinds = bench.asked.iter().map(|(table, _)| table.columns[1].kind.clone());
    let span = Kind::Span(crate::decode::value::kind::Unit::Micros);
    assert_eq!(kinds.collect::<Vec<_>>(), [span.clone(), span]);
}
