//! Settling: what an answer of the target means for partitions, batches and the next order.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::held::{FENCED, MOVE, State, Taints};
use super::show::count;
use super::writer::{Answer, Order, Outcome};
use super::{Blocked, Lane};
use crate::batch::Folded;
use crate::checkpoint::Claim;
use crate::kafka::Membership;
use crate::moves::{MoveRequest, Moved};
use crate::record::TopicPartition;
use crate::refused::DeadLetter;
use crate::status::TargetState;
use crate::stopped::{Stop, StopReason};
use crate::target::{Applied, Claimed, Claims, Disposition, TargetError};
use crate::telemetry;

/// The first pause before an order is given again.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest pause before an order is given again: an operator who has mended the target does
/// not want to wait.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How often a partition asks again that another group holds.
const HELD_PAUSE: Duration = Duration::from_secs(5);

/// How many batches in a row may find the table other than it was read just before.
const STALE_MAX: u32 = 5;

/// How long a row waits for its delete under the old key, which another partition holds: its member
/// may be away, or its partition stopped.
const MOVE_PATIENCE: Duration = Duration::from_secs(600);

impl Lane {
    /// Takes over what came of the order that was under way.
    pub(super) fn settle(&mut self, answer: Answer) {
        let taken = self.ordered.take().map(|ordered| ordered.elapsed()).unwrap_or_default();
        let Answer { order, result } = answer;
        match result {
            Ok(outcome) => {
                if self.retry.tries > 0 {
                    info!(tries = self.retry.tries, "target answers again");
                }
                self.retry = super::Retry::default();
                self.show_target(TargetState::Reachable);
                if matches!(order, Order::Apply(_)) {
                    metrics::histogram!(telemetry::BATCH_APPLY).record(taken);
                }
                self.succeed(order, outcome);
            }
            Err(error) => self.fail(order, &error),
        }
    }

    fn succeed(&mut self, order: Order, outcome: Outcome) {
        match (order, outcome) {
            (Order::Claim(..), Outcome::Claims(claims)) => self.claimed(claims),
            (Order::Tables(names), Outcome::Tables(existing)) => {
                self.learn_tables(&names, existing);
            }
            (Order::Places(topic), Outcome::Places(places)) => self.look_for_ends(topic, places),
            (Order::MeetKeys(met), Outcome::KeysMet(accepted)) => self.learn_keys(&met, accepted),
            (Order::Moved(request), Outcome::Moved(moved)) => self.bring(&request, moved),
            (Order::Apply(batch), Outcome::Applied(applied)) => self.applied(&batch, applied),
            (Order::Begin(first), _) => {
                for (partition, _) in first {
                    let state = self.held.get(&partition).map(|held| &held.state);
                    if state == Some(&State::Placing) {
                        self.claim_again(&partition, State::Claiming);
                    }
                }
            }
            (Order::Release(_, leaving), _) => self.let_go(leaving),
            (Order::Touch(_), Outcome::Touched(touched)) => {
                self.learn_met(touched.met);
                self.mark_again(&touched);
                self.touched(touched.elsewhere);
            }
            (_, _) => {}
        }
    }

    /// Decides about an order that the target could not carry out.
    fn fail(&mut self, order: Order, error: &TargetError) {
        let text = format!("{:#}", ErrorChain(error));
        match (error.disposition(), order) {
            // A release is tried once: the callback waits, and the fence protects without it.
            (_, Order::Release(_, leaving)) => {
                warn!(error = text, "could not release partitions");
                self.let_go(leaving);
            }
            (Disposition::Retry(reason), order) => self.retry(order, reason, &text),
            (Disposition::Rewind, Order::Apply(batch)) => self.stale(&batch, &text),
            (Disposition::Rewind, Order::Moved(_)) => self.read_table_anew(&text),
            (Disposition::Rewind, order) => self.retry(order, "stale", &text),
            (Disposition::Stop(reason), order) => self.stop_order(order, reason, &text),
            (Disposition::StopOne(reason, partition), _) => {
                self.abandon();
                self.stop(&partition, Stop::new(reason, text));
            }
        }
    }

