//! Sets of offsets of one partition, as intervals: a run of offsets costs as much as one of them.
//! The filter of repeats remembers with it what it has seen, a monitor which answers came early,
//! verification what the archive holds and what the log holds.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::bytes::{BytesResult, Reader, write_signed, write_unsigned};
use crate::invariant;

/// Disjoint, sorted intervals of offsets that do not touch.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct OffsetSet {
    /// First offset of each interval -> one past its last.
    intervals: BTreeMap<i64, i64>,
}

impl OffsetSet {
    /// Add `offset`; false when it was there.
    pub fn insert(&mut self, offset: i64) -> bool {
        let is_new = !self.contains(offset);
        if is_new {
            self.insert_range(offset, offset.saturating_add(1));
        }
        is_new
    }

    /// Add the offsets from `from` up to, and not with, `to`.
    pub fn insert_range(&mut self, mut from: i64, mut to: i64) {
        if from >= to {
            return;
        }
        // Those that it meets or touches become one with it.
        while let Some((start, end)) = self.before(to).filter(|(_, end)| *end >= from) {
            self.intervals.remove(&start);
            from = from.min(start);
            to = to.max(end);
        }
        invariant!(
            IntervalsApart,
            self.before(to).is_none_or(|(_, end)| end < from),
            "{from} to {to} meets one before it"
        );
        self.intervals.insert(from, to);
    }

    /// Take out the offsets below `offset`.
    pub(crate) fn forget_below(&mut self, offset: i64) {
        while let Some(first) = self.intervals.first_entry().filter(|f| *f.key() < offset) {
            let end = first.remove();
            if end > offset {
                self.intervals.insert(offset, end);
            }
        }
    }

    /// Take out the first interval.
    pub fn pop_first(&mut self) -> Option<Range<i64>> {
        let (start, end) = self.intervals.pop_first()?;
        Some(start..end)
    }

    /// Whether `offset` is in it.
    #[must_use]
    pub fn contains(&self, offset: i64) -> bool {
        self.before(offset).is_some_and(|(_, end)| offset < end)
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// How many offsets are in it.
    #[must_use]
    pub fn count(&self) -> u64 {
        let sizes = self.ranges().map(|range| range.start.abs_diff(range.end));
        sizes.sum()
    }

    /// The intervals, ascending.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = Range<i64>> + '_ {
        self.intervals.iter().map(|(start, end)| *start..*end)
    }

    /// The interval that begins last at or before `offset`.
    #[must_use]
    pub fn before(&self, offset: i64) -> Option<(i64, i64)> {
        let found = self.intervals.range(..=offset).next_back();
        found.map(|(start, end)| (*start, *end))
    }

    /// What lies between its intervals, and between them and both ends.
    #[must_use]
    pub fn gaps(&self, from: i64, to: i64) -> Vec<(i64, i64)> {
        let (mut gaps, mut at) = (Vec::new(), from);
        for (start, end) in &self.intervals {
            gaps.push((at, (*start).min(to)));
            at = at.max(*end);
        }
        gaps.push((at, to));
        gaps.retain(|(from, to)| from < to);
        gaps
    }

    /// What of it lies from `from` up to, and not with, `to`.
    #[must_use]
    pub fn within(&self, from: i64, to: i64) -> Self {
        let first = self.before(from).map_or(from, |(start, _)| start);
        let ranges = self.intervals.range(first..to.max(first));
        let cut = |(start, end): (&i64, &i64)| (*start).max(from)..(*end).min(to);
        ranges.map(cut).collect()
    }

    /// Add all of `other`.
    pub fn extend(&mut self, other: &Self) {
        for range in other.ranges() {
            self.insert_range(range.start, range.end);
        }
    }

    /// What lies in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let (mut ours, mut theirs) = (self.ranges().peekable(), other.ranges().peekable());
        let mut both = Self::default();
        while let (Some(a), Some(b)) = (ours.peek(), theirs.peek()) {
            both.insert_range(a.start.max(b.start), a.end.min(b.end));
            if a.end < b.end {
                ours.next();
            } else {
                theirs.next();
            }
        }
        both
    }

    /// Append its bytes: part of a checkpoint.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_unsigned(out, self.ranges().len() as u64);
        for range in self.ranges() {
            write_signed(out, range.start);
            write_signed(out, range.end);
        }
    }

    /// Read what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// The bytes end too soon.
    pub fn decode(reader: &mut Reader<'_>) -> BytesResult<Self> {
        let mut set = Self::default();
        for _ in 0..reader.unsigned()? {
            set.insert_range(reader.signed()?, reader.signed()?);
        }
        Ok(set)
    }

    /// What lies in this one alone.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut alone = Self::default();
        let mut theirs = other.ranges().peekable();
        for ours in self.ranges() {
            let mut at = ours.start;
            while let Some(other) = theirs.peek().filter(|other| other.start < ours.end) {
                alone.insert_range(at, other.start);
                at = at.max(other.end);
                if other.end > ours.end {
                    break;
                }
                theirs.next();
            }
            alone.insert_range(at, ours.end);
        }
        alone
    }
}

impl FromIterator<Range<i64>> for OffsetSet {
    fn from_iter<T: IntoIterator<Item = Range<i64>>>(ranges: T) -> Self {
        let mut set = Self::default();
        for range in ranges {
            set.insert_range(range.start, range.end);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Pairs of sets, some hundreds, by a generator that needs no crate.
    fn pairs() -> Vec<(OffsetSet, OffsetSet)> {
        let mut state = 7_u64;
        let mut below = |n: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            i64::try_from((state >> 33) % n).expect("small")
        };
        let mut set = || {
            let ranges = 0..below(8);
            let range = |_| {
                let from = below(60);
                from..from + below(9)
            };
            ranges.map(range).collect::<Vec<_>>().into_iter().collect()
        };
        (0..500).map(|_| (set(), set())).collect()
    }

    fn plain(set: &OffsetSet) -> BTreeSet<i64> {
        set.ranges().flatten().collect()
    }

    #[test]
    fn golden_bytes_of_a_set() {
        let set = OffsetSet::from_iter([i64::MIN..-1, 300..i64::MAX]);
        let mut bytes = Vec::new();
        set.encode(&mut bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let golden = "02 ffffffffffffffffff01 01 d804 feffffffffffffffff01";
        assert_eq!(hex, golden.replace(' ', ""));
        let read = OffsetSet::decode(&mut Reader::new(&bytes));
        assert_eq!(read, Ok(set));
    }

    #[test]
    fn sets_of_intervals_do_what_sets_of_offsets_do() {
        for (a, b) in pairs() {
            let (x, y) = (plain(&a), plain(&b));
            assert_eq!(a.count(), x.len() as u64);
            assert_eq!(plain(&a.intersection(&b)), &x & &y, "{a:?} and {b:?}");
            assert_eq!(plain(&a.difference(&b)), &x - &y, "{a:?} without {b:?}");
            let cut: BTreeSet<i64> = x.range(20..45).copied().collect();
            assert_eq!(plain(&a.within(20, 45)), cut, "{a:?}");
            let mut rest = a.clone();
            assert_eq!(rest.pop_first(), a.ranges().next(), "{a:?}");
            assert_eq!(rest.ranges().len(), a.ranges().len().saturating_sub(1));
            rest.clone_from(&a);
            rest.forget_below(30);
            assert_eq!(plain(&rest), x.range(30..).copied().collect(), "{a:?}");
            let mut all = a.clone();
            all.extend(&b);
            assert_eq!(plain(&all), &x | &y, "{a:?} with {b:?}");
        }
    }
}
