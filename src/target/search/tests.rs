//! The search against a database of one line: a value that is refused, values that are there once,
//! children and parents.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::batch::Batch;
use crate::checkpoint::{Claim, LastRecord, NextOffset};
use crate::decode::value::Value;
use crate::record::TopicPartition;
use crate::refused::KeptRecord;
use crate::rows::{Deletes, Keyless, Origin, Shape};
use crate::table::{Column, Misfit, Table, TableName};

/// Rows by key. A value is refused (`!`), free (`.`), or there once; the row of a capital letter is a
/// child of the small one's, which stands in another table.
type Rows = BTreeMap<char, char>;

/// Writes a row, or says what refuses it.
fn write(rows: &mut Rows, key: char, value: char) -> Result<(), Fault> {
    let is_taken = rows.iter().any(|(other, taken)| *other != key && *taken == value);
    let sqlstate = match value {
        '!' => "23514",
        '1'..='9' | '\u{4f00}'.. if is_taken => "23505",
        _ if key.is_uppercase() && !rows.contains_key(&key.to_ascii_lowercase()) => "23503",
        _ => {
            rows.insert(key, value);
            return Ok(());
        }
    };
    let (sqlstate, text) = (sqlstate.to_owned(), format!("{key}{value}"));
    Err(Fault { table: None, sqlstate, constraint: None, text })
}

/// What the search has come to.
struct Found {
    refused: String,
    tries: usize,
    rows: Rows,
}

/// Searches a batch that a database of those rows refuses as a whole; a word is a record, of a key and
/// its value.
fn search(rows: &str, batch: &str) -> Found {
    let mut rows = rows.split_whitespace().map(pair).collect::<Rows>();
    let words = batch.split_whitespace().collect::<Vec<_>>();
    let folded = fold(&words);
    let fault = write_folded(&mut rows.clone(), &words, &folded.in_source_order());
    let mut search = Search::new(&folded, &fault.expect_err("the batch is refused"));
    while let Some(next) = search.next() {
        let mut after = rows.clone();
        let mut outcome = Ok(());
        for part in &next.parts {
            if next.is_vacated {
                after.retain(|key, _| !part.iter().any(|place| key_at(&folded, *place) == *key));
            }
            outcome = outcome.and_then(|()| write_folded(&mut after, &words, part));
        }
        if outcome.is_ok() {
            rows = after;
        }
        search.learn(outcome);
    }
    let tries = search.tries();
    let mut refused = search.refused();
    refused.sort_by_key(|row| row.offset);
    let word = |row: &RefusedRow| words[usize::try_from(row.offset).unwrap()];
    let refused = refused.iter().map(word).collect::<Vec<_>>().join(" ");
    Found { refused, tries, rows }
}

fn key_at(folded: &Folded, place: Place) -> char {
    let (rows, row) = folded.row(place).unwrap();
    std::str::from_utf8(&rows.key(row)[4..]).unwrap().chars().next().unwrap()
}

fn pair(word: &str) -> (char, char) {
    let mut characters = word.chars();
    (characters.next().unwrap(), characters.next().unwrap())
}

/// Writes the last image of each key, in the keys' order.
fn write_folded(rows: &mut Rows, words: &[&str], part: &[Place]) -> Result<(), Fault> {
    let folded = fold(words);
    let offset = |place: &Place| folded.row(*place).unwrap().1.offset;
    let word = |place: &Place| words[usize::try_from(offset(place)).unwrap()];
    let mut part = part.to_vec();
    part.sort_by_key(offset);
    let last = part.iter().map(word).map(pair).collect::<Rows>();
    last.into_iter().try_for_each(|(key, value)| write(rows, key, value))
}

/// Makes a batch of one partition, in which capital letters are another table's.
fn fold(words: &[&str]) -> Folded {
    let shapes = [shape("children"), shape("parents")];
    let mut batch = Batch::default();
    let claim = Claim { epoch: 1, token: Uuid::nil() };
    let step = batch.step(&TopicPartition::new("t", 0), claim, NextOffset::at(0));
    for (offset, word) in (0..).zip(words) {
        let shape = &shapes[usize::from(pair(word).0.is_lowercase())];
        let mut writer = batch.rows(shape).unwrap().upsert();
        let key = pair(word).0.to_string();
        writer.push(Value::Text(&key)).unwrap();
        let record =
            KeptRecord { offset, timestamp: None, key: None, value: None, headers: vec![] };
        writer.finish(Origin { step, offset, sent_at: 0 }, record).unwrap();
        batch.advance(
            step,
            LastRecord {
                offset,
                timestamp: None,
                source_position: None,
                leader_epoch: None,
                deleted_key: None,
            },
        );
    }
    batch.fold()
}

