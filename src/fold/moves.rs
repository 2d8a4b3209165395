//! Rows that moved to a key and away from it in one source transaction.
//!
//! Only a deferrable key allows that while another row still has the key. Where the key was taken
//! when a row came to it, the row that had it is the one which moves away, and the row that came
//! stays; else one row passed through. A batch that does not know asks the target, and what it finds
//! out is kept there for later batches of the transaction. The connector repeats itself after a
//! crash: what was found out first counts.

use hashbrown::{HashMap, HashSet};

use super::{Winners, is_delete, is_partial, key_at};
use crate::rows::{Move, Rows};

/// What of a table's end state only the target can say, in key order; a row is an index into
/// [`Rows::index`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsettled {
    /// Creates with a delete behind them: the create's row stays if the key was taken, else it goes.
    pub passed: Vec<Passed>,
    /// Those of the deletes whose row may have moved to the key in an earlier batch of the same
    /// transaction: they are nothing if the key was taken then.
    pub departed: Vec<usize>,
    /// Creates that a later batch of the same transaction may ask about.
    pub arrived: Vec<Arrived>,
}

/// A create with a delete behind it that may be of another row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The create.
    pub create: usize,
    /// The delete.
    pub delete: usize,
    /// What the create came over.
    pub under: Under,
}

/// A create that a later batch of the same transaction may ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// The create.
    pub create: usize,
    /// What it came over.
    pub under: Under,
    /// Where the row that had the key has moved away since.
    pub left_at: Option<i64>,
}

/// What a create comes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Under {
    /// A row of the batch.
    Row,
    /// Nothing: the key's row is deleted in the batch.
    Nothing,
    /// What this delete leaves, which is a row if the delete is nothing.
    Departed(usize),
    /// What is left of this create, which a delete in doubt is behind: its row if its key was taken
    /// by what this delete leaves, if there is one, else by what the target has.
    Passed(usize, Option<usize>),
    /// What the target has.
    Target,
}

/// What is known of a key that a row has moved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Where in the source's log it came.
    pub came_at: i64,
    /// Whether another row had the key then.
    pub was_taken: bool,
    /// Where in the source's log that has moved away since.
    pub left_at: Option<i64>,
}

impl Taken {
    /// Returns whether the row that has come to the key is another one than that which leaves it
    /// there, or is still to leave it.
    pub fn is_over(&self, left_at: i64) -> bool {
        self.was_taken && self.left_at.is_none_or(|known| known == left_at)
    }
}

/// What the target says of the keys in question.
#[derive(Debug)]
pub struct Verdict {
    taken: HashSet<usize>,
    /// What is to be kept of rows' keys for later batches of the transaction.
    pub kept: Vec<(usize, Taken)>,
}

impl Unsettled {
    /// Returns whether nothing is to be asked or to be kept.
    pub fn is_empty(&self) -> bool {
        self.passed.is_empty() && self.departed.is_empty() && self.arrived.is_empty()
    }

    /// Iterates over the rows whose keys are in question.
    pub fn rows(&self) -> impl Iterator<Item = usize> {
        let creates = self.passed.iter().map(|passed| (passed.create, passed.under));
        let creates = creates.chain(self.arrived.iter().map(|it| (it.create, it.under)));
        let creates = creates.flat_map(|(create, under)| {
            let (passed, delete) = match under {
                Under::Departed(delete) => (None, Some(delete)),
                Under::Passed(passed, delete) => (Some(passed), delete),
                Under::Row | Under::Nothing | Under::Target => (None, None),
            };
            [create].into_iter().chain(passed).chain(delete)
        });
        creates.chain(self.departed.iter().copied())
    }

