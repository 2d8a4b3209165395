//! The fold against models that share no code with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::decode::value::Value;
use crate::refused::KeptRecord;
use crate::rows::{Cell, Cells, Deletes, Keyless, Move, Origin, RowWriter, Shape};
use crate::table::{Column, Misfit, Table, TableName};

mod moves;

#[test]
fn the_last_image_of_a_key_wins_in_key_order() {
    check("2=ab 1=cd 2=ef", "1=cd 2=ef");
}

#[test]
fn delete_after_upsert_leaves_the_delete() {
    check("1=ab 2=cd 1!", "2=cd 1!");
}

#[test]
fn an_insert_behind_a_delete_is_an_upsert() {
    check("1! 1=ab", "1=ab");
}

#[test]
fn a_row_behind_a_delete_is_a_new_one() {
    let renewed = |changes: &str| {
        let mut rows = parse(changes);
        fold(&mut rows).renewed
    };
    assert_eq!(renewed("1! 1=ab 2=ab"), [1]);
    assert_eq!(renewed("1! 1=ab 1=c~"), [2]);
    assert!(renewed("1! 1=ab 1!").is_empty());
    assert!(renewed("1=ab 1=cd").is_empty());
}

#[test]
fn a_row_is_new_if_the_first_change_of_its_key_says_so() {
    let is_new = |changes: &str| {
        let mut rows = parse(changes);
        let winners = fold(&mut rows);
        winners.upserts.iter().map(|&row| rows.index()[row].is_new).collect::<Vec<_>>()
    };
    assert_eq!(is_new("1+ab 2=ab"), [true, false]);
    assert_eq!(is_new("1+ab 1=cd 1=~e"), [true]);
    assert_eq!(is_new("1! 1+ab"), [false], "there was a row to delete");
    assert_eq!(is_new("1=ab 1! 1+cd"), [false]);
    assert_eq!(is_new("1+ab 1! 1+cd"), [true]);
}

#[test]
fn a_key_is_copied_only_where_its_cells_are_apart() {
    let text = |cells: &[u8]| {
        let content = |cell| match cell {
            Cell::Content(content) => char::from(content[0]),
            _ => panic!("{cell:?}"),
        };
        Cells::new(cells).map(content).collect::<String>()
    };
    for (key, expected, copied) in [
        (&[1][..], "b", 0),
        (&[0, 1], "ab", 0),
        (&[1, 2], "bc", 0),
        (&[0, 1, 2], "abc", 0),
        (&[1, 0], "ba", 2),
        (&[0, 2], "ac", 2),
        (&[0, 2, 1], "acb", 3),
        (&[0, 1, 0], "aba", 3),
    ] {
        let mut rows = Rows::new(shape(key));
        for is_delete in [false, true, false] {
            let mut writer = rows.upsert();
            for cell in ["a", "b", "c"] {
                writer.push(Value::Text(cell)).unwrap();
            }
            let origin = Origin { step: 0, offset: 0, sent_at: 0 };
            let finish = if is_delete { RowWriter::finish_delete } else { RowWriter::finish };
            finish(writer, origin, kept(0)).unwrap();
        }
        let keys = rows.index().iter().map(|row| text(rows.key(row)));
        assert_eq!(keys.collect::<Vec<_>>(), [expected; 3]);
        let upserts = rows.index().iter().step_by(2).map(|row| text(rows.cells(row)));
        assert_eq!(upserts.collect::<Vec<_>>(), ["abc"; 2]);
        const CELL_BYTES: usize = 5;
        assert_eq!(rows.byte_count(), 3 * (3 + copied) * CELL_BYTES, "{expected}");
    }
}

#[test]
fn an_unavailable_value_is_carried_from_the_change_before_it() {
    check("1=ab 1=c~ 1=~d", "1=cd");
}

#[test]
fn an_unavailable_value_without_a_change_before_it_is_left_to_the_target() {
    check("1=a~ 1=b~", "1=b~");
}

#[test]
fn an_unavailable_value_behind_a_delete_is_refused() {
    check("1=ab 1! 1=c~ 2=ab", "2=ab 1! refused:2");
}

#[test]
fn a_truncate_leaves_nothing_before_it() {
    let mut rows = parse("1=ab 2=cd");
    rows.truncate();
    write(&mut rows, "3=ef", 9);

    let winners = fold(&mut rows);

    assert_eq!(show(&rows, &winners), "3=ef");
    assert!(rows.is_truncated());
}

