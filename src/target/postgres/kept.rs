//! Kept dead letters: what commands see of them, and what becomes of them.

use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgRow};

use crate::batch::{Replay, Standing};
use crate::record::TopicPartition;
use crate::refused::{KeptRecord, Refusal};
use crate::target::inspect::Deed;
use crate::target::letters::{
    Filter, KeptLetter, Letter, LetterState, Letters, REPLAY, read_headers,
};
use crate::target::postgres::error::{Doing, target_error};
use crate::target::postgres::fence::{partition, partition_arguments, sink_arguments};
use crate::target::postgres::letters::storable;
use crate::target::postgres::session::{Session, bind};
use crate::target::postgres::{Postgres, ddl, sql};
use crate::target::{Sink, TargetError};

impl Letters for Postgres {
    async fn letters(&mut self, filter: &Filter) -> Result<Vec<Letter>, TargetError> {
        let mut session = self.session().await?;
        let found = read(&mut session, &self.sink, filter).await;
        self.keep(session, found.map_err(other)).await
    }

    async fn letter(&mut self, id: i64) -> Result<Option<KeptLetter>, TargetError> {
        let mut session = self.session().await?;
        let found = read_whole(&mut session, &self.sink, id).await;
        self.keep(session, found).await
    }

    async fn standing(&mut self, kept: &KeptLetter) -> Result<Standing, TargetError> {
        let mut session = self.session().await?;
        let KeptLetter { letter, record } = kept;
        let place = Place {
            partition: &letter.partition,
            key: record.key.as_deref(),
            offset: letter.offset,
        };
        let found = standing(&mut session, &self.sink, place).await;
        self.keep(session, found.map_err(other)).await
    }

    async fn refuse_again(&mut self, id: i64, refusal: &Refusal) -> Result<(), TargetError> {
        let mut session = self.session().await?;
        let kept = refuse_again(&mut session, &self.sink, id, refusal).await;
        self.keep(session, kept.map_err(other)).await
    }

    async fn discard(&mut self, ids: &[i64], deed: Deed<'_>) -> Result<Vec<i64>, TargetError> {
        let mut session = self.ready().await?;
        let done = discard(&mut session, &self.sink, ids, deed).await;
        self.keep(session, done).await
    }

    async fn uncopied(&mut self, limit: u32) -> Result<Vec<KeptLetter>, TargetError> {
        let mut session = self.ready().await?;
        let found = lease(&mut session, &self.sink, limit).await;
        self.keep(session, found).await
    }

    async fn copied(&mut self, ids: &[i64]) -> Result<(), TargetError> {
        let mut session = self.session().await?;
        let kept = copied(&mut session, &self.sink, ids).await;
        self.keep(session, kept.map_err(other)).await
    }
}

fn other(error: sqlx::Error) -> TargetError {
    target_error(error, Doing::Other)
}

async fn read(
    session: &mut Session,
    sink: &Sink,
    filter: &Filter,
) -> Result<Vec<Letter>, sqlx::Error> {
    if !ddl::is_bootstrapped(session).await? {
        return Ok(Vec::new());
    }
    let mut arguments = sink_arguments(sink)?;
    bind(&mut arguments, filter.ids.as_deref())?;
    bind(&mut arguments, filter.topic.as_deref())?;
    bind(&mut arguments, filter.reason.as_deref())?;
    bind(&mut arguments, filter.state.map(LetterState::name))?;
    bind(&mut arguments, filter.limit.map(i64::from))?;
    let rows = session.fetch(sql::LETTERS.to_owned(), arguments).await?;
    rows.iter().rev().map(letter).collect()
}

fn letter(row: &PgRow) -> Result<Letter, sqlx::Error> {
    Ok(Letter {
        partition: partition(row)?,
        id: row.try_get(2)?,
        offset: row.try_get(3)?,
        timestamp: row.try_get(4)?,
        table: row.try_get(5)?,
        reason: row.try_get(6)?,
        error: row.try_get(7)?,
        sqlstate: row.try_get(8)?,
        first_seen: row.try_get(9)?,
        last_seen: row.try_get(10)?,
        state: row.try_get(11)?,
    })
}

