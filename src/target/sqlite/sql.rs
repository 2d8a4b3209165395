//! The text of every statement; what varies is the table and the set of columns, never a value.

use crate::rows::{Deletes, Shape};
use crate::table::{Column, Table, TableName};

mod amend;
mod fence;
mod guard;
mod leads;
mod letters;
mod moves;
mod own;

pub(super) use amend::{ACCEPT_KEYS, AMEND_ROW, AUDIT, FORGET_KEYS, MAKE_ROW, STANDING};
pub(super) use fence::{
    ADVANCE, BEGIN, CLAIM, HOLDER, IDENTIFY, KNOWS_TOPIC, MARK, MEET_KEY, OTHER_CLUSTER, PLACES,
    RELEASE, STAND, TOUCH, UNOWNED,
};
pub(super) use guard::{FIND_GUARD, FORGET_GUARD, KEEP_GUARD, LASTING_GUARD, UNTIE_GUARD};
pub(super) use leads::{KEEP_LEAD, LEADERS, MET};
pub(super) use letters::{
    AUDIT_LETTER, CLEAR_KEY, COPIED, COUNT_UP, DEAD_LETTER, END_LETTER, KEPT_RECORD, KEY_STANDING,
    LEASE_UNCOPIED, LETTERS, MARK_KEY, MARK_SINCE, REFUSE_AGAIN, REFUSED_KEYS,
};
pub(super) use moves::{
    FIND_LEFT, FIND_TAKEN, FORGET_MOVES, FORGET_OLD_TAKEN, FORGET_TAKEN, KEEP_TAKEN, LEAVE,
    REFUSED_DELETES, values_of,
};
pub(super) use own::{ADDED_COLUMNS, BOOTSTRAP, IS_BOOTSTRAPPED, LACKS_COLUMN, NEWEST_VERSION};

/// The version of our own tables.
pub(super) const VERSION: i64 = 6;

/// SQLite's default limit for the binds of one statement (`SQLITE_MAX_VARIABLE_NUMBER`).
const BINDS_MAX: usize = 32_766;

/// Beyond this many rows a longer statement was no faster, and its text and binds cost memory.
const ROWS_MAX: usize = 64;

/// How many of the remaining rows the next statement takes: a power of two, so that a table has few
/// statements and each stays prepared.
pub(super) fn rows_of_next(remaining: usize, columns: usize) -> usize {
    let most = remaining.min(ROWS_MAX).min(BINDS_MAX / columns.max(1)).max(1);
    1 << most.ilog2()
}

/// Quotes an identifier.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Writes whole rows; binds for each row its cells, then the time if the table takes one.
pub(super) fn upsert(shape: &Shape, rows: usize) -> String {
    let mut columns = names(&shape.columns);
    columns.extend(shape.synced_at.iter().map(|name| quote(name)));
    let binds = vec!["?"; columns.len()].join(", ");
    let mut values = vec![binds; rows];
    if let Deletes::Soft(deleted_at) = &shape.deletes {
        columns.push(quote(deleted_at));
        values.iter_mut().for_each(|row| row.push_str(", NULL"));
    }
    let table = quote(&shape.table.name.table);
    let head = format!("INSERT INTO {table} ({})", columns.join(", "));
    let values = format!("VALUES ({})", values.join("), ("));
    if shape.key.is_empty() {
        return format!("{head}\n{values}");
    }
    let key = key_names(shape);
    let set = columns.iter().filter(|column| !key.contains(column)).collect::<Vec<_>>();
    let action = on_conflict(shape, &set);
    format!("{head}\n{values}\nON CONFLICT ({}) {action}", key.join(", "))
}

