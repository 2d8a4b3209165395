//! The database: sessions, locks, transactions that end when they will, and the checks of what has
//! committed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::Planted;
use super::source::Source;
use super::state::{Checkpoint, State, Write};
use crate::checkpoint::{Claim, LastRecord, NextOffset, Step};
use crate::identity::{Remembered, Trace};
use crate::record::TopicPartition;
use crate::stopped::StopReason;
use crate::target::{Claimed, Claims, Holding, Known};

/// How many states a restore may go back.
const PAST_MAX: usize = 12;

/// What a transaction holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lock {
    Row((String, Vec<u8>)),
    Checkpoint(TopicPartition),
}

/// What a transaction writes at its COMMIT.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) writes: Vec<Write>,
    pub(super) steps: Vec<Step>,
}

/// How a transaction ends.
#[derive(Debug)]
pub(super) enum Fate {
    Commit(Commit),
    RollBack,
}

/// A session as the server sees it.
#[derive(Debug)]
struct Session {
    /// The token of the lane, which all its sessions carry.
    lane: u64,
    /// Whether the client is gone, so that the end of the transaction is that of the session.
    is_abandoned: bool,
    fate: Option<(Instant, Fate)>,
}

/// The server.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) state: State,
    past: VecDeque<State>,
    sessions: BTreeMap<u64, Session>,
    locks: BTreeMap<Lock, u64>,
    last_session: u64,
    source: Arc<Source>,
    planted: Option<Planted>,
    /// When each partition last moved on.
    pub(super) moved_at: BTreeMap<TopicPartition, Instant>,
    /// When the database last went back to an older state.
    pub(super) restored_at: Option<Instant>,
    /// Steps that committed behind their rows: a planted bug.
    late_steps: Vec<(Instant, Vec<Step>)>,
    pub(super) violation: Option<String>,
}

impl Database {
    pub(super) fn new(source: Arc<Source>, planted: Option<Planted>) -> Self {
        Self {
            state: State::default(),
            past: VecDeque::new(),
            sessions: BTreeMap::new(),
            locks: BTreeMap::new(),
            last_session: 0,
            source,
            planted,
            moved_at: BTreeMap::new(),
            restored_at: None,
            late_steps: Vec::new(),
            violation: None,
        }
    }

    pub(super) fn connect(&mut self, lane: u64) -> u64 {
        self.last_session += 1;
        let session = Session { lane, is_abandoned: false, fate: None };
        self.sessions.insert(self.last_session, session);
        self.last_session
    }

    pub(super) fn is_open(&self, session: u64) -> bool {
        self.sessions.contains_key(&session)
    }

    /// Ends a session; what it has not committed is taken back.
    pub(super) fn end(&mut self, session: u64) {
        self.sessions.remove(&session);
        self.free(session);
    }

    /// Ends all sessions; returns whether one of them was in a transaction.
    pub(super) fn end_all(&mut self) -> bool {
        let was_busy = !self.locks.is_empty();
        self.sessions.clear();
        self.locks.clear();
        was_busy
    }

    /// Ends a transaction that has committed, or that is taken back.
    pub(super) fn free(&mut self, session: u64) {
        self.locks.retain(|_, holder| *holder != session);
    }

    pub(super) fn holds_locks(&self, lane: u64) -> bool {
        let is_its = |session: &u64| self.sessions.get(session).is_some_and(|it| it.lane == lane);
        self.locks.values().any(is_its)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.locks.is_empty()
    }

    /// Takes locks, all at once; returns the sessions that stand in the way, with their lanes.
    pub(super) fn lock(&mut self, session: u64, locks: &[Lock]) -> Result<(), Vec<(u64, u64)>> {
        let holders = locks.iter().filter_map(|lock| self.locks.get(lock));
        let others = holders.copied().filter(|holder| *holder != session).collect::<BTreeSet<_>>();
        if others.is_empty() {
            self.locks.extend(locks.iter().map(|lock| (lock.clone(), session)));
            return Ok(());
        }
        let lane = |session: u64| self.sessions.get(&session).map_or(0, |session| session.lane);
        Err(others.into_iter().map(|session| (session, lane(session))).collect())
    }

