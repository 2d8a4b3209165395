//! SQLite: one file that holds the replicated tables and our own, with the prefix `afterimage_`.
//!
//! The file is in WAL mode with `synchronous = NORMAL`: a power cut may take back the newest commits,
//! but rows and offsets lie in one file and one transaction, so they go back together and the records
//! are read again. Only one connection writes at a time; within a process they take turns in the
//! order they came, because SQLite's own waiting is a poll that a busy neighbour can starve.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, SqliteConnection};
use uuid::Uuid;

use crate::batch::{Folded, Lead, Replay};
use crate::checkpoint::{Claim, NextOffset};
use crate::decode::value::Value;
use crate::identity::{KeyMet, Remembered};
use crate::moves::{MoveRequest, Moved};
use crate::record::TopicPartition;
use crate::refused::DeadLetter;
use crate::stopped::Stop;
use crate::table::TableName;
use crate::target::sqlite::apply::Written;
use crate::target::{
    Applied, Claims, Dialect, Existing, Holding, Sink, Target, TargetError, Touched, text,
};

mod amend;
mod apply;
mod catalog;
mod ddl;
mod encode;
mod error;
mod fence;
mod guard;
mod identity;
mod inspect;
mod kept;
mod leads;
mod moves;
mod plain;
mod sql;
mod taken;
#[cfg(test)]
mod tests;

pub use plain::{Plain, PlainRow};

/// How long a writer waits for the others: longer than any transaction should take, shorter than a
/// claim may hold up a rebalance.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);

/// Pages kept in memory by each connection, in KiB: a random update finds its page there.
const CACHE_KIB: u32 = 32 << 10;

/// Pages in the log before they go into the file: with SQLite's own 1,000 every batch of updates
/// writes its pages twice at once, which cost a quarter of the rows a second.
const WAL_PAGES: u32 = 16 << 10;

/// A SQLite database as a target.
#[derive(Debug)]
pub struct Sqlite {
    file: PathBuf,
    sink: Sink,
    session: String,
    writer: Arc<Turn>,
    connection: Option<SqliteConnection>,
}

/// Whose turn it is to write; a fair queue.
type Turn = tokio::sync::Mutex<()>;

/// An open transaction: dropped, it closes its connection, which takes everything back.
struct Writing {
    connection: SqliteConnection,
    /// The moment that all rows and marks of the transaction carry.
    now: SystemTime,
    _turn: tokio::sync::OwnedMutexGuard<()>,
}

impl Sqlite {
    /// Takes a file, which is made at the first use if it does not exist.
    pub fn new(file: impl Into<PathBuf>, sink: Sink) -> Self {
        let file = file.into();
        let writer = turn_of(&file);
        let session = Uuid::new_v4().simple().to_string();
        Self { file, sink, session, writer, connection: None }
    }

    /// Returns the connection, which the caller puts back once it has done its work: one that has
    /// failed is not used again.
    async fn connection(&mut self) -> Result<SqliteConnection, TargetError> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let options = SqliteConnectOptions::new()
            .filename(&self.file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(LOCK_WAIT_MAX)
            // As SQLite itself has it: the source has checked its keys, and its cascades arrive as
            // deletes of their own.
            .foreign_keys(false)
            .pragma("cache_size", format!("-{CACHE_KIB}"))
            .pragma("wal_autocheckpoint", WAL_PAGES.to_string())
            .disable_statement_logging();
        // Nobody waits for the lock that a new file's change to a write-ahead log takes.
        let _turn = self.turn().await?;
        let mut connection = options.connect().await.map_err(TargetError::of_sqlite)?;
        self.bootstrap(&mut connection).await?;
        Ok(connection)
    }

    /// Opens the file to be looked at, so that nothing can be written; `None` when there is none.
    async fn look(&self) -> Result<Option<SqliteConnection>, TargetError> {
        if !self.file.exists() {
            return Ok(None);
        }
        let options = SqliteConnectOptions::new()
            .filename(&self.file)
            .read_only(true)
            .busy_timeout(LOCK_WAIT_MAX)
            .disable_statement_logging();
        options.connect().await.map(Some).map_err(TargetError::of_sqlite)
    }

    /// Makes our own tables where they are missing.
    async fn bootstrap(&self, connection: &mut SqliteConnection) -> Result<(), TargetError> {
        let found = sqlx::query(sql::IS_BOOTSTRAPPED)
            .fetch_optional(&mut *connection)
            .await
            .map_err(TargetError::of_sqlite)?;
        if found.is_none() {
            execute(connection, "BEGIN IMMEDIATE").await?;
            for (table, column, statement) in sql::ADDED_COLUMNS {
                let lacks = sqlx::query_scalar::<_, bool>(sql::LACKS_COLUMN).bind(table);
                let lacks = lacks.bind(column).fetch_one(&mut *connection).await;
                if lacks.map_err(TargetError::of_sqlite)? {
                    execute(connection, statement).await?;
                }
            }
            for statement in sql::BOOTSTRAP {
                execute(connection, statement).await?;
            }
            execute(connection, "COMMIT").await?;
        }
        let version = sqlx::query_scalar::<_, Option<i64>>(sql::NEWEST_VERSION)
            .fetch_one(&mut *connection)
            .await
            .map_err(TargetError::of_sqlite)?;
        if version.unwrap_or_default() > sql::VERSION {
            let reason =
                "the tables with the prefix afterimage_ are of a newer version of consumer";
            return Err(TargetError::Statement(reason.into()));
        }
        Ok(())
    }

