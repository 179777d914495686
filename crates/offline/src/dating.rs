//! The clock that dates rows (`_ingest_time`), held against what it said before. A table's dates
//! only rise, so that a reader of a known time has a prefix of the appends, whatever the clock
//! does; a date of 2109 would therefore keep all rows behind it in 2109. So nothing is dated by a
//! clock that is days away from where it was: from the newest date in the archive at a start, and
//! from its own last reading while the process runs. A clock that is put right is believed again at
//! once.

use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, SecondsFormat};
use forebay_core::invariant;
use forebay_core::time::{DAY_US, Micros};
use parking_lot::Mutex;

use crate::error::OfflineError;

/// What the clock said last, and how far from it it may be.
#[derive(Debug)]
pub(crate) struct Dating {
    gap_max_us: Micros,
    /// What the clock said last, as far as it is believed; None before anything was dated by it.
    held_us: Mutex<Option<Micros>>,
    /// Whether anything was dated: from then on the clock is held against itself.
    is_followed: AtomicBool,
}

impl Dating {
    /// Believe a clock that is `gap_max_days` away at most.
    pub(crate) fn within(gap_max_days: u32) -> Self {
        Self {
            gap_max_us: Micros::from(gap_max_days).saturating_mul(DAY_US),
            held_us: Mutex::new(None),
            is_followed: AtomicBool::new(false),
        }
    }

    /// The newest date of a table that was opened; of no account once the clock is followed, since
    /// an old table may have dates that were accepted by hand.
    pub(crate) fn note(&self, newest_us: Option<Micros>) {
        if self.is_followed.load(Ordering::Relaxed) {
            return;
        }
        let mut held_us = self.held_us.lock();
        *held_us = (*held_us).max(newest_us);
    }

    /// Date by `now_us`.
    ///
    /// # Errors
    /// It is too far away.
    pub(crate) fn date(&self, now_us: Micros) -> Result<(), OfflineError> {
        self.hold(now_us)?;
        *self.held_us.lock() = Some(now_us);
        self.is_followed.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Hold `now_us` against what the clock said last: of an archive that rests for long the clock
    /// is believed because it was followed meanwhile.
    ///
    /// # Errors
    /// It is too far away.
    pub(crate) fn hold(&self, now_us: Micros) -> Result<(), OfflineError> {
        let mut held_us = self.held_us.lock();
        let Some(known_us) = *held_us else {
            return Ok(());
        };
        let gap_us = known_us.abs_diff(now_us);
        if gap_us > self.gap_max_us.unsigned_abs() {
            return Err(OfflineError::ClockOff {
                now: words(now_us),
                known: words(known_us),
                days: gap_us / DAY_US.unsigned_abs(),
            });
        }
        *held_us = Some(now_us);
        Ok(())
    }
}

fn words(us: Micros) -> String {
    DateTime::from_timestamp_micros(us).map_or_else(
        || format!("{us} microseconds since 1970"),
        |at| at.to_rfc3339_opts(SecondsFormat::Secs, true),
    )
}

/// The `_ingest_time` of an append: now, but above that of every append before it, so that files
/// follow one another by it whatever the clock does.
pub(crate) fn ingest_time(now_us: Micros, last_us: Option<Micros>) -> Micros {
    let at_us = last_us.map_or(now_us, |last| now_us.max(last.saturating_add(1)));
    invariant!(
        IngestTimeAscends,
        last_us.is_none_or(|last| last < at_us),
        "{last_us:?} to {at_us}"
    );
    at_us
}

#[cfg(test)]
mod tests {
    use forebay_core::limits::ARCHIVE_CLOCK_GAP_MAX_DAYS;

    use super::*;

    const NOW: Micros = 1_700_000_000_000_000;

    #[test]
    fn a_clock_that_is_days_away_dates_nothing_until_it_is_put_right() {
        let limit = Micros::from(ARCHIVE_CLOCK_GAP_MAX_DAYS) * DAY_US;
        for wrong in [NOW + limit + 1, NOW - limit - 1, NOW + 83 * 365 * DAY_US, 0] {
            let dating = Dating::within(ARCHIVE_CLOCK_GAP_MAX_DAYS);
            dating.note(Some(NOW));
            for _ in 0..2 {
                let error = dating.date(wrong).expect_err("days away").to_string();
                for needle in ["2023-11-14T22:13:20Z", "archive.clock_gap_max_days"] {
                    assert!(error.contains(needle), "{error}");
                }
                dating.hold(wrong).expect_err("the same");
            }
            dating.date(NOW + 5).expect("it is right");
        }
        for right in [NOW + limit, NOW - limit, NOW] {
            let dating = Dating::within(ARCHIVE_CLOCK_GAP_MAX_DAYS);
            dating.note(Some(NOW));
            dating.date(right).expect("within the limit");
        }
    }

    #[test]
    fn the_newest_date_of_all_tables_counts_and_a_new_archive_believes_its_clock() {
        let dating = Dating::within(1);
        dating.note(None);
        dating.hold(NOW).expect("nothing is known");
        dating
            .hold(NOW + 9 * DAY_US)
            .expect("and nothing was dated");
        dating.note(Some(NOW - 9 * DAY_US));
        dating.note(Some(NOW));
        dating.note(None);
        dating.date(NOW).expect("near the newest");
        dating.date(NOW + 3 * DAY_US).expect_err("a step");
    }

    #[test]
    fn the_clock_is_followed_through_a_rest() {
        let dating = Dating::within(1);
        dating.date(NOW).expect("the first");
        for day in 1..40 {
            dating.hold(NOW + day * DAY_US).expect("a day more");
        }
        dating.date(NOW + 40 * DAY_US).expect("it was followed");
    }

    #[test]
    fn dates_rise_whatever_the_clock_does() {
        assert_eq!(ingest_time(5, None), 5);
        assert_eq!(ingest_time(5, Some(4)), 5);
        assert_eq!(ingest_time(5, Some(5)), 6);
        assert_eq!(ingest_time(5, Some(90)), 91);
    }
}
