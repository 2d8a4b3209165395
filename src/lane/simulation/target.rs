//! A connection to the database, as a lane's writer has it: [`Target`] with all that can happen to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::database::{Commit, Fate, Lock, short};
use super::history::Met;
use super::state::moving;
use super::world::World;
use crate::batch::{Folded, Lead};
use crate::checkpoint::{Claim, NextOffset, Step};
use crate::identity::{KeyMet, Remembered};
use crate::moves::{MoveRequest, Moved};
use crate::record::TopicPartition;
use crate::stopped::{Stop, StopReason};
use crate::table::TableName;
use crate::target::sqlite::Sqlite;
use crate::target::{Applied, Claims, Dialect, Existing, Holding, Target, TargetError, Touched};

mod batch;

/// After how long somebody in the way is looked for, and ended if it is a former owner.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a lock is waited for.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);

/// A lane's way to the database.
pub(super) struct Connection {
    world: Arc<World>,
    /// What its sessions are known by.
    lane: u64,
    who: String,
    session: Option<u64>,
    /// Who owned what we hold before us, without a release.
    former: BTreeMap<TopicPartition, BTreeSet<u64>>,
}

impl Connection {
    pub(super) fn new(world: Arc<World>, lane: u64, who: String) -> Self {
        Self { world, lane, who, session: None, former: BTreeMap::new() }
    }

    fn note(&self, what: impl FnOnce() -> String) {
        self.world.note(&self.who, what);
    }

    /// Goes to the database with an order.
    async fn set_out(&mut self) -> Result<u64, TargetError> {
        self.travel().await;
        if self.world.weather().away_until > Instant::now() {
            return Err(self.lose("the database is away"));
        }
        let open = self.session.filter(|session| self.world.database().is_open(*session));
        let session = match (self.session, open) {
            (Some(_), None) => return Err(self.lose("the server has ended the session")),
            (_, Some(session)) => session,
            (None, None) => self.world.database().connect(self.lane),
        };
        self.session = Some(session);
        self.risk()?;
        Ok(session)
    }

    async fn travel(&self) {
        let (low, high) = self.world.database_pace();
        self.world.pause(low, high).await;
    }

    /// Whatever may happen between two statements.
    fn risk(&mut self) -> Result<(), TargetError> {
        let (lost, busy) = {
            let weather = self.world.weather();
            (weather.lost, weather.busy)
        };
        if self.world.one_in(lost) {
            self.world.strike(Met::SessionLost, &self.who, || "the session is lost".to_owned());
            return Err(self.lose("the session is lost"));
        }
        if self.world.one_in(busy) {
            self.world.strike(Met::TargetBusy, &self.who, || "the target is busy".to_owned());
            self.free();
            return Err(TargetError::Busy("deadlock".into()));
        }
        Ok(())
    }

    /// Takes the open transaction back.
    fn free(&mut self) {
        if let Some(session) = self.session {
            self.world.database().free(session);
        }
    }

    /// Loses the session; the server learns of it when it will.
    fn lose(&mut self, why: &'static str) -> TargetError {
        if let Some(session) = self.session.take() {
            let lingers = self.world.millis(0, 12_000);
            let until =
                Instant::now() + if self.world.one_in(2) { Duration::ZERO } else { lingers };
            self.world.database().abandon(session, until);
        }
        TargetError::Unreachable(why.into())
    }

    /// Brings the answer back, unless it is lost.
    async fn answer<T>(&mut self, answer: T) -> Result<T, TargetError> {
        self.free();
        self.travel().await;
        if self.world.one_in(self.world.weather().lost) {
            self.world.strike(Met::SessionLost, &self.who, || "the answer is lost".to_owned());
            return Err(self.lose("the answer is lost"));
        }
        Ok(answer)
    }

    /// Waits for locks; a session in the way that one of the suspects has is ended after a second.
    async fn lock(
        &mut self,
        locks: &[Lock],
        suspects: impl Fn(&World) -> BTreeSet<u64>,
    ) -> Result<(), TargetError> {
        let session = self.session.expect("an order has set out");
        let began = Instant::now();
        loop {
            if !self.world.database().is_open(session) {
                return Err(self.lose("the server has ended the session"));
            }
            let Err(others) = self.world.database().lock(session, locks) else { return Ok(()) };
            if began.elapsed() >= LOCK_WAIT_MAX {
                self.world.met(Met::TargetBusy);
                self.free();
                return Err(TargetError::Busy("lock timeout".into()));
            }
            if began.elapsed() >= PATIENCE {
                let suspects = suspects(&self.world);
                let ended =
                    others.iter().filter(|(_, lane)| *lane == self.lane || suspects.contains(lane));
                for (other, lane) in ended {
                    self.world.met(Met::OwnerEnded);
                    self.note(|| format!("ends session {other} of lane {lane}"));
                    self.world.database().end(*other);
                }
            }
            self.world.pause(20, 60).await;
        }
    }

