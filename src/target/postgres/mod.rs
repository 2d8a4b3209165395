//! PostgreSQL: sqlx for the wire, COPY and binary arrays for rows, a conditional update for the fence.

mod amend;
mod apply;
mod catalog;
mod columns;
mod copy;
mod ddl;
mod encode;
mod error;
mod fence;
mod guard;
mod identity;
mod inspect;
mod kept;
mod known;
mod labels;
mod leads;
mod letters;
mod moves;
mod named;
mod nodelay;
mod session;
mod sql;
mod taken;
mod tls;
mod widen;
mod writer;

use std::fmt;
use std::path::PathBuf;

use tracing::warn;
use uuid::Uuid;

use crate::batch::{Folded, Lead};
use crate::checkpoint::{Claim, NextOffset};
use crate::identity::{KeyMet, Remembered};
use crate::moves::{MoveRequest, Moved};
use crate::record::TopicPartition;
use crate::stopped::Stop;
use crate::table::TableName;
use crate::target::postgres::copy::Copying;
use crate::target::postgres::error::{Doing, target_error};
use crate::target::postgres::fence::{FormerOwners, Guard, Lane, Suspects, Wanted};
use crate::target::postgres::session::{Address, Session, Token};
use crate::target::{
    Applied, Claims, Dialect, Existing, Holding, Sink, Target, TargetError, Touched,
};

/// How often in a row a table may be found stale: its layout was then read anew each time, and the
/// reason lies elsewhere.
const STALE_MAX: u32 = 3;

/// A connection to PostgreSQL, opened when it is needed and anew after every error.
pub struct Postgres {
    address: Address,
    sink: Sink,
    token: Token,
    session: Option<Session>,
    /// How many connections there were; the guard's is number 0.
    connections: u32,
    is_bootstrapped: bool,
    /// Who owned what we hold before us, if they did not hand it over.
    former: FormerOwners,
    copying: Copying,
    /// The table that was found stale last, and how often since a batch was applied.
    stale: Option<(TableName, u32)>,
}

impl Postgres {
    /// Takes the target's address; nothing is connected yet. Where a file has the password, each new
    /// connection takes it from there.
    ///
    /// # Errors
    ///
    /// The URL cannot be read.
    pub fn new(url: &str, password_file: Option<PathBuf>, sink: Sink) -> Result<Self, TargetError> {
        let options = tls::options(url).map_err(|error| target_error(error, Doing::Other))?;
        Ok(Self {
            address: Address { options, password_file },
            sink,
            token: Token::draw(),
            session: None,
            connections: 0,
            is_bootstrapped: false,
            former: FormerOwners::new(),
            copying: Copying::default(),
            stale: None,
        })
    }

    /// Takes the session out, or opens one. What is done with it may be dropped half-way: the
    /// connection then goes with it, and the next call opens another.
    async fn session(&mut self) -> Result<Session, TargetError> {
        if let Some(session) = self.session.take() {
            return Ok(session);
        }
        self.connections += 1;
        let opened = Session::open(&self.address, &self.token, self.connections).await;
        opened.map_err(|error| target_error(error, Doing::Other))
    }

    /// Keeps the session for the next call, unless an error makes it doubtful.
    async fn keep<T>(
        &mut self,
        session: Session,
        result: Result<T, TargetError>,
    ) -> Result<T, TargetError> {
        match result {
            Ok(_) => self.session = Some(session),
            Err(_) => session.close().await,
        }
        result
    }

    /// Opens a session to a database in which our own tables are.
    async fn ready(&mut self) -> Result<Session, TargetError> {
        let mut session = self.session().await?;
        if self.is_bootstrapped {
            return Ok(session);
        }
        match ddl::bootstrap(&mut session).await {
            Ok(()) => {
                self.is_bootstrapped = true;
                Ok(session)
            }
            Err(error) => {
                session.close().await;
                Err(error)
            }
        }
    }

