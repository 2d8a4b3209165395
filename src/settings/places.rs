//! Where schemas come from and where rows go: addresses with their credentials.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

use crate::cli::{RegistryArgs, Secrets, TargetArgs};
use crate::settings::{BearerToken, Problems, Secret, choice, printable};

/// The schema registry.
#[derive(Clone, Debug)]
pub struct Registry {
    /// Its address, without credentials and without a slash at the end.
    pub url: String,
    /// The user to name, if any.
    pub user: Option<Secret>,
    /// The user's password, if any.
    pub password: Option<Secret>,
    /// What an id before the bytes is, where that is said.
    pub use_id: Option<IdKind>,
    /// A bearer token instead of a user, if any.
    pub token: Option<BearerToken>,
    /// Certificates (PEM) of who alone may vouch for the registry; the system's where not given.
    pub authorities: Option<Vec<u8>>,
}

/// Apicurio's two kinds of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdKind {
    /// `globalId`.
    Global,
    /// `contentId`.
    Content,
}

const ID_KINDS: [(&str, IdKind); 2] =
    [("globalId", IdKind::Global), ("contentId", IdKind::Content)];

/// The target's address.
#[derive(Clone, Debug)]
pub enum TargetAddress {
    /// A PostgreSQL server.
    Postgres {
        /// Its URL, the password included.
        url: Secret,
        /// Where the password is read again whenever it is needed, because something else may change
        /// it.
        password_file: Option<PathBuf>,
    },
    /// A SQLite file.
    Sqlite(PathBuf),
}

/// Parameters of a PostgreSQL URL that name a file for TLS.
pub(crate) const TLS_FILES: [&str; 7] =
    ["sslrootcert", "ssl-root-cert", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key"];

/// How much a PostgreSQL URL may ask of TLS.
const TLS_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

impl Registry {
    /// Makes the registry of what was written; `None` when nothing was.
    pub fn new(args: &RegistryArgs, secrets: &Secrets) -> Result<Option<Self>, Problems> {
        let Some(text) = args.schema_registry_url.as_deref().filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let mut problems = Problems::default();
        let registry = problems.take("schema_registry_url", Self::parse(text, secrets));
        let written = args.schema_registry_use_id.as_deref().filter(|text| !text.is_empty());
        let use_id = written.map(|text| choice(text, &ID_KINDS)).transpose();
        let use_id = problems.take("schema_registry_use_id", use_id);
        let path = args.schema_registry_ca_file.as_deref();
        let authorities = problems.take("schema_registry_ca_file", path.map(read).transpose());
        let (Some(registry), Some(use_id), Some(authorities)) = (registry, use_id, authorities)
        else {
            return Err(problems);
        };
        if registry.token.is_some() && registry.user.is_some() {
            problems.add("SCHEMA_REGISTRY_TOKEN", "is given, and a user as well: one must go");
        }
        if authorities.is_some() && !registry.url.starts_with("https:") {
            let rule = "needs a --schema-registry-url that begins with https://";
            problems.take::<()>("schema_registry_ca_file", Err(rule.to_owned()));
        }
        problems.into_result().map(|()| Some(Self { use_id, authorities, ..registry }))
    }

    fn parse(text: &str, secrets: &Secrets) -> Result<Self, String> {
        let mut url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
        if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
            return Err(format!("\"{}\" must begin with http:// or https://", printable(&url)));
        }
        let user = Some(decoded(url.username())).filter(|user| !user.expose().is_empty());
        let password = url.password().map(decoded);
        // Refused only for URLs without a host.
        _ = (url.set_username(""), url.set_password(None));
        Ok(Self {
            url: url.as_str().trim_end_matches('/').to_owned(),
            user: secrets.registry_user.clone().or(user),
            password: secrets.registry_password.clone().or(password),
            use_id: None,
            token: secrets.registry_token.clone(),
            authorities: None,
        })
    }
}

