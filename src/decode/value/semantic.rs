//! Semantics: a literal and its kind make a value.

use crate::decode::value::figure::{Figure, Place};
use crate::decode::value::kind::{FigureForm, Kind, Unit};
use crate::decode::value::packed::Parts;
use crate::decode::value::structured;
use crate::decode::value::text;
use crate::decode::value::{
    Day, Decimal, Geometry, Interval, Items, Moment, Pairs, Point, Special, Value, exact,
};

/// What stands in a record for a value, before its kind gives it a meaning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Literal<'a> {
    /// Null.
    Null,
    /// `boolean`.
    Bool(bool),
    /// `int8` to `int64`.
    Int(i64),
    /// `float`.
    Float32(f32),
    /// `double`, and every JSON number with a fraction or an exponent.
    Float64(f64),
    /// `string`.
    Text(&'a str),
    /// `bytes`.
    Bytes(&'a [u8]),
    /// `array`, `map` or `struct`.
    Parts(Parts<'a>),
}

/// Why a literal makes no value of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfit(pub &'static str);

/// Makes the value that a literal stands for.
///
/// # Errors
///
/// The literal is of another type than the kind's, or says what the kind cannot mean.
#[inline]
pub fn value<'a>(kind: &'a Kind, literal: Literal<'a>) -> Result<Value<'a>, Unfit> {
    match literal {
        Literal::Null => Ok(Value::Null),
        Literal::Bool(bool) => boolean(kind, bool),
        Literal::Int(int) => integer(kind, int),
        Literal::Float32(float) if *kind == Kind::Float32 => Ok(Value::Float32(float)),
        Literal::Float64(float) => double(kind, float),
        Literal::Text(text) => string(kind, text),
        Literal::Bytes(bytes) => octets(kind, bytes),
        Literal::Parts(parts) => compound(kind, parts),
        Literal::Float32(_) => Err(OTHER),
    }
}

const OTHER: Unfit = Unfit("is of another type than its schema says");

/// MariaDB's booleans are integers, which a snapshot says and the stream does not.
fn boolean(kind: &Kind, bool: bool) -> Result<Value<'static>, Unfit> {
    match kind {
        Kind::Bool => Ok(Value::Bool(bool)),
        Kind::Int8 | Kind::Int16 | Kind::Int32 | Kind::Int64 => Ok(Value::Int(i64::from(bool))),
        _ => Err(OTHER),
    }
}

fn integer(kind: &Kind, int: i64) -> Result<Value<'static>, Unfit> {
    const BEYOND: Unfit = Unfit("is beyond its type");
    let fits = |is_inside: bool| if is_inside { Ok(Value::Int(int)) } else { Err(BEYOND) };
    match kind {
        Kind::Bool => match int {
            0 | 1 => Ok(Value::Bool(int == 1)),
            _ => Err(BEYOND),
        },
        Kind::Int8 => fits(i8::try_from(int).is_ok()),
        Kind::Int16 => fits(i16::try_from(int).is_ok()),
        Kind::Int32 | Kind::Year => fits(i32::try_from(int).is_ok()),
        Kind::Int64 => Ok(Value::Int(int)),
        Kind::Unsigned => Ok(Value::Unsigned(int.cast_unsigned())),
        // JSON prints a double without a fraction as an integer now and then.
        Kind::Float32 | Kind::Float64 => double(kind, exact(int).ok_or(BEYOND)?),
        Kind::Date => Ok(Value::Date(day(i32::try_from(int).map_err(|_| BEYOND)?))),
        Kind::Time(unit) | Kind::Span(unit) => {
            int.checked_mul(nanos_of(*unit)).map(Value::Time).ok_or(BEYOND)
        }
        Kind::Timestamp(unit) => moment(int, *unit).map(Value::Timestamp).ok_or(BEYOND),
        Kind::MicroDuration => Ok(Value::Interval(span(i128::from(int) * 1000))),
        Kind::NanoDuration => Ok(Value::Interval(span(i128::from(int)))),
        _ => Err(OTHER),
    }
}