async fn read_whole(
    session: &mut Session,
    sink: &Sink,
    id: i64,
) -> Result<Option<KeptLetter>, TargetError> {
    let filter = Filter { ids: Some(vec![id]), ..Filter::default() };
    let Some(letter) = read(session, sink, &filter).await.map_err(other)?.pop() else {
        return Ok(None);
    };
    let fetched = async {
        let arguments = letter_arguments(sink, id)?;
        let rows = session.fetch(sql::KEPT_RECORD.to_owned(), arguments).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (key, value) = (row.try_get(0)?, row.try_get(1)?);
        Ok(Some((key, value, row.try_get::<Option<String>, _>(2)?)))
    };
    let Some((key, value, headers)) = fetched.await.map_err(other)? else { return Ok(None) };
    let headers = read_headers(headers.as_deref())?;
    let (offset, timestamp) = (letter.offset, letter.timestamp);
    let record = KeptRecord { offset, timestamp, key, value, headers };
    Ok(Some(KeptLetter { letter, record }))
}

fn letter_arguments(sink: &Sink, id: i64) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = sink_arguments(sink)?;
    bind(&mut arguments, id)?;
    Ok(arguments)
}

/// A record among those of its key.
#[derive(Clone, Copy)]
struct Place<'a> {
    partition: &'a TopicPartition,
    key: Option<&'a [u8]>,
    offset: i64,
}

impl Place<'_> {
    /// Begins arguments with the sink, the cluster, the topic and the partition.
    fn arguments(&self, sink: &Sink) -> Result<PgArguments, sqlx::Error> {
        let mut arguments = sink_arguments(sink)?;
        bind(&mut arguments, &*self.partition.topic)?;
        bind(&mut arguments, self.partition.partition)?;
        Ok(arguments)
    }
}

async fn standing(
    session: &mut Session,
    sink: &Sink,
    place: Place<'_>,
) -> Result<Standing, sqlx::Error> {
    let Some(key) = place.key else { return Ok(Standing::default()) };
    let mut arguments = place.arguments(sink)?;
    bind(&mut arguments, key)?;
    bind(&mut arguments, place.offset)?;
    let rows = session.fetch(sql::STANDING.to_owned(), arguments).await?;
    let Some(row) = rows.first() else { return Ok(Standing::default()) };
    Ok(Standing { since: row.try_get(0)?, is_behind: row.try_get(1)? })
}

/// Ends a dead letter with the rows that its replay has written, and commits; `false` when something
/// else is known of it meanwhile.
pub(super) async fn settle(
    session: &mut Session,
    sink: &Sink,
    replay: &Replay,
) -> Result<bool, sqlx::Error> {
    let Replay { id, partition, offset, key, actor, reason, .. } = replay;
    let place = Place { partition, key: key.as_deref(), offset: *offset };
    session.fetch(sql::LOCK_PARTITION.to_owned(), place.arguments(sink)?).await?;
    // Read again under the lock: whatever the partition's member has applied is there to be seen.
    if standing(session, sink, place).await? != replay.standing
        || !end(session, sink, *id, LetterState::Replayed).await?
    {
        return Ok(false);
    }
    if replay.standing.is_newest(*offset) {
        mark_from(session, sink, Place { offset: offset + 1, ..place }).await?;
    }
    audit(session, place, Deed { actor, command: REPLAY, reason }).await?;
    session.run_all(sql::COMMIT.to_owned()).await?;
    Ok(true)
}

/// Ends an open dead letter; says whether it was open.
async fn end(
    session: &mut Session,
    sink: &Sink,
    id: i64,
    state: LetterState,
) -> Result<bool, sqlx::Error> {
    let mut arguments = letter_arguments(sink, id)?;
    bind(&mut arguments, state.name())?;
    Ok(session.run(sql::END_LETTER.to_owned(), arguments).await? > 0)
}

