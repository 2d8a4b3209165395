//! What a record's schema does not say: the target's column and the connector's settings do.

use crate::decode::value::kind::{FigureForm, Kind, Unit};
use crate::decode::value::spelling::Spelling;
use crate::rules::SourceSettings;
use crate::table::Column;

/// A setting of the connector that a column's values cannot be read without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MissingSetting(pub &'static str);

/// The connector that sent a record, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// What the user says of it.
    pub settings: Option<&'a SourceSettings>,
    /// Whether it is MySQL's or MariaDB's; `None` where the records name no connector.
    pub is_mysql: Option<bool>,
}

impl Sender<'_> {
    /// Returns whether a column may hold the bits of an integer without a sign. Where no record says
    /// whose it is, a setting that only MySQL's and MariaDB's connectors have does.
    fn may_be_unsigned(self) -> bool {
        let is_set = || self.settings.is_some_and(|it| it.bigint_unsigned_handling_mode.is_some());
        self.is_mysql.unwrap_or_else(is_set)
    }
}

/// Returns the kind of a source column that is written to this target column; `None` when the
/// record's schema says all.
///
/// Nothing is assumed: where the target's type leaves several forms open, the connector's setting
/// decides.
///
/// # Errors
///
/// The setting is not there.
pub fn resolve(
    kind: &Kind,
    column: &Column,
    sender: Sender<'_>,
) -> Result<Option<Kind>, MissingSetting> {
    let type_name = column.base_name.as_ref().unwrap_or(&column.type_name);
    let Some(element) = type_name.strip_suffix("[]") else {
        return resolve_one(kind, type_name, column.type_id, sender);
    };
    let kind = match kind {
        Kind::Array(element) => element,
        kind => kind,
    };
    let resolved = resolve_one(kind, element, column.type_id, sender)?;
    Ok(resolved.map(|element| Kind::Array(Box::new(element.of_value().clone()))))
}

fn resolve_one(
    kind: &Kind,
    type_name: &str,
    type_id: u32,
    sender: Sender<'_>,
) -> Result<Option<Kind>, MissingSetting> {
    match kind {
        Kind::Untyped => untyped(type_name, type_id, sender).map(Some),
        Kind::Geometry => Ok(figure_form(type_name).map(|form| Kind::Figure(form, None))),
        // A mode of the connector makes octets texts, and no schema says so.
        Kind::Text if is_octets(type_name) || is_foreign(type_name) => {
            binary(sender).map(|kind| (kind != Kind::Bytes).then_some(kind))
        }
        _ => Ok(None),
    }
}

/// Returns whether a type is one that PostgreSQL's connector does not know: it leaves such columns
/// out, or sends the octets of their text (`include.unknown.datatypes`).
fn is_foreign(type_name: &str) -> bool {
    const FOREIGN: [&str; 16] = [
        "tsquery",
        "pg_lsn",
        "tid",
        "xid",
        "cid",
        "xid8",
        "txid_snapshot",
        "pg_snapshot",
        "jsonpath",
        "box",
        "lseg",
        "path",
        "polygon",
        "line",
        "circle",
        "record",
    ];
    FOREIGN.contains(&type_name) || type_name.ends_with("multirange")
}

/// Returns how later connectors send a type that earlier ones do not know.
fn figure_form(type_name: &str) -> Option<FigureForm> {
    match type_name.to_ascii_lowercase().as_str() {
        "box" | "lseg" | "path" | "polygon" | "figure_text" => Some(FigureForm::Geometry),
        "circle" => Some(FigureForm::Circle),
        "line" => Some(FigureForm::Line),
        _ => None,
    }
}

fn is_octets(type_name: &str) -> bool {
    type_name == "bytea" || type_name.to_ascii_lowercase().contains("blob")
}

