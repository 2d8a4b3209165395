//! A record: the bytes and coordinates of a Kafka message, packed for the way between threads.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Names a partition.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// A record, borrowed from the run that brought it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Where it stands in its partition.
    pub offset: i64,
    /// Milliseconds since the epoch, as the producer or the broker set it.
    pub timestamp: Option<i64>,
    /// The key's bytes; `None` for a null key.
    pub key: Option<&'a [u8]>,
    /// The value's bytes; `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: Headers<'a>,
}

/// The headers of a record: names with values, in the order they were produced.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    is_context: bool,
}

/// How the names begin by which Debezium says in every record which connector and task wrote it.
const CONTEXT: &str = "__debezium.context.";

impl<'a> Headers<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let is_context = parts(bytes).all(|(name, _)| name.starts_with(CONTEXT.as_bytes()));
        Self { bytes, is_context }
    }

    /// Returns whether none is about this record: all that there are, if any, name the connector.
    pub fn is_context(&self) -> bool {
        self.is_context
    }

    /// Iterates over name and value; a header's value may be null, and what of its name is not UTF-8
    /// is replaced.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'a, str>, Option<&'a [u8]>)> + use<'a> {
        self.parts().map(|(name, value)| (String::from_utf8_lossy(name), value))
    }

    /// Iterates over name and value as the bytes that were produced.
    pub fn parts(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        parts(self.bytes)
    }

    /// Returns the value of the first header of that name, if it has one.
    pub fn find(&self, name: &str) -> Option<&'a [u8]> {
        if self.is_context && !name.starts_with(CONTEXT) {
            return None;
        }
        self.parts().find(|(found, _)| *found == name.as_bytes()).and_then(|(_, value)| value)
    }
}

fn parts(bytes: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let name = take(&mut rest)?.unwrap_or_default();
        let value = take(&mut rest)?;
        Some((name, value))
    })
}

/// Takes one length-prefixed part; the outer `None` is the end, the inner one a null.
fn take<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let (length, tail) = rest.split_first_chunk::<4>()?;
    let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
        *rest = tail;
        return Some(None);
    };
    let (part, tail) = tail.split_at_checked(length)?;
    *rest = tail;
    Some(Some(part))
}

/// Returns what stands behind a header that the headers begin with.
fn behind<'a>(headers: &'a [u8], (name, value): (&[u8], Option<&[u8]>)) -> Option<&'a [u8]> {
    let mut rest = headers;
    let is_same = take(&mut rest)? == Some(name) && take(&mut rest)? == value;
    is_same.then_some(rest)
}

/// Records of one partition in offset order, in one buffer.
///
/// A run is what travels from the poll thread to a lane: one allocation for many records.
#[derive(Debug)]
pub struct Run {
    /// Whose records these are.
    pub partition: TopicPartition,
    /// The number of the assignment they were fetched under; a lane drops what is older than its
    /// own number.
    pub assignment: u64,
    /// The leadership of the partition that has written the records, where the client is told.
    pub leader_epoch: Option<i32>,
    /// The offset behind the records at which the log ended, where it was met.
    pub end: Option<i64>,
    /// Whether another run is about to follow it to the lane: what begins that one was here.
    pub is_followed: bool,
    bytes: Vec<u8>,
    index: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    offset: i64,
    timestamp: Option<i64>,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Range<usize>,
    // Whether all headers are of the context.
    is_context: bool,
}

impl Run {
    /// Starts an empty run.
    pub fn new(partition: TopicPartition, assignment: u64) -> Self {
        Self::with_room(partition, assignment, (0, 0))
    }

    /// Starts an empty run that so many records and bytes fit into.
    pub fn with_room(
        partition: TopicPartition,
        assignment: u64,
        (records, bytes): (usize, usize),
    ) -> Self {
        let (bytes, index) = (Vec::with_capacity(bytes), Vec::with_capacity(records));
        Self {
            partition,
            assignment,
            leader_epoch: None,
            end: None,
            is_followed: false,
            bytes,
            index,
        }
    }

