//! Showing: what the lane lets others see of itself.

use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;

use super::Lane;
use super::held::{CONSTRAINT, Held, MOVE, State};
use crate::batch::Folded;
use crate::checkpoint::NextOffset;
use crate::kafka::{LogEnd, Watermarks};
use crate::record::TopicPartition;
use crate::status::{LaneStatus, PartitionState, PartitionStatus, Pulse, StatusBoard, TargetState};
use crate::stopped::{Stop, StopReason};
use crate::target::Touched;
use crate::telemetry;

/// How often a lane under load shows itself.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(200);

/// Where a lane shows itself.
#[derive(Debug)]
pub struct Window {
    /// Takes what the lane shows.
    pub board: StatusBoard,
    /// The lane's number.
    pub lane: usize,
    /// The sign of life of its loop.
    pub pulse: Pulse,
    /// The ends of the logs, for the lag.
    pub watermarks: watch::Receiver<Watermarks>,
}

impl Lane {
    /// Has stops written again of which the rows do not know: the target went back to before them.
    pub(super) fn mark_again(&mut self, touched: &Touched) {
        for (partition, held) in &mut self.held {
            let is_known =
                touched.stopped.contains(partition) || touched.elsewhere.contains(partition);
            let is_stopped = matches!(held.state, State::Stopped(_)) && held.claim.is_some();
            held.is_mark_due |= is_stopped && !is_known;
        }
    }

    /// Shows the lane's state, now and then.
    pub(super) fn publish(&mut self) {
        self.window.pulse.beat();
        if self.published.is_some_and(|then| then.elapsed() < PUBLISH_INTERVAL) {
            return;
        }
        self.published = Some(Instant::now());
        let watermarks = self.window.watermarks.borrow();
        let partitions = self.held.iter().filter(|(_, held)| held.state != State::Leaving);
        let partitions = partitions
            .map(|(partition, held)| status(partition, held, watermarks.get(partition)))
            .collect();
        let (target, written) = (self.target_state.clone(), self.written);
        self.window.board.publish(self.window.lane, LaneStatus { target, partitions, written });
    }

    pub(super) fn show_target(&mut self, state: TargetState) {
        if self.target_state != state {
            self.target_state = state;
            self.published = None;
        }
    }
}

fn status(partition: &TopicPartition, held: &Held, end: Option<&LogEnd>) -> PartitionStatus {
    let is_placed = held.claim.is_some();
    PartitionStatus {
        partition: partition.clone(),
        state: match &held.state {
            // It looks again and again, and waits in between.
            State::Running if held.waits_for.is_some() => PartitionState::Waiting(MOVE.to_owned()),
            State::Running if held.has_early() => PartitionState::Waiting(CONSTRAINT.to_owned()),
            state => shown(state),
        },
        next: is_placed.then_some(held.applied),
        high_watermark: end.map(|end| NextOffset::at(end.stable)),
        held_back: end.map(|end| u64::try_from(end.high - end.stable).unwrap_or(0)),
        epoch: held.claim.map(|claim| claim.epoch),
        moved_at: held.moved_at,
    }
}

fn shown(state: &State) -> PartitionState {
    match state {
        State::Claiming | State::Placing | State::Proving => PartitionState::Claiming,
        State::HeldByGroup(group, _) => {
            let detail = format!("group \"{group}\" holds it: --take-over, if the move is meant");
            PartitionState::Stopped(Stop::new(StopReason::HeldByGroup, detail))
        }
        State::Running | State::Leaving => PartitionState::Running,
        State::Waiting(what) => PartitionState::Waiting((*what).to_owned()),
        State::Stopped(stop) => PartitionState::Stopped(stop.clone()),
    }
}

/// Counts what a commit has made visible, and returns how many rows that is.
pub(super) fn count(batch: &Folded) -> u64 {
    let mut written = 0;
    for (rows, winners) in &batch.tables {
        let table = rows.shape().table.name.to_string();
        let upserts = winners.upserts.len() + winners.partial.len();
        // Whether what only passed through stays is the target's to say: one row either way.
        let passed = winners.unsettled.passed.len();
        let deletes = winners.deletes.len() + winners.images.len() + passed;
        for (op, count) in [("upsert", upserts), ("delete", deletes)] {
            if count > 0 {
                let count = as_count(count);
                written += count;
                metrics::counter!(telemetry::ROWS_WRITTEN, "table" => table.clone(), "op" => op)
                    .increment(count);
            }
        }
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    for step in batch.steps.iter().filter(|step| step.moves()) {
        let then = step.last.as_ref().and_then(|last| last.timestamp);
        if let Some(then) = then.and_then(|then| u64::try_from(then).ok()) {
            let passed = now.saturating_sub(Duration::from_millis(then));
            metrics::histogram!(telemetry::END_TO_END).record(passed);
        }
    }
    written
}

fn as_count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
