//! What the file says of a table.

use sqlx::SqliteConnection;

use crate::table::{Column, Table, TableName};
use crate::target::TargetError;
use crate::target::sqlite::{encode, sql};

/// Reads a table; `None` when it does not exist.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    name: &TableName,
) -> Result<Option<Table>, TargetError> {
    let is_strict = sqlx::query_scalar::<_, bool>(sql::TABLE)
        .bind(&name.table)
        .fetch_optional(&mut *connection)
        .await
        .map_err(TargetError::of_sqlite)?;
    let Some(is_strict) = is_strict else { return Ok(None) };
    let found = sqlx::query_as::<_, (String, String, bool, i64, i64, bool)>(sql::COLUMNS)
        .bind(&name.table)
        .fetch_all(&mut *connection)
        .await
        .map_err(TargetError::of_sqlite)?;
    let mut columns = Vec::with_capacity(found.len());
    let mut primary = Vec::new();
    for (name, declared, not_null, place_in_key, hidden, has_default) in found {
        if place_in_key > 0 {
            primary.push((place_in_key, name.clone()));
        }
        let encode = encode::of_declared(&declared, is_strict);
        columns.push(Column {
            name,
            type_name: declared,
            type_id: 0,
            modifier: -1,
            // An old table's key may hold NULL by SQLite's own mistake; ours never does.
            not_null: not_null || place_in_key > 0,
            generated: hidden > 1,
            has_default,
            identity: None,
            enumeration: None,
            base_name: None,
            encode,
        });
    }
    primary.sort_unstable();
    let mut unique_keys = Vec::new();
    if !primary.is_empty() {
        unique_keys.push(primary.into_iter().map(|(_, name)| name).collect());
    }
    unique_keys.extend(indexed(connection, name).await?);
    Ok(Some(Table { name: name.clone(), columns, unique_keys }))
}

