//! Decimals: groups of four digits, as `numeric_recv` reads them.

use crate::decode::value::{Special, Value};
use crate::table::Misfit;
use crate::target::postgres::encode::digits::{Found, Number, with_digits};
use crate::target::postgres::encode::text::HEADER;

/// A scale above this is no scale of a column but a modifier read without its sign (Debezium prints
/// `numeric(5,-3)` with scale 65533): the zeros behind the value are then not kept.
const SCALE_MAX: i64 = 1000;

/// The digits that `numeric` holds before and behind the point.
const INTEGER_DIGITS_MAX: i64 = 131_072;
const FRACTION_DIGITS_MAX: i64 = 16_383;

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
    with_digits(value, |found| match found {
        Found::Number(number) => write(&number, modifier, out),
        Found::Special(special) => write_special(special, modifier, out),
    })
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
    let [[a, b], [c, d], [e, f], [g, h]] = parts.map(u16::to_be_bytes);
    out.extend_from_slice(&[a, b, c, d, e, f, g, h]);
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
    let sign = if significant.is_negative { NEGATIVE } else { POSITIVE };
    let count = u16::try_from(groups).map_err(|_| Misfit::Range)?;
    write_header([count, weight.cast_unsigned(), sign, display], out);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::value::Decimal;

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
