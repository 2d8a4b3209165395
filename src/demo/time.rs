//! The demo's own spelling of times, apart from the product's.

use std::fmt;

use crate::demo::source::Time;

impl Time {
    /// Counts the microseconds since 1970 by walking the years and the months.
    pub(super) fn micros_since_1970(self) -> i64 {
        let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let leaps_before = |year: i64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
        let year = i64::from(self.year);
        let mut days = (year - 1970) * 365 + leaps_before(year) - leaps_before(1970);
        let february = if is_leap(year) { 29 } else { 28 };
        let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        days += months.iter().take(usize::from(self.month) - 1).sum::<i64>();
        days += i64::from(self.day) - 1;
        let minutes = (days * 24 + i64::from(self.hour)) * 60 + i64::from(self.minute);
        (minutes * 60 + i64::from(self.second)) * 1_000_000 + i64::from(self.micros)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second, micros } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(date: (u16, u8, u8), expected: i64) {
        let (year, month, day) = date;
        let time = Time { year, month, day, hour: 0, minute: 0, second: 1, micros: 2 };
        assert_eq!(time.micros_since_1970(), expected * 86_400_000_000 + 1_000_002, "{time}");
    }

    #[test]
    fn days_are_counted_over_leap_years() {
        check((1970, 1, 1), 0);
        check((2000, 3, 1), 11_017);
        check((1900, 3, 1), -25_508);
        check((2016, 11, 4), 17_109);
        check((1, 1, 1), -719_162);
        check((9999, 12, 31), 2_932_896);
    }
}
