//! A source in MariaDB of a test's own: a database and connectors that go with it.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use crate::support::{connector, kafka, lib};

/// A database with its connectors; all of it goes on drop.
#[derive(Debug)]
pub(crate) struct MariaDb {
    name: String,
    connectors: RefCell<Vec<String>>,
}

impl MariaDb {
    /// Makes the database `name`, and runs `ddl` in it.
    pub(crate) fn new(name: &str, ddl: &str) -> Self {
        let source = Self { name: name.to_owned(), connectors: RefCell::default() };
        run_in("", &format!("CREATE DATABASE {name} CHARACTER SET utf8mb4"));
        source.run(ddl);
        source
    }

    /// Runs statements in a session of their own.
    pub(crate) fn run(&self, sql: &str) {
        run_in(&self.name, sql);
    }

    /// Starts a connector for the whole database that differs in some settings; returns the prefix
    /// of its topics.
    pub(crate) fn connect(&self, suffix: &str, settings: &[(&str, &str)]) -> String {
        let prefix = format!("{}_{suffix}", self.name);
        self.connect_as(&prefix, settings);
        prefix
    }

    /// Starts such a connector under a prefix that is given.
    pub(crate) fn connect_as(&self, prefix: &str, settings: &[(&str, &str)]) {
        static SERVERS: AtomicU32 = AtomicU32::new(0);
        self.connectors.borrow_mut().push(prefix.to_owned());
        // The server has each reader's id once, also of tests in other processes.
        let server = 200_000
            + std::process::id() % 1_000_000 * 100
            + SERVERS.fetch_add(1, Ordering::Relaxed);
        let mut config = connector::template("mariadb-connector.json");
        let map = config.as_object_mut().unwrap();
        for (key, value) in [
            ("name", prefix),
            ("topic.prefix", prefix),
            ("database.include.list", &self.name),
            ("database.server.id", &server.to_string()),
            ("schema.history.internal.kafka.topic", &history(prefix)),
            ("schema.history.internal.store.only.captured.tables.ddl", "true"),
        ]
        .iter()
        .chain(settings)
        {
            map.insert((*key).to_owned(), json!(value));
        }
        connector::start(prefix, &config);
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        for prefix in self.connectors.take() {
            connector::remove(&prefix);
            let mut topics = kafka::topics(&format!("{prefix}."));
            let heartbeat = format!("__debezium-heartbeat.{prefix}");
            topics.extend([heartbeat, history(&prefix), prefix]);
            kafka::delete_topics(&topics);
        }
        run_in("", &format!("DROP DATABASE {}", self.name));
    }
}

fn history(prefix: &str) -> String {
    format!("history.{prefix}")
}

fn run_in(database: &str, sql: &str) {
    let client = "mariadb --no-defaults --default-character-set=utf8mb4 -uroot \
                  -S $STACK/mariadb/mysqld.sock \"$1\" -e \"$2\"";
    lib(client, &[database, sql]);
}
