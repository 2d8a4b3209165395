//! Kept dead letters: what is read of them, and what becomes of them.

/// Reads dead letters without their records, the newest first.
///
/// Parameters: sink, cluster, then each NULL where anything will do: numbers, topic, reason, state,
/// how many.
pub(in crate::target::postgres) const LETTERS: &str = "\
SELECT topic, \"partition\", id, record_offset,
  pg_catalog.round(extract(epoch FROM record_timestamp) * 1000)::pg_catalog.int8, table_name,
  reason, error, sqlstate, (extract(epoch FROM first_seen) * 1000)::pg_catalog.int8,
  (extract(epoch FROM last_seen) * 1000)::pg_catalog.int8, state
FROM afterimage.dead_letter
WHERE sink = $1 AND cluster_id = $2 AND ($3::pg_catalog.int8[] IS NULL OR id = ANY ($3))
  AND ($4::pg_catalog.text IS NULL OR topic = $4)
  AND ($5::pg_catalog.text IS NULL OR reason = $5)
  AND ($6::pg_catalog.text IS NULL OR state = $6)
ORDER BY id DESC
LIMIT $7";

/// Reads the record of a dead letter. Parameters: sink, cluster, number.
pub(in crate::target::postgres) const KEPT_RECORD: &str = "\
SELECT key, value, headers::pg_catalog.text
FROM afterimage.dead_letter
WHERE sink = $1 AND cluster_id = $2 AND id = $3";

/// Reads since when no image of a key is applied, and whether an open dead letter lies between that
/// and a record; no row for a key whose newest image was not refused.
///
/// Parameters: sink, cluster, topic, partition, key, offset.
pub(in crate::target::postgres) const STANDING: &str = "\
SELECT k.since_offset, EXISTS (
  SELECT FROM afterimage.dead_letter AS d
  WHERE d.sink = k.sink AND d.cluster_id = k.cluster_id AND d.topic = k.topic
    AND d.\"partition\" = k.\"partition\" AND d.key = k.key AND d.state = 'open'
    AND d.record_offset >= k.since_offset AND d.record_offset < $6
)
FROM afterimage.refused_key AS k
WHERE k.sink = $1 AND k.cluster_id = $2 AND k.topic = $3 AND k.\"partition\" = $4
  AND k.key_hash = pg_catalog.sha256($5)";

/// Holds the checkpoint of a partition: whoever applies its records waits, or is waited for.
///
/// Parameters: sink, cluster, topic, partition.
pub(in crate::target::postgres) const LOCK_PARTITION: &str = "\
SELECT FROM afterimage.checkpoint
WHERE sink = $1 AND cluster_id = $2 AND topic = $3 AND \"partition\" = $4
FOR UPDATE";

/// Ends the state of an open dead letter. Parameters: sink, cluster, number, state.
pub(in crate::target::postgres) const END_LETTER: &str = "\
UPDATE afterimage.dead_letter
SET state = $4
WHERE sink = $1 AND cluster_id = $2 AND id = $3 AND state = 'open'";

/// Keeps a new error of an open dead letter. Parameters: sink, cluster, number, reason, error,
/// SQLSTATE.
pub(in crate::target::postgres) const REFUSE_AGAIN: &str = "\
UPDATE afterimage.dead_letter
SET reason = $4, error = $5, sqlstate = $6, last_seen = now()
WHERE sink = $1 AND cluster_id = $2 AND id = $3 AND state = 'open'";

/// Has a key be refused since its first open dead letter from an offset on.
///
/// Parameters: sink, cluster, topic, partition, key, offset.
pub(in crate::target::postgres) const MARK_SINCE: &str = "\
UPDATE afterimage.refused_key AS k
SET since_offset = o.next
FROM (
  SELECT pg_catalog.min(d.record_offset) AS next
  FROM afterimage.dead_letter AS d
  WHERE d.sink = $1 AND d.cluster_id = $2 AND d.topic = $3 AND d.\"partition\" = $4 AND d.key = $5
    AND d.state = 'open' AND d.record_offset >= $6
) AS o
WHERE k.sink = $1 AND k.cluster_id = $2 AND k.topic = $3 AND k.\"partition\" = $4
  AND k.key_hash = pg_catalog.sha256($5) AND o.next IS NOT NULL";

/// Has whoever holds a partition claim it again. Parameters: sink, cluster, topic, partition.
pub(in crate::target::postgres) const COUNT_UP: &str = "\
UPDATE afterimage.checkpoint
SET epoch = epoch + 1, updated_at = pg_catalog.clock_timestamp()
WHERE sink = $1 AND cluster_id = $2 AND topic = $3 AND \"partition\" = $4";

/// Keeps what an operator has done about a dead letter.
///
/// Parameters: actor, command, topic, partition, offset, reason.
pub(in crate::target::postgres) const AUDIT_LETTER: &str = "\
INSERT INTO afterimage.audit (actor, command, topic, \"partition\", before_offset, reason)
VALUES ($1, $2, $3, $4, $5, $6)";

/// Takes the oldest open dead letters that nobody has copied, or is copying, for a minute.
///
/// Parameters: sink, cluster, how many.
pub(in crate::target::postgres) const LEASE_UNCOPIED: &str = "\
UPDATE afterimage.dead_letter
SET copying_until = pg_catalog.clock_timestamp() + interval '60 s'
WHERE id IN (
  SELECT id
  FROM afterimage.dead_letter
  WHERE sink = $1 AND cluster_id = $2 AND state = 'open' AND copied_at IS NULL
    AND (copying_until IS NULL OR copying_until <= pg_catalog.clock_timestamp())
  ORDER BY id
  LIMIT $3
  FOR UPDATE SKIP LOCKED
)
RETURNING id";

/// Keeps that dead letters were copied. Parameters: sink, cluster, numbers.
pub(in crate::target::postgres) const COPIED: &str = "\
UPDATE afterimage.dead_letter
SET copied_at = pg_catalog.clock_timestamp()
WHERE sink = $1 AND cluster_id = $2 AND id = ANY ($3)";
