//! Why a record is refused, and the dead letter that keeps it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::record::{Headers, Record, Run, TopicPartition};

/// Why a record is refused: a closed list that README explains and the metrics carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The bytes are neither JSON nor framed Avro, or break off.
    Malformed,
    /// The record is well formed, but no shape of Debezium's.
    NotAnEnvelope,
    /// The registry does not know the schema's id.
    SchemaNotFound,
    /// A value does not fit its column.
    ValueUnfit,
    /// The key lacks a column that identifies the row.
    KeyMissing,
    /// An update or delete of a table without a key.
    NoKey,
    /// An update or delete of a table without a key whose row before is not at the target.
    NoMatch,
    /// An unavailable value, and no row to keep it from.
    UnavailableWithoutRow,
    /// An unavailable value behind a refused record of the same key, which may have carried it.
    BehindDeadLetter,
    /// A record of a change log that its order puts before an earlier one.
    OutOfOrder,
    /// The database refuses the row: a constraint, or a value that only it can judge.
    RowRefused,
}

impl Reason {
    /// Every reason, in the order of the list in README.
    pub const ALL: [Self; 11] = [
        Self::Malformed,
        Self::NotAnEnvelope,
        Self::SchemaNotFound,
        Self::ValueUnfit,
        Self::KeyMissing,
        Self::NoKey,
        Self::NoMatch,
        Self::UnavailableWithoutRow,
        Self::BehindDeadLetter,
        Self::OutOfOrder,
        Self::RowRefused,
    ];

    /// Returns the reason as tables, metrics and README spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotAnEnvelope => "not_an_envelope",
            Self::SchemaNotFound => "schema_not_found",
            Self::ValueUnfit => "value_unfit",
            Self::KeyMissing => "key_missing",
            Self::NoKey => "no_key",
            Self::NoMatch => "no_match",
            Self::UnavailableWithoutRow => "unavailable_without_row",
            Self::BehindDeadLetter => "behind_dead_letter",
            Self::OutOfOrder => "out_of_order",
            Self::RowRefused => "row_refused",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A refusal: the reason, and what an operator must know, without the row's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub reason: Reason,
    /// The target table, once it is known.
    pub table: Option<String>,
    /// One line: names, types and lengths, never values.
    pub detail: String,
    /// The five characters by which the database says why, where it is the one that refuses.
    pub sqlstate: Option<String>,
}

impl Refusal {
    /// Refuses for a reason, before the table is known.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, table: None, detail: one_line(detail.into()), sqlstate: None }
    }
}

/// Escapes control characters: the names in a record or a schema may hold any, and are printed.
pub(crate) fn one_line(detail: String) -> String {
    if !detail.contains(char::is_control) {
        return detail;
    }
    let mut escaped = String::with_capacity(detail.len());
    for character in detail.chars() {
        if character.is_control() {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// A refused record, kept whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it came from.
    pub partition: TopicPartition,
    /// The record itself.
    pub record: KeptRecord,
    /// Why it was refused.
    pub refusal: Refusal,
}

/// A record that outlives the run that brought it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRecord {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp in milliseconds since the epoch.
    pub timestamp: Option<i64>,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The value's bytes.
    pub value: Option<Vec<u8>>,
    /// The headers, in order.
    pub headers: KeptHeaders,
}

/// Headers that outlive the run that brought them, in order.
pub type KeptHeaders = Vec<(String, Option<Vec<u8>>)>;

impl KeptRecord {
    /// Returns how many bytes key, value and headers take.
    pub fn byte_count(&self) -> usize {
        let part = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
        let headers = self.headers.iter().map(|(name, value)| name.len() + part(value));
        part(&self.key) + part(&self.value) + headers.sum::<usize>()
    }

    /// Prints the headers as dead letters keep them, `[[name, base64 or null], …]`, each name spelled
    /// as the target can store it.
    pub fn headers_text(&self, spell: impl Fn(&str) -> String) -> String {
        let pairs = self.headers.iter();
        let pairs =
            pairs.map(|(name, value)| (spell(name), value.as_ref().map(|v| BASE64.encode(v))));
        serde_json::to_string(&pairs.collect::<Vec<_>>()).expect("strings are JSON")
    }

    /// Packs the record again, alone.
    pub fn run(&self, partition: TopicPartition) -> Run {
        let mut run = Run::new(partition, 0);
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| (name.as_bytes(), value.as_deref()));
        let place = (self.offset, self.timestamp);
        run.push(place, self.key.as_deref(), self.value.as_deref(), headers);
        run
    }
}

impl From<Record<'_>> for KeptRecord {
    fn from(record: Record<'_>) -> Self {
        Self {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: owned(record.headers),
        }
    }
}

/// Reads what [`KeptRecord::headers_text`] has printed; `None` when the text is no such thing.
pub fn read_headers(text: &str) -> Option<KeptHeaders> {
    let pairs = serde_json::from_str::<Vec<(String, Option<String>)>>(text).ok()?;
    let octets = |(name, value): (String, Option<String>)| {
        Some((name, value.map(|text| BASE64.decode(text)).transpose().ok()?))
    };
    pairs.into_iter().map(octets).collect()
}

fn owned(headers: Headers<'_>) -> KeptHeaders {
    headers.iter().map(|(name, value)| (name.into_owned(), value.map(<[u8]>::to_vec))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_order_and_nulls() {
        let record = KeptRecord {
            offset: 1,
            timestamp: None,
            key: None,
            value: None,
            headers: vec![
                ("b".to_owned(), Some(b"\xff\0".to_vec())),
                ("a\0\"".to_owned(), None),
                ("b".to_owned(), Some(Vec::new())),
            ],
        };
        let text = record.headers_text(str::to_owned);
        assert_eq!(text, r#"[["b","/wA="],["a\u0000\"",null],["b",""]]"#);
        assert_eq!(read_headers(&text), Some(record.headers));
    }

    #[test]
    fn headers_come_out_in_order_with_nulls_and_octets() {
        let read = read_headers(r#"[["b","/wA="],["a",null],["b",""]]"#).unwrap();
        let owned = |name: &str, value: Option<&[u8]>| (name.to_owned(), value.map(<[u8]>::to_vec));
        let expected = [owned("b", Some(b"\xff\0")), owned("a", None), owned("b", Some(b""))];
        assert_eq!(read, expected);
        for broken in ["", "{}", r#"[["a","no base64!"]]"#] {
            assert!(read_headers(broken).is_none(), "{broken}");
        }
    }

    #[test]
    fn a_name_with_a_line_break_leaves_the_detail_on_one_line() {
        let refusal = Refusal::new(Reason::ValueUnfit, "column \"a\nü\u{1b}\" is out of range");
        assert_eq!(refusal.detail, "column \"a\\nü\\u{1b}\" is out of range");
    }
}
