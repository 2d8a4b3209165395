//! Writing the rows of one table: deletes, upserts and partial rows, by COPY, as arrays or one by one.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Row as _;
use sqlx::postgres::PgArguments;

use crate::fold::Winners;
use crate::rows::{Cell, Cells, Deletes, Keyless, Row, RowOp, Rows};
use crate::target::postgres::catalog::Wire;
use crate::target::postgres::columns::Columns;
use crate::target::postgres::copy;
use crate::target::postgres::error::refusal;
use crate::target::postgres::session::{Session, bind};
use crate::target::postgres::sql;

/// What a row of the index becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Delete,
    Image,
    Upsert,
    /// An upsert that leaves the same row alone.
    Change,
    /// An upsert in place of a row that is deleted: it keeps nothing of it.
    Renew,
    Partial,
}

/// How the rows of a table go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way<'a> {
    /// All at once.
    AtOnce,
    /// The same, new rows by COPY; with the time of the transaction.
    Copied(&'a [u8]),
    /// One by one, in the order they came.
    OneByOne,
}

/// What has become of a table's rows.
#[derive(Debug)]
pub(super) enum Written {
    /// They are there, but for those that found none of the target's to lean on.
    Without(Vec<usize>),
    /// They must go in the order they came.
    NotAtOnce,
    /// They cannot go by COPY; the SQLSTATE.
    NotCopied(String),
}

/// Writes the rows of one table.
pub(super) struct Writer<'a> {
    pub(super) session: &'a mut Session,
    pub(super) rows: &'a Rows,
    pub(super) wires: &'a [Wire],
}

impl Writer<'_> {
    /// Writes the winners.
    pub(super) async fn write(
        &mut self,
        winners: &Winners,
        way: Way<'_>,
    ) -> Result<Written, sqlx::Error> {
        let shape = self.rows.shape();
        if (shape.keyless, shape.key.is_empty()) == (Keyless::Match, true) {
            if let Way::OneByOne = way {
                return self.match_one_by_one().await.map(Written::Without);
            }
            if !self.write_as(Kind::Image, &winners.images).await?.is_empty() {
                return Ok(Written::NotAtOnce);
            }
        }
        // Without a key there is no row to keep values from.
        let (mut missing, upserts) = (Vec::new(), winners.upserts.iter().copied());
        let (partial, mut whole) = upserts.partition::<Vec<_>, _>(|&row| self.is_partial(row));
        missing.extend(partial);
        if let Way::OneByOne = way {
            missing.extend(self.write_one_by_one(winners, &whole).await?);
            return Ok(Written::Without(missing));
        }
        self.write_as(Kind::Delete, &winners.deletes).await?;
        if let Way::Copied(now) = way {
            let (new, others) = whole.into_iter().partition::<Vec<_>, _>(|&row| self.is_new(row));
            if let Err(error) = copy::write(self.session, self.rows, &new, now).await {
                return refusal(&error).map(Written::NotCopied).ok_or(error);
            }
            whole = others;
        }
        let is_renewed = |row: &usize| self.kind_of_whole(*row, winners) == Kind::Renew;
        let (renewed, others) = whole.into_iter().partition::<Vec<_>, _>(is_renewed);
        self.write_as(Kind::Renew, &renewed).await?;
        let kind = if shape.skips_unchanged { Kind::Change } else { Kind::Upsert };
        self.write_as(kind, &others).await?;
        missing.extend(self.write_as(Kind::Partial, &winners.partial).await?);
        Ok(Written::Without(missing))
    }

    async fn write_one_by_one(
        &mut self,
        winners: &Winners,
        whole: &[usize],
    ) -> Result<Vec<usize>, sqlx::Error> {
        let mut missing = Vec::new();
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

    /// Writes a table without a key in the order the changes came, its rows found by their images;
    /// returns those whose image is no row.
    async fn match_one_by_one(&mut self) -> Result<Vec<usize>, sqlx::Error> {
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

    fn is_new(&self, row: usize) -> bool {
        self.rows.index().get(row).is_some_and(|row| row.is_new)
    }

    /// Where a truncate stands before the rows, empties the table or marks all its rows deleted.
    pub(super) async fn truncate(&mut self) -> Result<(), sqlx::Error> {
        if self.rows.is_truncated() { self.empty().await } else { Ok(()) }
    }

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

    /// Removes all rows but those of some keys, whose cells are in the order of their columns' names,
    /// or marks them deleted.
    pub(super) async fn remove_others(&mut self, staying: &[Vec<u8>]) -> Result<(), sqlx::Error> {
        if staying.is_empty() {
            return self.empty().await;
        }
        let (shape, all) = (self.rows.shape(), self.wires);
        let key = shape.key_by_name();
        let wires = key.iter().filter_map(|&key| all.get(key)).collect::<Vec<_>>();
        let mut columns = Columns::new(&wires);
        staying.iter().for_each(|key| columns.push(Cells::new(key)));
        // In one statement: a row goes that none of the keys is of.
        let text = sql::remove_others(shape, &wires);
        self.session.run(text, columns.take()?).await.map(drop)
    }

    async fn write_as(&mut self, kind: Kind, rows: &[usize]) -> Result<Vec<usize>, sqlx::Error> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let (shape, all) = (self.rows.shape(), self.wires);
        match kind {
            Kind::Delete => {
                let wires = shape.key.iter().filter_map(|&key| all.get(key)).collect::<Vec<_>>();
                let text = sql::delete(shape, &wires);
                self.write_arrays(rows, &text, &wires, Rows::key).await?;
                Ok(Vec::new())
            }
            Kind::Upsert | Kind::Change | Kind::Renew => {
                let wires = all.iter().collect::<Vec<_>>();
                let text = match kind {
                    Kind::Renew => sql::renew(shape, &wires),
                    Kind::Change => sql::insert_others(shape, &wires),
                    _ => sql::insert(shape, &wires),
                };
                self.write_arrays(rows, &text, &wires, Rows::cells).await?;
                Ok(Vec::new())
            }
            Kind::Partial => self.update(rows).await,
            Kind::Image => {
                let wires = all.iter().collect::<Vec<_>>();
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
        let all = self.wires;
        let wires = available.iter().filter_map(|&column| all.get(column)).collect::<Vec<_>>();
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
            columns.push(Cells::new(part(self.rows, entry)));
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
