//! What tests share: where the stack is, and a database of this run's own.

use std::sync::Arc;

use afterimage::batch::{Batch, Folded, Leader, SchemaChange};
use afterimage::checkpoint::{LastRecord, NextOffset, SourcePosition};
use afterimage::decode::value::Value;
use afterimage::decode::value::kind::{Kind, SourceColumn};
use afterimage::record::TopicPartition;
use afterimage::refused::KeptRecord;
use afterimage::rows::{Deletes, Keyless, Origin, Shape};
use afterimage::table::{Column, Table, TableName};
use afterimage::target::postgres::Postgres;
use afterimage::target::{Claimed, Existing, Sink, Target, TargetError};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, Row};
use tokio::sync::OnceCell;
use url::Url;
use uuid::Uuid;

/// Reads where a service is, as `.stack.env` says it.
pub(crate) fn address(name: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "tests have no command line")]
    let found = std::env::var(name);
    found.unwrap_or_else(|_| panic!("{name} is not set: `make stack`, then `source .stack.env`"))
}

/// So many new rows of a table that they are copied.
pub(crate) const NEW_ROWS: usize = 200;

/// Asks about one table.
pub(crate) trait One: Target {
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

/// A place of a test's own at the target: a schema and a sink.
pub(crate) struct World {
    pub(crate) url: String,
    pub(crate) admin_url: String,
    pub(crate) schema: String,
    pub(crate) sink: Sink,
}

impl World {
    /// Finds a place in the database of this run.
    pub(crate) async fn new() -> Self {
        static DATABASE: OnceCell<String> = OnceCell::const_new();
        let database = DATABASE.get_or_init(|| create_database("writer")).await;
        Self::in_database(database)
    }

    /// Finds a place in a database that nobody else uses, whose owner is that role.
    pub(crate) async fn alone(owner: &str) -> Self {
        Self::in_database(&create_database(owner).await)
    }

    fn in_database(database: &str) -> Self {
        let name = format!("t_{}", Uuid::new_v4().simple());
        let sink = Sink {
            name: name.clone(),
            cluster_id: "cluster".to_owned(),
            group_id: "group".to_owned(),
        };
        let (url, admin_url) = (address("TARGET_DATABASE_URL"), address("TARGET_ADMIN_URL"));
        let (url, admin_url) = (in_database(&url, database), in_database(&admin_url, database));
        Self { url, admin_url, schema: name, sink }
    }

    pub(crate) fn target(&self) -> Postgres {
        Postgres::new(&self.url, None, self.sink.clone()).unwrap()
    }

    /// Connects as somebody who is none of ours.
    pub(crate) async fn stranger(&self, application_name: &str) -> PgConnection {
        let options = self.admin_url.parse::<PgConnectOptions>().unwrap();
        options.application_name(application_name).connect().await.unwrap()
    }

    /// Runs SQL as an administrator and returns all values as text.
    pub(crate) async fn sql(&self, text: &str) -> Vec<Vec<Option<String>>> {
        let mut connection = self.stranger("test").await;
        let rows = sql(&mut connection, text).await;
        connection.close().await.unwrap();
        rows
    }

    /// Names a table in the world's schema.
    pub(crate) fn name(&self, table: &str) -> TableName {
        TableName { schema: Some(self.schema.clone()), table: table.to_owned() }
    }

    /// Describes a table that the target would create.
    pub(crate) fn table(&self, name: &str, columns: &[(&str, Kind)], key: &[&str]) -> Table {
        let dialect = Postgres::DIALECT;
        let column = |(name, kind): &(&str, Kind)| {
            let source = SourceColumn {
                name: (*name).to_owned(),
                kind: kind.clone(),
                optional: true,
                source_type: None,
            };
            (dialect.column)(&source, key.contains(name)).unwrap()
        };
        let synced_at = (dialect.time_column)("synced_at", true);
        Table {
            name: self.name(name),
            columns: columns.iter().map(column).chain([synced_at]).collect(),
            unique_keys: if key.is_empty() { Vec::new() } else { vec![owned(key)] },
        }
    }
}

/// Runs SQL on a connection and returns all values as text.
pub(crate) async fn sql(connection: &mut PgConnection, text: &str) -> Vec<Vec<Option<String>>> {
    let rows = connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(text.to_owned()))).await.unwrap();
    let cell = |row: &sqlx::postgres::PgRow, n| row.try_get_unchecked::<Option<String>, _>(n);
    let values = rows.iter().map(|row| (0..row.len()).map(|n| cell(row, n).unwrap()).collect());
    values.collect()
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn in_database(url: &str, database: &str) -> String {
    let mut url = url.parse::<Url>().unwrap();
    url.set_path(database);
    url.to_string()
}

