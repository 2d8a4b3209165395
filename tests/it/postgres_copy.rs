//! PostgreSQL as a target: new rows go by COPY, and by another way where that cannot be.

use std::sync::Arc;

use afterimage::decode::value::Value;
use afterimage::decode::value::kind::Kind;
use afterimage::record::TopicPartition;
use afterimage::rows::{Deletes, Shape};
use afterimage::target::postgres::Postgres;
use afterimage::target::{Applied, Claimed, Target, TargetError};

use crate::postgres_support::{Does, NEW_ROWS, World, batch, claim, creation, saying, shape};

const COLUMNS: [(&str, Kind); 2] = [("id", Kind::Int64), ("note", Kind::Text)];

/// A table whose statements are logged, and batches for it.
struct Table {
    world: World,
    target: Postgres,
    shape: Arc<Shape>,
    claimed: Claimed,
}

impl Table {
    async fn new(key: &[&str]) -> Self {
        let world = World::new().await;
        let mut target = world.target();
        let table = world.table("t", &COLUMNS, key);
        let shape = shape(&table, key, Deletes::Hard);
        let topic = [TopicPartition::new("topic", 0)];
        let mut claimed = claim(&mut target, &topic).await.remove(0);
        let mut first = batch(&claimed, &shape, &[Does::Upsert(&row(0))]);
        first.schema_changes.push(creation(&table));
        target.apply(&first).await.unwrap();
        claimed.next = first.steps.first().unwrap().to;
        let schema = &world.schema;
        world
            .sql(&format!(
                "{}; CREATE TRIGGER say AFTER INSERT ON {schema}.t EXECUTE FUNCTION {schema}.say()",
                saying(schema)
            ))
            .await;
        Self { world, target, shape, claimed }
    }

