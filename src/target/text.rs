//! The text of a value: one canonical form for each kind, so that equal values are equal bytes.
//!
//! Times are ISO 8601 with six digits after the point, nine where a value has them: the width does
//! not follow the source's declared precision, which may change under a column that cannot.

use std::io::Write as _;

use crate::decode::value::{Day, Decimal, Interval, Moment, Special, Value};
use crate::table::Misfit;
use crate::target::{figure_text, parts_text};

/// PostgreSQL's own limit for digits after the point.
const SCALE_MAX: usize = 16_383;

/// No column declares more digits after the point: a Debezium decimal with more has trailing zeros
/// from a negative scale that was read without its sign.
const DECLARED_SCALE_MAX: usize = 1000;

/// PostgreSQL's limit for digits before the point.
const ZEROS_MAX: usize = 131_072;

/// Bounds the time that printing takes, which grows with the square of the length.
const UNSCALED_BYTES_MAX: usize = 64 << 10;

/// Bounds what a schema's length alone can make us write.
const BITS_MAX: usize = 64 << 10;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// Writes a value's text.
pub(crate) fn write(value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Misfit> {
    match value {
        Value::Null
        | Value::Unavailable
        | Value::Bytes(_)
        | Value::Spelled { .. }
        | Value::Geometry(_) => return Err(Misfit::Type),
        Value::Bool(value) => print(out, format_args!("{value}")),
        Value::Int(value) => print(out, format_args!("{value}")),
        Value::Float32(value) if value.is_finite() => print(out, format_args!("{value}")),
        Value::Float32(value) => out.extend_from_slice(no_number(value.into())),
        Value::Float64(value) => write_double(value, out),
        Value::Decimal(value) => write_decimal(value, out)?,
        Value::DecimalSpecial(Special::NaN) => out.extend_from_slice(b"NaN"),
        Value::DecimalSpecial(Special::PositiveInfinity) => out.extend_from_slice(b"Infinity"),
        Value::DecimalSpecial(Special::NegativeInfinity) => out.extend_from_slice(b"-Infinity"),
        Value::Text(value) | Value::Json(value) => out.extend_from_slice(value.as_bytes()),
        Value::Bits { octets, length } => write_bits(octets, length, out)?,
        Value::Uuid(value) => print(out, format_args!("{}", value.hyphenated())),
        Value::Date(Day::Finite(days)) => write_date(i64::from(days), out),
        Value::Date(Day::PositiveInfinity) => out.extend_from_slice(b"infinity"),
        Value::Date(Day::NegativeInfinity) => out.extend_from_slice(b"-infinity"),
        Value::Time(nanos) => write_time(nanos, out),
        Value::TimeZoned { nanos, offset } => {
            write_time(nanos, out);
            write_offset(offset, out);
        }
        Value::Timestamp(moment) => write_moment(moment, "", out),
        Value::TimestampZoned(moment) => write_moment(moment, "Z", out),
        Value::Interval(interval) => write_interval(interval, out),
        Value::Unsigned(value) => print(out, format_args!("{value}")),
        Value::Array(_) | Value::Map(_) => parts_text::write_json(value, out)?,
        Value::Point(point) => figure_text::write_point(point, out)?,
        Value::Figure(figure) => figure_text::write_figure(figure, out),
        Value::SparseVector { dimensions, elements } => {
            parts_text::write_sparse(dimensions, elements, out)?;
        }
    }
    Ok(())
}

/// Writes a number of double precision, by the fewest digits that tell it from others.
pub(crate) fn write_double(value: f64, out: &mut Vec<u8>) {
    match value.is_finite() {
        true => print(out, format_args!("{value}")),
        false => out.extend_from_slice(no_number(value)),
    }
}

/// Names a float that is no number as JSON and PostgreSQL do.
fn no_number(value: f64) -> &'static [u8] {
    match value {
        _ if value.is_nan() => b"NaN",
        _ if value > 0.0 => b"Infinity",
        _ => b"-Infinity",
    }
}

