//! How far event time has come: the mark of a partition, the mark of a source, and when a row is
//! too late. One rule for all: ingest, the filling of a view, the fold into state, the rebuild of
//! monitors. They hand in rows, each partition's in the order of its log, and get back the
//! watermark before each. Pure: what a clock decided is handed in as a [`MarkRecord`].
//!
//! # Rule
//!
//! * The *mark* of a partition is the greatest event time among its rows, each counted no further
//!   than the [`Bound`] under which it was read. Its *watermark* is the mark less the source's
//!   delay.
//! * A row is dated by the watermark of its own partition before it, and that counts no further
//!   than [`Bound::watermark_max_us`]. It is too late where its time lies below that less the
//!   lateness of its view ([`is_too_late`]).
//! * A partition that is idle is *held* ([`Hold`]) at the least mark of those that are not, or
//!   where all are idle, at the greatest; none is while a partition that is not idle has no mark.
//!   It counts in its source with the greater of mark and hold. Its own rows are dated by its mark
//!   as before.
//! * The mark of a source is the least over its partitions, and none until each has a mark or is
//!   held, since the first rows of the others may be older than any seen.
//! * A partition that its topic gets later is held where its source stands ([`SourceMarks::join`]).
//!
//! ```text
//! event time ->             watermark 0   mark 0        bound
//! partition 0, live   x---x--x---|------x----x            |     rows beyond count as the bound
//!                                |<- delay ->|
//! partition 1, idle   x---x- - - - - - - - - H                  held at mark 0
//! source                                     ^                  the least of mark 0 and H
//! ```
//!
//! # Bounds
//!
//! A producer chooses event times, so no single one says what the present is. The bound of an epoch
//! lies `event_future_max` of the source (10 minutes if it declares none) beyond the greatest of
//! what supports it:
//!
//! * the ingest clock, in steps of [`PRESENT_STEP_US`](crate::limits::PRESENT_STEP_US) (10 s), so
//!   that one record covers all rows that are read meanwhile;
//! * the broker's append time, where the topic has one;
//! * the second-greatest mark of the source ([`SourceMarks::supported_us`]), which no single
//!   partition makes. A mark that a row beyond its bound has made counts less `event_future_max`
//!   there, so that one clock on all partitions does not push the bound on and on.
//!
//! Clock and broker are asked in the pipeline's `watermark`, which also says when a partition is
//! idle; here bounds and holds are only applied.
//!
//! # Records
//!
//! Bounds and holds come from a clock, so a second reading would decide otherwise. Each one that
//! had an effect is recorded with the offsets at which it held: in the state, ahead of the rows
//! that were read under it, and in the archive, for which the newest hold of an idle partition
//! waits until a row follows. A later reader of the same rows applies the records and gets the same
//! marks:
//!
//! * [`PartitionMark::recovered`] starts a partition at an offset. Marks that shards have recorded
//!   and holds are taken over when the reader reaches their offset, bounds hold for their range.
//! * Below `decided_until` no bound is decided anew: where none is recorded, none had an effect.
//! * [`forgettable`] says which bounds nobody needs again. The last one of a partition stays, and
//!   so does the one at which its mark may stand: a restart tells by it what the mark supports.
//!
//! # Invariants
//!
//! * `marks_never_fall`: neither the mark of a partition nor its hold.
//! * `support_is_shared`: what supports others is a mark that two partitions of the source reach.
//! * Where they are stored: `bound_covers_rows`, `bounds_apart`, `hold_behind_its_mark`.
//!
//! # What was tried instead
//!
//! Marks without bounds and holds: one record from a clock that was ahead moved the mark of its
//! source for good, one partition without new records held back expiry and monitors without end.
//! And two copies of the rule, one for ingest and one for rebuilds.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::invariant;
use crate::progress::{PartitionProgress, TopicPartition};
use crate::time::Micros;

/// Under which bound the rows of a range of offsets were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bound {
    /// First offset.
    pub from: i64,
    /// One past the last offset.
    pub until: i64,
    /// No row counts for more than this.
    pub mark_max_us: Micros,
    /// No row is too late by a watermark above this: the present of the epoch and the history.
    pub watermark_max_us: Micros,
}

/// Up to where an idle partition does not hold its source back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hold {
    /// Next offset of the partition: what it has below is counted.
    pub at: i64,
    /// The mark at which it is held.
    pub mark_us: Micros,
    /// The same for the retention of state: the mark less the delay, and no later than
    /// [`Bound::watermark_max_us`] of the epoch.
    pub watermark_us: Micros,
}

