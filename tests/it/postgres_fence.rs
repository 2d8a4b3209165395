//! PostgreSQL as a target: claims, fences, and former owners in the way.

use std::collections::BTreeMap;
use std::time::Duration;

use afterimage::batch::Batch;
use afterimage::checkpoint::{Deleted, LastRecord, NextOffset};
use afterimage::decode::value::Value;
use afterimage::decode::value::kind::Kind;
use afterimage::record::TopicPartition;
use afterimage::rows::Deletes;
use afterimage::stopped::{Stop, StopReason};
use afterimage::target::postgres::Postgres;
use afterimage::target::{
    Applied, Claimed, Claims, Holding, Known, Sink, Target, TargetError, Touched,
};
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;
use uuid::Uuid;

use crate::postgres_support::{Does, One as _, World, batch, claim, creation, last, shape, sql};

/// A former owner is ended within this; it holds us up for a second before we look.
pub(crate) const BOUND: Duration = Duration::from_secs(4);

fn partition(number: i32) -> TopicPartition {
    TopicPartition::new("topic", number)
}

async fn take(target: &mut Postgres, numbers: &[i32]) -> Claims {
    let partitions = numbers.iter().map(|&number| partition(number)).collect::<Vec<_>>();
    target.claim(&partitions, Uuid::new_v4(), false).await.unwrap()
}

/// Reads a column of the world's checkpoint row of partition 0.
async fn checkpoint(world: &World, column: &str) -> Option<String> {
    let name = &world.sink.name;
    let text = format!(
        "SELECT {column} FROM afterimage.checkpoint WHERE sink = '{name}' AND \"partition\" = 0"
    );
    world.sql(&text).await[0][0].clone()
}

/// Plays a session of the owner that is frozen inside a transaction.
pub(crate) async fn frozen(world: &World, application_name: &str, locks: &str) -> PgConnection {
    let options = world.url.parse::<sqlx::postgres::PgConnectOptions>().unwrap();
    let options = options.application_name(application_name);
    let mut session = PgConnection::connect_with(&options).await.unwrap();
    sql(&mut session, &format!("BEGIN; {locks}")).await;
    session
}

fn lock_checkpoint(world: &World) -> String {
    format!("SELECT 1 FROM afterimage.checkpoint WHERE sink = '{}' FOR UPDATE", world.sink.name)
}

#[tokio::test]
async fn a_claim_tells_what_it_got_and_what_not() {
    let world = World::new().await;
    let mut target = world.target();
    let claims = take(&mut target, &[0, 1]).await;
    assert_eq!(claims.unknown, [(partition(0), Known::Nothing), (partition(1), Known::Nothing)]);
    target.begin(&[(partition(1), NextOffset::at(5))]).await.unwrap();
    target.begin(&[(partition(1), NextOffset::at(9))]).await.unwrap();
    let claims = take(&mut target, &[1, 0]).await;
    assert_eq!(claims.unknown, [(partition(0), Known::Topic)]);
    let claimed = &claims.claimed[0];
    assert_eq!((claimed.next.get(), claimed.claim.epoch), (5, 1));

    let mut sink = world.sink.clone();
    sink.group_id = "other".to_owned();
    let mut other = Postgres::new(&world.url, None, sink).unwrap();
    assert_eq!(take(&mut other, &[1]).await.held, [(partition(1), "group".to_owned())]);
    let mut holding = Holding { partition: partition(1), claim: claimed.claim, next: claimed.next };
    let touched = target.touch(std::slice::from_ref(&holding)).await.unwrap();
    assert_eq!(touched, Touched::default());
    let stop = Stop::new(StopReason::TableMissing, "gone");
    target.mark(&partition(1), claimed.claim, Some(&stop)).await.unwrap();
    let touched = target.touch(std::slice::from_ref(&holding)).await.unwrap();
    assert_eq!((touched.stopped, touched.elsewhere), (vec![partition(1)], Vec::new()));
    // As an operator leaves it.
    let unknown = "UPDATE afterimage.checkpoint SET state = NULL WHERE sink = ";
    world.sql(&format!("{unknown}'{}'", world.sink.name)).await;
    let touched = target.touch(std::slice::from_ref(&holding)).await.unwrap();
    assert_eq!(touched, Touched::default());
    holding.next = NextOffset::at(6);
    let elsewhere = target.touch(&[holding]).await.unwrap().elsewhere;
    assert_eq!(elsewhere, [partition(1)], "the row is behind what its owner believes");
    world
        .sql(&format!(
            "UPDATE afterimage.checkpoint SET updated_at = now() - interval '91 s' \
             WHERE sink = '{}'",
            world.sink.name
        ))
        .await;
    assert_eq!(take(&mut other, &[1]).await.claimed[0].claim.epoch, 2);
    let taken_over = target.claim(&[partition(1)], Uuid::new_v4(), true).await.unwrap();
    assert_eq!(taken_over.claimed[0].claim.epoch, 3);
}

