//! What the commands see of a target: checkpoints, dead letters, tables, rows.

use sqlx::Row;
use sqlx::postgres::PgArguments;

use crate::record::TopicPartition;
use crate::table::TableName;
use crate::target::TargetError;
use crate::target::postgres::error::{Doing, target_error};
use crate::target::postgres::session::{Session, bind};
use crate::target::postgres::{Postgres, catalog, ddl, sql};

/// Below this, an estimate is not worth its doubt.
const EXACT_COUNT_MAX: i64 = 100_000;

/// A checkpoint row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRow {
    /// The Kafka cluster's own id.
    pub cluster_id: String,
    /// The partition.
    pub partition: TopicPartition,
    /// The first offset that is not yet applied.
    pub next_offset: i64,
    /// How often the partition was claimed.
    pub epoch: i64,
    /// The lane that owns it; `None` after a clean hand-over.
    pub owner: Option<String>,
    /// The group of the last claim.
    pub group_id: Option<String>,
    /// `running` or `stopped`; `None` before the first batch.
    pub state: Option<String>,
    /// Why it is stopped.
    pub state_reason: Option<String>,
    /// How far the source is applied, as the connector prints it.
    pub source_position: Option<String>,
    /// The offset of the last record that was applied.
    pub last_offset: Option<i64>,
    /// That record's timestamp, in milliseconds since the epoch.
    pub last_timestamp: Option<i64>,
    /// When it was claimed, in milliseconds since the epoch.
    pub claimed_at: Option<i64>,
    /// When the row was written last, in milliseconds since the epoch.
    pub updated_at: i64,
}

/// How many open dead letters a topic has for a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterCount {
    /// The topic.
    pub topic: String,
    /// The reason's name.
    pub reason: String,
    /// How many.
    pub count: i64,
}

/// A replicated table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicatedTable {
    /// Its name.
    pub name: TableName,
    /// How many rows it has.
    pub row_count: i64,
    /// Whether the count is exact, or what the server estimates for a large table.
    pub is_exact: bool,
}

/// Rows as text, in the order of their columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextRows {
    /// The columns' names.
    pub columns: Vec<String>,
    /// The rows; `None` is NULL.
    pub rows: Vec<Vec<Option<String>>>,
}

/// What an operator did to a partition.
#[derive(Clone, Copy, Debug)]
pub struct Deed<'a> {
    /// Who.
    pub actor: &'a str,
    /// By which command.
    pub command: &'a str,
    /// To which partition.
    pub partition: &'a TopicPartition,
    /// The next offset before.
    pub before: Option<i64>,
    /// The next offset afterwards.
    pub after: Option<i64>,
    /// Why.
    pub reason: &'a str,
}

impl Postgres {
    /// Reads the sink's checkpoint rows, of all clusters; none before the first start.
    pub async fn checkpoints(&mut self) -> Result<Vec<CheckpointRow>, TargetError> {
        let mut session = self.session().await?;
        let rows = read_checkpoints(&mut session, &self.sink.name).await;
        self.keep(session, rows.map_err(other)).await
    }

    /// Counts the sink's open dead letters; none before the first start.
    pub async fn dead_letter_counts(&mut self) -> Result<Vec<DeadLetterCount>, TargetError> {
        let mut session = self.session().await?;
        let counts = read_counts(&mut session, &self.sink.name).await;
        self.keep(session, counts.map_err(other)).await
    }

    /// Finds the tables that have the column for the time of writing, and counts their rows.
    pub async fn replicated_tables(
        &mut self,
        synced_at: &str,
    ) -> Result<Vec<ReplicatedTable>, TargetError> {
        let mut session = self.session().await?;
        let tables = read_tables(&mut session, synced_at).await;
        self.keep(session, tables.map_err(other)).await
    }

    /// Reads the rows of a table that were written last; any rows when it has no such column.
    ///
    /// `None` when the table does not exist.
    pub async fn newest(
        &mut self,
        table: &TableName,
        synced_at: &str,
        limit: i64,
    ) -> Result<Option<TextRows>, TargetError> {
        let mut session = self.session().await?;
        let rows = read_newest(&mut session, table, synced_at, limit).await;
        self.keep(session, rows.map_err(other)).await
    }

    /// Keeps what an operator did.
    pub async fn audit(&mut self, deed: Deed<'_>) -> Result<(), TargetError> {
        let mut session = self.session().await?;
        let kept = keep_deed(&mut session, deed).await;
        self.keep(session, kept.map_err(other)).await
    }
}