/// A decision about time that the log alone does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MarkFact {
    /// Rows were bounded.
    Bound(Bound),
    /// The partition was held.
    Hold(Hold),
}

/// A [`MarkFact`] and the partition that it is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MarkRecord {
    /// Which partition.
    pub partition: TopicPartition,
    /// What was decided.
    pub fact: MarkFact,
}

/// Whether a row is too late for state that is kept `lateness_us` behind the watermark of its own
/// partition: `ts < watermark - lateness`. Never where there is no watermark yet, or state does not
/// expire (None).
#[must_use]
pub fn is_too_late(
    event_time_us: Micros,
    watermark_us: Option<Micros>,
    lateness_us: Option<Micros>,
) -> bool {
    matches!(
        (watermark_us, lateness_us),
        (Some(watermark), Some(lateness)) if event_time_us < watermark.saturating_sub(lateness)
    )
}

/// Those bounds of `records` whose rows lie below the offset that `below` has for their partition.
/// The last one of each partition stays, and so does the last of those at which its mark,
/// `mark_us`, may stand: a restart tells by it that a row beyond a bound made the mark.
#[must_use]
pub fn forgettable<'a>(
    records: &'a [MarkRecord],
    below: &[(TopicPartition, i64)],
    mark_us: impl Fn(&TopicPartition) -> Option<Micros>,
) -> Vec<&'a MarkRecord> {
    let below: BTreeMap<&TopicPartition, i64> = below.iter().map(|(p, at)| (p, *at)).collect();
    let bound = |record: &MarkRecord| match record.fact {
        MarkFact::Bound(bound) => Some(bound),
        MarkFact::Hold(_) => None,
    };
    let mut last: BTreeMap<(&TopicPartition, bool), i64> = BTreeMap::new();
    for record in records {
        let Some(bound) = bound(record) else { continue };
        let place = &record.partition;
        let made_it = mark_us(place) == Some(bound.mark_max_us);
        for role in [Some(false), made_it.then_some(true)].into_iter().flatten() {
            let from = last.entry((place, role)).or_insert(bound.from);
            *from = bound.from.max(*from);
        }
    }
    let is_over = |record: &&MarkRecord| {
        let Some(bound) = bound(record) else {
            return false;
        };
        let place = &record.partition;
        let stays = |role| last.get(&(place, role)) == Some(&bound.from);
        let reached = below.get(place).is_some_and(|below| bound.until <= *below);
        reached && !stays(false) && !stays(true)
    };
    records.iter().filter(is_over).collect()
}

/// What one row did to the mark of its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// The watermark before the row.
    pub watermark_us: Option<Micros>,
    /// Whether a bound had an effect, on the row or on its watermark.
    pub bounded: bool,
    /// Whether the row's own time lies beyond the bound.
    pub ahead: bool,
}

/// The mark of one partition, moved row by row in log order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionMark {
    mark_us: Option<Micros>,
    /// The bound at which the mark stands, if a row beyond it moved it there.
    at_bound_us: Option<Micros>,
    held_us: Option<Micros>,
    next_offset: i64,
    /// Below this offset every decision is taken already: a bound that is not recorded had no
    /// effect.
    decided_until: i64,
    /// Marks that were recorded for a prefix, furthest first: each is taken over when the reader
    /// gets there. Holds likewise.
    progress: Vec<PartitionProgress>,
    holds: Vec<Hold>,
    /// Recorded bounds, by their first offset.
    bounds: Vec<Bound>,
}

impl PartitionMark {
    /// The mark of a partition that is read from `start` on, of which `progress` and `records` are
    /// known from before. Below `decided_until` no bound is decided anew.
    #[must_use]
    pub fn recovered(
        start: i64,
        progress: &[PartitionProgress],
        facts: impl IntoIterator<Item = MarkFact>,
        decided_until: i64,
    ) -> Self {
        let facts: BTreeSet<MarkFact> = facts.into_iter().collect();
        let mut mark = Self {
            next_offset: start,
            progress: progress.to_vec(),
            ..Self::default()
        };
        for fact in facts {
            match fact {
                MarkFact::Bound(bound) => mark.bounds.push(bound),
                MarkFact::Hold(hold) => mark.holds.push(hold),
            }
        }
        mark.holds.reverse();
        mark.progress
            .sort_unstable_by_key(|p| std::cmp::Reverse(p.next_offset));
        let recorded = mark.progress.first().map_or(0, |p| p.next_offset);
        let bounded = mark.bounds.iter().map(|b| b.until).max().unwrap_or(0);
        mark.decided_until = decided_until.max(recorded).max(bounded);
        mark.reach(start);
        mark
    }

