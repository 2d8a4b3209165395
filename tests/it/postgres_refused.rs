//! PostgreSQL as a target: batches that it refuses as they are, and what it takes of them in parts.

use std::sync::Arc;

use afterimage::batch::{Batch, Folded};
use afterimage::checkpoint::NextOffset;
use afterimage::decode::value::Value;
use afterimage::record::TopicPartition;
use afterimage::rows::{Deletes, Origin, Shape};
use afterimage::target::postgres::Postgres;
use afterimage::target::{Applied, Claimed, Target};

use crate::postgres_support::{Does, One as _, World, batch, claim, last, record, shape};

const COMMITTED: Applied = Applied::Committed { refused: Vec::new(), older: 0 };

/// A table `t(id, v)` with rows 1 to 3, whose `v` is 1 to 3 and there once.
struct Place {
    world: World,
    target: Postgres,
    claimed: Claimed,
    shape: Arc<Shape>,
}

impl Place {
    /// Makes the table; `rest` adds to it, or makes others in the schema `S`.
    async fn new(unique: &str, rest: &str) -> Self {
        let world = World::new().await;
        let mut target = world.target();
        let sql = format!(
            "CREATE SCHEMA S AUTHORIZATION writer; SET ROLE writer;
             CREATE TABLE S.t (id bigint PRIMARY KEY, v bigint, synced_at timestamptz);
             {unique}; INSERT INTO S.t (id, v) SELECT id, id FROM generate_series(1, 3) AS id; {rest}"
        );
        let sql = sql.replace("S.", &format!("{}.", world.schema));
        world.sql(&sql.replace("SCHEMA S ", &format!("SCHEMA {} ", world.schema))).await;
        let partition = TopicPartition::new("topic", 0);
        let claimed = claim(&mut target, &[partition]).await.remove(0);
        let table = target.table(&world.name("t")).await.unwrap().unwrap();
        let mut shape = shape(&table, &["id"], Deletes::Hard);
        // A column of the user's own is not written.
        Arc::get_mut(&mut shape).unwrap().columns.retain(|column| column.name != "own");
        Self { world, target, claimed, shape }
    }

    /// Applies updates of `v` by `id`; returns the offsets that are refused, and the rows.
    async fn put(&mut self, rows: &[(i64, i64)]) -> (Vec<i64>, String) {
        let values = rows.iter().map(|(id, v)| [Value::Int(*id), Value::Int(*v)]);
        let values = values.collect::<Vec<_>>();
        let changes = values.iter().map(|values| Does::Upsert(values)).collect::<Vec<_>>();
        let applied = self.target.apply(&batch(&self.claimed, &self.shape, &changes)).await;
        let refused = match applied.unwrap() {
            Applied::Refused { rows } => {
                rows.iter().map(|row| row.offset - self.claimed.next.get()).collect()
            }
            other => {
                assert_eq!(other, COMMITTED);
                let next = self.claimed.next.get() + i64::try_from(rows.len()).unwrap();
                self.claimed.next = NextOffset::at(next);
                Vec::new()
            }
        };
        (refused, self.rows().await)
    }

    async fn rows(&self) -> String {
        let rows = format!(
            "SELECT string_agg(id || '=' || v, ' ' ORDER BY id) FROM {}.t",
            self.world.schema
        );
        self.world.sql(&rows).await.remove(0).remove(0).unwrap_or_default()
    }
}

const INDEX: &str = "CREATE UNIQUE INDEX v ON S.t (v)";

#[tokio::test]
async fn values_exchanged_at_once_are_taken_by_a_unique_index() {
    let mut place = Place::new(INDEX, "").await;
    assert_eq!(place.put(&[(1, 2), (2, 3), (3, 1)]).await, (vec![], "1=2 2=3 3=1".to_owned()));

    // Behind a row that is refused, nothing of it stays.
    let mut place = Place::new(INDEX, "ALTER TABLE S.t ADD CHECK (v < 100)").await;
    let before = "1=1 2=2 3=3".to_owned();
    assert_eq!(place.put(&[(1, 2), (4, 100), (2, 1)]).await, (vec![1], before));
}

