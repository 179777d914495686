//! How fast ingest may read. As fast as it can, but while a view that is filled beside it cannot
//! catch up with it: then it leaves the fill room until little is left to be filled.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// An epoch of a slowed ingest is this long at most, so that a stop is seen soon and what it brings
/// at once is little.
const EPOCH_PARTS_A_SECOND: u64 = 10;
/// Longest wait behind one epoch, whatever it brought.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Limit on the rows a second that ingest reads, if there is one. The owner of the pipeline sets
/// it, the ingest thread keeps to it.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// 0: no limit.
    rows_per_s: AtomicU64,
}

impl Pace {
    /// Read so many rows a second at most; None: without a limit.
    pub(crate) fn limit(&self, rows_per_s: Option<NonZeroU64>) {
        let rows = rows_per_s.map_or(0, NonZeroU64::get);
        self.rows_per_s.store(rows, Ordering::Relaxed);
    }

    fn rows_per_s(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.rows_per_s.load(Ordering::Relaxed))
    }

    /// Rows of the next epoch, at most `most`.
    pub(crate) fn epoch_rows(&self, most: usize) -> usize {
        let Some(limit) = self.rows_per_s() else {
            return most;
        };
        let rows = (limit.get() / EPOCH_PARTS_A_SECOND).max(1);
        let rows = rows.min(most as u64);
        usize::try_from(rows).expect("at most `most`")
    }

    /// How long to wait behind an epoch of `rows` that took `took`.
    pub(crate) fn wait_behind(&self, rows: u64, took: Duration) -> Option<Duration> {
        let limit = self.rows_per_s()?;
        let wait = Duration::from_secs_f64(rows as f64 / limit.get() as f64);
        let wait = wait.saturating_sub(took).min(WAIT_MAX);
        (!wait.is_zero()).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slowed_ingest_reads_small_epochs_and_waits_behind_each() {
        let (pace, millis) = (Pace::default(), Duration::from_millis);
        assert_eq!(pace.epoch_rows(8_192), 8_192);
        assert_eq!(pace.wait_behind(8_192, millis(1)), None);
        pace.limit(NonZeroU64::new(200));
        assert_eq!(pace.epoch_rows(8_192), 20);
        assert_eq!(pace.epoch_rows(7), 7);
        assert_eq!(pace.wait_behind(20, millis(30)), Some(millis(70)));
        assert_eq!(pace.wait_behind(20, millis(100)), None, "it is slow enough");
        assert_eq!(pace.wait_behind(9_999, millis(0)), Some(WAIT_MAX));
        pace.limit(NonZeroU64::new(1));
        assert_eq!(pace.epoch_rows(8_192), 1);
        pace.limit(None);
        assert_eq!(pace.epoch_rows(8_192), 8_192);
    }
}
