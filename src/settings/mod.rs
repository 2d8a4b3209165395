//! Settings: what the program may rely on, made from what was written.
//!
//! Past this module nothing is checked again. Every problem is found before the first is told.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::cli::{RunArgs, Secrets, TableArgs, WorkArgs};
use crate::rules::{ConfigFile, DeletePolicy, Pattern, Rules, Template};

pub use kafka::{GroupProtocol, Kafka, REFUSED, TopicPattern};
pub(crate) use places::TLS_FILES;
pub use places::{IdKind, Registry, TargetAddress};
pub use problems::{Problem, Problems};
pub use secret::{BearerToken, Secret, printable};

mod kafka;
mod places;
mod problems;
mod secret;
pub(crate) mod units;

/// What the service relies on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the records come from.
    pub kafka: Kafka,
    /// Where Avro schemas come from, if anywhere.
    pub registry: Option<Registry>,
    /// Where the rows go.
    pub target: TargetAddress,
    /// Names the checkpoint rows.
    pub sink: String,
    /// Whether partitions that another group holds are claimed.
    pub take_over: bool,
    /// What becomes of each table.
    pub tables: Tables,
    /// What becomes of a record that cannot be applied.
    pub on_refused: OnRefused,
    /// The topic that gets a copy of each refused record, if any.
    pub dead_letter_topic: Option<String>,
    /// The limits of a batch.
    pub batch: BatchLimits,
    /// Target connections of this member.
    pub lanes: NonZeroUsize,
    /// Where health and metrics are served.
    pub http: Listen,
    /// How long unreachable services are tried at the start.
    pub startup_timeout: Duration,
    /// The log's form.
    pub log_format: LogFormat,
    /// Whether to end once all that was there at assignment is applied.
    pub until_caught_up: bool,
}

/// What becomes of each table.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Names, keys, deletes, columns.
    pub rules: Rules,
    /// What happens when the target lacks a table or a column.
    pub schema_changes: SchemaChanges,
    /// The column for the target's transaction time, if any.
    pub synced_at_column: Option<String>,
    /// Whether a row that the target has as it comes is left alone.
    pub skips_unchanged: bool,
}

/// The limits of a batch; the first that is reached ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Rows.
    pub rows_max: NonZeroUsize,
    /// Bytes of packed rows.
    pub bytes_max: NonZeroUsize,
    /// How long it goes on filling while records keep coming.
    pub age_max: Duration,
}

/// What happens when the target lacks a table or a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaChanges {
    /// It is created or widened.
    Apply,
    /// The partition stops with the reason.
    Check,
    /// Unknown columns are dropped, which is said once.
    Ignore,
}

/// What becomes of a record that cannot be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRefused {
    /// It is kept in the target, and the others go on.
    DeadLetter,
    /// Its partition stops.
    Stop,
}

/// The log's form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Where health and metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// At this host and port, or not at all.
    Given(String),
    /// At the usual address, or the next free port.
    Usual,
}

/// More would be a slip of the finger: one lane writes what one server connection can take.
const LANES_MAX: u64 = 64;
/// Rows are indexed in memory; beyond this the index alone is larger than the rows should be.
const BATCH_ROWS_MAX: u64 = 10_000_000;
/// A batch's rows of a table go in one statement, whose message the server takes up to 1 GiB.
const BATCH_BYTES: std::ops::RangeInclusive<u64> = 1024..=1 << 28;
/// A batch older than this would hold up a rebalance.
const BATCH_AGE_MAX: Duration = Duration::from_secs(60);
const STARTUP_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

impl Settings {
    /// Makes settings of what was written.
    ///
    /// # Errors
    /// All problems at once, each with its setting and the rule it breaks.
    pub fn new(args: &RunArgs, secrets: &Secrets, file: &ConfigFile) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let kafka = problems.collect(Kafka::new(&args.kafka, secrets));
        let registry = problems.collect(Registry::new(&args.registry, secrets));
        let target = problems.collect(TargetAddress::required(&args.target, secrets));
        let tables = problems.collect(Tables::new(&args.tables, file));
        let work = problems.collect(Work::new(&args.work));
        let (Some(kafka), Some(registry), Some(target), Some(tables), Some(work)) =
            (kafka, registry, target, tables, work)
        else {
            return Err(problems);
        };
        let topic = letter_topic(args.work.dead_letter_topic.as_deref(), &kafka.topics);
        let dead_letter_topic = problems.take("dead_letter_topic", topic);
        let Some(dead_letter_topic) = dead_letter_topic else { return Err(problems) };
        Ok(Self {
            kafka,
            registry,
            target,
            sink: args.target.sink.clone(),
            take_over: args.work.take_over,
            tables,
            on_refused: work.on_refused,
            dead_letter_topic,
            batch: work.batch,
            lanes: work.lanes,
            http: work.http,
            startup_timeout: work.startup_timeout,
            log_format: work.log_format,
            until_caught_up: args.work.until_caught_up,
        })
    }
}