fn span(nanos: i128) -> Interval {
    Interval { nanos, ..Interval::default() }
}

/// The connector prints an infinite date as the day of a constant of its own, which differs between
/// snapshot and streaming.
fn day(days: i32) -> Day {
    match days {
        -2_147_472_692 | -622_191_234 => Day::PositiveInfinity,
        -2_147_472_691 | -625_821_272 => Day::NegativeInfinity,
        days => Day::Finite(days),
    }
}

const fn nanos_of(unit: Unit) -> i64 {
    match unit {
        Unit::Millis => 1_000_000,
        Unit::Micros => 1_000,
        Unit::Nanos | Unit::WholeMicrosInNanos => 1,
    }
}

/// Splits a count of units since the epoch; PostgreSQL's infinities arrive as its own sentinels.
/// `None` is a count that has wrapped around: it means a moment that no source has.
fn moment(count: i64, unit: Unit) -> Option<Moment> {
    /// 4714-11-24 BC: PostgreSQL's first day, and no other source's comes before it.
    const FIRST: i64 = -210_866_803_200;
    match (unit, count) {
        (Unit::Nanos, i64::MAX) => return Some(Moment::PositiveInfinity),
        (Unit::Nanos, i64::MIN) => return Some(Moment::NegativeInfinity),
        (Unit::WholeMicrosInNanos, _) if count % 1000 != 0 => return None,
        _ => {}
    }
    let per_second = 1_000_000_000 / nanos_of(unit);
    let rest = count.rem_euclid(per_second) * nanos_of(unit);
    let nanos = u32::try_from(rest).expect("a rest is below a second");
    let seconds = count.div_euclid(per_second);
    match unbounded(Moment::Finite { seconds, nanos }) {
        Moment::Finite { seconds, .. } if seconds < FIRST => None,
        moment => Some(moment),
    }
}

/// Recognises the moments that stand for PostgreSQL's infinities in all modes but nanoseconds.
fn unbounded(moment: Moment) -> Moment {
    match moment {
        Moment::Finite { seconds: 9_223_372_036_825, nanos: 200_000_000 } => {
            Moment::PositiveInfinity
        }
        Moment::Finite { seconds: -9_223_372_036_833, nanos: 600_000_000 } => {
            Moment::NegativeInfinity
        }
        moment => moment,
    }
}

fn double(kind: &Kind, float: f64) -> Result<Value<'static>, Unfit> {
    match kind {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the shortest digits of an f32 round to it"
        )]
        Kind::Float32 => match float as f32 {
            single if single.is_infinite() && float.is_finite() => Err(Unfit("is beyond its type")),
            single => Ok(Value::Float32(single)),
        },
        Kind::Float64 => Ok(Value::Float64(float)),
        _ => Err(OTHER),
    }
}

