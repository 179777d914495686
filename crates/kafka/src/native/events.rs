//! Polls a consumer's queue as `BaseConsumer::poll` does, and keeps what that drops: topic,
//! partition and offset of an error. Without them a bad record batch could not be told from a lost
//! connection, and would halt every source.
//!
//! The consumer must not be polled by itself as well: an event goes to one of the two.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fmt;
use std::ptr::NonNull;
use std::slice;
use std::time::Duration;

use forebay_core::invariant;
use forebay_core::ports::RecordHeader;
use forebay_core::progress::TopicPartition;
use rdkafka::ClientContext;
use rdkafka::bindings as sys;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::client::{ClientEvents, not_created};
use crate::error::Error;

/// Longest wait for one event.
const POLL_MAX: Duration = Duration::from_secs(3_600);

/// The queue of one consumer. Must not outlive it: `KafkaLog` and the inspector own both, the queue
/// declared first.
pub(crate) struct EventQueue {
    queue: NonNull<sys::rd_kafka_queue_t>,
    /// Who hears what the client says of itself.
    events: ClientEvents,
}

// SAFETY: the client library's queues may be used from any thread; the handle is a counted
// reference without thread-local parts.
unsafe impl Send for EventQueue {}

impl fmt::Debug for EventQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventQueue")
    }
}

/// A record, borrowed from the client's memory for as long as the visitor runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NativeRecord<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) payload: Option<&'a [u8]>,
    pub(crate) kafka_time_us: Option<i64>,
    /// Whether the broker set that time when it appended the record.
    pub(crate) broker_time: bool,
    /// Its headers, which are read where somebody wants them.
    pub(crate) headers: RecordHeaders<'a>,
}

/// The headers of a record, not read yet: few records need theirs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordHeaders<'a>(&'a sys::rd_kafka_message_t);

impl RecordHeaders<'_> {
    /// The first headers whose names and values fit `most_bytes` together, and whether there are
    /// more.
    pub(crate) fn within(self, most_bytes: usize) -> (Vec<RecordHeader>, bool) {
        let (mut headers, mut left) = (Vec::new(), most_bytes);
        for number in 0.. {
            let Some((name, value)) = self.at(number) else {
                break;
            };
            let bytes = name.len() + value.map_or(0, <[u8]>::len);
            if bytes > left {
                return (headers, true);
            }
            left -= bytes;
            headers.push(RecordHeader {
                name: String::from_utf8_lossy(name).into_owned(),
                value: value.map(<[u8]>::to_vec),
            });
        }
        (headers, false)
    }

    /// Name and value of header `number`; None where there are no more.
    fn at(&self, number: usize) -> Option<(&[u8], Option<&[u8]>)> {
        let (mut list, mut name) = (std::ptr::null_mut(), std::ptr::null());
        let (mut value, mut len) = (std::ptr::null(), 0);
        // SAFETY: the message is live as long as this borrow, and nobody else reads it meanwhile:
        // the client parses headers at the first question. The list stays the message's own, and
        // is asked only where there is one; the client writes all three results or reports that
        // there is no such header.
        let found = unsafe {
            let absent = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__NOENT;
            let found = sys::rd_kafka_message_headers(self.0, &mut list);
            if found == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && !list.is_null() {
                sys::rd_kafka_header_get_all(list, number, &mut name, &mut value, &mut len)
            } else {
                absent
            }
        };
        if found != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
            return None;
        }
        // SAFETY: a name is NUL-terminated, and a value that is not null has `len` bytes; both live
        // as long as the message. Headers lie within a record, far below `isize::MAX`.
        unsafe {
            let name = CStr::from_ptr(name).to_bytes();
            let value = value.cast::<u8>();
            let value = (!value.is_null()).then(|| slice::from_raw_parts(value, len));
            Some((name, value))
        }
    }
}

