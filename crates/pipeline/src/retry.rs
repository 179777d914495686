//! Retries what may succeed later: a store, a model or a broker that does not answer. The call
//! blocks meanwhile; an outage is logged once, with its causes. Ends early when the pipeline stops.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forebay_core::ports::Runtime;
use forebay_core::{ErrorKind, PortError, PortResult};

use crate::runtime::pause;
use crate::status::Counters;
use forebay_core::error::with_causes;

/// Pause before the second try; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(10);
/// Longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(5);
/// How long a pause may overlook that the pipeline stops.
const SLICE: Duration = Duration::from_millis(50);

/// When to try, and when to give up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry<'a> {
    pub(crate) runtime: &'a dyn Runtime,
    pub(crate) stopping: &'a AtomicBool,
    pub(crate) counters: &'a Counters,
}

/// Pauses that grow.
#[derive(Debug)]
pub(crate) struct Pauses {
    next: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Pauses {
    fn take(&mut self) -> Duration {
        let pause = self.next;
        self.next = (self.next * 2).min(LONGEST);
        pause
    }

    /// Wait on this thread. False, and sooner, when `stopping` is set.
    pub(crate) fn wait(&mut self, runtime: &dyn Runtime, stopping: &AtomicBool) -> bool {
        let mut left = self.take();
        while !left.is_zero() && !stopping.load(Ordering::Relaxed) {
            let slice = left.min(SLICE);
            pause(runtime, slice);
            left -= slice;
        }
        !stopping.load(Ordering::Relaxed)
    }

    /// [`Self::wait`] without holding a thread.
    pub(crate) async fn wait_async(
        &mut self,
        runtime: &dyn Runtime,
        stopping: &AtomicBool,
    ) -> bool {
        let mut left = self.take();
        while !left.is_zero() && !stopping.load(Ordering::Relaxed) {
            let slice = left.min(SLICE);
            runtime.sleep(slice).await;
            left -= slice;
        }
        !stopping.load(Ordering::Relaxed)
    }
}

/// One stretch of failures of one thing, told once and not at each try.
#[derive(Debug)]
pub struct Outage {
    what: &'static str,
    pauses: Pauses,
    told: Option<ErrorKind>,
}

impl Outage {
    /// `what` names it in the log.
    #[must_use]
    pub fn new(what: &'static str) -> Self {
        Self {
            what,
            pauses: Pauses::default(),
            told: None,
        }
    }

    /// It failed with `kind`: wait before the next try. False when the pipeline stops.
    pub(crate) fn wait(
        &mut self,
        retry: Retry<'_>,
        kind: ErrorKind,
        error: &dyn std::fmt::Display,
    ) -> bool {
        retry.counters.retries.fetch_add(1, Ordering::Relaxed);
        self.pause(retry.runtime, retry.stopping, kind, error)
    }

    /// [`Self::wait`] for what is no part of ingest: nothing is counted.
    pub fn pause(
        &mut self,
        runtime: &dyn Runtime,
        stopping: &AtomicBool,
        kind: ErrorKind,
        error: &dyn std::fmt::Display,
    ) -> bool {
        self.tell(kind, error);
        self.pauses.wait(runtime, stopping)
    }

    fn tell(&mut self, kind: ErrorKind, error: &dyn std::fmt::Display) {
        if self.told.replace(kind) != Some(kind) {
            if kind.is_retriable() {
                tracing::warn!(what = self.what, %error, "fails and is tried until it passes; ingest goes on");
            } else {
                tracing::error!(what = self.what, %error, "fails until somebody puts it right; ingest goes on");
            }
        }
    }

    /// [`Self::wait`] without holding a thread.
    pub(crate) async fn wait_async(
        &mut self,
        retry: Retry<'_>,
        kind: ErrorKind,
        error: &(dyn std::fmt::Display + Sync),
    ) -> bool {
        self.tell(kind, error);
        retry.counters.retries.fetch_add(1, Ordering::Relaxed);
        self.pauses.wait_async(retry.runtime, retry.stopping).await
    }

