//! Rebalances: partitions that come late, come back, or leave while something is under way.

use std::time::Duration;

use crate::kafka::log::LogError;
use crate::kafka::{Event, Membership};
use crate::lane::testing::{
    Bench, Known, absent, claim_in, claims, committed, create, denied, done, fenced, partition,
    unreachable,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_claim_in_time_gives_the_callback_the_position() {
    let mut bench = Bench::start().await;
    let positions = bench.assign(&["t[0]", "t[1]"]).await;
    bench.answer("claim t[0] t[1]", claims(&[("t[0]", 5), ("t[1]", 7)])).await;

    let offered = positions.wait(2, Duration::ZERO);
    assert_eq!(offered[&partition("t[0]")].get(), 5);
    assert_eq!(offered[&partition("t[1]")].get(), 7);
    assert_eq!(bench.commands().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn f17_a_claim_behind_the_callbacks_wait_seeks_to_its_offset() {
    let mut bench = Bench::start().await;
    let positions = bench.assign(&["t[0]"]).await;
    let claim = bench.asked("claim t[0]").await;
    assert!(positions.wait(1, Duration::ZERO).is_empty(), "the callback waits no longer");

    claim.send(claims(&[("t[0]", 5)])).unwrap();
    assert_eq!(bench.commands().await, ["seek to 5 t[0]"]);

    bench.deliver("t[0]", 5, &[create("t", 1)]).await;
    bench.answer("table t", absent()).await;
    bench.answer("apply t[0] 5..6, creates t, t leads to t, t +5", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn f16_records_under_an_old_number_are_dropped() {
    let mut bench = Bench::start().await;
    bench.hold(&["t[0]"]).await;
    let old = bench.number("t[0]");
    bench.hold(&["t[0]"]).await;

    bench.queue(old, "t[0]", 0, &[create("t", 1), create("t", 2)]);
    bench.quiet(SECOND).await;

    bench.deliver("t[0]", 0, &[create("t", 1)]).await;
    bench.answer("table t", absent()).await;
    bench.answer("apply t[0] 0..1, creates t, t leads to t, t +0", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn f15_a_fenced_batch_of_an_older_assignment_does_not_pause_the_new_one() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    let apply = bench.asked("apply t[0] 1..2, t +1").await;
    let lost = Event::Lost { partitions: vec![partition("t[0]")] };
    bench.events.send(lost).unwrap();
    bench.answer_log("count t", Ok(Known::Count(1))).await;
    let positions = bench.assign(&["t[0]"]).await;

    bench.prove_as(&[Membership::Member]);
    apply.send(fenced(&["t[0]"])).unwrap();
    bench.answer("claim t[0]", claim_in(3, "t[0]", 1)).await;

    assert_eq!(positions.wait(1, Duration::ZERO).len(), 1);
    assert_eq!(bench.commands().await, [""; 0], "nothing but a seek would end a pause");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_an_older_assignment_began_without_a_record_begins_anew() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.deliver("t[0]", 0, &[create("t", 1)]).await;
    let lost = Event::Lost { partitions: vec![partition("t[0]")] };
    bench.events.send(lost).unwrap();
    bench.answer_log("count t", Ok(Known::Count(1))).await;

    _ = bench.assign(&["t[0]"]).await;
    bench.answer("claim t[0]", claim_in(3, "t[0]", 5)).await;
    bench.deliver("t[0]", 5, &[create("t", 2)]).await;
    bench.answer("apply t[0] 5..6, t +5", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_of_a_leaving_partition_is_not_marked_and_its_release_not_lost() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    let apply = bench.asked("apply t[0] 1..2, t +1").await;
    let mut released = bench.revoke(&["t[0]"]).await;

    apply.send(denied()).unwrap();
    let release = bench.asked("release t[0]#1").await;
    assert!(released.try_recv().is_err(), "it is not given up yet");
    release.send(done()).unwrap();
    released.await.unwrap();
    bench.quiet(SECOND).await;
    assert_eq!(bench.commands().await, [""; 0]);
    assert_eq!(bench.state("t[0]").await, None);
}

#[tokio::test(start_paused = true)]
async fn an_assignment_is_claimed_before_the_records_that_wait() {
    let mut bench = Bench::with_limits(|limits| limits.batch_rows = 1).await;
    bench.hold(&["t[0]"]).await;
    bench.deliver("t[0]", 0, &[create("t", 0)]).await;
    bench.answer("table t", absent()).await;
    let apply = bench.asked("apply t[0] 0..1, creates t, t leads to t, t +0").await;
    // One batch is full, one run is at the head, and the queue is full behind it.
    let mut offset = 1;
    while bench.room() > 0 {
        bench.deliver("t[0]", offset, &[create("t", offset)]).await;
        offset += 1;
    }
    let positions = bench.assign(&["t[1]"]).await;

    apply.send(committed()).unwrap();
    bench.answer("claim t[1]", claims(&[("t[1]", 3)])).await;
    assert_eq!(positions.wait(1, Duration::ZERO).len(), 1);
    for offset in 1..offset {
        let batch = format!("apply t[0] {offset}..{}, t +{offset}", offset + 1);
        bench.answer(&batch, committed()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_that_was_asked_for_a_head_that_is_gone_is_nobodys() {
    let mut bench = Bench::start().await;
    bench.hold(&["a[0]", "b[0]"]).await;
    bench.deliver("a[0]", 0, &[create("a", 1)]).await;
    let table = bench.asked("table a").await;
    let released = bench.revoke(&["a[0]"]).await;
    bench.deliver("b[0]", 0, &[create("b", 1)]).await;

    table.send(absent()).unwrap();
    bench.answer("release a[0]#1", done()).await;
    released.await.unwrap();
    bench.answer("table b", absent()).await;
    bench.answer("apply b[0] 0..1, creates b, b leads to b, b +0", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_tried_again_is_given_up_for_a_revocation() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    bench.answer("apply t[0] 1..2, t +1", unreachable()).await;

    let released = bench.revoke(&["t[0]"]).await;
    bench.answer("release t[0]#1", done()).await;
    released.await.unwrap();
    bench.quiet(10 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn f14_a_batch_that_fails_under_a_revocation_is_given_up_and_the_others_go_back() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.hold(&["t[1]"]).await;
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    let apply = bench.asked("apply t[0] 1..2, t +1").await;
    bench.deliver("t[1]", 0, &[create("t", 3)]).await;
    let released = bench.revoke(&["t[0]"]).await;

    apply.send(unreachable()).unwrap();
    bench.answer("release t[0]#1", done()).await;
    released.await.unwrap();
    assert_eq!(bench.commands().await, ["seek to 0 t[1]"]);
    bench.deliver("t[1]", 0, &[create("t", 3)]).await;
    bench.answer("apply t[1] 0..1, t +0", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_release_answers_only_the_callback_that_it_was_made_for() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.hold(&["t[1]"]).await;
    let first = bench.revoke(&["t[0]"]).await;
    let release = bench.asked("release t[0]#1").await;
    let mut second = bench.revoke(&["t[1]"]).await;

    release.send(done()).unwrap();
    first.await.unwrap();
    let release = bench.asked("release t[1]#1").await;
    assert!(second.try_recv().is_err(), "its partition is not released yet");
    release.send(done()).unwrap();
    second.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn f15_a_late_release_leaves_the_new_claim_of_the_same_partition_alone() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    let apply = bench.asked("apply t[0] 1..2, t +1").await;
    // The callback has given up before the batch ends, and the partition comes back.
    drop(bench.revoke(&["t[0]"]).await);
    _ = bench.assign(&["t[0]"]).await;

    apply.send(committed()).unwrap();
    bench.answer("claim t[0]", claim_in(2, "t[0]", 2)).await;
    bench.deliver("t[0]", 2, &[create("t", 3)]).await;
    bench.answer("apply t[0] 2..3, t +2", committed()).await;
    let released = bench.revoke(&["t[0]"]).await;
    bench.answer("release t[0]#2", done()).await;
    released.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_is_dropped_without_a_release() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.hold(&["t[1]"]).await;
    bench.deliver("t[1]", 0, &[create("t", 2)]).await;
    let apply = bench.asked("apply t[1] 0..1, t +0").await;
    bench.deliver("t[0]", 1, &[create("t", 3)]).await;
    bench.deliver("t[1]", 1, &[create("t", 4)]).await;
    bench.events.send(Event::Lost { partitions: vec![partition("t[0]")] }).unwrap();

    apply.send(committed()).unwrap();
    assert_eq!(bench.commands().await, ["seek to 1 t[1]"]);
    bench.deliver("t[1]", 1, &[create("t", 4)]).await;
    bench.answer("apply t[1] 1..2, t +1", committed()).await;
    bench.quiet(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_is_lost_with_its_topic_says_so_in_its_row() {
    let mut bench = Bench::start().await;
    bench.hold(&["t[0]"]).await;
    bench.events.send(Event::Lost { partitions: vec![partition("t[0]")] }).unwrap();
    let gone = LogError::TopicMissing { topic: "s.public.t".to_owned() };
    bench.answer_log("count t", Err(gone)).await;
    let mark = "mark t[0] topic_gone: the topic was deleted: its rows stay, and its checkpoint too";
    bench.answer(mark, done()).await;
}
