//! The mapping: how a source's table goes to a table of the target, and what must change there.

use std::collections::HashMap;
use std::sync::Arc;

use crate::batch::SchemaChange;
use crate::decode::Mapped;
use crate::decode::kind::{Form, Kind, SourceColumn, SourceName, SourceTable};
use crate::decode::untyped::resolve;
use crate::rows::{Deletes, Keyless, Shape};
use crate::rules::{Mode, TableRule, is_of_router};
use crate::settings::{SchemaChanges, Tables};
use crate::stopped::{Stop, StopReason};
use crate::table::{Column, Misfit, Table, TableName};
use crate::target::Dialect;

/// Maps source tables by the user's rules and the target's dialect.
#[derive(Clone, Debug)]
pub struct Mapping {
    tables: Tables,
    dialect: Dialect,
    // By the target's name as it tells names apart.
    source_by_target: HashMap<TableName, SourceName>,
}

/// How a source's table is written.
#[derive(Debug)]
pub struct Plan {
    /// What the decoder compiles.
    pub mapped: Mapped,
    /// What must happen to the target first.
    pub change: Option<SchemaChange>,
}

impl Mapping {
    /// Starts with the user's rules; nothing is mapped yet.
    pub fn new(tables: Tables, dialect: Dialect) -> Self {
        Self { tables, dialect, source_by_target: HashMap::new() }
    }

    /// Returns the target's table of a source table.
    ///
    /// # Errors
    ///
    /// The rule's template names the database, and the records do not.
    pub fn target(&self, source: &SourceName) -> Result<TableName, Stop> {
        Ok(self.name(self.rule(source)?.target, source))
    }

    fn rule(&self, source: &SourceName) -> Result<TableRule, Stop> {
        let rule = self.tables.rules.for_table(source);
        rule.map_err(|error| Stop::new(StopReason::SourceSettingMissing, error.to_string()))
    }

    fn name(&self, ruled: Option<TableName>, source: &SourceName) -> TableName {
        let as_it_is =
            || TableName { schema: Some(source.schema.clone()), table: source.table.clone() };
        let mut name = ruled.unwrap_or_else(as_it_is);
        if !self.dialect.has_schemas || name.schema.as_deref() == Some("") {
            name.schema = None;
        }
        name
    }

    /// Plans how a source table is written, given its target table as the catalogue has it.
    ///
    /// # Errors
    ///
    /// No record of the table can be written; the stop names table, column, and what to do.
    pub fn plan(&mut self, source: SourceTable, existing: Option<Table>) -> Result<Plan, Stop> {
        let rule = self.rule(&source.name)?;
        let name = self.name(rule.target.clone(), &source.name);
        self.claim_target(&name, &source.name)?;
        let draft = Draft { mapping: self, is_partial: false, name, rule };
        draft.plan(source, existing)
    }

    /// Plans how rows of a source table are deleted of which only the key is known: nothing is
    /// created, and no column of the source's is added.
    ///
    /// # Errors
    ///
    /// As for [`Mapping::plan`].
    pub fn plan_partial(&mut self, source: SourceTable, existing: Table) -> Result<Plan, Stop> {
        let rule = self.rule(&source.name)?;
        let name = self.name(rule.target.clone(), &source.name);
        self.claim_target(&name, &source.name)?;
        let draft = Draft { mapping: self, is_partial: true, name, rule };
        draft.plan(source, Some(existing))
    }

    /// Returns one name for all that are the same to the target: SQLite ignores the case of ASCII.
    fn fold_case(&self, name: &TableName) -> TableName {
        let mut name = name.clone();
        if !self.dialect.has_schemas {
            name.table.make_ascii_lowercase();
        }
        name
    }

    /// Keeps two source tables from meeting in one target table unnoticed.
    fn claim_target(&mut self, target: &TableName, source: &SourceName) -> Result<(), Stop> {
        let folded = self.fold_case(target);
        if is_ours(&folded) {
            let detail = format!(
                "table \"{source}\" leads to \"{target}\", a name that is kept for the checkpoint \
                 and what belongs to it: set another target"
            );
            return Err(Stop::new(StopReason::TableShared, detail));
        }
        let first = self.source_by_target.entry(folded).or_insert_with(|| source.clone());
        if first.is_same_table(source) {
            return Ok(());
        }
        let detail = format!(
            "tables \"{first}\" and \"{source}\" both lead to table \"{target}\": \
             set a target for one of them"
        );
        Err(Stop::new(StopReason::TableShared, detail))
    }
}

/// Returns whether a table has a name of those that the program keeps its own state in.
fn is_ours(target: &TableName) -> bool {
    match &target.schema {
        Some(schema) => schema == "afterimage",
        None => target.table.starts_with("afterimage_"),
    }
}

/// A plan in the making.
struct Draft<'a> {
    mapping: &'a Mapping,
    is_partial: bool,
    name: TableName,
    rule: TableRule,
}

