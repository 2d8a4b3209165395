//! The client's events, read past rust-rdkafka where it loses what we need.
//!
//! rust-rdkafka 0.39 panics on a header whose name is not UTF-8, and drops the topic and offset of
//! a partition's end and the partition of an offset that the broker does not have. Its queue is
//! public in librdkafka, so it is polled here, and this module holds all the `unsafe` for that.

use std::ffi::{CStr, c_char, c_int};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::IsError as _;
use rdkafka::message::{BorrowedMessage, Timestamp};
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr as Response};

use crate::checkpoint::NextOffset;
use crate::record::TopicPartition;

/// A consumer's queue of events.
pub(super) struct Queue<C: ConsumerContext> {
    queue: NonNull<native::rd_kafka_queue_t>,
    // Behind the queue's reference, which must be given back while the client lives.
    consumer: Arc<BaseConsumer<C>>,
}

/// One event; it lives until its record is copied.
pub(super) struct Item {
    native: NonNull<native::rd_kafka_event_t>,
}

/// What an event says.
pub(super) enum Said<'e> {
    /// A record has arrived.
    Record(Message<'e>),
    /// Everything before the offset has been delivered, and nothing stands behind it yet.
    End(TopicPartition, NextOffset),
    /// The broker has no record at the offset, and everything before it has been delivered; the
    /// client fetches the partition no more.
    OutOfRange(TopicPartition, NextOffset),
    /// The records that begin at the offset are damaged, and everything before them has been
    /// delivered; the client would pass over them.
    Damaged(TopicPartition, NextOffset),
    /// The group gives these partitions.
    Assigned(Vec<TopicPartition>),
    /// The group takes these partitions.
    Revoked(Vec<TopicPartition>),
    /// How a mirrored commit ended.
    Committed(Result<(), Code>),
    /// The client wants its next token of SASL/OAUTHBEARER.
    TokenWanted,
    /// The client's statistics, as JSON.
    Statistics(&'e [u8]),
    /// Something failed, and what; only a new client helps when it is fatal.
    Failed { code: Code, reason: String, is_fatal: bool },
    /// Nothing for us.
    Nothing,
}

// SAFETY: librdkafka's queues are made to be polled from any one thread; the pointer is only used
// through `&self`, and librdkafka locks the queue.
#[expect(unsafe_code, reason = "the poll loop moves to a thread of its own")]
unsafe impl<C: ConsumerContext> Send for Queue<C> {}

impl<C: ConsumerContext> Queue<C> {
    /// Takes the queue that rust-rdkafka polls too: from now on only one of both may.
    #[expect(unsafe_code, reason = "rust-rdkafka keeps its queue to itself")]
    pub(super) fn of(consumer: Arc<BaseConsumer<C>>) -> Self {
        // SAFETY: the client is alive; the call counts up a reference that `drop` gives back.
        let queue = unsafe { native::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        let queue = NonNull::new(queue).expect("a consumer with a group has a queue");
        Self { queue, consumer }
    }

    pub(super) fn consumer(&self) -> &Arc<BaseConsumer<C>> {
        &self.consumer
    }

    /// Waits for an event.
    #[expect(unsafe_code, reason = "rust-rdkafka's own poll drops what events carry")]
    pub(super) fn poll(&self, wait: Duration) -> Option<Item> {
        let wait = c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the queue lives as long as `self`; the event is ours to destroy.
        let native = unsafe { native::rd_kafka_queue_poll(self.queue.as_ptr(), wait) };
        NonNull::new(native).map(|native| Item { native })
    }
}

impl<C: ConsumerContext> Drop for Queue<C> {
    #[expect(unsafe_code, reason = "gives the queue's reference back")]
    fn drop(&mut self) {
        // SAFETY: `of` took the reference, and the client is alive: `consumer` is dropped later.
        unsafe { native::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

impl Item {
    /// Reads what the event says.
    #[expect(unsafe_code, reason = "reads librdkafka's event")]
    pub(super) fn said(&self) -> Said<'_> {
        let event = self.native.as_ptr();
        // SAFETY: the event is alive, and each part is read as its type says it is there; what is
        // returned borrows from the event.
        unsafe {
            match native::rd_kafka_event_type(event) {
                native::RD_KAFKA_EVENT_FETCH => {
                    let message = native::rd_kafka_event_message_next(event).as_ref();
                    message.map_or(Said::Nothing, |message| Said::Record(Message(message)))
                }
                native::RD_KAFKA_EVENT_REBALANCE => self.rebalance(),
                native::RD_KAFKA_EVENT_OFFSET_COMMIT => {
                    Said::Committed(outcome(native::rd_kafka_event_error(event)))
                }
                native::RD_KAFKA_EVENT_STATS => {
                    let json = native::rd_kafka_event_stats(event);
                    Said::Statistics(CStr::from_ptr(json).to_bytes())
                }
                native::RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH => Said::TokenWanted,
                native::RD_KAFKA_EVENT_ERROR => self.failure(),
                _ => Said::Nothing,
            }
        }
    }

    #[expect(unsafe_code, reason = "reads librdkafka's event")]
    unsafe fn rebalance(&self) -> Said<'_> {
        let event = self.native.as_ptr();
        // SAFETY: the caller has seen that it is a rebalance; the list belongs to the event.
        let (code, list) = unsafe {
            let list = native::rd_kafka_event_topic_partition_list(event);
            (native::rd_kafka_event_error(event), list.as_ref().map(|list| copy(list)))
        };
        let list = list.unwrap_or_default();
        match code {
            Response::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Said::Assigned(list),
            Response::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => Said::Revoked(list),
            other => Said::Failed {
                code: other.into(),
                reason: "the group's rebalance failed".to_owned(),
                is_fatal: false,
            },
        }
    }

    #[expect(unsafe_code, reason = "reads librdkafka's event")]
    unsafe fn failure(&self) -> Said<'_> {
        let event = self.native.as_ptr();
        // SAFETY: the caller has seen that it is an error; the partition is ours to destroy, and is
        // copied before.
        let (response, is_fatal, reason, place) = unsafe {
            let response = native::rd_kafka_event_error(event);
            let is_fatal = native::rd_kafka_event_error_is_fatal(event) != 0;
            let reason = text(native::rd_kafka_event_error_string(event)).trim().to_owned();
            let place = native::rd_kafka_event_topic_partition(event);
            let copied = place.as_ref().map(|place| {
                let partition = TopicPartition::new(text(place.topic), place.partition);
                (partition, NextOffset::at(place.offset))
            });
            if !place.is_null() {
                native::rd_kafka_topic_partition_destroy(place);
            }
            (response, is_fatal, reason, copied)
        };
        match (Code::from(response), place) {
            (Code::PartitionEOF, Some((partition, end))) => Said::End(partition, end),
            (Code::AutoOffsetReset | Code::OffsetOutOfRange, Some((partition, asked))) => {
                Said::OutOfRange(partition, asked)
            }
            (Code::BadMessage | Code::BadCompression, Some((partition, at))) => {
                Said::Damaged(partition, at)
            }
            (code, _) => Said::Failed { code, reason, is_fatal },
        }
    }
}

impl Drop for Item {
    #[expect(unsafe_code, reason = "gives librdkafka's event back")]
    fn drop(&mut self) {
        // SAFETY: the event is ours, and nothing borrows from it any more.
        unsafe { native::rd_kafka_event_destroy(self.native.as_ptr()) };
    }
}

/// A record as librdkafka holds it.
#[derive(Clone, Copy)]
pub(super) struct Message<'e>(&'e native::rd_kafka_message_t);

#[expect(unsafe_code, reason = "reads librdkafka's message")]
impl<'e> Message<'e> {
    /// Borrows the message behind rust-rdkafka's.
    pub(super) fn behind(message: &'e BorrowedMessage<'_>) -> Self {
        // SAFETY: the pointer is never null, and the message lives as long as the borrow.
        Self(unsafe { &*message.ptr() })
    }

    pub(super) fn topic(self) -> &'e str {
        self.topic_name().to_str().expect("Kafka allows ASCII in names of topics only")
    }

    /// Returns whether it is of this partition.
    pub(super) fn is_of(self, partition: &TopicPartition) -> bool {
        self.partition() == partition.partition
            && self.topic_name().to_bytes() == partition.topic.as_bytes()
    }

    fn topic_name(self) -> &'e CStr {
        // SAFETY: a consumed message has a topic, whose name lives as long as the message.
        unsafe { CStr::from_ptr(native::rd_kafka_topic_name(self.0.rkt)) }
    }

    pub(super) fn partition(self) -> i32 {
        self.0.partition
    }

    pub(super) fn offset(self) -> i64 {
        self.0.offset
    }

    /// Returns the record's time in milliseconds since the epoch.
    pub(super) fn timestamp(self) -> Option<i64> {
        let mut kind = native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive; the call only reads it.
        let millis = unsafe { native::rd_kafka_message_timestamp(self.0, &raw mut kind) };
        Timestamp::CreateTime(millis).to_millis()
    }

    /// Returns the leadership of the partition that has written the record, where brokers tell.
    pub(super) fn leader_epoch(self) -> Option<i32> {
        // SAFETY: the message is alive; the call only reads it.
        let epoch = unsafe { native::rd_kafka_message_leader_epoch(self.0) };
        Some(epoch).filter(|epoch| *epoch >= 0)
    }

    pub(super) fn key(self) -> Option<&'e [u8]> {
        // SAFETY: the message says where its key lies, for as long as it lives.
        unsafe { part(self.0.key.cast(), self.0.key_len) }
    }

    pub(super) fn value(self) -> Option<&'e [u8]> {
        // SAFETY: the message says where its value lies, for as long as it lives.
        unsafe { part(self.0.payload.cast(), self.0.len) }
    }

    /// Iterates over names and values; names are bytes, whatever their producer wrote.
    pub(super) fn headers(self) -> Headers<'e> {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive and owns the headers, which are parsed at the first call.
        let response = unsafe { native::rd_kafka_message_headers(self.0, &raw mut headers) };
        // A record without headers answers with an error.
        let headers = if response.is_error() { ptr::null_mut() } else { headers };
        Headers { headers, index: 0, message: PhantomData }
    }
}

