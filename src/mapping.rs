//! The mapping: how a source's table goes to a table of the target, and what must change there.

mod draft;
mod extend;

use crate::batch::{Lead, Leader, SchemaChange};
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
    /// Returns whether a source table is guarded, by the name that rules know it by.
    pub fn is_guarded(&self, source: &str) -> bool {
        self.tables.rules.is_guarded(source)
    }

    /// Returns whether the table is guarded that a topic is named after; one of a router is not.
    pub fn is_guarded_topic(&self, topic: &str) -> bool {
        let mut parts = topic.rsplitn(3, '.');
        let (table, schema) = (parts.next(), parts.next());
        let name = table.zip(schema).map(|(table, schema)| format!("{schema}.{table}"));
        parts.next().is_some() && name.is_some_and(|name| self.is_guarded(&name))
    }

    /// Takes the user's rules.
    pub fn new(tables: Tables, dialect: Dialect) -> Self {
        Self { tables, dialect }
    }

    /// Returns the target's table of a source table.
    ///
    /// # Errors
    ///
    /// The rule's template names the database, and the records do not; or the name is one of ours.
    pub fn target(&self, source: &SourceName) -> Result<TableName, Stop> {
        let target = self.name(self.rule(source)?.target, source);
        if is_ours(&self.fold_case(&target)) {
            let detail = format!(
                "table \"{source}\" leads to \"{target}\", a name that is kept for the checkpoint \
                 and what belongs to it: set another target"
            );
            return Err(Stop::new(StopReason::TableShared, detail));
        }
        Ok(target)
    }

    /// Returns whether a source table leads to the target table of that name.
    pub fn leads_to(&self, source: &SourceName, name: &TableName) -> bool {
        self.target(source).is_ok_and(|target| target == *name)
    }

    /// Returns whether both source tables lead to one target table.
    pub fn is_same_target(&self, one: &SourceName, other: &SourceName) -> bool {
        let target = |source| self.target(source).map(|name| self.fold_case(&name)).ok();
        target(one).is_some_and(|name| target(other) == Some(name))
    }

    /// Decides whether a source table may lead where it does, given those that the target knows to
    /// lead there; `None` where this one is known too.
    ///
    /// # Errors
    ///
    /// Another source table leads there, and no rule means them to meet.
    pub fn lead(&self, leader: Leader, known: &[Leader]) -> Result<Option<Lead>, Stop> {
        let source = &leader.source;
        let target = self.target(source)?;
        let (same, others): (Vec<_>, Vec<_>) =
            known.iter().map(|it| it.source.clone()).partition(|it| it.is_same_table(source));
        if let Some(other) = others.iter().find(|it| !self.tables.rules.let_meet(source, it)) {
            // The same line whichever comes first.
            let (first, second) = (source.min(other), source.max(other));
            let kept_in = match self.dialect.has_schemas {
                true => "afterimage.source_table",
                false => "afterimage_source_table",
            };
            let detail = format!(
                "tables \"{first}\" and \"{second}\" both lead to table \"{target}\": set another \
                 target for one of them, and delete its row there from {kept_in}"
            );
            return Err(Stop::new(StopReason::TableShared, detail));
        }
        // One that does not name its database must not stand for this one: it may be any's.
        let is_kept = same.iter().any(|it| it == source || source.database.is_none());
        Ok((!is_kept).then_some(Lead { target, leader, beside: others }))
    }

    /// Decides whether records may delete that only their topic names: the table is the one whose
    /// other records came through that topic, or else of the name that they give.
    ///
    /// # Errors
    ///
    /// As for [`Mapping::lead`].
    pub fn follow(&self, leader: &Leader, known: &[Leader]) -> Result<(), Stop> {
        let leader = known.iter().find(|it| it.topic == leader.topic).unwrap_or(leader);
        self.lead(leader.clone(), known).map(drop)
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
    pub fn plan(&self, source: SourceTable, existing: Option<Table>) -> Result<Plan, Stop> {
        let rule = self.rule(&source.name)?;
        let name = self.name(rule.target.clone(), &source.name);
        let draft = Draft { mapping: self, is_partial: false, name, rule };
        draft.plan(source, existing)
    }

    /// Plans how rows of a source table are deleted of which only the key is known: nothing is
    /// created, and no column of the source's is added.
    ///
    /// # Errors
    ///
    /// As for [`Mapping::plan`].
    pub fn plan_partial(&self, source: SourceTable, existing: Table) -> Result<Plan, Stop> {
        let rule = self.rule(&source.name)?;
        let name = self.name(rule.target.clone(), &source.name);
        let draft = Draft { mapping: self, is_partial: true, name, rule };
        draft.plan(source, Some(existing))
    }

    /// Returns one name for all that are the same to the target.
    fn fold_case(&self, name: &TableName) -> TableName {
        TableName { schema: name.schema.clone(), table: self.fold(&name.table) }
    }

    /// Returns one text for all that are the same name to the target: SQLite ignores the case of
    /// ASCII.
    fn fold(&self, name: &str) -> String {
        if self.dialect.has_schemas { name.to_owned() } else { name.to_ascii_lowercase() }
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
