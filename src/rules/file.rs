//! The config file: what it may say, with every wrong key told at once.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::rows::Keyless;
use crate::rules::pattern::{Pattern, Template};
use crate::rules::source::SourceSettings;
use crate::settings::Problems;

/// What the config file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigFile {
    /// `[run]`: the values of flags, by the flag's name with underscores.
    pub run: BTreeMap<String, Vec<String>>,
    /// `[table."pattern"]`.
    pub tables: Vec<(Pattern, TableSection)>,
    /// `[source."prefix"]`.
    pub sources: BTreeMap<String, SourceSettings>,
}

/// One `[table."pattern"]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSection {
    /// Where the table goes.
    pub target: Option<Template>,
    /// The columns that identify a row.
    pub key: Option<Vec<String>>,
    /// What a delete does.
    pub deletes: Option<DeletePolicy>,
    /// Whether rows replace each other.
    mode: Option<Mode>,
    /// What becomes of a table without a key.
    keyless: Option<Keyless>,
    /// What becomes of records behind a refused one of their key.
    after_refused: Option<AfterRefused>,
    /// Whether the target keeps how new each row is.
    #[serde(default)]
    pub row_guard: bool,
    /// Which columns of a flat change log say what happened.
    pub changelog: Option<Changelog>,
    /// Which columns go, and how.
    #[serde(default)]
    pub columns: ColumnSection,
}

/// One `[table."pattern".columns]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnSection {
    /// All columns but these.
    pub exclude: Option<Vec<String>>,
    /// These columns only.
    pub include: Option<Vec<String>>,
    /// The target's name of a source column.
    #[serde(default)]
    pub rename: BTreeMap<String, String>,
    /// The target's type of a source column.
    #[serde(default, rename = "type")]
    pub types: BTreeMap<String, String>,
}

/// What a delete does, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeletePolicy {
    /// The row goes.
    Hard,
    /// The row is marked.
    Soft,
    /// Nothing.
    Ignore,
}

/// Whether rows replace each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A row replaces the one of the same key.
    #[default]
    Upsert,
    /// Every image is a row of its own.
    Append,
}

/// A flat change log: each record is a row, and a column of it says what happened to the row.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changelog {
    /// The column that says it.
    pub op: String,
    /// What it says of a new row.
    #[serde(default = "insert")]
    pub insert: String,
    /// What it says of a changed row.
    #[serde(default = "update")]
    pub update: String,
    /// What it says of a row that is gone.
    #[serde(default = "delete")]
    pub delete: String,
    /// The column whose integer never falls from one record of a partition to the next.
    pub order: Option<String>,
}

fn insert() -> String {
    "INSERT".to_owned()
}

fn update() -> String {
    "UPDATE".to_owned()
}

fn delete() -> String {
    "DELETE".to_owned()
}

/// What becomes of records behind a refused one of their key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AfterRefused {
    /// They are kept behind it, until an operator decides.
    Block,
    /// They are applied, unless a value is unavailable that the refused one may have had.
    #[default]
    Continue,
}

impl TableSection {
    /// Returns whether rows replace each other.
    pub fn mode(&self) -> Mode {
        self.mode.unwrap_or_default()
    }

    /// Returns what becomes of records behind a refused one of their key.
    pub fn after_refused(&self) -> AfterRefused {
        self.after_refused.unwrap_or_default()
    }

    /// Returns what becomes of a table without a key.
    pub fn keyless(&self) -> Keyless {
        self.keyless.unwrap_or_default()
    }
}

const PARTS: [&str; 3] = ["run", "table", "source"];
const TABLE_KEYS: [&str; 9] = [
    "target",
    "key",
    "deletes",
    "mode",
    "keyless",
    "after_refused",
    "row_guard",
    "changelog",
    "columns",
];
const COLUMN_KEYS: [&str; 4] = ["exclude", "include", "rename", "type"];

impl ConfigFile {
    /// Reads the text of a config file; `run_keys` are the flags of `run`, with underscores.
    pub fn parse(text: &str, run_keys: &[String]) -> Result<Self, Problems> {
        let parts = Table::from_str(text)
            .map_err(|error| Problems::of("the config file", syntax(&error, text)))?;
        let mut problems = Problems::default();
        known(&parts, "", &PARTS, &mut problems);
        let file = Self {
            run: run_part(&parts, run_keys, &mut problems),
            tables: table_part(&parts, &mut problems),
            sources: source_part(&parts, &mut problems),
        };
        problems.into_result().map(|()| file)
    }
}

