//! A batch as statements: schema changes, then each table's deletes and rows, then what was refused.

use std::sync::Arc;

use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, AssertSqlSafe, SqliteConnection};

use tracing::debug;

use crate::batch::{Folded, Part, SchemaChange, without_row};
use crate::checkpoint::Step;
use crate::fold::Winners;
use crate::refused::DeadLetter;
use crate::rows::{Cell, Cells, Deletes, Row, RowOp, Rows, Shape};
use crate::table::Table;
use crate::target::search::{Search, Try};
use crate::target::sqlite::encode::{self, Content};
use crate::target::sqlite::{
    Writing, catalog, execute, fence, guard, leads, moves, sql, taken, text, time_text,
};
use crate::target::{Fault, RefusedRow, Sink, TargetError};

/// What has become of a batch's rows.
pub(super) enum Written {
    /// All are written, but for partial ones that found no row.
    All { refused: Vec<DeadLetter>, older: usize },
    /// The database refuses these.
    Refused(Vec<RefusedRow>),
}

/// Writes all of a batch but its steps.
pub(super) async fn write(
    writing: &mut Writing,
    sink: &Sink,
    batch: &Folded,
) -> Result<Written, TargetError> {
    let mut applying = Applying::start(writing, sink, batch).await?;
    let mut refused = Vec::new();
    for (rows, winners) in &batch.tables {
        refused.extend(applying.write(rows, winners).await?);
    }
    let older = applying.older;
    applying.finish(&refused).await?;
    Ok(Written::All { refused, older })
}

/// Does the same in parts, until all rows are written or those are found that the database refuses.
pub(super) async fn search(
    writing: &mut Writing,
    sink: &Sink,
    batch: &Folded,
    fault: &Fault,
) -> Result<Written, TargetError> {
    let mut applying = Applying::start(writing, sink, batch).await?;
    let mut letters = Vec::new();
    let mut search = Search::new(batch, fault);
    while let Some(next) = search.next() {
        let outcome = applying.attempt(&next).await?;
        search.learn(outcome.map(|refused| letters.extend(refused)));
    }
    let tries = search.tries();
    let refused = search.refused();
    debug!(tries, refused = refused.len(), %fault, "tried a refused batch in parts");
    if !refused.is_empty() {
        return Ok(Written::Refused(refused));
    }
    let older = applying.older;
    applying.finish(&letters).await?;
    Ok(Written::All { refused: letters, older })
}

/// A batch on its way into the file.
struct Applying<'a> {
    connection: &'a mut SqliteConnection,
    sink: &'a Sink,
    batch: &'a Folded,
    now: Arc<str>,
    /// How many rows the guard has kept out.
    older: usize,
}

impl<'a> Applying<'a> {
    /// Changes tables where the batch says so, lets rows leave what they have under their old keys,
    /// and empties tables.
    async fn start(
        writing: &'a mut Writing,
        sink: &'a Sink,
        batch: &'a Folded,
    ) -> Result<Self, TargetError> {
        let now = Arc::<str>::from(time_text(writing.now));
        let connection = &mut writing.connection;
        for change in &batch.schema_changes {
            change_schema(connection, change).await?;
        }
        leads::enter(connection, &batch.leads, &now).await?;
        for (rows, _) in &batch.tables {
            check_layout(connection, &rows.shape().table).await?;
            let departures = (&**rows.shape(), rows.departures());
            moves::leave(connection, sink, departures, &batch.steps, &now).await?;
            guard::outdate(connection, sink, (rows, &batch.steps), &now).await?;
            Writer { connection, rows, now: &now }.truncate().await?;
        }
        Ok(Self { connection, sink, batch, now, older: 0 })
    }

    /// Writes parts of the batch, one behind the other; after a fault nothing of them is left.
    async fn attempt(&mut self, next: &Try) -> Result<Result<Vec<DeadLetter>, Fault>, TargetError> {
        let older = self.older;
        execute(self.connection, "SAVEPOINT part").await?;
        match self.write_parts(next).await {
            Ok(refused) => {
                execute(self.connection, "RELEASE part").await?;
                Ok(Ok(refused))
            }
            Err(TargetError::Row(fault)) => {
                execute(self.connection, "ROLLBACK TO part").await?;
                execute(self.connection, "RELEASE part").await?;
                self.older = older;
                Ok(Err(fault))
            }
            Err(error) => Err(error),
        }
    }

    async fn write_parts(&mut self, next: &Try) -> Result<Vec<DeadLetter>, TargetError> {
        let mut refused = Vec::new();
        for part in &next.parts {
            let part = self.batch.part(part);
            let part = if next.is_vacated { part.vacated() } else { part };
            refused.extend(part.refused);
            for (rows, winners) in &part.tables {
                refused.extend(self.write(rows, winners).await?);
            }
        }
        Ok(refused)
    }

