//! One pass over a record whose layout is known: its row or its key goes into the batch.

use std::sync::Arc;

use crate::batch::Batch;
use crate::decode::cloud::{self, CloudEvent, Data};
use crate::decode::decoder::{Orders, Schemas};
use crate::decode::found::{Broken, Failed, Found, key_null};
use crate::decode::json::Names;
use crate::decode::layout::Layout;
use crate::decode::schema::avro::Compiled;
use crate::decode::schema::envelope::Letter;
use crate::decode::schema::frame::Part;
use crate::decode::sight::{Body, Mark};
use crate::decode::{Arrival, Change, Decoded, Ignored, Op, SchemaId, avro, flat, json};
use crate::moves::{Departure, MoveRequest, Moved, NEW_KEY, OLD_KEY};
use crate::refused::Reason;
use crate::rows::{Deletes, Keyless, Move, RowWriter, Rows, Touch};
use crate::rules::AfterRefused;
use crate::stopped::{Stop, StopReason};

/// A record with all that its pass needs.
pub(super) struct Pass<'a> {
    pub(super) arrival: &'a Arrival<'a>,
    pub(super) layout: &'a Layout,
    pub(super) value: Body<'a>,
    pub(super) key: Body<'a>,
    /// The value's schema, where the registry has it.
    pub(super) schema: Option<&'a (SchemaId, Arc<Compiled>)>,
    pub(super) schemas: &'a Schemas,
    pub(super) scratch: &'a mut Vec<u8>,
    pub(super) names: &'a mut Names,
    pub(super) orders: &'a mut Orders,
    /// What the row's old key has left behind, once it is known.
    pub(super) moved: Option<&'a Moved>,
}

impl<'a> Pass<'a> {
    pub(super) fn run(self, batch: &mut Batch) -> Result<Decoded, Failed> {
        if self.arrival.is_tainted && self.layout.after_refused == AfterRefused::Block {
            return Err(refused(Reason::BehindDeadLetter, "a record of its key is refused"));
        }
        let Some(rows) = batch.rows(&self.layout.shape) else { return Ok(Decoded::NeedsNewBatch) };
        let decoded = self.run_into(rows)?;
        if let Decoded::Change(change) = &decoded {
            rows.note_age(change.age);
        }
        Ok(decoded)
    }

    fn run_into(mut self, rows: &mut Rows) -> Result<Decoded, Failed> {
        if self.is_tombstone() {
            if self.layout.shape.key.is_empty() {
                return Ok(Decoded::Ignored(Ignored::Tombstone));
            }
            return self.delete(rows, &Found::of(Letter::Row(Op::Delete)));
        }
        // What the row is for is known only behind it: a writer that is dropped leaves nothing.
        if self.layout.form.is_flat() {
            return self.run_flat(rows);
        }
        let mut writer = rows.upsert();
        let mut found = self.walk(self.layout, &mut writer)?;
        if writer.is_partial() && found.letter == Some(Letter::Row(Op::Read)) {
            // A snapshot has read the whole row: the value is what the placeholder spells.
            drop(writer);
            writer = rows.upsert();
            found = self.walk(&self.layout.without_placeholder(), &mut writer)?;
        }
        match found.letter {
            Some(Letter::Row(op @ (Op::Create | Op::Update | Op::Read))) => {
                let decoded = self.upsert(writer, &found, op)?;
                if op == Op::Create {
                    self.note_move(rows, &found, &decoded);
                }
                Ok(decoded)
            }
            Some(Letter::Row(Op::Delete)) if self.layout.shape.key.is_empty() => {
                self.delete_image(writer, &found)
            }
            Some(Letter::Row(Op::Delete)) => {
                drop(writer);
                let departure = match self.departure(rows, &found)? {
                    Leaving::Behind(departure) => departure,
                    Leaving::InANewBatch => return Ok(Decoded::NeedsNewBatch),
                };
                let decoded = self.delete(rows, &found)?;
                self.note_move(rows, &found, &decoded);
                departure.into_iter().for_each(|departure| rows.depart(departure));
                Ok(decoded)
            }
            Some(Letter::Row(Op::Truncate)) => {
                drop(writer);
                self.truncate(rows, &found)
            }
            Some(Letter::Message) => Ok(Decoded::Ignored(Ignored::Message)),
            None => Err(refused(Reason::NotAnEnvelope, "the op is missing or unknown")),
        }
    }