#[tokio::test]
async fn what_can_be_checked_at_the_end_is() {
    let deferrable = "ALTER TABLE S.t ADD UNIQUE (v) DEFERRABLE";
    let own = "ALTER TABLE S.t ADD own text DEFAULT 'mine'";
    let mut place = Place::new(deferrable, own).await;
    assert_eq!(place.put(&[(1, 2), (2, 3), (3, 1)]).await, (vec![], "1=2 2=3 3=1".to_owned()));
    let (refused, _) = place.put(&[(1, 5), (2, 5)]).await;
    assert_eq!(refused, [1], "each try is checked");
}

#[tokio::test]
async fn rows_that_others_hang_on_never_go_to_come_again() {
    let swap = [(1, 2), (2, 1)];
    for hanging in [
        "CREATE TABLE S.c (t bigint REFERENCES S.t ON DELETE CASCADE)",
        "CREATE FUNCTION S.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN old; END';
         CREATE TRIGGER f BEFORE DELETE ON S.t FOR EACH ROW EXECUTE FUNCTION S.f()",
        "ALTER TABLE S.t ADD own text",
    ] {
        let mut place = Place::new(INDEX, hanging).await;
        let (mut refused, rows) = place.put(&swap).await;
        refused.sort_unstable();
        assert_eq!((refused, rows.as_str()), (vec![0, 1], "1=1 2=2 3=3"), "{hanging}");
    }
    let mut place =
        Place::new(INDEX, "CREATE TABLE S.c (t bigint REFERENCES S.t DEFERRABLE)").await;
    let child = format!("INSERT INTO {}.c VALUES (1)", place.world.schema);
    place.world.sql(&child).await;
    assert_eq!(place.put(&swap).await, (vec![], "1=2 2=1 3=3".to_owned()));
}

#[tokio::test]
async fn partial_rows_of_a_refused_batch_keep_their_values_and_missing_ones_are_letters_once() {
    let mut place = Place::new(INDEX, "ALTER TABLE S.t ADD note text DEFAULT 'long'").await;
    let table = place.target.table(&place.world.name("t")).await.unwrap().unwrap();
    place.shape = shape(&table, &["id"], Deletes::Hard);
    let row = |id, v, note| [Value::Int(id), Value::Int(v), note];
    let none = Value::Unavailable;
    let values = [row(1, 9, none), row(7, 7, none), row(2, 1, none), row(1, 2, none)];
    let changes = values.each_ref().map(|values| Does::Upsert(values));

    let applied = place.target.apply(&batch(&place.claimed, &place.shape, &changes)).await.unwrap();

    let Applied::Committed { refused, .. } = applied else { panic!("{applied:?}") };
    assert_eq!(refused.iter().map(|letter| letter.record.offset).collect::<Vec<_>>(), [1]);
    let notes = format!("SELECT count(*) FROM {}.t WHERE note = 'long'", place.world.schema);
    assert_eq!(place.world.sql(&notes).await[0][0].as_deref(), Some("3"));
    assert_eq!(place.rows().await, "1=2 2=1 3=3");
    let kept = format!(
        "SELECT count(*) FROM afterimage.dead_letter WHERE sink = '{}'",
        place.world.sink.name
    );
    assert_eq!(place.world.sql(&kept).await[0][0].as_deref(), Some("1"));
}

