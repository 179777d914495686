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

    /// Add `records`, in any order: one that an earlier process left shorter does not replace the
    /// one that goes further.
    pub(crate) fn add(&mut self, records: &[MarkRecord]) {
        for record in records {
            let from = match &record.fact {
                MarkFact::Bound(bound) => Some(bound.from),
                MarkFact::Hold(_) => None,
            };
            let key = (record.partition.clone(), from);
            let known = self.records.entry(key).or_insert_with(|| record.clone());
            if reach(&record.fact) > reach(&known.fact) {
                known.fact = record.fact;
            }
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

/// How far a record goes: of two with the same key the one that goes further is the later one.
fn reach(fact: &MarkFact) -> (i64, i64) {
    match fact {
        MarkFact::Bound(bound) => (bound.until, bound.mark_max_us),
        MarkFact::Hold(hold) => (hold.at, hold.mark_us),
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::watermark::{Bound, Hold};

    use super::*;

    fn record(fact: MarkFact) -> MarkRecord {
        MarkRecord {
            partition: TopicPartition::new("t", 0),
            fact,
        }
    }

    fn bound(from: i64, until: i64) -> MarkRecord {
        record(MarkFact::Bound(Bound {
            from,
            until,
            mark_max_us: 7,
            watermark_max_us: 7,
        }))
    }

    fn hold(at: i64, mark_us: i64) -> MarkRecord {
        record(MarkFact::Hold(Hold {
            at,
            mark_us,
            watermark_us: mark_us,
        }))
    }

    #[test]
    fn what_goes_further_is_kept_whatever_comes_last() {
        let further = [hold(5, 20), bound(13, 30), bound(30, 46)];
        let shorter = [bound(13, 25), hold(5, 10), hold(4, 90)];
        for order in [
            [&further[..], &shorter[..]].concat(),
            [&shorter[..], &further[..]].concat(),
        ] {
            assert_eq!(Unrecorded::of(&order).take(), further);
        }
    }
}
