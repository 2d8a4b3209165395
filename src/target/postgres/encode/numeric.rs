//! Decimals: groups of four digits, as `numeric_recv` reads them.

use std::io::Write as _;

use crate::decode::value::{Decimal, Special, Value};
use crate::table::Misfit;
use crate::target::postgres::encode::text::HEADER;

/// A scale above this is no scale of a column but a modifier read without its sign (Debezium prints
/// `numeric(5,-3)` with scale 65533): the zeros behind the value are then not kept.
const SCALE_MAX: i64 = 1000;

/// The digits that `numeric` holds before and behind the point.
const INTEGER_DIGITS_MAX: i64 = 131_072;
const FRACTION_DIGITS_MAX: i64 = 16_383;

/// An unscaled integer longer than this has more digits than `numeric` holds.
const UNSCALED_BYTES_MAX: usize = 65_536;

/// The longest shortest digits of a double, sign, point and exponent included, with some to spare.
const FLOAT_DIGITS: usize = 32;

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const POSITIVE_INFINITY: u16 = 0xd000;
const NEGATIVE_INFINITY: u16 = 0xf000;

/// Writes a `numeric`; what the column's precision and scale would round is refused.
pub(in crate::target::postgres) fn numeric(
    value: Value<'_>,
    modifier: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    match value {
        Value::Int(value) => {
            let (mut buffer, sign) = ([0; SMALL_DIGITS], sign(value < 0));
            let digits = small_digits(u128::from(value.unsigned_abs()), &mut buffer);
            write(&Number { sign, digits, scale: 0 }, modifier, out)
        }
        Value::Unsigned(value) => {
            let mut buffer = [0; SMALL_DIGITS];
            let digits = small_digits(u128::from(value), &mut buffer);
            write(&Number { sign: POSITIVE, digits, scale: 0 }, modifier, out)
        }
        Value::Decimal(value) => with_number(value, |number| write(number, modifier, out)),
        Value::DecimalSpecial(special) => write_special(special, modifier, out),
        // The connector's mode has made doubles of decimals: their shortest digits are what is left.
        Value::Float64(value) => float(&format_args!("{value:?}"), modifier, out),
        Value::Float32(value) => float(&format_args!("{value:?}"), modifier, out),
        Value::Text(text) => match special(text) {
            Some(special) => write_special(special, modifier, out),
            None => with_number(Decimal::Text(text), |number| write(number, modifier, out)),
        },
        _ => Err(Misfit::Type),
    }
}

/// Writes a float by its digits.
fn float(digits: &std::fmt::Arguments<'_>, modifier: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let mut buffer = [0; FLOAT_DIGITS];
    let mut rest = buffer.as_mut_slice();
    rest.write_fmt(*digits).map_err(|_| Misfit::Length)?;
    let unused = rest.len();
    let text = buffer.get(..FLOAT_DIGITS - unused).and_then(|text| str::from_utf8(text).ok());
    let text = text.ok_or(Misfit::Form)?;
    match text {
        "NaN" => write_special(Special::NaN, modifier, out),
        "inf" => write_special(Special::PositiveInfinity, modifier, out),
        "-inf" => write_special(Special::NegativeInfinity, modifier, out),
        text => {
            let text = text.strip_suffix(".0").unwrap_or(text);
            with_number(Decimal::Text(text), |number| write(number, modifier, out))
        }
    }
}

/// Takes a decimal that is an integer.
pub(super) fn integer(value: Decimal<'_>) -> Result<i64, Misfit> {
    with_number(value, |number| {
        let significant = number.trimmed();
        if significant.scale > 0 || significant.integer_digits() > 19 {
            return Err(Misfit::Range);
        }
        let zeros = u32::try_from(-significant.scale).map_err(|_| Misfit::Range)?;
        let append = |value: i128, digit: &u8| value * 10 + i128::from(*digit);
        let value = significant.digits.iter().fold(0, append) * 10_i128.pow(zeros);
        let value = if number.sign == NEGATIVE { -value } else { value };
        i64::try_from(value).map_err(|_| Misfit::Range)
    })
}

/// Reads the names that Debezium and Java print in string mode.
fn special(text: &str) -> Option<Special> {
    match text {
        "NAN" | "NaN" => Some(Special::NaN),
        "POSITIVE_INFINITY" | "Infinity" => Some(Special::PositiveInfinity),
        "NEGATIVE_INFINITY" | "-Infinity" => Some(Special::NegativeInfinity),
        _ => None,
    }
}

fn write_special(special: Special, modifier: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let sign = match special {
        Special::NaN => NAN,
        // A column with a precision holds no infinity.
        _ if modifier >= 0 => return Err(Misfit::Range),
        Special::PositiveInfinity => POSITIVE_INFINITY,
        Special::NegativeInfinity => NEGATIVE_INFINITY,
    };
    write_header([0, 0, sign, 0], out);
    Ok(())
}

