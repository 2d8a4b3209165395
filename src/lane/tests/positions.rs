//! Positions that the broker has no record for: a gap stops, anything else is read on.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::checkpoint::NextOffset;
use crate::kafka::Event;
use crate::kafka::log::{LogError, Watermarks};
use crate::lane::testing::{Bench, Known, LogAnswer, committed, create, done, partition};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_position_in_a_gap_stops_and_names_what_is_gone() {
    let mut bench = out_of_range().await;
    bench.answer_log("ends t[0] t[1]", ends(&[("t[0]", 7, 9), ("t[1]", 0, 9)])).await;
    bench.answer("mark t[0] log_gap: records 1..7 are gone from the log", done()).await;
    assert_eq!(bench.commands().await, ["pause t[0]", "seek to 0 t[1]"]);
}

#[tokio::test(start_paused = true)]
async fn a_position_behind_the_logs_end_stops() {
    let mut bench = out_of_range().await;
    bench.answer_log("ends t[0] t[1]", ends(&[("t[0]", 0, 0), ("t[1]", 0, 0)])).await;
    bench.answer("mark t[0] log_truncated: the log ends at 0, the next is 1", done()).await;
    assert_eq!(bench.commands().await, ["pause t[0]", "seek to 0 t[1]"]);
}

#[tokio::test(start_paused = true)]
async fn a_position_that_the_log_has_is_sought_again() {
    let mut bench = out_of_range().await;
    bench.answer_log("ends t[0] t[1]", ends(&[("t[0]", 0, 9), ("t[1]", 0, 9)])).await;
    assert_eq!(bench.commands().await, ["seek to 1 t[0]", "seek to 0 t[1]"]);
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    bench.answer("apply t[0] 1..2, t +1", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn what_counts_is_where_the_client_stands_and_not_the_checkpoint() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    let apply = bench.asked("apply t[0] 1..2, t +1").await;
    bench.deliver("t[0]", 2, &[create("t", 3)]).await;
    bench.events.send(Event::OutOfRange).unwrap();
    // The records of the batches are gone from the log, and nobody needs them.
    bench.answer_log("ends t[0]", ends(&[("t[0]", 3, 3)])).await;
    assert_eq!(bench.commands().await, ["seek to 3 t[0]"]);
    apply.send(committed()).unwrap();
    bench.answer("apply t[0] 2..3, t +2", committed()).await;

    bench.deliver("t[0]", 3, &[create("t", 4)]).await;
    let apply = bench.asked("apply t[0] 3..4, t +3").await;
    bench.events.send(Event::OutOfRange).unwrap();
    bench.answer_log("ends t[0]", ends(&[("t[0]", 6, 9)])).await;
    apply.send(committed()).unwrap();
    bench.answer("mark t[0] log_gap: records 4..6 are gone from the log", done()).await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_does_not_answer_is_asked_again() {
    let mut bench = out_of_range().await;
    let away = LogError::Unreachable { brokers: "b".to_owned(), detail: "gone".to_owned() };
    bench.answer_log("ends t[0] t[1]", Err(away)).await;
    bench.answer_log("ends t[0] t[1]", ends(&[("t[0]", 7, 9), ("t[1]", 0, 9)])).await;
    bench.answer("mark t[0] log_gap: records 1..7 are gone from the log", done()).await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_came_while_the_log_was_asked_is_asked_about_too() {
    let mut bench = out_of_range().await;
    bench.hold(&["t[2]"]).await;
    bench.events.send(Event::OutOfRange).unwrap();
    bench.answer_log("ends t[0] t[1]", ends(&[("t[0]", 0, 9), ("t[1]", 0, 9)])).await;
    let all = ends(&[("t[0]", 0, 9), ("t[1]", 0, 9), ("t[2]", 4, 9)]);
    bench.answer_log("ends t[0] t[1] t[2]", all).await;
    bench.answer("mark t[2] log_gap: records 0..4 are gone from the log", done()).await;
    bench.quiet(5 * SECOND).await;
    assert!(bench.log.try_recv().is_err());
}

/// Starts a lane that runs `t[0]` behind its first record, and `t[1]`, and whose client reports that
/// the broker lacks a record of one of them.
async fn out_of_range() -> Bench {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.hold(&["t[1]"]).await;
    bench.events.send(Event::OutOfRange).unwrap();
    bench
}

fn ends(ends: &[(&str, i64, i64)]) -> LogAnswer {
    let watermarks =
        |low, high| Watermarks { low: NextOffset::at(low), high: NextOffset::at(high) };
    let ends = ends.iter().map(|(name, low, high)| (partition(name), watermarks(*low, *high)));
    Ok(Known::Ends(ends.collect::<BTreeMap<_, _>>()))
}
