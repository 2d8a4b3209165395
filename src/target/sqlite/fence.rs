//! The fence: claims, and the conditional steps that only the holder of a claim can make.

use std::time::Duration;

use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteRow};
use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use crate::checkpoint::{Claim, Deleted, NextOffset, Step};
use crate::identity::{Remembered, Trace};
use crate::record::TopicPartition;
use crate::stopped::Stop;
use crate::target::sqlite::{Writing, sql, time_text};
use crate::target::{Claimed, Claims, Known, Sink, TargetError};

/// How long a claim of another group counts after its owner last showed that it lives: three times
/// the 30 s within which an owner touches its rows.
pub(super) const OTHER_GROUP_LIVES: Duration = Duration::from_secs(90);

/// Who claims.
#[derive(Clone, Copy)]
pub(super) struct Claimant<'a> {
    pub(super) sink: &'a Sink,
    pub(super) session: &'a str,
    pub(super) token: Uuid,
}

/// Takes the partitions that nobody else may hold.
pub(super) async fn claim(
    writing: &mut Writing,
    claimant: Claimant<'_>,
    partitions: &[TopicPartition],
    take_over: bool,
) -> Result<Claims, TargetError> {
    let Claimant { sink, session, token } = claimant;
    let now = time_text(writing.now);
    let stale = time_text(writing.now - OTHER_GROUP_LIVES);
    let mut claims = Claims::default();
    for partition in partitions {
        let unowned = sqlx::query_scalar::<_, Option<i64>>(sql::UNOWNED).bind(&now);
        let unowned = unowned.bind(&sink.name).bind(&sink.cluster_id);
        let unowned = unowned.bind(&*partition.topic).bind(partition.partition);
        let unowned = unowned.fetch_optional(&mut writing.connection).await;
        let unowned = unowned.map_err(TargetError::of_sqlite)?.flatten().unwrap_or_default();
        let unowned = Duration::from_secs(unowned.try_into().unwrap_or(0));
        let query = sqlx::query(sql::CLAIM)
            .bind(token.hyphenated().to_string())
            .bind(session)
            .bind(&sink.group_id)
            .bind(&now)
            .bind(&sink.name)
            .bind(&sink.cluster_id)
            .bind(&*partition.topic)
            .bind(partition.partition)
            .bind(take_over)
            .bind(&stale);
        let found = query.fetch_optional(&mut writing.connection).await;
        let Some(row) = found.map_err(TargetError::of_sqlite)? else {
            missing(&mut writing.connection, sink, partition, &mut claims).await?;
            continue;
        };
        let read = |index| row.try_get::<i64, _>(index).map_err(TargetError::of_sqlite);
        claims.claimed.push(Claimed {
            partition: partition.clone(),
            claim: Claim { epoch: read(0)?, token },
            next: NextOffset::at(read(1)?),
            remembered: remembered(&row).map_err(TargetError::of_sqlite)?,
            refused_keys: refused_keys(&mut writing.connection, sink, partition).await?,
            deleted: deleted(&row).map_err(TargetError::of_sqlite)?,
            unowned,
        });
    }
    Ok(claims)
}

/// Reads what a claimed row remembers of its log.
fn remembered(row: &SqliteRow) -> Result<Remembered, sqlx::Error> {
    let id = row.try_get::<Option<String>, _>(2)?;
    let topic_id = id.and_then(|id| Uuid::parse_str(&id).ok());
    let (timestamp, leader_epoch) = (row.try_get(5)?, row.try_get(6)?);
    let last = row.try_get::<Option<i64>, _>(4)?;
    let last = last.map(|offset| Trace { offset, timestamp, leader_epoch });
    Ok(Remembered { topic_id, partitions_seen: row.try_get(3)?, last })
}

/// Reads the last record that was applied, if it is a delete.
fn deleted(row: &SqliteRow) -> Result<Option<Deleted>, sqlx::Error> {
    let (offset, key) = (row.try_get::<Option<i64>, _>(4)?, row.try_get::<Option<Vec<u8>>, _>(7)?);
    Ok(offset.zip(key).map(|(offset, key)| Deleted { offset, key }))
}

/// Says why a partition could not be claimed: it has no row, or another group holds it.
async fn missing(
    connection: &mut SqliteConnection,
    sink: &Sink,
    partition: &TopicPartition,
    claims: &mut Claims,
) -> Result<(), TargetError> {
    let holder = sqlx::query_scalar::<_, Option<String>>(sql::HOLDER)
        .bind(&sink.name)
        .bind(&sink.cluster_id)
        .bind(&*partition.topic)
        .bind(partition.partition)
        .fetch_optional(&mut *connection)
        .await
        .map_err(TargetError::of_sqlite)?;
    if let Some(group) = holder {
        claims.held.push((partition.clone(), group.unwrap_or_default()));
        return Ok(());
    }
    let knows_topic = sqlx::query_scalar::<_, bool>(sql::KNOWS_TOPIC)
        .bind(&sink.name)
        .bind(&sink.cluster_id)
        .bind(&*partition.topic)
        .fetch_one(&mut *connection)
        .await
        .map_err(TargetError::of_sqlite)?;
    let cluster = sqlx::query_scalar::<_, String>(sql::OTHER_CLUSTER)
        .bind(&sink.name)
        .bind(&sink.cluster_id)
        .bind(&*partition.topic)
        .fetch_optional(connection)
        .await
        .map_err(TargetError::of_sqlite)?;
    let elsewhere = cluster.map_or(Known::Nothing, Known::OtherCluster);
    claims.unknown.push((partition.clone(), if knows_topic { Known::Topic } else { elsewhere }));
    Ok(())
}

