//! Flat records: the value is the row, and fields beside the row's own say what happened to it.

use std::sync::Arc;

use crate::decode::decoder::Orders;
use crate::decode::found::{Broken, Failed, Found};
use crate::decode::schema;
use crate::decode::schema::envelope::{Letter, op};
use crate::decode::value::kind::SourceName;
use crate::decode::value::semantic::Literal;
use crate::decode::{Arrival, Op};
use crate::record::Headers;
use crate::refused::Reason;
use crate::rules::Changelog;

/// What a field of a flat record says besides being a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// `__deleted`: whether the row is gone.
    Deleted,
    /// `__op`: the envelope's letter.
    Op,
    /// `__db`, `__schema` or `__table`: this name.
    Named(String),
    /// `__source_ts_ms`: the source's time of commit.
    Time,
    /// `__lsn`: the source's position.
    Position,
    /// What happened, in the words of a change log.
    Action(Arc<Changelog>),
    /// The change log's own order.
    Order,
}

/// Returns what a field of a flat record says of its row; `None` for one that is only a column.
///
/// A change log's own column alone says what happened: a row of the same record may have come
/// through a transform that adds fields too.
pub fn role(field: &str, source: &SourceName, changelog: Option<&Arc<Changelog>>) -> Option<Role> {
    if let Some(changelog) = changelog {
        if changelog.op == field {
            return Some(Role::Action(Arc::clone(changelog)));
        }
        if changelog.order.as_deref() == Some(field) {
            return Some(Role::Order);
        }
    }
    let added = field.strip_prefix("__")?;
    Some(match added.strip_prefix("source_").unwrap_or(added) {
        "deleted" if changelog.is_none() => Role::Deleted,
        "op" if changelog.is_none() => Role::Op,
        "table" => Role::Named(source.table.clone()),
        "schema" => Role::Named(source.schema.clone()),
        "db" => Role::Named(source.database.clone()?),
        "ts_ms" if added != "ts_ms" => Role::Time,
        "lsn" => Role::Position,
        _ => return None,
    })
}

impl Role {
    /// Notes what a field of the name says.
    ///
    /// # Errors
    ///
    /// The record is of another table, or says what its field cannot mean.
    pub fn note(&self, name: &str, said: Literal<'_>, found: &mut Found) -> Result<(), Broken> {
        let unfit = |what: &str| Err(Broken::Unfit(format!("column \"{name}\" {what}")));
        match (self, said) {
            (Self::Deleted, said) => {
                found.is_deleted = matches!(said, Literal::Bool(true) | Literal::Text("true"));
            }
            (Self::Op, Literal::Text(letter)) => match op(letter) {
                Some(letter) => found.letter = Some(letter),
                None => return unfit("is no letter of an envelope's op"),
            },
            (Self::Named(expected), Literal::Text(name)) if expected != name => {
                return Err(Broken::Mismatch);
            }
            (Self::Time, Literal::Int(millis)) => found.source_time = Some(millis),
            (Self::Position, Literal::Int(lsn)) => found.lsn = Some(lsn),
            (Self::Action(log), Literal::Text(word)) if log.insert == word => {
                found.letter = Some(Letter::Row(Op::Create));
            }
            (Self::Action(log), Literal::Text(word)) if log.update == word => {
                found.letter = Some(Letter::Row(Op::Update));
            }
            (Self::Action(log), Literal::Text(word)) if log.delete == word => {
                found.letter = Some(Letter::Row(Op::Delete));
            }
            (Self::Action(_), _) => return unfit("is none of the change log's words"),
            (Self::Order, Literal::Int(order)) => found.order = Some(order),
            (Self::Order, _) => return unfit("is no integer, as a change log's order must be"),
            (Self::Op | Self::Named(_) | Self::Time | Self::Position, _) => {}
        }
        Ok(())
    }
}

/// Returns what a flat record says happened to its row: a mark of deletion first, then the letter,
/// in the row or in a header; without any, the row is as it is now.
pub fn letter(found: &Found, headers: Headers<'_>) -> Letter {
    if found.is_deleted {
        return Letter::Row(Op::Delete);
    }
    let in_header = || op(&op_header(headers)?);
    found.letter.or_else(in_header).unwrap_or(Letter::Row(Op::Update))
}

/// Returns the text of the header `__op`: as it is, or as the JSON converter writes it.
pub fn op_header(headers: Headers<'_>) -> Option<String> {
    let bytes = headers.find("__op")?;
    let text = std::str::from_utf8(bytes).ok()?;
    if !text.starts_with(['"', '{']) {
        return Some(text.to_owned());
    }
    let framed = schema::json::split(bytes).ok().flatten();
    serde_json::from_str::<String>(framed.map_or(text, |framed| framed.payload)).ok()
}

/// Reads a leaf of JSON as a literal; one that has parts says nothing.
pub fn with_literal<T>(text: &str, then: impl FnOnce(Literal<'_>) -> T) -> T {
    if text.starts_with('"') {
        let text = serde_json::from_str::<std::borrow::Cow<'_, str>>(text).unwrap_or_default();
        return then(Literal::Text(&text));
    }
    then(match (text, text.parse::<i64>()) {
        ("true", _) => Literal::Bool(true),
        ("false", _) => Literal::Bool(false),
        (_, Ok(int)) => Literal::Int(int),
        _ => Literal::Null,
    })
}

/// Makes sure that a change log's order does not step back. A record that is read again is behind
/// nothing.
pub(super) fn check_order(
    orders: &mut Orders,
    arrival: &Arrival<'_>,
    found: &Found,
) -> Result<(), Failed> {
    let Some(order) = found.order else { return Ok(()) };
    let Arrival { topic, partition, record, .. } = arrival;
    let last = orders.get(&(Arc::clone(topic), *partition));
    if last.is_some_and(|(offset, last)| *offset < record.offset && *last > order) {
        let detail = "the change log's order steps back behind an earlier record's";
        return Err(Failed::Refused(Reason::OutOfOrder, detail.to_owned()));
    }
    orders.insert((Arc::clone(topic), *partition), (record.offset, order));
    Ok(())
}
