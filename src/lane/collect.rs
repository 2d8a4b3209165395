//! Collecting: records of the run at the head go through the decoder into the batch.

use tokio::time::Instant;
use tracing::info;

use super::held::{CONSTRAINT, Held, PARTITION_COUNT, State};
use super::refused::Ruling;
use super::{Blocked, HEAD_WAIT, Lane};
use crate::batch::{Batch, KeyMark};
use crate::checkpoint::{LastRecord, NextOffset};
use crate::decode::{Arrival, Change, Decoded, Ignored, Op, SchemaId};
use crate::record::{Record, Run, TopicPartition};
use crate::refused::{DeadLetter, Refusal};
use crate::rows::Origin;
use crate::status::SCHEMA;
use crate::stopped::{Stop, StopReason};
use crate::telemetry;

/// How the run at the head ended.
enum Ended {
    /// Its records are collected, or nobody's any more.
    UsedUp,
    /// The partition stops at the next record.
    Stopped(Stop),
    /// The next record waits for something.
    Blocked(Blocked),
    /// The partition waits before the next record, and the others go on.
    Early,
}

/// What a record came to.
enum Collected {
    /// A change of a row, or a truncate.
    Change(Change),
    /// Nothing to write.
    Ignored(Ignored),
    /// A dead letter.
    Refused,
}

impl Lane {
    /// Collects from the next run until it is used up or something must come first.
    pub(super) fn collect(&mut self) {
        self.give_up_waiting();
        if !self.has_more() {
            return;
        }
        let Some(run) = self.current.take().or_else(|| self.ahead.pop()) else { return };
        // Taken out of the map for the time of the run, so that no record looks it up.
        let Some(mut held) = self.held.remove(&run.partition) else { return };
        let ended = self.collect_run(&run, &mut held);
        if let (Ended::UsedUp, Some(end)) = (&ended, run.end) {
            self.reach_end(&run, &mut held, NextOffset::at(end));
        }
        self.held.insert(run.partition.clone(), held);
        match ended {
            Ended::UsedUp => {}
            Ended::Stopped(stop) => self.stop(&run.partition, stop),
            Ended::Early => self.park(&run.partition, State::Waiting(CONSTRAINT)),
            Ended::Blocked(blocked) => {
                if matches!(blocked, Blocked::PartitionCount(_)) {
                    self.count_partitions(&run.partition.topic);
                }
                self.is_ended = !self.filling.is_empty() && self.ends_batch(&blocked);
                self.blocked = Some(blocked);
                self.current = Some(run);
            }
        }
    }

    /// Returns whether records are here that the batch takes.
    pub(super) fn has_more(&self) -> bool {
        let is_stopped = self.blocked.is_some() || self.is_ended || self.is_full();
        !is_stopped && (self.current.is_some() || !self.ahead.is_empty())
    }

    fn collect_run(&mut self, run: &Run, held: &mut Held) -> Ended {
        let Some(claim) = held.claim.filter(|_| held.takes(run.assignment)) else {
            return Ended::UsedUp;
        };
        let step = self.filling.step(&run.partition, claim, held.expected);
        let is_alone = self.partition_counts.get(&run.partition.topic).map(|count| *count == 1);
        let mut tally = Tally::default();
        let mut ended = Ended::UsedUp;
        for record in run.iter() {
            if record.offset < held.expected.get() {
                continue;
            }
            let arrival = Arrival {
                topic: &run.partition.topic,
                partition: run.partition.partition,
                record,
                origin: Origin {
                    step,
                    offset: record.offset,
                    sent_at: record.timestamp.unwrap_or_default(),
                },
                is_tainted: held.taints.contains(record.key),
                is_alone,
            };
            let (source_position, may_delete) =
                match self.collect_record(&run.partition, held, arrival) {
                    Ok(Collected::Change(change)) => {
                        tally.changes.push(change.op);
                        (change.source_position, change.op == Op::Delete)
                    }
                    Ok(Collected::Ignored(why)) => {
                        tally.ignored.push(why);
                        (None, why == Ignored::Delete)
                    }
                    Ok(Collected::Refused) => (None, true),
                    Err(early) => {
                        ended = early;
                        break;
                    }
                };
            let Record { offset, timestamp, .. } = record;
            let leader_epoch = run.leader_epoch;
            // Only for the few that may be one is the partition looked up.
            let deleted = may_delete.then(|| self.decoder.deleted(&run.partition)).flatten();
            let deleted = deleted.filter(|deleted| deleted.offset == offset);
            let deleted_key = deleted.map(|deleted| deleted.key.clone());
            let last = LastRecord { offset, timestamp, leader_epoch, source_position, deleted_key };
            self.filling.advance(step, last);
            held.expected = NextOffset::after(offset);
            tally.records += 1;
            if held.rulings.get(&offset) == Some(&Ruling::Alone) {
                ended = Ended::Blocked(Blocked::Batch);
                break;
            }
        }
        if tally.records > 0 {
            self.filling_since.get_or_insert_with(Instant::now);
            tally.count(&run.partition.topic);
        }
        ended
    }

