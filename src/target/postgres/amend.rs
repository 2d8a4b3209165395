//! Amending: an operator's changes to the checkpoint, under the same locks as a claim.

use std::collections::BTreeMap;

use sqlx::Row as _;
use sqlx::postgres::PgArguments;
use uuid::Uuid;

use crate::amend::{Amendment, Decision, Keys, Standing, Versions};
use crate::checkpoint::NextOffset;
use crate::record::TopicPartition;
use crate::target::Sink;
use crate::target::inspect::{Amended, Amendments, Decide, Deed};
use crate::target::postgres::fence::{partition, partition_arguments, sink_arguments};
use crate::target::postgres::session::{Session, bind};
use crate::target::postgres::sql;

/// Decides about each row under its lock, and writes all of it or nothing.
pub(super) async fn amend(
    session: &mut Session,
    sink: &Sink,
    wanted: &[TopicPartition],
    decide: Decide<'_>,
    deed: Deed<'_>,
) -> Result<Amendments, sqlx::Error> {
    session.run_all(sql::START.to_owned()).await?;
    let rows = lock(session, sink, wanted).await?;
    let (mut amendments, mut changes) = (Amendments::default(), Vec::new());
    for partition in wanted {
        let row = rows.get(partition);
        match decide(partition, row) {
            Decision::Amend(amendment) => changes.push((partition, row, amendment)),
            Decision::Leave(why) => amendments.left.push(why),
            Decision::Refuse(why) => amendments.refused.push(why),
        }
    }
    if !amendments.refused.is_empty() {
        session.run_all(sql::ROLLBACK.to_owned()).await?;
        return Ok(amendments);
    }
    for (partition, row, amendment) in changes {
        let before = row.map(|row| row.next);
        if !write(session, sink, partition, (before.is_none(), amendment)).await? {
            amendments.left.push(format!("{partition} has got a checkpoint meanwhile"));
            continue;
        }
        let (partition, after) = (partition.clone(), amendment.next);
        let amended = Amended { partition, before, after };
        keep(session, &amended, deed).await?;
        amendments.made.push(amended);
    }
    session.run_all(sql::COMMIT.to_owned()).await?;
    Ok(amendments)
}

/// Reads the rows of partitions, which nobody else may write until the end.
async fn lock(
    session: &mut Session,
    sink: &Sink,
    wanted: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, Standing>, sqlx::Error> {
    let arguments = partition_arguments(sink, wanted.iter())?;
    let rows = session.fetch(sql::LOCK_ROWS.to_owned(), arguments).await?;
    let standing = |row| {
        let standing = Standing {
            next: NextOffset::at(sqlx::postgres::PgRow::try_get(row, 2)?),
            topic_id: row.try_get(3)?,
            stopped: row.try_get(4)?,
            is_owned: row.try_get(5)?,
        };
        Ok((partition(row)?, standing))
    };
    rows.iter().map(standing).collect()
}

/// Writes one row under a claim of our own, or makes it; `false` when another has made it meanwhile.
async fn write(
    session: &mut Session,
    sink: &Sink,
    partition: &TopicPartition,
    (is_new, amendment): (bool, Amendment),
) -> Result<bool, sqlx::Error> {
    let mut arguments = sink_arguments(sink)?;
    bind(&mut arguments, &*partition.topic)?;
    bind(&mut arguments, partition.partition)?;
    bind(&mut arguments, amendment.next.get())?;
    bind(&mut arguments, amendment.topic.and_then(|topic| topic.id))?;
    bind(&mut arguments, amendment.topic.map(|topic| topic.partition_count))?;
    let statement = if is_new {
        sql::MAKE_ROW
    } else {
        bind(&mut arguments, amendment.forgets_last)?;
        bind(&mut arguments, Uuid::new_v4())?;
        bind(&mut arguments, amendment.versions == Versions::Forget)?;
        sql::AMEND_ROW
    };
    let is_written = session.run(statement.to_owned(), arguments).await? == 1;
    let of_keys = match amendment.keys {
        Keys::Keep => None,
        Keys::Accept => Some(sql::ACCEPT_KEYS),
        Keys::Forget => Some(sql::FORGET_KEYS),
    };
    if let Some(statement) = of_keys {
        let mut arguments = sink_arguments(sink)?;
        bind(&mut arguments, &*partition.topic)?;
        session.run(statement.to_owned(), arguments).await?;
    }
    let of_versions = match amendment.versions {
        Versions::Keep => None,
        Versions::Untie => Some(sql::UNTIE_GUARD),
        Versions::Forget => Some(sql::FORGET_GUARD),
    };
    if let Some(statement) = of_versions {
        let mut arguments = PgArguments::default();
        bind(&mut arguments, &*sink.cluster_id)?;
        bind(&mut arguments, &*partition.topic)?;
        session.run(statement.to_owned(), arguments).await?;
    }
    Ok(is_written)
}

async fn keep(session: &mut Session, amended: &Amended, deed: Deed<'_>) -> Result<(), sqlx::Error> {
    let mut arguments = PgArguments::default();
    bind(&mut arguments, deed.actor)?;
    bind(&mut arguments, deed.command)?;
    bind(&mut arguments, &*amended.partition.topic)?;
    bind(&mut arguments, amended.partition.partition)?;
    bind(&mut arguments, amended.before.map(NextOffset::get))?;
    bind(&mut arguments, amended.after.get())?;
    bind(&mut arguments, deed.reason)?;
    session.run(sql::AUDIT.to_owned(), arguments).await.map(drop)
}