fn write_header(parts: [u16; 4], out: &mut Vec<u8>) {
    out.extend(parts.iter().flat_map(|part| part.to_be_bytes()));
}

/// A decimal as its digits, 0 to 9 each, the highest first.
#[derive(Clone, Copy, Debug)]
struct Number<'a> {
    sign: u16,
    digits: &'a [u8],
    scale: i64,
}

impl Number<'_> {
    /// Leaves out the zeros at both ends; none is left of zero.
    fn trimmed(&self) -> Self {
        let leading = self.digits.iter().take_while(|digit| **digit == 0).count();
        let digits = self.digits.get(leading..).unwrap_or_default();
        let trailing = digits.iter().rev().take_while(|digit| **digit == 0).count();
        let digits = digits.get(..digits.len() - trailing).unwrap_or_default();
        match digits {
            [] => Self { sign: POSITIVE, digits, scale: 0 },
            _ => Self { sign: self.sign, digits, scale: self.scale - length(trailing) },
        }
    }

    /// Counts the digits before the point; below 1 when zeros follow the point.
    fn integer_digits(&self) -> i64 {
        length(self.digits.len()) - self.scale
    }
}

fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn sign(is_negative: bool) -> u16 {
    if is_negative { NEGATIVE } else { POSITIVE }
}

fn write(number: &Number<'_>, modifier: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let significant = number.trimmed();
    let display = display_scale(number.scale, &significant, modifier)?;
    if significant.digits.is_empty() {
        write_header([0, 0, POSITIVE, display], out);
        return Ok(());
    }
    let highest = significant.integer_digits() - 1;
    let weight = i16::try_from(highest.div_euclid(4)).map_err(|_| Misfit::Range)?;
    let padding = usize::try_from(3 - highest.rem_euclid(4)).map_err(|_| Misfit::Range)?;
    let groups = (padding + significant.digits.len()).div_ceil(4);
    let count = u16::try_from(groups).map_err(|_| Misfit::Range)?;
    write_header([count, weight.cast_unsigned(), significant.sign, display], out);
    let mut digits = std::iter::repeat_n(0, padding).chain(significant.digits.iter().copied());
    for _ in 0..groups {
        let append = |group: u16, _| group * 10 + u16::from(digits.next().unwrap_or(0));
        out.extend_from_slice(&(0..4).fold(0, append).to_be_bytes());
    }
    Ok(())
}

/// Returns how many digits behind the point the server shows, if the column holds all digits.
fn display_scale(scale: i64, significant: &Number<'_>, modifier: i32) -> Result<u16, Misfit> {
    let display = match Modifier::read(modifier) {
        Some(Modifier { precision, scale }) => {
            let is_zero = significant.digits.is_empty();
            let is_fit =
                significant.scale <= scale && significant.integer_digits() <= precision - scale;
            if !is_zero && !is_fit {
                return Err(Misfit::Range);
            }
            scale
        }
        None if scale > SCALE_MAX => significant.scale,
        None => scale,
    };
    let is_held = significant.integer_digits() <= INTEGER_DIGITS_MAX
        && significant.scale <= FRACTION_DIGITS_MAX;
    if !is_held {
        return Err(Misfit::Range);
    }
    u16::try_from(display.max(significant.scale).max(0)).map_err(|_| Misfit::Range)
}

/// A column's precision and scale; the scale may be negative or above the precision.
struct Modifier {
    precision: i64,
    scale: i64,
}

impl Modifier {
    /// Takes `atttypmod` apart as `numeric.c` does.
    fn read(modifier: i32) -> Option<Self> {
        let packed = modifier.checked_sub(HEADER).filter(|packed| *packed >= 0)?;
        let scale = ((packed & 0x7ff) ^ 1024) - 1024;
        Some(Self { precision: i64::from(packed >> 16), scale: i64::from(scale) })
    }
}

/// The digits of the largest 128-bit integer.
const SMALL_DIGITS: usize = 39;

fn small_digits(mut value: u128, buffer: &mut [u8; SMALL_DIGITS]) -> &[u8] {
    let mut free = SMALL_DIGITS;
    for slot in buffer.iter_mut().rev() {
        if value == 0 {
            break;
        }
        *slot = u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        free -= 1;
    }
    buffer.get(free..).unwrap_or_default()
}

