//! Faults: what a database says of a row that it refuses.

use std::error::Error;
use std::fmt;

use crate::record::TopicPartition;

/// Why a database refuses a row, without the row's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The table, where it is known.
    pub table: Option<String>,
    /// The five characters of the SQL standard.
    pub sqlstate: String,
    /// The constraint, where the database names it.
    pub constraint: Option<String>,
    /// What the database said: names and types, never values.
    pub text: String,
}

/// A record whose row the database refuses, however the rest of its batch is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRow {
    /// The record's partition.
    pub partition: TopicPartition,
    /// The record's offset.
    pub offset: i64,
    /// Why.
    pub fault: Fault,
}

impl Fault {
    /// Returns whether other rows decide: the same row may be taken once another has come or gone.
    pub fn is_of_others(&self) -> bool {
        // A child or a parent that is (still) missing or there, a value that is (still) taken.
        matches!(self.sqlstate.as_str(), "23001" | "23503" | "23505" | "23P01")
    }

    /// Returns whether a row of the same table has what must be there once.
    pub fn is_taken(&self) -> bool {
        matches!(self.sqlstate.as_str(), "23505" | "23P01")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Fault {}