/// Sets columns of the row that is there to what they are in the new one.
fn on_conflict(shape: &Shape, set: &[&String]) -> String {
    let sets = set.iter().map(|column| format!("{column} = excluded.{column}"));
    let sets = sets.collect::<Vec<_>>().join(", ");
    if sets.is_empty() {
        return "DO NOTHING".to_owned();
    }
    if !shape.skips_unchanged {
        return format!("DO UPDATE SET {sets}");
    }
    let synced_at = shape.synced_at.as_deref().map(quote);
    let compared = set.iter().filter(|column| synced_at.as_ref() != Some(**column));
    let differ = compared.map(|column| differs(column, &format!("excluded.{column}")));
    let differ = differ.collect::<Vec<_>>().join(" OR ");
    // Without a column to compare, all rows of a key are the same.
    if differ.is_empty() {
        return "DO NOTHING".to_owned();
    }
    format!("DO UPDATE SET {sets}\nWHERE {differ}")
}

/// Writes the cells that are there into the row of a key; binds these cells, the time if the table
/// takes one, then the key.
pub(super) fn update(shape: &Shape, is_present: &[bool]) -> String {
    let present = shape.columns.iter().zip(is_present).filter(|(_, is_present)| **is_present);
    let present = present.map(|(column, _)| quote(&column.name)).collect::<Vec<_>>();
    let written = present.iter().cloned().chain(shape.synced_at.iter().map(|name| quote(name)));
    let set = written.zip(1..).map(|(name, n)| format!("{name} = ?{n}")).collect::<Vec<_>>();
    let mut condition = is_of_key(shape, set.len() + 1);
    if shape.skips_unchanged {
        let differ = present.iter().zip(1..).map(|(name, n)| differs(name, &format!("?{n}")));
        condition.push_str(&format!(" AND ({})", differ.collect::<Vec<_>>().join(" OR ")));
    }
    let table = quote(&shape.table.name.table);
    format!("UPDATE {table}\nSET {}\nWHERE {condition}", set.join(", "))
}

/// Finds the row of a key that cells may be written into; binds the key.
pub(super) fn find(shape: &Shape) -> String {
    let table = quote(&shape.table.name.table);
    format!("SELECT 1 FROM {table} WHERE {}", is_of_key(shape, 1))
}

/// Tells the row of the key whose binds begin with `n`, unless it is marked deleted.
fn is_of_key(shape: &Shape, n: usize) -> String {
    let names = key_names(shape).into_iter().zip(n..);
    let mut condition = names.map(|(name, n)| format!("{name} = ?{n}")).collect::<Vec<_>>();
    if let Deletes::Soft(deleted_at) = &shape.deletes {
        condition.push(format!("{} IS NULL", quote(deleted_at)));
    }
    condition.join(" AND ")
}

/// Compares a column with what would be written: neither its collation nor another class of storage
/// makes two values one, but 0.0 and -0.0 are.
fn differs(column: &str, new: &str) -> String {
    format!("{column} COLLATE BINARY IS NOT {new} OR typeof({column}) <> typeof({new})")
}

/// Deletes the rows of some keys, or marks them; binds the time when it marks, then the keys.
pub(super) fn delete(shape: &Shape, rows: usize) -> String {
    let key = key_names(shape);
    let keys = match key.as_slice() {
        [one] => format!("{one} IN ({})", vec!["?"; rows].join(", ")),
        several => {
            let binds = format!("({})", vec!["?"; several.len()].join(", "));
            format!("({}) IN (VALUES {})", several.join(", "), vec![binds; rows].join(", "))
        }
    };
    match delete_head(shape) {
        (head, None) => format!("{head}\nWHERE {keys}"),
        (head, Some(condition)) => format!("{head}\nWHERE {condition} AND {keys}"),
    }
}

/// Deletes or marks one row that is equal to an image; binds the time when it marks, then the image.
pub(super) fn delete_image(shape: &Shape) -> String {
    let equal = names(&shape.columns).join(" IS ? AND ");
    let (head, condition) = delete_head(shape);
    let standing = condition.map(|it| format!("{it} AND ")).unwrap_or_default();
    let found = format!("SELECT rowid FROM {} WHERE", quote(&shape.table.name.table));
    format!("{head}\nWHERE rowid = ({found} {standing}{equal} IS ? LIMIT 1)")
}

