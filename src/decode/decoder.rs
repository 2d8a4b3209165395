//! The decoder: finds what a record's schemas mean, and has its row walked.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::batch::Batch;
use crate::checkpoint::Deleted;
use crate::decode::cloud::{self, CloudEvent, Data};
use crate::decode::found::Failed;
use crate::decode::json::Names;
use crate::decode::layout::Layout;
use crate::decode::pass::Pass;
use crate::decode::schema::avro::{Compiled, Reader, compile};
use crate::decode::schema::connect::Field;
use crate::decode::schema::envelope::{Meaning, Origin, meaning, source_table};
use crate::decode::schema::frame::{Pair, Part};
use crate::decode::schema::json::{Framed, fields, origin, plain, split};
use crate::decode::sight::{Known, Mark, RowSight, Sight, Topic};
use crate::decode::value::kind::Form;
use crate::decode::value::semantic::Literal;
use crate::decode::{
    Arrival, Change, Decoded, Ignored, LayoutId, LayoutRequest, Mapped, Op, RegisteredSchema,
    SchemaId, avro,
};
use crate::moves::Moved;
use crate::record::{Record, TopicPartition};
use crate::refused::{Reason, Refusal};
use crate::stopped::{Stop, StopReason};

/// Turns records into rows, by the layouts it has learned.
#[derive(Debug, Default)]
pub struct Decoder {
    pub(super) topics: HashMap<Arc<str>, Topic>,
    pub(super) schemas: Schemas,
    layout_count: u64,
    // The last delete of each partition.
    deleted: HashMap<TopicPartition, Deleted>,
    // What was left for the record at this topic, partition and offset.
    moved: Option<(Arc<str>, i32, i64, Moved)>,
    // The last record of each partition of a change log: its offset and its order.
    pub(super) orders: Orders,
    pub(super) scratch: Vec<u8>,
    pub(super) names: Names,
}

/// The schemas of the registry by id. `None`: there is no such id. An error: nobody can read it.
pub(super) type Schemas = HashMap<SchemaId, Option<Result<Arc<Compiled>, String>>>;

/// Offset and order of the last record of each partition of a change log.
pub(super) type Orders = HashMap<(Arc<str>, i32), (i64, i64)>;

/// A record that ends without a row.
pub(super) type Early = Box<Decoded>;

impl Decoder {
    /// Decodes a record into the batch.
    pub fn decode(&mut self, arrival: Arrival<'_>, batch: &mut Batch) -> Decoded {
        self.try_decode(arrival, batch).unwrap_or_else(|early| *early)
    }

    /// Takes a schema as the registry has it; `None` when it says that there is no such id.
    pub fn learn_schema(&mut self, id: SchemaId, schema: Option<RegisteredSchema>) {
        self.schemas.insert(id, schema.map(|schema| compile(&schema).map(Arc::new)));
    }

    /// Forgets that there is no schema of that id: the next record asks for it again.
    pub fn forget_schema(&mut self, id: SchemaId) {
        if matches!(self.schemas.get(&id), Some(None)) {
            self.schemas.remove(&id);
        }
    }

    /// Takes what a record's row has left under its old key.
    pub fn learn_moved(&mut self, partition: &TopicPartition, offset: i64, moved: Moved) {
        self.moved = Some((Arc::clone(&partition.topic), partition.partition, offset, moved));
    }

    /// Returns the last delete of a partition.
    pub fn deleted(&self, partition: &TopicPartition) -> Option<&Deleted> {
        self.deleted.get(partition)
    }

    /// Takes that a partition is read anew, behind this delete if it is one: what the target has said
    /// for it holds no longer.
    pub fn read_anew(&mut self, partition: &TopicPartition, deleted: Option<Deleted>) {
        self.moved
            .take_if(|(topic, of, ..)| (&*topic, *of) == (&partition.topic, partition.partition));
        match deleted {
            Some(deleted) => _ = self.deleted.insert(partition.clone(), deleted),
            None => _ = self.deleted.remove(partition),
        }
    }

    /// Takes the target's side of a table.
    pub fn learn_layout(&mut self, id: LayoutId, mapped: Mapped) {
        let layout = Arc::new(Layout::new(mapped));
        for sight in self.topics.values_mut().flat_map(Topic::rows_mut) {
            // A table that was not there may be the one that this layout is for.
            sight.is_absent = false;
            if sight.id == id {
                sight.layout = Some(Arc::clone(&layout));
            }
        }
    }