    /// Notes half of a changed key: a create names the old one in a header, a delete the new one.
    fn note_move(&self, rows: &mut Rows, found: &Found, decoded: &Decoded) {
        let Decoded::Change(Change { op, .. }) = decoded else { return };
        let is_create = *op == Op::Create;
        let header = if is_create { OLD_KEY } else { NEW_KEY };
        if let (Some(transaction), Some(lsn)) = (found.transaction, found.lsn)
            && self.arrival.record.headers.find(header).is_some()
        {
            let is_over_refused = is_create && self.arrival.is_tainted;
            rows.note_move(Move { is_create, transaction, lsn, is_over_refused });
        }
    }

    /// Brings a row the values that only its old key has; what must come first, if anything.
    fn bring(&self, writer: &mut RowWriter<'_>, found: &Found) -> Result<Option<Decoded>, Failed> {
        let has_moved = || self.arrival.record.headers.find(OLD_KEY).is_some();
        if !(writer.is_partial() && !self.layout.shape.key.is_empty() && has_moved()) {
            return Ok(None);
        }
        // The deletes of flat records have no place, so that nothing is left behind.
        let Some(place) = found.place().filter(|_| !self.layout.form.is_flat()) else {
            let detail = "a value is unavailable, and the record does not say where it was";
            return Err(refused(Reason::UnavailableWithoutRow, detail));
        };
        let columns = writer.unavailable();
        match self.moved {
            Some(Moved::Values(values)) if values.len() == columns.len() => {
                writer.supply(values);
                Ok(None)
            }
            Some(Moved::Values(_) | Moved::Gone) => {
                let detail = "a value is unavailable, and under its old key the row is gone";
                Err(refused(Reason::UnavailableWithoutRow, detail))
            }
            None => {
                let Arrival { topic, partition, record, .. } = *self.arrival;
                let (topic, offset) = (Arc::clone(topic), record.offset);
                let shape = Arc::clone(&self.layout.shape);
                let (leaves, sign) = (None, self.sign());
                let request =
                    MoveRequest { topic, partition, offset, place, shape, columns, leaves, sign };
                Ok(Some(Decoded::NeedsMoved(Box::new(request))))
            }
        }
    }

    /// Finds out what a deleted row leaves behind that goes on under another key.
    fn departure(&mut self, rows: &mut Rows, found: &Found) -> Result<Leaving, Failed> {
        let goes_on = self.arrival.record.headers.find(NEW_KEY).is_some();
        let columns = Arc::clone(&self.layout.toasted);
        let Some(place) = found.place().filter(|_| goes_on && !columns.is_empty()) else {
            return Ok(Leaving::Behind(None));
        };
        let mut writer = rows.delete();
        self.walk_key(&mut writer)?;
        let key = writer.cells().to_vec();
        drop(writer);
        let mut is_refused = self.arrival.is_tainted;
        let otherwise = match rows.touch(&key) {
            None if rows.has_truncate() => return Ok(Leaving::InANewBatch),
            None => None,
            // The row has come here in the same transaction, or it is another's that a deferrable
            // key lets it meet: then the target has that.
            Some(Touch::Once(row)) if self.came_in_transaction(rows, row, found) => {
                is_refused |= rows.half(row).is_some_and(|half| half.is_over_refused);
                rows.index().get(row).map(|row| rows.cells(row).to_vec())
            }
            // The target shall have the values first.
            Some(_) => return Ok(Leaving::InANewBatch),
        };
        let step = self.arrival.origin.step;
        let half = found.transaction.zip(found.lsn).map(|(transaction, lsn)| {
            let half = Move { is_create: false, transaction, lsn, is_over_refused: false };
            (half, rows.name_key(&key))
        });
        let departure = Departure { place, step, key, columns, is_refused, half, otherwise };
        Ok(Leaving::Behind(Some(departure)))
    }

