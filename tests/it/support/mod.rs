//! What the tests stand on: the stack, a world for each test, members, the judge, the wire.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use database::Database;
pub(crate) use mariadb::MariaDb;
pub(crate) use member::{Ended, Member, MemberSetup};
pub(crate) use source::{Format, Source};
pub(crate) use world::World;

pub(crate) mod broker;
pub(crate) mod certificates;
pub(crate) mod cluster;
pub(crate) mod connector;
pub(crate) mod database;
pub(crate) mod file;
pub(crate) mod gate;
pub(crate) mod http;
pub(crate) mod judge;
pub(crate) mod kafka;
pub(crate) mod load;
pub(crate) mod mariadb;
pub(crate) mod member;
pub(crate) mod moments;
pub(crate) mod proxy;
pub(crate) mod server;
pub(crate) mod source;
pub(crate) mod wire;
pub(crate) mod world;

/// Long enough for anything that should happen at once, on a machine with other work.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Long enough for a member to start, to join and to catch up.
pub(crate) const LATER: Duration = Duration::from_secs(90);

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(20);

/// Where the services are, as `.stack.env` says it.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) brokers: String,
    pub(crate) registry: String,
    pub(crate) connect: String,
    pub(crate) source: String,
    pub(crate) source_admin: String,
    pub(crate) target: String,
    pub(crate) target_admin: String,
    /// A server with pgvector, for sources and for targets.
    pub(crate) vectors_admin: String,
}

impl Stack {
    /// Returns the stack; a test without one fails here, and says how to start it.
    pub(crate) fn get() -> &'static Self {
        static STACK: OnceLock<Stack> = OnceLock::new();
        STACK.get_or_init(|| {
            let stack = Self {
                brokers: variable("KAFKA_BOOTSTRAP_SERVERS"),
                registry: variable("SCHEMA_REGISTRY_URL"),
                connect: variable("CONNECT_URL"),
                source: variable("SOURCE_DATABASE_URL"),
                source_admin: variable("SOURCE_ADMIN_URL"),
                target: variable("TARGET_DATABASE_URL"),
                target_admin: variable("TARGET_ADMIN_URL"),
                vectors_admin: variable("VECTORS_ADMIN_URL"),
            };
            stack.must_answer();
            stack
        })
    }

    fn must_answer(&self) {
        let targets = [&self.target, &self.target_admin, &self.vectors_admin];
        for url in [&self.source, &self.source_admin].into_iter().chain(targets) {
            if let Err(error) = Database::try_open(url) {
                no_stack(&format!("{} does not answer: {error}", without_password(url)));
            }
        }
        if let Err(error) = kafka::try_cluster_id(&self.brokers) {
            no_stack(&format!("the broker {} does not answer: {error}", self.brokers));
        }
        for url in [format!("{}/connectors", self.connect), format!("{}/subjects", self.registry)] {
            match http::get(&url) {
                Ok(answer) if answer.status == 200 => {}
                Ok(answer) => no_stack(&format!("{url} answers {}", answer.status)),
                Err(error) => no_stack(&format!("{url} does not answer: {error}")),
            }
        }
    }
}

fn variable(name: &str) -> String {
    let found = std::env::vars().find(|(key, _)| key == name);
    found.map_or_else(|| no_stack(&format!("{name} is not set")), |(_, value)| value)
}

fn no_stack(what: &str) -> ! {
    panic!("{what}; run `make stack`, then `set -a; . ./.stack.env; set +a`");
}

fn without_password(url: &str) -> &str {
    url.rsplit_once('@').map_or(url, |(_, place)| place)
}

/// Returns a port that nobody listens at.
pub(crate) fn free_port() -> u16 {
    let [port] = free_ports();
    port
}

/// Finds ports that are free, no two of them alike.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let bound = [(); N].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    bound.map(|listener| listener.local_addr().unwrap().port())
}

/// Runs a script with what the stack's own scripts share, and returns what it printed.
pub(crate) fn lib(script: &str, arguments: &[&str]) -> String {
    let script = format!("set -euo pipefail; . scripts/lib.sh; {script}");
    let mut command = std::process::Command::new("bash");
    command.args(["-c", &script, "test"]).args(arguments);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until `condition` holds; panics with `what` when the deadline comes first.
pub(crate) fn until(deadline: Duration, what: &str, condition: impl FnMut() -> bool) {
    assert!(within(deadline, condition), "not within {deadline:?}: {what}");
}

/// Waits until `condition` holds; returns false when the deadline comes first.
pub(crate) fn within(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    while !condition() {
        if Instant::now() > end {
            return false;
        }
        pause();
    }
    true
}

/// Waits until `find` finds something, and returns it.
pub(crate) fn until_some<T>(
    deadline: Duration,
    what: &str,
    mut find: impl FnMut() -> Option<T>,
) -> T {
    let mut found = None;
    until(deadline, what, || {
        found = find();
        found.is_some()
    });
    found.unwrap()
}

/// Lets `time` pass: only where the passing of time is what a test is about.
pub(crate) fn let_pass(time: Duration) {
    let end = Instant::now() + time;
    until(time * 2 + SOON, "time passes", || Instant::now() >= end);
}

#[expect(clippy::disallowed_methods, reason = "the tests have no runtime that this could block")]
fn pause() {
    std::thread::sleep(PAUSE);
}

/// Held by tests that put load on the machine, so that one of them runs at a time.
pub(crate) fn heavy() -> MutexGuard<'static, ()> {
    static HEAVY: Mutex<()> = Mutex::new(());
    HEAVY.lock().unwrap_or_else(PoisonError::into_inner)
}
