//! Times as text: the ISO forms that Debezium prints.

use crate::decode::value::{Day, Interval, Moment};

const NANOS: i64 = 1_000_000_000;

/// The furthest year that a text can say.
const YEAR_MAX: i64 = 999_999_999;

/// Reads a date and a time with an offset, such as `2016-11-04T11:51:30.123456Z`,
/// `+21016-11-04T06:51:30Z`, `infinity`; returns the moment in UTC and the offset in seconds.
pub fn moment(text: &str) -> Option<(Moment, i32)> {
    match text {
        "infinity" => return Some((Moment::PositiveInfinity, 0)),
        "-infinity" => return Some((Moment::NegativeInfinity, 0)),
        _ => {}
    }
    let (date, clock) = text.split_once('T')?;
    let Day::Finite(days) = day(date)? else { return None };
    let (nanos, offset) = time(clock)?;
    let offset = offset?;
    if nanos == 86_400 * NANOS {
        return None;
    }
    let seconds = i64::from(days) * 86_400 + nanos.div_euclid(NANOS) - i64::from(offset);
    let nanos = u32::try_from(nanos.rem_euclid(NANOS)).ok()?;
    Some((Moment::Finite { seconds, nanos }, offset))
}

/// Reads a day such as `2016-11-04`, `-4713-12-31` or `+21016-11-04`; the year 0 is 1 BC.
pub fn day(text: &str) -> Option<Day> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, text.get(1..)?),
        b'+' => (1, text.get(1..)?),
        _ => (1, text),
    };
    let mut parts = digits.split('-');
    let year = sign * number(parts.next()?, 4..=9)?;
    let (month, day) = (number(parts.next()?, 2..=2)?, number(parts.next()?, 2..=2)?);
    if parts.next().is_some() {
        return None;
    }
    day_of(year, month, day).map(Day::Finite)
}

/// Counts the days since 1970-01-01 to a day of the proleptic Gregorian calendar; `None` for one
/// that it does not have. The year 0 is 1 BC.
pub fn day_of(year: i64, month: i64, day: i64) -> Option<i32> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year.abs() > YEAR_MAX {
        return None;
    }
    let days = days_from_civil(year, month, day);
    // A day that the month does not have would come out as one of the next.
    (civil_month(days) == month).then(|| i32::try_from(days).ok()).flatten()
}

/// Reads a time of day such as `11:51:30.123789Z`, `24:00:00Z` or `11:51:30+05:30`; returns
/// nanoseconds and the offset in seconds, where there is one.
pub fn time(text: &str) -> Option<(i64, Option<i32>)> {
    let at = text.bytes().position(|byte| matches!(byte, b'Z' | b'+' | b'-'));
    let at = at.unwrap_or(text.len());
    let (clock, zone) = text.split_at_checked(at)?;
    let offset = match zone {
        "" => None,
        "Z" => Some(0),
        zone => Some(offset(zone)?),
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut parts = clock.split(':');
    let hours = number(parts.next()?, 2..=2)?;
    let minutes = number(parts.next()?, 2..=2)?;
    let seconds = parts.next().map_or(Some(0), |text| number(text, 2..=2))?;
    if parts.next().is_some() || hours > 24 || minutes > 59 || seconds > 59 {
        return None;
    }
    let nanos = ((hours * 60 + minutes) * 60 + seconds) * NANOS + nanos(fraction)?;
    (nanos <= 86_400 * NANOS).then_some((nanos, offset))
}

/// Reads `P1Y2M3DT4H5M6.78S`, each part with a sign of its own.
pub fn interval(text: &str) -> Option<Interval> {
    let text = text.strip_prefix('P')?;
    let (calendar, clock) = match text.split_once('T') {
        Some((calendar, clock)) => (calendar, Some(clock).filter(|clock| !clock.is_empty())?),
        None => (Some(text).filter(|text| !text.is_empty())?, ""),
    };
    let (mut months, mut days, mut nanos) = (0_i64, 0_i64, 0_i128);
    parts(calendar, "YMWD", |amount, unit| {
        let amount = amount.parse::<i64>().ok()?;
        match unit {
            'Y' => months = months.checked_add(amount.checked_mul(12)?)?,
            'M' => months = months.checked_add(amount)?,
            'W' => days = days.checked_add(amount.checked_mul(7)?)?,
            _ => days = days.checked_add(amount)?,
        }
        Some(())
    })?;
    parts(clock, "HMS", |amount, unit| {
        let whole = || amount.parse::<i64>().ok().map(i128::from);
        nanos += match unit {
            'H' => whole()? * 3600 * i128::from(NANOS),
            'M' => whole()? * 60 * i128::from(NANOS),
            _ => seconds(amount)?,
        };
        Some(())
    })?;
    let (months, days) = (i32::try_from(months).ok()?, i32::try_from(days).ok()?);
    Some(Interval { months, days, nanos })
}

/// Hands over each amount with its unit; the units are some of these in their order.
fn parts(
    mut text: &str,
    mut units: &str,
    mut take: impl FnMut(&str, char) -> Option<()>,
) -> Option<()> {
    while !text.is_empty() {
        let (at, unit) = text.char_indices().find(|(_, letter)| letter.is_ascii_alphabetic())?;
        let (amount, rest) = text.split_at_checked(at)?;
        (_, units) = units.split_once(unit)?;
        take(amount, unit)?;
        text = rest.get(1..)?;
    }
    Some(())
}

fn seconds(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let sign = if whole.starts_with('-') { -1 } else { 1 };
    let whole = i128::from(whole.parse::<i64>().ok()?) * i128::from(NANOS);
    Some(whole + sign * i128::from(nanos(fraction)?))
}

fn offset(text: &str) -> Option<i32> {
    let (sign, digits) = text.split_at_checked(1)?;
    let mut parts = digits.split(':');
    let mut total = number(parts.next()?, 2..=2)? * 3600;
    for (part, unit) in parts.zip([60, 1]) {
        total += number(part, 2..=2)? * unit;
    }
    let total = i32::try_from(total).ok()?;
    match sign {
        "+" => Some(total),
        "-" => Some(-total),
        _ => None,
    }
}

/// Reads up to nine digits of a fraction of a second.
fn nanos(fraction: &str) -> Option<i64> {
    if fraction.is_empty() {
        return Some(0);
    }
    let digits = number(fraction, 1..=9)?;
    let missing = u32::try_from(9 - fraction.len()).ok()?;
    Some(digits * 10_i64.pow(missing))
}

fn number(text: &str, lengths: std::ops::RangeInclusive<usize>) -> Option<i64> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
    let mut digits = Some(text).filter(|text| lengths.contains(&text.len()))?.bytes();
    digits.try_fold(0, |number, byte| Some(number * 10 + digit(byte)?))
}