    fn run_flat(mut self, rows: &mut Rows) -> Result<Decoded, Failed> {
        let mut writer = rows.upsert();
        let (mut found, failed) = match self.walk(self.layout, &mut writer) {
            Ok(found) => (found, None),
            Err(Failed::Mismatch) => return Err(Failed::Mismatch),
            // A row that is gone may lack the values that its columns need: its key is enough.
            Err(failed) => {
                drop(writer);
                writer = rows.upsert();
                (self.walk(&self.layout.of_key_only(), &mut writer)?, Some(failed))
            }
        };
        let letter = flat::letter(&found, self.arrival.record.headers);
        if let (Some(failed), true) = (failed, letter != Letter::Row(Op::Delete)) {
            return Err(failed);
        }
        if writer.is_partial() && letter == Letter::Row(Op::Read) {
            drop(writer);
            writer = rows.upsert();
            found = self.walk(&self.layout.without_placeholder(), &mut writer)?;
        }
        flat::check_order(self.orders, self.arrival, &found)?;
        match letter {
            Letter::Row(op @ (Op::Create | Op::Update | Op::Read)) => {
                self.upsert(writer, &found, op)
            }
            Letter::Row(Op::Delete) if self.layout.shape.key.is_empty() => {
                self.delete_image(writer, &found)
            }
            Letter::Row(Op::Delete) if self.layout.is_changelog => self.delete_row(writer, &found),
            Letter::Row(Op::Delete) => {
                drop(writer);
                self.delete(rows, &found)
            }
            Letter::Row(Op::Truncate) | Letter::Message => {
                Err(refused(Reason::NotAnEnvelope, "a flat record can be no truncate or message"))
            }
        }
    }

    /// Without a value, or with a frame around null, a record is the end of its key.
    fn is_tombstone(&self) -> bool {
        match self.value {
            Body::Absent => true,
            Body::Json(text) => text.trim_ascii() == b"null",
            Body::Avro(..) | Body::Opaque | Body::Cloud(..) | Body::CloudIds(..) => false,
        }
    }

    pub(super) fn walk(
        &mut self,
        layout: &Layout,
        writer: &mut RowWriter<'_>,
    ) -> Result<Found, Failed> {
        let is_flat = layout.form.is_flat();
        let walked = match self.value {
            Body::Json(text) if is_flat => json::walk_flat(text, layout, writer, self.scratch),
            Body::Avro(id, body) if is_flat => {
                avro::walk_flat(body, &self.compiled(id)?.reader, layout, (writer, self.scratch))
            }
            Body::Cloud(mark, text) => return self.walk_cloud(mark, text, layout, writer),
            Body::CloudIds(event, data, body) => {
                return self.walk_framed_cloud((event, data), body, layout, writer);
            }
            body => return self.walk_envelope(body, layout, writer),
        };
        walked.map_err(Failed::from)
    }

    fn walk_envelope(
        &mut self,
        body: Body<'_>,
        layout: &Layout,
        writer: &mut RowWriter<'_>,
    ) -> Result<Found, Failed> {
        let walked = match body {
            Body::Json(text) => {
                json::walk_envelope(text, self.names, layout, (writer, self.scratch))
            }
            Body::Avro(id, body) => {
                let reader = &self.compiled(id)?.reader;
                avro::walk_envelope(body, reader, layout, (writer, self.scratch))
            }
            Body::Absent | Body::Opaque | Body::Cloud(..) | Body::CloudIds(..) => {
                Err(Broken::Mismatch)
            }
        };
        walked.map_err(Failed::from)
    }

    /// Walks the data of a CloudEvent, then takes what an envelope says from its attributes.
    fn walk_cloud(
        &mut self,
        mark: &Mark,
        text: &[u8],
        layout: &Layout,
        writer: &mut RowWriter<'_>,
    ) -> Result<Found, Failed> {
        let event = CloudEvent::read(text).ok_or(Failed::Mismatch)?;
        let data = event.data().ok_or(Failed::Mismatch)?;
        let bytes = match &data {
            Data::Json(text) => text.as_bytes(),
            Data::Binary(framed) => framed,
        };
        let body = mark.body(Some(Part::alone(bytes))).ok_or(Failed::Mismatch)?;
        let mut found = self.walk_envelope(body, layout, writer)?;
        let is_ours = event.note(&layout.source, &mut found);
        is_ours.then_some(found).ok_or(Failed::Mismatch)
    }