#[tokio::test]
async fn a_claim_tells_the_delete_that_it_goes_on_behind() {
    let world = World::new().await;
    let mut target = world.target();
    let claimed = claim(&mut target, &[partition(0)]).await.remove(0);
    assert_eq!(claimed.deleted, None);
    let batch = |claimed: &Claimed, key: Option<&[u8]>, to: i64| {
        let mut batch = Batch::default();
        let step = batch.step(&claimed.partition, claimed.claim, claimed.next);
        if to == claimed.next.get() + 1 {
            let deleted_key = key.map(<[u8]>::to_vec);
            batch.advance(step, LastRecord { deleted_key, ..last(claimed.next.get()) });
        }
        batch.reach(step, NextOffset::at(to));
        batch.fold()
    };
    // The end of the log, at 3, is no record, and what is behind it is another one.
    let deleted = Some(Deleted { offset: 0, key: b"k".to_vec() });
    let steps = [(Some(&b"k"[..]), 1, &deleted), (None, 3, &deleted), (None, 4, &None)];
    let mut claimed = claimed;
    for (key, to, expected) in steps {
        target.apply(&batch(&claimed, key, to)).await.unwrap();
        claimed = take(&mut target, &[0]).await.claimed.remove(0);
        assert_eq!((claimed.next.get(), &claimed.deleted), (to, expected));
    }
}

#[tokio::test]
async fn only_the_holder_of_the_claim_gives_it_up_or_marks_it() {
    let world = World::new().await;
    let (mut old, mut new) = (world.target(), world.target());
    let first = claim(&mut old, &[partition(0)]).await.remove(0);
    let second = claim(&mut new, &[partition(0)]).await.remove(0);
    let owner = checkpoint(&world, "owner").await;
    let stop = Stop::new(StopReason::TableMissing, "no table \"t\"");

    old.mark(&partition(0), first.claim, Some(&stop)).await.unwrap();
    old.release(&[(partition(0), first.claim)]).await.unwrap();
    assert_eq!(checkpoint(&world, "owner").await, owner);
    assert_eq!(checkpoint(&world, "state").await, None);

    new.mark(&partition(0), second.claim, Some(&stop)).await.unwrap();
    let reason = checkpoint(&world, "state || ' ' || state_reason").await;
    assert_eq!(reason.as_deref(), Some("stopped table_missing: no table \"t\""));
    new.mark(&partition(0), second.claim, None).await.unwrap();
    assert_eq!(checkpoint(&world, "state_reason").await, None);
    new.release(&[(partition(0), second.claim)]).await.unwrap();
    assert_eq!(checkpoint(&world, "owner").await, None);
}

#[tokio::test]
async fn many_first_rows_are_counted_at_once_unless_somebody_works_on_the_table() {
    let world = World::new().await;
    let mut target = world.target();
    let first = |from: i32| {
        (from..from + 100).map(|number| (partition(number), NextOffset::at(0))).collect::<Vec<_>>()
    };
    target.begin(&first(0)[..99]).await.unwrap();
    let lock = "LOCK TABLE afterimage.checkpoint IN SHARE UPDATE EXCLUSIVE MODE";
    let works = frozen(&world, "somebody", lock).await;
    timeout(BOUND, target.begin(&first(100))).await.unwrap().unwrap();
    works.close().await.unwrap();

    let before = world.sql("SELECT clock_timestamp()").await[0][0].clone().unwrap();
    let counted = format!(
        "SELECT (last_analyze > '{before}')::text FROM pg_stat_user_tables
         WHERE schemaname = 'afterimage' AND relname = 'checkpoint'"
    );
    // A vacuum may be at work too.
    for from in (200..1200).step_by(100) {
        target.begin(&first(from)).await.unwrap();
        if world.sql(&counted).await[0][0].as_deref() == Some("true") {
            return;
        }
    }
    panic!("the server has not counted");
}

