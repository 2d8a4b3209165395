//! Golden vectors: what Debezium's own tests assert of each type, and what was seen live, through
//! both formats.

use crate::decode::tests::twin::{Twin, VARIABLE, check, fields, of};

/// A named schema without parameters.
fn named(literal: &str, name: &str) -> String {
    of(literal, name, "")
}

fn array(items: &str) -> String {
    format!(r#""type":"array","items":{{"optional":true,{items}}}"#)
}

fn decimal(scale: i32) -> String {
    let parameters = format!(r#","parameters":{{"scale":"{scale}"}}"#);
    of("bytes", "org.apache.kafka.connect.data.Decimal", &parameters)
}

fn bits(length: u32) -> String {
    of("bytes", "io.debezium.data.Bits", &format!(r#","parameters":{{"length":"{length}"}}"#))
}

#[test]
fn decimals() {
    for (base64, expected) in [
        ("bg==", "110e-2"),
        ("A2P4", "222200e-2"),
        ("AUo=", "330e-2"),
        ("AeIT", "123411e-2"),
        ("/h3t", "-123411e-2"),
        ("AA==", "0e-2"),
        ("/w==", "-1e-2"),
        ("fw==", "127e-2"),
        ("AIA=", "128e-2"),
        ("gA==", "-128e-2"),
        ("/38=", "-129e-2"),
        ("AP8=", "255e-2"),
        ("AQA=", "256e-2"),
        ("MDk=", "12345e-2"),
        ("z8c=", "-12345e-2"),
        ("AY7pD/bDc+DuTj8K0g==", "123456789012345678901234567890e-2"),
        ("f/////////8=", "9223372036854775807e-2"),
        ("AP//////////", "18446744073709551615e-2"),
    ] {
        check(&decimal(2), &format!("\"{base64}\""), expected);
    }
    check(&decimal(0), "\"Cg==\"", "10e0");
    check(&decimal(4), "\"A2P4\"", "222200e-4");
    check(&decimal(10), "\"AY7pD/bDc+DuTj8K0g==\"", "123456789012345678901234567890e-10");
    check(VARIABLE, r#"{"scale":4,"value":"AYr3"}"#, "101111e-4");
    check(VARIABLE, r#"{"scale":4,"value":"A2QO"}"#, "222222e-4");
    check(VARIABLE, "null", "null");
}

#[test]
fn decimals_that_json_writes_as_numbers() {
    for (number, expected) in [
        ("1.10", "decimal 1.10"),
        ("-0.01", "decimal -0.01"),
        ("0", "decimal 0"),
        ("1E+2", "decimal 1E+2"),
        ("-1.5e-7", "decimal -1.5e-7"),
        ("123456789012345678901234567890.12", "decimal 123456789012345678901234567890.12"),
        ("null", "null"),
    ] {
        assert_eq!(Twin::new(&decimal(2), number).json(), expected);
    }
    let list = array(&decimal(2));
    assert_eq!(Twin::new(&list, "[1.20,null,3.40]").json(), "[decimal 1.20, null, decimal 3.40]");
}

#[test]
fn times() {
    let time = |name: &str| named("int64", &format!("io.debezium.time.{name}"));
    let short = |name: &str| named("int32", &format!("io.debezium.time.{name}"));
    let text = |name: &str| named("string", &format!("io.debezium.time.{name}"));
    let connect = |literal: &str, name: &str| {
        named(literal, &format!("org.apache.kafka.connect.data.{name}"))
    };
    check(&time("MicroTimestamp"), "1478267490123456", "wall 1478267490.123456000");
    check(&time("MicroTimestamp"), "-1047174587392000", "wall -1047174588.608000000");
    check(&time("MicroTimestamp"), "601060312290123456", "wall 601060312290.123456000");
    check(&time("MicroTimestamp"), "9223371331199999999", "wall 9223371331199.999999000");
    check(&time("MicroTimestamp"), "-210831897600000001", "wall -210831897601.999999000");
    check(&time("MicroTimestamp"), "9223372036825200000", "wall PositiveInfinity");
    check(&time("MicroTimestamp"), "-9223372036832400000", "wall NegativeInfinity");
    check(&time("Timestamp"), "1478267490123", "wall 1478267490.123000000");
    check(&time("Timestamp"), "601060312290124", "wall 601060312290.124000000");
    check(&time("NanoTimestamp"), "1478267490123456789", "wall 1478267490.123456789");
    check(&time("NanoTimestamp"), "9223372036854775807", "wall PositiveInfinity");
    // 2262-04-11 and 1677-09-21, the last that a count of nanoseconds reaches.
    check(&time("NanoTimestamp"), "9223372036854775806", "wall 9223372036.854775806");
    check(&time("NanoTimestamp"), "-9223372036854775807", "wall -9223372037.145224193");
    check(&connect("int64", "Timestamp"), "-1", "wall -1.999000000");
    check(&connect("int32", "Time"), "86399999", "time 86399999000000");
    check(&connect("int32", "Date"), "-719162", "day -719162");
    check(&short("Date"), "17109", "day 17109");
    for infinite in ["-2147472692", "-622191234"] {
        check(&short("Date"), infinite, "PositiveInfinity");
    }
    for infinite in ["-2147472691", "-625821272"] {
        check(&short("Date"), infinite, "NegativeInfinity");
    }
    check(&time("MicroTime"), "49890000000", "time 49890000000000");
    check(&time("MicroTime"), "86400000000", "time 86400000000000");
    // MariaDB's.
    for (micros, expected) in [
        ("1864264777000", "time 1864264777000000"),
        ("-47690000000", "time -47690000000000"),
        ("-2638800001000", "time -2638800001000000"),
        ("-7199001000", "time -7199001000000"),
        ("-3020398999999", "time -3020398999999000"),
        ("-1238000000", "time -1238000000000"),
    ] {
        check(&time("MicroTime"), micros, expected);
    }
    check(&short("Time"), "49890123", "time 49890123000000");
    check(&time("NanoTime"), "1", "time 1");
    check(
        &text("ZonedTimestamp"),
        "\"2016-11-04T11:51:30.123456Z\"",
        "moment 1478260290.123456000",
    );
    check(
        &text("ZonedTimestamp"),
        "\"+21016-11-04T06:51:30.123456Z\"",
        "moment 601060287090.123456000",
    );
    check(&text("ZonedTimestamp"), "\"infinity\"", "moment PositiveInfinity");
    check(
        &text("ZonedTimestamp"),
        "\"+21016-11-04T06:51:30.000000Z\"",
        "moment 601060287090.000000000",
    );
    check(&text("ZonedTime"), "\"11:51:30.123789Z\"", "time 42690123789000 offset 0");
    check(&text("ZonedTime"), "\"11:51:30.123Z\"", "time 42690123000000 offset 0");
    check(&text("ZonedTime"), "\"24:00:00Z\"", "time 86400000000000 offset 0");
    check(&text("IsoDate"), "\"2017-09-15Z\"", "day 17424");
    check(&text("IsoTime"), "\"04:05:11.789Z\"", "time 14711789000000");
    check(&text("IsoTimestamp"), "\"2019-07-09T02:28:57.123456Z\"", "wall 1562639337.123456000");
    check(&time("MicroDuration"), "37091106780000", "0 months 0 days 37091106780000000 ns");
    check(&text("Interval"), "\"P1Y2M3DT4H5M6.78S\"", "14 months 3 days 14706780000000 ns");
    check(&text("Interval"), "\"P-1Y0M2DT0H0M-0.5S\"", "-12 months 2 days -500000000 ns");
    check(&short("Year"), "2024", "2024");
}

#[test]
fn bits_of_every_length() {
    check(&bits(2), "\"Aw==\"", "bits [3] Some(2)");
    check(&bits(2), "\"Ag==\"", "bits [2] Some(2)");
    check(&bits(7), "\"QA==\"", "bits [64] Some(7)");
    check(&bits(8), "\"QA==\"", "bits [64] Some(8)");
    check(&bits(2), "\"\"", "bits [] Some(2)");
    check(&bits(24), "\"AQID\"", "bits [1, 2, 3] Some(24)");
    check(&bits(64), "\"AAAAAAAAAIA=\"", "bits [0, 0, 0, 0, 0, 0, 0, 128] Some(64)");
    check(&bits(64), "\"2w5uAQAAAAA=\"", "bits [219, 14, 110, 1, 0, 0, 0, 0] Some(64)");
    check(&bits(2_147_483_647), "\"BQ==\"", "bits [5] None");
    check(&bits(2_147_483_647), "\"AQIj2gE=\"", "bits [1, 2, 35, 218, 1] None");
    check(r#""type":"boolean""#, "true", "true");
}

#[test]
fn texts_and_numbers() {
    let data = |name: &str| named("string", &format!("io.debezium.data.{name}"));
    check(&data("Json"), r#""{\"a\": 1.10, \"b\": 123456789012345678901234567890}""#, {
        r#"json {"a": 1.10, "b": 123456789012345678901234567890}"#
    });
    // An hstore.
    check(&data("Json"), r#""{\"key5\":null,\"key4\":\"val4\"}""#, {
        r#"json {"key5":null,"key4":"val4"}"#
    });
    check(&data("Enum"), "\"hap,py\"", "'hap,py'");
    check(&data("EnumSet"), "\"a,b,c\"", "'a,b,c'");
    check(&data("EnumSet"), "\"\"", "''");
    check(&data("Ltree"), "\"a.b\"", "'a.b'");
    check(&data("Xml"), "\"<a>1</a>\"", "'<a>1</a>'");
    check(&data("Uuid"), "\"b68a35a7-17ad-35b3-af2a-ae46edb4545b\"", {
        "b68a35a7-17ad-35b3-af2a-ae46edb4545b"
    });
    check(r#""type":"string""#, "\"产品\\u0000😀\"", "'产品\0😀'");
    check(r#""type":"int8""#, "-128", "-128");
    check(r#""type":"int16""#, "-32768", "-32768");
    check(r#""type":"int64""#, "-9223372036854775808", "-9223372036854775808");
    check(r#""type":"float""#, "0.1", "0.1f32");
    check(r#""type":"double""#, "0.1", "0.1");
    check(r#""type":"double""#, "\"NaN\"", "NaN");
    check(r#""type":"float""#, "\"-Infinity\"", "-inff32");
    check(r#""type":"double""#, "\"Infinity\"", "inf");
    let unsigned = r#""parameters":{"__debezium.source.column.type":"BIGINT UNSIGNED"}"#;
    let unsigned = format!(r#""type":"int64",{unsigned}"#);
    check(&unsigned, "-1", "unsigned 18446744073709551615");
    check(&unsigned, "1", "unsigned 1");
    // As a double it lies between two singles, and would round to the wrong one.
    check(r#""type":"float""#, "7.038531e-26", "7.038531e-26f32");
    check(r#""type":"bytes""#, "\"AQID\"", "[01, 02, 03]");
    check(r#""type":"bytes""#, "\"\"", "[]");
}

#[test]
fn arrays() {
    let texts = array(r#""type":"string""#);
    check(&texts, r#"["cone      ","ctwo      ",null,"q\"\\"]"#, {
        r#"['cone      ', 'ctwo      ', null, 'q"\']"#
    });
    check(&texts, "[]", "[]");
    check(&texts, "null", "null");
    check(&array(r#""type":"int16""#), "[1,null,-32768]", "[1, null, -32768]");
    check(&array(r#""type":"int64""#), "[9223372036854775807]", "[9223372036854775807]");
    check(&array(r#""type":"boolean""#), "[true,false,null]", "[true, false, null]");
    check(&array(r#""type":"float""#), r#"[0.1,"NaN",null]"#, "[0.1f32, NaNf32, null]");
    check(&array(r#""type":"bytes""#), r#"["AAH/",null]"#, "[[00, 01, ff], null]");
    check(&array(&decimal(2)), r#"["eA==","AVQ=","AjA="]"#, "[120e-2, 340e-2, 560e-2]");
    check(&array(&decimal(2)), r#"["eA==",null]"#, "[120e-2, null]");
    // Ranges and addresses of hardware.
    check(&texts, r#"["[\"2019-03-31 15:30:00\",infinity)",null]"#, {
        r#"['["2019-03-31 15:30:00",infinity)', null]"#
    });
    check(&texts, r#"["08:00:2b:01:02:03",null]"#, "['08:00:2b:01:02:03', null]");
    check(&array(VARIABLE), r#"[{"scale":1,"value":"Cw=="},null,{"scale":3,"value":"DQU="}]"#, {
        "[11e-1, null, 3333e-3]"
    });
    let time = |literal: &str, name: &str| array(&named(literal, name));
    check(&time("int64", "io.debezium.time.MicroTimestamp"), "[1585699262000000]", {
        "[wall 1585699262.000000000]"
    });
    check(
        &time("string", "io.debezium.time.ZonedTimestamp"),
        r#"["2020-04-01T11:51:02.000000Z",null,"infinity"]"#,
        "[moment 1585741862.000000000, null, moment PositiveInfinity]",
    );
    check(&time("int32", "io.debezium.time.Date"), "[17109,null]", "[day 17109, null]");
    check(&time("string", "io.debezium.data.Json"), r#"["{\"a\": 1.10}",null,"null"]"#, {
        r#"[json {"a": 1.10}, null, json null]"#
    });
    let uuid = r#"["b68a35a7-17ad-35b3-af2a-ae46edb4545b"]"#;
    check(&time("string", "io.debezium.data.Uuid"), uuid, "[b68a35a7-17ad-35b3-af2a-ae46edb4545b]");
}

#[test]
fn maps_geometries_and_vectors() {
    let map = r#""type":"map","keys":{"type":"string"},"values":{"type":"string","optional":true}"#;
    check(map, r#"{"a":"1","b":null,"q\"\\":"x,y"}"#, {
        r#"{("a", Some("1")), ("b", None), ("q\"\\", Some("x,y"))}"#
    });
    check(map, "{}", "{}");
    let shape = [("x", "double"), ("y", "double"), ("wkb", "bytes"), ("srid", "int32")];
    let point = of("struct", "io.debezium.data.geometry.Point", &fields(&shape));
    check(&point, r#"{"x":1.5,"y":-2.0,"wkb":"AQE=","srid":null}"#, "point 1.5 -2 [01, 01] None");
    check(&point, "null", "null");
    let geometry = |name: &str| {
        let name = format!("io.debezium.data.geometry.{name}");
        of("struct", &name, &fields(&[("wkb", "bytes"), ("srid", "int32")]))
    };
    check(&geometry("Geometry"), r#"{"wkb":"AQE=","srid":3187}"#, "geometry [01, 01] Some(3187)");
    check(&geometry("Geography"), r#"{"wkb":"AQE=","srid":4326}"#, "geometry [01, 01] Some(4326)");
    // SRID=3187;POINT(174.9479 -36.7208): the octets have the reference system in them as well.
    let place = r#"{"wkb":"AQEAACBzDAAAHHxhMlXeZUB4eqUsQ1xCwA==","srid":3187}"#;
    check(&geometry("Geometry"), place, {
        "geometry [01, 01, 00, 00, 20, 73, 0c, 00, 00, 1c, 7c, 61, 32, 55, de, 65, 40, 78, 7a, a5, \
         2c, 43, 5c, 42, c0] Some(3187)"
    });
    // MULTILINESTRING((169.1321 -44.7032, 167.8974 -44.6414)) as a geography.
    let octets = "0105000020e610000001000000010200000002000000a779c7293a2465400b462575025a46c0c66d3480b7fc6440c3d32b65195246c0";
    let octets = (0..octets.len()).step_by(2).map(|at| &octets[at..at + 2]).collect::<Vec<_>>();
    let lines = "AQUAACDmEAAAAQAAAAECAAAAAgAAAKd5xyk6JGVAC0YldQJaRsDGbTSAt/xkQMPTK2UZUkbA";
    let payload = format!(r#"{{"wkb":"{lines}","srid":4326}}"#);
    let expected = format!("geometry [{}] Some(4326)", octets.join(", "));
    check(&geometry("Geography"), &payload, &expected);
    let path = r#""type":"struct","name":"io.debezium.data.geometry.Geometry","fields":[
        {"type":"bytes","field":"wkb"},
        {"type":"map","optional":true,"keys":{"type":"string"},"values":{"type":"string"},
            "field":"extensions"}]"#;
    check(path, r#"{"wkb":"AQE=","extensions":null}"#, "geometry [01, 01] None");
    check(path, r#"{"wkb":"AQE=","extensions":{"type":"path","closed":"true"}}"#, {
        "value_unfit: column \"v\" is no well-known binary of its geometric type (Geometry)"
    });
    check(path, r#"{"wkb":"AQE=","extensions":{"type":"curve"}}"#, {
        "value_unfit: column \"v\" is of a geometric type that has no conversion (Geometry)"
    });
    let mysql = r#""parameters":{"__debezium.source.column.type":"POLYGON"},"#;
    check(&format!("{mysql}{path}"), r#"{"wkb":"AQE="}"#, "geometry [01, 01] None");
    let polygon = mysql.replace("},", r#","__debezium.source.column.length":"2147483647"},"#);
    check(&format!("{polygon}{path}"), r#"{"wkb":"AQE="}"#, {
        "value_unfit: column \"v\" is no figure (Figure(Geometry, None))"
    });
    let numbers = [("a", "double"), ("b", "double"), ("c", "double")];
    let line = of("struct", "io.debezium.data.geometry.Line", &fields(&numbers));
    check(&line, r#"{"a":1.5,"b":-0.0,"c":"NaN"}"#, "Line([1.5, -0.0, NaN])");
    let vector = |literal: &str, name: &str| {
        format!(r#""name":"io.debezium.data.{name}",{}"#, array(&format!(r#""type":"{literal}""#)))
    };
    check(&vector("float", "FloatVector"), "[0.1,-2]", "[0.1f32, -2.0f32]");
    check(&vector("double", "DoubleVector"), "[0.1,-2]", "[0.1, -2.0]");
    let sparse = r#""type":"struct","name":"io.debezium.data.SparseDoubleVector","fields":[
        {"type":"int16","field":"dimensions"},
        {"type":"map","keys":{"type":"int16"},"values":{"type":"double"},"field":"vector"}]"#;
    check(sparse, r#"{"dimensions":3,"vector":[[1,0.5],[3,2.0]]}"#, {
        "[Int(1), Float64(0.5), Int(3), Float64(2.0)] of 3"
    });
}

#[test]
fn structured_times() {
    let structured = |name: &str, names: &[(&str, &str)]| {
        of("struct", &format!("io.debezium.time.{name}"), &fields(names))
    };
    let day = [("year", "int32"), ("month", "int8"), ("day", "int8")];
    let special = ("specialValue", "string");
    let clock = [
        ("hour", "int8"),
        ("minute", "int8"),
        ("second", "int8"),
        ("nanos", "int32"),
        ("precision", "int32"),
    ];
    let date = structured("StructuredDate", &[day[0], day[1], day[2], special]);
    check(&date, r#"{"year":2016,"month":11,"day":4,"specialValue":null}"#, "day 17109");
    let infinite = r#"{"year":null,"month":null,"day":null,"specialValue":"POSITIVE_INFINITY"}"#;
    check(&date, infinite, "PositiveInfinity");
    check(&date, r#"{"year":0,"month":0,"day":0,"specialValue":null}"#, {
        "value_unfit: column \"v\" is no day of the calendar (StructuredDate)"
    });
    let time = structured("StructuredTime", &clock);
    let noon = r#"{"hour":13,"minute":51,"second":30,"nanos":123456000,"precision":6}"#;
    check(&time, noon, "time 49890123456000");
    let all = [&day[..], &clock[..], &[special, ("offsetSeconds", "int32"), ("zoneId", "string")]];
    let zoned = structured("StructuredZonedTimestamp", &all.concat());
    let late = r#"{"year":294276,"month":12,"day":31,"hour":23,"minute":59,"second":59,
        "nanos":999999000,"precision":6,"specialValue":null,"offsetSeconds":32400,
        "zoneId":"Asia/Seoul"}"#;
    check(&zoned, late, "moment 9224317983599.999999000");
    let parts = ["years", "months", "days", "hours", "minutes"].map(|name| (name, "int32"));
    let rest = [("seconds", "int64"), ("nanos", "int32"), ("precision", "int32")];
    let duration = structured("StructuredDuration", &[&parts[..], &rest[..]].concat());
    let span = r#"{"years":-1,"months":-2,"days":3,"hours":-4,"minutes":-5,"seconds":-6,"nanos":-7,
        "precision":6}"#;
    check(&duration, span, "-14 months 3 days -14706000000007 ns");
}

#[test]
fn null_stays_null_although_the_field_has_a_default() {
    check(r#""type":"int32","default":7"#, "null", "null");
    check(r#""type":"string","default":"seven""#, "null", "null");
    let array = format!(r#""default":[],{}"#, array(r#""type":"int32""#));
    check(&array, "null", "null");
}
