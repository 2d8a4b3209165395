//! The target against real files: each test has its own directory, and reads back by plain SQL.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqliteConnection};
use tempfile::TempDir;
use uuid::Uuid;

use super::Sqlite;
use crate::batch::{Batch, Folded, Leader, SchemaChange};
use crate::checkpoint::{Claim, LastRecord, NextOffset};
use crate::decode::value::kind::{Kind, SourceColumn};
use crate::decode::value::{Decimal, Value};
use crate::record::TopicPartition;
use crate::refused::{DeadLetter, KeptRecord, Reason, Refusal};
use crate::rows::{Deletes, Keyless, Origin, Shape};
use crate::stopped::{Stop, StopReason};
use crate::table::{Table, TableName};
use crate::target::{Applied, Claimed, Existing, Holding, Sink, Target, TargetError};

mod fence;
mod guard;
mod keyless;
mod leads;
mod letters;
mod moves;
mod neighbours;
mod refused;
mod unchanged;

/// Asks about one table.
pub(super) trait One: Target {
    /// Reads it from the catalogue.
    async fn table(&mut self, name: &TableName) -> Result<Option<Table>, TargetError> {
        Ok(self.one(name).await?.table)
    }

    /// Reads which source tables lead to it.
    async fn leaders(&mut self, name: &TableName) -> Result<Vec<Leader>, TargetError> {
        Ok(self.one(name).await?.leaders)
    }

    async fn one(&mut self, name: &TableName) -> Result<Existing, TargetError> {
        Ok(self.tables(std::slice::from_ref(name)).await?.remove(0))
    }
}

impl<T: Target> One for T {}

/// A file, and the partition `t[0]` that its tests move.
pub(super) struct World {
    dir: TempDir,
    pub(super) partition: TopicPartition,
}

/// A change of the table `items(id, name, price)`.
enum Change<'a> {
    Put(i64, Value<'a>, Value<'a>),
    Delete(i64),
}
use Change::{Delete, Put};

impl World {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, partition: TopicPartition::new("t", 0) }
    }

    fn url(&self) -> String {
        format!("sqlite://{}", self.dir.path().join("target.db").display())
    }

    pub(super) fn target(&self) -> Sqlite {
        self.target_of("group")
    }

    fn target_of(&self, group: &str) -> Sqlite {
        let (name, cluster_id) = ("sink".to_owned(), "cluster".to_owned());
        let sink = Sink { name, cluster_id, group_id: group.to_owned() };
        Sqlite::new(self.dir.path().join("target.db"), sink)
    }

    /// Returns whether nothing was written.
    pub(super) fn is_empty(&self) -> bool {
        self.dir.path().read_dir().unwrap().next().is_none()
    }

    /// Returns a target whose partition is begun at 0 and claimed.
    pub(super) async fn claimed(&self) -> (Sqlite, Claimed) {
        let mut target = self.target();
        target.begin(&[(self.partition.clone(), NextOffset::at(0))]).await.unwrap();
        let claimed = claim(&mut target, &self.partition).await;
        (target, claimed)
    }

    /// Reads what a query returns, each row as text with `|` between the columns.
    pub(super) async fn read(&self, query: &'static str) -> Vec<String> {
        let mut connection = SqliteConnection::connect(&self.url()).await.unwrap();
        let rows = sqlx::query(query).fetch_all(&mut connection).await.unwrap();
        let text = |row: &sqlx::sqlite::SqliteRow| {
            (0..row.len())
                .map(|column| row.get_unchecked::<Option<String>, _>(column))
                .map(|value| value.unwrap_or_else(|| "NULL".to_owned()))
                .collect::<Vec<_>>()
                .join("|")
        };
        rows.iter().map(text).collect()
    }

    pub(super) async fn run(&self, statement: &str) {
        let mut connection = SqliteConnection::connect(&self.url()).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }

    async fn items(&self) -> Vec<String> {
        self.read("SELECT id, name, price FROM items ORDER BY id").await
    }
}

async fn claim(target: &mut Sqlite, partition: &TopicPartition) -> Claimed {
    let partitions = std::slice::from_ref(partition);
    let mut claims = target.claim(partitions, Uuid::new_v4(), false).await.unwrap();
    claims.claimed.pop().unwrap()
}

pub(super) fn source(name: &str, kind: Kind) -> SourceColumn {
    SourceColumn { name: name.to_owned(), kind, optional: true, source_type: None }
}

fn items() -> Arc<Table> {
    let column =
        |name, kind, is_key| (Sqlite::DIALECT.column)(&source(name, kind), is_key).unwrap();
    let columns = vec![
        column("id", Kind::Int64, true),
        column("name", Kind::Text, false),
        column("price", Kind::VariableScaleDecimal, false),
        (Sqlite::DIALECT.time_column)("synced_at", true),
    ];
    let name = TableName { schema: None, table: "items".to_owned() };
    Arc::new(Table { name, columns, unique_keys: vec![vec!["id".to_owned()]] })
}

