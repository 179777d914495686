//! How far a partition has been read, and what that says about time.
//!
//! "Applied" is a vector of offsets: for each (topic, partition) the next offset, one past the last
//! applied record. Offsets may have holes; order matters, contiguity does not.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::invariant;
use crate::time::Micros;

/// One partition of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TopicPartition {
    /// Kafka topic.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
}

impl TopicPartition {
    /// `topic` and `partition` together.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

/// What is remembered of one record, so that the log which holds it can be told from another one
/// that has the same name and other records at the same offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RecordDigest {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp; None where the broker gave none.
    pub kafka_time_us: Option<Micros>,
    /// XXH3 (64 bits) over its key and value. Part of the format.
    pub hash: u64,
}

/// Seed of the hash in a [`RecordDigest`]; part of the format.
const DIGEST_SEED: u64 = 0x666f_7265_6261_7902;

impl RecordDigest {
    /// Of the record at `offset` with these bytes. No key and an empty key are told apart, and so
    /// are a key's end and a value's beginning.
    #[must_use]
    pub fn of(
        offset: i64,
        kafka_time_us: Option<Micros>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Self {
        let part = |bytes: Option<&[u8]>, seed: u64| match bytes {
            Some(bytes) => xxh3_64_with_seed(bytes, seed),
            None => seed.rotate_left(17),
        };
        Self {
            offset,
            kafka_time_us,
            hash: part(value, part(key, DIGEST_SEED)),
        }
    }
}

/// How far one partition has been read: everything below `next_offset`, good and bad records alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionProgress {
    /// One past the last record read, or past the control records behind it.
    pub next_offset: i64,
    /// Greatest event time among the *accepted* rows so far, each counted no further than the bound
    /// under which it was read ([`crate::watermark`]); None before the first.
    pub max_event_time_us: Option<Micros>,
    /// The last record read; None where that is not known (an archive's mark, a new partition).
    #[serde(skip)]
    pub last: Option<RecordDigest>,
}

/// Progress of many partitions: what a shard, an archive table or an answer has applied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied(pub BTreeMap<TopicPartition, PartitionProgress>);

impl Applied {
    /// Next offset of `partition`; 0 where nothing was applied yet.
    #[must_use]
    pub fn next_offset(&self, partition: &TopicPartition) -> i64 {
        self.0.get(partition).map_or(0, |p| p.next_offset)
    }

    /// Take over `progress` for `partition`. Offsets and times never fall.
    pub fn advance(&mut self, partition: &TopicPartition, progress: PartitionProgress) {
        let entry = self.0.entry(partition.clone()).or_insert(progress);
        if progress.last.map(|last| last.offset) > entry.last.map(|last| last.offset) {
            entry.last = progress.last;
        }
        entry.next_offset = entry.next_offset.max(progress.next_offset);
        entry.max_event_time_us = entry.max_event_time_us.max(progress.max_event_time_us);
        invariant!(
            DigestBelowNext,
            entry
                .last
                .is_none_or(|last| last.offset < entry.next_offset),
            "{partition:?}: {:?} at next offset {}",
            entry.last,
            entry.next_offset
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_tells_records_apart_and_is_part_of_the_format() {
        let of = |key: Option<&str>, value: Option<&str>| {
            RecordDigest::of(7, Some(5), key.map(str::as_bytes), value.map(str::as_bytes)).hash
        };
        let records = [
            of(None, None),
            of(Some(""), None),
            of(None, Some("")),
            of(Some("ab"), Some("c")),
            of(Some("a"), Some("bc")),
            of(Some("abc"), None),
            of(None, Some("abc")),
        ];
        for (i, a) in records.iter().enumerate() {
            assert!(records[i + 1..].iter().all(|b| a != b), "record {i}");
        }
        assert_eq!(of(Some("ab"), Some("c")), GOLDEN);
    }

    /// A change of the digest halts every source of every existing state.
    const GOLDEN: u64 = 2_589_468_093_008_387_416;

    #[test]
    fn progress_keeps_the_digest_of_its_furthest_record() {
        let place = TopicPartition::new("t", 0);
        let digest = |offset| RecordDigest::of(offset, None, None, None);
        let at = |next_offset, last: Option<i64>| PartitionProgress {
            next_offset,
            last: last.map(digest),
            ..PartitionProgress::default()
        };
        let mut applied = Applied::default();
        applied.advance(&place, at(5, Some(4)));
        applied.advance(&place, at(9, None));
        assert_eq!(applied.0[&place], at(9, Some(4)));
        applied.advance(&place, at(7, Some(6)));
        assert_eq!(applied.0[&place], at(9, Some(6)));
    }

    #[test]
    #[should_panic(expected = "invariant digest_below_next is broken")]
    fn a_digest_of_a_record_that_was_not_applied_is_told() {
        let progress = PartitionProgress {
            next_offset: 5,
            max_event_time_us: None,
            last: Some(RecordDigest::of(5, None, None, None)),
        };
        Applied::default().advance(&TopicPartition::new("t", 0), progress);
    }
}