impl TargetAddress {
    /// Makes the address of what was written; `None` when nothing was.
    pub fn new(args: &TargetArgs, secrets: &Secrets) -> Result<Option<Self>, Problems> {
        let mut problems = Problems::default();
        if args.sink.is_empty() {
            problems.take::<()>("sink", Err("must not be empty".to_owned()));
        }
        let text = args.target.as_deref().filter(|text| !text.is_empty());
        let parsed = text.map(|text| Self::parse(text, secrets)).transpose();
        let address = problems.take("target", parsed);
        problems.into_result().map(|()| address.flatten())
    }

    /// Makes the address of what was written, which must be there.
    pub fn required(args: &TargetArgs, secrets: &Secrets) -> Result<Self, Problems> {
        Self::new(args, secrets)?.ok_or_else(|| {
            let mut problems = Problems::default();
            let rule = "must say where the rows go, as postgres://USER@HOST:PORT/DATABASE or \
                        sqlite://FILE";
            problems.take::<()>("target", Err(rule.to_owned()));
            problems
        })
    }

    fn parse(text: &str, secrets: &Secrets) -> Result<Self, String> {
        // The text itself may hold a password: messages name the scheme only.
        let (scheme, rest) = text.split_once(':').ok_or("is no URL: it has no scheme")?;
        match scheme {
            "postgres" | "postgresql" => Self::postgres(text, secrets),
            "sqlite" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                if path.is_empty() || path.starts_with(':') || path.contains('?') {
                    return Err("must name a file, as sqlite://FILE, without parameters".to_owned());
                }
                Ok(Self::Sqlite(PathBuf::from(path)))
            }
            "mysql" | "mariadb" | "mssql" | "sqlserver" => {
                Err(format!("begins with \"{scheme}://\", which is not supported yet"))
            }
            _ => Err(format!(
                "begins with \"{scheme}:\", but must begin with postgres:// or sqlite://"
            )),
        }
    }

    fn postgres(text: &str, secrets: &Secrets) -> Result<Self, String> {
        let mut url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
        if url.path().trim_matches('/').is_empty() {
            return Err(format!("\"{}\" must name a database", printable(&url)));
        }
        for (key, value) in url.query_pairs() {
            parameter(&key, &value)?;
        }
        if let Some(password) = &secrets.target_password {
            url.set_password(Some(password.expose()))
                .map_err(|()| format!("\"{}\" must name a host", printable(&url)))?;
        }
        let password_file = secrets.target_password_file.clone();
        Ok(Self::Postgres { url: Secret::new(url), password_file })
    }
}

/// Checks a parameter of a PostgreSQL URL that concerns TLS.
fn parameter(key: &str, value: &str) -> Result<(), String> {
    match key {
        "sslmode" | "ssl-mode" if !TLS_MODES.contains(&value) => {
            Err(format!("has sslmode \"{value}\", which must be one of {}", TLS_MODES.join(", ")))
        }
        "sslpassword" => Err("has an sslpassword, but sslkey must not be encrypted".to_owned()),
        _ if TLS_FILES.contains(&key) => {
            read(Path::new(value)).map(drop).map_err(|rule| format!("has an {key}, and {rule}"))
        }
        _ => Ok(()),
    }
}

/// Reads a file that a setting names.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("cannot read \"{}\": {error}", path.display()))
}

/// Shows the address without its password.
impl fmt::Display for TargetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres { url, .. } => match Url::parse(url.expose()) {
                Ok(url) => f.write_str(&printable(&url)),
                Err(_) => f.write_str("postgres://***"),
            },
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
        }
    }
}

/// Undoes the URL's own escapes (`%40`).
fn decoded(text: &str) -> Secret {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, tail)) = rest.split_first() {
        let escape = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let octet = escape.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (first, octet) {
            (b'%', Some(octet)) => {
                bytes.push(octet);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    Secret::new(String::from_utf8_lossy(&bytes))
}
