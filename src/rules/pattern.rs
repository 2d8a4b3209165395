//! Patterns of source tables, and templates of target names.

use std::fmt;

use serde::Deserialize;

use crate::decode::value::kind::SourceName;
use crate::table::TableName;

/// A pattern of `schema.table` names; `*` stands for any characters, dots included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Takes a pattern as it is written.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns whether the name fits.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            let Some((_, behind)) = rest.split_once(part) else { return false };
            rest = behind;
        }
        rest.ends_with(last)
    }

    /// Returns whether one name alone fits.
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// Returns how much the pattern says: one without wildcards says most, then the longer one.
    pub fn specificity(&self) -> (bool, usize) {
        let wildcards = self.0.matches('*').count();
        (self.is_exact(), self.0.len() - wildcards)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A target name with places for the source's names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Template {
    text: String,
    schema: Option<Vec<Piece>>,
    table: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Database,
    Schema,
    Table,
}

/// The template asks for the source's database, which the records do not name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "target \"{template}\" of table \"{schema}.{table}\" needs its database, which its records do not name"
)]
pub struct DatabaseUnknown {
    /// The template.
    pub template: String,
    /// The source's schema.
    pub schema: String,
    /// The source's table.
    pub table: String,
}

impl Template {
    /// Reads a template: `table` or `schema.table`, with `{database}`, `{schema}` and `{table}`.
    pub fn new(text: &str) -> Result<Self, String> {
        let (schema, table) = match text.split_once('.') {
            Some((schema, table)) => (Some(schema), table),
            None => (None, text),
        };
        if table.is_empty() || schema.is_some_and(str::is_empty) {
            return Err(format!("\"{text}\" must be table or schema.table"));
        }
        let schema = schema.map(pieces).transpose()?;
        Ok(Self { text: text.to_owned(), schema, table: pieces(table)? })
    }

    /// Returns whether it says one table, whatever the source's names are.
    pub fn is_written_out(&self) -> bool {
        let mut pieces = self.schema.iter().flatten().chain(&self.table);
        pieces.all(|piece| matches!(piece, Piece::Text(_)))
    }

    /// Fills in the source's names.
    pub fn expand(&self, source: &SourceName) -> Result<TableName, DatabaseUnknown> {
        let fill = |pieces: &[Piece]| -> Option<String> {
            pieces.iter().map(|piece| piece.fill(source)).collect()
        };
        let filled = self.schema.as_deref().map_or(Some(None), |schema| fill(schema).map(Some));
        match (filled, fill(&self.table)) {
            (Some(schema), Some(table)) => Ok(TableName { schema, table }),
            _ => Err(DatabaseUnknown {
                template: self.text.clone(),
                schema: source.schema.clone(),
                table: source.table.clone(),
            }),
        }
    }
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::new(&text)
    }
}

impl Piece {
    fn fill<'a>(&'a self, source: &'a SourceName) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Database => source.database.as_deref(),
            Self::Schema => Some(&source.schema),
            Self::Table => Some(&source.table),
        }
    }
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let Some((name, behind)) = behind.split_once('}') else {
            return Err(format!("\"{text}\" has a {{ without its }}"));
        };
        pieces.push(match name {
            "database" => Piece::Database,
            "schema" => Piece::Schema,
            "table" => Piece::Table,
            _ => {
                return Err(format!(
                    "\"{text}\" asks for {{{name}}}; known are {{database}}, {{schema}}, {{table}}"
                ));
            }
        });
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> SourceName {
        let (server, schema, table) = ("dbserver1".into(), "public".into(), "orders".into());
        SourceName { server, database: Some("shop".into()), schema, table }
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        let check = |pattern: &str, name: &str| Pattern::new(pattern).matches(name);

        assert!(check("public.orders", "public.orders"));
        assert!(!check("public.orders", "public.orders2"));
        assert!(check("public.*", "public.orders"));
        assert!(check("*", "public.orders"));
        assert!(check("*.orders", "public.orders"));
        assert!(check("p*.o*s", "public.orders"));
        assert!(!check("p*.o*z", "public.orders"));
        assert!(!check("public.orders*orders", "public.orders"));
        assert!(!check("inventory.*", "public.inventory.x"));
    }

    #[test]
    fn a_pattern_without_a_star_says_most_then_the_longer_one() {
        let mut patterns = ["*", "public.o*", "public.orders", "public.*"].map(Pattern::new);
        patterns.sort_by_key(|pattern| std::cmp::Reverse(pattern.specificity()));
        assert_eq!(
            patterns.map(|pattern| pattern.0),
            ["public.orders", "public.o*", "public.*", "*"]
        );
    }

    #[test]
    fn a_template_takes_the_sources_names() {
        let check = |template: &str| Template::new(template).unwrap().expand(&orders()).unwrap();

        assert_eq!(check("mirror.{table}").to_string(), "mirror.orders");
        assert_eq!(check("{database}_{schema}.t_{table}").to_string(), "shop_public.t_orders");
        assert_eq!(check("{table}").schema, None);
    }

    #[test]
    fn a_dot_in_a_source_name_does_not_move_the_schemas_end() {
        let name = SourceName { table: "a.b".into(), ..orders() };
        let expanded = Template::new("m.{table}").unwrap().expand(&name).unwrap();
        assert_eq!((expanded.schema.as_deref(), &*expanded.table), (Some("m"), "a.b"));
    }

    #[test]
    fn a_template_says_what_it_does_not_know() {
        assert_eq!(
            Template::new("m.{tabel}").unwrap_err(),
            "\"{tabel}\" asks for {tabel}; known are {database}, {schema}, {table}"
        );
        assert_eq!(Template::new("m.{table").unwrap_err(), "\"{table\" has a { without its }");
        assert_eq!(Template::new(".x").unwrap_err(), "\".x\" must be table or schema.table");
        let name = SourceName { database: None, ..orders() };
        let unknown = Template::new("{database}.x").unwrap().expand(&name).unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "target \"{database}.x\" of table \"public.orders\" needs its database, which its records do not name"
        );
    }
}