/// Empties the table, or marks all of its rows; binds the time when it marks.
pub(super) fn truncate(shape: &Shape) -> String {
    match delete_head(shape) {
        (head, None) => head,
        (head, Some(condition)) => format!("{head}\nWHERE {condition}"),
    }
}

/// Makes an empty table for the keys of rows that stay.
pub(super) fn begin_staying(shape: &Shape) -> String {
    let (key, table) = (names_in_order(shape), quote(&shape.table.name.table));
    format!("CREATE TEMP TABLE {STAYING} AS SELECT {key} FROM main.{table} WHERE 0")
}

/// Puts keys into it; binds the keys.
pub(super) fn stay(shape: &Shape, rows: usize) -> String {
    let binds = format!("({})", vec!["?"; shape.key.len()].join(", "));
    format!("INSERT INTO temp.{STAYING} VALUES {}", vec![binds; rows].join(", "))
}

/// Deletes all rows but those whose keys are in it, or marks them; binds the time when it marks.
pub(super) fn remove_others(shape: &Shape) -> String {
    let key = names_in_order(shape);
    let goes = format!("({key}) NOT IN (SELECT {key} FROM temp.{STAYING})");
    match delete_head(shape) {
        (head, None) => format!("{head}\nWHERE {goes}"),
        (head, Some(condition)) => format!("{head}\nWHERE {condition} AND {goes}"),
    }
}

/// Forgets the keys of rows that stay.
pub(super) fn end_staying() -> String {
    format!("DROP TABLE temp.{STAYING}")
}

const STAYING: &str = "afterimage_staying";

fn delete_head(shape: &Shape) -> (String, Option<String>) {
    let table = quote(&shape.table.name.table);
    match &shape.deletes {
        Deletes::Soft(deleted_at) => {
            let deleted_at = quote(deleted_at);
            let head = format!("UPDATE {table}\nSET {deleted_at} = ?");
            (head, Some(format!("{deleted_at} IS NULL")))
        }
        Deletes::Hard | Deletes::Ignore => (format!("DELETE FROM {table}"), None),
    }
}

fn names(columns: &[Column]) -> Vec<String> {
    columns.iter().map(|column| quote(&column.name)).collect()
}

/// Lists the key's columns in the order of their names, as what is known of keys has them.
fn names_in_order(shape: &Shape) -> String {
    let key = shape.key_by_name();
    let key = key.iter().filter_map(|&column| shape.columns.get(column));
    key.map(|column| quote(&column.name)).collect::<Vec<_>>().join(", ")
}

fn key_names(shape: &Shape) -> Vec<String> {
    let key = shape.key.iter().filter_map(|&column| shape.columns.get(column));
    key.map(|column| quote(&column.name)).collect()
}

/// Creates a table with its key.
pub(super) fn create_table(table: &Table) -> String {
    let mut parts = table.columns.iter().map(column_of).collect::<Vec<_>>();
    if let Some(key) = table.unique_keys.first() {
        let key = key.iter().map(|name| quote(name)).collect::<Vec<_>>();
        parts.push(format!("PRIMARY KEY ({})", key.join(", ")));
    }
    format!("CREATE TABLE {} (\n    {}\n)", quote(&table.name.table), parts.join(",\n    "))
}

/// Adds a column; one that refuses NULL gets the beginning of time in the rows that are there.
pub(super) fn add_column(table: &TableName, column: &Column) -> String {
    let default = if column.not_null { " DEFAULT '1970-01-01T00:00:00.000000Z'" } else { "" };
    format!("ALTER TABLE {} ADD COLUMN {}{default}", quote(&table.table), column_of(column))
}

fn column_of(column: &Column) -> String {
    let not_null = if column.not_null { " NOT NULL" } else { "" };
    format!("{} {}{not_null}", quote(&column.name), column.type_name)
}

/// Returns whether a table is STRICT; no row when there is no such table.
pub(super) const TABLE: &str = "SELECT strict
FROM pragma_table_list
WHERE schema = 'main' AND name = ? COLLATE NOCASE";