    /// Copies a record to the end of the run.
    pub fn push<'h>(
        &mut self,
        (offset, timestamp): (i64, Option<i64>),
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)>,
    ) {
        let key = key.map(|key| self.append(key));
        let value = value.map(|value| self.append(value));
        let (headers, is_context) = self.append_headers(headers);
        self.index.push(Entry { offset, timestamp, key, value, headers, is_context });
    }

    fn append(&mut self, part: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(part);
        start..self.bytes.len()
    }

    /// Copies headers, unless the record before has the same: a connector writes those of its own,
    /// which are as large as many a row, to every record. Returns where they are, and whether all are
    /// of the context.
    fn append_headers<'h>(
        &mut self,
        headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)>,
    ) -> (Range<usize>, bool) {
        let mut headers = headers.peekable();
        let (known, is_context) =
            self.index.last().map_or((0..0, true), |last| (last.headers.clone(), last.is_context));
        let mut rest = self.bytes.get(known.clone()).unwrap_or_default();
        while let Some(header) = headers.peek()
            && let Some(tail) = behind(rest, *header)
        {
            rest = tail;
            headers.next();
        }
        if rest.is_empty() && headers.peek().is_none() {
            return (known, is_context);
        }
        let (start, same) = (self.bytes.len(), known.start..known.end - rest.len());
        self.bytes.extend_from_within(same);
        for (name, value) in headers {
            self.append_part(Some(name));
            self.append_part(value);
        }
        let copied = Headers::of(self.bytes.get(start..).unwrap_or_default());
        (start..self.bytes.len(), copied.is_context)
    }

    fn append_part(&mut self, part: Option<&[u8]>) {
        let length = part.map_or(-1, |part| i32::try_from(part.len()).expect("below 2 GiB"));
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(part.unwrap_or_default());
    }

    /// Returns how many records the run holds.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Returns whether the run holds no record.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Returns how many bytes of records the run holds.
    pub fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the record at `index`, counted from 0.
    pub fn get(&self, index: usize) -> Option<Record<'_>> {
        let entry = self.index.get(index)?;
        let part = |range: &Range<usize>| self.bytes.get(range.clone());
        Some(Record {
            offset: entry.offset,
            timestamp: entry.timestamp,
            key: entry.key.as_ref().and_then(part),
            value: entry.value.as_ref().and_then(part),
            headers: Headers {
                bytes: part(&entry.headers).unwrap_or_default(),
                is_context: entry.is_context,
            },
        })
    }

    /// Iterates over the records in offset order.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_out_as_it_went_in() {
        let mut run = Run::new(TopicPartition::new("t", 3), 1);
        let headers = [(&b"a"[..], Some(&b"1"[..])), (b"b\xff", None), (b"a", Some(b""))];
        run.push((7, Some(5)), Some(b"key"), None, headers.into_iter());
        run.push((9, None), None, Some(b""), std::iter::empty());

        let first = run.get(0).unwrap();
        assert_eq!((first.offset, first.timestamp), (7, Some(5)));
        assert_eq!((first.key, first.value), (Some(&b"key"[..]), None));
        let names = first.headers.iter().map(|(name, _)| name.into_owned()).collect::<Vec<_>>();
        assert_eq!(names, ["a", "b\u{fffd}", "a"]);
        let values = first.headers.iter().map(|(_, value)| value);
        assert!(values.eq(headers.iter().map(|(_, value)| *value)));
        assert_eq!(first.headers.find("a"), Some(&b"1"[..]));
        let second = run.get(1).unwrap();
        assert_eq!((second.key, second.value), (None, Some(&b""[..])));
        assert_eq!(second.headers.iter().count(), 0);
    }

    #[test]
    fn headers_that_the_record_before_has_are_kept_once() {
        let mut run = Run::new(TopicPartition::new("t", 3), 1);
        let mut sizes = Vec::new();
        for (offset, header) in (0..).zip([&b"same"[..], b"same", b"other", b"same"]) {
            run.push((offset, None), None, Some(b"1"), [(header, None)].into_iter());
            sizes.push(run.byte_count());
        }
        assert_eq!(sizes, [13, 14, 28, 41]);
        let names = run.iter().flat_map(|record| record.headers.iter().collect::<Vec<_>>());
        let names = names.map(|(name, _)| name.into_owned()).collect::<Vec<_>>();
        assert_eq!(names, ["same", "same", "other", "same"]);
    }

    #[test]
    fn headers_that_begin_like_those_before_are_those_of_their_record() {
        const CONNECTOR: Header = (b"__debezium.context.connectorName", Some(b"postgresql"));
        const TASK: Header = (b"__debezium.context.taskId", Some(b"0"));
        const OLD_KEY: Header = (b"__debezium.oldkey", Some(b"1"));
        type Header = (&'static [u8], Option<&'static [u8]>);
        let cases: [(&[Header], bool); 14] = [
            (&[], true),
            (&[], true),
            (&[CONNECTOR, TASK], true),
            (&[CONNECTOR, TASK], true),
            (&[CONNECTOR, TASK, OLD_KEY], false),
            (&[CONNECTOR, TASK, OLD_KEY], false),
            (&[CONNECTOR], true),
            (&[], true),
            (&[CONNECTOR, OLD_KEY, OLD_KEY], false),
            (&[CONNECTOR, (b"__debezium.oldkey", None)], false),
            (&[CONNECTOR, (b"__debezium.oldkey", Some(b""))], false),
            (&[CONNECTOR, (b"__debezium.\xff", None)], false),
            (&[(b"__debezium.context", None)], false),
            (&[(b"__debezium.context.connectorName", Some(b"mysql"))], true),
        ];
        let mut run = Run::new(TopicPartition::new("t", 3), 1);
        for (offset, (headers, _)) in (0..).zip(cases) {
            run.push((offset, None), Some(b"key"), Some(b"value"), headers.iter().copied());
        }
        for (record, (headers, is_context)) in run.iter().zip(cases) {
            assert_eq!((record.key, record.value), (Some(&b"key"[..]), Some(&b"value"[..])));
            assert_eq!(record.headers.parts().collect::<Vec<_>>(), headers);
            assert_eq!(record.headers.is_context(), is_context, "{headers:?}");
            for name in ["__debezium.oldkey", "__debezium.context.taskId"] {
                let named = headers.iter().find(|(found, _)| *found == name.as_bytes());
                let value = named.and_then(|(_, value)| *value);
                assert_eq!(record.headers.find(name), value, "{name} of {headers:?}");
            }
        }
    }
}
