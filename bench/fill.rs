//! Fills topics with captured records multiplied: reads a job as JSON on standard input.
//!
//! A record is its captured bytes with holes. What goes into a hole is arithmetic on the number of
//! the event, which `works.py` writes down a second time as SQL; which row an event changes is
//! decided by [`Work`].

use std::io::{Write as _, stdin, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mimalloc::MiMalloc;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, NoCustomPartitioner, Producer as _, ProducerContext,
    ThreadedProducer,
};
use serde::Deserialize;
use serde_json::json;

/// The Kafka client's messages, too, are allocated in one thread and freed in others, on which the C
/// library's allocator spends a quarter of the time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How many blocks of the mix a row lives before it is deleted.
const LIFE: i64 = 64;

const PAD_BYTES: usize = 65_536;

/// A producer looks at all its partitions each time that it sends, so with too many it becomes slow.
const TABLES_AT_ONCE: usize = 100;

#[derive(Deserialize)]
struct Job {
    brokers: String,
    partitions: i32,
    /// Properties of the producer.
    properties: Vec<(String, String)>,
    format: Format,
    work: Work,
    /// The first event's number, and how many there are.
    first: i64,
    count: i64,
    /// Rows before the first event, if there are some, and behind the last one of each partition, from
    /// these down.
    first_row: Option<i64>,
    last_row: i64,
    /// Events a second; as fast as it goes where there is none.
    rate: Option<u32>,
    /// How many producers share the rows: a broker takes one batch of a connection at a time.
    producers: usize,
    /// An event goes to the table of its number, modulo; with a rate there is one.
    tables: Vec<Table>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    Avro,
    Json,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Work {
    Creates,
    /// Of rows that are there before, of so many.
    Updates(i64),
    Mix,
    Alternating,
}

#[derive(Deserialize)]
struct Table {
    topic: String,
    key: Vec<Piece>,
    create: Vec<Piece>,
    update: Vec<Piece>,
    delete: Vec<Piece>,
    headers: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Piece {
    /// In base64.
    Bytes(String),
    Hole(Hole),
}

/// A value that is `low + number × factor % modulus`.
#[derive(Deserialize)]
struct Hole {
    of: Source,
    low: i64,
    factor: i64,
    modulus: i64,
    shape: Shape,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    Event,
    Row,
    /// Microseconds since 1970.
    Clock,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Shape {
    Number,
    Decimal,
    /// Microseconds of a day, behind the day.
    Instant(String),
    /// Behind a prefix and before so many bytes of the pad.
    Text(String, usize),
}

#[derive(Clone, Copy)]
enum Op {
    Create,
    Update,
    Delete,
}

#[derive(Clone, Default)]
struct Deliveries {
    failed: Arc<AtomicU64>,
}

impl ClientContext for Deliveries {}

impl ProducerContext<NoCustomPartitioner> for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn main() -> anyhow::Result<()> {
    let job: Job = serde_json::from_reader(stdin()).context("the job")?;
    ensure!(job.rate.is_none() || job.tables.len() == 1, "a rate for several tables");
    let begin = SystemTime::now();
    let mut filler = Filler::new(&job)?;
    let tables: Vec<usize> = (0..job.tables.len()).collect();
    for some in tables.chunks(TABLES_AT_ONCE) {
        filler.fill(some, begin)?;
    }
    let failed = filler.deliveries.failed.load(Ordering::Relaxed);
    ensure!(failed == 0, "{failed} records were not taken");
    let report = json!({
        "records": filler.records, "bytes": filler.bytes, "seconds": begin.elapsed()?.as_secs_f64(),
    });
    writeln!(stdout(), "{report}")?;
    Ok(())
}

struct Filler<'a> {
    job: &'a Job,
    deliveries: Deliveries,
    producers: Vec<ThreadedProducer<Deliveries>>,
    templates: Vec<Template<'a>>,
    pad: Vec<u8>,
    key: Vec<u8>,
    value: Vec<u8>,
    records: u64,
    bytes: u64,
}

/// A table with its bytes out of base64.
struct Template<'a> {
    topic: &'a str,
    key: Vec<Part<'a>>,
    create: Vec<Part<'a>>,
    update: Vec<Part<'a>>,
    delete: Vec<Part<'a>>,
    headers: OwnedHeaders,
}

enum Part<'a> {
    Bytes(Vec<u8>),
    Hole(&'a Hole),
}

impl<'a> Filler<'a> {
    fn new(job: &'a Job) -> anyhow::Result<Self> {
        let templates = job.tables.iter().map(template).collect::<Result<_, _>>()?;
        let (deliveries, producers) = (Deliveries::default(), Vec::new());
        let (key, value) = (Vec::new(), Vec::new());
        let (records, bytes) = (0, 0);
        Ok(Self { job, deliveries, producers, templates, pad: pad(), key, value, records, bytes })
    }