async fn refused_keys(
    connection: &mut SqliteConnection,
    sink: &Sink,
    partition: &TopicPartition,
) -> Result<Vec<Vec<u8>>, TargetError> {
    sqlx::query_scalar(sql::REFUSED_KEYS)
        .bind(&sink.name)
        .bind(&sink.cluster_id)
        .bind(&*partition.topic)
        .bind(partition.partition)
        .fetch_all(connection)
        .await
        .map_err(TargetError::of_sqlite)
}

/// Makes the rows of partitions that have none.
pub(super) async fn begin(
    writing: &mut Writing,
    sink: &Sink,
    first: &[(TopicPartition, NextOffset)],
) -> Result<(), TargetError> {
    let now = time_text(writing.now);
    for (partition, next) in first {
        let query =
            bind_partition(sqlx::query(sql::BEGIN), sink, partition).bind(next.get()).bind(&now);
        query.execute(&mut writing.connection).await.map_err(TargetError::of_sqlite)?;
    }
    Ok(())
}

/// Runs [`sql::RELEASE`] or [`sql::TOUCH`] over claims.
pub(super) async fn set_time(
    writing: &mut Writing,
    sink: &Sink,
    statement: &'static str,
    claims: &[(TopicPartition, Claim)],
) -> Result<(), TargetError> {
    let now = time_text(writing.now);
    for (partition, claim) in claims {
        let query = bind_partition(sqlx::query(statement).bind(&now), sink, partition);
        let query = bind_claim(query, *claim);
        query.execute(&mut writing.connection).await.map_err(TargetError::of_sqlite)?;
    }
    Ok(())
}

/// Writes whether a partition runs or is stopped.
pub(super) async fn mark(
    writing: &mut Writing,
    sink: &Sink,
    (partition, claim): (&TopicPartition, Claim),
    stop: Option<&Stop>,
) -> Result<(), TargetError> {
    let query = sqlx::query(sql::MARK)
        .bind(if stop.is_some() { "stopped" } else { "running" })
        .bind(stop.map(Stop::to_string))
        .bind(time_text(writing.now));
    let query = bind_claim(bind_partition(query, sink, partition), claim);
    query.execute(&mut writing.connection).await.map_err(TargetError::of_sqlite)?;
    Ok(())
}

/// Moves the partitions; returns those whose row says something else, after which the transaction
/// must be taken back.
pub(super) async fn advance(
    writing: &mut Writing,
    sink: &Sink,
    session: &str,
    steps: &[Step],
) -> Result<Vec<TopicPartition>, TargetError> {
    let now = time_text(writing.now);
    let mut fenced = Vec::new();
    for step in steps.iter().filter(|step| step.moves()) {
        let last = step.last.as_ref();
        let query = sqlx::query(sql::ADVANCE)
            .bind(step.to.get())
            .bind(last.map(|last| last.offset))
            .bind(last.and_then(|last| last.timestamp))
            .bind(last.and_then(|last| last.source_position.as_ref()).map(ToString::to_string))
            .bind(session)
            .bind(&now);
        let query = bind_claim(bind_partition(query, sink, &step.partition), step.claim);
        let query = query
            .bind(step.from.get())
            .bind(last.and_then(|last| last.leader_epoch))
            .bind(last.and_then(|last| last.deleted_key.as_deref()));
        let done = query.execute(&mut writing.connection).await;
        let done = done.map_err(TargetError::of_sqlite)?;
        assert!(done.rows_affected() <= 1, "the key of the checkpoint is one partition");
        if done.rows_affected() == 0 {
            fenced.push(step.partition.clone());
        }
    }
    Ok(fenced)
}

/// Returns whether the steps were made at an earlier attempt: one that has arrived under its own
/// claim proves it for all, because they commit together.
pub(super) async fn has_arrived(
    connection: &mut SqliteConnection,
    sink: &Sink,
    steps: &[Step],
) -> Result<bool, TargetError> {
    for step in steps.iter().filter(|step| step.moves()) {
        let place = (&step.partition, step.claim, step.to);
        if stand(connection, sink, place).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns whether a partition is stopped; `None` where it does not stand there under that claim.
pub(super) async fn stand(
    connection: &mut SqliteConnection,
    sink: &Sink,
    (partition, claim, next): (&TopicPartition, Claim, NextOffset),
) -> Result<Option<bool>, TargetError> {
    sqlx::query_scalar::<_, bool>(sql::STAND)
        .bind(&sink.name)
        .bind(&sink.cluster_id)
        .bind(&*partition.topic)
        .bind(partition.partition)
        .bind(claim.epoch)
        .bind(claim.token.hyphenated().to_string())
        .bind(next.get())
        .fetch_optional(&mut *connection)
        .await
        .map_err(TargetError::of_sqlite)
}

type Binding<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Binds the key of a partition's row.
pub(super) fn bind_partition<'q>(
    query: Binding<'q>,
    sink: &'q Sink,
    partition: &'q TopicPartition,
) -> Binding<'q> {
    query.bind(&sink.name).bind(&sink.cluster_id).bind(&*partition.topic).bind(partition.partition)
}

pub(super) fn bind_claim(query: Binding<'_>, claim: Claim) -> Binding<'_> {
    query.bind(claim.epoch).bind(claim.token.hyphenated().to_string())
}
