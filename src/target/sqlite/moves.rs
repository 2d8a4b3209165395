//! What rows leave behind whose keys change, and what creates find of it.
//!
//! Values stand there as the cells that an encoder would write.

use std::time::{Duration, UNIX_EPOCH};

use sqlx::sqlite::{SqliteArguments, SqliteRow, SqliteValueRef};
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection, TypeInfo as _, ValueRef as _};

use crate::checkpoint::Step;
use crate::moves::{Departure, MoveRequest, Moved, Sign};
use crate::rows::{Cell, Cells, Shape};
use crate::target::sqlite::apply::bind_cells;
use crate::target::sqlite::encode::{self, Content};
use crate::target::sqlite::{Writing, sql, taken, time_text};
use crate::target::{Sink, TargetError};

/// How long what was left is kept.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

const PRESENT: &str = "present";

const ABSENT: &str = "absent";

/// Leaves behind what a table's rows had, before any of them is written.
pub(super) async fn leave(
    connection: &mut SqliteConnection,
    sink: &Sink,
    (shape, departures): (&Shape, &[Departure]),
    steps: &[Step],
    now: &str,
) -> Result<(), TargetError> {
    for departure in departures {
        let Some(step) = steps.get(departure.step) else { continue };
        let (state, cells) = match taken::is_over(connection, sink, step, departure).await? {
            // What the row had went when the other one came.
            true => (ABSENT, vec![None; departure.columns.len()]),
            false => left(connection, shape, departure).await?,
        };
        let topic = &*step.partition.topic;
        for (&column, cell) in departure.columns.iter().zip(&cells) {
            let name = shape.columns.get(column).map(|column| column.name.as_str());
            let query = sqlx::query(sql::LEAVE).bind(&sink.name).bind(&sink.cluster_id);
            let query = query.bind(topic).bind(&departure.place).bind(name);
            let query = query.bind(state).bind(cell.as_deref()).bind(now);
            query.execute(&mut *connection).await.map_err(TargetError::of_sqlite)?;
        }
    }
    Ok(())
}

/// Returns whether a row's values can be had, and their cells.
async fn left(
    connection: &mut SqliteConnection,
    shape: &Shape,
    departure: &Departure,
) -> Result<(&'static str, Vec<Option<Vec<u8>>>), TargetError> {
    let nothing = || vec![None; departure.columns.len()];
    if departure.is_refused {
        return Ok(("refused", nothing()));
    }
    let mut binds = SqliteArguments::default();
    bind_cells(&mut binds, &departure.key)?;
    // The text comes from `sql`, which quotes every name.
    let text = AssertSqlSafe(sql::values_of(shape, &departure.columns));
    let found = sqlx::query_with(text, binds).fetch_optional(connection).await;
    if let Some(row) = found.map_err(TargetError::of_sqlite)? {
        let cells = (0..departure.columns.len()).map(|at| cell(&row, at));
        let cells = cells.collect::<Result<_, _>>().map_err(TargetError::of_sqlite)?;
        return Ok((PRESENT, cells));
    }
    let Some(cells) = &departure.otherwise else { return Ok((ABSENT, nothing())) };
    let of_batch = Cells::new(cells).enumerate();
    let of_batch = of_batch.filter(|(column, _)| departure.columns.contains(column));
    let of_batch = of_batch.map(|(_, cell)| match cell {
        Cell::Content(content) => Some(content.to_vec()),
        Cell::Null | Cell::Unavailable => None,
    });
    Ok((PRESENT, of_batch.collect()))
}

fn cell(row: &SqliteRow, at: usize) -> Result<Option<Vec<u8>>, sqlx::Error> {
    let value: SqliteValueRef<'_> = row.try_get_raw(at)?;
    if value.is_null() {
        return Ok(None);
    }
    let kind = value.type_info();
    let mut cell = Vec::new();
    match kind.name() {
        "INTEGER" => encode::write(Content::Int(row.try_get_unchecked(at)?), &mut cell),
        "REAL" => encode::write(Content::Real(row.try_get_unchecked(at)?), &mut cell),
        "BLOB" => encode::write(Content::Blob(row.try_get_unchecked(at)?), &mut cell),
        _ => encode::write(Content::Text(row.try_get_unchecked(at)?), &mut cell),
    }
    Ok(Some(cell))
}

/// Forgets what was left long ago: a partition that is further behind than that refuses its creates.
pub(super) async fn forget(writing: &mut Writing, sink: &Sink) -> Result<(), TargetError> {
    let query = sqlx::query(sql::FORGET_MOVES).bind(&sink.name).bind(&sink.cluster_id);
    let query = query.bind(time_text(writing.now - KEPT));
    query.execute(&mut writing.connection).await.map_err(TargetError::of_sqlite)?;
    let query = sqlx::query(sql::FORGET_OLD_TAKEN).bind(&sink.name).bind(&sink.cluster_id);
    let query = query.bind(time_text(writing.now - KEPT));
    query.execute(&mut writing.connection).await.map(drop).map_err(TargetError::of_sqlite)
}

/// Finds what a row has left under its old key.
pub(super) async fn find_left(
    connection: &mut SqliteConnection,
    sink: &Sink,
    request: &MoveRequest,
) -> Result<Option<Moved>, TargetError> {
    let query = sqlx::query_as::<_, (String, String, Option<Vec<u8>>)>(sql::FIND_LEFT);
    let query = query.bind(&sink.name).bind(&sink.cluster_id);
    let query = query.bind(&*request.topic).bind(&request.place);
    let left = query.fetch_all(&mut *connection).await.map_err(TargetError::of_sqlite)?;
    if left.is_empty() {
        return refused(connection, sink, request).await;
    }
    let names = request.columns.iter().filter_map(|&column| request.shape.columns.get(column));
    let values = names.map(|column| {
        let mut left = left.iter();
        let found = left.find(|(name, state, _)| *name == column.name && state == PRESENT);
        found.map(|(_, _, cell)| cell.clone())
    });
    Ok(Some(values.collect::<Option<Vec<_>>>().map_or(Moved::Gone, Moved::Values)))
}

/// Finds the delete among the records that were refused because nobody could read them.
async fn refused(
    connection: &mut SqliteConnection,
    sink: &Sink,
    request: &MoveRequest,
) -> Result<Option<Moved>, TargetError> {
    let Some(sign) = &request.sign else { return Ok(None) };
    let moment = |millis: i64| {
        time_text(UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or_default()))
    };
    let query = sqlx::query_scalar::<_, String>(sql::REFUSED_DELETES);
    let query = query.bind(&sink.name).bind(&sink.cluster_id).bind(&*request.topic);
    let query = query.bind(moment(sign.sent_at - Sign::APART_MAX));
    let query = query.bind(moment(sign.sent_at + Sign::APART_MAX));
    let headers = query.fetch_all(connection).await.map_err(TargetError::of_sqlite)?;
    Ok(headers.iter().any(|headers| sign.is_in(headers)).then_some(Moved::Gone))
}