    /// Fills the topics of some tables, one behind the other, as a snapshot reads tables: so batches are
    /// full however many tables there are.
    fn fill(&mut self, tables: &[usize], begin: SystemTime) -> anyhow::Result<()> {
        self.connect()?;
        if let Some(row) = self.job.first_row {
            self.edge(tables, row)?;
        }
        let end = self.job.first + self.job.count;
        for &table in tables {
            let count = i64::try_from(self.templates.len())?;
            let first = self.job.first + (i64::try_from(table)? - self.job.first).rem_euclid(count);
            for event in (first..end).step_by(self.templates.len()) {
                self.wait_for(event, begin);
                let (op, row) = self.job.work.change(event);
                self.send(table, (event, row, op), None)?;
            }
        }
        self.edge(tables, self.job.last_row)
    }

    /// Begins with new producers.
    fn connect(&mut self) -> anyhow::Result<()> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.job.brokers);
        for (name, value) in &self.job.properties {
            config.set(name, value);
        }
        let producer = |_| config.create_with_context(self.deliveries.clone());
        self.producers = (0..self.job.producers).map(producer).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Waits until all that was sent is in the topics, or was not taken.
    fn flush(&self) -> anyhow::Result<()> {
        for producer in &self.producers {
            producer.flush(Duration::from_secs(120))?;
        }
        Ok(())
    }

    /// Puts a row of that number, counted down, into each partition of the tables' topics, behind all
    /// that was sent before and before all that is sent from now on.
    fn edge(&mut self, tables: &[usize], row: i64) -> anyhow::Result<()> {
        self.flush()?;
        for &table in tables {
            for partition in 0..self.job.partitions {
                self.send(table, (0, row - i64::from(partition), Op::Create), Some(partition))?;
            }
        }
        self.flush()
    }

    /// Sends what an event is to a row, and a tombstone behind a delete.
    fn send(
        &mut self,
        table: usize,
        (event, row, op): (i64, i64, Op),
        partition: Option<i32>,
    ) -> anyhow::Result<()> {
        let template = self.templates.get(table).context("no such table")?;
        let parts = match op {
            Op::Create => &template.create,
            Op::Update => &template.update,
            Op::Delete => &template.delete,
        };
        let numbers = (event, row, self.job.format);
        render(&mut self.key, &template.key, numbers, &self.pad);
        render(&mut self.value, parts, numbers, &self.pad);
        self.bytes += u64::try_from(self.key.len() + self.value.len())?;
        self.records += 1;
        // The events of a row go through one of them, and so stay in their order.
        let turn = usize::try_from(row.unsigned_abs())? % self.producers.len();
        let producer = self.producers.get(turn).context("no producer")?;
        produce(producer, template, (&self.key, Some(&self.value)), partition)?;
        if matches!(op, Op::Delete) {
            self.records += 1;
            produce(producer, template, (&self.key, None), partition)?;
        }
        Ok(())
    }

    /// Waits until the event is due.
    fn wait_for(&self, event: i64, begin: SystemTime) {
        let Some(rate) = self.job.rate else { return };
        let sent = u32::try_from(event - self.job.first).unwrap_or(u32::MAX);
        let due = Duration::from_secs(1) * sent / rate;
        if let Some(early) = due.checked_sub(begin.elapsed().unwrap_or_default()) {
            sleep(early);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a program of one thread")]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}

fn template(table: &Table) -> anyhow::Result<Template<'_>> {
    let mut headers = OwnedHeaders::new();
    for (key, value) in &table.headers {
        headers = headers.insert(Header { key, value: Some(value) });
    }
    Ok(Template {
        topic: &table.topic,
        key: parts(&table.key)?,
        create: parts(&table.create)?,
        update: parts(&table.update)?,
        delete: parts(&table.delete)?,
        headers,
    })
}

fn parts(pieces: &[Piece]) -> anyhow::Result<Vec<Part<'_>>> {
    let mut parts = Vec::with_capacity(pieces.len());
    for piece in pieces {
        parts.push(match piece {
            Piece::Bytes(base64) => Part::Bytes(STANDARD.decode(base64)?),
            Piece::Hole(hole) => Part::Hole(hole),
        });
    }
    Ok(parts)
}

fn produce(
    producer: &ThreadedProducer<Deliveries>,
    template: &Template<'_>,
    (key, value): (&[u8], Option<&[u8]>),
    partition: Option<i32>,
) -> anyhow::Result<()> {
    let mut record = BaseRecord::<[u8], [u8]>::to(template.topic).key(key);
    record.payload = value;
    record.partition = partition;
    record.headers = Some(template.headers.clone());
    loop {
        record = match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => record,
            Err((error, _)) => return Err(error.into()),
        };
        sleep(Duration::from_millis(5));
    }
}

