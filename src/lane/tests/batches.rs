//! Batches: when one ends, and what is done when the target does not take it.

use std::time::Duration;

use tokio::time::Instant;

use crate::lane::testing::{
    Bench, committed, create, denied, done, malformed, partial, unreachable,
};

const SECOND: Duration = Duration::from_secs(1);

/// The clock of the tests counts in these.
const TICK: Duration = Duration::from_millis(2);

#[tokio::test(start_paused = true)]
async fn a_batch_goes_on_filling_while_records_are_at_hand() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    for offset in 1..4 {
        bench.queue(1, "t[0]", offset, &[create("t", offset)]);
    }
    bench.answer("apply t[0] 1..4, t +1 +2 +3", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn an_old_batch_ends_though_records_are_at_hand() {
    let mut bench = Bench::with_limits(|limits| limits.batch_age = Duration::ZERO).await;
    bench.run("t[0]").await;
    for offset in 1..4 {
        bench.queue(1, "t[0]", offset, &[create("t", offset)]);
    }
    bench.answer("apply t[0] 1..2, t +1", committed()).await;
    bench.answer("apply t[0] 2..4, t +2 +3", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_a_run_that_is_about_to_follow_until_it_is_old() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.deliver_followed("t[0]", 1, &[create("t", 1)]).await;
    bench.quiet(SECOND / 4).await;
    bench.deliver("t[0]", 2, &[create("t", 2)]).await;
    let delivered = Instant::now();
    bench.answer("apply t[0] 1..3, t +1 +2", committed()).await;
    assert!(delivered.elapsed() <= TICK, "nothing more was to follow");

    bench.deliver_followed("t[0]", 3, &[create("t", 3)]).await;
    let delivered = Instant::now();
    let apply = bench.asked("apply t[0] 3..4, t +3").await;
    let waited = delivered.elapsed();
    assert!(waited >= SECOND / 2 - 5 * TICK && waited <= SECOND / 2 + TICK, "{waited:?}");
    apply.send(committed()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_next_batch_fills_while_one_is_applied() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.deliver("t[0]", 1, &[create("t", 1)]).await;
    let apply = bench.asked("apply t[0] 1..2, t +1").await;
    bench.deliver("t[0]", 2, &[create("t", 2), malformed()]).await;
    bench.deliver("t[0]", 4, &[create("t", 2), partial("t", 2)]).await;
    apply.send(committed()).unwrap();
    bench.answer("apply t[0] 2..6, t +5, 3 malformed", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn f04_a_batch_whose_outcome_is_unknown_is_settled_by_the_same_batch() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    let apply = bench.asked("apply t[0] 1..2, t +1").await;
    bench.deliver("t[0]", 2, &[create("t", 3)]).await;
    apply.send(unreachable()).unwrap();
    bench.settle().await;
    assert_eq!(bench.unready(), ["lane 0: target is unreachable: gone"]);

    bench.answer("apply t[0] 1..2, t +1", committed()).await;
    bench.answer("apply t[0] 2..3, t +2", committed()).await;
    assert_eq!(bench.commands().await, [""; 0], "nothing is read again");
    assert_eq!(bench.unready(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_pauses_between_tries_grow_to_a_bound_and_end_with_the_first_answer() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    bench.asked("apply t[0] 1..2, t +1").await.send(unreachable()).unwrap();
    for tries in 1..12 {
        let failed = Instant::now();
        let apply = bench.asked("apply t[0] 1..2, t +1").await;
        let longest = Duration::from_millis(100 << tries).min(5 * SECOND);
        let pause = failed.elapsed();
        assert!(pause >= longest / 2 && pause <= longest + TICK, "{tries}: {pause:?}");
        apply.send(unreachable()).unwrap();
    }
    bench.answer("apply t[0] 1..2, t +1", committed()).await;

    bench.deliver("t[0]", 2, &[create("t", 3)]).await;
    let apply = bench.asked_but("touch t[0]#1", "apply t[0] 2..3, t +2").await;
    apply.send(unreachable()).unwrap();
    let failed = Instant::now();
    let apply = bench.asked("apply t[0] 2..3, t +2").await;
    assert!(failed.elapsed() <= Duration::from_millis(200) + TICK, "it begins anew");
    apply.send(committed()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_refused_stops_its_partitions_and_only_these() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.hold(&["t[1]"]).await;
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    bench.answer("apply t[0] 1..2, t +1", denied()).await;

    bench.answer("mark t[0] right_missing: target denies access: no right", done()).await;
    assert_eq!(bench.commands().await, ["seek to 1 t[0]", "pause t[0]"]);
    bench.deliver("t[1]", 0, &[create("t", 3)]).await;
    bench.answer("apply t[1] 0..1, t +0", committed()).await;
    let stopped = "s.public.t[0] is stopped: right_missing: target denies access: no right";
    bench.quiet(SECOND).await;
    assert_eq!(bench.unready(), [stopped]);
}

#[tokio::test(start_paused = true)]
async fn an_owner_shows_every_25_seconds_that_it_lives() {
    let mut bench = Bench::start().await;
    bench.hold(&["t[0]", "t[1]"]).await;
    bench.quiet(24 * SECOND).await;
    for _ in 0..3 {
        let touched = Instant::now();
        bench.asked("touch t[0]#1 t[1]#1").await.send(done()).unwrap();
        bench.quiet(24 * SECOND).await;
        assert!(touched.elapsed() <= 26 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn the_group_is_told_every_5_seconds_how_far_the_checkpoint_is() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    tokio::time::sleep(6 * SECOND).await;
    assert_eq!(bench.told().await, ["mirror t[0]@1"]);

    for offset in 1..3 {
        bench.deliver("t[0]", offset, &[create("t", offset)]).await;
        let batch = format!("apply t[0] {offset}..{}, t +{offset}", offset + 1);
        bench.answer(&batch, committed()).await;
    }
    assert_eq!(bench.told().await, [""; 0]);
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(bench.told().await, ["mirror t[0]@3"]);
    tokio::time::sleep(20 * SECOND).await;
    assert_eq!(bench.told().await, [""; 0], "nothing has moved");
}