fn shape(deletes: Deletes) -> Arc<Shape> {
    shape_of(items(), deletes)
}

/// The shape of the table as it is by now.
fn shape_of(table: Arc<Table>, deletes: Deletes) -> Arc<Shape> {
    let columns = table.columns[..3].to_vec();
    let synced_at = Some("synced_at".to_owned());
    let (key, keyless) = (vec![0], Keyless::Refuse);
    Arc::new(Shape {
        table,
        columns,
        key,
        keyless,
        deletes,
        synced_at,
        is_guarded: false,
        skips_unchanged: false,
    })
}

fn creation() -> SchemaChange {
    let statements = (Sqlite::DIALECT.create_table)(&items());
    SchemaChange { before: None, after: items(), statements, labels: Vec::new() }
}

/// Makes a batch of one record for each change, behind what the partition has applied.
fn batch(claimed: &Claimed, shape: &Arc<Shape>, changes: &[Change<'_>]) -> Folded {
    let mut batch = Batch::default();
    batch.schema_changes.push(creation());
    let step = batch.step(&claimed.partition, claimed.claim, claimed.next);
    for (offset, change) in (claimed.next.get()..).zip(changes) {
        let rows = batch.rows(shape).unwrap();
        let (id, values, mut writer) = match change {
            Put(id, name, price) => (*id, vec![*name, *price], rows.upsert()),
            Delete(id) => (*id, vec![], rows.delete()),
        };
        writer.push(Value::Int(id)).unwrap();
        values.into_iter().for_each(|value| writer.push(value).unwrap());
        writer.finish(Origin { step, offset, sent_at: 0 }, kept(offset)).unwrap();
        batch.advance(step, last(offset));
    }
    batch.fold()
}

#[tokio::test]
async fn a_row_behind_a_delete_keeps_nothing_of_the_one_before() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let old = [Put(1, Value::Text("old"), Value::Text("1.50"))];
    target.apply(&batch(&claimed, &shape(Deletes::Hard), &old)).await.unwrap();

    let whole = shape(Deletes::Hard);
    let narrow = Shape {
        table: Arc::clone(&whole.table),
        columns: whole.columns[..2].to_vec(),
        key: vec![0],
        keyless: Keyless::Refuse,
        deletes: Deletes::Hard,
        synced_at: whole.synced_at.clone(),
        is_guarded: false,
        skips_unchanged: false,
    };
    let (narrow, claimed) = (Arc::new(narrow), after(&claimed, 1));
    let mut again = Batch::default();
    let step = again.step(&claimed.partition, claimed.claim, claimed.next);
    for (offset, is_delete) in (claimed.next.get()..).zip([true, false]) {
        let rows = again.rows(&narrow).unwrap();
        let mut writer = if is_delete { rows.delete() } else { rows.upsert() };
        let values = [Value::Int(1), Value::Text("new")];
        values[..if is_delete { 1 } else { 2 }].iter().for_each(|it| writer.push(*it).unwrap());
        writer.finish(Origin { step, offset, sent_at: 0 }, kept(offset)).unwrap();
        again.advance(step, last(offset));
    }
    assert_eq!(target.apply(&again.fold()).await.unwrap(), COMMITTED);
    assert_eq!(world.items().await, ["1|new|NULL"]);
}

fn last(offset: i64) -> LastRecord {
    let timestamp = Some(1_700_000_000_123);
    LastRecord {
        offset,
        timestamp,
        leader_epoch: Some(4),
        source_position: None,
        deleted_key: None,
    }
}

fn kept(offset: i64) -> KeptRecord {
    KeptRecord {
        offset,
        timestamp: Some(1_700_000_000_123),
        key: Some(b"key".to_vec()),
        value: None,
        headers: vec![("h".to_owned(), Some(b"\xff".to_vec())), ("n".to_owned(), None)],
    }
}

fn price(text: &str) -> Value<'_> {
    Value::Decimal(Decimal::Text(text))
}

/// Returns the claim as it is after `count` more records.
fn after(claimed: &Claimed, count: i64) -> Claimed {
    Claimed { next: NextOffset::at(claimed.next.get() + count), ..claimed.clone() }
}

const COMMITTED: Applied = Applied::Committed { refused: vec![], older: 0 };

const STANDS: &str = "SELECT next_offset, last_offset, epoch, owner IS NULL, group_id, state
FROM afterimage_checkpoint";