/// Returns a moment as text, as columns for the time of writing hold it.
pub(crate) fn of_moment(seconds: i64, nanos: u32) -> String {
    let mut out = Vec::new();
    write_moment(Moment::Finite { seconds, nanos: nanos / 1000 * 1000 }, "Z", &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Returns a decimal that is an integer of 64 bits.
pub(crate) fn integer(value: Decimal<'_>) -> Result<i64, Misfit> {
    let mut out = Vec::new();
    write_decimal(value, &mut out)?;
    let text = std::str::from_utf8(&out).map_err(|_| Misfit::Form)?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.bytes().any(|digit| digit != b'0') {
        return Err(Misfit::Range);
    }
    whole.parse().map_err(|_| Misfit::Range)
}

/// Appends a formatted text.
pub(crate) fn print(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes every byte");
}

fn write_decimal(value: Decimal<'_>, out: &mut Vec<u8>) -> Result<(), Misfit> {
    match value {
        Decimal::Binary { unscaled, scale } => {
            let (is_negative, digits) = digits_of(unscaled)?;
            write_digits(is_negative, digits, i64::from(scale), out)
        }
        Decimal::Text(text) => {
            let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
            let (number, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            let digits = format!("{whole}{fraction}");
            if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
                return Err(Misfit::Form);
            }
            let exponent = exponent.parse::<i32>().map_err(|_| Misfit::Form)?;
            let fraction = i64::try_from(fraction.len()).map_err(|_| Misfit::Length)?;
            write_digits(text.starts_with('-'), digits, fraction - i64::from(exponent), out)
        }
    }
}

/// Prints a big-endian two's complement integer.
fn digits_of(unscaled: &[u8]) -> Result<(bool, String), Misfit> {
    let is_negative = unscaled.first().is_some_and(|first| *first >= 0x80);
    if unscaled.len() <= 16 {
        let mut bytes = [if is_negative { 0xff } else { 0 }; 16];
        for (byte, value) in bytes.iter_mut().rev().zip(unscaled.iter().rev()) {
            *byte = *value;
        }
        return Ok((is_negative, i128::from_be_bytes(bytes).unsigned_abs().to_string()));
    }
    if unscaled.len() > UNSCALED_BYTES_MAX {
        return Err(Misfit::Length);
    }
    let mut limbs = limbs_of(unscaled, is_negative);
    let mut groups = Vec::new();
    while !limbs.is_empty() {
        let mut rest = 0u64;
        for limb in &mut limbs {
            let dividend = (rest << 32) | u64::from(*limb);
            rest = dividend % 1_000_000_000;
            *limb = u32::try_from(dividend / 1_000_000_000).unwrap_or(u32::MAX);
        }
        let leading = limbs.iter().take_while(|limb| **limb == 0).count();
        limbs.drain(..leading);
        groups.push(rest);
    }
    let groups = groups.iter().rev().map(|group| format!("{group:09}"));
    Ok((is_negative, groups.collect()))
}

/// Returns the magnitude in groups of 32 bits, the highest first.
fn limbs_of(unscaled: &[u8], is_negative: bool) -> Vec<u32> {
    let mask = if is_negative { u32::MAX } else { 0 };
    let mut limbs = unscaled
        .rchunks(4)
        .map(|chunk| {
            let fill = if is_negative { u32::MAX } else { 0 };
            let limb = chunk.iter().fold(fill, |limb, byte| (limb << 8) | u32::from(*byte));
            limb ^ mask
        })
        .collect::<Vec<_>>();
    if is_negative {
        for limb in &mut limbs {
            let (sum, is_carried) = limb.overflowing_add(1);
            *limb = sum;
            if !is_carried {
                break;
            }
        }
    }
    limbs.reverse();
    limbs
}

/// Writes a sign, digits and a point before the last `scale` digits.
fn write_digits(
    is_negative: bool,
    digits: String,
    scale: i64,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    let mut digits = digits.trim_start_matches('0').to_owned();
    let is_zero = digits.is_empty();
    let mut scale = scale;
    if scale < 0 {
        let zeros = usize::try_from(-scale).map_err(|_| Misfit::Range)?;
        if !is_zero && zeros > ZEROS_MAX {
            return Err(Misfit::Range);
        }
        digits.extend(std::iter::repeat_n('0', if is_zero { 0 } else { zeros }));
        scale = 0;
    }
    let mut scale = usize::try_from(scale).map_err(|_| Misfit::Range)?;
    if is_zero {
        scale = if scale > DECLARED_SCALE_MAX { 0 } else { scale };
    }
    if scale > DECLARED_SCALE_MAX {
        let kept = digits.trim_end_matches('0').len();
        let cut = (digits.len() - kept).min(scale);
        digits.truncate(digits.len() - cut);
        scale -= cut;
    }
    if scale > SCALE_MAX {
        return Err(Misfit::Range);
    }
    let missing = (scale + 1).saturating_sub(digits.len());
    digits.insert_str(0, &"0".repeat(missing));
    if is_negative && !is_zero {
        out.push(b'-');
    }
    let (whole, fraction) = digits.split_at_checked(digits.len() - scale).ok_or(Misfit::Form)?;
    out.extend_from_slice(whole.as_bytes());
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    }
    Ok(())
}

/// Writes the bits with the most significant first; without a length, from the highest that is set,
/// because the source loses the zeros before it.
fn write_bits(octets: &[u8], length: Option<u32>, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let stored = octets.len() * 8;
    let is_set = |bit: usize| octets.get(bit / 8).is_some_and(|octet| octet >> (bit % 8) & 1 == 1);
    let used = (0..stored).rev().find(|bit| is_set(*bit)).map_or(0, |bit| bit + 1);
    let length = match length {
        Some(length) => usize::try_from(length).map_err(|_| Misfit::Length)?,
        None => used,
    };
    if used > length || length > stored.max(BITS_MAX) {
        return Err(Misfit::Range);
    }
    out.extend((0..length).rev().map(|bit| if is_set(bit) { b'1' } else { b'0' }));
    Ok(())
}

fn write_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil(days);
    match year {
        0..=9999 => print(out, format_args!("{year:04}-{month:02}-{day:02}")),
        10_000.. => print(out, format_args!("+{year}-{month:02}-{day:02}")),
        ..0 => print(out, format_args!("-{:04}-{month:02}-{day:02}", -year)),
    }
}

