//! Rows that the database refuses: the records are named, and all others are taken.

use super::{
    COMMITTED, Delete, Deletes, One as _, Put, STANDS, Value, World, after, batch, creation, price,
    shape,
};
use crate::target::{Applied, RefusedRow, Target as _};

#[tokio::test]
async fn refused_rows_are_named_and_nothing_is_written() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let shape = shape(Deletes::Hard);
    world.run(&creation().statements[0]).await;
    let trigger = "CREATE TRIGGER t BEFORE INSERT ON items WHEN NEW.name = 'no'
        BEGIN SELECT RAISE(ABORT, 'no'); END";
    world.run(trigger).await;
    let name = |id| Value::Text(if id % 40 == 7 { "no" } else { "yes" });
    let changes = (0..100).map(|id| Put(id, name(id), Value::Null)).collect::<Vec<_>>();

    let applied = target.apply(&batch(&claimed, &shape, &changes)).await.unwrap();

    let Applied::Refused { rows } = applied else { panic!("{applied:?}") };
    let mut offsets = rows.iter().map(|row| row.offset).collect::<Vec<_>>();
    offsets.sort_unstable();
    assert_eq!(offsets, [7, 47, 87]);
    for RefusedRow { fault, .. } in rows {
        assert_eq!((fault.table.as_deref(), fault.sqlstate.as_str()), (Some("items"), "23000"));
        assert_eq!(fault.text, "a trigger refuses it", "its own words may repeat values");
    }
    assert_eq!(world.items().await, Vec::<String>::new());
    assert_eq!(world.read(STANDS).await, ["0|NULL|1|0|group|NULL"]);
}

#[tokio::test]
async fn a_unique_value_may_change_hands_within_a_batch() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let shape = shape(Deletes::Hard);
    world.run(&creation().statements[0]).await;
    let first = [
        Put(1, Value::Text("a"), price("1")),
        Put(2, Value::Text("b"), price("2")),
        Put(3, Value::Text("c"), price("3")),
    ];
    target.apply(&batch(&claimed, &shape, &first)).await.unwrap();
    world.run("CREATE UNIQUE INDEX names ON items (name)").await;
    let table = target.table(&shape.table.name).await.unwrap().unwrap();
    let shape = super::shape_of(table.into(), Deletes::Hard);
    let swap = [
        Put(1, Value::Text("tmp"), price("1")),
        Put(2, Value::Text("a"), price("2")),
        Put(1, Value::Text("b"), price("1")),
        Delete(3),
        Put(4, Value::Text("c"), price("4")),
    ];

    let mut folded = batch(&after(&claimed, 3), &shape, &swap);
    folded.schema_changes.clear();
    assert_eq!(target.apply(&folded).await.unwrap(), COMMITTED);

    assert_eq!(world.items().await, ["1|b|1", "2|a|2", "4|c|4"]);
    assert_eq!(world.read(STANDS).await, ["8|7|1|0|group|running"]);
}

#[tokio::test]
async fn a_batch_that_another_owner_would_refuse_is_fenced() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let shape = shape(Deletes::Hard);
    world.run(&creation().statements[0]).await;
    world.run("CREATE TRIGGER t BEFORE INSERT ON items BEGIN SELECT RAISE(ABORT, 'no'); END").await;
    super::claim(&mut world.target(), &world.partition).await;

    let changes = [Put(1, Value::Text("a"), Value::Null)];
    let applied = target.apply(&batch(&claimed, &shape, &changes)).await.unwrap();

    assert_eq!(applied, Applied::Fenced { partitions: vec![world.partition.clone()] });
}
