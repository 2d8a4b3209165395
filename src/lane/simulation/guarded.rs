//! Guarded rows: how old what they show may be, and that it never gets older.
//!
//! Each change of a row at the source has a number, and a record brings the row as it was at one of
//! them: at its own, or at that which a snapshot has found. It shares no code with the guard.

use std::collections::BTreeMap;

use super::oracle::{Place, Row, RowKey};
use crate::record::TopicPartition;

/// The table that is guarded.
pub(super) const GUARDED: &str = "g";

/// A row at the source, and which of its changes made it so.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) change: i64,
    /// Whether a snapshot has read it.
    pub(super) is_read: bool,
    pub(super) row: Option<Row>,
}

/// All records of guarded rows.
#[derive(Debug, Default)]
pub(super) struct Guarded(BTreeMap<RowKey, Vec<(Place, Image)>>);

impl Guarded {
    pub(super) fn take(&mut self, place: Place, key: RowKey, image: &Image) {
        self.0.entry(key).or_default().push((place, image.clone()));
    }

    /// Makes sure that each row is as new as the newest change that is applied and as whatever it has
    /// shown; what a snapshot has read may be there before the change that made it. Keeps what the rows
    /// show now.
    pub(super) fn check(
        &self,
        is_row: impl Fn(RowKey, Option<&Row>) -> bool,
        next: impl Fn(&TopicPartition) -> i64,
        shown: &mut BTreeMap<RowKey, i64>,
    ) -> Result<(), String> {
        for (key, images) in &self.0 {
            let is_applied = |(at, _): &&(Place, Image)| at.1 < next(&at.0);
            let applied = images.iter().filter(is_applied).map(|(_, image)| image);
            let applied = applied.collect::<Vec<_>>();
            let changes = applied.iter().filter(|image| !image.is_read);
            let least = changes.map(|image| image.change).chain(shown.get(key).copied()).max();
            let fits = |image: &&&Image| {
                least.is_none_or(|least| image.change >= least) && is_row(*key, image.row.as_ref())
            };
            // Nothing can tell apart two changes behind which there is no row.
            match applied.iter().filter(fits).map(|image| image.change).min() {
                Some(change) => _ = shown.insert(*key, change),
                None if applied.is_empty() && is_row(*key, None) => {}
                None => {
                    let least = least.unwrap_or_default();
                    return Err(format!("guarded row {key:?} must be no older than {least}"));
                }
            }
        }
        Ok(())
    }
}
