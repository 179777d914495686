//! Decisions about time on their way to where they are recorded: one sink (a shard, the archive)
//! gets each once, and of those that replace one another the last. A shard needs to know where a
//! partition is held by now; the archive keeps where it was held before, because rows that were
//! read in between are dated by it when they are read again.

use std::collections::{BTreeMap, BTreeSet};

use forebay_core::progress::TopicPartition;
use forebay_core::watermark::{MarkFact, MarkRecord};

/// What a later record of the same key replaces: a bound that goes on, a partition that stays idle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Bound(TopicPartition, i64),
    Hold(TopicPartition, Option<i64>),
}

/// Records that one sink does not have yet.
#[derive(Debug, Clone)]
pub(crate) struct Unrecorded {
    records: BTreeMap<Key, MarkRecord>,
    /// Whether a hold replaces those at earlier offsets of its partition.
    last_hold_alone: bool,
    /// Bounds that were handed to the sink since the last [`Self::thinned`].
    bounds: usize,
}

/// Bounds that a shard gets before its write also says which of them it may drop.
const BOUNDS_MAX: usize = 256;

impl Unrecorded {
    /// Of a shard, with `records`, which it may have or not.
    pub(crate) fn of_shard(records: &[MarkRecord]) -> Self {
        let mut unrecorded = Self {
            records: BTreeMap::new(),
            last_hold_alone: true,
            bounds: 0,
        };
        unrecorded.add(records);
        unrecorded
    }

    /// Of the archive.
    pub(crate) fn of_archive(records: &[MarkRecord]) -> Self {
        let mut unrecorded = Self {
            records: BTreeMap::new(),
            last_hold_alone: false,
            bounds: 0,
        };
        unrecorded.add(records);
        unrecorded
    }

    /// Add `records`, in any order: one that an earlier process left shorter does not replace the
    /// one that goes further.
    pub(crate) fn add(&mut self, records: &[MarkRecord]) {
        for record in records {
            let place = record.partition.clone();
            let key = match &record.fact {
                MarkFact::Bound(bound) => Key::Bound(place, bound.from),
                MarkFact::Hold(hold) => {
                    Key::Hold(place, (!self.last_hold_alone).then_some(hold.at))
                }
            };
            let known = self.records.entry(key).or_insert_with(|| record.clone());
            if reach(&record.fact) > reach(&known.fact) {
                known.fact = record.fact;
            }
        }
    }

    /// The sink has `known` already.
    pub(crate) fn forget(&mut self, known: &[MarkRecord]) {
        self.bounds += known.len();
        let known: BTreeSet<&MarkRecord> = known.iter().collect();
        self.records.retain(|_, record| !known.contains(record));
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// All of them, which the sink has from now on.
    pub(crate) fn take(&mut self) -> Vec<MarkRecord> {
        let is_bound = |key: &&Key| matches!(key, Key::Bound(..));
        self.bounds += self.records.keys().filter(is_bound).count();
        std::mem::take(&mut self.records).into_values().collect()
    }

    /// Whether the sink has so many bounds that it should forget some.
    pub(crate) fn is_crowded(&self) -> bool {
        self.bounds >= BOUNDS_MAX
    }

    /// The sink got the offsets below which it may drop bounds.
    pub(crate) fn thinned(&mut self) {
        self.bounds = 0;
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
        let further = [bound(13, 30), bound(30, 46), hold(5, 20)];
        let shorter = [bound(13, 25), hold(5, 10), hold(4, 90)];
        for order in [
            [&further[..], &shorter[..]].concat(),
            [&shorter[..], &further[..]].concat(),
        ] {
            assert_eq!(Unrecorded::of_shard(&order).take(), further);
        }
    }

    #[test]
    fn a_shard_is_told_to_forget_before_its_bounds_are_many() {
        let mut unrecorded = Unrecorded::of_shard(&[]);
        let mut most = 0;
        for number in 0..10_000 {
            unrecorded.add(&[bound(2 * number, 2 * number + 1), hold(5, number)]);
            unrecorded.take();
            most = most.max(unrecorded.bounds);
            if unrecorded.is_crowded() {
                unrecorded.thinned();
            }
        }
        assert_eq!(most, BOUNDS_MAX);
        // Those that a start finds count too.
        let found: Vec<MarkRecord> = (0..300).map(|n| bound(2 * n, 2 * n + 1)).collect();
        unrecorded.forget(&found);
        assert!(unrecorded.is_crowded());
    }

    #[test]
    fn the_archive_keeps_where_a_partition_was_held_before_later_rows() {
        let mut unrecorded = Unrecorded::of_archive(&[hold(5, 10), hold(5, 20), hold(9, 30)]);
        unrecorded.add(&[hold(5, 15)]);
        assert_eq!(unrecorded.take(), [hold(5, 20), hold(9, 30)]);
    }
}
