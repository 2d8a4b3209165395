//! PostgreSQL as a target: whatever value is written, the server makes the same of a literal.

use afterimage::decode::value::kind::Kind;
use afterimage::decode::value::packed::{Packer, Parts};
use afterimage::decode::value::semantic::Literal;
use afterimage::decode::value::{Day, Decimal, Interval, Items, Moment, Value};
use afterimage::record::TopicPartition;
use afterimage::rows::Deletes;
use afterimage::target::Target;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::postgres_support::{Does, batch, claim, shape};
use crate::postgres_types::world;

const ROWS: usize = 300;

const DAY_MICROS: i64 = 86_400_000_000;

/// The parts of a row's values.
#[derive(Clone, Debug)]
struct Row {
    unscaled: i128,
    scale: i32,
    days: i32,
    micros: i64,
    months: i32,
    double: f64,
    single: f32,
    text: String,
    octets: Vec<u8>,
    numbers: Vec<Option<i64>>,
    unsigned: u64,
}

fn any_row() -> impl Strategy<Value = Row> {
    let text = "[^\\x00]{0,20}";
    let octets = prop::collection::vec(any::<u8>(), 0..20);
    let numbers = prop::collection::vec(any::<Option<i64>>(), 0..4);
    // The first day and the last that a date and a timestamp both know.
    let days = -2_440_588_i32..106_000_000;
    let first = (any::<i128>(), 0_i32..60, days, 0..DAY_MICROS, -100_000_i32..100_000);
    let second = (any::<f64>(), any::<f32>(), text, octets, numbers, any::<u64>());
    (first, second).prop_map(|(first, second)| {
        let (unscaled, scale, days, micros, months) = first;
        let (double, single, text, octets, numbers, unsigned) = second;
        Row {
            unscaled,
            scale,
            days,
            micros,
            months,
            double,
            single,
            text,
            octets,
            numbers,
            unsigned,
        }
    })
}

/// A row's parts in the forms that values borrow.
struct Packed {
    unscaled: [u8; 16],
    cents: [u8; 8],
    numbers: Vec<u8>,
}

impl Packed {
    fn new(row: &Row) -> Self {
        let mut numbers = Vec::new();
        let mut packer = Packer::new(&mut numbers);
        for number in &row.numbers {
            packer.push(number.map_or(Literal::Null, Literal::Int));
        }
        let (unscaled, cents) = (row.unscaled.to_be_bytes(), row.unsigned.to_be_bytes());
        Self { unscaled, cents, numbers }
    }
}

fn values<'a>(id: i64, row: &'a Row, packed: &'a Packed) -> Vec<Value<'a>> {
    let seconds = i64::from(row.days) * 86_400 + row.micros / 1_000_000;
    let nanos = u32::try_from(row.micros % 1_000_000 * 1000).unwrap();
    let moment = Moment::Finite { seconds, nanos };
    let Row { scale, days, months, .. } = *row;
    let nanos = i128::from(row.micros - DAY_MICROS / 2) * 1000;
    vec![
        Value::Int(id),
        Value::Decimal(Decimal::Binary { unscaled: &packed.unscaled, scale }),
        Value::Date(Day::Finite(days)),
        Value::Timestamp(moment),
        Value::TimestampZoned(moment),
        Value::Time(row.micros * 1000),
        Value::Interval(Interval { months, days: days / 1000, nanos }),
        Value::Float64(row.double),
        Value::Float32(row.single),
        Value::Text(&row.text),
        Value::Bytes(&row.octets),
        Value::Array(Items { kind: &Kind::Int64, parts: Parts::new(&packed.numbers) }),
        Value::Unsigned(row.unsigned),
        Value::Decimal(Decimal::Binary { unscaled: &packed.cents, scale: 2 }),
    ]
}

