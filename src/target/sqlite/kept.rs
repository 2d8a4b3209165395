//! Kept dead letters: what commands see of them, and what becomes of them.

use std::time::Duration;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::batch::{Replay, Standing};
use crate::record::TopicPartition;
use crate::refused::{KeptRecord, Refusal};
use crate::target::inspect::Deed;
use crate::target::letters::{
    Filter, KeptLetter, Letter, LetterState, Letters, REPLAY, read_headers,
};
use crate::target::sqlite::fence::bind_partition;
use crate::target::sqlite::inspect::{has_own_tables, partition};
use crate::target::sqlite::{Sqlite, Writing, sql, time_text};
use crate::target::{Sink, TargetError};

/// How long what is being copied is nobody else's to copy.
const COPYING_MAX: Duration = Duration::from_secs(60);

impl Letters for Sqlite {
    async fn letters(&mut self, filter: &Filter) -> Result<Vec<Letter>, TargetError> {
        let Some(mut connection) = self.look().await? else { return Ok(Vec::new()) };
        read(&mut connection, &self.sink, filter).await
    }

    async fn letter(&mut self, id: i64) -> Result<Option<KeptLetter>, TargetError> {
        let Some(mut connection) = self.look().await? else { return Ok(None) };
        read_whole(&mut connection, &self.sink, id).await
    }

    async fn standing(&mut self, kept: &KeptLetter) -> Result<Standing, TargetError> {
        let Some(mut connection) = self.look().await? else { return Ok(Standing::default()) };
        let KeptLetter { letter, record } = kept;
        let (key, offset) = (record.key.as_deref(), letter.offset);
        let place = Place { partition: &letter.partition, key, offset };
        standing(&mut connection, &self.sink, place).await
    }

    async fn refuse_again(&mut self, id: i64, refusal: &Refusal) -> Result<(), TargetError> {
        let mut writing = self.begin_writing().await?;
        let Refusal { reason, detail, sqlstate, .. } = refusal;
        let query = sqlx::query(sql::REFUSE_AGAIN)
            .bind(reason.name())
            .bind(detail)
            .bind(sqlstate)
            .bind(time_text(writing.now))
            .bind(&self.sink.name)
            .bind(&self.sink.cluster_id)
            .bind(id);
        query.execute(&mut writing.connection).await.map_err(TargetError::of_sqlite)?;
        self.end(writing, "COMMIT").await
    }

    async fn discard(&mut self, ids: &[i64], deed: Deed<'_>) -> Result<Vec<i64>, TargetError> {
        let mut writing = self.begin_writing().await?;
        let mut discarded = Vec::new();
        for &id in ids {
            let found = read_whole(&mut writing.connection, &self.sink, id).await?;
            let Some(KeptLetter { letter, record }) = found else { continue };
            if !end(&mut writing, &self.sink, id, LetterState::Discarded).await? {
                continue;
            }
            let (key, offset) = (record.key.as_deref(), letter.offset);
            let place = Place { partition: &letter.partition, key, offset };
            let standing = standing(&mut writing.connection, &self.sink, place).await?;
            if let Some(since) = standing.since {
                mark_from(&mut writing, &self.sink, Place { offset: since, ..place }).await?;
            }
            audit(&mut writing, place, deed).await?;
            discarded.push(id);
        }
        self.end(writing, "COMMIT").await?;
        Ok(discarded)
    }

    async fn uncopied(&mut self, limit: u32) -> Result<Vec<KeptLetter>, TargetError> {
        let mut writing = self.begin_writing().await?;
        let leased = sqlx::query_scalar::<_, i64>(sql::LEASE_UNCOPIED)
            .bind(time_text(writing.now + COPYING_MAX))
            .bind(&self.sink.name)
            .bind(&self.sink.cluster_id)
            .bind(time_text(writing.now))
            .bind(limit);
        let leased = leased.fetch_all(&mut writing.connection).await;
        let mut ids = leased.map_err(TargetError::of_sqlite)?;
        ids.sort_unstable();
        let mut letters = Vec::with_capacity(ids.len());
        for id in ids {
            letters.extend(read_whole(&mut writing.connection, &self.sink, id).await?);
        }
        self.end(writing, "COMMIT").await?;
        Ok(letters)
    }

    async fn copied(&mut self, ids: &[i64]) -> Result<(), TargetError> {
        let mut writing = self.begin_writing().await?;
        let query = sqlx::query(sql::COPIED)
            .bind(time_text(writing.now))
            .bind(&self.sink.name)
            .bind(&self.sink.cluster_id)
            .bind(numbers(ids));
        query.execute(&mut writing.connection).await.map_err(TargetError::of_sqlite)?;
        self.end(writing, "COMMIT").await
    }
}

/// Prints numbers as a JSON array.
fn numbers(ids: &[i64]) -> String {
    serde_json::json!(ids).to_string()
}

async fn read(
    connection: &mut SqliteConnection,
    sink: &Sink,
    filter: &Filter,
) -> Result<Vec<Letter>, TargetError> {
    if !has_own_tables(connection).await? {
        return Ok(Vec::new());
    }
    let query = sqlx::query(sql::LETTERS)
        .bind(&sink.name)
        .bind(&sink.cluster_id)
        .bind(filter.ids.as_deref().map(numbers))
        .bind(&filter.topic)
        .bind(&filter.reason)
        .bind(filter.state.map(LetterState::name))
        .bind(filter.limit.map_or(-1, i64::from));
    let rows = query.fetch_all(connection).await.map_err(TargetError::of_sqlite)?;
    let letters = rows.iter().rev().map(letter).collect::<Result<_, _>>();
    letters.map_err(TargetError::of_sqlite)
}

