//! Collecting: records of the run at the head go through the decoder into the batch.

use tokio::time::Instant;
use tracing::{info, warn};

use super::{Blocked, Lane, SCHEMA_WAIT, State};
use crate::batch::{Batch, KeyMark};
use crate::checkpoint::{LastRecord, NextOffset};
use crate::decode::{Arrival, Change, Decoded};
use crate::record::{Record, Run, TopicPartition};
use crate::refused::{DeadLetter, Refusal};
use crate::rows::Origin;
use crate::stopped::{Stop, StopReason};
use crate::telemetry;

impl Lane {
    /// Collects from the run at the head until it is used up or something must come first.
    pub(super) fn collect(&mut self) {
        self.give_up_waiting_for_schema();
        if self.blocked.is_some() || self.is_full() {
            return;
        }
        let Some(run) = self.current.take() else { return };
        let mut records = 0_u64;
        for record in run.iter() {
            let Some(held) = self.held.get(&run.partition) else { return };
            if !held.takes(run.assignment) {
                return;
            }
            if record.offset < held.expected.get() {
                continue;
            }
            if !self.take(&run.partition, record) {
                // Only a head that comes again may stand in the way of other partitions.
                if self.blocked.is_some() {
                    self.current = Some(run);
                }
                return;
            }
            records += 1;
        }
        let topic = run.partition.topic.to_string();
        metrics::counter!(telemetry::RECORDS_TOTAL, "topic" => topic).increment(records);
    }

    /// Takes one record; `false` when it could not be dealt with.
    fn take(&mut self, partition: &TopicPartition, record: Record<'_>) -> bool {
        let Some(held) = self.held.get(partition) else { return false };
        let Some(claim) = held.claim else { return false };
        let step = self.filling.step(partition, claim, held.expected);
        let is_tainted = held.taints.contains(record.key);
        let origin = Origin { step, offset: record.offset };
        let arrival = Arrival { topic: &partition.topic, record, origin, is_tainted };
        match self.decoder.decode(arrival, &mut self.filling) {
            Decoded::Change(change) | Decoded::Truncate(change) => {
                self.note_change(partition, record, &change);
                self.advance(partition, record, step, change.source_position);
            }
            Decoded::Ignored(_) => self.advance(partition, record, step, None),
            Decoded::Refused(refusal) if self.limits.stop_on_refused => {
                self.stop(partition, refused(record, &refusal));
                return false;
            }
            Decoded::Refused(refusal) => {
                self.refuse(partition, record, refusal);
                self.advance(partition, record, step, None);
            }
            Decoded::NeedsSchema(id) => {
                self.fetch_schema(id);
                self.blocked = Some(Blocked::Schema(id, Instant::now() + SCHEMA_WAIT));
                return false;
            }
            Decoded::NeedsLayout(request) => {
                self.blocked = Some(Blocked::Layout(request));
                return false;
            }
            Decoded::NeedsNewBatch => {
                self.blocked = Some(Blocked::Batch);
                return false;
            }
            Decoded::Stopped(stop) => {
                self.stop(partition, stop);
                return false;
            }
        }
        true
    }

    fn advance(
        &mut self,
        partition: &TopicPartition,
        record: Record<'_>,
        step: usize,
        source_position: Option<String>,
    ) {
        let last =
            LastRecord { offset: record.offset, timestamp: record.timestamp, source_position };
        self.filling.advance(step, last);
        self.filling_since.get_or_insert_with(Instant::now);
        if let Some(held) = self.held.get_mut(partition) {
            held.expected = NextOffset::after(record.offset);
        }
    }

    /// A whole image or a delete ends what a dead letter of its key means for later records.
    fn note_change(&mut self, partition: &TopicPartition, record: Record<'_>, change: &Change) {
        if change.is_whole {
            self.mark_key(partition, record, false);
        }
    }

