//! Positions that the broker has no record for: a gap stops, anything else is read on.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::checkpoint::NextOffset;
use crate::kafka::log::{LogError, Watermarks};
use crate::kafka::{Event, Reset};
use crate::lane::testing::{Bench, Known, LogAnswer, committed, create, done, partition};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_position_in_a_gap_stops_and_names_what_is_gone() {
    let mut bench = reset_at_1().await;
    bench.answer_log("ends t[0]", ends(7, 9)).await;
    bench.answer("mark t[0] log_gap: records 1..7 are gone from the log", done()).await;
    assert_eq!(bench.commands().await, ["pause t[0]"]);
}

#[tokio::test(start_paused = true)]
async fn a_position_behind_the_logs_end_stops() {
    let mut bench = reset_at_1().await;
    bench.answer_log("ends t[0]", ends(0, 0)).await;
    let mark = "mark t[0] log_truncated: the log ends at 0, and the next record is 1";
    bench.answer(mark, done()).await;
    assert_eq!(bench.commands().await, ["pause t[0]"]);
}

#[tokio::test(start_paused = true)]
async fn a_position_that_the_log_has_is_sought_again() {
    let mut bench = reset_at_1().await;
    bench.answer_log("ends t[0]", ends(0, 9)).await;
    assert_eq!(bench.commands().await, ["seek to 1 t[0]"]);
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    bench.answer("apply t[0] 1..2, t +1", committed()).await;
    bench.quiet(5 * SECOND).await;
    assert!(bench.log.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn what_counts_is_where_the_client_stands_and_not_the_checkpoint() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    let apply = bench.asked("apply t[0] 1..2, t +1").await;
    bench.deliver("t[0]", 2, &[create("t", 3)]).await;
    reset(&mut bench, 3).await;
    // The records of the batches are gone from the log, and nobody needs them.
    bench.answer_log("ends t[0]", ends(3, 3)).await;
    assert_eq!(bench.commands().await, ["seek to 3 t[0]"]);
    apply.send(committed()).unwrap();
    bench.answer("apply t[0] 2..3, t +2", committed()).await;

    bench.deliver("t[0]", 3, &[create("t", 4)]).await;
    let apply = bench.asked("apply t[0] 3..4, t +3").await;
    reset(&mut bench, 4).await;
    bench.answer_log("ends t[0]", ends(6, 9)).await;
    apply.send(committed()).unwrap();
    bench.answer("mark t[0] log_gap: records 4..6 are gone from the log", done()).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_delivered_before_a_gap_is_applied_before_the_stop() {
    let mut bench = Bench::with_limits(|limits| limits.batch_rows = 1).await;
    bench.run("t[0]").await;
    for offset in 1..4 {
        bench.deliver("t[0]", offset, &[create("t", offset)]).await;
    }
    let apply = bench.asked("apply t[0] 1..2, t +1").await;
    reset(&mut bench, 4).await;
    bench.answer_log("ends t[0]", ends(6, 9)).await;
    apply.send(committed()).unwrap();
    for offset in 2..4 {
        bench
            .answer(&format!("apply t[0] {offset}..{}, t +{offset}", offset + 1), committed())
            .await;
    }
    bench.answer_log("ends t[0]", ends(6, 9)).await;
    bench.answer("mark t[0] log_gap: records 4..6 are gone from the log", done()).await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_does_not_answer_is_asked_again() {
    let mut bench = reset_at_1().await;
    let away = LogError::Unreachable { brokers: "b".to_owned(), detail: "gone".to_owned() };
    bench.answer_log("ends t[0]", Err(away)).await;
    bench.answer_log("ends t[0]", ends(7, 9)).await;
    bench.answer("mark t[0] log_gap: records 1..7 are gone from the log", done()).await;
}

#[tokio::test(start_paused = true)]
async fn a_reset_of_an_assignment_that_is_gone_is_nobodys() {
    let mut bench = reset_at_1().await;
    bench.hold(&["t[0]"]).await;
    bench.answer_log("ends t[0]", ends(7, 9)).await;
    bench.quiet(5 * SECOND).await;
    assert_eq!(bench.commands().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn f40_a_damaged_record_stops_its_partition_behind_what_was_before_it() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    let apply = bench.asked("apply t[0] 1..2, t +1").await;
    tell(&mut bench, 2, true).await;
    bench.answer_log("ends t[0]", ends(0, 9)).await;
    apply.send(committed()).unwrap();
    let stop = "mark t[0] log_damaged: the records at 2 are damaged: their checksum is another, or \
                they cannot be unpacked; consumer checkpoint skip --to goes on behind them";
    bench.answer(stop, done()).await;
}

/// Starts a lane that runs `t[0]` behind its first record, where the broker has none.
async fn reset_at_1() -> Bench {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    reset(&mut bench, 1).await;
    bench
}

async fn reset(bench: &mut Bench, asked: i64) {
    tell(bench, asked, false).await;
}

async fn tell(bench: &mut Bench, asked: i64, is_damaged: bool) {
    bench.settle().await;
    let (partition, assignment) = (partition("t[0]"), bench.number("t[0]"));
    let reset = Reset { partition, assignment, asked: NextOffset::at(asked), is_damaged };
    bench.events.send(Event::OutOfRange(reset)).unwrap();
}

fn ends(low: i64, high: i64) -> LogAnswer {
    let (low, high) = (NextOffset::at(low), NextOffset::at(high));
    Ok(Known::Ends(BTreeMap::from([(partition("t[0]"), Watermarks { low, high })])))
}
