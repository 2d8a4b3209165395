//! Changes of keys: a delete and a create, in general in different partitions, which know each other
//! by their place in the source's log.
//!
//! The create may lack a value that only the row under the old key has. So the delete leaves the
//! values behind, under the place, and the create waits until they are there.

use std::sync::Arc;

use crate::checkpoint::Step;
use crate::refused;
use crate::rows::{Move, NULL, Shape};

/// The header of a create that names the key that its row had before.
pub const OLD_KEY: &str = "__debezium.oldkey";

/// The header of a delete that names the key that its row has from now on.
pub const NEW_KEY: &str = "__debezium.newkey";

/// What a delete leaves behind when its row goes on under another key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The change's place in the source's log.
    pub place: String,
    /// The partition of its record, as an index into the batch's steps.
    pub step: usize,
    /// The encoded cells of the old key.
    pub key: Vec<u8>,
    /// The columns that a create may lack, as indexes into the shape's.
    pub columns: Arc<[usize]>,
    /// Whether the delete is refused, or a refused record of the key may have had the values.
    pub is_refused: bool,
    /// Which half of a change of its key it is, if its record says so, and the key with its table's
    /// name: another row may have come over the one that leaves.
    pub half: Option<(Move, Vec<u8>)>,
    /// The cells that the row has if the target has none: it came to the old key in this batch.
    pub otherwise: Option<Vec<u8>>,
}

impl Departure {
    /// Makes what a refused delete leaves: that its row's values are not to be had. No row has NULLs
    /// for its key, which is not known.
    pub fn of_refused(place: String, step: usize, shape: &Shape, columns: Arc<[usize]>) -> Self {
        let key = NULL.to_be_bytes().repeat(shape.key.len());
        Self { place, step, key, columns, is_refused: true, half: None, otherwise: None }
    }
}

/// A create's question for the values that it lacks.
#[derive(Clone, Debug)]
pub struct MoveRequest {
    /// The topic of both halves.
    pub topic: Arc<str>,
    /// The create's partition.
    pub partition: i32,
    /// The create's offset.
    pub offset: i64,
    /// The change's place in the source's log.
    pub place: String,
    /// The row's shape.
    pub shape: Arc<Shape>,
    /// The columns it lacks, as indexes into the shape's.
    pub columns: Vec<usize>,
    /// The delete, where a batch has it that is not written yet, and the one step that it is of.
    pub leaves: Option<(Departure, Step)>,
    /// What the delete's record must say, if it was refused and nobody could read the place.
    pub sign: Option<Sign>,
}

/// How the refused delete of a row is known that has gone on under another key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sign {
    /// The new key, which the delete has in a header.
    pub key: serde_json::Value,
    /// When the create was sent, in milliseconds since the epoch: the delete was at the same time.
    pub sent_at: i64,
}

impl Sign {
    /// How far apart both halves may be in milliseconds, where the broker has written their times: a
    /// producer gives up a record after two minutes.
    pub const APART_MAX: i64 = 120_000;

    /// Returns whether these are the headers of such a delete, as dead letters keep them.
    pub fn is_in(&self, headers: &str) -> bool {
        let headers = refused::read_headers(headers).unwrap_or_default().into_iter();
        let mut values = headers.filter_map(|(name, value)| value.filter(|_| name == NEW_KEY));
        values.any(|said| {
            let said = serde_json::from_slice::<serde_json::Value>(&said).unwrap_or_default();
            said == self.key || said.get("payload") == Some(&self.key)
        })
    }
}

/// What the delete has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// The values, in the order of [`MoveRequest::columns`], in the target's own form; `None` is
    /// NULL.
    Values(Vec<Option<Vec<u8>>>),
    /// That there was no row, or one whose values are not to be trusted.
    Gone,
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn a_refused_delete_is_known_by_the_new_key_in_its_header() {
        let key = serde_json::json!({"region": "north", "code": 8});
        let sign = Sign { key, sent_at: 0 };
        let headers = |name: &str, value: &str| {
            serde_json::json!([["other", null], [name, STANDARD.encode(value)]]).to_string()
        };
        assert!(sign.is_in(&headers(NEW_KEY, r#"{"region":"north","code":8}"#)));
        assert!(sign.is_in(&headers(NEW_KEY, r#"{"code": 8, "region": "north"}"#)));
        let framed = r#"{"schema":{},"payload":{"region":"north","code":8}}"#;
        assert!(sign.is_in(&headers(NEW_KEY, framed)), "as JsonConverter writes it");
        assert!(!sign.is_in(&headers(OLD_KEY, r#"{"region":"north","code":8}"#)));
        assert!(!sign.is_in(&headers(NEW_KEY, r#"{"region":"north","code":7}"#)));
        assert!(!sign.is_in(&headers(NEW_KEY, "Struct{region=north,code=8}")));
        assert!(!sign.is_in("[]") && !sign.is_in(""));
    }
}