#[tokio::test]
async fn a_child_whose_table_comes_first_is_written_behind_its_parent() {
    let mut place = Place::new(
        "",
        "CREATE TABLE S.a (id bigint PRIMARY KEY, v bigint REFERENCES S.t, synced_at timestamptz)",
    )
    .await;
    let table = place.target.table(&place.world.name("a")).await.unwrap().unwrap();
    let children = shape(&table, &["id"], Deletes::Hard);
    let (parents, mut claimed) = (Arc::clone(&place.shape), place.claimed.clone());

    let good = family(
        &claimed,
        &[(&parents, 4, 4), (&children, 1, 4), (&children, 2, 5), (&parents, 5, 5)],
    );
    assert_eq!(place.target.apply(&good).await.unwrap(), COMMITTED);
    let count = format!("SELECT count(*) FROM {}.a", place.world.schema);
    assert_eq!(place.world.sql(&count).await[0][0].as_deref(), Some("2"));

    claimed.next = good.steps[0].to;
    let orphan = family(&claimed, &[(&children, 3, 6), (&parents, 7, 7), (&children, 4, 7)]);
    let Applied::Refused { rows } = place.target.apply(&orphan).await.unwrap() else { panic!() };
    assert_eq!(rows.iter().map(|row| row.offset - claimed.next.get()).collect::<Vec<_>>(), [0]);
    assert_eq!(rows[0].fault.sqlstate, "23503");
    assert!(rows[0].fault.is_of_others());
}

#[tokio::test]
async fn rows_that_need_each_other_are_checked_at_the_end() {
    let rest = "CREATE TABLE S.a (id bigint PRIMARY KEY, v bigint REFERENCES S.t DEFERRABLE,
            synced_at timestamptz);
        ALTER TABLE S.t ADD FOREIGN KEY (v) REFERENCES S.a DEFERRABLE NOT VALID;
        ALTER TABLE S.a ADD CHECK (id < 100)";
    let mut place = Place::new("", rest).await;
    let table = place.target.table(&place.world.name("a")).await.unwrap().unwrap();
    let others = shape(&table, &["id"], Deletes::Hard);

    let pair = family(&place.claimed, &[(&place.shape, 7, 8), (&others, 8, 7)]);
    assert_eq!(place.target.apply(&pair).await.unwrap(), COMMITTED);

    place.claimed.next = pair.steps[0].to;
    let rows = [(&place.shape, 9, 10), (&others, 100, 9), (&others, 10, 9)];
    let applied = place.target.apply(&family(&place.claimed, &rows)).await.unwrap();
    let Applied::Refused { rows } = applied else { panic!("{applied:?}") };
    assert_eq!(rows.iter().map(|row| row.fault.sqlstate.as_str()).collect::<Vec<_>>(), ["23514"]);
}

/// Collects rows of two columns of several tables, each a record.
fn family(claimed: &Claimed, rows: &[(&Arc<Shape>, i64, i64)]) -> Folded {
    let mut batch = Batch::default();
    let step = batch.step(&claimed.partition, claimed.claim, claimed.next);
    for (offset, (shape, id, v)) in (claimed.next.get()..).zip(rows) {
        let mut writer = batch.rows(shape).unwrap().upsert();
        writer.push(Value::Int(*id)).unwrap();
        writer.push(Value::Int(*v)).unwrap();
        writer.finish(Origin { step, offset, sent_at: offset }, record(offset)).unwrap();
        batch.advance(step, last(offset));
    }
    batch.fold()
}

#[tokio::test]
async fn a_value_too_long_for_an_index_is_one_records_fault() {
    let mut place =
        Place::new("", "ALTER TABLE S.t ADD note text; CREATE INDEX n ON S.t (note)").await;
    let table = place.target.table(&place.world.name("t")).await.unwrap().unwrap();
    place.shape = shape(&table, &["id"], Deletes::Hard);
    // Nothing that could be compressed.
    let mut seed = 1_u32;
    let long = (0..4000).map(|_| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(33 + u8::try_from(seed >> 16 & 63).unwrap())
    });
    let long = long.collect::<String>();
    let values = [
        [Value::Int(1), Value::Int(1), Value::Text("short")],
        [Value::Int(2), Value::Int(2), Value::Text(&long)],
    ];
    let changes = values.each_ref().map(|values| Does::Upsert(values));

    let applied = place.target.apply(&batch(&place.claimed, &place.shape, &changes)).await.unwrap();

    let Applied::Refused { rows } = applied else { panic!("{applied:?}") };
    assert_eq!((rows.len(), rows[0].offset, rows[0].fault.sqlstate.as_str()), (1, 1, "54000"));
}
