//! The order of a file that another writer has joined from files of ours. delta-rs's OPTIMIZE puts
//! whole files behind one another, the newest first: their rows are in log order run by run, and
//! `_ingest_time`, which rises from append to append, says which run comes first. Such a file is
//! read run by run, and nothing of it is held but a batch. Pure; whether the places then ascend is
//! for the caller to check.

use std::ops::Range;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use forebay_core::invariant;
use forebay_core::time::Micros;

/// Runs of one file at most: reading each begins with a page of every column. More than the files
/// that an OPTIMIZE joins where ours have been compacted.
const RUNS_MAX: usize = 4_096;

/// Neighbouring rows whose `_ingest_time` never falls.
#[derive(Debug)]
struct Run {
    first: Micros,
    last: Micros,
    rows: Range<usize>,
}

/// The runs of a file, as its batches of `_ingest_time` alone come.
#[derive(Debug, Default)]
pub(super) struct Runs {
    runs: Vec<Run>,
    rows: usize,
}

impl Runs {
    /// Take the next batch in; false where there are too many runs, or a row has no time.
    pub(super) fn add(&mut self, times: &RecordBatch) -> bool {
        let column = times.columns().first();
        let Some(times) =
            column.and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>())
        else {
            return false;
        };
        for time in times {
            let Some(time) = time else {
                return false;
            };
            let known = self.runs.len();
            match self.runs.last_mut() {
                Some(run) if run.last <= time => {
                    run.last = time;
                    run.rows.end += 1;
                }
                _ if known == RUNS_MAX => return false,
                _ => self.runs.push(Run {
                    first: time,
                    last: time,
                    rows: self.rows..self.rows + 1,
                }),
            }
            self.rows += 1;
        }
        true
    }

    /// The ranges of rows in the order of their times; None where times of two runs overlap.
    pub(super) fn in_order(mut self) -> Option<Vec<Range<usize>>> {
        self.runs.sort_by_key(|run| run.first);
        let follows = |a: &Run, b: &Run| a.last <= b.first;
        if !self.runs.is_sorted_by(follows) {
            return None;
        }
        let ranges: Vec<Range<usize>> = self.runs.into_iter().map(|run| run.rows).collect();
        let rows: usize = ranges.iter().map(Range::len).sum();
        invariant!(
            PartsMakeTheWhole,
            rows == self.rows,
            "{rows} of {} rows are in {} runs",
            self.rows,
            ranges.len()
        );
        Some(ranges)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, TimestampMicrosecondArray};

    use super::*;

    fn times(times: &[Option<i64>]) -> RecordBatch {
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times.to_vec()));
        RecordBatch::try_from_iter([("t", times)]).expect("well formed")
    }

    /// Where each range begins and ends.
    fn ranges(batches: &[&[i64]]) -> Option<Vec<(usize, usize)>> {
        let mut runs = Runs::default();
        for batch in batches {
            let batch: Vec<_> = batch.iter().copied().map(Some).collect();
            assert!(runs.add(&times(&batch)));
        }
        let ranges = runs.in_order()?.into_iter();
        Some(ranges.map(|range| (range.start, range.end)).collect())
    }

    #[test]
    fn runs_are_put_in_the_order_of_their_times() {
        assert_eq!(ranges(&[]), Some(vec![]));
        assert_eq!(ranges(&[&[5, 5, 6], &[6, 9]]), Some(vec![(0, 5)]));
        // The newest first, over the border of a batch.
        assert_eq!(
            ranges(&[&[9, 9, 5], &[6, 6, 1]]),
            Some(vec![(5, 6), (2, 5), (0, 2)])
        );
        // One append in two runs may be in order, and times that overlap are not.
        assert_eq!(ranges(&[&[5, 9, 5]]), None);
        assert_eq!(
            ranges(&[&[9, 5, 5], &[4]]),
            Some(vec![(3, 4), (1, 3), (0, 1)])
        );
    }

    #[test]
    fn a_file_of_too_many_runs_or_without_times_is_not_read_by_them() {
        let falling = |rows: usize| (0..rows).rev().map(|t| Some(t as i64)).collect::<Vec<_>>();
        let mut runs = Runs::default();
        assert!(runs.add(&times(&falling(RUNS_MAX))), "RUNS_MAX of them");
        assert_eq!(runs.in_order().expect("in order").len(), RUNS_MAX);
        assert!(!Runs::default().add(&times(&falling(RUNS_MAX + 1))));
        assert!(!Runs::default().add(&times(&[Some(1), None])));
    }
}
