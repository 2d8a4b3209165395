//! SASL/OAUTHBEARER: gives a client its token, which somebody else renews in a file.
//!
//! librdkafka asks for a token in the client's queue, which nobody polls while a question waits for
//! its answer. So a client that asks questions gets the token before each of them, and the one that
//! polls gets it at its start and whenever librdkafka wants the next.

use std::ffi::{CStr, CString};
use std::ptr;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rdkafka::bindings as native;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::IsError as _;
use serde::Deserialize;

use crate::settings::{BearerToken, Secret};

/// How long librdkafka is told that a token lives, at most. It asks for the next after four fifths of
/// it, so a file that was renewed early, or whose token does not say how long it lives, is read soon.
const LIFE_MAX: Duration = Duration::from_secs(60);

/// Whom librdkafka names in its own log lines; brokers take the name from the token.
const PRINCIPAL: &CStr = c"afterimage";

/// Room for librdkafka's reasons.
const REASON_BYTES: usize = 512;

/// Gives the client the token as it is now; does nothing where no token is wanted.
///
/// # Errors
///
/// There is none, or it has expired. The client keeps the one that it has, says so in its queue, and
/// wants another in ten seconds.
pub(super) fn give<C: ClientContext>(
    client: &Client<C>,
    source: Option<&BearerToken>,
) -> Result<(), String> {
    let Some(source) = source else { return Ok(()) };
    let given = current(source).and_then(|(token, until)| set(client, &token, until));
    given.inspect_err(|reason| set_failure(client, reason))
}

/// Returns the token and until when it is to be used, in milliseconds since the epoch.
fn current(source: &BearerToken) -> Result<(Secret, i64), String> {
    let token = source.read()?;
    let now = SystemTime::now();
    let mut until = now + LIFE_MAX;
    if let Some(end) = end_of(token.expose()) {
        if end <= now {
            let end = humantime::format_rfc3339_seconds(end);
            return Err(match source {
                BearerToken::Given(_) => format!("the token has expired at {end}"),
                BearerToken::File(path) => {
                    format!("the token in \"{}\" has expired at {end}", path.display())
                }
            });
        }
        until = until.min(end);
    }
    let since = until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok((token, i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}

/// Returns when a JSON Web Token expires; others do not say it.
fn end_of(token: &str) -> Option<SystemTime> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let claims = token.split('.').nth(1)?;
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    let Claims { exp } = serde_json::from_slice(&claims).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(exp).ok()?)
}

#[expect(unsafe_code, reason = "rust-rdkafka gives tokens only from its own poll")]
fn set<C: ClientContext>(client: &Client<C>, token: &Secret, until: i64) -> Result<(), String> {
    let token = CString::new(token.expose()).expect("a token is visible ASCII");
    let mut reason = [0; REASON_BYTES];
    // SAFETY: the client is alive, the texts end with a zero and are copied, there are no
    // extensions, and the reason's length is told.
    let response = unsafe {
        native::rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            token.as_ptr(),
            until,
            PRINCIPAL.as_ptr(),
            ptr::null_mut(),
            0,
            reason.as_mut_ptr(),
            reason.len(),
        )
    };
    if !response.is_error() {
        return Ok(());
    }
    // SAFETY: librdkafka ends its reason with a zero within the length that it was told.
    let reason = unsafe { CStr::from_ptr(reason.as_ptr()) };
    Err(reason.to_string_lossy().into_owned())
}

#[expect(unsafe_code, reason = "rust-rdkafka gives tokens only from its own poll")]
fn set_failure<C: ClientContext>(client: &Client<C>, reason: &str) {
    let reason = CString::new(reason.replace('\0', " ")).expect("no zero is left");
    // SAFETY: the client is alive, and the text ends with a zero and is copied. The answer only
    // repeats that the client uses no tokens, which the settings have ruled out.
    unsafe { native::rd_kafka_oauthbearer_set_token_failure(client.native_ptr(), reason.as_ptr()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> BearerToken {
        let [head, claims] =
            ["{\"alg\":\"none\"}", claims].map(|it| BASE64_URL_SAFE_NO_PAD.encode(it));
        BearerToken::Given(Secret::new(format!("{head}.{claims}.")))
    }

    fn seconds_left(source: &BearerToken) -> u64 {
        let (_, until) = current(source).unwrap();
        let until = Duration::from_millis(u64::try_from(until).unwrap());
        (until - SystemTime::UNIX_EPOCH.elapsed().unwrap() + Duration::from_millis(500)).as_secs()
    }

    #[test]
    fn a_token_is_used_until_it_expires_and_never_for_long_without_another_look() {
        let soon = SystemTime::UNIX_EPOCH.elapsed().unwrap() + Duration::from_secs(30);
        assert!(
            (29..=31).contains(&seconds_left(&token(&format!("{{\"exp\":{}}}", soon.as_secs()))))
        );
        for claims in ["{\"exp\":99999999999}", "{\"exp\":1e99}", "{}", "no JSON"] {
            assert!((59..=61).contains(&seconds_left(&token(claims))), "{claims}");
        }
        let opaque = BearerToken::Given(Secret::new("opaque"));
        assert!((59..=61).contains(&seconds_left(&opaque)));
    }

    #[test]
    fn an_expired_token_is_told_by_its_file_and_time() {
        assert_eq!(
            current(&token("{\"exp\":1700000000.5}")).unwrap_err(),
            "the token has expired at 2023-11-14T22:13:20Z"
        );
    }
}
