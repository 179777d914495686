//! Decisions about time on their way to where they are recorded: one sink (a shard, the archive)
//! gets each once, and of those that replace one another the last.

use std::collections::BTreeMap;

use forebay_core::progress::TopicPartition;
use forebay_core::watermark::{MarkFact, MarkRecord};

/// What a later record of the same key replaces: a bound that goes on, a partition that stays idle.
type Key = (TopicPartition, Option<i64>);

/// Records that one sink does not have yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unrecorded {
    records: BTreeMap<Key, MarkRecord>,
}

impl Unrecorded {
    /// With `records`, which the sink may have or not.
    pub(crate) fn of(records: &[MarkRecord]) -> Self {
        let mut unrecorded = Self::default();
        unrecorded.add(records);
        unrecorded
    }

    /// Add `records`.
    pub(crate) fn add(&mut self, records: &[MarkRecord]) {
        for record in records {
            let from = match &record.fact {
                MarkFact::Bound(bound) => Some(bound.from),
                MarkFact::Hold(_) => None,
            };
            let key = (record.partition.clone(), from);
            self.records.insert(key, record.clone());
        }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// All of them, which the sink has from now on.
    pub(crate) fn take(&mut self) -> Vec<MarkRecord> {
        std::mem::take(&mut self.records).into_values().collect()
    }
}
