//! What types of the target and settings of the connector make of values.

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
    check("bytea", or_geometry(Kind::Bytes));
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
    let base64 = Some(or_geometry(Kind::Encoded(Spelling::Base64)));
    assert_eq!(find("base64", Kind::Untyped, "bytea"), base64);
    assert_eq!(find("bytes", Kind::Untyped, "bytea[]"), Some(list(Kind::Bytes)));
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
    assert_eq!(find("string", None), Ok(Kind::DecimalText));
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
        let sender = Sender { settings: Some(&settings), is_mysql: Some(true) };
        resolve(&Kind::Untyped, &column(type_name, 1), sender).map(Option::unwrap)
    };
    assert_eq!(find("connect", None, "interval"), Ok(Kind::Span(Unit::Millis)));
    let micros = "adaptive_time_microseconds";
    assert_eq!(find(micros, None, "interval"), Ok(Kind::Span(Unit::Micros)));
    assert_eq!(find("isostring", None, "interval"), Ok(Kind::IsoTime));
    let decimal = Kind::Decimal { scale: 0, precision: Some(20) };
    assert_eq!(find(micros, Some("long"), "numeric(20,0)"), Ok(Kind::Unsigned));
    assert_eq!(find(micros, Some("precise"), "numeric(20,0)"), Ok(decimal));
    let bits = Kind::Unsupported("a bit string whose length no schema tells".to_owned());
    assert_eq!(find(micros, None, "bit varying(9)"), Ok(bits));
    let missing = Err(MissingSetting("bigint_unsigned_handling_mode"));
    assert_eq!(find(micros, None, "numeric(20,0)"), missing);
}

#[test]
fn a_record_that_names_no_connector_is_read_by_what_the_user_says() {
    let find = |unsigned: Option<&str>, is_mysql| {
        let bigint_unsigned_handling_mode = unsigned.map(str::to_owned);
        let settings = SourceSettings { bigint_unsigned_handling_mode, ..defaults() };
        let sender = Sender { settings: Some(&settings), is_mysql };
        resolve(&Kind::Untyped, &column("numeric(20,0)", 1), sender).map(Option::unwrap)
    };
    let decimal = || Ok(Kind::Decimal { scale: 0, precision: Some(20) });
    assert_eq!(find(Some("long"), None), Ok(Kind::Unsigned));
    assert_eq!(find(Some("precise"), None), decimal());
    assert_eq!(find(None, None), decimal());
    assert_eq!(find(Some("long"), Some(false)), decimal());
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
    check("TIME_TEXT(3)", Kind::Time(Unit::Millis));
    check("TIMETZ_TEXT", Kind::ZonedTime);
    check("TIMESTAMP_TEXT(3)", Kind::Timestamp(Unit::Millis));
    check("TIMESTAMP_TEXT(6)", Kind::Timestamp(Unit::Micros));
    check("TIMESTAMPTZ_TEXT", Kind::ZonedTimestamp);
    check("DURATION_TEXT", Kind::MicroDuration);
    check("BITS_TEXT(7)", Kind::Bits { length: Some(7) });
    check("JSON_TEXT", Kind::Json);
    check("BLOB", or_geometry(Kind::Bytes));
}

#[test]
fn what_a_column_does_not_tell_is_refused() {
    let time = "a time whose digits of a second the column does not tell";
    let bits = "bits whose length the column does not tell";
    let find = |mode: &str, type_name: &str, type_id, is_mysql| {
        let time_precision_mode = Some(mode.to_owned());
        let settings = SourceSettings { time_precision_mode, ..defaults() };
        untyped(type_name, type_id, Sender { settings: Some(&settings), is_mysql }).unwrap()
    };
    let refused = |detail: &str| Kind::Unsupported(detail.to_owned());
    assert_eq!(find("adaptive", "TIMESTAMP_TEXT", 0, Some(false)), refused(time));
    assert_eq!(find("adaptive", "TIME_TEXT", 0, Some(false)), refused(time));
    assert_eq!(find("adaptive", "BITS_TEXT", 0, Some(false)), refused(bits));
    let timestamp = "timestamp without time zone";
    assert_eq!(find("adaptive_time_microseconds", timestamp, 1, Some(true)), refused(time));
    let micros = Kind::Timestamp(Unit::Micros);
    assert_eq!(find("adaptive_time_microseconds", timestamp, 1, Some(false)), micros);
    assert_eq!(find("microseconds", timestamp, 1, Some(true)), micros);
    assert_eq!(find("microseconds", "TIMESTAMP_TEXT", 0, None), micros);
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

fn or_geometry(octets: Kind) -> Kind {
    Kind::Either(Box::new([octets, Kind::Geometry]))
}

#[test]
fn an_hstore_may_be_a_map_in_a_column_of_json_where_the_settings_say_so() {
    let find = |mode: Option<&str>, type_name: &str| {
        let hstore_handling_mode = mode.map(str::to_owned);
        let settings = SourceSettings { hstore_handling_mode, ..SourceSettings::default() };
        resolve(&Kind::Untyped, &column(type_name, 1), from(Some(&settings))).unwrap().unwrap()
    };
    let either = Kind::Either(Box::new([Kind::Json, Kind::Map]));
    for type_name in ["json", "jsonb", "JSON_TEXT"] {
        assert_eq!(find(Some("map"), type_name), either);
        assert_eq!(find(Some("json"), type_name), Kind::Json);
        assert_eq!(find(None, type_name), Kind::Json);
    }
    assert_eq!(find(Some("map"), "public.hstore"), Kind::Map);
    assert_eq!(find(Some("map"), "jsonb[]"), Kind::Array(Box::new(Kind::Json)));
}

fn from(settings: Option<&SourceSettings>) -> Sender<'_> {
    Sender { settings, is_mysql: Some(false) }
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
        identity: None,
        enumeration: None,
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