/// The headers of a record.
pub(super) struct Headers<'e> {
    headers: *const native::rd_kafka_headers_t,
    index: usize,
    message: PhantomData<&'e native::rd_kafka_message_t>,
}

#[expect(unsafe_code, reason = "reads librdkafka's headers")]
impl<'e> Iterator for Headers<'e> {
    type Item = (&'e [u8], Option<&'e [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.headers.is_null() {
            return None;
        }
        let (mut name, mut value, mut length) = (ptr::null::<c_char>(), ptr::null(), 0);
        // SAFETY: the headers live as long as the message; name and value belong to them.
        unsafe {
            let response = native::rd_kafka_header_get_all(
                self.headers,
                self.index,
                &raw mut name,
                &raw mut value,
                &raw mut length,
            );
            if response.is_error() {
                return None;
            }
            self.index += 1;
            Some((CStr::from_ptr(name).to_bytes(), part(value.cast(), length)))
        }
    }
}

/// Borrows a part of a message; `None` where it is null.
#[expect(unsafe_code, reason = "borrows from librdkafka")]
unsafe fn part<'e>(start: *const u8, length: usize) -> Option<&'e [u8]> {
    // SAFETY: the caller vouches for the part.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start, length) })
}

#[expect(unsafe_code, reason = "borrows from librdkafka")]
unsafe fn text<'e>(text: *const c_char) -> std::borrow::Cow<'e, str> {
    // SAFETY: the caller vouches for the text.
    unsafe { CStr::from_ptr(text) }.to_string_lossy()
}

/// Copies the partitions of a list that an event owns.
#[expect(unsafe_code, reason = "reads librdkafka's list")]
unsafe fn copy(list: &native::rd_kafka_topic_partition_list_t) -> Vec<TopicPartition> {
    if list.elems.is_null() {
        // A member that gets nothing.
        return Vec::new();
    }
    let length = usize::try_from(list.cnt).unwrap_or_default();
    // SAFETY: the list says where its elements lie, how many they are, and each has a topic.
    let elements = unsafe { std::slice::from_raw_parts(list.elems, length) };
    let named = |element: &native::rd_kafka_topic_partition_t| {
        TopicPartition::new(unsafe { text(element.topic) }, element.partition)
    };
    elements.iter().map(named).collect()
}

fn outcome(response: Response) -> Result<(), Code> {
    if response.is_error() { Err(response.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::DefaultConsumerContext;
    use rdkafka::{ClientConfig, Offset, TopicPartitionList};
    use tokio::time::Instant;

    use super::*;
    use crate::kafka::fixture::{Broker, Sent};

    const WAIT: Duration = Duration::from_secs(20);

    /// Polls until `pick` takes something of what the queue says.
    fn next<T>(queue: &Queue<DefaultConsumerContext>, pick: impl Fn(&Said<'_>) -> Option<T>) -> T {
        let started = Instant::now();
        while started.elapsed() < WAIT {
            let Some(item) = queue.poll(Duration::from_millis(50)) else { continue };
            let said = item.said();
            if let Said::Assigned(partitions) = &said {
                let mut list = TopicPartitionList::new();
                for partition in partitions {
                    let at = Offset::Beginning;
                    list.add_partition_offset(&partition.topic, partition.partition, at).unwrap();
                }
                queue.consumer().incremental_assign(&list).unwrap();
            }
            if let Some(picked) = pick(&said) {
                return picked;
            }
        }
        panic!("nothing came")
    }

    #[test]
    fn a_record_comes_with_any_header_and_its_partitions_end_with_its_place() {
        let broker = Broker::start(&[("t", 1)]);
        let sent = |key, value| Sent {
            topic: "t",
            key,
            value,
            timestamp: 5,
            headers: &[("h", Some("1")), ("n", None)],
            ..Sent::default()
        };
        broker.send([sent(Some(b"k"), Some(b""))]);
        broker.send_with_header("t", b"\xff\xfe", b"2");
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", broker.address())
            .set("group.id", "g")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap();
        consumer.subscribe(&["t"]).unwrap();
        let queue = Queue::of(Arc::new(consumer));

        let record = |said: &Said<'_>| match said {
            Said::Record(message) => {
                let headers = message.headers();
                let headers =
                    headers.map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)));
                let parts = [message.key(), message.value()].map(|part| part.map(<[u8]>::to_vec));
                let place = (message.topic().to_owned(), message.partition(), message.offset());
                Some((place, message.timestamp(), parts, headers.collect::<Vec<_>>()))
            }
            _ => None,
        };
        let (place, timestamp, parts, headers) = next(&queue, record);
        assert_eq!((place, timestamp), (("t".to_owned(), 0, 0), Some(5)));
        assert_eq!(parts, [Some(b"k".to_vec()), Some(Vec::new())]);
        assert_eq!(headers, [(b"h".to_vec(), Some(b"1".to_vec())), (b"n".to_vec(), None)]);
        let (place, _, parts, headers) = next(&queue, record);
        assert_eq!((place.2, parts), (1, [None, None]));
        assert_eq!(headers, [(vec![0xff, 0xfe], Some(b"2".to_vec()))]);
        let end = next(&queue, |said| match said {
            Said::End(partition, end) => Some((partition.to_string(), end.get())),
            _ => None,
        });
        assert_eq!(end, ("t[0]".to_owned(), 2));
    }
}
