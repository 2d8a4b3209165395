//! Heads: a record that cannot be decoded before a schema, a table or a partition count is there.

use std::time::Duration;

use crate::kafka::log::LogError;
use crate::lane::testing::{
    Bench, Known, SCHEMA, Sent, TargetAnswer, absent, avro, came, committed, create, done, found,
    malformed_of, stale, together, tombstone, truncate, went,
};
use crate::lane::writer::Outcome;
use crate::moves::Moved;
use crate::status::PartitionState;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_delete_from_a_table_that_does_not_exist_creates_nothing() {
    let mut bench = Bench::start().await;
    bench.hold(&["t[0]"]).await;
    bench.deliver("t[0]", 0, &[tombstone(1), tombstone(2)]).await;
    bench.answer("table t", absent()).await;
    bench.answer("apply t[0] 0..2", committed()).await;

    bench.deliver("t[0]", 2, &[create("t", 1), tombstone(1)]).await;
    bench.answer("table t", absent()).await;
    bench.answer("apply t[0] 2..4, creates t, t leads to t, t -3", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_truncate_waits_for_the_number_of_partitions() {
    let mut bench = truncated().await;
    bench.answer_log("count t", Ok(Known::Count(1))).await;
    bench.answer("apply t[0] 1..2, t !", committed()).await;
    bench.answer("apply t[0] 2..3, t +2", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_truncate_of_a_topic_with_more_partitions_stops_its_partition() {
    let mut bench = truncated().await;
    bench.answer_log("count t", Ok(Known::Count(2))).await;
    let mark = "mark t[0] truncate_partitioned: table \"t\" was emptied, and topic \"t\" has more \
                than one partition";
    bench.answer(mark, done()).await;
    assert_eq!(bench.commands().await, ["pause t[0]"]);
}

#[tokio::test(start_paused = true)]
async fn a_truncate_whose_partition_count_does_not_come_holds_up_only_its_partition() {
    let mut bench = truncated().await;
    bench.answer_log("count t", Err(away())).await;
    bench.deliver("u[0]", 0, &[create("u", 1)]).await;
    bench.quiet(SECOND / 2).await;
    bench.answer("table u", absent()).await;
    bench.answer("apply u[0] 0..1, creates u, u leads to u, u +0", committed()).await;
    assert_eq!(bench.commands().await, ["pause t[0]"]);
    let waiting = PartitionState::Waiting("partition count".to_owned());
    assert_eq!(bench.state("t[0]").await, Some(waiting));

    bench.answer_log("count t", Ok(Known::Count(1))).await;
    assert_eq!(bench.commands().await, ["seek to 1 t[0]"]);
    bench.deliver("t[0]", 1, &[truncate("t")]).await;
    bench.answer("apply t[0] 1..2, t !", committed()).await;
    assert_eq!(bench.state("t[0]").await, Some(PartitionState::Running));
}

#[tokio::test(start_paused = true)]
async fn a_truncate_outdates_what_was_refused_before_it() {
    let mut bench = truncated().await;
    bench.answer_log("count t", Ok(Known::Count(1))).await;
    bench.answer("apply t[0] 1..2, t !", committed()).await;
    bench.answer("apply t[0] 2..3, t +2", committed()).await;
    bench.deliver("t[0]", 3, &[malformed_of("a")]).await;
    bench.answer("apply t[0] 3..4, 3 malformed", committed()).await;
    bench.deliver("t[0]", 4, &[truncate("t")]).await;
    bench.answer("apply t[0] 4..5, t !, outdates a", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn f41_a_schema_that_does_not_come_holds_up_only_its_partition() {
    let mut bench = Bench::start().await;
    bench.hold(&["t[0]", "u[0]"]).await;
    bench.deliver("t[0]", 0, &[avro(1)]).await;
    bench.deliver("u[0]", 0, &[create("u", 1)]).await;
    bench.quiet(SECOND / 2).await;
    bench.answer("table u", absent()).await;
    bench.answer("apply u[0] 0..1, creates u, u leads to u, u +0", committed()).await;
    assert_eq!(bench.commands().await, ["pause t[0]"]);
    let waiting = PartitionState::Waiting("schema".to_owned());
    assert_eq!(bench.state("t[0]").await, Some(waiting));

    bench.answer_registry("schema 1", Some(SCHEMA)).await;
    assert_eq!(bench.commands().await, ["seek to 0 t[0]"]);
    bench.deliver("t[0]", 0, &[avro(1)]).await;
    bench.answer("table t", absent()).await;
    bench.answer("apply t[0] 0..1, creates t, t leads to t, t +0", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_applied_while_a_schema_is_on_its_way() {
    let mut bench = Bench::start().await;
    bench.hold(&["t[0]", "u[0]"]).await;
    bench.deliver("u[0]", 0, &[create("u", 1)]).await;
    bench.deliver("t[0]", 0, &[avro(1)]).await;
    bench.answer("table u", found("u")).await;
    bench.answer("apply u[0] 0..1, u leads to u, u +0", committed()).await;
    bench.answer_registry("schema 1", Some(SCHEMA)).await;
    bench.answer("table t", found("t")).await;
    bench.answer("apply t[0] 0..1, t leads to t, t +0", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn f41_a_schema_that_the_registry_does_not_know_is_asked_for_again_after_a_minute() {
    let mut bench = Bench::start().await;
    bench.hold(&["t[0]"]).await;
    bench.deliver("t[0]", 0, &[avro(1)]).await;
    // The registry may lag behind the producer: it is asked for a minute.
    for _ in 0..=60 {
        bench.answer_registry("schema 1", None).await;
    }
    assert_eq!(bench.commands().await, ["pause t[0]", "seek to 0 t[0]"]);
    bench.deliver("t[0]", 0, &[avro(1)]).await;
    let apply = bench.asked_but("touch t[0]#1", "apply t[0] 0..1, 0 schema_not_found").await;
    apply.send(committed()).unwrap();
    bench.deliver("t[0]", 1, &[avro(1)]).await;
    bench.answer("apply t[0] 1..2, 1 schema_not_found", committed()).await;
    assert!(bench.registry.try_recv().is_err(), "its word is good for a while");

    tokio::time::sleep(60 * SECOND).await;
    bench.deliver("t[0]", 2, &[avro(1)]).await;
    bench.answer_registry("schema 1", None).await;
    let apply = bench.asked_but("touch t[0]#1", "apply t[0] 2..3, 2 schema_not_found").await;
    apply.send(committed()).unwrap();

    tokio::time::sleep(60 * SECOND).await;
    bench.deliver("t[0]", 3, &[avro(1)]).await;
    bench.answer_registry("schema 1", Some(SCHEMA)).await;
    let table = bench.asked_but("touch t[0]#1", "table t").await;
    table.send(absent()).unwrap();
    bench.answer("apply t[0] 3..4, creates t, t leads to t, t +3", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_row_waits_for_what_it_left_under_its_old_key_and_holds_up_only_its_partition() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.run_more("t[1]").await;
    bench.deliver("t[1]", 1, &[create("t", 5), came("t", 3)]).await;
    bench.answer("apply t[1] 1..2, t +1", committed()).await;
    bench.answer("moved 77 2", left(None)).await;
    assert_eq!(bench.commands().await, ["pause t[1]"]);
    let waiting = PartitionState::Waiting("move".to_owned());
    assert_eq!(bench.state("t[1]").await, Some(waiting));

    // What the same lane applies meanwhile has it look again at once.
    bench.deliver("t[0]", 1, &[went("t", 2)]).await;
    bench.answer("apply t[0] 1..2, t -1 left 77", committed()).await;
    assert_eq!(bench.commands().await, ["seek to 2 t[1]"]);
    bench.deliver("t[1]", 2, &[came("t", 3)]).await;
    bench.answer("moved 77 2", left(Some(Moved::Values(vec![Some(b"tn".to_vec())])))).await;
    bench.answer("apply t[1] 2..3, t +2", committed()).await;
    assert_eq!(bench.state("t[1]").await, Some(PartitionState::Running));
}

#[tokio::test(start_paused = true)]
async fn a_table_is_made_before_a_row_asks_what_it_left() {
    let mut bench = Bench::start().await;
    bench.hold(&["t[0]"]).await;
    bench.deliver("t[0]", 0, &[came("t", 3)]).await;
    bench.answer("table t", absent()).await;
    bench.answer("apply, creates t", committed()).await;
    bench.answer("moved 77 0", left(Some(Moved::Gone))).await;
    bench.answer("apply t[0] 0..1, 0 unavailable_without_row", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_row_that_left_nothing_under_its_old_key_is_refused_at_last() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.deliver("t[0]", 1, &[came("t", 3)]).await;
    let started = tokio::time::Instant::now();
    loop {
        let asked = bench.asked_but("touch t[0]#1", "moved 77 1").await;
        asked.send(left(None)).unwrap();
        if bench.commands().await.is_empty() {
            break;
        }
        tokio::time::sleep(SECOND).await;
        assert_eq!(bench.commands().await, ["seek to 1 t[0]"]);
        bench.deliver("t[0]", 1, &[came("t", 3)]).await;
    }
    assert!(started.elapsed() >= 600 * SECOND, "it waits long enough");
    bench.answer("apply t[0] 1..2, 1 unavailable_without_row", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_row_does_not_wait_for_what_a_refused_delete_has_left() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    let unread = Sent { key: Some(b"{".to_vec()), ..went("t", 2) };
    bench.deliver("t[0]", 1, &[unread, came("t", 3)]).await;
    bench.answer("moved 77 2 of the batch", left(Some(Moved::Gone))).await;
    let apply = "apply t[0] 1..3, t left 77, 1 malformed, 2 unavailable_without_row";
    bench.answer(apply, committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_row_that_waits_looks_again_when_what_may_be_its_delete_is_refused() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.run_more("t[1]").await;
    bench.deliver("t[1]", 1, &[came("t", 3)]).await;
    let asked = bench.asked("moved 77 1").await;
    bench.deliver("t[0]", 1, &[Sent { value: Some(b"{".to_vec()), ..went("t", 2) }]).await;
    asked.send(left(None)).unwrap();
    let apply = bench.asked("apply t[0] 1..2, 1 malformed").await;
    assert_eq!(bench.commands().await, ["pause t[1]"]);
    apply.send(committed()).unwrap();
    assert_eq!(bench.commands().await, ["seek to 1 t[1]"]);
    bench.deliver("t[1]", 1, &[came("t", 3)]).await;
    bench.answer("moved 77 1", left(Some(Moved::Gone))).await;
    bench.answer("apply t[1] 1..2, 1 unavailable_without_row", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn both_halves_of_a_move_in_one_run_are_one_batch() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    let halves = [went("t", 2), came("t", 3)];
    bench.deliver("t[0]", 1, &halves).await;
    let brought = || left(Some(Moved::Values(vec![Some(b"tn".to_vec())])));
    bench.answer("moved 77 2 of the batch", brought()).await;
    bench.answer("apply t[0] 1..3, t -1 +2 left 77", stale("t")).await;
    // What the target has said was of a state that may have gone.
    assert_eq!(bench.commands().await, ["seek to 1 t[0]"]);
    bench.deliver("t[0]", 1, &halves).await;
    bench.answer("table t", found("t")).await;
    bench.answer("moved 77 2 of the batch", brought()).await;
    bench.answer("apply t[0] 1..3, t leads to t, t -1 +2 left 77", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_row_leaves_what_the_target_has_before_its_other_changes_of_the_batch() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    // Key 2 is touched before it goes: that is applied first, so that the target has it.
    bench.deliver("t[0]", 1, &[create("t", 2), went("t", 9), went("t", 2)]).await;
    bench.answer("apply t[0] 1..3, t -2 +1 left 77", committed()).await;
    bench.answer("apply t[0] 3..4, t -3 left 77", committed()).await;
}

fn left(moved: Option<Moved>) -> TargetAnswer {
    Ok(Outcome::Moved(moved))
}

/// Starts a lane with a truncate at the head of `t[0]` and nothing yet of `u[0]`.
async fn truncated() -> Bench {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.hold(&["u[0]"]).await;
    bench.deliver("t[0]", 1, &[truncate("t"), create("t", 2)]).await;
    bench.answer("table t", found("t")).await;
    bench
}

fn away() -> LogError {
    LogError::Unreachable { brokers: "b".to_owned(), detail: "gone".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn the_first_record_of_a_table_that_is_to_be_made_ends_no_batch_but_one_that_changes_tables()
{
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.hold(&["u[0]", "v[0]"]).await;
    bench.deliver("t[0]", 1, &[create("t", 1)]).await;
    let apply = bench.asked("apply t[0] 1..2, t +1").await;
    bench.deliver("t[0]", 2, &[create("t", 2)]).await;
    bench.deliver("u[0]", 0, &[create("u", 1)]).await;
    bench.deliver("v[0]", 0, &[create("v", 1)]).await;
    apply.send(committed()).unwrap();
    bench.answer("table u, v", together([absent(), absent()])).await;
    let first = "apply t[0] 2..3 u[0] 0..1, creates u, u leads to u, t +2, u +0";
    bench.answer(first, committed()).await;
    bench.answer("table v", absent()).await;
    bench.answer("apply v[0] 0..1, creates v, v leads to v, v +0", committed()).await;
}