    /// Writes a table's rows that are no older than what the target has; returns the dead letters of
    /// those that found none to lean on.
    async fn write(
        &mut self,
        rows: &Rows,
        winners: &Winners,
    ) -> Result<Vec<DeadLetter>, TargetError> {
        if !rows.shape().is_guarded {
            return self.write_all(rows, winners).await;
        }
        let older = guard::sift(self.connection, self.sink, rows, &self.batch.steps).await?;
        if older.is_empty() {
            return self.write_all(rows, winners).await;
        }
        self.older += older.len();
        let Part { tables, mut refused } = self.batch.without(rows, &older);
        for (rows, winners) in &tables {
            refused.extend(self.write_all(rows, winners).await?);
        }
        Ok(refused)
    }

    async fn write_all(
        &mut self,
        rows: &Rows,
        winners: &Winners,
    ) -> Result<Vec<DeadLetter>, TargetError> {
        let Self { connection, sink, batch, now, .. } = self;
        let settled = taken::settle(connection, sink, (rows, winners), &batch.steps, now).await?;
        let winners = settled.as_ref().unwrap_or(winners);
        let mut table = Writer { connection, rows, now };
        let mut refused = Vec::new();
        if !winners.images.is_empty() {
            table.match_images(&batch.steps, &mut refused).await?;
            return Ok(refused);
        }
        table.delete(&winners.deletes).await?;
        if rows.shape().deletes == Deletes::Hard && rows.shape().others().next().is_some() {
            table.delete(&winners.renewed).await?;
        }
        table.upsert(&winners.upserts).await?;
        let missing = table.update(&winners.partial).await?;
        Ok(without_row(rows, &missing, &batch.steps))
    }

    /// Keeps what is refused.
    async fn finish(self, refused: &[DeadLetter]) -> Result<(), TargetError> {
        let Self { connection, sink, batch, now, .. } = self;
        for letter in batch.dead_letters.iter().chain(refused) {
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
        Ok(())
    }
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
pub(super) struct Writer<'a> {
    pub(super) connection: &'a mut SqliteConnection,
    pub(super) rows: &'a Rows,
    pub(super) now: &'a Arc<str>,
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

    /// Removes all rows but those of some keys, or marks them deleted.
    pub(super) async fn remove_others(&mut self, staying: &[Vec<u8>]) -> Result<(), TargetError> {
        let shape = Arc::clone(self.rows.shape());
        self.execute(&sql::begin_staying(&shape).into(), SqliteArguments::default()).await?;
        for (text, keys) in statements(staying, shape.key.len(), |rows| sql::stay(&shape, rows)) {
            let mut binds = SqliteArguments::default();
            keys.iter().try_for_each(|key| bind_cells(&mut binds, key))?;
            self.execute(&text, binds).await?;
        }
        let mut binds = SqliteArguments::default();
        self.bind_deleted_at(&mut binds)?;
        self.execute(&sql::remove_others(&shape).into(), binds).await?;
        self.execute(&sql::end_staying().into(), SqliteArguments::default()).await?;
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
            let is_written = self.execute(&text, binds).await? > 0;
            let is_there = is_written || (self.shape().skips_unchanged && self.stands(row).await?);
            if !is_there {
                missing.push(winner);
            }
        }
        Ok(missing)
    }

    /// Returns whether a row is there that cells may be written into.
    async fn stands(&mut self, row: &Row) -> Result<bool, TargetError> {
        let mut binds = SqliteArguments::default();
        bind_cells(&mut binds, self.rows.key(row))?;
        let text = sql::find(self.shape());
        // Names in the text are quoted by `sql`, and values are bound.
        let query = sqlx::query_with(AssertSqlSafe(text), binds);
        let found = query.fetch_optional(&mut *self.connection).await;
        Ok(found.map_err(TargetError::of_sqlite)?.is_some())
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
        done.map(|done| done.rows_affected()).map_err(|error| match TargetError::of_sqlite(error) {
            TargetError::Row(fault) => {
                let table = Some(self.shape().table.name.to_string());
                TargetError::Row(Fault { table, ..fault })
            }
            error => error,
        })
    }
}

/// Cuts rows into those of each statement, and makes each length's text once.
fn statements<T>(
    all: &[T],
    width: usize,
    text: impl Fn(usize) -> String,
) -> impl Iterator<Item = (Arc<str>, &[T])> {
    let mut rest = all;
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
    let query = fence::bind_partition(sqlx::query(sql::DEAD_LETTER), sink, partition)
        .bind(record.offset)
        .bind(&refusal.table)
        .bind(&record.key)
        .bind(&record.value)
        .bind(record.headers_text(str::to_owned))
        .bind(refusal.reason.name())
        .bind(&refusal.detail)
        .bind(&refusal.sqlstate)
        .bind(timestamp)
        .bind(now);
    query.execute(connection).await.map_err(TargetError::of_sqlite)?;
    Ok(())
}
