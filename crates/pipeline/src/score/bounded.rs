//! Reads a queue of the store up to a number of rows and of bytes: what is read is in memory at
//! once, and one record may have a thousand times the bytes of another. It reads a few at a time,
//! so that no more of them than that come beyond the bytes.

use forebay_core::ports::PendingEntry;
use forebay_core::{PortResult, invariant};

/// Records of one read.
const STEP_RECORDS: usize = 16;

/// What may still be read.
#[derive(Debug)]
pub(crate) struct Bound {
    records: usize,
    bytes: usize,
}

impl Bound {
    /// So much.
    pub(crate) fn of(records: usize, bytes: usize) -> Self {
        Self { records, bytes }
    }

    /// Whether nothing more is to be read.
    pub(crate) fn is_reached(&self) -> bool {
        self.records == 0 || self.bytes == 0
    }

    /// What `read` gives from `from` on, a number of records at a time; `known` is the place and
    /// the size of one, bytes.
    ///
    /// # Errors
    /// Those of `read`.
    pub(crate) fn read<T>(
        &mut self,
        mut from: u64,
        mut read: impl FnMut(u64, usize) -> PortResult<Vec<T>>,
        known: impl Fn(&T) -> (u64, usize),
    ) -> PortResult<Vec<T>> {
        let mut all = Vec::new();
        while !self.is_reached() {
            let step = self.records.min(STEP_RECORDS);
            let found = read(from, step)?;
            invariant!(
                BudgetKept,
                found.len() <= step,
                "{} of {step} records",
                found.len()
            );
            let is_last = found.len() < step;
            for (sequence, bytes) in found.iter().map(&known) {
                invariant!(
                    QueueReadAscends,
                    from <= sequence,
                    "{sequence}, read from {from} on"
                );
                from = sequence + 1;
                self.bytes = self.bytes.saturating_sub(bytes);
            }
            self.records -= found.len().min(self.records);
            all.extend(found);
            if is_last {
                break;
            }
        }
        Ok(all)
    }
}

/// Place and bytes of a pending score.
pub(crate) fn known(entry: &PendingEntry) -> (u64, usize) {
    (entry.sequence, entry.score.request.len())
}

#[cfg(test)]
mod tests {
    use forebay_core::limits::{PUBLISH_MAX_BYTES, SCORING_CHUNK_MAX_BYTES};

    use super::*;

    /// What a bound takes of a queue of 100 records of `bytes` each.
    fn taken(bound: &mut Bound, bytes: usize) -> Vec<u64> {
        let read = |from: u64, count: usize| Ok((from..100).take(count).collect());
        let read = bound.read(0, read, |sequence| (*sequence, bytes));
        read.expect("it reads")
    }

    #[test]
    fn a_read_ends_with_the_records_the_bytes_or_the_queue() {
        let all: Vec<u64> = (0..100).collect();
        assert_eq!(taken(&mut Bound::of(1_000, 1 << 20), 10), all);
        assert_eq!(taken(&mut Bound::of(37, 1 << 20), 10), all[..37]);
        let mut bound = Bound::of(1_000, 200);
        assert_eq!(
            taken(&mut bound, 10),
            all[..32],
            "a step beyond the bytes at most"
        );
        assert!(bound.is_reached() && taken(&mut bound, 10).is_empty());
    }

    #[test]
    fn of_the_largest_records_a_step_more_than_the_limit_is_held_at_most() {
        let largest = forebay_core::limits::PREDICTION_MAX_BYTES;
        for limit in [PUBLISH_MAX_BYTES, SCORING_CHUNK_MAX_BYTES] {
            let held = taken(&mut Bound::of(1_000, limit), largest).len() * largest;
            assert!(limit <= held && held < limit + STEP_RECORDS * largest);
        }
    }
}
