//! Tables: ours, and the replicated ones.

use std::collections::BTreeSet;

use crate::table::{Column, Table, TableName};
use crate::target::postgres::sql::{literal, quote, relation, schema};

/// Whether all of our own tables are there, as this version wants them.
pub(in crate::target::postgres) const IS_BOOTSTRAPPED: &str = "\
SELECT pg_catalog.to_regclass('afterimage.checkpoint') IS NOT NULL
  AND pg_catalog.to_regclass('afterimage.dead_letter') IS NOT NULL
  AND pg_catalog.to_regclass('afterimage.refused_key') IS NOT NULL
  AND pg_catalog.to_regclass('afterimage.audit') IS NOT NULL
  AND pg_catalog.to_regclass('afterimage.schema_version') IS NOT NULL
  AND pg_catalog.to_regclass('afterimage.key_move') IS NOT NULL
  AND pg_catalog.to_regclass('afterimage.key_taken') IS NOT NULL
  AND pg_catalog.to_regclass('afterimage.source_table') IS NOT NULL
  AND pg_catalog.to_regclass('afterimage.key_encoding') IS NOT NULL
  AND pg_catalog.to_regclass('afterimage.row_guard') IS NOT NULL
  AND pg_catalog.to_regclass('afterimage.array_cell') IS NOT NULL
  AND (SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute
    WHERE attname IN ('former_owners', 'deleted_key')
    AND attrelid = pg_catalog.to_regclass('afterimage.checkpoint')) = 2
  AND (SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute
    WHERE attname IN ('key_id', 'changed_row')
    AND attrelid = pg_catalog.to_regclass('afterimage.row_guard')) = 2
  AND EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attname = 'since_offset'
    AND attrelid = pg_catalog.to_regclass('afterimage.refused_key'))
  AND EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attname = 'copied_at'
    AND attrelid = pg_catalog.to_regclass('afterimage.dead_letter'))";

/// Lets one member at a time change tables, until its transaction ends.
pub(in crate::target::postgres) const LOCK_DDL: &str =
    "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('afterimage'), 1)";

/// Whether a schema is there: CREATE SCHEMA IF NOT EXISTS needs the right to create also when it
/// is. Parameters: schema.
pub(in crate::target::postgres) const SCHEMA_EXISTS: &str =
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)";

