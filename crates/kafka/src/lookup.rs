//! Records at single offsets of a topic, with their keys and headers: what `forebay dead-letters`
//! shows of a row that only the log has whole. A client of its own reads them; it joins no group
//! and commits nothing. What the log does not hold any more is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use forebay_core::limits::{DEAD_LETTER_HEADERS_MAX_BYTES, EVENT_MAX_BYTES};
use forebay_core::ports::RecordHeader;
use forebay_core::progress::TopicPartition;

use crate::client::ClientEvents;
use crate::error::Error;
use crate::inspector::KafkaInspector;
use crate::native::events::{EventQueue, NativeRecord, Notice};
use crate::reader::assignment::assign;
use crate::settings::ReaderSettings;

/// Longest wait for one event.
const POLL_MAX: Duration = Duration::from_millis(250);
/// Offsets that are read on to the next that is wanted; beyond them it is fetched by itself.
const READ_ON_MAX_OFFSETS: i64 = 256;

/// A record as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedRecord {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its headers, the first that fit [`DEAD_LETTER_HEADERS_MAX_BYTES`].
    pub headers: Vec<RecordHeader>,
}

impl LoggedRecord {
    fn of(record: &NativeRecord<'_>) -> Self {
        let most = |bytes: &[u8]| bytes[..bytes.len().min(EVENT_MAX_BYTES)].to_vec();
        Self {
            partition: record.partition,
            offset: record.offset,
            key: record.key.map(most),
            headers: record.headers.within(DEAD_LETTER_HEADERS_MAX_BYTES).0,
        }
    }
}

/// The records of `topic` at the offsets `wanted` of each partition, as many of them as the log
/// holds and come within `longest`.
///
/// # Errors
/// The broker does not answer, or refuses; the client does not take the settings.
pub fn records_at(
    settings: &ReaderSettings,
    topic: &str,
    wanted: &BTreeMap<i32, BTreeSet<i64>>,
    longest: Duration,
) -> Result<Vec<LoggedRecord>, Error> {
    let inspector = KafkaInspector::new(settings.clone())?;
    let Some(partitions) = inspector.partitions(topic)? else {
        return Ok(Vec::new());
    };
    let (queue, consumer) =
        EventQueue::open(&settings.config()?, ClientEvents::of(&settings.client))?;
    // Dropped before the consumer, which it must not outlive.
    let queue = queue;
    let deadline = Instant::now() + longest;
    let mut left: BTreeMap<i32, BTreeSet<i64>> = wanted.clone();
    left.retain(|partition, offsets| partitions.contains(partition) && !offsets.is_empty());
    let mut found = Vec::new();
    while !left.is_empty() && Instant::now() < deadline {
        let next = left.iter().filter_map(|(partition, offsets)| {
            Some((TopicPartition::new(topic, *partition), *offsets.first()?))
        });
        let from: BTreeMap<TopicPartition, i64> = next.collect();
        assign(&consumer, &from)?;
        let mut reading: BTreeSet<i32> = left.keys().copied().collect();
        while !reading.is_empty() && Instant::now() < deadline {
            match queue.poll(POLL_MAX, LoggedRecord::of) {
                Some(Ok(record)) => take(record, &mut left, &mut reading, &mut found),
                Some(Err(
                    Notice::End { place, .. }
                    | Notice::Error {
                        place: Some(place), ..
                    },
                )) => {
                    // Nothing at or above its offset can be read.
                    reading.remove(&place.partition);
                    left.remove(&place.partition);
                }
                Some(Err(Notice::Error { place: None, .. })) | None => {}
            }
        }
        left.retain(|_, offsets| !offsets.is_empty());
    }
    assign(&consumer, &BTreeMap::new())?;
    Ok(found)
}

/// Keep `record` where it is wanted, and read its partition on while the next one is near.
fn take(
    record: LoggedRecord,
    left: &mut BTreeMap<i32, BTreeSet<i64>>,
    reading: &mut BTreeSet<i32>,
    found: &mut Vec<LoggedRecord>,
) {
    let (partition, offset) = (record.partition, record.offset);
    // What comes of an assignment before this one is no answer to it.
    let Some(offsets) = left
        .get_mut(&partition)
        .filter(|_| reading.contains(&partition))
    else {
        return;
    };
    if offsets.remove(&offset) {
        found.push(record);
    }
    // Records come in order: those below are not there any more.
    offsets.retain(|wanted| *wanted > offset);
    let is_near = |next: &i64| next - offset <= READ_ON_MAX_OFFSETS;
    if !offsets.first().is_some_and(is_near) {
        reading.remove(&partition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_offsets_are_read_on_to_and_far_ones_wait_for_their_own_turn() {
        let far = 11 + READ_ON_MAX_OFFSETS + 1;
        let mut left = BTreeMap::from([(0, BTreeSet::from([9, 10, 11, far]))]);
        let (mut reading, mut found) = (BTreeSet::from([0]), Vec::new());
        let mut see = |partition, offset| {
            let record = LoggedRecord {
                partition,
                offset,
                key: None,
                headers: Vec::new(),
            };
            take(record, &mut left, &mut reading, &mut found);
            (found.len(), left[&0].len(), reading.len())
        };
        // 9 is gone; a record of another partition is nobody's.
        assert_eq!(see(0, 10), (1, 2, 1));
        assert_eq!(see(1, 10), (1, 2, 1));
        assert_eq!(see(0, 11), (2, 1, 0));
        assert_eq!(see(0, far), (2, 1, 0), "not asked for yet");
    }
}
