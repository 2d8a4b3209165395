//! Leads: source tables that would meet in one table of the target.

use std::time::Duration;

use crate::kafka::Membership;
use crate::lane::testing::{
    Bench, absent, claim_in, committed, create, done, fenced, found, led_by, stale, tombstone,
    touched, unreachable,
};
use crate::status::PartitionState;

const SECOND: Duration = Duration::from_secs(1);

/// Why both tables stop once they have met.
const SHARED: &str = "table_shared: tables \"t\" and \"u\" both lead to table \"t\": set another \
    target for one of them, and delete its row there from afterimage_source_table";

#[tokio::test(start_paused = true)]
async fn a_lead_is_told_until_a_batch_with_it_has_committed() {
    let mut bench = Bench::start().await;
    bench.hold(&["t[0]"]).await;
    bench.deliver("t[0]", 0, &[create("t", 1)]).await;
    bench.answer("table t", found("t")).await;
    bench.prove_as(&[Membership::Member]);
    bench.answer("apply t[0] 0..1, t leads to t, t +0", fenced(&["t[0]"])).await;
    bench.answer("claim t[0]", claim_in(2, "t[0]", 0)).await;

    bench.deliver("t[0]", 0, &[create("t", 1)]).await;
    bench.answer("apply t[0] 0..1, t leads to t, t +0", committed()).await;
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    bench.answer("apply t[0] 1..2, t +1", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_lead_that_the_target_knows_is_not_told() {
    let mut bench = Bench::start().await;
    bench.hold(&["t[0]"]).await;
    bench.deliver("t[0]", 0, &[create("t", 1)]).await;
    bench.answer("table t", led_by(&[("t", "t")], found("t"))).await;
    bench.answer("apply t[0] 0..1, t +0", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_table_that_another_one_leads_to_stops_and_the_target_is_told() {
    let mut bench = Bench::start().await;
    bench.hold(&["t[0]"]).await;
    bench.deliver("t[0]", 0, &[create("t", 1)]).await;
    bench.answer("table t", led_by(&[("u", "u")], found("t"))).await;
    bench.answer(&format!("mark t[0] {SHARED}"), done()).await;
    bench.answer("contest t by t", unreachable()).await;
    bench.answer("contest t by t", done()).await;

    assert!(matches!(bench.state("t[0]").await, Some(PartitionState::Stopped(_))));
    bench.quiet(20 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_table_that_was_led_to_meanwhile_is_read_anew_and_stops() {
    let mut bench = Bench::start().await;
    bench.hold(&["t[0]"]).await;
    bench.deliver("t[0]", 0, &[create("t", 1)]).await;
    bench.answer("table t", absent()).await;
    bench.answer("apply t[0] 0..1, creates t, t leads to t, t +0", stale("t")).await;
    bench.deliver("t[0]", 0, &[create("t", 1)]).await;
    bench.answer("table t", led_by(&[("u", "u")], found("t"))).await;
    bench.answer(&format!("mark t[0] {SHARED}"), done()).await;
    bench.answer("contest t by t", done()).await;
}

#[tokio::test(start_paused = true)]
async fn a_table_that_came_first_stops_once_another_one_has_come() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.asked("touch t[0]#1").await.send(touched(0)).unwrap();
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    bench.answer("apply t[0] 1..2, t +1", committed()).await;
    bench.asked("touch t[0]#1").await.send(touched(1)).unwrap();
    bench.deliver("t[0]", 2, &[create("t", 3)]).await;

    bench.answer("table t", led_by(&[("t", "t"), ("u", "u")], found("t"))).await;
    bench.answer(&format!("mark t[0] {SHARED}"), done()).await;
}

#[tokio::test(start_paused = true)]
async fn a_lead_of_rows_that_are_collected_is_told_whoever_has_met_meanwhile() {
    let mut bench = Bench::start().await;
    bench.hold(&["t[0]"]).await;
    bench.quiet(24 * SECOND).await;
    bench.deliver("t[0]", 0, &[create("t", 1)]).await;
    let table = bench.asked("table t").await;
    bench.quiet(2 * SECOND).await;
    table.send(absent()).unwrap();
    bench.answer("touch t[0]#1", touched(1)).await;
    bench.answer("apply t[0] 0..1, creates t, t leads to t, t +0", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_table_that_has_met_nobody_goes_on_when_others_have_met() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.asked("touch t[0]#1").await.send(touched(1)).unwrap();
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    bench.answer("table t", led_by(&[("t", "t")], found("t"))).await;
    bench.answer("apply t[0] 1..2, t +1", committed()).await;
    bench.asked("touch t[0]#1").await.send(touched(1)).unwrap();
    bench.deliver("t[0]", 2, &[create("t", 3)]).await;
    bench.answer("apply t[0] 2..3, t +2", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_is_of_the_table_whose_records_came_through_its_topic() {
    let mut bench = Bench::start().await;
    bench.hold(&["t[0]"]).await;
    bench.deliver("t[0]", 0, &[tombstone(1)]).await;
    bench.answer("table t", led_by(&[("u", "t")], found("t"))).await;
    bench.answer("apply t[0] 0..1, t -0", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_of_another_topic_stops_and_tells_nobody() {
    let mut bench = Bench::start().await;
    bench.hold(&["t[0]"]).await;
    bench.deliver("t[0]", 0, &[tombstone(1)]).await;
    bench.answer("table t", led_by(&[("u", "u")], found("t"))).await;
    bench.answer(&format!("mark t[0] {SHARED}"), done()).await;
    bench.quiet(20 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_of_a_table_that_has_met_another_one_stops() {
    let mut bench = Bench::start().await;
    bench.hold(&["t[0]"]).await;
    bench.deliver("t[0]", 0, &[tombstone(1)]).await;
    let met = led_by(&[("u", "u"), ("t", "t")], found("t"));
    bench.answer("table t", met).await;
    bench.answer(&format!("mark t[0] {SHARED}"), done()).await;
}
