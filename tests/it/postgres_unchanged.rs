//! PostgreSQL as a target: rows that come as they are, where the settings leave these alone.

use std::sync::Arc;
use std::time::Duration;

use afterimage::decode::value::{Decimal, Value};
use afterimage::record::TopicPartition;
use afterimage::rows::{Deletes, Shape};
use afterimage::target::postgres::Postgres;
use afterimage::target::{Applied, Claimed, Target};

use crate::postgres_support::{Does, NEW_ROWS, One, World, batch, claim, shape, sql};
use crate::support::{Format, LATER, World as Outside};

/// A table whose same rows are left alone.
struct Table {
    world: World,
    target: Postgres,
    shape: Arc<Shape>,
    claimed: Claimed,
}

impl Table {
    async fn new(columns: &str, deletes: Deletes) -> Self {
        let world = World::new().await;
        let schema = &world.schema;
        world
            .sql(&format!(
                "CREATE SCHEMA {schema}; CREATE TABLE {schema}.t ({columns}, synced_at timestamptz); \
                 GRANT USAGE ON SCHEMA {schema} TO writer; GRANT ALL ON {schema}.t TO writer"
            ))
            .await;
        let mut target = world.target();
        let table = target.table(&world.name("t")).await.unwrap().unwrap();
        let mut shape = shape(&table, &["id"], deletes);
        Arc::get_mut(&mut shape).unwrap().skips_unchanged = true;
        let claimed = claim(&mut target, &[TopicPartition::new("topic", 0)]).await.remove(0);
        Self { world, target, shape, claimed }
    }

