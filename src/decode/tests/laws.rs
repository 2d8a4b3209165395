//! Laws: any value of a type becomes the text that its source would print, through both formats.
//!
//! Each value is made from its parts, and its text too: the model knows neither literals nor kinds.

mod parts;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use crate::decode::tests::twin::{Twin, of};
use crate::decode::value::Value;
use crate::decode::value::kind::{Kind, SourceColumn};
use crate::table::{Encode, Misfit};
use crate::target::Target as _;
use crate::target::sqlite::{Sqlite, text_of};

/// Writes a value as a target writes its text.
fn canonical(value: Value<'_>, _: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    out.extend(text_of(value).ok_or(Misfit::Type)?.into_bytes());
    Ok(())
}

/// Writes the octets of a target's cell as digits.
fn digits(value: Value<'_>, modifier: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    if !matches!(value, Value::Bytes(_) | Value::Spelled { .. } | Value::Geometry(_)) {
        // The key.
        return canonical(value, modifier, out);
    }
    let source =
        SourceColumn { name: "v".to_owned(), kind: Kind::Bytes, optional: true, source_type: None };
    let column = (Sqlite::DIALECT.column)(&source, false).unwrap();
    let mut cell = Vec::new();
    column.encode.unwrap()(value, modifier, &mut cell)?;
    // Before the octets stands the storage class.
    assert_eq!(cell.remove(0), b'b');
    out.extend(hex(&cell).into_bytes());
    Ok(())
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn check(schema: &str, payload: &str, expected: &str) -> Result<(), TestCaseError> {
    check_by(canonical, schema, payload, expected)
}

fn check_by(
    encode: Encode,
    schema: &str,
    payload: &str,
    expected: &str,
) -> Result<(), TestCaseError> {
    let twin = Twin::new(schema, payload).written_by(encode);
    prop_assert_eq!(twin.json(), expected, "JSON {} {}", schema, payload);
    prop_assert_eq!(twin.avro(), expected, "Avro {} {}", schema, payload);
    Ok(())
}

fn time(literal: &str, name: &str) -> String {
    of(literal, &format!("io.debezium.time.{name}"), "")
}

/// Spells one of Connect's own types of time.
fn connect(literal: &str, name: &str) -> String {
    of(literal, &format!("org.apache.kafka.connect.data.{name}"), "")
}

/// A day of the calendar, and what it is called.
#[derive(Clone, Debug)]
struct Date {
    /// Counted from 1 BC, which is 0.
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    fn any() -> impl Strategy<Value = Self> {
        // Back to the first day that PostgreSQL knows; the last is beyond what a count holds anyway.
        let years = prop_oneof![-4711_i64..=11_000, 1990_i64..2030, 200_000_i64..290_000];
        (years, 1_i64..=12, 1_i64..=31).prop_map(|(year, month, day)| {
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = match month {
                2 if is_leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            Self { year, month, day: day.min(last) }
        })
    }

    /// Counts from 1970, by the days before each month and year.
    fn days(&self) -> i64 {
        const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let month = usize::try_from(self.month - 1).unwrap();
        // The leap day of a year counts from March on.
        let years = if self.month > 2 { self.year + 1 } else { self.year };
        let leap_days = |before: i64| {
            let count = |every: i64| (before + every - 1).div_euclid(every);
            count(4) - count(100) + count(400)
        };
        (self.year - 1970) * 365 + leap_days(years) - leap_days(1970) + BEFORE[month] + self.day - 1
    }

    fn text(&self) -> String {
        let Self { year, month, day } = self;
        let (sign, digits) = match year {
            ..0 => ("-", -year),
            0..=9999 => ("", *year),
            _ => ("+", *year),
        };
        format!("{sign}{digits:04}-{month:02}-{day:02}")
    }
}

/// A time of day to the microsecond.
#[derive(Clone, Debug)]
struct Clock {
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
}

impl Clock {
    fn any() -> impl Strategy<Value = Self> {
        let micros = prop_oneof![0_i64..1_000_000, (0_i64..1000).prop_map(|millis| millis * 1000)];
        let parts = (0_i64..24, 0_i64..60, 0_i64..60, micros);
        parts.prop_map(|(hour, minute, second, micros)| Self { hour, minute, second, micros })
    }

    fn micros(&self) -> i64 {
        (self.hour * 3600 + self.minute * 60 + self.second) * 1_000_000 + self.micros
    }

