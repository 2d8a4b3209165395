//! Parts of a batch: some of its rows, folded as if there were no others.

use std::collections::BTreeSet;

use crate::batch::{Folded, fold_tables};
use crate::fold::{Winners, last_halves};
use crate::refused::DeadLetter;
use crate::rows::{Row, Rows};

/// Where a row of a batch lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// An index into [`Folded::tables`].
    pub table: usize,
    /// An index into [`Rows::index`].
    pub row: usize,
}

/// Some rows of a batch, with what the fold refuses of them.
#[derive(Debug)]
pub struct Part {
    /// Rows with their winners, in the order of the tables' names.
    pub tables: Vec<(Rows, Winners)>,
    /// Refused records.
    pub refused: Vec<DeadLetter>,
}

impl Part {
    /// Has all whole rows of the part's keys go before they are written, so that they may exchange what
    /// each must have for itself.
    pub fn vacated(mut self) -> Self {
        for (_, winners) in &mut self.tables {
            winners.deletes.extend_from_slice(&winners.upserts);
        }
        self
    }
}

impl Folded {
    /// Lists the rows that the fold has not refused, as far as is known in the source's order: a
    /// connector sends in that order, and a partition keeps it.
    pub fn in_source_order(&self) -> Vec<Place> {
        let mut sent = Vec::new();
        for (table, (rows, winners)) in self.tables.iter().enumerate() {
            let refused = winners.refused.iter().copied().collect::<BTreeSet<_>>();
            let index = rows.index().iter().enumerate().filter(|(row, _)| !refused.contains(row));
            sent.extend(index.map(|(row, found)| {
                (found.sent_at, found.step(), found.offset, Place { table, row })
            }));
        }
        sent.sort_by_key(|(_, step, offset, _)| (*step, *offset));
        let mut before = None;
        for (sent_at, step, ..) in &mut sent {
            // A clock that was set back must not change a partition's order.
            if let Some((_, latest)) = before.filter(|(of, _)| of == step) {
                *sent_at = (*sent_at).max(latest);
            }
            before = Some((*step, *sent_at));
        }
        sent.sort_by_key(|(sent_at, step, offset, _)| (*sent_at, *step, *offset));
        sent.into_iter().map(|(.., place)| place).collect()
    }

    /// Returns the row at a place.
    pub fn row(&self, place: Place) -> Option<(&Rows, &Row)> {
        let (rows, _) = self.tables.get(place.table)?;
        Some((rows, rows.index().get(place.row)?))
    }

    /// Folds some rows by themselves; applied one after the other, the parts of a batch leave what
    /// the batch would.
    pub fn part(&self, places: &[Place]) -> Part {
        let mut by_table = vec![Vec::new(); self.tables.len()];
        for place in places {
            if let Some(rows) = by_table.get_mut(place.table) {
                rows.push(place.row);
            }
        }
        let tables = self.tables.iter().zip(by_table).filter(|(_, chosen)| !chosen.is_empty());
        let tables = tables.map(|((rows, _), chosen)| rows.part(&chosen)).collect::<Vec<_>>();
        self.folded(tables)
    }

    /// Folds a table's rows without some of them, each as its record has it.
    pub fn without(&self, rows: &Rows, others: &[usize]) -> Part {
        self.folded(vec![rows.without(others)])
    }

    fn folded(&self, tables: Vec<Rows>) -> Part {
        let last_halves = last_halves(tables.iter());
        let (tables, refused) = fold_tables(tables, &last_halves, &self.steps);
        Part { tables, refused }
    }
}