fn letter(row: &SqliteRow) -> Result<Letter, sqlx::Error> {
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
    connection: &mut SqliteConnection,
    sink: &Sink,
    id: i64,
) -> Result<Option<KeptLetter>, TargetError> {
    let filter = Filter { ids: Some(vec![id]), ..Filter::default() };
    let Some(letter) = read(connection, sink, &filter).await?.pop() else { return Ok(None) };
    type Parts = (Option<Vec<u8>>, Option<Vec<u8>>, Option<String>);
    let query = sqlx::query_as::<_, Parts>(sql::KEPT_RECORD);
    let query = query.bind(&sink.name).bind(&sink.cluster_id).bind(id);
    let found = query.fetch_optional(connection).await.map_err(TargetError::of_sqlite)?;
    let Some((key, value, headers)) = found else { return Ok(None) };
    let headers = read_headers(headers.as_deref())?;
    let (offset, timestamp) = (letter.offset, letter.timestamp);
    let record = KeptRecord { offset, timestamp, key, value, headers };
    Ok(Some(KeptLetter { letter, record }))
}

/// A record among those of its key.
#[derive(Clone, Copy)]
struct Place<'a> {
    partition: &'a TopicPartition,
    key: Option<&'a [u8]>,
    offset: i64,
}

async fn standing(
    connection: &mut SqliteConnection,
    sink: &Sink,
    place: Place<'_>,
) -> Result<Standing, TargetError> {
    let Some(key) = place.key else { return Ok(Standing::default()) };
    let query = bind_partition(sqlx::query(sql::KEY_STANDING), sink, place.partition);
    let found = query.bind(key).bind(place.offset).fetch_optional(connection).await;
    let Some(row) = found.map_err(TargetError::of_sqlite)? else {
        return Ok(Standing::default());
    };
    let read = || Ok(Standing { since: row.try_get(0)?, is_behind: row.try_get(1)? });
    read().map_err(TargetError::of_sqlite)
}

/// Ends a dead letter with the rows that its replay has written; `false` when something else is known
/// of it meanwhile.
pub(super) async fn settle(
    writing: &mut Writing,
    sink: &Sink,
    replay: &Replay,
) -> Result<bool, TargetError> {
    let Replay { id, partition, offset, key, actor, reason, .. } = replay;
    let place = Place { partition, key: key.as_deref(), offset: *offset };
    // Whoever applies the partition's records has waited for this transaction's lock, or we have.
    if standing(&mut writing.connection, sink, place).await? != replay.standing
        || !end(writing, sink, *id, LetterState::Replayed).await?
    {
        return Ok(false);
    }
    if replay.standing.is_newest(*offset) {
        mark_from(writing, sink, Place { offset: offset + 1, ..place }).await?;
    }
    audit(writing, place, Deed { actor, command: REPLAY, reason }).await?;
    Ok(true)
}

/// Ends an open dead letter; says whether it was open.
async fn end(
    writing: &mut Writing,
    sink: &Sink,
    id: i64,
    state: LetterState,
) -> Result<bool, TargetError> {
    let query = sqlx::query(sql::END_LETTER)
        .bind(state.name())
        .bind(&sink.name)
        .bind(&sink.cluster_id)
        .bind(id);
    let done = query.execute(&mut writing.connection).await.map_err(TargetError::of_sqlite)?;
    Ok(done.rows_affected() > 0)
}

/// Has a marked key be refused since its first open dead letter from here on; without one its mark
/// goes, and the partition's member learns of it.
async fn mark_from(
    writing: &mut Writing,
    sink: &Sink,
    place: Place<'_>,
) -> Result<(), TargetError> {
    let Some(key) = place.key else { return Ok(()) };
    let connection = &mut writing.connection;
    let query = bind_partition(sqlx::query(sql::MARK_SINCE), sink, place.partition);
    let done = query.bind(key).bind(place.offset).execute(&mut *connection).await;
    if done.map_err(TargetError::of_sqlite)?.rows_affected() > 0 {
        return Ok(());
    }
    let query = bind_partition(sqlx::query(sql::CLEAR_KEY), sink, place.partition);
    let done = query.bind(key).execute(&mut *connection).await;
    if done.map_err(TargetError::of_sqlite)?.rows_affected() > 0 {
        let query = sqlx::query(sql::COUNT_UP).bind(time_text(writing.now));
        let query = bind_partition(query, sink, place.partition);
        query.execute(connection).await.map_err(TargetError::of_sqlite)?;
    }
    Ok(())
}

async fn audit(writing: &mut Writing, place: Place<'_>, deed: Deed<'_>) -> Result<(), TargetError> {
    let query = sqlx::query(sql::AUDIT_LETTER)
        .bind(time_text(writing.now))
        .bind(deed.actor)
        .bind(deed.command)
        .bind(&*place.partition.topic)
        .bind(place.partition.partition)
        .bind(place.offset)
        .bind(deed.reason);
    query.execute(&mut writing.connection).await.map(drop).map_err(TargetError::of_sqlite)
}
