//! JSON without a schema: the target's column and the connector's settings say what a value is.

use crate::decode::kind::{Kind, Unit};
use crate::rules::SourceSettings;
use crate::table::Column;

/// A setting of the connector that a column's values cannot be read without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MissingSetting(pub &'static str);

/// Returns the kind of a source column that is written to this target column.
///
/// Nothing is assumed: where the target's type leaves several forms open, the connector's setting
/// decides.
///
/// # Errors
///
/// The setting is not there.
pub fn resolve(column: &Column, source: Option<&SourceSettings>) -> Result<Kind, MissingSetting> {
    let (base, arguments) = parts(&column.type_name);
    let digits = arguments.as_deref().and_then(|text| text.parse::<u32>().ok());
    Ok(match base.as_str() {
        "smallint" | "integer" | "bigint" | "oid" | "int" => Kind::Int64,
        "boolean" => Kind::Bool,
        // SQLite, which has no numbers for types, keeps every REAL as a double.
        "real" if column.type_id != 0 => Kind::Float32,
        "real" | "float" | "double" | "double precision" => Kind::Float64,
        "numeric" | "decimal" | "decimal_text" => decimal(arguments.as_deref(), source)?,
        "bytea" | "blob" => binary(source)?,
        "date" | "date_text" => date(source)?,
        "time without time zone" | "time_text" => time(digits, source)?,
        "timestamp without time zone" | "timestamp_text" => timestamp(digits, source)?,
        "timestamp with time zone" | "timestamptz_text" => Kind::ZonedTimestamp,
        "time with time zone" | "timetz_text" => Kind::ZonedTime,
        "interval" | "duration_text" => interval(source)?,
        "uuid" | "uuid_text" => Kind::Uuid,
        "json" | "jsonb" | "json_text" => Kind::Json,
        "bit" if digits.is_none_or(|digits| digits == 1) => Kind::Bool,
        "bit" | "bit varying" | "bits_text" => Kind::Bits { length: digits },
        _ => Kind::Text,
    })
}

/// Splits `timestamp(3) without time zone` into its name and what stands in brackets.
fn parts(type_name: &str) -> (String, Option<String>) {
    let lower = type_name.to_ascii_lowercase();
    let Some((before, rest)) = lower.split_once('(') else { return (lower, None) };
    let (inside, after) = rest.split_once(')').unwrap_or((rest, ""));
    (format!("{before}{after}"), Some(inside.to_owned()))
}

fn setting<'a>(
    source: Option<&'a SourceSettings>,
    key: &'static str,
    value: fn(&SourceSettings) -> Option<&String>,
) -> Result<&'a str, MissingSetting> {
    source.and_then(value).map(String::as_str).ok_or(MissingSetting(key))
}

fn decimal(
    arguments: Option<&str>,
    source: Option<&SourceSettings>,
) -> Result<Kind, MissingSetting> {
    let mode = setting(source, "decimal_handling_mode", |it| it.decimal_handling_mode.as_ref())?;
    let mut numbers = arguments.into_iter().flat_map(|text| text.split(','));
    let precision = numbers.next().and_then(|text| text.trim().parse().ok());
    let scale = numbers.next().and_then(|text| text.trim().parse().ok());
    Ok(match (mode, arguments) {
        ("double", _) => Kind::Float64,
        ("string", _) | (_, None) => Kind::VariableScaleDecimal,
        (_, Some(_)) => Kind::Decimal { scale: scale.unwrap_or(0), precision },
    })
}

fn binary(source: Option<&SourceSettings>) -> Result<Kind, MissingSetting> {
    // Base64 as a text looks like bytes here; the other forms have no conversion yet.
    let mode = setting(source, "binary_handling_mode", |it| it.binary_handling_mode.as_ref())?;
    Ok(match mode {
        "bytes" | "base64" => Kind::Bytes,
        other => Kind::Unsupported(format!("binary_handling_mode {other}")),
    })
}

fn mode(source: Option<&SourceSettings>) -> Result<&str, MissingSetting> {
    setting(source, "time_precision_mode", |it| it.time_precision_mode.as_ref())
}

fn date(source: Option<&SourceSettings>) -> Result<Kind, MissingSetting> {
    Ok(match mode(source)? {
        "isostring" => Kind::IsoDate,
        "structured" => Kind::Unsupported("StructuredDate".to_owned()),
        _ => Kind::Date,
    })
}

fn time(digits: Option<u32>, source: Option<&SourceSettings>) -> Result<Kind, MissingSetting> {
    Ok(match mode(source)? {
        "isostring" => Kind::IsoTime,
        "structured" => Kind::Unsupported("StructuredTime".to_owned()),
        "connect" => Kind::Time(Unit::Millis),
        "nanoseconds" => Kind::Time(Unit::Nanos),
        "adaptive" => Kind::Time(adaptive(digits)),
        _ => Kind::Time(Unit::Micros),
    })
}

fn timestamp(digits: Option<u32>, source: Option<&SourceSettings>) -> Result<Kind, MissingSetting> {
    Ok(match mode(source)? {
        "isostring" => Kind::IsoTimestamp,
        "structured" => Kind::Unsupported("StructuredTimestamp".to_owned()),
        "connect" => Kind::Timestamp(Unit::Millis),
        "nanoseconds" => Kind::Timestamp(Unit::Nanos),
        "microseconds" => Kind::Timestamp(Unit::Micros),
        _ => Kind::Timestamp(adaptive(digits)),
    })
}

/// Up to three digits of a second travel as milliseconds.
fn adaptive(digits: Option<u32>) -> Unit {
    match digits {
        Some(0..=3) => Unit::Millis,
        _ => Unit::Micros,
    }
}

fn interval(source: Option<&SourceSettings>) -> Result<Kind, MissingSetting> {
    let mode = setting(source, "interval_handling_mode", |it| it.interval_handling_mode.as_ref())?;
    Ok(if mode == "string" { Kind::Interval } else { Kind::MicroDuration })
}