#[tokio::test]
async fn rows_and_checkpoint_arrive_together() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let changes = [
        Put(1, Value::Text("a"), price("1.10")),
        Put(2, Value::Text("b"), Value::Null),
        Put(1, Value::Text("A"), price("1.20")),
        Put(3, Value::Text("c"), price("0")),
        Delete(2),
        Delete(9),
    ];

    let shape = shape(Deletes::Hard);
    assert_eq!(target.apply(&batch(&claimed, &shape, &changes)).await.unwrap(), COMMITTED);
    assert_eq!(world.items().await, ["1|A|1.20", "3|c|0"]);
    assert_eq!(world.read(STANDS).await, ["6|5|1|0|group|running"]);

    let changes =
        [Delete(3), Put(1, Value::Null, price("-5")), Put(4, Value::Text(""), price("7"))];
    let next = after(&claimed, 6);
    assert_eq!(target.apply(&batch(&next, &shape, &changes)).await.unwrap(), COMMITTED);
    assert_eq!(world.items().await, ["1|NULL|-5", "4||7"]);
    let times = "SELECT count(*), synced_at GLOB '????-??-??T??:??:??.??????Z' FROM items
        GROUP BY synced_at";
    assert_eq!(world.read(times).await, ["2|1"]);
}

#[tokio::test]
async fn many_rows_go_in_statements_of_every_length() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let shape = shape(Deletes::Hard);
    let put = (0..1000).map(|id| Put(id, Value::Text("x"), Value::Null)).collect::<Vec<_>>();
    target.apply(&batch(&claimed, &shape, &put)).await.unwrap();
    let some = (0..1000).filter(|id| id % 7 != 0).map(Delete).collect::<Vec<_>>();

    target.apply(&batch(&after(&claimed, 1000), &shape, &some)).await.unwrap();

    let left = world.read("SELECT count(*), count(*) FILTER (WHERE id % 7 = 0) FROM items").await;
    assert_eq!(left, ["143|143"]);
}

#[tokio::test]
async fn a_partial_row_keeps_what_the_target_has_or_becomes_a_dead_letter() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let shape = shape(Deletes::Hard);
    let changes = [Put(1, Value::Text("long"), price("1")), Put(2, Value::Text("two"), price("2"))];
    target.apply(&batch(&claimed, &shape, &changes)).await.unwrap();

    let changes = [
        Put(1, Value::Unavailable, price("1.5")),
        Put(7, Value::Unavailable, price("7")),
        Delete(2),
    ];
    let applied = target.apply(&batch(&after(&claimed, 2), &shape, &changes)).await.unwrap();

    let Applied::Committed { refused, .. } = applied else { panic!("{applied:?}") };
    assert_eq!(refused.iter().map(|letter| letter.record.offset).collect::<Vec<_>>(), [3]);
    assert_eq!(world.items().await, ["1|long|1.5"]);
    let letters = r#"SELECT topic, "partition", record_offset, table_name, key, value, headers,
        reason, record_timestamp, state FROM afterimage_dead_letter"#;
    let expected = "t|0|3|items|key|NULL|[[\"h\",\"/w==\"],[\"n\",null]]|unavailable_without_row|\
        2023-11-14T22:13:20.123000Z|open";
    assert_eq!(world.read(letters).await, [expected]);
    assert_eq!(world.read(STANDS).await, ["5|4|1|0|group|running"]);
}

#[tokio::test]
async fn each_partial_row_of_a_missing_row_is_kept_as_a_dead_letter() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let partial = |id, text| Put(id, Value::Unavailable, price(text));
    let gone = [partial(7, "0"), partial(7, "1"), Delete(9), partial(9, "3"), partial(9, "4")];
    let whole = [partial(8, "5"), Put(8, Value::Text("whole"), price("6")), partial(7, "7")];
    let changes = gone.into_iter().chain(whole).collect::<Vec<_>>();
    target.apply(&batch(&claimed, &shape(Deletes::Hard), &changes)).await.unwrap();

    assert_eq!(world.items().await, ["8|whole|6"]);
    let letters = "SELECT record_offset FROM afterimage_dead_letter ORDER BY record_offset";
    assert_eq!(world.read(letters).await, ["0", "1", "3", "4", "7"]);
}

