//! PostgreSQL as a target: whatever value is written, the server makes the same of a literal.
//!
//! Values go straight to the target here; `record_laws` has the same rows come as records.

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

use crate::postgres_support::{Does, One as _, batch, claim, shape};
use crate::postgres_types::world;

const ROWS: usize = 300;

const DAY_MICROS: i64 = 86_400_000_000;

/// The columns that have a value of a row each.
pub(crate) const COLUMNS: &str = "id bigint PRIMARY KEY, n numeric, d date, ts timestamp, \
    tz timestamptz, t time, iv interval, f8 float8, f4 float4, tx text, by bytea, a bigint[], \
    u numeric(20,0), m money";

/// The parts of a row's values.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) unscaled: i128,
    pub(crate) scale: i32,
    /// Counted from 1970.
    pub(crate) days: i32,
    /// Counted from midnight.
    pub(crate) micros: i64,
    months: i32,
    pub(crate) double: f64,
    pub(crate) single: f32,
    pub(crate) text: String,
    pub(crate) octets: Vec<u8>,
    pub(crate) numbers: Vec<Option<i64>>,
    pub(crate) unsigned: u64,
}

impl Row {
    pub(crate) fn micros_since_1970(&self) -> i64 {
        i64::from(self.days) * DAY_MICROS + self.micros
    }

    /// Spells its instant as Debezium does, in UTC.
    pub(crate) fn moment(&self) -> String {
        let (year, month, day) = calendar(self.days.into());
        let year = match year {
            ..0 => format!("-{:04}", -year),
            0..=9999 => format!("{year:04}"),
            _ => format!("+{year}"),
        };
        format!("{year}-{month:02}-{day:02}T{}Z", clock(self.micros))
    }

    /// Spells its interval as Debezium does.
    pub(crate) fn span(&self) -> String {
        let micros = self.micros - DAY_MICROS / 2;
        let (sign, micros) = (if micros < 0 { "-" } else { "" }, micros.abs());
        let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
        let (years, months, days) = (self.months / 12, self.months % 12, self.days / 1000);
        format!("P{years}Y{months}M{days}DT0H0M{sign}{seconds}.{micros:06}S")
    }
}

/// Counts year, month and day of a day since 1970, years before 1 as 0 and below.
fn calendar(days: i64) -> (i64, i64, i64) {
    // In eras of 400 years that begin with March, when leap days are last.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, is_next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + is_next, month, day)
}

fn clock(micros: i64) -> String {
    format!(
        "{:02}:{:02}:{:02}.{:06}",
        micros / 3_600_000_000,
        micros / 60_000_000 % 60,
        micros / 1_000_000 % 60,
        micros % 1_000_000
    )
}

/// Draws rows, the same ones each time.
pub(crate) fn any_rows(count: usize) -> Vec<Row> {
    let mut runner = TestRunner::deterministic();
    let strategy = any_row();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
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
    let since = format!("interval '{days} days' + interval '{micros} microseconds'");
    let (span, cents) = (micros - DAY_MICROS / 2, unsigned.cast_signed());
    let numbers = row.numbers.iter().map(|it| it.map_or("NULL".to_owned(), |it| it.to_string()));
    let hex = row.octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    format!(
        "({id}, '{unscaled}e-{scale}'::numeric, date '1970-01-01' + ({days}), \
         timestamp '1970-01-01' + {since}, \
         (timestamp '1970-01-01' + {since}) AT TIME ZONE 'UTC', \
         '{}'::time, \
         interval '{months} months' + interval '{} days' + interval '{span} microseconds', \
         '{double:e}'::float8, '{single:e}'::float4, U&'{}', '\\x{hex}'::bytea, \
         '{{{}}}'::bigint[], {unsigned}::numeric(20,0), '{cents}e-2'::numeric::money)",
        clock(*micros),
        days / 1000,
        escaped(&row.text),
        numbers.collect::<Vec<_>>().join(","),
    )
}

/// Spells a text by the numbers of its letters.
fn escaped(text: &str) -> String {
    text.chars().map(|letter| format!("\\+{:06x}", u32::from(letter))).collect()
}

/// Spells the query for the rows of a table that are not what the server makes of their literals.
pub(crate) fn differing(table: &str, rows: &[Row]) -> String {
    let literals = rows.iter().enumerate().map(|(id, row)| literals(id, row));
    let literals = literals.collect::<Vec<_>>().join(",\n");
    let names = ["n", "d", "ts", "tz", "t", "iv", "f8", "f4", "tx", "by", "a", "u", "m"];
    let differ = names.map(|name| format!("v.{name}::text IS DISTINCT FROM w.{name}::text"));
    format!(
        "SELECT v.id, {} FROM {table} v JOIN (VALUES {literals}) AS w (id, {}) USING (id) \
         WHERE {}",
        names.map(|name| format!("v.{name}::text, w.{name}::text")).join(", "),
        names.join(", "),
        differ.join(" OR ")
    )
}

#[tokio::test]
async fn a_written_value_is_what_the_server_makes_of_its_literal() {
    let world = world().await;
    let schema = &world.schema;
    world
        .sql(&format!("CREATE TABLE {schema}.v ({COLUMNS}); GRANT ALL ON {schema}.v TO writer"))
        .await;
    let mut target = world.target();
    let table = target.table(&world.name("v")).await.unwrap().unwrap();
    let topic = TopicPartition::new("topic", 0);
    let claimed = claim(&mut target, &[topic]).await.remove(0);

    let rows = any_rows(ROWS);
    let packed = rows.iter().map(Packed::new).collect::<Vec<_>>();
    let cells = (0..).zip(rows.iter().zip(&packed));
    let cells = cells.map(|(id, (row, packed))| values(id, row, packed)).collect::<Vec<_>>();
    let changes = cells.iter().map(|values| Does::Upsert(values)).collect::<Vec<_>>();
    let shape = shape(&table, &["id"], Deletes::Hard);
    target.apply(&batch(&claimed, &shape, &changes)).await.unwrap();

    let query = format!("SET timezone TO 'UTC'; {}", differing(&format!("{schema}.v"), &rows));
    let found = world.sql(&query).await;
    assert_eq!(found, Vec::<Vec<Option<String>>>::new());
    let count = world.sql(&format!("SELECT count(*)::text FROM {schema}.v")).await;
    assert_eq!(count, [[Some(ROWS.to_string())]]);
}
