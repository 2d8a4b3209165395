//! A member is killed at every moment of its work, again and again, and nothing is lost or doubled.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::scale::mark_the_end;
use crate::support::load::{COMPARED, Load, TABLES};
use crate::support::moments::Moment;
use crate::support::proxy::Proxy;
use crate::support::{Format, MemberSetup, World, heavy, kafka, until};

/// How often a member is killed.
const KILLS: usize = 52;

/// Where it is killed, in turn: every second time inside an open transaction.
const TURNS: [Moment; 8] = [
    Moment::Step,
    Moment::Filled,
    Moment::Commit,
    Moment::CommitSent,
    Moment::MidStep,
    Moment::Mirror,
    Moment::FirstWrite,
    Moment::Filled,
];

#[test]
fn f01_f02_f03_fifty_kills_under_load_lose_and_double_nothing() {
    let _heavy = heavy();
    let world = World::new("kill");
    let source = world.source(TABLES);
    source.connect(Format::Json);
    let proxy = Proxy::start(&world, None);
    let load = Load::start(&source);
    let begun = Instant::now();

    let mut kills: BTreeMap<Moment, usize> = BTreeMap::new();
    eprintln!("kill  offsets  seconds  moment");
    for (turn, moment) in TURNS.into_iter().cycle().take(KILLS).enumerate() {
        kill_at(&world, &proxy, moment);
        *kills.entry(moment).or_default() += 1;
        let (offsets, seconds) = (world.progress(), begun.elapsed().as_secs());
        eprintln!("{:4}  {offsets:7}  {seconds:7}  {moment}", turn + 1);
    }
    load.stop();

    let last = world.member("last").property(INSTANCE).start();
    mark_the_end(&world, &source);
    assert_eq!(last.terminate(), 0);
    world.until_equal(&COMPARED);
    for (moment, count) in &kills {
        eprintln!("{count:3} kills: {moment}");
    }
    let inside: usize = kills.iter().filter(|(at, _)| at.is_inside()).map(|(_, count)| count).sum();
    assert!(kills.values().sum::<usize>() >= 50 && inside * 2 >= KILLS, "{kills:?}");
}

/// A member that comes back under its name gets its partitions at once: the group need not wait for
/// the end of a session.
const INSTANCE: &str = "group.instance.id=phoenix";

/// Starts a member, lets it apply records, and kills it at that moment.
fn kill_at(world: &World, proxy: &Proxy, moment: Moment) {
    let before = world.progress();
    let member = through(world, proxy).start();
    world.until_beyond(before);
    proxy.hold_at(moment);
    proxy.until_held();
    let inside = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND usename = 'writer' AND xact_start IS NOT NULL";
    // What a member does beside its batches may be in a transaction too.
    if moment.is_inside() {
        assert!(world.target.number(inside) > 0, "{moment}: no transaction is open");
    }
    member.kill();
    proxy.cut();
    until(crate::support::SOON, "the dead member's transaction is gone", || {
        world.target.number(inside) == 0
    });
    if moment == Moment::Mirror {
        let ours = world.checkpoint();
        let mirror = kafka::committed(&world.name, ours.keys().cloned());
        let behind = |(partition, next): (&(String, i32), &i64)| mirror.get(partition) < Some(next);
        assert!(ours.iter().any(behind), "Kafka already knows the checkpoint");
    }
}

fn through(world: &World, proxy: &Proxy) -> MemberSetup {
    world.member("member").target(&world.target_url_through(proxy)).property(INSTANCE)
}
