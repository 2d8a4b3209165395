//! Rows of the replicated tables, dead letters, and the transaction around them.

use crate::rows::{Deletes, Shape};
use crate::table::TableName;
use crate::target::postgres::catalog::{NUMERIC, Wire};
use crate::target::postgres::sql::key::{is_caseless, matches};
use crate::target::postgres::sql::{quote, relation, unchanged};

/// Checks what is deferred while the transaction can still be repeated, not at COMMIT.
pub(in crate::target::postgres) const CHECK_CONSTRAINTS: &str = "SET CONSTRAINTS ALL IMMEDIATE";

/// Begins a part of a batch that may be taken back alone.
pub(in crate::target::postgres) const BEGIN_PART: &str = "SAVEPOINT part";

/// Ends a part, and checks what is deferred while it can still be taken back.
pub(in crate::target::postgres) const END_PART: &str =
    "SET CONSTRAINTS ALL IMMEDIATE;\nSET CONSTRAINTS ALL DEFERRED;\nRELEASE SAVEPOINT part";

/// Takes a part back.
pub(in crate::target::postgres) const UNDO_PART: &str =
    "ROLLBACK TO SAVEPOINT part;\nRELEASE SAVEPOINT part";

/// Ends the transaction with everything.
pub(in crate::target::postgres) const COMMIT: &str = "COMMIT";

/// Ends the transaction with nothing.
pub(in crate::target::postgres) const ROLLBACK: &str = "ROLLBACK";

/// Whether TRUNCATE would do: the right is there, and no foreign key forbids it.
///
/// Parameters: schema, table.
pub(in crate::target::postgres) const IS_TRUNCATABLE: &str = "\
SELECT pg_catalog.has_table_privilege(c.oid, 'TRUNCATE')
  AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_constraint AS k
    WHERE k.confrelid = c.oid AND k.contype = 'f' AND k.conrelid <> c.oid
  )
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2";

/// Whether other rows go or change when a row of the table does: by a foreign key, or by a trigger.
///
/// Parameters: schema, table.
pub(in crate::target::postgres) const IS_FOLLOWED: &str = "\
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_constraint AS k
    WHERE k.confrelid = c.oid AND k.contype = 'f' AND k.confdeltype IN ('c', 'n', 'd')
  ) OR EXISTS (
    SELECT FROM pg_catalog.pg_trigger AS t
    WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND (t.tgtype & 8) <> 0
  )
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2";

/// Keeps refused records; one that comes again is the same dead letter.
///
/// Parameters: sink, cluster, then arrays: topics, partitions, offsets, tables, keys, values,
/// headers, reasons, errors, SQLSTATEs, timestamps.
pub(in crate::target::postgres) const DEAD_LETTERS: &str = "\
INSERT INTO afterimage.dead_letter (sink, cluster_id, topic, \"partition\", record_offset,
  table_name, key, value, headers, reason, error, sqlstate, record_timestamp)
SELECT $1, $2, w.topic, w.\"partition\", w.record_offset, w.table_name, w.key, w.value,
  w.headers::pg_catalog.jsonb, w.reason, w.error, w.sqlstate,
  pg_catalog.to_timestamp(w.record_timestamp / 1000.0)
FROM unnest($3::pg_catalog.text[], $4::pg_catalog.int4[], $5::pg_catalog.int8[],
  $6::pg_catalog.text[], $7::pg_catalog.bytea[], $8::pg_catalog.bytea[], $9::pg_catalog.text[],
  $10::pg_catalog.text[], $11::pg_catalog.text[], $12::pg_catalog.text[],
  $13::pg_catalog.int8[])
  AS w (topic, \"partition\", record_offset, table_name, key, value, headers, reason, error,
    sqlstate, record_timestamp)