/// What is not a record.
#[derive(Debug, Clone)]
pub(crate) enum Notice {
    /// The reader has met the end of a partition: everything below `next_offset` was handed over,
    /// control records included.
    End {
        place: TopicPartition,
        next_offset: i64,
    },
    /// An error, with the partition and offset that it is about, where it is about one.
    Error {
        error: KafkaError,
        place: Option<TopicPartition>,
        offset: Option<i64>,
        why: String,
    },
}

impl EventQueue {
    /// A consumer of `config`, which tells `events`, and its queue, which the owner drops first.
    ///
    /// # Errors
    /// [`Error::Settings`]: the client does not take a property.
    pub(crate) fn open(
        config: &ClientConfig,
        events: ClientEvents,
    ) -> Result<(Self, BaseConsumer<ClientEvents>), Error> {
        let consumer = config
            .create_with_context(events.clone())
            .map_err(not_created)?;
        let queue = Self::of(&consumer, events).ok_or_else(|| Error::Settings {
            property: "the client".into(),
            problem: "has no queue to poll".into(),
        })?;
        Ok((queue, consumer))
    }

    fn of(consumer: &BaseConsumer<ClientEvents>, events: ClientEvents) -> Option<Self> {
        // SAFETY: `native_ptr` is the live handle of `consumer`; the call returns a new reference
        // to its queue, or null where the client is no consumer.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        NonNull::new(queue).map(|queue| Self { queue, events })
    }

    /// Wait at most `timeout` for one event. `visit` sees a record. None: nothing came, or
    /// something that is of no interest.
    pub(crate) fn poll<T>(
        &self,
        timeout: Duration,
        visit: impl FnOnce(&NativeRecord<'_>) -> T,
    ) -> Option<Result<T, Notice>> {
        let timeout_ms = whole_ms(timeout);
        // SAFETY: the queue is live (this value holds a reference); the event that comes back is
        // ours until it is destroyed, which `Event` does.
        let event = unsafe { sys::rd_kafka_queue_poll(self.queue.as_ptr(), timeout_ms) };
        let event = Event(NonNull::new(event)?);
        match event.kind() {
            sys::RD_KAFKA_EVENT_FETCH => event.record(visit).map(Ok),
            sys::RD_KAFKA_EVENT_ERROR => event.notice().map(Err),
            sys::RD_KAFKA_EVENT_STATS => {
                self.events.stats_raw(event.statistics());
                None
            }
            _ => None,
        }
    }
}

/// `timeout` in the milliseconds of the client library, rounded up: a rest below one would be asked
/// for again and again without a pause until it is over.
fn whole_ms(timeout: Duration) -> i32 {
    let ms = timeout.min(POLL_MAX).as_micros().div_ceil(1_000);
    i32::try_from(ms).expect("an hour fits")
}

impl Drop for EventQueue {
    fn drop(&mut self) {
        // SAFETY: `of` took this reference, and it is given back once.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

struct Event(NonNull<sys::rd_kafka_event_t>);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: `poll` made this value from an event that it owns; nothing borrowed from the
        // event outlives `record` and `notice`, which borrow `self`.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

impl Event {
    fn kind(&self) -> i32 {
        // SAFETY: the event is live.
        unsafe { sys::rd_kafka_event_type(self.0.as_ptr()) }
    }

    fn record<T>(&self, visit: impl FnOnce(&NativeRecord<'_>) -> T) -> Option<T> {
        // SAFETY: the event is live and holds fetched messages; the message stays valid until the
        // event is destroyed, and the borrow below ends before that.
        let message = unsafe { sys::rd_kafka_event_message_next(self.0.as_ptr()).as_ref() }?;
        let bytes = |start: *mut std::ffi::c_void, len: usize| {
            // SAFETY: where `start` is not null the client says that `len` bytes are there, valid
            // as long as the message; records are at most `EVENT_MAX_BYTES`, far below
            // `isize::MAX`.
            (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast::<u8>(), len) })
        };
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is live and `kind` outlives the call.
        let millis = unsafe { sys::rd_kafka_message_timestamp(message, &mut kind) };
        let timed = kind != sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: a fetched message carries its topic, whose name is a NUL-terminated string that
        // lives as long as the topic, which the message holds.
        let topic = unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(message.rkt)) };
        let record = NativeRecord {
            topic: topic.to_str().unwrap_or_default(),
            partition: message.partition,
            offset: message.offset,
            key: bytes(message.key, message.key_len),
            payload: bytes(message.payload, message.len),
            kafka_time_us: (timed && millis >= 0).then(|| millis.saturating_mul(1_000)),
            broker_time: kind == sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME,
            headers: RecordHeaders(message),
        };
        // A text that is no topic's name was replaced by an empty one.
        invariant!(
            RecordHasItsPlace,
            !record.topic.is_empty() && record.partition >= 0 && record.offset >= 0,
            "`{}`-{} at {}",
            record.topic,
            record.partition,
            record.offset
        );
        Some(visit(&record))
    }

