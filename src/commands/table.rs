//! A listing: rows under names, as aligned columns or as one JSON object a line.

use std::io::{self, Write};

use serde_json::Value;

use crate::cli::Format;

/// Cells of a column that is not the last are cut here in a table; JSON has them whole.
const WIDTH_MAX: usize = 60;

/// Rows under names.
#[derive(Debug)]
pub(crate) struct Listing {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
    has_header: bool,
}

impl Listing {
    /// Makes a listing of one thing: a row of its own for each field in a table, and one object in
    /// JSON.
    pub(crate) fn of_one(fields: Vec<(&str, Value)>, format: Format) -> Self {
        match format {
            Format::Json => {
                let (names, values) = fields.into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
                let mut listing = Self::new(names);
                listing.push(values);
                listing
            }
            Format::Table => {
                let mut listing = Self::new(["field", "value"]);
                for (name, value) in fields {
                    listing.push([Value::from(name), value]);
                }
                listing
            }
        }
    }

    /// Starts a listing with the names of its columns.
    pub(crate) fn new<'a>(columns: impl IntoIterator<Item = &'a str>) -> Self {
        let columns = columns.into_iter().map(str::to_owned).collect();
        Self { columns, rows: Vec::new(), has_header: true }
    }

    /// Leaves the names out of the table: more rows of a listing that has begun.
    pub(crate) fn continued(mut self) -> Self {
        self.has_header = false;
        self
    }

    /// Adds a row, its values in the columns' order.
    pub(crate) fn push(&mut self, row: impl IntoIterator<Item = Value>) {
        self.rows.push(row.into_iter().collect());
    }

    /// Writes the listing. An empty table is nothing at all.
    pub(crate) fn write(&self, format: Format, out: &mut impl Write) -> io::Result<()> {
        match format {
            Format::Json => self.write_json(out),
            Format::Table if self.rows.is_empty() => Ok(()),
            Format::Table => self.write_table(out),
        }
    }

    fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        for row in &self.rows {
            // By hand, so that the fields stand in the columns' order.
            let fields = self.columns.iter().zip(row);
            let fields: Vec<String> =
                fields.map(|(name, value)| format!("{}:{value}", Value::from(&**name))).collect();
            writeln!(out, "{{{}}}", fields.join(","))?;
        }
        Ok(())
    }

    fn write_table(&self, out: &mut impl Write) -> io::Result<()> {
        let last = self.columns.len().saturating_sub(1);
        let cut = |column: usize, text: String| if column == last { text } else { shorten(text) };
        let header = self.columns.iter().map(|name| name.to_uppercase()).collect();
        let body = self.rows.iter().map(|row| {
            row.iter().enumerate().map(|(column, value)| cut(column, text(value))).collect()
        });
        let lines: Vec<Vec<String>> =
            self.has_header.then_some(header).into_iter().chain(body).collect();

        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            // Only the last column is longer than that, and nothing stands behind it.
            cells.map(|text| text.chars().count()).max().unwrap_or(0).min(WIDTH_MAX + 1)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        // A column's name stands over its numbers.
        let is_numeric = |column: usize| {
            let mut cells = self.rows.iter().filter_map(|row| row.get(column)).peekable();
            cells.peek().is_some() && cells.all(|value| value.is_number() || value.is_null())
        };
        for line in &lines {
            let cells = line.iter().zip(&widths).enumerate();
            let cells: Vec<String> = cells
                .map(|(column, (text, &width))| match is_numeric(column) {
                    true => format!("{text:>width$}"),
                    false => format!("{text:<width$}"),
                })
                .collect();
            writeln!(out, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// Returns a value as a table shows it: text without quotes, nothing as a dash, and no character
/// that a terminal would obey.
fn text(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { shown.extend(c.escape_debug()) } else { shown.push(c) }
    }
    shown
}

fn shorten(text: String) -> String {
    match text.char_indices().nth(WIDTH_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn check(listing: &Listing, format: Format, expected: &Expect) {
        let mut out = Vec::new();
        listing.write(format, &mut out).unwrap();
        expected.assert_eq(&String::from_utf8(out).unwrap());
    }

    fn listing() -> Listing {
        let mut listing = Listing::new(["topic", "lag", "reason"]);
        listing.push([json!("a.users"), json!(1200), Value::Null]);
        listing.push([json!("b"), Value::Null, json!("line\nbreak \u{1b}[31m")]);
        listing.push([json!("x".repeat(70)), json!(7), json!("y".repeat(70))]);
        listing
    }

    #[test]
    fn columns_are_aligned_and_numbers_stand_right() {
        check(
            &listing(),
            Format::Table,
            &expect![[r#"
            TOPIC                                                           LAG  REASON
            a.users                                                        1200  -
            b                                                                 -  line\nbreak \u{1b}[31m
            xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…     7  yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy
        "#]],
        );
    }

    #[test]
    fn json_is_one_object_a_line_with_everything_in_it() {
        check(
            &listing(),
            Format::Json,
            &expect![[r#"
            {"topic":"a.users","lag":1200,"reason":null}
            {"topic":"b","lag":null,"reason":"line\nbreak \u001b[31m"}
            {"topic":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx","lag":7,"reason":"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"}
        "#]],
        );
    }

    #[test]
    fn the_last_column_is_shown_whole_however_long_it_is() {
        let long = "y".repeat(100_000);
        let mut listing = Listing::new(["a", "b"]);
        listing.push([json!("x"), json!(long)]);
        let mut out = Vec::new();
        listing.write(Format::Table, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("A  B\nx  {long}\n"));
    }

    #[test]
    fn nothing_is_written_of_an_empty_listing() {
        check(&Listing::new(["a"]), Format::Table, &expect![""]);
        check(&Listing::new(["a"]), Format::Json, &expect![""]);
    }

    #[test]
    fn a_continued_table_has_no_names() {
        let mut listing = Listing::new(["a", "b"]).continued();
        listing.push([json!(1), json!("x")]);
        check(
            &listing,
            Format::Table,
            &expect![[r#"
            1  x
        "#]],
        );
    }
}
