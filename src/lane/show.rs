//! Showing: what the lane lets others see of itself.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Lane;
use super::held::{CONSTRAINT, Held, MOVE, State};
use crate::checkpoint::NextOffset;
use crate::kafka::Watermarks;
use crate::record::TopicPartition;
use crate::status::{LaneStatus, PartitionState, PartitionStatus, Pulse, StatusBoard, TargetState};
use crate::stopped::{Stop, StopReason};

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

fn status(
    partition: &TopicPartition,
    held: &Held,
    high_watermark: Option<&i64>,
) -> PartitionStatus {
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
        high_watermark: high_watermark.copied().map(NextOffset::at),
        epoch: held.claim.map(|claim| claim.epoch),
        moved_at: held.moved_at,
    }
}

fn shown(state: &State) -> PartitionState {
    match state {
        State::Claiming | State::Placing => PartitionState::Claiming,
        State::HeldByGroup(group, _) => {
            let detail = format!("group \"{group}\" holds it: --take-over, if the move is meant");
            PartitionState::Stopped(Stop::new(StopReason::HeldByGroup, detail))
        }
        State::Running | State::Leaving => PartitionState::Running,
        State::Waiting(what) => PartitionState::Waiting((*what).to_owned()),
        State::Stopped(stop) => PartitionState::Stopped(stop.clone()),
    }
}