fn string<'a>(kind: &Kind, text: &'a str) -> Result<Value<'a>, Unfit> {
    const FORM: Unfit = Unfit("is not of its type's form");
    match kind {
        Kind::Text | Kind::Xml | Kind::Enum(_) | Kind::EnumSet | Kind::Ltree | Kind::Tsvector => {
            Ok(Value::Text(text))
        }
        Kind::Json => Ok(Value::Json(text)),
        Kind::Encoded(spelling) | Kind::Figure(_, Some(spelling)) => {
            Ok(Value::Spelled { spelling: *spelling, text })
        }
        Kind::Uuid => uuid::Uuid::try_parse(text).map(Value::Uuid).map_err(|_| FORM),
        Kind::Float32 | Kind::Float64 => double(kind, named_double(text).ok_or(FORM)?),
        Kind::Decimal { .. } | Kind::VariableScaleDecimal | Kind::DecimalText => Ok(decimal(text)),
        Kind::ZonedTimestamp => {
            text::moment(text).map(|(moment, _)| Value::TimestampZoned(moment)).ok_or(FORM)
        }
        // The source's value has no zone: a `Z` says nothing, and another would shift the clock.
        Kind::IsoTimestamp => match text::moment(text) {
            Some((moment, 0)) => Ok(Value::Timestamp(unbounded(moment))),
            _ => Err(FORM),
        },
        // As a snapshot reads them: days that no count of 32 bits reaches, the era lost.
        Kind::IsoDate if text == "+292278994-08-16Z" => Ok(Value::Date(Day::PositiveInfinity)),
        Kind::IsoDate if text == "+292269055-12-02Z" => Ok(Value::Date(Day::NegativeInfinity)),
        Kind::IsoDate => match text::day(text.strip_suffix('Z').unwrap_or(text)) {
            Some(Day::Finite(days)) => Ok(Value::Date(day(days))),
            _ => Err(FORM),
        },
        Kind::IsoTime => match text::time(text) {
            Some((nanos, None | Some(0))) => Ok(Value::Time(nanos)),
            _ => Err(FORM),
        },
        Kind::ZonedTime => {
            let (nanos, offset) = text::time(text).ok_or(FORM)?;
            Ok(Value::TimeZoned { nanos, offset: offset.ok_or(FORM)? })
        }
        Kind::Interval => text::interval(text).map(Value::Interval).ok_or(FORM),
        _ => Err(OTHER),
    }
}

/// The names that JSON gives to doubles that are no number.
fn named_double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// Decimals in string mode; the names are those of the connector.
fn decimal(text: &str) -> Value<'_> {
    match text {
        "NAN" | "NaN" => Value::DecimalSpecial(Special::NaN),
        "POSITIVE_INFINITY" | "Infinity" => Value::DecimalSpecial(Special::PositiveInfinity),
        "NEGATIVE_INFINITY" | "-Infinity" => Value::DecimalSpecial(Special::NegativeInfinity),
        text => Value::Decimal(Decimal::Text(text)),
    }
}

/// A decimal as its unscaled integer, which has one byte at least.
fn binary(unscaled: &[u8], scale: i32) -> Result<Value<'_>, Unfit> {
    if unscaled.is_empty() {
        return Err(Unfit("is a decimal without a byte"));
    }
    Ok(Value::Decimal(Decimal::Binary { unscaled, scale }))
}

fn octets<'a>(kind: &Kind, bytes: &'a [u8]) -> Result<Value<'a>, Unfit> {
    match *kind {
        Kind::Bytes => Ok(Value::Bytes(bytes)),
        Kind::Decimal { scale, .. } => binary(bytes, scale),
        Kind::Bits { length } => Ok(Value::Bits { octets: bytes, length }),
        _ => Err(OTHER),
    }
}

fn compound<'a>(kind: &'a Kind, parts: Parts<'a>) -> Result<Value<'a>, Unfit> {
    match kind {
        Kind::Array(element) => Ok(Value::Array(Items { kind: element, parts })),
        Kind::Map => Ok(Value::Map(Pairs(parts))),
        Kind::VariableScaleDecimal => match parts.fields() {
            [Literal::Int(scale), Literal::Bytes(unscaled)] => {
                binary(unscaled, i32::try_from(scale).map_err(|_| OTHER)?)
            }
            _ => Err(OTHER),
        },
        Kind::Point => {
            let [x, y, wkb, srid] = parts.fields();
            let geometry = geometry(wkb, srid)?;
            Ok(Value::Point(Point { x: coordinate(x)?, y: coordinate(y)?, geometry }))
        }
        Kind::Geometry => match parts.fields() {
            [Literal::Null, _, _] => Err(OTHER),
            [wkb, srid, Literal::Null] => geometry(wkb, srid).map(Value::Geometry),
            _ => figure(FigureForm::Geometry, parts),
        },
        Kind::Figure(form, _) => figure(*form, parts),
        Kind::SparseVector => match parts.fields() {
            [Literal::Int(dimensions), Literal::Parts(elements)] => {
                Ok(Value::SparseVector { dimensions, elements })
            }
            _ => Err(OTHER),
        },
        Kind::StructuredDate => structured::date(parts),
        Kind::StructuredTime => structured::time(parts),
        Kind::StructuredZonedTime => structured::zoned_time(parts),
        Kind::StructuredTimestamp => structured::timestamp(parts),
        Kind::StructuredZonedTimestamp => structured::zoned_timestamp(parts),
        Kind::StructuredDuration => structured::duration(parts),
        _ => Err(OTHER),
    }
}