#[tokio::test]
async fn f07_nothing_of_a_stale_owner_survives() {
    let world = World::new().await;
    let (mut old, mut new) = (world.target(), world.target());
    let table = world.table("t", &[("id", Kind::Int64)], &["id"]);
    let shape = shape(&table, &["id"], Deletes::Hard);
    let both = [partition(0), partition(1)];
    let mut claimed = claim(&mut old, &both).await;
    let mut first = batch(&claimed[0], &shape, &[Does::Upsert(&[Value::Int(1)])]);
    first.schema_changes.push(creation(&table));
    old.apply(&first).await.unwrap();
    claimed[0].next = first.steps[0].to;

    let newer = take(&mut new, &[0]).await.claimed.remove(0);
    assert_eq!(newer.next, first.steps[0].to);
    let mut stale = batch(&claimed[0], &shape, &[Does::Upsert(&[Value::Int(2)])]);
    let other = batch(&claimed[1], &shape, &[Does::Upsert(&[Value::Int(3)])]);
    stale.steps.extend(other.steps);
    stale.schema_changes.push(creation(&world.table("u", &[("id", Kind::Int64)], &["id"])));

    let fenced = Applied::Fenced { partitions: vec![partition(0)] };
    assert_eq!(old.apply(&stale).await.unwrap(), fenced);
    let rows = world.sql(&format!("SELECT id FROM {}.t", world.schema)).await;
    assert_eq!(rows, [[Some("1".to_owned())]]);
    assert_eq!(old.table(&world.name("u")).await.unwrap(), None);
    assert_eq!(checkpoint(&world, "next_offset").await.as_deref(), Some("1"));

    // Also when the stale owner's batch meets an error before it reaches the fence.
    world.sql(&format!("DROP TABLE {}.t", world.schema)).await;
    stale.schema_changes.clear();
    assert_eq!(old.apply(&stale).await.unwrap(), fenced);
}

#[tokio::test]
async fn a_frozen_owner_does_not_hold_up_a_claim() {
    let world = World::new().await;
    let (mut old, mut new) = (world.target(), world.target());
    claim(&mut old, &[partition(0)]).await;
    let owner = checkpoint(&world, "owner").await.unwrap();
    let name = format!("{owner} 9 afterimage");
    let mut frozen = frozen(&world, &name, &lock_checkpoint(&world)).await;

    let claims = timeout(BOUND, take(&mut new, &[0])).await.unwrap();
    assert_eq!(claims.claimed[0].claim.epoch, 2);
    assert!(frozen.ping().await.is_err());
}

#[tokio::test]
async fn f06_a_frozen_owner_does_not_hold_up_rows() {
    let world = World::new().await;
    let (mut old, mut new) = (world.target(), world.target());
    let table = world.table("t", &[("id", Kind::Int64)], &["id"]);
    let shape = shape(&table, &["id"], Deletes::Hard);
    let claimed = claim(&mut old, &[partition(0)]).await.remove(0);
    let mut first = batch(&claimed, &shape, &[Does::Upsert(&[Value::Int(1)])]);
    first.schema_changes.push(creation(&table));
    old.apply(&first).await.unwrap();
    let owner = checkpoint(&world, "owner").await.unwrap();

    let claimed = take(&mut new, &[0]).await.claimed.remove(0);
    let locks = format!("INSERT INTO {}.t VALUES (2, now())", world.schema);
    let mut frozen = frozen(&world, &format!("{owner} 9 afterimage"), &locks).await;
    let rows = batch(&claimed, &shape, &[Does::Upsert(&[Value::Int(2)])]);
    let applied = timeout(BOUND, new.apply(&rows)).await.unwrap().unwrap();
    assert_eq!(applied, Applied::Committed { refused: Vec::new(), older: 0 });
    assert!(frozen.ping().await.is_err());
}

