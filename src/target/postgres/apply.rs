//! Apply: one transaction that carries rows, dead letters, schema changes and the checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Row as _;
use sqlx::postgres::PgArguments;
use tracing::warn;

use crate::batch::{Folded, without_row};
use crate::checkpoint::Step;
use crate::fold::Winners;
use crate::refused::DeadLetter;
use crate::rows::{Cell, Cells, Deletes, Keyless, Row, RowOp, Rows};
use crate::table::{Column, TableName};
use crate::target::postgres::catalog::{self, Described, Wire};
use crate::target::postgres::columns::Columns;
use crate::target::postgres::error::{Doing, sqlstate, target_error};
use crate::target::postgres::fence::{self, Lane, Standing};
use crate::target::postgres::session::{Session, bind};
use crate::target::postgres::{ddl, kept, leads, letters, moves, sql, taken};
use crate::target::{Applied, TargetError};

/// Applies the batch; after an error the session must be dropped.
pub(super) async fn apply(
    session: &mut Session,
    lane: Lane<'_>,
    batch: &Folded,
) -> Result<Applied, TargetError> {
    let steps = batch.steps.iter().filter(|step| step.moves()).collect::<Vec<_>>();
    assert!(batch.steps.iter().all(|step| step.from <= step.to), "no step goes back");
    let has_end = !steps.is_empty() || batch.replay.is_some();
    assert!(has_end || batch.tables.is_empty(), "rows come with a step");
    let mut one_by_one = BTreeSet::new();
    loop {
        let attempt = Attempt { lane, batch, steps: &steps, one_by_one: &one_by_one };
        match attempt.run(session).await {
            Ok(refused) => {
                session.run_all(sql::COMMIT.to_owned()).await.map_err(other)?;
                return Ok(Applied::Committed { refused });
            }
            Err(Failure::NotMoved { refused }) => {
                let standing = roll_back(session, lane, &steps).await?;
                // Before cannot be, unless the claim came back meanwhile: claiming again is safe.
                let all = || steps.iter().map(|step| step.partition.clone()).collect();
                return Ok(match standing {
                    Standing::After => Applied::Committed { refused },
                    Standing::Before => Applied::Fenced { partitions: all() },
                    Standing::Elsewhere(partitions) => Applied::Fenced { partitions },
                });
            }
            // One row at a time can meet it only in somebody's trigger.
            Err(Failure::TouchedTwice(table)) if one_by_one.contains(&table) => {
                let text = format!("a trigger of table \"{table}\" touches more than one row");
                return verdict(session, lane, &steps, TargetError::Statement(text.into())).await;
            }
            Err(Failure::TouchedTwice(table)) => {
                session.run_all(sql::ROLLBACK.to_owned()).await.map_err(other)?;
                one_by_one.insert(table);
            }
            Err(Failure::Unmatched(table)) => {
                session.run_all(sql::ROLLBACK.to_owned()).await.map_err(other)?;
                one_by_one.insert(table);
            }
            Err(Failure::Target(error)) => return verdict(session, lane, &steps, error).await,
        }
    }
}

/// Passes an error on, if the partitions are still ours: a stale member's rows meet all kinds.
async fn verdict(
    session: &mut Session,
    lane: Lane<'_>,
    steps: &[&Step],
    error: TargetError,
) -> Result<Applied, TargetError> {
    match error {
        TargetError::Unreachable(_)
        | TargetError::Untrusted(_)
        | TargetError::Busy(_)
        | TargetError::Exhausted(_) => return Err(error),
        TargetError::StaleLayout { .. }
        | TargetError::Denied(_)
        | TargetError::Row { .. }
        | TargetError::Statement(_) => {}
    }
    match roll_back(session, lane, steps).await? {
        Standing::Before => Err(error),
        Standing::After => Ok(Applied::Committed { refused: Vec::new() }),
        Standing::Elsewhere(partitions) => Ok(Applied::Fenced { partitions }),
    }
}

