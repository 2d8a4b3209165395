//! What an existing table lacks for a source's rows, and what the settings let be done about it.

use std::sync::Arc;

use crate::decode::value::kind::{Kind, SourceColumn, SourceTable};
use crate::mapping::draft::{Draft, source_name};
use crate::settings::SchemaChanges;
use crate::stopped::{Stop, StopReason};
use crate::table::{Column, Identity, Table};

/// A table on its way to what the rows need.
struct Extension<'a> {
    draft: &'a Draft<'a>,
    /// Whether a single record says what columns there are.
    is_untyped: bool,
    /// The key's columns, by the target's names; none where rows are appended.
    key: Vec<String>,
    table: Table,
    statements: Vec<String>,
    labels: Vec<String>,
}

impl Draft<'_> {
    /// Returns the table as the rows need it, the statements that lead there, and those that give its
    /// enums new labels first.
    ///
    /// # Errors
    ///
    /// It lacks what may not be changed, or what the target cannot change.
    pub(super) fn extend(
        &self,
        source: &SourceTable,
        existing: &Table,
    ) -> Result<(Table, Vec<String>, Vec<String>), Stop> {
        let (table, statements, labels) = (existing.clone(), Vec::new(), Vec::new());
        let is_untyped = source.columns.iter().any(|column| column.kind == Kind::Untyped);
        let key = self.key(source);
        let mut extension = Extension { draft: self, is_untyped, key, table, statements, labels };
        for source in self.row_columns(source) {
            let Some(name) = self.column_name(&source.name) else { continue };
            match existing.column(name) {
                None => extension.add(source, name)?,
                // A record without a row says nothing of the columns' types.
                Some(_) if self.is_partial => {}
                Some(column) => {
                    extension.widen(source, column)?;
                    extension.free(column)?;
                    extension.label(source, column)?;
                }
            }
        }
        for column in self.time_columns() {
            extension.add_time(column)?;
        }
        if !self.is_partial {
            extension.release(source)?;
        }
        Ok((extension.table, extension.statements, extension.labels))
    }

    /// Returns whether a column belongs to the table's first key, which refuses NULL for good.
    fn is_of_first_key(table: &Table, column: &Column) -> bool {
        table.unique_keys.first().is_some_and(|key| key.contains(&column.name))
    }
}

