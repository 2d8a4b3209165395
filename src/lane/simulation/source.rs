//! The source: a history of changes as Debezium sends them, and the logs that hold it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::chance::Chance;
use super::guarded::{GUARDED, Image};
use super::history::Met;
use super::oracle::{Meaning, Oracle, Row, RowKey};
use crate::record::TopicPartition;

/// Few keys, so that their records meet each other.
const IDS: i64 = 5;

const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// A record in its log.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) offset: i64,
    /// When the connector sends it.
    pub(super) at: Duration,
    /// When it was sent, as it says: no two at the same moment.
    pub(super) sent_at: i64,
    pub(super) sent: Sent,
    /// Where the log ends while this is its last record: markers of transactions may stand behind.
    pub(super) end: i64,
}

/// A record as it is sent, perhaps again.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    topic: usize,
    id: Option<i64>,
    /// The source's transaction, from whose begin the connector repeats itself.
    transaction: i64,
    pub(super) key: Option<Arc<[u8]>>,
    pub(super) value: Option<Arc<[u8]>>,
    pub(super) header: Option<&'static str>,
    meaning: Meaning,
}

impl Sent {
    /// Returns whether a tombstone stands behind the record.
    fn is_delete(&self) -> bool {
        let is_of_delete =
            matches!(self.meaning, Meaning::Delete | Meaning::Leave(_) | Meaning::Vacate(_));
        let is_of_delete = is_of_delete || self.image().is_some_and(|image| image.row.is_none());
        is_of_delete && self.value.is_some()
    }

    fn image(&self) -> Option<&Image> {
        match &self.meaning {
            Meaning::Image(image) => Some(image),
            _ => None,
        }
    }

    /// Returns whether the record waits for another one, in general of another partition.
    pub(super) fn is_awaiting(&self) -> bool {
        matches!(self.meaning, Meaning::Arrive(..))
    }
}

/// The logs, and what follows from them.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) logs: BTreeMap<TopicPartition, Vec<Logged>>,
    pub(super) oracle: Oracle,
    /// What the source's tables hold in the end.
    pub(super) rows: BTreeMap<RowKey, Row>,
    /// When partitions come that a topic does not have at first.
    grown: BTreeMap<TopicPartition, Duration>,
    /// What of the connector's occurs.
    pub(super) met: Vec<Met>,
}

/// A topic with the table that it comes from.
struct Topic {
    table: &'static str,
    partitions: Vec<TopicPartition>,
    value_head: String,
}

impl Topic {
    fn new(table: &'static str, partitions: i32) -> Self {
        let topic = Arc::<str>::from(format!("s.public.{table}"));
        let partitions = (0..partitions).map(|at| TopicPartition::new(Arc::clone(&topic), at));
        let column = |name: &str, kind: &str| {
            format!(r#"{{"type":"{kind}","optional":{},"field":"{name}"}}"#, name == "note")
        };
        let columns = [column("id", "int64"), column("count", "int64"), column("note", "string")];
        let row = format!(
            r#"{{"type":"struct","optional":true,"field":"after","fields":[{}]}}"#,
            columns.join(",")
        );
        let op = r#"{"type":"string","optional":false,"field":"op"}"#;
        let value_head = format!(
            r#"{{"schema":{{"type":"struct","fields":[{row},{op}],"optional":false}},"payload":"#
        );
        Self { table, partitions: partitions.collect(), value_head }
    }
}

/// Writes a history.
struct Writer<'a> {
    chance: &'a mut Chance,
    source: Source,
    topics: Vec<Topic>,
    sent: Vec<Sent>,
    now: Duration,
    lsn: i64,
    transaction: i64,
    sent_at: i64,
    /// The newest change of each guarded row.
    changes: BTreeMap<i64, i64>,
}