    async fn turn(&self) -> Result<tokio::sync::OwnedMutexGuard<()>, TargetError> {
        let turn = Arc::clone(&self.writer).lock_owned();
        let waited = tokio::time::timeout(LOCK_WAIT_MAX, turn).await;
        waited.map_err(|_| TargetError::Busy("another lane of this process is writing".into()))
    }

    async fn begin_writing(&mut self) -> Result<Writing, TargetError> {
        let mut connection = self.connection().await?;
        let turn = self.turn().await?;
        execute(&mut connection, "BEGIN IMMEDIATE").await?;
        // Read under the lock, so that later transactions carry later times.
        Ok(Writing { connection, now: SystemTime::now(), _turn: turn })
    }

    /// Ends a replay's transaction, with its dead letter where the row is written.
    async fn end_replay(
        &mut self,
        mut writing: Writing,
        replay: &Replay,
        written: Written,
        letters: &[DeadLetter],
    ) -> Result<Applied, TargetError> {
        let (refused, older) = match written {
            Written::All { refused, older } => (refused, older),
            Written::Refused(rows) => {
                self.end(writing, "ROLLBACK").await?;
                return Ok(Applied::Refused { rows });
            }
        };
        let is_kept_out = !letters.is_empty() || !refused.is_empty() || older > 0;
        let has_ended = is_kept_out || kept::settle(&mut writing, &self.sink, replay).await?;
        self.end(writing, if has_ended { "COMMIT" } else { "ROLLBACK" }).await?;
        let partitions = vec![replay.partition.clone()];
        Ok(match has_ended {
            true => Applied::Committed { refused, older },
            false => Applied::Fenced { partitions },
        })
    }

    /// Ends a transaction by `COMMIT` or `ROLLBACK`, and keeps its connection.
    async fn end(&mut self, mut writing: Writing, how: &'static str) -> Result<(), TargetError> {
        execute(&mut writing.connection, how).await?;
        self.connection = Some(writing.connection);
        Ok(())
    }
}

/// Returns a value's canonical text; `None` for what is no text: NULL and octets.
pub fn text_of(value: Value<'_>) -> Option<String> {
    let mut out = Vec::new();
    text::write(value, &mut out).ok()?;
    String::from_utf8(out).ok()
}

/// Returns the queue of those in this process that write a file.
fn turn_of(file: &Path) -> Arc<Turn> {
    static TURNS: Mutex<BTreeMap<PathBuf, Weak<Turn>>> = Mutex::new(BTreeMap::new());
    let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    turns.retain(|_, turn| turn.strong_count() > 0);
    if let Some(turn) = turns.get(file).and_then(Weak::upgrade) {
        return turn;
    }
    let turn = Arc::new(Turn::default());
    turns.insert(file.to_owned(), Arc::downgrade(&turn));
    turn
}

async fn execute(
    connection: &mut SqliteConnection,
    statement: &'static str,
) -> Result<(), TargetError> {
    let done = sqlx::query(statement).execute(connection).await;
    done.map(|_| ()).map_err(TargetError::of_sqlite)
}

