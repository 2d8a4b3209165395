//! The row guard: what the target has seen of each key, read and moved on before any row is written.

use std::sync::Arc;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::checkpoint::Step;
use crate::guard::{self, Age, LogPlace, Standing, Version};
use crate::rows::Rows;
use crate::target::sqlite::apply::Writer;
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
    let key = |at: usize| rows.index().get(at).map(|row| rows.key_by_name(row)).unwrap_or_default();
    let mut known = Vec::new();
    for at in guard::keys(rows) {
        let found = find(connection, sink, (table, &key(at))).await?;
        known.extend(found.map(|version| (at, version)));
    }
    let truncate = find(connection, sink, (table, TRUNCATE)).await?;
    let sifted = guard::sift(rows, steps, known, truncate.as_ref());
    let sifted = sifted.map_err(|origin| went_back(rows, origin, steps))?;
    for (at, version) in &sifted.versions {
        keep(connection, sink, (table, &key(*at)), version).await?;
    }
    Ok(sifted.older)
}

/// The key of what is known of the newest truncate: no row's has no bytes.
const TRUNCATE: &[u8] = &[];

/// Takes the truncates of a guarded table: rows that are older go.
pub(super) async fn outdate(
    connection: &mut SqliteConnection,
    sink: &Sink,
    (rows, steps): (&Rows, &[Step]),
    now: &Arc<str>,
) -> Result<(), TargetError> {
    let table = &rows.shape().table.name.table;
    for (origin, version) in guard::truncates(rows, steps) {
        let known = find(connection, sink, (table, TRUNCATE)).await?;
        match version.over_truncate(known.as_ref()) {
            Standing::Older => continue,
            Standing::WentBack => return Err(went_back(rows, origin, steps)),
            Standing::Newer => {}
        }
        let mut staying = Vec::new();
        for (key, known) in lasting(connection, sink, table, &version).await? {
            match version.over(&known) {
                Standing::Newer => {}
                Standing::Older => staying.push(key),
                Standing::WentBack => return Err(went_back(rows, origin, steps)),
            }
        }
        Writer { connection, rows, now }.remove_others(&staying).await?;
        keep(connection, sink, (table, TRUNCATE), &version).await?;
    }
    Ok(())
}

async fn find(
    connection: &mut SqliteConnection,
    sink: &Sink,
    (table, key): (&str, &[u8]),
) -> Result<Option<Version>, TargetError> {
    let query = sqlx::query(sql::FIND_GUARD).bind(table).bind(key);
    let found = query.fetch_optional(connection).await;
    let found = found.and_then(|row| row.map(|row| version_of(sink, &row)).transpose());
    found.map_err(TargetError::of_sqlite)
}

/// Reads what is known of the keys that a truncate may be older than.
async fn lasting(
    connection: &mut SqliteConnection,
    sink: &Sink,
    table: &str,
    truncate: &Version,
) -> Result<Vec<(Vec<u8>, Version)>, TargetError> {
    let place = truncate.age.place;
    let query = sqlx::query(sql::LASTING_GUARD)
        .bind(table)
        .bind(place.map(|place| place.file))
        .bind(place.map(|place| place.pos))
        .bind(place.map(|place| place.row))
        .bind(&*sink.cluster_id)
        .bind(truncate.topic.as_deref())
        .bind(truncate.partition)
        .bind(truncate.offset);
    let found = query.fetch_all(connection).await.map_err(TargetError::of_sqlite)?;
    let lasting = found.iter().map(|row| Ok((row.try_get(13)?, version_of(sink, row)?)));
    lasting.collect::<Result<Vec<_>, _>>().map_err(TargetError::of_sqlite)
}

async fn keep(
    connection: &mut SqliteConnection,
    sink: &Sink,
    (table, key): (&str, &[u8]),
    version: &Version,
) -> Result<(), TargetError> {
    let Version { age, changed, sent_at, topic, partition, offset } = version;
    let query = sqlx::query(sql::KEEP_GUARD)
        .bind(table)
        .bind(key)
        .bind(age.place.map(|place| place.file))
        .bind(age.place.map(|place| place.pos))
        .bind(age.place.map(|place| place.row))
        .bind(age.is_snapshot)
        .bind(age.source_time)
        .bind(sent_at)
        .bind(&*sink.cluster_id)
        .bind(topic.as_deref().unwrap_or_default())
        .bind(partition)
        .bind(offset)
        .bind(changed.map(|place| place.file))
        .bind(changed.map(|place| place.pos))
        .bind(changed.map(|place| place.row));
    query.execute(connection).await.map(drop).map_err(TargetError::of_sqlite)
}

fn version_of(sink: &Sink, row: &SqliteRow) -> Result<Version, sqlx::Error> {
    let place = |first: usize| -> Result<_, sqlx::Error> {
        let part = |at: usize| row.try_get(first + at);
        Ok(LogPlace::of(part(0)?, part(1)?, part(2)?))
    };
    let (place, changed) = (place(0)?, place(10)?);
    let age = Age { place, is_snapshot: row.try_get(3)?, source_time: row.try_get(4)? };
    let cluster = row.try_get::<Option<String>, _>(6)?;
    let topic = row.try_get::<String, _>(7)?;
    let is_of_cluster = cluster.as_deref() == Some(&*sink.cluster_id);
    Ok(Version {
        age,
        changed,
        sent_at: row.try_get(5)?,
        topic: is_of_cluster.then(|| Arc::from(topic)),
        partition: row.try_get(8)?,
        offset: row.try_get(9)?,
    })
}
