//! A target that loses what it had committed: rows and checkpoint go back together, and the log brings
//! what is missing.
//!
//! The rows are appended, so that one which takes effect twice would be there twice.

use tokio::time::Instant;

use crate::support::kafka::{Draft, produce};
use crate::support::server::Server;
use crate::support::{LATER, Member, World, until};

const APPENDED: &str = "[table.\"public.users\"]\nmode = \"append\"\n";

/// A server of its own, a topic, and a member that has applied its first two records.
struct Scene {
    member: Option<Member>,
    world: World,
    topic: String,
    produced: i64,
    server: Server,
}

impl Scene {
    fn new(test: &str, settings: &str) -> Self {
        let server = Server::start(settings);
        let world = World::new(test);
        let topic = world.topic("public.users", &[]);
        let mut scene = Self { member: None, world, topic, produced: 0, server };
        scene.member = Some(scene.start("first"));
        scene.produce(2);
        scene.until_once();
        scene
    }

    fn start(&self, label: &str) -> Member {
        let setup = self.world.member(label).target(&self.server.target()).short_session();
        setup.config(APPENDED).start()
    }

    fn member(&self) -> &Member {
        self.member.as_ref().unwrap()
    }

    /// Puts more users into the topic.
    fn produce(&mut self, count: i64) {
        let ids = self.produced..self.produced + count;
        let user = |id: i64| Draft::fixture("json/users-create").with("9001", &id.to_string());
        produce(&self.topic, 0, &ids.map(user).collect::<Vec<_>>());
        self.produced += count;
    }

    /// Waits until each record is a row, once, and the checkpoint is behind all of them.
    fn until_once(&self) {
        let mut found = None;
        until(LATER, "each record is a row", || {
            found = seen(&self.server.open());
            found.as_ref().is_some_and(|seen| seen.next == self.produced)
        });
        let found = found.unwrap();
        assert_eq!((found.rows, found.ids), (self.produced, self.produced), "{found:?}");
    }

    /// Has records applied that the server then loses by `lose`, and waits until they are there again.
    fn loses(&mut self, lose: impl FnOnce(&Server)) {
        self.produce(3);
        self.until_once();
        lose(&self.server);
        let lost = Instant::now();
        self.produce(1);
        self.until_once();
        eprintln!("all is there {:?} after the server", lost.elapsed());
        self.member().until_logged(&["went back"]);
    }
}

/// What one look at the target sees.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    rows: i64,
    ids: i64,
    next: i64,
}

fn seen(target: &crate::support::Database) -> Option<Seen> {
    if !target.has("public.users") {
        return None;
    }
    let looked = target.rows(
        "SELECT count(*), count(DISTINCT id), (SELECT sum(next_offset) FROM afterimage.checkpoint)
         FROM public.users",
    );
    let number = |text: &Option<String>| text.as_ref().unwrap().parse().unwrap();
    let [rows, ids, next] =
        <[i64; 3]>::try_from(looked[0].iter().map(number).collect::<Vec<_>>()).unwrap();
    Some(Seen { rows, ids, next })
}

#[test]
fn f43_a_replica_that_lacks_the_last_commits_is_promoted() {
    let mut scene = Scene::new("f43", "");
    scene.server.copy();
    scene.loses(Server::fail_over);
    let timeline = "SELECT timeline_id FROM pg_control_checkpoint()";
    scene.server.open().run("CHECKPOINT");
    assert_eq!(scene.server.open().number(timeline), 2, "the replica is the primary");
}

#[test]
fn f44_a_backup_is_restored_that_names_another_owner() {
    let mut scene = Scene::new("f44", "");
    let owner = "SELECT owner FROM afterimage.checkpoint";
    let former = scene.server.open().value(owner).unwrap();
    scene.server.copy();
    scene.member.take().unwrap().kill();
    scene.member = Some(scene.start("second"));
    scene.loses(Server::restore);
    assert_ne!(scene.server.open().value(owner), Some(former));
}

#[test]
fn f46_a_crash_without_synchronous_commit_loses_rows_and_checkpoint_together() {
    let settings = "synchronous_commit = off\nwal_writer_delay = 10s";
    let mut scene = Scene::new("f46", settings);
    // The tables are to be there after the crash.
    scene.server.open().run("CHECKPOINT");
    let mut lost = 0;
    // The server may just have written its log.
    for _ in 0..5 {
        scene.produce(3);
        scene.until_once();
        scene.server.crash();
        let found = scene.server.aside(seen).unwrap();
        assert_eq!((found.rows, found.ids), (found.next, found.next), "rows and checkpoint part");
        lost = scene.produced - found.next;
        scene.server.restart();
        let restarted = Instant::now();
        scene.produce(1);
        scene.until_once();
        eprintln!("lost {lost} records; all is there after {:?}", restarted.elapsed());
        if lost > 0 {
            break;
        }
    }
    assert!(lost > 0, "no crash has lost anything");
}

#[test]
fn f47_a_commit_that_no_standby_confirms_is_committed_when_its_wait_is_ended() {
    let mut scene = Scene::new("f47", "");
    for end in ["pg_cancel_backend", "pg_terminate_backend"] {
        scene.server.set("synchronous_standby_names", "nobody");
        let admin = scene.server.open();
        let waiting = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        scene.produce(2);
        until(LATER, "a commit waits", || admin.number(&format!("SELECT count(*) {waiting}")) > 0);
        assert_eq!(admin.number("SELECT count(*) FROM public.users"), scene.produced - 2);

        // Each write of the member waits in its turn.
        admin.run(&format!("SELECT {end}(pid) {waiting}"));
        let ended = Instant::now();
        scene.produce(1);
        until(LATER, "the member goes on", || {
            admin.run(&format!("SELECT pg_cancel_backend(pid) {waiting}"));
            seen(&admin).is_some_and(|seen| seen.next == scene.produced)
        });
        eprintln!("{end}: went on after {:?}", ended.elapsed());
        scene.server.set("synchronous_standby_names", "");
        scene.until_once();
    }
    let metrics = scene.member().get("/metrics").body;
    let fenced = metrics.lines().find(|line| line.starts_with("afterimage_fenced_total"));
    assert!(fenced.is_none_or(|line| line.ends_with(" 0")), "{fenced:?}");
}
