//! What commands see of a file: checkpoints, dead letters, tables, rows.

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};

use crate::batch::{Leader, SchemaChange};
use crate::checkpoint::NextOffset;
use crate::record::TopicPartition;
use crate::table::{Table, TableName};
use crate::target::TargetError;
use crate::target::inspect::{
    Amendments, CheckpointRow, Decide, Deed, Inspect, ReplicatedTable, Sample,
};
use crate::target::sqlite::{Sqlite, amend, catalog, leads, plain, sql};

impl Inspect for Sqlite {
    async fn checkpoints(&mut self) -> Result<Vec<(TopicPartition, CheckpointRow)>, TargetError> {
        let rows = self.own_rows(sql::CHECKPOINTS).await?;
        rows.iter().map(checkpoint).collect::<Result<_, _>>().map_err(TargetError::of_sqlite)
    }

    async fn dead_letter_counts(&mut self) -> Result<Vec<(TopicPartition, u64)>, TargetError> {
        let rows = self.own_rows(sql::DEAD_LETTER_COUNTS).await?;
        let counts = rows.iter().map(|row| Ok((partition(row)?, count(row.try_get(2)?))));
        counts.collect::<Result<_, _>>().map_err(TargetError::of_sqlite)
    }

    async fn replicated_tables(
        &mut self,
        synced_at_column: &str,
    ) -> Result<Vec<ReplicatedTable>, TargetError> {
        let Some(mut connection) = self.look().await? else { return Ok(Vec::new()) };
        let names = sqlx::query_scalar::<_, String>(sql::REPLICATED_TABLES)
            .bind(synced_at_column)
            .fetch_all(&mut connection)
            .await
            .map_err(TargetError::of_sqlite)?;
        let mut tables = Vec::with_capacity(names.len());
        for table in names {
            // Names are quoted by `sql`.
            let text = AssertSqlSafe(sql::count_rows(&table, synced_at_column));
            let query = sqlx::query_as::<_, (i64, Option<String>)>(text);
            let counted = query.fetch_one(&mut connection).await;
            let (row_count, newest) = counted.map_err(TargetError::of_sqlite)?;
            let name = TableName { schema: None, table };
            let row_count = count(row_count);
            tables.push(ReplicatedTable { name, row_count, is_exact: true, newest });
        }
        Ok(tables)
    }

    async fn newest(
        &mut self,
        table: &TableName,
        synced_at_column: &str,
        limit: u32,
    ) -> Result<Option<Sample>, TargetError> {
        let Some(mut connection) = self.look().await? else { return Ok(None) };
        newest(&mut connection, table, synced_at_column, limit).await
    }

    async fn describe(&mut self, name: &TableName) -> Result<Option<Table>, TargetError> {
        let Some(mut connection) = self.look().await? else { return Ok(None) };
        catalog::read(&mut connection, name).await
    }

    async fn leaders_of(&mut self, name: &TableName) -> Result<Vec<Leader>, TargetError> {
        let Some(mut connection) = self.look().await? else { return Ok(Vec::new()) };
        if !has_own_tables(&mut connection).await? {
            return Ok(Vec::new());
        }
        leads::read(&mut connection, name).await
    }

    async fn is_bootstrapped(&mut self) -> Result<bool, TargetError> {
        let Some(mut connection) = self.look().await? else { return Ok(false) };
        has_own_tables(&mut connection).await
    }

    async fn needed(&mut self, change: &SchemaChange) -> Result<Vec<String>, TargetError> {
        Ok(change.statements.clone())
    }

    async fn grants(&mut self, _: &[TableName]) -> Result<Vec<String>, TargetError> {
        Ok(Vec::new())
    }

    async fn amend(
        &mut self,
        wanted: &[TopicPartition],
        decide: Decide<'_>,
        deed: Deed<'_>,
    ) -> Result<Amendments, TargetError> {
        let mut writing = self.begin_writing().await?;
        let amended = amend::amend(&mut writing, &self.sink, wanted, decide, deed).await?;
        let how = if amended.refused.is_empty() { "COMMIT" } else { "ROLLBACK" };
        self.end(writing, how).await?;
        Ok(amended)
    }
}