    fn text(&self) -> String {
        let Self { hour, minute, second, micros } = self;
        format!("{hour:02}:{minute:02}:{second:02}.{micros:06}")
    }
}

/// A span of time, each unit by itself; all of them look the same way.
#[derive(Clone, Debug)]
struct Span {
    is_negative: bool,
    years: i64,
    months: i64,
    days: i64,
    clock: Clock,
}

impl Span {
    fn any() -> impl Strategy<Value = Self> {
        let few = |most: i64| prop_oneof![Just(0), 0..most];
        let calendar = (few(3000), few(12), few(4000), few(90_000));
        (any::<bool>(), calendar, Clock::any(), any::<bool>()).prop_map(
            |(is_negative, (years, months, days, hours), clock, has_clock)| {
                let clock = if has_clock {
                    Clock { hour: hours, ..clock }
                } else {
                    Clock { hour: 0, minute: 0, second: 0, micros: 0 }
                };
                Self { is_negative, years, months, days, clock }
            },
        )
    }

    /// As the source's connector spells it: each unit, each with its sign.
    fn sent(&self) -> String {
        let Self { years, months, days, clock: Clock { hour, minute, second, micros }, .. } = self;
        let sign = |count: i64| if self.is_negative && count != 0 { "-" } else { "" };
        let fraction = format!(".{micros:06}");
        let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
        let second_sign = sign(second + micros);
        format!(
            "P{}{years}Y{}{months}M{}{days}DT{}{hour}H{}{minute}M{second_sign}{second}{fraction}S",
            sign(*years),
            sign(*months),
            sign(*days),
            sign(*hour),
            sign(*minute),
        )
    }

    /// The same without the units of which there are none.
    fn text(&self) -> String {
        let sent = self.sent();
        let (calendar, clock) = sent.split_once('T').unwrap();
        let kept = |text: &str| {
            let units = text.split_inclusive(|letter: char| letter.is_ascii_uppercase());
            units.filter(|unit| !unit.starts_with('0') || unit.contains('.')).collect::<String>()
        };
        let (calendar, clock) = (kept(calendar.strip_prefix('P').unwrap()), kept(clock));
        match (calendar.as_str(), clock.as_str()) {
            ("", "") => "PT0S".to_owned(),
            (calendar, "") => format!("P{calendar}"),
            (calendar, clock) => format!("P{calendar}T{clock}"),
        }
    }
}

/// A document as a database may print it, with all the digits of its numbers.
fn document() -> impl Strategy<Value = String> {
    let text = "[a-zäß😀 ,:{}\\[\\]]{0,8}".prop_map(|text| format!("\"{text}\""));
    let number = "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?";
    let leaf = prop_oneof![Just("null"), Just("true"), Just("false")].prop_map(str::to_owned);
    let leaf = prop_oneof![leaf, number, text.clone()];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        let pairs = prop::collection::vec((text.clone(), inner.clone()), 0..4);
        let members = pairs.prop_map(|pairs| {
            pairs.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>()
        });
        prop_oneof![
            members.prop_map(|members| format!("{{{}}}", members.join(", "))),
            prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(" , "))),
        ]
    })
}

