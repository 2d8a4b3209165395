//! The identity of logs as the checkpoint keeps it: topic ids, partition counts, encodings of keys.

use sqlx::Row as _;
use sqlx::postgres::PgArguments;

use crate::checkpoint::{Claim, NextOffset};
use crate::identity::{KeyMet, Remembered};
use crate::record::TopicPartition;
use crate::target::Sink;
use crate::target::postgres::fence::{partition, partition_arguments, sink_arguments};
use crate::target::postgres::session::{Session, bind};
use crate::target::postgres::sql;

/// Writes what tells the logs from others.
pub(super) async fn write(
    session: &mut Session,
    sink: &Sink,
    claims: &[(TopicPartition, Claim, Remembered)],
) -> Result<(), sqlx::Error> {
    let mut arguments = partition_arguments(sink, claims.iter().map(|(at, ..)| at))?;
    bind(&mut arguments, claims.iter().map(|(_, claim, _)| claim.epoch).collect::<Vec<_>>())?;
    bind(&mut arguments, claims.iter().map(|(_, claim, _)| claim.token).collect::<Vec<_>>())?;
    let remembered = || claims.iter().map(|(.., remembered)| remembered);
    bind(&mut arguments, remembered().map(|it| it.topic_id).collect::<Vec<_>>())?;
    bind(&mut arguments, remembered().map(|it| it.partitions_seen).collect::<Vec<_>>())?;
    session.run(sql::IDENTIFY.to_owned(), arguments).await.map(drop)
}

/// Reads where every partition of a topic stands.
pub(super) async fn places(
    session: &mut Session,
    sink: &Sink,
    topic: &str,
) -> Result<Vec<(TopicPartition, NextOffset)>, sqlx::Error> {
    let mut arguments = sink_arguments(sink)?;
    bind(&mut arguments, topic)?;
    let rows = session.fetch(sql::PLACES.to_owned(), arguments).await?;
    rows.iter().map(|row| Ok((partition(row)?, NextOffset::at(row.try_get(2)?)))).collect()
}

/// Keeps how keys are encoded, one member at a time, and returns of each whether it is accepted.
pub(super) async fn meet_keys(
    session: &mut Session,
    sink: &Sink,
    met: &[KeyMet],
) -> Result<Vec<bool>, sqlx::Error> {
    session.run_all(sql::START.to_owned()).await?;
    let mut topics = PgArguments::default();
    bind(&mut topics, met.iter().map(|met| &*met.topic).collect::<Vec<_>>())?;
    session.run(sql::LOCK_KEYS.to_owned(), topics).await?;
    let mut accepted = Vec::with_capacity(met.len());
    // One by one, because the next may be of the same table.
    for met in met {
        let mut arguments = sink_arguments(sink)?;
        bind(&mut arguments, &*met.topic)?;
        bind(&mut arguments, met.source.as_str())?;
        bind(&mut arguments, met.encoding.as_str())?;
        bind(&mut arguments, met.is_alone)?;
        let rows = session.fetch(sql::MEET_KEY.to_owned(), arguments).await?;
        accepted.push(rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?);
    }
    session.run_all(sql::COMMIT.to_owned()).await?;
    Ok(accepted)
}