impl Draft<'_> {
    fn plan(self, source: SourceTable, existing: Option<Table>) -> Result<Plan, Stop> {
        if source.form == Form::FlatUnkeyed && self.rule.changelog.is_none() {
            let detail = format!(
                "the records' keys of table \"{}\" are no structs of columns: set the connector's \
                 key.converter to JSON or Avro",
                source.name
            );
            return Err(Stop::new(StopReason::KeyUnfit, detail));
        }
        let key = self.key(&source);
        let (table, added) = match &existing {
            None => (self.design(&source, &key)?, Vec::new()),
            Some(existing) => self.extend(&source, existing)?,
        };
        let change = self.change(existing, &table, &added);
        let mut mapped = source;
        let (mut columns, mut is_written) = (Vec::new(), Vec::new());
        for source in &mut mapped.columns {
            let target = self.column_name(&source.name).and_then(|name| table.column(name));
            let target = target.filter(|column| !column.generated);
            is_written.push(target.is_some());
            let Some(target) = target else { continue };
            self.resolve(source, target, &mapped.name.server)?;
            self.fit(source, target)?;
            columns.push(target.clone());
        }
        if self.is_partial {
            // No step fills these, so that no delete is complete without them.
            let lacking = key.iter().filter(|name| columns.iter().all(|it| it.name != **name));
            let lacking = lacking.filter_map(|name| table.column(name).cloned());
            columns.extend(lacking.collect::<Vec<_>>());
        }
        let key_names = key.iter().map(String::as_str).collect::<Vec<_>>();
        if !key.is_empty() && !table.is_unique(&key_names) {
            let detail = format!("table \"{}\" has no unique key over {key:?}", self.name);
            return Err(Stop::new(StopReason::KeyUnfit, detail));
        }
        let positions = key.iter().map(|name| columns.iter().position(|it| it.name == *name));
        let key = positions.collect::<Option<Vec<_>>>().ok_or_else(|| {
            let detail = format!("table \"{}\": the key {key:?} is not in the row", self.name);
            Stop::new(StopReason::KeyUnfit, detail)
        })?;
        let synced_at = self.time_column_of(&table);
        let shape = Shape {
            table: Arc::new(table),
            columns,
            key,
            keyless: match self.rule.mode {
                Mode::Upsert => self.rule.keyless,
                Mode::Append => Keyless::Append,
            },
            deletes: self.rule.deletes.clone(),
            synced_at,
        };
        let placeholder = self.mapping.tables.rules.placeholder(&mapped.name.server);
        let (shape, changelog) = (Arc::new(shape), self.rule.changelog);
        let mapped = Mapped { source: mapped, is_written, shape, placeholder, changelog };
        Ok(Plan { mapped, change })
    }

    /// Returns the target's names of the key's columns, in the order of the record's key; none
    /// when rows are appended.
    fn key(&self, source: &SourceTable) -> Vec<String> {
        if self.rule.mode == Mode::Append {
            return Vec::new();
        }
        // Behind a router, tables are told apart by their source blocks, which flat records lack.
        let is_column = |name: &&String| source.form.is_flat() || !is_of_router(name);
        let of_record = || source.key.iter().filter(is_column).cloned().collect();
        let mut names = self.rule.key.clone().unwrap_or_else(of_record);
        // A delete's cells come in the order of the record's key; what that lacks comes last, and
        // no delete is complete then.
        names.sort_by_key(|name| source.key.iter().position(|it| it == name).unwrap_or(usize::MAX));
        names.iter().map(|name| self.column_name(name).unwrap_or(name).to_owned()).collect()
    }

    /// Iterates over the columns that the target should have.
    fn row_columns<'a>(&self, table: &'a SourceTable) -> impl Iterator<Item = &'a SourceColumn> {
        table.columns.iter().filter(|column| !self.rule.is_beside(table.form, &column.name))
    }

    /// Returns the target's name of a source column; `None` when the rule leaves it out.
    fn column_name<'a>(&'a self, source: &'a str) -> Option<&'a str> {
        let columns = &self.rule.columns;
        columns.takes(source).then(|| columns.target_name(source))
    }

    /// Returns the columns for times of writing that the table should have.
    fn time_columns(&self) -> Vec<Column> {
        let mut columns = Vec::new();
        if let Deletes::Soft(name) = &self.rule.deletes {
            columns.push((self.mapping.dialect.time_column)(name, false));
        }
        if let Some(name) = &self.mapping.tables.synced_at_column {
            columns.push((self.mapping.dialect.time_column)(name, true));
        }
        columns
    }

    fn time_column_of(&self, table: &Table) -> Option<String> {
        let name = self.mapping.tables.synced_at_column.as_ref()?;
        table.column(name).map(|column| column.name.clone())
    }

    /// Designs the table that the target does not have.
    fn design(&self, source: &SourceTable, key: &[String]) -> Result<Table, Stop> {
        let is_untyped = source.columns.iter().any(|column| column.kind == Kind::Untyped);
        if is_untyped || self.mapping.tables.schema_changes != SchemaChanges::Apply {
            let why = if is_untyped {
                "JSON without a schema cannot create it"
            } else {
                "--schema-changes forbids to create it"
            };
            let detail = format!("table \"{}\" does not exist, and {why}", self.name);
            return Err(Stop::new(StopReason::TableMissing, detail));
        }
        let mut columns = Vec::new();
        for source in self.row_columns(source) {
            let Some(name) = self.column_name(&source.name) else { continue };
            let is_key = key.iter().any(|key| key == name);
            columns.push(self.column(source, name, is_key)?);
        }
        columns.extend(self.time_columns());
        let unique_keys = if key.is_empty() { Vec::new() } else { vec![key.to_vec()] };
        Ok(Table { name: self.name.clone(), columns, unique_keys })
    }

    /// Returns the table with the columns it lacks, and those columns.
    fn extend(&self, source: &SourceTable, existing: &Table) -> Result<(Table, Vec<Column>), Stop> {
        let mut added = Vec::new();
        for source in self.row_columns(source) {
            let Some(name) = self.column_name(&source.name) else { continue };
            if existing.column(name).is_some() {
                continue;
            }
            match self.mapping.tables.schema_changes {
                SchemaChanges::Apply if self.is_partial => return Err(self.missing(name)),
                SchemaChanges::Apply => {
                    let column = self.column(source, name, false)?;
                    added.push(Column { not_null: false, ..column });
                }
                SchemaChanges::Check => return Err(self.missing(name)),
                SchemaChanges::Ignore => {
                    tracing::warn!(table = %self.name, column = name, "ignores an unknown column");
                }
            }
        }
        for column in self.time_columns() {
            if existing.column(&column.name).is_none() {
                match self.mapping.tables.schema_changes {
                    SchemaChanges::Apply => added.push(column),
                    SchemaChanges::Check => return Err(self.missing(&column.name)),
                    SchemaChanges::Ignore => {}
                }
            }
        }
        let mut table = existing.clone();
        table.columns.extend(added.iter().cloned());
        Ok((table, added))
    }

    fn missing(&self, column: &str) -> Stop {
        let detail = format!("table \"{}\" has no column \"{column}\"", self.name);
        Stop::new(StopReason::ColumnMissing, detail)
    }

    /// Returns a new target column that holds every value of the source's.
    fn column(&self, source: &SourceColumn, name: &str, is_key: bool) -> Result<Column, Stop> {
        if self.mapping.tables.synced_at_column.as_deref() == Some(name) {
            let detail = format!(
                "the source's column \"{name}\" of table \"{}\" has the name of the column for the \
                 time of writing: choose another with --synced-at-column",
                self.name
            );
            return Err(Stop::new(StopReason::ColumnReserved, detail));
        }
        let column = (self.mapping.dialect.column)(source, is_key);
        let column = column.ok_or_else(|| self.unfit(source, "any type of the target"))?;
        Ok(Column { name: name.to_owned(), ..column })
    }

    fn unfit(&self, source: &SourceColumn, target: &str) -> Stop {
        let detail = format!(
            "column \"{}\" of table \"{}\": no conversion from {:?} to {target}",
            source.name, self.name, source.kind
        );
        Stop::new(StopReason::ColumnUnfit, detail)
    }

    /// Gives a column of JSON without a schema the kind that its target column stands for.
    fn resolve(
        &self,
        source: &mut SourceColumn,
        target: &Column,
        server: &str,
    ) -> Result<(), Stop> {
        if source.kind != Kind::Untyped {
            return Ok(());
        }
        source.kind =
            resolve(target, self.mapping.tables.rules.source(server)).map_err(|missing| {
                let detail = format!(
                    "column \"{}\" of table \"{}\" needs {missing} under [source.\"{server}\"]",
                    source.name, self.name
                );
                Stop::new(StopReason::SourceSettingMissing, detail)
            })?;
        Ok(())
    }

    /// Makes sure that some value of the source's kind fits the target's column at all.
    fn fit(&self, source: &SourceColumn, target: &Column) -> Result<(), Stop> {
        let unfit = || self.unfit(source, &target.type_name);
        let encode = target.encode.ok_or_else(unfit)?;
        let Some(sample) = source.kind.sample() else { return Err(unfit()) };
        match encode(sample, target.modifier, &mut Vec::new()) {
            Err(Misfit::Type) => Err(unfit()),
            // A sample may be too long or of another form; a value need not.
            Ok(()) | Err(Misfit::Range | Misfit::Length | Misfit::Form) => Ok(()),
        }
    }

    fn change(
        &self,
        before: Option<Table>,
        after: &Table,
        added: &[Column],
    ) -> Option<SchemaChange> {
        let statements = match &before {
            None => (self.mapping.dialect.create_table)(after),
            Some(_) => added
                .iter()
                .map(|column| (self.mapping.dialect.add_column)(&self.name, column))
                .collect(),
        };
        let after = Arc::new(after.clone());
        (!statements.is_empty()).then_some(SchemaChange { before, after, statements })
    }
}

#[cfg(test)]
mod tests;
