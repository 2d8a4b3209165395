//! What rows leave behind whose keys change, and what creates find of it.

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Row as _, ValueRef as _};

use crate::checkpoint::Step;
use crate::moves::{Departure, MoveRequest, Moved, Sign};
use crate::rows::{Cells, Shape};
use crate::target::Sink;
use crate::target::postgres::catalog::Wire;
use crate::target::postgres::columns::Columns;
use crate::target::postgres::fence;
use crate::target::postgres::session::{Session, bind};
use crate::target::postgres::sql;

/// Leaves behind what a table's rows had, before any of them is written.
pub(super) async fn leave(
    session: &mut Session,
    sink: &Sink,
    (shape, wires): (&Shape, &[Wire]),
    departures: &[Departure],
    steps: &[Step],
) -> Result<(), sqlx::Error> {
    let key = shape.key.iter().filter_map(|&column| wires.get(column)).collect::<Vec<_>>();
    // One after the other where their columns differ, which a batch of one shape seldom has.
    for group in departures.chunk_by(|a, b| a.columns == b.columns) {
        let Some(columns) = group.first().map(|first| &first.columns) else { continue };
        let mut keys = Columns::new(&key);
        group.iter().for_each(|departure| keys.push(Cells::new(&departure.key)));
        let mut arguments = places(sink, group.iter(), steps)?;
        bind(&mut arguments, group.iter().map(|it| it.is_refused).collect::<Vec<_>>())?;
        let is_in_batch = group.iter().map(|departure| departure.otherwise.is_some());
        bind(&mut arguments, is_in_batch.collect::<Vec<_>>())?;
        let partitions = group.iter().map(|it| Some(steps.get(it.step)?.partition.partition));
        bind(&mut arguments, partitions.collect::<Vec<_>>())?;
        let halves = || group.iter().map(|departure| departure.half.as_ref());
        let transactions = halves().map(|half| half.map(|(half, _)| half.transaction));
        bind(&mut arguments, transactions.collect::<Vec<_>>())?;
        let lsns = halves().map(|half| half.map(|(half, _)| half.lsn));
        bind(&mut arguments, lsns.collect::<Vec<_>>())?;
        let named = halves().map(|half| half.map(|(_, key)| key.as_slice()));
        bind(&mut arguments, named.collect::<Vec<_>>())?;
        keys.add_to(&mut arguments)?;
        session.run(sql::leave(shape, columns, &key), arguments).await?;

        let in_batch = || group.iter().filter(|departure| departure.otherwise.is_some());
        if in_batch().next().is_none() {
            continue;
        }
        let taken = columns.iter().filter_map(|&column| wires.get(column)).collect::<Vec<_>>();
        let cells = in_batch().filter_map(|departure| departure.otherwise.as_deref());
        let chosen = cells.map(|cells| Cells::chosen(cells, columns)).collect::<Vec<_>>();
        let mut values = Columns::new(&taken);
        chosen.iter().for_each(|cells| values.push(Cells::new(cells)));
        let mut arguments = places(sink, in_batch(), steps)?;
        values.add_to(&mut arguments)?;
        session.run(sql::leave_of_batch(shape, columns, &taken), arguments).await?;
    }
    Ok(())
}

/// Begins arguments with the sink, the cluster, topics and places.
fn places<'d>(
    sink: &Sink,
    departures: impl Iterator<Item = &'d Departure>,
    steps: &[Step],
) -> Result<PgArguments, sqlx::Error> {
    let named = departures.filter_map(|departure| {
        let step = steps.get(departure.step)?;
        Some((&*step.partition.topic, departure.place.as_str()))
    });
    let (topics, places) = named.unzip::<_, _, Vec<_>, Vec<_>>();
    let mut arguments = fence::sink_arguments(sink)?;
    bind(&mut arguments, topics)?;
    bind(&mut arguments, places)?;
    Ok(arguments)
}

/// Finds what a row has left under its old key, or would leave if its batch were written now.
pub(super) async fn find(
    session: &mut Session,
    sink: &Sink,
    request: &MoveRequest,
    wires: &[Wire],
) -> Result<Option<Moved>, sqlx::Error> {
    let Some((departure, step)) = &request.leaves else {
        return find_left(session, sink, request, wires).await;
    };
    session.run_all(sql::START.to_owned()).await?;
    let table = (&*request.shape, wires);
    leave(session, sink, table, std::slice::from_ref(departure), std::slice::from_ref(step))
        .await?;
    let found = find_left(session, sink, request, wires).await?;
    session.run_all(sql::ROLLBACK.to_owned()).await?;
    Ok(found)
}

async fn find_left(
    session: &mut Session,
    sink: &Sink,
    request: &MoveRequest,
    wires: &[Wire],
) -> Result<Option<Moved>, sqlx::Error> {
    let MoveRequest { topic, place, shape, columns, .. } = request;
    let names = columns.iter().filter_map(|&column| shape.columns.get(column));
    let names = names.map(|column| column.name.as_str()).collect::<Vec<_>>();
    let mut arguments = fence::sink_arguments(sink)?;
    bind(&mut arguments, &**topic)?;
    bind(&mut arguments, place.as_str())?;
    bind(&mut arguments, names)?;
    let found = session.fetch(sql::find_left(shape, columns, wires), arguments).await?;
    let Some(row) = found.first() else { return Ok(None) };
    let (left, wanted): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    if left == 0 {
        return refused(session, sink, request).await;
    }
    if usize::try_from(wanted) != Ok(columns.len()) {
        return Ok(Some(Moved::Gone));
    }
    let values = (0..columns.len()).map(|at| value(row, at + 2)).collect::<Result<_, _>>()?;
    Ok(Some(Moved::Values(values)))
}

/// Finds the delete among the records that were refused because nobody could read them.
async fn refused(
    session: &mut Session,
    sink: &Sink,
    request: &MoveRequest,
) -> Result<Option<Moved>, sqlx::Error> {
    let Some(sign) = &request.sign else { return Ok(None) };
    let mut arguments = fence::sink_arguments(sink)?;
    bind(&mut arguments, &*request.topic)?;
    bind(&mut arguments, sign.sent_at - Sign::APART_MAX)?;
    bind(&mut arguments, sign.sent_at + Sign::APART_MAX)?;
    for row in session.fetch(sql::REFUSED_DELETES.to_owned(), arguments).await? {
        if sign.is_in(row.try_get(0)?) {
            return Ok(Some(Moved::Gone));
        }
    }
    Ok(None)
}

/// Reads a value as the server sends it, which is how a cell has it.
fn value(row: &PgRow, at: usize) -> Result<Option<Vec<u8>>, sqlx::Error> {
    let value = row.try_get_raw(at)?;
    if value.is_null() {
        return Ok(None);
    }
    value.as_bytes().map(|bytes| Some(bytes.to_vec())).map_err(sqlx::Error::Decode)
}
