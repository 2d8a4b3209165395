//! What happens to a log, or to the brokers that keep it, while nobody has deleted its topic.

use std::time::{SystemTime, UNIX_EPOCH};

use rdkafka::mocking::{MockCluster, MockCoordinator};
use tokio::time::Instant;

use crate::support::broker::Broker;
use crate::support::certificates::Authority;
use crate::support::kafka::{self, Draft, OpenTransaction, create_topic_at, produce, produce_to};
use crate::support::{Ended, LATER, SOON, World, until};

fn user(id: i32) -> Draft {
    Draft::fixture("json/users-create").with("9001", &id.to_string())
}

/// The keys of the users that have arrived; there may be no table of theirs yet.
fn ids(world: &World) -> String {
    if !world.target.has("public.users") {
        return String::new();
    }
    let ids = "SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') FROM public.users";
    world.target.value(ids).unwrap_or_default()
}

fn caught_up(world: &World, broker: &Broker) -> Ended {
    let member = world.member("member").variable("KAFKA_BOOTSTRAP_SERVERS", &broker.plain());
    member.run(&["run", "--until-caught-up"], LATER)
}

#[test]
fn f18_a_coordinator_that_is_away_holds_no_record_up() {
    let world = World::new("f18");
    let topic = format!("{}.public.users", world.name);
    let cluster = MockCluster::new(2).unwrap();
    cluster.create_topic(&topic, 1, 1).unwrap();
    cluster.partition_leader(&topic, 0, Some(1)).unwrap();
    cluster.coordinator(MockCoordinator::Group(world.name.clone()), 2).unwrap();
    let brokers = cluster.bootstrap_servers();
    produce_to(&brokers, &topic, 0, &[user(1)]);
    let member = world.member("member").variable("KAFKA_BOOTSTRAP_SERVERS", &brokers).start();
    let row = |id: i32| {
        until(LATER, &format!("row {id}"), || {
            world.target.has("public.users")
                && world.target.holds(&format!("SELECT max(id) = {id} FROM public.users"))
        });
    };
    row(1);

    cluster.broker_down(2).unwrap();
    member.until_logged(&["kafka client"]);
    produce_to(&brokers, &topic, 0, &[user(2)]);
    row(2);
    cluster.broker_up(2).unwrap();
    produce_to(&brokers, &topic, 0, &[user(3)]);
    row(3);
    assert!(!member.log().contains(" revoked "), "{}", member.log());
    assert_eq!(member.terminate(), 0);
}

#[test]
fn a_broker_that_is_away_is_told_and_waited_for() {
    let world = World::new("brokeraway");
    let topic = format!("{}.public.users", world.name);
    let mut broker = Broker::start(&Authority::new());
    create_topic_at(&broker.plain(), &topic, 1, &[]);
    produce_to(&broker.plain(), &topic, 0, &[user(1)]);
    let setup = world.member("member").variable("KAFKA_BOOTSTRAP_SERVERS", &broker.plain());
    let member = setup.start();
    member.until_ready();

    broker.stop();
    until(SOON, "it is not ready, and says why", || {
        let ready = member.get("/readyz");
        ready.status == 503 && ready.body.contains("no broker answers")
    });
    assert_eq!(member.get("/livez").status, 200, "nothing of it hangs");
    broker.resume();
    produce_to(&broker.plain(), &topic, 0, &[user(2)]);
    until(LATER, "the second row", || ids(&world) == "1 2");
    member.until_ready();
    assert_eq!(member.terminate(), 0);
}

#[test]
fn f25_another_cluster_is_read_from_the_moment_that_an_operator_tells() {
    let world = World::new("f25other");
    let topic = world.topic("public.users", &[]);
    produce(&topic, 0, &[user(1), user(2)]);
    let ended = world.member("member").run(&["run", "--until-caught-up"], LATER);
    assert_eq!((ended.code, ids(&world).as_str()), (0, "1 2"), "{}", ended.error);

    // A mirror, whose offsets are others: who goes on at 2 there never sees the third user.
    let broker = Broker::start(&Authority::new());
    create_topic_at(&broker.plain(), &topic, 1, &[]);
    produce_to(&broker.plain(), &topic, 0, &[user(2)]);
    let moment = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    produce_to(&broker.plain(), &topic, 0, &[user(3)]);
    let ended = caught_up(&world, &broker);
    assert_eq!((ended.code, ids(&world).as_str()), (1, "1 2"), "{}", ended.error);
    assert_eq!(ended.lines_with(&["stopped a partition", "cluster_changed"]).len(), 1);

    let operator = |command: &[&str]| {
        let setup = world.member("operator").topics(&topic);
        let setup = setup.variable("KAFKA_BOOTSTRAP_SERVERS", &broker.plain());
        let command = [&["checkpoint"], command, &["--reason", "the clusters were switched"]];
        let ended = setup.run(&command.concat(), SOON);
        assert_eq!(ended.code, 0, "{}", ended.error);
    };
    operator(&["adopt", "--at", "latest"]);
    operator(&["rewind", "--topic", &topic, "--to", &format!("@{moment}")]);
    let ended = caught_up(&world, &broker);
    assert_eq!((ended.code, ids(&world).as_str()), (0, "1 2 3"), "{}", ended.error);
}

