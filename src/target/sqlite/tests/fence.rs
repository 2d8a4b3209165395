//! SQLite's checkpoint: claims, steps, and owners that are none any more.

use std::slice;

use super::*;
use crate::checkpoint::Deleted;
use crate::target::{Known, Touched};

#[tokio::test]
async fn f07_a_former_owner_changes_nothing() {
    let world = World::new();
    let (mut zombie, old) = world.claimed().await;
    let mut owner = world.target();
    let new = claim(&mut owner, &world.partition).await;
    assert_eq!((new.claim.epoch, new.next), (old.claim.epoch + 1, old.next));

    let shape = shape(Deletes::Hard);
    let late = batch(&old, &shape, &[Put(1, Value::Text("zombie"), Value::Null)]);
    let fenced = Applied::Fenced { partitions: vec![world.partition.clone()] };
    assert_eq!(zombie.apply(&late).await.unwrap(), fenced);
    zombie.release(&[(world.partition.clone(), old.claim)]).await.unwrap();
    let stop = Stop::new(StopReason::TableMissing, "x");
    zombie.mark(&world.partition, old.claim, Some(&stop)).await.unwrap();

    assert_eq!(world.read(STANDS).await, ["0|NULL|2|0|group|NULL"]);
    assert!(world.read("SELECT 1 FROM sqlite_schema WHERE name = 'items'").await.is_empty());
    let right = batch(&new, &shape, &[Put(1, Value::Text("owner"), Value::Null)]);
    assert_eq!(owner.apply(&right).await.unwrap(), COMMITTED);
    assert_eq!(world.items().await, ["1|owner|NULL"]);
    let skips = batch(&after(&new, 2), &shape, &[Delete(1)]);
    assert_eq!(
        owner.apply(&skips).await.unwrap(),
        fenced,
        "a step must begin where the row stands"
    );
}

#[tokio::test]
async fn f04_a_repeated_batch_settles_a_lost_answer() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let changes = [Put(1, Value::Text("a"), Value::Null), Put(8, Value::Unavailable, Value::Null)];
    let folded = batch(&claimed, &shape(Deletes::Hard), &changes);
    let first = target.apply(&folded).await.unwrap();
    world.run("UPDATE items SET name = 'seen'").await;

    let again = target.apply(&folded).await.unwrap();

    assert_eq!(again, first);
    assert!(matches!(first, Applied::Committed { refused, .. } if refused.len() == 1));
    assert_eq!(world.items().await, ["1|seen|NULL"], "nothing was written twice");
    assert_eq!(world.read("SELECT count(*) FROM afterimage_dead_letter").await, ["1"]);
}

#[tokio::test]
async fn a_claim_tells_the_delete_that_it_goes_on_behind() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    assert_eq!(claimed.deleted, None);
    let shape = shape(Deletes::Hard);
    let (put, delete) = (Put(1, Value::Null, Value::Null), Delete(1));
    let mut folded = batch(&claimed, &shape, &[put, delete]);
    folded.steps[0].last.as_mut().unwrap().deleted_key = Some(b"k".to_vec());
    target.apply(&folded).await.unwrap();
    let deleted = Some(Deleted { offset: 1, key: b"k".to_vec() });
    let claimed = claim(&mut target, &world.partition).await;
    assert_eq!(claimed.deleted, deleted);

    // The end of the log is no record, and anything else is another one.
    let mut reaching = Batch::default();
    let step = reaching.step(&claimed.partition, claimed.claim, claimed.next);
    reaching.reach(step, NextOffset::at(3));
    target.apply(&reaching.fold()).await.unwrap();
    let claimed = claim(&mut target, &world.partition).await;
    assert_eq!((claimed.next, &claimed.deleted), (NextOffset::at(3), &deleted));
    target.apply(&batch(&claimed, &shape, &[Delete(1)])).await.unwrap();
    assert_eq!(claim(&mut target, &world.partition).await.deleted, None);
}

#[tokio::test]
async fn a_claim_tells_unknown_held_and_refused_keys() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let mut folded = batch(&claimed, &shape(Deletes::Hard), &[Delete(1)]);
    let mark = |key: &[u8], is_refused| crate::batch::KeyMark {
        offset: 0,
        partition: world.partition.clone(),
        key: key.to_vec(),
        is_refused,
    };
    folded.key_marks =
        vec![mark(b"a", true), mark(b"b", true), mark(b"a", true), mark(b"b", false)];
    let refusal = Refusal::new(Reason::Malformed, "x");
    let partition = world.partition.clone();
    folded.dead_letters.push(DeadLetter { partition, record: kept(0), refusal });
    target.apply(&folded).await.unwrap();

    let mut other = world.target_of("other");
    let asked = [world.partition.clone(), TopicPartition::new("t", 1), TopicPartition::new("u", 0)];
    let claims = other.claim(&asked, Uuid::new_v4(), false).await.unwrap();
    assert!(claims.claimed.is_empty());
    assert_eq!(claims.held, [(asked[0].clone(), "group".to_owned())]);
    assert_eq!(
        claims.unknown,
        [(asked[1].clone(), Known::Topic), (asked[2].clone(), Known::Nothing)]
    );

    let claims = other.claim(&asked[..1], Uuid::new_v4(), true).await.unwrap();
    assert_eq!(claims.claimed[0].refused_keys, [b"a".to_vec()]);
    assert_eq!(world.read(STANDS).await, ["1|0|2|0|other|running"]);

    let old = "UPDATE afterimage_checkpoint SET updated_at = '2024-01-01T00:00:00.000000Z'";
    world.run(old).await;
    assert_eq!(target.claim(&asked[..1], Uuid::new_v4(), false).await.unwrap().claimed.len(), 1);
}

#[tokio::test]
async fn a_stop_is_written_and_taken_back_and_a_release_leaves_no_owner() {
    let world = World::new();
    let (mut target, claimed) = world.claimed().await;
    let stop = Stop::new(StopReason::TableMissing, "table \"items\" is missing");
    target.mark(&world.partition, claimed.claim, Some(&stop)).await.unwrap();
    let reason = world.read("SELECT state, state_reason FROM afterimage_checkpoint").await;
    assert_eq!(reason, ["stopped|table_missing: table \"items\" is missing"]);

    let mut holding =
        Holding { partition: world.partition.clone(), claim: claimed.claim, next: claimed.next };
    let touched = target.touch(slice::from_ref(&holding)).await.unwrap();
    assert_eq!(touched.stopped, slice::from_ref(&world.partition));
    target.mark(&world.partition, claimed.claim, None).await.unwrap();
    let touched = target.touch(slice::from_ref(&holding)).await.unwrap();
    assert_eq!(touched, Touched::default());
    // As an operator leaves it.
    world.run("UPDATE afterimage_checkpoint SET state = NULL").await;
    let touched = target.touch(slice::from_ref(&holding)).await.unwrap();
    assert_eq!(touched, Touched::default());
    target.mark(&world.partition, claimed.claim, None).await.unwrap();
    holding.next = NextOffset::after(claimed.next.get());
    let elsewhere = target.touch(&[holding]).await.unwrap().elsewhere;
    assert_eq!(
        elsewhere,
        slice::from_ref(&world.partition),
        "the row is behind what its owner believes"
    );
    target.release(&[(world.partition.clone(), claimed.claim)]).await.unwrap();

    assert_eq!(world.read(STANDS).await, ["0|NULL|1|1|group|running"]);
}