/// Has a marked key be refused since its first open dead letter from here on; without one its mark
/// goes, and the partition's member learns of it.
async fn mark_from(
    session: &mut Session,
    sink: &Sink,
    place: Place<'_>,
) -> Result<(), sqlx::Error> {
    let Some(key) = place.key else { return Ok(()) };
    let mut arguments = place.arguments(sink)?;
    bind(&mut arguments, key)?;
    bind(&mut arguments, place.offset)?;
    if session.run(sql::MARK_SINCE.to_owned(), arguments).await? > 0 {
        return Ok(());
    }
    let mut arguments = partition_arguments(sink, std::iter::once(place.partition))?;
    bind(&mut arguments, vec![key])?;
    if session.run(sql::CLEAR_KEYS.to_owned(), arguments).await? > 0 {
        session.run(sql::COUNT_UP.to_owned(), place.arguments(sink)?).await?;
    }
    Ok(())
}

async fn audit(session: &mut Session, place: Place<'_>, deed: Deed<'_>) -> Result<(), sqlx::Error> {
    let mut arguments = PgArguments::default();
    bind(&mut arguments, deed.actor)?;
    bind(&mut arguments, deed.command)?;
    bind(&mut arguments, &*place.partition.topic)?;
    bind(&mut arguments, place.partition.partition)?;
    bind(&mut arguments, place.offset)?;
    bind(&mut arguments, deed.reason)?;
    session.run(sql::AUDIT_LETTER.to_owned(), arguments).await.map(drop)
}

async fn refuse_again(
    session: &mut Session,
    sink: &Sink,
    id: i64,
    Refusal { reason, detail, sqlstate, .. }: &Refusal,
) -> Result<(), sqlx::Error> {
    let mut arguments = letter_arguments(sink, id)?;
    bind(&mut arguments, reason.name())?;
    bind(&mut arguments, storable(detail))?;
    bind(&mut arguments, sqlstate.as_deref())?;
    session.run(sql::REFUSE_AGAIN.to_owned(), arguments).await.map(drop)
}

async fn discard(
    session: &mut Session,
    sink: &Sink,
    ids: &[i64],
    deed: Deed<'_>,
) -> Result<Vec<i64>, TargetError> {
    let mut letters = Vec::new();
    for &id in ids {
        letters.extend(read_whole(session, sink, id).await?);
    }
    // In the order in which a batch holds the checkpoints.
    letters.sort_by(|a, b| a.letter.partition.cmp(&b.letter.partition));
    let done = async {
        session.run_all(sql::START.to_owned()).await?;
        let mut discarded = Vec::new();
        for KeptLetter { letter, record } in &letters {
            let (key, offset) = (record.key.as_deref(), letter.offset);
            let place = Place { partition: &letter.partition, key, offset };
            session.fetch(sql::LOCK_PARTITION.to_owned(), place.arguments(sink)?).await?;
            if !end(session, sink, letter.id, LetterState::Discarded).await? {
                continue;
            }
            if let Some(since) = standing(session, sink, place).await?.since {
                mark_from(session, sink, Place { offset: since, ..place }).await?;
            }
            audit(session, place, deed).await?;
            discarded.push(letter.id);
        }
        session.run_all(sql::COMMIT.to_owned()).await?;
        Ok(discarded)
    };
    done.await.map_err(other)
}

async fn lease(
    session: &mut Session,
    sink: &Sink,
    limit: u32,
) -> Result<Vec<KeptLetter>, TargetError> {
    let leased = async {
        let mut arguments = sink_arguments(sink)?;
        bind(&mut arguments, i64::from(limit))?;
        let rows = session.fetch(sql::LEASE_UNCOPIED.to_owned(), arguments).await?;
        rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()
    };
    let mut ids = leased.await.map_err(other)?;
    ids.sort_unstable();
    let mut letters = Vec::with_capacity(ids.len());
    for id in ids {
        letters.extend(read_whole(session, sink, id).await?);
    }
    Ok(letters)
}

async fn copied(session: &mut Session, sink: &Sink, ids: &[i64]) -> Result<(), sqlx::Error> {
    let mut arguments = sink_arguments(sink)?;
    bind(&mut arguments, ids)?;
    session.run(sql::COPIED.to_owned(), arguments).await.map(drop)
}