/// Takes half a minute: a broker is started three times.
#[test]
fn f26_f27_a_log_that_lost_applied_records_stops_its_partition() {
    let world = World::new("f26");
    let topic = format!("{}.public.users", world.name);
    let mut broker = Broker::start(&Authority::new());
    create_topic_at(&broker.plain(), &topic, 1, &[]);
    produce_to(&broker.plain(), &topic, 0, &[user(1), user(2)]);
    broker.stop();
    broker.keep_data();
    broker.resume();
    produce_to(&broker.plain(), &topic, 0, &[user(3), user(4)]);
    let ended = caught_up(&world, &broker);
    assert_eq!((ended.code, ids(&world).as_str()), (0, "1 2 3 4"), "{}", ended.error);

    // As a leader that never had the last two: the same topic, a shorter log.
    broker.stop();
    broker.restore_data();
    broker.resume();
    let ended = caught_up(&world, &broker);
    assert_eq!(ended.code, 1, "{}", ended.error);
    assert_eq!(ended.lines_with(&["stopped a partition", "log_truncated"]).len(), 1);

    // It goes on, and has others at their offsets.
    produce_to(&broker.plain(), &topic, 0, &[user(5), user(6), user(7)]);
    let ended = caught_up(&world, &broker);
    assert_eq!(ended.code, 1, "{}", ended.error);
    assert_eq!(ended.lines_with(&["stopped a partition", "log_replaced"]).len(), 1);
    assert_eq!(ids(&world), "1 2 3 4", "nothing is applied over what was lost");
}

#[test]
fn f30_f31_f32_what_compaction_leaves_gives_the_last_images() {
    let world = World::new("f30");
    let topic = format!("{}.public.users", world.name);
    let broker = Broker::start(&Authority::new());
    let compacts = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.001"),
    ];
    create_topic_at(&broker.plain(), &topic, 1, &compacts);
    let send = |records: &[Draft]| produce_to(&broker.plain(), &topic, 0, records);
    let name = |name: &str| user(1).with("\"name\":\"Alan\"", &format!("\"name\":\"{name}\""));
    let key = user(2).key;
    send(&[name("first"), user(2)]);
    assert_eq!(caught_up(&world, &broker).code, 0);

    // A delete is gone too: its tombstone stands alone, and behind a gap.
    let tombstone = Draft { key, ..Draft::default() };
    send(&[name("second"), name("third"), user(2).with("Alan", "Eve"), tombstone, name("last")]);
    let mut rolls = 3;
    until(LATER, "compaction has taken what is old", || {
        rolls += 1;
        send(&[user(rolls)]);
        let left = kafka::offsets(&broker.plain(), &topic);
        !left.iter().any(|offset| (0..=4).contains(offset)) && left.contains(&5)
    });
    let ended = caught_up(&world, &broker);

    assert_eq!(ended.code, 0, "{}", ended.error);
    let names = "SELECT string_agg(name, ' ' ORDER BY id) FROM public.users WHERE id < 3";
    assert_eq!(world.target.value(names).as_deref(), Some("last"));
    let count = world.target.number("SELECT count(*) FROM public.users WHERE id > 3");
    assert_eq!(count, i64::from(rolls - 3));
}

#[test]
fn f33_deletes_that_compaction_has_taken_with_their_tombstones_are_warned_of() {
    let world = World::new("f33");
    let topic = format!("{}.public.users", world.name);
    let broker = Broker::start(&Authority::new());
    let compacts = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("delete.retention.ms", "1"),
    ];
    create_topic_at(&broker.plain(), &topic, 1, &compacts);
    let send = |records: &[Draft]| produce_to(&broker.plain(), &topic, 0, records);
    send(&[user(1), user(2)]);
    assert_eq!(caught_up(&world, &broker).code, 0);

    let tombstone = Draft { key: user(2).key, ..Draft::default() };
    send(&[tombstone, user(3)]);
    let mut rolls = 3;
    until(LATER, "the tombstone is gone", || {
        rolls += 1;
        send(&[user(rolls)]);
        !kafka::offsets(&broker.plain(), &topic).contains(&2)
    });
    // Nobody need wait here until a member has been away for long.
    let age = "UPDATE afterimage.checkpoint SET updated_at = updated_at - interval '2 h'";
    world.target.run(age);
    let ended = caught_up(&world, &broker);

    assert_eq!(ended.code, 0, "{}", ended.error);
    let warning = ["WARN", "deletes may be lost", &topic, "delete_retention=1ms"];
    assert_eq!(ended.lines_with(&warning).len(), 1, "{}", ended.error);
    let row = "SELECT count(*) FROM public.users WHERE id = 2";
    assert_eq!(world.target.number(row), 1, "no record says that it is gone");
    world.target.run(age);
    let ended = caught_up(&world, &broker);
    assert_eq!(ended.lines_with(&["deletes may be lost"]).len(), 0, "nothing was left unread");
}

#[test]
fn f35_a_transaction_that_hangs_is_counted_apart_from_the_lag() {
    let world = World::new("f35");
    let topic = world.topic("public.users", &[]);
    produce(&topic, 0, &[user(1)]);
    let member = world.member("member").start();
    world.until_at_ends(&world.name);

    let hanging = OpenTransaction::begin(&topic, &[user(2)]);
    produce(&topic, 0, &[user(3)]);
    let value = |name: &str| {
        let metrics = member.get("/metrics").body;
        let line = metrics.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        line.and_then(|line| line.rsplit_once(' ').map(|(_, value)| value.to_owned()))
    };
    let held_back = |expected: &str| {
        until(SOON, &format!("{expected} records are held back"), || {
            value("afterimage_held_back_records{").as_deref() == Some(expected)
        });
    };
    held_back("2");
    assert_eq!(value("afterimage_lag_records{").as_deref(), Some("0"));
    assert_eq!(ids(&world), "1", "nothing is read behind it");
    let over = Instant::now();
    hanging.abort();
    until(SOON, "the row behind it", || ids(&world) == "1 3");
    eprintln!("f35: recovered in {:?}", over.elapsed());
    held_back("0");
    assert_eq!(member.terminate(), 0);
}
