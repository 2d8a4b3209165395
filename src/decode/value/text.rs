//! Times as text: the ISO forms that Debezium prints.

use crate::decode::value::{Day, Interval, Moment};

const NANOS: i64 = 1_000_000_000;

/// The furthest year that a text can say.
const YEAR_MAX: u64 = 999_999_999;

/// Reads a date and a time with an offset, such as `2016-11-04T11:51:30.123456Z`,
/// `+21016-11-04T06:51:30Z`, `infinity`; returns the moment in UTC and the offset in seconds.
pub fn moment(text: &str) -> Option<(Moment, i32)> {
    if let Some(moment) = usual_moment(text.as_bytes()) {
        return Some((moment, 0));
    }
    match text {
        "infinity" => return Some((Moment::PositiveInfinity, 0)),
        "-infinity" => return Some((Moment::NegativeInfinity, 0)),
        _ => {}
    }
    let mut scan = Scan(text.as_bytes());
    let days = scan.day()?;
    scan.expect(b'T')?;
    let (nanos, offset) = scan.time()?;
    let offset = offset?;
    scan.end()?;
    if nanos == 86_400 * NANOS {
        return None;
    }
    let seconds = i64::from(days) * 86_400 + nanos / NANOS - i64::from(offset);
    let nanos = u32::try_from(nanos % NANOS).ok()?;
    Some((Moment::Finite { seconds, nanos }, offset))
}

/// Reads the form that nearly all moments have, such as `2016-11-04T11:51:30.123456Z`; `None` for
/// others, of which some are moments, too.
fn usual_moment(text: &[u8]) -> Option<Moment> {
    let (head, tail) = text.split_first_chunk::<19>()?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2] =
        head
    else {
        return None;
    };
    let (b'Z', fraction) = tail.split_last()? else { return None };
    let fraction = match fraction {
        [] => [].as_slice(),
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => digits,
        _ => return None,
    };
    let two = |tens: &u8, ones: &u8| {
        let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
        (tens <= 9 && ones <= 9).then(|| i64::from(tens) * 10 + i64::from(ones))
    };
    let year = two(y1, y2)? * 100 + two(y3, y4)?;
    let (hours, minutes, seconds) = (two(h1, h2)?, two(n1, n2)?, two(s1, s2)?);
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let days = day_of(year, two(m1, m2)?, two(d1, d2)?)?;
    let mut nanos = 0;
    for digit in fraction {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        nanos = nanos * 10 + u32::from(digit);
    }
    let missing = 9 - u32::try_from(fraction.len()).ok()?;
    let seconds = i64::from(days) * 86_400 + (hours * 60 + minutes) * 60 + seconds;
    Some(Moment::Finite { seconds, nanos: nanos * 10_u32.pow(missing) })
}

/// Reads a day such as `2016-11-04`, `-4713-12-31` or `+21016-11-04`; the year 0 is 1 BC.
pub fn day(text: &str) -> Option<Day> {
    let mut scan = Scan(text.as_bytes());
    let days = scan.day()?;
    scan.end()?;
    Some(Day::Finite(days))
}

/// Counts the days since 1970-01-01 to a day of the proleptic Gregorian calendar; `None` for one
/// that it does not have. The year 0 is 1 BC.
pub fn day_of(year: i64, month: i64, day: i64) -> Option<i32> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(is_leap),
        _ => return None,
    };
    if !(1..=last).contains(&day) || year.unsigned_abs() > YEAR_MAX {
        return None;
    }
    i32::try_from(days_from_civil(year, month, day)).ok()
}

/// Reads a time of day such as `11:51:30.123789Z`, `24:00:00Z` or `11:51:30+05:30`; returns
/// nanoseconds and the offset in seconds, where there is one.
pub fn time(text: &str) -> Option<(i64, Option<i32>)> {
    let mut scan = Scan(text.as_bytes());
    let time = scan.time()?;
    scan.end()?;
    Some(time)
}