    /// Takes that the target has no table for a layout that only deletes would need.
    pub fn learn_absent(&mut self, id: LayoutId) {
        let mut sights = self.topics.values_mut().flat_map(Topic::rows_mut);
        if let Some(sight) = sights.find(|sight| sight.id == id) {
            sight.is_absent = true;
        }
    }

    /// Forgets what was learned of targets: the catalogue is read anew for the next records.
    pub fn forget_layouts(&mut self) {
        self.topics.clear();
    }

    /// Returns the schemas that a record names and the decoder has not learned.
    pub fn unlearned_schemas(&self, record: Record<'_>) -> impl Iterator<Item = SchemaId> {
        let Pair { key, value } = Pair::of(record);
        let ids = [key, value].into_iter().flatten().filter_map(|part| Some(part.frame()?.0));
        ids.filter(|id| !self.schemas.contains_key(id))
    }

    /// Meets the next record of a topic before it is decoded, and returns what it will ask of its
    /// table; `None` where that cannot be told yet, and for a topic that something is known of.
    pub fn foresee(&mut self, topic: &Arc<str>, record: Record<'_>) -> Option<Box<LayoutRequest>> {
        let parts = Pair::of(record);
        let is_nothing = |value: Part<'_>| value.bytes.is_empty() || is_null(value.bytes);
        if self.topics.contains_key(topic) || parts.value.is_none_or(is_nothing) {
            return None;
        }
        self.meet(topic, parts).ok()?;
        match Self::layout(front(&self.topics, topic)) {
            Err(Decoded::NeedsLayout(request)) if !request.is_partial => Some(request),
            _ => None,
        }
    }

    fn try_decode(&mut self, arrival: Arrival<'_>, batch: &mut Batch) -> Result<Decoded, Early> {
        let mut arrival = arrival;
        let mut parts = Pair::of(arrival.record);
        match parts.value {
            Some(Part { bytes: b"", .. }) => {
                return Err(refused(Reason::Malformed, "the value is empty"));
            }
            // Behind a header with an id, these would be Avro's bytes.
            Some(Part { bytes, id: None }) if is_null(bytes) => {
                (arrival.record.value, parts.value) = (None, None);
            }
            _ => {}
        }
        let is_nothing = parts.value.is_none() && parts.key.is_none();
        if is_nothing || self.is_tombstone_of_last_delete(&arrival) {
            return Ok(Decoded::Ignored(Ignored::Tombstone));
        }
        if arrival.record.value.is_none() && self.topic(arrival.topic).is_shared() {
            let detail = "a tombstone alone does not say which of the topic's tables it is of";
            return Err(refused(Reason::NotAnEnvelope, detail));
        }
        // Nearly always it is as the record before.
        let mut written = match parts.value {
            Some(_) => self.write(&arrival, parts, batch, false)?,
            None => Written::OtherSight,
        };
        if let Written::OtherSight = written
            && self.topic(arrival.topic).find(parts)
        {
            written = self.write(&arrival, parts, batch, true)?;
        }
        if let Written::Decoded(decoded) = written {
            return Ok(decoded);
        }
        // The schema is new, or the record is of another table, or of other fields.
        self.meet(arrival.topic, parts)?;
        if let Written::Decoded(decoded) = self.write(&arrival, parts, batch, true)? {
            return Ok(decoded);
        }
        let layout = Self::layout(front(&self.topics, arrival.topic)).ok();
        let table = layout.map(|layout| layout.shape.table.name.to_string());
        let detail = "the fields are not those of the schema".to_owned();
        let refusal = Refusal { table, ..Refusal::new(Reason::Malformed, detail) };
        Err(Box::new(Decoded::Refused(refusal)))
    }

    fn is_tombstone_of_last_delete(&self, arrival: &Arrival<'_>) -> bool {
        let Arrival { topic, partition, record, .. } = arrival;
        if record.value.is_some() {
            return false;
        }
        let deleted = self.deleted.get(&TopicPartition::new(Arc::clone(topic), *partition));
        deleted.is_some_and(|Deleted { offset, key }| {
            // The marker of a broker's transaction may stand between them. More may have held what
            // compaction has taken: a row that came back.
            (1..=2).contains(&(record.offset - offset)) && Some(key.as_slice()) == record.key
        })
    }