impl Tables {
    /// Makes the rules of what flags and file say.
    pub fn new(args: &TableArgs, file: &ConfigFile) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let mut targets = Vec::new();
        for text in &args.table {
            targets.extend(problems.take("table", target_rule(text)));
        }
        let deletes = problems.take("deletes", choice(&args.deletes, &DELETES));
        let schema_changes =
            problems.take("schema_changes", choice(&args.schema_changes, &SCHEMA_CHANGES));
        let deleted_at_column = args.deleted_at_column.clone();
        if deleted_at_column.is_empty() {
            problems.take::<()>("deleted_at_column", Err("must name a column".to_owned()));
        }
        if deleted_at_column == args.synced_at_column {
            let rule = format!("\"{deleted_at_column}\" is the column of --synced-at-column too");
            problems.take::<()>("deleted_at_column", Err(rule));
        }
        let (Some(deletes), Some(schema_changes), true) =
            (deletes, schema_changes, problems.is_empty())
        else {
            return Err(problems);
        };
        let (tables, sources) = (file.tables.clone(), file.sources.clone());
        let rules = Rules { targets, tables, sources, deletes, deleted_at_column };
        let synced_at_column =
            Some(args.synced_at_column.clone()).filter(|column| !column.is_empty());
        let skips_unchanged = args.skip_unchanged;
        Ok(Self { rules, schema_changes, synced_at_column, skips_unchanged })
    }
}

/// The settings that concern only the running service.
struct Work {
    on_refused: OnRefused,
    batch: BatchLimits,
    lanes: NonZeroUsize,
    http: Listen,
    startup_timeout: Duration,
    log_format: LogFormat,
}

impl Work {
    fn new(args: &WorkArgs) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let on_refused = problems.take("on_refused", choice(&args.on_refused, &ON_REFUSED));
        let rows_max = problems.take("batch_rows", units::count(&args.batch_rows, BATCH_ROWS_MAX));
        let bytes_max = problems.take("batch_bytes", units::size(&args.batch_bytes, BATCH_BYTES));
        let age_max = problems.take("batch_age", units::duration(&args.batch_age, BATCH_AGE_MAX));
        let lanes = problems.take("lanes", units::count(&args.lanes, LANES_MAX));
        let http = problems.take("http", listen(args.http.as_deref()));
        let startup_timeout = problems
            .take("startup_timeout", units::duration(&args.startup_timeout, STARTUP_TIMEOUT_MAX));
        let log_format = problems.take("log_format", choice(&args.log_format, &LOG_FORMAT));
        let limits = (rows_max, bytes_max, age_max);
        let (Some(on_refused), (Some(rows_max), Some(bytes_max), Some(age_max)), Some(lanes)) =
            (on_refused, limits, lanes)
        else {
            return Err(problems);
        };
        let (Some(http), Some(startup_timeout), Some(log_format)) =
            (http, startup_timeout, log_format)
        else {
            return Err(problems);
        };
        let batch = BatchLimits { rows_max, bytes_max, age_max };
        Ok(Self { on_refused, batch, lanes, http, startup_timeout, log_format })
    }
}

const DELETES: [(&str, DeletePolicy); 3] =
    [("hard", DeletePolicy::Hard), ("soft", DeletePolicy::Soft), ("ignore", DeletePolicy::Ignore)];
const SCHEMA_CHANGES: [(&str, SchemaChanges); 3] = [
    ("apply", SchemaChanges::Apply),
    ("check", SchemaChanges::Check),
    ("ignore", SchemaChanges::Ignore),
];
const ON_REFUSED: [(&str, OnRefused); 2] =
    [("dead-letter", OnRefused::DeadLetter), ("stop", OnRefused::Stop)];
const LOG_FORMAT: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

/// Reads the topic of copies. It must be none of those that are read: what cannot be a row would be
/// refused again, and copied again, for ever.
fn letter_topic(text: Option<&str>, read: &[TopicPattern]) -> Result<Option<String>, String> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let TopicPattern::Literal(topic) = TopicPattern::new(text)? else {
        return Err(format!("\"{text}\" must be the name of one topic"));
    };
    match read.iter().find(|pattern| pattern.matches(&topic)) {
        Some(pattern) => Err(format!(
            "\"{topic}\" is one of the topics that are read, by \"{}\"",
            pattern.as_str()
        )),
        None => Ok(Some(topic)),
    }
}

/// Returns what the text names.
fn choice<T: Copy>(text: &str, known: &[(&str, T)]) -> Result<T, String> {
    let found = known.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        format!("\"{text}\" must be one of {}", names.join(", "))
    })
}

/// Reads `PATTERN=TEMPLATE`.
fn target_rule(text: &str) -> Result<(Pattern, Template), String> {
    let parts = text.split_once('=').filter(|(pattern, _)| !pattern.is_empty());
    let (pattern, template) =
        parts.ok_or_else(|| format!("\"{text}\" must be PATTERN=TEMPLATE"))?;
    Ok((Pattern::new(pattern.trim()), Template::new(template.trim())?))
}

fn listen(text: Option<&str>) -> Result<Listen, String> {
    let Some(text) = text else { return Ok(Listen::Usual) };
    if text == "off" {
        return Ok(Listen::Off);
    }
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    match port.and_then(|(_, port)| port.parse::<u16>().ok()) {
        Some(_) => Ok(Listen::Given(text.to_owned())),
        None => Err(format!("\"{text}\" must be HOST:PORT or off")),
    }
}

#[cfg(test)]
mod tests;