/// Returns a moment as our tables hold it: ISO 8601, UTC, microseconds; the order of the texts is
/// the order of the moments.
fn time_text(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    text::of_moment(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
}

impl Target for Sqlite {
    const DIALECT: Dialect = ddl::DIALECT;

    async fn claim(
        &mut self,
        partitions: &[TopicPartition],
        token: Uuid,
        take_over: bool,
    ) -> Result<Claims, TargetError> {
        let mut writing = self.begin_writing().await?;
        let claimant = fence::Claimant { sink: &self.sink, session: &self.session, token };
        let claims = fence::claim(&mut writing, claimant, partitions, take_over).await?;
        self.end(writing, "COMMIT").await?;
        Ok(claims)
    }

    async fn begin(&mut self, first: &[(TopicPartition, NextOffset)]) -> Result<(), TargetError> {
        let mut writing = self.begin_writing().await?;
        fence::begin(&mut writing, &self.sink, first).await?;
        self.end(writing, "COMMIT").await
    }

    async fn release(&mut self, claims: &[(TopicPartition, Claim)]) -> Result<(), TargetError> {
        let mut writing = self.begin_writing().await?;
        fence::set_time(&mut writing, &self.sink, sql::RELEASE, claims).await?;
        self.end(writing, "COMMIT").await
    }

    async fn touch(&mut self, holdings: &[Holding]) -> Result<Touched, TargetError> {
        let mut writing = self.begin_writing().await?;
        let claims = holdings.iter().map(|held| (held.partition.clone(), held.claim));
        let claims = claims.collect::<Vec<_>>();
        fence::set_time(&mut writing, &self.sink, sql::TOUCH, &claims).await?;
        moves::forget(&mut writing, &self.sink).await?;
        let met = leads::met(&mut writing.connection).await?;
        let mut touched = Touched { met, ..Touched::default() };
        for Holding { partition, claim, next } in holdings {
            let place = (partition, *claim, *next);
            match fence::stand(&mut writing.connection, &self.sink, place).await? {
                Some(true) => touched.stopped.push(partition.clone()),
                Some(false) => {}
                None => touched.elsewhere.push(partition.clone()),
            }
        }
        self.end(writing, "COMMIT").await?;
        Ok(touched)
    }

    async fn identify(
        &mut self,
        claims: &[(TopicPartition, Claim, Remembered)],
    ) -> Result<(), TargetError> {
        let mut writing = self.begin_writing().await?;
        identity::write(&mut writing, &self.sink, claims).await?;
        self.end(writing, "COMMIT").await
    }

    async fn places(
        &mut self,
        topic: &str,
    ) -> Result<Vec<(TopicPartition, NextOffset)>, TargetError> {
        let mut writing = self.begin_writing().await?;
        let places = identity::places(&mut writing, &self.sink, topic).await?;
        self.end(writing, "COMMIT").await?;
        Ok(places)
    }

    async fn meet_keys(&mut self, met: &[KeyMet]) -> Result<Vec<bool>, TargetError> {
        let mut writing = self.begin_writing().await?;
        let mut accepted = Vec::with_capacity(met.len());
        for met in met {
            accepted.push(identity::meet_key(&mut writing, &self.sink, met).await?);
        }
        self.end(writing, "COMMIT").await?;
        Ok(accepted)
    }

    async fn mark(
        &mut self,
        partition: &TopicPartition,
        claim: Claim,
        stop: Option<&Stop>,
    ) -> Result<(), TargetError> {
        let mut writing = self.begin_writing().await?;
        fence::mark(&mut writing, &self.sink, (partition, claim), stop).await?;
        self.end(writing, "COMMIT").await
    }

    async fn tables(&mut self, names: &[TableName]) -> Result<Vec<Existing>, TargetError> {
        let mut connection = self.connection().await?;
        let mut tables = Vec::with_capacity(names.len());
        for name in names {
            let table = catalog::read(&mut connection, name).await?;
            let leaders = leads::read(&mut connection, name).await?;
            tables.push(Existing { table, leaders });
        }
        self.connection = Some(connection);
        Ok(tables)
    }

    async fn contest(&mut self, lead: &Lead) -> Result<(), TargetError> {
        let mut writing = self.begin_writing().await?;
        let now = time_text(writing.now);
        leads::keep(&mut writing.connection, lead, &now).await?;
        self.end(writing, "COMMIT").await
    }

    async fn moved(&mut self, request: &MoveRequest) -> Result<Option<Moved>, TargetError> {
        let Some((departure, step)) = &request.leaves else {
            let mut connection = self.connection().await?;
            let moved = moves::find_left(&mut connection, &self.sink, request).await?;
            self.connection = Some(connection);
            return Ok(moved);
        };
        // What the row would leave if its batch were written now.
        let mut writing = self.begin_writing().await?;
        let (connection, steps) = (&mut writing.connection, std::slice::from_ref(step));
        let table = (&*request.shape, std::slice::from_ref(departure));
        moves::leave(connection, &self.sink, table, steps, "").await?;
        let moved = moves::find_left(connection, &self.sink, request).await?;
        self.end(writing, "ROLLBACK").await?;
        Ok(moved)
    }

    async fn apply(&mut self, batch: &Folded) -> Result<Applied, TargetError> {
        let mut writing = self.begin_writing().await?;
        let written = match apply::write(&mut writing, &self.sink, batch).await {
            Err(TargetError::Row(fault)) => {
                self.end(writing, "ROLLBACK").await?;
                writing = self.begin_writing().await?;
                apply::search(&mut writing, &self.sink, batch, &fault).await?
            }
            written => written?,
        };
        if let Some(replay) = &batch.replay {
            return self.end_replay(writing, replay, written, &batch.dead_letters).await;
        }
        let fenced = fence::advance(&mut writing, &self.sink, &self.session, &batch.steps).await?;
        let (refused, older) = match written {
            Written::All { refused, older } if fenced.is_empty() => {
                self.end(writing, "COMMIT").await?;
                return Ok(Applied::Committed { refused, older });
            }
            Written::Refused(rows) if fenced.is_empty() => {
                self.end(writing, "ROLLBACK").await?;
                return Ok(Applied::Refused { rows });
            }
            Written::All { refused, older } => (refused, older),
            Written::Refused(_) => (Vec::new(), 0),
        };
        self.end(writing, "ROLLBACK").await?;
        let mut connection = self.connection().await?;
        let has_arrived = fence::has_arrived(&mut connection, &self.sink, &batch.steps).await?;
        self.connection = Some(connection);
        Ok(match has_arrived {
            true => Applied::Committed { refused, older },
            false => Applied::Fenced { partitions: fenced },
        })
    }
}