    fn refuse(&mut self, partition: &TopicPartition, record: Record<'_>, refusal: Refusal) {
        let reason = refusal.reason.name();
        metrics::counter!(telemetry::DEAD_LETTERS_TOTAL, "reason" => reason).increment(1);
        warn!(
            topic = %partition.topic,
            partition = partition.partition,
            offset = record.offset,
            reason,
            table = refusal.table,
            detail = refusal.detail,
            "refused a record: kept as a dead letter",
        );
        self.mark_key(partition, record, true);
        let (partition, record) = (partition.clone(), record.into());
        self.filling.dead_letters.push(DeadLetter { partition, record, refusal });
    }

    fn mark_key(&mut self, partition: &TopicPartition, record: Record<'_>, is_refused: bool) {
        let (Some(held), Some(key)) = (self.held.get_mut(partition), record.key) else { return };
        if held.taints.note(key, is_refused) {
            let (partition, key) = (partition.clone(), key.to_vec());
            self.filling.key_marks.push(KeyMark { partition, key, is_refused });
        }
    }

    /// Stops a partition: its records come no more until an operator has acted and it is claimed
    /// again.
    pub(super) fn stop(&mut self, partition: &TopicPartition, stop: Stop) {
        tracing::error!(
            topic = %partition.topic,
            partition = partition.partition,
            reason = stop.reason.name(),
            detail = stop.detail,
            "stopped a partition",
        );
        self.park(partition, State::Stopped(stop));
    }

    /// Pauses a partition and drops what of it is under way to the batch.
    pub(super) fn park(&mut self, partition: &TopicPartition, state: State) {
        let Some(held) = self.held.get_mut(partition) else { return };
        held.is_mark_due = matches!(state, State::Stopped(_));
        held.state = state;
        self.link.pause(partition);
        self.drop_current_of(partition);
    }

    /// Lets a parked partition go on behind what was collected.
    pub(super) fn unpark(&mut self, partition: &TopicPartition) {
        if let Some(held) = self.held.get_mut(partition) {
            held.state = State::Running;
            held.assignment = self.link.seek(partition, held.expected);
        }
    }

    pub(super) fn drop_current_of(&mut self, partition: &TopicPartition) {
        if self.current.as_ref().is_some_and(|run: &Run| run.partition == *partition) {
            self.current = None;
            self.blocked = None;
        }
    }

    /// Forgets what is not committed and reads every partition from its checkpoint again.
    ///
    /// While a batch is under way, a partition goes on behind it: whether it commits is settled by
    /// its answer.
    pub(super) fn rewind(&mut self) {
        self.filling = Batch::default();
        self.filling_since = None;
        self.blocked = None;
        let head = self.current.take().map(|run| run.partition);
        for (partition, held) in &mut self.held {
            let next = self.in_flight.get(partition).copied().unwrap_or(held.applied);
            let is_behind = held.expected != next || head.as_ref() == Some(partition);
            held.taints.rewind();
            held.expected = next;
            if held.state == State::Running && is_behind {
                held.assignment = self.link.seek(partition, next);
            }
        }
        for mark in &self.in_flight_marks {
            if let Some(held) = self.held.get_mut(&mark.partition) {
                held.taints.note(&mark.key, mark.is_refused);
            }
        }
    }

    fn give_up_waiting_for_schema(&mut self) {
        let Some(Blocked::Schema(id, until)) = self.blocked else { return };
        if until > Instant::now() {
            return;
        }
        if let Some(partition) = self.current.as_ref().map(|run| run.partition.clone()) {
            info!(%partition, id, "waits for a schema of the registry");
            self.park(&partition, State::Waiting("schema"));
        }
    }
}

fn refused(record: Record<'_>, refusal: &Refusal) -> Stop {
    let Refusal { reason, detail, .. } = refusal;
    let detail = format!("offset {}: {reason}: {detail}", record.offset);
    Stop::new(StopReason::RecordRefused, detail)
}