#[tokio::test]
async fn a_soft_delete_marks_the_row_until_it_is_written_again() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let mut table = Table::clone(&items());
    table.columns.push((Sqlite::DIALECT.time_column)("deleted_at", false));
    world.run(&(Sqlite::DIALECT.create_table)(&table)[0]).await;
    let shape = Arc::new(Shape {
        table: Arc::new(table),
        columns: items().columns[..3].to_vec(),
        key: vec![0],
        keyless: Keyless::Refuse,
        deletes: Deletes::Soft("deleted_at".to_owned()),
        synced_at: Some("synced_at".to_owned()),
        is_guarded: false,
        skips_unchanged: false,
    });
    let soft = |claimed: &Claimed, changes: &[Change<'_>]| {
        let mut folded = batch(claimed, &shape, changes);
        folded.schema_changes.clear();
        folded
    };
    let read = "SELECT id, name, deleted_at IS NULL FROM items ORDER BY id";
    let a = Value::Text("a");
    let changes = [Put(1, a, Value::Null), Put(2, a, Value::Null), Put(3, a, Value::Null)];
    target.apply(&soft(&claimed, &changes)).await.unwrap();

    target.apply(&soft(&after(&claimed, 3), &[Delete(1), Delete(2)])).await.unwrap();
    assert_eq!(world.read(read).await, ["1|a|0", "2|a|0", "3|a|1"]);

    let changes = [Put(1, Value::Text("b"), Value::Null), Put(2, Value::Unavailable, Value::Null)];
    let applied = target.apply(&soft(&after(&claimed, 5), &changes)).await.unwrap();
    assert!(matches!(applied, Applied::Committed { refused, .. } if refused.len() == 1));
    assert_eq!(world.read(read).await, ["1|b|1", "2|a|0", "3|a|1"]);
}

#[tokio::test]
async fn a_truncate_empties_the_table_before_the_rows() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let shape = shape(Deletes::Hard);
    let a = Value::Text("a");
    let changes = [Put(1, a, Value::Null), Put(2, a, Value::Null)];
    target.apply(&batch(&claimed, &shape, &changes)).await.unwrap();
    let mut truncating = Batch::default();
    let step = truncating.step(&claimed.partition, claimed.claim, NextOffset::at(2));
    let rows = truncating.rows(&shape).unwrap();
    rows.truncate();
    let mut writer = rows.upsert();
    for value in [Value::Int(2), Value::Text("b"), Value::Null] {
        writer.push(value).unwrap();
    }
    writer.finish(Origin { step, offset: 3, sent_at: 0 }, kept(3)).unwrap();
    truncating.advance(step, last(3));

    target.apply(&truncating.fold()).await.unwrap();

    assert_eq!(world.items().await, ["2|b|NULL"]);
}

#[tokio::test]
async fn f51_a_table_changed_by_hand_is_found_stale() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let shape = shape(Deletes::Hard);
    let changes = [Put(1, Value::Text("a"), Value::Null)];
    target.apply(&batch(&claimed, &shape, &changes)).await.unwrap();

    for change in [
        "ALTER TABLE items RENAME COLUMN name TO title",
        "ALTER TABLE items RENAME COLUMN title TO name; CREATE UNIQUE INDEX i ON items (price)",
        "DROP TABLE items",
    ] {
        world.run(change).await;
        let mut folded = batch(&after(&claimed, 1), &shape, &changes);
        folded.schema_changes.clear();
        let error = target.apply(&folded).await.unwrap_err();
        assert!(matches!(error, TargetError::StaleLayout { .. }), "{change}: {error:?}");
    }
    assert_eq!(world.read(STANDS).await, ["1|0|1|0|group|running"]);
}

#[tokio::test]
async fn a_lost_file_is_unreachable() {
    let world = World::new();
    let (target, _) = world.claimed().await;
    let missing = super::Sqlite::new(world.dir.path().join("no/such/file"), target.sink.clone());
    let error = { missing }.begin(&[]).await.unwrap_err();
    assert!(matches!(error, TargetError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn another_process_that_holds_the_lock_makes_us_busy_and_nothing_is_lost() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let mut other = SqliteConnection::connect(&world.url()).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let folded = batch(&claimed, &shape(Deletes::Hard), &[Put(1, Value::Null, Value::Null)]);

    let error = target.apply(&folded).await.unwrap_err();
    assert!(matches!(error, TargetError::Busy(_)), "{error:?}");

    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    assert_eq!(target.apply(&folded).await.unwrap(), COMMITTED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_writers_of_one_file_both_get_their_turn() {
    let world = World::new();
    let shape = shape(Deletes::Hard);
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..2 {
        let mut target = world.target();
        let (partition, shape) = (TopicPartition::new("t", number), Arc::clone(&shape));
        writers.spawn(async move {
            target.begin(&[(partition.clone(), NextOffset::at(0))]).await.unwrap();
            let mut claimed = claim(&mut target, &partition).await;
            for round in 0..50 {
                let id = |row: i64| (round * 40 + row) * 2 + i64::from(number);
                let changes = (0..40)
                    .map(|row| Put(id(row), Value::Text("x"), price("1")))
                    .collect::<Vec<_>>();
                let folded = batch(&claimed, &shape, &changes);
                assert_eq!(target.apply(&folded).await.unwrap(), COMMITTED);
                claimed = after(&claimed, 40);
            }
            target.release(&[(partition, claimed.claim)]).await.unwrap();
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }

    assert_eq!(world.read("SELECT count(*) FROM items").await, ["4000"]);
    let stands = world.read("SELECT next_offset, owner FROM afterimage_checkpoint").await;
    assert_eq!(stands, ["2000|NULL", "2000|NULL"]);
}