    fn topic(&mut self, topic: &Arc<str>) -> &mut Topic {
        self.topics.entry_ref(&**topic).or_default()
    }

    /// Returns the layout of a sight, or what stands in its place.
    fn layout(sight: &Sight) -> Result<&Layout, Decoded> {
        match &sight.known {
            Known::Ignored(ignored) => Err(Decoded::Ignored(*ignored)),
            Known::Rows(rows) if rows.is_absent => Err(Decoded::Ignored(Ignored::Tombstone)),
            Known::Rows(rows) => rows.layout.as_deref().ok_or_else(|| {
                let (id, source, is_partial) = (rows.id, rows.source.clone(), rows.is_partial);
                // What has no row does not say for sure which table it is of.
                let key_encoding = sight.key.encoding().filter(|_| !is_partial);
                let request = LayoutRequest { id, source, key_encoding, is_partial };
                Decoded::NeedsLayout(Box::new(request))
            }),
        }
    }

    /// Finds out what a record with unknown schemas means.
    fn meet(&mut self, topic: &Arc<str>, parts: Pair<'_>) -> Result<(), Early> {
        let Pair { key, value } = parts;
        let (value_mark, value_field, place) = self.read(value, "value")?;
        let meant = value_field.as_ref().map(meaning);
        let is_flat = matches!(meant, Some(Meaning::Rows(Form::Flat, _)));
        let is_row = !matches!(meant, Some(Meaning::Ignored(_)));
        let (key_mark, key_field) = match self.read(key, "key") {
            Ok((mark, field, _)) => (mark, field),
            // A change log may go by its columns alone, which its rule says; what is no row needs none.
            Err(early) if (is_flat || !is_row) && matches!(*early, Decoded::Refused(_)) => {
                (Mark::Opaque, None)
            }
            Err(early) => return Err(early),
        };
        let known = match meant {
            Some(Meaning::Ignored(ignored)) => Known::Ignored(ignored),
            Some(Meaning::Unknown(detail)) => {
                return Err(refused(Reason::NotAnEnvelope, &detail));
            }
            rows => {
                // A truncate has no key: a table must not be made from what it says.
                let row = match &rows {
                    Some(Meaning::Rows(Form::Flat, row)) => Some(row),
                    Some(Meaning::Rows(Form::Enveloped, row))
                        if !row.fields.is_empty() && !place.is_truncate =>
                    {
                        Some(row)
                    }
                    _ => None,
                };
                let is_struct = key_mark != Mark::Opaque
                    && key_field.as_ref().is_none_or(|key| !key.fields.is_empty());
                let form = match (is_flat, is_struct) {
                    (true, true) => Form::Flat,
                    (true, false) => Form::FlatUnkeyed,
                    (false, true) => Form::Enveloped,
                    (false, false) => {
                        return Err(refused(Reason::KeyMissing, "the key is no struct of columns"));
                    }
                };
                if let (Form::Flat, Some(row), Some(key)) = (form, row, &key_field)
                    && !is_row_of(row, key)
                {
                    let detail =
                        "the value is neither an envelope nor a row with the columns of its key";
                    return Err(refused(Reason::NotAnEnvelope, detail));
                }
                let source = source_table(place, topic, form, row, key_field.as_ref());
                self.layout_count += 1;
                let id = LayoutId(self.layout_count);
                let (is_partial, layout, is_absent) = (row.is_none(), None, false);
                Known::Rows(Box::new(RowSight { id, source, is_partial, layout, is_absent }))
            }
        };
        let schema = match value_mark {
            Mark::Id(id) => Some((id, Arc::clone(self.schema(id)?))),
            _ => None,
        };
        self.topic(topic).meet(Sight { value: value_mark, key: key_mark, schema, known });
        Ok(())
    }

