//! Members join, die and leave under load, and nothing is lost, doubled or written back.

use std::time::Duration;

use crate::support::load::{COMPARED, Load, TABLES};
use crate::support::{Format, LATER, MemberSetup, SOON, Source, World, heavy, let_pass, until};

/// How long the group keeps a dead member; with KIP-848 the broker's settings say it.
const SESSION: Duration = Duration::from_secs(6);

#[test]
fn f13_members_join_die_and_leave_under_load() {
    join_die_and_leave("scale", MemberSetup::short_session);
}

#[test]
fn f13_members_join_die_and_leave_under_load_with_kip_848() {
    join_die_and_leave("scale848", |setup| setup.property("group.protocol=consumer"));
}

fn join_die_and_leave(name: &str, protocol: fn(MemberSetup) -> MemberSetup) {
    let _heavy = heavy();
    let world = World::new(name);
    let source = world.source(TABLES);
    log_every_write(&world);
    source.connect(Format::Json);
    let load = Load::start(&source);
    let start = |label: &str| protocol(world.member(label)).start();

    let first = start("first");
    world.until_beyond(0);
    let second = start("second");
    let third = start("third");
    until_owners(&world, 3);
    progress(&world);
    second.kill();
    // What the dead one had is taken over when its session ends.
    until_owners_within(SESSION + SOON, &world, 2);
    until_all_move(&world);
    assert_eq!(third.terminate(), 0);
    until_owners(&world, 1);
    progress(&world);
    load.stop();

    mark_the_end(&world, &source);
    assert_eq!(first.terminate(), 0);
    world.until_equal(&COMPARED);
    assert_equal_once(&world);
}

#[test]
fn f12_ten_orderly_rebalances_under_load_end_no_backend() {
    let _heavy = heavy();
    let world = World::new("orderly");
    let source = world.source(TABLES);
    source.connect(Format::Json);
    let load = Load::start(&source);
    let first = world.member("first").short_session().start();
    world.until_beyond(0);

    // A join and a leave are a rebalance each.
    for turn in 0..5 {
        let guest = world.member(&format!("guest{turn}")).short_session().start();
        until_owners(&world, 2);
        progress(&world);
        assert_eq!(guest.terminate(), 0);
        until_owners(&world, 1);
        progress(&world);
    }
    load.stop();

    mark_the_end(&world, &source);
    assert_eq!(first.terminate(), 0);
    world.until_equal(&COMPARED);
    assert_eq!(world.sessions_killed(), 0, "backends ended in orderly rebalances");
}

/// Makes the upserted table beforehand, with a trigger that logs each write of a row.
fn log_every_write(world: &World) {
    let name = &world.name;
    world.target.run(&format!(
        "CREATE SCHEMA {name};
         GRANT USAGE, CREATE ON SCHEMA {name} TO writer;
         CREATE TABLE {name}.accounts (
             id bigint PRIMARY KEY, version bigint NOT NULL, amount numeric(12, 2) NOT NULL,
             note text, changed_at timestamptz NOT NULL, synced_at timestamptz NOT NULL);
         GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.accounts TO writer;
         CREATE TABLE public.written (seq bigserial PRIMARY KEY, id bigint, version bigint);
         CREATE FUNCTION public.log_write() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
         AS 'BEGIN INSERT INTO public.written (id, version) VALUES (new.id, new.version);
             RETURN NULL; END';
         CREATE TRIGGER log_write AFTER INSERT OR UPDATE ON {name}.accounts
         FOR EACH ROW EXECUTE FUNCTION public.log_write()"
    ));
}

/// Nothing twice, nothing back: the judge has already found the last images equal.
fn assert_equal_once(world: &World) {
    let doubled = "SELECT count(*) FROM (
        SELECT FROM public.written GROUP BY id, version HAVING count(*) > 1) AS doubled";
    let backwards = "SELECT count(*) FROM (
        SELECT version < lag(version) OVER (PARTITION BY id ORDER BY seq) AS back
        FROM public.written) AS steps WHERE back";
    let writes = world.target.number("SELECT count(*) FROM public.written");
    eprintln!("{writes} row writes were logged");
    assert!(writes > 0);
    assert_eq!(world.target.number(doubled), 0, "versions that were written twice");
    assert_eq!(world.target.number(backwards), 0, "versions that went back");
}

/// Waits until everything before is applied: a mark passes, and the checkpoint stands at the ends.
pub(crate) fn mark_the_end(world: &World, source: &Source) {
    source.database.run("INSERT INTO marks SELECT coalesce(max(id), 0) + 1 FROM marks");
    let mark = source.database.number("SELECT max(id) FROM marks");
    let arrived = format!("SELECT count(*) FROM {}.marks WHERE id = {mark}", world.name);
    until(LATER, "the mark arrives", || {
        world.target.has(&format!("{}.marks", world.name)) && world.target.number(&arrived) == 1
    });
    world.until_at_ends(&world.name);
}

/// Waits until that many own partitions.
pub(crate) fn until_owners(world: &World, count: i64) {
    until_owners_within(LATER, world, count);
}

fn until_owners_within(deadline: Duration, world: &World, count: i64) {
    until(deadline, &format!("{count} members own partitions"), || {
        !world.checkpoint().is_empty() && owners(world) == count
    });
}

/// Counts those who own partitions and are alive: their sessions are there.
fn owners(world: &World) -> i64 {
    world.target.number(
        "SELECT count(DISTINCT owner) FROM afterimage.checkpoint JOIN pg_stat_activity
         ON starts_with(application_name, owner) WHERE datname = current_database()",
    )
}

/// Waits until each partition of the busiest topic has moved, whoever owns it.
fn until_all_move(world: &World) {
    let before = world.checkpoint();
    until(LATER, "every partition of accounts moves", || {
        let now = world.checkpoint();
        let busy = before.iter().filter(|((topic, _), _)| topic.ends_with(".accounts"));
        busy.into_iter().all(|(partition, offset)| now.get(partition) > Some(offset))
    });
}

/// Lets the load run on for a moment, and sees that it is applied meanwhile.
fn progress(world: &World) {
    let before = world.progress();
    let_pass(Duration::from_secs(1));
    world.until_beyond(before);
}
