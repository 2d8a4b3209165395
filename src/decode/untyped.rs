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
    /// Whether it is MySQL's or MariaDB's.
    pub is_mysql: bool,
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
    Ok(resolved.map(|element| Kind::Array(Box::new(element))))
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
        "bytea" | "blob" => binary(sender)?,
        "figure_text" => Kind::Figure(FigureForm::Geometry, None),
        foreign if is_foreign(foreign) => match (figure_form(foreign), binary(sender)?) {
            (Some(form), Kind::Encoded(spelling)) => Kind::Figure(form, Some(spelling)),
            (Some(form), _) => Kind::Figure(form, Some(Spelling::Base64)),
            (None, octets) => octets,
        },
        "date" | "date_text" => date(sender)?,
        "time without time zone" | "time_text" => time(digits, sender)?,
        "timestamp without time zone" | "timestamp_text" => timestamp(digits, sender)?,
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
        "json" | "jsonb" | "json_text" => Kind::Json,
        "bit" if digits.is_none_or(|digits| digits == 1) => Kind::Bool,
        "bit varying" if digits == Some(1) => Kind::Bool,
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
    if sender.is_mysql && (precision, scale.unwrap_or(0)) == (Some(20), 0) {
        let key = "bigint_unsigned_handling_mode";
        if setting(sender, key, |it| it.bigint_unsigned_handling_mode.as_ref())? == "long" {
            return Ok(Kind::Unsigned);
        }
    }
    Ok(match (mode, arguments) {
        ("double", _) => Kind::Float64,
        ("string", _) | (_, None) => Kind::VariableScaleDecimal,
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
        "string" => Kind::VariableScaleDecimal,
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
        "adaptive" => Kind::Time(adaptive(digits)),
        _ => Kind::Time(Unit::Micros),
    })
}

