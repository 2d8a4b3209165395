//! Leads: which source tables lead to a table, as the file keeps it.

use sqlx::SqliteConnection;

use crate::batch::{Lead, Leader};
use crate::decode::value::kind::SourceName;
use crate::table::TableName;
use crate::target::TargetError;
use crate::target::sqlite::sql;

/// Keeps the leads of a batch; a table is stale to which something leads that was not there when it
/// was decided who may. The transaction's lock keeps it so.
pub(super) async fn enter(
    connection: &mut SqliteConnection,
    leads: &[Lead],
    now: &str,
) -> Result<(), TargetError> {
    for lead in leads {
        keep(connection, lead, now).await?;
        if !lead.stands_among(&read(connection, &lead.target).await?) {
            return Err(TargetError::StaleLayout { table: lead.target.clone() });
        }
    }
    Ok(())
}

/// Keeps a lead; one that is kept already is left as it is.
pub(super) async fn keep(
    connection: &mut SqliteConnection,
    lead: &Lead,
    now: &str,
) -> Result<(), TargetError> {
    let Leader { source, topic } = &lead.leader;
    let query = sqlx::query(sql::KEEP_LEAD)
        .bind(&lead.target.table)
        .bind(&source.server)
        .bind(source.database.as_deref().unwrap_or_default())
        .bind(&source.schema)
        .bind(&source.table)
        .bind(&**topic)
        .bind(now);
    query.execute(connection).await.map(drop).map_err(TargetError::of_sqlite)
}

/// Reads which source tables lead to a table.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    name: &TableName,
) -> Result<Vec<Leader>, TargetError> {
    let rows = sqlx::query_as::<_, (String, String, String, String, String)>(sql::LEADERS)
        .bind(&name.table)
        .fetch_all(connection)
        .await
        .map_err(TargetError::of_sqlite)?;
    let leader = |(server, database, schema, table, topic): (_, String, _, _, String)| {
        let database = Some(database).filter(|name| !name.is_empty());
        let source = SourceName { server, database, schema, table };
        Leader { source, topic: topic.into() }
    };
    Ok(rows.into_iter().map(leader).collect())
}

/// Counts the sources that lead to a table beside another one.
pub(super) async fn met(connection: &mut SqliteConnection) -> Result<u64, TargetError> {
    let met = sqlx::query_scalar::<_, i64>(sql::MET).fetch_one(connection).await;
    Ok(u64::try_from(met.map_err(TargetError::of_sqlite)?).unwrap_or_default())
}
