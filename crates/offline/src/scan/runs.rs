//! The order of a file that another writer has joined from files of ours. delta-rs's OPTIMIZE reads
//! some files at a time, the newest first, and writes their batches as they come: the rows of one
//! append are in order, though rows of others may lie between them. `_ingest_time`, which rises
//! from append to append, says which is which. Such a file is read append by append, and nothing of
//! it is held but a batch. Pure; whether the places then ascend is for the caller to check.

use std::ops::Range;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use forebay_core::invariant;
use forebay_core::time::Micros;

/// Neighbouring rows of one append that are told from others in one file, at most: 1.5 MiB.
const PIECES_MAX: usize = 65_536;
/// Ranges that one file is read in at most, each of several appends where these follow one another:
/// reading a range begins with a page of every column.
const RANGES_MAX: usize = 4_096;

/// Neighbouring rows of one append.
#[derive(Debug)]
struct Piece {
    time: Micros,
    rows: Range<usize>,
}

/// The pieces of a file, as its batches of `_ingest_time` alone come.
#[derive(Debug, Default)]
pub(super) struct Runs {
    pieces: Vec<Piece>,
    rows: usize,
}

impl Runs {
    /// Take the next batch in; false where there are too many pieces, or a row has no time.
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
            let known = self.pieces.len();
            match self.pieces.last_mut() {
                Some(piece) if piece.time == time => piece.rows.end += 1,
                _ if known == PIECES_MAX => return false,
                _ => self.pieces.push(Piece {
                    time,
                    rows: self.rows..self.rows + 1,
                }),
            }
            self.rows += 1;
        }
        true
    }

    /// The ranges of rows in the order of their appends; None where there are too many.
    pub(super) fn in_order(mut self) -> Option<Vec<Range<usize>>> {
        self.pieces
            .sort_by_key(|piece| (piece.time, piece.rows.start));
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for piece in self.pieces {
            match ranges.last_mut() {
                Some(range) if range.end == piece.rows.start => range.end = piece.rows.end,
                _ => ranges.push(piece.rows),
            }
        }
        let rows: usize = ranges.iter().map(Range::len).sum();
        invariant!(
            PartsMakeTheWhole,
            rows == self.rows,
            "{rows} of {} rows are in {} ranges",
            self.rows,
            ranges.len()
        );
        (ranges.len() <= RANGES_MAX).then_some(ranges)
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
    fn rows_are_put_in_the_order_of_their_appends() {
        assert_eq!(ranges(&[]), Some(vec![]));
        assert_eq!(ranges(&[&[5, 5, 6], &[6, 9]]), Some(vec![(0, 5)]));
        // The newest first, over the border of a batch.
        assert_eq!(
            ranges(&[&[9, 9, 5], &[6, 6, 1]]),
            Some(vec![(5, 6), (2, 5), (0, 2)])
        );
        // Batches of two files, one of each at a time.
        assert_eq!(
            ranges(&[&[9, 9, 5, 5], &[9, 5, 6]]),
            Some(vec![(2, 4), (5, 7), (0, 2), (4, 5)])
        );
    }

    #[test]
    fn a_file_of_too_many_pieces_or_ranges_or_without_times_is_not_read_by_them() {
        let rising = |rows: usize| (0..rows).map(|t| Some(t as i64)).collect::<Vec<_>>();
        let mut runs = Runs::default();
        assert!(runs.add(&times(&rising(PIECES_MAX))), "PIECES_MAX of them");
        assert_eq!(runs.in_order().expect("one after the other").len(), 1);
        assert!(!Runs::default().add(&times(&rising(PIECES_MAX + 1))));
        for (rows, is_read) in [(RANGES_MAX, true), (RANGES_MAX + 1, false)] {
            let mut falling = rising(rows);
            falling.reverse();
            let mut runs = Runs::default();
            assert!(runs.add(&times(&falling)));
            assert_eq!(runs.in_order().is_some(), is_read, "{rows} ranges");
        }
        assert!(!Runs::default().add(&times(&[Some(1), None])));
    }
}
