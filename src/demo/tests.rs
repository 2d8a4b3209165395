//! The demo with its members' part played by hand: what the proof finds, and what the feed waits for.

use std::time::Duration;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;

const TABLES: &str = "
    CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, email TEXT, active BOOLEAN, token TEXT,
        profile TEXT, age INTEGER, created_at TEXT, synced_at TEXT);
    CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER, status TEXT, amount TEXT,
        quantity INTEGER, note TEXT, created_at TEXT, updated_at TEXT, synced_at TEXT);
    CREATE TABLE afterimage_dead_letter (id INTEGER);
    CREATE TABLE afterimage_checkpoint
        (topic TEXT, \"partition\" INTEGER, next_offset INTEGER, state TEXT, state_reason TEXT);";

/// Starts a demo in a directory of its own.
async fn started() -> (TempDir, Demo) {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(Some(&dir.path().join("demo.sqlite"))).await.unwrap();
    (dir, demo)
}

/// Makes changes, and writes the target as it should be after them.
async fn applied(changes: u64) -> (TempDir, Demo) {
    let (dir, mut demo) = started().await;
    demo.plain.execute(TABLES).await.unwrap();
    demo.load(changes, &CancellationToken::new()).await.unwrap();
    let rows = proof::inserts(&demo.feed);
    let checkpoint = demo.feed.lanes.iter().map(|lane| {
        let (topic, number, end) = (lane.topic, lane.number, lane.end);
        format!("INSERT INTO afterimage_checkpoint VALUES ('{topic}', {number}, {end}, 'running', NULL);")
    });
    let all = format!("BEGIN; {rows} {} COMMIT;", checkpoint.collect::<String>());
    demo.plain.execute(&all).await.unwrap();
    demo.finish_load().await.unwrap();
    (dir, demo)
}

/// Changes the target by hand and returns what the proof then tells.
async fn told(demo: &mut Demo, change: &str) -> Vec<String> {
    demo.plain.execute("SAVEPOINT by_hand").await.unwrap();
    demo.plain.execute(change).await.unwrap();
    let proof = demo.prove().await.unwrap();
    demo.plain.execute("ROLLBACK TO by_hand; RELEASE by_hand").await.unwrap();
    assert_eq!(proof.is_equal(), proof.differences.is_empty());
    proof.differences.iter().map(Difference::to_string).collect()
}

#[tokio::test]
async fn an_equal_target_is_proved_equal_and_counted() {
    let (_dir, mut demo) = applied(3000).await;

    let proof = demo.prove().await.unwrap();

    assert!(proof.is_equal(), "{:?}", proof.differences);
    let counts = proof.counts;
    assert_eq!((counts.changes(), counts.reads), (3000, 600));
    assert!(counts.creates > 0 && counts.updates > 0 && counts.deletes > 0, "{counts:?}");
    assert!(counts.key_changes > 0 && counts.unavailable > 0, "{counts:?}");
    let rows = proof.rows.iter().map(|(_, count)| count).sum::<usize>();
    assert!(rows > 500, "{rows}");
}

#[tokio::test]
async fn every_change_by_hand_is_told() {
    let (_dir, mut demo) = applied(3000).await;
    let (id, order) = demo.feed.source.orders.by_id.iter().next_back().unwrap();
    let (id, amount, quantity) = (*id, order.amount, order.quantity);

    for (change, expected) in [
        (
            format!("UPDATE orders SET quantity = quantity + 1 WHERE id = {id}"),
            format!("orders {id}: quantity is {}, should be {quantity}", quantity + 1),
        ),
        (
            format!("UPDATE orders SET status = NULL WHERE id = {id}"),
            format!("orders {id}: status is NULL, should be "),
        ),
        (
            format!("UPDATE orders SET amount = amount || '0' WHERE id = {id}"),
            format!("orders {id}: amount is '"),
        ),
        (
            format!("DELETE FROM orders WHERE id = {id}"),
            format!("orders {id}: missing in the target"),
        ),
        (
            format!("UPDATE orders SET id = {0} WHERE id = {id}", id + 1),
            format!("orders {}: not in the source", id + 1),
        ),
        ("INSERT INTO users (id) VALUES (-5)".to_owned(), "users -5: not in the source".to_owned()),
        (
            "UPDATE orders SET synced_at = '' WHERE id = (SELECT min(id) FROM orders)".to_owned(),
            ": synced_at is 0, should be 1".to_owned(),
        ),
        (
            "INSERT INTO afterimage_dead_letter VALUES (1)".to_owned(),
            "records were refused: see afterimage_dead_letter".to_owned(),
        ),
        (
            "ALTER TABLE users ADD COLUMN extra TEXT".to_owned(),
            "users: has the columns (id, name, ".to_owned(),
        ),
    ] {
        let told = told(&mut demo, &change).await;
        assert!(told.iter().any(|line| line.contains(&expected)), "{change}: {told:?}");
    }
    assert!(demo.prove().await.unwrap().is_equal(), "{amount}");
}

#[tokio::test]
async fn a_table_without_a_key_that_holds_a_row_twice_is_told() {
    let (_dir, mut demo) = applied(3000).await;
    let change = "ALTER TABLE orders RENAME TO old; CREATE TABLE orders AS SELECT * FROM old;
        INSERT INTO orders SELECT * FROM orders ORDER BY id DESC LIMIT 1";
    let told = told(&mut demo, change).await;
    assert!(told.iter().any(|line| line.contains("not in the source")), "{told:?}");
}

#[tokio::test]
async fn the_feed_waits_before_the_broker_drops_what_nobody_has_applied() {
    let (_dir, mut demo) = started().await;
    let progress = demo.progress();
    let stop = CancellationToken::new();

    let load = demo.load(1_000_000, &stop);
    tokio::select! {
        result = load => panic!("nobody applies, yet the load ended: {result:?}"),
        () = async {
            let mut before = None;
            while before != Some(progress.borrow().sent) {
                before = Some(progress.borrow().sent);
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        } => {}
    }

    assert!(progress.borrow().sent > 1000);
    demo.broker.flush().unwrap();
    for lane in &demo.feed.lanes {
        let kept = demo.broker.watermarks(lane.topic, i32::from(lane.number)).unwrap();
        assert_eq!(kept, (0, lane.end), "{}[{}]", lane.topic, lane.number);
    }
}

#[tokio::test]
async fn a_stopped_partition_ends_the_wait_with_its_reason() {
    let (_dir, mut demo) = started().await;
    demo.plain.execute(TABLES).await.unwrap();
    demo.load(10, &CancellationToken::new()).await.unwrap();
    let stop = "INSERT INTO afterimage_checkpoint
        VALUES ('dbserver1.public.users', 1, 0, 'stopped', 'table_missing: x')";
    demo.plain.execute(stop).await.unwrap();

    let error = demo.finish_load().await.unwrap_err();

    let expected = "partition dbserver1.public.users[1] is stopped: table_missing: x";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_file_is_replaced_only_if_a_demo_made_it() {
    let (dir, demo) = started().await;
    let file = demo.database().to_owned();
    drop(demo);
    let mut again = Demo::start(Some(&file)).await.unwrap();
    again.plain.execute("DROP TABLE afterimage_demo; CREATE TABLE mine (a)").await.unwrap();
    drop(again);
    let other = dir.path().join("text");
    std::fs::write(&other, "not a database").unwrap();

    for file in [file, other] {
        let before = std::fs::read(&file).unwrap();
        let error = Demo::start(Some(&file)).await.err().unwrap();
        assert!(matches!(error, DemoError::NotOurs(_)), "{error:?}");
        assert_eq!(std::fs::read(&file).unwrap(), before);
    }
}
