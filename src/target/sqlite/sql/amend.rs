//! An operator's changes to the checkpoint.

/// Reads a row; an owner counts for as long as a claim of another group would have to wait for it.
/// Binds the time since which it must have shown that it lives, and the partition's key.
pub(in crate::target::sqlite) const STANDING: &str = r#"SELECT next_offset, topic_id,
    CASE WHEN state = 'stopped' THEN coalesce(state_reason, '') END,
    owner IS NOT NULL AND updated_at > ?
FROM afterimage_checkpoint
WHERE sink = ? AND cluster_id = ? AND topic = ? AND "partition" = ?"#;

/// Makes a row; binds the partition's key, offset, topic id, partition count and the time.
pub(in crate::target::sqlite) const MAKE_ROW: &str = r#"INSERT INTO afterimage_checkpoint
    (sink, cluster_id, topic, "partition", next_offset, topic_id, partitions_seen, epoch, updated_at)
VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)"#;

/// Writes a row under a claim of our own, so that its owner is fenced. The time stays: it is the
/// owner's sign of life. Binds the partition's key, offset, topic id, partition count, whether the
/// last record is forgotten, the token, and whether the source's log is another one from here on.
pub(in crate::target::sqlite) const AMEND_ROW: &str = r#"UPDATE afterimage_checkpoint
SET next_offset = ?5, topic_id = coalesce(?6, topic_id),
    partitions_seen = coalesce(?7, partitions_seen),
    last_offset = CASE WHEN ?8 THEN NULL ELSE last_offset END,
    last_timestamp = CASE WHEN ?8 THEN NULL ELSE last_timestamp END,
    leader_epoch = CASE WHEN ?8 THEN NULL ELSE leader_epoch END,
    deleted_key = CASE WHEN ?8 THEN NULL ELSE deleted_key END,
    source_incarnation = CASE WHEN ?10
        THEN CAST(CAST(coalesce(source_incarnation, '1') AS INTEGER) + 1 AS TEXT)
        ELSE source_incarnation END,
    source_position = CASE WHEN ?10 THEN NULL ELSE source_position END,
    epoch = epoch + 1, claim_token = ?9, state = NULL, state_reason = NULL
WHERE sink = ?1 AND cluster_id = ?2 AND topic = ?3 AND "partition" = ?4"#;

/// Accepts every encoding of a topic's keys that was met; binds sink, cluster and topic.
pub(in crate::target::sqlite) const ACCEPT_KEYS: &str = "UPDATE afterimage_key_encoding
SET is_accepted = TRUE
WHERE sink = ? AND cluster_id = ? AND topic = ?";

/// Forgets the encodings of a topic's keys; binds sink, cluster and topic.
pub(in crate::target::sqlite) const FORGET_KEYS: &str = "DELETE FROM afterimage_key_encoding
WHERE sink = ? AND cluster_id = ? AND topic = ?";

/// Keeps what an operator did; binds time, actor, command, topic, partition, offset before and
/// after, reason.
pub(in crate::target::sqlite) const AUDIT: &str = r#"INSERT INTO afterimage_audit
    (at, actor, command, topic, "partition", before_offset, after_offset, reason)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)"#;
