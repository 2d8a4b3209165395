//! Dead letters, and the marks of their keys.

use sqlx::postgres::PgArguments;

use crate::batch::KeyMark;
use crate::record::TopicPartition;
use crate::refused::{DeadLetter, KeptRecord};
use crate::target::Sink;
use crate::target::postgres::fence::partition_arguments;
use crate::target::postgres::session::{Session, bind};
use crate::target::postgres::sql;

/// How many bytes of records go in one statement, below the server's 1 GiB for a message.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// The timestamps that `timestamptz` holds, in milliseconds since 1970.
const TIMESTAMPS: std::ops::Range<i64> = -210_866_803_200_000..9_224_318_016_000_000;

/// Keeps refused records.
pub(super) async fn keep(
    session: &mut Session,
    sink: &Sink,
    letters: &[&DeadLetter],
) -> Result<(), sqlx::Error> {
    let mut rest = letters;
    while !rest.is_empty() {
        let mut bytes = 0;
        let count = rest.iter().take_while(|letter| {
            let is_first = bytes == 0;
            bytes += byte_count(&letter.record).max(1);
            is_first || bytes <= BYTES_MAX
        });
        let (now, later) = rest.split_at(count.count());
        session.run(sql::DEAD_LETTERS.to_owned(), arguments(sink, now)?).await?;
        rest = later;
    }
    Ok(())
}

fn byte_count(record: &KeptRecord) -> usize {
    record.key.as_ref().map_or(0, Vec::len) + record.value.as_ref().map_or(0, Vec::len)
}

fn arguments(sink: &Sink, letters: &[&DeadLetter]) -> Result<PgArguments, sqlx::Error> {
    fn each<'l, T>(letters: &[&'l DeadLetter], take: impl Fn(&'l DeadLetter) -> T) -> Vec<T> {
        letters.iter().map(|letter| take(letter)).collect()
    }
    let mut arguments = partition_arguments(sink, letters.iter().map(|letter| &letter.partition))?;
    bind(&mut arguments, each(letters, |letter| letter.record.offset))?;
    bind(&mut arguments, each(letters, |letter| letter.refusal.table.as_deref().map(storable)))?;
    bind(&mut arguments, each(letters, |letter| letter.record.key.as_deref()))?;
    bind(&mut arguments, each(letters, |letter| letter.record.value.as_deref()))?;
    bind(&mut arguments, each(letters, |letter| letter.record.headers_text(storable)))?;
    bind(&mut arguments, each(letters, |letter| letter.refusal.reason.name()))?;
    bind(&mut arguments, each(letters, |letter| storable(&letter.refusal.detail)))?;
    bind(&mut arguments, each(letters, |letter| letter.refusal.sqlstate.as_deref()))?;
    let timestamp = |letter: &DeadLetter| letter.record.timestamp;
    bind(
        &mut arguments,
        each(letters, |letter| {
            timestamp(letter).filter(|timestamp| TIMESTAMPS.contains(timestamp))
        }),
    )?;
    Ok(arguments)
}

/// Spells out U+0000, which PostgreSQL's text cannot hold.
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "\\0")
}

/// Marks and clears keys; of several marks of one key the last counts.
pub(super) async fn mark_keys(
    session: &mut Session,
    sink: &Sink,
    marks: &[KeyMark],
) -> Result<(), sqlx::Error> {
    let mut last = std::collections::BTreeMap::<(&TopicPartition, &[u8]), &KeyMark>::new();
    for mark in marks {
        last.insert((&mark.partition, &mark.key), mark);
    }
    for (is_refused, text) in [(true, sql::MARK_KEYS), (false, sql::CLEAR_KEYS)] {
        let chosen = last.values().filter(|mark| mark.is_refused == is_refused);
        let chosen = chosen.copied().collect::<Vec<_>>();
        if chosen.is_empty() {
            continue;
        }
        let mut arguments = partition_arguments(sink, chosen.iter().map(|mark| &mark.partition))?;
        bind(&mut arguments, chosen.iter().map(|mark| mark.key.as_slice()).collect::<Vec<_>>())?;
        if is_refused {
            bind(&mut arguments, chosen.iter().map(|mark| mark.offset).collect::<Vec<_>>())?;
        }
        session.run(text.to_owned(), arguments).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_the_headers_has_its_zero_spelled_out() {
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
        assert_eq!(record.headers_text(storable), r#"[["b","/wA="],["a\\0\"",null],["b",""]]"#);
    }
}
