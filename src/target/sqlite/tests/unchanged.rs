//! Rows that come as they are, where the settings leave these alone.

use super::*;

fn skipping(deletes: Deletes) -> Arc<Shape> {
    let mut shape = shape(deletes);
    Arc::get_mut(&mut shape).unwrap().skips_unchanged = true;
    shape
}

const ROWS: &str = "SELECT id, name, price, synced_at = 'then' FROM items ORDER BY id";

#[tokio::test]
async fn only_what_differs_is_written_however_equal_its_column_finds_it() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let [create] = creation().statements.try_into().unwrap();
    world.run(&create.replace("\"name\" TEXT", "\"name\" TEXT COLLATE NOCASE")).await;
    let shape = skipping(Deletes::Hard);
    let rows = (1..7).map(|id| Put(id, Value::Text("a"), price("1.0"))).collect::<Vec<_>>();
    target.apply(&batch(&claimed, &shape, &rows)).await.unwrap();
    world.run("UPDATE items SET synced_at = 'then'").await;

    let changes = [
        Put(1, Value::Text("a"), price("1.0")),
        Put(2, Value::Text("A"), price("1.0")),
        Put(3, Value::Text("a"), price("1.00")),
        Put(4, Value::Unavailable, price("1.0")),
        Put(5, Value::Unavailable, price("1.00")),
        Put(6, Value::Null, price("1.0")),
        Put(7, Value::Unavailable, price("1.0")),
        Put(8, Value::Text("a"), price("1.0")),
    ];
    let applied = target.apply(&batch(&after(&claimed, 6), &shape, &changes)).await.unwrap();

    let Applied::Committed { refused, .. } = applied else { panic!("{applied:?}") };
    let refused = refused.iter().map(|letter| letter.record.offset).collect::<Vec<_>>();
    assert_eq!(refused, [12], "the only partial one whose row is not there");
    let expected =
        ["1|a|1.0|1", "2|A|1.0|0", "3|a|1.00|0", "4|a|1.0|1", "5|a|1.00|0", "6|NULL|1.0|0"];
    assert_eq!(world.read(ROWS).await[..6], expected);
    assert_eq!(world.read(ROWS).await[6..], ["8|a|1.0|0"]);
}

#[tokio::test]
async fn a_row_that_is_marked_deleted_comes_back_though_it_is_as_it_was() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let row = [Put(1, Value::Text("a"), price("1"))];
    target.apply(&batch(&claimed, &shape(Deletes::Hard), &row)).await.unwrap();
    world.run("ALTER TABLE items ADD COLUMN deleted_at TIMESTAMPTZ_TEXT").await;
    world.run("UPDATE items SET synced_at = 'then', deleted_at = 'then'").await;
    let name = TableName { schema: None, table: "items".to_owned() };
    let table = Arc::new(target.table(&name).await.unwrap().unwrap());
    let mut shape = shape_of(table, Deletes::Soft("deleted_at".to_owned()));
    Arc::get_mut(&mut shape).unwrap().skips_unchanged = true;
    let again = |claimed: &Claimed| {
        let mut batch = batch(claimed, &shape, &row);
        batch.schema_changes.clear();
        batch
    };

    target.apply(&again(&after(&claimed, 1))).await.unwrap();
    let back = "SELECT deleted_at, synced_at = 'then' FROM items";
    assert_eq!(world.read(back).await, ["NULL|0"]);
    world.run("UPDATE items SET synced_at = 'then'").await;
    target.apply(&again(&after(&claimed, 2))).await.unwrap();
    assert_eq!(world.read(back).await, ["NULL|1"]);
}