    /// Decides about each row, given what earlier batches of its transaction have kept about the last
    /// row that has come to its key up to its place in the log, and whether the target has a row there.
    pub fn verdict(&self, rows: &Rows, found: impl Fn(usize) -> (Option<Taken>, bool)) -> Verdict {
        let lsn = |row: usize| rows.half(row).map(|half| half.lsn).unwrap_or_default();
        // A delete is nothing if it is of a row that another has come over.
        let over = |delete: usize| found(delete).0.filter(|last| last.is_over(lsn(delete)));
        let known = |create: usize| {
            let kept = found(create).0.filter(|kept| kept.came_at == lsn(create));
            kept.map(|kept| kept.was_taken)
        };
        let was_taken = |create: usize, under: Under| {
            known(create).unwrap_or_else(|| match under {
                Under::Row => true,
                Under::Nothing => false,
                Under::Departed(delete) => over(delete).is_some(),
                Under::Passed(passed, delete) => known(passed).unwrap_or_else(|| {
                    delete.map_or_else(|| found(passed).1, |delete| over(delete).is_some())
                }),
                Under::Target => found(create).1,
            })
        };
        let (mut taken, mut kept) = (HashSet::new(), Vec::new());
        for &Arrived { create, under, left_at } in &self.arrived {
            let was_taken = was_taken(create, under);
            kept.push((create, Taken { came_at: lsn(create), was_taken, left_at }));
        }
        for &Passed { create, delete, under } in &self.passed {
            let (was_taken, left_at) = (was_taken(create, under), Some(lsn(delete)));
            kept.push((create, Taken { came_at: lsn(create), was_taken, left_at }));
            if was_taken {
                taken.insert(create);
            }
        }
        for &delete in &self.departed {
            if let Some(last) = over(delete) {
                kept.push((delete, Taken { left_at: Some(lsn(delete)), ..last }));
                taken.insert(delete);
            }
        }
        Verdict { taken, kept }
    }
}

impl Winners {
    /// Returns the winners now that it is known which keys were taken.
    pub fn settled(&self, rows: &Rows, verdict: &Verdict) -> Self {
        let mut settled = Self { unsettled: Unsettled::default(), ..self.clone() };
        settled.deletes.retain(|delete| !verdict.taken.contains(delete));
        for &Passed { create, .. } in &self.unsettled.passed {
            let stays = verdict.taken.contains(&create);
            (if stays { &mut settled.upserts } else { &mut settled.deletes }).push(create);
        }
        for ends in [&mut settled.upserts, &mut settled.deletes] {
            ends.sort_by(|&a, &b| key_at(rows, a).cmp(key_at(rows, b)));
        }
        settled
    }
}

/// The halves of changed keys, as the fold meets them.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// The first create of each place in the source's log: what it came over, its repetitions did.
    first: HashMap<(i64, Vec<u8>), usize>,
    /// What stood under the key of a create in the batch, by the create.
    under: HashMap<usize, usize>,
    /// Creates whose [`Moves::under`] is a create with a delete in doubt behind it.
    in_doubt: HashSet<usize>,
    /// Creates with a delete behind them that may be of another row, by the delete.
    passed: HashMap<usize, Passed>,
    /// Deletes that are the first of their key in the batch.
    departed: HashSet<usize>,
    /// Changes with unavailable cells behind one of those deletes: if that is nothing, the row is there
    /// that they lean on. By the change.
    leaning: HashMap<usize, usize>,
    /// Where the row moved away that a create has come over, by the create.
    left: HashMap<usize, i64>,
}

impl Moves {
    /// Notes a create.
    pub(super) fn meet(&mut self, rows: &Rows, row: usize) {
        if let Some(half) = rows.half(row).filter(|half| half.is_create) {
            self.first.entry((half.lsn, key_at(rows, row).to_vec())).or_insert(row);
        }
    }

    /// Notes the first change of a key.
    pub(super) fn begin(&mut self, rows: &Rows, row: usize) {
        if rows.half(row).is_some_and(|half| !half.is_create) {
            self.departed.insert(row);
        }
    }

    /// Notes what a create comes over.
    pub(super) fn come_over(&mut self, create: usize, before: usize) {
        // A delete in doubt says nothing of its own.
        let before = match self.passed(before) {
            Some(passed) => {
                self.in_doubt.insert(create);
                passed.create
            }
            None => before,
        };
        self.under.insert(create, before);
    }

