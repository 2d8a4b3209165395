//! Rows that move from key to key in the source's transactions.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use uuid::Uuid;

use super::{check, kept, parse, shape};
use crate::batch::{Batch, Folded};
use crate::checkpoint::{Claim, NextOffset};
use crate::decode::value::Value;
use crate::fold::{Arrived, Taken, Under, Winners, fold, key_at};
use crate::record::TopicPartition;
use crate::rows::{Cell, Cells, Move, Origin, Rows};

#[test]
fn a_row_that_moved_to_a_key_stays_when_it_was_another_that_moved_away() {
    // Whether key 2 was taken is for the target to say.
    check("1!> >2=ab 2!> >3=cd", "3=cd 1! 2=ab?");
    check("2=xy 1!> >2=ab 2!> >3=cd", "2=ab 3=cd 1!");
    check("2! 1!> >2=ab 2!> >3=cd", "3=cd 1! 2!");
    // Unless an earlier batch knows better, the first delete has left the key free.
    check("2!> >2=ab 2!>", "2=ab?");
    // Two transactions are two moves of one row.
    check(">2=ab 2!>' >3=cd'", "3=cd 2!");
    // What is written on was there.
    check(">2=ab 2!> 2=c~", "2=cb");
    check(">2=ab 2!> 2=cd", "2=cd");
    check(">2=ab 2!> 2!", "2!");
    check(">2=a~ 2!>", "2! refused:0");
    // One row is under the key, so only one moves away from under another.
    check("2=xy >2=ab 2!> 2!>", "2!");
    // The same halves again say no more than the first.
    check("2=xy >2=ab 2!>@7 2!>@7", "2=ab");
    check(">2=ab@7 >2=ab@7 2!>", "2=ab?");
    check(">2=ab@7 2!> >2=ab@7 2!>", "2=ab?");
    check("2=xy >2=ab@7 >2=ab@7 2!>", "2=ab");
    check(">2=ab@7 2! >2=ab@7 2!>", "2=ab?");
    check(">2=ab@7 2!>@5", "2=ab");
    // If the row that moved here stays, it is the one that is written on.
    check("2!> 2=c~", "2=c~ 2!");
    check("2!> 2=c~ 2=~d", "2=cd");
    check("2!> 2=c~ 2=d~", "2=d~ 2!");
    check("2!> 2=c~ 2!", "2!");
}

#[test]
fn what_the_batch_does_not_know_of_moves_is_asked_and_kept() {
    check_unsettled("1!> >2=ab", "left 1, came to a 2");
    check_unsettled("2=xy >2=ab", "came to a taken 2");
    check_unsettled("2! >2=ab", "came to a free 2");
    check_unsettled("2=xy >2=ab 2!>", "came to a taken 2, left");
    check_unsettled("2!> >2=ab", "came to a left 2");
    check_unsettled(">2=ab@7 2! >2=ab@7", "came to a 2");
    check_unsettled(">2=ab@7 2!> >2=ab@7", "came to a 2, left");
    check_unsettled("2!> 2=c~", "left 2");
    check_unsettled("1=xy 1!> 2! >2=ab 2=cd", "");
    // Whether the first row stayed depends on what was there before it.
    check_unsettled(">2=ab 2!> >2=cd'", "came to what passed 2");
    check_unsettled("2!> >2=ab 2!> >2=cd'", "came to what passed over a left 2");
    check_unsettled(">2=ab 2!> >2=cd' 2!>' >2=ef", "came to what passed 2");
}

