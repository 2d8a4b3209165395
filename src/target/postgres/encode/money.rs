//! Money: whole units of the smallest coin, as many of them to one as the server's locale says.

use crate::decode::value::Value;
use crate::table::Misfit;
use crate::target::postgres::encode::digits::units;

/// Writes a `money`, whose modifier is the number of its digits behind the point; what the server
/// would round is refused.
pub(in crate::target::postgres) fn money(
    value: Value<'_>,
    modifier: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    let digits = u32::try_from(modifier).map_err(|_| Misfit::Type)?;
    out.extend_from_slice(&units(value, digits)?.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::value::{Decimal, Special};

    fn check(value: Value<'_>, digits: i32, expected: Result<i64, Misfit>) {
        let mut out = Vec::new();
        let found = money(value, digits, &mut out);
        let found = found.map(|()| i64::from_be_bytes(out.try_into().unwrap()));
        assert_eq!(found, expected, "{value:?}, {digits} digits");
    }

    fn decimal(text: &str) -> Value<'_> {
        Value::Decimal(Decimal::Text(text))
    }

    #[test]
    fn an_amount_counts_the_smallest_coin_of_the_servers_locale() {
        check(
            Value::Decimal(Decimal::Binary { unscaled: &[1, 0xe2, 0x13], scale: 2 }),
            2,
            Ok(123_411),
        );
        check(decimal("-0.01"), 2, Ok(-1));
        check(decimal("1234.11"), 3, Ok(1_234_110));
        check(decimal("1234.00"), 0, Ok(1_234));
        check(decimal("12E2"), 2, Ok(120_000));
        check(Value::Int(-7), 2, Ok(-700));
        check(Value::Text("92233720368547758.07"), 2, Ok(i64::MAX));
        check(Value::Text("-92233720368547758.08"), 2, Ok(i64::MIN));
    }

    #[test]
    fn an_amount_that_the_server_would_round_or_cannot_hold_is_refused() {
        check(decimal("1234.11"), 1, Err(Misfit::Range));
        check(decimal("0.001"), 2, Err(Misfit::Range));
        check(decimal("92233720368547758.08"), 2, Err(Misfit::Range));
        check(decimal("1E400"), 2, Err(Misfit::Range));
        check(Value::DecimalSpecial(Special::NaN), 2, Err(Misfit::Range));
        check(Value::Text("$1.00"), 2, Err(Misfit::Form));
        check(Value::Bool(true), 2, Err(Misfit::Type));
        check(Value::Int(1), -1, Err(Misfit::Type));
    }

    #[test]
    fn a_float_is_an_amount_by_its_shortest_digits() {
        check(Value::Float64(1234.11), 2, Ok(123_411));
        check(Value::Float64(0.125), 2, Err(Misfit::Range));
        check(Value::Float64(1_234_567_890_123_456.8), 2, Ok(123_456_789_012_345_680));
        check(Value::Float64(92_233_720_368_547_760.0), 2, Err(Misfit::Range));
        check(Value::Float64(f64::INFINITY), 2, Err(Misfit::Range));
    }
}