fn shape(name: &str) -> Arc<Shape> {
    fn encode(value: Value<'_>, _: i32, out: &mut Vec<u8>) -> Result<(), Misfit> {
        let Value::Text(text) = value else { return Err(Misfit::Type) };
        out.extend_from_slice(text.as_bytes());
        Ok(())
    }
    let column = Column {
        name: "id".to_owned(),
        type_name: "text".to_owned(),
        base_name: None,
        type_id: 0,
        modifier: -1,
        not_null: true,
        generated: false,
        has_default: false,
        identity: None,
        enumeration: None,
        encode: Some(encode),
    };
    let name = TableName { schema: None, table: name.to_owned() };
    let (columns, key) = (vec![column.clone()], vec![0]);
    let unique_keys = vec![vec!["id".to_owned()]];
    let table = Arc::new(Table { name, columns: vec![column], unique_keys });
    let (keyless, deletes) = (Keyless::Refuse, Deletes::Hard);
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

#[track_caller]
fn check(rows: &str, batch: &str, expected: &str) {
    let found = search(rows, batch);
    assert_eq!(found.refused, expected, "of {batch} in {} tries", found.tries);
}

#[test]
fn each_refused_row_is_found_in_twice_the_logarithm_and_one() {
    for refused in [&[0][..], &[31], &[32], &[63], &[1, 17, 18, 50]] {
        let words = ('\u{4e00}'..)
            .take(64)
            .enumerate()
            .map(|(at, key)| format!("{key}{}", if refused.contains(&at) { '!' } else { '.' }));
        let words = words.collect::<Vec<_>>();
        let found = search("", &words.join(" "));
        let expected = refused.iter().map(|at| words[*at].as_str()).collect::<Vec<_>>().join(" ");
        assert_eq!(found.refused, expected);
        let most = refused.len() * (2 * words.len().ilog2() as usize + 1);
        assert!(found.tries <= most, "{} tries for {} of {most}", found.tries, refused.len());
    }
}

#[test]
fn values_that_change_hands_in_a_batch_are_taken() {
    check("a1 b2", "a. b1 a2", "");
    check("a1 b2 c3", "a. b1 c2 a3", "");
    check("a1 b2", "c. a. b1 d! a2", "d!");
}

#[test]
fn values_that_are_passed_on_at_once_are_taken() {
    check("a1 b2", "a2 b1", "");
    check("a1 b2 c3 d4", "a2 b3 c4 d1 e! f.", "e!");
    // A row of rows, longer than the rounds.
    let word = |from: u32, at: u32| {
        [0x4e00 + at, 0x4f00 + from + at].map(|it| char::from_u32(it).unwrap())
    };
    let row = |from: u32| {
        (0..50).map(|at| word(from, at).iter().collect::<String>() + " ").collect::<String>()
    };
    check(&row(0), &(row(1) + "z!"), "z!");
    // One of them cannot have it, nor can the other then.
    check("a1 b2 c3", "a3 b1", "a3 b1");
}

#[test]
fn a_row_that_comes_before_what_it_needs_is_taken_behind_it() {
    check("", "A. a.", "");
    check("", "C. B. x. A. b. a. c.", "");
    check("b1", "a1 c. b2", "");
    check("", "A. x! a. y!", "x! y!");
}

#[test]
fn only_what_never_fits_is_refused() {
    check("", "A. b. B. c.", "A.");
    check("a1", "b1 c. d2", "b1");
    check("", "a! A. b. B.", "a! A.");
    check("", "a1 b1", "b1");
    check("", "a!", "a!");
}

#[test]
fn an_image_that_a_later_one_replaces_is_not_judged() {
    check("", "a! b! c. a.", "b!");
    check("", "a. a! b. b! b.", "a!");
    check("", "a! b. a! c. d!", "a! a! d!");
}

proptest! {
    #[test]
    fn what_is_refused_would_be_refused_at_the_end_and_all_else_is_written(
        rows in "(a[.1-4] )?(b[.5-8] )?",
        batch in "([abcABC][.1-4!] ){2,12}",
    ) {
        let words = batch.split_whitespace().collect::<Vec<_>>();
        let folded = fold(&words);
        let before = rows.split_whitespace().map(pair).collect::<Rows>();
        let whole = write_folded(&mut before.clone(), &words, &folded.in_source_order());
        prop_assume!(whole.is_err());

        let found = search(&rows, &batch);

        // Of a key that has several, those that wait are tried once: the lane asks again.
        let is_alone = |key: char| words.iter().filter(|word| word.starts_with(key)).count() == 1;
        for (key, value) in found.refused.split_whitespace().map(pair) {
            if value != '!' && !is_alone(key) {
                continue;
            }
            let is_refused = write(&mut found.rows.clone(), key, value).is_err();
            prop_assert!(is_refused, "{key}{value} of {batch}: {}", found.refused);
        }
        for (key, value) in words.iter().map(|word| pair(word)).collect::<Rows>() {
            let refused = found.refused.split_whitespace().any(|word| word.starts_with(key));
            prop_assert!(refused || found.rows.get(&key) == Some(&value), "{key} of {batch}");
        }
    }
}
