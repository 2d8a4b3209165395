//! The catalogue's tables, as columns with types and keys.

use crate::table::TableName;
use crate::target::postgres::sql::{quote, relation};

/// Reads which triggers of tables may change the rows that a session of ours writes.
///
/// Of `tgtype`, 1 stands for a trigger of rows and 2 for one that comes before them. Parameters:
/// schemas, tables.
pub(in crate::target::postgres) const CHANGING_TRIGGERS: &str = "\
SELECT w.ordinal, pg_catalog.array_agg(t.tgname::text ORDER BY t.tgname)
FROM unnest($1::pg_catalog.text[], $2::pg_catalog.text[])
  WITH ORDINALITY AS w (schema_name, table_name, ordinal)
JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.schema_name
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.table_name
JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = c.oid
WHERE NOT t.tgisinternal AND t.tgtype & 3 = 3
  AND t.tgenabled IN ('A',
    CASE pg_catalog.current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END)
GROUP BY w.ordinal
ORDER BY w.ordinal";

/// Reads the columns of tables, in order; a domain is followed down to its base type. The modifier of
/// a `money` is the number of its digits behind the point, which the server's locale says.
///
/// `OFFSET 0` keeps a planner from looking at all joins at once, which takes it longer than to run them.
///
/// Parameters: schemas, tables.
pub(in crate::target::postgres) const COLUMNS: &str = "\
SELECT c.ordinal, a.attname::text,
  CASE
    WHEN tn.nspname = 'pg_catalog' THEN pg_catalog.format_type(a.atttypid, a.atttypmod)
    WHEN e.oid IS NOT NULL AND t.oid = b.oid THEN pg_catalog.format('%I.%I[]', en.nspname, e.typname)
    ELSE pg_catalog.format('%I.%I', tn.nspname, t.typname)
  END,
  a.atttypid, modifier.number, a.attnotnull, a.attgenerated <> '' OR c.relkind IN ('v', 'm'),
  tn.nspname::text, t.typname::text, b.oid, b.typtype::text, b.typname::text,
  a.atthasdef OR a.attidentity <> '' AS has_default, a.attidentity::text AS identity,
  e.oid AS element_id, e.typtype::text AS element_kind, e.typname::text AS element_name,
  c.reltype AS row_id, pg_catalog.to_regtype('afterimage.array_cell')::pg_catalog.oid AS array_cell,
  CASE
    WHEN b.typtype = 'c' THEN 'record'
    WHEN t.typtype = 'd' THEN pg_catalog.format_type(b.oid, base.pair[2]::pg_catalog.int4)
  END AS base_name,
  enumeration.name AS enum_name, enumeration.labels::text AS enum_labels,
  c.relhasrules AS has_rules,
  ARRAY (
    SELECT x.indexrelid FROM pg_catalog.pg_index AS x
    WHERE x.indrelid = c.oid AND x.indisunique AND x.indisvalid AND x.indimmediate
      AND x.indpred IS NULL AND x.indexprs IS NULL
      AND a.attnum = ANY ((x.indkey::pg_catalog.int2[])[0:x.indnkeyatts - 1])
  ) AS unique_indexes
FROM (
  SELECT w.ordinal, c.oid, c.relkind, c.reltype, c.relhasrules
  FROM unnest($1::pg_catalog.text[], $2::pg_catalog.text[])
    WITH ORDINALITY AS w (schema_name, table_name, ordinal)
  JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.schema_name
  JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.table_name
  WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm')
  OFFSET 0
) AS c
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.typnamespace
CROSS JOIN LATERAL (
  SELECT CASE WHEN t.typtype <> 'd' THEN ARRAY[a.atttypid::pg_catalog.int8, a.atttypmod] ELSE (
    WITH RECURSIVE chain (oid, modifier, depth) AS (
      SELECT a.atttypid, a.atttypmod, 0
      UNION ALL
      SELECT d.typbasetype, d.typtypmod, chain.depth + 1
      FROM chain
      JOIN pg_catalog.pg_type AS d ON d.oid = chain.oid
      WHERE d.typtype = 'd'
    )
    SELECT ARRAY[chain.oid::pg_catalog.int8, chain.modifier]
    FROM chain
    ORDER BY chain.depth DESC
    LIMIT 1
  ) END AS pair
  OFFSET 0
) AS base
JOIN pg_catalog.pg_type AS b ON b.oid = base.pair[1]::pg_catalog.oid
CROSS JOIN LATERAL (
  SELECT CASE b.oid
    WHEN 'pg_catalog.money'::pg_catalog.regtype
    THEN pg_catalog.scale('0'::pg_catalog.money::pg_catalog.numeric)
    ELSE base.pair[2]::pg_catalog.int4
  END AS number
) AS modifier
LEFT JOIN pg_catalog.pg_type AS e ON e.oid = b.typelem AND b.typcategory = 'A'
LEFT JOIN pg_catalog.pg_namespace AS en ON en.oid = e.typnamespace
LEFT JOIN LATERAL (
  SELECT pg_catalog.format('%I.%I', gn.nspname, g.typname) AS name, pg_catalog.to_json(ARRAY (
    SELECT l.enumlabel::text FROM pg_catalog.pg_enum AS l
    WHERE l.enumtypid = g.oid ORDER BY l.enumsortorder
  )) AS labels
  FROM pg_catalog.pg_type AS g
  JOIN pg_catalog.pg_namespace AS gn ON gn.oid = g.typnamespace
  WHERE g.oid IN (b.oid, e.oid) AND g.typtype = 'e'
  OFFSET 0
) AS enumeration ON true
WHERE a.attnum > 0 AND NOT a.attisdropped
ORDER BY c.ordinal, a.attnum";

