//! Days, times and spans: counts of days and microseconds since 2000-01-01.

use crate::decode::value::{Day, Interval, Moment, Value};
use crate::table::Misfit;

/// 2000-01-01 in days and in seconds since 1970-01-01.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_SECONDS: i64 = 946_684_800;

/// The first day and the first behind the last day of `date` (4714-11-24 BC, 5874898-01-01).
const DATE_MIN: i32 = -2_451_545;
const DATE_END: i32 = 2_145_031_949;

/// The first moment and the first behind the last moment of `timestamp` (294277-01-01).
const TIMESTAMP_MIN: i64 = -211_813_488_000_000_000;
const TIMESTAMP_END: i64 = 9_223_371_331_200_000_000;

const DAY_MICROS: i64 = 86_400_000_000;
const SECOND_MICROS: i64 = 1_000_000;
const MICRO_NANOS: i64 = 1_000;

/// The offset that `timetz` no longer holds.
const OFFSET_END: i32 = 16 * 3600;

/// Writes a `date`.
pub(in crate::target::postgres) fn date(
    value: Value<'_>,
    _: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    let Value::Date(day) = value else { return Err(Misfit::Type) };
    let days = match day {
        Day::PositiveInfinity => i32::MAX,
        Day::NegativeInfinity => i32::MIN,
        Day::Finite(days) => days
            .checked_sub(EPOCH_DAYS)
            .filter(|days| (DATE_MIN..DATE_END).contains(days))
            .ok_or(Misfit::Range)?,
    };
    out.extend_from_slice(&days.to_be_bytes());
    Ok(())
}

/// Writes a `time`, also from a span within a day.
pub(in crate::target::postgres) fn time(
    value: Value<'_>,
    modifier: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    let nanos = match value {
        Value::Time(nanos) => nanos,
        Value::Interval(Interval { months: 0, days: 0, nanos }) => {
            i64::try_from(nanos).map_err(|_| Misfit::Range)?
        }
        Value::Interval(_) => return Err(Misfit::Range),
        _ => return Err(Misfit::Type),
    };
    out.extend_from_slice(&time_of_day(nanos, modifier)?.to_be_bytes());
    Ok(())
}

/// Writes a `timetz`.
pub(in crate::target::postgres) fn timetz(
    value: Value<'_>,
    modifier: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    let Value::TimeZoned { nanos, offset } = value else { return Err(Misfit::Type) };
    if offset <= -OFFSET_END || offset >= OFFSET_END {
        return Err(Misfit::Range);
    }
    out.extend_from_slice(&time_of_day(nanos, modifier)?.to_be_bytes());
    // PostgreSQL counts seconds west of UTC.
    out.extend_from_slice(&(-offset).to_be_bytes());
    Ok(())
}

fn time_of_day(nanos: i64, modifier: i32) -> Result<i64, Misfit> {
    let micros = whole_micros(nanos)?;
    // 24:00:00 is a time of day.
    if !(0..=DAY_MICROS).contains(&micros) {
        return Err(Misfit::Range);
    }
    precise(micros, modifier)
}

/// Writes a `timestamp`, also from a day.
pub(in crate::target::postgres) fn timestamp(
    value: Value<'_>,
    modifier: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    let moment = match value {
        Value::Timestamp(moment) => moment,
        Value::Date(day) => midnight(day),
        _ => return Err(Misfit::Type),
    };
    write_moment(moment, modifier, out)
}

/// Writes a `timestamptz`.
pub(in crate::target::postgres) fn timestamptz(
    value: Value<'_>,
    modifier: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    let Value::TimestampZoned(moment) = value else { return Err(Misfit::Type) };
    write_moment(moment, modifier, out)
}

fn midnight(day: Day) -> Moment {
    match day {
        Day::Finite(days) => Moment::Finite { seconds: i64::from(days) * 86_400, nanos: 0 },
        Day::PositiveInfinity => Moment::PositiveInfinity,
        Day::NegativeInfinity => Moment::NegativeInfinity,
    }
}

fn write_moment(moment: Moment, modifier: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let micros = match moment {
        Moment::PositiveInfinity => i64::MAX,
        Moment::NegativeInfinity => i64::MIN,
        Moment::Finite { seconds, nanos } => {
            let fraction = whole_micros(i64::from(nanos))?;
            let micros = seconds
                .checked_sub(EPOCH_SECONDS)
                .and_then(|seconds| seconds.checked_mul(SECOND_MICROS)?.checked_add(fraction))
                .filter(|micros| (TIMESTAMP_MIN..TIMESTAMP_END).contains(micros))
                .ok_or(Misfit::Range)?;
            precise(micros, modifier)?
        }
    };
    out.extend_from_slice(&micros.to_be_bytes());
    Ok(())
}

/// Writes an `interval`, also from a time, which in MariaDB may be negative or beyond a day.
pub(in crate::target::postgres) fn interval(
    value: Value<'_>,
    modifier: i32,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    const FULL_RANGE: i32 = 0x7fff;
    let Interval { months, days, nanos } = match value {
        Value::Interval(interval) => interval,
        Value::Time(nanos) => Interval { months: 0, days: 0, nanos: i128::from(nanos) },
        _ => return Err(Misfit::Type),
    };
    // A column such as `interval day to second` drops the other fields.
    if modifier >= 0 && modifier >> 16 != FULL_RANGE {
        return Err(Misfit::Type);
    }
    if nanos % i128::from(MICRO_NANOS) != 0 {
        return Err(Misfit::Range);
    }
    let micros = i64::try_from(nanos / i128::from(MICRO_NANOS)).map_err(|_| Misfit::Range)?;
    let precision = if modifier >= 0 { modifier & 0xffff } else { -1 };
    out.extend_from_slice(&precise(micros, precision)?.to_be_bytes());
    out.extend_from_slice(&days.to_be_bytes());
    out.extend_from_slice(&months.to_be_bytes());
    Ok(())
}