    fn retry(&mut self, order: Order, reason: &'static str, text: &str) {
        if reason != "busy" {
            self.show_target(TargetState::Unreachable(text.to_owned()));
        }
        self.retry.tries += 1;
        let tries = self.retry.tries;
        metrics::counter!(telemetry::RETRIES, "reason" => reason).increment(1);
        let longest = PAUSE_MIN.saturating_mul(1 << tries.min(10)).min(PAUSE_MAX);
        let pause = longest.mul_f64(0.5 + self.jitter.fraction() / 2.0);
        self.retry.until = Some(Instant::now() + pause);
        if tries == 1 || tries.is_multiple_of(10) {
            warn!(error = text, reason, tries, "target cannot do it yet: trying again");
        }
        match order {
            Order::Apply(batch) if self.leaving.is_empty() => self.again = Some(batch),
            Order::Apply(_) => {
                self.abandon();
                self.retry.until = None;
            }
            Order::Begin(first) => self.begins.extend(first),
            Order::Mark(partition, claim, stop) => match self.held.get_mut(&partition) {
                Some(held) => held.is_mark_due = true,
                None => self.gone.push((partition, claim, stop)),
            },
            Order::Contest(lead) => self.contest_again(lead),
            // A target that comes back may have gone back in time.
            Order::Touch(_) => self.touch_at = Instant::now(),
            Order::Places(topic) => self.ask_places_again(topic),
            Order::Identify(claims) => {
                for (partition, ..) in claims {
                    if let Some(held) = self.held.get_mut(&partition) {
                        held.is_identity_due = true;
                    }
                }
            }
            // What holds up one of them may not be the head's.
            Order::Tables(_) | Order::MeetKeys(_) => self.ahead.look_away(),
            // The others are derived from the lane's state, which still wants them.
            Order::Claim(..) | Order::Moved(_) | Order::Release(..) => {}
        }
    }

    fn stale(&mut self, batch: &Folded, text: &str) {
        self.stale_count += 1;
        if self.stale_count > STALE_MAX {
            self.stop_batch(batch, StopReason::TargetRefused, text);
            return;
        }
        info!(detail = text, "reads the table anew");
        self.forget_tables();
        self.abandon();
    }

    /// Has the head decoded by the table as it is now.
    fn read_table_anew(&mut self, text: &str) {
        self.stale_count += 1;
        if self.stale_count > STALE_MAX {
            return self.stop_head(Stop::new(StopReason::TargetRefused, text));
        }
        self.forget_layouts();
        self.blocked = None;
    }

    fn stop_order(&mut self, order: Order, reason: StopReason, text: &str) {
        match order {
            Order::Apply(batch) => self.stop_batch(&batch, reason, text),
            Order::Claim(partitions, _) => {
                for partition in partitions {
                    self.stop(&partition, Stop::new(reason, text));
                }
            }
            Order::Begin(first) => {
                for (partition, _) in first {
                    self.stop(&partition, Stop::new(reason, text));
                }
            }
            // Which of them is refused shows when each is asked for alone.
            Order::Tables(names) if names.len() > 1 => self.ahead.look_away(),
            Order::MeetKeys(met) if met.len() > 1 => self.ahead.look_away(),
            Order::Tables(names) if names.iter().any(|name| self.head_wants(name)) => {
                self.stop_head(Stop::new(reason, text));
            }
            Order::Moved(_) if matches!(self.blocked, Some(Blocked::Moved(_))) => {
                self.stop_head(Stop::new(reason, text));
            }
            Order::MeetKeys(_) if matches!(self.blocked, Some(Blocked::Layout(_))) => {
                self.stop_head(Stop::new(reason, text));
            }
            // The head that asked has been taken away.
            Order::Tables(_) | Order::Moved(_) | Order::MeetKeys(_) => {}
            Order::Places(topic) => self.stop_grown(&topic, &Stop::new(reason, text)),
            Order::Identify(_)
            | Order::Mark(..)
            | Order::Contest(_)
            | Order::Touch(_)
            | Order::Release(..) => {
                warn!(error = text, "target refused");
            }
        }
    }

    fn stop_batch(&mut self, batch: &Folded, reason: StopReason, text: &str) {
        self.abandon();
        for step in batch.steps.iter().filter(|step| step.moves()) {
            self.stop(&step.partition, Stop::new(reason, text));
        }
    }

