//! A plan in the making: one source table, its rule, and the target's side.

use std::sync::Arc;

use crate::batch::SchemaChange;
use crate::decode::Mapped;
use crate::decode::inspect::source_type;
use crate::decode::untyped::{Sender, resolve};
use crate::decode::value::kind::{Form, Kind, SourceColumn, SourceTable};
use crate::mapping::{Mapping, Plan};
use crate::rows::{Deletes, Keyless, Shape};
use crate::rules::{Mode, TableRule, is_of_router};
use crate::settings::SchemaChanges;
use crate::stopped::{Stop, StopReason};
use crate::table::{Column, Encode, Misfit, Table, TableName};

/// A plan in the making.
pub(super) struct Draft<'a> {
    pub(super) mapping: &'a Mapping,
    /// Whether the source's side has no columns but the key's.
    pub(super) is_partial: bool,
    pub(super) name: TableName,
    pub(super) rule: TableRule,
}

impl Draft<'_> {
    pub(super) fn plan(self, source: SourceTable, existing: Option<Table>) -> Result<Plan, Stop> {
        let mut key = self.usable_key(&source)?;
        if let Some(existing) = existing.as_ref().filter(|_| self.is_truncate(&source)) {
            key = self.key_of_table(existing, key)?;
        }
        self.check_names(&source)?;
        let (table, statements, labels) = match &existing {
            None => {
                let table = self.design(&source, &key)?;
                let statements = (self.mapping.dialect.create_table)(&table);
                (table, statements, Vec::new())
            }
            Some(existing) => self.extend(&source, existing)?,
        };
        let table = Arc::new(table);
        let is_changed = !statements.is_empty() || !labels.is_empty();
        let change = is_changed.then(|| SchemaChange {
            before: existing,
            after: Arc::clone(&table),
            statements,
            labels,
        });
        let mut mapped = source;
        let is_mysql = mapped.is_of_mysql();
        let (mut columns, mut is_written) = (Vec::new(), Vec::new());
        for source in &mut mapped.columns {
            let target = self.column_name(&source.name).and_then(|name| table.column(name));
            let target = target.filter(|column| !column.generated);
            is_written.push(target.is_some());
            let Some(target) = target else { continue };
            self.resolve(source, target, (&mapped.name.server, is_mysql))?;
            let encode = Some(self.fit(source, target)?);
            columns.push(Column { encode, ..target.clone() });
        }
        self.fit_retyped(&mut mapped, &table)?;
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
        let keyless = self.keyless(&table, &columns, &key)?;
        let (deletes, is_guarded) = (self.rule.deletes.clone(), self.rule.row_guard);
        let skips_unchanged = self.mapping.tables.skips_unchanged;
        let shape =
            Shape { table, columns, key, keyless, deletes, synced_at, is_guarded, skips_unchanged };
        let mapped = self.mapped(mapped, is_written, shape);
        Ok(Plan { mapped, change })
    }

    /// Returns the target's names of the key's columns, unless nobody can read the records' keys.
    fn usable_key(&self, source: &SourceTable) -> Result<Vec<String>, Stop> {
        if source.form == Form::FlatUnkeyed && self.rule.changelog.is_none() {
            let detail = format!(
                "the records' keys of table \"{}\" are no structs of columns: set the connector's \
                 key.converter to JSON or Avro",
                source.name
            );
            return Err(Stop::new(StopReason::KeyUnfit, detail));
        }
        Ok(self.key(source))
    }

    /// Returns whether this is for a truncate of a guarded table: its record has no key.
    fn is_truncate(&self, source: &SourceTable) -> bool {
        let is_guarded = self.rule.row_guard && self.rule.mode == Mode::Upsert;
        self.is_partial && is_guarded && source.key.is_empty()
    }

    /// Returns the key that the records of a table must have, if the rule does not say it.
    fn key_of_table(&self, table: &Table, ruled: Vec<String>) -> Result<Vec<String>, Stop> {
        match table.unique_keys.as_slice() {
            _ if !ruled.is_empty() => Ok(ruled),
            [key] => Ok(key.clone()),
            keys => {
                let detail = format!(
                    "table \"{}\" was emptied, and has {} unique keys: say in the config file which \
                     one is its `key`",
                    self.name,
                    keys.len()
                );
                Err(Stop::new(StopReason::KeyUnfit, detail))
            }
        }
    }

    /// Decides what becomes of changes that have no key.
    fn keyless(&self, table: &Table, written: &[Column], key: &[usize]) -> Result<Keyless, Stop> {
        let keyless = match self.rule.mode {
            Mode::Upsert if self.lacks_key(table, written, key) => Keyless::Missing,
            Mode::Upsert => self.rule.keyless,
            Mode::Append => Keyless::Append,
        };
        if self.rule.row_guard && key.is_empty() && keyless != Keyless::Missing {
            let detail = format!("table \"{}\": row_guard needs a key", self.name);
            return Err(Stop::new(StopReason::KeyUnfit, detail));
        }
        Ok(keyless)
    }

    /// Returns whether the records lack the key that the table has: its columns are the source's, and
    /// refuse NULL, and the rules say nothing of rows without one. Records of the table with keys have
    /// made it so, or somebody who has expected them.
    fn lacks_key(&self, table: &Table, written: &[Column], key: &[usize]) -> bool {
        let is_filled =
            |name: &String| written.iter().any(|column| column.name == *name && column.not_null);
        let is_keyed = table.unique_keys.first().is_some_and(|key| key.iter().all(is_filled));
        let is_silent = self.rule.keyless == Keyless::Refuse && !self.is_partial;
        key.is_empty() && is_silent && is_keyed
    }

    /// Finds the kinds of the key's columns that the key's schema types for itself.
    fn fit_retyped(&self, mapped: &mut SourceTable, table: &Table) -> Result<(), Stop> {
        let is_mysql = mapped.is_of_mysql();
        for source in &mut mapped.retyped {
            let target = self.column_name(&source.name).and_then(|name| table.column(name));
            let Some(target) = target.filter(|column| !column.generated) else { continue };
            self.resolve(source, target, (&mapped.name.server, is_mysql))?;
            self.fit(source, target)?;
        }
        Ok(())
    }

    /// Adds what the rules say of a table's records.
    fn mapped(self, source: SourceTable, is_written: Vec<bool>, shape: Shape) -> Mapped {
        let placeholder = self.mapping.tables.rules.placeholder(&source.name.server);
        let (shape, TableRule { changelog, after_refused, .. }) = (Arc::new(shape), self.rule);
        Mapped { source, is_written, shape, placeholder, changelog, after_refused }
    }

    /// Returns the target's names of the key's columns, in the order of the record's key; none
    /// when rows are appended.
    pub(super) fn key(&self, source: &SourceTable) -> Vec<String> {
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
    pub(super) fn row_columns<'a>(
        &self,
        table: &'a SourceTable,
    ) -> impl Iterator<Item = &'a SourceColumn> {
        table.columns.iter().filter(|column| !self.rule.is_beside(table.form, &column.name))
    }

    /// Returns the target's name of a source column; `None` when the rule leaves it out.
    pub(super) fn column_name<'a>(&'a self, source: &'a str) -> Option<&'a str> {
        let columns = &self.rule.columns;
        columns.takes(source).then(|| columns.target_name(source))
    }

    /// Returns the columns for times of writing that the table should have.
    pub(super) fn time_columns(&self) -> Vec<Column> {
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

    /// Keeps the names of columns apart, at the target too.
    fn check_names(&self, source: &SourceTable) -> Result<(), Stop> {
        let mut taken = Vec::<(String, &str)>::new();
        self.check_length("table", &self.name.table, StopReason::TableMissing)?;
        for source in self.row_columns(source) {
            let Some(name) = self.column_name(&source.name) else { continue };
            self.check_length("column", name, StopReason::ColumnMissing)?;
            if let Some(column) = self.time_columns().iter().find(|column| column.name == name) {
                let flag =
                    if column.not_null { "--synced-at-column" } else { "--deleted-at-column" };
                let detail = format!(
                    "the source's column \"{}\" of table \"{}\" has the name of the column for the \
                     time of writing: choose another with {flag}",
                    source.name, self.name
                );
                return Err(Stop::new(StopReason::ColumnReserved, detail));
            }
            let folded = self.mapping.fold(name);
            if let Some((_, first)) = taken.iter().find(|(other, _)| *other == folded) {
                let detail = format!(
                    "columns \"{first}\" and \"{}\" both lead to column \"{name}\" of table \"{}\"",
                    source.name, self.name
                );
                return Err(Stop::new(StopReason::ColumnShared, detail));
            }
            taken.push((folded, &source.name));
        }
        Ok(())
    }

    /// Keeps names from being cut, which could make two of them one.
    fn check_length(&self, what: &str, name: &str, reason: StopReason) -> Result<(), Stop> {
        let Some(max) = self.mapping.dialect.name_bytes_max.filter(|max| name.len() > *max) else {
            return Ok(());
        };
        let detail = format!(
            "table \"{}\": the name of {what} \"{name}\" has {} bytes, and the target takes {max}: \
             give it another name in the config file",
            self.name,
            name.len()
        );
        Err(Stop::new(reason, detail))
    }

    /// Returns a new target column that holds every value of the source's, or is of the type that
    /// the rule says.
    pub(super) fn column(
        &self,
        source: &SourceColumn,
        name: &str,
        is_key: bool,
    ) -> Result<Column, Stop> {
        let dialect = self.mapping.dialect;
        let chosen = (dialect.column)(source, is_key);
        if let Some(type_name) = self.rule.columns.types.get(&source.name) {
            let not_null = chosen.as_ref().map_or(is_key, |column| column.not_null);
            return (dialect.typed)(name, type_name, not_null).ok_or_else(|| {
                let detail = format!(
                    "column \"{}\" of table \"{}\": the rule's type \"{type_name}\" is none that a \
                     column can be created with",
                    source.name, self.name
                );
                Stop::new(StopReason::ColumnUnfit, detail)
            });
        }
        let column = chosen.ok_or_else(|| self.unfit(source, "any type of the target"))?;
        Ok(Column { name: name.to_owned(), ..column })
    }

    fn unfit(&self, source: &SourceColumn, target: &str) -> Stop {
        let detail = format!(
            "column \"{}\" of table \"{}\": no conversion from {} to {target}",
            source.name,
            self.name,
            source_name(source)
        );
        Stop::new(StopReason::ColumnUnfit, detail)
    }

    /// Gives a column the kind that its target column stands for, where the record does not say it.
    fn resolve(
        &self,
        source: &mut SourceColumn,
        target: &Column,
        (server, is_mysql): (&str, Option<bool>),
    ) -> Result<(), Stop> {
        let sender = Sender { settings: self.mapping.tables.rules.source(server), is_mysql };
        let resolved = resolve(&source.kind, target, sender).map_err(|missing| {
            let detail = format!(
                "column \"{}\" of table \"{}\" needs {missing} under [source.\"{server}\"]",
                source.name, self.name
            );
            Stop::new(StopReason::SourceSettingMissing, detail)
        })?;
        source.kind = resolved.unwrap_or_else(|| source.kind.clone());
        Ok(())
    }

    /// Finds how the target's column takes the source's values, of which some must fit at all.
    fn fit(&self, source: &SourceColumn, target: &Column) -> Result<Encode, Stop> {
        let unfit = || self.unfit(source, &target.type_name);
        let encode = (self.mapping.dialect.encode)(target, source).ok_or_else(unfit)?;
        let Some(sample) = source.kind.sample() else { return Err(unfit()) };
        match encode(sample, target.modifier, &mut Vec::new()) {
            Err(Misfit::Type) => Err(unfit()),
            // A sample may be too long or of another form; a value need not.
            Ok(())
            | Err(
                Misfit::Range | Misfit::Length | Misfit::Form | Misfit::Blanks | Misfit::Nested,
            ) => Ok(encode),
        }
    }
}

/// Names a column's type at the source.
pub(super) fn source_name(source: &SourceColumn) -> String {
    source_type(source).unwrap_or_else(|| "a value without a schema".to_owned())
}
