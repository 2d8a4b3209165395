//! Envelopes: what a record's schema says it is, and what its source block says of its origin.

use crate::decode::schema::connect::Field;
use crate::decode::value::kind::{Form, Kind, SourceColumn, SourceName, SourceTable};
use crate::decode::{Ignored, Op};

/// What the records of a schema are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Changes of rows; the columns are those of `after`, or of the value itself.
    Rows(Form, Field),
    /// Nothing to write.
    Ignored(Ignored),
    /// No shape of Debezium's.
    Unknown(String),
}

/// Finds out what a value's schema means.
pub fn meaning(value: &Field) -> Meaning {
    let name = value.schema_name.as_deref().unwrap_or_default();
    if let Some(ignored) = side_topic(name) {
        return Meaning::Ignored(ignored);
    }
    let is_named = name.ends_with(".Envelope");
    let is_envelope = is_named || (name.is_empty() && value.field("op").is_some());
    match value.field("after") {
        Some(after) if is_envelope => Meaning::Rows(Form::Enveloped, after.clone()),
        _ if is_named || name.starts_with("io.debezium.") || value.fields.is_empty() => {
            Meaning::Unknown(format!("schema \"{name}\" is neither an envelope nor a row"))
        }
        _ => Meaning::Rows(Form::Flat, value.clone()),
    }
}

/// Recognises the records of a connector that are no rows.
fn side_topic(name: &str) -> Option<Ignored> {
    let short = name.strip_prefix("io.debezium.connector.")?;
    let (_, short) = short.split_once('.')?;
    Some(match short {
        "Heartbeat" => Ignored::Heartbeat,
        "TransactionMetadataValue" => Ignored::Transaction,
        "SchemaChangeValue" => Ignored::SchemaChange,
        "MessageValue" | "Notification" => Ignored::Message,
        _ => return None,
    })
}

/// Names the schema that records without one would have.
pub fn side_topic_name(ignored: Ignored) -> &'static str {
    match ignored {
        Ignored::Heartbeat => "io.debezium.connector.common.Heartbeat",
        Ignored::Transaction => "io.debezium.connector.common.TransactionMetadataValue",
        Ignored::SchemaChange => "io.debezium.connector.mysql.SchemaChangeValue",
        Ignored::Message | Ignored::Tombstone | Ignored::Delete => {
            "io.debezium.connector.common.Notification"
        }
    }
}

/// Recognises the same by the fields of a JSON object without a schema.
pub fn side_object(names: &[String]) -> Option<Ignored> {
    let has = |name: &str| names.iter().any(|it| it == name);
    if has("ddl") && has("tableChanges") {
        return Some(Ignored::SchemaChange);
    }
    if has("status") && has("id") && has("event_count") && has("data_collections") {
        return Some(Ignored::Transaction);
    }
    let is_message = has("op") && has("source") && has("message") && !has("after");
    let is_notification = has("aggregate_type") && has("additional_data") && has("type");
    if is_message || is_notification {
        return Some(Ignored::Message);
    }
    (names == ["ts_ms"]).then_some(Ignored::Heartbeat)
}

/// A field of an envelope, or of its source block, that the path of a row reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeField {
    /// `before`.
    Before,
    /// `after`.
    After,
    /// `source`.
    Source,
    /// `op`.
    Op,
    /// `ts_ms`, which the source block has as well as the envelope.
    Time,
    /// `db`.
    Database,
    /// `schema`.
    Schema,
    /// `table`.
    Table,
    /// `txId`.
    Transaction,
    /// `lsn`.
    Lsn,
    /// `file`.
    File,
    /// `pos`.
    Pos,
    /// `row`.
    Row,
}

impl EnvelopeField {
    /// Returns the part of that name.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "before" => Self::Before,
            "after" => Self::After,
            "source" => Self::Source,
            "op" => Self::Op,
            "ts_ms" => Self::Time,
            "db" => Self::Database,
            "schema" => Self::Schema,
            "table" => Self::Table,
            "txId" => Self::Transaction,
            "lsn" => Self::Lsn,
            "file" => Self::File,
            "pos" => Self::Pos,
            "row" => Self::Row,
            _ => return None,
        })
    }
}

/// Reads Debezium's letter.
pub fn op(letter: &str) -> Option<Letter> {
    Some(match letter {
        "c" => Letter::Row(Op::Create),
        "u" => Letter::Row(Op::Update),
        "d" => Letter::Row(Op::Delete),
        "r" => Letter::Row(Op::Read),
        "t" => Letter::Row(Op::Truncate),
        "m" => Letter::Message,
        _ => return None,
    })
}

