//! The id of a topic: what tells a topic made anew from the one that had its name. The safe
//! bindings have no call for it.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::time::{Duration, Instant};

use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::client::ClientEvents;

/// Longest wait for one answer on the queue, so that a clock is looked at now and then.
const SLICE_MS: i32 = 100;
/// Longest wait for the answer.
const ANSWER_MAX: Duration = Duration::from_secs(3_600);
/// Room for the client's words.
const WORDS_BYTES: usize = 256;

/// The id of `topic`; None where nobody tells one within `timeout`: an old broker, a client without
/// the right to describe, or no answer. `broker` is whom to ask; None: the controller.
pub(crate) fn topic_id(
    consumer: &BaseConsumer<ClientEvents>,
    topic: &str,
    broker: Option<i32>,
    timeout: Duration,
) -> Option<String> {
    let name = CString::new(topic).ok()?;
    let client = consumer.client().native_ptr();
    // SAFETY: `client` is the live handle of `consumer`, which outlives this call. Every object
    // made here is destroyed here, once, also when an answer is missing: the library holds
    // references of its own to the queue while a request is under way, and drops an answer that
    // comes too late.
    unsafe {
        let queue = sys::rd_kafka_queue_new(client);
        let options = sys::rd_kafka_AdminOptions_new(
            client,
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        );
        let mut words: [c_char; WORDS_BYTES] = [0; WORDS_BYTES];
        let timeout_ms = i32::try_from(timeout.min(ANSWER_MAX).as_millis()).expect("an hour fits");
        sys::rd_kafka_AdminOptions_set_request_timeout(
            options,
            timeout_ms,
            words.as_mut_ptr(),
            words.len(),
        );
        if let Some(broker) = broker {
            sys::rd_kafka_AdminOptions_set_broker(options, broker, words.as_mut_ptr(), words.len());
        }
        let mut names = [name.as_ptr()];
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        sys::rd_kafka_DescribeTopics(client, topics, options, queue);
        let id = answer(queue, timeout);
        sys::rd_kafka_TopicCollection_destroy(topics);
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_queue_destroy(queue);
        id
    }
}

/// Wait for the answer on `queue`.
///
/// # Safety
/// `queue` is live, and nothing but one DescribeTopics for one topic answers on it.
unsafe fn answer(queue: *mut sys::rd_kafka_queue_t, timeout: Duration) -> Option<String> {
    let deadline = Instant::now() + timeout;
    while Instant::now() < deadline {
        // SAFETY: `queue` is live; the event is ours until it is destroyed below.
        let event = unsafe { sys::rd_kafka_queue_poll(queue, SLICE_MS) };
        if event.is_null() {
            continue;
        }
        // SAFETY: the event is live; its result, and all that hangs on it, lives as long as it.
        unsafe {
            let result = sys::rd_kafka_event_DescribeTopics_result(event);
            let id = if result.is_null() {
                None
            } else {
                described(result)
            };
            sys::rd_kafka_event_destroy(event);
            return id;
        }
    }
    None
}

/// The id in a result for one topic.
///
/// # Safety
/// `result` is live.
unsafe fn described(result: *const sys::rd_kafka_DescribeTopics_result_t) -> Option<String> {
    let mut count = 0;
    // SAFETY: `result` is live, so is `count`; the array has `count` entries, each a live
    // description, and an id's text is NUL-terminated and lives as long as the id.
    unsafe {
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if topics.is_null() || count != 1 {
            return None;
        }
        let topic = ptr::read(topics);
        let error = sys::rd_kafka_TopicDescription_error(topic);
        if sys::rd_kafka_error_code(error) != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        if id.is_null()
            || (sys::rd_kafka_Uuid_most_significant_bits(id) == 0
                && sys::rd_kafka_Uuid_least_significant_bits(id) == 0)
        {
            // What a broker without ids gives.
            return None;
        }
        let text = sys::rd_kafka_Uuid_base64str(id);
        (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}
