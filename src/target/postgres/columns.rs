//! Columns: packed rows turned on their side, as the binary arrays that a statement takes.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgTypeInfo};
use sqlx::{Arguments, Encode, Postgres, Type};

use crate::rows::{Cell, NULL};
use crate::target::postgres::catalog::Wire;
use crate::target::postgres::session::bind;

/// A message to the server ends at 1 GiB and an array's elements at the same; far below that,
/// nothing is gained by more rows in a statement.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// The rows of one statement, column by column; each cell is an array's element already.
#[derive(Debug)]
pub(super) struct Columns {
    columns: Vec<Vec<u8>>,
    rows: i32,
    bytes: usize,
}

impl Columns {
    /// Starts without a row.
    pub(super) fn new(count: usize) -> Self {
        Self { columns: vec![Vec::new(); count], rows: 0, bytes: 0 }
    }

    /// Adds a row; its cells are as many as the columns.
    ///
    /// # Panics
    ///
    /// A cell is unavailable: it would be written as NULL.
    pub(super) fn push<'a>(&mut self, cells: impl Iterator<Item = Cell<'a>>) {
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            let before = column.len();
            match cell {
                Cell::Null => column.extend_from_slice(&NULL.to_be_bytes()),
                Cell::Content(content) => {
                    let length = i32::try_from(content.len()).expect("a cell has a 32-bit length");
                    column.extend_from_slice(&length.to_be_bytes());
                    column.extend_from_slice(content);
                }
                Cell::Unavailable => panic!("an unavailable cell is never written"),
            }
            self.bytes += column.len() - before;
        }
        self.rows += 1;
    }

    /// Returns whether no row was added.
    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Returns whether the statement should go before another row comes.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= BYTES_MAX || self.rows == i32::MAX
    }

    /// Takes the rows out, as arguments.
    pub(super) fn take(&mut self, wires: &[&Wire]) -> Result<PgArguments, sqlx::Error> {
        let mut arguments = PgArguments::default();
        arguments.reserve(wires.len() + 1, self.bytes + 24 * wires.len());
        for (cells, wire) in self.columns.iter_mut().zip(wires) {
            let array = Array { element: wire.element, rows: self.rows, cells };
            bind(&mut arguments, array)?;
            cells.clear();
        }
        (self.rows, self.bytes) = (0, 0);
        Ok(arguments)
    }
}

/// An array in the binary form of `array_send`.
#[derive(Debug)]
struct Array<'a> {
    element: u32,
    rows: i32,
    cells: &'a [u8],
}

impl Type<Postgres> for Array<'_> {
    fn type_info() -> PgTypeInfo {
        // The server takes the type from the cast around the parameter.
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl<'q> Encode<'q, Postgres> for Array<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        const DIMENSIONS: i32 = 1;
        const MAY_HAVE_NULL: i32 = 1;
        const FIRST_INDEX: i32 = 1;
        buffer.extend_from_slice(&DIMENSIONS.to_be_bytes());
        buffer.extend_from_slice(&MAY_HAVE_NULL.to_be_bytes());
        buffer.extend_from_slice(&self.element.to_be_bytes());
        buffer.extend_from_slice(&self.rows.to_be_bytes());
        buffer.extend_from_slice(&FIRST_INDEX.to_be_bytes());
        buffer.extend_from_slice(self.cells);
        Ok(IsNull::No)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_arrays() {
        let mut columns = Columns::new(2);
        columns.push([Cell::Content(b"ab"), Cell::Null].into_iter());
        columns.push([Cell::Null, Cell::Content(b"")].into_iter());
        assert_eq!(columns.columns[0], b"\0\0\0\x02ab\xff\xff\xff\xff");
        assert_eq!(columns.columns[1], b"\xff\xff\xff\xff\0\0\0\0");

        let wire = Wire { array: String::new(), element: 25, cast: None };
        assert_eq!(columns.take(&[&wire, &wire]).unwrap().len(), 2);
        assert!(columns.is_empty() && columns.columns.concat().is_empty());
    }
}
