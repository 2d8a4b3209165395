//! Which source tables lead to which tables.

/// Lets one transaction at a time tell what leads to a table, until it ends. Parameters: schemas,
/// tables.
pub(in crate::target::postgres) const LOCK_LEADS: &str = "\
SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('afterimage.source_table'), w.name)
FROM (
  SELECT DISTINCT pg_catalog.hashtext(pg_catalog.format('%I.%I', schema_name, table_name))
  FROM unnest($1::pg_catalog.text[], $2::pg_catalog.text[]) AS u (schema_name, table_name)
  ORDER BY 1
) AS w (name)";

/// Keeps what leads to tables. Parameters: schemas and tables, then servers, databases, schemas,
/// tables and topics of the sources.
pub(in crate::target::postgres) const KEEP_LEADS: &str = "\
INSERT INTO afterimage.source_table (target_schema, target_table, source_server, source_database,
  source_schema, source_table, topic)
SELECT *
FROM unnest($1::pg_catalog.text[], $2::pg_catalog.text[], $3::pg_catalog.text[],
  $4::pg_catalog.text[], $5::pg_catalog.text[], $6::pg_catalog.text[],
  $7::pg_catalog.text[])
ON CONFLICT DO NOTHING";

/// Reads what leads to tables. Parameters: schemas, tables.
pub(in crate::target::postgres) const LEADERS: &str = "\
SELECT w.ordinal, s.source_server, s.source_database, s.source_schema, s.source_table, s.topic
FROM unnest($1::pg_catalog.text[], $2::pg_catalog.text[])
  WITH ORDINALITY AS w (schema_name, table_name, ordinal)
JOIN afterimage.source_table AS s
  ON s.target_schema = w.schema_name AND s.target_table = w.table_name
ORDER BY w.ordinal, s.at, s.source_server, s.source_database, s.source_schema, s.source_table";

/// Counts the sources that lead to a table beside another one.
pub(in crate::target::postgres) const MET: &str = "\
SELECT pg_catalog.count(*) - pg_catalog.count(DISTINCT (target_schema, target_table))
FROM afterimage.source_table";