    /// Applies changes, and returns the offsets of dead letters, counted from the first change.
    async fn apply(&mut self, changes: &[Does<'_>]) -> Vec<i64> {
        let rows = batch(&self.claimed, &self.shape, changes);
        let first = self.claimed.next.get();
        self.claimed.next = rows.steps.first().unwrap().to;
        match self.target.apply(&rows).await.unwrap() {
            Applied::Committed { refused, .. } => {
                refused.iter().map(|letter| letter.record.offset - first).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Says that all rows are of old.
    async fn age(&self) {
        self.world.sql(&format!("UPDATE {}.t SET synced_at = 'epoch'", self.world.schema)).await;
    }

    /// Reads columns of all rows, with whether they are of old.
    async fn rows(&self, columns: &str) -> Vec<String> {
        let age = "CASE synced_at WHEN 'epoch' THEN 'old' ELSE 'new' END";
        let schema = &self.world.schema;
        let query = format!("SELECT concat_ws('|', {columns}, {age}) FROM {schema}.t ORDER BY id");
        self.world.sql(&query).await.into_iter().flatten().flatten().collect()
    }
}

fn number(text: &str) -> Value<'_> {
    Value::Decimal(Decimal::Text(text))
}

fn upserts<'a, const N: usize>(rows: &'a [[Value<'a>; N]]) -> Vec<Does<'a>> {
    rows.iter().map(|row| Does::Upsert(row)).collect()
}

#[tokio::test]
async fn only_what_differs_is_written_however_equal_its_type_finds_it() {
    let columns = "id bigint PRIMARY KEY, note text, n numeric, d float8, doc json";
    let mut table = Table::new(columns, Deletes::Hard).await;
    let row = |id, note, n, d, doc| {
        [Value::Int(id), note, number(n), Value::Float64(d), Value::Text(doc)]
    };
    let (long, absent, doc) = (Value::Text("long"), Value::Unavailable, "{\"a\":1}");
    let same = |id| row(id, long, "1.0", 0.0, doc);
    table.apply(&upserts(&(1..9).map(same).collect::<Vec<_>>())).await;
    table.age().await;

    let changes = [
        same(1),
        row(2, long, "1.00", 0.0, doc),
        row(3, long, "1.0", -0.0, doc),
        row(4, long, "1.0", 0.0, "{\"a\": 1}"),
        row(5, Value::Null, "1.0", 0.0, doc),
        row(6, absent, "1.0", 0.0, doc),
        row(7, absent, "1.0", -0.0, doc),
        row(9, absent, "1.0", 0.0, doc),
        same(10),
    ];
    let refused = table.apply(&upserts(&changes)).await;

    assert_eq!(refused, [7], "the only partial one whose row is not there");
    let expected = [
        "1|long|1.0|0|{\"a\":1}|old",
        "2|long|1.00|0|{\"a\":1}|new",
        "3|long|1.0|-0|{\"a\":1}|new",
        "4|long|1.0|0|{\"a\": 1}|new",
        "5|1.0|0|{\"a\":1}|new",
        "6|long|1.0|0|{\"a\":1}|old",
        "7|long|1.0|-0|{\"a\":1}|new",
        "8|long|1.0|0|{\"a\":1}|old",
        "10|long|1.0|0|{\"a\":1}|new",
    ];
    assert_eq!(table.rows("id, note, n, d, doc").await, expected);
}

#[tokio::test]
async fn a_new_snapshot_leaves_the_rows_that_are_there() {
    let columns = "id bigint PRIMARY KEY, note text";
    let mut table = Table::new(columns, Deletes::Hard).await;
    let row = |id| [Value::Int(id), Value::Text("as it was")];
    let rows = (0..).take(NEW_ROWS).map(row).collect::<Vec<_>>();
    let inserts = rows.iter().map(|row| Does::Insert(row)).collect::<Vec<_>>();
    table.apply(&inserts).await;
    table.age().await;

    // It goes by COPY first, which finds rows there.
    let (mut again, new) = (inserts.clone(), row(1_000));
    again.push(Does::Insert(&new));
    table.apply(&again).await;

    let ages = table.rows("NULL").await;
    assert_eq!(ages.iter().filter(|age| *age == "old").count(), NEW_ROWS);
    assert_eq!(ages.len(), NEW_ROWS + 1);
}

#[tokio::test]
async fn the_last_of_two_keys_that_the_server_finds_equal_wins_though_it_is_there_already() {
    let mut table = Table::new("id numeric PRIMARY KEY, note text", Deletes::Hard).await;
    let row = |id, note| [number(id), Value::Text(note)];
    table.apply(&upserts(&[row("1.0", "first"), row("2.0", "other")])).await;
    table.apply(&upserts(&[row("1.00", "last")])).await;
    table.age().await;

    for last in ["1.0", "1.00", "1.000"] {
        table
            .apply(&upserts(&[row("1.00", "before"), row(last, "last"), row("2.0", "other")]))
            .await;
        let rows = table.rows("note").await;
        let notes = rows.iter().filter_map(|row| row.split('|').next()).collect::<Vec<_>>();
        assert_eq!(notes, ["last", "other"], "{last}");
    }
}

#[tokio::test]
async fn what_another_writer_changes_meanwhile_is_written_over() {
    let columns = "id bigint PRIMARY KEY, note text, n bigint";
    let mut table = Table::new(columns, Deletes::Hard).await;
    table.apply(&upserts(&[[Value::Int(1), Value::Text("long"), Value::Int(1)]])).await;
    table.age().await;
    let mut stranger = table.world.stranger("stranger").await;
    // Within its transaction one would always see the same.
    let mut watcher = table.world.stranger("watcher").await;
    let change = format!("BEGIN; UPDATE {}.t SET n = 2", table.world.schema);
    sql(&mut stranger, &change).await;

    let waits = "SELECT pg_catalog.pg_sleep(0.05) FROM pg_catalog.pg_stat_activity \
                 WHERE wait_event_type = 'Lock' AND query LIKE '%FOR NO KEY UPDATE%'";
    let commit = async {
        for _ in 0..500 {
            if !sql(&mut watcher, waits).await.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        sql(&mut stranger, "COMMIT").await;
    };
    let partial = [[Value::Int(1), Value::Unavailable, Value::Int(1)]];
    let partial = upserts(&partial);
    let (refused, ()) = tokio::join!(table.apply(&partial), commit);

    assert_eq!(refused, [0; 0]);
    assert_eq!(table.rows("id, note, n").await, ["1|long|1|new"]);
}

#[tokio::test]
async fn a_row_that_is_marked_deleted_comes_back_though_it_is_as_it_was() {
    let soft = Deletes::Soft("deleted_at".to_owned());
    let mut table =
        Table::new("id bigint PRIMARY KEY, note text, deleted_at timestamptz", soft).await;
    let (row, key) = ([Value::Int(1), Value::Text("a")], [Value::Int(1)]);
    for (change, expected) in [
        (Does::Upsert(&row), "t|new"),
        (Does::Delete(&key), "f|new"),
        (Does::Upsert(&row), "t|new"),
        (Does::Upsert(&row), "t|old"),
    ] {
        table.age().await;
        table.apply(&[change]).await;
        assert_eq!(table.rows("deleted_at IS NULL").await, [expected], "{expected}");
    }
}

#[test]
fn an_update_of_the_source_that_changes_nothing_leaves_the_row_and_its_time() {
    let world = Outside::new("unchanged");
    let source = world.source(
        "CREATE TABLE t (id int PRIMARY KEY, note text);
         INSERT INTO t SELECT i, 'note' FROM generate_series(1, 5) AS i",
    );
    source.connect(Format::Json);
    let member = world.member("member").args(["--skip-unchanged"]).start();
    world.until_equal(&["t"]);
    let times = |condition: &str| {
        let name = &world.name;
        let times = "string_agg(synced_at::text, ' ' ORDER BY id)";
        world.target.value(&format!("SELECT {times} FROM {name}.t WHERE {condition}"))
    };
    let (same, changed) = (times("id < 4"), times("id > 3"));

    source.database.run("UPDATE t SET note = note; UPDATE t SET note = 'other' WHERE id > 3");
    world.until_equal(&["t"]);
    assert_eq!(member.terminate(), 0);
    // What is left, if rows of other partitions were first.
    let rest = world.member("rest").args(["--skip-unchanged"]);
    assert_eq!(rest.run(&["run", "--until-caught-up"], LATER).code, 0);

    assert_eq!(times("id < 4"), same);
    assert_ne!(times("id > 3"), changed);
    assert_eq!(world.dead_letters(), []);
}
