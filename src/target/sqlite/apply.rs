//! A batch as statements: schema changes, then each table's deletes and rows, then what was refused.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, AssertSqlSafe, SqliteConnection};

use crate::batch::{Folded, SchemaChange, without_row};
use crate::checkpoint::Step;
use crate::refused::DeadLetter;
use crate::rows::{Cell, Cells, Deletes, RowOp, Rows, Shape};
use crate::table::Table;
use crate::target::sqlite::encode::{self, Content};
use crate::target::sqlite::{Writing, catalog, fence, leads, moves, sql, taken, text, time_text};
use crate::target::{Sink, TargetError};

/// Writes all of a batch but its steps; returns the partial rows that found no row.
pub(super) async fn write(
    writing: &mut Writing,
    sink: &Sink,
    batch: &Folded,
) -> Result<Vec<DeadLetter>, TargetError> {
    let now = Arc::<str>::from(time_text(writing.now));
    let connection = &mut writing.connection;
    for change in &batch.schema_changes {
        change_schema(connection, change).await?;
    }
    leads::enter(connection, &batch.leads, &now).await?;
    let mut refused = Vec::new();
    for (rows, winners) in &batch.tables {
        check_layout(connection, &rows.shape().table).await?;
        moves::leave(connection, sink, (rows, &batch.steps), &now).await?;
        let settled = taken::settle(connection, sink, (rows, winners), &batch.steps, &now).await?;
        let winners = settled.as_ref().unwrap_or(winners);
        let mut table = Writer { connection, rows, now: &now };
        table.truncate().await?;
        if !winners.images.is_empty() {
            table.match_images(&batch.steps, &mut refused).await?;
            continue;
        }
        table.delete(&winners.deletes).await?;
        if rows.shape().deletes == Deletes::Hard && rows.shape().others().next().is_some() {
            table.delete(&winners.renewed).await?;
        }
        table.upsert(&winners.upserts).await?;
        let missing = table.update(&winners.partial).await?;
        refused.extend(without_row(rows, &missing, &batch.steps));
    }
    for letter in batch.dead_letters.iter().chain(&refused) {
        keep(connection, sink, letter, &now).await?;
    }
    taken::forget(connection, sink, batch).await?;
    for mark in &batch.key_marks {
        let statement = if mark.is_refused { sql::MARK_KEY } else { sql::CLEAR_KEY };
        let query = fence::bind_partition(sqlx::query(statement), sink, &mark.partition);
        let mut query = query.bind(&*mark.key);
        if mark.is_refused {
            query = query.bind(mark.offset);
        }
        let done = query.execute(&mut *connection).await;
        done.map_err(TargetError::of_sqlite)?;
    }
    Ok(refused)
}

/// Brings a table to the form that the rows were encoded for, unless another member has done so.
async fn change_schema(
    connection: &mut SqliteConnection,
    change: &SchemaChange,
) -> Result<(), TargetError> {
    let found = catalog::read(connection, &change.after.name).await?;
    if found.as_ref() == Some(&*change.after) {
        return Ok(());
    }
    if found != change.before {
        return Err(TargetError::StaleLayout { table: change.after.name.clone() });
    }
    for statement in &change.statements {
        // The text comes from `sql`, which quotes every name.
        let query = sqlx::query(AssertSqlSafe(statement.as_str())).persistent(false);
        query.execute(&mut *connection).await.map_err(TargetError::of_sqlite)?;
    }
    Ok(())
}

/// Makes sure that a table still is as the rows were encoded for; the transaction's lock keeps it so.
async fn check_layout(connection: &mut SqliteConnection, table: &Table) -> Result<(), TargetError> {
    match catalog::read(connection, &table.name).await? {
        Some(found) if found == *table => Ok(()),
        _ => Err(TargetError::StaleLayout { table: table.name.clone() }),
    }
}

