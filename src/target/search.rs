//! The search for the rows that a database refuses: a batch is tried in ever smaller parts.
//!
//! A good row may only have come early: its parent, or the row that gives its value up, stands behind
//! it in the batch. So what fails alone waits, with all later rows of its key, until the others are
//! written, and is tried again. The search only decides what is tried next; the target does it, each
//! try under a savepoint of one transaction.

use std::collections::{BTreeMap, HashMap};

use crate::batch::{Folded, Place};
use crate::target::{Fault, RefusedRow};

/// How often rows that wait for each other are tried in turn: each round brings at least one link of
/// every chain, and the source's order leaves hardly any.
const ROUNDS_MAX: u32 = 16;

/// Finds the refused rows of a batch.
#[derive(Debug)]
pub(super) struct Search<'b> {
    batch: &'b Folded,
    /// Whether other rows decide about the fault that began the search.
    is_of_others: bool,
    stage: Stage,
    /// What is being tried.
    tried: Vec<Place>,
    is_vacated: bool,
    /// Rows that fail alone, each with the later ones of its key.
    waiting: Vec<Waiting>,
    waiting_by_key: HashMap<(usize, &'b [u8]), usize>,
    /// How many tries there were, and how many of them went well.
    tries: usize,
    successes: usize,
    refused: Vec<(Place, Fault)>,
}

/// Rows of one key, in order, the first of which has failed.
#[derive(Debug)]
struct Waiting {
    rows: Vec<Place>,
    fault: Fault,
    /// How many rows and how many successes there were when it was tried last.
    tried_at: (usize, usize),
}

/// What the target is to try: all or nothing of it stays.
#[derive(Debug)]
pub(super) struct Try {
    /// Parts of the batch, to be written one behind the other.
    pub(super) parts: Vec<Vec<Place>>,
    /// Whether the rows go before they are written: only where nobody else misses them meanwhile.
    pub(super) is_vacated: bool,
}

/// Indexes of what waits for the same constraint.
#[derive(Clone, Debug)]
struct Group {
    waiting: Vec<usize>,
    is_vacated: bool,
}

/// What the search is at.
#[derive(Debug)]
enum Stage {
    /// All rows, one by one.
    Unfolded,
    /// Parts of the batch, the next one last.
    Halves(Vec<Vec<Place>>),
    /// What waits, one key at a time: the next one, the round, and whether it has got anywhere.
    Again { next: usize, round: u32, has_success: bool },
    /// What waits for the same constraint or for others at all, together: rows that exchange values.
    Together(Vec<Group>),
    /// The rows of keys that have several, one at a time, the next one last.
    Single(Vec<Place>),
    /// Every row is written or refused.
    Over,
}

/// The begin of the first round.
const AGAIN: Stage = Stage::Again { next: 0, round: 1, has_success: false };

impl<'b> Search<'b> {
    /// Begins with what the whole batch has failed of.
    pub(super) fn new(batch: &'b Folded, fault: &Fault) -> Self {
        let mut search = Self {
            batch,
            is_of_others: fault.is_of_others(),
            stage: Stage::Unfolded,
            tried: Vec::new(),
            is_vacated: false,
            waiting: Vec::new(),
            waiting_by_key: HashMap::new(),
            tries: 1,
            successes: 0,
            refused: Vec::new(),
        };
        let rows = batch.in_source_order();
        match rows.as_slice() {
            [only] => search.wait(*only, fault.clone()),
            _ if search.is_of_others => return search,
            _ => {}
        }
        search.stage = search.halves(rows);
        search
    }

    /// Returns what is to be tried next; `None` when the search is over.
    pub(super) fn next(&mut self) -> Option<Try> {
        self.is_vacated = false;
        self.tried = self.choose()?;
        self.tries += 1;
        let rows = self.tried.iter().copied();
        let parts = match self.stage {
            Stage::Unfolded => rows.map(|row| vec![row]).collect(),
            // A parent of another table is written before its child.
            Stage::Halves(_) if self.is_of_others => {
                self.tried.chunk_by(|a, b| a.table == b.table).map(<[Place]>::to_vec).collect()
            }
            _ => vec![rows.collect()],
        };
        Some(Try { parts, is_vacated: self.is_vacated })
    }

