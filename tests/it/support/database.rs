//! SQL over one connection, with every value as the server prints it.

use std::cell::RefCell;

use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, PgConnection, Row, ValueRef};
use tokio::runtime::Runtime;

/// One connection to a PostgreSQL, for one thread.
#[derive(Debug)]
pub(crate) struct Database {
    connection: RefCell<PgConnection>,
    runtime: Runtime,
    url: String,
}

impl Database {
    /// Connects, or panics.
    pub(crate) fn open(url: &str) -> Self {
        Self::try_open(url).unwrap_or_else(|error| panic!("cannot connect to {url}: {error}"))
    }

    /// Connects.
    pub(crate) fn try_open(url: &str) -> Result<Self, sqlx::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options: PgConnectOptions = url.parse()?;
        let connection = runtime.block_on(options.disable_statement_logging().connect())?;
        Ok(Self { connection: RefCell::new(connection), runtime, url: url.to_owned() })
    }

    /// Returns where this is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Runs statements, or panics with what the server said.
    pub(crate) fn run(&self, sql: &str) {
        self.rows(sql);
    }

    /// Runs statements; returns what the server said when it refused them.
    pub(crate) fn try_run(&self, sql: &str) -> Result<(), String> {
        self.fetch(sql).map(drop).map_err(|error| error.to_string())
    }

    /// Returns rows of text; NULL is `None`.
    pub(crate) fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let rows = self.fetch(sql).unwrap_or_else(|error| panic!("{error}, in {sql}"));
        rows.iter().map(|row| (0..row.len()).map(|index| text(row, index)).collect()).collect()
    }

    /// Returns the one value of the one row; NULL and no row are nothing.
    pub(crate) fn value(&self, sql: &str) -> Option<String> {
        self.rows(sql).into_iter().next()?.into_iter().next()?
    }

    /// Returns the one value as a number; NULL and no row are 0.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.value(sql).map_or(0, |value| value.parse().unwrap())
    }

    /// Returns whether the one value is true.
    pub(crate) fn holds(&self, sql: &str) -> bool {
        self.value(sql).as_deref() == Some("t")
    }

    /// Returns whether there is such a table, schema and all.
    pub(crate) fn has(&self, table: &str) -> bool {
        self.holds(&format!("SELECT to_regclass('{table}') IS NOT NULL"))
    }

    fn fetch(&self, sql: &str) -> Result<Vec<PgRow>, sqlx::Error> {
        let mut connection = self.connection.borrow_mut();
        // The tests write their own SQL; nothing of it comes from outside.
        let query = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        self.runtime.block_on(connection.fetch_all(query))
    }
}

fn text(row: &PgRow, index: usize) -> Option<String> {
    let value = row.try_get_raw(index).unwrap();
    if value.is_null() {
        return None;
    }
    // The simple protocol gives every value as text.
    Some(value.as_str().unwrap().to_owned())
}