proptest! {
    #[test]
    fn folding_first_changes_nothing(
        stored in "1=[abc][abc] 2=[abc][abc]",
        // Key 3 is not stored: two partial images of it could make a whole one, which is right,
        // but not what the model does.
        batch in "( [12]=[abc~][abc~]| 3=[abc][abc]| [123]!){0,12}",
    ) {
        let mut stepwise = Model::default();
        stored.split_whitespace().for_each(|change| stepwise.apply(change));
        let mut at_once = stepwise.clone();

        batch.split_whitespace().for_each(|change| stepwise.apply(change));
        let mut rows = parse(&batch);
        let winners = fold(&mut rows);
        for change in show(&rows, &winners).split_whitespace() {
            if !change.starts_with("refused") {
                at_once.apply(change);
            }
        }

        prop_assert_eq!(at_once, stepwise);
    }
}

#[test]
fn an_image_before_takes_back_an_equal_row_of_the_batch_else_one_of_the_targets() {
    check_images("+ab +ab -ab", "+ab");
    check_images("ab>cd cd>ef", "-ab +ef");
    check_images("-ab +ab ab>cd", "-ab +cd");
}

proptest! {
    #[test]
    fn matching_images_first_changes_nothing(
        stored in "( [ab]x){0,3}",
        batch in "( \\+[ab]x| -[ab]x| [ab]x>[ab]x){0,10}",
    ) {
        let mut stepwise = stored.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let mut at_once = stepwise.clone();
        let found = batch.split_whitespace().all(|change| apply_image(&mut stepwise, change));
        let rows = parse_images(&batch);
        let winners = show_images(&rows, &fold_images(&batch));
        let all_at_once =
            winners.split_whitespace().all(|change| apply_image(&mut at_once, change));

        prop_assert_eq!(all_at_once, found);
        stepwise.sort();
        at_once.sort();
        prop_assert!(!found || at_once == stepwise, "{at_once:?} {stepwise:?}");
    }
}

/// Applies `+AB`, `-AB` or `AB>CD` to a list of rows; `false` when no row is equal.
fn apply_image(rows: &mut Vec<String>, change: &str) -> bool {
    let (before, after) = match change.split_at(1) {
        ("+", after) => (None, Some(after)),
        ("-", before) => (Some(before), None),
        _ => change.split_once('>').map(|(before, after)| (Some(before), Some(after))).unwrap(),
    };
    if let Some(before) = before {
        let Some(found) = rows.iter().position(|row| row == before) else { return false };
        rows.remove(found);
    }
    rows.extend(after.map(str::to_owned));
    true
}

fn check_images(changes: &str, expected: &str) {
    assert_eq!(show_images(&parse_images(changes), &fold_images(changes)), expected);
}

fn fold_images(changes: &str) -> Winners {
    fold(&mut parse_images(changes))
}

fn parse_images(changes: &str) -> Rows {
    let mut rows = Rows::new(shape(&[]));
    for (offset, change) in (0..).zip(changes.split_whitespace()) {
        let mut writer = rows.upsert();
        let image = |text: &str, writer: &mut crate::rows::RowWriter<'_>| {
            for cell in ["", text.get(..1).unwrap(), text.get(1..).unwrap()] {
                writer.push(Value::Text(cell)).unwrap();
            }
        };
        let origin = Origin { step: 0, offset, sent_at: 0 };
        match (change.strip_prefix('+'), change.strip_prefix('-'), change.split_once('>')) {
            (Some(after), ..) => image(after, &mut writer),
            (_, Some(before), _) => {
                image(before, &mut writer);
                writer.end_before();
                writer.finish_delete(origin, kept(offset)).unwrap();
                continue;
            }
            (.., Some((before, after))) => {
                image(before, &mut writer);
                writer.end_before();
                image(after, &mut writer);
            }
            _ => panic!("{change}"),
        }
        writer.finish(origin, kept(offset)).unwrap();
    }
    rows
}

fn show_images(rows: &Rows, winners: &Winners) -> String {
    let text = |cells: &[u8]| {
        let text = |cell| match cell {
            Cell::Content(content) => String::from_utf8(content.to_vec()).unwrap(),
            Cell::Null | Cell::Unavailable => panic!("a text"),
        };
        Cells::new(cells).map(text).collect::<String>()
    };
    let gone = winners.images.iter().map(|&row| format!("-{}", text(rows.key(&rows.index()[row]))));
    let new =
        winners.upserts.iter().map(|&row| format!("+{}", text(rows.cells(&rows.index()[row]))));
    gone.chain(new).collect::<Vec<_>>().join(" ")
}

/// A table that knows no batch: each change in turn, `~` keeps what stands, and a `~` with
/// nothing under it refuses its change.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model(BTreeMap<char, String>);