#[tokio::test]
async fn an_owner_that_died_hides_no_frozen_one_before_it() {
    let world = World::new().await;
    let (mut frozen_owner, mut dead, mut new) = (world.target(), world.target(), world.target());
    let table = world.table("t", &[("id", Kind::Int64)], &["id"]);
    let shape = shape(&table, &["id"], Deletes::Hard);
    let claimed = claim(&mut frozen_owner, &[partition(0)]).await.remove(0);
    let mut first = batch(&claimed, &shape, &[Does::Upsert(&[Value::Int(1)])]);
    first.schema_changes.push(creation(&table));
    frozen_owner.apply(&first).await.unwrap();
    let owner = checkpoint(&world, "owner").await.unwrap();
    let locks = format!("INSERT INTO {}.t VALUES (2, now())", world.schema);
    let mut frozen = frozen(&world, &format!("{owner} 9 afterimage"), &locks).await;
    take(&mut dead, &[0]).await;
    drop(dead);

    let claimed = take(&mut new, &[0]).await.claimed.remove(0);
    let rows = batch(&claimed, &shape, &[Does::Upsert(&[Value::Int(2)])]);
    let applied = timeout(BOUND, new.apply(&rows)).await.unwrap().unwrap();

    assert_eq!(applied, Applied::Committed { refused: Vec::new(), older: 0 });
    assert!(frozen.ping().await.is_err());
    // Sessions that are gone are remembered no longer.
    drop(frozen_owner);
    new.release(&[(partition(0), claimed.claim)]).await.unwrap();
    let is_forgotten = async || {
        take(&mut world.target(), &[0]).await;
        checkpoint(&world, "former_owners <@ ARRAY[owner]").await.as_deref() == Some("t")
    };
    timeout(BOUND, async { while !is_forgotten().await {} }).await.unwrap();
}

#[tokio::test]
async fn f49_a_strangers_lock_is_waited_for() {
    let world = World::new().await;
    let (mut old, mut new) = (world.target(), world.target());
    claim(&mut old, &[partition(0)]).await;
    let mut stranger = frozen(&world, "psql", &lock_checkpoint(&world)).await;

    assert!(timeout(BOUND, take(&mut new, &[0])).await.is_err());
    stranger.ping().await.unwrap();
    let claims = new.claim(&[partition(0)], Uuid::new_v4(), false).await;
    assert!(matches!(claims, Err(TargetError::Busy(_))), "{claims:?}");
    sql(&mut stranger, "ROLLBACK").await;
    // A claim that was given up may have been made, too.
    let epoch = take(&mut new, &[0]).await.claimed[0].claim.epoch;
    assert!((2..=3).contains(&epoch), "{epoch}");
}

#[tokio::test]
async fn f09_an_owner_of_another_group_is_not_ended() {
    let world = World::new().await;
    let mut owner = world.target();
    claim(&mut owner, &[partition(0)]).await;
    let token = checkpoint(&world, "owner").await.unwrap();
    let locks = lock_checkpoint(&world);
    let mut session = frozen(&world, &format!("{token} 1 afterimage"), &locks).await;

    let mut sink = world.sink.clone();
    sink.group_id = "other".to_owned();
    let mut other = Postgres::new(&world.url, None, sink).unwrap();
    let claims = timeout(BOUND, take(&mut other, &[0])).await.unwrap();
    assert_eq!(claims.held, [(partition(0), "group".to_owned())]);
    session.ping().await.unwrap();
}

