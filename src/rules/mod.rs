//! Rules: what becomes of each source table, from flags and the config file.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::decode::value::kind::{Form, SourceName};
use crate::rows::{Deletes, Keyless};
use crate::table::TableName;

pub use file::{
    AfterRefused, Changelog, ColumnSection, ConfigFile, DeletePolicy, Mode, TableSection,
};
pub use pattern::{DatabaseUnknown, Pattern, Template};
pub use source::SourceSettings;

mod file;
mod pattern;
mod source;

/// Debezium's own default of `unavailable.value.placeholder`.
const PLACEHOLDER: &str = "__debezium_unavailable_value";

/// All rules: what flags and file say, and what holds where they say nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// `--table`, in order: the first match decides about the target's name, whatever the file says.
    pub targets: Vec<(Pattern, Template)>,
    /// The file's sections.
    pub tables: Vec<(Pattern, TableSection)>,
    /// The connectors' settings, by `topic.prefix`.
    pub sources: BTreeMap<String, SourceSettings>,
    /// What a delete does where no section says it.
    pub deletes: DeletePolicy,
    /// The column that a soft delete fills.
    pub deleted_at_column: String,
}

/// What becomes of one source table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableRule {
    /// Where it goes; `None` for the names that the target gives by itself.
    pub target: Option<TableName>,
    /// The source's columns that identify a row; `None` for the record's key.
    pub key: Option<Vec<String>>,
    /// What a delete does.
    pub deletes: Deletes,
    /// Whether rows replace each other.
    pub mode: Mode,
    /// What becomes of updates and deletes when there is no key.
    pub keyless: Keyless,
    /// What becomes of records behind a refused one of their key.
    pub after_refused: AfterRefused,
    /// Whether the target keeps how new each row is.
    pub row_guard: bool,
    /// What a flat record's columns say of what happened.
    pub changelog: Option<Changelog>,
    /// Which columns go, and how.
    pub columns: ColumnSection,
}

impl TableRule {
    /// Returns whether a field stands beside the row's own, because a transform or a router has added
    /// it: it is written where the target has a column for it, and none is made.
    pub fn is_beside(&self, form: Form, field: &str) -> bool {
        let is_named = |log: &Changelog| log.op == field || log.order.as_deref() == Some(field);
        let is_of_log = || self.changelog.as_ref().is_some_and(is_named);
        is_of_router(field) || (form.is_flat() && (field.starts_with("__") || is_of_log()))
    }
}

/// Returns whether a router has added the field to the key, such as `__dbz__physicalTableIdentifier`.
pub fn is_of_router(field: &str) -> bool {
    field.starts_with("__dbz__")
}

impl Rules {
    /// Returns the rule of a source table; of several sections the most specific one decides alone.
    pub fn for_table(&self, source: &SourceName) -> Result<TableRule, DatabaseUnknown> {
        let name = source.rule_name();
        let section = self.section(&name).map(|(_, section)| section.clone()).unwrap_or_default();
        let target = self.target(&name).map(|(_, template)| template.expand(source)).transpose()?;

        let deletes = match section.deletes.unwrap_or(self.deletes) {
            DeletePolicy::Hard => Deletes::Hard,
            DeletePolicy::Soft => Deletes::Soft(self.deleted_at_column.clone()),
            DeletePolicy::Ignore => Deletes::Ignore,
        };
        let (mode, keyless) = (section.mode(), section.keyless());
        let after_refused = section.after_refused();
        let TableSection { key, row_guard, changelog, columns, .. } = section;
        Ok(TableRule {
            target,
            key,
            deletes,
            mode,
            keyless,
            after_refused,
            row_guard,
            changelog,
            columns,
        })
    }

    /// Returns whether a source table is guarded, by the name that rules know it by.
    pub fn is_guarded(&self, name: &str) -> bool {
        self.section(name).is_some_and(|(_, section)| section.row_guard)
    }

    /// Returns whether the rules mean both source tables to meet in one target table: its name is
    /// written out, and they say that more than one table goes there. A rule for one name says no
    /// such thing: it cannot tell that table from the same one of another connector.
    pub fn let_meet(&self, one: &SourceName, other: &SourceName) -> bool {
        let (one, other) = (one.rule_name(), other.rule_name());
        match (self.target(&one), self.target(&other)) {
            (Some((pattern, template)), Some((_, same))) => {
                template.is_written_out()
                    && template == same
                    && (one != other || !pattern.is_exact())
            }
            _ => false,
        }
    }

    /// Finds the most specific section for a table.
    fn section(&self, name: &str) -> Option<&(Pattern, TableSection)> {
        let sections = self.tables.iter().filter(|(pattern, _)| pattern.matches(name));
        sections.max_by_key(|(pattern, _)| pattern.specificity())
    }

    /// Finds what names a table's target.
    fn target(&self, name: &str) -> Option<(&Pattern, &Template)> {
        let flag = self.targets.iter().find(|(pattern, _)| pattern.matches(name));
        let section = || self.section(name);
        let of_section =
            || section().and_then(|(pattern, it)| Some((pattern, it.target.as_ref()?)));
        flag.map(|(pattern, template)| (pattern, template)).or_else(of_section)
    }

    /// Returns the settings of the connector with this `topic.prefix`.
    pub fn source(&self, prefix: &str) -> Option<&SourceSettings> {
        self.sources.get(prefix)
    }

    /// Returns the text that stands for an unavailable value from that connector.
    pub fn placeholder(&self, prefix: &str) -> Arc<str> {
        let written =
            self.source(prefix).and_then(|it| it.unavailable_value_placeholder.as_deref());
        written.unwrap_or(PLACEHOLDER).into()
    }
}

impl ColumnSection {
    /// Returns whether a source column goes to the target.
    pub fn takes(&self, column: &str) -> bool {
        let names = |list: &Vec<String>| list.iter().any(|name| name == column);
        self.include.as_ref().is_none_or(names) && !self.exclude.as_ref().is_some_and(names)
    }

    /// Returns the target's name of a source column.
    pub fn target_name<'a>(&'a self, column: &'a str) -> &'a str {
        self.rename.get(column).map_or(column, String::as_str)
    }
}

#[cfg(test)]
mod tests;
