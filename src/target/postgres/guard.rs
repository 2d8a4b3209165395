//! The row guard: what the target has seen of each key, read and moved on before any row is written.

use std::borrow::Cow;
use std::sync::Arc;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Error, Row as _};

use crate::checkpoint::Step;
use crate::guard::{self, Age, LogPlace, Standing, Version};
use crate::rows::{Origin, Rows};
use crate::target::Sink;
use crate::target::postgres::catalog::Wire;
use crate::target::postgres::session::{Session, bind};
use crate::target::postgres::sql;
use crate::target::postgres::writer::Writer;

/// What the guard has found.
#[derive(Debug)]
pub(super) enum Guarded {
    /// These rows are older than what the target has, and the others are let through.
    Sifted(Vec<usize>),
    /// The source has gone back: where the row comes from that shows it.
    WentBack(Origin),
    /// A key that was not read is known: all must be read.
    Again,
}

/// Compares a guarded table's rows with what the target has seen, and keeps what it has seen then.
/// The keys stay locked until the transaction ends.
///
/// `trusts_new` says that nothing need be read of keys that begin with a new row.
pub(super) async fn sift(
    session: &mut Session,
    sink: &Sink,
    rows: &Rows,
    steps: &[Step],
    trusts_new: bool,
) -> Result<Guarded, Error> {
    let table = Table { sink, rows, name: rows.shape().table.name.to_string() };
    let mut keys = guard::keys(rows);
    if trusts_new {
        keys.retain(|&at| rows.index().get(at).is_some_and(|row| !row.is_new));
    }
    let (known, truncate) = table.lock(session, keys).await?;
    let is_known = |at: usize| {
        let key = |at: usize| rows.index().get(at).map(|row| rows.key(row));
        known.binary_search_by_key(&key(at), |(known, _)| key(*known)).is_ok()
    };
    let sifted = match guard::sift(rows, steps, known.iter().cloned(), truncate.as_ref()) {
        Ok(sifted) => sifted,
        Err(origin) => return Ok(Guarded::WentBack(origin)),
    };
    let (mut moved, mut new) = (Vec::new(), Vec::new());
    for (at, version) in &sifted.versions {
        let side = if is_known(*at) { &mut moved } else { &mut new };
        side.push((table.key_by_name(*at), version));
    }
    let is_first = table.write(session, sql::BEGIN_GUARD, &new).await?;
    table.write(session, sql::MOVE_GUARD, &moved).await?;
    Ok(if is_first { Guarded::Sifted(sifted.older) } else { Guarded::Again })
}

/// Takes the truncates of a guarded table: rows that are older go.
///
/// # Errors
///
/// Inside, where the truncate comes from that shows that the source has gone back.
pub(super) async fn outdate(
    session: &mut Session,
    sink: &Sink,
    (rows, wires): (&Rows, &[Wire]),
    steps: &[Step],
) -> Result<Result<(), Origin>, Error> {
    let name = &rows.shape().table.name;
    let table = Table { sink, rows, name: name.to_string() };
    for (origin, version) in guard::truncates(rows, steps) {
        // What others write meanwhile would be neither seen here nor compared there.
        session.run(sql::hold_off(name), PgArguments::default()).await?;
        let (_, known) = table.lock(session, Vec::new()).await?;
        match version.over_truncate(known.as_ref()) {
            Standing::Older => continue,
            Standing::WentBack => return Ok(Err(origin)),
            Standing::Newer => {}
        }
        let mut staying = Vec::new();
        for (key, known) in table.lasting(session, &version).await? {
            match version.over(&known) {
                Standing::Newer => {}
                Standing::Older => staying.push(key),
                Standing::WentBack => return Ok(Err(origin)),
            }
        }
        Writer { session, rows, wires }.remove_others(&staying).await?;
        let statement = if known.is_some() { sql::MOVE_GUARD } else { sql::BEGIN_GUARD };
        table.write(session, statement, &[(Cow::Borrowed(&[]), &version)]).await?;
    }
    Ok(Ok(()))
}

/// Adds arrays of files, positions and rows in the source's log.
fn bind_places(
    arguments: &mut PgArguments,
    places: impl Iterator<Item = Option<LogPlace>> + Clone,
) -> Result<(), Error> {
    for part in [|it: LogPlace| it.file, |it: LogPlace| it.pos, |it: LogPlace| it.row] {
        bind(arguments, places.clone().map(|place| place.map(part)).collect::<Vec<_>>())?;
    }
    Ok(())
}

struct Table<'a> {
    sink: &'a Sink,
    rows: &'a Rows,
    name: String,
}