    /// The mark of its rows; None before the first.
    #[must_use]
    pub fn mark_us(&self) -> Option<Micros> {
        self.mark_us
    }

    /// The mark with which it counts in its source's.
    fn held_mark_us(&self) -> Option<Micros> {
        self.mark_us.max(self.held_us)
    }

    /// One past the last record read.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Below this offset no bound is decided anew.
    #[must_use]
    pub fn decided_until(&self) -> i64 {
        self.decided_until
    }

    /// What is recorded of it beside its offsets.
    #[must_use]
    pub fn progress(&self) -> PartitionProgress {
        PartitionProgress {
            next_offset: self.next_offset,
            max_event_time_us: self.mark_us,
            last: None,
        }
    }

    /// How far it supports other partitions: its mark, but not what rows beyond a bound made of it.
    fn support_us(&self, future_max_us: Micros) -> Option<Micros> {
        match (self.mark_us, self.at_bound_us) {
            (Some(mark), Some(bound)) if mark == bound => Some(mark.saturating_sub(future_max_us)),
            (mark, _) => mark,
        }
    }

    /// Count the row at `offset`. `fresh` is the bound of rows on which nothing was decided yet.
    pub fn pass(
        &mut self,
        offset: i64,
        event_time_us: Micros,
        delay_us: Micros,
        fresh: Option<&Bound>,
    ) -> Passed {
        self.reach(offset);
        let bound = self
            .recorded_bound(offset)
            .or_else(|| fresh.filter(|_| offset >= self.decided_until).copied());
        let watermark = self.mark_us.map(|mark| mark.saturating_sub(delay_us));
        let (mark_max, watermark_max) = bound.map_or((Micros::MAX, Micros::MAX), |bound| {
            (bound.mark_max_us, bound.watermark_max_us)
        });
        let before = self.mark_us;
        let ahead = event_time_us > mark_max;
        let counted = event_time_us.min(mark_max);
        if self.mark_us.is_none_or(|mark| counted > mark) {
            self.mark_us = Some(counted);
            self.at_bound_us = ahead.then_some(counted);
        } else if !ahead && self.mark_us == Some(counted) {
            self.at_bound_us = None;
        }
        self.next_offset = self.next_offset.max(offset.saturating_add(1));
        invariant!(
            MarksNeverFall,
            self.mark_us >= before,
            "{before:?} to {:?} at offset {offset}",
            self.mark_us
        );
        Passed {
            watermark_us: watermark.map(|watermark| watermark.min(watermark_max)),
            bounded: ahead || watermark.is_some_and(|watermark| watermark > watermark_max),
            ahead,
        }
    }

    /// The reader stands at `offset`: take over what was recorded for the prefix below it.
    pub fn reach(&mut self, offset: i64) {
        let before = (self.mark_us, self.held_us);
        while let Some(recorded) = self.progress.pop_if(|p| offset >= p.next_offset) {
            if recorded.max_event_time_us > self.mark_us {
                self.mark_us = recorded.max_event_time_us;
                let mark = recorded.max_event_time_us;
                let made_by = |b: &&Bound| Some(b.mark_max_us) == mark && b.from < offset;
                self.at_bound_us = self.bounds.iter().find(made_by).map(|b| b.mark_max_us);
            }
        }
        while let Some(hold) = self.holds.pop_if(|hold| offset >= hold.at) {
            self.held_us = self.held_us.max(Some(hold.mark_us));
        }
        invariant!(
            MarksNeverFall,
            self.mark_us >= before.0 && self.held_us >= before.1,
            "{before:?} to {:?} at offset {offset}",
            (self.mark_us, self.held_us)
        );
    }

    /// The reader stands at `offset`, whose records below are all counted.
    pub fn read_up_to(&mut self, offset: i64) {
        self.reach(offset);
        self.next_offset = self.next_offset.max(offset);
    }

    fn recorded_bound(&self, offset: i64) -> Option<Bound> {
        let behind = self.bounds.partition_point(|bound| bound.from <= offset);
        let bound = self.bounds[..behind].last()?;
        (offset < bound.until).then_some(*bound)
    }

    /// Hold it at `mark_us`; whether that is further than it counted.
    fn hold(&mut self, mark_us: Micros) -> bool {
        let further = self.held_mark_us().is_none_or(|held| mark_us > held);
        self.held_us = self.held_us.max(Some(mark_us));
        further
    }
}

