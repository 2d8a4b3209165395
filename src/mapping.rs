//! The mapping: how a source's table goes to a table of the target, and what must change there.

mod draft;
mod extend;

use std::collections::HashMap;

use crate::batch::SchemaChange;
use crate::decode::Mapped;
use crate::decode::value::kind::{SourceName, SourceTable};
use crate::mapping::draft::Draft;
use crate::rules::TableRule;
use crate::settings::Tables;
use crate::stopped::{Stop, StopReason};
use crate::table::{Table, TableName};
use crate::target::Dialect;

/// Maps source tables by the user's rules and the target's dialect.
#[derive(Clone, Debug)]
pub struct Mapping {
    tables: Tables,
    dialect: Dialect,
    // By the target's name as it tells names apart; more than one source is one too many.
    sources_by_target: HashMap<TableName, Vec<SourceName>>,
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
        Self { tables, dialect, sources_by_target: HashMap::new() }
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
    fn fold_case(&self, name: &str) -> String {
        if self.dialect.has_schemas { name.to_owned() } else { name.to_ascii_lowercase() }
    }

    /// Keeps two source tables from meeting in one target table: once they have, neither is planned.
    fn claim_target(&mut self, target: &TableName, source: &SourceName) -> Result<(), Stop> {
        let folded = TableName { table: self.fold_case(&target.table), ..target.clone() };
        if is_ours(&folded) {
            let detail = format!(
                "table \"{source}\" leads to \"{target}\", a name that is kept for the checkpoint \
                 and what belongs to it: set another target"
            );
            return Err(Stop::new(StopReason::TableShared, detail));
        }
        let sources = self.sources_by_target.entry(folded).or_default();
        if !sources.iter().any(|known| known.is_same_table(source)) {
            sources.push(source.clone());
        }
        let [first, second, ..] = sources.as_slice() else { return Ok(()) };
        let detail = format!(
            "tables \"{first}\" and \"{second}\" both lead to table \"{target}\": \
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

#[cfg(test)]
mod tests;