/// Our own tables.
pub(in crate::target::postgres) const BOOTSTRAP: [&str; 23] = [
    "CREATE SCHEMA IF NOT EXISTS afterimage",
    // Has no rows: its row type carries the arrays of a statement.
    "\
CREATE TABLE IF NOT EXISTS afterimage.array_cell (
  \"bool\" pg_catalog.bool[], \"bytea\" pg_catalog.bytea[],
  \"name\" pg_catalog.name[], \"int8\" pg_catalog.int8[],
  \"int2\" pg_catalog.int2[], \"int4\" pg_catalog.int4[],
  \"text\" pg_catalog.text[], \"oid\" pg_catalog.oid[],
  \"json\" pg_catalog.json[], \"float4\" pg_catalog.float4[],
  \"float8\" pg_catalog.float8[], \"bpchar\" pg_catalog.bpchar[],
  \"varchar\" pg_catalog.varchar[], \"date\" pg_catalog.date[],
  \"time\" pg_catalog.time[], \"timestamp\" pg_catalog.timestamp[],
  \"timestamptz\" pg_catalog.timestamptz[], \"interval\" pg_catalog.interval[],
  \"timetz\" pg_catalog.timetz[], \"bit\" pg_catalog.bit[],
  \"varbit\" pg_catalog.varbit[], \"numeric\" pg_catalog.numeric[],
  \"uuid\" pg_catalog.uuid[], \"jsonb\" pg_catalog.jsonb[],
  \"point\" pg_catalog.point[]
)",
    "\
CREATE TABLE IF NOT EXISTS afterimage.checkpoint (
  sink text NOT NULL,
  cluster_id text NOT NULL,
  topic text NOT NULL,
  \"partition\" integer NOT NULL,
  topic_id uuid,
  next_offset bigint NOT NULL,
  leader_epoch integer,
  last_offset bigint,
  last_timestamp bigint,
  deleted_key bytea,
  source_incarnation text,
  source_position text,
  epoch bigint NOT NULL DEFAULT 0,
  claim_token uuid,
  owner text,
  former_owners text[],
  group_id text,
  claimed_at timestamptz,
  partitions_seen integer,
  state text,
  state_reason text,
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (sink, cluster_id, topic, \"partition\")
) WITH (fillfactor = 50)",
    "ALTER TABLE afterimage.checkpoint ADD COLUMN IF NOT EXISTS former_owners text[]",
    "ALTER TABLE afterimage.checkpoint ADD COLUMN IF NOT EXISTS deleted_key bytea",
    "\
CREATE TABLE IF NOT EXISTS afterimage.dead_letter (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  sink text NOT NULL,
  cluster_id text NOT NULL,
  topic text NOT NULL,
  \"partition\" integer NOT NULL,
  record_offset bigint NOT NULL,
  table_name text,
  key bytea,
  value bytea,
  headers jsonb,
  reason text NOT NULL,
  error text,
  sqlstate text,
  record_timestamp timestamptz,
  first_seen timestamptz NOT NULL DEFAULT now(),
  last_seen timestamptz NOT NULL DEFAULT now(),
  state text NOT NULL DEFAULT 'open',
  copied_at timestamptz,
  copying_until timestamptz,
  UNIQUE (sink, cluster_id, topic, \"partition\", record_offset)
)",
    "\
ALTER TABLE afterimage.dead_letter
  ADD COLUMN IF NOT EXISTS copied_at timestamptz,
  ADD COLUMN IF NOT EXISTS copying_until timestamptz",
    "\
CREATE INDEX IF NOT EXISTS dead_letter_key ON afterimage.dead_letter USING hash (key)
WHERE state = 'open'",
    "\
CREATE INDEX IF NOT EXISTS dead_letter_uncopied ON afterimage.dead_letter (sink, cluster_id, id)
WHERE state = 'open' AND copied_at IS NULL",
    "\
CREATE TABLE IF NOT EXISTS afterimage.refused_key (
  sink text NOT NULL,
  cluster_id text NOT NULL,
  topic text NOT NULL,
  \"partition\" integer NOT NULL,
  key_hash bytea NOT NULL,
  key bytea NOT NULL,
  since_offset bigint,
  PRIMARY KEY (sink, cluster_id, topic, \"partition\", key_hash)
)",
    "ALTER TABLE afterimage.refused_key ADD COLUMN IF NOT EXISTS since_offset bigint",
    // Marks of earlier versions do not say since when: the newest dead letter is behind it.
    "\
UPDATE afterimage.refused_key AS k
SET since_offset = (
  SELECT pg_catalog.max(d.record_offset)
  FROM afterimage.dead_letter AS d
  WHERE d.sink = k.sink AND d.cluster_id = k.cluster_id AND d.topic = k.topic
    AND d.\"partition\" = k.\"partition\" AND d.key = k.key
)
WHERE k.since_offset IS NULL",
    "\
CREATE TABLE IF NOT EXISTS afterimage.key_move (
  sink text NOT NULL,
  cluster_id text NOT NULL,
  topic text NOT NULL,
  place text NOT NULL,
  column_name text NOT NULL,
  state text NOT NULL,
  value text,
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (sink, cluster_id, topic, place, column_name)
)",
    "CREATE INDEX IF NOT EXISTS key_move_at ON afterimage.key_move (at)",
    "\
CREATE TABLE IF NOT EXISTS afterimage.key_taken (
  sink text NOT NULL,
  cluster_id text NOT NULL,
  topic text NOT NULL,
  \"partition\" integer NOT NULL,
  transaction bigint NOT NULL,
  key_hash bytea NOT NULL,
  came_at bigint NOT NULL,
  was_taken boolean NOT NULL,
  left_at bigint,
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (sink, cluster_id, topic, \"partition\", transaction, key_hash, came_at)
)",
    "\
CREATE TABLE IF NOT EXISTS afterimage.source_table (
  target_schema text NOT NULL,
  target_table text NOT NULL,
  source_server text NOT NULL,
  source_database text NOT NULL,
  source_schema text NOT NULL,
  source_table text NOT NULL,
  topic text NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (target_schema, target_table, source_server, source_database, source_schema,
    source_table)
)",
    "\
CREATE TABLE IF NOT EXISTS afterimage.key_encoding (
  sink text NOT NULL,
  cluster_id text NOT NULL,
  topic text NOT NULL,
  source_table text NOT NULL,
  encoding text NOT NULL,
  is_accepted boolean NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (sink, cluster_id, topic, source_table, encoding)
)",
    "\
CREATE TABLE IF NOT EXISTS afterimage.row_guard (
  table_name text NOT NULL,
  key_id bytea NOT NULL,
  key bytea,
  log_file bigint,
  log_pos bigint,
  log_row bigint,
  is_snapshot boolean NOT NULL,
  source_time bigint,
  sent_at bigint NOT NULL,
  cluster_id text,
  topic text NOT NULL,
  \"partition\" integer NOT NULL,
  record_offset bigint NOT NULL,
  changed_file bigint,
  changed_pos bigint,
  changed_row bigint,
  PRIMARY KEY (table_name, key_id)
) WITH (fillfactor = 70)",
    "ALTER TABLE afterimage.row_guard ADD COLUMN IF NOT EXISTS key bytea,
  ADD COLUMN IF NOT EXISTS changed_file bigint, ADD COLUMN IF NOT EXISTS changed_pos bigint,
  ADD COLUMN IF NOT EXISTS changed_row bigint",
    // Up to version 5 all keys stood under their hashes.
    "\
DO $do$ BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attname = 'key_hash'
    AND attrelid = 'afterimage.row_guard'::pg_catalog.regclass)
  THEN
    ALTER TABLE afterimage.row_guard RENAME COLUMN key_hash TO key_id;
    UPDATE afterimage.row_guard SET key_id = key WHERE pg_catalog.octet_length(key) < 32;
  END IF;
