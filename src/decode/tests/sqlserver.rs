//! Golden vectors of SQL Server's types, by its connector's documentation and by what its own tests
//! assert: not seen live, because no server runs here.

use crate::decode::tests::twin::{check, decimal, of, propagated};

fn time(literal: &str, name: &str) -> String {
    of(literal, &format!("io.debezium.time.{name}"), "")
}

#[test]
fn numbers() {
    for (literal, column, values) in [
        ("boolean", "BIT", &["true", "false", "null"][..]),
        ("int16", "TINYINT", &["0", "22", "255"]),
        ("int16", "SMALLINT", &["-32768", "333"]),
        ("int32", "INT", &["-2147483648", "4444"]),
        ("int64", "BIGINT", &["-9223372036854775808", "9223372036854775807"]),
        ("double", "FLOAT", &["3.323", "-1.79e308"]),
    ] {
        for value in values {
            check(&propagated(literal, column), value, value);
        }
    }
    check(&propagated("double", "FLOAT"), "2.23e-308", "2.23e-308");
    check(&propagated("float", "REAL"), "4.323", "4.323f32");
    check(&decimal(3, 6), "\"BGM=\"", "1123e-3");
    check(&decimal(0, 18), "\"Ag==\"", "2e0");
    check(&decimal(0, 38), "\"tMSzV6V5O4X2dd3AAAAAAQ==\"", &format!("-{}e0", "9".repeat(38)));
}

#[test]
fn money_has_four_digits_after_the_point() {
    let (small, large) = (decimal(4, 10), decimal(4, 19));
    check(&small, "\"AM/u\"", "53230e-4");
    check(&small, "\"gAAAAA==\"", "-2147483648e-4");
    check(&small, "\"f////w==\"", "2147483647e-4");
    check(&large, "\"APb+\"", "63230e-4");
    check(&large, "\"gAAAAAAAAAA=\"", "-9223372036854775808e-4");
    check(&large, "\"f/////////8=\"", "9223372036854775807e-4");
    check(&propagated("string", "MONEY"), "\"6.3230\"", "'6.3230'");
    check(&propagated("double", "MONEY"), "6.323", "6.323");
}

#[test]
fn texts_and_octets() {
    check(&propagated("string", "CHAR"), "\"cc \"", "'cc '");
    check(&propagated("string", "NCHAR"), "\"c\u{10d} \"", "'c\u{10d} '");
    check(&propagated("string", "NVARCHAR"), "\"\"", "''");
    check(&propagated("string", "NTEXT"), "\"t\\u010d\\u0000\"", "'t\u{10d}\0'");
    // Its digits are large, and no name says what they are.
    let unique = "\"6F9619FF-8B86-D011-B42D-00C04FC964FF\"";
    check(&propagated("string", "UNIQUEIDENTIFIER"), unique, &unique.replace('"', "'"));
    check(&of("string", "io.debezium.data.Xml", ""), "\"<a>b</a>\"", "'<a>b</a>'");
    let version = "[00, 00, 00, 00, 00, 00, 07, d1]";
    for name in ["ROWVERSION", "TIMESTAMP", "VARBINARY", "IMAGE"] {
        check(&propagated("bytes", name), "\"AAAAAAAAB9E=\"", version);
    }
    check(&propagated("bytes", "VARBINARY"), "\"\"", "[]");
}

#[test]
fn times() {
    check(&time("int32", "Date"), "17725", "day 17725");
    check(&time("int32", "Date"), "-719162", "day -719162");
    check(&time("int32", "Time"), "37425680", "time 37425680000000");
    check(&time("int64", "MicroTime"), "37425678900", "time 37425678900000");
    // A time(7) counts in tenths of a microsecond.
    check(&time("int64", "NanoTime"), "86399999999900", "time 86399999999900");
    check(&time("int64", "Timestamp"), "1531488225780", "wall 1531488225.780000000");
    check(&time("int64", "Timestamp"), "1531491840000", "wall 1531491840.000000000");
    check(&time("int64", "Timestamp"), "-6847804800000", "wall -6847804800.000000000");
    check(&time("int64", "MicroTimestamp"), "1529507596945104", "wall 1529507596.945104000");
    let precise = time("int64", "NanoTimestamp");
    check(&precise, "1531481025340000000", "wall 1531481025.340000000");
    check(&precise, "1531481025340000100", "wall 1531481025.340000100");
    check(&precise, "-100", "wall -1.999999900");
}

#[test]
fn a_datetimeoffset_keeps_its_moment() {
    let zoned = time("string", "ZonedTimestamp");
    check(&zoned, "\"2018-07-13T12:23:45.456+11:00\"", "moment 1531445025.456000000");
    check(&zoned, "\"2018-07-13T12:23:45.4567891-14:00\"", "moment 1531535025.456789100");
    check(&zoned, "\"2018-07-13T12:23:45+05:30\"", "moment 1531464825.000000000");
    check(&zoned, "\"2018-07-13T12:23:45Z\"", "moment 1531484625.000000000");
    check(&zoned, "\"0001-01-01T00:00:00+14:00\"", "moment -62135647200.000000000");
    check(&zoned, "\"9999-12-31T23:59:59.9999999Z\"", "moment 253402300799.999999900");
}

#[test]
fn times_of_kafka_connect() {
    let connect = |literal: &str, name: &str| {
        of(literal, &format!("org.apache.kafka.connect.data.{name}"), "")
    };
    check(&connect("int32", "Date"), "17725", "day 17725");
    check(&connect("int32", "Time"), "37425678", "time 37425678000000");
    check(&connect("int64", "Timestamp"), "1531481025340", "wall 1531481025.340000000");
}
