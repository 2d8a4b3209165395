//! Locks of other sessions at the target, and transactions that the server takes back for them.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::kafka::{Draft, produce};
use crate::support::{Database, LATER, SOON, World, let_pass, until};

fn user(id: u32) -> Draft {
    Draft::fixture("json/users-create").with("9001", &id.to_string())
}

/// Waits until the topic's rows are there, and prints since when they could be.
fn until_users(world: &World, ids: &str, since: Instant) {
    let sql = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM public.users";
    until(LATER, &format!("the users are {ids}"), || {
        world.target.has("public.users") && world.target.value(sql).as_deref() == Some(ids)
    });
    eprintln!("all rows are there after {:?}", since.elapsed());
}

/// Waits until the member waits for a lock.
fn until_blocked(world: &World) {
    let blocked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND usename = 'writer' AND wait_event_type = 'Lock'";
    until(SOON, "the member waits for a lock", || world.target.number(blocked) > 0);
}

#[test]
fn f42_a_transaction_that_the_server_takes_back_is_repeated() {
    let world = World::new("f42");
    let topic = world.topic("public.users", &[]);
    // The member's session must be the one that finds the deadlock, and is then the one to go.
    let name = &world.name;
    world.target.run(&format!("ALTER DATABASE {name} SET deadlock_timeout = '2s'"));
    let first = [user(1), user(2)];
    produce(&topic, 0, &first);
    let member = world.member("member").start();
    until_users(&world, "1 2", Instant::now());

    let stranger = Database::open(world.target.url());
    stranger.run("SET deadlock_timeout = '5min'; SET application_name = 'stranger'");
    stranger.run("BEGIN");
    stranger.run("SELECT FROM public.users WHERE id = 2 FOR UPDATE");
    produce(&topic, 0, &[user(1), user(2), user(3)]);
    until_blocked(&world);
    stranger.run("UPDATE public.users SET name = 'by hand' WHERE id = 1");
    let taken_back = Instant::now();
    stranger.run("COMMIT");
    until_users(&world, "1 2 3", taken_back);
    member.until_logged(&["trying again", "deadlock detected", "40P01"]);
    let by_hand = "SELECT count(*) FROM public.users WHERE name = 'by hand'";
    assert_eq!(world.target.number(by_hand), 0, "the source's row is the last one");

    // What is drawn from a sequence is not taken back: the first try alone fails.
    world.target.run(
        "CREATE SEQUENCE tries;
         GRANT USAGE ON SEQUENCE tries TO writer;
         CREATE FUNCTION fail_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('tries') = 1 THEN
                 RAISE 'could not serialize' USING ERRCODE = 'serialization_failure';
             END IF;
             RETURN new;
         END $$;
         CREATE TRIGGER fail_once BEFORE INSERT ON public.users
             FOR EACH ROW EXECUTE FUNCTION fail_once()",
    );
    produce(&topic, 0, &[user(4)]);
    until_users(&world, "1 2 3 4", Instant::now());
    member.until_logged(&["trying again", "40001"]);
    assert_eq!(world.dead_letters(), []);
}

#[test]
fn f49_a_strangers_lock_is_reported_and_holds_up_its_own_lane_alone() {
    let world = World::new("f49");
    let users = world.topic("public.users", &[]);
    let employees = world.topic("public.employees", &[]);
    let employee = |id: &str| Draft::fixture("json/employees-create").with("9001", id);
    produce(&users, 0, &[user(1)]);
    produce(&employees, 0, &[employee("1")]);
    let member = world.member("member").args(["--lanes", "2"]).start();
    world.until_at_ends(&world.name);

    let stranger = Database::open(world.target.url());
    stranger.run("SET application_name = 'a migration'");
    let pid = stranger.value("SELECT pg_backend_pid()").unwrap();
    stranger.run("BEGIN");
    stranger.run("LOCK TABLE public.users IN ACCESS EXCLUSIVE MODE");
    produce(&users, 0, &[user(2)]);
    until_blocked(&world);
    produce(&employees, 0, &[employee("2")]);
    let count = "SELECT count(*) FROM public.employees";
    until(SOON, "the other lane goes on", || world.target.number(count) == 2);
    let line = member.until_logged(&["waits for a lock", "a migration"]);
    assert!(line.contains(&pid), "{line}");
    member.until_logged(&["trying again", "55P03"]);
    let said = || member.log().matches("a migration").count();
    until(SOON, "the next try says it too", || said() > 1);
    assert_eq!(said(), 2, "each try says it once");

    stranger.run("COMMIT");
    until_users(&world, "1 2", Instant::now());
    assert_eq!(world.sessions_killed(), 0);
}

#[test]
fn f10_rows_that_wait_longer_than_the_session_and_the_poll_lose_no_partition() {
    let world = World::new("f10");
    let topic = world.topic("public.users", &[]);
    produce(&topic, 0, &[user(1)]);
    let setup = world.member("member").short_session().property("max.poll.interval.ms=6000");
    let member = setup.start();
    until_users(&world, "1", Instant::now());

    let stranger = Database::open(world.target.url());
    stranger.run("BEGIN; LOCK TABLE public.users IN EXCLUSIVE MODE");
    produce(&topic, 0, &[user(2)]);
    // Twice the session.
    let_pass(Duration::from_secs(13));
    stranger.run("ROLLBACK");
    until_users(&world, "1 2", Instant::now());
    let log = member.log();
    assert_eq!(log.matches("afterimage::kafka::rebalance: assigned").count(), 1, "{log}");
    assert_eq!(member.terminate(), 0);
}
