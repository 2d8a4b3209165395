//! The proof: the rows of the source against those of the target, read by plain SQL.
//!
//! Each value is compared as SQLite's own literal (`quote`), so that a number that was stored as a
//! text, or an empty text in place of a NULL, is a difference.

use std::collections::BTreeMap;
use std::fmt;

use crate::demo::feed::{Feed, Partition};
use crate::demo::records::uuid;
use crate::demo::source::{Order, User};
use crate::demo::{Counts, DemoError};
use crate::target::sqlite::{Plain, PlainRow};

/// Rows read at once.
const PAGE: usize = 5_000;

/// How many differences are told; the rest is counted.
const TOLD_MAX: usize = 20;

const USERS: [&str; 8] = ["id", "name", "email", "active", "token", "profile", "age", "created_at"];
const ORDERS: [&str; 8] =
    ["id", "user_id", "status", "amount", "quantity", "note", "created_at", "updated_at"];

/// What the comparison found.
#[derive(Debug, Default)]
pub struct Proof {
    /// What the source did.
    pub counts: Counts,
    /// Rows of each table at the source.
    pub rows: Vec<(&'static str, usize)>,
    /// The first differences.
    pub differences: Vec<Difference>,
    /// All of them.
    pub difference_count: u64,
}

/// One difference between source and target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The target lacks a row.
    Missing {
        /// The table.
        table: &'static str,
        /// The key.
        id: i64,
    },
    /// The target has a row that the source has not, or has it twice.
    Extra {
        /// The table.
        table: &'static str,
        /// The key as the target has it.
        id: String,
    },
    /// A value differs.
    Value {
        /// The table.
        table: &'static str,
        /// The key.
        id: i64,
        /// The column.
        column: &'static str,
        /// The source's value as a literal of SQL.
        source: String,
        /// The target's.
        target: String,
    },
    /// Something besides the rows.
    Other(String),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { table, id } => write!(f, "{table} {id}: missing in the target"),
            Self::Extra { table, id } => write!(f, "{table} {id}: not in the source"),
            Self::Value { table, id, column, source, target } => {
                write!(f, "{table} {id}: {column} is {target}, should be {source}")
            }
            Self::Other(what) => f.write_str(what),
        }
    }
}

impl Proof {
    /// Returns whether source and target are equal.
    pub fn is_equal(&self) -> bool {
        self.difference_count == 0
    }

    fn add(&mut self, difference: Difference) {
        self.difference_count += 1;
        if self.differences.len() < TOLD_MAX {
            self.differences.push(difference);
        }
    }
}

/// Compares all rows, the checkpoint with the ends of the log, and that nothing was refused.
pub(super) async fn prove(feed: &Feed, plain: &mut Plain) -> Result<Proof, DemoError> {
    let mut proof = Proof { counts: feed.counts, ..Proof::default() };
    let source = &feed.source;
    compare(&mut proof, plain, ("users", &USERS, user), &source.users.by_id).await?;
    compare(&mut proof, plain, ("orders", &ORDERS, order), &source.orders.by_id).await?;
    for Partition { topic, number, end, applied, .. } in &feed.lanes {
        if applied != end {
            let what = format!("{topic}[{number}]: the checkpoint is {applied}, should be {end}");
            proof.add(Difference::Other(what));
        }
    }
    let refused = plain.rows("SELECT count(*) FROM afterimage_dead_letter").await?;
    if refused != [[Some("0".to_owned())]] {
        proof.add(Difference::Other("records were refused: see afterimage_dead_letter".to_owned()));
    }
    Ok(proof)
}

