//! What an error of the server means: one table of SQLSTATEs.
//!
//! Only what stands here is tried again. The server's detail never leaves this module, because it
//! repeats values; nor does the message of a data error, for the same reason.

use std::error::Error;
use std::fmt;

use sqlx::postgres::PgDatabaseError;

use crate::table::TableName;
use crate::target::postgres::tls;
use crate::target::{Fault, TargetError};

/// What was being done, where the same error means different things.
#[derive(Clone, Copy, Debug)]
pub(super) enum Doing<'a> {
    /// Writing rows of a replicated table.
    Rows(&'a TableName),
    /// Creating or changing tables.
    Ddl,
    /// Anything else.
    Other,
}

/// Says what the error means.
pub(super) fn target_error(error: sqlx::Error, doing: Doing<'_>) -> TargetError {
    let server = match error {
        sqlx::Error::Database(error) => match error.try_downcast::<PgDatabaseError>() {
            Ok(server) => ServerError::from(&*server),
            Err(other) => return TargetError::Statement(other.into()),
        },
        error if tls::is_refusal(&error) => {
            // sqlx repeats the cause in its own text.
            return TargetError::Untrusted(error.to_string().into());
        }
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => {
            return TargetError::Unreachable(error.into());
        }
        _ => return TargetError::Statement(error.into()),
    };
    match (situation(&server), doing) {
        (Situation::Unreachable, _) => TargetError::Unreachable(server.into()),
        (Situation::Busy, _) | (Situation::Exists, Doing::Ddl) => TargetError::Busy(server.into()),
        (Situation::Exhausted, _) => TargetError::Exhausted(server.into()),
        (Situation::NotAdmitted, _) => TargetError::NotAdmitted(server.into()),
        (Situation::Denied, _) => TargetError::Denied(server.into()),
        (Situation::Stale, Doing::Rows(table)) => TargetError::StaleLayout { table: table.clone() },
        (Situation::Data, Doing::Rows(table)) => server.into_row(Some(table.to_string())),
        (Situation::Exists, Doing::Rows(table)) if server.is_data() => {
            server.into_row(Some(table.to_string()))
        }
        (Situation::Data, Doing::Other) => server.into_row(None),
        (Situation::Exists, Doing::Other) if server.is_data() => server.into_row(None),
        (Situation::Data | Situation::Exists | Situation::Stale | Situation::Unlisted, _) => {
            TargetError::Statement(server.into())
        }
    }
}

/// Returns the SQLSTATE where the server has answered with one.
pub(super) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// Returns the SQLSTATE of a statement that may be refused for what it is, not for how the server
/// fares: another may do the same. One that takes too long counts as such.
pub(super) fn refusal(error: &sqlx::Error) -> Option<String> {
    let state = sqlstate(error)?;
    let server = ServerError::from(error.as_database_error()?.try_downcast_ref()?);
    match situation(&server) {
        Situation::Busy if state == "57014" => Some(state),
        Situation::Unreachable
        | Situation::NotAdmitted
        | Situation::Busy
        | Situation::Exhausted => None,
        Situation::Denied
        | Situation::Stale
        | Situation::Exists
        | Situation::Data
        | Situation::Unlisted => Some(state),
    }
}

/// What a SQLSTATE means by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Situation {
    Unreachable,
    NotAdmitted,
    Busy,
    Exhausted,
    Denied,
    /// The table or a type is not as it was read.
    Stale,
    /// What is to be created is there, or came into being at the same time.
    Exists,
    /// A value or a constraint.
    Data,
    Unlisted,
}

/// Names the situation; <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn situation(error: &ServerError) -> Situation {
    let state = error.sqlstate.as_str();
    match state {
        // Connection exceptions, ends of a session, start-up and shutdown, and a server that only
        // reads, as a former primary does.
        "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03" | "25006" | "40003" => {
            Situation::Unreachable
        }
        "40001" | "40P01" | "55P03" | "57014" => Situation::Busy,
        // A pooler or a changed table took a prepared statement away: the next connection has none.
        "26000" => Situation::Busy,
        "0A000" if error.message.contains("cached plan") => Situation::Busy,
        "42501" | "3D000" => Situation::Denied,
        "42P01" | "42703" | "42804" | "42P10" | "42704" | "3F000" | "08P01" | "22P03" | "XX000" => {
            Situation::Stale
        }
        // A trigger's own word, and a value that is too long for an index.
        "P0001" | "54000" => Situation::Data,
        "23505" | "42710" | "42P07" | "42701" | "42P06" => Situation::Exists,
        _ => match state.get(..2) {
            Some("08") => Situation::Unreachable,
            Some("53") => Situation::Exhausted,
            Some("28") => Situation::NotAdmitted,
            Some("22" | "23") => Situation::Data,
            Some(_) | None => Situation::Unlisted,
        },
    }
}