fn other(error: sqlx::Error) -> TargetError {
    target_error(error, Doing::Other)
}

async fn read_checkpoints(
    session: &mut Session,
    sink: &str,
) -> Result<Vec<CheckpointRow>, sqlx::Error> {
    if !ddl::is_bootstrapped(session).await? {
        return Ok(Vec::new());
    }
    let mut arguments = PgArguments::default();
    bind(&mut arguments, sink)?;
    let rows = session.fetch(sql::CHECKPOINTS.to_owned(), arguments).await?;
    let read = rows.iter().map(|row| {
        Ok(CheckpointRow {
            cluster_id: row.try_get(0)?,
            partition: TopicPartition::new(row.try_get::<String, _>(1)?, row.try_get(2)?),
            next_offset: row.try_get(3)?,
            epoch: row.try_get(4)?,
            owner: row.try_get(5)?,
            group_id: row.try_get(6)?,
            state: row.try_get(7)?,
            state_reason: row.try_get(8)?,
            source_position: row.try_get(9)?,
            last_offset: row.try_get(10)?,
            last_timestamp: row.try_get(11)?,
            claimed_at: row.try_get(12)?,
            updated_at: row.try_get(13)?,
        })
    });
    read.collect()
}

async fn read_counts(
    session: &mut Session,
    sink: &str,
) -> Result<Vec<DeadLetterCount>, sqlx::Error> {
    if !ddl::is_bootstrapped(session).await? {
        return Ok(Vec::new());
    }
    let mut arguments = PgArguments::default();
    bind(&mut arguments, sink)?;
    let rows = session.fetch(sql::DEAD_LETTER_COUNTS.to_owned(), arguments).await?;
    let read = rows.iter().map(|row| {
        Ok(DeadLetterCount {
            topic: row.try_get(0)?,
            reason: row.try_get(1)?,
            count: row.try_get(2)?,
        })
    });
    read.collect()
}

async fn read_tables(
    session: &mut Session,
    synced_at: &str,
) -> Result<Vec<ReplicatedTable>, sqlx::Error> {
    let mut arguments = PgArguments::default();
    bind(&mut arguments, synced_at)?;
    let mut tables = Vec::new();
    for row in session.fetch(sql::REPLICATED_TABLES.to_owned(), arguments).await? {
        let name = TableName { schema: Some(row.try_get(0)?), table: row.try_get(1)? };
        let estimate = row.try_get::<Option<i64>, _>(2)?.filter(|rows| *rows > EXACT_COUNT_MAX);
        let (row_count, is_exact) = match estimate {
            Some(estimate) => (estimate, false),
            None => {
                let text = sql::count_rows(&name);
                let rows = session.fetch(text, PgArguments::default()).await?;
                (rows.first().map_or(Ok(0), |row| row.try_get(0))?, true)
            }
        };
        tables.push(ReplicatedTable { name, row_count, is_exact });
    }
    Ok(tables)
}

async fn read_newest(
    session: &mut Session,
    table: &TableName,
    synced_at: &str,
    limit: i64,
) -> Result<Option<TextRows>, sqlx::Error> {
    let described = catalog::describe(session, &[table]).await?.pop().unwrap_or_default();
    let columns = described.into_iter().map(|found| found.column.name).collect::<Vec<_>>();
    if columns.is_empty() {
        return Ok(None);
    }
    let names = columns.iter().map(String::as_str).collect::<Vec<_>>();
    let synced_at = names.contains(&synced_at).then_some(synced_at);
    let mut arguments = PgArguments::default();
    bind(&mut arguments, limit)?;
    let text = sql::newest_rows(table, &names, synced_at);
    let mut rows = Vec::new();
    for row in session.fetch(text, arguments).await? {
        let cells = (0..columns.len()).map(|column| row.try_get(column));
        rows.push(cells.collect::<Result<_, _>>()?);
    }
    Ok(Some(TextRows { columns, rows }))
}

async fn keep_deed(session: &mut Session, deed: Deed<'_>) -> Result<(), sqlx::Error> {
    let mut arguments = PgArguments::default();
    bind(&mut arguments, deed.actor)?;
    bind(&mut arguments, deed.command)?;
    bind(&mut arguments, &*deed.partition.topic)?;
    bind(&mut arguments, deed.partition.partition)?;
    bind(&mut arguments, deed.before)?;
    bind(&mut arguments, deed.after)?;
    bind(&mut arguments, deed.reason)?;
    session.run(sql::AUDIT.to_owned(), arguments).await.map(drop)
}
