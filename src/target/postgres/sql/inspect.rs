//! What the commands look at.

use crate::table::TableName;
use crate::target::postgres::sql::{quote, relation};

/// Reads the sink's checkpoint rows. Parameters: sink, cluster.
pub(in crate::target::postgres) const CHECKPOINTS: &str = "\
SELECT topic, \"partition\", next_offset, epoch, owner, group_id, state, state_reason,
  source_position, (extract(epoch FROM updated_at) * 1000)::pg_catalog.int8, source_incarnation
FROM afterimage.checkpoint
WHERE sink = $1 AND cluster_id = $2
ORDER BY topic, \"partition\"";

/// Counts the sink's open dead letters. Parameters: sink, cluster.
pub(in crate::target::postgres) const DEAD_LETTER_COUNTS: &str = "\
SELECT topic, \"partition\", pg_catalog.count(*)
FROM afterimage.dead_letter
WHERE sink = $1 AND cluster_id = $2 AND state = 'open'
GROUP BY topic, \"partition\"
ORDER BY topic, \"partition\"";

/// Reads the tables that have a column of that name for the time of writing, and about how many
/// rows each has; NULL where the server does not know yet. Parameters: column.
pub(in crate::target::postgres) const REPLICATED_TABLES: &str = "\
SELECT n.nspname::text, c.relname::text,
  CASE WHEN c.reltuples >= 0 THEN c.reltuples::pg_catalog.int8 END
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE a.attname = $1 AND a.attnum > 0 AND NOT a.attisdropped
  AND a.atttypid IN ('pg_catalog.timestamptz'::pg_catalog.regtype,
    'pg_catalog.timestamp'::pg_catalog.regtype)
  AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'afterimage')
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
  AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
ORDER BY 1, 2";

/// Counts the rows of a table, and finds the newest time of writing.
pub(in crate::target::postgres) fn count_rows(table: &TableName, synced_at: &str) -> String {
    let newest = format!("pg_catalog.max({})::pg_catalog.text", quote(synced_at));
    format!("SELECT pg_catalog.count(*), {newest} FROM {}", relation(table))
}

/// Reads the rows that were written last, each column as text. Parameters: limit.
pub(in crate::target::postgres) fn newest_rows(
    table: &TableName,
    columns: &[&str],
    synced_at: Option<&str>,
) -> String {
    let list = columns.iter().map(|name| format!("{}::pg_catalog.text", quote(name)));
    let list = list.collect::<Vec<_>>().join(", ");
    let order = synced_at.map(|name| format!("\nORDER BY {} DESC", quote(name)));
    format!("SELECT {list}\nFROM {}{}\nLIMIT $1", relation(table), order.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn the_newest_rows_are_read_as_text() {
        let table = TableName { schema: Some("s".to_owned()), table: "t".to_owned() };
        expect![[r#"
            SELECT "a"::pg_catalog.text, "b"::pg_catalog.text
            FROM "s"."t"
            ORDER BY "synced_at" DESC
            LIMIT $1"#]]
        .assert_eq(&newest_rows(&table, &["a", "b"], Some("synced_at")));
    }
}