    fn notice(&self) -> Option<Notice> {
        // SAFETY: the event is live; the text is NUL-terminated and lives as long as it.
        let (code, fatal, why) = unsafe {
            let event = self.0.as_ptr();
            (
                sys::rd_kafka_event_error(event),
                sys::rd_kafka_event_error_is_fatal(event) != 0,
                CStr::from_ptr(sys::rd_kafka_event_error_string(event)).to_string_lossy(),
            )
        };
        let code = RDKafkaErrorCode::from(code);
        let (place, offset) = self.place().map_or((None, None), |(place, offset)| {
            (Some(place), (offset >= 0).then_some(offset))
        });
        match (code, place, offset) {
            (RDKafkaErrorCode::NoError, ..) => None,
            (RDKafkaErrorCode::PartitionEOF, Some(place), Some(next_offset)) => {
                Some(Notice::End { place, next_offset })
            }
            (RDKafkaErrorCode::PartitionEOF, ..) => None,
            (code, place, offset) => Some(Notice::Error {
                error: if fatal {
                    KafkaError::MessageConsumptionFatal(code)
                } else {
                    KafkaError::MessageConsumption(code)
                },
                place,
                offset,
                why: why.trim().to_owned(),
            }),
        }
    }

    /// What the client says of itself, as JSON; empty in an event of another kind.
    fn statistics(&self) -> &[u8] {
        if self.kind() != sys::RD_KAFKA_EVENT_STATS {
            return &[];
        }
        // SAFETY: the event is live and of the kind that has this text, which is NUL-terminated
        // and valid until the event is destroyed; the borrow of `self` ends before that.
        unsafe {
            let text = sys::rd_kafka_event_stats(self.0.as_ptr());
            match text.is_null() {
                true => &[],
                false => CStr::from_ptr(text).to_bytes(),
            }
        }
    }

    /// The partition that an error is about, and the offset.
    fn place(&self) -> Option<(TopicPartition, i64)> {
        // SAFETY: the event is live; what comes back is null or ours to destroy, and its topic is a
        // NUL-terminated string that lives as long as it.
        unsafe {
            let raw = sys::rd_kafka_event_topic_partition(self.0.as_ptr());
            let found = raw.as_ref()?;
            let topic = CStr::from_ptr(found.topic).to_str().ok().map(str::to_owned);
            let (partition, offset) = (found.partition, found.offset);
            sys::rd_kafka_topic_partition_destroy(raw);
            Some((TopicPartition::new(topic?, partition), offset))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_never_cut_to_less_than_was_asked_for() {
        let cases = [
            (Duration::ZERO, 0),
            (Duration::from_nanos(1_001), 1),
            (Duration::from_micros(300), 1),
            (Duration::from_micros(4_999), 5),
            (Duration::from_millis(5), 5),
            (Duration::MAX, 3_600_000),
        ];
        for (asked, ms) in cases {
            assert_eq!(whole_ms(asked), ms, "{asked:?}");
        }
    }
}