/// The marks of all partitions of one source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceMarks {
    partitions: BTreeMap<i32, PartitionMark>,
}

impl SourceMarks {
    /// The marks of `partitions`, all read from their beginning, of which `records` are known. This
    /// is how a reader of the archive repeats what was decided while the rows were read.
    #[must_use]
    pub fn replay(
        topic: &str,
        partitions: impl IntoIterator<Item = i32>,
        records: &[MarkRecord],
    ) -> Self {
        let facts = |partition: i32| {
            let of = move |r: &&MarkRecord| {
                r.partition.partition == partition && *r.partition.topic == *topic
            };
            records.iter().filter(of).map(|record| record.fact)
        };
        let mark = |partition: i32| {
            let mark = PartitionMark::recovered(0, &[], facts(partition), Micros::MAX);
            (partition, mark)
        };
        Self {
            partitions: partitions.into_iter().map(mark).collect(),
        }
    }

    /// The mark of `partition`, to be moved; one that is new is read from its beginning.
    pub fn partition(&mut self, partition: i32) -> &mut PartitionMark {
        self.partitions.entry(partition).or_default()
    }

    /// Set the mark of `partition`.
    pub fn insert(&mut self, partition: i32, mark: PartitionMark) {
        self.partitions.insert(partition, mark);
    }

    /// The mark of `partition`, if it is known.
    #[must_use]
    pub fn get(&self, partition: i32) -> Option<&PartitionMark> {
        self.partitions.get(&partition)
    }

    /// All partitions, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (i32, &PartitionMark)> {
        self.partitions.iter().map(|(number, mark)| (*number, mark))
    }

    /// The mark of the source: the least of its partitions. None until each of them had a row or
    /// was held, since the first rows of the others may be older than any seen so far.
    #[must_use]
    pub fn mark_us(&self) -> Option<Micros> {
        let mut least = None;
        for mark in self.partitions.values() {
            let held = mark.held_mark_us()?;
            least = Some(least.map_or(held, |least: Micros| least.min(held)));
        }
        least
    }

    /// The second-greatest mark among the partitions: what no single one of them made up.
    #[must_use]
    pub fn supported_us(&self, future_max_us: Micros) -> Option<Micros> {
        let (mut first, mut second) = (None, None);
        for mark in self.partitions.values() {
            let support = mark.support_us(future_max_us);
            if support > first {
                (first, second) = (support, first);
            } else {
                second = second.max(support);
            }
        }
        invariant!(
            SupportIsShared,
            second <= first,
            "{second:?} above {first:?}"
        );
        second
    }

    /// Take up a partition that is new, of which `facts` are known: held where the source stands,
    /// so that it pulls it no further back. Returns that mark; None for a known partition, or where
    /// the source has none.
    pub fn join(
        &mut self,
        partition: i32,
        facts: impl IntoIterator<Item = MarkFact>,
    ) -> Option<Micros> {
        if self.partitions.contains_key(&partition) {
            return None;
        }
        let mark_us = self.mark_us();
        let mut mark = PartitionMark::recovered(0, &[], facts, 0);
        let held_us = mark_us.filter(|mark_us| mark.hold(*mark_us));
        self.partitions.insert(partition, mark);
        held_us
    }

    /// Hold the partitions for which `is_idle` says so at the mark of the others, or where none is
    /// left, at the greatest mark: nothing older is to come. Returns those that this moved on, with
    /// their next offsets, and the mark.
    pub fn hold_idle(
        &mut self,
        is_idle: impl Fn(i32) -> bool,
    ) -> (Vec<(i32, i64)>, Option<Micros>) {
        let (mut least, mut greatest, mut blocked) = (None, None, false);
        for (number, mark) in &self.partitions {
            greatest = greatest.max(mark.held_mark_us());
            if !is_idle(*number) {
                let held = mark.held_mark_us();
                blocked |= held.is_none();
                least = Some(least.map_or(held, |least: Option<Micros>| least.min(held)));
            }
        }
        let Some(mark_us) = least.unwrap_or(greatest).filter(|_| !blocked) else {
            return (Vec::new(), None);
        };
        let mut moved = Vec::new();
        for (number, mark) in &mut self.partitions {
            if is_idle(*number) && mark.hold(mark_us) {
                moved.push((*number, mark.next_offset));
            }
        }
        (moved, Some(mark_us))
    }
}

#[cfg(test)]
mod tests;
