//! Amending: an operator's changes to the checkpoint, in one writing transaction.

use sqlx::Row as _;
use uuid::Uuid;

use crate::amend::{Amendment, Decision, Keys, Standing, Versions};
use crate::checkpoint::NextOffset;
use crate::record::TopicPartition;
use crate::target::inspect::{Amended, Amendments, Decide, Deed};
use crate::target::sqlite::fence::{OTHER_GROUP_LIVES, bind_partition};
use crate::target::sqlite::{Writing, sql, time_text};
use crate::target::{Sink, TargetError};

/// Decides about each row, and writes; what is refused has the caller take everything back.
pub(super) async fn amend(
    writing: &mut Writing,
    sink: &Sink,
    wanted: &[TopicPartition],
    decide: Decide<'_>,
    deed: Deed<'_>,
) -> Result<Amendments, TargetError> {
    let mut amendments = Amendments::default();
    for partition in wanted {
        let row = read(writing, sink, partition).await?;
        let amendment = match decide(partition, row.as_ref()) {
            Decision::Amend(amendment) => amendment,
            Decision::Leave(why) => {
                amendments.left.push(why);
                continue;
            }
            Decision::Refuse(why) => {
                amendments.refused.push(why);
                continue;
            }
        };
        let (before, after) = (row.map(|row| row.next), amendment.next);
        write(writing, sink, partition, (before.is_none(), amendment)).await?;
        let amended = Amended { partition: partition.clone(), before, after };
        keep(writing, &amended, deed).await?;
        amendments.made.push(amended);
    }
    Ok(amendments)
}

async fn read(
    writing: &mut Writing,
    sink: &Sink,
    partition: &TopicPartition,
) -> Result<Option<Standing>, TargetError> {
    let living = time_text(writing.now - OTHER_GROUP_LIVES);
    let query = bind_partition(sqlx::query(sql::STANDING).bind(living), sink, partition);
    let row = query.fetch_optional(&mut writing.connection).await;
    let Some(row) = row.map_err(TargetError::of_sqlite)? else { return Ok(None) };
    let standing = || {
        let id = row.try_get::<Option<String>, _>(1)?;
        Ok::<_, sqlx::Error>(Standing {
            next: NextOffset::at(row.try_get(0)?),
            topic_id: id.and_then(|id| Uuid::parse_str(&id).ok()),
            stopped: row.try_get(2)?,
            is_owned: row.try_get(3)?,
        })
    };
    standing().map(Some).map_err(TargetError::of_sqlite)
}

/// Writes one row under a claim of our own, or makes it.
async fn write(
    writing: &mut Writing,
    sink: &Sink,
    partition: &TopicPartition,
    (is_new, amendment): (bool, Amendment),
) -> Result<(), TargetError> {
    let statement = if is_new { sql::MAKE_ROW } else { sql::AMEND_ROW };
    let id = amendment.topic.and_then(|topic| topic.id);
    let query = bind_partition(sqlx::query(statement), sink, partition)
        .bind(amendment.next.get())
        .bind(id.map(|id| id.hyphenated().to_string()))
        .bind(amendment.topic.map(|topic| topic.partition_count));
    let query = if is_new {
        query.bind(time_text(writing.now))
    } else {
        let is_other_source = amendment.versions == Versions::Forget;
        let query = query.bind(amendment.forgets_last);
        query.bind(Uuid::new_v4().hyphenated().to_string()).bind(is_other_source)
    };
    query.execute(&mut writing.connection).await.map_err(TargetError::of_sqlite)?;
    let of_keys = match amendment.keys {
        Keys::Keep => None,
        Keys::Accept => Some(sql::ACCEPT_KEYS),
        Keys::Forget => Some(sql::FORGET_KEYS),
    };
    if let Some(statement) = of_keys {
        let query = sqlx::query(statement).bind(&sink.name);
        let query = query.bind(&sink.cluster_id).bind(&*partition.topic);
        query.execute(&mut writing.connection).await.map_err(TargetError::of_sqlite)?;
    }
    let of_versions = match amendment.versions {
        Versions::Keep => None,
        Versions::Untie => Some(sql::UNTIE_GUARD),
        Versions::Forget => Some(sql::FORGET_GUARD),
    };
    if let Some(statement) = of_versions {
        let query = sqlx::query(statement).bind(&sink.cluster_id).bind(&*partition.topic);
        query.execute(&mut writing.connection).await.map_err(TargetError::of_sqlite)?;
    }
    Ok(())
}

async fn keep(writing: &mut Writing, amended: &Amended, deed: Deed<'_>) -> Result<(), TargetError> {
    let query = sqlx::query(sql::AUDIT)
        .bind(time_text(writing.now))
        .bind(deed.actor)
        .bind(deed.command)
        .bind(&*amended.partition.topic)
        .bind(amended.partition.partition)
        .bind(amended.before.map(NextOffset::get))
        .bind(amended.after.get())
        .bind(deed.reason);
    query.execute(&mut writing.connection).await.map(drop).map_err(TargetError::of_sqlite)
}
