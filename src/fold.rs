//! The fold: the last image of each key in a batch, in key order.

use std::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashSet, HashTable};

use crate::rows::{RowOp, Rows};

mod moves;
#[cfg(test)]
mod tests;

use moves::Moves;

pub(crate) use moves::last_halves;
pub use moves::{Arrived, Passed, Taken, Under, Unsettled, Verdict};

/// The changes of a table that decide its end state; each entry is an index into [`Rows::index`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Winners {
    /// Whole rows, in key order; without a key, in the order they came.
    pub upserts: Vec<usize>,
    /// Those of them that a delete of their key has come before in the batch, in key order: what no
    /// cell says is as in a new row.
    pub renewed: Vec<usize>,
    /// Rows with unavailable cells, which the target's row must supply, in key order. One of them may
    /// have a delete of its key before it that is in doubt.
    pub partial: Vec<usize>,
    /// Keys whose row goes, in key order.
    pub deletes: Vec<usize>,
    /// Without a key: changes whose image before is a row of the target's, which goes.
    pub images: Vec<usize>,
    /// Rows whose unavailable cells nothing can supply, because the row before them was deleted.
    pub refused: Vec<usize>,
    /// What [`Winners::settled`] needs to be told first.
    pub unsettled: Unsettled,
}

/// Finds the winners of a table.
///
/// Applying the winners leaves the table as applying every change in turn would. That holds because
/// the changes of a key come in source order, and because a change carries the whole row but for
/// unavailable cells, which keep the value under them: that of the key's last change in the batch,
/// else the target's.
pub fn fold(rows: &mut Rows) -> Winners {
    if rows.shape().key.is_empty() {
        return match_images(rows);
    }
    let mut winners = Winners::default();
    let mut moves = Moves::default();
    let mut renewed = HashSet::new();
    let last = last_of_each_key(rows, (&mut moves, &mut renewed), &mut winners.refused);
    for row in in_key_order(rows, &last) {
        match moves.passed(row) {
            // Nothing says whose the unavailable value is.
            Some(Passed { create, .. }) if is_partial(rows, create) => winners.refused.push(create),
            Some(passed) => {
                winners.unsettled.passed.push(passed);
                continue;
            }
            None => moves.add_to(&mut winners.unsettled, rows, row),
        }
        if let Some(delete) = moves.leans_over(row).filter(|_| is_partial(rows, row)) {
            moves.add_to(&mut winners.unsettled, rows, delete);
            winners.deletes.push(delete);
        }
        match rows.index().get(row).map(|found| (found.op, found.is_partial)) {
            Some((RowOp::Delete, _)) => winners.deletes.push(row),
            Some((RowOp::Upsert, true)) => winners.partial.push(row),
            Some((RowOp::Upsert, false)) | None => {
                winners.upserts.push(row);
                if renewed.contains(&row) {
                    winners.renewed.push(row);
                }
            }
        }
    }
    winners
}

/// Sorts rows by their keys. Most comparisons are decided by how the keys begin, which lies together
/// here.
fn in_key_order(rows: &Rows, last: &[usize]) -> impl Iterator<Item = usize> + use<> {
    let begin = |row: usize| {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(key_at(rows, row)).for_each(|(to, from)| *to = *from);
        u128::from_be_bytes(bytes)
    };
    let mut sorted = last.iter().map(|&row| (begin(row), row)).collect::<Vec<_>>();
    sorted.sort_unstable_by(|(one, a), (other, b)| {
        one.cmp(other).then_with(|| key_at(rows, *a).cmp(key_at(rows, *b)))
    });
    sorted.into_iter().map(|(_, row)| row)
}

/// Without a key, a row of the batch that a later image before is equal to never reaches the target.
///
/// Which of several equal rows goes is all the same, so this leaves what every change in turn would,
/// provided that the target has a row for each image.
fn match_images(rows: &Rows) -> Winners {
    let hasher = DefaultHashBuilder::default();
    let mut images = Vec::new();
    // The rows of the batch that stand, each with those that are equal to it before it.
    let mut standing = HashTable::<Vec<usize>>::new();
    let cells = |row: usize| rows.index().get(row).map(|row| rows.cells(row)).unwrap_or_default();
    let first = |equal: &Vec<usize>| equal.first().map(|row| cells(*row)).unwrap_or_default();
    for (at, row) in rows.index().iter().enumerate() {
        let before = rows.key(row);
        if !before.is_empty() {
            let found = standing.find_entry(hasher.hash_one(before), |it| first(it) == before);
            match found {
                Ok(mut found) => {
                    found.get_mut().pop();
                    if found.get().is_empty() {
                        found.remove();
                    }
                }
                Err(_) => images.push(at),
            }
        }
        if row.op == RowOp::Upsert {
            let rehash = |equal: &Vec<usize>| hasher.hash_one(first(equal));
            let same = |equal: &Vec<usize>| first(equal) == cells(at);
            match standing.entry(hasher.hash_one(cells(at)), same, rehash) {
                Entry::Occupied(mut equal) => equal.get_mut().push(at),
                Entry::Vacant(entry) => _ = entry.insert(vec![at]),
            }
        }
    }
    let mut upserts = standing.into_iter().flatten().collect::<Vec<_>>();
    upserts.sort_unstable();
    Winners { upserts, images, ..Winners::default() }
}

/// Keeps the last change of each key, its unavailable cells filled from the change before it, and
/// notes which rows come behind a delete.
fn last_of_each_key(
    rows: &mut Rows,
    (moves, renewed): (&mut Moves, &mut HashSet<usize>),
    refused: &mut Vec<usize>,
) -> Vec<usize> {
    let hasher = DefaultHashBuilder::default();
    let mut last = HashTable::<usize>::with_capacity(rows.index().len());
    for row in 0..rows.index().len() {
        let key = key_at(rows, row);
        let same = |&other: &usize| key_at(rows, other) == key;
        let rehash = |&other: &usize| hasher.hash_one(key_at(rows, other));
        moves.meet(rows, row);
        let before = match last.entry(hasher.hash_one(key), same, rehash) {
            Entry::Vacant(entry) => {
                entry.insert(row);
                moves.begin(rows, row);
                continue;
            }
            Entry::Occupied(mut entry) => {
                let mut before = *entry.get();
                if is_delete(rows, row) {
                    if moves.is_nothing(rows, row, before) {
                        continue;
                    }
                } else if rows.half(row).is_some() {
                    moves.come_over(row, before);
                } else if let Some(Passed { create, .. }) = moves.passed(before) {
                    // A row that is written on was there.
                    before = create;
                }
                if is_partial(rows, row) && !moves.lean(row, before) && is_delete(rows, before) {
                    refused.push(row);
                    continue;
                }
                if !is_delete(rows, row) && (is_delete(rows, before) || renewed.contains(&before)) {
                    renewed.insert(row);
                }
                *entry.get_mut() = row;
                rows.follow(row, before);
                before
            }
        };
        if is_partial(rows, row) && !is_delete(rows, before) {
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
