//! The checkpoint's rows: claims, steps, and what tells the logs from others.

/// Takes a partition; binds token, owner, group, time, the partition's key, whether to take over, and
/// the time before which another group's claim counts for nothing.
pub(in crate::target::sqlite) const CLAIM: &str = r#"UPDATE afterimage_checkpoint
SET epoch = epoch + 1, claim_token = ?1, owner = ?2, group_id = ?3, claimed_at = ?4, updated_at = ?4
WHERE sink = ?5 AND cluster_id = ?6 AND topic = ?7 AND "partition" = ?8
    AND (?9 OR group_id IS NULL OR group_id = ?3 OR updated_at IS NULL OR updated_at < ?10)
RETURNING epoch, next_offset, topic_id, coalesce(partitions_seen, (
    SELECT max(t.partitions_seen)
    FROM afterimage_checkpoint AS t
    WHERE t.sink = ?5 AND t.cluster_id = ?6 AND t.topic = ?7
)), last_offset, last_timestamp, leader_epoch, deleted_key"#;

/// Returns for how many seconds no owner has shown that it lives; binds the time and the partition's
/// key.
pub(in crate::target::sqlite) const UNOWNED: &str = r#"SELECT unixepoch(?) - unixepoch(updated_at)
FROM afterimage_checkpoint
WHERE sink = ? AND cluster_id = ? AND topic = ? AND "partition" = ?"#;

/// Returns who holds a partition, once a claim has found no row that it may take.
pub(in crate::target::sqlite) const HOLDER: &str = r#"SELECT group_id
FROM afterimage_checkpoint
WHERE sink = ? AND cluster_id = ? AND topic = ? AND "partition" = ?"#;

/// Returns whether the sink knows any partition of a topic.
pub(in crate::target::sqlite) const KNOWS_TOPIC: &str = "SELECT EXISTS (
    SELECT 1 FROM afterimage_checkpoint WHERE sink = ? AND cluster_id = ? AND topic = ?
)";

/// Returns another cluster that the sink knows a topic of that name from; binds sink, cluster, topic.
pub(in crate::target::sqlite) const OTHER_CLUSTER: &str = "SELECT cluster_id
FROM afterimage_checkpoint
WHERE sink = ? AND cluster_id <> ? AND topic = ?
LIMIT 1";

/// Makes a partition's row; binds its key, its first offset and the time.
pub(in crate::target::sqlite) const BEGIN: &str = r#"INSERT INTO afterimage_checkpoint
    (sink, cluster_id, topic, "partition", next_offset, epoch, updated_at)
VALUES (?, ?, ?, ?, ?, 0, ?)
ON CONFLICT (sink, cluster_id, topic, "partition") DO NOTHING"#;

/// Gives a partition up; binds the time, the partition's key and the claim.
pub(in crate::target::sqlite) const RELEASE: &str = r#"UPDATE afterimage_checkpoint
SET owner = NULL, updated_at = ?
WHERE sink = ? AND cluster_id = ? AND topic = ? AND "partition" = ?
    AND epoch >= ? AND claim_token = ?"#;

/// Shows that the owner lives; binds the time, the partition's key and the claim.
pub(in crate::target::sqlite) const TOUCH: &str = r#"UPDATE afterimage_checkpoint
SET updated_at = ?
WHERE sink = ? AND cluster_id = ? AND topic = ? AND "partition" = ?
    AND epoch >= ? AND claim_token = ?"#;

/// Writes a state; binds state, reason, time, the partition's key and the claim.
pub(in crate::target::sqlite) const MARK: &str = r#"UPDATE afterimage_checkpoint
SET state = ?, state_reason = ?, updated_at = ?
WHERE sink = ? AND cluster_id = ? AND topic = ? AND "partition" = ?
    AND epoch >= ? AND claim_token = ?"#;

/// Writes what tells a log from others; binds topic id, partition count, the partition's key and the
/// claim.
pub(in crate::target::sqlite) const IDENTIFY: &str = r#"UPDATE afterimage_checkpoint
SET topic_id = ?, partitions_seen = ?
WHERE sink = ? AND cluster_id = ? AND topic = ? AND "partition" = ?
    AND epoch = ? AND claim_token = ?"#;

/// Reads where every partition of a topic stands; binds sink, cluster and topic.
pub(in crate::target::sqlite) const PLACES: &str = r#"SELECT "partition", next_offset
FROM afterimage_checkpoint
WHERE sink = ? AND cluster_id = ? AND topic = ?"#;

/// Keeps how keys are encoded; the first encoding of a table is accepted, and each where no key can
/// move. Binds sink, cluster, topic, source table, encoding, whether the partition is alone, time.
pub(in crate::target::sqlite) const MEET_KEY: &str = "INSERT INTO afterimage_key_encoding
    (sink, cluster_id, topic, source_table, encoding, is_accepted, at)
SELECT ?1, ?2, ?3, ?4, ?5, ?6 OR NOT EXISTS (
    SELECT 1 FROM afterimage_key_encoding
    WHERE sink = ?1 AND cluster_id = ?2 AND topic = ?3 AND source_table = ?4
), ?7
WHERE TRUE
ON CONFLICT (sink, cluster_id, topic, source_table, encoding)
    DO UPDATE SET is_accepted = is_accepted OR ?6
RETURNING is_accepted";

/// Moves a partition, which therefore runs; binds the next and the last offset, the last timestamp,
/// the source's position, owner, time, the partition's key, the claim, where the row must stand, and
/// the last leader epoch and the key of a delete.
pub(in crate::target::sqlite) const ADVANCE: &str = r#"UPDATE afterimage_checkpoint
SET next_offset = ?1, last_offset = coalesce(?2, last_offset),
    last_timestamp = CASE WHEN ?2 IS NULL THEN last_timestamp ELSE ?3 END,
    leader_epoch = CASE WHEN ?2 IS NULL THEN leader_epoch ELSE ?14 END,
    deleted_key = CASE WHEN ?2 IS NULL THEN deleted_key ELSE ?15 END,
    source_position = coalesce(?4, source_position), state = 'running', state_reason = NULL,
    owner = ?5, updated_at = ?6
WHERE sink = ?7 AND cluster_id = ?8 AND topic = ?9 AND "partition" = ?10
    AND epoch = ?11 AND claim_token = ?12 AND next_offset = ?13"#;

/// Returns whether a partition is stopped, if it stands at an offset; binds its key, the claim and that
/// offset.
pub(in crate::target::sqlite) const STAND: &str = r#"SELECT state IS 'stopped'
FROM afterimage_checkpoint
WHERE sink = ? AND cluster_id = ? AND topic = ? AND "partition" = ?
    AND epoch = ? AND claim_token = ? AND next_offset = ?"#;
