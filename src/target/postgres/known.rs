//! What a session knows of the tables that it writes to.
//!
//! To describe a table takes the server longer than to write a few rows, and each batch must see it as
//! it is. So each batch reads only a stamp of it, and the description again when the stamp is another.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::table::TableName;
use crate::target::postgres::catalog::{self, Described};
use crate::target::postgres::session::Session;
use crate::target::postgres::sql;

/// The tables that a session has described.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<TableName, Entry>);

#[derive(Debug)]
struct Entry {
    described: Arc<Described>,
    /// Its stamp then; `None` where a stamp does not say enough.
    stamp: Option<String>,
}

impl Known {
    /// Returns those that must be described whatever their stamps say.
    pub(super) fn unknown<'n>(&self, names: &[&'n TableName]) -> Vec<&'n TableName> {
        let is_unknown = |name: &&TableName| self.0.get(*name).is_none_or(|it| it.stamp.is_none());
        names.iter().copied().filter(is_unknown).collect()
    }

    /// Returns those whose stamps are not what they were.
    fn changed<'n>(
        &self,
        names: &[&'n TableName],
        stamps: &HashMap<&TableName, String>,
    ) -> Vec<&'n TableName> {
        let is_changed = |name: &&TableName| {
            let stamp = self.0.get(*name).and_then(|entry| entry.stamp.as_ref());
            stamp.is_some_and(|stamp| Some(stamp) != stamps.get(*name))
        };
        names.iter().copied().filter(is_changed).collect()
    }

    fn learn(
        &mut self,
        names: &[&TableName],
        columns: &[PgRow],
        stamps: &HashMap<&TableName, String>,
    ) -> Result<(), sqlx::Error> {
        for (name, described) in names.iter().zip(catalog::described(names, columns)?) {
            let stamp = stamps.get(name).filter(|_| described.is_of_lasting_types()).cloned();
            self.0.insert((*name).clone(), Entry { described: Arc::new(described), stamp });
        }
        Ok(())
    }
}

/// Tables that a transaction holds, as it sees them.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// They, in the order in which they were asked for.
    pub(super) tables: Vec<Arc<Described>>,
    /// Whether anything in their database may be checked as late as at COMMIT.
    pub(super) has_deferrable: bool,
    /// The time of the transaction, as the cell of a `timestamptz`.
    pub(super) now: Vec<u8>,
}

/// Reads what [`sql::hold`] answers of tables, of which some were unknown; describes those that have
/// changed.
pub(super) async fn held(
    session: &mut Session,
    names: &[&TableName],
    unknown: &[&TableName],
    answer: Vec<PgRow>,
) -> Result<Held, sqlx::Error> {
    let mut held = Held::default();
    let is_stamp = |row: &PgRow| row.try_column("stamp").is_ok();
    let (found, columns) = answer.into_iter().partition::<Vec<_>, _>(is_stamp);
    let mut stamps = HashMap::new();
    for row in found {
        if let Some(name) = names.get(catalog::place(&row)?) {
            stamps.insert(*name, row.try_get("stamp")?);
        }
        (held.has_deferrable, held.now) = (row.try_get("has_deferrable")?, row.try_get("now")?);
    }
    session.known.learn(unknown, &columns, &stamps)?;
    let changed = session.known.changed(names, &stamps);
    if !changed.is_empty() {
        let columns = session.fetch_all(sql::columns(&changed)).await?;
        session.known.learn(&changed, &columns, &stamps)?;
    }
    let known = |name: &&TableName| session.known.0.get(*name).expect("each is known by now");
    held.tables = names.iter().map(|name| Arc::clone(&known(name).described)).collect();
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_described_when_its_stamp_is_another_or_says_too_little() {
        let names = ["same", "changed", "of_enum", "new"]
            .map(|table| TableName { schema: None, table: table.to_owned() });
        let [same, changed, of_enum, new] = &names;
        let entry = |stamp: Option<&str>| Entry {
            described: Arc::default(),
            stamp: stamp.map(str::to_owned),
        };
        let entries = [(same, Some("1")), (changed, Some("1")), (of_enum, None)];
        let entries = entries.map(|(name, stamp)| (name.clone(), entry(stamp)));
        let known = Known(BTreeMap::from(entries));
        let all = [same, changed, of_enum, new];
        let now = ["1", "2", "1", "1"].map(str::to_owned);
        let stamps = all.into_iter().zip(now).collect();
        assert_eq!(known.unknown(&all), [of_enum, new]);
        assert_eq!(known.changed(&all, &stamps), [changed]);
        assert_eq!(known.changed(&all, &HashMap::new()), [same, changed]);
    }
}
