//! Keys that were taken when a row moved to them: what the target has, and what earlier batches of
//! the same source transaction have found out.

use std::collections::HashMap;

use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _, Sqlite, SqliteConnection};

use crate::batch::Folded;
use crate::checkpoint::Step;
use crate::fold::{Taken, Winners};
use crate::moves::Departure;
use crate::rows::Rows;
use crate::target::sqlite::apply::bind_cells;
use crate::target::sqlite::{fence, sql};
use crate::target::{Sink, TargetError};

/// Settles what a table's winners leave to the target, and keeps what a later batch may ask, before
/// any row is written; `None` when there is nothing to settle.
pub(super) async fn settle(
    connection: &mut SqliteConnection,
    sink: &Sink,
    (rows, winners): (&Rows, &Winners),
    steps: &[Step],
    now: &str,
) -> Result<Option<Winners>, TargetError> {
    if winners.unsettled.is_empty() {
        return Ok(None);
    }
    let table = Table { sink, rows, steps };
    let mut found = HashMap::new();
    for row in winners.unsettled.rows() {
        let kept = match table.bind(sql::FIND_TAKEN, row) {
            Some((query, lsn)) => query.bind(lsn).fetch_optional(&mut *connection).await,
            None => Ok(None),
        };
        let kept = kept.and_then(|kept| kept.as_ref().map(taken).transpose());
        let kept = kept.map_err(TargetError::of_sqlite)?;
        found.insert(row, (kept, table.is_there(connection, row).await?));
    }
    let verdict =
        winners.unsettled.verdict(rows, |row| found.get(&row).copied().unwrap_or_default());
    for &(row, Taken { came_at, was_taken, left_at }) in &verdict.kept {
        let Some((query, _)) = table.bind(sql::KEEP_TAKEN, row) else { continue };
        let query = query.bind(came_at).bind(was_taken).bind(left_at).bind(now);
        let kept = query.execute(&mut *connection).await;
        kept.map_err(TargetError::of_sqlite)?;
    }
    Ok(Some(winners.settled(rows, &verdict)))
}

fn taken(row: &SqliteRow) -> Result<Taken, sqlx::Error> {
    let (came_at, was_taken, left_at) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(Taken { came_at, was_taken, left_at })
}

/// Returns whether an earlier batch has written another row over the one that leaves.
pub(super) async fn is_over(
    connection: &mut SqliteConnection,
    sink: &Sink,
    step: &Step,
    departure: &Departure,
) -> Result<bool, TargetError> {
    let Some((half, key)) = &departure.half else { return Ok(false) };
    let query = fence::bind_partition(sqlx::query(sql::FIND_TAKEN), sink, &step.partition);
    let query = query.bind(half.transaction).bind(&**key).bind(half.lsn);
    let kept = query.fetch_optional(connection).await;
    let kept = kept.and_then(|kept| kept.as_ref().map(taken).transpose());
    let kept = kept.map_err(TargetError::of_sqlite)?;
    Ok(kept.is_some_and(|kept| kept.is_over(half.lsn)))
}

/// Forgets what nobody asks any more of transactions that others have followed.
pub(super) async fn forget(
    connection: &mut SqliteConnection,
    sink: &Sink,
    batch: &Folded,
) -> Result<(), TargetError> {
    for (step, last) in &batch.last_halves {
        let Some(step) = batch.steps.get(*step) else { continue };
        let query = sqlx::query(sql::FORGET_TAKEN);
        let query = fence::bind_partition(query, sink, &step.partition);
        let query = query.bind(last.transaction).bind(last.lsn);
        query.execute(&mut *connection).await.map_err(TargetError::of_sqlite)?;
    }
    Ok(())
}

/// The rows of a table, and where they come from.
struct Table<'a> {
    sink: &'a Sink,
    rows: &'a Rows,
    steps: &'a [Step],
}

impl<'a> Table<'a> {
    /// Binds a row's partition, its transaction and its key; returns its place in the source's log too.
    fn bind(
        &self,
        statement: &'static str,
        row: usize,
    ) -> Option<(Query<'a, Sqlite, SqliteArguments>, i64)> {
        let (half, row) = (self.rows.half(row)?, self.rows.index().get(row)?);
        let step = self.steps.get(row.step())?;
        let query = fence::bind_partition(sqlx::query(statement), self.sink, &step.partition);
        Some((query.bind(half.transaction).bind(self.rows.named_key(row)), half.lsn))
    }

    async fn is_there(
        &self,
        connection: &mut SqliteConnection,
        row: usize,
    ) -> Result<bool, TargetError> {
        let shape = self.rows.shape();
        let mut binds = SqliteArguments::default();
        let key = self.rows.index().get(row).map(|row| self.rows.key(row));
        bind_cells(&mut binds, key.unwrap_or_default())?;
        // The text comes from `sql`, which quotes every name.
        let text = AssertSqlSafe(sql::values_of(shape, &shape.key));
        let found = sqlx::query_with(text, binds).fetch_optional(connection).await;
        found.map(|found| found.is_some()).map_err(TargetError::of_sqlite)
    }
}
