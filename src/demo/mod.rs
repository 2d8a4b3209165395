//! The demo: everything in one process, with a proof at the end.
//!
//! A broker, a source that knows only its own rows, a registry and an empty SQLite file. The members
//! are the real service, started by the command; what they are told stands in [`Member`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::kafka::mock::{Broker, BrokerError};
use crate::target::TargetError;
use crate::target::sqlite::Plain;

mod avro;
mod feed;
mod proof;
mod records;
mod registry;
mod source;
#[cfg(test)]
mod tests;
mod time;

pub use feed::Counts;
use feed::{Feed, PARTITIONS, TOPICS};
pub use proof::{Difference, Proof};
use registry::Registry;

/// Changes between two looks at what the members have applied.
const CHUNK: u64 = 256;

/// The share of the changes that are rows of the snapshot: one in five.
const SNAPSHOT_SHARE: u64 = 5;

/// How long the source rests between two changes once the load is done.
const TRICKLE: Duration = Duration::from_millis(50);

/// Makes every run the same.
const SEED: u64 = 20_260_101;

/// Marks a file as a demo's own, which the next demo may replace.
const MARK: &str = "afterimage_demo";

/// A demo that is under way.
pub struct Demo {
    feed: Feed,
    plain: Plain,
    database: PathBuf,
    registry: Registry,
    broker: Broker,
}

/// What a member must be told.
#[derive(Clone, Debug)]
pub struct Member {
    /// The broker.
    pub brokers: String,
    /// The topics.
    pub topics: Vec<String>,
    /// Properties that make a rebalance of the in-process broker quick.
    pub kafka_properties: Vec<(&'static str, &'static str)>,
    /// The registry.
    pub registry_url: String,
    /// The SQLite file of the target.
    pub database: PathBuf,
}

/// How far a demo is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Changes that the source has made.
    pub changes: u64,
    /// Records that it has sent.
    pub sent: u64,
    /// Records that the members have applied.
    pub applied: u64,
}

/// Why a demo cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The file is somebody's data.
    #[error("\"{}\" exists and was not made by a demo", .0.display())]
    NotOurs(PathBuf),
    /// The file cannot be replaced.
    #[error("cannot replace \"{}\"", .0.display())]
    Replace(PathBuf, #[source] std::io::Error),
    /// The registry cannot be served.
    #[error("cannot serve schemas on the loopback interface")]
    Registry(#[source] std::io::Error),
    /// The broker fails.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The file cannot be read or written.
    #[error("cannot use the target's file")]
    Database(#[from] TargetError),
    /// A partition is stopped.
    #[error("partition {partition} is stopped: {reason}")]
    Stopped {
        /// Which one.
        partition: String,
        /// Why.
        reason: String,
    },
    /// The members apply nothing.
    #[error("the members have applied nothing for {}", humantime::format_duration(*.0))]
    Stalled(Duration),
}

impl Demo {
    /// Starts the broker, the registry and an empty file; the default is a new one among the
    /// temporary files.
    ///
    /// # Errors
    ///
    /// [`DemoError::NotOurs`] when the file exists and is no earlier demo's; others when a part
    /// cannot be started.
    pub async fn start(database: Option<&Path>) -> Result<Self, DemoError> {
        let database = match database {
            Some(file) => {
                clear(file).await?;
                file.to_owned()
            }
            None => {
                let name = format!("afterimage-demo-{}.sqlite", uuid::Uuid::new_v4().simple());
                std::env::temp_dir().join(name)
            }
        };
        let mut plain = Plain::create(&database).await?;
        plain.execute(&format!("CREATE TABLE {MARK} (version INTEGER NOT NULL)")).await?;
        Ok(Self {
            feed: Feed::new(SEED),
            plain,
            database,
            registry: Registry::start().await.map_err(DemoError::Registry)?,
            broker: Broker::start(&TOPICS, i32::from(PARTITIONS))?,
        })
    }

    /// Returns what each member must be told.
    pub fn member(&self) -> Member {
        Member {
            brokers: self.broker.bootstrap_servers(),
            topics: TOPICS.map(str::to_owned).to_vec(),
            // The second member's join waits for the session's time-out, less a second.
            kafka_properties: vec![
                ("session.timeout.ms", "1500"),
                ("heartbeat.interval.ms", "200"),
            ],
            registry_url: self.registry.url().to_owned(),
            database: self.database.clone(),
        }
    }

    /// Returns where the target's file lies.
    pub fn database(&self) -> &Path {
        &self.database
    }

    /// Returns how far the demo is, to be watched while it works.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.feed.progress.subscribe()
    }

    /// Makes so many changes, the first of them as a snapshot, waiting for the members so that the
    /// broker drops nothing unread; ends early when it is told to stop.
    ///
    /// # Errors
    ///
    /// The members stand still, a partition is stopped, or a part of the demo fails.
    pub async fn load(&mut self, changes: u64, stop: &CancellationToken) -> Result<(), DemoError> {
        let snapshot = changes / SNAPSHOT_SHARE;
        for number in 0..changes {
            if number % CHUNK == 0 {
                self.feed.show();
                tokio::task::yield_now().await;
                if stop.is_cancelled() {
                    break;
                }
                if !self.feed.may_send() {
                    self.feed.wait(&mut self.plain, Feed::may_send).await?;
                }
            }
            self.feed.send(&self.broker, number < snapshot).await?;
        }
        self.feed.show();
        Ok(())
    }

    /// Makes a change now and then, until it is told to stop.
    ///
    /// # Errors
    ///
    /// As [`Demo::load`].
    pub async fn trickle(&mut self, stop: &CancellationToken) -> Result<(), DemoError> {
        while !stop.is_cancelled() {
            self.feed.send(&self.broker, false).await?;
            self.feed.look(&mut self.plain).await?;
            self.feed.show();
            tokio::select! {
                // Only ends the rest early.
                () = stop.cancelled() => {}
                () = tokio::time::sleep(TRICKLE) => {}
            }
        }
        Ok(())
    }

    /// Waits until the members have applied all that was sent.
    ///
    /// # Errors
    ///
    /// As [`Demo::load`].
    pub async fn finish_load(&mut self) -> Result<(), DemoError> {
        self.broker.flush()?;
        self.feed.wait(&mut self.plain, Feed::is_applied).await
    }

    /// Compares the target with the source, by plain SQL; to be called once the load is finished.
    ///
    /// # Errors
    ///
    /// The file cannot be read; that source and target differ is no error.
    pub async fn prove(&mut self) -> Result<Proof, DemoError> {
        self.feed.look(&mut self.plain).await?;
        proof::prove(&self.feed, &mut self.plain).await
    }
}

/// Removes an earlier demo's file, with what SQLite keeps beside it.
async fn clear(file: &Path) -> Result<(), DemoError> {
    if !file.exists() {
        return Ok(());
    }
    let mark = format!("SELECT 1 FROM sqlite_schema WHERE name = '{MARK}'");
    let is_ours = match Plain::open(file).await {
        Ok(mut plain) => plain.rows(&mark).await.is_ok_and(|rows| !rows.is_empty()),
        Err(_) => false,
    };
    if !is_ours {
        return Err(DemoError::NotOurs(file.to_owned()));
    }
    for suffix in ["", "-wal", "-shm"] {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(DemoError::Replace(file.to_owned(), error));
            }
            _ => {}
        }
    }
    Ok(())
}