END $do$",
    "\
CREATE TABLE IF NOT EXISTS afterimage.audit (
  at timestamptz NOT NULL DEFAULT now(),
  actor text NOT NULL,
  command text NOT NULL,
  topic text,
  \"partition\" integer,
  before_offset bigint,
  after_offset bigint,
  reason text
)",
    "\
CREATE TABLE IF NOT EXISTS afterimage.schema_version (
  version integer PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT now()
)",
    "INSERT INTO afterimage.schema_version (version) VALUES (7) ON CONFLICT (version) DO NOTHING",
];

/// Our own role.
pub(in crate::target::postgres) const ROLE: &str = "SELECT current_user::pg_catalog.text";

/// Returns all that must exist before the first claim.
pub(in crate::target::postgres) fn bootstrap() -> Vec<String> {
    BOOTSTRAP.map(str::to_owned).to_vec()
}

/// Lets a role write our own tables and these, whoever owns them.
pub(in crate::target::postgres) fn grants(role: &str, tables: &[TableName]) -> Vec<String> {
    const RIGHTS: &str = "SELECT, INSERT, UPDATE, DELETE";
    let role = quote(role);
    let schemas = tables.iter().map(schema).collect::<BTreeSet<_>>();
    let usage = |schema: &str| format!("GRANT USAGE ON SCHEMA {} TO {role}", quote(schema));
    let ours = format!("GRANT {RIGHTS} ON ALL TABLES IN SCHEMA afterimage TO {role}");
    let mut grants = vec![usage("afterimage"), ours];
    grants.extend(schemas.into_iter().map(usage));
    let names = tables.iter().collect::<BTreeSet<_>>().into_iter();
    grants.extend(names.map(|name| format!("GRANT {RIGHTS} ON {} TO {role}", relation(name))));
    grants
}

/// Locks a table against everybody.
pub(in crate::target::postgres) fn lock_exclusive(table: &TableName) -> String {
    format!("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE", relation(table))
}

/// Creates a schema.
pub(in crate::target::postgres) fn create_schema(schema: &str) -> String {
    format!("CREATE SCHEMA IF NOT EXISTS {}", quote(schema))
}

/// Creates a table and the schema that it stands in.
pub(in crate::target::postgres) fn create_table(table: &Table) -> Vec<String> {
    let column = |column: &Column| {
        let not_null = if column.not_null { " NOT NULL" } else { "" };
        format!("{} {}{not_null}", quote(&column.name), column.type_name)
    };
    let mut lines = table.columns.iter().map(column).collect::<Vec<_>>();
    let key_list =
        |names: &[String]| names.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
    let mut keys = table.unique_keys.iter();
    lines.extend(keys.next().map(|key| format!("PRIMARY KEY ({})", key_list(key))));
    lines.extend(keys.map(|key| format!("UNIQUE ({})", key_list(key))));
    let (name, lines) = (relation(&table.name), lines.join(",\n  "));
    let create = format!("CREATE TABLE IF NOT EXISTS {name} (\n  {lines}\n)");
    vec![create_schema(schema(&table.name)), create]
}

