//! Rows of a guarded table that come again, or from elsewhere.

use super::*;
use crate::guard::{Age, LogPlace};

/// A change, where it stands in the source's log, and when it was committed.
type Aged<'a> = (Change<'a>, Option<i64>, i64);

fn guarded() -> Arc<Shape> {
    let shape = shape(Deletes::Hard);
    let Shape { table, columns, key, keyless, deletes, synced_at, .. } = &*shape;
    Arc::new(Shape {
        table: Arc::clone(table),
        columns: columns.clone(),
        key: key.clone(),
        keyless: *keyless,
        deletes: deletes.clone(),
        synced_at: synced_at.clone(),
        is_guarded: true,
        skips_unchanged: false,
    })
}

fn aged_batch(claimed: &Claimed, changes: &[Aged<'_>]) -> Folded {
    let (mut batch, shape) = (Batch::default(), guarded());
    batch.schema_changes.push(creation());
    let step = batch.step(&claimed.partition, claimed.claim, claimed.next);
    for (offset, (change, pos, time)) in (claimed.next.get()..).zip(changes) {
        let rows = batch.rows(&shape).unwrap();
        let (id, values, mut writer) = match change {
            Put(id, name, price) => (*id, vec![*name, *price], rows.upsert()),
            Delete(id) => (*id, vec![], rows.delete()),
        };
        writer.push(Value::Int(id)).unwrap();
        values.into_iter().for_each(|value| writer.push(value).unwrap());
        writer.finish(Origin { step, offset, sent_at: offset }, kept(offset)).unwrap();
        let place = pos.map(|pos| LogPlace { file: 0, pos, row: 0 });
        rows.note_age(Age { place, is_snapshot: false, source_time: Some(*time) });
        batch.advance(step, last(offset));
    }
    batch.fold()
}

fn put(id: i64, name: &'static str, pos: i64) -> Aged<'static> {
    (Put(id, Value::Text(name), Value::Null), Some(pos), pos)
}

/// A batch with a truncate at that place alone.
fn truncating(claimed: &Claimed, pos: i64, deletes: Deletes) -> Folded {
    let mut batch = Batch::default();
    let step = batch.step(&claimed.partition, claimed.claim, claimed.next);
    let offset = claimed.next.get();
    let place = Some(LogPlace { file: 0, pos, row: 0 });
    let age = Age { place, is_snapshot: false, source_time: Some(pos) };
    let shape = Arc::into_inner(guarded()).unwrap();
    let rows = batch.rows(&Arc::new(Shape { deletes, ..shape })).unwrap();
    rows.outdate(Origin { step, offset, sent_at: offset }, age);
    batch.advance(step, last(offset));
    batch.fold()
}

#[tokio::test]
async fn a_truncate_removes_what_is_older_in_whatever_order_it_comes() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let other = second(&mut target).await;
    let first = [put(1, "old", 10), put(2, "old", 20), put(2, "new", 60), put(4, "new", 50)];
    target.apply(&aged_batch(&claimed, &first)).await.unwrap();
    world.run("INSERT INTO items (id, name, synced_at) VALUES (9, 'of unknown age', '')").await;

    target.apply(&truncating(&other, 40, Deletes::Hard)).await.unwrap();
    assert_eq!(world.items().await, ["2|new|NULL", "4|new|NULL"]);
    let late = [put(5, "old", 39), put(6, "new", 41), put(1, "old", 11)];
    let applied = target.apply(&aged_batch(&after(&other, 1), &late)).await.unwrap();
    assert_eq!(applied, committed(2));
    assert_eq!(world.items().await, ["2|new|NULL", "4|new|NULL", "6|new|NULL"]);

    // The same again, and one before it: what has come since is newer.
    target.apply(&truncating(&after(&other, 4), 40, Deletes::Hard)).await.unwrap();
    target.apply(&truncating(&after(&other, 5), 30, Deletes::Hard)).await.unwrap();
    assert_eq!(world.items().await.len(), 3);
    target.apply(&truncating(&after(&other, 6), 70, Deletes::Hard)).await.unwrap();
    assert!(world.items().await.is_empty());
}

#[tokio::test]
async fn a_truncate_in_a_batch_outdates_what_came_before_it_and_what_other_partitions_bring() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let mut batch = Batch::default();
    batch.schema_changes.push(creation());
    let step = batch.step(&claimed.partition, claimed.claim, claimed.next);
    let rows = batch.rows(&guarded()).unwrap();
    let age = |pos| {
        let place = Some(LogPlace { file: 0, pos, row: 0 });
        Age { place, is_snapshot: false, source_time: Some(pos) }
    };
    for (offset, id, pos) in [(0, 1, 10), (1, 2, 30), (3, 3, 15), (4, 1, 40)] {
        if offset == 3 {
            rows.outdate(Origin { step, offset: 2, sent_at: 2 }, age(20));
        }
        let mut writer = rows.upsert();
        writer.push(Value::Int(id)).unwrap();
        for value in [Value::Text("x"), Value::Null] {
            writer.push(value).unwrap();
        }
        writer.finish(Origin { step, offset, sent_at: offset }, kept(offset)).unwrap();
        rows.note_age(age(pos));
    }
    batch.advance(step, last(4));
    // The second row came before the truncate in this partition, whatever its place says.
    assert_eq!(target.apply(&batch.fold()).await.unwrap(), committed(3));
    assert_eq!(world.items().await, ["1|x|NULL"]);
}

