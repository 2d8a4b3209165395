//! What commands see of a file: checkpoints, dead letters, tables, rows.

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};

use crate::record::TopicPartition;
use crate::table::TableName;
use crate::target::TargetError;
use crate::target::looked::{CheckpointRow, DeadLetterCount, Deed, ReplicatedTable, TextRows};
use crate::target::sqlite::{Sqlite, catalog, plain, sql, time_text};

impl Sqlite {
    /// Reads the sink's checkpoint rows, of all clusters; none before the first start.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub async fn checkpoints(&mut self) -> Result<Vec<CheckpointRow>, TargetError> {
        let mut connection = self.connection().await?;
        let query = sqlx::query(sql::CHECKPOINTS).bind(&self.sink.name);
        let rows = query.fetch_all(&mut connection).await.map_err(TargetError::of_sqlite)?;
        self.connection = Some(connection);
        let rows = rows.iter().map(checkpoint).collect::<Result<_, _>>();
        rows.map_err(TargetError::of_sqlite)
    }

    /// Counts the sink's open dead letters.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub async fn dead_letter_counts(&mut self) -> Result<Vec<DeadLetterCount>, TargetError> {
        let mut connection = self.connection().await?;
        let rows = sqlx::query_as::<_, (String, String, i64)>(sql::DEAD_LETTER_COUNTS)
            .bind(&self.sink.name)
            .fetch_all(&mut connection)
            .await
            .map_err(TargetError::of_sqlite)?;
        self.connection = Some(connection);
        let count = |(topic, reason, count)| DeadLetterCount { topic, reason, count };
        Ok(rows.into_iter().map(count).collect())
    }

    /// Finds the tables that have the column for the time of writing, and counts their rows.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub async fn replicated_tables(
        &mut self,
        synced_at: &str,
    ) -> Result<Vec<ReplicatedTable>, TargetError> {
        let mut connection = self.connection().await?;
        let names = sqlx::query_scalar::<_, String>(sql::REPLICATED_TABLES)
            .bind(synced_at)
            .fetch_all(&mut connection)
            .await
            .map_err(TargetError::of_sqlite)?;
        let mut tables = Vec::with_capacity(names.len());
        for table in names {
            // The name is quoted by `sql`.
            let query = sqlx::query_scalar(AssertSqlSafe(sql::count_rows(&table)));
            let count = query.persistent(false).fetch_one(&mut connection).await;
            let row_count = count.map_err(TargetError::of_sqlite)?;
            let name = TableName { schema: None, table };
            tables.push(ReplicatedTable { name, row_count, is_exact: true });
        }
        self.connection = Some(connection);
        Ok(tables)
    }

    /// Reads the rows of a table that were written last; any rows when it has no such column.
    ///
    /// `None` when the table does not exist.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub async fn newest(
        &mut self,
        table: &TableName,
        synced_at: &str,
        limit: i64,
    ) -> Result<Option<TextRows>, TargetError> {
        let mut connection = self.connection().await?;
        let rows = newest(&mut connection, table, synced_at, limit).await?;
        self.connection = Some(connection);
        Ok(rows)
    }

    /// Keeps what an operator did.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub async fn audit(&mut self, deed: Deed<'_>) -> Result<(), TargetError> {
        let mut writing = self.begin_writing().await?;
        let query = sqlx::query(sql::AUDIT)
            .bind(time_text(writing.now))
            .bind(deed.actor)
            .bind(deed.command)
            .bind(&*deed.partition.topic)
            .bind(deed.partition.partition)
            .bind(deed.before)
            .bind(deed.after)
            .bind(deed.reason);
        query.execute(&mut writing.connection).await.map_err(TargetError::of_sqlite)?;
        self.end(writing, "COMMIT").await
    }
}