/// A table's name, its columns, and a row's values behind the key as literals.
type Shape<R> = (&'static str, &'static [&'static str], fn(&R) -> Vec<String>);

async fn compare<R>(
    proof: &mut Proof,
    plain: &mut Plain,
    (table, columns, literals): Shape<R>,
    rows: &BTreeMap<i64, R>,
) -> Result<(), DemoError> {
    proof.rows.push((table, rows.len()));
    if !has_columns(proof, plain, table, columns).await? {
        return Ok(());
    }
    let quoted = columns.iter().map(|column| format!("quote({column})")).collect::<Vec<_>>();
    let quoted = quoted.join(", ");
    let mut expected = rows.iter().peekable();
    let (mut last, mut seen) = (None::<i64>, 0);
    loop {
        let after = last.map(|id| format!("WHERE id > {id}")).unwrap_or_default();
        let page = format!(
            "SELECT {quoted}, synced_at GLOB '????-??-??T??:??:??.*Z'
            FROM {table} {after} ORDER BY id LIMIT {PAGE}"
        );
        let page = plain.rows(&page).await?;
        seen += page.len();
        for row in &page {
            let key = text(row, 0);
            let id = key.parse::<i64>().ok().filter(|id| last.is_none_or(|last| *id > last));
            let Some(id) = id else {
                proof.add(Difference::Extra { table, id: key });
                continue;
            };
            last = Some(id);
            while let Some((&id, _)) = expected.next_if(|(expected, _)| **expected < id) {
                proof.add(Difference::Missing { table, id });
            }
            match expected.next_if(|(expected, _)| **expected == id) {
                Some((_, source)) => {
                    let literals = literals(source);
                    compare_row(proof, (table, id), columns, &literals, row);
                }
                None => proof.add(Difference::Extra { table, id: key }),
            }
        }
        if page.len() < PAGE {
            break;
        }
    }
    for (&id, _) in expected {
        proof.add(Difference::Missing { table, id });
    }
    let count = plain.rows(&format!("SELECT count(*) FROM {table}")).await?;
    if count != [[Some(seen.to_string())]] {
        let what = format!("{table}: has rows that its key does not lead to");
        proof.add(Difference::Other(what));
    }
    Ok(())
}

/// Compares the names of the columns; without them the rows cannot be read.
async fn has_columns(
    proof: &mut Proof,
    plain: &mut Plain,
    table: &str,
    columns: &[&str],
) -> Result<bool, DemoError> {
    let found = plain.rows(&format!("SELECT name FROM pragma_table_info('{table}')")).await?;
    let found = found.iter().map(|row| text(row, 0)).collect::<Vec<_>>();
    let expected = columns.iter().copied().chain(["synced_at"]);
    if found.iter().map(String::as_str).eq(expected) {
        return Ok(true);
    }
    let what = format!("{table}: has the columns ({})", found.join(", "));
    proof.add(Difference::Other(what));
    Ok(false)
}

fn compare_row(
    proof: &mut Proof,
    (table, id): (&'static str, i64),
    columns: &[&'static str],
    literals: &[String],
    row: &PlainRow,
) {
    // The key's column is behind us; the time of writing comes last.
    let columns = columns.iter().skip(1).copied().chain(["synced_at"]);
    let time = "1".to_owned();
    for (place, (column, source)) in columns.zip(literals.iter().chain([&time])).enumerate() {
        let target = text(row, place + 1);
        if *source != target {
            let source = source.clone();
            proof.add(Difference::Value { table, id, column, source, target });
        }
    }
}

fn text(row: &PlainRow, column: usize) -> String {
    row.get(column).cloned().flatten().unwrap_or_else(|| "NULL".to_owned())
}

fn user(user: &User) -> Vec<String> {
    vec![
        literal(&user.name),
        optional(user.email.as_deref()),
        u8::from(user.active).to_string(),
        literal(&uuid(user.token)),
        optional(user.profile.as_deref()),
        user.age.map_or_else(|| "NULL".to_owned(), |age| age.to_string()),
        literal(&format!("{}Z", user.created_at)),
    ]
}

fn order(order: &Order) -> Vec<String> {
    let (sign, amount) = (if order.amount < 0 { "-" } else { "" }, order.amount.unsigned_abs());
    vec![
        order.user_id.to_string(),
        literal(order.status),
        literal(&format!("{sign}{}.{:02}", amount / 100, amount % 100)),
        order.quantity.to_string(),
        optional(order.note.as_deref()),
        literal(&order.created_at.to_string()),
        optional(order.updated_at.map(|time| format!("{time}Z")).as_deref()),
    ]
}

fn optional(text: Option<&str>) -> String {
    text.map_or_else(|| "NULL".to_owned(), literal)
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Returns a statement that puts a row into the target as it should be: for tests that have no
/// members.
#[cfg(test)]
pub(super) fn inserts(feed: &Feed) -> String {
    let users = feed.source.users.by_id.iter().map(|(id, row)| ("users", id, user(row)));
    let orders = feed.source.orders.by_id.iter().map(|(id, row)| ("orders", id, order(row)));
    let rows = users.chain(orders).map(|(table, id, values)| {
        let values = values.join(", ");
        format!("INSERT INTO {table} VALUES ({id}, {values}, '2026-11-20T20:32:33.000001Z');\n")
    });
    rows.collect()
}
