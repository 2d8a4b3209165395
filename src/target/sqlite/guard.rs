//! The row guard: what the target has seen of each key, read and moved on before any row is written.

use std::sync::Arc;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::checkpoint::Step;
use crate::guard::{self, Age, LogPlace, Version};
use crate::rows::Rows;
use crate::target::sqlite::sql;
use crate::target::{Sink, TargetError, went_back};

/// Compares a guarded table's rows with what the target has seen, and keeps what it has seen then;
/// returns the rows that are older.
pub(super) async fn sift(
    connection: &mut SqliteConnection,
    sink: &Sink,
    rows: &Rows,
    steps: &[Step],
) -> Result<Vec<usize>, TargetError> {
    let table = &rows.shape().table.name.table;
    let key = |at: usize| rows.index().get(at).map(|row| rows.key(row)).unwrap_or_default();
    let mut known = Vec::new();
    for at in guard::keys(rows) {
        let query = sqlx::query(sql::FIND_GUARD).bind(table).bind(key(at));
        let found = query.fetch_optional(&mut *connection).await;
        let found = found.and_then(|row| row.map(|row| version(sink, &row)).transpose());
        let found = found.map_err(TargetError::of_sqlite)?;
        known.extend(found.map(|version| (at, version)));
    }
    let sifted = guard::sift(rows, steps, known).map_err(|row| went_back(rows, row, steps))?;
    for (at, Version { age, sent_at, topic, partition, offset }) in &sifted.versions {
        let place = age.place;
        let query = sqlx::query(sql::KEEP_GUARD)
            .bind(table)
            .bind(key(*at))
            .bind(place.map(|place| place.file))
            .bind(place.map(|place| place.pos))
            .bind(place.map(|place| place.row))
            .bind(age.is_snapshot)
            .bind(age.source_time)
            .bind(sent_at)
            .bind(&*sink.cluster_id)
            .bind(topic.as_deref().unwrap_or_default())
            .bind(partition)
            .bind(offset);
        query.execute(&mut *connection).await.map_err(TargetError::of_sqlite)?;
    }
    Ok(sifted.older)
}

fn version(sink: &Sink, row: &SqliteRow) -> Result<Version, sqlx::Error> {
    let place = match (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?) {
        (Some(file), Some(pos), Some(row)) => Some(LogPlace { file, pos, row }),
        _ => None,
    };
    let age = Age { place, is_snapshot: row.try_get(3)?, source_time: row.try_get(4)? };
    let cluster = row.try_get::<Option<String>, _>(6)?;
    let topic = row.try_get::<String, _>(7)?;
    let is_of_cluster = cluster.as_deref() == Some(&*sink.cluster_id);
    Ok(Version {
        age,
        sent_at: row.try_get(5)?,
        topic: is_of_cluster.then(|| Arc::from(topic)),
        partition: row.try_get(8)?,
        offset: row.try_get(9)?,
    })
}
