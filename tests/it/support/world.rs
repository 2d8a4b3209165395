//! A world for a test: a name that nobody else has, and a target database that goes with it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use url::Url;

use crate::support::proxy::Proxy;
use crate::support::{
    Database, LATER, MemberSetup, SOON, Source, Stack, judge, kafka, until, within,
};

/// Where partitions stand: next offset by topic and partition.
pub(crate) type Offsets = BTreeMap<(String, i32), i64>;

/// Everything that a test has for itself.
#[derive(Debug)]
pub(crate) struct World {
    /// The name of the target database, of the group and of the sink; topics begin with it.
    pub(crate) name: String,
    /// A superuser's connection to the target database.
    pub(crate) target: Database,
    topics: std::cell::RefCell<Vec<String>>,
}

impl World {
    /// Makes a world; `test` is a short word for its names.
    pub(crate) fn new(test: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("it_{test}_{:x}{number:02x}", since & 0xffff_ffff);
        let stack = Stack::get();
        let admin = Database::open(&stack.target_admin);
        let mut refused = String::new();
        // Fails while another test copies the same template.
        let made = within(SOON, || match admin.try_run(&format!("CREATE DATABASE {name}")) {
            Ok(()) => true,
            Err(error) => {
                refused = error;
                false
            }
        });
        assert!(made, "cannot make the target database: {refused}");
        admin.run(&format!("GRANT CREATE ON DATABASE {name} TO writer"));
        let target = Database::open(&at(&stack.target_admin, &name));
        target.run("GRANT CREATE ON SCHEMA public TO writer");
        fs::create_dir_all(folder(&name)).unwrap();
        Self { name, target, topics: std::cell::RefCell::default() }
    }

    /// Makes a schema at the source, named as this world, and runs `ddl` in it.
    pub(crate) fn source(&self, ddl: &str) -> Source {
        Source::at(&Stack::get().source_admin, &self.name, ddl)
    }

    /// Makes a topic of one partition for records put there by hand; it goes with the world.
    pub(crate) fn topic(&self, table: &str, settings: &[(&str, &str)]) -> String {
        self.topic_of(1, table, settings)
    }

    /// Makes such a topic of several partitions.
    pub(crate) fn topic_of(
        &self,
        partitions: i32,
        table: &str,
        settings: &[(&str, &str)],
    ) -> String {
        let topic = format!("{}.{table}", self.name);
        kafka::create_topic(&topic, partitions, settings);
        self.topics.borrow_mut().push(topic.clone());
        topic
    }

    /// Makes a topic of one partition that the members do not read; it goes with the world.
    pub(crate) fn other_topic(&self, what: &str) -> String {
        let topic = format!("{what}-{}", self.name);
        kafka::create_topic(&topic, 1, &[("max.message.bytes", "10485760")]);
        self.topics.borrow_mut().push(topic.clone());
        topic
    }

    /// Returns the writer's URL of the target database.
    pub(crate) fn target_url(&self) -> String {
        at(&Stack::get().target, &self.name)
    }

    /// Returns the writer's URL through a proxy.
    pub(crate) fn target_url_through(&self, proxy: &Proxy) -> String {
        let mut url = Url::parse(&self.target_url()).unwrap();
        url.set_ip_host(proxy.address().ip()).unwrap();
        url.set_port(Some(proxy.address().port())).unwrap();
        url.into()
    }

    /// Begins a member of this world's group; `label` names its log.
    pub(crate) fn member(&self, label: &str) -> MemberSetup {
        MemberSetup::new(self, label)
    }

    /// Returns where the logs of the members are.
    pub(crate) fn folder(&self) -> PathBuf {
        folder(&self.name)
    }

    /// Returns the checkpoint; empty while the program has not made the table.
    pub(crate) fn checkpoint(&self) -> Offsets {
        if !self.target.has("afterimage.checkpoint") {
            return Offsets::new();
        }
        let rows = self.target.rows(&format!(
            "SELECT topic, partition, next_offset FROM afterimage.checkpoint WHERE sink = '{}'",
            self.name
        ));
        let offset = |row: Vec<Option<String>>| {
            let [topic, partition, next] = <[_; 3]>::try_from(row).unwrap().map(Option::unwrap);
            ((topic, partition.parse().unwrap()), next.parse().unwrap())
        };
        rows.into_iter().map(offset).collect()
    }

    /// Returns how many offsets the checkpoint has passed.
    pub(crate) fn progress(&self) -> i64 {
        self.checkpoint().values().sum()
    }

    /// Waits until members have moved the checkpoint beyond `before`.
    pub(crate) fn until_beyond(&self, before: i64) {
        until(LATER, "the checkpoint moves", || self.progress() > before);
    }

    /// Waits until every checkpoint row stands at its partition's end.
    pub(crate) fn until_at_ends(&self, prefix: &str) {
        let mut seen = (Offsets::new(), Offsets::new());
        let reached = within(LATER, || {
            seen = (kafka::ends(&format!("{prefix}.")), self.checkpoint());
            // A partition that never had a record may have no row.
            let at_end = |(partition, end): (&(String, i32), &i64)| {
                seen.1.get(partition).map_or(*end == 0, |next| next == end)
            };
            !seen.0.is_empty() && seen.0.iter().all(at_end)
        });
        assert!(reached, "the checkpoint is not at the ends: {seen:?}");
    }

    /// Returns the dead letters: table's topic, offset, reason, error.
    pub(crate) fn dead_letters(&self) -> Vec<(i64, String, String)> {
        if !self.target.has("afterimage.dead_letter") {
            return Vec::new();
        }
        let rows = self.target.rows(
            "SELECT record_offset, reason, error FROM afterimage.dead_letter
             ORDER BY topic, partition, record_offset",
        );
        let letter = |row: Vec<Option<String>>| {
            let [offset, reason, error] = <[_; 3]>::try_from(row).unwrap();
            (offset.unwrap().parse().unwrap(), reason.unwrap(), error.unwrap_or_default())
        };
        rows.into_iter().map(letter).collect()
    }

    /// Returns how many sessions of the target database somebody has ended from outside.
    pub(crate) fn sessions_killed(&self) -> i64 {
        self.target.number(
            "SELECT sessions_killed FROM pg_stat_database WHERE datname = current_database()",
        )
    }

    /// Returns what the judge says now of tables of this world, at the source and at the target.
    pub(crate) fn compare(&self, tables: &[&str]) -> judge::Verdict {
        judge::compare(&Stack::get().source_admin, self.target.url(), &self.qualified(tables))
    }

    /// Waits until the judge finds the tables equal.
    pub(crate) fn until_equal(&self, tables: &[&str]) {
        self.until_equal_within(LATER, tables);
    }

    /// Waits that long until the judge finds the tables equal.
    pub(crate) fn until_equal_within(&self, deadline: Duration, tables: &[&str]) {
        let tables = self.qualified(tables);
        judge::until_equal(deadline, &Stack::get().source_admin, self.target.url(), &tables);
    }

    fn qualified(&self, tables: &[&str]) -> Vec<String> {
        tables.iter().map(|table| format!("{}.{table}", self.name)).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        kafka::delete_topics(&self.topics.take());
        let gone = within(Duration::from_secs(10), || {
            let Ok(admin) = Database::try_open(&Stack::get().target_admin) else { return false };
            admin.try_run(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).is_ok()
        });
        if !gone {
            eprintln!("the database {} is left at the target", self.name);
        }
    }
}

/// Returns the URL with another database in it.
pub(crate) fn at(url: &str, database: &str) -> String {
    let mut url = Url::parse(url).unwrap();
    url.set_path(database);
    url.into()
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/it").join(name)
}