impl Sqlite {
    /// Reads rows of our own tables, by a query that binds the sink and the cluster; none where the
    /// tables do not exist.
    async fn own_rows(&self, query: &'static str) -> Result<Vec<SqliteRow>, TargetError> {
        let Some(mut connection) = self.look().await? else { return Ok(Vec::new()) };
        if !has_own_tables(&mut connection).await? {
            return Ok(Vec::new());
        }
        let query = sqlx::query(query).bind(&self.sink.name).bind(&self.sink.cluster_id);
        query.fetch_all(&mut connection).await.map_err(TargetError::of_sqlite)
    }
}

pub(super) async fn has_own_tables(connection: &mut SqliteConnection) -> Result<bool, TargetError> {
    let version = sqlx::query(sql::IS_BOOTSTRAPPED).fetch_optional(connection).await;
    Ok(version.map_err(TargetError::of_sqlite)?.is_some())
}

/// Reads a row's first two columns.
pub(super) fn partition(row: &SqliteRow) -> Result<TopicPartition, sqlx::Error> {
    Ok(TopicPartition::new(row.try_get::<String, _>(0)?, row.try_get(1)?))
}

/// No file counts below zero.
fn count(rows: i64) -> u64 {
    u64::try_from(rows).unwrap_or_default()
}

fn checkpoint(row: &SqliteRow) -> Result<(TopicPartition, CheckpointRow), sqlx::Error> {
    let found = CheckpointRow {
        next: NextOffset::at(row.try_get(2)?),
        epoch: row.try_get(3)?,
        owner: row.try_get(4)?,
        group_id: row.try_get(5)?,
        state: row.try_get(6)?,
        state_reason: row.try_get(7)?,
        source_position: row.try_get(8)?,
        updated_at: row.try_get(9)?,
        source_incarnation: row.try_get(10)?,
    };
    Ok((partition(row)?, found))
}