    /// Reads the schema of a value or a key, and where its row comes from.
    pub(super) fn read(
        &self,
        part: Option<Part<'_>>,
        side: &str,
    ) -> Result<(Mark, Option<Field>, Origin), Early> {
        let Some(part) = part else { return Ok((Mark::Absent, None, Origin::default())) };
        let bytes = part.bytes;
        if let Some((id, body)) = part.frame() {
            let compiled = self.schema(id)?;
            if cloud::is_event(&compiled.field) {
                return self.read_framed_cloud(id, body, &compiled.reader);
            }
            let place = avro::origin(body, &compiled.reader).unwrap_or_default();
            return Ok((Mark::Id(id), Some(compiled.field.clone()), place));
        }
        let malformed = |detail: String| refused(Reason::Malformed, &detail);
        if bytes.starts_with(b"Struct{") {
            return Err(malformed(format!(
                "the {side} is the text of a struct, as StringConverter writes it: set the \
                 connector's {side}.converter to JSON or Avro"
            )));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|_| malformed(format!("the {side} is neither UTF-8 nor framed Avro")))?;
        if let Some(Framed { prefix, schema, payload }) = split(bytes).map_err(malformed)? {
            let mark = Mark::Prefix(prefix.into());
            return Ok((mark, schema, origin(payload)));
        }
        if let Some(event) = CloudEvent::read(bytes) {
            return self.read_cloud(&event);
        }
        let object = fields(text).ok_or_else(|| {
            malformed(format!("the {side} is neither a JSON object nor framed Avro"))
        })?;
        Ok((Mark::Plain, Some(plain(object)), origin(text)))
    }

    /// Reads the schema of a CloudEvent's data, as that of an envelope.
    fn read_cloud(&self, event: &CloudEvent<'_>) -> Result<(Mark, Option<Field>, Origin), Early> {
        let malformed = |detail: &str| refused(Reason::Malformed, detail);
        let data = event.data().ok_or_else(|| malformed("the data is neither JSON nor base64"))?;
        let (mark, field) = match &data {
            Data::Binary(framed) => {
                let frame = Part::alone(framed).frame();
                let (id, _) = frame.ok_or_else(|| malformed("the data is no framed Avro"))?;
                (Mark::Id(id), cloud::envelope(self.schema(id)?.field.clone()))
            }
            Data::Json(text) => match split(text.as_bytes()).map_err(|why| malformed(&why))? {
                Some(Framed { prefix, schema: Some(schema), .. }) => {
                    (Mark::Prefix(prefix.into()), cloud::envelope(schema))
                }
                Some(Framed { schema: None, .. }) | None => {
                    let field = cloud::plain_envelope(text);
                    (Mark::Plain, field.ok_or_else(|| malformed("the data is no object"))?)
                }
            },
        };
        Ok((Mark::Cloud(Box::new(mark)), Some(field), event.origin()))
    }

    /// Reads the same of a CloudEvent in Avro, whose data has a frame of its own.
    fn read_framed_cloud(
        &self,
        id: SchemaId,
        body: &[u8],
        reader: &Reader,
    ) -> Result<(Mark, Option<Field>, Origin), Early> {
        let mut place = Origin::default();
        let data = avro::cloud_event(body, reader, |attribute, said| {
            if let Literal::Text(text) = said {
                cloud::place(attribute, text, &mut place);
            }
        });
        let framed = data.and_then(|data| Part::alone(data).frame());
        let detail = "the event's data is no framed Avro";
        let (data, _) = framed.ok_or_else(|| refused(Reason::Malformed, detail))?;
        let field = cloud::envelope(self.schema(data)?.field.clone());
        Ok((Mark::CloudIds(id, data), Some(field), place))
    }

    pub(super) fn schema(&self, id: SchemaId) -> Result<&Arc<Compiled>, Early> {
        match self.schemas.get(&id) {
            Some(Some(Ok(compiled))) => Ok(compiled),
            Some(Some(Err(why))) => {
                let detail = format!("schema {id}: {why}");
                let stop = Stop::new(StopReason::SchemaUnreadable, detail);
                Err(Box::new(Decoded::Stopped(stop)))
            }
            Some(None) => {
                let detail = format!("the registry has no schema with the id {id}");
                Err(refused(Reason::SchemaNotFound, &detail))
            }
            None => Err(Box::new(Decoded::NeedsSchema(id))),
        }
    }

    /// Asks for a layout anew whose column may have a label that its schema does not tell.
    fn ask_for_label(&mut self, topic: &Arc<str>, column: &str, label: &str) -> Decoded {
        let rows = self.topics.get_mut(topic).and_then(|topic| topic.rows_mut().next());
        if let Some(rows) = rows {
            rows.layout = None;
            let columns = rows.source.columns.iter_mut();
            columns.filter(|it| it.name == column).for_each(|it| it.kind.add_label(label));
        }
        let asked = Self::layout(front(&self.topics, topic)).err();
        asked.unwrap_or(Decoded::NeedsNewBatch)
    }