#[tokio::test]
async fn f09_another_groups_claim_stands_for_ninety_seconds() {
    let world = World::new().await;
    let mut owner = world.target();
    claim(&mut owner, &[partition(0)]).await;
    let sink = Sink { group_id: "other".to_owned(), ..world.sink.clone() };
    let mut other = Postgres::new(&world.url, None, sink).unwrap();
    let age = async |seconds: u32| {
        let name = &world.sink.name;
        let update = "UPDATE afterimage.checkpoint SET updated_at = now() - interval";
        world.sql(&format!("{update} '{seconds} s' WHERE sink = '{name}'")).await;
    };

    age(80).await;
    assert_eq!(take(&mut other, &[0]).await.held.len(), 1);
    age(91).await;
    let token = checkpoint(&world, "owner").await.unwrap();
    let locks = lock_checkpoint(&world);
    let mut session = frozen(&world, &format!("{token} 1 afterimage"), &locks).await;
    let claims = timeout(BOUND, take(&mut other, &[0])).await.unwrap();
    assert_eq!(claims.claimed.len(), 1);
    assert!(session.ping().await.is_err(), "it held the claim up");
}

#[tokio::test]
async fn a_member_that_claims_again_is_no_former_owner_of_its_own() {
    let world = World::new().await;
    let (mut first, mut second) = (world.target(), world.target());
    claim(&mut first, &[partition(0)]).await;
    let token = checkpoint(&world, "owner").await.unwrap();
    take(&mut first, &[0]).await;
    assert_eq!(checkpoint(&world, "former_owners").await.as_deref(), Some("{}"));
    take(&mut second, &[0]).await;
    assert_eq!(checkpoint(&world, "former_owners").await, Some(format!("{{{token}}}")));
}

#[tokio::test]
async fn partitions_at_one_offset_each_get_their_own_end() {
    let world = World::new().await;
    let mut target = world.target();
    let other = TopicPartition::new("other topic", 0);
    let mut ends = BTreeMap::from([(partition(0), 1), (partition(1), 2), (other, 3)]);
    let partitions = ends.keys().cloned().collect::<Vec<_>>();
    let mut batch = Batch::default();
    for claimed in claim(&mut target, &partitions).await {
        let step = batch.step(&claimed.partition, claimed.claim, claimed.next);
        (0..ends[&claimed.partition]).for_each(|offset| batch.advance(step, last(offset)));
    }
    target.apply(&batch.fold()).await.unwrap();

    for claimed in target.claim(&partitions, Uuid::new_v4(), false).await.unwrap().claimed {
        assert_eq!(ends.remove(&claimed.partition), Some(claimed.next.get()));
    }
    assert!(ends.is_empty());
}

#[tokio::test]
async fn a_lost_connection_of_ours_does_not_hold_us_up() {
    let world = World::new().await;
    let mut target = world.target();
    claim(&mut target, &[partition(0)]).await;
    let token = checkpoint(&world, "owner").await.unwrap();
    let name = format!("{token} 99 afterimage");
    let mut lost = frozen(&world, &name, &lock_checkpoint(&world)).await;

    timeout(BOUND, take(&mut target, &[0])).await.unwrap();
    assert!(lost.ping().await.is_err());
}

#[tokio::test]
async fn f55_a_session_that_the_server_ended_is_opened_anew() {
    let world = World::new().await;
    let mut target = world.target();
    claim(&mut target, &[partition(0)]).await;
    let token = checkpoint(&world, "owner").await.unwrap();
    let end = format!(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
         WHERE application_name LIKE '{token} %'"
    );
    assert_eq!(world.sql(&end).await, [[Some("t".to_owned())]]);
    let error = target.table(&world.name("t")).await.unwrap_err();
    assert!(matches!(error, TargetError::Unreachable(_)), "{error}");
    assert_eq!(target.table(&world.name("t")).await.unwrap(), None);

    let nobody = "postgres://writer:wrong@127.0.0.1:1/none";
    let mut nobody = Postgres::new(nobody, None, world.sink.clone()).unwrap();
    let error = nobody.table(&world.name("t")).await.unwrap_err();
    assert!(matches!(error, TargetError::Unreachable(_)), "{error}");
    let denied = world.url.replace("writer:writer", "writer:wrong");
    let mut denied = Postgres::new(&denied, None, world.sink.clone()).unwrap();
    let error = denied.table(&world.name("t")).await.unwrap_err();
    assert!(matches!(error, TargetError::NotAdmitted(_)), "{error}");
}
