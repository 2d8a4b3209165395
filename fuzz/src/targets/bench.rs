//! A lane in miniature, with PostgreSQL's own cells, and what must hold of whatever it decodes.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use afterimage::batch::Batch;
use afterimage::checkpoint::{Claim, NextOffset};
use afterimage::decode::{Arrival, Decoded, Decoder, LayoutRequest, RegisteredSchema, SchemaId};
use afterimage::mapping::Mapping;
use afterimage::moves::Moved;
use afterimage::record::{Record, Run, TopicPartition};
use afterimage::rows::{Cell, Cells, Origin, Row, RowOp, Rows};
use afterimage::rules::{ConfigFile, DeletePolicy, Rules};
use afterimage::settings::{SchemaChanges, Tables};
use afterimage::stopped::Stop;
use afterimage::table::{Column, Table, TableName};
use afterimage::target::Target as _;
use afterimage::target::postgres::Postgres;
use serde::de::IgnoredAny;
use uuid::Uuid;

use super::fixture::{Fixture, fixtures, logged, schemas};

/// How often a lane may be asked for something before a record is dealt with: two schemas, two
/// layouts, what a move left, and a new batch.
const ASKED_MAX: usize = 8;

/// What a row may take beyond a multiple of its record: its cells' lengths, also of columns that
/// only the schema has.
const ROW_BYTES_MAX: usize = 64 * 1024;
/// How much a byte of a record may grow to: a digit in a schema of few bytes becomes a cell.
const GROWTH_MAX: usize = 64;

const TOPIC: &str = "dbserver1.public.users";
/// The topic of a change log.
const LOG_TOPIC: &str = "dbserver1.public.log";

/// What the rules say: of a change log, of a table without a key, and of JSON without schemas.
const CONFIG: &str = "
[table.'public.log']
key = ['id']
changelog = { op = 'action', order = 'action_id' }
[table.'shapes.keyless']
keyless = 'match'
[source.dbserver1_plain]
time_precision_mode = 'adaptive'
decimal_handling_mode = 'precise'
";

/// A record.
#[derive(Clone)]
pub(super) struct Sample {
    pub(super) topic: &'static str,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Sample {
    pub(super) fn of(key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        let (key, value) = (key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec));
        Self { topic: TOPIC, key, value, headers: Vec::new() }
    }

    /// Has it come by the topic of a change log.
    pub(super) fn logged(self) -> Self {
        Self { topic: LOG_TOPIC, ..self }
    }

    fn captured(fixture: &Fixture) -> Self {
        Self {
            headers: fixture.headers.clone(),
            ..Self::of(fixture.key.as_deref(), fixture.value.as_deref())
        }
    }

    fn byte_count(&self) -> usize {
        let part = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
        let headers = self.headers.iter().map(|(name, value)| name.len() + part(value));
        part(&self.key) + part(&self.value) + headers.sum::<usize>()
    }
}

pub(super) struct Bench {
    decoder: Decoder,
    mapping: Mapping,
    batch: Batch,
    /// Whether a batch had to end before the record.
    has_new_batch: bool,
    registered: HashMap<u32, RegisteredSchema>,
    /// The tables that are at the target already.
    catalogue: &'static HashMap<TableName, Table>,
    offset: i64,
}

impl Bench {
    /// Starts where the tables of the captured records exist, so that JSON without a schema finds
    /// its types.
    pub(super) fn new() -> Self {
        static TABLES: OnceLock<HashMap<TableName, Table>> = OnceLock::new();
        Self::with(TABLES.get_or_init(tables))
    }

    fn with(catalogue: &'static HashMap<TableName, Table>) -> Self {
        let file = ConfigFile::parse(CONFIG, &[]).expect("the rules are some");
        let rules = Rules {
            targets: Vec::new(),
            tables: file.tables,
            sources: file.sources,
            deletes: DeletePolicy::Hard,
            deleted_at_column: "deleted_at".to_owned(),
        };
        let schema_changes = SchemaChanges::Apply;
        let tables =
            Tables { rules, schema_changes, synced_at_column: None, skips_unchanged: false };
        Self {
            decoder: Decoder::default(),
            mapping: Mapping::new(tables, Postgres::DIALECT),
            batch: Batch::default(),
            has_new_batch: false,
            registered: HashMap::new(),
            catalogue,
            offset: 0,
        }
    }

    /// Puts a schema into the registry.
    pub(super) fn register(&mut self, id: u32, text: &str) {
        let schema = RegisteredSchema { text: text.to_owned(), references: Vec::new() };
        self.registered.insert(id, schema);
    }