async fn roll_back(
    session: &mut Session,
    lane: Lane<'_>,
    steps: &[&Step],
) -> Result<Standing, TargetError> {
    session.run_all(sql::ROLLBACK.to_owned()).await.map_err(other)?;
    fence::standing(session, lane.sink, steps).await.map_err(other)
}

fn other(error: sqlx::Error) -> TargetError {
    target_error(error, Doing::Other)
}

/// Why an attempt did not reach COMMIT.
#[derive(Debug)]
enum Failure {
    /// A partition was not where the batch begins, or not ours.
    NotMoved {
        refused: Vec<DeadLetter>,
    },
    /// The server finds two keys of the batch equal that differ as bytes.
    TouchedTwice(TableName),
    /// An image before is no row of a table without a key: which changes that concerns shows only in
    /// the order they came.
    Unmatched(TableName),
    Target(TargetError),
}

impl From<TargetError> for Failure {
    fn from(error: TargetError) -> Self {
        Self::Target(error)
    }
}

/// One transaction, up to its COMMIT.
struct Attempt<'a> {
    lane: Lane<'a>,
    batch: &'a Folded,
    /// The steps that move.
    steps: &'a [&'a Step],
    /// Tables whose rows go one by one, in the order they came.
    one_by_one: &'a BTreeSet<TableName>,
}

impl Attempt<'_> {
    /// Does everything but COMMIT; returns the partial rows that found no row.
    async fn run(&self, session: &mut Session) -> Result<Vec<DeadLetter>, Failure> {
        let tables = self.batch.tables.iter().map(|(rows, _)| rows.shape().table.as_ref());
        let names = tables.map(|table| &table.name).collect::<Vec<_>>();
        self.start(session, &names).await?;
        leads::enter(session, &self.batch.leads).await?;
        let described = catalog::describe(session, &names).await.map_err(other)?;
        let mut refused = Vec::new();
        for ((rows, winners), described) in self.batch.tables.iter().zip(&described) {
            let table = &rows.shape().table.name;
            let wires = wires(&rows.shape().columns, described);
            let wires = wires.ok_or_else(|| TargetError::StaleLayout { table: table.clone() })?;
            let is_one_by_one = self.one_by_one.contains(table);
            let left = moves::leave(session, self.lane.sink, rows, &wires, &self.batch.steps).await;
            left.map_err(|error| rows_failure(error, table))?;
            let settled =
                taken::settle(session, self.lane.sink, (rows, winners), &wires, &self.batch.steps)
                    .await;
            let settled = settled.map_err(|error| rows_failure(error, table))?;
            let winners = settled.as_ref().unwrap_or(winners);
            let mut writer = Writer { session, rows, wires };
            let missing = match (rows.shape().keyless, rows.shape().key.is_empty()) {
                (Keyless::Match, true) if is_one_by_one => writer.match_one_by_one().await,
                (Keyless::Match, true) => match writer.match_images(winners).await {
                    Ok(true) => Ok(Vec::new()),
                    Ok(false) => return Err(Failure::Unmatched(table.clone())),
                    Err(error) => Err(error),
                },
                _ => writer.write(winners, is_one_by_one).await,
            };
            let missing = missing.map_err(|error| rows_failure(error, table))?;
            let steps = &self.batch.steps;
            refused.extend(without_row(rows, &missing, steps));
        }
        let all = self.batch.dead_letters.iter().chain(&refused).collect::<Vec<_>>();
        let sink = self.lane.sink;
        letters::keep(session, sink, &all).await.map_err(other)?;
        letters::mark_keys(session, sink, &self.batch.key_marks).await.map_err(other)?;
        taken::forget(session, sink, self.batch).await.map_err(other)?;
        if !names.is_empty() {
            let check = session.run_all(sql::CHECK_CONSTRAINTS.to_owned()).await;
            check.map_err(|error| deferred_failure(error, &names))?;
        }
        let ended = match &self.batch.replay {
            Some(replay) if all.is_empty() => kept::settle(session, sink, replay).await,
            _ => fence::advance(session, self.lane, self.steps).await,
        };
        match ended.map_err(other)? {
            true => Ok(refused),
            false => Err(Failure::NotMoved { refused }),
        }
    }

    /// Begins, changes tables where the batch says so, and holds the tables as they are.
    async fn start(&self, session: &mut Session, names: &[&TableName]) -> Result<(), Failure> {
        let locked = if self.batch.schema_changes.is_empty() {
            session.run_all(sql::start(names)).await
        } else {
            session.run_all(sql::start(&[])).await.map_err(other)?;
            ddl::change(session, &self.batch.schema_changes).await?;
            if names.is_empty() { Ok(()) } else { session.run_all(sql::lock(names)).await }
        };
        locked.map_err(|error| {
            let message = error.to_string();
            let quoted = |name: &TableName| {
                message.contains(&format!("\"{name}\""))
                    || message.contains(&format!("\"{}\"", sql::schema(name)))
            };
            let table = names.iter().find(|name| quoted(name)).or(names.first());
            let doing = table.map_or(Doing::Other, |table| Doing::Rows(table));
            Failure::Target(target_error(error, doing))
        })
    }
}

