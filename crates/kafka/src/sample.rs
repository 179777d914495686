//! The newest records of a topic, as they are on the broker: what `forebay doctor --topic` looks
//! at. A client of its own reads them from given offsets; it joins no group and commits nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_core::progress::TopicPartition;
use rdkafka::Offset;

use crate::client::ClientEvents;
use crate::decode::Record;
use crate::error::Error;
use crate::inspector::KafkaInspector;
use crate::native::events::{EventQueue, Notice};
use crate::reader::assignment::assign;
use crate::settings::ReaderSettings;

/// Longest wait for one event.
const POLL_MAX: Duration = Duration::from_millis(250);
/// Waits in a row that bring nothing, after which what has come is the sample: ten seconds.
const SILENT_POLLS_MAX: u32 = 40;

/// What a sample was taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampled {
    /// Partitions of the topic.
    pub partitions: usize,
    /// Partitions of which not all came that was asked for: they did not answer in time.
    pub silent: usize,
}

/// Show `see` the newest records of each partition of `topic`, those at up to `newest` offsets
/// below its last stable offset, oldest first within a partition. None: there is no such topic.
///
/// # Errors
/// The broker does not answer, or refuses; the client does not take the settings.
pub fn newest_records(
    settings: &ReaderSettings,
    topic: &str,
    newest: u32,
    mut see: impl FnMut(i32, i64, &Record<'_>),
) -> Result<Option<Sampled>, Error> {
    let inspector = KafkaInspector::new(settings.clone())?;
    let Some(partitions) = inspector.partitions(topic)? else {
        return Ok(None);
    };
    let places: Vec<TopicPartition> = partitions
        .iter()
        .map(|partition| TopicPartition::new(topic, *partition))
        .collect();
    let begins = inspector.list_offsets(&places, Offset::Beginning)?;
    let mut ends = inspector.list_offsets(&places, Offset::End)?;
    ends.retain(|place, _| begins.contains_key(place));
    let unanswered = places.len() - ends.len();
    // Empty partitions have answered, and have nothing to give.
    ends.retain(|place, end| begins.get(place).is_some_and(|begin| begin < end));
    let oldest = |place: &TopicPartition, end: i64| {
        let begin = begins.get(place).copied().unwrap_or(end);
        begin.max(end - i64::from(newest))
    };
    let from: BTreeMap<TopicPartition, i64> = ends
        .iter()
        .map(|(place, end)| (place.clone(), oldest(place, *end)))
        .collect();
    let (queue, consumer) =
        EventQueue::open(&settings.config()?, ClientEvents::of(&settings.client))?;
    // Dropped before the consumer, which it must not outlive.
    let queue = queue;
    assign(&consumer, &from)?;
    let mut silent = 0;
    while !ends.is_empty() && silent < SILENT_POLLS_MAX {
        let event = queue.poll(POLL_MAX, |record| {
            let place = TopicPartition::new(record.topic, record.partition);
            let wanted = ends.get(&place).is_some_and(|end| record.offset < *end);
            if wanted {
                let read = Record {
                    key: record.key,
                    payload: record.payload,
                    kafka_time_us: record.kafka_time_us,
                    broker_time: record.broker_time,
                };
                see(record.partition, record.offset, &read);
            }
            (place, record.offset + 1)
        });
        let at = match event {
            Some(Ok(at)) => at,
            Some(Err(Notice::End { place, next_offset })) => (place, next_offset),
            Some(Err(Notice::Error { .. })) | None => {
                silent += 1;
                continue;
            }
        };
        silent = 0;
        if ends.get(&at.0).is_some_and(|end| at.1 >= *end) {
            ends.remove(&at.0);
        }
    }
    assign(&consumer, &BTreeMap::new())?;
    Ok(Some(Sampled {
        partitions: places.len(),
        silent: ends.len() + unanswered,
    }))
}