    /// Walks the same of a CloudEvent in Avro.
    fn walk_framed_cloud(
        &mut self,
        (event, data): (SchemaId, SchemaId),
        body: &[u8],
        layout: &Layout,
        writer: &mut RowWriter<'_>,
    ) -> Result<Found, Failed> {
        let reader = &self.compiled(event)?.reader;
        let framed = avro::cloud_event(body, reader, |_, _| {}).ok_or(Failed::Mismatch)?;
        let images = Part::alone(framed).frame().filter(|(found, _)| *found == data);
        let images = images.map(|(id, body)| Body::Avro(id, body)).ok_or(Failed::Mismatch)?;
        let mut found = self.walk_envelope(images, layout, writer)?;
        let mut is_ours = true;
        _ = avro::cloud_event(body, reader, |attribute, said| {
            is_ours &= cloud::note(attribute, said, &layout.source, &mut found);
        });
        is_ours.then_some(found).ok_or(Failed::Mismatch)
    }

    fn walk_key(&mut self, writer: &mut RowWriter<'_>) -> Result<(), Failed> {
        let walked = match self.key {
            Body::Json(text) => json::walk_key(text, self.layout, writer, self.scratch),
            Body::Avro(id, body) => {
                let reader = &self.compiled(id)?.reader;
                avro::walk_key(body, reader, self.layout, (writer, self.scratch))
            }
            Body::Absent => return Err(refused(Reason::KeyMissing, "the record has no key")),
            Body::Opaque | Body::Cloud(..) | Body::CloudIds(..) => {
                return Err(refused(Reason::KeyMissing, "the key is no struct of columns"));
            }
        };
        walked.map_err(Failed::from)
    }

