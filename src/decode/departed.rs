//! Deletes of rows that go on under another key: what their creates must know.

use std::sync::Arc;

use crate::batch::Batch;
use crate::decode::decoder::Decoder;
use crate::decode::found::Found;
use crate::decode::pass::Pass;
use crate::decode::schema::envelope::Letter;
use crate::decode::schema::frame::Pair;
use crate::decode::sight::Body;
use crate::decode::{Arrival, Op, avro};
use crate::moves::{Departure, NEW_KEY, Sign};
use crate::rows::Rows;

impl Decoder {
    /// Leaves behind, if a refused record is such a delete, that its row's values are not to be had:
    /// the create under the new key would wait for them. Returns `false` when the batch must be
    /// applied first.
    ///
    /// The value must tell the place in the source's log, by a schema that was met; else the create
    /// finds the dead letter by its [`Sign`](crate::moves::Sign). The key, which may be what is wrong,
    /// is not looked at.
    #[must_use]
    pub fn leave_refused(&mut self, arrival: &Arrival<'_>, batch: &mut Batch) -> bool {
        let Some(topic) = self.topics.get(arrival.topic) else { return true };
        let value = Pair::of(arrival.record).value;
        if value.is_none() || arrival.record.headers.find(NEW_KEY).is_none() {
            return true;
        }
        for (mark, layout) in topic.layouts() {
            let Some(value) = mark.body(value) else { continue };
            if layout.form.is_flat() || layout.toasted.is_empty() {
                continue;
            }
            let Some(rows) = batch.rows(&layout.shape) else { return false };
            let mut pass = Pass {
                arrival,
                layout,
                value,
                key: Body::Absent,
                schema: None,
                schemas: &self.schemas,
                scratch: &mut self.scratch,
                names: &mut self.names,
                orders: &mut self.orders,
                moved: None,
            };
            // Of another table, or not to be read.
            let Ok(found) = pass.walk(layout, &mut rows.upsert()) else { continue };
            if found.letter == Some(Letter::Row(Op::Delete))
                && let Some(place) = found.place()
            {
                let columns = Arc::clone(&layout.toasted);
                let step = arrival.origin.step;
                rows.depart(Departure::of_refused(place, step, &layout.shape, columns));
                return true;
            }
        }
        true
    }
}

impl Pass<'_> {
    /// Returns whether a row came to its key in the transaction that takes it away again.
    pub(super) fn came_in_transaction(&self, rows: &Rows, row: usize, found: &Found) -> bool {
        let half = rows.half(row).filter(|half| half.is_create);
        let is_whole = rows.index().get(row).is_some_and(|row| !row.is_partial);
        is_whole && half.is_some_and(|half| Some(half.transaction) == found.transaction)
    }

    /// Says how the delete would be known if nobody could read it.
    pub(super) fn sign(&self) -> Option<Sign> {
        let key = match self.key {
            Body::Json(text) => serde_json::from_slice(text).ok()?,
            Body::Avro(id, body) => avro::tree::read(body, &self.compiled(id).ok()?.reader)?,
            Body::Absent | Body::Opaque | Body::Cloud(..) | Body::CloudIds(..) => return None,
        };
        Some(Sign { key, sent_at: self.arrival.record.timestamp? })
    }
}
