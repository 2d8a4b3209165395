//! A target table as plain data: its columns and how each takes a value.

use std::fmt;
use std::sync::Arc;

use crate::decode::value::Value;

/// The name of a table in the target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// The schema; `None` where the target has none (SQLite).
    pub schema: Option<String>,
    /// The table.
    pub table: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.table),
            None => f.write_str(&self.table),
        }
    }
}

/// A table of the target: as its catalogue has it, or as it will be once it is created.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its name.
    pub name: TableName,
    /// Its columns, in the catalogue's order.
    pub columns: Vec<Column>,
    /// The column sets that identify a row, the primary key first; names in index order.
    pub unique_keys: Vec<Vec<String>>,
}

impl Table {
    /// Finds a column by its exact name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Returns whether these columns, in any order, identify a row.
    pub fn is_unique(&self, names: &[&str]) -> bool {
        self.unique_keys.iter().any(|key| {
            key.len() == names.len() && key.iter().all(|name| names.contains(&name.as_str()))
        })
    }
}

/// A column of a target table.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type as the target spells it, modifiers included, such as `numeric(12,2)`.
    pub type_name: String,
    /// What the type is made of, where its name does not say it: the type below a domain, `record`
    /// for a composite type.
    pub base_name: Option<String>,
    /// The enum that its values, or the elements of its arrays, are labels of.
    pub enumeration: Option<Arc<Enumeration>>,
    /// The catalogue's number of the type (PostgreSQL's `atttypid`); 0 where there is none.
    pub type_id: u32,
    /// The catalogue's modifier of the type (PostgreSQL's `atttypmod`); -1 for none.
    pub modifier: i32,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// Whether the target computes it, so that nobody may write it.
    pub generated: bool,
    /// Whether the target fills it where nobody writes it: by a default, or as an identity.
    pub has_default: bool,
    /// Whether it is an identity, which refuses NULL for good.
    pub identity: Option<Identity>,
    /// How it takes a value; `None` when no conversion to its type exists.
    pub encode: Option<Encode>,
}

impl Column {
    /// Returns whether the target takes a value only when the row is made.
    pub fn is_fixed(&self) -> bool {
        self.identity == Some(Identity::Always)
    }

    /// Returns whether its enum has all labels that another state of the column has.
    pub fn has_labels_of(&self, other: &Self) -> bool {
        let Some(wanted) = &other.enumeration else { return true };
        let Some(is) = &self.enumeration else { return false };
        wanted.labels.iter().all(|label| is.labels.contains(label))
    }
}

/// When the target makes up an identity's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Where nobody brings one.
    ByDefault,
    /// Whenever nobody overrides it, and never behind the row's insert.
    Always,
}

/// A type whose values are labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enumeration {
    /// Its name as statements spell it.
    pub name: String,
    /// Its labels, in its order.
    pub labels: Vec<String>,
}

impl PartialEq for Column {
    /// Compares what the target's catalogue says; an enum's labels may grow.
    fn eq(&self, other: &Self) -> bool {
        let facts = |column: &Self| {
            let Self { type_id, modifier, not_null, generated, identity, .. } = column;
            (*type_id, *modifier, *not_null, *generated, *identity)
        };
        self.name == other.name && self.type_name == other.type_name && facts(self) == facts(other)
    }
}

/// Writes a value in the target's own form behind what the buffer holds, without a length.
///
/// The second argument is the column's modifier. [`Value::Null`] and [`Value::Unavailable`] never
/// reach it: both are marks of the cell, not contents. A value that does not fit is refused; nothing
/// is rounded, cut or replaced.
pub type Encode = fn(Value<'_>, i32, &mut Vec<u8>) -> Result<(), Misfit>;

/// Why a value does not fit its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// No conversion leads from this kind of value to the column's type.
    #[error("has no conversion to the column's type")]
    Type,
    /// The number, the time or the precision is beyond what the column holds.
    #[error("is out of the column's range")]
    Range,
    /// The text or the octets are longer than the column allows.
    #[error("is longer than the column allows")]
    Length,
    /// The text contains what the target cannot store (PostgreSQL: U+0000), or is not of its form.
    #[error("is not valid for the column's type")]
    Form,
    /// The text ends in blanks that mean nothing to the column's type, so that it would be another's.
    #[error("ends in blanks, which the column's type does not keep")]
    Blanks,
    /// An array in an array, for which the connector sends the name of an object.
    #[error("is an array of arrays, whose elements the connector does not send")]
    Nested,
}
