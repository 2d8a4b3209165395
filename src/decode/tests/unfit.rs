//! Values that are not of their schema, and bytes that are of none: each is refused by its column.

use crate::decode::testing::{Bench, Sample};
use crate::decode::tests::twin::{Twin, VARIABLE, decimal, of};
use crate::decode::value::kind::Kind;
use crate::decode::value::spelling::Spelling;

const TOPIC: &str = "s.public.t";

fn array(items: &str) -> String {
    format!(r#""type":"array","items":{{"optional":true,{items}}}"#)
}

fn json(schema: &str, payload: &str, expected: &str) {
    assert_eq!(Twin::new(schema, payload).json(), expected, "{schema} {payload}");
}

#[test]
fn what_is_not_of_its_schema_is_refused_by_name() {
    json(&array(r#""type":"int32""#), "{}", "value_unfit: column \"v\" is no Array(Int32)");
    json(&array(r#""type":"int32""#), r#"["1"]"#, {
        "value_unfit: column \"v\" is not valid for the column's type (text)"
    });
    json(&array(r#""type":"bytes""#), r#"["é"]"#, "value_unfit: column \"v\" is no Array(Bytes)");
    json(VARIABLE, r#"{"scale":1}"#, {
        "value_unfit: column \"v\" is of another type than its schema says (VariableScaleDecimal)"
    });
}

#[test]
fn an_object_or_an_array_is_no_scalar_of_any_type() {
    let named = |literal: &str, name: &str| of(literal, &format!("io.debezium.{name}"), "");
    for (schema, kind) in [
        (r#""type":"string""#.to_owned(), "Text"),
        (r#""type":"boolean""#.to_owned(), "Bool"),
        (r#""type":"int16""#.to_owned(), "Int16"),
        (r#""type":"float""#.to_owned(), "Float32"),
        (r#""type":"double""#.to_owned(), "Float64"),
        (r#""type":"bytes""#.to_owned(), "Bytes"),
        (decimal(2, 5), "Decimal { scale: 2, precision: Some(5) }"),
        (named("string", "data.Json"), "Json"),
        (named("int64", "time.MicroTimestamp"), "Timestamp(Micros)"),
    ] {
        let expected = "value_unfit: column \"v\" is of another type than its schema says";
        for payload in ["{}", r#"{"a":{"b":[1]}}"#, "[]", "[1,{}]"] {
            json(&schema, payload, &format!("{expected} ({kind})"));
        }
    }
}

#[test]
fn json_that_is_none_is_refused_by_the_column_where_it_ends() {
    json(r#""type":"string""#, r#""\ud800""#, {
        "malformed: the text is no JSON at byte 29 of line 1, in column \"v\" (Text)"
    });
    let bench = &mut Bench::default();
    bench.kinds = vec![("t.id", Kind::Int64), ("t.v", Kind::Text)];
    assert_eq!(bench.decode(&plain("\"text\"")), "Create t id=1 v='text'");
    let found = bench.decode(&plain("tru"));
    assert_eq!(
        found,
        "malformed: the text is no JSON at byte 25 of line 1, in column \"v\" (Text)"
    );
    let mut sample = plain("\"text\"");
    let octets = sample.value.as_mut().unwrap();
    let at = octets.windows(4).position(|it| it == b"text").unwrap();
    octets[at + 1] = 0xff;
    let found = bench.decode(&sample);
    assert!(found.starts_with("malformed: the text is no JSON at byte "), "{found}");
    assert!(found.ends_with(" of line 1, in column \"v\" (Text)"), "{found}");
}

/// A record without schemas.
fn plain(v: &str) -> Sample {
    let source = r#"{"name":"s","schema":"public","table":"t"}"#;
    let value = format!(r#"{{"after":{{"id":1,"v":{v}}},"source":{source},"op":"c"}}"#);
    Sample::new(TOPIC, Some(r#"{"id":1}"#), Some(&value))
}

#[test]
fn without_a_schema_an_object_may_be_another_kind_than_a_text() {
    let check = |kinds: [Kind; 2], v: &str, expected: &str| {
        let bench = &mut Bench::default();
        bench.kinds = vec![("t.id", Kind::Int64), ("t.v", Kind::Either(Box::new(kinds)))];
        let found = bench.decode(&plain(v));
        assert_eq!(found.strip_prefix("Create t id=1 v=").unwrap_or(&found), expected, "{v}");
    };
    let octets = |v: &str, expected: &str| check([Kind::Bytes, Kind::Geometry], v, expected);
    octets("\"AQI=\"", "[01, 02]");
    octets("null", "null");
    octets(r#" {"srid":3187,"wkb":"AQE="}"#, "geometry [01, 01] Some(3187)");
    octets(r#"{"a":1}"#, {
        "value_unfit: column \"v\" is of another type than its schema says (Geometry)"
    });
    octets(r#"{"wkb":"?"}"#, "value_unfit: column \"v\" is no Geometry");
    octets("[1]", "value_unfit: column \"v\" is of another type than its schema says (Bytes)");
    let hex = || [Kind::Encoded(Spelling::Hex), Kind::Geometry];
    check(hex(), "\"0102\"", "Hex '0102'");
    check(hex(), r#"{"wkb":"AQE="}"#, "geometry [01, 01] None");
    let document = |v: &str, expected: &str| check([Kind::Json, Kind::Map], v, expected);
    document(r#""{\"a\": 1}""#, r#"json {"a": 1}"#);
    document(r#"{"a":"1","b":null}"#, r#"{("a", Some("1")), ("b", None)}"#);
    document("{}", "{}");
    document(r#"{"a":1}"#, "value_unfit: column \"v\" is not valid for the column's type (text)");
    let placeholder = "\"__debezium_unavailable_value\"";
    let bench = &mut Bench::default();
    let either = Kind::Either(Box::new([Kind::Json, Kind::Map]));
    bench.kinds = vec![("t.id", Kind::Int64), ("t.v", either)];
    for unavailable in [placeholder, &format!("{{{placeholder}:{placeholder}}}")] {
        let found = bench.decode(&plain(unavailable));
        assert_eq!(found, "Create partial t id=1 v=unavailable", "{unavailable}");
    }
}

const ROW: &str = r#"{"type":"record","name":"Value","fields":[{"name":"id","type":"long"},
    {"name":"age","type":"int"},{"name":"note","type":["null","string"]},
    {"name":"list","type":{"type":"array","items":["null","int"]}}]}"#;

/// Decodes bytes of an envelope around [`ROW`].
fn avro(excluded: Option<&'static str>, body: &[u8]) -> String {
    let bench = &mut Bench::default();
    bench.excluded = excluded;
    let schema = format!(
        r#"{{"type":"record","name":"Envelope","namespace":"s.public.t","fields":[
            {{"name":"after","type":["null",{ROW}]}},{{"name":"op","type":"string"}}]}}"#
    );
    bench.register(1, &schema);
    let key = r#"{"type":"record","name":"Key","namespace":"s.public.t","fields":[
        {"name":"id","type":"long"}]}"#;
    bench.register(2, key);
    let framed = |id: u8, body: &[u8]| Some([&[0, 0, 0, 0, id], body].concat());
    let (key, value) = (framed(2, &[2]), framed(1, body));
    bench.decode(&Sample { topic: TOPIC.to_owned(), key, value, headers: Vec::new() })
}

#[test]
fn bytes_that_break_off_are_refused_by_the_column_where_they_do() {
    let good = b"\x02\x02\x52\x02\x06abc\x02\x02\x0e\x00\x02c";
    assert_eq!(avro(None, good), "Create t id=1 age=41 note='abc' list=[7]");
    let check = |body: &[u8], place: &str| {
        let expected = format!("malformed: the bytes do not follow their schema in {place}");
        assert_eq!(avro(None, body), expected, "{body:?}");
    };
    let (id, age) = ("column \"id\" (Int64)", "column \"age\" (Int32)");
    let (note, list) = ("column \"note\" (Text)", "column \"list\" (Array(Int32))");
    let places = [
        (0, "field \"after\""),
        (1, id),
        (2, age),
        (3, note),
        (4, note),
        (7, note),
        (8, list),
        (10, list),
        (12, "field \"op\""),
    ];
    for (length, place) in places {
        check(&good[..length], place);
    }
    // No UTF-8, no branch, and an integer without an end.
    check(b"\x02\x02\x52\x02\x06a\xffc\x00\x02c", note);
    check(b"\x02\x02\x52\x04\x00\x02c", note);
    check(&[b"\x02\x02".as_slice(), &[0xff; 10]].concat(), age);
    // A column that is not written is walked over.
    let found = avro(Some("note"), &good[..6]);
    assert_eq!(found, format!("malformed: the bytes do not follow their schema in {note}"));
}