impl Source {
    /// Makes a source that changes for about so long.
    pub(super) fn new(chance: &mut Chance, lasts: Duration) -> Self {
        let partitions = if chance.one_in(2) { 2 } else { 3 };
        let mut topics = vec![Topic::new("t", partitions), Topic::new("u", 1)];
        let mut source = Self::default();
        if chance.one_in(2) {
            let grows = chance.one_in(2);
            let topic = Topic::new(GUARDED, if grows { 3 } else { 2 });
            if grows {
                let at = lasts * u32::try_from(chance.between(1, 9)).expect("small") / 10;
                source.grown.insert(topic.partitions[2].clone(), at);
                source.met.push(Met::TopicGrown);
            }
            topics.push(topic);
        }
        for partition in topics.iter().flat_map(|topic| &topic.partitions) {
            source.logs.insert(partition.clone(), Vec::new());
        }
        let (now, sent) = (Duration::ZERO, Vec::new());
        let changes = BTreeMap::new();
        let (lsn, transaction, sent_at) = (100, 1, 1_000);
        let mut writer =
            Writer { chance, source, topics, sent, now, lsn, transaction, sent_at, changes };
        let pace = writer.chance.between(100, 1_500);
        while writer.now < lasts {
            // In bursts, so that batches have something to fold.
            if writer.chance.one_in(3) {
                writer.now += Duration::from_millis(writer.chance.between(0, pace * 2));
            }
            (writer.transaction, writer.lsn) = (writer.transaction + 1, writer.lsn + 1);
            writer.change();
            if writer.chance.one_in(12) && !writer.sent.is_empty() {
                writer.repeat();
            }
        }
        writer.mend();
        writer.source
    }

    /// Says the logs, for a trace.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (partition, log) in &self.logs {
            for Logged { offset, at, sent, .. } in log {
                let Sent { id, transaction, meaning, header, .. } = sent;
                let id = id.map_or("nobody".to_owned(), |id| format!("row {id}"));
                let header = header.unwrap_or_default();
                let at = at.as_secs_f64();
                text += &format!(
                    "{at:9.3} {partition}@{offset} {id} {meaning:?} of {transaction} {header}\n"
                );
            }
        }
        text
    }

    /// Returns the partitions that there are at a moment.
    pub(super) fn partitions(&self, at: Duration) -> impl Iterator<Item = &TopicPartition> {
        self.logs.keys().filter(move |partition| self.is_there(partition, at))
    }

    fn is_there(&self, partition: &TopicPartition, at: Duration) -> bool {
        self.grown.get(partition).is_none_or(|from| *from <= at)
    }

    /// Returns where a log ends at a moment.
    pub(super) fn end(&self, partition: &TopicPartition, at: Duration) -> i64 {
        let log = &self.logs[partition];
        let visible = log.partition_point(|record| record.at <= at);
        log[..visible].last().map_or(0, |last| last.end)
    }
}