    /// Locks rows of the checkpoint, those that there are.
    async fn lock_checkpoint<'p>(
        &mut self,
        partitions: impl Iterator<Item = &'p TopicPartition>,
        suspects: impl Fn(&World) -> BTreeSet<u64>,
    ) -> Result<(), TargetError> {
        let known = |partition: &&TopicPartition| {
            self.world.database().state.checkpoints.contains_key(*partition)
        };
        let locks = partitions.filter(known).cloned().map(Lock::Checkpoint).collect::<Vec<_>>();
        self.lock(&locks, suspects).await
    }

    /// Sends COMMIT; `false` when the transaction is gone.
    async fn commit(&mut self, commit: Commit) -> Result<(), TargetError> {
        let session = self.session.expect("an order has set out");
        let (low, high) = self.world.database_pace();
        let at = Instant::now() + self.world.millis(low, high);
        self.world.database().submit(session, at, Fate::Commit(commit));
        if self.world.one_in(self.world.weather().lost) {
            let is_committed = self.world.one_in(2);
            if !is_committed {
                self.world.database().submit(session, at, Fate::RollBack);
            }
            let met = match is_committed {
                true => Met::AnswerLostCommitted,
                false => Met::AnswerLostUncommitted,
            };
            self.world.strike(met, &self.who, || format!("lost at COMMIT: {is_committed}"));
            return Err(self.lose("lost at COMMIT"));
        }
        tokio::time::sleep_until(at).await;
        if !self.world.database().is_open(session) {
            return Err(self.lose("the server has ended the session"));
        }
        Ok(())
    }

    fn former(&self) -> BTreeSet<u64> {
        self.former.values().flatten().copied().collect()
    }
}

fn partitions(steps: &[Step]) -> Vec<TopicPartition> {
    steps.iter().map(|step| step.partition.clone()).collect()
}

fn named(partitions: &[TopicPartition]) -> String {
    partitions.iter().map(|partition| format!(" {}", short(partition))).collect()
}

impl Drop for Connection {
    /// The process has ended, perhaps in the middle of a transaction.
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        let was_busy = self.world.database().holds_locks(self.lane);
        let lingers = self.world.millis(0, 15_000);
        let is_committing = self.world.database().abandon(session, Instant::now() + lingers);
        if is_committing {
            self.world.met(Met::CrashedAtCommit);
        } else if was_busy {
            self.world.met(Met::CrashedInTransaction);
        }
    }
}

impl Target for Connection {
    const DIALECT: Dialect = Sqlite::DIALECT;

    async fn claim(
        &mut self,
        partitions: &[TopicPartition],
        token: Uuid,
        _take_over: bool,
    ) -> Result<Claims, TargetError> {
        self.set_out().await?;
        self.lock_checkpoint(partitions.iter(), |world| world.database().owners(partitions))
            .await?;
        let claims = {
            let mut database = self.world.database();
            let owner = |partition: &TopicPartition| {
                database.state.checkpoints.get(partition).and_then(|row| row.owner)
            };
            if partitions.iter().filter_map(owner).any(|owner| owner != self.lane) {
                self.world.met(Met::ClaimTaken);
            }
            database.claim(self.lane, partitions, token)
        };
        for claimed in &claims.claimed {
            let database = self.world.database();
            let former = database.state.checkpoints[&claimed.partition].former.clone();
            drop(database);
            self.former.insert(claimed.partition.clone(), former);
            if !self.world.group().is_owner(self.lane, &claimed.partition) {
                self.world.met(Met::ClaimStale);
            }
            self.note(|| {
                let (partition, epoch) = (short(&claimed.partition), claimed.claim.epoch);
                format!("claims {partition} at {} in epoch {epoch}", claimed.next.get())
            });
        }
        self.answer(claims).await
    }

    async fn begin(&mut self, first: &[(TopicPartition, NextOffset)]) -> Result<(), TargetError> {
        self.set_out().await?;
        self.world.database().begin(first);
        self.world.met(Met::FirstPlaced);
        self.answer(()).await
    }

    async fn release(&mut self, claims: &[(TopicPartition, Claim)]) -> Result<(), TargetError> {
        self.set_out().await?;
        self.lock_checkpoint(claims.iter().map(|(it, _)| it), |_| BTreeSet::new()).await?;
        self.world.database().release(claims);
        self.world.met(Met::Released);
        self.note(|| {
            let all = claims.iter().map(|(partition, _)| partition.clone()).collect::<Vec<_>>();
            format!("releases{}", named(&all))
        });
        for (partition, _) in claims {
            self.former.remove(partition);
        }
        self.answer(()).await
    }

