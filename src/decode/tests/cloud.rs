//! CloudEvents whose data is Avro, and those that are Avro themselves: from the converter's documented
//! form, not seen live.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

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
    assert_eq!((change.source_time, change.source_position.as_deref()), (Some(5), Some("7")));
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
fn the_whole_event_may_be_avro() {
    let bench = &mut Bench::default();
    bench.kinds = vec![("t.id", Kind::Int64)];
    let text = |name: &str| format!(r#"{{"name":"{name}","type":["null","string"]}}"#);
    let attributes = ["op", "name", "schema", "table"].map(|it| text(&format!("iodebezium{it}")));
    let schema = format!(
        r#"{{"type":"record","name":"Envelope","namespace":"s.public.t.CloudEvents","fields":[
            {{"name":"id","type":"string"}},{{"name":"source","type":"string"}},{},
            {{"name":"iodebeziumtsms","type":"long"}},{{"name":"data","type":{}}}]}}"#,
        attributes.join(","),
        data_schema()
    );
    bench.register(1, &schema);
    let framed = |table: &[u8], op: &[u8], data: &[u8]| {
        let attributes = [b"\x02\x02".as_slice(), op, b"\x02\x02s\x02\x0cpublic\x02\x02", table];
        let event = [b"\0\0\0\0\x01\x02i\x02/".as_slice(), &attributes.concat(), b"\x0a", data];
        let mut sample = event_of_key();
        sample.value = Some(event.concat());
        sample
    };
    check(bench, &framed(b"t", b"c", b"\x00\x02\x10\x02\x02n"), "Create t id=8 note='n'");
    check(bench, &framed(b"t", b"d", b"\x02\x10\x00\x00"), "Delete t id=8");
    check(bench, &framed(b"u", b"c", b"\x00\x02\x10\x02\x02n"), "Create u id=8 note='n'");
    assert_eq!(bench.asked[0].0.name.to_string(), "s.public.t");
}

fn event_of_key() -> Sample {
    Sample::new("s.public.t", Some(r#"{"id":8}"#), None)
}