impl Table<'_> {
    /// Locks and reads what is known of the keys of rows, in the keys' order; and reads the newest
    /// truncate.
    async fn lock(
        &self,
        session: &mut Session,
        first: Vec<usize>,
    ) -> Result<(Vec<(usize, Version)>, Option<Version>), Error> {
        let mut arguments = PgArguments::default();
        bind(&mut arguments, self.name.as_str())?;
        let keys = first.iter().map(|&at| self.key_by_name(at)).collect::<Vec<_>>();
        bind(&mut arguments, keys.iter().map(|key| &**key).collect::<Vec<_>>())?;
        let ordinals = first.iter().map(|&at| i64::try_from(at).unwrap_or(i64::MAX));
        bind(&mut arguments, ordinals.collect::<Vec<_>>())?;
        let found = session.fetch(sql::LOCK_GUARD.to_owned(), arguments).await?;
        let (mut known, mut truncate) = (Vec::new(), None);
        for row in &found {
            let version = self.version(row)?;
            match row.try_get::<Option<i64>, _>(0)? {
                Some(at) => known.push((usize::try_from(at).unwrap_or(usize::MAX), version)),
                None => truncate = Some(version),
            }
        }
        known.sort_by(|(one, _), (other, _)| self.key(*one).cmp(self.key(*other)));
        Ok((known, truncate))
    }

    /// Reads what is known of the keys that a truncate may be older than.
    async fn lasting(
        &self,
        session: &mut Session,
        truncate: &Version,
    ) -> Result<Vec<(Vec<u8>, Version)>, Error> {
        let mut arguments = PgArguments::default();
        let place = truncate.age.place;
        bind(&mut arguments, self.name.as_str())?;
        bind(&mut arguments, place.map(|place| place.file))?;
        bind(&mut arguments, place.map(|place| place.pos))?;
        bind(&mut arguments, place.map(|place| place.row))?;
        bind(&mut arguments, &*self.sink.cluster_id)?;
        bind(&mut arguments, truncate.topic.as_deref())?;
        bind(&mut arguments, truncate.partition)?;
        bind(&mut arguments, truncate.offset)?;
        let found = session.fetch(sql::LASTING_GUARD.to_owned(), arguments).await?;
        found.iter().map(|row| Ok((row.try_get(0)?, self.version(row)?))).collect()
    }

    fn version(&self, row: &PgRow) -> Result<Version, Error> {
        let place = |first: usize| -> Result<_, Error> {
            let part = |at: usize| row.try_get(first + at);
            Ok(LogPlace::of(part(0)?, part(1)?, part(2)?))
        };
        let (place, changed) = (place(1)?, place(11)?);
        let age = Age { place, is_snapshot: row.try_get(4)?, source_time: row.try_get(5)? };
        let cluster = row.try_get::<Option<String>, _>(7)?;
        let topic = row.try_get::<String, _>(8)?;
        let is_of_cluster = cluster.as_deref() == Some(&*self.sink.cluster_id);
        Ok(Version {
            age,
            changed,
            sent_at: row.try_get(6)?,
            topic: is_of_cluster.then(|| Arc::from(topic)),
            partition: row.try_get(9)?,
            offset: row.try_get(10)?,
        })
    }

    /// Writes versions; returns whether all of them were.
    async fn write(
        &self,
        session: &mut Session,
        statement: &str,
        versions: &[(Cow<'_, [u8]>, &Version)],
    ) -> Result<bool, Error> {
        if versions.is_empty() {
            return Ok(true);
        }
        let mut arguments = PgArguments::default();
        bind(&mut arguments, self.name.as_str())?;
        bind(&mut arguments, &*self.sink.cluster_id)?;
        let all = || versions.iter().map(|(_, version)| *version);
        bind(&mut arguments, versions.iter().map(|(key, _)| &**key).collect::<Vec<_>>())?;
        bind_places(&mut arguments, all().map(|version| version.age.place))?;
        bind(&mut arguments, all().map(|it| it.age.is_snapshot).collect::<Vec<_>>())?;
        bind(&mut arguments, all().map(|it| it.age.source_time).collect::<Vec<_>>())?;
        bind(&mut arguments, all().map(|it| it.sent_at).collect::<Vec<_>>())?;
        let topics = all().map(|it| it.topic.as_deref().unwrap_or_default());
        bind(&mut arguments, topics.collect::<Vec<_>>())?;
        bind(&mut arguments, all().map(|it| it.partition).collect::<Vec<_>>())?;
        bind(&mut arguments, all().map(|it| it.offset).collect::<Vec<_>>())?;
        bind_places(&mut arguments, all().map(|version| version.changed))?;
        let count = session.run(statement.to_owned(), arguments).await?;
        Ok(usize::try_from(count) == Ok(versions.len()))
    }

    /// Returns a row's key as it is kept.
    fn key_by_name(&self, at: usize) -> Cow<'_, [u8]> {
        self.rows.index().get(at).map(|row| self.rows.key_by_name(row)).unwrap_or_default()
    }

    fn key(&self, at: usize) -> &[u8] {
        self.rows.index().get(at).map(|row| self.rows.key(row)).unwrap_or_default()
    }
}