fn timestamp(digits: Option<u32>, sender: Sender<'_>) -> Result<Kind, MissingSetting> {
    Ok(match mode(sender)? {
        "isostring" => Kind::IsoTimestamp,
        "structured" => Kind::StructuredTimestamp,
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

fn interval(sender: Sender<'_>) -> Result<Kind, MissingSetting> {
    if is_structured(sender) {
        return Ok(Kind::StructuredDuration);
    }
    if sender.is_mysql {
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
mod tests {
    use super::*;

    #[test]
    fn the_targets_type_says_what_a_value_is() {
        let check = |type_name, expected| check(type_name, 1, Some(&defaults()), &Ok(expected));
        check("bigint", Kind::Int64);
        check("character varying(20)", Kind::Text);
        check("numeric(12,2)", Kind::Decimal { scale: 2, precision: Some(12) });
        check("numeric(5)", Kind::Decimal { scale: 0, precision: Some(5) });
        check("numeric(5,-3)", Kind::Decimal { scale: 2045, precision: Some(5) });
        check("bit varying(1)", Kind::Bool);
        check("numeric", Kind::VariableScaleDecimal);
        check("timestamp(3) without time zone", Kind::Timestamp(Unit::Millis));
        check("timestamp(6) without time zone", Kind::Timestamp(Unit::Micros));
        check("timestamp without time zone", Kind::Timestamp(Unit::Micros));
        check("timestamp(3) with time zone", Kind::ZonedTimestamp);
        check("time(0) without time zone", Kind::Time(Unit::Millis));
        check("date", Kind::Date);
        check("bytea", Kind::Bytes);
        check("bit(1)", Kind::Bool);
        check("bit(7)", Kind::Bits { length: Some(7) });
        check("bit varying", Kind::Bits { length: None });
        check("interval", Kind::MicroDuration);
        check("real", Kind::Float32);
        check("integer[]", Kind::Array(Box::new(Kind::Int64)));
        check("timestamp(3) without time zone[]", {
            Kind::Array(Box::new(Kind::Timestamp(Unit::Millis)))
        });
        check("public.hstore", Kind::Json);
        check("point", Kind::Point);
        check("tsquery", Kind::Bytes);
        check("circle", Kind::Figure(FigureForm::Circle, Some(Spelling::Base64)));
        check("FIGURE_TEXT", Kind::Figure(FigureForm::Geometry, None));
        check("money", Kind::Decimal { scale: 2, precision: None });
        check("public.mood[]", Kind::Array(Box::new(Kind::Text)));
        check("public.geometry", Kind::Geometry);
    }

    #[test]
    fn a_text_for_octets_is_read_as_the_connectors_mode_spells_it() {
        let find = |mode: &str, kind: Kind, type_name: &str| {
            let binary_handling_mode = Some(mode.to_owned());
            let settings = SourceSettings { binary_handling_mode, ..SourceSettings::default() };
            resolve(&kind, &column(type_name, 1), from(Some(&settings))).unwrap()
        };
        let hex = Kind::Encoded(Spelling::Hex);
        assert_eq!(find("hex", Kind::Text, "bytea"), Some(hex.clone()));
        assert_eq!(find("hex", Kind::Text, "BLOB"), Some(hex.clone()));
        assert_eq!(find("hex", Kind::Text, "text"), None);
        assert_eq!(find("hex", Kind::Bytes, "bytea"), None);
        let list = |kind| Kind::Array(Box::new(kind));
        assert_eq!(find("hex", list(Kind::Text), "bytea[]"), Some(list(hex)));
        assert_eq!(find("base64", Kind::Untyped, "bytea"), Some(Kind::Encoded(Spelling::Base64)));
        let url_safe = Some(Kind::Encoded(Spelling::Base64UrlSafe));
        assert_eq!(find("base64-url-safe", Kind::Text, "bytea"), url_safe);
        assert_eq!(find("bytes", Kind::Text, "bytea"), None);
        for foreign in ["tsquery", "pg_lsn", "int4multirange"] {
            let hex = Some(Kind::Encoded(Spelling::Hex));
            assert_eq!(find("hex", Kind::Text, foreign), hex);
            assert_eq!(find("hex", Kind::Untyped, foreign), hex);
            assert_eq!(find("bytes", Kind::Untyped, foreign), Some(Kind::Bytes));
            assert_eq!(find("bytes", Kind::Text, foreign), None);
        }
        let missing = Err(MissingSetting("binary_handling_mode"));
        assert_eq!(resolve(&Kind::Text, &column("bytea", 1), from(None)), missing);
    }

    #[test]
    fn a_domain_says_what_the_type_below_it_says() {
        let base_name = Some("numeric(5,2)".to_owned());
        let domain = Column { base_name, ..column("public.amount", 1) };
        let expected = Kind::Decimal { scale: 2, precision: Some(5) };
        let found = resolve(&Kind::Untyped, &domain, from(Some(&defaults())));
        assert_eq!(found, Ok(Some(expected)));
    }

    #[test]
    fn a_composite_type_is_octets_of_its_text() {
        let base_name = Some("record".to_owned());
        let pair = Column { base_name, ..column("public.pair", 1) };
        let find = |kind| resolve(&kind, &pair, from(Some(&defaults())));
        assert_eq!(find(Kind::Untyped), Ok(Some(Kind::Bytes)));
        assert_eq!(find(Kind::Bytes), Ok(None));
        assert_eq!(find(Kind::Text), Ok(None));
    }

    #[test]
    fn an_amount_of_money_is_what_the_connectors_modes_make_of_it() {
        let find = |mode: &str, money_fraction_digits| {
            let decimal_handling_mode = Some(mode.to_owned());
            let settings =
                SourceSettings { decimal_handling_mode, money_fraction_digits, ..defaults() };
            untyped("money", 1, from(Some(&settings)))
        };
        assert_eq!(find("precise", Some(3)), Ok(Kind::Decimal { scale: 3, precision: None }));
        assert_eq!(find("precise", None), Err(MissingSetting("money_fraction_digits")));
        assert_eq!(find("string", None), Ok(Kind::VariableScaleDecimal));
        assert_eq!(find("double", None), Ok(Kind::Float64));
    }

    #[test]
    fn mysqls_times_are_spans_and_its_integers_may_have_no_sign() {
        let find = |time: &str, unsigned: Option<&str>, type_name: &str| {
            let settings = SourceSettings {
                time_precision_mode: Some(time.to_owned()),
                bigint_unsigned_handling_mode: unsigned.map(str::to_owned),
                ..defaults()
            };
            let sender = Sender { settings: Some(&settings), is_mysql: true };
            resolve(&Kind::Untyped, &column(type_name, 1), sender).map(Option::unwrap)
        };
        assert_eq!(find("connect", None, "interval"), Ok(Kind::Span(Unit::Millis)));
        let micros = "adaptive_time_microseconds";
        assert_eq!(find(micros, None, "interval"), Ok(Kind::Span(Unit::Micros)));
        assert_eq!(find("isostring", None, "interval"), Ok(Kind::IsoTime));
        let decimal = Kind::Decimal { scale: 0, precision: Some(20) };
        assert_eq!(find(micros, Some("long"), "numeric(20,0)"), Ok(Kind::Unsigned));
        assert_eq!(find(micros, Some("precise"), "numeric(20,0)"), Ok(decimal));
        let missing = Err(MissingSetting("bigint_unsigned_handling_mode"));
        assert_eq!(find(micros, None, "numeric(20,0)"), missing);
    }

    #[test]
    fn sqlites_own_names_are_known_too() {
        let check = |type_name, expected| check(type_name, 0, Some(&defaults()), &Ok(expected));
        check("INTEGER", Kind::Int64);
        check("REAL", Kind::Float64);
        check("real", Kind::Float64);
        check("VARCHAR(20)", Kind::Text);
        check("DECIMAL_TEXT", Kind::VariableScaleDecimal);
        check("DATE_TEXT", Kind::Date);
        check("TIME_TEXT", Kind::Time(Unit::Micros));
        check("TIMETZ_TEXT", Kind::ZonedTime);
        check("TIMESTAMP_TEXT", Kind::Timestamp(Unit::Micros));
        check("TIMESTAMPTZ_TEXT", Kind::ZonedTimestamp);
        check("DURATION_TEXT", Kind::MicroDuration);
        check("BITS_TEXT", Kind::Bits { length: None });
        check("JSON_TEXT", Kind::Json);
    }

    #[test]
    fn a_setting_that_is_needed_is_asked_for_and_never_assumed() {
        let check = |type_name, key| check(type_name, 1, None, &Err(MissingSetting(key)));
        check("timestamp without time zone", "time_precision_mode");
        check("date", "time_precision_mode");
        check("numeric(12,2)", "decimal_handling_mode");
        check("bytea", "binary_handling_mode");
        check("interval", "interval_handling_mode");
    }

    #[test]
    fn every_time_precision_mode_has_its_kinds() {
        let find = |mode: &str| {
            let time_precision_mode = Some(mode.to_owned());
            let settings = SourceSettings { time_precision_mode, ..SourceSettings::default() };
            ["date", "time(3) without time zone", "timestamp(3) without time zone"]
                .map(|name| untyped(name, 1, from(Some(&settings))).unwrap())
        };
        use Unit::{Micros, Millis, Nanos};
        let kinds = |time, timestamp| [Kind::Date, Kind::Time(time), Kind::Timestamp(timestamp)];
        assert_eq!(find("adaptive"), kinds(Millis, Millis));
        assert_eq!(find("adaptive_time_microseconds"), kinds(Micros, Millis));
        assert_eq!(find("connect"), kinds(Millis, Millis));
        assert_eq!(find("microseconds"), kinds(Micros, Micros));
        assert_eq!(find("nanoseconds"), kinds(Nanos, Nanos));
        assert_eq!(find("isostring"), [Kind::IsoDate, Kind::IsoTime, Kind::IsoTimestamp]);
        let structured = [Kind::StructuredDate, Kind::StructuredTime, Kind::StructuredTimestamp];
        assert_eq!(find("structured"), structured);
    }

    fn check(
        type_name: &str,
        type_id: u32,
        settings: Option<&SourceSettings>,
        expected: &Result<Kind, MissingSetting>,
    ) {
        let found = resolve(&Kind::Untyped, &column(type_name, type_id), from(settings));
        assert_eq!(found, expected.clone().map(Some), "{type_name}");
    }

    fn from(settings: Option<&SourceSettings>) -> Sender<'_> {
        Sender { settings, is_mysql: false }
    }

    fn column(type_name: &str, type_id: u32) -> Column {
        let (name, type_name) = ("c".to_owned(), type_name.to_owned());
        Column {
            name,
            type_name,
            type_id,
            modifier: -1,
            not_null: false,
            generated: false,
            has_default: false,
            is_fixed: false,
            base_name: None,
            encode: None,
        }
    }

    fn defaults() -> SourceSettings {
        let text = |text: &str| Some(text.to_owned());
        SourceSettings {
            time_precision_mode: text("adaptive"),
            decimal_handling_mode: text("precise"),
            binary_handling_mode: text("bytes"),
            interval_handling_mode: text("numeric"),
            hstore_handling_mode: text("json"),
            money_fraction_digits: Some(2),
            ..SourceSettings::default()
        }
    }
}