/// Finds the way of each column's cells; `None` when the table is not as they were encoded for.
pub(super) fn wires(columns: &[Column], described: &[Described]) -> Option<Vec<Wire>> {
    let facts = |column: &Column| (column.type_id, column.modifier, column.generated);
    columns
        .iter()
        .map(|column| {
            let found = described.iter().find(|found| found.column.name == column.name)?;
            (facts(&found.column) == facts(column)).then(|| found.wire.clone())
        })
        .collect()
}

fn rows_failure(error: sqlx::Error, table: &TableName) -> Failure {
    if sqlstate(&error).as_deref() == Some("21000") {
        return Failure::TouchedTwice(table.clone());
    }
    let error = target_error(error, Doing::Rows(table));
    if matches!(error, TargetError::StaleLayout { .. }) {
        warn!(%table, "the server does not know the table as the catalogue has it");
    }
    Failure::Target(error)
}

/// Names the table of a deferred constraint where there is only one.
fn deferred_failure(error: sqlx::Error, names: &[&TableName]) -> Failure {
    match names {
        [table] => Failure::Target(target_error(error, Doing::Rows(table))),
        _ => Failure::Target(target_error(error, Doing::Other)),
    }
}

/// What a row of the index becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Delete,
    Image,
    Upsert,
    /// An upsert in place of a row that is deleted: it keeps nothing of it.
    Renew,
    Partial,
}

/// Writes the rows of one table.
struct Writer<'a> {
    session: &'a mut Session,
    rows: &'a Rows,
    wires: Vec<Wire>,
}

