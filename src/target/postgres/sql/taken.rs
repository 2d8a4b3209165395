//! Keys that were taken when a row moved to them.

use crate::rows::{Deletes, Shape};
use crate::target::postgres::catalog::Wire;
use crate::target::postgres::sql::key::matches;
use crate::target::postgres::sql::rows::cells;
use crate::target::postgres::sql::{quote, relation};

/// Keeps what is known of keys.
///
/// Parameters: sink, cluster, topics, partitions, transactions, keys, where rows came to them,
/// whether each was taken then, where it was left.
pub(in crate::target::postgres) const KEEP_TAKEN: &str = "\
INSERT INTO afterimage.key_taken (sink, cluster_id, topic, \"partition\", transaction, key_hash,
  came_at, was_taken, left_at)
SELECT $1, $2, w.topic, w.\"partition\", w.transaction, pg_catalog.sha256(w.key), w.came_at,
  w.was_taken, w.left_at
FROM unnest($3::pg_catalog.text[], $4::pg_catalog.int4[], $5::pg_catalog.int8[],
  $6::pg_catalog.bytea[], $7::pg_catalog.int8[], $8::pg_catalog.bool[], $9::pg_catalog.int8[])
  AS w (topic, \"partition\", transaction, key, came_at, was_taken, left_at)
ON CONFLICT (sink, cluster_id, topic, \"partition\", transaction, key_hash, came_at)
DO UPDATE SET left_at = excluded.left_at";

/// Forgets what was kept of keys that were free, of earlier transactions. Parameters: sink, cluster, topics, partitions, the
/// transaction that each partition is in, and where in the log.
pub(in crate::target::postgres) const FORGET_TAKEN: &str = "\
DELETE FROM afterimage.key_taken AS k
USING unnest($3::pg_catalog.text[], $4::pg_catalog.int4[], $5::pg_catalog.int8[],
  $6::pg_catalog.int8[]) AS w (topic, \"partition\", transaction, lsn)
WHERE k.sink = $1 AND k.cluster_id = $2 AND k.topic = w.topic AND k.\"partition\" = w.\"partition\"
  AND k.transaction <> w.transaction AND k.came_at < w.lsn AND NOT k.was_taken";

/// Forgets what was kept long ago: further back no connector begins when it repeats itself.
///
/// Parameters: sink, cluster.
pub(in crate::target::postgres) const FORGET_OLD_TAKEN: &str = "\
DELETE FROM afterimage.key_taken
WHERE sink = $1 AND cluster_id = $2
  AND at < pg_catalog.clock_timestamp() - interval '7 days'";

/// Reads of each row's key what was kept of the last row that came to it up to the row's place, and
/// whether there is a row.
///
/// Parameters: sink, cluster, topics, partitions, transactions, keys, places, ordinals, an array for
/// each column of the key.
pub(in crate::target::postgres) fn ask_taken(shape: &Shape, wires: &[&Wire]) -> String {
    let key = shape.key.iter().zip(wires.iter().copied()).zip(9..);
    let list = key.map(|((column, wire), n)| format!("{} AS c{column}", cells(wire, n)));
    let list = list.collect::<Vec<_>>().join(", ");
    let mut matches = matches(shape);
    if let Deletes::Soft(deleted_at) = &shape.deletes {
        matches.push_str(&format!(" AND t.{} IS NULL", quote(deleted_at)));
    }
    format!(
        "SELECT s.ordinal, k.came_at, k.was_taken, k.left_at, t.ctid IS NOT NULL\n\
         FROM (SELECT unnest($3::pg_catalog.text[]) AS topic,\n  \
           unnest($4::pg_catalog.int4[]) AS \"partition\",\n  \
           unnest($5::pg_catalog.int8[]) AS transaction, unnest($6::pg_catalog.bytea[]) AS key,\n  \
           unnest($7::pg_catalog.int8[]) AS lsn, unnest($8::pg_catalog.int8[]) AS ordinal,\n  \
           {list}) AS s\n\
         LEFT JOIN LATERAL (\n  \
           SELECT k.came_at, k.was_taken, k.left_at FROM afterimage.key_taken AS k\n  \
           WHERE k.sink = $1 AND k.cluster_id = $2 AND k.topic = s.topic\n    \
             AND k.\"partition\" = s.\"partition\" AND k.transaction = s.transaction\n    \
             AND k.key_hash = pg_catalog.sha256(s.key) AND k.came_at <= s.lsn\n  \
           ORDER BY k.came_at DESC LIMIT 1\n\
         ) AS k ON true\n\
         LEFT JOIN {} AS t ON {matches}",
        relation(&shape.table.name)
    )
}