    /// Has a transaction end at a moment, whatever becomes of its client.
    pub(super) fn submit(&mut self, session: u64, at: Instant, fate: Fate) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.fate = Some((at, fate));
        }
    }

    /// Leaves a session whose client is gone; without a fate, its transaction is taken back at that
    /// moment. Returns whether a COMMIT is under way.
    pub(super) fn abandon(&mut self, session: u64, at: Instant) -> bool {
        let Some(session) = self.sessions.get_mut(&session) else { return false };
        session.is_abandoned = true;
        if let Some((until, Fate::Commit(_))) = &mut session.fate {
            *until = at;
            return true;
        }
        session.fate = Some((at, Fate::RollBack));
        false
    }

    /// Lets everything happen that is due; returns the sessions of abandoned clients whose COMMIT
    /// took effect.
    pub(super) fn settle(&mut self, now: Instant) -> Vec<u64> {
        let mut committed_late = Vec::new();
        let is_due = |session: &Session| session.fate.as_ref().is_some_and(|(at, _)| *at <= now);
        let due = self.sessions.iter().filter(|(_, session)| is_due(session));
        let mut due = due
            .map(|(id, session)| (session.fate.as_ref().map(|(at, _)| *at), *id))
            .collect::<Vec<_>>();
        due.sort_unstable();
        for (_, id) in due {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            let (fate, is_abandoned) = (session.fate.take(), session.is_abandoned);
            if let Some((_, Fate::Commit(commit))) = fate {
                self.commit(commit, now);
                if is_abandoned {
                    committed_late.push(id);
                }
            }
            self.free(id);
            if is_abandoned {
                self.sessions.remove(&id);
            }
        }
        for (at, steps) in std::mem::take(&mut self.late_steps) {
            if at <= now {
                self.advance(&steps, now);
                self.check();
            } else {
                self.late_steps.push((at, steps));
            }
        }
        committed_late
    }

    fn commit(&mut self, Commit { writes, steps }: Commit, now: Instant) {
        for step in &steps {
            let row = &self.state.checkpoints[&step.partition];
            if row.token != Some(step.claim.token) || row.epoch != step.claim.epoch {
                self.violate(format!("a stale member moves {}", step.partition));
            } else if row.next != step.from.get() || step.to <= step.from {
                let (from, to) = (step.from.get(), step.to.get());
                self.violate(format!(
                    "{} stands at {} and moves {from}..{to}",
                    step.partition, row.next
                ));
            }
        }
        self.remember();
        writes.iter().for_each(|write| self.state.make(write));
        if self.planted == Some(Planted::AdvanceOutside) && !steps.is_empty() {
            self.late_steps.push((now + Duration::from_millis(1), steps));
        } else {
            self.advance(&steps, now);
        }
        self.check();
    }

    fn advance(&mut self, steps: &[Step], now: Instant) {
        for step in steps {
            if let Some(row) = self.state.checkpoints.get_mut(&step.partition) {
                (row.next, row.stopped) = (step.to.get(), None);
                if let Some(last) = &step.last {
                    row.deleted = step.deleted();
                    let LastRecord { offset, timestamp, leader_epoch, .. } = *last;
                    row.remembered.last = Some(Trace { offset, timestamp, leader_epoch });
                }
                self.moved_at.insert(step.partition.clone(), now);
            }
        }
    }

    /// Keeps the state for a restore, once every partition has a row that knows its log: before, a
    /// restore looks like a sink that was deleted, which an operator must explain, and nobody can tell
    /// one log from another.
    fn remember(&mut self) {
        let mut rows = self.state.checkpoints.values();
        let is_known = rows.all(|row| row.remembered.topic_id.is_some());
        if is_known && self.state.checkpoints.len() == self.source.logs.len() {
            self.past.push_back(self.state.clone());
            if self.past.len() > PAST_MAX {
                self.past.pop_front();
            }
        }
    }

    pub(super) fn past_count(&self) -> usize {
        self.past.len()
    }

    /// Goes back to an older state; returns whether a transaction was in flight.
    pub(super) fn restore(&mut self, to: usize) -> bool {
        let was_busy = self.end_all();
        self.past.truncate(to + 1);
        self.state = self.past.pop_back().expect("a state of the past");
        self.late_steps.clear();
        self.restored_at = Some(Instant::now());
        self.check();
        was_busy
    }

    /// Compares rows and dead letters with what they must be where the checkpoint stands.
    fn check(&mut self) {
        let checkpoints = &self.state.checkpoints;
        let next =
            |partition: &TopicPartition| checkpoints.get(partition).map_or(0, |row| row.next);
        let rows = self.state.check_rows(self.source.oracle.rows_at(next));
        let letters = || self.source.oracle.check_letters(&self.state.letters, next);
        let checked = rows.and_then(|()| letters());
        let checked = checked.and_then(|()| self.state.check_guarded(&self.source.oracle.guarded));
        if let Err(wrong) = checked {
            let text = |(partition, row): (&TopicPartition, &Checkpoint)| {
                format!(" {}@{}", short(partition), row.next)
            };
            let stand = self.state.checkpoints.iter().map(text).collect::<String>();
            self.violate(format!("at{stand}: {wrong}"));
        }
    }

    fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    pub(super) fn claim(
        &mut self,
        lane: u64,
        partitions: &[TopicPartition],
        token: Uuid,
    ) -> Claims {
        let mut claims = Claims::default();
        let living = self.sessions.values().map(|session| session.lane).collect::<BTreeSet<_>>();
        for partition in partitions {
            let Some(row) = self.state.checkpoints.get_mut(partition) else {
                let known = self.state.checkpoints.keys();
                let is_known = known.into_iter().any(|known| known.topic == partition.topic);
                let known = if is_known { Known::Topic } else { Known::Nothing };
                claims.unknown.push((partition.clone(), known));
                continue;
            };
            row.former.extend(row.owner);
            row.former.retain(|former| *former != lane && living.contains(former));
            (row.epoch, row.token, row.owner) = (row.epoch + 1, Some(token), Some(lane));
            let refused = self.state.refused_keys.iter().filter(|(of, _)| of == partition);
            claims.claimed.push(Claimed {
                partition: partition.clone(),
                claim: Claim { epoch: row.epoch, token },
                next: NextOffset::at(row.next),
                refused_keys: refused.map(|(_, key)| key.clone()).collect(),
                remembered: row.remembered,
                deleted: row.deleted.clone(),
                unowned: Duration::ZERO,
            });
        }
        claims
    }

    /// Returns the lanes that owned partitions, as a claim may end them.
    pub(super) fn owners(&self, partitions: &[TopicPartition]) -> BTreeSet<u64> {
        let rows = partitions.iter().filter_map(|it| self.state.checkpoints.get(it));
        rows.flat_map(|row| row.former.iter().copied().chain(row.owner)).collect()
    }

    pub(super) fn begin(&mut self, first: &[(TopicPartition, NextOffset)]) {
        for (partition, next) in first {
            self.state.checkpoints.entry(partition.clone()).or_insert_with(|| Checkpoint {
                next: next.get(),
                deleted: None,
                epoch: 0,
                token: None,
                owner: None,
                remembered: Remembered::default(),
                stopped: None,
                former: BTreeSet::new(),
            });
        }
    }

    /// Keeps what tells logs from others.
    pub(super) fn identify(&mut self, claims: &[(TopicPartition, Claim, Remembered)]) {
        for (partition, claim, remembered) in claims {
            let row = self.state.checkpoints.get_mut(partition);
            if let Some(row) = row.filter(|row| holds(row, *claim)) {
                let last = row.remembered.last;
                row.remembered = Remembered { last, ..*remembered };
            }
        }
    }

    /// Keeps why a partition is stopped.
    pub(super) fn mark(
        &mut self,
        partition: &TopicPartition,
        claim: Claim,
        why: Option<StopReason>,
    ) {
        let row = self.state.checkpoints.get_mut(partition);
        if let Some(row) = row.filter(|row| holds(row, claim)) {
            row.stopped = why;
        }
    }

    pub(super) fn release(&mut self, claims: &[(TopicPartition, Claim)]) {
        for (partition, claim) in claims {
            let row = self.state.checkpoints.get_mut(partition);
            if let Some(row) = row.filter(|row| holds(row, *claim)) {
                row.owner = None;
            }
        }
    }

    /// Returns the partitions whose row is not as a step wants it before.
    pub(super) fn unmatched(&self, steps: &[Step]) -> Vec<TopicPartition> {
        let is_free = self.planted == Some(Planted::NoTokenCheck);
        self.not_at(steps, |row, step| {
            row.next == step.from.get() && (is_free || holds(row, step.claim))
        })
    }

    /// Returns the partitions whose row is not as a step leaves it.
    pub(super) fn unreached(&self, steps: &[Step]) -> Vec<TopicPartition> {
        self.not_at(steps, |row, step| row.next == step.to.get() && holds(row, step.claim))
    }

    /// Returns the partitions that stand elsewhere than their owner believes.
    pub(super) fn elsewhere(&self, holdings: &[Holding]) -> Vec<TopicPartition> {
        let row = |held: &Holding| self.state.checkpoints.get(&held.partition);
        let is_at = |held: &&Holding| {
            row(held).is_some_and(|row| holds(row, held.claim) && row.next == held.next.get())
        };
        let elsewhere = holdings.iter().filter(|held| !is_at(held));
        elsewhere.map(|held| held.partition.clone()).collect()
    }

    /// Lists the partitions that are stopped.
    pub(super) fn stopped(&self) -> Vec<TopicPartition> {
        let rows = self.state.checkpoints.iter().filter(|(_, row)| row.stopped.is_some());
        rows.map(|(partition, _)| partition.clone()).collect()
    }

    fn not_at(
        &self,
        steps: &[Step],
        is_at: impl Fn(&Checkpoint, &Step) -> bool,
    ) -> Vec<TopicPartition> {
        let row = |step: &Step| self.state.checkpoints.get(&step.partition);
        let elsewhere = steps.iter().filter(|step| !row(step).is_some_and(|row| is_at(row, step)));
        elsewhere.map(|step| step.partition.clone()).collect()
    }
}

fn holds(row: &Checkpoint, claim: Claim) -> bool {
    row.epoch == claim.epoch && row.token == Some(claim.token)
}

/// Names a partition as a trace does.
pub(super) fn short(partition: &TopicPartition) -> String {
    partition.to_string().replace("s.public.", "")
}
