//! A source of its own for a test: a schema, a publication, and connectors that go with it.

use std::cell::RefCell;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Database, LATER, SOON, connector, kafka, until, within};

/// How the records of a connector are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// JSON with the schema in each record.
    Json,
    /// JSON without schemas.
    Plain,
    /// Avro, with the schemas in the registry.
    Avro,
}

impl Format {
    /// The connector as the project configures it.
    fn template(self) -> &'static str {
        match self {
            Self::Json => "postgres-connector.json",
            Self::Plain => "postgres-schemaless.json",
            Self::Avro => "postgres-avro.json",
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Json => "",
            Self::Plain => "_plain",
            Self::Avro => "_avro",
        }
    }
}

/// A schema at the source with its publication and its connectors; all of it goes on drop.
#[derive(Debug)]
pub(crate) struct Source {
    name: String,
    /// A superuser's connection whose search path is the schema.
    pub(crate) database: Database,
    connectors: RefCell<Vec<String>>,
}

impl Source {
    /// Makes the schema `name` on a server, and runs `ddl` in it.
    pub(crate) fn at(url: &str, name: &str, ddl: &str) -> Self {
        let database = Database::open(url);
        database.run(&format!(
            "CREATE SCHEMA {name}; SET search_path = {name};
             GRANT USAGE ON SCHEMA {name} TO debezium;
             ALTER DEFAULT PRIVILEGES IN SCHEMA {name} GRANT SELECT ON TABLES TO debezium;
             CREATE PUBLICATION {name} FOR TABLES IN SCHEMA {name}"
        ));
        let source = Self { name: name.to_owned(), database, connectors: RefCell::default() };
        source.database.run(ddl);
        source
    }

    /// Returns another connection, for a thread or a session of its own.
    pub(crate) fn session(&self) -> Database {
        let database = Database::open(self.database.url());
        database.run(&format!("SET search_path = {}", self.name));
        database
    }

    /// Starts a connector for the whole schema, and waits until it streams; returns the prefix of
    /// its topics.
    pub(crate) fn connect(&self, format: Format) -> String {
        self.connect_with(format, format.suffix(), &[])
    }

    /// Starts a connector that differs in some settings, under a suffix of its own.
    pub(crate) fn connect_with(
        &self,
        format: Format,
        suffix: &str,
        settings: &[(String, String)],
    ) -> String {
        let prefix = format!("{}{suffix}", self.name);
        self.connectors.borrow_mut().push(prefix.clone());
        let mut config = config(format, &self.name, &prefix);
        let set = settings.iter().map(|(name, value)| (name.clone(), json!(value)));
        config.as_object_mut().unwrap().extend(set);
        connector::start(&prefix, &config);
        until(LATER, &format!("the connector {prefix} streams"), || self.streams(&prefix));
        prefix
    }

    /// The snapshot is done when the slot has somebody who reads it.
    fn streams(&self, prefix: &str) -> bool {
        connector::must_not_have_failed(prefix);
        self.database
            .holds(&format!("SELECT active FROM pg_replication_slots WHERE slot_name = '{prefix}'"))
    }

    /// Has the connectors end and go on where they were, with producers of their own.
    pub(crate) fn restart(&self) {
        for name in self.connectors.borrow().iter() {
            let config = connector::config(name);
            connector::remove(name);
            until(LATER, &format!("the connector {name} ends"), || !self.streams(name));
            connector::start(name, &config);
            until(LATER, &format!("the connector {name} streams"), || self.streams(name));
        }
    }

    /// Has the connectors' slots be lost, the source go on meanwhile, and all be read again.
    pub(crate) fn lose_slots(&self, meanwhile: &str) {
        let names = self.connectors.borrow();
        let mut configs = names.iter().map(|name| connector::config(name)).collect::<Vec<_>>();
        for name in names.iter() {
            connector::remove(name);
            self.drop_slot(name);
        }
        self.database.run(meanwhile);
        for (name, config) in names.iter().zip(&mut configs) {
            config["snapshot.mode"] = json!("when_needed");
            connector::start(name, config);
            until(LATER, &format!("the connector {name} streams"), || self.streams(name));
        }
    }

    fn drop_slot(&self, name: &str) {
        let slot = format!("FROM pg_replication_slots WHERE slot_name = '{name}'");
        within(SOON, || {
            let sql = format!("SELECT pg_drop_replication_slot(slot_name) {slot} AND NOT active");
            _ = self.database.try_run(&sql);
            self.database.number(&format!("SELECT count(*) {slot}")) == 0
        });
    }

    fn remove(&self, prefix: &str) {
        connector::remove(prefix);
        self.drop_slot(prefix);
        let mut topics = kafka::topics(&format!("{prefix}."));
        topics.push(format!("__debezium-heartbeat.{prefix}"));
        kafka::delete_topics(&topics);
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        for prefix in self.connectors.take() {
            self.remove(&prefix);
        }
        let name = &self.name;
        let gone = within(Duration::from_secs(10), || {
            let sql = format!("DROP PUBLICATION IF EXISTS {name}; DROP SCHEMA {name} CASCADE");
            self.database.try_run(&format!("SET lock_timeout = '2s'; {sql}")).is_ok()
        });
        if !gone {
            eprintln!("the schema {name} is left at the source");
        }
    }
}

/// The project's own configuration, with this test's names in it.
fn config(format: Format, schema: &str, prefix: &str) -> Value {
    let mut config = connector::template(format.template());
    let map = config.as_object_mut().unwrap();
    map.remove("table.include.list");
    for (key, value) in [
        ("name", prefix),
        ("topic.prefix", prefix),
        ("slot.name", prefix),
        ("publication.name", schema),
        ("schema.include.list", schema),
    ] {
        map.insert(key.to_owned(), json!(value));
    }
    config
}