/// Claims another partition of the topic.
async fn second(target: &mut Sqlite) -> Claimed {
    let partition = TopicPartition::new("t", 1);
    target.begin(&[(partition.clone(), NextOffset::at(0))]).await.unwrap();
    claim(target, &partition).await
}

fn committed(older: usize) -> Applied {
    Applied::Committed { refused: vec![], older }
}

#[tokio::test]
async fn an_older_image_from_another_partition_never_covers_a_newer_one() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let other = second(&mut target).await;

    let newer = [put(1, "new", 50), put(2, "gone", 51), (Delete(2), Some(52), 52)];
    assert_eq!(target.apply(&aged_batch(&claimed, &newer)).await.unwrap(), committed(0));
    let old = [put(1, "old", 10), put(2, "old", 11), put(3, "three", 12)];
    assert_eq!(target.apply(&aged_batch(&other, &old)).await.unwrap(), committed(2));
    assert_eq!(world.items().await, ["1|new|NULL", "3|three|NULL"]);
}

#[tokio::test]
async fn a_value_that_an_older_image_has_is_not_carried_over_a_newer_one() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let other = second(&mut target).await;
    let first = (Put(1, Value::Text("one"), Value::Text("1.50")), Some(20), 20);
    target.apply(&aged_batch(&claimed, &[first])).await.unwrap();

    let old = (Put(1, Value::Text("old"), Value::Text("0.25")), Some(10), 10);
    let partial = (Put(1, Value::Text("two"), Value::Unavailable), Some(30), 30);
    let applied = target.apply(&aged_batch(&other, &[old, partial])).await.unwrap();
    assert_eq!(applied, committed(1));
    assert_eq!(world.items().await, ["1|two|1.50"]);
}

#[tokio::test]
async fn a_log_that_is_read_again_ends_where_it_was() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let all = [put(1, "a", 10), put(1, "b", 20), (Delete(1), None, 0), put(1, "c", 30)];
    target.apply(&aged_batch(&claimed, &all)).await.unwrap();
    // As after a rewind: each record by itself.
    let mut older = Vec::new();
    for (offset, change) in (0..).zip(all) {
        let again = Claimed { next: NextOffset::at(offset), ..claimed.clone() };
        world.run(&format!("UPDATE afterimage_checkpoint SET next_offset = {offset}")).await;
        let applied = target.apply(&aged_batch(&again, &[change])).await.unwrap();
        let Applied::Committed { older: count, .. } = applied else { panic!("{applied:?}") };
        older.push(count);
        assert_eq!(world.items().await, ["1|c|NULL"]);
    }
    assert_eq!(older, [1, 1, 1, 0]);
}

#[tokio::test]
async fn a_source_that_has_gone_back_is_named() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    target.apply(&aged_batch(&claimed, &[put(1, "a", 50)])).await.unwrap();
    let restored = [(Put(1, Value::Text("b"), Value::Null), Some(40), 60)];
    let error = target.apply(&aged_batch(&after(&claimed, 1), &restored)).await.unwrap_err();
    assert_eq!(error.to_string(), "the source has gone back: table \"items\", t[0] at 1");
}
