//! Bit strings: a length in bits, then octets with the first bit highest.

use crate::decode::value::Value;
use crate::table::Misfit;

/// Writes a `bit(n)`, with zeros on the left up to `n`: Debezium drops high zero octets.
pub(in crate::target::postgres) fn bit(
    value: Value<'_>,
    modifier: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    // A column without a length holds one bit string of any length.
    let declared = u32::try_from(modifier).ok();
    match value {
        Value::Bool(value) if declared.is_none_or(|length| length == 1) => {
            write(&[u8::from(value)], 1, out)
        }
        Value::Bool(_) => Err(Misfit::Length),
        Value::Bits { octets, length } => match (declared, length) {
            (Some(declared), Some(length)) if declared != length => Err(Misfit::Length),
            (Some(declared), _) => write(octets, declared, out),
            (None, Some(length)) => write(octets, length, out),
            (None, None) => write(octets, significant(octets)?, out),
        },
        _ => Err(Misfit::Type),
    }
}

/// Writes a `bit varying(n)` with all the bits of a `bit(n)`.
pub(in crate::target::postgres) fn varbit_fixed(
    value: Value<'_>,
    modifier: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    match value {
        Value::Bits { length: Some(length), .. }
            if u32::try_from(modifier).is_ok_and(|limit| length > limit) =>
        {
            Err(Misfit::Length)
        }
        Value::Bits { length: Some(_), .. } | Value::Bool(_) => bit(value, -1, out),
        _ => Err(Misfit::Type),
    }
}

/// Writes a `bit varying(n)`, from the highest bit that is set: Debezium drops the zeros before it.
pub(in crate::target::postgres) fn varbit(
    value: Value<'_>,
    modifier: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    let (octets, length) = match value {
        Value::Bool(true) => (&[1][..], 1),
        Value::Bool(false) => (&[0][..], 1),
        Value::Bits { octets, .. } => (octets, significant(octets)?),
        _ => return Err(Misfit::Type),
    };
    if u32::try_from(modifier).is_ok_and(|limit| length > limit) {
        return Err(Misfit::Length);
    }
    write(octets, length, out)
}

/// Counts the bits up to the highest one that is set.
fn significant(octets: &[u8]) -> Result<u32, Misfit> {
    let Some(last) = octets.iter().rposition(|octet| *octet != 0) else { return Ok(0) };
    let high = octets.get(last).map_or(0, |octet| 8 - octet.leading_zeros());
    u32::try_from(last)
        .ok()
        .and_then(|last| last.checked_mul(8)?.checked_add(high))
        .ok_or(Misfit::Length)
}

/// Writes a number, given from its lowest octet, as a string of `length` bits.
fn write(octets: &[u8], length: u32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    if significant(octets)? > length {
        return Err(Misfit::Length);
    }
    let size = usize::try_from(length.div_ceil(8)).map_err(|_| Misfit::Length)?;
    // The string begins at the highest bit of its first octet; the number ends at its lowest bit.
    let shift = (8 - length % 8) % 8;
    out.extend_from_slice(&i32::try_from(length).map_err(|_| Misfit::Length)?.to_be_bytes());
    for index in (0..size).rev() {
        let at = |index: usize| u16::from(octets.get(index).copied().unwrap_or(0));
        let below = index.checked_sub(1).map_or(0, at);
        let [_, octet] = (((at(index) << 8 | below) << shift) >> 8).to_be_bytes();
        out.push(octet);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Encode;

    fn bits(octets: &[u8], length: Option<u32>) -> Value<'_> {
        Value::Bits { octets, length }
    }

    fn check(encode: Encode, value: Value<'_>, modifier: i32, expected: Result<&str, Misfit>) {
        let mut out = Vec::new();
        let result = encode(value, modifier, &mut out).map(|()| {
            let (length, octets) = out.split_first_chunk::<4>().unwrap();
            let length = usize::try_from(i32::from_be_bytes(*length)).unwrap();
            let all = octets.iter().map(|octet| format!("{octet:08b}")).collect::<String>();
            assert!(all.get(length..).unwrap().chars().all(|bit| bit == '0'));
            all.get(..length).unwrap().to_owned()
        });
        assert_eq!(result.as_deref(), expected.as_deref(), "{value:?}");
    }

    #[test]
    fn a_bit_string_ends_with_its_lowest_bit() {
        check(bit, bits(&[3], Some(2)), 2, Ok("11"));
        check(bit, bits(&[64], Some(7)), 7, Ok("1000000"));
        check(bit, bits(&[1, 2, 3], Some(24)), 24, Ok("000000110000001000000001"));
        check(bit, bits(&[0, 0, 0, 0, 0, 0, 0, 128], Some(64)), 64, Ok(&format!("1{:063}", 0)));
        check(bit, bits(&[], Some(9)), 9, Ok("000000000"));
        check(bit, bits(&[255, 1], Some(9)), 9, Ok("111111111"));
        check(bit, bits(&[255, 1], Some(8)), 8, Err(Misfit::Length));
        check(bit, bits(&[1], Some(4)), 8, Err(Misfit::Length));
        check(bit, Value::Bool(true), 1, Ok("1"));
        check(bit, Value::Bool(true), 2, Err(Misfit::Length));
    }

    #[test]
    fn a_varying_bit_string_begins_with_its_highest_set_bit() {
        let unbounded = Some(2_147_483_647);
        check(varbit, bits(&[5], unbounded), -1, Ok("101"));
        let long = "111011010001000110000001000000001";
        check(varbit, bits(&[1, 2, 35, 218, 1], unbounded), -1, Ok(long));
        check(varbit, bits(&[], Some(2)), 2, Ok(""));
        check(varbit, bits(&[5], None), 2, Err(Misfit::Length));
        check(varbit, Value::Bool(false), 1, Ok("0"));
    }

    #[test]
    fn a_varying_bit_string_has_the_zeros_of_a_fixed_one() {
        check(varbit_fixed, bits(&[5], Some(9)), 9, Ok("000000101"));
        check(varbit_fixed, bits(&[], Some(9)), -1, Ok("000000000"));
        check(varbit_fixed, bits(&[5], Some(9)), 8, Err(Misfit::Length));
        check(varbit_fixed, bits(&[5], None), 9, Err(Misfit::Type));
        check(varbit_fixed, Value::Bool(true), 3, Ok("1"));
    }
}