/// What an envelope's `op` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letter {
    /// A change of a row, or of all.
    Row(Op),
    /// A logical decoding message.
    Message,
}

/// The parts of a source block that are used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// `name`, `db`, `schema` and `table`, as far as the block has them.
    pub server: String,
    /// The database.
    pub database: Option<String>,
    /// The schema.
    pub schema: Option<String>,
    /// The table.
    pub table: Option<String>,
    /// The connector, such as `postgresql`.
    pub connector: Option<String>,
    /// Whether an envelope's `op` is a truncate, whose record has neither row nor key.
    pub is_truncate: bool,
}

impl Origin {
    /// Finds the part that a field means which a transform has added to a flat record.
    pub fn added(&mut self, field: &str) -> Option<&mut Option<String>> {
        let added = field.strip_prefix("__")?;
        Some(match added.strip_prefix("source_").unwrap_or(added) {
            "db" => &mut self.database,
            "schema" => &mut self.schema,
            "table" => &mut self.table,
            _ => return None,
        })
    }

    /// Names the table; what the block does not say comes from the last parts of the topic's name.
    pub fn source_name(self, topic: &str) -> SourceName {
        let mut parts = topic.rsplit('.');
        let (last, before) = (parts.next().unwrap_or(topic), parts.next().unwrap_or_default());
        let server = if self.server.is_empty() {
            let rest = parts.collect::<Vec<_>>();
            rest.into_iter().rev().collect::<Vec<_>>().join(".")
        } else {
            self.server
        };
        let schema = self.schema.or_else(|| self.database.clone());
        SourceName {
            server,
            database: self.database,
            schema: schema.unwrap_or_else(|| before.to_owned()),
            table: self.table.unwrap_or_else(|| last.to_owned()),
        }
    }
}

/// Describes the table that a row's and a key's schema give, in a topic.
pub fn source_table(
    place: Origin,
    topic: &str,
    form: Form,
    row: Option<&Field>,
    key: Option<&Field>,
) -> SourceTable {
    let columns = row.or(key).map(Field::columns).unwrap_or_default();
    let retyped = key.map(Field::columns).unwrap_or_default();
    let is_of_mysql = matches!(place.connector.as_deref(), Some("mysql" | "mariadb"));
    let name = place.source_name(topic);
    let key = retyped.iter().map(|column| column.name.clone()).collect();
    let mut table = SourceTable { name, columns, key, retyped, form, is_mysql: false };
    if is_of_mysql {
        table.read_as_mysql();
    }
    let kind_of_row =
        |name: &str| table.columns.iter().find(|it| it.name == name).map(|it| &it.kind);
    let is_retyped =
        |it: &SourceColumn| it.kind != Kind::Untyped && kind_of_row(&it.name) != Some(&it.kind);
    let retyped = table.retyped.iter().filter(|it| is_retyped(it)).cloned().collect();
    SourceTable { retyped, ..table }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::schema::json::split;
    use crate::decode::value::kind::{Kind, Unit};

    #[test]
    fn a_time_of_mysql_is_a_span_and_its_point_a_geometry() {
        let check = |connector: &str, expected: [Kind; 3]| {
            let field = |literal: &str, name: &str| {
                format!(r#"{{"type":"{literal}","name":"io.debezium.{name}","field":"f"}}"#)
            };
            let fields = [
                field("int64", "time.MicroTime"),
                field("struct", "data.geometry.Point"),
                field("int32", "time.Date"),
            ];
            let row = format!(r#"{{"type":"struct","fields":[{}]}}"#, fields.join(","));
            let text = format!(r#"{{"schema":{row},"payload":null}}"#);
            let row = split(text.as_bytes()).unwrap().unwrap().schema.unwrap();
            let place = Origin { connector: Some(connector.to_owned()), ..Origin::default() };
            let table = source_table(place, "s.d.t", Form::Enveloped, Some(&row), None);
            let kinds = table.columns.into_iter().map(|column| column.kind).collect::<Vec<_>>();
            assert_eq!(kinds, expected, "{connector}");
        };
        let mysql = [Kind::Span(Unit::Micros), Kind::Geometry, Kind::Date];
        check("mariadb", mysql.clone());
        check("mysql", mysql);
        check("postgresql", [Kind::Time(Unit::Micros), Kind::Point, Kind::Date]);
    }
}
