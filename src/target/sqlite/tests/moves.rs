//! Rows that moved to a key and away from it in one transaction of the source.

use super::*;
use crate::rows::Move;

#[tokio::test]
async fn a_row_that_moved_to_a_key_stays_where_the_target_had_another_under_it() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let shape = shape(Deletes::Hard);
    let old = Value::Text("old");
    target.apply(&batch(&claimed, &shape, &[Put(2, old, Value::Null)])).await.unwrap();

    let claimed = after(&claimed, 1);
    let mut moved = Batch::default();
    let step = moved.step(&claimed.partition, claimed.claim, claimed.next);
    for (offset, (id, is_create)) in
        (claimed.next.get()..).zip([(2, true), (2, false), (9, true), (9, false)])
    {
        let rows = moved.rows(&shape).unwrap();
        let mut writer = if is_create { rows.upsert() } else { rows.delete() };
        let values = [Value::Int(id), Value::Text("new"), Value::Null];
        let count = if is_create { values.len() } else { 1 };
        values[..count].iter().for_each(|value| writer.push(*value).unwrap());
        writer.finish(Origin { step, offset }, kept(offset)).unwrap();
        rows.note_move(Move { is_create, transaction: 5 });
        moved.advance(step, last(offset));
    }
    let applied = target.apply(&moved.fold()).await.unwrap();

    assert_eq!(applied, Applied::Committed { refused: Vec::new() });
    assert_eq!(world.items().await, ["2|new|NULL"]);
}