    /// Goes on without what was to be tried.
    pub(super) fn skip(&mut self) {
        self.tries -= 1;
        self.tried.clear();
    }

    /// Takes over what came of the try.
    pub(super) fn learn(&mut self, outcome: Result<(), Fault>) {
        let tried = std::mem::take(&mut self.tried);
        self.successes += usize::from(outcome.is_ok());
        match (&mut self.stage, outcome) {
            (Stage::Unfolded, Ok(())) => self.stage = Stage::Over,
            (Stage::Unfolded, Err(_)) => self.stage = self.halves(tried),
            (Stage::Halves(_) | Stage::Single(_), Ok(())) | (Stage::Over, _) => {}
            (Stage::Halves(parts), Err(fault)) => match tried.as_slice() {
                [only] => self.wait(*only, fault),
                _ => {
                    let (left, right) = tried.split_at(tried.len() / 2);
                    parts.extend([right.to_vec(), left.to_vec()]);
                }
            },
            (Stage::Again { next, has_success, .. }, Ok(())) => {
                *has_success = true;
                self.waiting.remove(*next);
            }
            (Stage::Again { next, .. }, Err(fault)) => {
                if let Some(waiting) = self.waiting.get_mut(*next) {
                    waiting.fault = fault;
                    waiting.tried_at = (waiting.rows.len(), self.successes);
                }
                *next += 1;
            }
            (Stage::Together(_), Ok(())) => {
                self.waiting.retain(|waiting| waiting.rows.iter().all(|row| !tried.contains(row)));
                self.stage = AGAIN;
            }
            (Stage::Together(_), Err(_)) => {}
            (Stage::Single(_), Err(fault)) => {
                self.refused.extend(tried.first().map(|row| (*row, fault)));
            }
        }
    }

    /// Returns how many tries there were, that of the whole batch included.
    pub(super) fn tries(&self) -> usize {
        self.tries
    }

    /// Returns the records whose rows are refused.
    pub(super) fn refused(self) -> Vec<RefusedRow> {
        let refused = self.refused.into_iter().filter_map(|(place, fault)| {
            let (_, row) = self.batch.row(place)?;
            let partition = self.batch.steps.get(row.step())?.partition.clone();
            Some(RefusedRow { partition, offset: row.offset, fault })
        });
        refused.collect()
    }

    fn choose(&mut self) -> Option<Vec<Place>> {
        loop {
            match &mut self.stage {
                Stage::Unfolded => return Some(self.batch.in_source_order()),
                Stage::Halves(parts) => match parts.pop() {
                    Some(part) => {
                        let rows = self.not_behind(part);
                        if !rows.is_empty() {
                            return Some(rows);
                        }
                    }
                    None => self.stage = AGAIN,
                },
                Stage::Again { next, round, has_success } => match self.waiting.get(*next) {
                    Some(waiting) if waiting.is_worth_a_try(self.successes) => {
                        return Some(waiting.rows.clone());
                    }
                    Some(_) => *next += 1,
                    None if *has_success && *round < ROUNDS_MAX => {
                        // Values that are passed on along a row of rows come free from its end.
                        self.waiting.reverse();
                        self.stage =
                            Stage::Again { next: 0, round: *round + 1, has_success: false };
                    }
                    None => self.stage = Stage::Together(self.by_constraint()),
                },
                Stage::Together(groups) => match groups.pop() {
                    Some(group) => {
                        let waiting = group.waiting.iter();
                        let waiting = waiting.filter_map(|at| self.waiting.get(*at));
                        let mut rows =
                            waiting.flat_map(|it| it.rows.iter().copied()).collect::<Vec<_>>();
                        rows.sort_unstable();
                        self.is_vacated = group.is_vacated;
                        return Some(rows);
                    }
                    None => self.stage = self.singles(),
                },
                Stage::Single(rows) => match rows.pop() {
                    Some(row) => return Some(vec![row]),
                    None => self.stage = AGAIN,
                },
                Stage::Over => return None,
            }
        }
    }

