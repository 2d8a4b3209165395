//! Which source tables lead to which tables.

/// Keeps what leads to a table; binds the table, then server, database, schema, table and topic
/// of the source, and the time.
pub(in crate::target::sqlite) const KEEP_LEAD: &str = "INSERT INTO afterimage_source_table
    (target_table, source_server, source_database, source_schema, source_table, topic,
    at)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING";

/// Reads what leads to a table; binds the table.
pub(in crate::target::sqlite) const LEADERS: &str = "SELECT source_server, source_database,
    source_schema, source_table, topic
FROM afterimage_source_table
WHERE target_table = ?
ORDER BY at, source_server, source_database, source_schema, source_table";

/// Counts the sources that lead to a table beside another one.
pub(in crate::target::sqlite) const MET: &str = "SELECT count(*) - count(DISTINCT target_table)
FROM afterimage_source_table";