/// Adds a column. One that refuses NULL is for the time of writing: rows that are there get now.
pub(in crate::target::postgres) fn add_column(table: &TableName, column: &Column) -> String {
    let filled = if column.not_null { " NOT NULL DEFAULT now()" } else { "" };
    format!(
        "ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}{filled}",
        relation(table),
        quote(&column.name),
        column.type_name
    )
}

/// The label that a new one goes beside.
#[derive(Clone, Copy, Debug)]
pub(in crate::target::postgres) enum Beside<'a> {
    Before(&'a str),
    After(&'a str),
}

/// Adds a label to an enum, whose name is spelled as it stands.
pub(in crate::target::postgres) fn add_label(
    name: &str,
    label: &str,
    beside: Option<Beside<'_>>,
) -> String {
    let beside = match beside {
        Some(Beside::Before(other)) => format!(" BEFORE {}", literal(other)),
        Some(Beside::After(other)) => format!(" AFTER {}", literal(other)),
        None => String::new(),
    };
    format!("ALTER TYPE {name} ADD VALUE IF NOT EXISTS {}{beside}", literal(label))
}

/// Gives a column its new type, or lets it be NULL or be changed.
pub(in crate::target::postgres) fn alter_column(
    table: &TableName,
    before: &Column,
    after: &Column,
) -> String {
    let name = quote(&after.name);
    let mut actions = Vec::new();
    if before.type_name != after.type_name {
        actions.push(format!("ALTER COLUMN {name} TYPE {}", after.type_name));
    }
    if before.not_null && !after.not_null {
        actions.push(format!("ALTER COLUMN {name} DROP NOT NULL"));
    }
    if before.is_fixed() && !after.is_fixed() {
        actions.push(format!("ALTER COLUMN {name} SET GENERATED BY DEFAULT"));
    }
    format!("ALTER TABLE {} {}", relation(table), actions.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::value::kind::{Kind, SourceColumn};
    use crate::target::postgres::ddl::DIALECT;
    use expect_test::expect;

    fn column(name: &str, kind: Kind, optional: bool) -> Column {
        let source = SourceColumn { name: name.to_owned(), kind, optional, source_type: None };
        (DIALECT.column)(&source, false).unwrap()
    }

    fn name() -> TableName {
        TableName { schema: Some("sales".to_owned()), table: "or\"ders".to_owned() }
    }

    #[test]
    fn a_table_is_created_with_its_schema_and_key() {
        let table = Table {
            name: name(),
            columns: vec![
                column("id", Kind::Int64, false),
                column("order", Kind::Text, true),
                (DIALECT.time_column)("synced_at", true),
            ],
            unique_keys: vec![vec!["id".to_owned(), "order".to_owned()]],
        };
        expect![[r#"
            CREATE SCHEMA IF NOT EXISTS "sales";
            CREATE TABLE IF NOT EXISTS "sales"."or""ders" (
              "id" bigint NOT NULL,
              "order" text,
              "synced_at" timestamp with time zone NOT NULL,
              PRIMARY KEY ("id", "order")
            )"#]]
        .assert_eq(&create_table(&table).join(";\n"));
    }

    #[test]
    fn a_column_is_added_once() {
        let note = column("note", Kind::Decimal { scale: 2, precision: Some(12) }, true);
        expect![[
            r#"ALTER TABLE "sales"."or""ders" ADD COLUMN IF NOT EXISTS "note" numeric(12,2)"#
        ]]
        .assert_eq(&add_column(&name(), &note));
        let synced_at = (DIALECT.time_column)("synced_at", true);
        assert!(add_column(&name(), &synced_at).ends_with("NOT NULL DEFAULT now()"));
    }

    #[test]
    fn a_role_gets_the_rights_it_needs_and_no_more() {
        let other = TableName { table: "a".to_owned(), ..name() };
        expect![[r#"
            GRANT USAGE ON SCHEMA "afterimage" TO "writer";
            GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA afterimage TO "writer";
            GRANT USAGE ON SCHEMA "sales" TO "writer";
            GRANT SELECT, INSERT, UPDATE, DELETE ON "sales"."a" TO "writer";
            GRANT SELECT, INSERT, UPDATE, DELETE ON "sales"."or""ders" TO "writer""#]]
        .assert_eq(&grants("writer", &[name(), other, name()]).join(";\n"));
        assert!(bootstrap().iter().all(|statement| !statement.ends_with(';')));
    }
}