/// Reads `[run]`: each value as the text that a flag would carry.
fn run_part(
    parts: &Table,
    keys: &[String],
    problems: &mut Problems,
) -> BTreeMap<String, Vec<String>> {
    let Some(run) = section(parts, "run", problems) else { return BTreeMap::new() };
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    known(run, "run", &keys, problems);
    let mut values = BTreeMap::new();
    for (key, value) in run.iter().filter(|(key, _)| keys.contains(&key.as_str())) {
        let texts = match value {
            Value::Array(items) => items.iter().map(text_of).collect(),
            single => text_of(single).map(|text| vec![text]),
        };
        match texts {
            Some(texts) => _ = values.insert(key.clone(), texts),
            None => problems.add(&format!("run.{key}"), "must be text, a number or a list of them"),
        }
    }
    values
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Float(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}

fn table_part(parts: &Table, problems: &mut Problems) -> Vec<(Pattern, TableSection)> {
    let mut tables = Vec::new();
    for (pattern, value) in section(parts, "table", problems).into_iter().flatten() {
        let path = format!("table.\"{pattern}\"");
        let Some(mut section) = fields::<TableSection>(value, &path, &TABLE_KEYS, problems) else {
            continue;
        };
        if let Some(columns) = value.get("columns") {
            let path = format!("{path}.columns");
            section.columns = fields(columns, &path, &COLUMN_KEYS, problems).unwrap_or_default();
        }
        section.check(&path, problems);
        tables.push((Pattern::new(pattern), section));
    }
    tables
}

fn source_part(parts: &Table, problems: &mut Problems) -> BTreeMap<String, SourceSettings> {
    let mut sources = BTreeMap::new();
    for (prefix, value) in section(parts, "source", problems).into_iter().flatten() {
        let path = format!("source.\"{prefix}\"");
        let found = fields::<SourceSettings>(value, &path, &SourceSettings::KEYS, problems);
        if let Some(settings) = found {
            settings.check(&path, problems);
            sources.insert(prefix.clone(), settings);
        }
    }
    sources
}

impl TableSection {
    /// Adds what the types let through.
    fn check(&self, path: &str, problems: &mut Problems) {
        if self.changelog.is_some() && self.key.is_none() && self.mode() == Mode::Upsert {
            let rule = "needs key: the columns that identify a row of the table";
            problems.add(&format!("{path}.changelog"), rule);
        }
        if self.key.as_ref().is_some_and(Vec::is_empty) {
            problems.add(&format!("{path}.key"), "must name a column");
        }
        if self.columns.exclude.is_some() && self.columns.include.is_some() {
            problems
                .add(&format!("{path}.columns"), "has exclude and include: one of them must go");
        }
    }
}

/// Returns a part of the file that must be a table of keys.
fn section<'a>(parts: &'a Table, key: &str, problems: &mut Problems) -> Option<&'a Table> {
    let value = parts.get(key)?;
    if value.as_table().is_none() {
        problems.add(key, "must be a section");
    }
    value.as_table()
}

/// Reads a section into its type, without the sections below it.
fn fields<T: DeserializeOwned>(
    value: &Value,
    path: &str,
    keys: &[&str],
    problems: &mut Problems,
) -> Option<T> {
    let Some(table) = value.as_table() else {
        problems.add(path, "must be a section");
        return None;
    };
    known(table, path, keys, problems);
    let own = table.iter().filter(|(key, _)| keys.contains(&key.as_str()) && *key != "columns");
    let own: Table = own.map(|(key, value)| (key.clone(), value.clone())).collect();
    own.try_into().map_err(|error| problems.add(path, misfit(&error))).ok()
}

/// Adds a problem for each key that is not known, with the nearest one that is.
fn known(table: &Table, path: &str, keys: &[&str], problems: &mut Problems) {
    for key in table.keys().filter(|key| !keys.contains(&key.as_str())) {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        problems.add(&path, format!("is no known key; the nearest is \"{}\"", nearest(key, keys)));
    }
}

fn nearest<'a>(key: &str, keys: &[&'a str]) -> &'a str {
    let near = keys.iter().map(|known| (strsim::jaro_winkler(key, known), *known));
    let near = near.max_by(|(one, _), (other, _)| one.total_cmp(other));
    near.map(|(_, known)| known).expect("every section has known keys")
}

/// Returns where a text is no TOML, without the text, which may hold secrets.
fn syntax(error: &toml::de::Error, text: &str) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    format!("is no TOML at line {line}: {}", error.message().replace('\n', ", "))
}

/// Returns why a section does not fit, with the key; it has no text of its own to quote.
fn misfit(error: &toml::de::Error) -> String {
    format!("does not fit: {}", error.to_string().trim().replace('\n', ", "))
}