/// Reads a stamp of each table, and what is a transaction's own: its time, and whether anything in the
/// database may be checked as late as at COMMIT (each deferrable constraint has a trigger).
///
/// The stamp is another as soon as [`COLUMNS`] reads anything else of the table itself, of its columns,
/// of its indexes or of `array_cell`: it has the transactions that wrote their rows of the catalogue,
/// and what is written over in its place by none: `relhasrules`, which a vacuum takes back, and up to
/// PostgreSQL 13 `indisvalid`.
///
/// Parameter: tables.
pub(in crate::target::postgres) const STAMPS: &str = "\
SELECT w.ordinal, pg_catalog.concat_ws(' ', c.oid, c.xmin, c.relhasrules,
    ARRAY (
      SELECT a.xmin FROM pg_catalog.pg_attribute AS a
      WHERE a.attrelid = c.oid AND a.attnum > 0 ORDER BY a.attnum
    ),
    ARRAY (
      SELECT x.xmin FROM pg_catalog.pg_index AS x
      WHERE x.indrelid = c.oid AND x.indisvalid ORDER BY x.indexrelid
    ),
    pg_catalog.to_regtype('afterimage.array_cell')::pg_catalog.oid
  ) AS stamp,
  EXISTS (SELECT FROM pg_catalog.pg_trigger AS g WHERE g.tgdeferrable) AS has_deferrable,
  pg_catalog.timestamptz_send(pg_catalog.now()) AS now
FROM unnest($1::pg_catalog.regclass[]) WITH ORDINALITY AS w (id, ordinal)
JOIN pg_catalog.pg_class AS c ON c.oid = w.id";

/// Reads the column sets that ON CONFLICT can name, the primary key first.
///
/// Parameters: schemas, tables.
pub(in crate::target::postgres) const UNIQUE_KEYS: &str = "\
SELECT w.ordinal, pg_catalog.array_agg(a.attname::text ORDER BY k.ordinal)
FROM unnest($1::pg_catalog.text[], $2::pg_catalog.text[])
  WITH ORDINALITY AS w (schema_name, table_name, ordinal)
JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.schema_name
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.table_name
JOIN pg_catalog.pg_index AS x ON x.indrelid = c.oid
CROSS JOIN LATERAL unnest(x.indkey::pg_catalog.int2[])
  WITH ORDINALITY AS k (attnum, ordinal)
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.attnum
WHERE x.indisunique AND x.indisvalid AND x.indimmediate
  AND x.indpred IS NULL AND x.indexprs IS NULL AND k.ordinal <= x.indnkeyatts
GROUP BY w.ordinal, x.indexrelid, x.indisprimary
ORDER BY w.ordinal, x.indisprimary DESC, x.indexrelid";

/// Names a type with its schema, without modifiers.
pub(in crate::target::postgres) fn qualified_type(schema: &str, name: &str) -> String {
    format!("{}.{}", quote(schema), quote(name))
}

/// Names the type of arrays of a type. No modifier may stand in a cast: an explicit one cuts.
pub(in crate::target::postgres) fn array_type(schema: &str, name: &str) -> String {
    format!("{}[]", qualified_type(schema, name))
}

/// Names the type of arrays of a table's rows.
pub(in crate::target::postgres) fn row_array(table: &TableName) -> String {
    format!("{}[]", relation(table))
}
