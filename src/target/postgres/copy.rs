//! COPY: rows that the target has not had go straight into their table.
//!
//! It is the fastest way in and can only insert. So it never decides about a row: what it refuses goes
//! by the arrays that any row can go by, and the table is left in peace for a while.

use std::collections::{BTreeSet, HashMap};

use crate::fold::Winners;
use crate::rows::{Rows, Shape};
use crate::table::TableName;
use crate::target::postgres::catalog::{Described, TIMESTAMPTZ, Wire};
use crate::target::postgres::session::Session;
use crate::target::postgres::sql;

/// The fewest rows that repay a statement of their own, which is planned anew each time.
const ROWS_MIN: usize = 200;

/// How many batches a table is left in peace at most.
const PAUSE_MAX: u32 = 1024;

/// Bytes of a message to the server, its last row aside.
const PART: usize = 64 * 1024;

/// Whether COPY has paid for tables: a snapshot that is taken again would be refused in each batch,
/// by the table or by its guard.
#[derive(Debug, Default)]
pub(super) struct Copying(HashMap<TableName, Pause>);

/// For how many batches a table goes without.
#[derive(Clone, Copy, Debug)]
struct Pause {
    left: u32,
    next: u32,
}

impl Copying {
    /// Returns whether a batch's new rows of a table may go by COPY: it does what an INSERT would, and
    /// there are enough of them.
    pub(super) fn may(
        &mut self,
        (rows, winners): &(Rows, Winners),
        wires: &[Wire],
        described: &Described,
    ) -> bool {
        let is_new = |row: &&usize| rows.index().get(**row).is_some_and(|row| row.is_new);
        let pays = winners.upserts.iter().filter(is_new).nth(ROWS_MIN - 1).is_some();
        pays && is_same(rows.shape(), wires, described)
            && match self.0.get_mut(&rows.shape().table.name) {
                Some(Pause { left: 0, .. }) | None => true,
                Some(Pause { left, .. }) => {
                    *left -= 1;
                    false
                }
            }
    }

    /// Leaves a table in peace, twice as long as the last time.
    pub(super) fn refused(&mut self, table: &TableName) {
        let pause = self.0.entry(table.clone()).or_insert(Pause { left: 0, next: 1 });
        *pause = Pause { left: pause.next, next: (pause.next * 2).min(PAUSE_MAX) };
    }

    /// Takes that new rows of a table are new.
    pub(super) fn done(&mut self, table: &TableName) {
        self.0.remove(table);
    }
}

/// Returns whether COPY would do what an INSERT does: it takes each cell as the column's own type has
/// it, knows no rules, and only a unique index keeps a key from coming twice.
fn is_same(shape: &Shape, wires: &[Wire], described: &Described) -> bool {
    let key = shape.key.iter().filter_map(|&key| shape.columns.get(key));
    let key = key.map(|column| column.name.as_str()).collect::<BTreeSet<_>>();
    let is_time =
        |name: &String| described.column(name).is_some_and(|it| it.column.type_id == TIMESTAMPTZ);
    wires.iter().all(|wire| wire.cast.is_none())
        && !described.has_rules
        && shape.synced_at.iter().all(is_time)
        && (key.is_empty() || described.is_unique(&key))
}

/// Sends whole rows, all written at one time.
pub(super) async fn write(
    session: &mut Session,
    rows: &Rows,
    new: &[usize],
    now: &[u8],
) -> Result<(), sqlx::Error> {
    session.copy(&sql::copy(rows.shape()), parts(rows, new, now)).await
}

/// Lays rows out as COPY reads them: a signature, of each row the count of its cells and these, and an
/// end; <https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-BINARY-FORMAT>.
fn parts(rows: &Rows, new: &[usize], now: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
    const END: [u8; 2] = [0xff; 2];
    let mut tail = Vec::new();
    if rows.shape().synced_at.is_some() {
        tail.extend_from_slice(&[0, 0, 0, 8]);
        tail.extend_from_slice(now);
    }
    let count = rows.shape().columns.len() + rows.shape().synced_at.iter().len();
    let count = i16::try_from(count).expect("a table has fewer columns").to_be_bytes();
    let mut left = new.iter().filter_map(|&row| rows.index().get(row));
    let mut next = Some(HEAD.to_vec());
    std::iter::from_fn(move || {
        let mut part = next.take()?;
        part.reserve(PART + PART / 8);
        while part.len() < PART {
            let Some(row) = left.next() else {
                part.extend_from_slice(&END);
                return Some(part);
            };
            part.extend_from_slice(&count);
            part.extend_from_slice(rows.cells(row));
            part.extend_from_slice(&tail);
        }
        next = Some(Vec::new());
        Some(part)
    })
}
