//! Columns: packed rows turned on their side, as the binary arrays that a statement takes.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgTypeInfo};
use sqlx::{Arguments, Encode, Postgres, Type};

use crate::rows::{Cell, NULL};
use crate::target::postgres::catalog::{Field, Wire};
use crate::target::postgres::session::bind;

/// A message to the server ends at 1 GiB and an array's elements at the same. A batch stays below
/// this, its last record aside, and must: only within one statement does the server notice that two
/// keys which differ as bytes are equal to it.
const BYTES_MAX: usize = 512 * 1024 * 1024;

/// The rows of one statement, column by column; each cell is an array's element already.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    wires: &'a [&'a Wire],
    columns: Vec<Vec<u8>>,
    rows: i32,
    bytes: usize,
}

impl<'a> Columns<'a> {
    /// Starts without a row.
    pub(super) fn new(wires: &'a [&'a Wire]) -> Self {
        Self { wires, columns: vec![Vec::new(); wires.len()], rows: 0, bytes: 0 }
    }

    /// Adds a row; its cells are as many as the columns.
    ///
    /// # Panics
    ///
    /// A cell is unavailable: it would be written as NULL.
    pub(super) fn push<'c>(&mut self, cells: impl Iterator<Item = Cell<'c>>) {
        for ((column, wire), cell) in self.columns.iter_mut().zip(self.wires).zip(cells) {
            let before = column.len();
            match (cell, &wire.field) {
                (Cell::Null, _) => column.extend_from_slice(&NULL.to_be_bytes()),
                (Cell::Content(content), None) => {
                    push_length(content.len(), column);
                    column.extend_from_slice(content);
                }
                (Cell::Content(content), Some(Field { head, tail, .. })) => {
                    push_length(head.len() + 4 + content.len() + tail.len(), column);
                    column.extend_from_slice(head);
                    push_length(content.len(), column);
                    column.extend_from_slice(content);
                    column.extend_from_slice(tail);
                }
                (Cell::Unavailable, _) => panic!("an unavailable cell is never written"),
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
    pub(super) fn take(&mut self) -> Result<PgArguments, sqlx::Error> {
        let mut arguments = PgArguments::default();
        self.add_to(&mut arguments)?;
        Ok(arguments)
    }

    /// Takes the rows out, behind other arguments.
    pub(super) fn add_to(&mut self, arguments: &mut PgArguments) -> Result<(), sqlx::Error> {
        arguments.reserve(self.wires.len() + 1, self.bytes + 24 * self.wires.len());
        for (cells, wire) in self.columns.iter_mut().zip(self.wires) {
            let array = Array { element: wire.element, rows: self.rows, cells };
            bind(arguments, array)?;
            // Not kept while the arguments travel: they are as large.
            *cells = Vec::new();
        }
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }
}

fn push_length(length: usize, out: &mut Vec<u8>) {
    let length = i32::try_from(length).expect("a cell has a 32-bit length");
    out.extend_from_slice(&length.to_be_bytes());
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
        let wire = Wire { array: String::new(), element: 25, cast: None, field: None };
        let wires = [&wire, &wire];
        let mut columns = Columns::new(&wires);
        columns.push([Cell::Content(b"ab"), Cell::Null].into_iter());
        columns.push([Cell::Null, Cell::Content(b"")].into_iter());
        assert_eq!(columns.columns[0], b"\0\0\0\x02ab\xff\xff\xff\xff");
        assert_eq!(columns.columns[1], b"\xff\xff\xff\xff\0\0\0\0");

        assert_eq!(columns.take().unwrap().len(), 2);
        assert!(columns.is_empty() && columns.columns.concat().is_empty());
    }
    #[test]
    fn an_array_stands_in_a_row_whose_other_fields_are_null() {
        let field = Field { name: "f".to_owned(), head: b"head".to_vec(), tail: b"tail".to_vec() };
        let wire = Wire { array: String::new(), element: 9, cast: None, field: Some(field) };
        let wires = [&wire];
        let mut columns = Columns::new(&wires);
        columns.push([Cell::Content(b"ab")].into_iter());
        columns.push([Cell::Null].into_iter());
        assert_eq!(columns.columns[0], b"\0\0\0\x0ehead\0\0\0\x02abtail\xff\xff\xff\xff");
    }
}
