//! Rows that the database refuses: which records become dead letters, which wait, which stop.

use std::time::Duration;

use tokio::time::Instant;

use crate::lane::testing::{
    Bench, Known, Sent, absent, committed, create, done, partial, refused, tombstone, went,
};
use crate::status::PartitionState;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_refused_record_is_kept_and_the_rest_lands() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    let records = || [create("t", 1), create("t", 2), create("t", 3), create("t", 4)];
    bench.deliver("t[0]", 1, &records()).await;
    let both = refused("t[0]", &[(4, "23502"), (2, "23514")]);
    bench.answer("apply t[0] 1..5, t +1 +2 +3 +4", both).await;
    assert_eq!(bench.commands().await, ["seek to 1 t[0]"]);

    bench.deliver("t[0]", 1, &records()).await;
    let apply = bench.asked("apply t[0] 1..5, t +1 +3, 2 row_refused, 4 row_refused").await;
    apply.send(committed()).unwrap();
    bench.deliver("t[0]", 5, &[create("t", 4)]).await;
    bench.answer("apply t[0] 5..6, t +5", committed()).await;
    assert_eq!(bench.state("t[0]").await, Some(PartitionState::Running));
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_made_for_a_refused_batch_is_planned_again() {
    let mut bench = Bench::start().await;
    bench.hold(&["t[0]"]).await;
    bench.deliver("t[0]", 0, &[create("t", 1), create("t", 2)]).await;
    bench.answer("table t", absent()).await;
    let first = refused("t[0]", &[(0, "23514")]);
    bench.answer("apply t[0] 0..2, creates t, t leads to t, t +0 +1", first).await;

    bench.deliver("t[0]", 0, &[create("t", 1), create("t", 2)]).await;
    bench.answer("table t", absent()).await;
    bench
        .answer("apply t[0] 0..2, creates t, t leads to t, t +1, 0 row_refused", committed())
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_value_that_a_refused_record_may_have_had_is_not_kept_from_the_row_before() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.deliver("t[0]", 1, &[create("t", 2), partial("t", 2), partial("t", 1)]).await;
    bench.answer("apply t[0] 1..4, t +2 ~3", refused("t[0]", &[(1, "23514"), (2, "23514")])).await;

    bench.deliver("t[0]", 1, &[create("t", 2), partial("t", 2), partial("t", 1)]).await;
    bench.answer("apply t[0] 1..4, t ~3, 1 row_refused, 2 behind_dead_letter", committed()).await;
    // A whole image is not behind it any more.
    bench.deliver("t[0]", 4, &[create("t", 2), partial("t", 2)]).await;
    bench.answer("apply t[0] 4..6, t +5", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_behind_a_refused_delete_is_nothing() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    let records = || [went("t", 1), tombstone(1)];
    bench.deliver("t[0]", 1, &records()).await;
    bench.answer("apply t[0] 1..3, t -1 left 77", refused("t[0]", &[(1, "P0001")])).await;

    bench.deliver("t[0]", 1, &records()).await;
    bench.answer("apply t[0] 1..3, t left 77, 1 row_refused", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_record_stops_its_partition_where_the_settings_say_so() {
    let mut bench = Bench::with_limits(|limits| limits.stop_on_refused = true).await;
    bench.run("t[0]").await;
    bench.deliver("t[0]", 1, &[create("t", 2), create("t", 3)]).await;
    bench.answer("apply t[0] 1..3, t +1 +2", refused("t[0]", &[(2, "23514")])).await;

    bench.deliver("t[0]", 1, &[create("t", 2), create("t", 3)]).await;
    bench.answer("apply t[0] 1..2, t +1", committed()).await;
    bench.answer("mark t[0] record_refused: offset 2: row_refused: no", done()).await;
    assert_eq!(bench.commands().await, ["seek to 1 t[0]", "pause t[0]"]);
}

/// Starts a lane whose record 2 of `t[0]` lacks its parent.
async fn orphaned(records: &[Sent]) -> Bench {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.run_more("t[1]").await;
    bench.deliver("t[0]", 1, records).await;
    bench.answer("apply t[0] 1..4, t +1 +2 +3", refused("t[0]", &[(2, "23503")])).await;
    assert_eq!(bench.commands().await, ["seek to 1 t[0]"]);
    bench.deliver("t[0]", 1, records).await;
    bench.answer("apply t[0] 1..2, t +1", committed()).await;
    assert_eq!(bench.commands().await, ["pause t[0]"]);
    bench
}

/// Starts a lane whose record 2 lacks its parent, and which has read again what is before it.
async fn orphaned_behind(records: &[Sent]) -> Bench {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.deliver("t[0]", 1, records).await;
    bench.answer("apply t[0] 1..3, t +1 +2", refused("t[0]", &[(2, "23503")])).await;
    bench.deliver("t[0]", 1, records).await;
    bench
}

#[tokio::test(start_paused = true)]
async fn a_record_whose_parent_is_late_waits_and_the_others_go_on() {
    let records = [create("t", 2), create("t", 3), create("t", 4)];
    let mut bench = orphaned(&records).await;
    let waiting = PartitionState::Waiting("constraint".to_owned());
    bench.deliver("t[1]", 1, &[create("t", 9)]).await;
    bench.answer("apply t[1] 1..2, t +1", committed()).await;

    bench.quiet(SECOND).await;
    assert_eq!(bench.commands().await, ["seek to 2 t[0]"]);
    assert_eq!(bench.state("t[0]").await, Some(waiting.clone()));
    bench.deliver("t[0]", 2, &records[1..]).await;
    // Alone, so that no others are written in vain.
    bench.answer("apply t[0] 2..3, t +2", refused("t[0]", &[(2, "23503")])).await;
    bench.deliver("t[0]", 2, &records[1..]).await;
    bench.quiet(SECOND).await;
    assert_eq!(bench.state("t[0]").await, Some(waiting));

    bench.deliver("t[0]", 2, &records[1..]).await;
    bench.answer("apply t[0] 2..3, t +2", committed()).await;
    bench.answer("apply t[0] 3..4, t +3", committed()).await;
    assert_eq!(bench.state("t[0]").await, Some(PartitionState::Running));
}

#[tokio::test(start_paused = true)]
async fn a_record_before_one_that_waits_may_be_refused_too() {
    let mut bench = orphaned_behind(&[create("t", 2), create("t", 3)]).await;
    // What the later image hid shows only without it.
    bench.answer("apply t[0] 1..2, t +1", refused("t[0]", &[(1, "23514")])).await;
    bench.quiet(SECOND).await;
    assert_eq!(bench.commands().await, ["seek to 1 t[0]", "pause t[0]", "seek to 1 t[0]"]);
    bench.deliver("t[0]", 1, &[create("t", 2), create("t", 3)]).await;
    bench.answer("apply t[0] 1..2, 1 row_refused", committed()).await;
    bench.answer("apply t[0] 2..3, t +2", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_record_whose_parent_never_comes_is_kept_at_last_and_the_next_waits_no_more() {
    let records = [create("t", 2), create("t", 3), create("t", 4)];
    let mut bench = orphaned(&records).await;
    let started = Instant::now();
    loop {
        tokio::time::sleep(SECOND / 2).await;
        for command in bench.commands().await {
            if command == "seek to 2 t[0]" {
                bench.deliver("t[0]", 2, &records[1..]).await;
            }
        }
        let Ok(call) = bench.target.try_recv() else { continue };
        match call.text.as_str() {
            "apply t[0] 2..3, t +2" => {
                call.reply.send(refused("t[0]", &[(2, "23503")])).unwrap();
            }
            "apply t[0] 2..4, t +3, 2 row_refused" => {
                call.reply.send(committed()).unwrap();
                break;
            }
            touch => {
                assert_eq!(touch, "touch t[0]#1 t[1]#1");
                call.reply.send(done()).unwrap();
            }
        }
    }
    assert!(started.elapsed() >= 600 * SECOND, "it waits long enough");

    bench.deliver("t[0]", 4, &[create("t", 5)]).await;
    bench.answer("apply t[0] 4..5, t +4", refused("t[0]", &[(4, "23503")])).await;
    bench.deliver("t[0]", 4, &[create("t", 5)]).await;
    bench.answer("apply t[0] 4..5, 4 row_refused", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_taken_value_is_not_waited_for_where_one_partition_has_all_rows() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    bench.answer("apply t[0] 1..2, t +1", refused("t[0]", &[(1, "23505")])).await;
    bench.answer_log("count t", Ok(Known::Count(1))).await;
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    bench.quiet(SECOND).await;
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    bench.answer("apply t[0] 1..2, t +1", refused("t[0]", &[(1, "23505")])).await;
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    bench.answer("apply t[0] 1..2, 1 row_refused", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn who_claims_a_partition_anew_finds_out_anew() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    bench.answer("apply t[0] 1..2, t +1", refused("t[0]", &[(1, "23514")])).await;
    let released = bench.revoke(&["t[0]"]).await;
    bench.answer("release t[0]#1", done()).await;
    released.await.unwrap();

    _ = bench.assign(&["t[0]"]).await;
    bench.answer("claim t[0]", crate::lane::testing::claim_in(2, "t[0]", 1)).await;
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    bench.answer("apply t[0] 1..2, t +1", committed()).await;
}
