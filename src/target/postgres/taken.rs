//! Keys that were taken when a row moved to them: what the target has, and what earlier batches of
//! the same source transaction have found out.

use std::collections::HashMap;

use sqlx::Row as _;
use sqlx::postgres::PgArguments;

use crate::batch::Folded;
use crate::checkpoint::Step;
use crate::fold::{Taken, Winners};
use crate::rows::{Cells, Rows};
use crate::target::Sink;
use crate::target::postgres::catalog::Wire;
use crate::target::postgres::columns::Columns;
use crate::target::postgres::fence::partition_arguments;
use crate::target::postgres::session::{Session, bind};
use crate::target::postgres::sql;

/// Settles what a table's winners leave to the target, and keeps what a later batch may ask, before
/// any row is written; `None` when there is nothing to settle.
pub(super) async fn settle(
    session: &mut Session,
    sink: &Sink,
    (rows, winners): (&Rows, &Winners),
    wires: &[Wire],
    steps: &[Step],
) -> Result<Option<Winners>, sqlx::Error> {
    if winners.unsettled.is_empty() {
        return Ok(None);
    }
    let table = Table { sink, rows, steps };
    let found = table.ask(session, winners, wires).await?;
    let verdict =
        winners.unsettled.verdict(rows, |row| found.get(&row).copied().unwrap_or_default());
    table.keep(session, &verdict.kept).await?;
    Ok(Some(winners.settled(rows, &verdict)))
}

/// Forgets what nobody asks any more of transactions that others have followed.
pub(super) async fn forget(
    session: &mut Session,
    sink: &Sink,
    batch: &Folded,
) -> Result<(), sqlx::Error> {
    let last = || batch.last_halves.iter();
    let last = || last().filter_map(|(step, last)| Some((batch.steps.get(*step)?, *last)));
    if last().next().is_none() {
        return Ok(());
    }
    let mut arguments = partition_arguments(sink, last().map(|(step, _)| &step.partition))?;
    bind(&mut arguments, last().map(|(_, last)| last.transaction).collect::<Vec<_>>())?;
    bind(&mut arguments, last().map(|(_, last)| last.lsn).collect::<Vec<_>>())?;
    session.run(sql::FORGET_TAKEN.to_owned(), arguments).await.map(drop)
}

/// The rows of a table, and where they come from.
struct Table<'a> {
    sink: &'a Sink,
    rows: &'a Rows,
    steps: &'a [Step],
}

impl Table<'_> {
    /// Asks of each row's key what is known of its transaction, and whether the target has a row.
    async fn ask(
        &self,
        session: &mut Session,
        winners: &Winners,
        wires: &[Wire],
    ) -> Result<HashMap<usize, (Option<Taken>, bool)>, sqlx::Error> {
        let shape = self.rows.shape();
        let wires = shape.key.iter().filter_map(|&column| wires.get(column)).collect::<Vec<_>>();
        let asked = winners.unsettled.rows().collect::<Vec<_>>();
        let mut keys = Columns::new(&wires);
        for row in asked.iter().filter_map(|&row| self.rows.index().get(row)) {
            keys.push(Cells::new(self.rows.key(row)));
        }
        let mut arguments = self.arguments(&asked)?;
        let halves = asked.iter().filter_map(|&row| self.rows.half(row));
        bind(&mut arguments, halves.map(|half| half.lsn).collect::<Vec<_>>())?;
        let ordinals = asked.iter().map(|&row| i64::try_from(row).unwrap_or(i64::MAX));
        bind(&mut arguments, ordinals.collect::<Vec<_>>())?;
        keys.add_to(&mut arguments)?;
        let mut found = HashMap::new();
        for row in session.fetch(sql::ask_taken(shape, &wires), arguments).await? {
            let ordinal = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(usize::MAX);
            let kept = match row.try_get(1)? {
                Some(came_at) => {
                    let (was_taken, left_at) = (row.try_get(2)?, row.try_get(3)?);
                    Some(Taken { came_at, was_taken, left_at })
                }
                None => None,
            };
            found.insert(ordinal, (kept, row.try_get(4)?));
        }
        Ok(found)
    }

    async fn keep(
        &self,
        session: &mut Session,
        kept: &[(usize, Taken)],
    ) -> Result<(), sqlx::Error> {
        if kept.is_empty() {
            return Ok(());
        }
        let rows = kept.iter().map(|(row, _)| *row).collect::<Vec<_>>();
        let mut arguments = self.arguments(&rows)?;
        bind(&mut arguments, kept.iter().map(|(_, it)| it.came_at).collect::<Vec<_>>())?;
        bind(&mut arguments, kept.iter().map(|(_, it)| it.was_taken).collect::<Vec<_>>())?;
        bind(&mut arguments, kept.iter().map(|(_, it)| it.left_at).collect::<Vec<_>>())?;
        session.run(sql::KEEP_TAKEN.to_owned(), arguments).await.map(drop)
    }

    /// Begins arguments with the sink, the cluster, and of each row its partition, its transaction
    /// and its key.
    fn arguments(&self, rows: &[usize]) -> Result<PgArguments, sqlx::Error> {
        let index = || rows.iter().filter_map(|&row| self.rows.index().get(row));
        let steps = index().filter_map(|row| self.steps.get(row.step()));
        let mut arguments = partition_arguments(self.sink, steps.map(|step| &step.partition))?;
        let halves = rows.iter().filter_map(|&row| self.rows.half(row));
        bind(&mut arguments, halves.map(|half| half.transaction).collect::<Vec<_>>())?;
        bind(&mut arguments, index().map(|row| self.rows.named_key(row)).collect::<Vec<_>>())?;
        Ok(arguments)
    }
}