    /// Decodes hostile records between two good ones, and returns how many rows they made.
    ///
    /// # Panics
    ///
    /// A record left half a row, or a cell that is none; or it grew beyond measure; or it was refused
    /// without a reason; or the good record is not what it was.
    pub(super) fn judge(&mut self, hostile: &[Sample]) -> usize {
        let good = Sample::captured(Fixture::named("json/users-create"));
        let before = self.good(&good);
        let row_count = hostile.iter().map(|sample| self.one(&good, sample)).sum();
        assert_eq!(self.good(&good), before, "a hostile record has changed what a good one means");
        row_count
    }

    /// Decodes the good record into a new batch, and returns its row's cells.
    fn good(&mut self, good: &Sample) -> Vec<u8> {
        self.batch = Batch::default();
        let decoded = self.settle(good);
        assert!(matches!(decoded, Decoded::Change(_)), "a good record is {decoded:?}");
        let folded = std::mem::take(&mut self.batch).fold();
        let [(rows, _)] = folded.tables.as_slice() else { panic!("a good record is one table") };
        let [row] = rows.index() else { panic!("a good record is one row") };
        rows.cells(row).to_vec()
    }

    /// Decodes one hostile record behind a good one.
    fn one(&mut self, good: &Sample, hostile: &Sample) -> usize {
        self.batch = Batch::default();
        self.settle(good);
        let before = (self.batch.row_count(), self.batch.byte_count());
        self.has_new_batch = false;
        let decoded = self.settle(hostile);
        let (rows_before, bytes_before) = if self.has_new_batch { (0, 0) } else { before };
        let after = (self.batch.row_count(), self.batch.byte_count());
        let bytes_max = bytes_before + hostile.byte_count() * GROWTH_MAX + ROW_BYTES_MAX;
        assert!(after.1 <= bytes_max, "{} bytes of {}", after.1, hostile.byte_count());
        let made = match decoded {
            Decoded::Change(_) => after.0.saturating_sub(rows_before),
            Decoded::Truncate(_) => 0,
            Decoded::Ignored(_) => {
                assert_eq!(after, (rows_before, bytes_before), "nothing was to be written");
                0
            }
            Decoded::Refused(refusal) => {
                says_why(&refusal.detail);
                assert_eq!(after, (rows_before, bytes_before), "{refusal:?}");
                0
            }
            Decoded::Stopped(stop) => {
                says_why(&stop.detail);
                assert_eq!(after, (rows_before, bytes_before), "{stop}");
                0
            }
            other => panic!("nobody is there to answer {other:?}"),
        };
        assert!(made <= 1, "a record is {made} rows");
        let folded = std::mem::take(&mut self.batch).fold();
        for (rows, _) in &folded.tables {
            rows.index().iter().for_each(|row| walk(rows, row));
        }
        folded.dead_letters.iter().for_each(|letter| says_why(&letter.refusal.detail));
        made
    }

    /// Decodes a record, doing what the decoder asks for.
    fn settle(&mut self, sample: &Sample) -> Decoded {
        self.offset += 1;
        let partition = TopicPartition::new(sample.topic, 0);
        let mut run = Run::new(partition.clone(), 1);
        let headers = sample.headers.iter().map(|(name, value)| (&**name, value.as_deref()));
        run.push((self.offset, None), sample.key.as_deref(), sample.value.as_deref(), headers);
        let record = run.get(0).expect("the record was pushed");
        _ = self.decoder.inspect(sample.topic, record);
        for _ in 0..ASKED_MAX {
            match self.decode(&partition, record) {
                Decoded::NeedsSchema(id) => {
                    let schema = self.schema(id);
                    self.decoder.learn_schema(id, schema);
                }
                Decoded::NeedsLayout(request) => {
                    if let Err(stop) = self.plan(*request) {
                        return Decoded::Stopped(stop);
                    }
                }
                Decoded::NeedsMoved(request) => {
                    let columns =
                        request.columns.iter().map(|column| &request.shape.columns[*column]);
                    let moved = match columns.clone().any(|column| column.not_null) {
                        true => Moved::Gone,
                        false => Moved::Values(columns.map(|_| None).collect()),
                    };
                    self.decoder.learn_moved(&partition, self.offset, moved);
                }
                Decoded::NeedsNewBatch => {
                    (self.batch, self.has_new_batch) = (Batch::default(), true);
                }
                decoded => return decoded,
            }
        }
        panic!("the decoder asks for the same again and again");
    }

    fn decode(&mut self, partition: &TopicPartition, record: Record<'_>) -> Decoded {
        let claim = Claim { epoch: 1, token: Uuid::nil() };
        let step = self.batch.step(partition, claim, NextOffset::at(0));
        let arrival = Arrival {
            topic: &partition.topic,
            partition: 0,
            record,
            origin: Origin { step, offset: self.offset, sent_at: 0 },
            is_tainted: false,
            is_alone: Some(true),
        };
        self.decoder.decode(arrival, &mut self.batch)
    }