    /// Stops the partition of the record that waits to be decoded.
    pub(super) fn stop_head(&mut self, stop: Stop) {
        self.blocked = None;
        if let Some(partition) = self.current.as_ref().map(|run| run.partition.clone()) {
            self.stop(&partition, stop);
        }
    }

    fn claimed(&mut self, claims: Claims) {
        let mut claimed = Vec::new();
        for claim in claims.claimed {
            claimed.extend(self.take(claim));
        }
        self.look_at_logs(claimed);
        for (partition, group) in claims.held {
            warn!(%partition, group, "another group holds the partition: --take-over claims it");
            let again = Instant::now() + HELD_PAUSE;
            self.claim_again(&partition, State::HeldByGroup(group, again));
        }
        let mut unknown = Vec::new();
        for (partition, known) in claims.unknown {
            // A stopped one was claimed to see whether an operator has made its row.
            if let Some(held) = self.held.get_mut(&partition)
                && matches!(held.state, State::Claiming | State::HeldByGroup(..))
            {
                held.state = State::Placing;
                unknown.push((partition, known));
            }
        }
        if !unknown.is_empty() {
            self.look_up_first_positions(unknown);
        }
    }

    /// Takes a claim over; returns it when its log is to be looked at.
    fn take(&mut self, claimed: Claimed) -> Option<(TopicPartition, Claim)> {
        let Claimed { partition, claim, next, remembered, refused_keys, deleted, unowned } =
            claimed;
        let held = self.held.get_mut(&partition)?;
        held.claim = Some(claim);
        if held.state == State::Leaving {
            return None;
        }
        debug!(%partition, epoch = claim.epoch, next = next.get(), "claimed");
        if next < held.applied {
            let (from, to) = (held.applied.get(), next.get());
            warn!(%partition, from, to, "the checkpoint went back: reads again from there");
        }
        held.state = State::Proving;
        held.taints = Taints::new(refused_keys);
        (held.remembered, held.unowned) = (remembered, unowned);
        held.deleted.clone_from(&deleted);
        self.decoder.read_anew(&partition, deleted);
        held.rulings.clear();
        held.early = None;
        (held.applied, held.expected, held.mirrored) = (next, next, next);
        Some((partition, claim))
    }

    /// Has a partition claimed, as that state says when.
    fn claim_again(&mut self, partition: &TopicPartition, state: State) {
        if let Some(held) = self.held.get_mut(partition)
            && held.state != State::Leaving
        {
            held.state = state;
        }
    }

    /// Gives the head what its row has left under its old key, or has its partition wait for that,
    /// so that the others go on.
    fn bring(&mut self, request: &MoveRequest, moved: Option<Moved>) {
        let Some(Blocked::Moved(wanted)) = &self.blocked else { return };
        let Some(partition) = self.current.as_ref().map(|run| run.partition.clone()) else {
            return;
        };
        let Some(held) = self.held.get_mut(&partition) else { return };
        // A rebalance may have changed the head while the target was asked.
        if (&wanted.topic, wanted.offset) != (&request.topic, request.offset) {
            return;
        }
        let since = match &held.waits_for {
            Some((place, since)) if *place == request.place => *since,
            _ => Instant::now(),
        };
        let moved = moved.or_else(|| (since.elapsed() >= MOVE_PATIENCE).then_some(Moved::Gone));
        let Some(moved) = moved else {
            held.waits_for = Some((request.place.clone(), since));
            self.look_for_moves_later();
            return self.park(&partition, State::Waiting(MOVE));
        };
        held.waits_for = None;
        self.decoder.learn_moved(&partition, request.offset, moved);
        self.blocked = None;
    }

