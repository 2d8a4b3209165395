//! What the commands see of a target: checkpoints, dead letters, tables, rows.

use sqlx::Row;
use sqlx::postgres::PgArguments;

use crate::batch::{Leader, SchemaChange};
use crate::checkpoint::NextOffset;
use crate::record::TopicPartition;
use crate::table::{Table, TableName};
use crate::target::inspect::{
    Amendments, CheckpointRow, Decide, Deed, Inspect, ReplicatedTable, Sample,
};
use crate::target::postgres::error::{Doing, target_error};
use crate::target::postgres::fence::{partition, sink_arguments};
use crate::target::postgres::session::{Session, bind};
use crate::target::postgres::{Postgres, amend, catalog, ddl, leads, sql};
use crate::target::{Sink, TargetError};

/// Up to here the rows are counted, which takes the server less than a second.
const EXACT_COUNT_MAX: i64 = 1_000_000;

impl Postgres {
    /// Connects, so that an address that does not work is told before anything is asked.
    ///
    /// # Errors
    ///
    /// The server does not answer, or does not let us in.
    pub(in crate::target) async fn connect(&mut self) -> Result<(), TargetError> {
        let session = self.session().await?;
        self.keep(session, Ok(())).await
    }
}

impl Inspect for Postgres {
    async fn checkpoints(&mut self) -> Result<Vec<(TopicPartition, CheckpointRow)>, TargetError> {
        let mut session = self.session().await?;
        let rows = read_checkpoints(&mut session, &self.sink).await;
        self.keep(session, rows.map_err(other)).await
    }

    async fn dead_letter_counts(&mut self) -> Result<Vec<(TopicPartition, u64)>, TargetError> {
        let mut session = self.session().await?;
        let counts = read_counts(&mut session, &self.sink).await;
        self.keep(session, counts.map_err(other)).await
    }

    async fn replicated_tables(
        &mut self,
        synced_at_column: &str,
    ) -> Result<Vec<ReplicatedTable>, TargetError> {
        let mut session = self.session().await?;
        let tables = read_tables(&mut session, synced_at_column).await;
        self.keep(session, tables.map_err(other)).await
    }

    async fn newest(
        &mut self,
        table: &TableName,
        synced_at_column: &str,
        limit: u32,
    ) -> Result<Option<Sample>, TargetError> {
        let mut session = self.session().await?;
        let rows = read_newest(&mut session, table, synced_at_column, limit).await;
        self.keep(session, rows.map_err(other)).await
    }

    async fn describe(&mut self, name: &TableName) -> Result<Option<Table>, TargetError> {
        let mut session = self.session().await?;
        let tables = catalog::tables(&mut session, &[name]).await;
        let table = tables.map(|mut tables| tables.pop().flatten());
        self.keep(session, table.map_err(other)).await
    }

    async fn leaders_of(&mut self, name: &TableName) -> Result<Vec<Leader>, TargetError> {
        let mut session = self.session().await?;
        let leaders = read_leaders(&mut session, name).await;
        self.keep(session, leaders.map_err(other)).await
    }

    async fn is_bootstrapped(&mut self) -> Result<bool, TargetError> {
        let mut session = self.session().await?;
        let found = ddl::is_bootstrapped(&mut session).await;
        self.keep(session, found.map_err(other)).await
    }

    async fn needed(&mut self, change: &SchemaChange) -> Result<Vec<String>, TargetError> {
        let mut session = self.session().await?;
        let needed = needed(&mut session, change).await;
        self.keep(session, needed.map_err(other)).await
    }

    async fn grants(&mut self, tables: &[TableName]) -> Result<Vec<String>, TargetError> {
        let mut session = self.session().await?;
        let rows = session.fetch(sql::ROLE.to_owned(), PgArguments::default()).await;
        let role = rows.and_then(|rows| rows.first().map_or(Ok(String::new()), |it| it.try_get(0)));
        let role = self.keep(session, role.map_err(other)).await?;
        Ok(sql::grants(&role, tables))
    }

