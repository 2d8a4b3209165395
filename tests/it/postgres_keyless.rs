//! Tables without a key in PostgreSQL: a change finds its row by the whole image before.

use std::sync::Arc;

use afterimage::batch::{Batch, Folded};
use afterimage::decode::value::kind::Kind;
use afterimage::decode::value::{Decimal, Value};
use afterimage::record::TopicPartition;
use afterimage::refused::Reason;
use afterimage::rows::{Deletes, Origin, RowWriter, Shape};
use afterimage::table::Table;
use afterimage::target::{Applied, Claimed, Dialect, Target};

use crate::postgres_support::{World, claim, creation, last, record, shape};

type Image<'a> = [Value<'a>; 4];

const COLUMNS: [(&str, Kind); 4] = [
    ("id", Kind::Int64),
    ("note", Kind::Text),
    ("amount", Kind::VariableScaleDecimal),
    ("doc", Kind::Json),
];

fn image(id: i64) -> Image<'static> {
    let amount = Value::Decimal(Decimal::Text("1.5"));
    [Value::Int(id), Value::Null, amount, Value::Json(r#"{"a": 1}"#)]
}

/// Collects a batch of changes, each an image before and one after.
fn batch<'a>(
    claimed: &Claimed,
    shape: &Arc<Shape>,
    changes: &[(Option<Image<'a>>, Option<Image<'a>>)],
) -> Folded {
    let mut batch = Batch::default();
    let step = batch.step(&claimed.partition, claimed.claim, claimed.next);
    let push = |writer: &mut RowWriter<'_>, image: &Image<'a>| {
        image.iter().for_each(|value| writer.push(*value).unwrap());
    };
    for (offset, (before, after)) in (claimed.next.get()..).zip(changes) {
        let mut writer = batch.rows(shape).unwrap().upsert();
        let origin = Origin { step, offset, sent_at: 0 };
        if let Some(before) = before {
            push(&mut writer, before);
            writer.end_before();
        }
        match after {
            Some(after) => {
                push(&mut writer, after);
                writer.finish(origin, record(offset)).unwrap();
            }
            None => writer.finish_delete(origin, record(offset)).unwrap(),
        }
        batch.advance(step, last(offset));
    }
    batch.fold()
}

fn design(world: &World, is_soft: bool) -> Table {
    let mut table = world.table("t", &COLUMNS, &[]);
    if is_soft {
        let dialect: Dialect = afterimage::target::postgres::Postgres::DIALECT;
        table.columns.push((dialect.time_column)("deleted_at", false));
    }
    table
}

#[tokio::test]
async fn a_change_takes_exactly_one_row_that_is_equal_to_its_image_before() {
    for is_soft in [false, true] {
        let world = World::new().await;
        let mut target = world.target();
        let table = design(&world, is_soft);
        let deletes = if is_soft { Deletes::Soft("deleted_at".to_owned()) } else { Deletes::Hard };
        let shape = shape(&table, &[], deletes);
        let partition = TopicPartition::new("topic", 0);
        let mut claimed = claim(&mut target, &[partition]).await.remove(0);
        let standing = if is_soft { "WHERE deleted_at IS NULL" } else { "" };
        let ids = format!("SELECT id FROM {}.t {standing} ORDER BY id", world.schema);
        let (new, gone) = (|id| (None, Some(image(id))), |id| (Some(image(id)), None));

        let changes = [new(1), new(1), new(1), new(2), new(3), gone(3)];
        let mut first = batch(&claimed, &shape, &changes);
        first.schema_changes.push(creation(&table));
        target.apply(&first).await.unwrap();
        assert_eq!(text(&world.sql(&ids).await), "1 1 1 2");

        // All at once: two of three equal rows, and a chain of updates within the batch.
        claimed.next = first.steps[0].to;
        let moved = |from, to| (Some(image(from)), Some(image(to)));
        let changes = [gone(1), gone(1), moved(2, 3), moved(3, 4), new(1), gone(1)];
        let second = batch(&claimed, &shape, &changes);
        let applied = target.apply(&second).await.unwrap();
        assert_eq!(applied, Applied::Committed { refused: Vec::new(), older: 0 });
        assert_eq!(text(&world.sql(&ids).await), "1 4");

        // One by one: what finds no row is a dead letter, and so is what leans on it.
        claimed.next = second.steps[0].to;
        let changes = [gone(1), moved(7, 8), gone(8), moved(4, 5), gone(1)];
        let third = batch(&claimed, &shape, &changes);
        let Applied::Committed { refused, .. } = target.apply(&third).await.unwrap() else {
            panic!()
        };
        let refused = refused.iter().map(|it| (it.record.offset, it.refusal.reason));
        let expected = [13, 14, 16].map(|offset| (offset, Reason::NoMatch));
        assert_eq!(refused.collect::<Vec<_>>(), expected);
        assert_eq!(text(&world.sql(&ids).await), "5");
    }
}

fn text(rows: &[Vec<Option<String>>]) -> String {
    rows.iter().map(|row| row[0].clone().unwrap()).collect::<Vec<_>>().join(" ")
}
