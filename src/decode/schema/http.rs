//! HTTP to the registry: who may vouch for it, what it is shown, and what an error means.

use std::error::Error;
use std::io;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, Client, ClientBuilder, StatusCode};

use crate::settings::{Registry, Secret};

/// Begins a client that shows the registry the settings' credentials, the token as it is now.
///
/// # Errors
///
/// The settings make no client, told in words.
pub(super) fn client(settings: &Registry) -> Result<ClientBuilder, String> {
    let mut builder = Client::builder().no_proxy();
    if let Some(pem) = &settings.authorities {
        let told = "--schema-registry-ca-file holds no certificates in PEM";
        let certificates = Certificate::from_pem_bundle(pem).map_err(|_| told.to_owned())?;
        if certificates.is_empty() {
            return Err(told.to_owned());
        }
        builder = builder.tls_certs_only(certificates);
    }
    if let Some(shown) = credentials(settings)? {
        let mut shown = HeaderValue::try_from(shown).expect("credentials are visible ASCII");
        shown.set_sensitive(true);
        builder = builder.default_headers(HeaderMap::from_iter([(AUTHORIZATION, shown)]));
    }
    Ok(builder)
}

fn credentials(settings: &Registry) -> Result<Option<String>, String> {
    if let Some(token) = &settings.token {
        return Ok(Some(format!("Bearer {}", token.read()?.expose())));
    }
    let Some(user) = &settings.user else { return Ok(None) };
    let password = settings.password.as_ref().map_or("", Secret::expose);
    let pair = BASE64_STANDARD.encode(format!("{}:{password}", user.expose()));
    Ok(Some(format!("Basic {pair}")))
}

/// Returns whether a status says that the credentials are wrong, or have no right.
pub(super) fn is_denial(status: StatusCode) -> bool {
    [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status)
}

/// Returns whether one of the error's causes is that TLS could not be agreed on: mostly a certificate
/// that nobody vouches for, or that is another host's.
pub(super) fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // An error of I/O does not name what it wraps as its cause, but that one's cause.
        let mut io = error.downcast_ref::<io::Error>();
        while let Some(error) = io {
            if error.kind() == io::ErrorKind::InvalidData {
                return true;
            }
            io = error.get_ref().and_then(|inner| inner.downcast_ref());
        }
        next = error.source();
    }
    false
}

/// Returns the error with all of its causes, in one line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