ON CONFLICT (sink, cluster_id, topic, \"partition\", record_offset)
DO UPDATE SET table_name = excluded.table_name, reason = excluded.reason, error = excluded.error,
  sqlstate = excluded.sqlstate, last_seen = excluded.last_seen, state = 'open'";

/// Marks keys whose newest image was refused.
///
/// A key that is marked already was cleared meanwhile by the same batch, or its table was emptied.
/// Parameters: sink, cluster, topics, partitions, keys, offsets.
pub(in crate::target::postgres) const MARK_KEYS: &str = "\
INSERT INTO afterimage.refused_key (sink, cluster_id, topic, \"partition\", key_hash, key,
  since_offset)
SELECT $1, $2, w.topic, w.\"partition\", pg_catalog.sha256(w.key), w.key, w.since_offset
FROM unnest($3::pg_catalog.text[], $4::pg_catalog.int4[], $5::pg_catalog.bytea[],
  $6::pg_catalog.int8[]) AS w (topic, \"partition\", key, since_offset)
ON CONFLICT (sink, cluster_id, topic, \"partition\", key_hash)
DO UPDATE SET since_offset = excluded.since_offset";

/// Clears such marks.
///
/// Parameters: sink, cluster, topics, partitions, keys.
pub(in crate::target::postgres) const CLEAR_KEYS: &str = "\
DELETE FROM afterimage.refused_key AS k
USING unnest($3::pg_catalog.text[], $4::pg_catalog.int4[], $5::pg_catalog.bytea[])
  AS w (topic, \"partition\", key)
WHERE k.sink = $1 AND k.cluster_id = $2 AND k.topic = w.topic AND k.\"partition\" = w.\"partition\"
  AND k.key_hash = pg_catalog.sha256(w.key)";

/// Begins a transaction. What may be checked at the end is: the order of a batch's rows is not the
/// source's.
pub(in crate::target::postgres) const START: &str =
    "BEGIN ISOLATION LEVEL READ COMMITTED;\nSET CONSTRAINTS ALL DEFERRED";

/// Inserts rows; with a key, over the rows that are there. Parameters: an array for each column.
///
/// `unnest` stands in the select list because in FROM it would materialise first.
pub(in crate::target::postgres) fn insert(shape: &Shape, wires: &[&Wire]) -> String {
    upsert(shape, wires, std::iter::empty(), "")
}

/// Copies rows in from here, in binary form: the cells of each, then the time of writing.
pub(in crate::target::postgres) fn copy(shape: &Shape) -> String {
    let names = shape.columns.iter().map(|column| &column.name).chain(&shape.synced_at);
    let names = names.map(|name| quote(name)).collect::<Vec<_>>().join(", ");
    format!("COPY {} ({names}) FROM STDIN (FORMAT binary)", relation(&shape.table.name))
}

/// Inserts rows as [`insert`] does; of rows that are there, the columns that no array fills become
/// what they are in a new row.
pub(in crate::target::postgres) fn renew(shape: &Shape, wires: &[&Wire]) -> String {
    let others = shape.others().map(|column| format!("{} = DEFAULT", quote(&column.name)));
    upsert(shape, wires, others, "")
}

/// Inserts rows; writes over those that are there, where the filter lets it.
pub(super) fn upsert(
    shape: &Shape,
    wires: &[&Wire],
    further: impl Iterator<Item = String>,
    filter: &str,
) -> String {
    let mut names = shape.columns.iter().map(|column| quote(&column.name)).collect::<Vec<_>>();
    let mut values = wires.iter().zip(1..).map(|(wire, n)| cells(wire, n)).collect::<Vec<_>>();
    if let Some(synced_at) = &shape.synced_at {
        names.push(quote(synced_at));
        values.push(NOW.to_owned());
    }
    let (table, names, values) = (relation(&shape.table.name), names.join(", "), values.join(", "));
    let insert =
        format!("INSERT INTO {table} AS t ({names})\nOVERRIDING SYSTEM VALUE\nSELECT {values}");
    if shape.key.is_empty() {
        return insert;
    }
    let key = shape.key.iter().filter_map(|&column| shape.columns.get(column));
    let key = key.map(|column| quote(&column.name)).collect::<Vec<_>>().join(", ");
    let columns = shape.columns.iter().enumerate();
    let written = columns.filter(|(index, it)| !shape.key.contains(index) || is_caseless(it));
    let sets = written.map(|(_, column)| {
        let name = quote(&column.name);
        format!("{name} = excluded.{name}")
    });
    let sets = sets.chain(marks(shape)).chain(further).collect::<Vec<_>>().join(", ");
    if sets.is_empty() {
        return format!("{insert}\nON CONFLICT ({key}) DO NOTHING");
    }
    format!("{insert}\nON CONFLICT ({key}) DO UPDATE SET {sets}{filter}")
}

/// Deletes rows by key, or marks them deleted. Parameters: an array for each column of the key.
pub(in crate::target::postgres) fn delete(shape: &Shape, wires: &[&Wire]) -> String {
    let table = relation(&shape.table.name);
    let (keys, matches) = (keys(&shape.key, wires), matches(shape));
    match &shape.deletes {
        Deletes::Hard | Deletes::Ignore => {
            format!("DELETE FROM {table} AS t\nUSING {keys}\nWHERE {matches}")
        }
        Deletes::Soft(deleted_at) => {
            let sets = set_deleted(shape, deleted_at);
            format!("UPDATE {table} AS t\nSET {sets}\nFROM {keys}\nWHERE {matches}")
        }
    }
}

/// Turns the arrays of a key's columns into rows.
pub(super) fn keys(key: &[usize], wires: &[&Wire]) -> String {
    let columns = key.iter().zip(wires.iter().copied()).zip(1..);
    let list = columns.map(|((column, wire), n)| format!("{} AS c{column}", cells(wire, n)));
    format!("(SELECT {}) AS s", list.collect::<Vec<_>>().join(", "))
}

/// Updates those columns of rows whose values are available, and returns the ordinals of the rows
/// that are there. Parameters: an array for each available column, the ordinals.
pub(in crate::target::postgres) fn update(
    shape: &Shape,
    available: &[usize],
    wires: &[&Wire],
) -> String {
    let columns = available.iter().zip(wires.iter().copied()).zip(1..);
    let list = columns.map(|((column, wire), n)| format!("{} AS c{column}", cells(wire, n)));
    let ordinals = format!("unnest(${}::pg_catalog.int8[]) AS ordinal", available.len() + 1);
    let list = list.chain([ordinals]).collect::<Vec<_>>().join(", ");
    let written = available.iter().filter(|column| !shape.key.contains(column));
    let sets = written.filter_map(|&index| {
        let column = shape.columns.get(index)?;
        Some(format!("{} = s.c{index}", quote(&column.name)))
    });
    let mut sets = sets.chain(marks(shape).map(|set| set.replace("excluded.", "s.")));
    let mut matches = matches(shape);
    if let Deletes::Soft(deleted_at) = &shape.deletes {
        // A row that is marked deleted has no values to keep.
        matches.push_str(&format!(" AND t.{} IS NULL", quote(deleted_at)));
    }
    let key = shape.key.first().and_then(|&key| shape.columns.get(key));
    let sets = match (sets.next(), key) {
        (Some(first), _) => [first].into_iter().chain(sets).collect::<Vec<_>>().join(", "),
        // With nothing to set, the update only finds out which rows are there.
        (None, key) => key.map(|key| format!("{0} = t.{0}", quote(&key.name))).unwrap_or_default(),
    };
    let update = format!("UPDATE {} AS t\nSET {sets}\nFROM", relation(&shape.table.name));
    if shape.skips_unchanged {
        return unchanged::update_others(shape, (&update, available), &list, &matches);
    }
    format!("{update} (SELECT {list}) AS s\nWHERE {matches}\nRETURNING s.ordinal")
}

/// Deletes one row for each image, or marks one deleted, and returns the ordinals of the images that
/// had one. Parameters: an array for each column, the ordinals.
///
/// Images are compared as texts, because not every type can be compared, and as arrays, because
/// those find NULL equal to NULL and can be hashed. Of several equal images each takes another row.
pub(in crate::target::postgres) fn delete_images(shape: &Shape, wires: &[&Wire]) -> String {
    let list = wires.iter().zip(0..).map(|(wire, n)| format!("{} AS c{n}", cells(wire, n + 1)));
    let ordinals = format!("unnest(${}::pg_catalog.int8[]) AS ordinal", wires.len() + 1);
    let list = list.chain([ordinals]).collect::<Vec<_>>().join(", ");
    let wanted = wires.iter().zip(0..).map(|(wire, n)| text_of(wire, &format!("s.c{n}")));
    let columns = wires.iter().zip(&shape.columns);
    let found = columns.map(|(wire, column)| text_of(wire, &format!("t.{}", quote(&column.name))));
    let table = relation(&shape.table.name);
    let (end, standing) = match &shape.deletes {
        Deletes::Hard | Deletes::Ignore => {
            (format!("DELETE FROM {table} AS t\nUSING"), String::new())
        }
        Deletes::Soft(deleted_at) => {
            let sets = set_deleted(shape, deleted_at);
            let standing = format!(" WHERE t.{} IS NULL", quote(deleted_at));
            (format!("UPDATE {table} AS t\nSET {sets}\nFROM"), standing)
        }
    };
    format!(
        "WITH w AS (\n  \
           SELECT s.ordinal, s.image, pg_catalog.row_number() OVER (PARTITION BY s.image) AS n\n  \
           FROM (SELECT s.ordinal, ARRAY[{wanted}] AS image FROM (SELECT {list}) AS s) AS s\n\
         ), f AS (\n  \
           SELECT t.part, t.place, t.image,\n    \
             pg_catalog.row_number() OVER (PARTITION BY t.image) AS n\n  \
           FROM (SELECT t.tableoid AS part, t.ctid AS place, ARRAY[{found}] AS image\n    \
             FROM {table} AS t{standing}) AS t\n  \
           WHERE t.image IN (SELECT w.image FROM w)\n\
         )\n\
         {end} w JOIN f ON f.image = w.image AND f.n = w.n\n\
         WHERE t.tableoid = f.part AND t.ctid = f.place\n\
         RETURNING w.ordinal",
        wanted = wanted.collect::<Vec<_>>().join(", "),
        found = found.collect::<Vec<_>>().join(", "),
    )
}

/// Spells a value so that equal ones have one text.
fn text_of(wire: &Wire, value: &str) -> String {
    // Trailing zeros of a number without a scale do not come from the source.
    let value = match wire.element {
        NUMERIC => format!("pg_catalog.trim_scale({value})"),
        _ => value.to_owned(),
    };
    format!("{value}::pg_catalog.text COLLATE pg_catalog.\"C\"")
}

/// Empties a table at once.
pub(in crate::target::postgres) fn truncate(table: &TableName) -> String {
    format!("TRUNCATE TABLE {}", relation(table))
}

/// Empties a table row by row.
pub(in crate::target::postgres) fn remove_all(table: &TableName) -> String {
    format!("DELETE FROM {}", relation(table))
}

/// Marks all rows of a table deleted that are not yet.
pub(in crate::target::postgres) fn mark_all_deleted(shape: &Shape, deleted_at: &str) -> String {
    format!(
        "UPDATE {}\nSET {}\nWHERE {} IS NULL",
        relation(&shape.table.name),
        set_deleted(shape, deleted_at),
        quote(deleted_at)
    )
}

/// The time of the transaction.
const NOW: &str = "pg_catalog.now()";

/// Turns the array of parameter `n` into rows.
pub(super) fn cells(wire: &Wire, n: usize) -> String {
    let elements = format!("unnest(${n}::{})", wire.array);
    match (&wire.field, &wire.cast) {
        (Some(field), _) => format!("({elements}).{}", quote(&field.name)),
        (None, Some(cast)) => format!("{elements}::{cast}"),
        (None, None) => elements,
    }
}

/// The assignments that every written row gets.
fn marks(shape: &Shape) -> impl Iterator<Item = String> {
    let synced_at = shape.synced_at.iter().map(|name| format!("{} = {NOW}", quote(name)));
    let deleted_at = match &shape.deletes {
        Deletes::Soft(name) => Some(format!("{} = NULL", quote(name))),
        Deletes::Hard | Deletes::Ignore => None,
    };
    synced_at.chain(deleted_at)
}

pub(super) fn set_deleted(shape: &Shape, deleted_at: &str) -> String {
    let names = [Some(deleted_at), shape.synced_at.as_deref()];
    let sets = names.into_iter().flatten().map(|name| format!("{} = {NOW}", quote(name)));
    sets.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::decode::value::kind::{Kind, SourceColumn};
    use crate::rows::Keyless;
    use crate::table::Table;
    use crate::target::postgres::ddl::DIALECT;
    use expect_test::{Expect, expect};

    const HARD: Deletes = Deletes::Hard;

    pub(crate) fn soft() -> Deletes {
        Deletes::Soft("deleted_at".to_owned())
    }

    pub(crate) fn shape(key: &[usize], deletes: Deletes, synced_at: bool) -> Shape {
        let column = |name: &str, kind: Kind| {
            let name = name.to_owned();
            let source = SourceColumn { name, kind, optional: true, source_type: None };
            (DIALECT.column)(&source, false).unwrap()
        };
        let columns = vec![column("id", Kind::Int64), column("region", Kind::Text)];
        let name = TableName { schema: Some("s".to_owned()), table: "t".to_owned() };
        let table = Arc::new(Table { name, columns: columns.clone(), unique_keys: Vec::new() });
        let synced_at = synced_at.then(|| "synced_at".to_owned());
        Shape {
            table,
            columns,
            key: key.to_vec(),
            keyless: Keyless::Refuse,
            deletes,
            synced_at,
            is_guarded: false,
            skips_unchanged: false,
        }
    }

    pub(crate) fn wires() -> [Wire; 2] {
        let id = Wire {
            array: "\"pg_catalog\".\"int8\"[]".to_owned(),
            element: 20,
            cast: None,
            field: None,
        };
        let cast = Some("\"public\".\"citext\"".to_owned());
        let array = "\"pg_catalog\".\"text\"[]".to_owned();
        [id, Wire { array, element: 25, cast, field: None }]
    }

    fn check(text: &str, expected: &Expect) {
        expected.assert_eq(text);
    }

    #[test]
    fn rows_are_written_over_the_rows_of_their_key() {
        let [id, region] = wires();
        check(
            &insert(&shape(&[0], HARD, true), &[&id, &region]),
            &expect![[r#"
                INSERT INTO "s"."t" AS t ("id", "region", "synced_at")
                OVERRIDING SYSTEM VALUE
                SELECT unnest($1::"pg_catalog"."int8"[]), unnest($2::"pg_catalog"."text"[])::"public"."citext", pg_catalog.now()
                ON CONFLICT ("id") DO UPDATE SET "region" = excluded."region", "synced_at" = pg_catalog.now()"#]],
        );
        check(
            &insert(&shape(&[0, 1], soft(), false), &[&id, &region]),
            &expect![[r#"
                INSERT INTO "s"."t" AS t ("id", "region")
                OVERRIDING SYSTEM VALUE
                SELECT unnest($1::"pg_catalog"."int8"[]), unnest($2::"pg_catalog"."text"[])::"public"."citext"
                ON CONFLICT ("id", "region") DO UPDATE SET "deleted_at" = NULL"#]],
        );
        assert!(insert(&shape(&[0, 1], HARD, false), &[&id, &region]).ends_with("DO NOTHING"));
        assert!(!insert(&shape(&[], HARD, true), &[&id, &region]).contains("CONFLICT"));
    }

    #[test]
    fn rows_are_deleted_or_marked_by_their_key() {
        let [id, region] = wires();
        check(
            &delete(&shape(&[1, 0], HARD, true), &[&region, &id]),
            &expect![[r#"
                DELETE FROM "s"."t" AS t
                USING (SELECT unnest($1::"pg_catalog"."text"[])::"public"."citext" AS c1, unnest($2::"pg_catalog"."int8"[]) AS c0) AS s
                WHERE t."region" = s.c1 AND t."id" = s.c0"#]],
        );
        check(
            &delete(&shape(&[0], soft(), true), &[&id]),
            &expect![[r#"
                UPDATE "s"."t" AS t
                SET "deleted_at" = pg_catalog.now(), "synced_at" = pg_catalog.now()
                FROM (SELECT unnest($1::"pg_catalog"."int8"[]) AS c0) AS s
                WHERE t."id" = s.c0"#]],
        );
    }

    #[test]
    fn a_partial_row_sets_what_it_has_and_says_whether_it_was_there() {
        let [id, region] = wires();
        check(
            &update(&shape(&[0], soft(), true), &[0, 1], &[&id, &region]),
            &expect![[r#"
                UPDATE "s"."t" AS t
                SET "region" = s.c1, "synced_at" = pg_catalog.now(), "deleted_at" = NULL
                FROM (SELECT unnest($1::"pg_catalog"."int8"[]) AS c0, unnest($2::"pg_catalog"."text"[])::"public"."citext" AS c1, unnest($3::pg_catalog.int8[]) AS ordinal) AS s
                WHERE t."id" = s.c0 AND t."deleted_at" IS NULL
                RETURNING s.ordinal"#]],
        );
        check(
            &update(&shape(&[0], HARD, false), &[0], &[&id]),
            &expect![[r#"
                UPDATE "s"."t" AS t
                SET "id" = t."id"
                FROM (SELECT unnest($1::"pg_catalog"."int8"[]) AS c0, unnest($2::pg_catalog.int8[]) AS ordinal) AS s
                WHERE t."id" = s.c0
                RETURNING s.ordinal"#]],
        );
    }

    #[test]
    fn a_row_is_found_by_its_whole_image() {
        let [id, region] = wires();
        let number = Wire { element: NUMERIC, ..id };
        check(
            &delete_images(&shape(&[], soft(), false), &[&number, &region]),
            &expect![[r#"
            WITH w AS (
              SELECT s.ordinal, s.image, pg_catalog.row_number() OVER (PARTITION BY s.image) AS n
              FROM (SELECT s.ordinal, ARRAY[pg_catalog.trim_scale(s.c0)::pg_catalog.text COLLATE pg_catalog."C", s.c1::pg_catalog.text COLLATE pg_catalog."C"] AS image FROM (SELECT unnest($1::"pg_catalog"."int8"[]) AS c0, unnest($2::"pg_catalog"."text"[])::"public"."citext" AS c1, unnest($3::pg_catalog.int8[]) AS ordinal) AS s) AS s
            ), f AS (
              SELECT t.part, t.place, t.image,
                pg_catalog.row_number() OVER (PARTITION BY t.image) AS n
              FROM (SELECT t.tableoid AS part, t.ctid AS place, ARRAY[pg_catalog.trim_scale(t."id")::pg_catalog.text COLLATE pg_catalog."C", t."region"::pg_catalog.text COLLATE pg_catalog."C"] AS image
                FROM "s"."t" AS t WHERE t."deleted_at" IS NULL) AS t
              WHERE t.image IN (SELECT w.image FROM w)
            )
            UPDATE "s"."t" AS t
            SET "deleted_at" = pg_catalog.now()
            FROM w JOIN f ON f.image = w.image AND f.n = w.n
            WHERE t.tableoid = f.part AND t.ctid = f.place
            RETURNING w.ordinal"#]],
        );
        let hard = delete_images(&shape(&[], HARD, false), &[&number, &region]);
        assert!(hard.contains("DELETE FROM \"s\".\"t\" AS t\nUSING w JOIN f"));
    }

    #[test]
    fn a_table_is_emptied_or_marked() {
        check(
            &mark_all_deleted(&shape(&[0], soft(), true), "deleted_at"),
            &expect![[r#"
                UPDATE "s"."t"
                SET "deleted_at" = pg_catalog.now(), "synced_at" = pg_catalog.now()
                WHERE "deleted_at" IS NULL"#]],
        );
        let table = shape(&[], HARD, true).table.name.clone();
        assert_eq!(truncate(&table), "TRUNCATE TABLE \"s\".\"t\"");
        assert_eq!(remove_all(&table), "DELETE FROM \"s\".\"t\"");
    }
}
