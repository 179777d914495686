//! How often ingest may end by itself: the pause before it is started again, and when starts have
//! not helped often enough. Pure: moments come in, on whatever clock the caller has.

use std::time::Duration;

/// Starts that may fail one after another before the process ends.
pub(super) const STARTS_MAX: u32 = 5;
/// Pause before the first of them; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// An ingest that has run for so long has recovered.
const RECOVERED: Duration = Duration::from_secs(300);

/// How often ingest has ended by itself.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Starts since it last ran for [`RECOVERED`].
    starts: u32,
    /// Since when it has run, where a start has succeeded.
    runs: Option<Duration>,
}

impl Ends {
    /// Ingest has ended, `now`: the pause before it is started again, or None when that has not
    /// helped often enough.
    pub(super) fn ended(&mut self, now: Duration) -> Option<Duration> {
        let ran = self.runs.take().map(|since| now.saturating_sub(since));
        if ran.is_some_and(|ran| ran >= RECOVERED) {
            self.starts = 0;
        }
        let pause = FIRST_PAUSE * 2_u32.saturating_pow(self.starts);
        self.starts += 1;
        (self.starts <= STARTS_MAX).then_some(pause)
    }

    /// It runs again, `now`: what a start takes is no time in which it ran.
    pub(super) fn runs(&mut self, now: Duration) {
        self.runs = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ingest_that_ends_is_started_again_and_the_process_ends_where_that_does_not_help() {
        let mut ends = Ends::default();
        let second = Duration::from_secs(1);
        let pauses: Vec<Option<u64>> = (1..=6)
            .map(|now| ends.ended(now * second).map(|pause| pause.as_secs()))
            .collect();
        let expected = [Some(1), Some(2), Some(4), Some(8), Some(16), None];
        assert_eq!(pauses, expected);
        let mut ends = Ends::default();
        for run in 1..20 {
            let ended = ends.ended(run * (RECOVERED + second));
            assert_eq!(ended, Some(FIRST_PAUSE), "it had recovered");
            ends.runs(run * (RECOVERED + second) + second);
        }
    }

    #[test]
    fn a_start_that_takes_long_and_fails_or_whose_ingest_soon_ends_has_not_recovered() {
        for runs in [false, true] {
            let (mut ends, mut now) = (Ends::default(), Duration::ZERO);
            let mut pauses = Vec::new();
            while let Some(pause) = ends.ended(now) {
                pauses.push(pause.as_secs());
                now += pause + 2 * RECOVERED;
                if runs {
                    ends.runs(now);
                    now += RECOVERED / 2;
                }
            }
            assert_eq!(pauses, [1, 2, 4, 8, 16], "runs: {runs}");
        }
    }
}
