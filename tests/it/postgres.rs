//! PostgreSQL as a target: rows, dead letters, schema changes, rights.

use std::sync::Arc;

use afterimage::amend::{Ends, Standing, Wish};
use afterimage::batch::{KeyMark, SchemaChange};
use afterimage::checkpoint::NextOffset;
use afterimage::decode::value::Value;
use afterimage::decode::value::kind::Kind;
use afterimage::identity::TopicIdentity;
use afterimage::kafka::log::Watermarks;
use afterimage::record::TopicPartition;
use afterimage::refused::Reason;
use afterimage::rows::Deletes;
use afterimage::stopped::StopReason;
use afterimage::target::inspect::{Deed, Inspect};
use afterimage::target::postgres::Postgres;
use afterimage::target::{Applied, Disposition, RefusedRow, Target, TargetError};
use uuid::Uuid;

use crate::postgres_support::{Does, One as _, World, batch, claim, creation, shape};

const COMMITTED: Applied = Applied::Committed { refused: Vec::new(), older: 0 };

fn partition(number: i32) -> TopicPartition {
    TopicPartition::new("topic", number)
}

fn text(rows: &[Vec<Option<String>>]) -> String {
    let cell = |cell: &Option<String>| cell.clone().unwrap_or_else(|| "null".to_owned());
    let row = |row: &Vec<Option<String>>| row.iter().map(cell).collect::<Vec<_>>().join("|");
    rows.iter().map(row).collect::<Vec<_>>().join(" ")
}

const COLUMNS: [(&str, Kind); 3] = [("id", Kind::Int64), ("note", Kind::Text), ("n", Kind::Int32)];

fn row<'a>(id: i64, note: &'a str, n: i64) -> [Value<'a>; 3] {
    [Value::Int(id), Value::Text(note), Value::Int(n)]
}