/// Spells the same as the server reads it.
fn literals(id: usize, row: &Row) -> String {
    let Row { unscaled, scale, days, micros, months, double, single, unsigned, .. } = row;
    let clock = format!("interval '{days} days' + interval '{micros} microseconds'");
    let (span, cents) = (micros - DAY_MICROS / 2, unsigned.cast_signed());
    let numbers = row.numbers.iter().map(|it| it.map_or("NULL".to_owned(), |it| it.to_string()));
    let hex = row.octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    format!(
        "({id}, '{unscaled}e-{scale}'::numeric, date '1970-01-01' + ({days}), \
         timestamp '1970-01-01' + {clock}, \
         (timestamp '1970-01-01' + {clock}) AT TIME ZONE 'UTC', \
         '{:02}:{:02}:{:02}.{:06}'::time, \
         interval '{months} months' + interval '{} days' + interval '{span} microseconds', \
         '{double:e}'::float8, '{single:e}'::float4, U&'{}', '\\x{hex}'::bytea, \
         '{{{}}}'::bigint[], {unsigned}::numeric(20,0), '{cents}e-2'::numeric::money)",
        micros / 3_600_000_000,
        micros / 60_000_000 % 60,
        micros / 1_000_000 % 60,
        micros % 1_000_000,
        days / 1000,
        escaped(&row.text),
        numbers.collect::<Vec<_>>().join(","),
    )
}

/// Spells a text by the numbers of its letters.
fn escaped(text: &str) -> String {
    text.chars().map(|letter| format!("\\+{:06x}", u32::from(letter))).collect()
}

#[tokio::test]
async fn a_written_value_is_what_the_server_makes_of_its_literal() {
    let world = world().await;
    let schema = &world.schema;
    let columns = "id bigint PRIMARY KEY, n numeric, d date, ts timestamp, tz timestamptz, t time, \
                   iv interval, f8 float8, f4 float4, tx text, by bytea, a bigint[], u numeric(20,0), \
                   m money";
    world
        .sql(&format!("CREATE TABLE {schema}.v ({columns}); GRANT ALL ON {schema}.v TO writer"))
        .await;
    let mut target = world.target();
    let table = target.table(&world.name("v")).await.unwrap().unwrap();
    let topic = TopicPartition::new("topic", 0);
    let claimed = claim(&mut target, &[topic]).await.remove(0);

    let mut runner = TestRunner::deterministic();
    let strategy = any_row();
    let rows = (0..ROWS).map(|_| strategy.new_tree(&mut runner).unwrap().current());
    let rows = rows.collect::<Vec<_>>();
    let packed = rows.iter().map(Packed::new).collect::<Vec<_>>();
    let cells = (0..).zip(rows.iter().zip(&packed));
    let cells = cells.map(|(id, (row, packed))| values(id, row, packed)).collect::<Vec<_>>();
    let changes = cells.iter().map(|values| Does::Upsert(values)).collect::<Vec<_>>();
    let shape = shape(&table, &["id"], Deletes::Hard);
    target.apply(&batch(&claimed, &shape, &changes)).await.unwrap();

    let literals = rows.iter().enumerate().map(|(id, row)| literals(id, row));
    let literals = literals.collect::<Vec<_>>().join(",\n");
    let names = ["n", "d", "ts", "tz", "t", "iv", "f8", "f4", "tx", "by", "a", "u", "m"];
    let differ = names.map(|name| format!("v.{name}::text IS DISTINCT FROM w.{name}::text"));
    let query = format!(
        "SET timezone TO 'UTC'; \
         SELECT v.id, {} FROM {schema}.v JOIN (VALUES {literals}) AS w (id, {}) USING (id) \
         WHERE {}",
        names.map(|name| format!("v.{name}::text, w.{name}::text")).join(", "),
        names.join(", "),
        differ.join(" OR ")
    );
    let found = world.sql(&query).await;
    assert_eq!(found, Vec::<Vec<Option<String>>>::new());
    let count = world.sql(&format!("SELECT count(*)::text FROM {schema}.v")).await;
    assert_eq!(count, [[Some(ROWS.to_string())]]);
}