    fn schema(&self, id: SchemaId) -> Option<RegisteredSchema> {
        let id = match id {
            SchemaId::Plain(id) => id,
            SchemaId::Global(id) | SchemaId::Content(id) | SchemaId::Wide(id) => {
                u32::try_from(id).ok()?
            }
            SchemaId::Guid(_) => return None,
        };
        self.registered.get(&id).or_else(|| schemas().get(&id)).cloned()
    }

    fn plan(&mut self, request: LayoutRequest) -> Result<(), Stop> {
        let existing = self.catalogue.get(&self.mapping.target(&request.source.name)?).cloned();
        let plan = match (request.is_partial, existing) {
            (true, None) => {
                self.decoder.learn_absent(request.id);
                return Ok(());
            }
            (true, Some(existing)) => self.mapping.plan_partial(request.source, existing)?,
            (false, existing) => self.mapping.plan(request.source, existing)?,
        };
        self.decoder.learn_layout(request.id, plan.mapped);
        Ok(())
    }
}

/// Makes the tables of the captured records that have schemas, and that of the change log.
fn tables() -> HashMap<TableName, Table> {
    static NONE: LazyLock<HashMap<TableName, Table>> = LazyLock::new(HashMap::new);
    let mut tables = HashMap::new();
    let typed = |fixture: &&Fixture| {
        fixture.name.starts_with("json/") || fixture.name.starts_with("events/json-key")
    };
    let captured = fixtures().iter().filter(typed).map(Sample::captured);
    let log = Sample::of(None, Some(logged("INSERT", true).as_bytes())).logged();
    for sample in captured.chain([log]) {
        let mut bench = Bench::with(&NONE);
        bench.settle(&sample);
        for (rows, _) in bench.batch.fold().tables {
            let table = &rows.shape().table;
            tables.insert(table.name.clone(), Table::clone(table));
        }
    }
    tables
}

/// Makes sure that a refusal tells an operator something, on one line.
fn says_why(detail: &str) {
    assert!(!detail.is_empty(), "refused without a reason");
    assert!(!detail.contains('\n'), "more than one line: {detail:?}");
}

/// Makes sure that a row's bytes are its shape's cells, and no more.
fn walk(rows: &Rows, row: &Row) {
    let shape = rows.shape();
    let all = shape.columns.iter().collect::<Vec<_>>();
    let key = shape.key.iter().map(|cell| &shape.columns[*cell]).collect::<Vec<_>>();
    let identity = rows.key(row);
    if !key.is_empty() {
        walk_cells(&key, identity);
    } else if !identity.is_empty() {
        walk_cells(&all, identity);
    }
    match row.op {
        RowOp::Upsert => {
            let is_partial = walk_cells(&all, rows.cells(row));
            assert_eq!(is_partial, row.is_partial, "the index must know of unavailable cells");
        }
        RowOp::Delete => {}
    }
}

/// Returns whether a cell is unavailable.
fn walk_cells(columns: &[&Column], bytes: &[u8]) -> bool {
    let cells = Cells::new(bytes).collect::<Vec<_>>();
    assert_eq!(cells.len(), columns.len(), "a cell for each column");
    let content =
        |cell: &Cell<'_>| if let Cell::Content(content) = cell { content.len() } else { 0 };
    let walked = cells.iter().map(|cell| 4 + content(cell)).sum::<usize>();
    assert_eq!(walked, bytes.len(), "the cells are all there is");
    for (column, cell) in columns.iter().zip(&cells) {
        match cell {
            Cell::Content(content) => check(column, content),
            Cell::Null => assert!(!column.not_null, "{column:?} is NULL"),
            Cell::Unavailable => {}
        }
    }
    cells.contains(&Cell::Unavailable)
}

/// Makes sure that PostgreSQL takes a cell: a server that does not would refuse the whole batch.
fn check(column: &Column, content: &[u8]) {
    let is_width = |width| assert_eq!(content.len(), width, "{column:?}");
    let is_text = |text: &[u8]| {
        let text = std::str::from_utf8(text).expect("text is UTF-8");
        assert!(!text.contains('\0'), "{column:?} has a zero");
    };
    let is_json = |text: &[u8]| _ = serde_json::from_slice::<IgnoredAny>(text).expect("JSON");
    match column.type_name.as_str() {
        "boolean" => is_width(1),
        "smallint" => is_width(2),
        "integer" | "real" | "date" => is_width(4),
        "bigint" | "double precision" => is_width(8),
        "uuid" | "interval" => is_width(16),
        "text" => is_text(content),
        "json" => is_json(content),
        "jsonb" => {
            let (version, text) = content.split_first().expect("a jsonb has a version");
            assert_eq!(*version, 1);
            is_json(text);
        }
        // An array begins with its dimensions, its NULLs and its element's type, or travels as text.
        other if other.ends_with("[]") => {
            assert!(content.len() >= 12 || content.starts_with(b"{"), "{column:?}");
        }
        other if other.starts_with("timestamp") => is_width(8),
        _ => {}
    }
}
