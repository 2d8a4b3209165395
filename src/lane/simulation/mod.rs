//! The simulation: real lanes over a scripted broker, group and database, in virtual time.
//!
//! A world is made from a seed: a source with its logs, members that crash, freeze, lose their
//! partitions and answers, a database that is slow, away or goes back. Everything in it is drawn from
//! one generator and runs on one thread under a paused clock, so that a seed replays. After each
//! commit the database is compared with an oracle that shares no code with what it judges.
//!
//! `SIMULATION_SEEDS` says how many seeds a run takes, `SIMULATION_SEED` replays one with its trace.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

mod chance;
mod client;
mod database;
mod group;
mod guard;
mod guarded;
mod history;
mod life;
mod member;
mod oracle;
mod source;
mod state;
mod target;
mod world;

use chance::Chance;
use history::Met;
use source::Source;
use world::World;

/// Seeds of a run that asks for no number: seconds.
const SEEDS: u64 = 200;

/// From this many seeds on, a fault or transition must occur in one of a hundred.
const SEEDS_FOR_COUNTS: u64 = 1_000;

/// Seeds within which a planted bug must be caught.
const SEEDS_TO_CATCH: u64 = 1_000;

/// A bug in what surrounds the lane, to see that the checks find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Planted {
    /// The database moves a checkpoint whoever asks.
    NoTokenCheck,
    /// The checkpoint moves in another transaction than the rows.
    AdvanceOutside,
    /// Partitions are assigned where the group's offsets stand, and a seek right behind is lost.
    SeekLost,
    /// Records that were fetched before a seek come behind it.
    BufferKept,
    /// A value that a record leaves out is lost.
    ValueLost,
    /// The database asks no guard.
    GuardNotAsked,
}

/// How a seed's world ended.
struct Outcome {
    met: std::collections::BTreeSet<Met>,
    violation: Option<String>,
    trace: String,
}

/// Lives through the world of a seed.
fn run(seed: u64, planted: Option<Planted>, is_traced: bool) -> Outcome {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut chance = Chance::new(seed);
        let (strikes, changes) = life::lengths(&mut chance);
        let source = Source::new(&mut chance, changes);
        let world = Arc::new(World::new(chance, source, planted, is_traced));
        life::live(&world, strikes).await;
        let mut history = world.history();
        let (met, violation) = (std::mem::take(&mut history.met), history.violation.take());
        let trace = if is_traced { world.source.text() + &history.text() } else { String::new() };
        Outcome { met, violation, trace }
    })
}

/// Runs seeds on all processors until one fails; returns the counts, and the failure.
fn run_all(count: u64, planted: Option<Planted>) -> (BTreeMap<Met, u64>, Option<(u64, String)>) {
    let next = AtomicU64::new(1);
    let (counts, failed) = (Mutex::new(BTreeMap::new()), Mutex::new(None));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > count || failed.lock().unwrap().is_some() {
                        return;
                    }
                    let outcome = run(seed, planted, false);
                    let mut counts = counts.lock().unwrap();
                    outcome.met.iter().for_each(|met| *counts.entry(*met).or_default() += 1);
                    if let Some(violation) = outcome.violation {
                        failed.lock().unwrap().get_or_insert((seed, violation));
                    }
                }
            });
        }
    });
    (counts.into_inner().unwrap(), failed.into_inner().unwrap())
}

/// Runs a seed again with its trace, and tells both.
fn tell(seed: u64, planted: Option<Planted>) -> String {
    let Outcome { violation, trace, .. } = run(seed, planted, true);
    let violation = violation.unwrap_or_else(|| "nothing: the seed does not replay".to_owned());
    format!(
        "{trace}\nseed {seed} violates: {violation}\n\
         again: SIMULATION_SEED={seed} cargo test --lib simulation::every -- --nocapture"
    )
}

/// Lists how often each fault and transition occurred; the second is what was too rare.
fn report(counts: &BTreeMap<Met, u64>, seeds: u64) -> (String, Vec<&'static str>) {
    let (mut text, mut rare) = (String::new(), Vec::new());
    for (met, name) in Met::ALL {
        let count = counts.get(met).copied().unwrap_or_default();
        _ = writeln!(text, "{count:8}  {name}");
        if count * 100 < seeds {
            rare.push(*name);
        }
    }
    (text, rare)
}

/// Reads a number that whoever runs the tests may set.
#[expect(clippy::disallowed_methods, reason = "a test has no command line")]
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

#[test]
#[expect(clippy::print_stdout, reason = "the report is what a long run is for")]
fn every_seed_keeps_the_invariants() {
    if let Some(seed) = number("SIMULATION_SEED") {
        let Outcome { violation, trace, .. } = run(seed, None, true);
        println!("{trace}");
        assert_eq!(violation, None, "seed {seed}");
        return;
    }
    let seeds = number("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let (counts, failed) = run_all(seeds, None);
    if let Some((seed, _)) = failed {
        panic!("{}", tell(seed, None));
    }
    let (text, rare) = report(&counts, seeds);
    println!("{text}{seeds} seeds");
    assert!(seeds < SEEDS_FOR_COUNTS || rare.is_empty(), "in fewer than 1 %: {rare:?}");
}

#[test]
fn a_seed_replays() {
    for seed in 1..=10 {
        let (one, other) = (run(seed, None, true), run(seed, None, true));
        assert!(one.trace.lines().count() > 20, "{}", one.trace);
        assert!(one.trace == other.trace, "seed {seed}:\n{}\n--\n{}", one.trace, other.trace);
    }
}

/// What is said of rows or dead letters that are not what the records say.
const DAMAGE: [&str; 2] = ["must be", "is refused and not kept"];

fn check_caught(planted: Planted, expected: &[&str]) {
    let (_, failed) = run_all(SEEDS_TO_CATCH, Some(planted));
    let (seed, violation) = failed.unwrap_or_else(|| panic!("{planted:?} is not caught"));
    let is_expected = expected.iter().any(|expected| violation.contains(expected));
    assert!(is_expected, "seed {seed}: {violation}");
    assert_eq!(run(seed, None, false).violation, None, "seed {seed} fails without {planted:?}");
    assert!(tell(seed, Some(planted)).contains(&violation), "seed {seed} does not replay");
}

#[test]
fn a_database_that_checks_no_token_is_caught() {
    check_caught(Planted::NoTokenCheck, &["a stale member moves"]);
}

#[test]
fn a_checkpoint_that_moves_outside_the_transaction_is_caught() {
    check_caught(Planted::AdvanceOutside, &DAMAGE);
}

#[test]
fn a_seek_that_is_lost_behind_an_assignment_is_caught() {
    check_caught(Planted::SeekLost, &DAMAGE);
}

#[test]
fn a_buffer_that_is_kept_over_a_seek_is_caught() {
    check_caught(Planted::BufferKept, &DAMAGE);
}

#[test]
fn a_value_that_is_lost_is_caught() {
    check_caught(Planted::ValueLost, &["note=null"]);
}

#[test]
fn a_guard_that_is_not_asked_is_caught() {
    check_caught(Planted::GuardNotAsked, &["guarded row"]);
}
