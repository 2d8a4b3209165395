//! Ahead: what runs behind the head will need is asked for with it.

use tokio::sync::oneshot::Sender;

use super::identity::keys_changed;
use crate::lane::testing::{
    Bench, KEY, SCHEMA, TargetAnswer, absent, avro, committed, create, denied, done, found,
    malformed, together, tombstone, unreachable,
};
use crate::lane::writer::Outcome;

#[tokio::test(start_paused = true)]
async fn tables_that_are_ahead_are_asked_for_with_that_of_the_head() {
    let (mut bench, table) = three_tables().await;
    table.send(found("t")).unwrap();
    bench.answer("table u, v", together([found("u"), found("v")])).await;
    bench.answer("apply t[0] 0..1, t leads to t, t +0", committed()).await;
    let apply = "apply u[0] 0..1 v[0] 0..2, u leads to u, v leads to v, u +0, v +0 +1";
    bench.answer(apply, committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_to_be_made_waits_until_it_is_the_heads() {
    let (mut bench, table) = three_tables().await;
    table.send(found("t")).unwrap();
    bench.answer("table u, v", together([found("u"), absent()])).await;
    bench.answer("apply t[0] 0..1, t leads to t, t +0", committed()).await;
    bench.answer("table v", absent()).await;
    let apply = "apply u[0] 0..1 v[0] 0..2, creates v, u leads to u, v leads to v, u +0, v +0 +1";
    bench.answer(apply, committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_table_that_the_target_refuses_stops_nothing_of_the_others() {
    let (mut bench, table) = three_tables().await;
    table.send(found("t")).unwrap();
    bench.answer("table u, v", denied()).await;
    bench.answer("table u", found("u")).await;
    bench.answer("apply t[0] 0..1, t leads to t, t +0", committed()).await;
    bench.answer("table v", denied()).await;
    bench.answer("mark v[0] right_missing: target denies access: no right", done()).await;
    bench.answer("apply u[0] 0..1, u leads to u, u +0", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_ahead_are_met_with_the_heads_and_a_foreign_one_stops_its_own() {
    let mut bench = Bench::start().await;
    bench.foreign_keys.lock().unwrap().push(KEY.to_owned());
    bench.hold(&["t[0]", "u[0]", "v[0]"]).await;
    bench.deliver("t[0]", 0, &[create("t", 1)]).await;
    let key = bench.asked("key of public.t in t").await;
    bench.deliver("u[0]", 0, &[create("u", 1)]).await;
    bench.deliver("v[0]", 0, &[create("v", 1)]).await;
    key.send(Ok(Outcome::KeysMet(vec![true]))).unwrap();
    // What was not accepted yet is not looked at.
    bench.answer("table t", found("t")).await;
    let keys = "key of public.u in u, key of public.v in v";
    bench.answer(keys, Ok(Outcome::KeysMet(vec![true, false]))).await;
    bench.answer("table u", found("u")).await;
    bench.answer("apply t[0] 0..1, t leads to t, t +0", committed()).await;
    bench.answer("key of public.v in v", Ok(Outcome::KeysMet(vec![false]))).await;
    bench.answer(&keys_changed("v[0]", "public.v"), done()).await;
    bench.answer("apply u[0] 0..1, u leads to u, u +0", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn schemas_that_are_ahead_are_sent_for_while_the_head_waits() {
    let mut bench = Bench::start().await;
    bench.hold(&["t[0]", "u[0]"]).await;
    bench.deliver("t[0]", 0, &[avro(1)]).await;
    bench.deliver("u[0]", 0, &[avro(2)]).await;
    bench.answer_registry("schema 1", Some(SCHEMA)).await;
    bench.answer_registry("schema 2", Some(SCHEMA)).await;
    bench.answer("table t", found("t")).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_away_is_not_asked_for() {
    let (mut bench, table) = three_tables().await;
    let released = bench.revoke(&["v[0]"]).await;
    table.send(found("t")).unwrap();
    bench.answer("release v[0]#1", done()).await;
    released.await.unwrap();
    bench.answer("table u", found("u")).await;
    bench.answer("apply t[0] 0..1, t leads to t, t +0", committed()).await;
    bench.answer("apply u[0] 0..1, u leads to u, u +0", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_away_after_it_was_looked_at_is_not_asked_for() {
    let mut bench = Bench::start().await;
    bench.foreign_keys.lock().unwrap().push(KEY.to_owned());
    bench.hold(&["t[0]", "u[0]", "v[0]"]).await;
    bench.deliver("t[0]", 0, &[malformed()]).await;
    let apply = bench.asked("apply t[0] 0..1, 0 malformed").await;
    for table in ["t", "u", "v"] {
        let from = i64::from(table == "t");
        bench.deliver(&format!("{table}[0]"), from, &[create(table, 1)]).await;
    }
    apply.send(committed()).unwrap();
    let keys = "key of public.t in t, key of public.u in u, key of public.v in v";
    let keys = bench.asked(keys).await;
    let released = bench.revoke(&["v[0]"]).await;
    keys.send(Ok(Outcome::KeysMet(vec![true; 3]))).unwrap();
    bench.answer("release v[0]#1", done()).await;
    released.await.unwrap();
    bench.answer("table t, u", together([found("t"), found("u")])).await;
    let apply = "apply t[0] 1..2 u[0] 0..1, t leads to t, u leads to u, t +1, u +0";
    bench.answer(apply, committed()).await;
}

#[tokio::test(start_paused = true)]
async fn the_next_batch_fills_while_the_one_is_applied_that_a_new_table_has_ended() {
    let (mut bench, table) = three_tables().await;
    table.send(found("t")).unwrap();
    bench.answer("table u, v", together([found("u"), found("v")])).await;
    let apply = bench.asked("apply t[0] 0..1, t leads to t, t +0").await;
    let room = bench.room();
    for offset in 1..=2 * i64::try_from(room).unwrap() {
        // Nobody takes it but a lane that has collected what was ahead.
        bench.deliver("t[0]", offset, &[create("t", 1)]).await;
    }
    apply.send(committed()).unwrap();
    let apply = "apply u[0] 0..1 v[0] 0..2 t[0] 1..9, u leads to u, v leads to v, t +8, u +0, \
                 v +0 +1";
    bench.answer(apply, committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_rebalance_waits_for_no_table() {
    let (mut bench, table) = three_tables().await;
    let released = bench.revoke(&["t[0]"]).await;
    table.send(found("t")).unwrap();
    bench.answer("release t[0]#1", done()).await;
    released.await.unwrap();
    bench.answer("table u, v", together([found("u"), found("v")])).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_no_table_that_cannot_be_looked_at() {
    let (mut bench, table) = three_tables().await;
    table.send(found("t")).unwrap();
    bench.answer("table u, v", unreachable()).await;
    bench.answer("apply t[0] 0..1, t leads to t, t +0", committed()).await;
    bench.answer("table u", found("u")).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_later_record_says_is_not_known_before_the_first_of_its_topic() {
    let mut bench = Bench::start().await;
    bench.hold(&["t[0]", "u[0]"]).await;
    bench.deliver("t[0]", 0, &[create("t", 1)]).await;
    let table = bench.asked("table t").await;
    bench.deliver("u[0]", 0, &[tombstone(1)]).await;
    bench.deliver("u[0]", 1, &[create("u", 1)]).await;
    table.send(found("t")).unwrap();
    bench.answer("table u", absent()).await;
    bench.answer("apply t[0] 0..1, t leads to t, t +0", committed()).await;
    bench.answer("table u", absent()).await;
    bench.answer("apply u[0] 0..2, creates u, u leads to u, u +1", committed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_is_ahead_waits_for_the_records_before_it() {
    let mut bench = Bench::start().await;
    bench.hold(&["t[0]", "u[0]"]).await;
    bench.deliver("t[0]", 0, &[create("t", 1)]).await;
    let table = bench.asked("table t").await;
    bench.deliver("t[0]", 1, &[create("t", 2)]).await;
    bench.deliver("u[0]", 0, &[tombstone(1)]).await;
    table.send(found("t")).unwrap();
    bench.answer("table u", absent()).await;
    bench.answer("apply t[0] 0..2, t leads to t, t +0 +1", committed()).await;
    bench.answer("apply u[0] 0..1", committed()).await;
}

/// The first of three tables is asked for, and runs of the other two are there.
async fn three_tables() -> (Bench, Sender<TargetAnswer>) {
    let mut bench = Bench::start().await;
    bench.hold(&["t[0]", "u[0]", "v[0]"]).await;
    bench.deliver("t[0]", 0, &[create("t", 1)]).await;
    let table = bench.asked("table t").await;
    bench.deliver("u[0]", 0, &[create("u", 1)]).await;
    bench.deliver("v[0]", 0, &[create("v", 1), create("v", 2)]).await;
    (bench, table)
}
