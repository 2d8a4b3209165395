//! Rebalances as a lane meets them: partitions come, are taken back, or are already gone.

use std::sync::Arc;

use tracing::info;

use super::held::{Held, State};
use super::writer::Order;
use super::{Lane, Leaving};
use crate::kafka::{Event, Positions};
use crate::record::TopicPartition;

impl Lane {
    /// Takes an event of the group; `true` when it was the last one.
    pub(super) fn meet(&mut self, event: Event) -> bool {
        self.published = None;
        match event {
            Event::Assigned { partitions, positions } => self.take_on(partitions, &positions),
            Event::Revoked { partitions, released } => {
                self.leave(Leaving { partitions, released });
            }
            Event::Lost { partitions } => self.lose(&partitions),
            Event::OutOfRange(reset) => self.look_up_range(reset),
            Event::Closed => {
                self.held.retain(|_, held| held.state == State::Leaving);
                return true;
            }
        }
        false
    }

    fn take_on(&mut self, partitions: Vec<(TopicPartition, u64)>, positions: &Arc<Positions>) {
        // A new claim need not wait for the pause after an old failure.
        self.retry.until = None;
        // A topic that has grown is assigned anew.
        self.partition_counts.clear();
        self.looks.at = None;
        for (partition, assignment) in partitions {
            self.held.insert(partition, Held::new(assignment, Arc::clone(positions)));
        }
    }

    fn leave(&mut self, leaving: Leaving) {
        for partition in &leaving.partitions {
            self.drop_current_of(partition);
            if let Some(held) = self.held.get_mut(partition) {
                held.state = State::Leaving;
            }
        }
        if self.again.is_some() {
            // The target does not answer: better to give up in time than to be fenced later.
            self.abandon();
            self.retry.until = None;
        }
        self.leaving.push(leaving);
    }

    fn lose(&mut self, partitions: &[TopicPartition]) {
        let mut claims = Vec::new();
        for partition in partitions {
            self.drop_current_of(partition);
            let claim = self.held.remove(partition).and_then(|held| held.claim);
            claims.extend(claim.map(|claim| (partition.clone(), claim)));
        }
        self.look_for_topics(claims);
        // A batch under way either still carries a claim that nobody has taken, or is refused.
        let steps = self.filling.steps().iter().filter(|step| step.moves());
        if steps.into_iter().any(|step| partitions.contains(&step.partition)) {
            info!("dropped a batch: partitions are lost");
            self.rewind();
        }
    }

    /// Gives up the batch that is to be applied again, and everything behind it.
    pub(super) fn abandon(&mut self) {
        self.again = None;
        self.in_flight.clear();
        self.in_flight_marks.clear();
        self.rewind();
    }

    /// Returns the release of the leaving partitions once no batch holds one of them; where none is
    /// claimed, their callbacks are answered at once.
    pub(super) fn release_due(&mut self) -> Option<Order> {
        // One that was assigned again meanwhile is not leaving, and its new claim is not given up.
        let leaving = self.held.iter().filter(|(_, held)| held.state == State::Leaving);
        let is_in_batch = |partition: &TopicPartition| {
            let mut steps = self.filling.steps().iter().filter(|step| step.moves());
            self.in_flight.contains_key(partition) || steps.any(|step| step.partition == *partition)
        };
        if self.leaving.is_empty() || leaving.clone().any(|(partition, _)| is_in_batch(partition)) {
            return None;
        }
        let claims = leaving
            .filter_map(|(partition, held)| Some((partition.clone(), held.claim?)))
            .collect::<Vec<_>>();
        let answered = std::mem::take(&mut self.leaving);
        if claims.is_empty() {
            self.let_go(answered);
            return None;
        }
        Some(Order::Release(claims, answered))
    }

    /// Forgets the partitions that are taken back, and answers their callbacks.
    pub(super) fn let_go(&mut self, leaving: Vec<Leaving>) {
        let mut left = Vec::new();
        for Leaving { partitions, released } in leaving {
            for partition in partitions {
                if self.held.get(&partition).is_some_and(|held| held.state == State::Leaving) {
                    let claim = self.held.remove(&partition).and_then(|held| held.claim);
                    left.extend(claim.map(|claim| (partition, claim)));
                }
            }
            // A dropped receiver: the callback has stopped waiting, and the fence protects.
            _ = released.send(());
        }
        self.look_for_topics(left);
    }
}
