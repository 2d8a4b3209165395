//! What rows leave behind whose keys change.

use super::quote;
use crate::rows::{Deletes, Shape};

/// Leaves a value behind; binds sink, cluster, topic, place, column, state, cell and time. What was
/// left before is not changed.
pub(in crate::target::sqlite) const LEAVE: &str = "INSERT INTO afterimage_key_move
    (sink, cluster_id, topic, place, column_name, state, value, at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING";

/// Reads what was left; binds sink, cluster, topic and place.
pub(in crate::target::sqlite) const FIND_LEFT: &str = "SELECT column_name, state, value
FROM afterimage_key_move
WHERE sink = ? AND cluster_id = ? AND topic = ? AND place = ?";

/// Reads the headers of refused records that may be deletes, sent between two moments; binds sink,
/// cluster, topic and the moments. A tombstone has those of its delete.
pub(in crate::target::sqlite) const REFUSED_DELETES: &str = "SELECT headers
FROM afterimage_dead_letter
WHERE sink = ? AND cluster_id = ? AND topic = ? AND record_timestamp BETWEEN ? AND ?
    AND value IS NOT NULL AND headers IS NOT NULL";

/// Forgets what was left long ago; binds sink, cluster, and the time before which it is.
pub(in crate::target::sqlite) const FORGET_MOVES: &str = "DELETE FROM afterimage_key_move
WHERE sink = ? AND cluster_id = ? AND at < ?";

/// Reads what is known of the last row that came to a key up to a place; binds sink, cluster, topic,
/// partition, transaction, key and place.
pub(in crate::target::sqlite) const FIND_TAKEN: &str = r#"SELECT came_at, was_taken, left_at
FROM afterimage_key_taken
WHERE sink = ? AND cluster_id = ? AND topic = ? AND "partition" = ? AND "transaction" = ?
    AND key = ? AND came_at <= ?
ORDER BY came_at DESC LIMIT 1"#;

/// Keeps what is known of a key; binds sink, cluster, topic, partition, transaction, key, where a row
/// came to it, whether it was taken then, where it was left, the time.
pub(in crate::target::sqlite) const KEEP_TAKEN: &str = r#"INSERT INTO afterimage_key_taken
    (sink, cluster_id, topic, "partition", "transaction", key, came_at, was_taken, left_at, at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET left_at = excluded.left_at"#;

/// Forgets what was kept of keys that were free, of earlier transactions; binds sink, cluster, topic, partition, the
/// transaction that the partition is in, and where in the log.
pub(in crate::target::sqlite) const FORGET_TAKEN: &str = r#"DELETE FROM afterimage_key_taken
WHERE sink = ? AND cluster_id = ? AND topic = ? AND "partition" = ? AND "transaction" <> ?
    AND came_at < ? AND NOT was_taken"#;

/// Forgets what was kept long ago; binds sink, cluster, and the time before which it is.
pub(in crate::target::sqlite) const FORGET_OLD_TAKEN: &str = "DELETE FROM afterimage_key_taken
WHERE sink = ? AND cluster_id = ? AND at < ?";

/// Reads columns of a row that is not marked deleted; binds the key.
pub(in crate::target::sqlite) fn values_of(shape: &Shape, columns: &[usize]) -> String {
    let names = |indexes: &[usize]| {
        let columns = indexes.iter().filter_map(|&index| shape.columns.get(index));
        columns.map(|column| quote(&column.name)).collect::<Vec<_>>()
    };
    let key = names(&shape.key).into_iter().map(|name| format!("{name} = ?"));
    let mut conditions = key.collect::<Vec<_>>();
    if let Deletes::Soft(deleted_at) = &shape.deletes {
        conditions.push(format!("{} IS NULL", quote(deleted_at)));
    }
    format!(
        "SELECT {} FROM {} WHERE {}",
        names(columns).join(", "),
        quote(&shape.table.name.table),
        conditions.join(" AND ")
    )
}
