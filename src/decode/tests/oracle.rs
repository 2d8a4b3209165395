//! Golden vectors of Oracle's types, by its connector's documentation and by what its own tests assert:
//! not seen live, because no server runs here.

use crate::decode::testing::{Bench, Sample};
use crate::decode::tests::twin::{VARIABLE, check, decimal, of, propagated};
use crate::decode::value::kind::Kind;

fn time(literal: &str, name: &str) -> String {
    of(literal, &format!("io.debezium.time.{name}"), "")
}

#[test]
fn a_number_without_scale_says_it_in_each_value() {
    for (value, expected) in [
        (r#"{"scale":3,"value":"AS4L"}"#, "77323e-3"),
        (r#"{"scale":2,"value":"AU0="}"#, "333e-2"),
        (r#"{"scale":0,"value":"TQ=="}"#, "77e0"),
        (r#"{"scale":-2,"value":"CQ=="}"#, "9e2"),
        (r#"{"scale":-125,"value":"/w=="}"#, "-1e125"),
        (r#"{"scale":130,"value":"AQ=="}"#, "1e-130"),
        (r#"{"scale":0,"value":"SztMqFqGxHoJiiI//////w=="}"#, &format!("{}e0", "9".repeat(38))),
        ("null", "null"),
    ] {
        check(VARIABLE, value, expected);
    }
}

#[test]
fn a_number_with_digits_is_as_wide_as_they_are() {
    for (literal, value) in [
        ("int8", "-99"),
        ("int16", "9999"),
        ("int32", "999999999"),
        ("int64", "999999999999999999"),
        // The last digits of number(16,-2) are rounded away.
        ("int64", "999999999999999900"),
    ] {
        check(&propagated(literal, "NUMBER"), value, value);
    }
    check(&decimal(0, 38), "\"Fg==\"", "22e0");
    check(&decimal(6, 10), "\"Q9Dw\"", "4444400e-6");
    check(&decimal(6, 10), "\"SZYC0w==\"", "1234567891e-6");
    let hundreds = format!("{}e2", "9".repeat(36));
    check(&decimal(-2, 36), "\"AMCXznvJBxWzS58P/////w==\"", &hundreds);
}

#[test]
fn floats() {
    check(&propagated("float", "BINARY_FLOAT"), "1.1", "1.1f32");
    check(&propagated("float", "BINARY_FLOAT"), "\"NaN\"", "NaNf32");
    check(&propagated("double", "BINARY_DOUBLE"), "2.22", "2.22");
    check(&propagated("double", "BINARY_DOUBLE"), "\"-Infinity\"", "-inf");
    // decimal.handling.mode of another value than precise.
    check(&propagated("double", "NUMBER"), "77.323", "77.323");
    check(&propagated("string", "NUMBER"), "\"77.323\"", "'77.323'");
}

#[test]
fn texts_and_octets() {
    check(&propagated("string", "VARCHAR2"), "\"v\u{10d}2\"", "'v\u{10d}2'");
    check(&propagated("string", "CHAR"), "\"c  \"", "'c  '");
    check(&propagated("string", "CLOB"), "\"TestClob123\"", "'TestClob123'");
    check(&propagated("string", "ROWID"), "\"AAASgjAAMAAAACnAAA\"", "'AAASgjAAMAAAACnAAA'");
    check(&propagated("bytes", "RAW"), "\"AAH/\"", "[00, 01, ff]");
    check(&of("string", "io.debezium.data.Xml", ""), "\"<a/>\"", "'<a/>'");
}

#[test]
fn a_large_object_that_did_not_change_is_not_there() {
    let text = "\"__debezium_unavailable_value\"";
    let octets = "\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\"";
    let missing = "Create partial t id=1 v=unavailable";
    check(&propagated("string", "CLOB"), text, missing);
    check(&propagated("string", "NCLOB"), text, missing);
    check(&propagated("bytes", "BLOB"), octets, missing);
    check(&of("string", "io.debezium.data.Xml", ""), text, missing);
}

#[test]
fn times() {
    // A DATE has a clock.
    check(&time("int64", "Timestamp"), "1522108800000", "wall 1522108800.000000000");
    check(&time("int64", "Timestamp"), "71863286400000", "wall 71863286400.000000000");
    check(&time("int64", "Timestamp"), "1522154096130", "wall 1522154096.130000000");
    check(&time("int64", "MicroTimestamp"), "1522154096007890", "wall 1522154096.007890000");
    check(&time("int64", "NanoTimestamp"), "1522154096125456789", "wall 1522154096.125456789");
    let zoned = time("string", "ZonedTimestamp");
    check(&zoned, "\"2018-03-27T01:34:56.007890-11:00\"", "moment 1522154096.007890000");
    check(&zoned, "\"2018-03-27T01:34:56.00789-11:00\"", "moment 1522154096.007890000");
    check(&zoned, "\"2018-03-27T12:34:56.123456789Z\"", "moment 1522154096.123456789");
}

#[test]
fn intervals() {
    let micros = time("int64", "MicroDuration");
    // 3 years and 6 months, at 30.4375 days a month.
    check(&micros, "-110451600000000", "0 months 0 days -110451600000000000 ns");
    check(&micros, "-93784560000", "0 months 0 days -93784560000000 ns");
    let text = time("string", "Interval");
    check(&text, "\"P-3Y-6M0DT0H0M0S\"", "-42 months 0 days 0 ns");
    check(&text, "\"P0Y0M-1DT-2H-3M-4.56S\"", "0 months -1 days -7384560000000 ns");
}

#[test]
fn a_number_and_a_rowid_identify_rows() {
    let check = |key: &str, row: &str, expected: &str| {
        let mut bench = Bench::default();
        bench.kinds = vec![("T.ID", Kind::VariableScaleDecimal), ("T.RID", Kind::Text)];
        let source = r#"{"connector":"oracle","name":"s","db":"D","schema":"A","table":"T"}"#;
        let value = format!(r#"{{"before":null,"after":{row},"source":{source},"op":"c"}}"#);
        assert_eq!(bench.decode(&Sample::new("s.A.T", Some(key), Some(&value))), expected);
    };
    let number = r#"{"scale":0,"value":"AQ=="}"#;
    let row = format!(r#"{{"ID":{number},"RID":"AAASgjAAMAAAACnAAA"}}"#);
    let expected = "Create T ID=1e0 RID='AAASgjAAMAAAACnAAA'";
    check(&format!(r#"{{"ID":{number}}}"#), &row, expected);
    check(r#"{"RID":"AAASgjAAMAAAACnAAA"}"#, &row, expected);
}
