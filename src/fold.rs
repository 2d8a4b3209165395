//! The fold: the last image of each key in a batch, in key order.

use std::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::rows::{RowOp, Rows};

/// The changes of a table that decide its end state; each entry is an index into [`Rows::index`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Winners {
    /// Whole rows, in key order; without a key, every row as it came.
    pub upserts: Vec<usize>,
    /// Rows with unavailable cells, which the target's row must supply, in key order.
    pub partial: Vec<usize>,
    /// Keys whose row goes, in key order.
    pub deletes: Vec<usize>,
    /// Rows whose unavailable cells nothing can supply, because the row before them was deleted.
    pub refused: Vec<usize>,
}

/// Finds the winners of a table.
///
/// Applying the winners leaves the table as applying every change in turn would. That holds because
/// the changes of a key come in source order, and because a change carries the whole row but for
/// unavailable cells, which keep the value under them: that of the key's last change in the batch,
/// else the target's.
pub fn fold(rows: &mut Rows) -> Winners {
    if rows.shape().key.is_empty() {
        return Winners { upserts: (0..rows.index().len()).collect(), ..Winners::default() };
    }
    let mut winners = Winners::default();
    let mut last = last_of_each_key(rows, &mut winners.refused);
    last.sort_unstable_by(|&a, &b| key_at(rows, a).cmp(key_at(rows, b)));
    for row in last {
        match rows.index().get(row).map(|found| (found.op, found.is_partial)) {
            Some((RowOp::Delete, _)) => winners.deletes.push(row),
            Some((RowOp::Upsert, true)) => winners.partial.push(row),
            Some((RowOp::Upsert, false)) | None => winners.upserts.push(row),
        }
    }
    winners
}

/// Keeps the last change of each key, its unavailable cells filled from the change before it.
fn last_of_each_key(rows: &mut Rows, refused: &mut Vec<usize>) -> Vec<usize> {
    let hasher = DefaultHashBuilder::default();
    let mut last = HashTable::<usize>::with_capacity(rows.index().len());
    for row in 0..rows.index().len() {
        let key = key_at(rows, row);
        let same = |&other: &usize| key_at(rows, other) == key;
        let rehash = |&other: &usize| hasher.hash_one(key_at(rows, other));
        let before = match last.entry(hasher.hash_one(key), same, rehash) {
            Entry::Vacant(entry) => {
                entry.insert(row);
                continue;
            }
            Entry::Occupied(mut entry) => {
                let before = *entry.get();
                if is_partial(rows, row) && is_delete(rows, before) {
                    refused.push(row);
                    continue;
                }
                *entry.get_mut() = row;
                before
            }
        };
        if is_partial(rows, row) {
            rows.overlay(row, before);
        }
    }
    last.into_iter().collect()
}

fn key_at(rows: &Rows, row: usize) -> &[u8] {
    rows.index().get(row).map(|row| rows.key(row)).unwrap_or_default()
}

fn is_partial(rows: &Rows, row: usize) -> bool {
    rows.index().get(row).is_some_and(|row| row.is_partial)
}

fn is_delete(rows: &Rows, row: usize) -> bool {
    rows.index().get(row).is_some_and(|row| row.op == RowOp::Delete)
}