#[tokio::test]
async fn rows_and_checkpoint_move_together() {
    let world = World::new().await;
    let mut target = world.target();
    let table = world.table("t", &COLUMNS, &["id"]);
    let shape = shape(&table, &["id"], Deletes::Hard);
    let mut claimed = claim(&mut target, &[partition(0)]).await.remove(0);
    let rows = |order: &str| format!("SELECT id, note, n FROM {}.t ORDER BY {order}", world.schema);

    let upserts = [row(2, "b", 2), row(1, "a", 1), row(3, "c", 3)];
    let changes = [&upserts[0], &upserts[1], &upserts[2]].map(|values| Does::Upsert(values));
    let mut first = batch(&claimed, &shape, &changes);
    first.schema_changes.push(creation(&table));
    assert_eq!(target.apply(&first).await.unwrap(), COMMITTED);
    assert_eq!(text(&world.sql(&rows("id")).await), "1|a|1 2|b|2 3|c|3");
    assert_eq!(target.table(&table.name).await.unwrap(), Some(table.clone()));

    claimed.next = first.steps[0].to;
    let update = [Value::Int(1), Value::Unavailable, Value::Int(11)];
    let missing = [Value::Int(9), Value::Unavailable, Value::Int(9)];
    let missing_too = [Value::Int(9), Value::Unavailable, Value::Null];
    let (replaced, null) = (row(3, "C", 33), [Value::Int(4), Value::Null, Value::Null]);
    let changes = [
        Does::Upsert(&update),
        Does::Upsert(&missing),
        Does::Upsert(&missing_too),
        Does::Delete(&[Value::Int(2)]),
        Does::Upsert(&replaced),
        Does::Upsert(&null),
    ];
    let second = batch(&claimed, &shape, &changes);
    let Applied::Committed { refused, .. } = target.apply(&second).await.unwrap() else { panic!() };
    assert!(refused.iter().all(|it| it.refusal.reason == Reason::UnavailableWithoutRow));
    assert_eq!(refused.iter().map(|it| it.record.offset).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(text(&world.sql(&rows("id")).await), "1|a|11 3|C|33 4|null|null");

    let letters = "SELECT record_offset, table_name, key, value, headers, reason, state, \
                   first_seen = last_seen FROM afterimage.dead_letter WHERE sink = ";
    let letter = format!(
        "|{}|\\x6b6579|\\x76616c7565|[[\"h\", null]]|unavailable_without_row|open|t",
        table.name
    );
    assert_eq!(
        text(&world.sql(&format!("{letters}'{}' ORDER BY 1", world.sink.name)).await),
        format!("4{letter} 5{letter}")
    );
    let counts = target.dead_letter_counts().await.unwrap();
    assert_eq!(counts, [(partition(0), 2)]);
    let (_, found) = target.checkpoints().await.unwrap().remove(0);
    assert_eq!((found.next.get(), found.epoch), (9, 1));
    assert_eq!(found.state.as_deref(), Some("running"));
    assert_eq!(found.source_position.as_deref(), Some("7"));
}

#[tokio::test]
async fn f04_a_batch_applied_twice_counts_once() {
    let world = World::new().await;
    let mut target = world.target();
    let table = world.table("t", &COLUMNS, &[]);
    let shape = shape(&table, &[], Deletes::Hard);
    let claimed = claim(&mut target, &[partition(0)]).await.remove(0);

    let values = row(1, "a", 1);
    let mut batch = batch(&claimed, &shape, &[Does::Upsert(&values)]);
    batch.schema_changes.push(creation(&table));

    assert_eq!(target.apply(&batch).await.unwrap(), COMMITTED);
    assert_eq!(target.apply(&batch).await.unwrap(), COMMITTED);
    let count = format!("SELECT count(*) FROM {}.t", world.schema);
    assert_eq!(text(&world.sql(&count).await), "1");
}

#[tokio::test]
async fn a_soft_delete_marks_and_an_upsert_clears() {
    let world = World::new().await;
    let mut target = world.target();
    let mut table = world.table("t", &COLUMNS, &["id"]);
    table.columns.push((Postgres::DIALECT.time_column)("deleted_at", false));
    let shape = shape(&table, &["id"], Deletes::Soft("deleted_at".to_owned()));
    let mut claimed = claim(&mut target, &[partition(0)]).await.remove(0);
    let marks = format!("SELECT id, deleted_at = synced_at FROM {}.t ORDER BY id", world.schema);

    let upserts = [row(1, "a", 1), row(2, "b", 2)];
    let changes = [Does::Upsert(&upserts[0]), Does::Upsert(&upserts[1])];
    let mut first = batch(&claimed, &shape, &changes);
    first.schema_changes.push(creation(&table));
    target.apply(&first).await.unwrap();
    claimed.next = first.steps[0].to;
    let second = batch(&claimed, &shape, &[Does::Delete(&[Value::Int(1)])]);
    target.apply(&second).await.unwrap();
    assert_eq!(text(&world.sql(&marks).await), "1|t 2|null");

    claimed.next = second.steps[0].to;
    let partial = [Value::Int(1), Value::Unavailable, Value::Int(1)];
    let third = batch(&claimed, &shape, &[Does::Upsert(&partial)]);
    let Applied::Committed { refused, .. } = target.apply(&third).await.unwrap() else { panic!() };
    assert_eq!(refused.len(), 1, "a row that is marked deleted has no values to keep");

    claimed.next = third.steps[0].to;
    let fourth = batch(&claimed, &shape, &[Does::Truncate, Does::Upsert(&upserts[0])]);
    target.apply(&fourth).await.unwrap();
    assert_eq!(text(&world.sql(&marks).await), "1|null 2|t");
}

#[tokio::test]
async fn a_truncate_comes_before_the_rows_behind_it() {
    let world = World::new().await;
    let mut target = world.target();
    let table = world.table("t", &COLUMNS, &["id", "note"]);
    let shape = shape(&table, &["note", "id"], Deletes::Hard);
    let mut claimed = claim(&mut target, &[partition(0)]).await.remove(0);
    let upserts = [row(1, "a", 1), row(2, "b", 2), row(3, "c", 3)];

    let changes = [Does::Upsert(&upserts[0]), Does::Upsert(&upserts[1])];
    let mut first = batch(&claimed, &shape, &changes);
    first.schema_changes.push(creation(&table));
    target.apply(&first).await.unwrap();
    claimed.next = first.steps[0].to;
    let second = batch(&claimed, &shape, &[Does::Truncate, Does::Upsert(&upserts[2])]);
    target.apply(&second).await.unwrap();

    let rows = format!("SELECT id FROM {}.t", world.schema);
    assert_eq!(text(&world.sql(&rows).await), "3");

    // A foreign key forbids TRUNCATE, and a composite key is deleted column by column.
    let child =
        format!("{0}.c (r bigint, s text, FOREIGN KEY (r, s) REFERENCES {0}.t)", world.schema);
    world.sql(&format!("CREATE TABLE {child}")).await;
    claimed.next = second.steps[0].to;
    let third = batch(&claimed, &shape, &[Does::Truncate, Does::Upsert(&upserts[0])]);
    assert_eq!(target.apply(&third).await.unwrap(), COMMITTED);
    claimed.next = third.steps[0].to;
    let key = [Value::Text("a"), Value::Int(1)];
    target.apply(&batch(&claimed, &shape, &[Does::Delete(&key)])).await.unwrap();
    assert_eq!(text(&world.sql(&rows).await), "");
}

#[tokio::test]
async fn f51_a_layout_changed_by_hand_is_noticed_before_a_row_is_written() {
    let world = World::new().await;
    let mut target = world.target();
    let table = world.table("t", &COLUMNS, &["id"]);
    let shape = shape(&table, &["id"], Deletes::Hard);
    let mut claimed = claim(&mut target, &[partition(0)]).await.remove(0);
    let values = row(1, "a", 1);
    let mut first = batch(&claimed, &shape, &[Does::Upsert(&values)]);
    first.schema_changes.push(creation(&table));
    target.apply(&first).await.unwrap();
    claimed.next = first.steps[0].to;
    let second = batch(&claimed, &shape, &[Does::Upsert(&values)]);

    for change in ["ALTER COLUMN n TYPE real", "DROP COLUMN n", "RENAME TO u"] {
        world.sql(&format!("ALTER TABLE {}.t {change}", world.schema)).await;
        let error = target.apply(&second).await.unwrap_err();
        let is_last = change.starts_with("RENAME");
        assert_eq!(is_last, matches!(error, TargetError::Statement(_)), "{error}");
        assert_eq!(!is_last, matches!(error, TargetError::StaleLayout { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_change_that_another_member_made_is_skipped() {
    let world = World::new().await;
    let (mut target, mut other) = (world.target(), world.target());
    let table = world.table("t", &COLUMNS, &["id"]);
    let claimed = claim(&mut target, &[partition(0), partition(1)]).await;
    let shape_of = |table| shape(table, &["id"], Deletes::Hard);
    let values = row(1, "a", 1);
    let mut created = batch(&claimed[0], &shape_of(&table), &[Does::Upsert(&values)]);
    created.schema_changes.push(creation(&table));
    let mut same = batch(&claimed[1], &shape_of(&table), &[Does::Upsert(&values)]);
    same.schema_changes.push(creation(&table));
    let (first, second) = tokio::join!(target.apply(&created), other.apply(&same));
    assert_eq!((first.unwrap(), second.unwrap()), (COMMITTED, COMMITTED));

    let mut wider = world.table("t", &[COLUMNS.as_slice(), &[("x", Kind::Json)]].concat(), &["id"]);
    wider.columns.swap(3, 4);
    let added = (Postgres::DIALECT.add_column)(&table.name, &wider.columns[4]);
    let change = SchemaChange {
        labels: Vec::new(),
        before: Some(table.clone()),
        after: Arc::new(wider.clone()),
        statements: vec![added],
    };
    let mut claimed = claimed[0].clone();
    claimed.next = created.steps[0].to;
    let values = [&values[..], &[Value::Json("{}")]].concat();
    let mut widened = batch(&claimed, &shape_of(&wider), &[Does::Upsert(&values)]);
    widened.schema_changes.push(change);
    assert_eq!(target.apply(&widened).await.unwrap(), COMMITTED);
    assert_eq!(target.table(&wider.name).await.unwrap(), Some(wider));

    world.sql(&format!("ALTER TABLE {}.t ADD COLUMN y int", world.schema)).await;
    claimed.next = widened.steps[0].to;
    let mut planned_before = batch(&claimed, &widened.tables[0].0.shape().clone(), &[]);
    planned_before.schema_changes = widened.schema_changes;
    let error = target.apply(&planned_before).await.unwrap_err();
    assert!(matches!(error, TargetError::StaleLayout { .. }), "{error}");
}

#[tokio::test]
async fn a_refused_row_is_told_without_its_values() {
    let world = World::new().await;
    let mut target = world.target();
    let (secret, schema) = ("my secret", world.schema.as_str());
    world
        .sql(&format!(
            "CREATE SCHEMA {schema} AUTHORIZATION writer; SET ROLE writer; \
             CREATE TABLE {schema}.t (id bigint PRIMARY KEY, note text, n int CHECK (n > 0), \
             synced_at timestamptz, UNIQUE (note) DEFERRABLE INITIALLY DEFERRED)"
        ))
        .await;
    let table = target.table(&world.name("t")).await.unwrap().unwrap();
    assert_eq!(table.unique_keys, [["id"]], "a deferrable key cannot be named by ON CONFLICT");
    let shape = shape(&table, &["id"], Deletes::Hard);
    let claimed = claim(&mut target, &[partition(0)]).await.remove(0);

    for (values, at, state) in [
        ([row(1, secret, -5), row(2, "b", 1)], 0, "23514"),
        ([row(1, secret, 5), row(2, secret, 1)], 1, "23505"),
    ] {
        let changes = [Does::Upsert(&values[0]), Does::Upsert(&values[1])];
        let applied = target.apply(&batch(&claimed, &shape, &changes)).await.unwrap();
        let Applied::Refused { rows } = applied else { panic!("{applied:?}") };
        let [RefusedRow { partition: of, offset, fault }] = rows.as_slice() else { panic!() };
        assert_eq!((of, *offset), (&partition(0), at));
        assert_eq!(
            (fault.table.as_ref(), fault.sqlstate.as_str()),
            (Some(&table.name.to_string()), state)
        );
        assert!(!format!("{fault} {fault:?}").contains(secret), "{fault:?}");
        assert!(fault.to_string().contains("constraint"), "{fault}");
    }
    assert_eq!(text(&world.sql(&format!("SELECT count(*) FROM {schema}.t")).await), "0");
}

#[tokio::test]
async fn keys_that_the_database_finds_equal_go_one_by_one() {
    let world = World::new().await;
    let mut target = world.target();
    let schema = world.schema.as_str();
    world
        .sql(&format!(
            "CREATE SCHEMA {schema} AUTHORIZATION writer; \
             CREATE COLLATION {schema}.c (provider = icu, locale = 'und-u-ks-level2', \
             deterministic = false); \
             CREATE TABLE {schema}.t (k text COLLATE {schema}.c PRIMARY KEY, n int); \
             ALTER TABLE {schema}.t OWNER TO writer"
        ))
        .await;
    let table = target.table(&world.name("t")).await.unwrap().unwrap();
    let shape = shape(&table, &["k"], Deletes::Hard);
    let claimed = claim(&mut target, &[partition(0)]).await.remove(0);
    let values = [("b", 1), ("A", 2), ("a", 3), ("B", 4)];
    let values = values.map(|(key, n)| [Value::Text(key), Value::Int(n)]);
    let changes = values.iter().map(|values| Does::Upsert(values)).collect::<Vec<_>>();

    assert_eq!(target.apply(&batch(&claimed, &shape, &changes)).await.unwrap(), COMMITTED);
    let rows = format!("SELECT k, n FROM {schema}.t ORDER BY n");
    assert_eq!(text(&world.sql(&rows).await), "A|3 b|4");
}

#[tokio::test]
async fn keys_with_a_refused_image_are_known_to_the_next_owner() {
    let world = World::new().await;
    let mut target = world.target();
    let table = world.table("t", &COLUMNS, &["id"]);
    let shape = shape(&table, &["id"], Deletes::Hard);
    let mut claimed = claim(&mut target, &[partition(0)]).await.remove(0);
    let mark = |key: &[u8], is_refused| KeyMark {
        partition: partition(0),
        key: key.to_vec(),
        is_refused,
        offset: 0,
    };
    let long = vec![7; 100_000];
    let values = row(1, "a", 1);
    let mut first = batch(&claimed, &shape, &[Does::Upsert(&values)]);
    first.schema_changes.push(creation(&table));
    first.key_marks =
        vec![mark(b"a", true), mark(&long, true), mark(b"b", true), mark(b"b", false)];
    target.apply(&first).await.unwrap();
    let next = target.claim(&[partition(0)], Uuid::new_v4(), false).await.unwrap().claimed;
    claimed = next[0].clone();
    claimed.refused_keys.sort();
    assert_eq!(claimed.refused_keys, [long.clone(), b"a".to_vec()]);

    let mut second = batch(&claimed, &shape, &[Does::Upsert(&values)]);
    second.key_marks = vec![mark(b"a", false)];
    target.apply(&second).await.unwrap();
    let next = target.claim(&[partition(0)], Uuid::new_v4(), false).await.unwrap().claimed;
    assert_eq!(next[0].refused_keys, [long]);
}

#[tokio::test]
async fn a_trigger_that_touches_a_row_twice_stops_the_table() {
    let world = World::new().await;
    let mut target = world.target();
    let schema = world.schema.as_str();
    let table = world.table("t", &COLUMNS, &["id"]);
    let shape = shape(&table, &["id"], Deletes::Hard);
    let mut claimed = claim(&mut target, &[partition(0)]).await.remove(0);
    let values = row(1, "a", 1);
    let mut first = batch(&claimed, &shape, &[Does::Upsert(&values)]);
    first.schema_changes.push(creation(&table));
    assert_eq!(target.apply(&first).await.unwrap(), COMMITTED);
    claimed.next = first.steps[0].to;
    world
        .sql(&format!(
            "CREATE TABLE {schema}.log (id bigint PRIMARY KEY, n int); \
             CREATE FUNCTION {schema}.log() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ \
             BEGIN INSERT INTO {schema}.log VALUES (NEW.id, 1), (NEW.id, 2) \
             ON CONFLICT (id) DO UPDATE SET n = EXCLUDED.n; RETURN NEW; END $$; \
             CREATE TRIGGER log AFTER UPDATE ON {schema}.t \
             FOR EACH ROW EXECUTE FUNCTION {schema}.log()"
        ))
        .await;

    let values = row(1, "b", 2);
    let second = batch(&claimed, &shape, &[Does::Upsert(&values)]);
    let error = target.apply(&second).await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Stop(StopReason::TargetRefused));
    let TargetError::Statement(why) = error else { panic!("{error}") };
    let named = format!("a trigger of table \"{}\" touches more than one row", table.name);
    assert_eq!(why.to_string(), named);
    let rows = format!("SELECT id, note, n FROM {schema}.t");
    assert_eq!(text(&world.sql(&rows).await), "1|a|1");

    world.sql(&format!("DROP TRIGGER log ON {schema}.t")).await;
    assert_eq!(target.apply(&second).await.unwrap(), COMMITTED);
}

#[tokio::test]
async fn a_writer_without_rights_to_create_needs_none() {
    let world = World::alone("postgres").await;
    let schema = world.schema.as_str();
    world.sql(&(Postgres::DIALECT.bootstrap)().join(";\n")).await;
    world
        .sql(&format!(
            "GRANT USAGE ON SCHEMA afterimage TO writer; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA afterimage TO writer; \
             CREATE SCHEMA {schema}; GRANT USAGE ON SCHEMA {schema} TO writer; \
             CREATE TABLE {schema}.t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
             note text, n int, twice int GENERATED ALWAYS AS (n * 2) STORED); \
             GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.t TO writer"
        ))
        .await;
    let mut target = world.target();
    let claimed = claim(&mut target, &[partition(0)]).await.remove(0);
    let mut table = target.table(&world.name("t")).await.unwrap().unwrap();
    assert!(table.columns.pop().unwrap().generated);
    let shape = shape(&table, &["id"], Deletes::Hard);
    let values = row(7, "a", 1);
    let changes = [Does::Truncate, Does::Upsert(&values)];
    assert_eq!(target.apply(&batch(&claimed, &shape, &changes)).await.unwrap(), COMMITTED);
    let rows = format!("SELECT * FROM {schema}.t");
    assert_eq!(text(&world.sql(&rows).await), "7|a|1|2");

    let created = world.table("u", &COLUMNS, &["id"]);
    let mut refused = batch(&claimed, &shape, &[]);
    refused.schema_changes.push(creation(&created));
    let error = target.apply(&refused).await.unwrap_err();
    assert!(matches!(error, TargetError::Denied(_)), "{error}");
}

#[tokio::test]
async fn an_operator_sees_tables_rows_and_deeds() {
    let world = World::alone("writer").await;
    let mut target = world.target();
    assert_eq!(target.checkpoints().await.unwrap(), []);
    assert_eq!(target.dead_letter_counts().await.unwrap(), []);
    let table = world.table("t", &COLUMNS, &["id"]);
    let shape = shape(&table, &["id"], Deletes::Hard);
    let claimed = claim(&mut target, &[partition(0)]).await.remove(0);
    let (values, null) = (row(1, "a", 1), [Value::Int(2), Value::Null, Value::Null]);
    let changes = [Does::Upsert(&values), Does::Upsert(&null)];
    let mut batch = batch(&claimed, &shape, &changes);
    batch.schema_changes.push(creation(&table));
    target.apply(&batch).await.unwrap();

    let tables = target.replicated_tables("synced_at").await.unwrap();
    assert_eq!((&tables[0].name, tables[0].row_count, tables[0].is_exact), (&table.name, 2, true));
    assert!(tables[0].newest.is_some());
    let newest = target.newest(&table.name, "synced_at", 10).await.unwrap().unwrap();
    assert_eq!(newest.columns, ["id", "note", "n", "synced_at"]);
    let null = newest.rows.iter().find(|row| row[0].as_deref() == Some("2")).unwrap();
    assert_eq!((null[1].clone(), null[2].clone(), null[3].is_some()), (None, None, true));
    assert_eq!(target.newest(&world.name("none"), "synced_at", 10).await.unwrap(), None);

    let deed = Deed { actor: "me", command: "checkpoint adopt", reason: "a move" };
    let (low, high) = (NextOffset::at(0), NextOffset::at(9));
    let topic = TopicIdentity { id: None, partition_count: 2 };
    let ends = Ends { range: Watermarks { low, high }, topic };
    let decide = |at: &TopicPartition, row: Option<&Standing>| {
        Wish::Adopt(NextOffset::at(5)).decide(at, row, ends)
    };
    let both = [partition(0), partition(1)];
    let amended = target.amend(&both, &decide, deed).await.unwrap();
    assert_eq!((amended.made.len(), amended.left.len()), (1, 1), "{amended:?}");
    let audit = "SELECT actor, command, topic, \"partition\", before_offset, after_offset, reason \
                 FROM afterimage.audit";
    let kept = "me|checkpoint adopt|topic|1|null|5|a move";
    assert_eq!(text(&world.sql(audit).await), kept);
    let found = target.checkpoints().await.unwrap();
    let found = found.iter().map(|(partition, row)| (partition.partition, row.next.get()));
    assert_eq!(found.collect::<Vec<_>>(), [(0, 2), (1, 5)]);
}
