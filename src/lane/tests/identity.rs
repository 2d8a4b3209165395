//! Identity: a log that is not the one that was read stops, and the others go on.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use crate::checkpoint::NextOffset;
use crate::identity::{Remembered, TopicIdentity, Trace};
use crate::kafka::Membership;
use crate::kafka::log::Watermarks;
use crate::lane::testing::{
    Bench, KEY, Known, LogAnswer, REMEMBERED, TOPIC, claim_in, claims, committed, create, done,
    elsewhere, partition, places, remembering, stopped, touched, unknown,
};
use crate::lane::writer::Outcome;
use crate::status::PartitionState;
use crate::target;

const SECOND: Duration = Duration::from_secs(1);

const LAST: Option<Trace> = Some(Trace { offset: 6, timestamp: Some(5), leader_epoch: Some(0) });

const RECREATED: &str = "topic_recreated: the topic was deleted and made again: its id is another \
    one; consumer checkpoint adopt --at earliest reads the new one";

#[tokio::test(start_paused = true)]
async fn f24_a_topic_with_another_id_stops_before_it_is_read() {
    let mut bench = Bench::start().await;
    let other = Remembered { topic_id: Some(Uuid::from_u128(9)), ..REMEMBERED };
    let positions = bench.assign(&["t[0]", "u[0]"]).await;
    let mut answer = remembering("t[0]", 7, other);
    if let (Ok(Outcome::Claims(both)), Ok(Outcome::Claims(more))) =
        (&mut answer, claims(&[("u[0]", 0)]))
    {
        both.claimed.extend(more.claimed);
    }
    bench.answer("claim t[0] u[0]", answer).await;
    bench.answer(&format!("mark t[0] {RECREATED}"), done()).await;
    assert_eq!(bench.commands().await, ["pause t[0]"]);
    let offered = positions.wait(1, Duration::ZERO);
    assert_eq!(offered.keys().map(ToString::to_string).collect::<Vec<_>>(), ["s.public.u[0]"]);
    bench.deliver("u[0]", 0, &[create("u", 1)]).await;
    bench.answer("table u", crate::lane::testing::absent()).await;
    bench.answer("apply u[0] 0..1, creates u, u leads to u, u +0", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn f24_a_topic_that_is_made_again_under_a_running_lane_stops() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    set(&bench, "t", Some(TopicIdentity { id: Some(Uuid::from_u128(2)), ..TOPIC }));
    bench.asked_but("touch t[0]#1", &format!("mark t[0] {RECREATED}")).await.send(done()).unwrap();
    assert_eq!(bench.commands().await, ["pause t[0]"]);
    let state = bench.state("t[0]").await;
    assert!(state.is_some_and(|state| state.reason().unwrap().starts_with("topic_recreated")));
    assert!(bench.unready()[0].contains("topic_recreated"), "{:?}", bench.unready());
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_written_again_where_the_target_went_back_to_before_it() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    set(&bench, "t", Some(TopicIdentity { id: Some(Uuid::from_u128(2)), ..TOPIC }));
    let mark = format!("mark t[0] {RECREATED}");
    bench.asked_but("touch t[0]#1", &mark).await.send(done()).unwrap();
    bench.answer("touch t[0]#1", touched(0)).await;
    bench.answer(&mark, done()).await;
    bench.answer("touch t[0]#1", stopped(&["t[0]"])).await;
    bench.quiet(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn f23_another_record_where_the_last_one_was_stops() {
    let mut bench = Bench::start().await;
    _ = bench.assign(&["t[0]"]).await;
    let found = Trace { offset: 6, timestamp: Some(8), leader_epoch: Some(0) };
    bench.logs.lock().unwrap().traces.insert(partition("t[0]"), found);
    // Brokers that give no ids, or a row of an earlier version.
    let remembered = Remembered { topic_id: None, last: LAST, ..REMEMBERED };
    bench.answer("claim t[0]", remembering("t[0]", 7, remembered)).await;
    let mark = "mark t[0] log_replaced: the record at 6 is not the one that was applied: another \
                log stands under the name; consumer checkpoint adopt --at earliest reads it";
    bench.answer(mark, done()).await;
}

#[tokio::test(start_paused = true)]
async fn f30_a_last_record_that_compaction_has_taken_is_no_other_log() {
    let mut bench = Bench::start().await;
    let positions = bench.assign(&["t[0]"]).await;
    let later = Trace { offset: 9, timestamp: Some(8), leader_epoch: Some(3) };
    bench.logs.lock().unwrap().traces.insert(partition("t[0]"), later);
    let remembered = Remembered { last: LAST, ..REMEMBERED };
    bench.answer("claim t[0]", remembering("t[0]", 7, remembered)).await;
    let at = BTreeMap::from_iter(positions.wait(1, Duration::ZERO));
    assert_eq!(at.get(&partition("t[0]")), Some(&NextOffset::at(7)));
    assert_eq!(bench.commands().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_row_of_an_earlier_version_is_told_once() {
    let mut bench = Bench::start().await;
    _ = bench.assign(&["t[0]"]).await;
    bench.answer("claim t[0]", remembering("t[0]", 7, Remembered::default())).await;
    bench.answer("identify t[0] 1 of 2", done()).await;
    bench.quiet(20 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_not_there_is_looked_for_again() {
    let mut bench = Bench::start().await;
    let positions = bench.assign(&["t[0]"]).await;
    set(&bench, "t", None);
    bench.answer("claim t[0]", claims(&[("t[0]", 3)])).await;
    assert_eq!(bench.state("t[0]").await, Some(PartitionState::Claiming));
    set(&bench, "t", Some(TOPIC));
    bench.quiet(2 * SECOND).await;
    assert_eq!(positions.wait(1, Duration::ZERO).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn f25_a_topic_that_the_sink_knows_from_another_cluster_is_refused() {
    let mut bench = Bench::start().await;
    _ = bench.assign(&["t[0]"]).await;
    let elsewhere = || unknown("t[0]", target::Known::OtherCluster("c".to_owned()));
    bench.answer("claim t[0]", elsewhere()).await;
    bench.answer_log("committed", Ok(Known::Committed(BTreeMap::new()))).await;
    bench.answer_log("ends", ends(&[])).await;
    let state = bench.state("t[0]").await;
    assert!(state.is_some_and(|state| state.reason().unwrap().starts_with("cluster_changed")));
    // An operator who adopts is seen without a restart.
    bench.answer("claim t[0]", elsewhere()).await;
    bench.answer("claim t[0]", claims(&[("t[0]", 0)])).await;
    assert_eq!(bench.commands().await, ["pause t[0]", "seek to 0 t[0]"]);
}

#[tokio::test(start_paused = true)]
async fn f28_more_partitions_go_on_where_all_stood_at_their_ends() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    set(&bench, "t", Some(TopicIdentity { partition_count: 3, ..TOPIC }));
    grown(&mut bench).await.send(places(&[("t[0]", 1), ("t[1]", 4)])).unwrap();
    bench.answer_log("ends t[0] t[1]", ends(&[("t[0]", 1), ("t[1]", 4)])).await;
    bench.answer("identify t[0] 1 of 3", done()).await;
    assert_eq!(bench.commands().await, ["pause t[0]", "seek to 1 t[0]"]);
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    bench.answer("apply t[0] 1..2, t +1", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn f28_more_partitions_stop_where_one_was_not_applied_to_its_end() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    set(&bench, "t", Some(TopicIdentity { partition_count: 3, ..TOPIC }));
    grown(&mut bench).await.send(places(&[("t[0]", 1), ("t[1]", 3)])).unwrap();
    bench.answer_log("ends t[0] t[1]", ends(&[("t[0]", 1), ("t[1]", 4)])).await;
    let mark = "mark t[0] partitions_increased: the topic has 3 partitions and had 2, and t[1] was \
                not applied to its end: keys have moved; consumer checkpoint release goes on";
    bench.answer(mark, done()).await;

    // Released: the row remembers the new count, and another claim stands in it.
    bench.prove_as(&[Membership::Member]);
    bench.answer("touch t[0]#1", elsewhere(&["t[0]"])).await;
    let released = Remembered { partitions_seen: Some(3), ..REMEMBERED };
    bench.answer("claim t[0]", remembering("t[0]", 1, released)).await;
    assert_eq!(bench.state("t[0]").await, Some(PartitionState::Running));
}

#[tokio::test(start_paused = true)]
async fn f28_a_new_partition_of_a_grown_topic_waits_with_the_others() {
    let mut bench = Bench::start().await;
    let positions = bench.assign(&["t[2]"]).await;
    set(&bench, "t", Some(TopicIdentity { partition_count: 3, ..TOPIC }));
    bench.answer("claim t[2]", claims(&[("t[2]", 0)])).await;
    bench.answer("places t", places(&[("t[0]", 1)])).await;
    // A partition without a row has records that nobody has applied.
    bench.answer_log("ends t[0] t[1]", ends(&[("t[0]", 1), ("t[1]", 1)])).await;
    assert!(positions.wait(1, Duration::ZERO).is_empty());
    let asked = bench.asked(
        "mark t[2] partitions_increased: the topic has 3 partitions and had 2, \
        and t[1] was not applied to its end: keys have moved; consumer checkpoint release goes on",
    );
    asked.await.send(done()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn f63_keys_in_another_encoding_stop_until_they_are_released() {
    let mut bench = Bench::start().await;
    bench.foreign_keys.lock().unwrap().push(KEY.to_owned());
    bench.hold(&["t[0]"]).await;
    bench.deliver("t[0]", 0, &[create("t", 1)]).await;
    bench.answer("key of public.t in t", Ok(Outcome::KeysMet(vec![false]))).await;
    bench.answer(&keys_changed("t[0]", "public.t"), done()).await;

    bench.prove_as(&[Membership::Member]);
    bench.answer("touch t[0]#1", elsewhere(&["t[0]"])).await;
    bench.answer("claim t[0]", claim_in(3, "t[0]", 0)).await;
    bench.deliver("t[0]", 0, &[create("t", 1)]).await;
    bench.answer("key of public.t in t", Ok(Outcome::KeysMet(vec![true]))).await;
    bench.answer("table t", crate::lane::testing::absent()).await;
    bench.answer("apply t[0] 0..1, creates t, t leads to t, t +0", committed()).await;
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    bench.answer("apply t[0] 1..2, t +1", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn f63_a_topic_of_one_partition_says_so_of_its_keys() {
    let mut bench = Bench::start().await;
    bench.foreign_keys.lock().unwrap().push(KEY.to_owned());
    _ = bench.assign(&["t[0]"]).await;
    set(&bench, "t", Some(TopicIdentity { partition_count: 1, ..TOPIC }));
    let alone = Remembered { partitions_seen: Some(1), ..REMEMBERED };
    bench.answer("claim t[0]", remembering("t[0]", 0, alone)).await;
    bench.deliver("t[0]", 0, &[create("t", 1)]).await;
    bench.answer("key of public.t in t alone", Ok(Outcome::KeysMet(vec![true]))).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_an_operator_has_taken_is_claimed_again() {
    let mut bench = Bench::start().await;
    bench.run("t[0]").await;
    bench.answer("touch t[0]#1", touched(0)).await;
    bench.prove_as(&[Membership::Member]);
    bench.answer("touch t[0]#1", elsewhere(&["t[0]"])).await;
    bench.answer("claim t[0]", claim_in(3, "t[0]", 0)).await;
    assert_eq!(bench.commands().await, ["pause t[0]", "seek to 0 t[0]"]);
    bench.deliver("t[0]", 0, &[create("t", 1)]).await;
    bench.answer("apply t[0] 0..1, t +0", committed()).await;
}

/// What the row of a partition says whose keys of that table come in another encoding.
pub(super) fn keys_changed(partition: &str, table: &str) -> String {
    format!(
        "mark {partition} key_encoding_changed: keys of table \"{table}\" come as {KEY} now, and did \
         not before: they have moved between the topic's partitions; consumer checkpoint release \
         goes on"
    )
}

/// Says what a topic is from now on; `None` when it is gone.
fn set(bench: &Bench, topic: &str, identity: Option<TopicIdentity>) {
    bench.logs.lock().unwrap().topics.insert(topic.to_owned(), identity);
}

/// Waits until the lane asks where the partitions of the grown topic `t` stand.
async fn grown(
    bench: &mut Bench,
) -> tokio::sync::oneshot::Sender<crate::lane::testing::TargetAnswer> {
    bench.asked_but("touch t[0]#1", "places t").await
}

fn ends(ends: &[(&str, i64)]) -> LogAnswer {
    let range = |high| Watermarks { low: NextOffset::at(0), high: NextOffset::at(high) };
    Ok(Known::Ends(ends.iter().map(|(name, high)| (partition(name), range(*high))).collect()))
}
