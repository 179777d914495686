//! When the offsets of one partition were released to scoring, for the time that events wait. Kept
//! in memory that grows with the logarithm of the time: a mark is dropped when the next newer one
//! lies close by, seen from now, so a wait is reported too short by an eighth of it at most.

use std::collections::VecDeque;
use std::time::Duration;

use forebay_core::invariant;

/// A wait is reported too short by 1/N of itself at most.
const FINENESS: u32 = 8;
/// Marks before any is dropped.
const MARKS_MIN: usize = 64;

#[derive(Debug, Clone, Copy)]
struct Mark {
    /// All offsets below are released.
    next_offset: i64,
    at: Duration,
    /// When the first of the offsets above the mark before was released: marks that were dropped
    /// lie between.
    first_at: Duration,
}

/// When the offsets of one partition were released: marks of offset and time.
#[derive(Debug)]
pub(crate) struct ReleaseTimes {
    /// Ascending in both.
    marks: VecDeque<Mark>,
    /// Number of marks that makes the next thinning worth its time.
    thin_at: usize,
}

impl Default for ReleaseTimes {
    fn default() -> Self {
        Self {
            marks: VecDeque::new(),
            thin_at: MARKS_MIN,
        }
    }
}

impl ReleaseTimes {
    /// All offsets below `next_offset` are released by `now`.
    pub(crate) fn note(&mut self, next_offset: i64, now: Duration) {
        let known = self.marks.back();
        if known.is_some_and(|mark| next_offset <= mark.next_offset) {
            return;
        }
        self.marks.push_back(Mark {
            next_offset,
            at: now,
            first_at: now,
        });
        if self.marks.len() >= self.thin_at {
            self.thin(now);
            self.thin_at = (2 * self.marks.len()).max(MARKS_MIN);
        }
    }

    /// When `offset` was released. None: it is not.
    pub(crate) fn of(&self, offset: i64) -> Option<Duration> {
        let below = |mark: &Mark| mark.next_offset <= offset;
        let mark = self.marks.get(self.marks.partition_point(below))?;
        Some(mark.at)
    }

    fn thin(&mut self, now: Duration) {
        let newest = self.marks.back().map(|mark| mark.next_offset);
        let mut kept: VecDeque<Mark> = VecDeque::new();
        for mark in self.marks.drain(..).rev() {
            let is_close = |newer: &Mark| {
                newer.at.saturating_sub(mark.first_at) < now.saturating_sub(newer.at) / FINENESS
            };
            match kept.front_mut() {
                Some(newer) if is_close(newer) => newer.first_at = mark.first_at,
                _ => kept.push_front(mark),
            }
        }
        invariant!(
            ReleasesAscend,
            kept.iter()
                .is_sorted_by(|a, b| a.next_offset < b.next_offset)
                && kept.back().map(|mark| mark.next_offset) == newest,
            "{} marks up to {newest:?}",
            kept.len()
        );
        self.marks = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_to_an_eighth_however_many_epochs_came_meanwhile() {
        let mut times = ReleaseTimes::default();
        let at = |epoch: i64| Duration::from_millis(5 * epoch.unsigned_abs());
        let epochs = 200_000;
        for epoch in 0..epochs {
            times.note(epoch + 1, at(epoch));
        }
        let now = at(epochs);
        for epoch in 0..epochs {
            let true_wait = now - at(epoch);
            let told = now - times.of(epoch).expect("it is released");
            assert!(
                told <= true_wait && told >= true_wait - true_wait / 8,
                "{epoch}"
            );
        }
        assert!(times.marks.len() < 500, "{}", times.marks.len());
        assert_eq!(times.of(epochs), None);
    }

    #[test]
    fn what_is_released_again_takes_nothing_back() {
        let mut times = ReleaseTimes::default();
        let second = Duration::from_secs;
        times.note(5, second(1));
        times.note(3, second(2));
        times.note(5, second(3));
        assert_eq!((times.of(4), times.of(5)), (Some(second(1)), None));
    }
}