    async fn amend(
        &mut self,
        wanted: &[TopicPartition],
        decide: Decide<'_>,
        deed: Deed<'_>,
    ) -> Result<Amendments, TargetError> {
        let mut session = self.ready().await?;
        let amended = amend::amend(&mut session, &self.sink, wanted, decide, deed).await;
        self.keep(session, amended.map_err(other)).await
    }
}

fn other(error: sqlx::Error) -> TargetError {
    target_error(error, Doing::Other)
}

async fn read_checkpoints(
    session: &mut Session,
    sink: &Sink,
) -> Result<Vec<(TopicPartition, CheckpointRow)>, sqlx::Error> {
    if !ddl::is_bootstrapped(session).await? {
        return Ok(Vec::new());
    }
    let rows = session.fetch(sql::CHECKPOINTS.to_owned(), sink_arguments(sink)?).await?;
    let read = rows.iter().map(|row| {
        let found = CheckpointRow {
            next: NextOffset::at(row.try_get(2)?),
            epoch: row.try_get(3)?,
            owner: row.try_get(4)?,
            group_id: row.try_get(5)?,
            state: row.try_get(6)?,
            state_reason: row.try_get(7)?,
            source_position: row.try_get(8)?,
            updated_at: row.try_get(9)?,
            source_incarnation: row.try_get(10)?,
        };
        Ok((partition(row)?, found))
    });
    read.collect()
}

async fn read_counts(
    session: &mut Session,
    sink: &Sink,
) -> Result<Vec<(TopicPartition, u64)>, sqlx::Error> {
    if !ddl::is_bootstrapped(session).await? {
        return Ok(Vec::new());
    }
    let rows = session.fetch(sql::DEAD_LETTER_COUNTS.to_owned(), sink_arguments(sink)?).await?;
    let read = rows.iter().map(|row| Ok((partition(row)?, count(row.try_get(2)?))));
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
        if let Some(estimate) = estimate {
            let (row_count, newest) = (count(estimate), None);
            tables.push(ReplicatedTable { name, row_count, is_exact: false, newest });
            continue;
        }
        let text = sql::count_rows(&name, synced_at);
        let rows = session.fetch(text, PgArguments::default()).await?;
        let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        let (row_count, newest) = (count(row.try_get(0)?), row.try_get(1)?);
        tables.push(ReplicatedTable { name, row_count, is_exact: true, newest });
    }
    Ok(tables)
}

/// No server counts below zero.
fn count(rows: i64) -> u64 {
    u64::try_from(rows).unwrap_or_default()
}

async fn read_newest(
    session: &mut Session,
    table: &TableName,
    synced_at: &str,
    limit: u32,
) -> Result<Option<Sample>, sqlx::Error> {
    let described = catalog::describe(session, &[table]).await?.pop().unwrap_or_default();
    let columns = described.columns.into_iter().map(|it| it.column.name).collect::<Vec<_>>();
    if columns.is_empty() {
        return Ok(None);
    }
    let names = columns.iter().map(String::as_str).collect::<Vec<_>>();
    let synced_at = names.contains(&synced_at).then_some(synced_at);
    let mut arguments = PgArguments::default();
    bind(&mut arguments, i64::from(limit))?;
    let text = sql::newest_rows(table, &names, synced_at);
    let mut rows = Vec::new();
    for row in session.fetch(text, arguments).await? {
        let cells = (0..columns.len()).map(|column| row.try_get(column));
        rows.push(cells.collect::<Result<_, _>>()?);
    }
    Ok(Some(Sample { columns, rows }))
}

async fn read_leaders(session: &mut Session, name: &TableName) -> Result<Vec<Leader>, sqlx::Error> {
    if !ddl::is_bootstrapped(session).await? {
        return Ok(Vec::new());
    }
    Ok(leads::read(session, &[name]).await?.pop().unwrap_or_default())
}

async fn needed(session: &mut Session, change: &SchemaChange) -> Result<Vec<String>, sqlx::Error> {
    let mut needed = change.labels.clone();
    for statement in &change.statements {
        if ddl::is_needed(session, &change.after.name, statement).await? {
            needed.push(statement.clone());
        }
    }
    Ok(needed)
}
