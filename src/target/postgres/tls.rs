//! The target's URL as sqlx takes it, and what it asks of TLS.

use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use crate::settings::TLS_FILES;

/// Reads the URL.
///
/// Who asks for TLS and does not say whom to believe means the server that the URL names: `require`
/// and a file without a mode are `verify-full`. As libpq reads `require`, anybody between could be
/// the server.
pub(super) fn options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    let options = PgConnectOptions::from_str(url)?;
    Ok(match options.get_ssl_mode() {
        PgSslMode::Require => options.ssl_mode(PgSslMode::VerifyFull),
        PgSslMode::Prefer if has_file_without_mode(url) => options.ssl_mode(PgSslMode::VerifyFull),
        _ => options,
    })
}

fn has_file_without_mode(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let names = |wanted: &[&str]| url.query_pairs().any(|(key, _)| wanted.contains(&key.as_ref()));
    names(&TLS_FILES) && !names(&["sslmode", "ssl-mode"])
}

/// Returns whether the error says that TLS could not be agreed on: mostly a certificate that nobody
/// vouches for, or that is another host's.
pub(super) fn is_refusal(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Tls(_) => true,
        // Only TLS finds the bytes of a connection wrong; PostgreSQL's protocol has an error of its own.
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, expected: &str) {
        let options = options(&format!("postgres://u@h/db{query}")).unwrap();
        assert_eq!(format!("{:?}", options.get_ssl_mode()), expected, "{query}");
    }

    #[test]
    fn who_asks_for_tls_gets_the_server_that_was_named() {
        check("?sslmode=require", "VerifyFull");
        check("?sslmode=require&sslrootcert=/ca.pem", "VerifyFull");
        check("?sslrootcert=/ca.pem", "VerifyFull");
        check("?sslcert=/a.pem&sslkey=/a.key", "VerifyFull");
        check("?sslmode=verify-full", "VerifyFull");
    }

    #[test]
    fn a_mode_that_says_more_stands_as_it_was_written() {
        check("?sslmode=verify-ca&sslrootcert=/ca.pem", "VerifyCa");
        check("?sslmode=prefer&sslrootcert=/ca.pem", "Prefer");
        check("?sslmode=disable", "Disable");
        check("", "Prefer");
    }

    #[test]
    fn a_lost_connection_is_no_refusal() {
        assert!(!is_refusal(&sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())));
        assert!(is_refusal(&sqlx::Error::Io(std::io::ErrorKind::InvalidData.into())));
    }
}