/// Returns the digits of a number in base 256, the highest first, in two's complement.
fn octets(is_negative: bool, digits: &str) -> Vec<u8> {
    let mut limbs = vec![0_u8];
    for digit in digits.bytes() {
        let mut carry = u16::from(digit - b'0');
        for limb in limbs.iter_mut().rev() {
            let product = u16::from(*limb) * 10 + carry;
            [_, *limb] = product.to_be_bytes();
            carry = product >> 8;
        }
        limbs.insert(0, u8::try_from(carry).unwrap());
    }
    limbs.insert(0, 0);
    if is_negative {
        limbs.iter_mut().for_each(|limb| *limb = !*limb);
        for limb in limbs.iter_mut().rev() {
            let (sum, is_carried) = limb.overflowing_add(1);
            *limb = sum;
            if !is_carried {
                break;
            }
        }
    }
    limbs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_integer_keeps_every_digit(number: i64, small: i8) {
        check(r#""type":"int64""#, &number.to_string(), &number.to_string())?;
        check(r#""type":"int8""#, &small.to_string(), &small.to_string())?;
        let [middle, short] = [number >> 32, number >> 48].map(|number| number.to_string());
        check(r#""type":"int32""#, &middle, &middle)?;
        check(r#""type":"int16""#, &short, &short)?;
        check(&time("int32", "Year"), &middle, &middle)?;
        let is_negative = (number < 0).to_string();
        check(r#""type":"boolean""#, &is_negative, &is_negative)?;
        let unsigned = r#""type":"int64","parameters":{"__debezium.source.column.type":"BIGINT UNSIGNED"}"#;
        let wrapped = i128::from(number).rem_euclid(1 << 64);
        check(unsigned, &number.to_string(), &wrapped.to_string())?;
    }

    #[test]
    fn a_decimal_keeps_every_digit(is_negative: bool, digits in "[0-9]{1,60}", scale in 0_usize..30) {
        let payload = format!("\"{}\"", STANDARD.encode(octets(is_negative, &digits)));
        let digits = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let whole = whole.trim_start_matches('0');
        let is_zero = digits.bytes().all(|digit| digit == b'0');
        let sign = if is_negative && !is_zero { "-" } else { "" };
        let whole = if whole.is_empty() { "0" } else { whole };
        let point = if scale == 0 { "" } else { "." };
        let expected = format!("{sign}{whole}{point}{fraction}");
        let fixed = format!(r#","parameters":{{"scale":"{scale}"}}"#);
        check(&of("bytes", "org.apache.kafka.connect.data.Decimal", &fixed), &payload, &expected)?;
        let fields = r#","fields":[{"type":"int32","field":"scale"},{"type":"bytes","field":"value"}]"#;
        let variable = of("struct", "io.debezium.data.VariableScaleDecimal", fields);
        check(&variable, &format!(r#"{{"scale":{scale},"value":{payload}}}"#), &expected)?;
    }

    #[test]
    fn a_day_keeps_its_date(date in Date::any()) {
        let (days, text) = (date.days(), date.text());
        check(&time("int32", "Date"), &days.to_string(), &text)?;
        check(&connect("int32", "Date"), &days.to_string(), &text)?;
        check(&time("string", "IsoDate"), &format!("\"{text}Z\""), &text)?;
        let fields = r#","fields":[{"type":"int32","optional":true,"field":"year"},
            {"type":"int8","optional":true,"field":"month"},
            {"type":"int8","optional":true,"field":"day"},
            {"type":"string","optional":true,"field":"specialValue"}]"#;
        let structured = of("struct", "io.debezium.time.StructuredDate", fields);
        let Date { year, month, day } = date;
        let parts = format!(r#"{{"year":{year},"month":{month},"day":{day},"specialValue":null}}"#);
        check(&structured, &parts, &text)?;
    }

    #[test]
    fn a_time_keeps_its_clock(clock in Clock::any()) {
        let (micros, text) = (clock.micros(), clock.text());
        check(&time("int64", "MicroTime"), &micros.to_string(), &text)?;
        check(&time("int64", "NanoTime"), &(micros * 1000).to_string(), &text)?;
        check(&time("string", "IsoTime"), &format!("\"{text}Z\""), &text)?;
        check(&time("string", "ZonedTime"), &format!("\"{text}+05:30\""), &format!("{text}+05:30"))?;
        if micros % 1000 == 0 {
            check(&time("int32", "Time"), &(micros / 1000).to_string(), &text)?;
            check(&connect("int32", "Time"), &(micros / 1000).to_string(), &text)?;
        }
    }

    #[test]
    fn a_moment_keeps_date_and_clock(date in Date::any(), clock in Clock::any()) {
        let micros = date.days() * 86_400_000_000 + clock.micros();
        let text = format!("{}T{}", date.text(), clock.text());
        check(&time("int64", "MicroTimestamp"), &micros.to_string(), &text)?;
        if micros % 1000 == 0 {
            check(&time("int64", "Timestamp"), &(micros / 1000).to_string(), &text)?;
            check(&connect("int64", "Timestamp"), &(micros / 1000).to_string(), &text)?;
        }
        if let Some(nanos) = micros.checked_mul(1000) {
            check(&time("int64", "NanoTimestamp"), &nanos.to_string(), &text)?;
        }
        check(&time("string", "IsoTimestamp"), &format!("\"{text}Z\""), &text)?;
        check(&time("string", "ZonedTimestamp"), &format!("\"{text}Z\""), &format!("{text}Z"))?;
    }

    #[test]
    fn a_text_keeps_every_letter(text: String) {
        let payload = serde_json::to_string(&text).unwrap();
        check(r#""type":"string""#, &payload, &text)?;
        check(&of("string", "io.debezium.data.Enum", ""), &payload, &text)?;
        check(&of("string", "io.debezium.data.Json", ""), &payload, &text)?;
    }

    #[test]
    fn a_float_keeps_its_value(double: f64, single: f32) {
        let exact = |found: String| found.parse::<f64>().unwrap();
        for (schema, number) in [("double", double), ("float", f64::from(single))] {
            let payload = match number {
                it if it.is_nan() => "\"NaN\"".to_owned(),
                it if it.is_infinite() && it > 0.0 => "\"Infinity\"".to_owned(),
                it if it.is_infinite() => "\"-Infinity\"".to_owned(),
                _ if schema == "float" => format!("{single:?}"),
                _ => format!("{double:?}"),
            };
            let twin = Twin::new(&format!(r#""type":"{schema}""#), &payload).written_by(canonical);
            for found in [twin.json(), twin.avro()] {
                if schema == "float" {
                    let found = found.parse::<f32>().unwrap();
                    prop_assert!(found.to_bits() == single.to_bits() || found.is_nan() && single.is_nan());
                } else {
                    let found = exact(found);
                    prop_assert!(found.to_bits() == double.to_bits() || found.is_nan() && double.is_nan());
                }
            }
        }
    }

    #[test]
    fn octets_stay_as_they_are(octets in prop::collection::vec(any::<u8>(), 0..40)) {
        let payload = format!("\"{}\"", STANDARD.encode(&octets));
        check_by(digits, r#""type":"bytes""#, &payload, &hex(&octets))?;
    }

    #[test]
    fn bits_keep_their_order_and_a_fixed_length(text in "[01]{1,80}") {
        // The lowest bit stands last in the text, and first in the octets.
        let reversed = text.bytes().rev().collect::<Vec<_>>();
        let octet = |bits: &[u8]| {
            bits.iter().rev().fold(0_u8, |octet, bit| octet << 1 | (bit - b'0'))
        };
        let octets = reversed.chunks(8).map(octet).collect::<Vec<_>>();
        let used = octets.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
        let bits = |length: usize| {
            let length = format!(r#","parameters":{{"length":"{length}"}}"#);
            of("bytes", "io.debezium.data.Bits", &length)
        };
        for octets in [&octets[..], &octets[..used]] {
            let payload = format!("\"{}\"", STANDARD.encode(octets));
            check(&bits(text.len()), &payload, &text)?;
            // Zeros in front are lost at the source where the length may be any.
            check(&bits(2_147_483_647), &payload, text.trim_start_matches('0'))?;
        }
    }

    #[test]
    fn a_uuid_keeps_its_digits(number: u128) {
        let digits = format!("{number:032x}");
        let (parts, _) = [8, 4, 4, 4, 12].iter().fold((Vec::new(), &*digits), |(mut parts, rest), length| {
            let (part, rest) = rest.split_at(*length);
            parts.push(part);
            (parts, rest)
        });
        let text = parts.join("-");
        let schema = of("string", "io.debezium.data.Uuid", "");
        check(&schema, &format!("\"{text}\""), &text)?;
        check(&schema, &format!("\"{}\"", text.to_uppercase()), &text)?;
    }

    #[test]
    fn a_document_keeps_every_letter(text in document()) {
        let payload = serde_json::to_string(&text).unwrap();
        check(&of("string", "io.debezium.data.Json", ""), &payload, &text)?;
    }

    #[test]
    fn a_span_keeps_its_units(span in Span::any()) {
        let schema = time("string", "Interval");
        check(&schema, &format!("\"{}\"", span.sent()), &span.text())?;
        // One number has no years, months and days.
        let clock = Span { years: 0, months: 0, days: 0, ..span };
        let micros = if clock.is_negative { -clock.clock.micros() } else { clock.clock.micros() };
        check(&time("int64", "MicroDuration"), &micros.to_string(), &clock.text())?;
    }

    #[test]
    fn a_zoned_time_keeps_its_offset(clock in Clock::any(), minutes in -959_i64..=959) {
        let sign = if minutes < 0 { '-' } else { '+' };
        let (hours, rest) = (minutes.abs() / 60, minutes.abs() % 60);
        let offset = format!("{sign}{hours:02}:{rest:02}");
        let expected = if minutes == 0 { "Z" } else { &*offset };
        let text = clock.text();
        let expected = format!("{text}{expected}");
        check(&time("string", "ZonedTime"), &format!("\"{text}{offset}\""), &expected)?;
    }

    #[test]
    fn a_zoned_moment_is_the_same_in_every_zone(
        date in Date::any(),
        clock in Clock::any(),
        minutes in -720_i64..=720,
    ) {
        // A zone in which it is the same day.
        let local = clock.micros() + minutes * 60_000_000;
        prop_assume!((0..86_400_000_000).contains(&local));
        let (second, micros) = (local / 1_000_000, local % 1_000_000);
        let local = Clock { hour: second / 3600, minute: second / 60 % 60, second: second % 60, micros };
        let sign = if minutes < 0 { '-' } else { '+' };
        let offset = format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60);
        let sent = format!("\"{}T{}{offset}\"", date.text(), local.text());
        let expected = format!("{}T{}Z", date.text(), clock.text());
        check(&time("string", "ZonedTimestamp"), &sent, &expected)?;
    }
}

#[test]
fn the_model_knows_the_first_days_of_known_years() {
    let days = |year, month, day| Date { year, month, day }.days();
    assert_eq!(days(1970, 1, 1), 0);
    assert_eq!(days(2000, 3, 1), 11_017);
    assert_eq!(days(2016, 11, 4), 17_109);
    assert_eq!(days(-4713, 11, 24), -2_440_588);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let date = Date::any().new_tree(&mut runner).unwrap().current();
    assert!((1..=31).contains(&date.day));
}