fn untyped(type_name: &str, type_id: u32, sender: Sender<'_>) -> Result<Kind, MissingSetting> {
    let (base, arguments) = parts(type_name);
    let digits = arguments.as_deref().and_then(|text| text.parse::<u32>().ok());
    let (_, name) = base.rsplit_once('.').unwrap_or(("", &base));
    Ok(match name {
        "smallint" | "integer" | "bigint" | "oid" | "int" => Kind::Int64,
        "boolean" => Kind::Bool,
        // SQLite, which has no numbers for types, keeps every REAL as a double.
        "real" if type_id != 0 => Kind::Float32,
        "real" | "float" | "double" | "double precision" => Kind::Float64,
        "numeric" | "decimal" | "decimal_text" => decimal(arguments.as_deref(), sender)?,
        "money" => money(sender)?,
        // A geometry is an object, and octets are a text.
        "bytea" | "blob" => Kind::Either(Box::new([binary(sender)?, Kind::Geometry])),
        "figure_text" => Kind::Figure(FigureForm::Geometry, None),
        foreign if is_foreign(foreign) => match (figure_form(foreign), binary(sender)?) {
            (Some(form), Kind::Encoded(spelling)) => Kind::Figure(form, Some(spelling)),
            (Some(form), _) => Kind::Figure(form, Some(Spelling::Base64)),
            (None, octets) => octets,
        },
        "date" | "date_text" => date(sender)?,
        "time without time zone" | "time_text" => {
            time(digits.or(standard(type_id, sender)), sender)?
        }
        "timestamp without time zone" | "timestamp_text" => {
            timestamp(digits.or(standard(type_id, sender)), sender)?
        }
        "timestamp with time zone" | "timestamptz_text" => match is_structured(sender) {
            true => Kind::StructuredZonedTimestamp,
            false => Kind::ZonedTimestamp,
        },
        "time with time zone" | "timetz_text" => match is_structured(sender) {
            true => Kind::StructuredZonedTime,
            false => Kind::ZonedTime,
        },
        "interval" | "duration_text" => interval(sender)?,
        "uuid" | "uuid_text" => Kind::Uuid,
        "json" | "jsonb" | "json_text" => json(sender),
        "bit" if digits.is_none_or(|digits| digits == 1) => Kind::Bool,
        "bit varying" if digits == Some(1) => Kind::Bool,
        "bit varying" if sender.is_mysql == Some(true) => {
            Kind::Unsupported("a bit string whose length no schema tells".to_owned())
        }
        "bits_text" if digits.is_none() => {
            Kind::Unsupported("bits whose length the column does not tell".to_owned())
        }
        "bit" | "bit varying" | "bits_text" => Kind::Bits { length: digits },
        "hstore" => hstore(sender)?,
        "map_text" => Kind::Map,
        "point" | "place_text" => Kind::Point,
        "geometry" | "geography" => Kind::Geometry,
        "vector" | "halfvec" => Kind::Array(Box::new(Kind::Float64)),
        "sparsevec" | "vector_text" => Kind::SparseVector,
        "array_text" => Kind::Unsupported("an array without its elements' type".to_owned()),
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
    sender: Sender<'a>,
    key: &'static str,
    value: fn(&SourceSettings) -> Option<&String>,
) -> Result<&'a str, MissingSetting> {
    sender.settings.and_then(value).map(String::as_str).ok_or(MissingSetting(key))
}

fn decimal(arguments: Option<&str>, sender: Sender<'_>) -> Result<Kind, MissingSetting> {
    let mode = setting(sender, "decimal_handling_mode", |it| it.decimal_handling_mode.as_ref())?;
    let mut numbers = arguments.into_iter().flat_map(|text| text.split(','));
    let precision = numbers.next().and_then(|text| text.trim().parse().ok());
    let scale = numbers.next().and_then(|text| text.trim().parse::<i32>().ok());
    if sender.may_be_unsigned() && (precision, scale.unwrap_or(0)) == (Some(20), 0) {
        let key = "bigint_unsigned_handling_mode";
        if setting(sender, key, |it| it.bigint_unsigned_handling_mode.as_ref())? == "long" {
            return Ok(Kind::Unsigned);
        }
    }
    Ok(match (mode, arguments) {
        ("double", _) => Kind::Float64,
        ("string", _) => Kind::DecimalText,
        (_, None) => Kind::VariableScaleDecimal,
        // The connector reads the eleven bits of a scale without their sign.
        (_, Some(_)) => {
            let scale = scale.unwrap_or(0);
            Kind::Decimal { scale: if scale < 0 { scale + 2048 } else { scale }, precision }
        }
    })
}

/// The digits of a `money` are those of a locale, and the connector sends as many as it is told to.
fn money(sender: Sender<'_>) -> Result<Kind, MissingSetting> {
    let mode = setting(sender, "decimal_handling_mode", |it| it.decimal_handling_mode.as_ref())?;
    let digits = sender.settings.and_then(|it| it.money_fraction_digits);
    Ok(match mode {
        "double" => Kind::Float64,
        "string" => Kind::DecimalText,
        _ => {
            let scale = i32::from(digits.ok_or(MissingSetting("money_fraction_digits"))?);
            Kind::Decimal { scale, precision: None }
        }
    })
}

fn binary(sender: Sender<'_>) -> Result<Kind, MissingSetting> {
    let mode = setting(sender, "binary_handling_mode", |it| it.binary_handling_mode.as_ref())?;
    Ok(match mode {
        "base64" => Kind::Encoded(Spelling::Base64),
        "base64-url-safe" => Kind::Encoded(Spelling::Base64UrlSafe),
        "hex" => Kind::Encoded(Spelling::Hex),
        _ => Kind::Bytes,
    })
}

fn hstore(sender: Sender<'_>) -> Result<Kind, MissingSetting> {
    let mode = setting(sender, "hstore_handling_mode", |it| it.hstore_handling_mode.as_ref())?;
    Ok(if mode == "map" { Kind::Map } else { Kind::Json })
}

/// A document is a text, and an `hstore` that the connector sends as a map is an object.
fn json(sender: Sender<'_>) -> Kind {
    match hstore(sender) {
        Ok(Kind::Map) => Kind::Either(Box::new([Kind::Json, Kind::Map])),
        _ => Kind::Json,
    }
}

fn is_structured(sender: Sender<'_>) -> bool {
    mode(sender) == Ok("structured")
}

fn mode(sender: Sender<'_>) -> Result<&str, MissingSetting> {
    setting(sender, "time_precision_mode", |it| it.time_precision_mode.as_ref())
}

fn date(sender: Sender<'_>) -> Result<Kind, MissingSetting> {
    Ok(match mode(sender)? {
        "isostring" => Kind::IsoDate,
        "structured" => Kind::StructuredDate,
        _ => Kind::Date,
    })
}

fn time(digits: Option<u32>, sender: Sender<'_>) -> Result<Kind, MissingSetting> {
    Ok(match mode(sender)? {
        "isostring" => Kind::IsoTime,
        "structured" => Kind::StructuredTime,
        "connect" => Kind::Time(Unit::Millis),
        "nanoseconds" => Kind::Time(Unit::Nanos),
        "adaptive" => adaptive(digits).map_or_else(undigited, Kind::Time),
        _ => Kind::Time(Unit::Micros),
    })
}

fn timestamp(digits: Option<u32>, sender: Sender<'_>) -> Result<Kind, MissingSetting> {
    Ok(match mode(sender)? {
        "isostring" => Kind::IsoTimestamp,
        "structured" => Kind::StructuredTimestamp,
        "connect" => Kind::Timestamp(Unit::Millis),
        "nanoseconds" if sender.is_mysql == Some(true) => Kind::Timestamp(Unit::WholeMicrosInNanos),
        "nanoseconds" => Kind::Timestamp(Unit::Nanos),
        "microseconds" => Kind::Timestamp(Unit::Micros),
        _ => adaptive(digits).map_or_else(undigited, Kind::Timestamp),
    })
}

/// Up to three digits of a second travel as milliseconds.
fn adaptive(digits: Option<u32>) -> Option<Unit> {
    digits.map(|digits| if digits <= 3 { Unit::Millis } else { Unit::Micros })
}

/// Returns the digits of a second that a column has which does not tell them: PostgreSQL's have six
/// at both ends; MySQL's have none, and SQLite's may be any.
fn standard(type_id: u32, sender: Sender<'_>) -> Option<u32> {
    (type_id != 0 && sender.is_mysql != Some(true)).then_some(6)
}

fn undigited() -> Kind {
    Kind::Unsupported("a time whose digits of a second the column does not tell".to_owned())
}

fn interval(sender: Sender<'_>) -> Result<Kind, MissingSetting> {
    if is_structured(sender) {
        return Ok(Kind::StructuredDuration);
    }
    if sender.is_mysql == Some(true) {
        // What is an interval here is a TIME there.
        return Ok(match time(None, sender)? {
            Kind::Time(unit) => Kind::Span(unit),
            kind => kind,
        });
    }
    let mode = setting(sender, "interval_handling_mode", |it| it.interval_handling_mode.as_ref())?;
    Ok(if mode == "string" { Kind::Interval } else { Kind::MicroDuration })
}

#[cfg(test)]
mod tests;