/// Returns year, month and day of the proleptic Gregorian calendar
/// (<https://howardhinnant.github.io/date_algorithms.html#civil_from_days>).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

fn write_time(nanos: i64, out: &mut Vec<u8>) {
    if nanos < 0 {
        out.push(b'-');
    }
    let nanos = nanos.unsigned_abs();
    let seconds = nanos / NANOS_PER_SECOND.unsigned_abs();
    let (hour, minute) = (seconds / 3600, seconds / 60 % 60);
    print(out, format_args!("{hour:02}:{minute:02}:{:02}", seconds % 60));
    write_fraction(nanos % NANOS_PER_SECOND.unsigned_abs(), out);
}

fn write_fraction(nanos: u64, out: &mut Vec<u8>) {
    if nanos.is_multiple_of(1000) {
        print(out, format_args!(".{:06}", nanos / 1000));
    } else {
        print(out, format_args!(".{nanos:09}"));
    }
}

fn write_offset(offset: i32, out: &mut Vec<u8>) {
    if offset == 0 {
        out.push(b'Z');
        return;
    }
    let (sign, offset) = (if offset < 0 { '-' } else { '+' }, offset.unsigned_abs());
    print(out, format_args!("{sign}{:02}:{:02}", offset / 3600, offset / 60 % 60));
    if offset % 60 != 0 {
        print(out, format_args!(":{:02}", offset % 60));
    }
}

fn write_moment(moment: Moment, zone: &str, out: &mut Vec<u8>) {
    match moment {
        Moment::Finite { seconds, nanos } => {
            write_date(seconds.div_euclid(SECONDS_PER_DAY), out);
            out.push(b'T');
            let nanos = seconds.rem_euclid(SECONDS_PER_DAY) * NANOS_PER_SECOND + i64::from(nanos);
            write_time(nanos, out);
            out.extend_from_slice(zone.as_bytes());
        }
        Moment::PositiveInfinity => out.extend_from_slice(b"infinity"),
        Moment::NegativeInfinity => out.extend_from_slice(b"-infinity"),
    }
}