fn checkpoint(row: &SqliteRow) -> Result<CheckpointRow, sqlx::Error> {
    Ok(CheckpointRow {
        cluster_id: row.try_get(0)?,
        partition: TopicPartition::new(row.try_get::<String, _>(1)?, row.try_get(2)?),
        next_offset: row.try_get(3)?,
        epoch: row.try_get(4)?,
        owner: row.try_get(5)?,
        group_id: row.try_get(6)?,
        state: row.try_get(7)?,
        state_reason: row.try_get(8)?,
        source_position: row.try_get(9)?,
        last_offset: row.try_get(10)?,
        last_timestamp: row.try_get(11)?,
        claimed_at: row.try_get(12)?,
        updated_at: row.try_get::<Option<i64>, _>(13)?.unwrap_or_default(),
    })
}

async fn newest(
    connection: &mut SqliteConnection,
    table: &TableName,
    synced_at: &str,
    limit: i64,
) -> Result<Option<TextRows>, TargetError> {
    let Some(found) = catalog::read(connection, table).await? else { return Ok(None) };
    let columns = found.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>();
    let synced_at = columns.contains(&synced_at).then_some(synced_at);
    // Names are quoted by `sql`.
    let text = sql::newest_rows(&table.table, &columns, synced_at);
    let query = sqlx::query(AssertSqlSafe(text)).persistent(false).bind(limit);
    let rows = query.fetch_all(connection).await.map_err(TargetError::of_sqlite)?;
    let rows = rows.iter().map(plain::text_of).collect::<Result<_, _>>()?;
    let columns = columns.into_iter().map(str::to_owned).collect();
    Ok(Some(TextRows { columns, rows }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::sqlite::tests::World;

    #[tokio::test]
    async fn commands_see_what_lies_in_the_file() {
        let world = World::new();
        let (mut target, claimed) = world.claimed().await;
        world
            .run(
                "CREATE TABLE items (id INTEGER PRIMARY KEY, \"a b\" BLOB, synced_at TEXT);
                 INSERT INTO items VALUES (1, x'ff00', '2024'), (2, NULL, '2025');
                 CREATE TABLE other (id INTEGER PRIMARY KEY);
                 UPDATE afterimage_checkpoint SET updated_at = '1970-01-01T00:00:01.234567Z'",
            )
            .await;
        let table = |table: &str| TableName { schema: None, table: table.to_owned() };

        let checkpoints = target.checkpoints().await.unwrap();
        assert_eq!(checkpoints.len(), 1);
        assert_eq!(checkpoints[0].partition, world.partition);
        assert_eq!((checkpoints[0].epoch, checkpoints[0].updated_at), (1, 1234));
        assert_eq!(checkpoints[0].group_id.as_deref(), Some("group"));
        assert!(checkpoints[0].claimed_at > Some(1_700_000_000_000));
        assert_eq!(target.dead_letter_counts().await.unwrap(), []);
        let items = ReplicatedTable { name: table("items"), row_count: 2, is_exact: true };
        assert_eq!(target.replicated_tables("synced_at").await.unwrap(), [items]);
        let newest = target.newest(&table("items"), "synced_at", 2).await.unwrap().unwrap();
        assert_eq!(newest.columns, ["id", "a b", "synced_at"]);
        let text = |text: &str| Some(text.to_owned());
        let (new, old) = ([text("2"), None, text("2025")], [text("1"), text("FF00"), text("2024")]);
        assert_eq!(newest.rows, [new, old]);
        assert_eq!(target.newest(&table("none"), "synced_at", 1).await.unwrap(), None);
        let deed = Deed {
            actor: "me",
            command: "rewind",
            partition: &claimed.partition,
            before: Some(1),
            after: None,
            reason: "why",
        };
        target.audit(deed).await.unwrap();
        let kept =
            "SELECT actor, command, topic, \"partition\", before_offset, after_offset, reason
            FROM afterimage_audit";
        assert_eq!(world.read(kept).await, ["me|rewind|t|0|1|NULL|why"]);
    }
}
