//! Plain SQL over a file, for those who show or compare what it holds: rows as text, no conversion.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _, SqliteConnection};

use crate::target::TargetError;
use crate::target::sqlite::LOCK_WAIT_MAX;

/// A connection that knows nothing of our tables.
#[derive(Debug)]
pub struct Plain(SqliteConnection);

/// A row as SQLite prints it; `None` is NULL.
pub type PlainRow = Vec<Option<String>>;

impl Plain {
    /// Opens a file that exists.
    ///
    /// # Errors
    ///
    /// There is no such file, or it is no database (told at the first query).
    pub async fn open(file: &Path) -> Result<Self, TargetError> {
        Self::connect(file, false).await
    }

    /// Opens a file, made anew if it does not exist.
    ///
    /// # Errors
    ///
    /// The file cannot be made.
    pub async fn create(file: &Path) -> Result<Self, TargetError> {
        Self::connect(file, true).await
    }

    async fn connect(file: &Path, is_new: bool) -> Result<Self, TargetError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(is_new)
            .busy_timeout(LOCK_WAIT_MAX)
            .disable_statement_logging();
        options.connect().await.map(Self).map_err(TargetError::of_sqlite)
    }

    /// Returns the rows of a query, whose text the caller has made without values from outside.
    ///
    /// # Errors
    ///
    /// The database refuses the query.
    pub async fn rows(&mut self, query: &str) -> Result<Vec<PlainRow>, TargetError> {
        let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(&mut self.0).await;
        rows.map_err(TargetError::of_sqlite)?.iter().map(text_of).collect()
    }

    /// Runs statements, whose text the caller has made without values from outside.
    ///
    /// # Errors
    ///
    /// The database refuses a statement; those before it are done.
    pub async fn execute(&mut self, statements: &str) -> Result<(), TargetError> {
        let done = sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut self.0).await;
        done.map(|_| ()).map_err(TargetError::of_sqlite)
    }
}

pub(super) fn text_of(row: &SqliteRow) -> Result<PlainRow, TargetError> {
    let columns = 0..row.len();
    let values = columns.map(|column| row.try_get_unchecked(column));
    values.collect::<Result<_, _>>().map_err(TargetError::of_sqlite)
}
