//! SQL: every statement's text, as constants and pure functions.
//!
//! Text depends on tables and column sets only, so that prepared statements are found again. Every
//! name is qualified, because nothing is known of the session's `search_path`; but `unnest` of many
//! arrays is syntax, and known only by its bare name.

mod amend;
mod catalog;
mod fence;
mod guard;
mod inspect;
mod key;
mod leads;
mod letters;
mod moves;
mod prepared;
mod rows;
mod schema;
mod taken;
mod unchanged;

pub(super) use amend::{ACCEPT_KEYS, AMEND_ROW, AUDIT, FORGET_KEYS, LOCK_ROWS, MAKE_ROW};
pub(super) use catalog::{
    CHANGING_TRIGGERS, COLUMNS, UNIQUE_KEYS, array_type, qualified_type, row_array,
};
pub(super) use fence::{
    ANALYZE, BEGIN, BLOCKERS, CLAIM, FORMER_OWNERS, IDENTIFY, LOCK_KEYS, MARK, MEET_KEY, NOT_MOVED,
    PLACES, POSITIONS, REFUSED_KEYS, TOUCH, UNCLAIMED,
};
pub(super) use guard::{
    BEGIN_GUARD, FORGET_GUARD, LASTING_GUARD, LOCK_GUARD, MOVE_GUARD, UNTIE_GUARD, hold_off,
    remove_others,
};
pub(super) use inspect::{
    CHECKPOINTS, DEAD_LETTER_COUNTS, REPLICATED_TABLES, count_rows, newest_rows,
};
pub(super) use leads::{KEEP_LEADS, LEADERS, LOCK_LEADS, MET};
pub(super) use letters::{
    AUDIT_LETTER, COPIED, COUNT_UP, END_LETTER, KEPT_RECORD, LEASE_UNCOPIED, LETTERS,
    LOCK_PARTITION, MARK_SINCE, REFUSE_AGAIN, STANDING,
};
pub(super) use moves::{FORGET_MOVES, REFUSED_DELETES, find_left, leave, leave_of_batch};
pub(super) use prepared::{array, bytea, columns, hold, prepare, step};
pub(super) use rows::{
    BEGIN_PART, CHECK_CONSTRAINTS, CLEAR_KEYS, COMMIT, DEAD_LETTERS, END_PART, IS_FOLLOWED,
    IS_TRUNCATABLE, MARK_KEYS, ROLLBACK, START, UNDO_PART, copy, delete, delete_images, insert,
    mark_all_deleted, remove_all, renew, truncate, update,
};
pub(super) use schema::{
    Beside, IS_BOOTSTRAPPED, LOCK_DDL, ROLE, SCHEMA_EXISTS, add_column, add_label, alter_column,
    bootstrap, create_schema, create_table, grants, lock_exclusive,
};
pub(super) use taken::{FORGET_OLD_TAKEN, FORGET_TAKEN, KEEP_TAKEN, ask_taken};
pub(super) use unchanged::insert_others;

use crate::table::TableName;

/// The schema of a table whose name has none.
pub(super) const DEFAULT_SCHEMA: &str = "public";

/// Quotes an identifier.
fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Spells a text so that it is read alike whatever `standard_conforming_strings` says.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    match text.contains('\\') {
        true => format!("E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}

/// Returns the schema that the table stands in.
pub(super) fn schema(name: &TableName) -> &str {
    name.schema.as_deref().unwrap_or(DEFAULT_SCHEMA)
}

/// Quotes a table with its schema.
pub(super) fn relation(name: &TableName) -> String {
    format!("{}.{}", quote(schema(name)), quote(&name.table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_in_a_name_is_doubled() {
        let name = TableName { schema: None, table: "a\"b".to_owned() };
        assert_eq!(relation(&name), "\"public\".\"a\"\"b\"");
    }
}