/// Runs the function on the decimal's digits.
fn with_number<T>(
    value: Decimal<'_>,
    run: impl FnOnce(&Number<'_>) -> Result<T, Misfit>,
) -> Result<T, Misfit> {
    match value {
        Decimal::Text(text) => {
            let (sign, digits, scale) = read(text).ok_or(Misfit::Form)?;
            run(&Number { sign, digits: &digits, scale })
        }
        Decimal::Binary { unscaled, scale } => {
            let is_negative = unscaled.first().is_some_and(|first| *first >= 0x80);
            let (sign, scale) = (sign(is_negative), i64::from(scale));
            if unscaled.len() > size_of::<i128>() {
                let digits = &large_digits(unscaled, is_negative)?;
                return run(&Number { sign, digits, scale });
            }
            let fill = if is_negative { -1_i128 } else { 0 };
            let value = unscaled.iter().fold(fill, |value, byte| value << 8 | i128::from(*byte));
            let mut buffer = [0; SMALL_DIGITS];
            let digits = small_digits(value.unsigned_abs(), &mut buffer);
            run(&Number { sign, digits, scale })
        }
    }
}

/// Divides a long integer by powers of ten until nothing is left.
fn large_digits(unscaled: &[u8], is_negative: bool) -> Result<Vec<u8>, Misfit> {
    const STEP: u64 = 1_000_000_000;
    if unscaled.len() > UNSCALED_BYTES_MAX {
        return Err(Misfit::Range);
    }
    let flip = if is_negative { 0xff } else { 0 };
    let mut limbs = unscaled
        .rchunks(4)
        .rev()
        .map(|chunk| chunk.iter().fold(0, |limb, byte| limb << 8 | u64::from(*byte ^ flip)))
        .collect::<Vec<u64>>();
    if is_negative {
        // Two's complement: all bits flipped, plus one.
        for limb in limbs.iter_mut().rev() {
            *limb = (*limb + 1) & 0xffff_ffff;
            if *limb != 0 {
                break;
            }
        }
    }
    let (mut digits, mut start) = (Vec::new(), 0);
    while let Some(rest) = limbs.get_mut(start..).filter(|rest| !rest.is_empty()) {
        let mut remainder = 0;
        for limb in rest.iter_mut() {
            let dividend = remainder << 32 | *limb;
            (*limb, remainder) = (dividend / STEP, dividend % STEP);
        }
        start += rest.iter().take_while(|limb| **limb == 0).count();
        for _ in 0..9 {
            digits.push(u8::try_from(remainder % 10).unwrap_or(0));
            remainder /= 10;
        }
    }
    digits.reverse();
    Ok(digits)
}

/// Reads an optional sign, digits, an optional point and an optional exponent.
fn read(text: &str) -> Option<(u16, Vec<u8>, i64)> {
    let (is_negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, i64::from(exponent.parse::<i32>().ok()?)),
        None => (rest, 0),
    };
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = integer
        .bytes()
        .chain(fraction.bytes())
        .map(|byte| byte.is_ascii_digit().then(|| byte - b'0'))
        .collect::<Option<Vec<u8>>>()?;
    let scale = length(fraction.len()) - exponent;
    (!digits.is_empty()).then_some((sign(is_negative), digits, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typmod(precision: i32, scale: i32) -> i32 {
        (precision << 16 | (scale & 0x7ff)) + 4
    }

    /// Prints a cell as count, weight, sign and display scale, then the groups.
    fn check(value: Value<'_>, modifier: i32, expected: Result<&str, Misfit>) {
        let mut out = Vec::new();
        let result = numeric(value, modifier, &mut out).map(|()| {
            let parts = out.chunks(2).map(|part| u16::from_be_bytes([part[0], part[1]]));
            parts.map(|part| format!("{part:x}")).collect::<Vec<_>>().join(" ")
        });
        assert_eq!(result.as_deref(), expected.as_deref(), "{value:?}");
    }

    fn text(text: &str) -> Value<'_> {
        Value::Decimal(Decimal::Text(text))
    }

    fn binary(unscaled: &[u8], scale: i32) -> Value<'_> {
        Value::Decimal(Decimal::Binary { unscaled, scale })
    }

    #[test]
    fn digits_stand_in_groups_around_the_point() {
        check(Value::Int(0), -1, Ok("0 0 0 0"));
        check(Value::Int(10_000), -1, Ok("1 1 0 0 1"));
        check(Value::Unsigned(u64::MAX), typmod(20, 0), Ok("5 4 0 0 734 1a58 2e1 3bb 64f"));
        check(Value::Int(i64::MIN), -1, Ok("5 4 4000 0 39a d2c 170 1565 16b0"));
        check(text("123.45"), -1, Ok("2 0 0 2 7b 1194"));
        check(text("0.00001"), -1, Ok("1 fffe 0 5 3e8"));
        check(text("-1E+5"), -1, Ok("1 1 4000 0 a"));
        check(text("1.50"), -1, Ok("2 0 0 2 1 1388"));
        check(text("-0.00"), -1, Ok("0 0 0 2"));
        check(text("1."), -1, Ok("1 0 0 0 1"));
        check(text("1..2"), -1, Err(Misfit::Form));
        check(text("."), -1, Err(Misfit::Form));
        check(text("0x1"), -1, Err(Misfit::Form));
    }

    #[test]
    fn a_binary_decimal_is_the_same_number() {
        check(binary(&[0x30, 0x39], 2), -1, Ok("2 0 0 2 7b 1194"));
        check(binary(&[0xcf, 0xc7], 2), -1, Ok("2 0 4000 2 7b 1194"));
        check(binary(&[0xff], 0), -1, Ok("1 0 4000 0 1"));
        check(binary(&[0x00], 3), -1, Ok("0 0 0 3"));
        check(binary(&[0x01], -6), -1, Ok("1 1 0 0 64"));
        check(binary(&[0, 255, 255, 255, 255, 255, 255, 255, 255], 0), -1, {
            Ok("5 4 0 0 734 1a58 2e1 3bb 64f")
        });
        let positive = [&[0x01][..], &[0; 19]].concat();
        assert_eq!(cell(binary(&positive, 0)), cell(text(TWO_152)));
        let negative = [&[0xff][..], &[0; 19]].concat();
        assert_eq!(cell(binary(&negative, 0)), cell(text(&format!("-{TWO_152}"))));
    }

    const TWO_152: &str = "5708990770823839524233143877797980545530986496";

    fn cell(value: Value<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        numeric(value, -1, &mut out).unwrap();
        out
    }

    #[test]
    fn what_the_column_would_round_is_refused() {
        check(text("1.2300"), typmod(5, 2), Ok("2 0 0 2 1 8fc"));
        check(text("1.234"), typmod(5, 2), Err(Misfit::Range));
        check(text("999.99"), typmod(5, 2), Ok("2 0 0 2 3e7 26ac"));
        check(text("1000"), typmod(5, 2), Err(Misfit::Range));
        check(text("12000"), typmod(2, -3), Ok("2 1 0 0 1 7d0"));
        check(text("12500"), typmod(2, -3), Err(Misfit::Range));
        check(text("0.00012"), typmod(2, 5), Ok("2 ffff 0 5 1 7d0"));
        check(text("0.001"), typmod(2, 5), Err(Misfit::Range));
        check(text("0"), typmod(2, 5), Ok("0 0 0 5"));
    }

    #[test]
    fn what_is_no_number_has_its_own_sign() {
        check(Value::DecimalSpecial(Special::NaN), typmod(5, 2), Ok("0 0 c000 0"));
        check(Value::Text("POSITIVE_INFINITY"), -1, Ok("0 0 d000 0"));
        check(Value::Text("NEGATIVE_INFINITY"), typmod(5, 2), Err(Misfit::Range));
        check(Value::Text("12.5"), -1, Ok("2 0 0 1 c 1388"));
        check(Value::Bool(true), -1, Err(Misfit::Type));
    }

    #[test]
    fn a_double_is_written_by_its_shortest_digits() {
        check(Value::Float64(12.5), -1, Ok("2 0 0 1 c 1388"));
        check(Value::Float64(0.1), typmod(5, 2), Ok("1 ffff 0 2 3e8"));
        check(Value::Float64(0.125), typmod(5, 2), Err(Misfit::Range));
        check(Value::Float64(-5.0), -1, Ok("1 0 4000 0 5"));
        check(Value::Float64(1e300), -1, Ok("1 4b 0 0 1"));
        check(Value::Float64(-f64::MIN_POSITIVE), -1, Ok("5 ffb3 4000 144 2 8ca 1cd9 213b 7de"));
        check(Value::Float32(0.1), -1, Ok("1 ffff 0 1 3e8"));
        check(Value::Float64(f64::NAN), typmod(5, 2), Ok("0 0 c000 0"));
        check(Value::Float64(f64::INFINITY), typmod(5, 2), Err(Misfit::Range));
        check(Value::Float64(f64::NEG_INFINITY), -1, Ok("0 0 f000 0"));
    }

    #[test]
    fn a_scale_beyond_all_columns_keeps_only_digits() {
        let zeros = "0".repeat(65_533);
        check(text(&format!("12000.{zeros}")), -1, Ok("2 1 0 0 1 7d0"));
        check(text("1e131071"), -1, Ok("1 7fff 0 0 3e8"));
        check(text("1e131072"), -1, Err(Misfit::Range));
        check(text("1e-16383"), -1, Ok("1 f000 0 3fff a"));
        check(text("1e-16384"), -1, Err(Misfit::Range));
    }
}