    /// Collects a record, if nothing must come first; returns the change that it is, if it is one.
    fn collect_record(
        &mut self,
        partition: &TopicPartition,
        held: &mut Held,
        arrival: Arrival<'_>,
    ) -> Result<Collected, Ended> {
        let record = arrival.record;
        let ruling = held.rulings.get(&record.offset);
        if let Some(early) = self.before(ruling) {
            return Err(early);
        }
        match self.decode(arrival, ruling) {
            Decoded::Change(change) | Decoded::Truncate(change) => {
                if change.is_whole {
                    self.mark_key(partition, held, record, false);
                }
                if change.op == Op::Truncate {
                    self.outdate_refused(partition, held, record.offset);
                }
                Ok(Collected::Change(change))
            }
            Decoded::Ignored(why) => Ok(Collected::Ignored(why)),
            Decoded::Refused(refusal) if self.limits.stop_on_refused => {
                Err(Ended::Stopped(refused(record, &refusal)))
            }
            Decoded::Refused(_) if !self.decoder.leave_refused(&arrival, &mut self.filling) => {
                Err(Ended::Blocked(Blocked::Batch))
            }
            Decoded::Refused(refusal) => {
                self.refuse(partition, held, record, refusal);
                Ok(Collected::Refused)
            }
            Decoded::NeedsSchema(id) => Err(self.await_schema(id, record)),
            Decoded::NeedsLayout(request) => Err(Ended::Blocked(Blocked::Layout(request))),
            Decoded::NeedsMoved(request) => Err(Ended::Blocked(Blocked::Moved(request))),
            Decoded::NeedsPartitionCount => {
                let until = Instant::now() + HEAD_WAIT;
                Err(Ended::Blocked(Blocked::PartitionCount(until)))
            }
            Decoded::NeedsNewBatch => Err(Ended::Blocked(Blocked::Batch)),
            Decoded::Stopped(stop) => Err(Ended::Stopped(stop)),
        }
    }

    /// Returns what keeps a record from being collected by what is decided about it.
    fn before(&self, ruling: Option<&Ruling>) -> Option<Ended> {
        match ruling? {
            Ruling::Refuse(_) => None,
            Ruling::Wait => Some(Ended::Early),
            Ruling::Alone => (!self.filling.is_empty()).then_some(Ended::Blocked(Blocked::Batch)),
        }
    }

    /// Moves the checkpoint to the end of the log where no record stands before it any more: later
    /// those offsets would look like a gap.
    fn reach_end(&mut self, run: &Run, held: &mut Held, end: NextOffset) {
        if let Some(claim) = held.claim
            && held.takes(run.assignment)
            && end > held.expected
        {
            let step = self.filling.step(&run.partition, claim, held.expected);
            self.filling.reach(step, end);
            held.expected = end;
            self.filling_since.get_or_insert_with(Instant::now);
        }
    }

    /// Waits for a schema, which without a registry would never come.
    fn await_schema(&mut self, id: SchemaId, record: Record<'_>) -> Ended {
        if self.registry.is_none() {
            let detail = format!("schema {id} is Avro's: it needs --schema-registry-url");
            return Ended::Stopped(Stop::new(StopReason::SchemaUnreadable, detail));
        }
        self.fetch_schema(id);
        self.fetch_schemas(record);
        Ended::Blocked(Blocked::Schema(id, Instant::now() + HEAD_WAIT))
    }

