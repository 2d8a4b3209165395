//! Tables without a key: a change finds its row by the whole image before.

use super::*;
use crate::rows::RowWriter;

#[tokio::test]
async fn without_a_key_a_change_takes_one_row_that_is_equal_to_its_image_before() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    world.run("CREATE TABLE items (id INTEGER, name TEXT, price DECIMAL_TEXT)").await;
    let name = TableName { schema: None, table: "items".to_owned() };
    let table = Arc::new(target.table(&name).await.unwrap().unwrap());
    let (columns, keyless, deletes) = (table.columns.clone(), Keyless::Match, Deletes::Hard);
    let (key, synced_at) = (Vec::new(), None);
    let shape = Arc::new(Shape {
        table,
        columns,
        key,
        keyless,
        deletes,
        synced_at,
        is_guarded: false,
        skips_unchanged: false,
    });
    let folded = |claimed: &Claimed, changes: &[(Option<i64>, Option<i64>)]| {
        let mut batch = Batch::default();
        let step = batch.step(&claimed.partition, claimed.claim, claimed.next);
        for (offset, (before, after)) in (claimed.next.get()..).zip(changes) {
            let mut writer = batch.rows(&shape).unwrap().upsert();
            let origin = Origin { step, offset, sent_at: 0 };
            let image = |writer: &mut RowWriter<'_>, id: i64| {
                for value in [Value::Int(id), Value::Null, Value::Null] {
                    writer.push(value).unwrap();
                }
            };
            if let Some(before) = before {
                image(&mut writer, *before);
                writer.end_before();
            }
            match after {
                Some(after) => {
                    image(&mut writer, *after);
                    writer.finish(origin, kept(offset)).unwrap();
                }
                None => writer.finish_delete(origin, kept(offset)).unwrap(),
            }
            batch.advance(step, last(offset));
        }
        batch.fold()
    };
    let ids = "SELECT id FROM items ORDER BY id";
    let (new, gone) = (|id| (None, Some(id)), |id| (Some(id), None));
    target.apply(&folded(&claimed, &[new(1), new(1), new(1), new(2)])).await.unwrap();
    assert_eq!(world.read(ids).await, ["1", "1", "1", "2"]);

    let changes = [gone(1), (Some(1), Some(3)), (Some(7), Some(8)), gone(8), (Some(3), Some(4))];
    let applied = target.apply(&folded(&after(&claimed, 4), &changes)).await.unwrap();
    let Applied::Committed { refused, .. } = applied else { panic!("commits") };
    let refused = refused.iter().map(|it| (it.record.offset, it.refusal.reason));
    let expected = [(6, Reason::NoMatch), (7, Reason::NoMatch)];
    assert_eq!(refused.collect::<Vec<_>>(), expected);
    assert_eq!(world.read(ids).await, ["1", "2", "4"]);
}
