//! The proofs can fail: without one of the promises, the tests that stand on it see the damage.

use crate::scale::mark_the_end;
use crate::support::load::TABLES;
use crate::support::moments::Moment;
use crate::support::proxy::{Proxy, Sabotage};
use crate::support::{Format, World, heavy};
use crate::zombie::Scene;

/// Rows of a table without a key: they show what is applied twice.
const APPEND: &str = "
INSERT INTO ledger SELECT nextval('entries'), i, i, NULL FROM generate_series(1, 50) AS i";

#[test]
fn without_the_tokens_condition_a_zombies_batch_survives() {
    let _heavy = heavy();
    let scene = Scene::new("notoken", Some(Sabotage::NoToken));

    let survived = scene.wake_the_zombie();

    assert!(survived > 0, "the test of the zombie would not have seen that its token is not asked");
}

#[test]
fn with_the_rows_committed_apart_from_the_checkpoint_a_kill_doubles_rows() {
    let _heavy = heavy();
    let world = World::new("apart");
    let source = world.source(TABLES);
    source.connect(Format::Json);
    let proxy = Proxy::start(&world, Some(Sabotage::RowsCommittedApart));
    let member = world.member("member").target(&world.target_url_through(&proxy)).start();
    source.database.run(APPEND);
    mark_the_end(&world, &source);

    proxy.hold_at(Moment::Commit);
    source.database.run(APPEND);
    proxy.until_held();
    member.kill();
    proxy.cut();
    assert!(proxy.sabotaged() > 0);

    let last = world.member("last").start();
    mark_the_end(&world, &source);
    assert_eq!(last.terminate(), 0);
    let verdict = world.compare(&["ledger"]);
    assert_eq!(verdict.code, 1, "the judge did not see it: {}", verdict.report);
    assert!(verdict.report.contains("once too often"), "{}", verdict.report);
}
