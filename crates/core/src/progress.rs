//! How far a partition has been read, and what that says about time.
//!
//! "Applied" is a vector of offsets: for each (topic, partition) the next offset, one past the last
//! applied record. Offsets may have holes; order matters, contiguity does not.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

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

/// How far one partition has been read: everything below `next_offset`, good and bad records alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionProgress {
    /// One past the last record read.
    pub next_offset: i64,
    /// Greatest event time among the *accepted* rows so far, each counted no further than the bound
    /// under which it was read ([`crate::watermark`]); None before the first.
    pub max_event_time_us: Option<Micros>,
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
        entry.next_offset = entry.next_offset.max(progress.next_offset);
        entry.max_event_time_us = entry.max_event_time_us.max(progress.max_event_time_us);
    }
}