#[test]
fn all_rows_are_asked_about_that_a_verdict_depends_on() {
    let asked = |changes: &str| {
        let unsettled = fold(&mut parse(changes)).unsettled;
        unsettled.rows().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(asked("1=xy 2!> >2=ab"), [1, 2]);
    assert_eq!(asked("1=xy >2=ab 2!> >2=cd'"), [1, 3]);
    assert_eq!(asked("1=xy 2!> >2=ab 2!> >2=cd'"), [1, 2, 4]);
}

#[test]
fn a_delete_that_is_nothing_tells_where_the_row_left() {
    let mut rows = parse("2!>@8");
    let winners = fold(&mut rows);
    let verdict = |left_at: Option<i64>| {
        let last = Taken { came_at: 5, was_taken: true, left_at };
        winners.unsettled.verdict(&rows, |_| (Some(last), true))
    };
    let left = Taken { came_at: 5, was_taken: true, left_at: Some(8) };
    assert_eq!(verdict(None).kept, [(0, left)]);
    assert_eq!(winners.settled(&rows, &verdict(None)).deletes, [0_usize; 0]);
    assert_eq!(winners.settled(&rows, &verdict(Some(8))).deletes, [0_usize; 0]);
    assert_eq!(winners.settled(&rows, &verdict(Some(7))).deletes, [0]);
}

fn check_unsettled(changes: &str, expected: &str) {
    let mut rows = parse(changes);
    let unsettled = fold(&mut rows).unsettled;
    let left = unsettled.departed.iter().map(|row| format!("left {}", key(&rows, *row)));
    let came = unsettled.arrived.iter().map(|&Arrived { create, under, left_at }| {
        let to = match under {
            Under::Target => "a",
            Under::Row => "a taken",
            Under::Nothing => "a free",
            Under::Departed(_) => "a left",
            Under::Passed(_, None) => "what passed",
            Under::Passed(_, Some(_)) => "what passed over a left",
        };
        format!(
            "came to {to} {}{}",
            key(&rows, create),
            if left_at.is_some() { ", left" } else { "" }
        )
    });
    assert_eq!(left.chain(came).collect::<Vec<_>>().join(", "), expected);
}

fn key(rows: &Rows, row: usize) -> String {
    match Cells::new(key_at(rows, row)).next() {
        Some(Cell::Content(content)) => String::from_utf8(content.to_vec()).unwrap(),
        _ => panic!("a key is a text"),
    }
}

proptest! {
    #[test]
    fn a_target_ends_as_its_source_wherever_batches_end_and_the_connector_repeats_itself(
        moves in prop::collection::vec(prop::collection::vec((0..4_usize, 0..6_usize), 1..6), 1..5),
        batches in prop::collection::vec(1..9_usize, 1..30),
        crash in any::<prop::sample::Index>(),
        again in any::<prop::sample::Index>(),
    ) {
        let mut source = Source { rows: (0..4).map(|row| (row, 0)).collect(), halves: Vec::new() };
        (0..).zip(&moves).for_each(|(transaction, moves)| source.update(transaction, moves));
        let mut target = Target { rows: (0..4).map(|row| (row, row)).collect(), ..Target::default() };

        let mut stream = source.halves.clone();
        if !stream.is_empty() {
            let crash = crash.index(stream.len());
            let again = again.index(crash + 1);
            stream.truncate(crash);
            stream.extend_from_slice(&source.halves[again..]);
        }
        let mut rest = stream.as_slice();
        for length in batches.iter().cycle() {
            let (batch, later) = rest.split_at((*length).min(rest.len()));
            target.apply(batch);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }

        let rows = source.rows.iter().enumerate().map(|(row, (key, _))| (*key, row));
        prop_assert_eq!(target.rows, rows.collect::<BTreeMap<_, _>>());
    }
}

/// Half of a move: the key, the transaction, the place in the log, and, of a create, its row.
type Half = (usize, i64, i64, Option<usize>);

/// A table whose key is checked at the end of a transaction.
struct Source {
    /// The key of each row, and when it came to it.
    rows: Vec<(usize, usize)>,
    halves: Vec<Half>,
}

impl Source {
    /// Moves rows to other keys, in one transaction that is undone if a key is not unique then.
    ///
    /// At most two rows share a key meanwhile, and the one that was there first moves away.
    fn update(&mut self, transaction: i64, moves: &[(usize, usize)]) {
        let (mut rows, mut halves) = (self.rows.clone(), Vec::new());
        for (now, &(row, key)) in (1..).zip(moves) {
            let (old, since) = rows[row];
            let is_second = rows.iter().any(|&(other, at)| other == old && at < since);
            let there = rows.iter().filter(|&&(other, _)| other == key).count();
            if old == key || is_second || there > 1 {
                continue;
            }
            rows[row] = (key, now);
            let lsn = 100 * transaction + i64::try_from(now).unwrap();
            halves.extend([(old, transaction, lsn, None), (key, transaction, lsn, Some(row))]);
        }
        rows.iter_mut().for_each(|(_, since)| *since = 0);
        let mut keys = rows.iter().map(|(key, _)| key).collect::<Vec<_>>();
        keys.sort();
        keys.dedup();
        if keys.len() == rows.len() {
            self.rows = rows;
            self.halves.append(&mut halves);
        }
    }
}

/// What a target has: rows by key, and what it knows of keys that were taken.
#[derive(Default)]
struct Target {
    rows: BTreeMap<usize, usize>,
    taken: BTreeMap<(i64, usize, i64), Taken>,
}

impl Target {
    fn apply(&mut self, halves: &[Half]) {
        let mut batch = Batch::default();
        let claim = Claim { epoch: 1, token: Uuid::nil() };
        let step = batch.step(&TopicPartition::new("t", 0), claim, NextOffset::at(0));
        let shape = shape(&[0]);
        for (offset, &(key, transaction, lsn, row)) in (0..).zip(halves) {
            let rows = batch.rows(&shape).unwrap();
            let mut writer = if row.is_some() { rows.upsert() } else { rows.delete() };
            writer.push(Value::Text(&key.to_string())).unwrap();
            for _ in ["a", "b"].iter().filter(|_| row.is_some()) {
                writer.push(Value::Text(&row.unwrap_or_default().to_string())).unwrap();
            }
            writer.finish(Origin { step, offset, sent_at: 0 }, kept(offset)).unwrap();
            let is_create = row.is_some();
            rows.note_move(Move { is_create, transaction, lsn, is_over_refused: false });
        }
        let Folded { tables, last_halves, .. } = batch.fold();
        let Some((rows, winners)) = tables.first() else { return };
        let key = |row: usize| key(rows, row).parse::<usize>().unwrap();
        let place = |row: usize, lsn: i64| (rows.half(row).unwrap().transaction, key(row), lsn);
        let known = |row: usize| {
            let up_to_here = place(row, i64::MIN)..=place(row, rows.half(row).unwrap().lsn);
            self.taken.range(up_to_here).next_back().map(|(_, taken)| *taken)
        };
        let found = |row: usize| (known(row), self.rows.contains_key(&key(row)));
        let verdict = winners.unsettled.verdict(rows, found);
        let Winners { upserts, deletes, .. } = winners.settled(rows, &verdict);
        for row in deletes {
            self.rows.remove(&key(row));
        }
        for row in upserts {
            let cell = Cells::new(rows.cells(&rows.index()[row])).nth(1);
            let Some(Cell::Content(cell)) = cell else { panic!("a cell is a text") };
            self.rows.insert(key(row), std::str::from_utf8(cell).unwrap().parse().unwrap());
        }
        let kept = verdict.kept.iter().map(|&(row, taken)| (place(row, taken.came_at), taken));
        self.taken.extend(kept);
        let last = last_halves[&step];
        self.taken.retain(|(transaction, _, lsn), it| {
            it.was_taken || *transaction == last.transaction || *lsn >= last.lsn
        });
    }
}
