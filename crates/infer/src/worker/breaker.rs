//! Whether one worker may be asked for one model version: a pure decision over its past answers.
//! The first failure opens the breaker, and then nobody's batch goes there. With pauses that grow,
//! one question at a time is sent as a probe, which no batch waits for; the first that is answered
//! closes it again. No I/O and no clock of its own.

use std::time::{Duration, Instant};

/// Longest pause between two probes of a worker that fails.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Whether one worker may be asked for one model version.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// In a row, since the last answer.
    failures: u32,
    /// When it may be probed.
    probe_at: Option<Instant>,
    is_probed: bool,
    /// Why it failed last.
    reason: String,
}

impl Breaker {
    /// Whether batches may go there.
    pub(super) fn is_closed(&self) -> bool {
        self.failures == 0
    }

    /// Why it failed last; empty before.
    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    /// When a probe is due; None while one is under way, or none is needed.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        self.probe_at
            .filter(|_| !self.is_closed() && !self.is_probed)
    }

    /// Whether the caller is to send the probe: it is due, and no other call has taken it.
    pub(super) fn takes_probe(&mut self, now: Instant) -> bool {
        let due = self.probe_at().is_some_and(|at| at <= now);
        self.is_probed |= due;
        due
    }

    /// The probe has ended, however it went.
    pub(super) fn end_probe(&mut self) {
        self.is_probed = false;
    }

    /// It failed at `now`. The pause is `first` after the first failure and doubles with each
    /// further one. True when it had not failed before.
    pub(super) fn fail(&mut self, reason: &str, now: Instant, first: Duration) -> bool {
        let was_closed = self.is_closed();
        let pause = first
            .saturating_mul(1 << self.failures.min(16))
            .min(PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        self.probe_at = Some(now + pause);
        reason.clone_into(&mut self.reason);
        was_closed
    }

    /// It has answered. True when it had failed before.
    pub(super) fn pass(&mut self) -> bool {
        let was_closed = self.is_closed();
        *self = Self {
            is_probed: self.is_probed,
            ..Self::default()
        };
        !was_closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);

    #[test]
    fn a_worker_that_failed_is_probed_by_one_at_a_time_and_asked_again_once_it_answers() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        assert!(breaker.is_closed() && !breaker.takes_probe(start));
        assert!(breaker.fail("no answer", start, FIRST), "the first failure");
        assert!(!breaker.is_closed());
        assert_eq!(breaker.reason(), "no answer");
        assert!(!breaker.takes_probe(start + FIRST / 2), "not due yet");
        assert!(breaker.takes_probe(start + FIRST));
        assert!(!breaker.takes_probe(start + FIRST), "one at a time");
        assert_eq!(breaker.probe_at(), None, "while one is under way");
        assert!(!breaker.fail("no answer again", start + FIRST, FIRST));
        breaker.end_probe();
        assert_eq!(breaker.probe_at(), Some(start + FIRST * 3), "twice as long");
        assert!(breaker.takes_probe(start + FIRST * 3));
        assert!(breaker.pass(), "it had failed");
        breaker.end_probe();
        assert!(breaker.is_closed() && !breaker.pass());
        assert!(breaker.fail("once more", start, FIRST));
        assert_eq!(
            breaker.probe_at(),
            Some(start + FIRST),
            "pauses begin anew after an answer"
        );
    }

    #[test]
    fn pauses_end_at_the_longest() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..100 {
            breaker.fail("down", now, FIRST);
        }
        assert_eq!(breaker.probe_at(), Some(now + PAUSE_MAX));
    }
}
