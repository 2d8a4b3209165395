//! Our own tables.

/// Creates our own tables.
pub(in crate::target::sqlite) const BOOTSTRAP: [&str; 14] = [
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
    copied_at TEXT,
    copying_until TEXT,
    UNIQUE (sink, cluster_id, topic, "partition", record_offset)
)"#,
    "CREATE INDEX IF NOT EXISTS afterimage_dead_letter_key
ON afterimage_dead_letter (key)
WHERE state = 'open'",
    "CREATE INDEX IF NOT EXISTS afterimage_dead_letter_uncopied
ON afterimage_dead_letter (sink, cluster_id, id)
WHERE state = 'open' AND copied_at IS NULL",
    r#"CREATE TABLE IF NOT EXISTS afterimage_refused_key (
    sink TEXT NOT NULL,
    cluster_id TEXT NOT NULL,
    topic TEXT NOT NULL,
    "partition" INTEGER NOT NULL,
    key BLOB NOT NULL,
    since_offset INTEGER,
    PRIMARY KEY (sink, cluster_id, topic, "partition", key)
)"#,
    // Marks of earlier versions do not say since when: the newest dead letter is behind it.
    r#"UPDATE afterimage_refused_key AS k
SET since_offset = (
    SELECT max(d.record_offset)
    FROM afterimage_dead_letter AS d
    WHERE d.sink = k.sink AND d.cluster_id = k.cluster_id AND d.topic = k.topic
        AND d."partition" = k."partition" AND d.key = k.key
)
WHERE since_offset IS NULL"#,
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
    r#"CREATE TABLE IF NOT EXISTS afterimage_row_guard (
    table_name TEXT NOT NULL COLLATE NOCASE,
    key BLOB NOT NULL,
    log_file INTEGER,
    log_pos INTEGER,
    log_row INTEGER,
    is_snapshot INTEGER NOT NULL,
    source_time INTEGER,
    sent_at INTEGER NOT NULL,
    cluster_id TEXT,
    topic TEXT NOT NULL,
    "partition" INTEGER NOT NULL,
    record_offset INTEGER NOT NULL,
    changed_file INTEGER,
    changed_pos INTEGER,
    changed_row INTEGER,
    PRIMARY KEY (table_name, key)
) WITHOUT ROWID"#,
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
VALUES (6, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
ON CONFLICT (version) DO NOTHING",
];

/// Columns that tables of earlier versions lack, each with the statement that adds it.
pub(in crate::target::sqlite) const ADDED_COLUMNS: [(&str, &str, &str); 7] = [
    (
        "afterimage_checkpoint",
        "deleted_key",
        "ALTER TABLE afterimage_checkpoint ADD COLUMN deleted_key BLOB",
    ),
    (
        "afterimage_dead_letter",
        "copied_at",
        "ALTER TABLE afterimage_dead_letter ADD COLUMN copied_at TEXT",
    ),
    (
        "afterimage_dead_letter",
        "copying_until",
        "ALTER TABLE afterimage_dead_letter ADD COLUMN copying_until TEXT",
    ),
    (
        "afterimage_refused_key",
        "since_offset",
        "ALTER TABLE afterimage_refused_key ADD COLUMN since_offset INTEGER",
    ),
    (
        "afterimage_row_guard",
        "changed_file",
        "ALTER TABLE afterimage_row_guard ADD COLUMN changed_file INTEGER",
    ),
    (
        "afterimage_row_guard",
        "changed_pos",
        "ALTER TABLE afterimage_row_guard ADD COLUMN changed_pos INTEGER",
    ),
    (
        "afterimage_row_guard",
        "changed_row",
        "ALTER TABLE afterimage_row_guard ADD COLUMN changed_row INTEGER",
    ),
];

/// Returns whether a table is there and lacks a column; binds both names.
pub(in crate::target::sqlite) const LACKS_COLUMN: &str =
    "SELECT EXISTS (SELECT 1 FROM pragma_table_info(?1))
    AND NOT EXISTS (SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2)";

/// Returns whether our own tables are there, as this version wants them: what is newest in them came
/// in one transaction with the rest.
pub(in crate::target::sqlite) const IS_BOOTSTRAPPED: &str =
    "SELECT 1 FROM sqlite_schema WHERE type = 'table'
    AND name IN ('afterimage_key_taken', 'afterimage_source_table', 'afterimage_key_encoding',
        'afterimage_row_guard')
GROUP BY type HAVING count(*) = 4
    AND EXISTS (SELECT 1 FROM pragma_table_info('afterimage_checkpoint') WHERE name = 'deleted_key')
    AND EXISTS (SELECT 1 FROM pragma_table_info('afterimage_refused_key')
        WHERE name = 'since_offset')
    AND EXISTS (SELECT 1 FROM pragma_table_info('afterimage_row_guard')
        WHERE name = 'changed_row')";

/// Returns the newest version of our own tables.
pub(in crate::target::sqlite) const NEWEST_VERSION: &str =
    "SELECT max(version) FROM afterimage_schema_version";