async fn newest(
    connection: &mut SqliteConnection,
    table: &TableName,
    synced_at: &str,
    limit: u32,
) -> Result<Option<Sample>, TargetError> {
    let Some(found) = catalog::read(connection, table).await? else { return Ok(None) };
    let columns = found.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>();
    let synced_at = columns.contains(&synced_at).then_some(synced_at);
    // Names are quoted by `sql`.
    let text = sql::newest_rows(&table.table, &columns, synced_at);
    let query = sqlx::query(AssertSqlSafe(text)).bind(i64::from(limit));
    let rows = query.fetch_all(connection).await.map_err(TargetError::of_sqlite)?;
    let rows = rows.iter().map(plain::text_of).collect::<Result<_, _>>()?;
    let columns = columns.into_iter().map(str::to_owned).collect();
    Ok(Some(Sample { columns, rows }))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::amend::{Amendment, Decision, Keys, Standing, Versions};
    use crate::checkpoint::NextOffset;
    use crate::identity::{Remembered, TopicIdentity};
    use crate::stopped::{Stop, StopReason};
    use crate::target::sqlite::tests::World;
    use crate::target::{Holding, Target as _};

    fn table(table: &str) -> TableName {
        TableName { schema: None, table: table.to_owned() }
    }

    #[tokio::test]
    async fn commands_see_what_lies_in_the_file() {
        let world = World::new();
        let (mut target, _) = world.claimed().await;
        world
            .run(
                "CREATE TABLE items (id INTEGER PRIMARY KEY, \"a b\" BLOB, synced_at TEXT);
                 INSERT INTO items VALUES (1, x'ff00', '2024'), (2, NULL, '2025');
                 CREATE TABLE other (id INTEGER PRIMARY KEY);
                 UPDATE afterimage_checkpoint SET updated_at = '1970-01-01T00:00:01.234567Z';
                 INSERT INTO afterimage_dead_letter (sink, cluster_id, topic, \"partition\",
                     record_offset, reason, first_seen, last_seen, state)
                 VALUES ('sink', 'cluster', 't', 0, 1, 'r', '', '', 'open'),
                     ('sink', 'cluster', 't', 0, 2, 'r', '', '', 'discarded'),
                     ('sink', 'another', 't', 0, 1, 'r', '', '', 'open')",
            )
            .await;

        let checkpoints = target.checkpoints().await.unwrap();
        let [(partition, row)] = checkpoints.as_slice() else { panic!("{checkpoints:?}") };
        assert_eq!(*partition, world.partition);
        assert_eq!((row.next.get(), row.epoch, row.updated_at), (0, 1, Some(1234)));
        assert_eq!(row.group_id.as_deref(), Some("group"));
        assert_eq!(target.dead_letter_counts().await.unwrap(), [(world.partition.clone(), 1)]);
        let text = |text: &str| Some(text.to_owned());
        let items = ReplicatedTable {
            name: table("items"),
            row_count: 2,
            is_exact: true,
            newest: text("2025"),
        };
        assert_eq!(target.replicated_tables("synced_at").await.unwrap(), [items]);
        let newest = target.newest(&table("items"), "synced_at", 2).await.unwrap().unwrap();
        assert_eq!(newest.columns, ["id", "a b", "synced_at"]);
        let (new, old) = ([text("2"), None, text("2025")], [text("1"), text("FF00"), text("2024")]);
        assert_eq!(newest.rows, [new, old]);
        assert_eq!(target.newest(&table("none"), "synced_at", 1).await.unwrap(), None);
        let described = target.describe(&table("items")).await.unwrap().unwrap();
        assert_eq!(described.unique_keys, [["id"]]);
    }

    #[tokio::test]
    async fn looking_makes_no_file() {
        let world = World::new();
        let mut target = world.target();
        assert_eq!(target.checkpoints().await.unwrap(), []);
        assert_eq!(target.dead_letter_counts().await.unwrap(), []);
        assert_eq!(target.replicated_tables("synced_at").await.unwrap(), []);
        assert_eq!(target.newest(&table("items"), "synced_at", 1).await.unwrap(), None);
        assert_eq!(target.describe(&table("items")).await.unwrap(), None);
        assert!(world.is_empty());
    }

    #[tokio::test]
    async fn an_amendment_fences_the_owner_and_is_kept_in_the_audit() {
        let world = World::new();
        let (mut owner, claimed) = world.claimed().await;
        let stop = Stop::new(StopReason::LogGap, "x");
        owner.mark(&world.partition, claimed.claim, Some(&stop)).await.unwrap();
        let mut target = world.target();
        let all = [world.partition.clone(), TopicPartition::new("t", 1)];
        let deed = Deed { actor: "me", command: "checkpoint skip", reason: "a gap" };
        let topic = TopicIdentity { id: Some(Uuid::from_u128(7)), partition_count: 2 };
        let amendment = |next| Amendment {
            next: NextOffset::at(next),
            topic: Some(topic),
            forgets_last: true,
            keys: Keys::Keep,
            versions: Versions::Untie,
        };
        let refuse = |partition: &TopicPartition, row: Option<&Standing>| match row {
            Some(_) => Decision::Amend(amendment(5)),
            None => Decision::Refuse(partition.to_string()),
        };
        assert_eq!(target.amend(&all, &refuse, deed).await.unwrap().refused, ["t[1]"]);
        assert_eq!(world.read("SELECT 1 FROM afterimage_audit").await, [""; 0]);

        let seen = std::sync::Mutex::new(Vec::new());
        let allow = |_: &TopicPartition, row: Option<&Standing>| {
            seen.lock().unwrap().push(row.cloned());
            Decision::Amend(amendment(if row.is_some() { 5 } else { 9 }))
        };
        assert_eq!(target.amend(&all, &allow, deed).await.unwrap().made.len(), 2);
        let stopped = Some("log_gap: x".to_owned());
        let (next, topic_id) = (NextOffset::at(0), None);
        let row = Standing { next, topic_id, stopped, is_owned: true };
        assert_eq!(*seen.lock().unwrap(), [Some(row), None]);

        let (partition, claim, next) = (world.partition.clone(), claimed.claim, claimed.next);
        let held = [Holding { partition, claim, next }];
        let elsewhere = owner.touch(&held).await.unwrap().elsewhere;
        assert_eq!(elsewhere, std::slice::from_ref(&world.partition));
        let claims = owner.claim(&all, Uuid::new_v4(), false).await.unwrap();
        let remembered = Remembered { topic_id: topic.id, partitions_seen: Some(2), last: None };
        let found = claims.claimed.iter().map(|it| (it.next.get(), it.remembered));
        assert_eq!(found.collect::<Vec<_>>(), [(5, remembered), (9, remembered)]);
        let kept = "SELECT actor, command, topic, \"partition\", before_offset, after_offset,
            reason FROM afterimage_audit ORDER BY \"partition\"";
        let line = |rest: &str| format!("me|checkpoint skip|t|{rest}|a gap");
        assert_eq!(world.read(kept).await, [line("0|0|5"), line("1|NULL|9")]);
    }
}