/// Returns the column sets of unique indexes; those over an expression identify nothing.
async fn indexed(
    connection: &mut SqliteConnection,
    name: &TableName,
) -> Result<Vec<Vec<String>>, TargetError> {
    let found = sqlx::query_as::<_, (i64, Option<String>)>(sql::UNIQUE_KEYS)
        .bind(&name.table)
        .fetch_all(connection)
        .await
        .map_err(TargetError::of_sqlite)?;
    let same_index = |a: &(i64, Option<String>), b: &(i64, Option<String>)| a.0 == b.0;
    let keys = found.chunk_by(same_index);
    Ok(keys.filter_map(|key| key.iter().map(|(_, name)| name.clone()).collect()).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sqlx::SqliteConnection;

    use super::*;
    use crate::decode::value::kind::{Kind, Unit};
    use crate::decode::value::{Day, Decimal, Moment, Value};
    use crate::target::Target;
    use crate::target::sqlite::Sqlite;
    use crate::target::sqlite::tests::{One as _, World, source};

    #[tokio::test]
    async fn the_catalogue_reads_a_created_table_as_it_was_planned() {
        let world = World::new();
        let mut target = world.target();
        let kinds = [
            Kind::Bool,
            Kind::Int8,
            Kind::Int64,
            Kind::Float32,
            Kind::Float64,
            Kind::Text,
            Kind::Bytes,
            Kind::Decimal { scale: 2, precision: Some(12) },
            Kind::VariableScaleDecimal,
            Kind::Date,
            Kind::Time(Unit::Micros),
            Kind::Timestamp(Unit::Nanos),
            Kind::ZonedTime,
            Kind::ZonedTimestamp,
            Kind::MicroDuration,
            Kind::Year,
            Kind::Bits { length: None },
            Kind::Json,
            Kind::Uuid,
            Kind::Enum(Arc::default()),
        ];
        for (number, kind) in kinds.iter().enumerate() {
            let name = TableName { schema: None, table: format!("t \"{number}\"") };
            let key = (Sqlite::DIALECT.column)(&source("kéy", kind.clone()), true).unwrap();
            let other = (Sqlite::DIALECT.column)(&source("select", kind.clone()), false).unwrap();
            assert!(key.encode.is_some() && other.encode.is_some(), "{kind:?}");
            let columns = vec![other, key, (Sqlite::DIALECT.time_column)("synced_at", true)];
            let keys = vec![vec!["kéy".to_owned(), "synced_at".to_owned()]];
            let mut table = Table { name: name.clone(), columns, unique_keys: keys };
            assert_eq!(target.table(&name).await.unwrap(), None);
            let added = (Sqlite::DIALECT.time_column)("later", true);
            let statements = [
                (Sqlite::DIALECT.create_table)(&table).remove(0),
                (Sqlite::DIALECT.add_column)(&name, &added),
            ];
            for statement in statements {
                world.run(&statement).await;
            }
            table.columns.push(added);
            assert_eq!(target.table(&name).await.unwrap().as_ref(), Some(&table));
        }
    }

    #[tokio::test]
    async fn the_catalogue_reads_a_table_made_by_hand() {
        let world = World::new();
        let mut target = world.target();
        target.begin(&[]).await.unwrap();
        world
            .run(
                "CREATE TABLE Mine (b INT, a TEXT, c ANY, d NUMERIC, e AS (b + 1), PRIMARY KEY (a, b)) ;
                 CREATE UNIQUE INDEX one ON Mine (c, d);
                 CREATE UNIQUE INDEX two ON Mine (lower(a));
                 CREATE UNIQUE INDEX three ON Mine (c) WHERE c > 1;
                 CREATE INDEX four ON Mine (d);
                 CREATE TABLE strict (a ANY PRIMARY KEY) STRICT;",
            )
            .await;

        let mine = TableName { schema: None, table: "mine".to_owned() };
        let table = target.table(&mine).await.unwrap().unwrap();

        let columns = table.columns.iter().map(|column| {
            format!("{} {} {}", column.name, column.generated, column.encode.is_some())
        });
        let expected =
            ["b false true", "a false true", "c false false", "d false false", "e true true"];
        assert_eq!(columns.collect::<Vec<_>>(), expected);
        assert_eq!(table.unique_keys, [["a", "b"], ["c", "d"]]);
        let strict = TableName { schema: None, table: "strict".to_owned() };
        let strict = target.table(&strict).await.unwrap().unwrap();
        assert!(strict.columns[0].encode.is_some());
    }

    #[tokio::test]
    async fn values_at_the_edges_are_read_back_by_plain_sql() {
        let world = World::new();
        let day = |days| Value::Date(Day::Finite(days));
        let at = |seconds, nanos| Moment::Finite { seconds, nanos };
        let wide = Value::Decimal(Decimal::Text("-12345678901234567890.1234567890"));
        let uuid = uuid::Uuid::from_u128(0xff);
        let cases = [
            (Kind::Bool, Value::Bool(true), "integer 1"),
            (Kind::Int64, Value::Int(i64::MIN), "integer -9223372036854775808"),
            (Kind::Int64, Value::Int(i64::MAX), "integer 9223372036854775807"),
            (Kind::Float64, Value::Float64(f64::INFINITY), "real Inf"),
            (Kind::Float64, Value::Float64(5e-324), "real 4.94065645841247e-324"),
            (Kind::Float64, Value::Float64(1e15), "real 1.0e+15"),
            (Kind::Text, Value::Text("1.10"), "text 1.10"),
            (Kind::Text, Value::Text(""), "text "),
            (Kind::Text, Value::Text("😀 'x' \"y\""), "text 😀 'x' \"y\""),
            (Kind::VariableScaleDecimal, Value::Decimal(Decimal::Text("1.10")), "text 1.10"),
            (Kind::VariableScaleDecimal, wide, "text -12345678901234567890.1234567890"),
            (Kind::Date, day(0), "text 1970-01-01"),
            (Kind::Date, Value::Date(Day::PositiveInfinity), "text infinity"),
            (Kind::Time(Unit::Millis), Value::Time(1_000_000), "text 00:00:00.001000"),
            (
                Kind::Timestamp(Unit::Micros),
                Value::Timestamp(at(-1, 999_999_000)),
                "text 1969-12-31T23:59:59.999999",
            ),
            (
                Kind::ZonedTimestamp,
                Value::TimestampZoned(at(0, 0)),
                "text 1970-01-01T00:00:00.000000Z",
            ),
            (Kind::Uuid, Value::Uuid(uuid), "text 00000000-0000-0000-0000-0000000000ff"),
            (Kind::Json, Value::Json("1.10"), "text 1.10"),
            (
                Kind::Bits { length: Some(3) },
                Value::Bits { octets: &[1], length: Some(3) },
                "text 001",
            ),
        ];
        world.target().begin(&[]).await.unwrap();
        for (kind, value, expected) in cases {
            let column = (Sqlite::DIALECT.column)(&source("v", kind), false).unwrap();
            world
                .run(&format!("DROP TABLE IF EXISTS t; CREATE TABLE t (v {})", column.type_name))
                .await;
            let mut cell = Vec::new();
            column.encode.unwrap()(value, column.modifier, &mut cell).unwrap();
            let mut connection = world.target().connection().await.unwrap();
            write(&mut connection, &cell).await;
            assert_eq!(world.read("SELECT typeof(v) || ' ' || v FROM t").await, [expected]);
        }
    }

    async fn write(connection: &mut SqliteConnection, cell: &[u8]) {
        let query = sqlx::query("INSERT INTO t VALUES (?)");
        let query = match encode::content(cell).unwrap() {
            encode::Content::Int(value) => query.bind(value),
            encode::Content::Real(value) => query.bind(value),
            encode::Content::Text(value) => query.bind(value),
            encode::Content::Blob(value) => query.bind(value),
        };
        query.execute(connection).await.unwrap();
    }
}