/// Counts the days since 1970-01-01 in the proleptic Gregorian calendar
/// (<https://howardhinnant.github.io/date_algorithms.html>).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Returns the month of a day, from the same source.
fn civil_month(days: i64) -> i64 {
    let day_of_era = (days + 719_468).rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    (5 * day_of_year + 2) / 153 + if (5 * day_of_year + 2) / 153 < 10 { 3 } else { -9 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_at_every_border() {
        let finite = |seconds, nanos| Some(Moment::Finite { seconds, nanos });
        let check = |text, expected| assert_eq!(moment(text).map(|(it, _)| it), expected, "{text}");
        check("1970-01-01T00:00:00Z", finite(0, 0));
        check("2016-11-04T11:51:30.123456Z", finite(1_478_260_290, 123_456_000));
        check("2016-11-04T13:51:30.123456+02:00", finite(1_478_260_290, 123_456_000));
        check("1969-12-31T23:59:59.999999999Z", finite(-1, 999_999_999));
        check("+21016-11-04T06:51:30.123456Z", finite(601_060_287_090, 123_456_000));
        check("-4713-12-31T23:59:59.999999Z", finite(-210_863_520_001, 999_999_000));
        check("infinity", Some(Moment::PositiveInfinity));
        check("-infinity", Some(Moment::NegativeInfinity));
        check("2021-02-29T00:00:00Z", None);
        check("2020-02-29T00:00:00Z", finite(1_582_934_400, 0));
        check("2020-02-29 00:00:00Z", None);
        check("2020-02-29T00:00:00", None);
        check("2020-02-29T24:00:00Z", None);
        check("2020-02-29T25:00:00Z", None);
        check("2020-02-29T00:00:00Z05:00", None);
    }

    #[test]
    fn times_keep_their_offset_and_the_end_of_the_day() {
        assert_eq!(time("11:51:30.123789Z"), Some((42_690_123_789_000, Some(0))));
        assert_eq!(time("24:00:00Z"), Some((86_400_000_000_000, Some(0))));
        assert_eq!(time("24:00:01Z"), None);
        assert_eq!(time("11:51:30-05:30"), Some((42_690_000_000_000, Some(-19_800))));
        assert_eq!(time("11:51"), Some((42_660_000_000_000, None)));
    }

    #[test]
    fn intervals_keep_the_sign_of_each_part() {
        let expected = Interval { months: 14, days: 3, nanos: 14_706_780_000_000 };
        assert_eq!(interval("P1Y2M3DT4H5M6.78S"), Some(expected));
        let expected = Interval { months: -10, days: 3, nanos: -500_000_000 };
        assert_eq!(interval("P-1Y2M3DT-0.5S"), Some(expected));
        assert_eq!(interval("PT0S"), Some(Interval::default()));
        let nothing =
            ["", "1Y", "P1", "P", "PT", "P1DT", "P1D2D", "P1D2M", "P1H", "PT1D", "PT1ST2S"];
        for text in nothing {
            assert_eq!(interval(text), None, "{text}");
        }
    }
}
