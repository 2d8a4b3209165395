//! A file of SQLite, as its owner looks at it.

use std::path::Path;

use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqliteConnection};

/// Does something with a file.
pub(crate) fn on_file(file: &Path, act: impl AsyncFnOnce(&mut SqliteConnection)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = format!("sqlite://{}?mode=rwc", file.display());
        act(&mut SqliteConnection::connect(&url).await.unwrap()).await;
    });
}

/// Returns a table's rows in the order of its first column, each cell as SQLite prints it; none where
/// there is no such table yet.
pub(crate) fn file_rows(file: &Path, table: &str, columns: &[&str]) -> Vec<Vec<Option<String>>> {
    let cells = columns.iter().map(|name| format!("CAST({name} AS TEXT)"));
    let cells = cells.collect::<Vec<_>>().join(", ");
    let query = format!("SELECT {cells} FROM {table} ORDER BY {}", columns.first().unwrap());
    let mut rows = Vec::new();
    on_file(file, async |connection| {
        if let Ok(found) = sqlx::query(AssertSqlSafe(query)).fetch_all(connection).await {
            rows = found
                .iter()
                .map(|row| (0..row.len()).map(|cell| row.get(cell)).collect())
                .collect();
        }
    });
    rows
}