    pub(super) fn compiled(&self, id: SchemaId) -> Result<&'a Compiled, Failed> {
        if let Some((_, compiled)) = self.schema.filter(|(known, _)| *known == id) {
            return Ok(compiled);
        }
        match self.schemas.get(&id) {
            Some(Some(Ok(compiled))) => Ok(compiled),
            _ => Err(Failed::Mismatch),
        }
    }

    fn upsert(&self, mut writer: RowWriter<'_>, found: &Found, op: Op) -> Result<Decoded, Failed> {
        if let Some(early) = self.bring(&mut writer, found)? {
            return Ok(early);
        }
        self.check_key()?;
        if !found.has_after {
            return Err(refused(Reason::NotAnEnvelope, "the row is missing"));
        }
        if let (Op::Read, Some(column)) = (op, &self.layout.turned) {
            let detail = format!(
                "column \"{column}\" may have its octets in reverse: a snapshot of MariaDB's \
                 connector turns a bit(n) of more than 8 bits in a key around"
            );
            return Err(Failed::Refused(Reason::ValueUnfit, detail));
        }
        let is_matched = self.layout.shape.key.is_empty()
            && op == Op::Update
            && self.layout.shape.keyless != Keyless::Append;
        if is_matched && let Some(early) = self.check_image(found, "an update")? {
            return Ok(early);
        }
        let is_partial = writer.is_partial();
        if is_partial && self.arrival.is_tainted {
            let detail = "a value is unavailable, and a refused record of its key may have had it";
            return Err(refused(Reason::BehindDeadLetter, detail));
        }
        if is_partial && self.layout.shape.key.is_empty() {
            let detail =
                "a value is unavailable, and without a key there is no row to keep it from";
            return Err(refused(Reason::UnavailableWithoutRow, detail));
        }
        writer.note_new(op != Op::Update);
        writer.finish(self.arrival.origin, self.arrival.record).map_err(|it| self.no_key(it))?;
        Ok(Decoded::Change(found.change(op, !is_partial)))
    }

    /// Makes sure that a record has a key where its table has one.
    fn check_key(&self) -> Result<(), Failed> {
        if self.layout.shape.keyless == Keyless::Missing {
            let detail = "the record has no key, and the target's table has one";
            return Err(refused(Reason::KeyMissing, detail));
        }
        Ok(())
    }

    /// Deletes the row that is equal to the image before.
    fn delete_image(&self, writer: RowWriter<'_>, found: &Found) -> Result<Decoded, Failed> {
        self.check_key()?;
        let shape = &self.layout.shape;
        // Where rows are appended, none is there that a delete could be of.
        if shape.keyless == Keyless::Append || shape.deletes == Deletes::Ignore {
            return Ok(Decoded::Ignored(Ignored::Delete));
        }
        if let Some(early) = self.check_image(found, "a delete")? {
            return Ok(early);
        }
        if writer.is_partial() {
            let detail = "a value of the row before is unavailable, and there is no key";
            return Err(refused(Reason::UnavailableWithoutRow, detail));
        }
        let Arrival { origin, record, .. } = *self.arrival;
        writer.finish_delete(origin, record).map_err(|column| self.no_key(column))?;
        Ok(Decoded::Change(found.change(Op::Delete, true)))
    }

    /// Makes sure that a change without a key may look for its row by the image before; what must
    /// come first, if anything.
    fn check_image(&self, found: &Found, what: &str) -> Result<Option<Decoded>, Failed> {
        if self.layout.shape.keyless == Keyless::Refuse {
            return Err(Failed::Refused(Reason::NoKey, format!("{what} of a table without a key")));
        }
        if !found.has_before {
            let detail = format!("{what} of a table without a key lacks the row before");
            return Err(Failed::Refused(Reason::NoKey, detail));
        }
        match self.arrival.is_alone {
            Some(true) => Ok(None),
            Some(false) => {
                let (table, topic) = (&self.layout.source, &self.arrival.topic);
                let detail = format!(
                    "table \"{table}\" has no key, and topic \"{topic}\" has more than one \
                     partition: which row before is whose depends on the order"
                );
                Ok(Some(Decoded::Stopped(Stop::new(StopReason::MatchPartitioned, detail))))
            }
            None => Ok(Some(Decoded::NeedsPartitionCount)),
        }
    }

    fn delete(&mut self, rows: &mut Rows, found: &Found) -> Result<Decoded, Failed> {
        if self.layout.shape.deletes == Deletes::Ignore {
            return Ok(Decoded::Ignored(Ignored::Delete));
        }
        let mut writer = rows.delete();
        self.walk_key(&mut writer)?;
        let finished = writer.finish(self.arrival.origin, self.arrival.record);
        let detail = "the record's key lacks a column of the table's key, or it is null";
        finished.map_err(|_| refused(Reason::KeyMissing, detail))?;
        Ok(Decoded::Change(found.change(Op::Delete, true)))
    }

    /// Deletes by the key that stands in the row itself.
    fn delete_row(&self, writer: RowWriter<'_>, found: &Found) -> Result<Decoded, Failed> {
        if self.layout.shape.deletes == Deletes::Ignore {
            return Ok(Decoded::Ignored(Ignored::Delete));
        }
        let Arrival { origin, record, .. } = *self.arrival;
        writer.finish_delete(origin, record).map_err(|column| self.no_key(column))?;
        Ok(Decoded::Change(found.change(Op::Delete, true)))
    }

    fn no_key(&self, column: usize) -> Failed {
        let column = self.layout.shape.columns.get(column).map(|column| column.name.as_str());
        Failed::Refused(Reason::KeyMissing, key_null(column.unwrap_or_default()))
    }

    fn truncate(&self, rows: &mut Rows, found: &Found) -> Result<Decoded, Failed> {
        if self.layout.shape.deletes == Deletes::Ignore {
            return Ok(Decoded::Ignored(Ignored::Delete));
        }
        let change = found.change(Op::Truncate, true);
        if self.layout.shape.is_guarded && change.age.place.is_some() {
            rows.outdate(self.arrival.origin, change.age);
            return Ok(Decoded::Truncate(change));
        }
        match self.arrival.is_alone {
            Some(true) => {}
            // The rows of other partitions are not in step with this one.
            Some(false) => {
                let table = &self.layout.source;
                let detail = format!(
                    "table \"{table}\" was emptied, and topic \"{}\" has more than one partition",
                    self.arrival.topic
                );
                let stop = Stop::new(StopReason::TruncatePartitioned, detail);
                return Ok(Decoded::Stopped(stop));
            }
            None => return Ok(Decoded::NeedsPartitionCount),
        }
        rows.truncate();
        Ok(Decoded::Truncate(change))
    }
}

/// What a deleted row needs before it goes.
enum Leaving {
    /// Nothing, but this stays behind.
    Behind(Option<Departure>),
    /// The batch so far must be applied first.
    InANewBatch,
}

fn refused(reason: Reason, detail: &str) -> Failed {
    Failed::Refused(reason, detail.to_owned())
}
