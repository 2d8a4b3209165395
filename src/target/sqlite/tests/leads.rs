//! SQLite's leads: which source tables lead to a table of the file.

use super::*;
use crate::batch::{Lead, Leader};
use crate::decode::value::kind::SourceName;

fn named(database: Option<&str>, schema: &str) -> SourceName {
    let (server, database) = ("s".to_owned(), database.map(str::to_owned));
    SourceName { server, database, schema: schema.to_owned(), table: "items".to_owned() }
}

fn lead(target: &str, source: &SourceName) -> Lead {
    let target = TableName { schema: None, table: target.to_owned() };
    let leader = Leader { source: source.clone(), topic: "topic".into() };
    Lead { target, leader, beside: Vec::new() }
}

const LEADS: &str =
    "SELECT target_table, source_database, source_schema FROM afterimage_source_table ORDER BY at";

#[tokio::test]
async fn a_batch_tells_what_leads_to_its_table_or_writes_nothing() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let (one, other) = (named(Some("d"), "one"), named(None, "other"));
    let shape = shape(Deletes::Hard);
    let mut first = batch(&claimed, &shape, &[Put(1, Value::Text("a"), Value::Null)]);
    first.leads = vec![lead("items", &one)];
    assert_eq!(target.apply(&first).await.unwrap(), COMMITTED);
    assert_eq!(world.read(LEADS).await, ["items|d|one"]);

    let next = after(&claimed, 1);
    let mut second = batch(&next, &shape, &[Delete(1)]);
    second.leads = vec![lead("Items", &other)];
    let error = target.apply(&second).await.unwrap_err();
    assert!(matches!(error, TargetError::StaleLayout { .. }), "{error}");
    assert_eq!((world.items().await, world.read(LEADS).await.len()), (vec!["1|a|NULL".into()], 1));

    second.leads[0].beside = vec![one.clone()];
    assert_eq!(target.apply(&second).await.unwrap(), COMMITTED);
    let name = TableName { schema: None, table: "ITEMS".to_owned() };
    let leaders = [one, other].map(|source| lead("items", &source).leader);
    assert_eq!(target.leaders(&name).await.unwrap(), leaders);
    assert_eq!(world.items().await, [""; 0]);
}

#[tokio::test]
async fn a_contest_is_kept_once_and_a_touch_tells_that_tables_have_met() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let (partition, claim, next) = (world.partition.clone(), claimed.claim, claimed.next);
    let touch = [Holding { partition, claim, next }];
    for (source, met) in [("one", 0), ("other", 1), ("other", 1), ("third", 2)] {
        target.contest(&lead("items", &named(None, source))).await.unwrap();
        assert_eq!(target.touch(&touch).await.unwrap().met, met, "{source}");
    }
    target.contest(&lead("orders", &named(None, "one"))).await.unwrap();
    assert_eq!(target.touch(&touch).await.unwrap().met, 2);
}

#[tokio::test]
async fn a_file_of_the_version_before_gets_what_it_lacks() {
    let world = World::new();
    world.claimed().await;
    world
        .run(
            "DROP TABLE afterimage_source_table;
              ALTER TABLE afterimage_checkpoint DROP COLUMN deleted_key; DELETE FROM afterimage_schema_version;
              INSERT INTO afterimage_schema_version VALUES (2, '');
              DROP INDEX afterimage_dead_letter_key; DROP INDEX afterimage_dead_letter_uncopied;
              ALTER TABLE afterimage_dead_letter DROP COLUMN copied_at;
              ALTER TABLE afterimage_dead_letter DROP COLUMN copying_until;
              ALTER TABLE afterimage_refused_key DROP COLUMN since_offset;
              ALTER TABLE afterimage_row_guard DROP COLUMN changed_row;
              INSERT INTO afterimage_refused_key VALUES ('s', 'c', 't', 0, x'61');
              INSERT INTO afterimage_dead_letter (sink, cluster_id, topic, \"partition\",
                  record_offset, key, reason, first_seen, last_seen, state)
              VALUES ('s', 'c', 't', 0, 4, x'61', 'r', '', '', 'open'),
                  ('s', 'c', 't', 0, 9, x'61', 'r', '', '', 'open'),
                  ('s', 'c', 't', 0, 10, x'62', 'r', '', '', 'open')",
        )
        .await;
    let name = TableName { schema: None, table: "items".to_owned() };
    assert_eq!(world.target().leaders(&name).await.unwrap(), []);
    let versions = world.read("SELECT version FROM afterimage_schema_version ORDER BY 1").await;
    assert_eq!(versions, ["2", "6"]);
    assert_eq!(world.read("SELECT since_offset FROM afterimage_refused_key").await, ["9"]);
    assert_eq!(world.read("SELECT count(copied_at) FROM afterimage_dead_letter").await, ["0"]);
}
