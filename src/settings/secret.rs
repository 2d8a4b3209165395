//! Text that is never printed, and where it comes from.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

/// A secret: printing it shows stars.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Reads a secret from a file, without the line's end behind it.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read \"{}\": {error}", path.display()))?;
        Ok(Self::new(text.trim_end_matches(['\r', '\n'])))
    }

    /// Returns the secret itself, for whom it is meant.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a bearer token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BearerToken {
    /// One that stays as it is.
    Given(Secret),
    /// A file in which something else renews it before it expires: read whenever it is needed.
    File(PathBuf),
}

impl BearerToken {
    /// Returns the token as it is now.
    ///
    /// # Errors
    ///
    /// There is none, or it holds what no token may: such a text is not even handed on, because
    /// whoever refuses it may repeat it.
    pub fn read(&self) -> Result<Secret, String> {
        let (token, holder) = match self {
            Self::Given(token) => (token.clone(), String::new()),
            Self::File(path) => (Secret::from_file(path)?, format!("\"{}\" ", path.display())),
        };
        let text = token.expose();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("{holder}must hold one token: visible ASCII, without blanks"));
        }
        Ok(token)
    }
}

/// Returns a URL that may be printed: without password and without query, which may hold one.
pub fn printable(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Refused only for URLs that cannot have a password.
    _ = url.set_password(None);
    url.to_string()
}
