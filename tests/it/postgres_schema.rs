//! PostgreSQL's catalogue after each change of a table: it must be what was planned, to the letter,
//! because the rows behind the change are encoded for the plan.

use std::sync::Arc;

use afterimage::batch::SchemaChange;
use afterimage::decode::value::kind::{Kind, SourceColumn, SourceType, Unit};
use afterimage::decode::value::{Decimal, Value};
use afterimage::record::TopicPartition;
use afterimage::rows::Deletes;
use afterimage::stopped::StopReason;
use afterimage::table::{Column, Table};
use afterimage::target::postgres::Postgres;
use afterimage::target::{Applied, Dialect, Disposition, Target, TargetError};

use crate::postgres_support::{Does, One as _, World, batch, claim, creation, shape};

const DIALECT: Dialect = Postgres::DIALECT;

fn source(kind: Kind, varchar: Option<u32>) -> SourceColumn {
    let source_type = varchar.map(|length| SourceType {
        name: "VARCHAR".to_owned(),
        length: Some(length),
        scale: None,
    });
    SourceColumn { name: "c".to_owned(), kind, optional: true, source_type }
}

fn table_of(world: &World, name: &str, columns: Vec<Column>) -> Table {
    Table { name: world.name(name), columns, unique_keys: Vec::new() }
}

#[tokio::test]
async fn a_widened_column_is_as_it_was_planned_and_keeps_its_values() {
    let world = World::new().await;
    let mut target = world.target();
    let decimal = |precision, scale| Kind::Decimal { scale, precision: Some(precision) };
    let cases = [
        ("smallint", "-32768", source(Kind::Int32, None), "integer -32768"),
        ("integer", "2147483647", source(Kind::Int64, None), "bigint 2147483647"),
        (
            "bigint",
            "-9223372036854775808",
            source(decimal(25, 2), None),
            "numeric(25,2) -9223372036854775808.00",
        ),
        (
            "numeric(10,2)",
            "12345678.25",
            source(decimal(10, 4), None),
            "numeric(12,4) 12345678.2500",
        ),
        ("numeric(10,2)", "1.10", source(Kind::VariableScaleDecimal, None), "numeric 1.10"),
        ("integer", "2147483647", source(Kind::Float32, None), "double precision 2147483647"),
        ("real", "0.5", source(Kind::Float64, None), "double precision 0.5"),
        ("varchar(3)", "'a b'", source(Kind::Text, Some(5)), "character varying(5) a b"),
        ("varchar(3)", "'abc'", source(Kind::Text, Some(2_147_483_647)), "text abc"),
        ("char(3)", "'a'", source(Kind::Text, Some(5)), "character varying(5) a"),
        (
            "time(0)",
            "'23:59:59'",
            source(Kind::Time(Unit::Micros), None),
            "time(6) without time zone 23:59:59",
        ),
        (
            "timestamp(3)",
            "'2024-02-29 23:59:59.999'",
            source(Kind::Timestamp(Unit::Micros), None),
            "timestamp(6) without time zone 2024-02-29 23:59:59.999",
        ),
        ("varbit(3)", "B'101'", source(Kind::Bits { length: Some(5) }, None), "bit varying(5) 101"),
        ("varbit(3)", "B'10'", source(Kind::Bits { length: None }, None), "bit varying 10"),
    ];
    for (number, (existing, value, source, expected)) in cases.iter().enumerate() {
        let column = (DIALECT.typed)("c", existing, true).unwrap();
        let mut table = table_of(&world, &format!("t{number}"), vec![column.clone()]);
        world.sql(&(DIALECT.create_table)(&table).join(";")).await;
        let name = format!("{}.t{number}", world.schema);
        world.sql(&format!("INSERT INTO {name} VALUES ({value})")).await;

        let wider = (DIALECT.widened)(&column, source).unwrap();
        let wider = Column { not_null: false, ..wider };
        world.sql(&(DIALECT.alter_column)(&table.name, &column, &wider).unwrap()).await;
        assert_eq!((DIALECT.widened)(&wider, source), None, "{existing} is wide enough now");
        table.columns = vec![wider.clone()];
        assert_eq!(target.table(&table.name).await.unwrap(), Some(table), "{existing}");
        let found = world.sql(&format!("SELECT c::text FROM {name}")).await;
        let found = format!("{} {}", wider.type_name, found[0][0].clone().unwrap());
        assert_eq!(found, *expected);
    }
}

