//! Columns: packed rows turned on their side, as the binary arrays that a statement takes.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgTypeInfo};
use sqlx::{Arguments, Encode, Postgres, Type};

use crate::rows::{Cell, Cells, NULL};
use crate::target::postgres::catalog::{Field, Wire};
use crate::target::postgres::session::bind;

/// A message to the server ends at 1 GiB and an array's elements at the same. A batch stays below
/// this, its last record aside, and must: only within one statement does the server notice that two
/// keys which differ as bytes are equal to it.
const BYTES_MAX: usize = 512 * 1024 * 1024;

/// Bytes of an array before its elements, its own length included.
const ARRAY_HEAD: usize = 24;

/// The rows of one statement. Their cells stay where they are until the arguments take them, column by
/// column: a batch is too large to lie around once more.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    wires: &'a [&'a Wire],
    /// What no argument has taken yet of each row.
    rows: Vec<Cells<'a>>,
    bytes: usize,
    /// What the wires add to the cells of a row.
    bytes_added: usize,
}

impl<'a> Columns<'a> {
    /// Starts without a row.
    pub(super) fn new(wires: &'a [&'a Wire]) -> Self {
        let fields = wires.iter().filter_map(|wire| wire.field.as_ref());
        let added = fields.map(|field| field.head.len() + 4 + field.tail.len()).sum();
        Self { wires, rows: Vec::new(), bytes: 0, bytes_added: added }
    }

    /// Adds a row, which has a cell for each column beside those that are unavailable: these go
    /// nowhere.
    pub(super) fn push(&mut self, cells: Cells<'a>) {
        self.bytes += cells.byte_count() + self.bytes_added;
        self.rows.push(cells);
    }

    /// Returns whether no row was added.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns whether the statement should go before another row comes.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= BYTES_MAX
    }

    /// Takes the rows out, as arguments.
    ///
    /// # Panics
    ///
    /// A row has fewer cells than there are columns.
    pub(super) fn take(&mut self) -> Result<PgArguments, sqlx::Error> {
        let mut arguments = PgArguments::default();
        self.add_to(&mut arguments)?;
        Ok(arguments)
    }

    /// Takes the rows out, behind other arguments.
    ///
    /// # Panics
    ///
    /// As [`Columns::take`].
    pub(super) fn add_to(&mut self, arguments: &mut PgArguments) -> Result<(), sqlx::Error> {
        arguments.reserve(self.wires.len() + 1, self.bytes + ARRAY_HEAD * self.wires.len());
        for wire in self.wires {
            bind(arguments, Array { wire, rows: &self.rows })?;
            for row in &mut self.rows {
                next(row);
            }
        }
        self.rows.clear();
        self.bytes = 0;
        Ok(())
    }
}

/// Takes a row's next cell that goes somewhere; `None` stands for NULL.
fn next<'a>(row: &mut Cells<'a>) -> Option<&'a [u8]> {
    let cell = row.find(|cell| *cell != Cell::Unavailable);
    match cell.expect("a row has a cell for each column") {
        Cell::Content(content) => Some(content),
        Cell::Null | Cell::Unavailable => None,
    }
}

/// The next column of rows, as an array in the binary form of `array_send`.
#[derive(Debug)]
struct Array<'a> {
    wire: &'a Wire,
    rows: &'a [Cells<'a>],
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
        buffer.extend_from_slice(&self.wire.element.to_be_bytes());
        buffer.extend_from_slice(&i32::try_from(self.rows.len())?.to_be_bytes());
        buffer.extend_from_slice(&FIRST_INDEX.to_be_bytes());
        for row in self.rows {
            match (next(&mut row.clone()), &self.wire.field) {
                (None, _) => buffer.extend_from_slice(&NULL.to_be_bytes()),
                (Some(content), None) => {
                    push_length(content.len(), buffer);
                    buffer.extend_from_slice(content);
                }
                (Some(content), Some(Field { head, tail, .. })) => {
                    push_length(head.len() + 4 + content.len() + tail.len(), buffer);
                    buffer.extend_from_slice(head);
                    push_length(content.len(), buffer);
                    buffer.extend_from_slice(content);
                    buffer.extend_from_slice(tail);
                }
            }
        }
        Ok(IsNull::No)
    }
}

fn push_length(length: usize, out: &mut Vec<u8>) {
    let length = i32::try_from(length).expect("a cell has a 32-bit length");
    out.extend_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Wire = Wire { array: String::new(), element: 25, cast: None, field: None };

    /// The elements of the arrays that rows become.
    fn elements(wire: &Wire, rows: &[&[u8]]) -> Vec<u8> {
        let rows = rows.iter().map(|row| Cells::new(row)).collect::<Vec<_>>();
        let mut buffer = PgArgumentBuffer::default();
        _ = Array { wire, rows: &rows }.encode_by_ref(&mut buffer).unwrap();
        let (head, elements) = buffer.split_at(ARRAY_HEAD - 4);
        let count = i32::try_from(rows.len()).unwrap();
        let head_of = [1, 1, i32::try_from(wire.element).unwrap(), count, 1];
        assert_eq!(head, head_of.map(i32::to_be_bytes).concat());
        elements.to_vec()
    }

    #[test]
    fn rows_become_arrays() {
        let rows = [b"\0\0\0\x02ab\xff\xff\xff\xff".as_slice(), b"\xff\xff\xff\xff\0\0\0\0"];
        assert_eq!(elements(&TEXT, &rows), b"\0\0\0\x02ab\xff\xff\xff\xff");

        let wires = [&TEXT, &TEXT];
        let mut columns = Columns::new(&wires);
        for row in rows {
            columns.push(Cells::new(row));
        }
        assert_eq!(columns.bytes, 18);
        assert_eq!(columns.take().unwrap().len(), 2);
        assert!(columns.is_empty() && columns.bytes == 0);
    }

    #[test]
    fn an_unavailable_cell_goes_nowhere() {
        let row = b"\xff\xff\xff\xfe\0\0\0\x01a\xff\xff\xff\xfe\0\0\0\x01b";
        assert_eq!(elements(&TEXT, &[row]), b"\0\0\0\x01a");

        let wires = [&TEXT, &TEXT];
        let mut columns = Columns::new(&wires);
        columns.push(Cells::new(row));
        assert_eq!(columns.take().unwrap().len(), 2);
    }

    #[test]
    #[should_panic(expected = "a row has a cell for each column")]
    fn a_row_that_is_too_short_is_never_written() {
        let wires = [&TEXT, &TEXT];
        let mut columns = Columns::new(&wires);
        columns.push(Cells::new(b"\xff\xff\xff\xfe\0\0\0\x01a"));
        _ = columns.take();
    }

    #[test]
    fn an_array_stands_in_a_row_whose_other_fields_are_null() {
        let field = Field { name: "f".to_owned(), head: b"head".to_vec(), tail: b"tail".to_vec() };
        let wire = Wire { element: 9, field: Some(field), ..TEXT };
        let rows = [b"\0\0\0\x02ab".as_slice(), b"\xff\xff\xff\xff"];
        let expected = b"\0\0\0\x0ehead\0\0\0\x02abtail\xff\xff\xff\xff";
        assert_eq!(elements(&wire, &rows), expected);
    }
}
