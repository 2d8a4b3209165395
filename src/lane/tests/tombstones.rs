//! Tombstones: nothing behind their delete, wherever the lane begins to read.
//!
//! Where rows have exchanged their keys in one transaction, such a delete is of a row that another has
//! come over: a tombstone that counted as a delete would take that one.

use crate::checkpoint::Deleted;
use crate::kafka::Event;
use crate::lane::testing::{
    Bench, Known, behind_delete, claims, committed, create, found, partition, stale, tombstone,
    went,
};

#[tokio::test(start_paused = true)]
async fn a_tombstone_is_nothing_behind_a_delete_that_was_applied_before_the_claim() {
    let key = tombstone(1).key.unwrap();
    // The marker of a broker's transaction may stand between them; more may be what compaction took.
    for (offset, is_nothing) in [(4, true), (3, true), (2, false)] {
        let mut bench = Bench::start().await;
        _ = bench.assign(&["t[0]"]).await;
        let deleted = Deleted { offset, key: key.clone() };
        bench.answer("claim t[0]", behind_delete("t[0]", 5, deleted)).await;
        bench.deliver("t[0]", 5, &[tombstone(1)]).await;
        if !is_nothing {
            bench.answer("table t", found("t")).await;
        }
        let deletes = if is_nothing { "" } else { ", t -5" };
        bench.answer(&format!("apply t[0] 5..6{deletes}"), committed()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_of_another_key_is_a_delete_behind_one() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.deliver("t[0]", 1, &[went("t", 1), tombstone(2)]).await;
    bench.answer("apply t[0] 1..3, t -1 -2 left 77", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_is_nothing_where_it_is_read_again_from_the_checkpoint() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.deliver("t[0]", 1, &[went("t", 1)]).await;
    bench.answer("apply t[0] 1..2, t -1 left 77", committed()).await;

    let others = || [tombstone(1), went("t", 2)];
    bench.deliver("t[0]", 2, &others()).await;
    bench.answer("apply t[0] 2..4, t -3 left 77", stale("t")).await;
    assert_eq!(bench.commands().await, ["seek to 2 t[0]"]);
    bench.deliver("t[0]", 2, &others()).await;
    bench.answer("table t", found("t")).await;
    bench.answer("apply t[0] 2..3", committed()).await;
    bench.answer("apply t[0] 3..4, t leads to t, t -3 left 77", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_is_nothing_where_it_is_read_again_behind_a_batch_that_is_under_way() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    _ = bench.assign(&["t[1]"]).await;
    bench.answer("claim t[1]", claims(&[("t[1]", 0)])).await;
    bench.deliver("t[0]", 1, &[went("t", 1)]).await;
    let apply = bench.asked("apply t[0] 1..2, t -1 left 77").await;
    let others = || [tombstone(1), went("t", 2)];
    bench.deliver("t[0]", 2, &others()).await;
    bench.deliver("t[1]", 0, &[create("t", 3)]).await;

    bench.events.send(Event::Lost { partitions: vec![partition("t[1]")] }).unwrap();
    bench.answer_log("count t", Ok(Known::Count(2))).await;
    assert_eq!(bench.commands().await, ["seek to 2 t[0]"]);
    apply.send(committed()).unwrap();
    bench.deliver("t[0]", 2, &others()).await;
    bench.answer("apply t[0] 2..4, t -3 left 77", committed()).await;
}