/// Writes a duration as ISO 8601 has it, each part with its own sign.
fn write_interval(interval: Interval, out: &mut Vec<u8>) {
    let Interval { months, days, nanos } = interval;
    let start = out.len();
    out.push(b'P');
    let parts = [(months / 12, 'Y'), (months % 12, 'M'), (days, 'D')];
    for (count, unit) in parts.into_iter().filter(|(count, _)| *count != 0) {
        print(out, format_args!("{count}{unit}"));
    }
    let per_second = i128::from(NANOS_PER_SECOND);
    let seconds = nanos / per_second;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let is_timeless = nanos == 0 && out.len() > start + 1;
    if !is_timeless {
        out.push(b'T');
    }
    for (count, unit) in [(hours, 'H'), (minutes, 'M')].into_iter().filter(|(count, _)| *count != 0)
    {
        print(out, format_args!("{count}{unit}"));
    }
    let (second, fraction) = (seconds % 60, (nanos % per_second).unsigned_abs());
    if second == 0 && fraction == 0 && (hours, minutes) != (0, 0) || is_timeless {
        return;
    }
    let sign = if nanos < 0 && second == 0 && fraction != 0 { "-" } else { "" };
    print(out, format_args!("{sign}{second}"));
    if fraction != 0 {
        let fraction = format!("{fraction:09}");
        print(out, format_args!(".{}", fraction.trim_end_matches('0')));
    }
    out.push(b'S');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: Value<'_>, expected: &str) {
        let mut out = Vec::new();
        write(value, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{value:?}");
    }

    fn check_decimal(unscaled: &[u8], scale: i32, expected: &str) {
        check(Value::Decimal(Decimal::Binary { unscaled, scale }), expected);
    }

    fn at(micros: i64) -> Moment {
        let nanos = u32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap();
        Moment::Finite { seconds: micros.div_euclid(1_000_000), nanos }
    }

    #[test]
    fn a_binary_decimal_keeps_every_digit_and_its_scale() {
        check_decimal(&[0x6e], 2, "1.10");
        check_decimal(&[0xff], 2, "-0.01");
        check_decimal(&[], 2, "0.00");
        check_decimal(&[0], 0, "0");
        check_decimal(&[0x80], 0, "-128");
        check_decimal(&[0x0c], -3, "12000");
        check_decimal(
            &[0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            0,
            "18446744073709551615",
        );
        let mut wide = vec![0x01];
        wide.extend([0; 16]);
        check_decimal(&wide, 3, "340282366920938463463374607431768211.456");
        let mut wide = vec![0xff];
        wide.extend([0; 16]);
        check_decimal(&wide, 0, "-340282366920938463463374607431768211456");
        wide.extend([0; 4]);
        check_decimal(&wide, 0, "-1461501637330902918203684832716283019655932542976");
    }

    #[test]
    fn a_scale_read_without_its_sign_loses_its_zeros() {
        let digits = format!("12{}", "0".repeat(65_533));
        let mut out = Vec::new();
        write_digits(false, digits, 65_533, &mut out).unwrap();
        assert_eq!(out, b"12");
    }

    #[test]
    fn a_decimal_in_text_loses_its_exponent_only() {
        for (text, expected) in [
            ("1.10", "1.10"),
            ("-0.00", "0.00"),
            ("+007.5", "7.5"),
            ("1.5E+3", "1500"),
            ("15e-3", "0.015"),
            (".5", "0.5"),
        ] {
            check(Value::Decimal(Decimal::Text(text)), expected);
        }
        for text in ["", "-", "1.2.3", "0x1", "1e", "NaN"] {
            assert!(write(Value::Decimal(Decimal::Text(text)), &mut Vec::new()).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_iso_8601() {
        check(Value::Date(Day::Finite(17_109)), "2016-11-04");
        check(Value::Date(Day::Finite(0)), "1970-01-01");
        check(Value::Date(Day::Finite(11_016)), "2000-02-29");
        check(Value::Date(Day::Finite(2_932_897)), "+10000-01-01");
        check(Value::Date(Day::Finite(-719_529)), "-0001-12-31");
        check(Value::Date(Day::NegativeInfinity), "-infinity");
        check(Value::Timestamp(at(1_478_267_490_123_456)), "2016-11-04T13:51:30.123456");
        check(Value::Timestamp(at(-1)), "1969-12-31T23:59:59.999999");
        check(Value::TimestampZoned(at(601_060_312_290_123_456)), "+21016-11-04T13:51:30.123456Z");
        check(Value::TimestampZoned(Moment::PositiveInfinity), "infinity");
        let moment = Moment::Finite { seconds: 0, nanos: 1 };
        check(Value::Timestamp(moment), "1970-01-01T00:00:00.000000001");
        check(Value::Time(86_400_000_000_000), "24:00:00.000000");
        check(Value::Time(-3_020_398_999_999_000), "-838:59:58.999999");
        check(Value::TimeZoned { nanos: 1000, offset: 0 }, "00:00:00.000001Z");
        check(Value::TimeZoned { nanos: 0, offset: -19_800 }, "00:00:00.000000-05:30");
    }

    #[test]
    fn durations_are_iso_8601() {
        let span = |months, days, nanos| Value::Interval(Interval { months, days, nanos });
        check(span(14, 3, 14_706_780_000_000), "P1Y2M3DT4H5M6.78S");
        check(span(0, 0, 0), "PT0S");
        check(span(0, -1, 0), "P-1D");
        check(span(0, 0, -500_000_000), "PT-0.5S");
        check(span(0, 0, 7_200_000_000_000), "PT2H");
        check(span(-1, 0, -60_000_000_001), "P-1MT-1M-0.000000001S");
    }

    #[test]
    fn bits_are_written_with_the_most_significant_first() {
        check(Value::Bits { octets: &[0b0000_0010, 1], length: Some(10) }, "0100000010");
        check(Value::Bits { octets: &[], length: Some(2) }, "00");
        check(Value::Bits { octets: &[5, 0], length: None }, "101");
        let wide = Value::Bits { octets: &[4], length: Some(2) };
        assert_eq!(write(wide, &mut Vec::new()), Err(Misfit::Range));
    }
}