    /// Writes a record by the sight at the front. Unless that was found or met for it, it may be
    /// another's, and is looked at first.
    fn write(
        &mut self,
        arrival: &Arrival<'_>,
        parts: Pair<'_>,
        batch: &mut Batch,
        is_found: bool,
    ) -> Result<Written, Early> {
        let Some(sight) = self.topics.get(arrival.topic).and_then(Topic::front) else {
            return Ok(Written::OtherSight);
        };
        let bodies = sight.bodies(parts);
        if !is_found && (bodies.is_none() || sight.may_lack_row()) {
            return Ok(Written::OtherSight);
        }
        let layout = match Self::layout(sight) {
            Ok(layout) => layout,
            Err(decoded) => return Ok(Written::Decoded(decoded)),
        };
        let Some((value, key)) = bodies else { return Ok(Written::Mismatch) };
        let Record { key: key_bytes, value: value_bytes, offset, .. } = arrival.record;
        let pass = Pass {
            arrival,
            layout,
            value,
            key,
            schema: sight.schema.as_ref(),
            schemas: &self.schemas,
            scratch: &mut self.scratch,
            names: &mut self.names,
            orders: &mut self.orders,
            moved: self.moved.as_ref().and_then(|(topic, partition, of, moved)| {
                let is_it = (topic, *partition, *of) == (arrival.topic, arrival.partition, offset);
                is_it.then_some(moved)
            }),
        };
        let decoded = match pass.run(batch) {
            Ok(decoded) => decoded,
            Err(Failed::Mismatch) => return Ok(Written::Mismatch),
            Err(Failed::Label { column, label }) => {
                let asked = self.ask_for_label(arrival.topic, &column, &label);
                return Ok(Written::Decoded(asked));
            }
            Err(Failed::Refused(reason, detail)) => {
                return Err(Box::new(Decoded::Refused(layout.refusal(reason, detail))));
            }
            Err(Failed::Unheld(unheld)) => return Err(Box::new(unheld.stop(layout))),
        };
        let is_delete = matches!(
            decoded,
            Decoded::Change(Change { op: Op::Delete, .. }) | Decoded::Ignored(Ignored::Delete)
        );
        if let (true, Some(_), Some(key)) = (is_delete, value_bytes, key_bytes) {
            let place = TopicPartition::new(Arc::clone(arrival.topic), arrival.partition);
            self.deleted.insert(place, Deleted { offset, key: key.to_vec() });
        }
        Ok(Written::Decoded(decoded))
    }
}

/// What writing a record by a sight came to.
enum Written {
    /// It is dealt with, or something must come first.
    Decoded(Decoded),
    /// The sight at the front, if there is one, is not the record's.
    OtherSight,
    /// It is of another table, or has other fields.
    Mismatch,
}

/// Returns the sight that was found or met last.
fn front<'t>(topics: &'t HashMap<Arc<str>, Topic>, topic: &Arc<str>) -> &'t Sight {
    topics.get(topic).and_then(Topic::front).expect("a sight was met")
}

/// Returns whether a row has the columns of its key; what a router has added to the key it has not.
fn is_row_of(row: &Field, key: &Field) -> bool {
    let mut columns = key.fields.iter().filter(|field| !field.name.starts_with("__"));
    columns.all(|field| row.field(&field.name).is_some())
}

/// Returns whether a value says null: by itself, or in a frame that a schema may stand in.
fn is_null(value: &[u8]) -> bool {
    // Nearly all of Avro are told by their first byte.
    if value.first() == Some(&0) {
        return false;
    }
    let value = value.trim_ascii();
    if value == b"null" {
        return true;
    }
    // Cheap to rule out: few records end with this.
    let mut rest = value;
    for end in [b"}".as_slice(), b"null", b":", b"\"payload\""] {
        let Some(before) = rest.trim_ascii_end().strip_suffix(end) else { return false };
        rest = before;
    }
    matches!(split(value), Ok(Some(framed)) if framed.payload == "null")
}

fn refused(reason: Reason, detail: &str) -> Early {
    Box::new(Decoded::Refused(Refusal::new(reason, detail)))
}