fn geometry<'a>(wkb: Literal<'a>, srid: Literal<'a>) -> Result<Geometry<'a>, Unfit> {
    let wkb = match wkb {
        Literal::Bytes(wkb) => wkb,
        Literal::Null => &[],
        _ => return Err(OTHER),
    };
    let srid = match srid {
        Literal::Int(srid) => Some(i32::try_from(srid).map_err(|_| OTHER)?),
        Literal::Null => None,
        _ => return Err(OTHER),
    };
    Ok(Geometry { wkb, srid })
}

fn figure(form: FigureForm, parts: Parts<'_>) -> Result<Value<'_>, Unfit> {
    let figure = match form {
        FigureForm::Geometry => match parts.fields() {
            [wkb @ Literal::Bytes(_), srid, Literal::Parts(extensions)] => {
                Figure::read(geometry(wkb, srid)?, Pairs(extensions))?
            }
            _ => return Err(Unfit("is no figure")),
        },
        FigureForm::Circle => match parts.fields() {
            [Literal::Parts(center), radius] => {
                let [x, y] = center.fields();
                let center: Place = [coordinate(x)?, coordinate(y)?];
                Figure::Circle { center, radius: coordinate(radius)? }
            }
            _ => return Err(OTHER),
        },
        FigureForm::Line => {
            let [a, b, c] = parts.fields();
            Figure::Line([coordinate(a)?, coordinate(b)?, coordinate(c)?])
        }
    };
    Ok(Value::Figure(figure))
}

fn coordinate(literal: Literal<'_>) -> Result<f64, Unfit> {
    match value(&Kind::Float64, literal)? {
        Value::Float64(coordinate) => Ok(coordinate),
        _ => Err(OTHER),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::decode::value::packed::Packer;

    #[test]
    fn integers_mean_what_their_schema_says() {
        let check = |kind: Kind, int, expected: Result<Value<'_>, Unfit>| {
            assert_eq!(value(&kind, Literal::Int(int)), expected);
        };
        let ok = |value| Ok(value);
        let wall = |seconds, nanos| Ok(Value::Timestamp(Moment::Finite { seconds, nanos }));
        check(Kind::Date, 17_109, ok(Value::Date(Day::Finite(17_109))));
        check(Kind::Time(Unit::Micros), 49_890_000_000, ok(Value::Time(49_890_000_000_000)));
        check(Kind::Time(Unit::Millis), 49_890_123, ok(Value::Time(49_890_123_000_000)));
        check(Kind::Time(Unit::Micros), 86_400_000_000, ok(Value::Time(86_400_000_000_000)));
        check(Kind::Time(Unit::Micros), -7_199_001_000, ok(Value::Time(-7_199_001_000_000)));
        let micros = Kind::Timestamp(Unit::Micros);
        check(micros.clone(), 1_478_267_490_123_456, wall(1_478_267_490, 123_456_000));
        check(micros.clone(), -1_047_174_587_392_000, wall(-1_047_174_588, 608_000_000));
        check(micros, 601_060_312_290_123_456, wall(601_060_312_290, 123_456_000));
        check(Kind::Timestamp(Unit::Millis), 1_478_267_490_123, wall(1_478_267_490, 123_000_000));
        check(Kind::Timestamp(Unit::Nanos), -1, wall(-1, 999_999_999));
        check(Kind::Timestamp(Unit::WholeMicrosInNanos), -1000, wall(-1, 999_999_000));
        let months = Interval { nanos: 37_091_106_780_000_000, ..Interval::default() };
        check(Kind::MicroDuration, 37_091_106_780_000, ok(Value::Interval(months)));
        check(Kind::Int16, 32_768, Err(Unfit("is beyond its type")));
        check(Kind::Date, 1 << 31, Err(Unfit("is beyond its type")));
        check(Kind::Text, 1, Err(OTHER));
        check(Kind::Bool, 1, ok(Value::Bool(true)));
        check(Kind::Bool, 2, Err(Unfit("is beyond its type")));
        assert_eq!(value(&Kind::Int16, Literal::Bool(true)), Ok(Value::Int(1)));
        assert_eq!(value(&Kind::Date, Literal::Bool(true)), Err(OTHER));
        let beyond = value(&Kind::Float32, Literal::Float64(1e300));
        assert_eq!(beyond, Err(Unfit("is beyond its type")));
    }

    /// PostgreSQL's connector wraps '294276-12-31 23:59:59.999999', MariaDB's '9999-12-31' in
    /// nanoseconds (both seen).
    #[test]
    fn a_count_that_wrapped_around_is_refused() {
        let check = |unit, count, expected: Option<i64>| {
            let expected = expected.map(|seconds| Moment::Finite { seconds, nanos: 0 });
            let kind = Kind::Timestamp(unit);
            let found = value(&kind, Literal::Int(count));
            let expected = expected.map(Value::Timestamp).ok_or(Unfit("is beyond its type"));
            assert_eq!(found, expected, "{count}");
        };
        check(Unit::Micros, -9_223_372_036_853_775_810, None);
        check(Unit::Millis, -210_866_803_200_000, Some(-210_866_803_200));
        check(Unit::Millis, -210_866_803_200_001, None);
        check(Unit::WholeMicrosInNanos, -4_852_116_232_933_722_624, None);
        check(Unit::WholeMicrosInNanos, i64::MAX, None);
    }

    #[test]
    fn what_stands_for_an_infinity_is_one() {
        let check = |kind: Kind, literals: [Literal<'_>; 2], expected: [Value<'_>; 2]| {
            for (literal, expected) in literals.into_iter().zip(expected) {
                assert_eq!(value(&kind, literal), Ok(expected), "{kind:?} {literal:?}");
            }
        };
        let moments = [Moment::PositiveInfinity, Moment::NegativeInfinity];
        let (walls, zoned) = (moments.map(Value::Timestamp), moments.map(Value::TimestampZoned));
        let millis = [9_223_372_036_825_200, -9_223_372_036_832_400];
        check(Kind::Timestamp(Unit::Millis), millis.map(Literal::Int), walls);
        let micros = millis.map(|count| count * 1000);
        check(Kind::Timestamp(Unit::Micros), micros.map(Literal::Int), walls);
        check(Kind::Timestamp(Unit::Nanos), [i64::MAX, i64::MIN].map(Literal::Int), walls);
        let texts = ["+294247-01-10T04:00:25.2Z", "-290308-12-21T19:59:27.6Z"];
        check(Kind::IsoTimestamp, texts.map(Literal::Text), walls);
        check(Kind::ZonedTimestamp, ["infinity", "-infinity"].map(Literal::Text), zoned);
        let days = [Day::PositiveInfinity, Day::NegativeInfinity].map(Value::Date);
        check(Kind::Date, [-2_147_472_692, -2_147_472_691].map(Literal::Int), days);
        check(Kind::Date, [-622_191_234, -625_821_272].map(Literal::Int), days);
        let texts = ["+292278994-08-16Z", "+292269055-12-02Z"];
        check(Kind::IsoDate, texts.map(Literal::Text), days);
        check(Kind::IsoDate, ["-5877611-06-21Z", "-5877611-06-22Z"].map(Literal::Text), days);
    }

    #[test]
    fn texts_mean_what_their_schema_says() {
        let check = |kind: Kind, text, expected: Result<Value<'_>, Unfit>| {
            assert_eq!(value(&kind, Literal::Text(text)), expected);
        };
        let form = Err(Unfit("is not of its type's form"));
        let wall = Value::Timestamp(Moment::Finite { seconds: 1_478_260_290, nanos: 0 });
        check(Kind::IsoTimestamp, "2016-11-04T11:51:30Z", Ok(wall));
        check(Kind::IsoTimestamp, "2016-11-04T11:51:30+02:00", form);
        check(Kind::IsoTime, "11:51:30Z", Ok(Value::Time(42_690_000_000_000)));
        check(Kind::IsoTime, "11:51:30+02:00", form);
        check(Kind::IsoDate, "2016-11-04Z", Ok(Value::Date(Day::Finite(17_109))));
        check(Kind::IsoDate, "2016-11-04ZZ", form);
        let moment = Moment::Finite { seconds: 601_060_287_090, nanos: 123_456_000 };
        let zoned = Ok(Value::TimestampZoned(moment));
        check(Kind::ZonedTimestamp, "+21016-11-04T06:51:30.123456Z", zoned);
        let time = Value::TimeZoned { nanos: 42_690_123_789_000, offset: 0 };
        check(Kind::ZonedTime, "11:51:30.123789Z", Ok(time));
        check(Kind::ZonedTime, "11:51:30", form);
        let span = Interval { months: 14, days: 3, nanos: 14_706_780_000_000 };
        check(Kind::Interval, "P1Y2M3DT4H5M6.78S", Ok(Value::Interval(span)));
        let decimal = Kind::VariableScaleDecimal;
        check(decimal.clone(), "NAN", Ok(Value::DecimalSpecial(Special::NaN)));
        check(decimal, "-1234.110", Ok(Value::Decimal(Decimal::Text("-1234.110"))));
        check(Kind::Float64, "Infinity", Ok(Value::Float64(f64::INFINITY)));
        check(Kind::Float64, "1.5", form);
        check(Kind::Uuid, "no uuid", form);
    }

    #[test]
    fn octets_mean_what_their_schema_says() {
        let money = |base64: &str, expected: Result<&[u8], Unfit>| {
            let octets = STANDARD.decode(base64).unwrap();
            let kind = Kind::Decimal { scale: 2, precision: None };
            let found = value(&kind, Literal::Bytes(&octets));
            let decimal = |unscaled| Value::Decimal(Decimal::Binary { unscaled, scale: 2 });
            assert_eq!(found, expected.map(decimal), "{base64}");
        };
        money("AeIT", Ok(&[0x01, 0xe2, 0x13]));
        money("/h3t", Ok(&[0xfe, 0x1d, 0xed]));
        money("AA==", Ok(&[0]));
        money("", Err(Unfit("is a decimal without a byte")));
        let variable = |unscaled, expected: Result<Value<'_>, Unfit>| {
            let mut packed = Vec::new();
            let mut packer = Packer::new(&mut packed);
            let fields = [Literal::Int(0), Literal::Int(4), Literal::Int(1), unscaled];
            fields.into_iter().for_each(|field| packer.push(field));
            let found = value(&Kind::VariableScaleDecimal, Literal::Parts(Parts::new(&packed)));
            assert_eq!(found, expected);
        };
        let expected = Value::Decimal(Decimal::Binary { unscaled: &[1, 138, 247], scale: 4 });
        variable(Literal::Bytes(&[1, 138, 247]), Ok(expected));
        variable(Literal::Bytes(&[]), Err(Unfit("is a decimal without a byte")));
        variable(Literal::Null, Err(OTHER));
        let (octets, length) = ([1, 2, 3].as_slice(), Some(24));
        let kind = Kind::Bits { length };
        let bits = value(&kind, Literal::Bytes(octets));
        assert_eq!(bits, Ok(Value::Bits { octets, length }));
    }
}
