//! Structured times: Debezium's structs of a time's parts, as values.

use crate::decode::value::packed::{Packing, Parts};
use crate::decode::value::semantic::{Literal, Unfit};
use crate::decode::value::text::day_of;
use crate::decode::value::{Day, Interval, Moment, Value};

type Fields<const N: usize> = [(&'static str, Packing<'static>); N];

const PLAIN: Packing<'static> = Packing::Plain;

/// The fields of a day.
pub const DATE: Fields<4> =
    [("specialValue", PLAIN), ("year", PLAIN), ("month", PLAIN), ("day", PLAIN)];

/// The fields of a time of day, with or without an offset.
pub const TIME: Fields<5> = [
    ("hour", PLAIN),
    ("minute", PLAIN),
    ("second", PLAIN),
    ("nanos", PLAIN),
    ("offsetSeconds", PLAIN),
];

/// The fields of a moment, with or without an offset.
pub const TIMESTAMP: Fields<9> = [
    ("specialValue", PLAIN),
    ("year", PLAIN),
    ("month", PLAIN),
    ("day", PLAIN),
    ("hour", PLAIN),
    ("minute", PLAIN),
    ("second", PLAIN),
    ("nanos", PLAIN),
    ("offsetSeconds", PLAIN),
];

/// The fields of a span.
pub const DURATION: Fields<7> = [
    ("years", PLAIN),
    ("months", PLAIN),
    ("days", PLAIN),
    ("hours", PLAIN),
    ("minutes", PLAIN),
    ("seconds", PLAIN),
    ("nanos", PLAIN),
];

const UNFIT: Unfit = Unfit("is no time of its type");

const NANOS: i64 = 1_000_000_000;
const DAY_NANOS: i64 = 86_400 * NANOS;