    /// Decides about a delete behind another change of its key: whether it is nothing, because it is
    /// of another row than a create before it, or a repetition.
    pub(super) fn is_nothing(&mut self, rows: &Rows, delete: usize, before: usize) -> bool {
        let (Some(away), Some(here)) = (rows.half(delete), rows.half(before)) else { return false };
        if away == here || away.lsn < here.lsn {
            return true;
        }
        if away.is_create || !here.is_create || away.transaction != here.transaction {
            return false;
        }
        match self.under(rows, before) {
            Under::Row => *self.left.entry(before).or_insert(away.lsn) == away.lsn,
            Under::Nothing => false,
            under @ (Under::Departed(_) | Under::Passed(..) | Under::Target) => {
                self.passed.insert(delete, Passed { create: before, delete, under });
                false
            }
        }
    }

    /// Notes that a change leans on the row before it; `false` where that is not in doubt.
    pub(super) fn lean(&mut self, row: usize, before: usize) -> bool {
        let delete = self.departed.get(&before).or_else(|| self.leaning.get(&before)).copied();
        self.leaning.extend(delete.map(|delete| (row, delete)));
        delete.is_some()
    }

    /// Returns the delete in doubt that stands before what a change leans on.
    pub(super) fn leans_over(&self, row: usize) -> Option<usize> {
        self.leaning.get(&row).copied()
    }

    /// Returns what a delete leaves in doubt.
    pub(super) fn passed(&self, delete: usize) -> Option<Passed> {
        self.passed.get(&delete).copied()
    }

    /// Adds what a winner leaves to be asked or to be kept.
    pub(super) fn add_to(&self, unsettled: &mut Unsettled, rows: &Rows, winner: usize) {
        if is_delete(rows, winner) {
            if self.departed.contains(&winner) {
                unsettled.departed.push(winner);
            }
        } else if !is_partial(rows, winner) && rows.half(winner).is_some() {
            let (under, left_at) = (self.under(rows, winner), self.left_at(rows, winner));
            unsettled.arrived.push(Arrived { create: winner, under, left_at });
        }
    }

    /// Returns where the row moved away that a create, or what it repeats, has come over.
    fn left_at(&self, rows: &Rows, create: usize) -> Option<i64> {
        let first = self.first(rows, create);
        let left = self.left.get(&create).or_else(|| self.left.get(&first)).copied();
        left.or_else(|| {
            let mut passed = self.passed.values().filter(|_| first != create);
            let passed = passed.find(|passed| passed.create == first)?;
            rows.half(passed.delete).map(|half| half.lsn)
        })
    }

    /// Returns the create that a create repeats, or itself.
    fn first(&self, rows: &Rows, create: usize) -> usize {
        let half = rows.half(create);
        let first = half.and_then(|it| self.first.get(&(it.lsn, key_at(rows, create).to_vec())));
        first.copied().unwrap_or(create)
    }

    /// Returns what a create comes over.
    fn under(&self, rows: &Rows, create: usize) -> Under {
        let here = rows.half(create);
        let mut over = self.first(rows, create);
        let mut under = self.under.get(&over);
        let is_again = |under: &&usize| {
            let under = rows.half(**under).filter(|under| under.is_create);
            under.zip(here).is_some_and(|(under, here)| under.lsn >= here.lsn)
        };
        while let Some(again) = under.filter(is_again) {
            over = *again;
            under = self.under.get(again);
        }
        match under.copied() {
            None => Under::Target,
            Some(passed) if self.in_doubt.contains(&over) => match self.under(rows, passed) {
                Under::Departed(delete) => Under::Passed(passed, Some(delete)),
                Under::Target => Under::Passed(passed, None),
                under @ (Under::Row | Under::Nothing | Under::Passed(..)) => under,
            },
            Some(under) if self.departed.contains(&under) => Under::Departed(under),
            Some(under) if is_delete(rows, under) => Under::Nothing,
            Some(_) => Under::Row,
        }
    }
}

/// Finds the half of a changed key of each partition that is the last in the source's log, by the
/// index of its step.
pub(crate) fn last_halves<'r>(tables: impl Iterator<Item = &'r Rows>) -> HashMap<usize, Move> {
    let mut last = HashMap::<usize, Move>::new();
    for rows in tables {
        for (row, half) in rows.halves() {
            let Some(row) = rows.index().get(row) else { continue };
            let newest = last.entry(row.step()).or_insert(half);
            if half.lsn > newest.lsn {
                *newest = half;
            }
        }
    }
    last
}