/// Writes the winners of one table.
struct Writer<'a> {
    connection: &'a mut SqliteConnection,
    rows: &'a Rows,
    now: &'a Arc<str>,
}

impl Writer<'_> {
    fn shape(&self) -> &Shape {
        self.rows.shape()
    }

    async fn truncate(&mut self) -> Result<(), TargetError> {
        if !self.rows.is_truncated() || self.shape().deletes == Deletes::Ignore {
            return Ok(());
        }
        let mut binds = SqliteArguments::default();
        self.bind_deleted_at(&mut binds)?;
        self.execute(&sql::truncate(self.shape()).into(), binds).await?;
        Ok(())
    }

    async fn delete(&mut self, winners: &[usize]) -> Result<(), TargetError> {
        if self.shape().deletes == Deletes::Ignore {
            return Ok(());
        }
        let width = self.shape().key.len() + 1;
        let shape = Arc::clone(self.rows.shape());
        for (text, rows) in statements(winners, width, |rows| sql::delete(&shape, rows)) {
            let mut binds = SqliteArguments::default();
            self.bind_deleted_at(&mut binds)?;
            for &row in rows {
                let row = self.rows.index().get(row).expect("winners are rows of the index");
                bind_cells(&mut binds, self.rows.key(row))?;
            }
            self.execute(&text, binds).await?;
        }
        Ok(())
    }

    async fn upsert(&mut self, winners: &[usize]) -> Result<(), TargetError> {
        let shape = Arc::clone(self.rows.shape());
        let width = shape.columns.len() + 1;
        for (text, rows) in statements(winners, width, |rows| sql::upsert(&shape, rows)) {
            let mut binds = SqliteArguments::default();
            for &row in rows {
                let row = self.rows.index().get(row).expect("winners are rows of the index");
                bind_cells(&mut binds, self.rows.cells(row))?;
                self.bind_synced_at(&mut binds)?;
            }
            self.execute(&text, binds).await?;
        }
        Ok(())
    }

    /// Writes the changes of a table without a key one by one, each over the row that is equal to its
    /// image before: whether there is one may depend on the change before it.
    async fn match_images(
        &mut self,
        steps: &[Step],
        refused: &mut Vec<DeadLetter>,
    ) -> Result<(), TargetError> {
        let text = sql::delete_image(self.shape()).into();
        for (at, row) in self.rows.index().iter().enumerate() {
            let before = self.rows.key(row);
            if !before.is_empty() {
                let mut binds = SqliteArguments::default();
                self.bind_deleted_at(&mut binds)?;
                bind_cells(&mut binds, before)?;
                if self.execute(&text, binds).await? == 0 {
                    refused.extend(without_row(self.rows, &[at], steps));
                    continue;
                }
            }
            if row.op == RowOp::Upsert {
                self.upsert(&[at]).await?;
            }
        }
        Ok(())
    }

    /// Writes over rows that are there, one by one, because it is rare; returns those that found none.
    async fn update(&mut self, winners: &[usize]) -> Result<Vec<usize>, TargetError> {
        let mut missing = Vec::new();
        for &winner in winners {
            let row = self.rows.index().get(winner).expect("winners are rows of the index");
            let cells = Cells::new(self.rows.cells(row));
            let is_present =
                cells.clone().map(|cell| cell != Cell::Unavailable).collect::<Vec<_>>();
            let mut binds = SqliteArguments::default();
            for cell in cells.filter(|cell| *cell != Cell::Unavailable) {
                bind(&mut binds, cell)?;
            }
            self.bind_synced_at(&mut binds)?;
            bind_cells(&mut binds, self.rows.key(row))?;
            let text = sql::update(self.shape(), &is_present).into();
            if self.execute(&text, binds).await? == 0 {
                missing.push(winner);
            }
        }
        Ok(missing)
    }

    fn bind_synced_at(&self, binds: &mut SqliteArguments) -> Result<(), TargetError> {
        match &self.shape().synced_at {
            Some(_) => add(binds, Arc::clone(self.now)),
            None => Ok(()),
        }
    }

    fn bind_deleted_at(&self, binds: &mut SqliteArguments) -> Result<(), TargetError> {
        match &self.shape().deletes {
            Deletes::Soft(_) => add(binds, Arc::clone(self.now)),
            Deletes::Hard | Deletes::Ignore => Ok(()),
        }
    }

    /// Returns how many rows it touched.
    async fn execute(
        &mut self,
        text: &Arc<str>,
        binds: SqliteArguments,
    ) -> Result<u64, TargetError> {
        // Names in the text are quoted by `sql`, and values are bound.
        let query = sqlx::query_with(AssertSqlSafe(Arc::clone(text)), binds);
        let done = query.execute(&mut *self.connection).await;
        done.map(|done| done.rows_affected()).map_err(TargetError::of_sqlite)
    }
}