impl Work {
    /// Says what an event does to which row.
    fn change(self, event: i64) -> (Op, i64) {
        match self {
            Self::Creates => (Op::Create, event + 1),
            Self::Updates(rows) => (Op::Update, 1 + scrambled(event) % rows),
            Self::Alternating if event % 2 == 0 => (Op::Create, 1),
            Self::Alternating => (Op::Delete, 1),
            Self::Mix => mixed(event),
        }
    }
}

/// Blocks of twenty events: fourteen creates, five updates of rows so far, and the delete of the
/// last row of a block before, which no update takes.
fn mixed(event: i64) -> (Op, i64) {
    let (block, place) = (event / 20, event % 20);
    if place < 14 {
        return (Op::Create, 14 * block + place + 1);
    }
    if place == 19 && block >= LIFE {
        return (Op::Delete, 14 * (block - LIFE) + 14);
    }
    let random = scrambled(event);
    let blocks = block + 1;
    (Op::Update, 14 * (random % blocks) + (random / blocks) % 13 + 1)
}

/// Returns a number of 31 bits that looks like nothing.
fn scrambled(number: i64) -> i64 {
    const MASK: i64 = 0x7fff_ffff;
    let first = (number * 1_103_515_245 + 12_345) & MASK;
    let second = ((first ^ (first >> 15)) * 668_265_263) & MASK;
    second ^ (second >> 13)
}

fn render(
    out: &mut Vec<u8>,
    parts: &[Part<'_>],
    (event, row, format): (i64, i64, Format),
    pad: &[u8],
) {
    out.clear();
    for part in parts {
        match part {
            Part::Bytes(bytes) => out.extend_from_slice(bytes),
            Part::Hole(hole) => {
                let number = match hole.of {
                    Source::Event => event,
                    Source::Row => row,
                    Source::Clock => clock(),
                };
                let value = hole.low + number * hole.factor % hole.modulus;
                put(out, &hole.shape, (value, format), pad);
            }
        }
    }
}

fn put(out: &mut Vec<u8>, shape: &Shape, (value, format): (i64, Format), pad: &[u8]) {
    match (shape, format) {
        (Shape::Number, Format::Avro) => put_long(out, value),
        (Shape::Number, Format::Json) => put_digits(out, value),
        (Shape::Decimal, Format::Avro) => {
            let bytes = value.to_be_bytes();
            put_sized(out, unscaled(&bytes));
        }
        (Shape::Decimal, Format::Json) => {
            let text = STANDARD.encode(unscaled(&value.to_be_bytes()));
            put_quoted(out, text.as_bytes());
        }
        (Shape::Instant(day), format) => put_text(out, instant(day, value).as_bytes(), format),
        (Shape::Text(prefix, filled), format) => {
            let mut text = format!("{prefix}{value}").into_bytes();
            // Not the same bytes in each row, as they are in no table.
            let from = usize::try_from(value).unwrap_or_default() % 1009;
            text.extend_from_slice(pad.get(from..from + filled).unwrap_or_default());
            put_text(out, &text, format);
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &[u8], format: Format) {
    match format {
        Format::Avro => put_sized(out, text),
        Format::Json => put_quoted(out, text),
    }
}

fn put_quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

fn put_digits(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(value.to_string().as_bytes());
}

fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, i64::try_from(bytes.len()).unwrap_or(i64::MAX));
    out.extend_from_slice(bytes);
}

/// Avro's own: zigzag, seven bits a byte.
fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
    while rest >= 0x80 {
        out.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    out.push(rest.to_le_bytes()[0]);
}

/// As few bytes as say the value and that it is not negative.
fn unscaled(bytes: &[u8; 8]) -> &[u8] {
    let zeros = bytes.iter().take(7).take_while(|byte| **byte == 0).count();
    let is_negative = bytes.get(zeros).is_some_and(|byte| *byte >= 0x80);
    bytes.get(zeros.saturating_sub(usize::from(is_negative))..).unwrap_or_default()
}

fn instant(day: &str, micros: i64) -> String {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{day}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z")
}

fn clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Returns lower-case digits that repeat only after long.
fn pad() -> Vec<u8> {
    let digit = |place| char::from_digit(u32::try_from(scrambled(place) % 16).ok()?, 16);
    let places = 0..i64::try_from(PAD_BYTES).unwrap_or(0);
    places.filter_map(digit).collect::<String>().into_bytes()
}
