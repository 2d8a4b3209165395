//! Our own tables.

/// Creates our own tables.
pub(in crate::target::sqlite) const BOOTSTRAP: [&str; 10] = [
    r#"CREATE TABLE IF NOT EXISTS afterimage_checkpoint (
    sink TEXT NOT NULL,
    cluster_id TEXT NOT NULL,
    topic TEXT NOT NULL,
    "partition" INTEGER NOT NULL,
    topic_id TEXT,
    next_offset INTEGER NOT NULL,
    leader_epoch INTEGER,
    last_offset INTEGER,
    last_timestamp INTEGER,
    deleted_key BLOB,
    source_incarnation TEXT,
    source_position TEXT,
    epoch INTEGER NOT NULL,
    claim_token TEXT,
    owner TEXT,
    group_id TEXT,
    claimed_at TEXT,
    partitions_seen INTEGER,
    state TEXT,
    state_reason TEXT,
    updated_at TEXT,
    PRIMARY KEY (sink, cluster_id, topic, "partition")
)"#,
    r#"CREATE TABLE IF NOT EXISTS afterimage_dead_letter (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sink TEXT NOT NULL,
    cluster_id TEXT NOT NULL,
    topic TEXT NOT NULL,
    "partition" INTEGER NOT NULL,
    record_offset INTEGER NOT NULL,
    table_name TEXT,
    key BLOB,
    value BLOB,
    headers TEXT,
    reason TEXT NOT NULL,
    error TEXT,
    sqlstate TEXT,
    record_timestamp TEXT,
    first_seen TEXT NOT NULL,
    last_seen TEXT NOT NULL,
    state TEXT NOT NULL,
    UNIQUE (sink, cluster_id, topic, "partition", record_offset)
)"#,
    r#"CREATE TABLE IF NOT EXISTS afterimage_refused_key (
    sink TEXT NOT NULL,
    cluster_id TEXT NOT NULL,
    topic TEXT NOT NULL,
    "partition" INTEGER NOT NULL,
    key BLOB NOT NULL,
    PRIMARY KEY (sink, cluster_id, topic, "partition", key)
)"#,
    "CREATE TABLE IF NOT EXISTS afterimage_key_move (
    sink TEXT NOT NULL,
    cluster_id TEXT NOT NULL,
    topic TEXT NOT NULL,
    place TEXT NOT NULL,
    column_name TEXT NOT NULL,
    state TEXT NOT NULL,
    value BLOB,
    at TEXT NOT NULL,
    PRIMARY KEY (sink, cluster_id, topic, place, column_name)
)",
    r#"CREATE TABLE IF NOT EXISTS afterimage_key_taken (
    sink TEXT NOT NULL,
    cluster_id TEXT NOT NULL,
    topic TEXT NOT NULL,
    "partition" INTEGER NOT NULL,
    "transaction" INTEGER NOT NULL,
    key BLOB NOT NULL,
    came_at INTEGER NOT NULL,
    was_taken INTEGER NOT NULL,
    left_at INTEGER,
    at TEXT NOT NULL,
    PRIMARY KEY (sink, cluster_id, topic, "partition", "transaction", key, came_at)
)"#,
    "CREATE TABLE IF NOT EXISTS afterimage_source_table (
    target_table TEXT NOT NULL COLLATE NOCASE,
    source_server TEXT NOT NULL,
    source_database TEXT NOT NULL,
    source_schema TEXT NOT NULL,
    source_table TEXT NOT NULL,
    topic TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (target_table, source_server, source_database, source_schema, source_table)
)",
    "CREATE TABLE IF NOT EXISTS afterimage_key_encoding (
    sink TEXT NOT NULL,
    cluster_id TEXT NOT NULL,
    topic TEXT NOT NULL,
    source_table TEXT NOT NULL,
    encoding TEXT NOT NULL,
    is_accepted INTEGER NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (sink, cluster_id, topic, source_table, encoding)
)",
    r#"CREATE TABLE IF NOT EXISTS afterimage_audit (
    at TEXT NOT NULL,
    actor TEXT,
    command TEXT NOT NULL,
    topic TEXT,
    "partition" INTEGER,
    before_offset INTEGER,
    after_offset INTEGER,
    reason TEXT
)"#,
    "CREATE TABLE IF NOT EXISTS afterimage_schema_version (
    version INTEGER PRIMARY KEY,
    at TEXT NOT NULL
)",
    "INSERT INTO afterimage_schema_version (version, at)
VALUES (5, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
ON CONFLICT (version) DO NOTHING",
];

/// Returns whether our own tables are there, as this version wants them.
pub(in crate::target::sqlite) const IS_BOOTSTRAPPED: &str =
    "SELECT 1 FROM sqlite_schema WHERE type = 'table'
    AND name IN ('afterimage_key_taken', 'afterimage_source_table', 'afterimage_key_encoding')
GROUP BY type HAVING count(*) = 3
    AND EXISTS (SELECT 1 FROM pragma_table_info('afterimage_checkpoint') WHERE name = 'deleted_key')";

/// Returns whether the checkpoint has the key of a delete, which it lacks in earlier versions.
pub(in crate::target::sqlite) const HAS_DELETED_KEY: &str =
    "SELECT 1 FROM pragma_table_info('afterimage_checkpoint') WHERE name = 'deleted_key'";

/// Extends the checkpoint of an earlier version.
pub(in crate::target::sqlite) const ADD_DELETED_KEY: &str =
    "ALTER TABLE afterimage_checkpoint ADD COLUMN deleted_key BLOB";

/// Returns the newest version of our own tables.
pub(in crate::target::sqlite) const NEWEST_VERSION: &str =
    "SELECT max(version) FROM afterimage_schema_version";