/// Returns the columns of a table.
pub(super) const COLUMNS: &str = r#"SELECT name, type, "notnull", pk, hidden, dflt_value IS NOT NULL
FROM pragma_table_xinfo(?)
WHERE hidden <> 1
ORDER BY cid"#;

/// Returns the columns of the whole unique indexes besides the primary key's; the name is NULL for
/// an expression.
pub(super) const UNIQUE_KEYS: &str = r#"SELECT list.seq, info.name
FROM pragma_index_list(?) AS list, pragma_index_xinfo(list.name) AS info
WHERE list."unique" AND NOT list.partial AND list.origin <> 'pk' AND info.key
ORDER BY list.seq, info.seqno"#;

/// Reads the checkpoint rows of a sink and cluster; the time in milliseconds since 1970.
pub(super) const CHECKPOINTS: &str = r#"SELECT topic, "partition", next_offset, epoch, owner,
    group_id, state, state_reason, source_position,
    unixepoch(updated_at) * 1000 + CAST(substr(updated_at, 21, 3) AS INTEGER), source_incarnation
FROM afterimage_checkpoint
WHERE sink = ? AND cluster_id = ?
ORDER BY topic, "partition""#;

/// Counts the open dead letters of a sink and cluster.
pub(super) const DEAD_LETTER_COUNTS: &str = r#"SELECT topic, "partition", count(*)
FROM afterimage_dead_letter
WHERE sink = ? AND cluster_id = ? AND state = 'open'
GROUP BY topic, "partition"
ORDER BY topic, "partition""#;

/// Reads the tables that have a column of that name for the time of writing.
pub(super) const REPLICATED_TABLES: &str = "SELECT list.name
FROM pragma_table_list AS list, pragma_table_xinfo(list.name) AS info
WHERE list.schema = 'main' AND list.type = 'table' AND info.name = ?
ORDER BY list.name";

/// Counts the rows of a table, and finds the newest time of writing.
pub(super) fn count_rows(table: &str, synced_at: &str) -> String {
    format!("SELECT count(*), CAST(max({}) AS TEXT) FROM {}", quote(synced_at), quote(table))
}