#[tokio::test]
async fn a_type_by_its_users_name_is_what_the_catalogue_calls_it() {
    let world = World::new().await;
    let spellings = "bool int2 int4 int8 float4 float8 numeric numeric(5) numeric(12,2) text \
                     varchar varchar(9) char char(9) bytea bit bit(9) varbit varbit(9) json jsonb \
                     xml uuid date time time(3) timetz timetz(0) timestamp timestamp(6) \
                     timestamptz timestamptz(3) interval oid inet cidr macaddr macaddr8 tsvector";
    let typed = |(number, name)| (DIALECT.typed)(&format!("c{number}"), name, number == 0).unwrap();
    let columns = spellings.split_whitespace().enumerate().map(typed).collect();
    let table = table_of(&world, "t", columns);
    world.sql(&(DIALECT.create_table)(&table).join(";")).await;
    assert_eq!(world.target().table(&table.name).await.unwrap(), Some(table));
}

#[tokio::test]
async fn two_members_that_meet_a_change_at_once_make_it_once() {
    let world = World::new().await;
    let partitions = [0, 1].map(|number| TopicPartition::new("topic", number));
    let (mut one, mut other) = (world.target(), world.target());
    let before = world.table("t", &[("id", Kind::Int64), ("n", Kind::Int32)], &["id"]);
    let mut claimed = claim(&mut one, &partitions).await;
    let mut first = batch(
        &claimed[0],
        &shape(&before, &["id"], Deletes::Hard),
        &[Does::Upsert(&[Value::Int(0), Value::Int(0)])],
    );
    first.schema_changes.push(creation(&before));
    one.apply(&first).await.unwrap();
    claimed[0].next = first.steps[0].to;

    let mut after = before.clone();
    let wider = (DIALECT.widened)(&before.columns[1], &source(Kind::VariableScaleDecimal, None));
    after.columns[1] = wider.unwrap();
    let altered = (DIALECT.alter_column)(&before.name, &before.columns[1], &after.columns[1]);
    let change = SchemaChange {
        labels: Vec::new(),
        before: Some(before),
        after: Arc::new(after.clone()),
        statements: vec![altered.unwrap()],
    };
    let batches = [(1, "1.5"), (2, "2.5")].map(|(id, text)| {
        let values = [Value::Int(id), Value::Decimal(Decimal::Text(text))];
        let claimed = &claimed[usize::try_from(id).unwrap() - 1];
        let mut batch =
            batch(claimed, &shape(&after, &["id"], Deletes::Hard), &[Does::Upsert(&values)]);
        batch.schema_changes.push(change.clone());
        batch
    });
    let (first, second) = tokio::join!(one.apply(&batches[0]), other.apply(&batches[1]));
    let committed = Applied::Committed { refused: Vec::new(), older: 0 };
    assert_eq!(
        (first.unwrap(), second.unwrap()),
        (committed, Applied::Committed { refused: vec![], older: 0 })
    );
    let rows = world.sql(&format!("SELECT n FROM {}.t ORDER BY id", world.schema)).await;
    let rows = rows.into_iter().flatten().flatten().collect::<Vec<_>>();
    assert_eq!(rows, ["0", "1.5", "2.5"]);
}

#[tokio::test]
async fn a_batch_whose_labels_were_not_added_meets_a_stale_layout() {
    let world = World::new().await;
    let mut target = world.target();
    let claimed = claim(&mut target, &[TopicPartition::new("topic", 0)]).await.remove(0);
    let schema = &world.schema;
    world
        .sql(&format!(
            "CREATE SCHEMA {schema} AUTHORIZATION writer; SET ROLE writer;
             CREATE TYPE {schema}.mood AS ENUM ('sad');
             CREATE TABLE {schema}.t (id bigint PRIMARY KEY, mood {schema}.mood,
                 synced_at timestamptz)"
        ))
        .await;
    let before = target.table(&world.name("t")).await.unwrap().unwrap();
    let is = before.columns[1].enumeration.as_ref().unwrap();
    let (now, labels) = (Postgres::DIALECT.labelled)(is, &["sad", "glad"].map(str::to_owned));
    let mut after = before.clone();
    after.columns[1].enumeration = Some(Arc::new(now));
    let shape = shape(&after, &["id"], Deletes::Hard);
    let mut rows = batch(&claimed, &shape, &[Does::Upsert(&[Value::Int(1), Value::Text("glad")])]);
    let stale = target.apply(&rows).await.unwrap_err();
    assert!(matches!(stale, TargetError::StaleLayout { .. }), "{stale:?}");
    let (before, after, statements) = (Some(before), Arc::new(after), Vec::new());
    rows.schema_changes.push(SchemaChange { before, after, statements, labels });
    target.apply(&rows).await.unwrap();
    let mood = world.sql(&format!("SELECT mood FROM {schema}.t")).await;
    assert_eq!(mood, [[Some("glad".to_owned())]]);
}

