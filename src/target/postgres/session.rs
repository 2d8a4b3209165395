//! A session: one connection, its name in the server's lists, and a bound on every round trip.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::{
    Arguments, AssertSqlSafe, ConnectOptions, Connection, Encode, Executor, PgConnection, Postgres,
    Type,
};
use tokio::time::timeout;
use tracing::debug;
use uuid::Uuid;

use crate::settings::Secret;
use crate::target::postgres::known::Known;
use crate::target::postgres::{nodelay, sql};

/// How long a server may take to let us in.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// How long one round trip may take: beyond the server's own `statement_timeout`, which counts for each
/// of the two statements that take long in one, so only a dead network reaches it.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(270);

/// How long a farewell may take.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// How many statements stay prepared: a few for each of a thousand tables.
const PREPARED_MAX: usize = 4096;

/// What every session of ours asks of the server.
const SETTINGS: [(&str, &str); 12] = [
    ("default_transaction_isolation", "read committed"),
    ("lock_timeout", "10s"),
    ("statement_timeout", "120s"),
    // A member that stops inside a transaction must not keep its locks. In the middle of a COPY no
    // time-out is running: there, who needs them ends it.
    ("idle_in_transaction_session_timeout", "60s"),
    // A member whose host is gone must not keep them either.
    ("tcp_keepalives_idle", "15"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "30s"),
    // Rows that a policy hides would be kept, or missed, in silence: an error says so.
    ("row_security", "off"),
    // sqlx reads octets in text in no other form.
    ("bytea_output", "hex"),
    // To compile a statement takes longer than it saves on one of ours; a server does it where it
    // believes that much is read: for questions to a large catalogue, each time.
    ("jit", "off"),
    // Nobody reads while a COPY is sent: a trigger's notices would fill the way back.
    ("client_min_messages", "error"),
];

/// Whether the settings are there: some poolers drop them without a word.
const HAS_SETTINGS: &str = "SELECT pg_catalog.current_setting('row_security') = 'off'
AND pg_catalog.current_setting('lock_timeout') = '10s'";

const SETTINGS_DROPPED: &str = "the settings of our session did not reach it: a pooler stands between, \
and the target must be the server's own address";

/// The name of a lane at the target: the same for all its connections, so that it is known also
/// after a connection was lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Token(String);

impl Token {
    /// How many characters a token has.
    pub(super) const LENGTH: i32 = 19;

