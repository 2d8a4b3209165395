//! One pass over a record whose layout is known: its row or its key goes into the batch.

use crate::batch::Batch;
use crate::decode::decoder::{Failed, Schemas};
use crate::decode::envelope::Letter;
use crate::decode::json::{Broken, Found};
use crate::decode::layout::Layout;
use crate::decode::sight::Body;
use crate::decode::{Arrival, Decoded, Ignored, Op, avro, json};
use crate::refused::Reason;
use crate::rows::{Deletes, RowWriter, Rows};
use crate::stopped::{Stop, StopReason};

/// A record with all that its pass needs.
pub(super) struct Pass<'a> {
    pub(super) arrival: &'a Arrival<'a>,
    pub(super) layout: &'a Layout,
    pub(super) value: Body<'a>,
    pub(super) key: Body<'a>,
    pub(super) schemas: &'a Schemas,
    pub(super) scratch: &'a mut Vec<u8>,
}

impl Pass<'_> {
    pub(super) fn run(mut self, batch: &mut Batch) -> Result<Decoded, Failed> {
        let Some(rows) = batch.rows(&self.layout.shape) else { return Ok(Decoded::NeedsNewBatch) };
        if self.is_tombstone() {
            if self.layout.shape.key.is_empty() {
                return Ok(Decoded::Ignored(Ignored::Tombstone));
            }
            return self.delete(rows, &Found::of(Letter::Row(Op::Delete)));
        }
        // What the row is for is known only behind it: a writer that is dropped leaves nothing.
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
                self.upsert(writer, &found, op)
            }
            Some(Letter::Row(Op::Delete)) => {
                drop(writer);
                self.delete(rows, &found)
            }
            Some(Letter::Row(Op::Truncate)) => {
                drop(writer);
                self.truncate(rows, &found)
            }
            Some(Letter::Message) => Ok(Decoded::Ignored(Ignored::Message)),
            None => Err(refused(Reason::NotAnEnvelope, "the op is missing or unknown")),
        }
    }

    /// Without a value, or with a frame around null, a record is the end of its key.
    fn is_tombstone(&self) -> bool {
        match self.value {
            Body::Absent => true,
            Body::Json(text) => text.trim_ascii() == b"null",
            Body::Avro(..) => false,
        }
    }

    fn walk(&mut self, layout: &Layout, writer: &mut RowWriter<'_>) -> Result<Found, Failed> {
        let walked = match self.value {
            Body::Json(text) => json::walk_envelope(text, layout, writer, self.scratch),
            Body::Avro(id, body) => {
                let reader = &self.compiled(id)?.reader;
                avro::walk_envelope(body, reader, layout, writer)
            }
            Body::Absent => Err(Broken::Mismatch),
        };
        walked.map_err(Failed::from)
    }

    fn walk_key(&mut self, writer: &mut RowWriter<'_>) -> Result<(), Failed> {
        let walked = match self.key {
            Body::Json(text) => json::walk_key(text, self.layout, writer, self.scratch),
            Body::Avro(id, body) => {
                let reader = &self.compiled(id)?.reader;
                avro::walk_key(body, reader, self.layout, writer)
            }
            Body::Absent => return Err(refused(Reason::KeyMissing, "the record has no key")),
        };
        walked.map_err(Failed::from)
    }

    fn compiled(&self, id: u32) -> Result<&crate::decode::avro_schema::Compiled, Failed> {
        match self.schemas.get(&id) {
            Some(Some(Ok(compiled))) => Ok(compiled),
            _ => Err(Failed::Mismatch),
        }
    }

    fn upsert(&self, writer: RowWriter<'_>, found: &Found, op: Op) -> Result<Decoded, Failed> {
        if !found.has_after {
            return Err(refused(Reason::NotAnEnvelope, "the row is missing"));
        }
        if op == Op::Update && self.layout.shape.key.is_empty() {
            return Err(refused(Reason::NoKey, "an update of a table without a key"));
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
        writer.finish(self.arrival.origin, self.arrival.record).map_err(|column| {
            let column = self.layout.shape.columns.get(column).map(|column| column.name.as_str());
            let name = column.unwrap_or_default();
            let detail = format!("the key's column \"{name}\" is null or unavailable");
            Failed::Refused(Reason::KeyMissing, detail)
        })?;
        Ok(Decoded::Change(found.change(op, !is_partial)))
    }

    fn delete(&mut self, rows: &mut Rows, found: &Found) -> Result<Decoded, Failed> {
        if self.layout.shape.key.is_empty() {
            return Err(refused(Reason::NoKey, "a delete of a table without a key"));
        }
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

    fn truncate(&self, rows: &mut Rows, found: &Found) -> Result<Decoded, Failed> {
        if self.layout.shape.deletes == Deletes::Ignore {
            return Ok(Decoded::Ignored(Ignored::Delete));
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
        Ok(Decoded::Truncate(found.change(Op::Truncate, true)))
    }
}

fn refused(reason: Reason, detail: &str) -> Failed {
    Failed::Refused(reason, detail.to_owned())
}

impl From<Broken> for Failed {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Mismatch => Self::Mismatch,
            Broken::Unfit(detail) => Self::Refused(Reason::ValueUnfit, detail),
            Broken::Malformed(detail) => Self::Refused(Reason::Malformed, detail),
        }
    }
}