    /// Applies changes, and returns how the rows of the transaction that committed went in.
    async fn apply(&mut self, changes: &[Does<'_>]) -> String {
        let schema = &self.world.schema;
        self.world.sql(&format!("TRUNCATE {schema}.said")).await;
        let rows = batch(&self.claimed, &self.shape, changes);
        let applied = self.target.apply(&rows).await.unwrap();
        assert_eq!(applied, Applied::Committed { refused: Vec::new(), older: 0 });
        self.claimed.next = rows.steps.first().unwrap().to;
        self.text(&format!("SELECT string_agg(statement, ' ' ORDER BY n) FROM {schema}.said")).await
    }

    async fn text(&self, query: &str) -> String {
        self.world.sql(query).await.remove(0).remove(0).unwrap_or_default()
    }

    /// Counts the rows, those whose note is this, and when they were written.
    async fn count(&self, note: &str) -> String {
        let query = format!(
            "SELECT concat_ws(' ', count(*), count(*) FILTER (WHERE note = '{note}'), \
                 count(*) FILTER (WHERE synced_at BETWEEN now() - interval '1 min' AND now())) \
             FROM {}.t",
            self.world.schema
        );
        self.text(&query).await
    }
}

fn row(id: i64) -> [Value<'static>; 2] {
    [Value::Int(id), Value::Text("new")]
}

fn rows(from: i64) -> Vec<[Value<'static>; 2]> {
    (from..).take(NEW_ROWS).map(row).collect()
}

fn inserts<'a>(rows: &'a [[Value<'a>; 2]]) -> Vec<Does<'a>> {
    rows.iter().map(|row| Does::Insert(row)).collect()
}

#[tokio::test]
async fn new_rows_are_copied() {
    let mut table = Table::new(&["id"]).await;
    let new = rows(1);
    assert_eq!(table.apply(&inserts(&new)).await, "COPY");
    assert_eq!(table.count("new").await, "201 201 201");

    let few = rows(201);
    assert_eq!(table.apply(&inserts(&few[1..])).await, "INSERT", "as few as do not repay it");

    // Beside others, and changed in the batch that brings them: one goes, one stays as it becomes.
    let (new, old) = (rows(1000), [Value::Int(0), Value::Text("changed")]);
    let changed = [Value::Int(1000), Value::Text("changed")];
    let mut changes = inserts(&new);
    let more = [Value::Int(2000), Value::Null];
    changes.extend([Does::Upsert(&old), Does::Upsert(&changed), Does::Insert(&more)]);
    changes.push(Does::Delete(&[Value::Int(1001)]));
    assert_eq!(table.apply(&changes).await, "COPY INSERT");
    assert_eq!(table.count("changed").await, "600 2 600");
}

#[tokio::test]
async fn rows_that_are_there_go_over_them_and_are_not_copied_for_a_while() {
    let mut table = Table::new(&["id"]).await;
    let again = rows(0);
    assert_eq!(table.apply(&inserts(&again)).await, "INSERT", "row 0 is there");
    assert_eq!(table.count("new").await, "200 200 200");
    for (from, way) in [(1000, "INSERT"), (2000, "COPY"), (3000, "COPY")] {
        let new = rows(from);
        assert_eq!(table.apply(&inserts(&new)).await, way, "{from}");
    }
    let mut ways = Vec::new();
    for _ in 0..8 {
        ways.push(table.apply(&inserts(&again)).await);
    }
    assert_eq!(ways.concat(), "INSERT".repeat(8));
    assert_eq!(table.count("new").await, "800 800 800");
}

#[tokio::test]
async fn rows_without_a_key_are_copied_unless_a_rule_is_to_see_them() {
    let mut table = Table::new(&[]).await;
    let new = rows(1);
    assert_eq!(table.apply(&inserts(&new)).await, "COPY");
    let schema = table.world.schema.clone();
    table
        .world
        .sql(&format!(
            "CREATE TABLE {schema}.seen (id bigint); GRANT ALL ON {schema}.seen TO writer; \
             CREATE RULE r AS ON INSERT TO {schema}.t DO ALSO \
             INSERT INTO {schema}.seen VALUES (new.id)"
        ))
        .await;
    assert_eq!(table.apply(&inserts(&new)).await, "INSERT");
    assert_eq!(table.text(&format!("SELECT count(*)::text FROM {schema}.seen")).await, "200");
    assert_eq!(table.count("new").await, "401 401 401");
}

#[tokio::test]
async fn a_refused_row_is_found_among_new_ones() {
    let mut table = Table::new(&["id"]).await;
    let schema = table.world.schema.clone();
    table.world.sql(&format!("ALTER TABLE {schema}.t ADD CHECK (id <> 77)")).await;
    let new = rows(1);
    let rows = batch(&table.claimed, &table.shape, &inserts(&new));
    let Applied::Refused { rows } = table.target.apply(&rows).await.unwrap() else { panic!() };
    assert_eq!(rows.iter().map(|row| row.offset).collect::<Vec<_>>(), [77]);
    assert_eq!(table.count("new").await, "1 1 1", "nothing was applied");
}

#[tokio::test]
async fn a_table_that_has_lost_its_unique_key_gets_no_row_twice() {
    let mut table = Table::new(&["id"]).await;
    let schema = table.world.schema.clone();
    table.world.sql(&format!("ALTER TABLE {schema}.t DROP CONSTRAINT t_pkey")).await;
    let again = rows(0);
    let rows = batch(&table.claimed, &table.shape, &inserts(&again));
    let error = table.target.apply(&rows).await.unwrap_err();
    assert!(matches!(error, TargetError::StaleLayout { .. }), "{error:?}");
    assert_eq!(table.count("new").await, "1 1 1");

    // An index of other columns keeps no key from coming twice; one of the same does.
    let alter = format!("ALTER TABLE {schema}.t ADD UNIQUE (id, note), ADD UNIQUE (id)");
    table.world.sql(&alter).await;
    let new = self::rows(1);
    assert_eq!(table.apply(&inserts(&new)).await, "COPY");
    table.world.sql(&format!("ALTER TABLE {schema}.t DROP CONSTRAINT t_id_key")).await;
    let rows = batch(&table.claimed, &table.shape, &inserts(&new));
    assert!(table.target.apply(&rows).await.is_err());
    assert_eq!(table.count("new").await, "201 201 201");
}

#[tokio::test]
async fn a_trigger_that_tells_of_each_row_holds_no_copy_up() {
    let mut table = Table::new(&["id"]).await;
    let schema = table.world.schema.clone();
    table
        .world
        .sql(&format!(
            "CREATE FUNCTION {schema}.tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
               RAISE WARNING '%', repeat('x', 100000); RETURN NEW; END $$; \
             CREATE TRIGGER tell BEFORE INSERT ON {schema}.t FOR EACH ROW \
               EXECUTE FUNCTION {schema}.tell()"
        ))
        .await;
    let new = rows(1);
    assert_eq!(table.apply(&inserts(&new)).await, "COPY");
    assert_eq!(table.count("new").await, "201 201 201");
}

#[tokio::test]
async fn a_time_of_writing_of_another_type_is_not_copied_and_an_identity_is() {
    let mut table = Table::new(&["id"]).await;
    let schema = table.world.schema.clone();
    let identity = "ALTER id ADD GENERATED ALWAYS AS IDENTITY";
    table.world.sql(&format!("ALTER TABLE {schema}.t {identity}")).await;
    let new = rows(1);
    assert_eq!(table.apply(&inserts(&new)).await, "COPY");
    let query = format!("SELECT concat_ws(' ', min(id), max(id)) FROM {schema}.t");
    assert_eq!(table.text(&query).await, "0 200");

    let other = "DROP synced_at, ADD synced_at timetz NOT NULL DEFAULT now()";
    table.world.sql(&format!("ALTER TABLE {schema}.t {other}")).await;
    let new = rows(1000);
    assert_eq!(table.apply(&inserts(&new)).await, "INSERT");
}
