//! The clock by which rows are dated (`_ingest_time`) and the present of ingest is judged: the
//! machine's, but for steps. A step would last: the archive dates no append before the one before
//! it, so an hour in which the clock says 2109 would date rows in 2109 for ever. So the machine's
//! clock is held against the time that has passed: while they differ by a step, the time that has
//! passed counts, and only a step that stands for [`BELIEVED_AFTER`] is taken over. What a machine
//! sleeps through has passed and is no step. Whether rows are dated by the first reading, or after
//! a step that has stood, is for the archive to judge (`offline/dating`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::time::{Clock, MINUTE_US, Micros, PassingClock};
use parking_lot::Mutex;

/// A difference above this is a step; a clock that is only slewed stays below it.
const STEP_US: Micros = MINUTE_US;
/// How long a step must stand until it is believed.
const BELIEVED_AFTER: Duration = Duration::from_secs(10 * 60);

/// The machine's clock, but for its steps.
pub(crate) struct SteadyClock {
    machine: Arc<dyn PassingClock>,
    /// What had passed when this clock began.
    began: Duration,
    trust: Mutex<Trust>,
}

impl SteadyClock {
    /// What `machine` says now is believed.
    pub(crate) fn over(machine: Arc<dyn PassingClock>) -> Self {
        let trust = Mutex::new(Trust::new(machine.now_us()));
        let began = machine.passed();
        Self {
            machine,
            began,
            trust,
        }
    }
}

impl fmt::Debug for SteadyClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SteadyClock").finish_non_exhaustive()
    }
}

impl Clock for SteadyClock {
    fn now_us(&self) -> Micros {
        let machine_us = self.machine.now_us();
        let passed = self.machine.passed().saturating_sub(self.began);
        self.trust.lock().read(machine_us, passed)
    }
}

impl PassingClock for SteadyClock {
    fn passed(&self) -> Duration {
        self.machine.passed()
    }
}

/// What is believed of the machine's clock.
#[derive(Debug)]
struct Trust {
    /// What the clock said when nothing had passed, as far as it is believed.
    zero_us: Micros,
    /// What it would be by a step that is not believed yet, and when that was first seen.
    doubted: Option<(Micros, Duration)>,
}

impl Trust {
    fn new(zero_us: Micros) -> Self {
        Self {
            zero_us,
            doubted: None,
        }
    }

    /// The time when the machine's clock says `machine_us` and `passed` has passed.
    fn read(&mut self, machine_us: Micros, passed: Duration) -> Micros {
        let passed_us =
            Micros::try_from(passed.as_micros()).expect("nothing runs for 292,000 years");
        let zero_us = machine_us.saturating_sub(passed_us);
        let is_step = |from_us: Micros| from_us.abs_diff(zero_us) > STEP_US.unsigned_abs();
        if !is_step(self.zero_us) {
            if self.doubted.take().is_some() {
                tracing::info!("the machine's clock is back in step");
            }
            self.zero_us = zero_us;
            return machine_us;
        }
        match self.doubted {
            Some((stepped_us, since)) if !is_step(stepped_us) => {
                if passed.saturating_sub(since) >= BELIEVED_AFTER {
                    tracing::warn!("the step of the machine's clock has stood and is taken over");
                    *self = Self::new(zero_us);
                    return machine_us;
                }
            }
            _ => {
                let step_s = zero_us.saturating_sub(self.zero_us) / 1_000_000;
                tracing::warn!(
                    step_s,
                    "the machine's clock has stepped; rows are dated as if it had not, until it \
                     stands for ten minutes"
                );
                self.doubted = Some((zero_us, passed));
            }
        }
        self.zero_us.saturating_add(passed_us)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

    use forebay_core::time::{DAY_US, SECOND_US};

    use super::*;

    /// Reads a clock that is off by `off_us` at second `at_s`; how far off the answer is.
    fn read(trust: &mut Trust, at_s: u64, off_us: Micros) -> Micros {
        let true_us = Micros::try_from(at_s).expect("small") * SECOND_US;
        let passed = Duration::from_secs(at_s);
        trust.read(true_us + off_us, passed) - true_us
    }

    #[test]
    fn a_step_dates_nothing_until_it_has_stood() {
        let mut trust = Trust::new(0);
        // A clock that is slewed is followed.
        for at_s in 0..100 {
            let off_us = Micros::try_from(at_s).expect("small") * 500_000;
            assert_eq!(read(&mut trust, at_s, off_us), off_us);
        }
        let slewed = 99 * 500_000;
        for step_us in [30_000 * DAY_US, -30_000 * DAY_US, 2 * MINUTE_US] {
            assert_eq!(read(&mut trust, 100, slewed + step_us), slewed);
            assert_eq!(read(&mut trust, 699, slewed + step_us + 3), slewed);
            // It goes back before it is believed.
            assert_eq!(read(&mut trust, 700, slewed + 7), slewed + 7);
            assert_eq!(read(&mut trust, 701, slewed), slewed);
        }
        let step_us = 3 * DAY_US;
        assert_eq!(read(&mut trust, 1_000, step_us), slewed);
        // Another step is doubted for as long again.
        assert_eq!(read(&mut trust, 1_500, 2 * step_us), slewed);
        assert_eq!(read(&mut trust, 2_099, 2 * step_us), slewed);
        assert_eq!(read(&mut trust, 2_100, 2 * step_us), 2 * step_us);
        assert_eq!(read(&mut trust, 2_101, 2 * step_us + 5), 2 * step_us + 5);
    }

    /// A machine whose clock says this when so much has passed, seconds.
    #[derive(Debug, Default)]
    struct Machine {
        now_s: AtomicI64,
        passed_s: AtomicU64,
    }

    impl Machine {
        fn set(&self, now_s: i64, passed_s: u64) {
            self.now_s.store(now_s, Ordering::Relaxed);
            self.passed_s.store(passed_s, Ordering::Relaxed);
        }
    }

    impl Clock for Machine {
        fn now_us(&self) -> Micros {
            self.now_s.load(Ordering::Relaxed) * SECOND_US
        }
    }

    impl PassingClock for Machine {
        fn passed(&self) -> Duration {
            Duration::from_secs(self.passed_s.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn what_the_machine_slept_through_is_no_step_and_what_was_set_is() {
        let machine = Arc::new(Machine::default());
        machine.set(1_000_000, 5_000);
        let clock = SteadyClock::over(Arc::<Machine>::clone(&machine));
        let day_s = 86_400;
        machine.set(1_000_000 + day_s, 5_000 + day_s.unsigned_abs());
        let slept_us = (1_000_000 + day_s) * SECOND_US;
        assert_eq!(clock.now_us(), slept_us, "a day has passed");
        machine.set(1_000_000 + 3 * day_s, 5_001 + day_s.unsigned_abs());
        assert_eq!(clock.now_us(), slept_us + SECOND_US, "two were set");
        assert_eq!(clock.passed(), machine.passed());
    }
}
