//! What the target has seen of each key of a guarded table.

/// Reads what is known of a key, or under one without bytes the newest truncate; binds table and key.
pub(in crate::target::sqlite) const FIND_GUARD: &str = r#"SELECT log_file, log_pos, log_row,
    is_snapshot, source_time, sent_at, cluster_id, topic, "partition", record_offset,
    changed_file, changed_pos, changed_row
FROM afterimage_row_guard
WHERE table_name = ? AND key = ?"#;

/// Reads the keys with what is known of them that a truncate may be older than; binds table, the
/// truncate's file, position and row in the source's log, cluster, topic, partition and offset.
pub(in crate::target::sqlite) const LASTING_GUARD: &str = r#"SELECT log_file, log_pos, log_row,
    is_snapshot, source_time, sent_at, cluster_id, topic, "partition", record_offset,
    changed_file, changed_pos, changed_row, key
FROM afterimage_row_guard
WHERE table_name = ? AND key <> x''
    AND (log_pos IS NULL OR (log_file, log_pos, log_row) >= (?, ?, ?)
        OR (cluster_id, topic, "partition") = (?, ?, ?) AND record_offset >= ?)"#;

/// Keeps the same; binds table, key, file, position and row in the source's log, whether a snapshot,
/// commit time, time of sending, cluster, topic, partition and offset, and file, position and row
/// of the newest change before a snapshot.
pub(in crate::target::sqlite) const KEEP_GUARD: &str = r#"INSERT INTO afterimage_row_guard
    (table_name, key, log_file, log_pos, log_row, is_snapshot, source_time, sent_at, cluster_id,
    topic, "partition", record_offset, changed_file, changed_pos, changed_row)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (table_name, key) DO UPDATE SET log_file = excluded.log_file,
    log_pos = excluded.log_pos, log_row = excluded.log_row, is_snapshot = excluded.is_snapshot,
    source_time = excluded.source_time, sent_at = excluded.sent_at,
    cluster_id = excluded.cluster_id, topic = excluded.topic, "partition" = excluded."partition",
    record_offset = excluded.record_offset, changed_file = excluded.changed_file,
    changed_pos = excluded.changed_pos, changed_row = excluded.changed_row"#;

/// Forgets which records of a topic were seen, because it is another topic now; places in the
/// source's log stay. Binds cluster and topic.
pub(in crate::target::sqlite) const UNTIE_GUARD: &str = "UPDATE afterimage_row_guard
SET cluster_id = NULL
WHERE cluster_id = ? AND topic = ?";

/// Forgets all that was seen of a topic's keys: the source's log is another one now. Binds cluster
/// and topic.
pub(in crate::target::sqlite) const FORGET_GUARD: &str = "DELETE FROM afterimage_row_guard
WHERE cluster_id = ? AND topic = ?";
