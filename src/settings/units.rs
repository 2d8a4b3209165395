//! Numbers with units, as people write them.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Reads a whole number from 1 to `max`.
pub(crate) fn count(text: &str, max: u64) -> Result<NonZeroUsize, String> {
    let number = text.parse::<u64>().ok().filter(|number| *number <= max);
    let number = number.and_then(|number| NonZeroUsize::new(usize::try_from(number).ok()?));
    number.ok_or_else(|| format!("\"{text}\" must be a whole number from 1 to {max}"))
}

/// Reads a size such as `16MiB`, `500kB` or `65536`.
pub(crate) fn size(text: &str, limits: RangeInclusive<u64>) -> Result<NonZeroUsize, String> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "kb" => Some(1000),
        "mb" => Some(1000 * 1000),
        "gb" => Some(1000 * 1000 * 1000),
        "kib" => Some(1 << 10),
        "mib" => Some(1 << 20),
        "gib" => Some(1 << 30),
        _ => None,
    };
    let number = digits.parse::<u64>().ok();
    let bytes = number.zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    let bytes = bytes.ok_or_else(|| format!("\"{text}\" must be a size such as 16MiB"))?;
    let size = usize::try_from(bytes).ok().filter(|_| limits.contains(&bytes));
    match size.and_then(NonZeroUsize::new) {
        Some(size) => Ok(size),
        None => {
            Err(format!("\"{text}\" must be from {} to {} bytes", limits.start(), limits.end()))
        }
    }
}

/// Reads a duration such as `50ms` or `2m 30s`.
pub(crate) fn duration(text: &str, max: Duration) -> Result<Duration, String> {
    // `0` alone is a duration in any unit.
    let parsed = if text == "0" { Ok(Duration::ZERO) } else { humantime::parse_duration(text) };
    let duration =
        parsed.map_err(|_| format!("\"{text}\" must be a duration such as 50ms or 2s"))?;
    if duration > max {
        return Err(format!("\"{text}\" must be at most {}", humantime::format_duration(max)));
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_of_2_or_of_10() {
        let check = |text: &str| size(text, 1..=u64::MAX).map(NonZeroUsize::get);

        assert_eq!(check("65536"), Ok(65536));
        assert_eq!(check("16MiB"), Ok(16 * 1024 * 1024));
        assert_eq!(check("16 mib"), Ok(16 * 1024 * 1024));
        assert_eq!(check("500kB"), Ok(500_000));
        assert_eq!(check("99999999999999999999").unwrap_err().matches("size").count(), 1);
        assert_eq!(check("1.5MiB").unwrap_err(), "\"1.5MiB\" must be a size such as 16MiB");
        assert_eq!(check("MiB").unwrap_err(), "\"MiB\" must be a size such as 16MiB");
        assert_eq!(size("0", 1..=9).unwrap_err(), "\"0\" must be from 1 to 9 bytes");
    }

    #[test]
    fn a_duration_has_a_unit_and_a_limit() {
        let check = |text: &str| duration(text, Duration::from_secs(60));

        assert_eq!(check("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(check("0"), Ok(Duration::ZERO));
        assert_eq!(check("50").unwrap_err(), "\"50\" must be a duration such as 50ms or 2s");
        assert_eq!(check("61s").unwrap_err(), "\"61s\" must be at most 1m");
    }

    #[test]
    fn a_count_is_never_0() {
        assert_eq!(count("7", 9).map(NonZeroUsize::get), Ok(7));
        assert_eq!(count("0", 9).unwrap_err(), "\"0\" must be a whole number from 1 to 9");
        assert_eq!(count("-1", 9).unwrap_err(), "\"-1\" must be a whole number from 1 to 9");
    }
}