    fn refuse(
        &mut self,
        partition: &TopicPartition,
        held: &mut Held,
        record: Record<'_>,
        refusal: Refusal,
    ) {
        self.mark_key(partition, held, record, true);
        let (partition, record) = (partition.clone(), record.into());
        self.filling.dead_letters.push(DeadLetter { partition, record, refusal });
    }

    /// Notes what the newest image of the key is: refused, so that later records may not lean on the
    /// target's row, or whole, so that they may again.
    fn mark_key(
        &mut self,
        partition: &TopicPartition,
        held: &mut Held,
        record: Record<'_>,
        is_refused: bool,
    ) {
        let Some(key) = record.key else { return };
        if held.taints.note(key, is_refused) {
            let (partition, key, offset) = (partition.clone(), key.to_vec(), record.offset);
            self.filling.key_marks.push(KeyMark { partition, key, is_refused, offset });
        }
    }

    /// Notes that no record refused before a truncate may come back to the table.
    fn outdate_refused(&mut self, partition: &TopicPartition, held: &Held, offset: i64) {
        for key in held.taints.keys() {
            let (partition, key) = (partition.clone(), key.to_vec());
            self.filling.key_marks.push(KeyMark { partition, key, is_refused: true, offset });
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
        // What leaves is the next owner's to stop.
        if held.state == State::Leaving {
            return;
        }
        held.is_mark_due = matches!(state, State::Stopped(_));
        held.state = state;
        // A callback that still waits assigns it paused, and a seek starts it.
        held.positions = None;
        self.link.pause(partition, held.assignment);
        self.drop_current_of(partition);
    }

    /// Has the client deliver a partition's records from behind what was collected.
    pub(super) fn read_on(&mut self, partition: &TopicPartition) {
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
        (self.filling_since, self.is_ended) = (None, false);
        self.blocked = None;
        let head = self.current.take().map(|run| run.partition);
        for (partition, held) in &mut self.held {
            let in_flight = self.in_flight.get(partition).cloned();
            let (next, deleted) = in_flight.unwrap_or((held.applied, held.deleted.clone()));
            let is_behind = held.expected != next || head.as_ref() == Some(partition);
            held.taints.rewind();
            held.expected = next;
            self.decoder.read_anew(partition, deleted);
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

    /// Parks the head's partition when its answer does not come.
    fn give_up_waiting(&mut self) {
        let (until, what) = match self.blocked {
            Some(Blocked::Schema(_, until)) => (until, SCHEMA),
            Some(Blocked::PartitionCount(until)) => (until, PARTITION_COUNT),
            _ => return,
        };
        if until > Instant::now() {
            return;
        }
        if let Some(partition) = self.current.as_ref().map(|run| run.partition.clone()) {
            info!(%partition, what, "waits");
            self.park(&partition, State::Waiting(what));
        }
    }
}

/// What a run brought.
#[derive(Debug, Default)]
struct Tally {
    records: u64,
    changes: Vec<Op>,
    ignored: Vec<Ignored>,
}

impl Tally {
    /// Counts it; a topic stands for its table, behind the connector's prefix.
    fn count(&self, topic: &str) {
        metrics::counter!(telemetry::RECORDS, "topic" => topic.to_owned()).increment(self.records);
        let table = topic.split_once('.').map_or(topic, |(_, table)| table);
        for op in Op::ALL {
            let count = count_of(&self.changes, op);
            if count > 0 {
                let (table, op) = (table.to_owned(), op.name());
                metrics::counter!(telemetry::CHANGES, "table" => table, "op" => op)
                    .increment(count);
            }
        }
        for kind in Ignored::ALL {
            let count = count_of(&self.ignored, kind);
            if count > 0 {
                metrics::counter!(telemetry::IGNORED, "kind" => kind.name()).increment(count);
            }
        }
    }
}

fn count_of<T: PartialEq>(all: &[T], one: T) -> u64 {
    u64::try_from(all.iter().filter(|it| **it == one).count()).unwrap_or(u64::MAX)
}

fn refused(record: Record<'_>, refusal: &Refusal) -> Stop {
    let Refusal { reason, detail, .. } = refusal;
    let detail = format!("offset {}: {reason}: {detail}", record.offset);
    Stop::new(StopReason::RecordRefused, detail)
}