/// Returns the day; MySQL's zero dates are none.
pub fn date(parts: Parts<'_>) -> Result<Value<'static>, Unfit> {
    let [special, date @ ..] = parts.fields::<4>();
    Ok(Value::Date(match end(special)? {
        Some(End::Positive) => Day::PositiveInfinity,
        Some(End::Negative) => Day::NegativeInfinity,
        None => Day::Finite(days(date)?),
    }))
}

/// Returns the time of day.
pub fn time(parts: Parts<'_>) -> Result<Value<'static>, Unfit> {
    let [clock @ .., _] = parts.fields::<5>();
    Ok(Value::Time(nanos(clock)?))
}

/// Returns the time of day at its offset.
pub fn zoned_time(parts: Parts<'_>) -> Result<Value<'static>, Unfit> {
    let [clock @ .., offset] = parts.fields::<5>();
    Ok(Value::TimeZoned { nanos: nanos(clock)?, offset: number(offset)? })
}

/// Returns the moment on a clock without a zone.
pub fn timestamp(parts: Parts<'_>) -> Result<Value<'static>, Unfit> {
    let [special, year, month, day, clock @ .., _] = parts.fields::<9>();
    Ok(Value::Timestamp(moment(special, [year, month, day], clock, 0)?))
}

/// Returns the moment; the zone's name says no more than the offset.
pub fn zoned_timestamp(parts: Parts<'_>) -> Result<Value<'static>, Unfit> {
    let [special, year, month, day, clock @ .., offset] = parts.fields::<9>();
    // An infinite moment has no offset.
    let offset = if special == Literal::Null { number(offset)? } else { 0 };
    Ok(Value::TimestampZoned(moment(special, [year, month, day], clock, offset)?))
}

/// Returns the span, each part with its own sign.
pub fn duration(parts: Parts<'_>) -> Result<Value<'static>, Unfit> {
    let [years, months, days, hours, minutes, seconds, nanos] = parts.fields::<7>();
    let (years, months) = (long(years)?, long(months)?);
    let months = years.checked_mul(12).and_then(|all| all.checked_add(months)).ok_or(UNFIT)?;
    let clock = [(hours, 3600 * NANOS), (minutes, 60 * NANOS), (seconds, NANOS), (nanos, 1)];
    let mut total = 0_i128;
    for (part, unit) in clock {
        total += i128::from(long(part)?) * i128::from(unit);
    }
    let months = i32::try_from(months).map_err(|_| UNFIT)?;
    Ok(Value::Interval(Interval { months, days: number(days)?, nanos: total }))
}

/// An end of the time line.
enum End {
    Positive,
    Negative,
}

fn end(special: Literal<'_>) -> Result<Option<End>, Unfit> {
    match special {
        Literal::Null => Ok(None),
        Literal::Text("POSITIVE_INFINITY") => Ok(Some(End::Positive)),
        Literal::Text("NEGATIVE_INFINITY") => Ok(Some(End::Negative)),
        _ => Err(UNFIT),
    }
}

fn moment(
    special: Literal<'_>,
    date: [Literal<'_>; 3],
    clock: [Literal<'_>; 4],
    offset: i32,
) -> Result<Moment, Unfit> {
    match end(special)? {
        Some(End::Positive) => return Ok(Moment::PositiveInfinity),
        Some(End::Negative) => return Ok(Moment::NegativeInfinity),
        None => {}
    }
    let nanos = nanos(clock)?;
    if nanos == DAY_NANOS {
        return Err(UNFIT);
    }
    let seconds = i64::from(days(date)?) * 86_400 + nanos / NANOS - i64::from(offset);
    let nanos = u32::try_from(nanos % NANOS).map_err(|_| UNFIT)?;
    Ok(Moment::Finite { seconds, nanos })
}

fn days([year, month, day]: [Literal<'_>; 3]) -> Result<i32, Unfit> {
    day_of(long(year)?, long(month)?, long(day)?).ok_or(Unfit("is no day of the calendar"))
}

/// Counts from midnight, up to the end of the day itself.
fn nanos([hour, minute, second, nanos]: [Literal<'_>; 4]) -> Result<i64, Unfit> {
    let parts = [(hour, 24, 3600 * NANOS), (minute, 59, 60 * NANOS), (second, 59, NANOS)];
    let mut total = 0;
    for (part, most, unit) in parts.into_iter().chain([(nanos, NANOS - 1, 1)]) {
        let part = long(part)?;
        if !(0..=most).contains(&part) {
            return Err(UNFIT);
        }
        total += part * unit;
    }
    if total > DAY_NANOS { Err(UNFIT) } else { Ok(total) }
}

fn long(part: Literal<'_>) -> Result<i64, Unfit> {
    if let Literal::Int(part) = part { Ok(part) } else { Err(UNFIT) }
}

fn number(part: Literal<'_>) -> Result<i32, Unfit> {
    i32::try_from(long(part)?).map_err(|_| UNFIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::value::kind::Kind;
    use crate::decode::value::packed::Packer;
    use crate::decode::value::semantic::value;

    /// Checks a struct of these fields, the first ones of its kind.
    fn check(kind: &Kind, fields: &[Literal<'_>], expected: Result<Value<'_>, Unfit>) {
        let mut packed = Vec::new();
        let mut packer = Packer::new(&mut packed);
        for (index, literal) in (0..).zip(fields) {
            packer.push(Literal::Int(index));
            packer.push(*literal);
        }
        assert_eq!(value(kind, Literal::Parts(Parts::new(&packed))), expected, "{kind:?}");
    }

    fn ints<const N: usize>(parts: [i64; N]) -> [Literal<'static>; N] {
        parts.map(Literal::Int)
    }

    #[test]
    fn the_parts_of_a_day_make_a_day() {
        let check = |fields: &[Literal<'_>], expected| {
            check(&Kind::StructuredDate, fields, expected);
        };
        let day = |day| Ok(Value::Date(day));
        let null = Literal::Null;
        let of = |year, month, day| [null, year, month, day].map(|it| it);
        let [year, month, first] = ints([2016, 11, 4]);
        check(&of(year, month, first), day(Day::Finite(17_109)));
        let [year, month, first] = ints([-43, 3, 15]);
        check(&of(year, month, first), day(Day::Finite(-735_160)));
        check(&[Literal::Text("POSITIVE_INFINITY"), null, null, null], day(Day::PositiveInfinity));
        check(&[Literal::Text("NEGATIVE_INFINITY"), null, null, null], day(Day::NegativeInfinity));
        let none = Err(Unfit("is no day of the calendar"));
        for parts in [[0, 0, 0], [2020, 0, 15], [2021, 2, 29], [2021, 13, 1]] {
            let [year, month, day] = ints(parts);
            check(&of(year, month, day), none);
        }
    }

    #[test]
    fn the_parts_of_a_time_make_a_time() {
        let check_time = |parts: [i64; 4], expected: Result<i64, Unfit>| {
            check(&Kind::StructuredTime, &ints(parts), expected.map(Value::Time));
        };
        check_time([13, 51, 30, 123_456_000], Ok(49_890_123_456_000));
        check_time([24, 0, 0, 0], Ok(DAY_NANOS));
        check_time([24, 0, 0, 1], Err(UNFIT));
        check_time([23, 60, 0, 0], Err(UNFIT));
        check_time([-1, 0, 0, 0], Err(UNFIT));
        check(&Kind::StructuredTime, &[], Err(UNFIT));
        check(&Kind::StructuredTime, &ints([13, 51]), Err(UNFIT));
        let zoned = Value::TimeZoned { nanos: 49_890_000_000_000, offset: -3600 };
        check(&Kind::StructuredZonedTime, &ints([13, 51, 30, 0, -3600]), Ok(zoned));
    }

    #[test]
    fn the_parts_of_a_moment_make_a_moment() {
        let of = |parts: [i64; 8]| {
            let mut fields = vec![Literal::Null];
            fields.extend(ints(parts));
            fields
        };
        let at = |seconds, nanos| Moment::Finite { seconds, nanos };
        let wall = |seconds, nanos| Ok(Value::Timestamp(at(seconds, nanos)));
        let (plain, zoned) = (Kind::StructuredTimestamp, Kind::StructuredZonedTimestamp);
        check(&plain, &of([2016, 11, 4, 13, 51, 30, 1, 0]), wall(1_478_267_490, 1));
        check(&plain, &of([1969, 12, 31, 23, 59, 59, 999, 0]), wall(-1, 999));
        let late = [294_276, 12, 31, 23, 59, 59, 999_999_000, 32_400];
        let expected = at(9_224_317_983_599, 999_999_000);
        check(&zoned, &of(late), Ok(Value::TimestampZoned(expected)));
        let infinity = [Literal::Text("NEGATIVE_INFINITY")];
        check(&zoned, &infinity, Ok(Value::TimestampZoned(Moment::NegativeInfinity)));
        check(&plain, &of([2016, 11, 4, 24, 0, 0, 0, 0]), Err(UNFIT));
    }

    #[test]
    fn the_parts_of_a_span_keep_their_signs() {
        let kind = Kind::StructuredDuration;
        let expected = Interval { months: -14, days: 3, nanos: -14_706_000_000_007 };
        check(&kind, &ints([-1, -2, 3, -4, -5, -6, -7]), Ok(Value::Interval(expected)));
        let time = Interval { nanos: -3_020_398_999_999_000, ..Interval::default() };
        let parts = [0, 0, 0, -838, -59, -58, -999_999_000];
        check(&kind, &ints(parts), Ok(Value::Interval(time)));
        check(&kind, &ints([i64::MAX, 0, 0, 0, 0, 0, 0]), Err(UNFIT));
        check(&kind, &[Literal::Text("1")], Err(UNFIT));
        check(&kind, &[], Err(UNFIT));
    }
}
