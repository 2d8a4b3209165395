//! Rows that moved to a key and away from it in one transaction of the source.

use super::*;
use crate::moves::{Departure, MoveRequest, Moved, NEW_KEY, Sign};
use crate::refused::{Reason, Refusal};
use crate::rows::Move;

#[tokio::test]
async fn a_row_that_moved_to_a_key_stays_where_the_target_had_another_under_it() {
    // In one batch, and in two.
    for ends in [[0, 4], [1, 4], [3, 4]] {
        check(2, ends, &["2|new|NULL"]).await;
        check(7, ends, &["7|old|NULL"]).await;
    }
}

/// Applies a row's way to key 2 and on, and one to key 9 and on, in batches that end there, where
/// another row has a key already.
async fn check(taken: i64, ends: [usize; 2], expected: &[&str]) {
    let world = World::new();
    let (mut target, mut claimed) = world.claimed().await;
    let shape = shape(Deletes::Hard);
    let old = [Put(taken, Value::Text("old"), Value::Null)];
    target.apply(&batch(&claimed, &shape, &old)).await.unwrap();
    claimed = after(&claimed, 1);

    let halves = [(2, true), (2, false), (9, true), (9, false)];
    let mut begin = 0;
    for end in ends.into_iter().filter(|end| *end > 0) {
        let mut moved = Batch::default();
        let step = moved.step(&claimed.partition, claimed.claim, claimed.next);
        for (offset, (id, is_create)) in (claimed.next.get()..).zip(&halves[begin..end]) {
            let rows = moved.rows(&shape).unwrap();
            let mut writer = if *is_create { rows.upsert() } else { rows.delete() };
            let values = [Value::Int(*id), Value::Text("new"), Value::Null];
            let count = if *is_create { values.len() } else { 1 };
            values[..count].iter().for_each(|value| writer.push(*value).unwrap());
            writer.finish(Origin { step, offset, sent_at: 0 }, kept(offset)).unwrap();
            rows.note_move(half(*is_create, offset));
            moved.advance(step, last(offset));
        }
        let applied = target.apply(&moved.fold()).await.unwrap();
        assert_eq!(applied, Applied::Committed { refused: Vec::new(), older: 0 });
        claimed = after(&claimed, i64::try_from(end - begin).unwrap());
        begin = end;
    }
    assert_eq!(world.items().await, expected);
}

#[tokio::test]
async fn a_row_leaves_nothing_once_another_batch_has_written_one_over_it() {
    for (is_one_batch, expected) in
        [(true, Moved::Values(vec![Some(b"told".to_vec())])), (false, Moved::Gone)]
    {
        let world = World::new();
        let (mut target, mut claimed) = world.claimed().await;
        let shape = shape(Deletes::Hard);
        let old = [Put(2, Value::Text("old"), Value::Null)];
        target.apply(&batch(&claimed, &shape, &old)).await.unwrap();
        claimed = after(&claimed, 1);

        let mut moved = Batch::default();
        let mut step = moved.step(&claimed.partition, claimed.claim, claimed.next);
        let rows = moved.rows(&shape).unwrap();
        let mut writer = rows.upsert();
        let values = [Value::Int(2), Value::Text("new"), Value::Null];
        values.iter().for_each(|value| writer.push(*value).unwrap());
        let cells = writer.cells().to_vec();
        writer.finish(Origin { step, offset: 1, sent_at: 0 }, kept(1)).unwrap();
        rows.note_move(half(true, 1));
        moved.advance(step, last(1));
        if !is_one_batch {
            target.apply(&std::mem::take(&mut moved).fold()).await.unwrap();
            claimed = after(&claimed, 1);
            step = moved.step(&claimed.partition, claimed.claim, claimed.next);
        }
        let rows = moved.rows(&shape).unwrap();
        let mut writer = rows.delete();
        writer.push(Value::Int(2)).unwrap();
        let key = writer.cells().to_vec();
        writer.finish(Origin { step, offset: 2, sent_at: 0 }, kept(2)).unwrap();
        rows.note_move(half(false, 2));
        let named = (half(false, 2), rows.name_key(&key));
        rows.depart(Departure {
            place: "2".to_owned(),
            step,
            key,
            columns: Arc::from([1]),
            is_refused: false,
            half: Some(named),
            otherwise: is_one_batch.then_some(cells),
        });
        moved.advance(step, last(2));
        target.apply(&moved.fold()).await.unwrap();

        let (topic, place) = (Arc::clone(&world.partition.topic), "2".to_owned());
        let request = MoveRequest {
            topic,
            partition: 0,
            offset: 3,
            place,
            shape,
            columns: vec![1],
            leaves: None,
            sign: None,
        };
        assert_eq!(target.moved(&request).await.unwrap(), Some(expected));
        assert_eq!(world.items().await, ["2|new|NULL"]);
    }
}

fn half(is_create: bool, lsn: i64) -> Move {
    Move { is_create, transaction: 5, lsn, is_over_refused: false }
}

#[tokio::test]
async fn a_create_finds_the_letter_of_the_delete_that_nobody_could_read() {
    const SENT_AT: i64 = 1_700_000_000_000;
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let shape = shape(Deletes::Hard);
    let mut refusing = batch(&claimed, &shape, &[Delete(9)]);
    let letter = |offset: i64, key: &str, value: Option<&[u8]>| DeadLetter {
        partition: world.partition.clone(),
        record: KeptRecord {
            offset,
            timestamp: Some(SENT_AT),
            key: None,
            value: value.map(<[u8]>::to_vec),
            headers: vec![(NEW_KEY.to_owned(), Some(key.as_bytes().to_vec()))],
        },
        refusal: Refusal::new(Reason::Malformed, "no JSON"),
    };
    refusing.dead_letters =
        vec![letter(0, r#"{"id":2}"#, Some(b"{")), letter(1, r#"{"id":3}"#, None)];
    target.apply(&refusing).await.unwrap();

    let request = |id: i64, sent_at: i64| MoveRequest {
        topic: Arc::clone(&world.partition.topic),
        partition: 0,
        offset: 5,
        place: "77".to_owned(),
        shape: Arc::clone(&shape),
        columns: vec![1],
        leaves: None,
        sign: Some(Sign { key: serde_json::json!({"id": id}), sent_at }),
    };
    let apart = Sign::APART_MAX;
    for (id, sent_at, expected) in [
        (2, SENT_AT, Some(Moved::Gone)),
        (2, SENT_AT + apart, Some(Moved::Gone)),
        (2, SENT_AT - apart - 1, None),
        (2, SENT_AT + apart + 1, None),
        (4, SENT_AT, None),
        // The record is a tombstone: its delete may come yet.
        (3, SENT_AT, None),
    ] {
        assert_eq!(target.moved(&request(id, sent_at)).await.unwrap(), expected, "{id} {sent_at}");
    }
}