/// Cuts rows into those of each statement, and makes each length's text once.
fn statements(
    winners: &[usize],
    width: usize,
    text: impl Fn(usize) -> String,
) -> impl Iterator<Item = (Arc<str>, &[usize])> {
    let mut rest = winners;
    let mut last: Option<(usize, Arc<str>)> = None;
    std::iter::from_fn(move || {
        let count = sql::rows_of_next(rest.len(), width);
        let (rows, others) = rest.split_at_checked(count)?;
        rest = others;
        let known = last.take().filter(|(length, _)| *length == count);
        let (length, text) = known.unwrap_or_else(|| (count, text(count).into()));
        last = Some((length, Arc::clone(&text)));
        Some((text, rows))
    })
}

pub(super) fn bind_cells(binds: &mut SqliteArguments, cells: &[u8]) -> Result<(), TargetError> {
    Cells::new(cells).try_for_each(|cell| bind(binds, cell))
}

fn bind(binds: &mut SqliteArguments, cell: Cell<'_>) -> Result<(), TargetError> {
    let content = match cell {
        Cell::Null => None,
        Cell::Content(content) => encode::content(content),
        // Only rows without a key come here with one: nothing could supply it.
        Cell::Unavailable => {
            return Err(TargetError::Statement("a whole row has an unavailable cell".into()));
        }
    };
    match content {
        None => add(binds, None::<i64>),
        Some(Content::Int(value)) => add(binds, value),
        Some(Content::Real(value)) => add(binds, value),
        Some(Content::Text(value)) => add(binds, value),
        Some(Content::Blob(value)) => add(binds, value),
    }
}

fn add<'t, T>(binds: &mut SqliteArguments, value: T) -> Result<(), TargetError>
where
    T: sqlx::Encode<'t, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    binds.add(value).map_err(TargetError::Statement)
}

/// Keeps a refused record.
async fn keep(
    connection: &mut SqliteConnection,
    sink: &Sink,
    letter: &DeadLetter,
    now: &str,
) -> Result<(), TargetError> {
    let DeadLetter { partition, record, refusal } = letter;
    let timestamp = record.timestamp.map(|millis| {
        let nanos = u32::try_from(millis.rem_euclid(1000)).unwrap_or_default() * 1_000_000;
        text::of_moment(millis.div_euclid(1000), nanos)
    });
    let headers = record.headers.iter().map(|(name, value)| {
        let value = value.as_ref().map(|value| BASE64.encode(value));
        serde_json::json!([name, value])
    });
    let query = fence::bind_partition(sqlx::query(sql::DEAD_LETTER), sink, partition)
        .bind(record.offset)
        .bind(&refusal.table)
        .bind(&record.key)
        .bind(&record.value)
        .bind(serde_json::Value::Array(headers.collect()).to_string())
        .bind(refusal.reason.name())
        .bind(&refusal.detail)
        .bind(timestamp)
        .bind(now);
    query.execute(connection).await.map_err(TargetError::of_sqlite)?;
    Ok(())
}