    /// Cuts rows into the halves that come next.
    fn halves(&self, rows: Vec<Place>) -> Stage {
        if rows.len() < 2 {
            return AGAIN;
        }
        let (left, right) = rows.split_at(rows.len() / 2);
        Stage::Halves(vec![right.to_vec(), left.to_vec()])
    }

    /// Lets a row wait that has failed alone.
    fn wait(&mut self, row: Place, fault: Fault) {
        let tried_at = (1, self.successes);
        if let Some(key) = key(self.batch, row) {
            self.waiting_by_key.insert(key, self.waiting.len());
        }
        self.waiting.push(Waiting { rows: vec![row], fault, tried_at });
    }

    /// Keeps the rows before whose key nothing waits; the others wait behind it.
    fn not_behind(&mut self, mut part: Vec<Place>) -> Vec<Place> {
        if self.waiting_by_key.is_empty() {
            return part;
        }
        part.retain(|row| {
            let before = key(self.batch, *row).and_then(|key| self.waiting_by_key.get(&key));
            let before = before.and_then(|before| self.waiting.get_mut(*before));
            before.map(|before| before.rows.push(*row)).is_none()
        });
        part
    }

    /// Groups what waits for the same constraint, the next group last; where that is a value that is
    /// taken, each group is tried once more. At last comes all that waits for others: rows may need
    /// each other by several constraints that are checked at the end.
    fn by_constraint(&self) -> Vec<Group> {
        let mut groups = BTreeMap::<_, (bool, Vec<usize>)>::new();
        for (at, waiting) in self.waiting.iter().enumerate() {
            if waiting.fault.is_of_others() {
                let Fault { table, constraint, .. } = &waiting.fault;
                let row = waiting.rows.first().and_then(|row| self.batch.row(*row));
                let may_go = row.is_some_and(|(rows, _)| rows.shape().is_replaceable());
                let fresh = (waiting.fault.is_taken() && may_go, Vec::new());
                groups.entry((table, constraint)).or_insert(fresh).1.push(at);
            }
        }
        let all = groups.values().flat_map(|(_, waiting)| waiting.clone()).collect::<Vec<_>>();
        let all = (groups.len() > 1).then_some(Group { waiting: all, is_vacated: false });
        let groups = groups.into_values().filter(|(_, waiting)| waiting.len() > 1);
        let tries = groups.flat_map(|(is_vacated, waiting)| {
            let again = Group { waiting: waiting.clone(), is_vacated: true };
            is_vacated.then_some(again).into_iter().chain([Group { waiting, is_vacated: false }])
        });
        all.into_iter().chain(tries).collect()
    }

    /// Takes keys with several rows apart, those first whose rows are wrong by themselves: others may
    /// wait for the good ones among them. Where there are none any more, what waits is refused.
    fn singles(&mut self) -> Stage {
        for is_of_others in [false, true] {
            let is_next =
                |it: &mut Waiting| it.rows.len() > 1 && it.fault.is_of_others() == is_of_others;
            let several = self.waiting.extract_if(.., is_next).collect::<Vec<_>>();
            if !several.is_empty() {
                let rows = several.into_iter().flat_map(|waiting| waiting.rows);
                return Stage::Single(rows.rev().collect());
            }
        }
        for Waiting { rows, fault, .. } in self.waiting.drain(..) {
            self.refused.extend(rows.first().map(|row| (*row, fault)));
        }
        Stage::Over
    }
}

impl Waiting {
    /// Returns whether another try may end otherwise than the last.
    fn is_worth_a_try(&self, successes: usize) -> bool {
        let (rows, before) = self.tried_at;
        rows != self.rows.len() || (self.fault.is_of_others() && before != successes)
    }
}

/// Returns what tells rows apart; `None` without a key.
fn key(batch: &Folded, place: Place) -> Option<(usize, &[u8])> {
    let (rows, row) = batch.row(place)?;
    (!rows.shape().key.is_empty()).then(|| (place.table, rows.key(row)))
}

#[cfg(test)]
mod tests;