    fn lane(&self) -> Lane<'_> {
        Lane { sink: &self.sink, token: &self.token }
    }

    fn guard<'a>(&'a self, session: &Session, suspects: Suspects<'a>) -> Guard<'a> {
        let (address, name) = (&self.address, session.name().to_owned());
        Guard { address, lane: self.lane(), name, suspects }
    }

    /// Gives up on a table that stays stale however often it is read.
    fn doubt(&mut self, result: Result<Applied, TargetError>) -> Result<Applied, TargetError> {
        let table = match result {
            Err(TargetError::StaleLayout { table }) => table,
            other => {
                if other.is_ok() {
                    self.stale = None;
                }
                return other;
            }
        };
        let before = self.stale.take().filter(|(stale, _)| *stale == table);
        let count = before.map_or(0, |(_, count)| count) + 1;
        if count >= STALE_MAX {
            return Err(TargetError::Statement(
                format!("table \"{table}\" was read anew, and is still not as it was read").into(),
            ));
        }
        warn!(%table, "the table is no longer as it was read");
        self.stale = Some((table.clone(), count));
        Err(TargetError::StaleLayout { table })
    }
}

impl fmt::Debug for Postgres {
    /// Leaves out the address, which prints the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("sink", &self.sink)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

impl Target for Postgres {
    const DIALECT: Dialect = ddl::DIALECT;

    async fn claim(
        &mut self,
        partitions: &[TopicPartition],
        token: Uuid,
        take_over: bool,
    ) -> Result<Claims, TargetError> {
        let mut session = self.ready().await?;
        let wanted = Wanted { partitions, token, take_over };
        let guard = self.guard(&session, Suspects::Owners(wanted));
        let claimed = guard.watch(fence::claim(&mut session, self.lane(), wanted)).await;
        let claimed = claimed.map_err(|error| target_error(error, Doing::Other));
        let (claims, former) = self.keep(session, claimed).await?;
        self.former.extend(former);
        Ok(claims)
    }

    async fn begin(&mut self, first: &[(TopicPartition, NextOffset)]) -> Result<(), TargetError> {
        let mut session = self.ready().await?;
        let begun = fence::begin(&mut session, &self.sink, first).await;
        self.keep(session, begun.map_err(|error| target_error(error, Doing::Other))).await
    }

    async fn release(&mut self, claims: &[(TopicPartition, Claim)]) -> Result<(), TargetError> {
        let mut session = self.session().await?;
        let released = fence::touch(&mut session, &self.sink, claims, true).await;
        let released = released.map_err(|error| target_error(error, Doing::Other));
        self.keep(session, released).await?;
        for (partition, _) in claims {
            self.former.remove(partition);
        }
        Ok(())
    }

    async fn touch(&mut self, holdings: &[Holding]) -> Result<Touched, TargetError> {
        let mut session = self.session().await?;
        let claims = holdings.iter().map(|held| (held.partition.clone(), held.claim));
        let claims = claims.collect::<Vec<_>>();
        let touched = async {
            fence::touch(&mut session, &self.sink, &claims, false).await?;
            let arguments = fence::sink_arguments(&self.sink)?;
            session.run(sql::FORGET_MOVES.to_owned(), arguments).await?;
            let arguments = fence::sink_arguments(&self.sink)?;
            session.run(sql::FORGET_OLD_TAKEN.to_owned(), arguments).await?;
            let touched = fence::stand(&mut session, &self.sink, holdings).await?;
            Ok(Touched { met: leads::met(&mut session).await?, ..touched })
        }
        .await;
        self.keep(session, touched.map_err(|error| target_error(error, Doing::Other))).await
    }

    async fn identify(
        &mut self,
        claims: &[(TopicPartition, Claim, Remembered)],
    ) -> Result<(), TargetError> {
        let mut session = self.session().await?;
        let written = identity::write(&mut session, &self.sink, claims).await;
        self.keep(session, written.map_err(|error| target_error(error, Doing::Other))).await
    }

