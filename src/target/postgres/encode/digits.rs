//! Digits: what every value that stands for a decimal says, whatever it came as.

use std::io::Write as _;

use crate::decode::value::{Decimal, Special, Value};
use crate::table::Misfit;

/// An unscaled integer longer than this has more digits than `numeric` holds.
const UNSCALED_BYTES_MAX: usize = 65_536;

/// The longest shortest digits of a double, sign, point and exponent included, with some to spare.
const FLOAT_DIGITS: usize = 32;

/// The digits of the largest integer of 64 bits.
const INTEGER_DIGITS: i64 = 19;

/// What a value stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'a> {
    Number(Number<'a>),
    Special(Special),
}

/// A decimal as its digits, 0 to 9 each, the highest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number<'a> {
    pub(super) is_negative: bool,
    pub(super) digits: &'a [u8],
    /// How many of them stand behind the point; may be negative, or more than there are.
    pub(super) scale: i64,
}

impl Number<'_> {
    /// Leaves out the zeros at both ends; none is left of zero.
    pub(super) fn trimmed(&self) -> Self {
        let leading = self.digits.iter().take_while(|digit| **digit == 0).count();
        let digits = self.digits.get(leading..).unwrap_or_default();
        let trailing = digits.iter().rev().take_while(|digit| **digit == 0).count();
        let digits = digits.get(..digits.len() - trailing).unwrap_or_default();
        match digits {
            [] => Self { is_negative: false, digits, scale: 0 },
            _ => Self { digits, scale: self.scale - length(trailing), ..*self },
        }
    }

    /// Counts the digits before the point; below 1 when zeros follow the point.
    pub(super) fn integer_digits(&self) -> i64 {
        length(self.digits.len()) - self.scale
    }
}

fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Runs the function on the digits of a decimal, of an integer, or of a text or a float that a mode
/// of the connector has made of a decimal.
pub(super) fn with_digits<T>(
    value: Value<'_>,
    run: impl FnOnce(Found<'_>) -> Result<T, Misfit>,
) -> Result<T, Misfit> {
    match value {
        Value::Int(value) => run(small(value < 0, value.unsigned_abs(), &mut [0; SMALL_DIGITS])),
        Value::Unsigned(value) => run(small(false, value, &mut [0; SMALL_DIGITS])),
        Value::Decimal(value) => of_decimal(value, run),
        Value::DecimalSpecial(special) => run(Found::Special(special)),
        // The shortest digits of a float are what is left of the decimal that it was made of.
        Value::Float64(value) => of_float(&format_args!("{value:?}"), run),
        Value::Float32(value) => of_float(&format_args!("{value:?}"), run),
        Value::Text(text) => match special(text) {
            Some(special) => run(Found::Special(special)),
            None => of_decimal(Decimal::Text(text), run),
        },
        _ => Err(Misfit::Type),
    }
}

/// Takes a value as a whole number of units of which one has ten to the power of `digits`.
pub(super) fn units(value: Value<'_>, digits: u32) -> Result<i64, Misfit> {
    with_digits(value, |found| {
        let Found::Number(number) = found else { return Err(Misfit::Range) };
        let significant = number.trimmed();
        let zeros = i64::from(digits) - significant.scale;
        if zeros < 0 || length(significant.digits.len()) + zeros > INTEGER_DIGITS {
            return Err(Misfit::Range);
        }
        let zeros = u32::try_from(zeros).map_err(|_| Misfit::Range)?;
        let append = |value: i128, digit: &u8| value * 10 + i128::from(*digit);
        let value = significant.digits.iter().fold(0, append) * 10_i128.pow(zeros);
        let value = if number.is_negative { -value } else { value };
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

/// Runs the function on a float, given as it is printed.
fn of_float<T>(
    printed: &std::fmt::Arguments<'_>,
    run: impl FnOnce(Found<'_>) -> Result<T, Misfit>,
) -> Result<T, Misfit> {
    let mut buffer = [0; FLOAT_DIGITS];
    let mut rest = buffer.as_mut_slice();
    rest.write_fmt(*printed).map_err(|_| Misfit::Length)?;
    let unused = rest.len();
    let text = buffer.get(..FLOAT_DIGITS - unused).and_then(|text| str::from_utf8(text).ok());
    match text.ok_or(Misfit::Form)? {
        "NaN" => run(Found::Special(Special::NaN)),
        "inf" => run(Found::Special(Special::PositiveInfinity)),
        "-inf" => run(Found::Special(Special::NegativeInfinity)),
        text => of_decimal(Decimal::Text(text.strip_suffix(".0").unwrap_or(text)), run),
    }
}

fn small(is_negative: bool, value: u64, buffer: &mut [u8; SMALL_DIGITS]) -> Found<'_> {
    let digits = small_digits(u128::from(value), buffer);
    Found::Number(Number { is_negative, digits, scale: 0 })
}

/// The digits of the largest 128-bit integer.
const SMALL_DIGITS: usize = 39;

fn small_digits(mut value: u128, buffer: &mut [u8; SMALL_DIGITS]) -> &[u8] {
    let mut free = SMALL_DIGITS;
    for slot in buffer.iter_mut().rev() {
        // A division of 128 bits takes many times as long.
        let digit = match u64::try_from(value) {
            Ok(0) => break,
            Ok(small) => {
                value = u128::from(small / 10);
                u128::from(small % 10)
            }
            Err(_) => {
                let digit = value % 10;
                value /= 10;
                digit
            }
        };
        *slot = u8::try_from(digit).unwrap_or(0);
        free -= 1;
    }
    buffer.get(free..).unwrap_or_default()
}

/// Runs the function on a decimal's digits.
fn of_decimal<T>(
    value: Decimal<'_>,
    run: impl FnOnce(Found<'_>) -> Result<T, Misfit>,
) -> Result<T, Misfit> {
    match value {
        Decimal::Text(text) => {
            let (is_negative, digits, scale) = read(text).ok_or(Misfit::Form)?;
            run(Found::Number(Number { is_negative, digits: &digits, scale }))
        }
        Decimal::Binary { unscaled, scale } => {
            let is_negative = unscaled.first().is_some_and(|first| *first >= 0x80);
            let scale = i64::from(scale);
            if unscaled.len() > size_of::<i128>() {
                let digits = &large_digits(unscaled, is_negative)?;
                return run(Found::Number(Number { is_negative, digits, scale }));
            }
            let fill = if is_negative { -1_i128 } else { 0 };
            let value = unscaled.iter().fold(fill, |value, byte| value << 8 | i128::from(*byte));
            let mut buffer = [0; SMALL_DIGITS];
            let digits = small_digits(value.unsigned_abs(), &mut buffer);
            run(Found::Number(Number { is_negative, digits, scale }))
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
fn read(text: &str) -> Option<(bool, Vec<u8>, i64)> {
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
    (!digits.is_empty()).then_some((is_negative, digits, scale))
}