#[tokio::test]
async fn a_column_that_fills_itself_is_known() {
    let world = World::new().await;
    let schema = &world.schema;
    world
        .sql(&format!(
            "CREATE SCHEMA {schema} AUTHORIZATION writer; CREATE TABLE {schema}.t (
                 id int GENERATED ALWAYS AS IDENTITY, seq serial, d int NOT NULL DEFAULT 1,
                 g int GENERATED ALWAYS AS (1) STORED, plain int NOT NULL)"
        ))
        .await;
    let table = world.target().table(&world.name("t")).await.unwrap().unwrap();
    let filled = table.columns.iter().filter(|column| column.has_default || column.generated);
    let filled = filled.map(|column| column.name.as_str()).collect::<Vec<_>>();
    assert_eq!(filled, ["id", "seq", "d", "g"]);
}

#[tokio::test]
async fn a_writer_changes_no_table_of_another_owner() {
    let world = World::new().await;
    let mut target = world.target();
    let claimed = claim(&mut target, &[TopicPartition::new("topic", 0)]).await.remove(0);
    let schema = &world.schema;
    world
        .sql(&format!(
            "CREATE SCHEMA {schema}; CREATE TABLE {schema}.t (id bigint PRIMARY KEY, n int);
             GRANT USAGE ON SCHEMA {schema} TO writer;
             GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.t TO writer"
        ))
        .await;
    let before = target.table(&world.name("t")).await.unwrap().unwrap();
    let mut after = before.clone();
    let [_, column] = after.columns.as_mut_slice() else { panic!("two columns") };
    *column = (DIALECT.widened)(column, &source(Kind::Int64, None)).unwrap();
    let values = [Value::Int(1), Value::Int(5_000_000_000)];
    let shape = shape(&after, &["id"], Deletes::Hard);
    let mut batch = batch(&claimed, &shape, &[Does::Upsert(&values)]);
    let altered = (DIALECT.alter_column)(&before.name, &before.columns[1], &after.columns[1]);
    let (before, after, statements) = (Some(before), Arc::new(after), vec![altered.unwrap()]);
    batch.schema_changes.push(SchemaChange { before, after, statements, labels: Vec::new() });

    let error = target.apply(&batch).await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Stop(StopReason::RightMissing), "{error}");
    let count = world.sql(&format!("SELECT count(*)::text FROM {schema}.t")).await;
    assert_eq!(count[0][0].as_deref(), Some("0"));
}

#[tokio::test]
async fn a_column_is_not_there_until_the_rows_behind_it_are() {
    let world = World::new().await;
    let mut target = world.target();
    let mut claimed = claim(&mut target, &[TopicPartition::new("topic", 0)]).await.remove(0);
    let before = world.table("t", &[("id", Kind::Int64)], &["id"]);
    let values = [Value::Int(1)];
    let mut first =
        batch(&claimed, &shape(&before, &["id"], Deletes::Hard), &[Does::Upsert(&values)]);
    first.schema_changes.push(creation(&before));
    target.apply(&first).await.unwrap();
    claimed.next = first.steps[0].to;

    let wide = world.table("t", &[("id", Kind::Int64), ("n", Kind::Int32)], &["id"]);
    let added = wide.columns.iter().find(|column| column.name == "n").unwrap();
    let mut after = before.clone();
    after.columns.push(added.clone());
    let statements = vec![(DIALECT.add_column)(&before.name, added)];
    let shape = shape(&after, &["id"], Deletes::Hard);
    let values = [Value::Int(2), Value::Int(7)];
    let mut second = batch(&claimed, &shape, &[Does::Upsert(&values)]);
    let after = Arc::new(after);
    second.schema_changes.push(SchemaChange {
        before: Some(before),
        after,
        statements,
        labels: Vec::new(),
    });
    // Its owner may alter the table, and write no row to it.
    let table = format!("{}.t", world.schema);
    world.sql(&format!("REVOKE INSERT ON {table} FROM writer")).await;
    let error = target.apply(&second).await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Stop(StopReason::RightMissing), "{error}");
    let columns = format!(
        "SELECT string_agg(column_name, ' ' ORDER BY ordinal_position)
         FROM information_schema.columns WHERE table_schema = '{}'",
        world.schema
    );
    assert_eq!(world.sql(&columns).await[0][0].as_deref(), Some("id synced_at"));

    world.sql(&format!("GRANT INSERT ON {table} TO writer")).await;
    let committed = Applied::Committed { refused: Vec::new(), older: 0 };
    assert_eq!(target.apply(&second).await.unwrap(), committed);
    assert_eq!(world.sql(&columns).await[0][0].as_deref(), Some("id synced_at n"));
    let rows = world.sql(&format!("SELECT id, n FROM {table} WHERE n = 7")).await;
    assert_eq!(rows.len(), 1);
}
