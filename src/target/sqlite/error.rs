//! SQLite's result codes as the situations that a lane knows (<https://sqlite.org/rescode.html>).

use crate::target::{Fault, TargetError};

impl TargetError {
    /// Classifies an error of a statement or of opening the file.
    pub(super) fn of_sqlite(error: sqlx::Error) -> Self {
        let Some(database) = error.as_database_error() else {
            return match error {
                sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => Self::Unreachable(error.into()),
                error => Self::Statement(error.into()),
            };
        };
        let code = database.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or_default();
        let message = database.message().to_owned();
        let table = || message.split_once(": ").and_then(|(_, column)| column.rsplit_once('.'));
        match (code & 0xff, code) {
            // BUSY, LOCKED.
            (5 | 6, _) => Self::Busy(error.into()),
            // NOMEM, FULL.
            (7 | 13, _) => Self::Exhausted(error.into()),
            // INTERRUPT, IOERR, CANTOPEN; of READONLY those that pass: recovery, a lock, a move.
            (9 | 10 | 14, _) | (8, 264 | 520 | 776 | 1032 | 1288) => {
                Self::Unreachable(error.into())
            }
            // PERM, READONLY, AUTH.
            (3 | 8 | 23, _) => Self::Denied(error.into()),
            // CONSTRAINT, TOOBIG, MISMATCH.
            (18..=20, _) => {
                let table = table().map(|(table, _)| table.to_owned());
                let table = table.filter(|_| matches!(code, 1299 | 1555 | 2067));
                let (sqlstate, constraint) = (sqlstate_of(code).to_owned(), None);
                let text = match code {
                    // A trigger may say anything, also values.
                    1811 => "a trigger refuses it".to_owned(),
                    // The message names table and column or the constraint, never a value.
                    _ => format!("{message} (sqlstate {sqlstate})"),
                };
                Self::Row(Fault { table, sqlstate, constraint, text })
            }
            _ => Self::Statement(error.into()),
        }
    }
}

/// Returns the standard's name for TOOBIG, MISMATCH and the extended codes of CONSTRAINT.
fn sqlstate_of(code: u32) -> &'static str {
    match code {
        18 => "22001",
        20 => "22000",
        275 => "23514",
        787 => "23503",
        1299 => "23502",
        1555 | 2067 | 2579 => "23505",
        // DATATYPE: a STRICT table.
        3091 => "22000",
        _ => "23000",
    }
}
