//! The clock that dates rows (`_ingest_time`), held against what it said before. A table's dates
//! only rise, so that a reader of a known time has a prefix of the appends, whatever the clock
//! does; a date of 2109 would therefore keep all rows behind it in 2109, and a sweep by it would
//! delete what readers were promised. So nothing is dated by a clock that is away from where it
//! should be. At a start that is the newest date in the archive, and days may have passed. While
//! the process runs another clock, which nobody sets, tells how much has passed, and minutes are
//! believed: by each step, as a clock that is set often may move on. A clock that is put right is
//! believed again at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use forebay_core::invariant;
use forebay_core::limits::ARCHIVE_CLOCK_STEP_MAX_MINUTES;
use forebay_core::time::{DAY_US, MINUTE_US, Micros, PassingClock, whole_us};
use parking_lot::Mutex;

use crate::error::OfflineError;

/// A difference above this between two readings of one run is not believed.
const STEP_MAX_US: u64 = ARCHIVE_CLOCK_STEP_MAX_MINUTES as u64 * MINUTE_US as u64;

/// What a clock says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// The machine's time, which may step.
    pub(crate) now_us: Micros,
    /// What has passed by the clock that nobody sets.
    pub(crate) passed: Duration,
}

impl Reading {
    /// Of `clock`, now.
    pub(crate) fn of(clock: &dyn PassingClock) -> Self {
        Self {
            now_us: clock.now_us(),
            passed: clock.passed(),
        }
    }
}

/// What a reading is held against.
#[derive(Debug, Clone, Copy)]
enum Known {
    /// Nothing: a new archive believes its clock.
    Nothing,
    /// The newest date in the archive, of a process before this one.
    Dated(Micros),
    /// The last reading that was believed.
    Read(Reading),
}

/// What the clock said last, and how far from it it may be.
#[derive(Debug)]
pub(crate) struct Dating {
    gap_max_us: u64,
    known: Mutex<Known>,
    /// Whether anything was dated: from then on the clock is held against itself.
    is_followed: AtomicBool,
}

impl Dating {
    /// Believe a clock that is `gap_max_days` away at a start at most.
    pub(crate) fn within(gap_max_days: u32) -> Self {
        let gap_max_us = Micros::from(gap_max_days).saturating_mul(DAY_US);
        Self {
            gap_max_us: gap_max_us.unsigned_abs(),
            known: Mutex::new(Known::Nothing),
            is_followed: AtomicBool::new(false),
        }
    }

    /// The newest date of a table that was opened; of no account once the clock is followed, since
    /// an old table may have dates that were accepted by hand.
    pub(crate) fn note(&self, newest_us: Option<Micros>) {
        let Some(newest_us) = newest_us else {
            return;
        };
        if self.is_followed.load(Ordering::Relaxed) {
            return;
        }
        let mut known = self.known.lock();
        let known_us = match *known {
            Known::Nothing => None,
            Known::Dated(us) => Some(us),
            Known::Read(reading) => Some(reading.now_us),
        };
        if known_us.is_none_or(|known_us| known_us < newest_us) {
            *known = Known::Dated(newest_us);
        }
    }