/// Reads the rows that were written last, octets as hexadecimal digits; binds how many.
pub(super) fn newest_rows(table: &str, columns: &[&str], synced_at: Option<&str>) -> String {
    let columns = columns.iter().map(|name| quote(name));
    let columns = columns.map(|name| format!("iif(typeof({name}) = 'blob', hex({name}), {name})"));
    let columns = columns.collect::<Vec<_>>().join(", ");
    let order = synced_at.map(|name| format!("\nORDER BY {} DESC", quote(name)));
    format!("SELECT {columns}\nFROM {}{}\nLIMIT ?", quote(table), order.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::decode::value::kind::{Kind, SourceColumn};
    use crate::target::sqlite::ddl::DIALECT;

    fn shape(key: &[usize], deletes: Deletes) -> Shape {
        let column = |name: &str, is_key| {
            let name = name.to_owned();
            let source =
                SourceColumn { name, kind: Kind::Int64, optional: true, source_type: None };
            (DIALECT.column)(&source, is_key).unwrap()
        };
        let names = ["a", "b \"x\"", "c"].into_iter().enumerate();
        let columns = names.map(|(index, name)| column(name, key.contains(&index)));
        let columns = columns.collect::<Vec<_>>();
        let names = |key: &[usize]| key.iter().map(|&index| columns[index].name.clone()).collect();
        let table = Table {
            name: TableName { schema: None, table: "t".to_owned() },
            columns: columns.clone(),
            unique_keys: if key.is_empty() { vec![] } else { vec![names(key)] },
        };
        let (table, key, synced_at) = (Arc::new(table), key.to_vec(), Some("synced_at".to_owned()));
        Shape {
            table,
            columns,
            key,
            keyless: crate::rows::Keyless::Refuse,
            deletes,
            synced_at,
            is_guarded: false,
            skips_unchanged: false,
        }
    }

    fn check(actual: &str, expected: &Expect) {
        expected.assert_eq(actual);
    }

    #[test]
    fn whole_rows_are_written_by_their_key() {
        check(
            &upsert(&shape(&[0], Deletes::Hard), 2),
            &expect![[r#"
            INSERT INTO "t" ("a", "b ""x""", "c", "synced_at")
            VALUES (?, ?, ?, ?), (?, ?, ?, ?)
            ON CONFLICT ("a") DO UPDATE SET "b ""x""" = excluded."b ""x""", "c" = excluded."c", "synced_at" = excluded."synced_at""#]],
        );
        check(
            &upsert(&shape(&[1, 0], Deletes::Soft("gone".to_owned())), 1),
            &expect![[r#"
            INSERT INTO "t" ("a", "b ""x""", "c", "synced_at", "gone")
            VALUES (?, ?, ?, ?, NULL)
            ON CONFLICT ("b ""x""", "a") DO UPDATE SET "c" = excluded."c", "synced_at" = excluded."synced_at", "gone" = excluded."gone""#]],
        );
        check(
            &upsert(&shape(&[], Deletes::Hard), 1),
            &expect![[r#"
            INSERT INTO "t" ("a", "b ""x""", "c", "synced_at")
            VALUES (?, ?, ?, ?)"#]],
        );
    }

    #[test]
    fn partial_rows_name_the_columns_that_are_there() {
        check(
            &update(&shape(&[0], Deletes::Hard), &[true, false, true]),
            &expect![[r#"
            UPDATE "t"
            SET "a" = ?1, "c" = ?2, "synced_at" = ?3
            WHERE "a" = ?4"#]],
        );
    }

    #[test]
    fn deletes_name_the_keys() {
        check(
            &delete(&shape(&[0], Deletes::Hard), 3),
            &expect![[r#"
            DELETE FROM "t"
            WHERE "a" IN (?, ?, ?)"#]],
        );
        check(
            &delete(&shape(&[0, 1], Deletes::Hard), 2),
            &expect![[r#"
            DELETE FROM "t"
            WHERE ("a", "b ""x""") IN (VALUES (?, ?), (?, ?))"#]],
        );
        check(
            &delete(&shape(&[0], Deletes::Soft("gone".to_owned())), 1),
            &expect![[r#"
            UPDATE "t"
            SET "gone" = ?
            WHERE "gone" IS NULL AND "a" IN (?)"#]],
        );
        check(
            &truncate(&shape(&[0], Deletes::Soft("gone".to_owned()))),
            &expect![[r#"
            UPDATE "t"
            SET "gone" = ?
            WHERE "gone" IS NULL"#]],
        );
    }

    #[test]
    fn a_table_is_created_with_its_key() {
        check(
            &create_table(&shape(&[1, 0], Deletes::Hard).table),
            &expect![[r#"
            CREATE TABLE "t" (
                "a" INTEGER NOT NULL,
                "b ""x""" INTEGER NOT NULL,
                "c" INTEGER,
                PRIMARY KEY ("b ""x""", "a")
            )"#]],
        );
        let column = (DIALECT.time_column)("synced_at", true);
        let name = TableName { schema: None, table: "t".to_owned() };
        check(
            &add_column(&name, &column),
            &expect![[
                r#"ALTER TABLE "t" ADD COLUMN "synced_at" TIMESTAMPTZ_TEXT NOT NULL DEFAULT '1970-01-01T00:00:00.000000Z'"#
            ]],
        );
    }

    #[test]
    fn statements_are_of_few_lengths_and_below_the_limit_of_binds() {
        let lengths = |mut rows: usize, width| {
            let mut lengths = Vec::<usize>::new();
            while rows > 0 {
                lengths.push(rows_of_next(rows, width));
                rows -= lengths.last().unwrap();
            }
            lengths
        };
        assert_eq!(lengths(203, 8), [64, 64, 64, 8, 2, 1]);
        assert_eq!(lengths(40, 2000), [16, 16, 8]);
        assert_eq!(lengths(2, 32_766), [1, 1]);
    }
}