fn whole_micros(nanos: i64) -> Result<i64, Misfit> {
    if nanos % MICRO_NANOS == 0 { Ok(nanos / MICRO_NANOS) } else { Err(Misfit::Range) }
}

/// Refuses digits behind the point that a column with this many would round away.
fn precise(micros: i64, digits: i32) -> Result<i64, Misfit> {
    let unit = match u32::try_from(digits) {
        Ok(digits @ 0..=5) => 10_i64.pow(6 - digits),
        Ok(_) | Err(_) => 1,
    };
    if micros % unit == 0 { Ok(micros) } else { Err(Misfit::Range) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Encode;

    fn check(encode: Encode, value: Value<'_>, modifier: i32, expected: Result<i64, Misfit>) {
        let mut out = Vec::new();
        let result = encode(value, modifier, &mut out).map(|()| match out.first_chunk::<8>() {
            Some(chunk) => i64::from_be_bytes(*chunk),
            None => i64::from(i32::from_be_bytes(*out.first_chunk::<4>().unwrap())),
        });
        assert_eq!(result, expected, "{value:?}");
    }

    fn at(seconds: i64, nanos: u32) -> Value<'static> {
        Value::Timestamp(Moment::Finite { seconds, nanos })
    }

    #[test]
    fn a_day_counts_from_2000() {
        let day = |days| Value::Date(Day::Finite(days));
        check(date, day(10_957), -1, Ok(0));
        check(date, day(17_109), -1, Ok(6152));
        check(date, day(-2_440_588), -1, Ok(-2_451_545));
        check(date, day(-2_440_589), -1, Err(Misfit::Range));
        check(date, day(2_145_042_905), -1, Ok(2_145_031_948));
        check(date, day(2_145_042_906), -1, Err(Misfit::Range));
        check(date, Value::Date(Day::NegativeInfinity), -1, Ok(i64::from(i32::MIN)));
    }

    #[test]
    fn a_moment_counts_microseconds_from_2000() {
        check(timestamp, at(946_684_800, 1_000), -1, Ok(1));
        check(timestamp, at(946_684_799, 999_999_000), -1, Ok(-1));
        check(timestamp, at(946_684_800, 1), -1, Err(Misfit::Range));
        check(timestamp, at(946_684_800, 1_000_000), 3, Ok(1000));
        check(timestamp, at(946_684_800, 1_100_000), 3, Err(Misfit::Range));
        check(timestamp, at(946_684_800, 1_000_000), 0, Err(Misfit::Range));
        check(timestamp, at(i64::MAX, 0), -1, Err(Misfit::Range));
        check(timestamp, at(i64::MIN, 0), -1, Err(Misfit::Range));
        check(timestamp, at(9_224_318_015_999, 999_999_000), -1, Ok(TIMESTAMP_END - 1));
        check(timestamp, at(9_224_318_016_000, 0), -1, Err(Misfit::Range));
        check(timestamp, at(-210_866_803_200, 0), -1, Ok(TIMESTAMP_MIN));
        check(timestamp, Value::Date(Day::Finite(10_958)), -1, Ok(DAY_MICROS));
        let infinity = Value::TimestampZoned(Moment::PositiveInfinity);
        check(timestamptz, infinity, 0, Ok(i64::MAX));
        check(timestamptz, at(0, 0), -1, Err(Misfit::Type));
    }

    #[test]
    fn a_time_lies_in_its_day() {
        check(time, Value::Time(86_400_000_000_000), -1, Ok(DAY_MICROS));
        check(time, Value::Time(86_400_000_001_000), -1, Err(Misfit::Range));
        check(time, Value::Time(-1_000), -1, Err(Misfit::Range));
        check(time, Value::Time(1_500), -1, Err(Misfit::Range));
        check(time, Value::Time(1_001_000_000), 3, Ok(1_001_000));
        check(time, Value::Time(1_001_001_000), 3, Err(Misfit::Range));
        let span = |days, nanos| Value::Interval(Interval { months: 0, days, nanos });
        check(time, span(0, 1_000), -1, Ok(1));
        check(time, span(0, -1_000), -1, Err(Misfit::Range));
        check(time, span(1, 0), -1, Err(Misfit::Range));
        let mut out = Vec::new();
        timetz(Value::TimeZoned { nanos: 0, offset: 7200 }, -1, &mut out).unwrap();
        assert_eq!(out.get(8..), Some(&(-7200_i32).to_be_bytes()[..]));
        let beyond = Value::TimeZoned { nanos: 0, offset: 57_600 };
        check(timetz, beyond, -1, Err(Misfit::Range));
    }

    #[test]
    fn a_span_keeps_its_parts() {
        let span = |nanos| Value::Interval(Interval { months: 14, days: -3, nanos });
        let mut out = Vec::new();
        interval(span(-1_000_000), -1, &mut out).unwrap();
        let parts =
            [&(-1000_i64).to_be_bytes()[..], &(-3_i32).to_be_bytes(), &14_i32.to_be_bytes()];
        assert_eq!(out, parts.concat());
        check(interval, span(1), -1, Err(Misfit::Range));
        check(interval, span(1_001_000), 0x7fff_0003, Err(Misfit::Range));
        check(interval, span(1_000_000), 0x7fff_0003, Ok(1000));
        check(interval, span(1_000_000), 0x0400_ffff, Err(Misfit::Type));
        check(interval, Value::Time(-3_020_399_000_000_000), -1, Ok(-3_020_399_000_000));
    }
}
