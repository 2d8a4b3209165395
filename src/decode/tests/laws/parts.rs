//! The laws of values with parts: structs of times, arrays, maps, figures and vectors; and of octets
//! that a text spells, which no schema tells.

use std::collections::BTreeMap;

use base64::engine::general_purpose::URL_SAFE;

use super::*;
use crate::decode::testing::{Bench, Sample};
use crate::decode::tests::twin::{decimal, fields};
use crate::decode::value::spelling::Spelling;

/// Spells a struct of Debezium's with these fields.
fn structure(name: &str, names: &[(&str, &str)]) -> String {
    of("struct", &format!("io.debezium.{name}"), &fields(names))
}

const DAY: [(&str, &str); 4] =
    [("year", "int32"), ("month", "int8"), ("day", "int8"), ("specialValue", "string")];
const CLOCK: [(&str, &str); 4] =
    [("hour", "int8"), ("minute", "int8"), ("second", "int8"), ("nanos", "int32")];
const OFFSET: [(&str, &str); 1] = [("offsetSeconds", "int32")];

impl Date {
    fn parts(&self) -> String {
        let Self { year, month, day } = self;
        format!(r#""year":{year},"month":{month},"day":{day},"specialValue":null"#)
    }
}

impl Clock {
    fn parts(&self) -> String {
        let Self { hour, minute, second, micros } = self;
        format!(r#""hour":{hour},"minute":{minute},"second":{second},"nanos":{}"#, micros * 1000)
    }
}

/// A number whose fraction is a count of quarters, which every format has exactly.
#[derive(Clone, Copy, Debug)]
struct Quarters(i32);

impl Quarters {
    fn any() -> impl Strategy<Value = Self> {
        any::<i32>().prop_map(Self)
    }

    fn text(self) -> String {
        let (whole, rest) = (self.0.unsigned_abs() / 4, self.0.unsigned_abs() % 4);
        let sign = if self.0 < 0 { "-" } else { "" };
        format!("{sign}{whole}{}", ["", ".25", ".5", ".75"][usize::try_from(rest).unwrap()])
    }

