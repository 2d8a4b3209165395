//! PostgreSQL as a target: the database is the oracle for values and types.

use afterimage::decode::value::kind::{FigureForm, Kind, SourceColumn, SourceType, Unit};
use afterimage::decode::value::{Day, Decimal, Interval, Moment, Special, Value};
use afterimage::record::TopicPartition;
use afterimage::rows::Deletes;
use afterimage::table::Table;
use afterimage::target::postgres::Postgres;
use afterimage::target::{Claimed, Target};
use uuid::Uuid;

use crate::postgres_support::{
    Does, NEW_ROWS, One as _, World, batch, claim, creation, saying, shape,
};

/// Writes each value into a column of its type, and reads what the server prints: one row of them all,
/// and of each so many new ones that they are copied.
pub(crate) async fn check(world: &World, cases: &[(&str, Value<'_>, &str)]) {
    let schema = &world.schema;
    let columns = cases.iter().enumerate().map(|(n, (kind, _, _))| format!("c{n} {kind}"));
    let columns = columns.collect::<Vec<_>>().join(", ");
    world
        .sql(&format!("DROP TABLE IF EXISTS {schema}.v; CREATE TABLE {schema}.v ({columns})"))
        .await;
    world.sql(&format!("GRANT ALL ON {schema}.v TO writer")).await;
    let mut target = world.target();
    let table = target.table(&world.name("v")).await.unwrap().unwrap();
    let topic = TopicPartition::new(Uuid::new_v4().to_string(), 0);
    let mut claimed = claim(&mut target, &[topic]).await.remove(0);
    let values = cases.iter().map(|(_, value, _)| *value).collect::<Vec<_>>();
    let rows = batch(&claimed, &shape(&table, &[], Deletes::Hard), &[Does::Upsert(&values)]);
    target.apply(&rows).await.unwrap();
    let list = (0..cases.len()).map(|n| format!("c{n}::text")).collect::<Vec<_>>().join(", ");
    let found = world.sql(&format!("SELECT {list} FROM {schema}.v")).await.remove(0);
    for ((kind, value, expected), found) in cases.iter().zip(found) {
        assert_eq!(found.as_deref(), Some(*expected), "{kind} from {value:?}");
    }
    claimed.next = rows.steps.first().unwrap().to;
    Box::pin(check_copied(world, (target, claimed), cases)).await;
}

/// Types whose cells travel in binary form, and arrays of them.
const BINARY: [&str; 17] = [
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "int2",
    "int4",
    "int8",
    "real",
    "double",
    "numeric",
    "text",
    "varchar",
    "bytea",
    "date",
    "timestamp",
    "timestamptz",
    "uuid",
];

/// Writes each value so often into a table of its own that the rows are copied.
async fn check_copied(
    world: &World,
    (mut target, mut claimed): (Postgres, Claimed),
    cases: &[(&str, Value<'_>, &str)],
) {
    let schema = &world.schema;
    world.sql(&format!("DROP TABLE IF EXISTS {schema}.said; {}", saying(schema))).await;
    for (n, (kind, value, expected)) in cases.iter().enumerate() {
        let name = format!("copied{n}");
        world
            .sql(&format!(
                "DROP TABLE IF EXISTS {schema}.{name}; CREATE TABLE {schema}.{name} (c {kind}); \
                 GRANT ALL ON {schema}.{name} TO writer; TRUNCATE {schema}.said; \
                 CREATE TRIGGER say AFTER INSERT ON {schema}.{name} EXECUTE FUNCTION {schema}.say()"
            ))
            .await;
        let table = target.table(&world.name(&name)).await.unwrap().unwrap();
        let values = [*value];
        let new = [Does::Insert(&values); NEW_ROWS];
        let rows = batch(&claimed, &shape(&table, &[], Deletes::Hard), &new);
        target.apply(&rows).await.unwrap();
        claimed.next = rows.steps.first().unwrap().to;
        let query = format!("SELECT c::text, count(*)::text FROM {schema}.{name} GROUP BY 1");
        let found = world.sql(&query).await;
        let copied = [(*expected).to_owned(), NEW_ROWS.to_string()].map(Some).to_vec();
        assert_eq!(found, [copied], "{kind} from {value:?}");
        let said = world.sql(&format!("SELECT statement FROM {schema}.said")).await;
        let is_copied = said == [vec![Some("COPY".to_owned())]];
        let name = kind.split(|letter: char| !letter.is_ascii_alphanumeric()).next();
        let is_binary = name.is_some_and(|name| BINARY.contains(&name));
        assert!(is_copied || !is_binary, "{kind} goes by {said:?}");
    }
}

pub(crate) async fn world() -> World {
    let world = World::new().await;
    let schema = &world.schema;
    world.sql(&format!("CREATE SCHEMA {schema}; GRANT ALL ON SCHEMA {schema} TO writer")).await;
    world
}

fn decimal(text: &str) -> Value<'_> {
    Value::Decimal(Decimal::Text(text))
}

fn unscaled(unscaled: &[u8], scale: i32) -> Value<'_> {
    Value::Decimal(Decimal::Binary { unscaled, scale })
}

#[tokio::test]
async fn numbers_arrive_as_they_were() {
    let big = "-123456789012345678901234567890123456789012345678901234567890.000000000000000001";
    let unconstrained =
        [0x01, 0x8e, 0xe9, 0x0f, 0xf6, 0xc3, 0x73, 0xe0, 0xee, 0x4e, 0x3f, 0x0a, 0xd2];
    let world = world().await;
    let price = format!("{}.price", world.schema);
    world.sql(&format!("CREATE DOMAIN {price} AS money CHECK (value > 0::money)")).await;
    check(
        &world,
        &[
            ("boolean", Value::Bool(true), "true"),
            ("smallint", Value::Int(-32_768), "-32768"),
            ("integer", Value::Int(2_147_483_647), "2147483647"),
            ("bigint", Value::Int(i64::MIN), "-9223372036854775808"),
            ("bigint", decimal("9223372036854775807"), "9223372036854775807"),
            ("oid", Value::Int(4_294_967_295), "4294967295"),
            ("real", Value::Float32(f32::MIN_POSITIVE), "1.1754944e-38"),
            ("real", Value::Float32(f32::NAN), "NaN"),
            ("double precision", Value::Float64(f64::NEG_INFINITY), "-Infinity"),
            ("double precision", Value::Float64(0.1), "0.1"),
            ("double precision", Value::Int(-9_007_199_254_740_992), "-9.007199254740992e+15"),
            ("numeric", unscaled(&unconstrained, 10), "12345678901234567890.1234567890"),
            ("numeric(12,2)", unscaled(&[0xcf, 0xc7], 2), "-123.45"),
            ("numeric(12,3)", unscaled(&[0xcf, 0xc7], 2), "-123.450"),
            ("numeric", unscaled(&[0xff, 0x7f], 3), "-0.129"),
            ("numeric", unscaled(&[0x01], -3), "1000"),
            ("numeric(5,-3)", decimal("12000"), "12000"),
            ("numeric", decimal(big), big),
            ("numeric", decimal("0.00012340"), "0.00012340"),
            ("numeric", decimal("-1.5E-7"), "-0.00000015"),
            ("numeric", decimal("9999.9999"), "9999.9999"),
            ("numeric", decimal("10000.0001"), "10000.0001"),
            ("numeric", Value::Int(i64::MIN), "-9223372036854775808"),
            ("numeric", Value::DecimalSpecial(Special::PositiveInfinity), "Infinity"),
            ("numeric", Value::Text("NAN"), "NaN"),
            ("numeric", Value::Float64(0.1), "0.1"),
            ("numeric(12,3)", Value::Float64(-1234.5), "-1234.500"),
            ("numeric", Value::Float64(1e22), "10000000000000000000000"),
            ("money", unscaled(&[0xfe, 0x1d, 0xed], 2), "-$1,234.11"),
            ("money", Value::Float64(0.1), "$0.10"),
            ("money", Value::Text("92233720368547758.07"), "$92,233,720,368,547,758.07"),
            (&price, decimal("0.5"), "$0.50"),
            ("text", decimal("1.10"), "1.10"),
            ("text", Value::Bool(true), "true"),
            (
                "numeric(20,0)",
                unscaled(&[0, 255, 255, 255, 255, 255, 255, 255, 255], 0),
                "18446744073709551615",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn text_arrives_as_it_was() {
    let world = world().await;
    let schema = world.schema.clone();
    let uuid = Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0);
    world
        .sql(&format!(
            "CREATE EXTENSION IF NOT EXISTS citext SCHEMA public; \
             CREATE TYPE {schema}.\"Mo\"\"od\" AS ENUM ('sad', 'very, glad'); \
             CREATE DOMAIN {schema}.price AS numeric(5,2) CHECK (value > 0); \
             CREATE DOMAIN {schema}.dear AS {schema}.price CHECK (value > 1); \
             CREATE DOMAIN {schema}.host AS inet; \
             CREATE DOMAIN {schema}.moody AS {schema}.\"Mo\"\"od\""
        ))
        .await;
    let (mood, dear) = (format!("{schema}.\"Mo\"\"od\""), format!("{schema}.dear"));
    let (host, moody) = (format!("{schema}.host"), format!("{schema}.moody"));
    check(
        &world,
        &[
            ("text", Value::Text("ä\u{10ffff}\n"), "ä\u{10ffff}\n"),
            ("text", Value::Text(""), ""),
            ("varchar(3)", Value::Text("äöü"), "äöü"),
            ("char(5)", Value::Text("äb   "), "äb"),
            ("name", Value::Text("n"), "n"),
            ("\"char\"", Value::Text("z"), "z"),
            ("\"char\"", Value::Text(""), ""),
            ("public.citext", Value::Text("AbC"), "AbC"),
            ("json", Value::Json("{\"a\":  1}"), "{\"a\":  1}"),
            (
                "jsonb",
                Value::Json("{\"b\":1,\"a\":\"\\ud83d\\ude00\"}"),
                "{\"a\": \"😀\", \"b\": 1}",
            ),
            ("xml", Value::Text("<a>1</a>"), "<a>1</a>"),
            ("uuid", Value::Uuid(uuid), "12345678-9abc-def0-1234-56789abcdef0"),
            ("bytea", Value::Bytes(&[0, 1, 255]), "\\x0001ff"),
            ("inet", Value::Text("192.168.2.0/12"), "192.168.2.0/12"),
            ("cidr", Value::Text("10.0.0.0/8"), "10.0.0.0/8"),
            ("macaddr", Value::Text("08:00:2b:01:02:03"), "08:00:2b:01:02:03"),
            ("int4range", Value::Text("[1000,6000)"), "[1000,6000)"),
            ("tsvector", Value::Text("'a':1 'b':2"), "'a':1 'b':2"),
            (&mood, Value::Text("very, glad"), "very, glad"),
            (&moody, Value::Text("sad"), "sad"),
            (&dear, decimal("123.4"), "123.40"),
            (&host, Value::Text("::1"), "::1/128"),
            ("bit(7)", Value::Bits { octets: &[64], length: Some(7) }, "1000000"),
            (
                "bit(24)",
                Value::Bits { octets: &[1, 2, 3], length: Some(24) },
                "000000110000001000000001",
            ),
            ("bit", Value::Bool(true), "1"),
            ("bit varying", Value::Bits { octets: &[5], length: None }, "101"),
            ("bit varying(4)", Value::Bits { octets: &[], length: Some(4) }, ""),
        ],
    )
    .await;
}

#[tokio::test]
async fn times_arrive_as_they_were() {
    let at = |seconds, nanos| Value::Timestamp(Moment::Finite { seconds, nanos });
    let zoned = |seconds, nanos| Value::TimestampZoned(Moment::Finite { seconds, nanos });
    let span = |months, days, nanos| Value::Interval(Interval { months, days, nanos });
    check(
        &world().await,
        &[
            ("date", Value::Date(Day::Finite(17_109)), "2016-11-04"),
            ("date", Value::Date(Day::Finite(-2_440_588)), "4714-11-24 BC"),
            ("date", Value::Date(Day::Finite(2_145_042_905)), "5874897-12-31"),
            ("date", Value::Date(Day::PositiveInfinity), "infinity"),
            ("date", Value::Date(Day::NegativeInfinity), "-infinity"),
            ("timestamp", at(1_478_267_490, 123_456_000), "2016-11-04 13:51:30.123456"),
            ("timestamp", at(-1_047_174_588, 608_000_000), "1936-10-25 22:10:12.608"),
            ("timestamp(3)", at(1_478_267_490, 123_000_000), "2016-11-04 13:51:30.123"),
            ("timestamp", at(601_060_312_290, 123_456_000), "21016-11-04 13:51:30.123456"),
            ("timestamp", at(9_224_318_015_999, 999_999_000), "294276-12-31 23:59:59.999999"),
            ("timestamp", at(-210_866_803_200, 0), "4714-11-24 00:00:00 BC"),
            ("timestamp", Value::Timestamp(Moment::NegativeInfinity), "-infinity"),
            ("timestamp", Value::Date(Day::Finite(17_109)), "2016-11-04 00:00:00"),
            ("timestamptz", zoned(1_478_260_290, 123_456_000), "2016-11-04 11:51:30.123456+00"),
            ("timestamptz(0)", Value::TimestampZoned(Moment::PositiveInfinity), "infinity"),
            ("time", Value::Time(86_400_000_000_000), "24:00:00"),
            ("time(3)", Value::Time(49_890_123_000_000), "13:51:30.123"),
            ("timetz", Value::TimeZoned { nanos: 1_000, offset: 5_400 }, "00:00:00.000001+01:30"),
            ("timetz", Value::TimeZoned { nanos: 0, offset: -57_599 }, "00:00:00-15:59:59"),
            ("interval", span(14, 3, 14_706_780_000_000), "1 year 2 mons 3 days 04:05:06.78"),
            ("interval", span(-1, 2, -1_000), "-1 mons +2 days -00:00:00.000001"),
            ("interval(3)", span(0, 0, 1_000_000), "00:00:00.001"),
            ("interval", Value::Time(-3_020_398_999_999_000), "-838:59:58.999999"),
            ("time", span(0, 0, 1_000), "00:00:00.000001"),
            ("text", Value::Date(Day::Finite(17_109)), "2016-11-04"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_created_table_is_as_it_was_planned() {
    let world = World::new().await;
    let mut target = world.target();
    let propagated = [
        (Kind::Text, "VARCHAR", 10),
        (Kind::Text, "BPCHAR", 10),
        (Kind::Bits { length: Some(9) }, "VARBIT", 9),
        (Kind::Json, "JSON", 0),
        (Kind::Int64, "OID", 0),
        (Kind::Text, "INET", 0),
        (Kind::Text, "CIDR", 0),
        (Kind::Text, "MACADDR", 0),
        (Kind::Text, "MACADDR8", 0),
        (Kind::Text, "NUMERIC", 12),
        (Kind::Text, "BYTEA", 0),
        (Kind::Text, "TSTZRANGE", 0),
        (Kind::Bytes, "INT4MULTIRANGE", 0),
        (Kind::Bytes, "TSTZMULTIRANGE", 0),
        (Kind::Bytes, "CIRCLE", 0),
        (Kind::Figure(FigureForm::Geometry, None), "POLYGON", 0),
        (Kind::Bytes, "XID8", 0),
        (list(Kind::Text), "_VARCHAR", 10),
        (list(Kind::Text), "_INET", 0),
        (list(Kind::Text), "_INT8RANGE", 0),
        (list(Kind::Bytes), "_DATEMULTIRANGE", 0),
        (list(Kind::Text), "_MOOD", 0),
    ];
    let kinds = kinds().into_iter().map(|kind| (kind, None));
    let propagated = propagated.into_iter().map(|(kind, name, length)| {
        let name = name.to_owned();
        (kind, Some(SourceType { name, length: Some(length), scale: None }))
    });
    let columns = kinds.chain(propagated).enumerate().map(|(n, (kind, source_type))| {
        let source = SourceColumn { name: format!("c{n}"), kind, optional: n > 21, source_type };
        (Postgres::DIALECT.column)(&source, (3..6).contains(&n)).unwrap()
    });
    let times = [("synced_at", true), ("deleted_at", false)];
    let times = times.map(|(name, not_null)| (Postgres::DIALECT.time_column)(name, not_null));
    let key = vec!["c4".to_owned(), "c3".to_owned(), "c5".to_owned()];
    let columns = columns.chain(times).collect();
    let table = Table { name: world.name("Ta\"ble"), columns, unique_keys: vec![key] };

    let topic = TopicPartition::new("topic", 0);
    let claimed = claim(&mut target, &[topic]).await.remove(0);
    let mut created = batch(&claimed, &shape(&table, &[], Deletes::Hard), &[]);
    created.schema_changes.push(creation(&table));
    target.apply(&created).await.unwrap();
    let found = target.table(&table.name).await.unwrap().unwrap();
    for (found, planned) in found.columns.iter().zip(&table.columns) {
        assert_eq!(found, planned);
        assert_eq!(found.encode.is_some(), planned.encode.is_some());
    }
    assert_eq!(found, table);
}

/// Every type that a schema can say by itself.
fn kinds() -> Vec<Kind> {
    let decimal = |scale, precision| Kind::Decimal { scale, precision };
    vec![
        Kind::Bool,
        Kind::Int8,
        Kind::Int16,
        Kind::Int32,
        Kind::Int64,
        Kind::Float32,
        Kind::Float64,
        Kind::Text,
        Kind::Bytes,
        decimal(2, Some(12)),
        decimal(0, Some(1000)),
        decimal(-3, Some(5)),
        Kind::VariableScaleDecimal,
        Kind::Date,
        Kind::Time(Unit::Millis),
        Kind::Time(Unit::Nanos),
        Kind::Span(Unit::Micros),
        Kind::Timestamp(Unit::Millis),
        Kind::Timestamp(Unit::Micros),
        Kind::ZonedTime,
        Kind::ZonedTimestamp,
        Kind::IsoDate,
        Kind::IsoTime,
        Kind::IsoTimestamp,
        Kind::MicroDuration,
        Kind::Interval,
        Kind::Year,
        Kind::Bits { length: Some(9) },
        Kind::Bits { length: None },
        Kind::Json,
        Kind::Xml,
        Kind::Uuid,
        Kind::Enum(std::sync::Arc::default()),
        Kind::EnumSet,
        Kind::Ltree,
        Kind::Tsvector,
        Kind::Map,
        Kind::Point,
        Kind::Geometry,
        Kind::Figure(FigureForm::Circle, None),
        Kind::Figure(FigureForm::Line, None),
        Kind::SparseVector,
        Kind::Unsigned,
        Kind::StructuredDate,
        Kind::StructuredTime,
        Kind::StructuredZonedTime,
        Kind::StructuredTimestamp,
        Kind::StructuredZonedTimestamp,
        Kind::StructuredDuration,
        list(Kind::Bool),
        list(Kind::Int16),
        list(Kind::Text),
        list(Kind::Bytes),
        list(decimal(2, Some(12))),
        list(Kind::VariableScaleDecimal),
        list(Kind::Date),
        list(Kind::Time(Unit::Millis)),
        list(Kind::Timestamp(Unit::Micros)),
        list(Kind::ZonedTimestamp),
        list(Kind::Bits { length: Some(9) }),
        list(Kind::Json),
        list(Kind::Uuid),
        list(Kind::Xml),
        list(Kind::Point),
        list(Kind::Tsvector),
    ]
}

fn list(element: Kind) -> Kind {
    Kind::Array(Box::new(element))
}
