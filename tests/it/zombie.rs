//! A member that was thought dead comes back: nothing of what it holds takes effect, and it holds
//! nobody up.

use std::time::Duration;

use tokio::time::Instant;

use crate::scale::mark_the_end;
use crate::support::kafka;
use crate::support::load::TABLES;
use crate::support::moments::Moment;
use crate::support::proxy::{Proxy, Sabotage};
use crate::support::{Format, LATER, Member, SOON, Source, World, heavy, until};

/// How soon the next owner must apply, whatever the frozen one holds.
const HELD_UP_MAX: Duration = Duration::from_secs(10);

const COMPARED: [&str; 2] = ["ledger", "accounts"];

/// Changes all rows, and appends some.
const CHANGE: &str = "
UPDATE accounts SET version = nextval('versions'), amount = amount + 1, note = NULL;
INSERT INTO ledger SELECT nextval('entries'), i, 1, NULL FROM generate_series(1, 20) AS i";

#[test]
fn f05_f07_nothing_of_a_zombies_batch_survives() {
    let _heavy = heavy();
    let scene = Scene::new("zombie", None);

    let survived = scene.wake_the_zombie();

    assert_eq!(survived, 0, "rows of the zombie's batch are in the target");
    let (world, source) = scene.go_on();
    world.until_equal(&COMPARED);
    drop(source);
}

#[test]
fn f06_a_member_frozen_in_mid_statement_holds_nobody_up() {
    let _heavy = heavy();
    let scene = Scene::new("frozen", None);
    scene.frozen_proxy.hold_at(Moment::MidStep);
    scene.change();
    holds_nobody_up(&scene);
}

#[test]
fn f06_a_member_frozen_in_a_copy_holds_nobody_up() {
    let _heavy = heavy();
    let scene = Scene::new("copying", None);
    // More than the messages that go by hold.
    let new = "INSERT INTO accounts
        SELECT 5000 + i, nextval('versions'), 0, NULL, now() FROM generate_series(1, 30000) AS i";
    // One batch has to hold so many: they are sent while the one before is held.
    scene.frozen_proxy.hold_at(Moment::Step);
    scene.change();
    scene.frozen_proxy.until_held();
    let sent = || kafka::ends(&scene.world.name).values().sum::<i64>();
    let before = sent();
    scene.source.database.run(new);
    until(LATER, "all are sent", || sent() >= before + 30000);
    // What was held is to end before the next batch begins.
    scene.frozen_proxy.release();
    scene.frozen_proxy.hold_at(Moment::MidCopy);
    holds_nobody_up(&scene);
}

/// Freezes the member at the moment that it is to be held at, and has another take over.
fn holds_nobody_up(scene: &Scene) {
    scene.frozen_proxy.until_held();
    scene.frozen.freeze();

    let heir = scene.start_heir();
    scene.until_taken_over();
    let taken = Instant::now();
    // All of it: the rows that the frozen one has locked are among them.
    scene.world.until_at_ends(&scene.world.name);

    let waited = taken.elapsed();
    eprintln!("the heir applied {waited:?} after it had got the partitions");
    assert!(waited < HELD_UP_MAX, "the heir was held up for {waited:?}");
    heir.until_logged(&["ended a former owner in the way"]);
    scene.frozen.thaw();
    scene.frozen_proxy.release();
    mark_the_end(&scene.world, &scene.source);
    scene.world.until_equal(&COMPARED);
    drop(heir);
}

/// A member that holds a batch, and a source that has the rows of it.
#[derive(Debug)]
pub(crate) struct Scene {
    frozen: Member,
    frozen_proxy: Proxy,
    source: Source,
    world: World,
}

impl Scene {
    /// Starts a member that has applied all there is; `sabotage` weakens what it says.
    pub(crate) fn new(name: &str, sabotage: Option<Sabotage>) -> Self {
        let world = World::new(name);
        let source = world.source(TABLES);
        source.connect(Format::Json);
        let frozen_proxy = Proxy::start(&world, sabotage);
        let url = world.target_url_through(&frozen_proxy);
        let frozen = world.member("frozen").short_session().target(&url).start();
        let scene = Self { frozen, frozen_proxy, source, world };
        scene.change();
        mark_the_end(&scene.world, &scene.source);
        scene
    }

    /// Stops the member with a batch of known rows whose transaction has written them, gives its
    /// partitions to another, who is held before it writes, changes the rows, and wakes the first.
    ///
    /// Returns how many rows of the batch are in the target when the zombie has done what it could.
    pub(crate) fn wake_the_zombie(&self) -> i64 {
        self.frozen_proxy.hold_at(Moment::Step);
        self.source.database.run(
            "UPDATE accounts SET version = nextval('versions'), note = 'batch';
             INSERT INTO ledger
             SELECT nextval('entries'), i, 7, 'batch' FROM generate_series(1, 50) AS i",
        );
        self.frozen_proxy.until_held();
        self.frozen.freeze();
        let commits = self.frozen_proxy.commits();

        let heir_proxy = Proxy::start(&self.world, None);
        heir_proxy.hold_at(Moment::FirstWrite);
        let url = self.world.target_url_through(&heir_proxy);
        let heir = self.world.member("heir").short_session().target(&url).start();
        self.until_taken_over();
        heir_proxy.until_held();
        self.change();

        // What it had begun to say arrives, its answer waits for it, and it wakes.
        self.frozen_proxy.release();
        self.frozen.thaw();
        until(SOON, "the zombie's transaction ends", || {
            self.frozen_proxy.commits() > commits || !self.frozen_is_in_transaction()
        });
        let survived = self.rows_of_the_batch();
        heir_proxy.release();
        until(LATER, "the heir goes on", || self.rows_of_the_batch() > 0);
        drop((heir, heir_proxy));
        survived
    }

    /// Lets the frozen one go on by itself until all is applied.
    pub(crate) fn go_on(self) -> (World, Source) {
        mark_the_end(&self.world, &self.source);
        drop((self.frozen, self.frozen_proxy));
        (self.world, self.source)
    }

    fn change(&self) {
        self.source.database.run(CHANGE);
    }

    fn start_heir(&self) -> Member {
        self.world.member("heir").short_session().start()
    }

    /// Waits until every partition has another owner than before.
    fn until_taken_over(&self) {
        let claimed = "SELECT sum(epoch) FROM afterimage.checkpoint";
        let owners = "SELECT count(DISTINCT claim_token) FROM afterimage.checkpoint";
        let before = self.world.target.number(claimed);
        until(LATER, "another member takes over", || {
            self.world.target.number(claimed) > before && self.world.target.number(owners) == 1
        });
    }

    fn rows_of_the_batch(&self) -> i64 {
        let name = &self.world.name;
        self.world.target.number(&format!(
            "SELECT (SELECT count(*) FROM {name}.ledger WHERE said = 'batch')
                 + (SELECT count(*) FROM {name}.accounts WHERE note = 'batch')"
        ))
    }

    /// Returns whether two are in a transaction: the heir, who is held, and the zombie.
    fn frozen_is_in_transaction(&self) -> bool {
        self.world.target.number(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND usename = 'writer' AND xact_start IS NOT NULL",
        ) > 1
    }
}
