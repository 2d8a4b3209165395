//! Frames of Avro: whatever names a schema, the same bytes behind it are the same record.

use uuid::Uuid;

use crate::decode::testing::{Bench, Sample};
use crate::decode::{Decoded, SchemaId};

const VALUE: &str = r#"{"type":"record","name":"Envelope","namespace":"s.public.t","fields":[
    {"name":"after","type":["null",{"type":"record","name":"Value","fields":[
        {"name":"id","type":"long"}]}]},
    {"name":"op","type":"string"}]}"#;
const KEY: &str = r#"{"type":"record","name":"Key","namespace":"s.public.t","fields":[
    {"name":"id","type":"long"}]}"#;
const CREATE: &[u8] = b"\x02\x10\x02c";
const DELETE: &[u8] = b"\x00\x02d";
const ID: &[u8] = b"\x10";

/// A row created and deleted, with a frame before each part, and headers.
fn check(ids: (SchemaId, SchemaId), frames: (&[u8], &[u8]), headers: &[(&str, &[u8])]) {
    let mut bench = Bench::default();
    bench.register_as(ids.0, KEY);
    bench.register_as(ids.1, VALUE);
    let mut settle = |value: Option<&[u8]>| {
        let key = Some([frames.0, ID].concat());
        let value = value.map(|value| [frames.1, value].concat());
        let mut sample = Sample { topic: "s.public.t".to_owned(), key, value, headers: vec![] };
        for (name, value) in headers {
            sample = sample.with_header(name, value);
        }
        bench.decode(&sample)
    };
    assert_eq!(settle(Some(CREATE)), "Create t id=8", "{ids:?}");
    assert_eq!(settle(Some(DELETE)), "Delete t id=8", "{ids:?}");
    assert_eq!(settle(None), "Ignored(Tombstone)", "{ids:?}");
    assert_eq!(settle(Some(CREATE)), "Create t id=8", "{ids:?}");
    assert_eq!(settle(None), "Delete t id=8", "{ids:?}");
}

#[test]
fn ids_stand_before_the_bytes() {
    let plain = (SchemaId::Plain(1), SchemaId::Plain(2));
    check(plain, (&[0, 0, 0, 0, 1], &[0, 0, 0, 0, 2]), &[]);
    let wide = (SchemaId::Wide(1), SchemaId::Wide(2));
    check(wide, (&[0, 0, 0, 0, 0, 0, 0, 0, 1], &[0, 0, 0, 0, 0, 0, 0, 0, 2]), &[]);
    let guid = |last: u8| [&[1; 16], [last].as_slice()].concat();
    let of = |frame: &[u8]| SchemaId::Guid(Uuid::from_slice(&frame[1..]).unwrap());
    check((of(&guid(1)), of(&guid(2))), (&guid(1), &guid(2)), &[]);
}

#[test]
fn ids_stand_in_headers() {
    let global = (SchemaId::Global(1), SchemaId::Global(2));
    let (one, two) = (1_i64.to_be_bytes(), 2_i64.to_be_bytes());
    let headers: [(&str, &[u8]); 4] = [
        ("__debezium.context.taskId", b"0"),
        ("apicurio.key.globalId", &one),
        ("apicurio.value.globalId", &two),
        ("apicurio.value.encoding", b"BINARY"),
    ];
    check(global, (b"", b""), &headers);
    let content = (SchemaId::Content(3), SchemaId::Content(4));
    let (three, four) = (3_i64.to_be_bytes(), 4_i64.to_be_bytes());
    let headers: [(&str, &[u8]); 4] = [
        ("apicurio.key.contentId", &three),
        ("apicurio.key.globalId", &one),
        ("apicurio.value.globalId", &two),
        ("apicurio.value.contentId", &four),
    ];
    let both = (SchemaId::Global(1), SchemaId::Content(4));
    check(both, (b"", b""), &headers);
    check(content, (b"", b""), &[headers[0], headers[3]]);
    let guid = [&[1; 16], [7].as_slice()].concat();
    let id = SchemaId::Guid(Uuid::from_slice(&guid[1..]).unwrap());
    let headers: [(&str, &[u8]); 2] =
        [("__key_schema_id", b"\0\0\0\0\x05"), ("__value_schema_id", &guid)];
    check((SchemaId::Plain(5), id), (b"", b""), &headers);
}

#[test]
fn avro_behind_a_header_is_no_null_whatever_its_bytes_spell() {
    let mut bench = Bench::default();
    bench.kinds = vec![("t.id", crate::decode::value::kind::Kind::Int64)];
    bench.register_as(SchemaId::Global(2), VALUE);
    let sample = Sample::new("s.public.t", Some(r#"{"id":8}"#), Some("null"));
    let framed = sample.clone().with_header("apicurio.value.globalId", 2_i64.to_be_bytes());
    assert_eq!(bench.decode(&sample), "Delete t id=8");
    assert_eq!(bench.decode(&framed), {
        "malformed: the bytes do not follow their schema in field \"after\""
    });
}

#[test]
fn json_whose_headers_name_a_schema_is_read_without_it() {
    let mut bench = Bench::default();
    bench.kinds = vec![("t.id", crate::decode::value::kind::Kind::Int64)];
    let value = r#"{"after":{"id":8},"op":"c","source":{"table":"t"}}"#;
    let sample = Sample::new("s.public.t", Some(r#"{"id":8}"#), Some(value))
        .with_header("apicurio.value.globalId", 2_i64.to_be_bytes())
        .with_header("apicurio.value.encoding", "JSON");
    assert_eq!(bench.decode(&sample), "Create t id=8");
}

#[test]
fn other_formats_are_refused_by_name() {
    let mut bench = Bench::default();
    let framed = |id: u8| Sample {
        topic: "s.public.t".to_owned(),
        value: Some(vec![0, 0, 0, 0, id, 0, 8]),
        ..Sample::default()
    };
    let unsupported = [
        (1, "syntax = \"proto3\"; message Envelope { int64 id = 1; }", "Protobuf"),
        (2, r#"{"type":"object","properties":{"id":{"type":"integer"}}}"#, "JSON Schema"),
    ];
    for (id, text, format) in unsupported {
        bench.register(u32::from(id), text);
        let Decoded::Stopped(stop) = bench.settle(&framed(id)) else { panic!("stops") };
        let why = format!("is {format}, which is not supported: use Avro or JSON");
        assert_eq!(stop.to_string(), format!("schema_unreadable: schema {id}: {why}"));
    }
}
