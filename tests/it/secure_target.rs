//! TLS, passwords and certificates at a real PostgreSQL: every right way in carries rows, every wrong
//! one is refused at once by name, and no output shows a secret.

use crate::support::certificates::{Authority, write};
use crate::support::cluster::{CERTIFIED, Cluster, PASSWORD, WRITER};
use crate::support::kafka::{Draft, produce};
use crate::support::member::Ended;
use crate::support::{LATER, MemberSetup, SOON, World, until};

const WRONG: &str = "another-pw-that-no-log-may-show";
const NEXT: &str = "the-next-pw-that-no-log-may-show";

/// A server with a database for each member, and one record.
struct Scene {
    world: World,
    topic: String,
    cluster: Cluster,
}

impl Scene {
    fn new(authority: &Authority) -> Self {
        let world = World::new("sectarget");
        let topic = world.topic("public.users", &[]);
        produce(&topic, 0, &[Draft::fixture("json/users-create")]);
        Self { world, topic, cluster: Cluster::start(authority) }
    }

    fn member(&self, label: &str, url: &str) -> MemberSetup {
        self.world
            .member(label)
            .target(url)
            .variable("KAFKA_GROUP_ID", label)
            .variable("SINK_NAME", label)
            .variable("RUST_LOG", "trace,mio=info")
    }

    /// A writer with that password, at the server's database of that name.
    fn writer(&self, label: &str, database: &str, query: &str, password: &str) -> MemberSetup {
        let url = self.cluster.url(WRITER, "127.0.0.1", database);
        let file = write(&self.world.folder(), &format!("{label}.password"), password);
        self.member(label, &format!("{url}?{query}"))
            .variable("TARGET_DATABASE_PASSWORD_FILE", &file)
    }

    fn assert_carried(&self, database: &str, setup: MemberSetup) {
        let target = self.cluster.database(database);
        let ended = setup.args(["--until-caught-up"]).run(&["run"], LATER);
        assert_eq!(ended.code, 0, "{database}: {}", ended.error);
        assert_eq!(target.number("SELECT count(*) FROM public.users"), 1, "{database}");
        assert_no_secret(&ended);
    }
}

/// Before the start-up time is over, exit 2 and a line with these words.
fn assert_refused(setup: MemberSetup, words: &[&str]) {
    let ended = setup.run(&["run"], SOON);
    assert_eq!(ended.code, 2, "{}", ended.error);
    let told = [&["error: "], words].concat();
    assert!(!ended.lines_with(&told).is_empty(), "no {told:?} in:\n{}", ended.error);
    assert_no_secret(&ended);
}

fn assert_no_secret(ended: &Ended) {
    for secret in [PASSWORD, WRONG] {
        assert!(!ended.out.contains(secret) && !ended.error.contains(secret), "{secret} is shown");
    }
}

#[test]
fn every_right_way_in_carries_rows_and_every_wrong_one_is_refused_by_name() {
    let authority = Authority::new();
    let scene = Scene::new(&authority);
    let folder = scene.world.folder();
    let user = authority.user(CERTIFIED);
    let authority = write(&folder, "authority.pem", &authority.pem());
    let other = write(&folder, "other.pem", &Authority::new().pem());
    let certificate = write(&folder, "certified.pem", &user.certificate);
    let key = write(&folder, "certified.key", &user.key);

    for (database, query) in [
        ("verified", format!("sslmode=verify-full&sslrootcert={authority}")),
        ("required", format!("sslmode=require&sslrootcert={authority}")),
        ("unsaid", format!("sslrootcert={authority}")),
    ] {
        scene.assert_carried(database, scene.writer(database, database, &query, PASSWORD));
    }
    let by_certificate = |query: &str| {
        let url = scene.cluster.url(CERTIFIED, "127.0.0.1", "certified");
        scene.member("certified", &format!("{url}?sslrootcert={authority}{query}"))
    };
    let query = format!("&sslcert={certificate}&sslkey={key}");
    scene.assert_carried("certified", by_certificate(&query));

    let untrusted = "target cannot be trusted";
    let refused = |query: &str, words: &[&str]| {
        assert_refused(scene.writer("refused", "verified", query, PASSWORD), words);
    };
    refused(&format!("sslrootcert={other}"), &[untrusted, "invalid peer certificate"]);
    refused("sslmode=require", &[untrusted, "invalid peer certificate"]);
    refused("sslmode=disable", &["target does not let the role in", "no encryption"]);
    let query = format!("sslrootcert={authority}");
    let setup = scene.writer("wrong", "verified", &query, WRONG);
    assert_refused(setup, &["target does not let the role in", WRITER]);
    assert_refused(by_certificate(""), &["target does not let the role in", "certificate"]);
    let elsewhere = scene.cluster.url(WRITER, "localhost", "verified");
    let setup = scene.writer("elsewhere", "verified", &query, PASSWORD);
    let setup = setup.target(&format!("{elsewhere}?{query}"));
    assert_refused(setup, &[untrusted, "not valid for name", "localhost"]);
    // The stack's own server has no TLS.
    let plain = format!("{}?sslmode=require", scene.world.target_url());
    assert_refused(scene.member("plain", &plain), &[untrusted, "does not support TLS"]);
}

#[test]
fn a_password_that_changes_is_waited_for_and_taken_from_its_file() {
    let authority = Authority::new();
    let scene = Scene::new(&authority);
    let authority = write(&scene.world.folder(), "authority.pem", &authority.pem());
    let target = scene.cluster.database("changed");
    let query = format!("sslrootcert={authority}");
    let member = scene.writer("changed", "changed", &query, PASSWORD).start();
    member.until_ready();
    let stands_at = |offset: i64| {
        let next = "SELECT coalesce(max(next_offset), 0) FROM afterimage.checkpoint";
        target.number(next) == offset
    };
    until(LATER, "the first record is applied", || stands_at(1));

    target.run(&format!(
        "ALTER ROLE {WRITER} PASSWORD '{NEXT}';
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{WRITER}'"
    ));
    produce(&scene.topic, 0, &[Draft::fixture("json/users-update")]);
    member.until_logged(&["trying again", "not_admitted", "does not let the role in"]);
    until(SOON, "it is not ready", || member.get("/readyz").status == 503);

    write(&scene.world.folder(), "changed.password", NEXT);
    until(LATER, "the second record is applied", || stands_at(2));
    member.until_ready();
    let log = member.log();
    assert!(![PASSWORD, NEXT].iter().any(|secret| log.contains(secret)), "a secret is shown");
    assert_eq!(member.terminate(), 0);
}