    fn double(self) -> f64 {
        f64::from(self.0) / 4.0
    }
}

/// The octets of a point as a geometry, in either order.
fn point(is_little: bool, geometry_type: u32, srid: Option<u32>, place: [f64; 2]) -> Vec<u8> {
    let mut octets = vec![u8::from(is_little)];
    let number = |number: u32| if is_little { number.to_le_bytes() } else { number.to_be_bytes() };
    octets.extend(number(geometry_type));
    octets.extend(srid.into_iter().flat_map(number));
    for number in place {
        octets.extend(if is_little { number.to_le_bytes() } else { number.to_be_bytes() });
    }
    octets
}

/// Prints what JSON prints of a list.
fn list<T>(items: &[T], print: impl Fn(&T) -> String) -> String {
    format!("[{}]", items.iter().map(print).collect::<Vec<_>>().join(","))
}

fn array(items: &str) -> String {
    format!(r#""type":"array","items":{{"optional":true,{items}}}"#)
}

fn vector(literal: &str, name: &str) -> String {
    format!(r#""name":"io.debezium.data.{name}",{}"#, array(&format!(r#""type":"{literal}""#)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_structured_time_keeps_its_parts(date in Date::any(), clock in Clock::any()) {
        let (day, parts) = (date.parts(), clock.parts());
        let time = structure("time.StructuredTime", &CLOCK);
        check(&time, &format!("{{{parts}}}"), &clock.text())?;
        let timestamp = structure("time.StructuredTimestamp", &[&DAY[..], &CLOCK].concat());
        let text = format!("{}T{}", date.text(), clock.text());
        check(&timestamp, &format!("{{{day},{parts}}}"), &text)?;
    }

    #[test]
    fn a_structured_zoned_time_keeps_its_moment(
        date in Date::any(),
        clock in Clock::any(),
        minutes in -720_i64..=720,
    ) {
        let seconds = format!(r#""offsetSeconds":{}"#, minutes * 60);
        let sign = if minutes < 0 { '-' } else { '+' };
        let offset = format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60);
        let offset = if minutes == 0 { "Z" } else { &*offset };
        let time = structure("time.StructuredZonedTime", &[&CLOCK[..], &OFFSET].concat());
        let text = format!("{}{offset}", clock.text());
        check(&time, &format!("{{{},{seconds}}}", clock.parts()), &text)?;
        // A moment that is on the same day there and in UTC.
        let utc = clock.micros() - minutes * 60_000_000;
        prop_assume!((0..86_400_000_000).contains(&utc));
        let (second, micros) = (utc / 1_000_000, utc % 1_000_000);
        let utc = Clock { hour: second / 3600, minute: second / 60 % 60, second: second % 60, micros };
        let all = [&DAY[..], &CLOCK, &OFFSET].concat();
        let timestamp = structure("time.StructuredZonedTimestamp", &all);
        let parts = format!("{{{},{},{seconds}}}", date.parts(), clock.parts());
        check(&timestamp, &parts, &format!("{}T{}Z", date.text(), utc.text()))?;
    }

    #[test]
    fn a_structured_span_keeps_its_units(span in Span::any()) {
        let names = ["years", "months", "days", "hours", "minutes"].map(|name| (name, "int32"));
        let all = [&names[..], &[("seconds", "int64"), ("nanos", "int32")]].concat();
        let Span { years, months, days, clock: Clock { hour, minute, second, micros }, .. } = span;
        let counts = [years, months, days, hour, minute, second, micros * 1000];
        let sign = if span.is_negative { -1 } else { 1 };
        let parts = all.iter().zip(counts).map(|((name, _), count)| format!(r#""{name}":{}"#, count * sign));
        let parts = format!("{{{}}}", parts.collect::<Vec<_>>().join(","));
        check(&structure("time.StructuredDuration", &all), &parts, &span.text())?;
    }

    #[test]
    fn a_map_keeps_its_names_and_texts(pairs: BTreeMap<String, Option<String>>) {
        let map = r#""type":"map","keys":{"type":"string"},"values":{"type":"string","optional":true}"#;
        let text = serde_json::to_string(&pairs).unwrap();
        check(map, &text, &text)?;
    }

    #[test]
    fn a_figure_keeps_its_numbers(x in Quarters::any(), y in Quarters::any(), z in Quarters::any()) {
        let [x, y, z] = [x, y, z].map(Quarters::text);
        let numbers = |names: [&'static str; 3]| names.map(|name| (name, "double"));
        let line = structure("data.geometry.Line", &numbers(["a", "b", "c"]));
        check(&line, &format!(r#"{{"a":{x},"b":{y},"c":{z}}}"#), &format!("{{{x},{y},{z}}}"))?;
        let place = [("x", "double"), ("y", "double"), ("wkb", "bytes"), ("srid", "int32")];
        let payload = format!(r#"{{"x":{x},"y":{y},"wkb":null,"srid":null}}"#);
        check(&structure("data.geometry.Point", &place), &payload, &format!("({x},{y})"))?;
        let place = r#"{"type":"struct","field":"center","fields":[
            {"type":"double","field":"x"},{"type":"double","field":"y"}]}"#;
        let radius = r#"{"type":"double","field":"radius"}"#;
        let rest = format!(r#","fields":[{place},{radius}]"#);
        let circle = of("struct", "io.debezium.data.geometry.Circle", &rest);
        let payload = format!(r#"{{"center":{{"x":{x},"y":{y}}},"radius":{z}}}"#);
        check(&circle, &payload, &format!("<({x},{y}),{z}>"))?;
    }

    #[test]
    fn a_geometry_keeps_its_octets_and_gets_its_reference_system(
        x in Quarters::any(),
        y in Quarters::any(),
        is_little: bool,
        srid in prop::option::of(1_u32..=998_999),
    ) {
        const HAS_SRID: u32 = 0x2000_0000;
        let place = [x.double(), y.double()];
        let expected = match srid {
            Some(srid) => point(is_little, 1 | HAS_SRID, Some(srid), place),
            None => point(is_little, 1, None, place),
        };
        let told = srid.map_or("null".to_owned(), |srid| srid.to_string());
        // With the reference system in the octets as well, and without.
        for octets in [point(is_little, 1, None, place), expected.clone()] {
            let payload = format!(r#"{{"wkb":"{}","srid":{told}}}"#, STANDARD.encode(octets));
            for name in ["Geometry", "Geography"] {
                let name = format!("data.geometry.{name}");
                let schema = structure(&name, &[("wkb", "bytes"), ("srid", "int32")]);
                check_by(digits, &schema, &payload, &hex(&expected))?;
            }
        }
    }

    #[test]
    fn a_vector_keeps_its_numbers(
        singles in prop::collection::vec(prop::num::f32::NORMAL | prop::num::f32::ZERO, 1..5),
        doubles in prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::ZERO, 1..5),
        sparse in prop::collection::btree_map(1_i16..100, Quarters::any(), 0..5),
    ) {
        let text = list(&singles, |it| format!("{it:?}"));
        check(&vector("float", "FloatVector"), &text, &text)?;
        let text = list(&doubles, |it| format!("{it:?}"));
        check(&vector("double", "DoubleVector"), &text, &text)?;
        let schema = r#""type":"struct","name":"io.debezium.data.SparseDoubleVector","fields":[
            {"type":"int16","field":"dimensions"},
            {"type":"map","keys":{"type":"int16"},"values":{"type":"double"},"field":"vector"}]"#;
        let pairs = sparse.iter().map(|(at, it)| (at, it.text())).collect::<Vec<_>>();
        let sent = list(&pairs, |(at, it)| format!("[{at},{it}]"));
        let text = list(&pairs, |(at, it)| format!("{at}:{it}")).replace('[', "{").replace(']', "}");
        check(schema, &format!(r#"{{"dimensions":100,"vector":{sent}}}"#), &format!("{text}/100"))?;
    }

    #[test]
    fn an_array_keeps_its_elements(
        numbers in prop::collection::vec(any::<Option<i64>>(), 0..5),
        texts in prop::collection::vec(any::<Option<String>>(), 0..5),
        truths in prop::collection::vec(any::<Option<bool>>(), 0..5),
        date in Date::any(),
        clock in Clock::any(),
        number: i32,
        uuid in "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    ) {
        let text = serde_json::to_string(&numbers).unwrap();
        check(&array(r#""type":"int64""#), &text, &text)?;
        let text = serde_json::to_string(&truths).unwrap();
        check(&array(r#""type":"boolean""#), &text, &text)?;
        let text = serde_json::to_string(&texts).unwrap();
        check(&array(r#""type":"string""#), &text, &text)?;
        let labels = r#","parameters":{"allowed":"low,high"}"#;
        check(&array(&of("string", "io.debezium.data.Enum", labels)), &text, &text)?;
        let micros = date.days() * 86_400_000_000 + clock.micros();
        let moment = format!("{}T{}", date.text(), clock.text());
        let octets = number.to_be_bytes();
        let base64 = format!("\"{}\"", STANDARD.encode(octets));
        let (units, cents) = (number.unsigned_abs() / 100, number.unsigned_abs() % 100);
        let amount = format!("{}{units}.{cents:02}", if number < 0 { "-" } else { "" });
        for (items, sent, expected) in [
            (r#""type":"int32""#.to_owned(), number.to_string(), number.to_string()),
            (r#""type":"bytes""#.to_owned(), base64.clone(), format!("\"{}\"", hex(&octets))),
            (decimal(2, 12), base64, format!("\"{amount}\"")),
            (time("int32", "Date"), date.days().to_string(), format!("\"{}\"", date.text())),
            (time("int64", "MicroTime"), clock.micros().to_string(), format!("\"{}\"", clock.text())),
            (time("int64", "MicroTimestamp"), micros.to_string(), format!("\"{moment}\"")),
            (time("string", "ZonedTimestamp"), format!("\"{moment}Z\""), format!("\"{moment}Z\"")),
            (of("string", "io.debezium.data.Uuid", ""), format!("\"{uuid}\""), format!("\"{uuid}\"")),
        ] {
            let [sent, expected] = [sent, expected].map(|item| format!("[{item},null,{item}]"));
            check(&array(&items), &sent, &expected)?;
        }
    }

    #[test]
    fn octets_that_a_text_spells_are_those(octets in prop::collection::vec(any::<u8>(), 0..40)) {
        let spelled = [
            (Spelling::Hex, hex(&octets)),
            (Spelling::Hex, hex(&octets).to_uppercase()),
            (Spelling::Base64, STANDARD.encode(&octets)),
            (Spelling::Base64UrlSafe, URL_SAFE.encode(&octets)),
        ];
        for (spelling, text) in spelled {
            let mut bench = Bench::default();
            bench.encode = digits;
            bench.kinds = vec![("t.id", Kind::Int64), ("t.v", Kind::Encoded(spelling))];
            let value = format!(
                r#"{{"after":{{"id":1,"v":"{text}"}},"op":"c","source":{{"schema":"public","table":"t"}}}}"#
            );
            let found = bench.decode(&Sample::new("s.public.t", Some(r#"{"id":1}"#), Some(&value)));
            prop_assert_eq!(found, format!("Create t id=1 v={}", hex(&octets)), "{:?}", spelling);
        }
    }
}
