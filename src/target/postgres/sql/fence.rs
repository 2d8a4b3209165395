//! The checkpoint rows: claims, steps, and who stands in the way.

/// Claims partitions: the rows are locked in order, and what another group holds is left out under
/// the same lock.
///
/// How many partitions a topic has had is known from its other rows to one that was just made.
/// `next_offset` is taken from RETURNING, which reads behind the lock; the snapshot's is stale.
/// The owner before us, and those before it, are remembered while a session of theirs is there: one
/// that is frozen may hold locks that only a later owner meets.
/// Parameters: sink, cluster, topics, partitions, token, owner, group, take over, a token's length.
pub(in crate::target::postgres) const CLAIM: &str = "\
WITH o AS (
  SELECT c.topic, c.\"partition\", ARRAY (
    SELECT DISTINCT f.token
    FROM unnest(c.former_owners || c.owner) AS f (token)
    JOIN pg_catalog.pg_stat_activity AS a
      ON pg_catalog.left(a.application_name, $9) = f.token
    WHERE f.token <> $6
  ) AS former_owners, pg_catalog.clock_timestamp() - c.updated_at AS unowned
  FROM afterimage.checkpoint AS c
  JOIN unnest($3::pg_catalog.text[], $4::pg_catalog.int4[])
    AS w (topic, \"partition\") ON w.topic = c.topic AND w.\"partition\" = c.\"partition\"
  WHERE c.sink = $1 AND c.cluster_id = $2
    AND ($8 OR c.group_id IS NULL OR c.group_id = $7
      OR c.updated_at <= pg_catalog.clock_timestamp() - interval '90 s')
  ORDER BY c.topic, c.\"partition\"
  FOR UPDATE OF c
)
UPDATE afterimage.checkpoint AS c
SET epoch = c.epoch + 1, claim_token = $5, owner = $6, former_owners = o.former_owners,
  group_id = $7,
  claimed_at = pg_catalog.clock_timestamp(), updated_at = pg_catalog.clock_timestamp()
FROM o
WHERE c.sink = $1 AND c.cluster_id = $2 AND c.topic = o.topic AND c.\"partition\" = o.\"partition\"
RETURNING c.topic, c.\"partition\", c.next_offset, c.epoch, c.former_owners, c.topic_id,
  coalesce(c.partitions_seen, (
    SELECT pg_catalog.max(t.partitions_seen)
    FROM afterimage.checkpoint AS t
    WHERE t.sink = $1 AND t.cluster_id = $2 AND t.topic = c.topic
  )), c.last_offset, c.last_timestamp, c.leader_epoch, c.deleted_key,
  (extract(epoch FROM o.unowned) * 1000)::pg_catalog.int8";

/// Reads the rows of topics whose partitions a claim did not get, those of other clusters too.
///
/// Parameters: sink, topics.
pub(in crate::target::postgres) const UNCLAIMED: &str = "\
SELECT topic, \"partition\", coalesce(group_id, ''), cluster_id
FROM afterimage.checkpoint
WHERE sink = $1 AND topic = ANY ($2::pg_catalog.text[])";