impl Writer<'_> {
    /// Makes the source change once.
    fn change(&mut self) {
        let topic = self.chance.index(self.topics.len());
        let id = i64::try_from(self.chance.between(1, IDS.unsigned_abs())).expect("small");
        if self.topics[topic].table == GUARDED {
            return self.change_guarded(topic, id);
        }
        let key = (self.topics[topic].table, id);
        let Some(row) = self.source.rows.get(&key).cloned() else {
            let row = self.new_row();
            return match self.chance.one_in(20) {
                true => self.break_off(topic, id, row),
                false => self.write(topic, id, row, "c"),
            };
        };
        let count = self.lsn;
        match self.chance.between(0, 19) {
            0..=6 => self.update(topic, id, Row { count, ..row }),
            7..=10 => {
                let row = self.new_row();
                self.write(topic, id, row, "u");
            }
            11..=13 => self.delete(topic, id),
            14..=15 => self.move_row(topic, id, row),
            16 => self.rotate(topic, id),
            17 => self.break_off(topic, id, Row { count, ..row }),
            18 => self.garble(topic),
            _ => self.write(topic, id, Row { count, ..row }, "u"),
        }
    }

    /// Changes a guarded row, or has a snapshot read all.
    fn change_guarded(&mut self, topic: usize, id: i64) {
        if self.chance.one_in(8) {
            self.source.met.push(Met::RowsRead);
            for id in 1..=IDS {
                let read = self.read(topic, id);
                read.into_iter().for_each(|sent| self.log(sent));
            }
            return;
        }
        let is_there = self.source.rows.contains_key(&(GUARDED, id));
        let row = (!is_there || !self.chance.one_in(4)).then(|| self.new_row());
        self.changes.insert(id, self.lsn);
        let image = Image { change: self.lsn, is_read: false, row: row.clone() };
        let meaning = Meaning::Image(image);
        let Some(row) = row else {
            self.source.rows.remove(&(GUARDED, id));
            let value = self.envelope(topic, "d", "null");
            self.send((topic, id), value, None, meaning.clone());
            return self.send((topic, id), None, None, meaning);
        };
        let value = self.envelope(topic, "u", &after(id, row.count, row.note.as_deref()));
        self.source.rows.insert((GUARDED, id), row);
        self.send((topic, id), value, None, meaning);
    }

    /// Reads a guarded row for a snapshot, which stands where the last change was.
    fn read(&mut self, topic: usize, id: i64) -> Option<Sent> {
        let row = self.source.rows.get(&(GUARDED, id)).cloned()?;
        let value = after(id, row.count, row.note.as_deref());
        self.lsn -= 1;
        let value = self.envelope(topic, "r", &value);
        let image = Image { change: self.changes[&id], is_read: true, row: Some(row) };
        let sent = self.record((topic, id), value, None, Meaning::Image(image));
        self.lsn += 1;
        Some(sent)
    }

    fn new_row(&mut self) -> Row {
        let note = (!self.chance.one_in(6)).then(|| format!("note {}", self.lsn));
        Row { count: self.lsn, note }
    }

    fn write(&mut self, topic: usize, id: i64, row: Row, op: &str) {
        let value = self.envelope(topic, op, &after(id, row.count, row.note.as_deref()));
        self.source.rows.insert((self.topics[topic].table, id), row.clone());
        self.send((topic, id), value, None, Meaning::Put(row));
    }

    /// An update that leaves a note out which has not changed.
    fn update(&mut self, topic: usize, id: i64, row: Row) {
        let value = self.envelope(topic, "u", &after(id, row.count, Some(UNAVAILABLE)));
        let meaning = Meaning::Update(row.count);
        self.source.rows.insert((self.topics[topic].table, id), row);
        self.send((topic, id), value, None, meaning);
    }

    fn delete(&mut self, topic: usize, id: i64) {
        let value = self.envelope(topic, "d", "null");
        self.source.rows.remove(&(self.topics[topic].table, id));
        self.send((topic, id), value, None, Meaning::Delete);
        self.send((topic, id), None, None, Meaning::Delete);
    }

    /// Moves a row to a free key, and perhaps at once to another one.
    fn move_row(&mut self, topic: usize, mut id: i64, row: Row) {
        let table = self.topics[topic].table;
        for _ in 0..=u64::from(self.chance.one_in(4)) {
            let rows = &self.source.rows;
            let free = (1..=IDS).filter(|id| !rows.contains_key(&(table, *id))).collect::<Vec<_>>();
            if free.is_empty() {
                return;
            }
            let to = *self.chance.pick(&free);
            self.lsn += 1;
            let place = self.lsn;
            self.depart((topic, id), Meaning::Leave(place), Meaning::Delete);
            self.arrive((topic, to), row.clone(), place);
            self.source.rows.remove(&(table, id));
            id = to;
        }
    }

    /// Has rows take each other's keys in one transaction, as only a deferrable key allows: each but
    /// the last comes to a key that another row leaves behind it. Only rows that the target has: one
    /// that was refused does not count as one that has the key.
    fn rotate(&mut self, topic: usize, id: i64) {
        let table = self.topics[topic].table;
        let others = (1..=IDS).map(|next| (id + next - 1) % IDS + 1);
        let known = self.source.oracle.rows();
        let is_taken = |id: &i64| self.source.rows.contains_key(&(table, *id));
        let taken = others.filter(|id| is_taken(id) && known.contains_key(&(table, *id)));
        let count = if self.chance.one_in(3) { 3 } else { 2 };
        let ids = taken.collect::<Vec<_>>().into_iter().rev().take(count).collect::<Vec<_>>();
        if ids.len() < 2 {
            return;
        }
        let rows = ids.iter().map(|id| self.source.rows[&(table, *id)].clone()).collect::<Vec<_>>();
        let mut doubtful = Vec::new();
        for (at, row) in rows.into_iter().enumerate() {
            self.lsn += 1;
            let (from, to, place) = (ids[at], ids[(at + 1) % ids.len()], self.lsn);
            match at {
                0 => self.depart((topic, from), Meaning::Leave(place), Meaning::Delete),
                _ => self.depart((topic, from), Meaning::Vacate(place), Meaning::Nothing),
            }
            if self.arrive((topic, to), row.clone(), place) {
                doubtful.push((to, row));
            }
        }
        self.source.met.push(Met::KeysExchanged);
        // What those had may be gone, and their records refused: they come whole behind them.
        for (id, row) in doubtful {
            self.source.met.push(Met::KeysExchangedPartly);
            self.write(topic, id, row, "u");
        }
    }

    /// A row goes on under another key.
    fn depart(&mut self, (topic, id): (usize, i64), leaves: Meaning, tombstone: Meaning) {
        let value = self.envelope(topic, "d", "null");
        self.send((topic, id), value, Some("__debezium.newkey"), leaves);
        self.send((topic, id), None, None, tombstone);
    }

    /// A row comes from another key, perhaps without its note, which has not changed; returns whether
    /// it does.
    fn arrive(&mut self, (topic, id): (usize, i64), row: Row, place: i64) -> bool {
        let is_partial = self.chance.one_in(2);
        let note = if is_partial { Some(UNAVAILABLE) } else { row.note.as_deref() };
        let value = self.envelope(topic, "c", &after(id, row.count, note));
        self.source.rows.insert((self.topics[topic].table, id), row.clone());
        let meaning = match is_partial {
            true => Meaning::Arrive(row.count, place),
            false => Meaning::Put(row),
        };
        self.send((topic, id), value, Some("__debezium.oldkey"), meaning);
        is_partial
    }

    /// A change whose record does not fit.
    fn break_off(&mut self, topic: usize, id: i64, row: Row) {
        let value = Some(Arc::from(&b"{\"payload\":"[..]));
        self.source.rows.insert((self.topics[topic].table, id), row);
        self.send((topic, id), value, None, Meaning::Broken);
    }

    /// Something that nobody knows of whom it is.
    fn garble(&mut self, topic: usize) {
        let (transaction, value) = (self.transaction, Some(Arc::from(&b"nonsense"[..])));
        let (key, meaning) = (None, Meaning::Broken);
        self.log(Sent { topic, id: None, transaction, key, value, header: None, meaning });
    }

    fn envelope(&self, topic: usize, op: &str, after: &str) -> Option<Arc<[u8]>> {
        let Topic { table, value_head, .. } = &self.topics[topic];
        let (lsn, transaction) = (self.lsn, self.transaction);
        let source = format!(
            r#"{{"name":"s","schema":"public","table":"{table}","lsn":{lsn},"txId":{transaction}}}"#
        );
        let value = format!(r#"{value_head}{{"after":{after},"source":{source},"op":"{op}"}}}}"#);
        Some(Arc::from(value.into_bytes()))
    }

    fn send(
        &mut self,
        (topic, id): (usize, i64),
        value: Option<Arc<[u8]>>,
        header: Option<&'static str>,
        meaning: Meaning,
    ) {
        let sent = self.record((topic, id), value, header, meaning);
        self.log(sent);
    }

    fn record(
        &self,
        (topic, id): (usize, i64),
        value: Option<Arc<[u8]>>,
        header: Option<&'static str>,
        meaning: Meaning,
    ) -> Sent {
        let field = r#"{"type":"int64","optional":false,"field":"id"}"#;
        let schema = format!(r#"{{"type":"struct","fields":[{field}],"optional":false}}"#);
        let key = format!(r#"{{"schema":{schema},"payload":{{"id":{id}}}}}"#);
        let (key, transaction) = (Some(Arc::from(key.into_bytes())), self.transaction);
        Sent { topic, id: Some(id), transaction, key, value, header, meaning }
    }

    /// Sends the newest transactions once more, as a connector does that has not noted how far it
    /// was.
    fn repeat(&mut self) {
        let back = self.chance.index(self.sent.len().min(8)) + 1;
        let from = self.sent[self.sent.len() - back].transaction;
        let again = self.sent.iter().filter(|sent| sent.transaction >= from).cloned();
        let is_read = |sent: &Sent| sent.image().is_some_and(|image| image.is_read);
        let (reads, changes) = again.partition::<Vec<_>, _>(is_read);
        changes.into_iter().for_each(|sent| self.place(sent));
        // A snapshot that is taken again has what there is by now, behind the changes up to there.
        for Sent { topic, id, .. } in reads {
            let read = id.and_then(|id| self.read(topic, id));
            read.into_iter().for_each(|sent| self.place(sent));
        }
        self.source.met.push(Met::ConnectorRepeated);
    }

    fn log(&mut self, sent: Sent) {
        self.sent.push(sent.clone());
        self.place(sent);
    }

    /// Puts a record at the end of its partition's log.
    fn place(&mut self, sent: Sent) {
        let topic = &self.topics[sent.topic];
        let is_there = |it: &&TopicPartition| self.source.is_there(it, self.now);
        let count = topic.partitions.iter().filter(is_there).count();
        let at = usize::try_from(sent.id.unwrap_or(0)).expect("small") % count;
        let partition = topic.partitions[at].clone();
        let log = self.source.logs.get_mut(&partition).expect("every partition has a log");
        // Compaction and markers of transactions leave holes, but no more than one marker stands
        // between a delete and its tombstone.
        let (has_tombstone, is_tombstone) = (sent.is_delete(), sent.value.is_none());
        let mut next = log.last().map_or(0, |last| last.end);
        next += if self.chance.one_in(5) && !is_tombstone { 2 } else { 0 };
        let hole = if has_tombstone { 2 } else { 3 };
        let end = next + if self.chance.one_in(6) { hole } else { 1 };
        let key = sent.id.map(|id| (topic.table, id));
        self.source.oracle.take((partition, next), key, &sent.meaning);
        self.sent_at += 1;
        log.push(Logged { offset: next, at: self.now, sent_at: self.sent_at, sent, end });
    }

    /// Has the source send whole again what was refused, so that the target can equal it.
    fn mend(&mut self) {
        self.transaction += 1;
        // Nothing of a guarded table is refused.
        let is_guarded = |topic: &usize| self.topics[*topic].table == GUARDED;
        let topics = (0..self.topics.len()).filter(|it| !is_guarded(it)).collect::<Vec<_>>();
        for topic in topics {
            for id in 1..=IDS {
                let key = (self.topics[topic].table, id);
                let (is, should) =
                    (self.source.oracle.rows().get(&key), self.source.rows.get(&key));
                match should.cloned() {
                    Some(row) if is != Some(&row) => self.write(topic, id, row, "u"),
                    None if is.is_some() => self.delete(topic, id),
                    _ => {}
                }
            }
        }
    }
}

fn after(id: i64, count: i64, note: Option<&str>) -> String {
    let note = note.map_or("null".to_owned(), |note| format!("\"{note}\""));
    format!(r#"{{"id":{id},"count":{count},"note":{note}}}"#)
}