/// Makes a database, and drops what runs of more than an hour ago have left.
async fn create_database(owner: &str) -> String {
    let mut admin = PgConnection::connect(&address("TARGET_ADMIN_URL")).await.unwrap();
    let old = "SELECT datname FROM pg_database WHERE datname ~ '^it_target_[0-9]+_' \
               AND split_part(datname, '_', 3)::float8 < extract(epoch FROM now()) - 3600";
    for row in sql(&mut admin, old).await {
        let name = row[0].clone().unwrap();
        // Another run may do the same.
        _ = admin.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name}"))).await;
    }
    let now = sql(&mut admin, "SELECT extract(epoch FROM now())::bigint").await;
    let name = format!("it_target_{}_{}", now[0][0].as_ref().unwrap(), Uuid::new_v4().simple());
    sql(&mut admin, &format!("CREATE DATABASE {name} OWNER {owner}")).await;
    name
}

/// The shape that writes all columns of a table but those for times of writing.
pub(crate) fn shape(table: &Table, key: &[&str], deletes: Deletes) -> Arc<Shape> {
    let is_ours = |column: &&Column| ["synced_at", "deleted_at"].contains(&column.name.as_str());
    let columns = table.columns.iter().filter(|column| !is_ours(column)).cloned();
    let columns = columns.collect::<Vec<_>>();
    let index = |name: &&str| columns.iter().position(|column| column.name == **name).unwrap();
    let key = key.iter().map(index).collect();
    let synced_at = table.column("synced_at").map(|column| column.name.clone());
    let (table, keyless) = (Arc::new(table.clone()), Keyless::Match);
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

/// A change of a row: an insert or an upsert with all columns, or a delete with the key's.
#[derive(Clone, Copy)]
pub(crate) enum Does<'a> {
    Insert(&'a [Value<'a>]),
    Upsert(&'a [Value<'a>]),
    Delete(&'a [Value<'a>]),
    Truncate,
}

/// Collects a batch of one partition: each change is a record, from the claim's offset on.
pub(crate) fn batch(claimed: &Claimed, shape: &Arc<Shape>, changes: &[Does<'_>]) -> Folded {
    let mut batch = Batch::default();
    let step = batch.step(&claimed.partition, claimed.claim, claimed.next);
    for (offset, change) in (claimed.next.get()..).zip(changes) {
        let rows = batch.rows(shape).unwrap();
        let (mut writer, values) = match change {
            Does::Insert(values) | Does::Upsert(values) => (rows.upsert(), values),
            Does::Delete(values) => (rows.delete(), values),
            Does::Truncate => {
                rows.truncate();
                batch.advance(step, last(offset));
                continue;
            }
        };
        for value in *values {
            writer.push(*value).unwrap_or_else(|misfit| panic!("{value:?}: {misfit}"));
        }
        writer.note_new(matches!(change, Does::Insert(_)));
        writer.finish(Origin { step, offset, sent_at: 0 }, record(offset)).unwrap();
        batch.advance(step, last(offset));
    }
    batch.fold()
}

pub(crate) fn last(offset: i64) -> LastRecord {
    let (timestamp, source_position) = (Some(1_000), Some(SourcePosition::Lsn(7)));
    LastRecord { offset, timestamp, leader_epoch: Some(4), source_position, deleted_key: None }
}

pub(crate) fn record(offset: i64) -> KeptRecord {
    KeptRecord {
        offset,
        timestamp: Some(1_000),
        key: Some(b"key".to_vec()),
        value: Some(b"value".to_vec()),
        headers: vec![("h".to_owned(), None)],
    }
}

/// The change that creates a table.
pub(crate) fn creation(table: &Table) -> SchemaChange {
    let statements = (Postgres::DIALECT.create_table)(table);
    SchemaChange { before: None, after: Arc::new(table.clone()), statements, labels: Vec::new() }
}

/// What makes a trigger's function that logs by which statement rows come.
pub(crate) fn saying(schema: &str) -> String {
    format!(
        "CREATE TABLE {schema}.said (n serial, statement text); \
         CREATE OR REPLACE FUNCTION {schema}.say() RETURNS trigger LANGUAGE plpgsql \
         SECURITY DEFINER AS $$ BEGIN \
           INSERT INTO {schema}.said (statement) VALUES (split_part(current_query(), ' ', 1)); \
           RETURN NULL; END $$"
    )
}

/// Makes first rows at offset 0, and claims them.
pub(crate) async fn claim(target: &mut Postgres, partitions: &[TopicPartition]) -> Vec<Claimed> {
    let first = partitions.iter().map(|partition| (partition.clone(), NextOffset::at(0)));
    target.begin(&first.collect::<Vec<_>>()).await.unwrap();
    target.claim(partitions, Uuid::new_v4(), false).await.unwrap().claimed
}