/// Reads the keys whose newest image was refused.
///
/// Parameters: sink, cluster, topics, partitions.
pub(in crate::target::postgres) const REFUSED_KEYS: &str = "\
SELECT k.topic, k.\"partition\", k.key
FROM afterimage.refused_key AS k
JOIN unnest($3::pg_catalog.text[], $4::pg_catalog.int4[])
  AS w (topic, \"partition\") ON w.topic = k.topic AND w.\"partition\" = k.\"partition\"
WHERE k.sink = $1 AND k.cluster_id = $2";

/// Makes first rows.
///
/// Parameters: sink, cluster, topics, partitions, offsets.
pub(in crate::target::postgres) const BEGIN: &str = "\
INSERT INTO afterimage.checkpoint (sink, cluster_id, topic, \"partition\", next_offset)
SELECT $1, $2, w.topic, w.\"partition\", w.next_offset
FROM unnest($3::pg_catalog.text[], $4::pg_catalog.int4[], $5::pg_catalog.int8[])
  AS w (topic, \"partition\", next_offset)
ORDER BY w.topic, w.\"partition\"
ON CONFLICT (sink, cluster_id, topic, \"partition\") DO NOTHING";

/// Has the server count the rows, unless somebody's work on the table would have to be waited for; who
/// may not is only warned.
pub(in crate::target::postgres) const ANALYZE: &str = "ANALYZE (SKIP_LOCKED) afterimage.checkpoint";

/// Shows that the owner lives, or gives its claims up; a row that carries another claim is left alone.
/// One that an operator has counted up since is the same claim, whose steps alone are void.
///
/// Parameters: sink, cluster, topics, partitions, epochs, tokens, whether to give up.
pub(in crate::target::postgres) const TOUCH: &str = "\
WITH o AS (
  SELECT c.topic, c.\"partition\"
  FROM afterimage.checkpoint AS c
  JOIN unnest($3::pg_catalog.text[], $4::pg_catalog.int4[], $5::pg_catalog.int8[],
    $6::pg_catalog.uuid[]) AS w (topic, \"partition\", epoch, token)
    ON w.topic = c.topic AND w.\"partition\" = c.\"partition\"
  WHERE c.sink = $1 AND c.cluster_id = $2 AND c.epoch >= w.epoch AND c.claim_token = w.token
  ORDER BY c.topic, c.\"partition\"
  FOR UPDATE OF c
)
UPDATE afterimage.checkpoint AS c
SET owner = CASE WHEN $7 THEN NULL ELSE c.owner END, updated_at = pg_catalog.clock_timestamp()
FROM o
WHERE c.sink = $1 AND c.cluster_id = $2 AND c.topic = o.topic AND c.\"partition\" = o.\"partition\"";

/// Writes what tells logs from others; a row that carries another claim is left alone.
///
/// Parameters: sink, cluster, topics, partitions, epochs, tokens, topic ids, partition counts.
pub(in crate::target::postgres) const IDENTIFY: &str = "\
UPDATE afterimage.checkpoint AS c
SET topic_id = w.topic_id, partitions_seen = w.seen
FROM unnest($3::pg_catalog.text[], $4::pg_catalog.int4[], $5::pg_catalog.int8[],
  $6::pg_catalog.uuid[], $7::pg_catalog.uuid[], $8::pg_catalog.int4[])
  AS w (topic, \"partition\", epoch, token, topic_id, seen)
WHERE c.sink = $1 AND c.cluster_id = $2 AND c.topic = w.topic AND c.\"partition\" = w.\"partition\"
  AND c.epoch = w.epoch AND c.claim_token = w.token";

/// Reads where every partition of a topic stands. Parameters: sink, cluster, topic.
pub(in crate::target::postgres) const PLACES: &str = "\
SELECT topic, \"partition\", next_offset
FROM afterimage.checkpoint
WHERE sink = $1 AND cluster_id = $2 AND topic = $3";

/// Lets one member at a time tell of the keys of topics, until its transaction ends. Parameters:
/// topics.
pub(in crate::target::postgres) const LOCK_KEYS: &str = "\
SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('afterimage.key_encoding'), w.name)
FROM (
  SELECT DISTINCT pg_catalog.hashtext(topic) FROM unnest($1::pg_catalog.text[]) AS u (topic)
  ORDER BY 1
) AS w (name)";

/// Keeps how keys are encoded; the first encoding of a table is accepted, and each where no key can
/// move. Parameters: sink, cluster, topic, source table, encoding, whether the partition is alone.
pub(in crate::target::postgres) const MEET_KEY: &str = "\
INSERT INTO afterimage.key_encoding AS k
  (sink, cluster_id, topic, source_table, encoding, is_accepted)
SELECT $1, $2, $3, $4, $5, $6 OR NOT EXISTS (
  SELECT FROM afterimage.key_encoding
  WHERE sink = $1 AND cluster_id = $2 AND topic = $3 AND source_table = $4
)
ON CONFLICT (sink, cluster_id, topic, source_table, encoding)
  DO UPDATE SET is_accepted = k.is_accepted OR $6
RETURNING is_accepted";

/// Writes the state of a partition.
///
/// Parameters: sink, cluster, topic, partition, epoch, token, state, reason.
pub(in crate::target::postgres) const MARK: &str = "\
UPDATE afterimage.checkpoint
SET state = $7, state_reason = $8, updated_at = pg_catalog.clock_timestamp()
WHERE sink = $1 AND cluster_id = $2 AND topic = $3 AND \"partition\" = $4
  AND epoch >= $5 AND claim_token = $6";

/// What the error of [`STEP`] says.
pub(in crate::target::postgres) const NOT_MOVED: &str = "afterimage: partitions that moved: ";

/// Moves the partitions of a batch, if each still stands where the batch begins and is still ours;
/// fails otherwise, so that a COMMIT behind it in the same message does nothing.
///
/// The error is that of a text which is no number, as the type itself reads it: a cast may be the
/// user's. Parameters: sink, cluster, topics, partitions, epochs, tokens, from, to, last offsets, last
/// timestamps, source positions, owner, group, leader epochs, keys of deletes.
pub(super) const STEP: &str = "\
WITH w AS (
  SELECT *
  FROM unnest($3::pg_catalog.text[], $4::pg_catalog.int4[], $5::pg_catalog.int8[],
    $6::pg_catalog.uuid[], $7::pg_catalog.int8[], $8::pg_catalog.int8[], $9::pg_catalog.int8[],
    $10::pg_catalog.int8[], $11::pg_catalog.text[], $14::pg_catalog.int4[],
    $15::pg_catalog.bytea[])
    AS w (topic, \"partition\", epoch, token, start, stop, last_offset, last_timestamp, position,
      leader_epoch, deleted_key)
), o AS (
  SELECT c.topic, c.\"partition\"
  FROM afterimage.checkpoint AS c
  JOIN w ON w.topic = c.topic AND w.\"partition\" = c.\"partition\"
  WHERE c.sink = $1 AND c.cluster_id = $2
    AND c.epoch = w.epoch AND c.claim_token = w.token AND c.next_offset = w.start
  ORDER BY c.topic, c.\"partition\"
  FOR UPDATE OF c
), moved AS (
  UPDATE afterimage.checkpoint AS c
  SET next_offset = w.stop, last_offset = coalesce(w.last_offset, c.last_offset),
    last_timestamp = CASE WHEN w.last_offset IS NULL THEN c.last_timestamp ELSE w.last_timestamp END,
    leader_epoch = CASE WHEN w.last_offset IS NULL THEN c.leader_epoch ELSE w.leader_epoch END,
    deleted_key = CASE WHEN w.last_offset IS NULL THEN c.deleted_key ELSE w.deleted_key END,
    source_position = coalesce(w.position, c.source_position), state = 'running',
    state_reason = NULL, owner = $12, group_id = $13, updated_at = pg_catalog.clock_timestamp()
  FROM o
  JOIN w ON w.topic = o.topic AND w.\"partition\" = o.\"partition\"
  WHERE c.sink = $1 AND c.cluster_id = $2 AND c.topic = o.topic AND c.\"partition\" = o.\"partition\"
    AND c.epoch = w.epoch AND c.claim_token = w.token AND c.next_offset = w.start
  RETURNING 1
)
SELECT CASE
  WHEN pg_catalog.count(*) < (SELECT pg_catalog.count(*) FROM w)
  THEN pg_catalog.int8in(pg_catalog.textout(pg_catalog.concat(
    'afterimage: partitions that moved: ', pg_catalog.count(*))))
END
FROM moved";

/// Reads where partitions stand.
///
/// Parameters: sink, cluster, topics, partitions.
pub(in crate::target::postgres) const POSITIONS: &str = "\
SELECT c.topic, c.\"partition\", c.epoch, c.claim_token, c.next_offset,
  c.state IS NOT DISTINCT FROM 'stopped'
FROM afterimage.checkpoint AS c
JOIN unnest($3::pg_catalog.text[], $4::pg_catalog.int4[])
  AS w (topic, \"partition\") ON w.topic = c.topic AND w.\"partition\" = c.\"partition\"
WHERE c.sink = $1 AND c.cluster_id = $2";

/// Reads who owns the partitions that a claim may take, and who owned them before.
///
/// Parameters: sink, cluster, topics, partitions, group, take over.
pub(in crate::target::postgres) const FORMER_OWNERS: &str = "\
SELECT c.topic, c.\"partition\", f.owner
FROM afterimage.checkpoint AS c
JOIN unnest($3::pg_catalog.text[], $4::pg_catalog.int4[])
  AS w (topic, \"partition\") ON w.topic = c.topic AND w.\"partition\" = c.\"partition\"
CROSS JOIN LATERAL unnest(c.former_owners || c.owner) AS f (owner)
WHERE c.sink = $1 AND c.cluster_id = $2 AND f.owner IS NOT NULL
  AND ($6 OR c.group_id IS NULL OR c.group_id = $5
    OR c.updated_at <= pg_catalog.clock_timestamp() - interval '90 s')";

/// Reads which sessions stand, directly or behind others, in the way of ours, and ends those of these
/// owners.
///
/// Ours is the session whose name begins with `$1`; the other sessions of our own token are former
/// connections of this very lane. Parameters: name, its length, tokens, a token's length.
pub(in crate::target::postgres) const BLOCKERS: &str = "\
WITH RECURSIVE chain (pid) AS (
  SELECT a.pid
  FROM pg_catalog.pg_stat_activity AS a
  WHERE pg_catalog.left(a.application_name, $2) = $1
  UNION
  SELECT b.pid
  FROM chain
  CROSS JOIN LATERAL unnest(pg_catalog.pg_blocking_pids(chain.pid)) AS b (pid)
)
SELECT pg_catalog.left(a.application_name, $4), a.pid,
  CASE
    WHEN pg_catalog.left(a.application_name, $4) = ANY ($3::pg_catalog.text[])
    THEN pg_catalog.pg_terminate_backend(a.pid)
  END,
  a.application_name, a.usename::text
FROM chain
JOIN pg_catalog.pg_stat_activity AS a ON a.pid = chain.pid
WHERE pg_catalog.left(a.application_name, $2) <> $1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_fails_says_so_in_the_words_that_are_looked_for() {
        assert!(STEP.contains(NOT_MOVED));
    }
}