impl Model {
    fn apply(&mut self, change: &str) {
        let key = change.chars().next().unwrap();
        let Some(new) = change.split_once('=').map(|(_, new)| new) else {
            self.0.remove(&key);
            return;
        };
        let old = self.0.get(&key).cloned();
        if old.is_none() && new.contains('~') {
            return;
        }
        let old = old.unwrap_or_else(|| new.to_owned());
        let laid = new.chars().zip(old.chars());
        self.0.insert(key, laid.map(|(new, old)| if new == '~' { old } else { new }).collect());
    }
}

fn check(changes: &str, expected: &str) {
    let mut rows = parse(changes);
    let winners = fold(&mut rows);
    assert_eq!(show(&rows, &winners), expected);
}

/// Reads `KEY=AB` (an upsert of two columns, with `+` of a row that is said to be new) and `KEY!` (a
/// delete); `~` is unavailable. `>KEY=AB` and `KEY!>` are the halves of a move, of another transaction
/// with a `'` behind them; `@PLACE` makes halves one that the connector repeats.
fn parse(changes: &str) -> Rows {
    let mut rows = Rows::new(shape(&[0]));
    for (offset, change) in (0..).zip(changes.split_whitespace()) {
        write(&mut rows, change, offset);
    }
    rows
}

fn write(rows: &mut Rows, change: &str, offset: i64) {
    let origin = Origin { step: 0, offset, sent_at: 0 };
    let (change, lsn) = match change.split_once('@') {
        Some((change, place)) => (change, place.parse().unwrap()),
        None => (change, 100 + offset),
    };
    let transaction = i64::from(change.ends_with('\''));
    let (is_create, is_delete) = (change.starts_with('>'), change.contains("!>"));
    let change = change.trim_matches(['>', '\'']);
    let (key, rest) = change.split_at(1);
    let mut writer = if rest == "!" { rows.delete() } else { rows.upsert() };
    writer.push(Value::Text(key)).unwrap();
    writer.note_new(rest.starts_with('+'));
    for cell in rest.trim_start_matches(['=', '+', '!']).chars() {
        let mut text = [0; 4];
        let value = Value::Text(cell.encode_utf8(&mut text));
        writer.push(if cell == '~' { Value::Unavailable } else { value }).unwrap();
    }
    writer.finish(origin, kept(offset)).unwrap();
    if is_create || is_delete {
        rows.note_move(Move { is_create, transaction, lsn, is_over_refused: false });
    }
}

fn show(rows: &Rows, winners: &Winners) -> String {
    let text = |cell: Cell<'_>| match cell {
        Cell::Content(content) => String::from_utf8(content.to_vec()).unwrap(),
        Cell::Unavailable => "~".to_owned(),
        Cell::Null => "-".to_owned(),
    };
    let row = |row: &usize| {
        let cells = Cells::new(rows.cells(&rows.index()[*row])).map(text).collect::<Vec<_>>();
        format!("{}={}", cells[0], cells[1..].concat())
    };
    let key = |row: &usize| {
        let cells = Cells::new(rows.key(&rows.index()[*row])).map(text).collect::<Vec<_>>();
        format!("{}!", cells[0])
    };
    let shown = winners.upserts.iter().chain(&winners.partial).map(row);
    let shown = shown.chain(winners.deletes.iter().map(key));
    let shown =
        shown.chain(winners.unsettled.passed.iter().map(|it| format!("{}?", row(&it.create))));
    let refused = winners.refused.iter().map(|row| format!("refused:{row}"));
    shown.chain(refused).collect::<Vec<_>>().join(" ")
}

fn kept(offset: i64) -> KeptRecord {
    KeptRecord { offset, timestamp: None, key: None, value: None, headers: Vec::new() }
}

fn shape(key: &[usize]) -> Arc<Shape> {
    let columns = ["id", "a", "b"].map(column).to_vec();
    let name = TableName { schema: None, table: "t".to_owned() };
    let table = Table { name, columns: columns.clone(), unique_keys: Vec::new() };
    let (table, deletes) = (Arc::new(table), Deletes::Hard);
    let (key, keyless) = (key.to_vec(), Keyless::Match);
    Arc::new(Shape {
        table,
        columns,
        key,
        keyless,
        deletes,
        synced_at: None,
        is_guarded: false,
        skips_unchanged: false,
    })
}

fn column(name: &str) -> Column {
    let (name, type_name) = (name.to_owned(), "text".to_owned());
    Column {
        name,
        type_name,
        type_id: 0,
        modifier: -1,
        not_null: false,
        generated: false,
        has_default: false,
        identity: None,
        enumeration: None,
        base_name: None,
        encode: Some(text as _),
    }
}

fn text(value: Value<'_>, _: i32, cell: &mut Vec<u8>) -> Result<(), Misfit> {
    let Value::Text(text) = value else { return Err(Misfit::Type) };
    cell.extend_from_slice(text.as_bytes());
    Ok(())
}