/// What is left of a text. Every method that returns an option returns `None` for another form.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    /// Takes this byte, if it comes next.
    fn take(&mut self, byte: u8) -> bool {
        let rest = self.0.split_first().filter(|(first, _)| **first == byte);
        rest.inspect(|(_, rest)| self.0 = rest).is_some()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.take(byte).then_some(())
    }

    /// Reads digits as far as there are some, ten of them at most; returns their count as well.
    fn digits(&mut self) -> (i64, u32) {
        let (mut number, mut count) = (0, 0);
        while let [digit @ b'0'..=b'9', rest @ ..] = self.0
            && count < 10
        {
            number = number * 10 + i64::from(digit - b'0');
            count += 1;
            self.0 = rest;
        }
        (number, count)
    }

    fn two_digits(&mut self) -> Option<i64> {
        let ([tens @ b'0'..=b'9', ones @ b'0'..=b'9'], rest) = self.0.split_first_chunk()? else {
            return None;
        };
        self.0 = rest;
        Some(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
    }

    /// Reads up to nine digits of a fraction of a second, as nanoseconds.
    fn fraction(&mut self) -> Option<i64> {
        let (digits, count) = self.digits();
        (1..=9).contains(&count).then(|| digits * 10_i64.pow(9 - count))
    }

    fn day(&mut self) -> Option<i32> {
        let is_before = self.take(b'-');
        if !is_before {
            self.take(b'+');
        }
        let (year, count) = self.digits();
        self.expect(b'-')?;
        let month = self.two_digits()?;
        self.expect(b'-')?;
        let day = self.two_digits()?;
        (4..=9)
            .contains(&count)
            .then(|| day_of(if is_before { -year } else { year }, month, day))
            .flatten()
    }

    fn time(&mut self) -> Option<(i64, Option<i32>)> {
        let hours = self.two_digits()?;
        self.expect(b':')?;
        let minutes = self.two_digits()?;
        let seconds = if self.take(b':') { self.two_digits()? } else { 0 };
        let fraction = if self.take(b'.') { self.fraction()? } else { 0 };
        if minutes > 59 || seconds > 59 {
            return None;
        }
        let nanos = ((hours * 60 + minutes) * 60 + seconds) * NANOS + fraction;
        let offset = match self.0 {
            [] => None,
            [b'Z', rest @ ..] => {
                self.0 = rest;
                Some(0)
            }
            _ => Some(self.offset()?),
        };
        (nanos <= 86_400 * NANOS).then_some((nanos, offset))
    }

    /// Reads an offset such as `+05:30`, `-08` or `+00:19:32`, as seconds.
    fn offset(&mut self) -> Option<i32> {
        let is_west = self.take(b'-');
        if !is_west {
            self.expect(b'+')?;
        }
        let mut seconds = self.two_digits()? * 3600;
        for unit in [60, 1] {
            if self.take(b':') {
                seconds += self.two_digits()? * unit;
            }
        }
        i32::try_from(if is_west { -seconds } else { seconds }).ok()
    }
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
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let sign = if whole.starts_with('-') { -1 } else { 1 };
    let whole = i128::from(whole.parse::<i64>().ok()?) * i128::from(NANOS);
    let mut scan = Scan(fraction.as_bytes());
    let nanos = scan.fraction()?;
    scan.end()?;
    Some(whole + sign * i128::from(nanos))
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
        check("0000-02-29T00:00:00Z", finite(-62_162_121_600, 0));
        check("1900-02-29T00:00:00Z", None);
        check("2020-00-10T00:00:00Z", None);
        check("2020-13-10T00:00:00Z", None);
        check("2020-02-29T00:00:60Z", None);
        check("2020-02-29T00:60:00Z", None);
        check("2020-02-29T00:00:00.1Z", finite(1_582_934_400, 100_000_000));
        check("2020-02-29T00:00:00.Z", None);
        check("2020-02-29T00:00:00.1234567890Z", None);
        check("2020-02-29T00:00:00.12x4Z", None);
        check("2020-02-2xT00:00:00Z", None);
    }

    #[test]
    fn the_usual_form_is_read_as_every_other() {
        for seconds in 0..60 {
            for fraction in ["", ".5", ".123456", ".123456789"] {
                let clock = format!("2024-05-06T07:08:{seconds:02}{fraction}");
                let (usual, other) = (format!("{clock}Z"), format!("{clock}+00:00"));
                assert!(usual_moment(usual.as_bytes()).is_some(), "{usual}");
                assert!(usual_moment(other.as_bytes()).is_none(), "{other}");
                assert_eq!(moment(&usual), moment(&other));
            }
        }
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