impl Writer<'_> {
    /// Writes the winners; returns the partial rows that found no row to keep values from.
    async fn write(
        &mut self,
        winners: &Winners,
        is_one_by_one: bool,
    ) -> Result<Vec<usize>, sqlx::Error> {
        if self.rows.is_truncated() {
            self.empty().await?;
        }
        // Without a key there is no row to keep values from.
        let (mut missing, upserts) = (Vec::new(), winners.upserts.iter().copied());
        let (partial, whole) = upserts.partition::<Vec<_>, _>(|&row| self.is_partial(row));
        missing.extend(partial);
        if !is_one_by_one {
            self.write_as(Kind::Delete, &winners.deletes).await?;
            let is_renewed = |row: &usize| self.kind_of_whole(*row, winners) == Kind::Renew;
            let (renewed, others) = whole.into_iter().partition::<Vec<_>, _>(is_renewed);
            self.write_as(Kind::Renew, &renewed).await?;
            self.write_as(Kind::Upsert, &others).await?;
            missing.extend(self.write_as(Kind::Partial, &winners.partial).await?);
            return Ok(missing);
        }
        let deletes = winners.deletes.iter().map(|&row| (row, Kind::Delete));
        let upserts = whole.iter().map(|&row| (row, self.kind_of_whole(row, winners)));
        let partial = winners.partial.iter().map(|&row| (row, Kind::Partial));
        let mut in_order = deletes.chain(upserts).chain(partial).collect::<Vec<_>>();
        in_order.sort_by_key(|(row, _)| *row);
        for (row, kind) in in_order {
            missing.extend(self.write_as(kind, &[row]).await?);
        }
        Ok(missing)
    }

    /// Decides whether a row keeps what the target has beside its cells: a row that is marked deleted
    /// does.
    fn kind_of_whole(&self, row: usize, winners: &Winners) -> Kind {
        let shape = self.rows.shape();
        if winners.renewed.is_empty() || shape.deletes != Deletes::Hard {
            return Kind::Upsert;
        }
        let key_of = |row: usize| self.rows.index().get(row).map(|row| self.rows.key(row));
        let found = winners.renewed.binary_search_by_key(&key_of(row), |it| key_of(*it));
        if found.is_ok() && shape.others().next().is_some() { Kind::Renew } else { Kind::Upsert }
    }

    /// Writes a table without a key whose rows are found by their images; `false` when one is not.
    async fn match_images(&mut self, winners: &Winners) -> Result<bool, sqlx::Error> {
        if self.rows.is_truncated() {
            self.empty().await?;
        }
        if !self.write_as(Kind::Image, &winners.images).await?.is_empty() {
            return Ok(false);
        }
        self.write_as(Kind::Upsert, &winners.upserts).await.map(|_| true)
    }

    /// Does the same in the order the changes came; returns those whose image is no row.
    async fn match_one_by_one(&mut self) -> Result<Vec<usize>, sqlx::Error> {
        if self.rows.is_truncated() {
            self.empty().await?;
        }
        let mut missing = Vec::new();
        for (at, row) in self.rows.index().iter().enumerate() {
            if !self.rows.key(row).is_empty()
                && !self.write_as(Kind::Image, &[at]).await?.is_empty()
            {
                missing.push(at);
            } else if row.op == RowOp::Upsert {
                self.write_as(Kind::Upsert, &[at]).await?;
            }
        }
        Ok(missing)
    }

    fn is_partial(&self, row: usize) -> bool {
        self.rows.index().get(row).is_some_and(|row| row.is_partial)
    }

    /// Empties the table, or marks all its rows deleted.
    async fn empty(&mut self) -> Result<(), sqlx::Error> {
        let shape = self.rows.shape();
        let table = &shape.table.name;
        let text = match &shape.deletes {
            Deletes::Ignore => return Ok(()),
            Deletes::Soft(deleted_at) => sql::mark_all_deleted(shape, deleted_at),
            Deletes::Hard => {
                let mut arguments = PgArguments::default();
                bind(&mut arguments, sql::schema(table))?;
                bind(&mut arguments, table.table.as_str())?;
                let rows = self.session.fetch(sql::IS_TRUNCATABLE.to_owned(), arguments).await?;
                match rows.first().map(|row| row.try_get(0)).transpose()? {
                    Some(true) => sql::truncate(table),
                    Some(false) | None => sql::remove_all(table),
                }
            }
        };
        self.session.run(text, PgArguments::default()).await.map(drop)
    }

    async fn write_as(&mut self, kind: Kind, rows: &[usize]) -> Result<Vec<usize>, sqlx::Error> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let shape = self.rows.shape();
        match kind {
            Kind::Delete => {
                let wires = shape.key.iter().filter_map(|&key| self.wires.get(key).cloned());
                let wires = wires.collect::<Vec<_>>();
                let wires = wires.iter().collect::<Vec<_>>();
                let text = sql::delete(shape, &wires);
                self.write_arrays(rows, &text, &wires, Rows::key).await?;
                Ok(Vec::new())
            }
            Kind::Upsert | Kind::Renew => {
                let wires = self.wires.clone();
                let wires = wires.iter().collect::<Vec<_>>();
                let text = match kind {
                    Kind::Renew => sql::renew(shape, &wires),
                    _ => sql::insert(shape, &wires),
                };
                self.write_arrays(rows, &text, &wires, Rows::cells).await?;
                Ok(Vec::new())
            }
            Kind::Partial => self.update(rows).await,
            Kind::Image => {
                let wires = self.wires.clone();
                let wires = wires.iter().collect::<Vec<_>>();
                let text = sql::delete_images(shape, &wires);
                self.write_counted(rows, &text, &wires, Rows::key).await
            }
        }
    }

    /// Sends rows as arrays, in as few statements as their size allows.
    async fn write_arrays(
        &mut self,
        rows: &[usize],
        text: &str,
        wires: &[&Wire],
        part: for<'r> fn(&'r Rows, &Row) -> &'r [u8],
    ) -> Result<(), sqlx::Error> {
        let mut columns = Columns::new(wires);
        for row in rows.iter().filter_map(|&row| self.rows.index().get(row)) {
            columns.push(Cells::new(part(self.rows, row)));
            if columns.is_full() {
                self.session.run(text.to_owned(), columns.take()?).await?;
            }
        }
        if !columns.is_empty() {
            self.session.run(text.to_owned(), columns.take()?).await?;
        }
        Ok(())
    }

    /// Updates what partial rows have, by the set of columns that they have.
    async fn update(&mut self, rows: &[usize]) -> Result<Vec<usize>, sqlx::Error> {
        let mut by_columns = BTreeMap::<Vec<usize>, Vec<usize>>::new();
        for &row in rows {
            if let Some(entry) = self.rows.index().get(row) {
                let cells = Cells::new(self.rows.cells(entry)).enumerate();
                let available = cells.filter(|(_, cell)| *cell != Cell::Unavailable);
                let available = available.map(|(column, _)| column).collect();
                by_columns.entry(available).or_default().push(row);
            }
        }
        let mut missing = Vec::new();
        for (available, rows) in by_columns {
            missing.extend(self.update_columns(&available, &rows).await?);
        }
        missing.sort_unstable();
        Ok(missing)
    }

    async fn update_columns(
        &mut self,
        available: &[usize],
        rows: &[usize],
    ) -> Result<Vec<usize>, sqlx::Error> {
        let wires = available.iter().filter_map(|&column| self.wires.get(column).cloned());
        let wires = wires.collect::<Vec<_>>();
        let wires = wires.iter().collect::<Vec<_>>();
        let text = sql::update(self.rows.shape(), available, &wires);
        self.write_counted(rows, &text, &wires, Rows::cells).await
    }

    /// Sends rows as arrays with their ordinals, and returns those that do not come back.
    async fn write_counted(
        &mut self,
        rows: &[usize],
        text: &str,
        wires: &[&Wire],
        part: for<'r> fn(&'r Rows, &Row) -> &'r [u8],
    ) -> Result<Vec<usize>, sqlx::Error> {
        let mut missing = rows.iter().copied().collect::<BTreeSet<_>>();
        let (mut columns, mut ordinals) = (Columns::new(wires), Vec::new());
        for (&row, is_last) in rows.iter().zip((1..=rows.len()).map(|count| count == rows.len())) {
            let Some(entry) = self.rows.index().get(row) else { continue };
            let cells = Cells::new(part(self.rows, entry));
            columns.push(cells.filter(|cell| *cell != Cell::Unavailable));
            ordinals.push(i64::try_from(row).unwrap_or(i64::MAX));
            if columns.is_full() || is_last {
                let mut arguments = columns.take()?;
                bind(&mut arguments, std::mem::take(&mut ordinals))?;
                for found in self.session.fetch(text.to_owned(), arguments).await? {
                    let ordinal = usize::try_from(found.try_get::<i64, _>(0)?);
                    missing.remove(&ordinal.unwrap_or(usize::MAX));
                }
            }
        }
        Ok(missing.into_iter().collect())
    }
}
