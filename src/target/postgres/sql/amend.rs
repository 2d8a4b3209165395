//! An operator's changes to the checkpoint.

/// Reads rows and locks them, in the order of a claim; an owner counts for as long as a claim of
/// another group would have to wait for it. Parameters: sink, cluster, topics, partitions.
pub(in crate::target::postgres) const LOCK_ROWS: &str = "\
SELECT c.topic, c.\"partition\", c.next_offset, c.topic_id,
  CASE WHEN c.state = 'stopped' THEN coalesce(c.state_reason, '') END,
  c.owner IS NOT NULL AND c.updated_at > pg_catalog.clock_timestamp() - interval '90 s'
FROM afterimage.checkpoint AS c
JOIN unnest($3::pg_catalog.text[], $4::pg_catalog.int4[])
  AS w (topic, \"partition\") ON w.topic = c.topic AND w.\"partition\" = c.\"partition\"
WHERE c.sink = $1 AND c.cluster_id = $2
ORDER BY c.topic, c.\"partition\"
FOR UPDATE OF c";

/// Makes a row, where there is none. Parameters: sink, cluster, topic, partition, offset, topic id,
/// partition count.
pub(in crate::target::postgres) const MAKE_ROW: &str = "\
INSERT INTO afterimage.checkpoint
  (sink, cluster_id, topic, \"partition\", next_offset, topic_id, partitions_seen)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (sink, cluster_id, topic, \"partition\") DO NOTHING";

/// Writes a row under a claim of our own, so that its owner is fenced. The time stays: it is the
/// owner's sign of life. Parameters: as before, whether the last record is forgotten, token, whether
/// the source's log is another one from here on.
pub(in crate::target::postgres) const AMEND_ROW: &str = "\
UPDATE afterimage.checkpoint
SET next_offset = $5, topic_id = coalesce($6, topic_id),
  partitions_seen = coalesce($7, partitions_seen),
  last_offset = CASE WHEN $8 THEN NULL ELSE last_offset END,
  last_timestamp = CASE WHEN $8 THEN NULL ELSE last_timestamp END,
  leader_epoch = CASE WHEN $8 THEN NULL ELSE leader_epoch END,
  deleted_key = CASE WHEN $8 THEN NULL ELSE deleted_key END,
  source_incarnation = CASE WHEN $10
    THEN (coalesce(source_incarnation, '1')::pg_catalog.int8 + 1)::pg_catalog.text
    ELSE source_incarnation END,
  source_position = CASE WHEN $10 THEN NULL ELSE source_position END,
  epoch = epoch + 1, claim_token = $9, state = NULL, state_reason = NULL
WHERE sink = $1 AND cluster_id = $2 AND topic = $3 AND \"partition\" = $4";

/// Accepts every encoding of a topic's keys that was met. Parameters: sink, cluster, topic.
pub(in crate::target::postgres) const ACCEPT_KEYS: &str = "\
UPDATE afterimage.key_encoding
SET is_accepted = TRUE
WHERE sink = $1 AND cluster_id = $2 AND topic = $3";

/// Forgets the encodings of a topic's keys. Parameters: sink, cluster, topic.
pub(in crate::target::postgres) const FORGET_KEYS: &str = "\
DELETE FROM afterimage.key_encoding
WHERE sink = $1 AND cluster_id = $2 AND topic = $3";

/// Keeps what an operator did. Parameters: actor, command, topic, partition, offset before and
/// after, reason.
pub(in crate::target::postgres) const AUDIT: &str = "\
INSERT INTO afterimage.audit (actor, command, topic, \"partition\", before_offset, after_offset,
  reason)
VALUES ($1, $2, $3, $4, $5, $6, $7)";
