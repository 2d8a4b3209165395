//! PostgreSQL's leads: which source tables lead to a table of the target.

use afterimage::batch::{Lead, Leader};
use afterimage::decode::value::Value;
use afterimage::decode::value::kind::{Kind, SourceName};
use afterimage::record::TopicPartition;
use afterimage::rows::Deletes;
use afterimage::table::TableName;
use afterimage::target::{Applied, Holding, Target, TargetError};

use crate::postgres_support::{Does, One as _, World, batch, claim, creation, shape};

fn partition(number: i32) -> TopicPartition {
    TopicPartition::new("topic", number)
}

fn lead(target: &TableName, database: Option<&str>, table: &str) -> Lead {
    let (server, schema) = ("s".to_owned(), "public".to_owned());
    let database = database.map(str::to_owned);
    let source = SourceName { server, database, schema, table: table.to_owned() };
    let leader = Leader { source, topic: format!("s.public.{table}").into() };
    Lead { target: target.clone(), leader, beside: Vec::new() }
}

#[tokio::test]
async fn of_two_source_tables_that_meet_at_once_one_is_written() {
    let world = World::new().await;
    let table = world.table("t", &[("id", Kind::Int64)], &["id"]);
    let shape = shape(&table, &["id"], Deletes::Hard);
    let (mut one, mut other) = (world.target(), world.target());
    let mut claimed = claim(&mut one, &[partition(0)]).await.remove(0);
    let mut making = batch(&claimed, &shape, &[Does::Delete(&[Value::Int(0)])]);
    making.schema_changes.push(creation(&table));
    assert!(is_committed(&one.apply(&making).await));
    claimed.next = making.steps[0].to;
    let its = claim(&mut other, &[partition(1)]).await.remove(0);
    let ids = async || {
        let rows = world.sql(&format!("SELECT id FROM {}.t ORDER BY id", world.schema)).await;
        rows.into_iter().map(|row| row[0].clone().unwrap()).collect::<Vec<_>>()
    };

    let mut first = batch(&claimed, &shape, &[Does::Upsert(&[Value::Int(1)])]);
    first.leads.push(lead(&table.name, Some("d"), "one"));
    let mut second = batch(&its, &shape, &[Does::Upsert(&[Value::Int(2)])]);
    second.leads.push(lead(&table.name, Some("d"), "other"));
    let (mine, its) = tokio::join!(one.apply(&first), other.apply(&second));
    let is_first = is_committed(&mine);
    assert!(is_stale(if is_first { &its } else { &mine }), "{mine:?} {its:?}");
    assert!(is_first || is_committed(&its), "{mine:?} {its:?}");
    assert_eq!(ids().await, [if is_first { "1" } else { "2" }]);

    // Once it was decided that both may be there, the other one is written too.
    let first_source = first.leads[0].leader.source.clone();
    first.leads[0].beside = vec![second.leads[0].leader.source.clone()];
    second.leads[0].beside = vec![first_source];
    let again = if is_first { other.apply(&second).await } else { one.apply(&first).await };
    assert!(is_committed(&again), "{again:?}");
    assert_eq!(ids().await, ["1", "2"]);
}

fn is_committed(applied: &Result<Applied, TargetError>) -> bool {
    matches!(applied, Ok(Applied::Committed { .. }))
}

fn is_stale(applied: &Result<Applied, TargetError>) -> bool {
    matches!(applied, Err(TargetError::StaleLayout { .. }))
}

#[tokio::test]
async fn leads_are_kept_once_and_a_touch_tells_that_tables_have_met() {
    let world = World::alone("writer").await;
    let mut target = world.target();
    let claimed = claim(&mut target, &[partition(0)]).await.remove(0);
    let touch = [Holding { partition: partition(0), claim: claimed.claim, next: claimed.next }];
    let name = world.name("t");
    let contests = [(None, "one", 0), (Some("d"), "other", 1), (Some("d"), "other", 1)];
    for (database, source, met) in contests {
        target.contest(&lead(&name, database, source)).await.unwrap();
        assert_eq!(target.touch(&touch).await.unwrap().met, met, "{source}");
    }
    let expected = [(None, "one"), (Some("d"), "other")];
    let expected = expected.map(|(database, source)| lead(&name, database, source).leader);
    assert_eq!(target.leaders(&name).await.unwrap(), expected);
    assert_eq!(target.leaders(&world.name("u")).await.unwrap(), []);
    target.contest(&lead(&world.name("u"), None, "one")).await.unwrap();
    assert_eq!(target.touch(&touch).await.unwrap().met, 1);
}