impl Extension<'_> {
    fn schema_changes(&self) -> SchemaChanges {
        self.draft.mapping.tables.schema_changes
    }

    /// Adds a column of the source's. Rows that are there have no value of it yet.
    fn add(&mut self, source: &SourceColumn, name: &str) -> Result<(), Stop> {
        let draft = self.draft;
        let is_typed = draft.rule.columns.types.contains_key(&source.name);
        let is_known = source.kind != Kind::Untyped || is_typed;
        match self.schema_changes() {
            SchemaChanges::Apply if is_known && !draft.is_partial => {
                let column = draft.column(source, name, false)?;
                self.push(Column { not_null: false, ..column });
            }
            SchemaChanges::Apply | SchemaChanges::Check => return Err(self.missing(name)),
            SchemaChanges::Ignore => {
                tracing::warn!(table = %draft.name, column = name, "ignores an unknown column");
            }
        }
        Ok(())
    }

    fn add_time(&mut self, column: Column) -> Result<(), Stop> {
        if self.table.column(&column.name).is_some() {
            return Ok(());
        }
        match self.schema_changes() {
            SchemaChanges::Apply => self.push(column),
            SchemaChanges::Check => return Err(self.missing(&column.name)),
            // Without `synced_at` rows can be written; without `deleted_at` none can be marked.
            SchemaChanges::Ignore if column.not_null => {}
            SchemaChanges::Ignore => return Err(self.missing(&column.name)),
        }
        Ok(())
    }

    fn push(&mut self, column: Column) {
        let draft = self.draft;
        self.statements.push((draft.mapping.dialect.add_column)(&draft.name, &column));
        self.table.columns.push(column);
    }

    fn missing(&self, column: &str) -> Stop {
        let detail = format!("table \"{}\" has no column \"{column}\"", self.draft.name);
        Stop::new(StopReason::ColumnMissing, detail)
    }

    /// Makes a column take every value of the source's, NULL included. What a rule types, and what
    /// JSON without a schema fills, keeps its type.
    fn widen(&mut self, source: &SourceColumn, column: &Column) -> Result<(), Stop> {
        let draft = self.draft;
        let is_typed = draft.rule.columns.types.contains_key(&source.name);
        if source.kind == Kind::Untyped || is_typed || column.generated {
            return Ok(());
        }
        if let Some(wider) = (draft.mapping.dialect.widened)(column, source) {
            let (is, of) = (&column.type_name, source_name(source));
            let why = format!("is {is}, which does not hold every value of the source's {of}");
            self.alter(column, wider, &why)?;
        }
        // Nor can an identity be NULL: a row that has it so is refused, by itself.
        let is_free = column.identity.is_none() && !Draft::is_of_first_key(&self.table, column);
        if column.not_null && source.optional && is_free {
            self.drop_not_null(column, "refuses NULL, which the source's column takes")?;
        }
        Ok(())
    }

    /// Lets a column be changed with its row.
    fn free(&mut self, column: &Column) -> Result<(), Stop> {
        if !column.is_fixed() || self.key.is_empty() || self.key.contains(&column.name) {
            return Ok(());
        }
        let now = self.table.column(&column.name).unwrap_or(column).clone();
        let why = "is an identity that is generated always, so that no update of a row can bring the \
                   source's value";
        self.alter(&now.clone(), Column { identity: Some(Identity::ByDefault), ..now }, why)
    }

    /// Gives a column's enum the labels that it lacks of the source's.
    fn label(&mut self, source: &SourceColumn, column: &Column) -> Result<(), Stop> {
        let draft = self.draft;
        let is_typed = draft.rule.columns.types.contains_key(&source.name);
        let Some(labels) = source.kind.labels().filter(|_| !is_typed && !column.generated) else {
            return Ok(());
        };
        // Another column of the type may have brought it some of them.
        let now = self.table.column(&column.name).unwrap_or(column);
        let labelled =
            now.enumeration.as_ref().map(|is| (draft.mapping.dialect.labelled)(is, labels));
        let Some((enumeration, statements)) = labelled.filter(|(_, add)| !add.is_empty()) else {
            return Ok(());
        };
        let (column, table) = (&column.name, &draft.name);
        match self.schema_changes() {
            SchemaChanges::Apply => {
                self.labels.extend(statements);
                let enumeration = Arc::new(enumeration);
                let of_type = |it: &&mut Column| {
                    it.enumeration.as_ref().is_some_and(|it| it.name == enumeration.name)
                };
                for column in self.table.columns.iter_mut().filter(of_type) {
                    column.enumeration = Some(Arc::clone(&enumeration));
                }
            }
            SchemaChanges::Check => {
                let detail = format!(
                    "column \"{column}\" of table \"{table}\" is of the enum {}, which lacks a label \
                     of the source's, and --schema-changes forbids to add it",
                    enumeration.name
                );
                return Err(Stop::new(StopReason::ColumnNarrow, detail));
            }
            SchemaChanges::Ignore => {
                tracing::warn!(%table, column, "leaves an enum without labels of the source's");
            }
        }
        Ok(())
    }

    /// Lets those columns be NULL that no column of the source fills, nor the target itself.
    fn release(&mut self, source: &SourceTable) -> Result<(), Stop> {
        let draft = self.draft;
        let times = draft.time_columns();
        let is_filled = |column: &Column| {
            let mut names = source.columns.iter().filter_map(|it| draft.column_name(&it.name));
            names.any(|name| name == column.name) || times.iter().any(|it| it.name == column.name)
        };
        let is_lacking = |column: &&Column| {
            column.not_null && !column.generated && !column.has_default && !is_filled(column)
        };
        for column in self.table.columns.clone().iter().filter(is_lacking) {
            // The key is compared with the record's elsewhere.
            if !Draft::is_of_first_key(&self.table, column) {
                self.drop_not_null(column, "refuses NULL, and the source has no such column")?;
            }
        }
        Ok(())
    }

    fn drop_not_null(&mut self, column: &Column, why: &str) -> Result<(), Stop> {
        let now = self.table.column(&column.name).unwrap_or(column).clone();
        self.alter(&now.clone(), Column { not_null: false, ..now }, why)
    }

    fn alter(&mut self, before: &Column, after: Column, why: &str) -> Result<(), Stop> {
        let (draft, column) = (self.draft, &before.name);
        let narrow = |but: &str| {
            let detail =
                format!("column \"{column}\" of table \"{}\" {why}, and {but}", draft.name);
            Stop::new(StopReason::ColumnNarrow, detail)
        };
        match self.schema_changes() {
            SchemaChanges::Apply if self.is_untyped => {
                return Err(narrow("JSON without a schema cannot change it"));
            }
            SchemaChanges::Apply => {
                let altered = (draft.mapping.dialect.alter_column)(&draft.name, before, &after);
                let altered = altered.ok_or_else(|| narrow("the target cannot change it"))?;
                self.statements.push(altered);
                for column in self.table.columns.iter_mut().filter(|it| it.name == after.name) {
                    *column = after.clone();
                }
            }
            SchemaChanges::Check => return Err(narrow("--schema-changes forbids to change it")),
            SchemaChanges::Ignore => {
                tracing::warn!(table = %draft.name, column, why, "leaves a column as it is");
            }
        }
        Ok(())
    }
}
