//! Problems with what was written, collected so that all are told at once.

use std::fmt;

use crate::cli;

/// Problems, each with the setting it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

/// One setting and the rule that it breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting, as it is written.
    pub key: String,
    /// What is wrong with it.
    pub rule: String,
}

impl Problems {
    /// Starts with one problem.
    pub fn of(key: &str, rule: impl Into<String>) -> Self {
        let mut problems = Self::default();
        problems.add(key, rule);
        problems
    }

    /// Adds a problem.
    pub fn add(&mut self, key: &str, rule: impl Into<String>) {
        self.0.push(Problem { key: key.to_owned(), rule: rule.into() });
    }

    /// Adds the problems of another collection behind these.
    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// Keeps the problem of a flag, if it is one.
    pub fn take<T>(&mut self, key: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|rule| self.add(&cli::spelling(key), rule)).ok()
    }

    /// Keeps the problems of a part of the settings, if it has some.
    pub fn collect<T>(&mut self, result: Result<T, Self>) -> Option<T> {
        result.map_err(|problems| self.append(problems)).ok()
    }

    /// Iterates over the problems in the order they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// Returns whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Turns into an error when something is wrong.
    pub fn into_result(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.rule)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