    /// Draws a token.
    pub(super) fn draw() -> Self {
        let random = Uuid::new_v4().simple().to_string();
        Self(format!("ai-{}", random.get(..16).unwrap_or_default()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where the server is, and who asks; never printed, as it has the password.
pub(super) struct Address {
    pub(super) options: PgConnectOptions,
    /// What has the password by now.
    pub(super) password_file: Option<PathBuf>,
}

impl Address {
    fn now(&self) -> Result<PgConnectOptions, sqlx::Error> {
        let options = self.options.clone();
        let Some(path) = &self.password_file else { return Ok(options) };
        let password = Secret::from_file(path).map_err(io::Error::other)?;
        Ok(options.password(password.expose()))
    }
}

/// A connection that is ready for a statement.
#[derive(Debug)]
pub(super) struct Session {
    connection: PgConnection,
    name: String,
    /// Whether what `sql::prepare` prepares is there.
    is_prepared: bool,
    /// What it has read of tables.
    pub(super) known: Known,
}

impl Session {
    /// Connects; `number` tells the connections of one lane apart.
    pub(super) async fn open(
        address: &Address,
        token: &Token,
        number: u32,
    ) -> Result<Self, sqlx::Error> {
        let name = format!("{} {number} ", token.as_str());
        let options = address
            .now()?
            .application_name(&format!("{name}afterimage {}", env!("CARGO_PKG_VERSION")))
            .options(SETTINGS)
            .statement_cache_capacity(PREPARED_MAX)
            .disable_statement_logging();
        let mut connection = bounded(CONNECT_MAX, options.connect()).await?;
        if nodelay::set(options.get_port()) == 0 {
            debug!("the connection's socket is not among those of the process: it may send late");
        }
        let has_settings = sqlx::query_scalar(HAS_SETTINGS).fetch_one(&mut connection);
        if !bounded(CONNECT_MAX, has_settings).await? {
            return Err(sqlx::Error::Configuration(SETTINGS_DROPPED.into()));
        }
        Ok(Self { connection, name, is_prepared: false, known: Known::default() })
    }

    /// Returns what the connection's `application_name` begins with, and no other's.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Runs a prepared statement and returns its rows.
    pub(super) async fn fetch(
        &mut self,
        sql: String,
        arguments: PgArguments,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        let query = sqlx::query_with(safe(sql), arguments);
        bounded(ROUND_TRIP_MAX, self.connection.fetch_all(query)).await
    }

    /// Runs a prepared statement and returns how many rows it touched.
    pub(super) async fn run(
        &mut self,
        sql: String,
        arguments: PgArguments,
    ) -> Result<u64, sqlx::Error> {
        let query = sqlx::query_with(safe(sql), arguments);
        let done = bounded(ROUND_TRIP_MAX, self.connection.execute(query)).await?;
        Ok(done.rows_affected())
    }

    /// Begins a transaction that may run what [`sql::prepare`] prepares, and runs further statements in
    /// the same round trip; returns their rows, as text.
    pub(super) async fn begin(
        &mut self,
        further: Option<String>,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        let prepare = (!self.is_prepared).then(sql::prepare);
        let parts = [Some(sql::START.to_owned()), prepare, further];
        let statements = parts.into_iter().flatten().collect::<Vec<_>>().join(";\n");
        // They stay also if what comes behind them fails; should they be missing, the error ends the
        // session.
        self.is_prepared = true;
        self.fetch_all(statements).await
    }

    /// Runs statements without arguments in one round trip, and returns the rows of all of them, as
    /// text.
    pub(super) async fn fetch_all(&mut self, sql: String) -> Result<Vec<PgRow>, sqlx::Error> {
        let query = sqlx::raw_sql(safe(sql));
        bounded(ROUND_TRIP_MAX, self.connection.fetch_all(query)).await
    }

    /// Runs statements without arguments in one round trip.
    pub(super) async fn run_all(&mut self, sql: String) -> Result<(), sqlx::Error> {
        let query = sqlx::raw_sql(safe(sql));
        bounded(ROUND_TRIP_MAX, self.connection.execute(query)).await.map(drop)
    }

    /// Runs a COPY from here, of data in parts.
    pub(super) async fn copy(
        &mut self,
        sql: &str,
        parts: impl Iterator<Item = Vec<u8>>,
    ) -> Result<(), sqlx::Error> {
        let mut copy = bounded(ROUND_TRIP_MAX, self.connection.copy_in_raw(sql)).await?;
        for part in parts {
            bounded(ROUND_TRIP_MAX, copy.send(part)).await?;
        }
        bounded(ROUND_TRIP_MAX, copy.finish()).await.map(drop)
    }

    /// Says farewell, so that the server lets go of locks at once.
    pub(super) async fn close(self) {
        _ = timeout(CLOSE_MAX, self.connection.close()).await;
    }
}

/// Adds a parameter.
pub(super) fn bind<'q, T: Encode<'q, Postgres> + Type<Postgres>>(
    arguments: &mut PgArguments,
    value: T,
) -> Result<(), sqlx::Error> {
    arguments.add(value).map_err(sqlx::Error::Encode)
}

/// Gives SQL text to sqlx: all of it comes from `sql.rs`, where values are binds or spelled as literals,
/// and names are quoted, or is DDL that the batch carries, made by the same hands.
fn safe(sql: String) -> AssertSqlSafe<String> {
    AssertSqlSafe(sql)
}

/// Ends what hangs on the network as an error of the network.
async fn bounded<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    match timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(sqlx::Error::Io(io::Error::from(io::ErrorKind::TimedOut))),
    }
}
