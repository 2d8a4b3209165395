//! Dead letters: how they are kept, what is read of them, and what becomes of them.

/// Returns the refused keys of a partition.
pub(in crate::target::sqlite) const REFUSED_KEYS: &str = r#"SELECT key
FROM afterimage_refused_key
WHERE sink = ? AND cluster_id = ? AND topic = ? AND "partition" = ?"#;

/// Keeps a refused record; a record that comes again is the same dead letter.
pub(in crate::target::sqlite) const DEAD_LETTER: &str = r#"INSERT INTO afterimage_dead_letter
    (sink, cluster_id, topic, "partition", record_offset, table_name, key, value, headers,
    reason, error, sqlstate, record_timestamp, first_seen, last_seen, state)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?14, 'open')
ON CONFLICT (sink, cluster_id, topic, "partition", record_offset) DO UPDATE
SET table_name = excluded.table_name, reason = excluded.reason, error = excluded.error,
    sqlstate = excluded.sqlstate, last_seen = excluded.last_seen, state = 'open'"#;

/// Marks a key whose newest image was refused; binds the partition's key, the record's key and its
/// offset. A key that is marked already was cleared meanwhile by the same batch, or its table was
/// emptied.
pub(in crate::target::sqlite) const MARK_KEY: &str = r#"INSERT INTO afterimage_refused_key
    (sink, cluster_id, topic, "partition", key, since_offset)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (sink, cluster_id, topic, "partition", key) DO UPDATE
SET since_offset = excluded.since_offset"#;

/// Clears a key's mark; binds the partition's key and the record's key.
pub(in crate::target::sqlite) const CLEAR_KEY: &str = r#"DELETE FROM afterimage_refused_key
WHERE sink = ? AND cluster_id = ? AND topic = ? AND "partition" = ? AND key = ?"#;

/// Reads dead letters without their records, the newest first; binds sink, cluster, then each NULL
/// where anything will do: numbers as a JSON array, topic, reason, state; last how many, -1 for all.
pub(in crate::target::sqlite) const LETTERS: &str = r#"SELECT topic, "partition", id, record_offset,
    unixepoch(record_timestamp) * 1000 + CAST(substr(record_timestamp, 21, 3) AS INTEGER),
    table_name, reason, error, sqlstate,
    unixepoch(first_seen) * 1000 + CAST(substr(first_seen, 21, 3) AS INTEGER),
    unixepoch(last_seen) * 1000 + CAST(substr(last_seen, 21, 3) AS INTEGER), state
FROM afterimage_dead_letter
WHERE sink = ?1 AND cluster_id = ?2
    AND (?3 IS NULL OR id IN (SELECT value FROM json_each(?3)))
    AND (?4 IS NULL OR topic = ?4) AND (?5 IS NULL OR reason = ?5) AND (?6 IS NULL OR state = ?6)
ORDER BY id DESC
LIMIT ?7"#;

/// Reads the record of a dead letter; binds sink, cluster, number.
pub(in crate::target::sqlite) const KEPT_RECORD: &str = "SELECT key, value, headers
FROM afterimage_dead_letter
WHERE sink = ? AND cluster_id = ? AND id = ?";

/// Reads since when no image of a key is applied, and whether an open dead letter lies between that
/// and a record; no row for a key whose newest image was not refused. Binds the partition's key, the
/// record's key and its offset.
pub(in crate::target::sqlite) const KEY_STANDING: &str = r#"SELECT k.since_offset, EXISTS (
    SELECT 1 FROM afterimage_dead_letter AS d
    WHERE d.sink = k.sink AND d.cluster_id = k.cluster_id AND d.topic = k.topic
        AND d."partition" = k."partition" AND d.key = k.key AND d.state = 'open'
        AND d.record_offset >= k.since_offset AND d.record_offset < ?6
)
FROM afterimage_refused_key AS k
WHERE k.sink = ?1 AND k.cluster_id = ?2 AND k.topic = ?3 AND k."partition" = ?4 AND k.key = ?5"#;

/// Ends the state of an open dead letter; binds the state, sink, cluster, number.
pub(in crate::target::sqlite) const END_LETTER: &str = "UPDATE afterimage_dead_letter
SET state = ?
WHERE sink = ? AND cluster_id = ? AND id = ? AND state = 'open'";

/// Keeps a new error of an open dead letter; binds reason, error, SQLSTATE, time, sink,
/// cluster, number.
pub(in crate::target::sqlite) const REFUSE_AGAIN: &str = "UPDATE afterimage_dead_letter
SET reason = ?, error = ?, sqlstate = ?, last_seen = ?
WHERE sink = ? AND cluster_id = ? AND id = ? AND state = 'open'";

/// Has a key be refused since its first open dead letter from an offset on; binds the partition's
/// key, the record's key and the offset.
pub(in crate::target::sqlite) const MARK_SINCE: &str = r#"UPDATE afterimage_refused_key
SET since_offset = o.next
FROM (
    SELECT min(record_offset) AS next
    FROM afterimage_dead_letter
    WHERE sink = ?1 AND cluster_id = ?2 AND topic = ?3 AND "partition" = ?4 AND key = ?5
        AND state = 'open' AND record_offset >= ?6
) AS o
WHERE sink = ?1 AND cluster_id = ?2 AND topic = ?3 AND "partition" = ?4 AND key = ?5
    AND o.next IS NOT NULL"#;

/// Has whoever holds a partition claim it again; binds the time and the partition's key.
pub(in crate::target::sqlite) const COUNT_UP: &str = r#"UPDATE afterimage_checkpoint
SET epoch = epoch + 1, updated_at = ?
WHERE sink = ? AND cluster_id = ? AND topic = ? AND "partition" = ?"#;

/// Keeps what an operator has done about a dead letter; binds time, actor, command, topic, partition,
/// offset, reason.
pub(in crate::target::sqlite) const AUDIT_LETTER: &str = r#"INSERT INTO afterimage_audit
    (at, actor, command, topic, "partition", before_offset, reason)
VALUES (?, ?, ?, ?, ?, ?, ?)"#;

/// Takes the oldest open dead letters that nobody has copied, or is copying; binds until when, sink,
/// cluster, the time, how many.
pub(in crate::target::sqlite) const LEASE_UNCOPIED: &str = "UPDATE afterimage_dead_letter
SET copying_until = ?1
WHERE id IN (
    SELECT id
    FROM afterimage_dead_letter
    WHERE sink = ?2 AND cluster_id = ?3 AND state = 'open' AND copied_at IS NULL
        AND (copying_until IS NULL OR copying_until <= ?4)
    ORDER BY id
    LIMIT ?5
)
RETURNING id";

/// Keeps that dead letters were copied; binds the time, sink, cluster, numbers as a JSON array.
pub(in crate::target::sqlite) const COPIED: &str = "UPDATE afterimage_dead_letter
SET copied_at = ?
WHERE sink = ? AND cluster_id = ? AND id IN (SELECT value FROM json_each(?))";
