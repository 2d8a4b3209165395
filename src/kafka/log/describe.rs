//! Topic ids, asked for past rust-rdkafka, which has no `DescribeTopics`: all the `unsafe` for it.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_int};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{IsError as _, KafkaError, KafkaResult};
use uuid::Uuid;

use crate::identity::TopicIdentity;

/// What of librdkafka's has to be given back.
struct Owned<T> {
    native: NonNull<T>,
    give_back: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    fn new(native: *mut T, give_back: unsafe extern "C" fn(*mut T)) -> Self {
        let native = NonNull::new(native).expect("librdkafka makes what it is asked for");
        Self { native, give_back }
    }

    fn as_ptr(&self) -> *mut T {
        self.native.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    #[expect(unsafe_code, reason = "gives back what librdkafka has made")]
    fn drop(&mut self) {
        // SAFETY: the pointer came from the function's counterpart, and is given back once.
        unsafe { (self.give_back)(self.as_ptr()) };
    }
}

/// Asks a broker for ids and partition counts; a topic that cannot be told about is left out.
#[expect(unsafe_code, reason = "rust-rdkafka has no DescribeTopics")]
pub(super) fn describe<C: ClientContext>(
    client: &Client<C>,
    broker: i32,
    topics: impl IntoIterator<Item = Arc<str>>,
    timeout: Duration,
) -> KafkaResult<BTreeMap<Arc<str>, TopicIdentity>> {
    let names = topics.into_iter().filter_map(|topic| CString::new(&*topic).ok());
    let names = names.collect::<Vec<_>>();
    let mut pointers = names.iter().map(|name| name.as_ptr()).collect::<Vec<_>>();
    let wait = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: the client is alive, the names live to the end and are copied, and each thing that
    // librdkafka makes is given back; what an event holds is read before the event is.
    unsafe {
        let (names_at, count) = (pointers.as_mut_ptr(), pointers.len());
        let asked = Owned::new(
            native::rd_kafka_TopicCollection_of_topic_names(names_at, count),
            native::rd_kafka_TopicCollection_destroy,
        );
        let rk = client.native_ptr();
        let options = Owned::new(
            native::rd_kafka_AdminOptions_new(
                rk,
                native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            ),
            native::rd_kafka_AdminOptions_destroy,
        );
        native::rd_kafka_AdminOptions_set_request_timeout(
            options.as_ptr(),
            wait,
            ptr::null_mut(),
            0,
        );
        // Left alone, librdkafka asks the controller, which an in-process broker does not have.
        native::rd_kafka_AdminOptions_set_broker(options.as_ptr(), broker, ptr::null_mut(), 0);
        let queue = Owned::new(native::rd_kafka_queue_new(rk), native::rd_kafka_queue_destroy);
        native::rd_kafka_DescribeTopics(rk, asked.as_ptr(), options.as_ptr(), queue.as_ptr());
        // The answer comes at the time-out at the latest.
        let event = Owned::new(
            native::rd_kafka_queue_poll(queue.as_ptr(), -1),
            native::rd_kafka_event_destroy,
        );
        let response = native::rd_kafka_event_error(event.as_ptr());
        if response.is_error() {
            return Err(KafkaError::MetadataFetch(response.into()));
        }
        let result = native::rd_kafka_event_DescribeTopics_result(event.as_ptr());
        let mut count = 0;
        let told = native::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let told = if told.is_null() { &[][..] } else { std::slice::from_raw_parts(told, count) };
        Ok(told.iter().filter_map(|topic| read(*topic)).collect())
    }
}

/// Reads what is told of a topic; `None` when there is none, or none that may be seen.
#[expect(unsafe_code, reason = "reads librdkafka's description")]
unsafe fn read(
    topic: *const native::rd_kafka_TopicDescription_t,
) -> Option<(Arc<str>, TopicIdentity)> {
    // SAFETY: the caller vouches for the description, and all that is read belongs to it.
    unsafe {
        let error = native::rd_kafka_TopicDescription_error(topic);
        if native::rd_kafka_error_code(error).is_error() {
            return None;
        }
        let name = CStr::from_ptr(native::rd_kafka_TopicDescription_name(topic)).to_str().ok()?;
        let id = native::rd_kafka_TopicDescription_topic_id(topic);
        let high = native::rd_kafka_Uuid_most_significant_bits(id);
        let low = native::rd_kafka_Uuid_least_significant_bits(id);
        let id = Uuid::from_u64_pair(high.cast_unsigned(), low.cast_unsigned());
        let mut count = 0;
        native::rd_kafka_TopicDescription_partitions(topic, &raw mut count);
        let partition_count = i32::try_from(count).ok()?;
        let id = Some(id).filter(|id| !id.is_nil());
        Some((name.into(), TopicIdentity { id, partition_count }))
    }
}