/// An answer of the server, without the values that it repeats.
#[derive(Debug)]
struct ServerError {
    sqlstate: String,
    message: String,
    constraint: Option<String>,
    column: Option<String>,
    table: Option<String>,
}

impl ServerError {
    fn is_data(&self) -> bool {
        self.sqlstate.starts_with("22") || self.sqlstate.starts_with("23")
    }

    fn into_row(self, table: Option<String>) -> TargetError {
        let text = self.to_string();
        let Self { sqlstate, constraint, table: named, .. } = self;
        TargetError::Row(Fault { table: table.or(named), sqlstate, constraint, text })
    }
}

impl From<&PgDatabaseError> for ServerError {
    fn from(error: &PgDatabaseError) -> Self {
        Self {
            sqlstate: error.code().to_owned(),
            message: match error.code() {
                // Data exceptions quote the value ("invalid input syntax for type integer: …"), and
                // a trigger may quote anything.
                code if code.starts_with("22") => "data exception".to_owned(),
                "P0001" => "a trigger refuses it".to_owned(),
                _ => error.message().to_owned(),
            },
            table: error
                .schema()
                .zip(error.table())
                .map(|(schema, table)| format!("{schema}.{table}")),
            constraint: error.constraint().map(str::to_owned),
            column: error.column().map(str::to_owned),
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (sqlstate {}", self.message, self.sqlstate)?;
        if let Some(constraint) = &self.constraint {
            write!(f, ", constraint \"{constraint}\"")?;
        }
        if let Some(column) = &self.column {
            write!(f, ", column \"{column}\"")?;
        }
        f.write_str(")")
    }
}

impl Error for ServerError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Disposition;

    fn check(situation_of: &[&str], expected: Situation) {
        for state in situation_of {
            let error = ServerError {
                sqlstate: (*state).to_owned(),
                message: String::new(),
                constraint: None,
                column: None,
                table: None,
            };
            assert_eq!(situation(&error), expected, "{state}");
        }
    }

    #[test]
    fn only_what_is_listed_is_tried_again() {
        check(
            &["08006", "08003", "57P01", "57P02", "57P03", "57P05", "25006"],
            Situation::Unreachable,
        );
        check(&["40001", "40P01", "55P03", "57014", "26000"], Situation::Busy);
        check(&["53000", "53100", "53200", "53300", "53400"], Situation::Exhausted);
        check(&["28000", "28P01"], Situation::NotAdmitted);
        check(&["42501", "3D000"], Situation::Denied);
        check(
            &["42601", "P0002", "P0004", "54001", "0A000", "58030", "55006", "25P02", "21000"],
            Situation::Unlisted,
        );
    }

    #[test]
    fn data_is_told_from_layout() {
        check(&["22001", "22P02", "22003", "22021", "23502", "23503", "23514"], Situation::Data);
        check(&["P0001", "54000"], Situation::Data);
        check(&["42P01", "42703", "42804", "42P10", "22P03", "08P01", "XX000"], Situation::Stale);
        check(&["23505", "42710", "42P07", "42701", "42P06"], Situation::Exists);
    }

    #[test]
    fn an_error_names_constraints_and_columns() {
        let error = ServerError {
            sqlstate: "23505".to_owned(),
            message: "duplicate key".to_owned(),
            constraint: Some("orders_pkey".to_owned()),
            column: None,
            table: None,
        };
        assert_eq!(error.to_string(), "duplicate key (sqlstate 23505, constraint \"orders_pkey\")");
    }

    #[test]
    fn a_certificate_that_goes_bad_is_waited_out() {
        let refused = std::io::Error::new(std::io::ErrorKind::InvalidData, "invalid certificate");
        let error = target_error(sqlx::Error::Io(refused), Doing::Other);
        assert_eq!(error.disposition(), Disposition::Retry("untrusted"));
        let told = error.source().unwrap().to_string();
        assert_eq!(told.matches("invalid certificate").count(), 1, "{told}");
    }

    #[test]
    fn a_lost_connection_is_unreachable() {
        let error = sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
        let error = target_error(error, Doing::Other);
        assert!(matches!(error, TargetError::Unreachable(_)), "{error}");
    }
}
