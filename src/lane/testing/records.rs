//! Records for the bench, as Debezium sends them: JSON with schemas, and one in Avro.

/// How the keys of these records are encoded.
pub(in crate::lane) const KEY: &str = "JSON with the schema 66b56061d4ae97098fb7d097825205f3";

/// A record to deliver.
pub(in crate::lane) struct Sent {
    pub(in crate::lane) key: Option<Vec<u8>>,
    pub(in crate::lane) value: Option<Vec<u8>>,
    /// The header that tells of a change of the key.
    pub(in crate::lane) header: Option<&'static str>,
}

fn sent(key: Option<Vec<u8>>, value: Option<Vec<u8>>) -> Sent {
    Sent { key, value, header: None }
}

/// A key with its schema.
fn key(id: i64) -> Option<Vec<u8>> {
    let field = r#"{"type":"int64","optional":false,"field":"id"}"#;
    let schema = format!(r#"{{"type":"struct","fields":[{field}],"optional":false}}"#);
    Some(format!(r#"{{"schema":{schema},"payload":{{"id":{id}}}}}"#).into_bytes())
}

fn envelope(table: &str, op: &str, after: &str) -> Option<Vec<u8>> {
    let row = r#"{"type":"struct","optional":true,"field":"after","fields":[
        {"type":"int64","optional":false,"field":"id"},
        {"type":"string","optional":true,"field":"note"}]}"#;
    let op_field = r#"{"type":"string","optional":false,"field":"op"}"#;
    let schema = format!(r#"{{"type":"struct","fields":[{row},{op_field}],"optional":false}}"#);
    let source = format!(r#"{{"name":"s","schema":"public","table":"{table}","lsn":77}}"#);
    let payload = format!(r#"{{"after":{after},"source":{source},"op":"{op}"}}"#);
    Some(format!(r#"{{"schema":{schema},"payload":{payload}}}"#).into_bytes())
}

/// An insert into a table of columns `id` and `note`.
pub(in crate::lane) fn create(table: &str, id: i64) -> Sent {
    sent(key(id), envelope(table, "c", &format!(r#"{{"id":{id},"note":"n"}}"#)))
}

/// An update whose note is unavailable.
pub(in crate::lane) fn partial(table: &str, id: i64) -> Sent {
    let after = format!(r#"{{"id":{id},"note":"__debezium_unavailable_value"}}"#);
    sent(key(id), envelope(table, "u", &after))
}

/// The create of a row that had another key, and whose note is unavailable.
pub(in crate::lane) fn came(table: &str, id: i64) -> Sent {
    let after = format!(r#"{{"id":{id},"note":"__debezium_unavailable_value"}}"#);
    let value = envelope(table, "c", &after);
    Sent { key: key(id), value, header: Some("__debezium.oldkey") }
}

/// The delete of a row that goes on under another key.
pub(in crate::lane) fn went(table: &str, id: i64) -> Sent {
    let value = envelope(table, "d", "null");
    Sent { key: key(id), value, header: Some("__debezium.newkey") }
}

/// A tombstone on its own: the end of its key.
pub(in crate::lane) fn tombstone(id: i64) -> Sent {
    sent(key(id), None)
}

/// A truncate.
pub(in crate::lane) fn truncate(table: &str) -> Sent {
    sent(None, envelope(table, "t", "null"))
}

/// A record that is no Debezium's.
pub(in crate::lane) fn malformed() -> Sent {
    sent(None, Some(b"nonsense".to_vec()))
}

/// A record that is no Debezium's, under a key.
pub(in crate::lane) fn malformed_of(key: &str) -> Sent {
    sent(Some(key.as_bytes().to_vec()), Some(b"nonsense".to_vec()))
}

/// An insert in Avro of the row 7 into the table `t`, under a schema of the registry; see [`SCHEMA`].
pub(in crate::lane) fn avro(schema: u8) -> Sent {
    sent(key(7), Some([&[0, 0, 0, 0, schema], &b"\x02\x0e\x02t\x02c"[..]].concat()))
}

/// The schema of [`avro`].
pub(in crate::lane) const SCHEMA: &str = r#"{"type":"record","name":"Envelope","namespace":"s.public.t","fields":[
    {"name":"after","type":["null",
        {"type":"record","name":"Value","fields":[{"name":"id","type":"long"}]}]},
    {"name":"source","type":
        {"type":"record","name":"Source","fields":[{"name":"table","type":"string"}]}},
    {"name":"op","type":"string"}]}"#;
