//! Claims: first positions, other groups, and what a fenced lane does.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::checkpoint::NextOffset;
use crate::kafka::Membership;
use crate::kafka::log::Watermarks;
use crate::lane::testing::{
    Bench, Known, claim_in, claims, committed, create, done, elsewhere, fenced, held_by, partition,
    unknown, unreachable,
};
use crate::status::PartitionState;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn f08_a_fenced_member_claims_again_and_goes_on_from_the_claims_offset() {
    let mut bench = fenced_in_t0().await;
    bench.prove_as(&[Membership::Member]);
    fence(&mut bench).await;

    assert_eq!(bench.told().await, ["prove t[0]@1 t[1]@0"]);
    bench.answer("claim t[0]", claim_in(3, "t[0]", 5)).await;
    assert_eq!(bench.commands().await, ["pause t[0]", "seek to 0 t[1]", "seek to 5 t[0]"]);
    bench.deliver("t[0]", 5, &[create("t", 2)]).await;
    bench.answer("apply t[0] 5..6, t +5", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn f08_a_fenced_lane_that_is_expelled_waits_for_the_callback() {
    let mut bench = fenced_in_t0().await;
    bench.prove_as(&[Membership::Expelled]);
    fence(&mut bench).await;

    bench.quiet(5 * SECOND).await;
    let waiting = PartitionState::Waiting("fenced".to_owned());
    assert_eq!(bench.state("t[0]").await, Some(waiting));
    let released = bench.revoke(&["t[0]"]).await;
    bench.answer("release t[0]#1", done()).await;
    released.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_fenced_lane_that_learns_nothing_asks_again() {
    let mut bench = fenced_in_t0().await;
    bench.prove_as(&[Membership::Unknown, Membership::Unknown, Membership::Member]);
    let asked = Instant::now();
    fence(&mut bench).await;

    bench.answer("claim t[0]", claim_in(3, "t[0]", 1)).await;
    assert_eq!(bench.told().await.len(), 3);
    assert!(asked.elapsed() >= 2 * SECOND, "a pause before each question but the first");
}

#[tokio::test(start_paused = true)]
async fn f43_an_idle_partition_whose_target_went_back_in_time_is_read_again() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.run_more("t[1]").await;
    bench.prove_as(&[Membership::Member]);

    bench.answer("touch t[0]#1 t[1]#1", unreachable()).await;
    bench.answer("touch t[0]#1 t[1]#1", elsewhere(&["t[1]"])).await;
    assert_eq!(bench.told().await, ["mirror t[0]@1 t[1]@1", "prove t[0]@1 t[1]@1"]);
    bench.answer("claim t[1]", claim_in(2, "t[1]", 0)).await;
    assert_eq!(bench.commands().await, ["pause t[1]", "seek to 0 t[1]"]);
    bench.deliver("t[1]", 0, &[create("t", 1)]).await;
    bench.answer("apply t[1] 0..1, t +0", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn f09_a_partition_that_another_group_holds_is_shown_so_and_asked_for_again() {
    let mut bench = Bench::start().await;
    _ = bench.assign(&["t[0]"]).await;
    bench.answer("claim t[0]", held_by("other", "t[0]")).await;
    let held = "s.public.t[0] is stopped: held_by_group: group \"other\" holds it: --take-over, if \
                the move is meant";
    bench.quiet(4 * SECOND).await;
    assert!(bench.unready().contains(&held.to_owned()), "{:?}", bench.unready());

    bench.answer("claim t[0]", held_by("other", "t[0]")).await;
    bench.quiet(4 * SECOND).await;
    bench.answer("claim t[0]", claims(&[("t[0]", 3)])).await;
    assert_eq!(bench.state("t[0]").await, Some(PartitionState::Running));
}

#[tokio::test(start_paused = true)]
async fn a_new_partition_of_a_known_topic_begins_at_0() {
    let mut bench = Bench::start().await;
    _ = bench.assign(&["t[3]"]).await;
    bench.answer("claim t[3]", unknown("t[3]", crate::target::Known::Topic)).await;
    bench.answer_log("committed", Ok(Known::Committed(BTreeMap::new()))).await;
    bench.answer_log("ends", Ok(Known::Ends(BTreeMap::new()))).await;
    bench.answer("begin t[3]@0", done()).await;
    bench.answer("claim t[3]", claims(&[("t[3]", 0)])).await;
}

#[tokio::test(start_paused = true)]
async fn a_beginning_that_fails_loses_none_that_was_found_meanwhile() {
    let mut bench = Bench::start().await;
    for name in ["t[0]", "t[1]"] {
        _ = bench.assign(&[name]).await;
        bench.answer(&format!("claim {name}"), unknown(name, crate::target::Known::Topic)).await;
    }
    // Each looks for its first position alone, and asks twice.
    bench.answer_log("committed", Ok(Known::Committed(BTreeMap::new()))).await;
    let other = bench.log.recv().await.unwrap();
    bench.answer_log("ends", Ok(Known::Ends(BTreeMap::new()))).await;
    let begin = bench.asked("begin t[0]@0").await;
    assert!(other.reply.send(Ok(Known::Committed(BTreeMap::new()))).is_ok());
    bench.answer_log("ends", Ok(Known::Ends(BTreeMap::new()))).await;

    begin.send(unreachable()).unwrap();
    bench.answer("begin t[1]@0 t[0]@0", done()).await;
    bench.answer("claim t[0] t[1]", claims(&[("t[0]", 0), ("t[1]", 0)])).await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_new_begins_where_its_log_does() {
    let mut bench = Bench::start().await;
    _ = bench.assign(&["t[0]"]).await;
    bench.answer("claim t[0]", unknown("t[0]", crate::target::Known::Nothing)).await;
    bench.answer_log("committed t[0]", Ok(Known::Committed(BTreeMap::new()))).await;
    let (low, high) = (NextOffset::at(40), NextOffset::at(90));
    let ends = BTreeMap::from([(partition("t[0]"), Watermarks { low, high })]);
    bench.answer_log("ends t[0]", Ok(Known::Ends(ends))).await;
    bench.answer_log("compacted t", Ok(Known::Compacted(BTreeMap::new()))).await;
    bench.answer("begin t[0]@40", done()).await;
    bench.answer("claim t[0]", claims(&[("t[0]", 40)])).await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_the_group_has_read_without_a_checkpoint_stops() {
    let mut bench = Bench::start().await;
    _ = bench.assign(&["t[0]"]).await;
    bench.answer("claim t[0]", unknown("t[0]", crate::target::Known::Nothing)).await;
    let committed = BTreeMap::from([(partition("t[0]"), NextOffset::at(7))]);
    bench.answer_log("committed t[0]", Ok(Known::Committed(committed))).await;
    bench.answer_log("ends t[0]", Ok(Known::Ends(BTreeMap::new()))).await;
    bench.quiet(10 * SECOND).await;
    let Some(PartitionState::Stopped(stop)) = bench.state("t[0]").await else { panic!() };
    assert_eq!(stop.reason.name(), "position_unknown");
}

/// Starts a lane that runs `t[0]` behind its first record, and `t[1]`.
async fn fenced_in_t0() -> Bench {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.hold(&["t[1]"]).await;
    bench
}

/// Has a batch of both partitions fenced in the first.
async fn fence(bench: &mut Bench) {
    bench.queue(bench.number("t[0]"), "t[0]", 1, &[create("t", 2)]);
    bench.queue(bench.number("t[1]"), "t[1]", 0, &[create("t", 3)]);
    bench.answer("apply t[0] 1..2 t[1] 0..1, t +1 +0", fenced(&["t[0]"])).await;
}