    /// It passes again; `of` names whose it was.
    pub fn is_over(&self, of: &dyn std::fmt::Display) {
        if self.told.is_some() {
            tracing::info!(what = self.what, %of, "passes again");
        }
    }
}

impl Retry<'_> {
    /// `attempt` until it succeeds, fails for good, or the pipeline stops; `what` names it in the
    /// log and in the status.
    pub(crate) fn run<T>(
        &self,
        what: &str,
        mut attempt: impl FnMut() -> PortResult<T>,
    ) -> PortResult<T> {
        let mut tries = Tries::new(*self, what);
        loop {
            match attempt() {
                Err(error) if error.kind().is_retriable() && !self.is_stopping() => {
                    tries.failed(&error);
                    tries.pauses.wait(self.runtime, self.stopping);
                }
                outcome => return outcome,
            }
        }
    }

    /// Whether nothing is tried again.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// Whether the same call may pass later by itself, also where it may have been done already.
pub(crate) fn may_be_made_again(kind: ErrorKind) -> bool {
    kind.is_retriable() || kind == ErrorKind::MaybeWritten
}

/// Retries of one call that blocks its caller. The status lists the call as failing for as long as
/// it fails, also after the retries have ended without success.
pub(crate) struct Tries<'a> {
    retry: Retry<'a>,
    what: &'a str,
    pauses: Pauses,
    told: Option<ErrorKind>,
}

impl<'a> Tries<'a> {
    /// `what` names it in the log and in the status.
    pub(crate) fn new(retry: Retry<'a>, what: &'a str) -> Self {
        Self {
            retry,
            what,
            pauses: Pauses::default(),
            told: None,
        }
    }

    /// Wait before the next try, less where the pipeline stops.
    pub(crate) async fn wait(&mut self) {
        let Retry {
            runtime, stopping, ..
        } = self.retry;
        self.pauses.wait_async(runtime, stopping).await;
    }

    /// A try that fails got further than the one before: pauses begin anew.
    pub(crate) fn got_further(&mut self) {
        self.pauses = Pauses::default();
    }

    /// A try has failed.
    pub(crate) fn failed(&mut self, error: &PortError) {
        let (what, kind) = (self.what, error.kind());
        let error = with_causes(error);
        if self.told.replace(kind) != Some(kind) {
            if may_be_made_again(kind) {
                tracing::warn!(what, error, "fails and is tried until it passes");
            } else {
                tracing::error!(what, error, "fails until somebody puts it right");
            }
        }
        let counters = self.retry.counters;
        counters.retries.fetch_add(1, Ordering::Relaxed);
        // At each try: another thread that tries the same may have passed meanwhile.
        counters.failing.lock().insert(what.to_owned(), error);
    }
}

impl Drop for Tries<'_> {
    fn drop(&mut self) {
        if self.told.is_some() {
            self.retry.counters.failing.lock().remove(self.what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again_and_what_may_not_is_not() {
        let (stopping, counters) = (AtomicBool::new(false), Counters::default());
        let rt = crate::runtime::for_tests();
        let retry = Retry {
            runtime: &rt,
            stopping: &stopping,
            counters: &counters,
        };
        let mut left = 3;
        let outcome = retry.run("a try", || {
            // The status says from the second try on what the first one met.
            let failing = counters.snapshot().failing;
            let shown = failing.get("a try").map(String::as_str);
            assert_eq!(shown, (left < 3).then_some("not yet"));
            left -= 1;
            if left > 0 {
                Err(PortError::new(ErrorKind::Unavailable, "not yet"))
            } else {
                Ok(left)
            }
        });
        assert_eq!(outcome.expect("the third try"), 0);
        assert_eq!(counters.retries.load(Ordering::Relaxed), 2);
        assert!(counters.snapshot().failing.is_empty(), "it passes");
        let error = retry
            .run::<()>("a try", || Err(PortError::internal("never")))
            .expect_err("for good");
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert_eq!(counters.retries.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn stopping_ends_the_tries_with_the_last_error() {
        let (stopping, counters) = (AtomicBool::new(true), Counters::default());
        let rt = crate::runtime::for_tests();
        let retry = Retry {
            runtime: &rt,
            stopping: &stopping,
            counters: &counters,
        };
        let error = retry.run::<()>("a try", || {
            Err(PortError::new(ErrorKind::Unavailable, "down"))
        });
        assert_eq!(error.expect_err("gave up").message(), "down");
        assert!(!Pauses::default().wait(&rt, &stopping));
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut pauses = Pauses::default();
        let taken: Vec<u128> = (0..11).map(|_| pauses.take().as_millis()).collect();
        assert_eq!(
            taken,
            [10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_000, 5_000]
        );
    }
}
