//! The identity of logs as the checkpoint keeps it: topic ids, partition counts, encodings of keys.

use crate::checkpoint::{Claim, NextOffset};
use crate::identity::{KeyMet, Remembered};
use crate::record::TopicPartition;
use crate::target::sqlite::fence::{bind_claim, bind_partition};
use crate::target::sqlite::{Writing, sql, time_text};
use crate::target::{Sink, TargetError};

/// Writes what tells the logs from others.
pub(super) async fn write(
    writing: &mut Writing,
    sink: &Sink,
    claims: &[(TopicPartition, Claim, Remembered)],
) -> Result<(), TargetError> {
    for (partition, claim, remembered) in claims {
        let query = sqlx::query(sql::IDENTIFY)
            .bind(remembered.topic_id.map(|id| id.hyphenated().to_string()))
            .bind(remembered.partitions_seen);
        let query = bind_claim(bind_partition(query, sink, partition), *claim);
        query.execute(&mut writing.connection).await.map_err(TargetError::of_sqlite)?;
    }
    Ok(())
}

/// Reads where every partition of a topic stands.
pub(super) async fn places(
    writing: &mut Writing,
    sink: &Sink,
    topic: &str,
) -> Result<Vec<(TopicPartition, NextOffset)>, TargetError> {
    let rows = sqlx::query_as::<_, (i32, i64)>(sql::PLACES)
        .bind(&sink.name)
        .bind(&sink.cluster_id)
        .bind(topic)
        .fetch_all(&mut writing.connection)
        .await
        .map_err(TargetError::of_sqlite)?;
    let place = |(number, next)| (TopicPartition::new(topic, number), NextOffset::at(next));
    Ok(rows.into_iter().map(place).collect())
}

/// Keeps how keys are encoded, and returns whether that is accepted.
pub(super) async fn meet_key(
    writing: &mut Writing,
    sink: &Sink,
    met: &KeyMet,
) -> Result<bool, TargetError> {
    sqlx::query_scalar(sql::MEET_KEY)
        .bind(&sink.name)
        .bind(&sink.cluster_id)
        .bind(&*met.topic)
        .bind(&met.source)
        .bind(&met.encoding)
        .bind(met.is_alone)
        .bind(time_text(writing.now))
        .fetch_one(&mut writing.connection)
        .await
        .map_err(TargetError::of_sqlite)
}
