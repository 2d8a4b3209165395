//! What a target may do to a member that is in the right: refuse for a while, choose it as a victim,
//! go back in time.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::kafka::{Draft, produce};
use crate::support::world::at;
use crate::support::{Database, LATER, SOON, Stack, World, let_pass, until};

fn user(id: i64) -> Draft {
    Draft::fixture("json/users-create").with("9001", &id.to_string())
}

fn users(ids: std::ops::RangeInclusive<i64>) -> Vec<Draft> {
    ids.map(user).collect()
}

const COUNT: &str = "SELECT count(*) FROM public.users";

/// Prints how long a member took once the fault was over.
fn recovered(fault: &str, since: Instant) {
    eprintln!("{fault}: recovered in {:?}", since.elapsed());
}

/// Ends every other session of the world's database.
fn end_sessions(database: &Database, name: &str) {
    database.run(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = '{name}' AND pid <> pg_backend_pid()"
    ));
}

#[test]
fn f10_rows_that_wait_longer_than_the_session_and_the_poll_lose_no_partition() {
    let world = World::new("f10");
    let topic = world.topic("public.users", &[]);
    produce(&topic, 0, &[user(1)]);
    let setup = world.member("member").short_session().property("max.poll.interval.ms=6000");
    let member = setup.start();
    until(LATER, "the first row", || {
        world.target.holds("SELECT to_regclass('public.users') IS NOT NULL")
            && world.target.number(COUNT) == 1
    });

    let stranger = Database::open(world.target.url());
    stranger.run("BEGIN; LOCK TABLE public.users IN EXCLUSIVE MODE");
    produce(&topic, 0, &[user(2)]);
    // Twice the session.
    let_pass(Duration::from_secs(13));
    assert_eq!(world.target.number(COUNT), 1);
    stranger.run("ROLLBACK");
    let over = Instant::now();
    until(SOON, "the row", || world.target.number(COUNT) == 2);
    recovered("f10", over);
    let log = member.log();
    assert_eq!(log.matches("afterimage::kafka::rebalance: assigned").count(), 1, "{log}");
    assert_eq!(member.terminate(), 0);
}

#[test]
fn f42_a_member_that_loses_a_deadlock_tries_again() {
    let world = World::new("f42");
    let topic = world.topic("public.users", &[]);
    produce(&topic, 0, &users(1..=2));
    let member = world.member("member").start();
    until(LATER, "the first rows", || {
        world.target.holds("SELECT to_regclass('public.users') IS NOT NULL")
            && world.target.number(COUNT) == 2
    });

    // The member's wait is looked at first, so that it is the victim.
    let other = Database::open(world.target.url());
    other.run("SET deadlock_timeout = '1min'; BEGIN; UPDATE public.users SET age = 1 WHERE id = 2");
    produce(&topic, 0, &users(1..=2));
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity
                 WHERE datname = current_database() AND usename = 'writer'
                   AND wait_event_type = 'Lock'";
    until(SOON, "the member waits", || world.target.holds(waits));
    other.run("UPDATE public.users SET age = 1 WHERE id = 1; COMMIT");
    let over = Instant::now();
    let applied = "SELECT max(next_offset) = 4 FROM afterimage.checkpoint";
    until(LATER, "both records are applied", || world.target.holds(applied));
    recovered("f42", over);
    assert!(member.log().contains("deadlock"), "{}", member.log());
    assert_eq!(member.terminate(), 0);
}

#[test]
fn f43_f44_rows_and_checkpoint_that_went_back_together_come_again_together() {
    let world = World::new("f43");
    let (name, topic) = (&world.name, world.topic("public.users", &[]));
    produce(&topic, 0, &users(1..=3));
    let member = world.member("member").start();
    until(LATER, "the first rows", || {
        world.target.holds("SELECT to_regclass('public.users') IS NOT NULL")
            && world.target.number(COUNT) == 3
    });
    let admin = Database::open(&Stack::get().target_admin);
    let backup = format!("{name}_backup");
    admin.run(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
    end_sessions(&admin, name);
    until(SOON, "the backup", || {
        admin.try_run(&format!("CREATE DATABASE {backup} TEMPLATE {name}")).is_ok()
    });
    admin.run(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
    admin.run(&format!("GRANT CREATE ON DATABASE {backup} TO writer"));

    let count = || {
        let target = Database::try_open(&at(&Stack::get().target_admin, name)).ok()?;
        Some(target.number(COUNT))
    };
    produce(&topic, 0, &users(4..=6));
    until(LATER, "rows that the backup lacks", || count() == Some(6));
    admin.run(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
    end_sessions(&admin, name);
    until(SOON, "the database goes", || {
        admin.try_run(&format!("DROP DATABASE {name} WITH (FORCE)")).is_ok()
    });
    admin.run(&format!("ALTER DATABASE {backup} RENAME TO {name}"));
    let over = Instant::now();

    // Nothing new comes: an idle partition must notice by itself.
    until(LATER, "the rows come again", || count() == Some(6));
    recovered("f43", over);
    produce(&topic, 0, &[user(7)]);
    until(LATER, "and go on", || count() == Some(7));
    assert_eq!(member.terminate(), 0);
}

#[test]
fn f48_a_target_that_may_only_be_read_is_waited_for() {
    let world = World::new("f48");
    let (name, topic) = (&world.name, world.topic("public.users", &[]));
    produce(&topic, 0, &[user(1)]);
    let member = world.member("member").start();
    member.until_ready();
    until(LATER, "the first row", || {
        world.target.holds("SELECT to_regclass('public.users') IS NOT NULL")
            && world.target.number(COUNT) == 1
    });

    let read_only = |how: &str| {
        world
            .target
            .run(&format!("ALTER DATABASE {name} SET default_transaction_read_only = {how}"));
        end_sessions(&world.target, name);
    };
    read_only("on");
    produce(&topic, 0, &users(2..=3));
    until(LATER, "the member says so", || {
        let ready = member.get("/readyz");
        ready.status == 503 && ready.body.contains("read-only")
    });
    assert_eq!(world.target.number(COUNT), 1);
    read_only("off");
    let over = Instant::now();
    until(LATER, "the rows", || world.target.number(COUNT) == 3);
    recovered("f48", over);
    until(SOON, "ready again", || member.get("/readyz").status == 200);
    assert!(world.dead_letters().is_empty());
    assert_eq!(member.terminate(), 0);
}