    async fn places(
        &mut self,
        topic: &str,
    ) -> Result<Vec<(TopicPartition, NextOffset)>, TargetError> {
        let mut session = self.session().await?;
        let places = identity::places(&mut session, &self.sink, topic).await;
        self.keep(session, places.map_err(|error| target_error(error, Doing::Other))).await
    }

    async fn meet_keys(&mut self, met: &[KeyMet]) -> Result<Vec<bool>, TargetError> {
        let mut session = self.session().await?;
        let accepted = identity::meet_keys(&mut session, &self.sink, met).await;
        self.keep(session, accepted.map_err(|error| target_error(error, Doing::Other))).await
    }

    async fn mark(
        &mut self,
        partition: &TopicPartition,
        claim: Claim,
        stop: Option<&Stop>,
    ) -> Result<(), TargetError> {
        let mut session = self.session().await?;
        let marked = fence::mark(&mut session, &self.sink, (partition, claim), stop).await;
        self.keep(session, marked.map_err(|error| target_error(error, Doing::Other))).await
    }

    async fn tables(&mut self, names: &[TableName]) -> Result<Vec<Existing>, TargetError> {
        let mut session = self.ready().await?;
        let names = names.iter().collect::<Vec<_>>();
        let read = async {
            let triggers = catalog::changing_triggers(&mut session, &names).await?;
            for (table, triggers) in names.iter().zip(triggers).filter(|(_, it)| !it.is_empty()) {
                warn!(%table, ?triggers, "triggers may write other rows than the source's");
            }
            let tables = catalog::tables(&mut session, &names).await?;
            let leaders = leads::read(&mut session, &names).await?;
            let both = tables.into_iter().zip(leaders);
            Ok(both.map(|(table, leaders)| Existing { table, leaders }).collect())
        }
        .await;
        self.keep(session, read.map_err(|error| target_error(error, Doing::Other))).await
    }

    async fn contest(&mut self, lead: &Lead) -> Result<(), TargetError> {
        let mut session = self.session().await?;
        let kept = leads::keep(&mut session, std::slice::from_ref(lead)).await;
        self.keep(session, kept.map_err(|error| target_error(error, Doing::Other))).await
    }

    async fn moved(&mut self, request: &MoveRequest) -> Result<Option<Moved>, TargetError> {
        let mut session = self.session().await?;
        let found = async {
            let (shape, other) = (&request.shape, |error| target_error(error, Doing::Other));
            let name = &shape.table.name;
            let mut described = catalog::describe(&mut session, &[name]).await.map_err(other)?;
            let described = described.pop().unwrap_or_default();
            let wires = apply::wires(&shape.columns, &described);
            let wires = wires.ok_or_else(|| TargetError::StaleLayout { table: name.clone() })?;
            moves::find(&mut session, &self.sink, request, &wires).await.map_err(other)
        }
        .await;
        self.keep(session, found).await
    }

    async fn apply(&mut self, batch: &Folded) -> Result<Applied, TargetError> {
        let mut session = self.session().await?;
        let mut copying = std::mem::take(&mut self.copying);
        let guard = self.guard(&session, Suspects::Known(&self.former));
        let applied = apply::apply(&mut session, self.lane(), batch, &mut copying);
        let applied = guard.watch(applied).await;
        self.copying = copying;
        let applied = self.keep(session, applied).await;
        self.doubt(applied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        let sink = Sink {
            name: "sink".to_owned(),
            cluster_id: "cluster".to_owned(),
            group_id: "group".to_owned(),
        };
        let target =
            Postgres::new("postgres://me:hidden@localhost/db", None, sink.clone()).unwrap();
        assert!(!format!("{target:?}").contains("hidden"));
        let error =
            Postgres::new("postgres://me:hidden@localhost:port/db", None, sink).unwrap_err();
        let text = format!("{error:?} {error}");
        assert!(!text.contains("hidden"), "{text}");
    }
}
