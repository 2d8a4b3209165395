//! PostgreSQL as a target: what a database says for all its sessions, and names that a statement spells.

use afterimage::decode::value::Value;
use afterimage::record::TopicPartition;
use afterimage::rows::Deletes;
use afterimage::target::{Applied, Target};

use crate::postgres_support::{Does, NEW_ROWS, One as _, World, batch, claim, shape};

#[tokio::test]
async fn a_batch_is_applied_whatever_is_set_and_however_things_are_called() {
    let mut world = World::alone("writer").await;
    let odd = r#"it's \ "so" {,} "#;
    let sink = &mut world.sink;
    for name in [&mut sink.name, &mut sink.cluster_id, &mut sink.group_id] {
        odd.clone_into(name);
    }
    let schema = world.schema.clone();
    world
        .sql(&format!(
            "DO $$ BEGIN \
               EXECUTE format('ALTER DATABASE %I SET bytea_output = escape', current_database()); \
               EXECUTE format('ALTER DATABASE %I SET standard_conforming_strings = off', \
                 current_database()); \
               EXECUTE format('ALTER DATABASE %I SET jit = on', current_database()); \
             END $$; \
             CREATE FUNCTION public.lenient(text) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'; \
             CREATE CAST (text AS bigint) WITH FUNCTION public.lenient(text); \
             CREATE SCHEMA {schema} AUTHORIZATION writer; \
             CREATE TYPE {schema}.mood AS ENUM ('none', 'null', 'a\"b', ''); \
             CREATE TABLE {schema}.\"it's \"\"a\\b\" (\
               id bigint PRIMARY KEY, mood {schema}.mood, synced_at timestamptz, \
               CHECK (current_setting('jit') = 'off')); \
             ALTER TABLE {schema}.\"it's \"\"a\\b\" OWNER TO writer"
        ))
        .await;
    let name = world.name(r#"it's "a\b"#);
    let mut target = world.target();
    let mut claimed = claim(&mut target, &[TopicPartition::new("topic", 0)]).await.remove(0);
    let table = target.table(&name).await.unwrap().unwrap();
    let labels = &table.column("mood").unwrap().enumeration.as_ref().unwrap().labels;
    assert_eq!(*labels, ["none", "null", "a\"b", ""]);

    let copied = shape(&table, &["id"], Deletes::Hard);
    let rows = (0..).map(|id| [Value::Int(id), Value::Text("none")]);
    let rows = rows.take(NEW_ROWS).collect::<Vec<_>>();
    let changes = rows.iter().map(|row| Does::Insert(row)).collect::<Vec<_>>();
    let first = batch(&claimed, &copied, &changes);
    let committed = Applied::Committed { refused: Vec::new(), older: 0 };
    assert_eq!(target.apply(&first).await.unwrap(), committed);
    claimed.next = first.steps.first().unwrap().to;
    // For what travels as an array sqlx looks at the column's type.
    world.sql(&format!("ALTER TYPE {schema}.mood RENAME VALUE 'none' TO 'NULL'")).await;
    let table = target.table(&name).await.unwrap().unwrap();
    let labels = &table.column("mood").unwrap().enumeration.as_ref().unwrap().labels;
    assert_eq!(*labels, ["NULL", "null", "a\"b", ""]);
    let changed = shape(&table, &["id"], Deletes::Hard);
    let row = [Value::Int(1), Value::Text("NULL")];
    let changes = [Does::Upsert(&row), Does::Delete(&[Value::Int(0)])];
    let mut second = batch(&claimed, &changed, &changes);
    let last = second.steps.first_mut().unwrap().last.as_mut().unwrap();
    last.deleted_key = Some(b"k\"\\'\xff".to_vec());
    assert_eq!(target.apply(&second).await.unwrap(), committed);

    // Whoever has it by now stands behind the first.
    let mut other = world.target();
    let claimed = claim(&mut other, &[TopicPartition::new("topic", 0)]).await.remove(0);
    assert_eq!(claimed.next.get(), i64::try_from(NEW_ROWS).unwrap() + 2);
    assert_eq!(claimed.deleted.unwrap().key, b"k\"\\'\xff");
    let fenced = Applied::Fenced { partitions: vec![claimed.partition] };
    assert_eq!(target.apply(&second).await.unwrap(), fenced);
    let count = format!("SELECT count(*), max(mood::text) FROM {schema}.\"it's \"\"a\\b\"");
    let expected = [Some((NEW_ROWS - 1).to_string()), Some("NULL".to_owned())];
    assert_eq!(world.sql(&count).await, [expected]);
}
