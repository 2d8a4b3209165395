//! What the target has seen of each key of a guarded table.

use crate::rows::{Deletes, Shape};
use crate::table::TableName;
use crate::target::postgres::catalog::Wire;
use crate::target::postgres::sql::key::matches;
use crate::target::postgres::sql::rows::{keys, set_deleted};
use crate::target::postgres::sql::{quote, relation};

/// What a key stands under: itself, so that neighbours among the keys are neighbours in the index, or
/// its hash where it is as long as one or longer: what the index holds has an end.
macro_rules! id {
    ($key:literal) => {
        concat!(
            "CASE WHEN pg_catalog.octet_length(",
            $key,
            ") < 32 THEN ",
            $key,
            " ELSE pg_catalog.sha256(",
            $key,
            ") END"
        )
    };
}

/// Reads and locks what is known of keys, in one order for all, and reads without an ordinal the
/// newest truncate, which stands under a key without bytes. Parameters: table, keys, ordinals.
pub(in crate::target::postgres) const LOCK_GUARD: &str = concat!(
    "\
WITH locked AS (
  SELECT w.ordinal, g.log_file, g.log_pos, g.log_row, g.is_snapshot, g.source_time, g.sent_at,
    g.cluster_id, g.topic, g.\"partition\", g.record_offset, g.changed_file, g.changed_pos,
    g.changed_row
  FROM unnest($2::pg_catalog.bytea[], $3::pg_catalog.int8[]) AS w (key, ordinal)
  JOIN afterimage.row_guard AS g
    ON g.table_name = $1 AND g.key_id = ",
    id!("w.key"),
    "
  ORDER BY g.key_id
  FOR UPDATE OF g
)
SELECT * FROM locked
UNION ALL
SELECT NULL, log_file, log_pos, log_row, is_snapshot, source_time, sent_at, cluster_id, topic,
  \"partition\", record_offset, changed_file, changed_pos, changed_row
FROM afterimage.row_guard
WHERE table_name = $1 AND key_id = ''"
);

/// Reads the keys with what is known of them that a truncate may be older than.
///
/// Parameters: table, the truncate's file, position and row in the source's log, cluster, topic,
/// partition, offset.
pub(in crate::target::postgres) const LASTING_GUARD: &str = "\
SELECT key, log_file, log_pos, log_row, is_snapshot, source_time, sent_at, cluster_id, topic,
  \"partition\", record_offset, changed_file, changed_pos, changed_row
FROM afterimage.row_guard
WHERE table_name = $1 AND key_id <> ''
  AND (log_pos IS NULL OR (log_file, log_pos, log_row) >= ($2, $3, $4)
    OR (cluster_id, topic, \"partition\") = ($5, $6, $7) AND record_offset >= $8)";

/// Begins with keys that were never met; one that another member has begun with is left out.
///
/// Parameters: table, cluster, then arrays: keys, files, positions and rows in the source's log,
/// whether a snapshot, commit times, times of sending, topics, partitions, offsets, and files,
/// positions and rows of the newest changes before a snapshot.
pub(in crate::target::postgres) const BEGIN_GUARD: &str = concat!(
    "\
INSERT INTO afterimage.row_guard (table_name, key_id, key, cluster_id, log_file, log_pos, log_row,
  is_snapshot, source_time, sent_at, topic, \"partition\", record_offset, changed_file, changed_pos,
  changed_row)
SELECT $1, ",
    id!("w.key"),
    ", w.key, $2, w.log_file, w.log_pos, w.log_row, w.is_snapshot,
  w.source_time, w.sent_at, w.topic, w.\"partition\", w.record_offset, w.changed_file, w.changed_pos,
  w.changed_row
FROM unnest($3::pg_catalog.bytea[], $4::pg_catalog.int8[], $5::pg_catalog.int8[],
  $6::pg_catalog.int8[], $7::pg_catalog.bool[], $8::pg_catalog.int8[], $9::pg_catalog.int8[],
  $10::pg_catalog.text[], $11::pg_catalog.int4[], $12::pg_catalog.int8[], $13::pg_catalog.int8[],
  $14::pg_catalog.int8[], $15::pg_catalog.int8[])
  AS w (key, log_file, log_pos, log_row, is_snapshot, source_time, sent_at, topic, \"partition\",
    record_offset, changed_file, changed_pos, changed_row)
ORDER BY 2
ON CONFLICT (table_name, key_id) DO NOTHING"
);

/// Moves keys on that are locked. Parameters: as before.
pub(in crate::target::postgres) const MOVE_GUARD: &str = concat!(
    "\
UPDATE afterimage.row_guard AS g
SET key = w.key, cluster_id = $2, log_file = w.log_file, log_pos = w.log_pos, log_row = w.log_row,
  is_snapshot = w.is_snapshot, source_time = w.source_time, sent_at = w.sent_at, topic = w.topic,
  \"partition\" = w.\"partition\", record_offset = w.record_offset, changed_file = w.changed_file,
  changed_pos = w.changed_pos, changed_row = w.changed_row
FROM unnest($3::pg_catalog.bytea[], $4::pg_catalog.int8[], $5::pg_catalog.int8[],
  $6::pg_catalog.int8[], $7::pg_catalog.bool[], $8::pg_catalog.int8[], $9::pg_catalog.int8[],
  $10::pg_catalog.text[], $11::pg_catalog.int4[], $12::pg_catalog.int8[], $13::pg_catalog.int8[],
  $14::pg_catalog.int8[], $15::pg_catalog.int8[])
  AS w (key, log_file, log_pos, log_row, is_snapshot, source_time, sent_at, topic, \"partition\",
    record_offset, changed_file, changed_pos, changed_row)
WHERE g.table_name = $1 AND g.key_id = ",
    id!("w.key")
);

/// Forgets which records of a topic were seen, because it is another topic now; places in the
/// source's log stay. Parameters: cluster, topic.
pub(in crate::target::postgres) const UNTIE_GUARD: &str = "\
UPDATE afterimage.row_guard
SET cluster_id = NULL
WHERE cluster_id = $1 AND topic = $2";

/// Forgets all that was seen of a topic's keys: the source's log is another one now.
///
/// Parameters: cluster, topic.
pub(in crate::target::postgres) const FORGET_GUARD: &str = "\
DELETE FROM afterimage.row_guard
WHERE cluster_id = $1 AND topic = $2";

/// Keeps other members from writing to a table until the transaction ends.
pub(in crate::target::postgres) fn hold_off(table: &TableName) -> String {
    format!("LOCK TABLE ONLY {} IN SHARE ROW EXCLUSIVE MODE", relation(table))
}

/// Deletes all rows but those of some keys, or marks them deleted. Parameters: an array for each
/// column of the key, in the order of their names.
pub(in crate::target::postgres) fn remove_others(shape: &Shape, wires: &[&Wire]) -> String {
    let table = relation(&shape.table.name);
    let (keys, matches) = (keys(&shape.key_by_name(), wires), matches(shape));
    let stays = format!("EXISTS (\n  SELECT FROM {keys}\n  WHERE {matches}\n)");
    match &shape.deletes {
        Deletes::Hard | Deletes::Ignore => format!("DELETE FROM {table} AS t\nWHERE NOT {stays}"),
        Deletes::Soft(deleted_at) => {
            let (sets, name) = (set_deleted(shape, deleted_at), quote(deleted_at));
            format!("UPDATE {table} AS t\nSET {sets}\nWHERE t.{name} IS NULL AND NOT {stays}")
        }
    }
}
