//! Golden vectors of MySQL's types, by what its connector's code and documentation say: not seen live,
//! because no server of MySQL runs here. Most types are MariaDB's; the names that differ are JSON,
//! VECTOR, `int8` and the structured times.

use crate::decode::tests::twin::{check, decimal, fields, of, propagated};

#[test]
fn numbers() {
    for (literal, column, values) in [
        ("boolean", "BOOLEAN", &["true", "false", "null"][..]),
        ("int8", "TINYINT", &["-128", "127"]),
        // A snapshot's, or an older connector's.
        ("int16", "TINYINT", &["0", "1", "-128"]),
        ("int16", "TINYINT UNSIGNED", &["0", "255"]),
        ("int16", "SMALLINT", &["-32768", "32767"]),
        ("int32", "SMALLINT UNSIGNED", &["65535"]),
        ("int32", "MEDIUMINT", &["-8388608", "8388607"]),
        ("int32", "MEDIUMINT UNSIGNED", &["16777215"]),
        ("int32", "INT", &["-2147483648", "2147483647"]),
        ("int64", "INT UNSIGNED", &["4294967295"]),
        ("int64", "BIGINT", &["-9223372036854775808", "9223372036854775807"]),
    ] {
        for value in values {
            check(&propagated(literal, column), value, value);
        }
    }
    for name in ["INT8 UNSIGNED", "BIGINT ZEROFILL", "BIGINT UNSIGNED ZEROFILL", "SERIAL"] {
        check(&propagated("int64", name), "-1", "unsigned 18446744073709551615");
    }
    check(&propagated("int64", "INT8"), "-1", "-1");
    check(&propagated("int64", "BIGSERIAL"), "-1", "-1");
    let unsigned = propagated("int64", "BIGINT UNSIGNED");
    check(&unsigned, "9223372036854775807", "unsigned 9223372036854775807");
    check(&unsigned, "-9223372036854775808", "unsigned 9223372036854775808");
    check(&unsigned, "-1", "unsigned 18446744073709551615");
    check(&decimal(0, 20), "\"AP//////////\"", "18446744073709551615e0");
    check(&decimal(30, 38), "\"SztMqFqGxHoJiiI//////w==\"", &format!("{}e-30", "9".repeat(38)));
    check(&propagated("float", "FLOAT"), "3.4028235e38", "3.4028235e38f32");
    check(&propagated("double", "DOUBLE"), "1.7976931348623157e308", "1.7976931348623157e308");
    check(&of("int32", "io.debezium.time.Year", ""), "1901", "1901");
    check(&of("int32", "io.debezium.time.Year", ""), "2155", "2155");
    check(&of("int32", "io.debezium.time.Year", ""), "0", "0");
}

#[test]
fn texts_octets_and_bits() {
    check(&propagated("string", "LONGTEXT"), "\"\\u0000 😀  \"", "'\0 😀  '");
    check(&propagated("bytes", "BINARY"), "\"AQAAAA==\"", "[01, 00, 00, 00]");
    check(&propagated("bytes", "LONGBLOB"), "\"\"", "[]");
    let json = of("string", "io.debezium.data.Json", "");
    check(&json, r#""{\"a\": 1.10, \"b\": 18446744073709551615}""#, {
        r#"json {"a": 1.10, "b": 18446744073709551615}"#
    });
    check(&json, "\"null\"", "json null");
    check(&json, "null", "null");
    let listed = |name: &str| of("string", name, r#","parameters":{"allowed":"a,b"}"#);
    // What is no member of an enum is its empty text.
    check(&listed("io.debezium.data.Enum"), "\"\"", "''");
    check(&listed("io.debezium.data.EnumSet"), "\"a,b\"", "'a,b'");
    let bits = of("bytes", "io.debezium.data.Bits", r#","parameters":{"length":"64"}"#);
    check(&bits, "\"2w5uAQAAAAA=\"", "bits [219, 14, 110, 1, 0, 0, 0, 0] Some(64)");
    check(&propagated("boolean", "BIT"), "true", "true");
}

#[test]
fn times() {
    let time = |literal: &str, name: &str| of(literal, &format!("io.debezium.time.{name}"), "");
    check(&time("int32", "Date"), "-354285", "day -354285");
    check(&time("int32", "Date"), "2932896", "day 2932896");
    check(&time("int32", "Date"), "null", "null");
    check(&time("int64", "MicroTime"), "3020399000000", "time 3020399000000000");
    check(&time("int64", "MicroTime"), "-3020399000000", "time -3020399000000000");
    check(&time("int64", "Timestamp"), "253402300799999", "wall 253402300799.999000000");
    check(&time("int64", "MicroTimestamp"), "-30610224000000000", "wall -30610224000.000000000");
    check(&time("int64", "MicroTimestamp"), "253402300799999999", {
        "wall 253402300799.999999000"
    });
    let zoned = time("string", "ZonedTimestamp");
    check(&zoned, "\"2038-01-19T03:14:07Z\"", "moment 2147483647.000000000");
    check(&zoned, "\"1970-01-01T00:00:01.123Z\"", "moment 1.123000000");
    check(&zoned, "\"1970-01-01T00:00:01.123456Z\"", "moment 1.123456000");
}

#[test]
fn structured_times() {
    let structured = |name: &str, names: &[(&str, &str)]| {
        of("struct", &format!("io.debezium.time.{name}"), &fields(names))
    };
    let day = [("year", "int32"), ("month", "int8"), ("day", "int8"), ("specialValue", "string")];
    let date = structured("StructuredDate", &day);
    check(&date, r#"{"year":9999,"month":12,"day":31,"specialValue":null}"#, "day 2932896");
    check(&date, r#"{"year":2024,"month":0,"day":0,"specialValue":null}"#, {
        "value_unfit: column \"v\" is no day of the calendar (StructuredDate)"
    });
    let parts = ["years", "months", "days", "hours", "minutes"].map(|name| (name, "int32"));
    let rest = [("seconds", "int64"), ("nanos", "int32"), ("precision", "int32")];
    let duration = structured("StructuredDuration", &[&parts[..], &rest[..]].concat());
    let span = r#"{"years":0,"months":0,"days":0,"hours":-838,"minutes":-59,"seconds":-59,"nanos":0,
        "precision":0}"#;
    check(&duration, span, "0 months 0 days -3020399000000000 ns");
}

#[test]
fn places_and_vectors() {
    let shape = [("x", "double"), ("y", "double"), ("wkb", "bytes"), ("srid", "int32")];
    let point = of("struct", "io.debezium.data.geometry.Point", &fields(&shape));
    check(&point, r#"{"x":1.5,"y":-2.0,"wkb":"AQE=","srid":4326}"#, {
        "point 1.5 -2 [01, 01] Some(4326)"
    });
    let geometry = fields(&[("wkb", "bytes"), ("srid", "int32")]);
    let geometry = of("struct", "io.debezium.data.geometry.Geometry", &geometry);
    check(&geometry, r#"{"wkb":"AQE=","srid":null}"#, "geometry [01, 01] None");
    let items = r#","items":{"type":"float","optional":true}"#;
    let vector = of("array", "io.debezium.data.FloatVector", items);
    check(&vector, "[0.1,-2,3.4028235e38]", "[0.1f32, -2.0f32, 3.4028235e38f32]");
}