    /// Date by `reading`.
    ///
    /// # Errors
    /// It is too far away.
    pub(crate) fn date(&self, reading: Reading) -> Result<(), OfflineError> {
        self.hold(reading)?;
        *self.known.lock() = Known::Read(reading);
        self.is_followed.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Hold `reading` against what the clock said last.
    ///
    /// # Errors
    /// It is too far away.
    pub(crate) fn hold(&self, reading: Reading) -> Result<(), OfflineError> {
        let mut known = self.known.lock();
        let now_us = reading.now_us;
        match *known {
            Known::Nothing => return Ok(()),
            Known::Dated(known_us) => {
                let gap_us = known_us.abs_diff(now_us);
                if gap_us > self.gap_max_us {
                    return Err(OfflineError::ClockOff {
                        now: words(now_us),
                        known: words(known_us),
                        days: gap_us / DAY_US.unsigned_abs(),
                    });
                }
            }
            Known::Read(last) => {
                let expected_us = expected_us(last, reading.passed);
                if expected_us.abs_diff(now_us) > STEP_MAX_US {
                    return Err(OfflineError::ClockStepped {
                        now: words(now_us),
                        expected: words(expected_us),
                    });
                }
            }
        }
        *known = Known::Read(reading);
        Ok(())
    }
}

/// What a clock that nobody has set since `last` says when so much has passed. Two appends may ask
/// in another order than they read, so that less has passed than at `last`.
fn expected_us(last: Reading, passed: Duration) -> Micros {
    let us = |passed| Micros::try_from(whole_us(passed)).expect("nothing runs for 292,000 years");
    last.now_us
        .saturating_add(us(passed))
        .saturating_sub(us(last.passed))
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

    /// What the clock says when so much has passed.
    fn at(now_us: Micros, passed_us: Micros) -> Reading {
        Reading {
            now_us,
            passed: Duration::from_micros(passed_us.unsigned_abs()),
        }
    }

    #[test]
    fn a_clock_that_is_days_away_at_a_start_dates_nothing_until_it_is_put_right() {
        let limit = Micros::from(ARCHIVE_CLOCK_GAP_MAX_DAYS) * DAY_US;
        for wrong in [NOW + limit + 1, NOW - limit - 1, NOW + 83 * 365 * DAY_US, 0] {
            let dating = Dating::within(ARCHIVE_CLOCK_GAP_MAX_DAYS);
            dating.note(Some(NOW));
            for _ in 0..2 {
                let error = dating.date(at(wrong, 0)).expect_err("days away");
                let error = error.to_string();
                for needle in ["2023-11-14T22:13:20Z", "archive.clock_gap_max_days"] {
                    assert!(error.contains(needle), "{error}");
                }
                dating.hold(at(wrong, 0)).expect_err("the same");
            }
            dating.date(at(NOW + 5, 0)).expect("it is right");
        }
        for right in [NOW + limit, NOW - limit, NOW] {
            let dating = Dating::within(ARCHIVE_CLOCK_GAP_MAX_DAYS);
            dating.note(Some(NOW));
            dating.date(at(right, 0)).expect("within the limit");
        }
    }

    #[test]
    fn a_step_while_the_process_runs_is_believed_within_minutes_only() {
        let limit = Micros::from(ARCHIVE_CLOCK_STEP_MAX_MINUTES) * MINUTE_US;
        let hour = 60 * MINUTE_US;
        for step in [limit + 1, -limit - 1, 20 * DAY_US, -20 * DAY_US] {
            let dating = Dating::within(ARCHIVE_CLOCK_GAP_MAX_DAYS);
            dating.note(Some(NOW - 9 * DAY_US));
            dating.date(at(NOW, hour)).expect("within days at a start");
            // Appends and sweeps ask the same, and no repetition makes it true.
            for passed in [hour, 2 * hour, 200 * hour] {
                let stepped = at(NOW + passed - hour + step, passed);
                let error = dating.date(stepped).expect_err("a step");
                dating.hold(stepped).expect_err("the same");
                let error = error.to_string();
                assert!(error.contains("start again"), "{error}");
            }
            let right = at(NOW + 299 * hour, 300 * hour);
            dating.date(right).expect("the clock was put right");
            // The other remedy: the next process finds it within days.
            let again = Dating::within(ARCHIVE_CLOCK_GAP_MAX_DAYS);
            again.note(Some(NOW));
            again.date(at(NOW + step, 0)).expect("a start");
        }
        // Two appends that read the clock in another order than they ask.
        let dating = Dating::within(1);
        dating.date(at(NOW + hour, hour)).expect("the first");
        dating.date(at(NOW, 0)).expect("read before it");
        for step in [limit, -limit, 0] {
            let dating = Dating::within(ARCHIVE_CLOCK_GAP_MAX_DAYS);
            dating.date(at(NOW, 0)).expect("the first");
            dating.date(at(NOW + hour + step, hour)).expect("minutes");
            // From there on.
            let next = at(NOW + 2 * hour + step, 2 * hour);
            dating.hold(next).expect("it is followed");
        }
    }

    #[test]
    fn the_newest_date_of_all_tables_counts_and_a_new_archive_believes_its_clock() {
        let dating = Dating::within(1);
        dating.note(None);
        dating.hold(at(NOW, 0)).expect("nothing is known");
        dating
            .hold(at(NOW + 9 * DAY_US, 0))
            .expect("and nothing was dated");
        dating.note(Some(NOW - 9 * DAY_US));
        dating.note(Some(NOW));
        dating.note(None);
        dating.note(Some(NOW - 5));
        dating.date(at(NOW, 0)).expect("near the newest");
        dating.note(Some(NOW + 90 * DAY_US));
        dating.date(at(NOW + 5, 5)).expect("it follows itself");
        dating.date(at(NOW + 3 * DAY_US, 9)).expect_err("a step");
    }

    #[test]
    fn the_clock_is_followed_through_a_rest() {
        let dating = Dating::within(1);
        dating.date(at(NOW, 0)).expect("the first");
        for day in [1, 2, 40] {
            let later = at(NOW + day * DAY_US, day * DAY_US);
            dating.hold(later).expect("what has passed has passed");
        }
        // Nothing asked for a year, and the machine slept.
        let later = at(NOW + 400 * DAY_US, 400 * DAY_US);
        dating.date(later).expect("it was no step");
    }

    #[test]
    fn dates_rise_whatever_the_clock_does() {
        assert_eq!(ingest_time(5, None), 5);
        assert_eq!(ingest_time(5, Some(4)), 5);
        assert_eq!(ingest_time(5, Some(5)), 6);
        assert_eq!(ingest_time(5, Some(90)), 91);
    }
}