    async fn touch(&mut self, holdings: &[Holding]) -> Result<Touched, TargetError> {
        self.set_out().await?;
        self.lock_checkpoint(holdings.iter().map(|held| &held.partition), |_| BTreeSet::new())
            .await?;
        let elsewhere = self.world.database().elsewhere(holdings);
        if !elsewhere.is_empty() {
            self.world.met(Met::FoundElsewhere);
            self.note(|| format!("finds elsewhere{}", named(&elsewhere)));
        }
        let stopped = self.world.database().stopped();
        self.answer(Touched { elsewhere, stopped, met: 0 }).await
    }

    async fn identify(
        &mut self,
        claims: &[(TopicPartition, Claim, Remembered)],
    ) -> Result<(), TargetError> {
        self.set_out().await?;
        self.lock_checkpoint(claims.iter().map(|(it, ..)| it), |_| BTreeSet::new()).await?;
        self.world.database().identify(claims);
        self.answer(()).await
    }

    async fn places(
        &mut self,
        topic: &str,
    ) -> Result<Vec<(TopicPartition, NextOffset)>, TargetError> {
        self.set_out().await?;
        self.world.met(Met::GrowthSeen);
        self.note(|| format!("asks where all of {topic} stands"));
        let places = self.world.database().state.places(topic);
        self.answer(places).await
    }

    async fn meet_keys(&mut self, met: &[KeyMet]) -> Result<Vec<bool>, TargetError> {
        self.set_out().await?;
        self.answer(vec![true; met.len()]).await
    }

    async fn mark(
        &mut self,
        partition: &TopicPartition,
        claim: Claim,
        stop: Option<&Stop>,
    ) -> Result<(), TargetError> {
        let jump = self.world.jump(partition);
        let met = match stop.map(|stop| stop.reason) {
            Some(StopReason::LogGap) if jump.low > 0 => Some(Met::LogGap),
            Some(StopReason::TopicRecreated) if jump.remade > 0 => Some(Met::TopicStopped),
            Some(StopReason::LogReplaced) if jump.is_replaced => Some(Met::LogStopped),
            // Nothing else in a world can only be mended by an operator.
            _ => None,
        };
        let stop_text = stop.map(ToString::to_string).unwrap_or_default();
        self.note(|| format!("marks {}: {stop_text}", short(partition)));
        match met {
            Some(met) => self.world.met(met),
            None => {
                self.world.history().violate(&format!("{} stops: {stop_text}", short(partition)));
            }
        }
        self.set_out().await?;
        self.lock_checkpoint([partition].into_iter(), |_| BTreeSet::new()).await?;
        self.world.database().mark(partition, claim, stop.map(|stop| stop.reason));
        self.answer(()).await
    }

    /// Nobody else leads to a table: each has a source table of its own.
    async fn tables(&mut self, names: &[TableName]) -> Result<Vec<Existing>, TargetError> {
        self.set_out().await?;
        let existing = |name| Existing {
            table: self.world.database().state.catalogue.get(name).cloned(),
            leaders: Vec::new(),
        };
        let existing = names.iter().map(existing).collect();
        if names.len() > 1 {
            self.world.met(Met::LookedAhead);
        }
        self.answer(existing).await
    }

    async fn contest(&mut self, lead: &Lead) -> Result<(), TargetError> {
        self.world.history().violate(&format!("somebody contests \"{}\"", lead.target));
        Ok(())
    }

    async fn moved(&mut self, request: &MoveRequest) -> Result<Option<Moved>, TargetError> {
        self.set_out().await?;
        let moved = self.world.database().state.find_left(request);
        self.world.met(if moved.is_some() { Met::ValueBrought } else { Met::ValueAwaited });
        self.note(|| format!("looks for what was left at {}: {}", request.place, moved.is_some()));
        self.answer(moved).await
    }

    async fn apply(&mut self, batch: &Folded) -> Result<Applied, TargetError> {
        let steps = moving(batch);
        let text = || {
            let text = |step: &Step| {
                let (from, to) = (step.from.get(), step.to.get());
                format!(" {} {from}..{to}#{}", short(&step.partition), step.claim.epoch)
            };
            steps.iter().map(text).collect::<String>()
        };
        self.note(|| format!("applies{}", text()));
        let was_there = self.world.database().unreached(&steps).is_empty();
        let result = self.attempt(batch, &steps).await;
        match &result {
            Ok(applied) => {
                self.count(batch, applied, was_there && !steps.is_empty());
                self.note(|| match applied {
                    Applied::Committed { .. } => format!("applied{}", text()),
                    Applied::Refused { rows } => format!("refuses rows: {}", rows.len()),
                    Applied::Fenced { partitions } => format!("is fenced:{}", named(partitions)),
                });
            }
            Err(error) => {
                self.note(|| format!("could not apply: {error}"));
                return result;
            }
        }
        self.answer(()).await?;
        result
    }
}
