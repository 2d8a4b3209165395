//! The row guard: what the target has seen of each key, read and moved on before any row is written.

use std::sync::Arc;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Error, Row as _};

use crate::checkpoint::Step;
use crate::guard::{self, Age, LogPlace, Version};
use crate::rows::Rows;
use crate::target::Sink;
use crate::target::postgres::session::{Session, bind};
use crate::target::postgres::sql;

/// What the guard has found.
#[derive(Debug)]
pub(super) enum Guarded {
    /// These rows are older than what the target has, and the others are let through.
    Sifted(Vec<usize>),
    /// The source has gone back: the row that shows it.
    WentBack(usize),
    /// Another member has met a key for the first time at the same moment: all must be read again.
    Again,
}

/// Compares a guarded table's rows with what the target has seen, and keeps what it has seen then.
/// The keys stay locked until the transaction ends.
pub(super) async fn sift(
    session: &mut Session,
    sink: &Sink,
    rows: &Rows,
    steps: &[Step],
) -> Result<Guarded, Error> {
    let table = Table { sink, rows, name: rows.shape().table.name.to_string() };
    let known = table.lock(session).await?;
    let is_known = |at: usize| {
        let key = |at: usize| rows.index().get(at).map(|row| rows.key(row));
        known.binary_search_by_key(&key(at), |(known, _)| key(*known)).is_ok()
    };
    let sifted = match guard::sift(rows, steps, known.iter().cloned()) {
        Ok(sifted) => sifted,
        Err(row) => return Ok(Guarded::WentBack(row)),
    };
    let (moved, new) = sifted.versions.iter().partition::<Vec<_>, _>(|(at, _)| is_known(*at));
    let is_first = table.write(session, sql::BEGIN_GUARD, &new).await?;
    table.write(session, sql::MOVE_GUARD, &moved).await?;
    Ok(if is_first { Guarded::Sifted(sifted.older) } else { Guarded::Again })
}

struct Table<'a> {
    sink: &'a Sink,
    rows: &'a Rows,
    name: String,
}

impl Table<'_> {
    /// Locks and reads what is known of the rows' keys, in the keys' order.
    async fn lock(&self, session: &mut Session) -> Result<Vec<(usize, Version)>, Error> {
        let first = guard::keys(self.rows);
        let mut arguments = PgArguments::default();
        bind(&mut arguments, self.name.as_str())?;
        bind(&mut arguments, first.iter().map(|&at| self.key(at)).collect::<Vec<_>>())?;
        let ordinals = first.iter().map(|&at| i64::try_from(at).unwrap_or(i64::MAX));
        bind(&mut arguments, ordinals.collect::<Vec<_>>())?;
        let found = session.fetch(sql::LOCK_GUARD.to_owned(), arguments).await?;
        let mut known = found.iter().map(|row| self.known(row)).collect::<Result<Vec<_>, _>>()?;
        known.sort_by(|(one, _), (other, _)| self.key(*one).cmp(self.key(*other)));
        Ok(known)
    }

    fn known(&self, row: &PgRow) -> Result<(usize, Version), Error> {
        let at = usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or(usize::MAX);
        let place = match (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?) {
            (Some(file), Some(pos), Some(row)) => Some(LogPlace { file, pos, row }),
            _ => None,
        };
        let age = Age { place, is_snapshot: row.try_get(4)?, source_time: row.try_get(5)? };
        let cluster = row.try_get::<Option<String>, _>(7)?;
        let topic = row.try_get::<String, _>(8)?;
        let is_of_cluster = cluster.as_deref() == Some(&*self.sink.cluster_id);
        let version = Version {
            age,
            sent_at: row.try_get(6)?,
            topic: is_of_cluster.then(|| Arc::from(topic)),
            partition: row.try_get(9)?,
            offset: row.try_get(10)?,
        };
        Ok((at, version))
    }

    /// Writes versions; returns whether all of them were.
    async fn write(
        &self,
        session: &mut Session,
        statement: &str,
        versions: &[&(usize, Version)],
    ) -> Result<bool, Error> {
        if versions.is_empty() {
            return Ok(true);
        }
        let mut arguments = PgArguments::default();
        bind(&mut arguments, self.name.as_str())?;
        bind(&mut arguments, &*self.sink.cluster_id)?;
        let all = || versions.iter().map(|(_, version)| version);
        let places = || all().map(|version| version.age.place);
        bind(&mut arguments, versions.iter().map(|(at, _)| self.key(*at)).collect::<Vec<_>>())?;
        bind(&mut arguments, places().map(|it| it.map(|it| it.file)).collect::<Vec<_>>())?;
        bind(&mut arguments, places().map(|it| it.map(|it| it.pos)).collect::<Vec<_>>())?;
        bind(&mut arguments, places().map(|it| it.map(|it| it.row)).collect::<Vec<_>>())?;
        bind(&mut arguments, all().map(|it| it.age.is_snapshot).collect::<Vec<_>>())?;
        bind(&mut arguments, all().map(|it| it.age.source_time).collect::<Vec<_>>())?;
        bind(&mut arguments, all().map(|it| it.sent_at).collect::<Vec<_>>())?;
        let topics = all().map(|it| it.topic.as_deref().unwrap_or_default());
        bind(&mut arguments, topics.collect::<Vec<_>>())?;
        bind(&mut arguments, all().map(|it| it.partition).collect::<Vec<_>>())?;
        bind(&mut arguments, all().map(|it| it.offset).collect::<Vec<_>>())?;
        let count = session.run(statement.to_owned(), arguments).await?;
        Ok(usize::try_from(count) == Ok(versions.len()))
    }

    fn key(&self, at: usize) -> &[u8] {
        self.rows.index().get(at).map(|row| self.rows.key(row)).unwrap_or_default()
    }
}
