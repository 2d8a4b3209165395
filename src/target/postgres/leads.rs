//! Leads: which source tables lead to a table, as the target keeps it.

use sqlx::Row as _;
use sqlx::postgres::PgArguments;

use crate::batch::{Lead, Leader};
use crate::decode::value::kind::SourceName;
use crate::table::TableName;
use crate::target::TargetError;
use crate::target::postgres::error::{Doing, target_error};
use crate::target::postgres::session::{Session, bind};
use crate::target::postgres::{catalog, sql};

/// Keeps the leads of a batch, inside its transaction; a table is stale to which something leads
/// that was not there when it was decided who may.
pub(super) async fn enter(session: &mut Session, leads: &[Lead]) -> Result<(), TargetError> {
    if leads.is_empty() {
        return Ok(());
    }
    let other = |error| target_error(error, Doing::Other);
    let targets = targets(leads).map_err(other)?;
    session.run(sql::LOCK_LEADS.to_owned(), targets).await.map_err(other)?;
    keep(session, leads).await.map_err(other)?;
    let names = leads.iter().map(|lead| &lead.target).collect::<Vec<_>>();
    let leaders = read(session, &names).await.map_err(other)?;
    for (lead, leaders) in leads.iter().zip(leaders) {
        if !lead.stands_among(&leaders) {
            return Err(TargetError::StaleLayout { table: lead.target.clone() });
        }
    }
    Ok(())
}

/// Keeps leads; those that are kept already are left as they are.
pub(super) async fn keep(session: &mut Session, leads: &[Lead]) -> Result<(), sqlx::Error> {
    let mut arguments = targets(leads)?;
    let parts: [fn(&Leader) -> &str; 5] = [
        |leader| &leader.source.server,
        |leader| leader.source.database.as_deref().unwrap_or_default(),
        |leader| &leader.source.schema,
        |leader| &leader.source.table,
        |leader| &leader.topic,
    ];
    for part in parts {
        bind(&mut arguments, leads.iter().map(|it| part(&it.leader)).collect::<Vec<_>>())?;
    }
    session.run(sql::KEEP_LEADS.to_owned(), arguments).await.map(drop)
}

/// Reads which source tables lead to each of the tables.
pub(super) async fn read(
    session: &mut Session,
    names: &[&TableName],
) -> Result<Vec<Vec<Leader>>, sqlx::Error> {
    let mut leaders = vec![Vec::new(); names.len()];
    for row in session.fetch(sql::LEADERS.to_owned(), catalog::arguments(names)?).await? {
        let database = Some(row.try_get::<String, _>(2)?).filter(|name| !name.is_empty());
        let (server, schema, table) = (row.try_get(1)?, row.try_get(3)?, row.try_get(4)?);
        let source = SourceName { server, database, schema, table };
        if let Some(leaders) = leaders.get_mut(catalog::place(&row)?) {
            leaders.push(Leader { source, topic: row.try_get::<String, _>(5)?.into() });
        }
    }
    Ok(leaders)
}

/// Counts the sources that lead to a table beside another one.
pub(super) async fn met(session: &mut Session) -> Result<u64, sqlx::Error> {
    let rows = session.fetch(sql::MET.to_owned(), PgArguments::default()).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    Ok(u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or_default())
}

fn targets(leads: &[Lead]) -> Result<PgArguments, sqlx::Error> {
    catalog::arguments(&leads.iter().map(|it| &it.target).collect::<Vec<_>>())
}