    fn applied(&mut self, batch: &Folded, applied: Applied) {
        self.in_flight.clear();
        self.in_flight_marks.clear();
        let refused = match applied {
            Applied::Committed { refused, older } => {
                let older = u64::try_from(older).unwrap_or(u64::MAX);
                metrics::counter!(telemetry::OLDER).increment(older);
                refused
            }
            Applied::Refused { rows } => return self.refused(batch, rows),
            Applied::Fenced { partitions } => return self.fenced(&partitions),
        };
        self.stale_count = 0;
        self.leads.close(batch);
        for step in batch.steps.iter().filter(|step| step.moves()) {
            if let Some(held) = self.held.get_mut(&step.partition) {
                held.deleted = held.deleted_behind(step);
                held.applied = step.to;
                held.moved_at = Instant::now();
                held.forget_rulings();
            }
        }
        for mark in &batch.key_marks {
            if let Some(held) = self.held.get_mut(&mark.partition) {
                held.taints.commit(mark);
            }
        }
        for DeadLetter { partition, record, refusal } in batch.dead_letters.iter().chain(&refused) {
            self.written.dead_letters += 1;
            let reason = refusal.reason.name();
            metrics::counter!(telemetry::DEAD_LETTERS, "reason" => reason).increment(1);
            warn!(
                topic = %partition.topic,
                partition = partition.partition,
                offset = record.offset,
                reason,
                table = refusal.table,
                detail = refusal.detail,
                "refused a record: kept as a dead letter",
            );
        }
        self.written.rows += count(batch);
        // A refused delete leaves nothing but its letter where nobody can read it.
        let leaves = batch.tables.iter().any(|(rows, _)| !rows.departures().is_empty());
        if leaves || !batch.dead_letters.is_empty() {
            self.unpark_all(MOVE);
        }
    }

    /// Another owner has claimed partitions, or the target went back in time: nothing of the batch
    /// is applied, and only the group can say who is right.
    fn fenced(&mut self, partitions: &[TopicPartition]) {
        metrics::counter!(telemetry::FENCED).increment(1);
        warn!(?partitions, "fenced: asks the group who owns the partitions");
        for partition in partitions {
            let state = self.held.get(partition).map(|held| &held.state);
            // The batch may be of an older assignment, which says nothing of one that is still to be
            // claimed: its callback waits for the position, and no seek would end a pause.
            let is_ours = state.is_some_and(|state| match state {
                State::Running | State::Waiting(_) | State::Stopped(_) => true,
                State::Claiming
                | State::HeldByGroup(..)
                | State::Placing
                | State::Proving
                | State::Leaving => false,
            });
            if is_ours {
                self.park(partition, State::Waiting(FENCED));
            }
        }
        self.abandon();
        self.prove();
    }

    /// Leaves partitions that stand elsewhere to the group: without records of their own nothing
    /// else would show that the target went back in time.
    fn touched(&mut self, elsewhere: Vec<TopicPartition>) {
        let is_at_work = |state: &State| match state {
            // What is stopped may have been claimed by an operator, who lets it go on.
            State::Running | State::Stopped(_) => true,
            State::Waiting(what) => *what != FENCED,
            // Claimed again in any case.
            State::Claiming
            | State::HeldByGroup(..)
            | State::Placing
            | State::Proving
            | State::Leaving => false,
        };
        let held = |partition: &TopicPartition| self.held.get(partition);
        let mut elsewhere = elsewhere;
        elsewhere.retain(|partition| held(partition).is_some_and(|held| is_at_work(&held.state)));
        if !elsewhere.is_empty() {
            self.fenced(&elsewhere);
        }
    }

    /// Goes on after the group has answered whether it still counts us.
    pub(super) fn proven(&mut self, membership: Membership) {
        let is_fenced = |state: &State| *state == State::Waiting(FENCED);
        let fenced = self.held.iter().filter(|(_, held)| is_fenced(&held.state));
        let fenced = fenced.map(|(partition, _)| partition.clone()).collect::<Vec<_>>();
        match membership {
            Membership::Member => {
                for partition in fenced {
                    info!(%partition, "is still ours: claims it again");
                    self.claim_again(&partition, State::Claiming);
                }
            }
            // The callback that takes them away is on its way.
            Membership::Expelled => info!(?fenced, "are no longer ours: waits for the group"),
            Membership::Unknown if fenced.is_empty() => {}
            Membership::Unknown => self.prove_later(),
        }
    }
}

/// An error with its sources on one line.
struct ErrorChain<'a>(&'a TargetError);

impl std::fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = std::error::Error::source(self.0);
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
