//! Rows that are left alone because the table has them as they come, their time of writing aside.

use crate::rows::{Deletes, Shape};
use crate::table::Column;
use crate::target::postgres::catalog::Wire;
use crate::target::postgres::sql::rows::upsert;
use crate::target::postgres::sql::{quote, relation};

/// Inserts rows as [`insert`](super::insert) does, but not over the same row.
///
/// Rows are compared as they are stored, because the equality of a type may be wider (1.0 and 1.00,
/// `citext`) or missing (`json`)
/// (<https://www.postgresql.org/docs/15/functions-comparisons.html#COMPOSITE-TYPE-COMPARISON>).
/// One that is left alone does not stop another of an equal key behind it: where a key is spelled
/// otherwise the statement fails as it does for a row that it writes twice (SQLSTATE 21000).
pub(in crate::target::postgres) fn insert_others(shape: &Shape, wires: &[&Wire]) -> String {
    let key = differ(shape.key.iter().filter_map(|&key| shape.columns.get(key)));
    let row = differ(shape.columns.iter());
    let returns = match &shape.deletes {
        Deletes::Soft(deleted_at) => format!(" OR t.{} IS NOT NULL", quote(deleted_at)),
        Deletes::Hard | Deletes::Ignore => String::new(),
    };
    let filter = format!(
        "\nWHERE CASE WHEN {key}\n  THEN (SELECT true FROM (VALUES (1), (2)) AS two)\n  \
         ELSE {row}{returns} END"
    );
    upsert(shape, wires, std::iter::empty(), &filter)
}

/// Compares columns of the row that is there with those of the new one as they are stored.
fn differ<'a>(columns: impl Iterator<Item = &'a Column> + Clone) -> String {
    // Without the cast it would be a comparison column by column.
    let stored = |row: &str| {
        let cells = columns.clone().map(|column| format!("{row}.{}", quote(&column.name)));
        format!("ROW({})::pg_catalog.record", cells.collect::<Vec<_>>().join(", "))
    };
    format!("{} OPERATOR(pg_catalog.*<>) {}", stored("t"), stored("excluded"))
}

/// Updates the rows that differ in what is available, and returns the ordinals of all that are there.
///
/// They are compared once they are locked, as nobody can change them then. Values are compared as
/// texts, because those that come have the type of their array's elements.
pub(super) fn update_others(
    shape: &Shape,
    (update, available): (&str, &[usize]),
    list: &str,
    matches: &str,
) -> String {
    let written = available.iter().filter(|column| !shape.key.contains(column));
    let differs = written.filter_map(|&index| {
        let name = quote(&shape.columns.get(index)?.name);
        let text = "::pg_catalog.text COLLATE pg_catalog.\"C\"";
        Some(format!("t.{name}{text} IS DISTINCT FROM s.c{index}{text}"))
    });
    let differs = differs.collect::<Vec<_>>().join(" OR ");
    let differs = if differs.is_empty() { "false" } else { &differs };
    format!(
        "WITH s AS (\n  \
           SELECT s.*, ({differs}) AS differs\n  FROM (SELECT {list}) AS s, {table} AS t\n  \
           WHERE {matches}\n  FOR NO KEY UPDATE OF t\n\
         ), w AS (\n{update} s\nWHERE {matches} AND s.differs\n)\n\
         SELECT s.ordinal FROM s",
        table = relation(&shape.table.name)
    )
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::target::postgres::sql::rows::tests::{shape, soft, wires};
    use crate::target::postgres::sql::{insert, update};

    #[test]
    fn a_row_is_written_over_another_only() {
        let wires = wires();
        let wires = wires.iter().collect::<Vec<_>>();
        let mut shape = shape(&[0], Deletes::Hard, true);
        shape.skips_unchanged = true;
        expect![[r#"
            INSERT INTO "s"."t" AS t ("id", "region", "synced_at")
            OVERRIDING SYSTEM VALUE
            SELECT unnest($1::"pg_catalog"."int8"[]), unnest($2::"pg_catalog"."text"[])::"public"."citext", pg_catalog.now()
            ON CONFLICT ("id") DO UPDATE SET "region" = excluded."region", "synced_at" = pg_catalog.now()
            WHERE CASE WHEN ROW(t."id")::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(excluded."id")::pg_catalog.record
              THEN (SELECT true FROM (VALUES (1), (2)) AS two)
              ELSE ROW(t."id", t."region")::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(excluded."id", excluded."region")::pg_catalog.record END"#]]
        .assert_eq(&insert_others(&shape, &wires));
        expect![[r#"
            WITH s AS (
              SELECT s.*, (t."region"::pg_catalog.text COLLATE pg_catalog."C" IS DISTINCT FROM s.c1::pg_catalog.text COLLATE pg_catalog."C") AS differs
              FROM (SELECT unnest($1::"pg_catalog"."int8"[]) AS c0, unnest($2::"pg_catalog"."text"[])::"public"."citext" AS c1, unnest($3::pg_catalog.int8[]) AS ordinal) AS s, "s"."t" AS t
              WHERE t."id" = s.c0
              FOR NO KEY UPDATE OF t
            ), w AS (
            UPDATE "s"."t" AS t
            SET "region" = s.c1, "synced_at" = pg_catalog.now()
            FROM s
            WHERE t."id" = s.c0 AND s.differs
            )
            SELECT s.ordinal FROM s"#]]
        .assert_eq(&update(&shape, &[0, 1], &wires));
        assert!(update(&shape, &[0], &wires[..1]).contains("(false) AS differs"));
        shape.deletes = soft();
        assert!(insert_others(&shape, &wires).ends_with(r#" OR t."deleted_at" IS NOT NULL END"#));
        shape.key.clear();
        assert_eq!(insert_others(&shape, &wires), insert(&shape, &wires));
    }
}
