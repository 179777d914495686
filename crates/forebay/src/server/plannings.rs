//! Who plans definitions, and for whom: how many plannings may be under way, and whether the caller
//! of one is still there. `planning` asks; `app` keeps the count.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use forebay_core::limits::PLANNINGS_MAX;
use forebay_core::{ErrorKind, PortError, PortResult};
use tokio::sync::watch;

/// Who waits for a plan.
#[derive(Debug)]
pub(crate) struct Caller(Option<watch::Receiver<()>>);

/// Held for as long as the caller is there.
#[derive(Debug)]
pub(super) struct Here(#[expect(dead_code, reason = "its end is all it says")] watch::Sender<()>);

impl Caller {
    /// The process itself, which does not leave.
    pub(crate) fn stays() -> Self {
        Self(None)
    }

    /// One that leaves when the other value is dropped.
    pub(super) fn while_here() -> (Self, Here) {
        let (here, left) = watch::channel(());
        (Self(Some(left)), Here(here))
    }

    /// Ends when the caller has left.
    pub(super) async fn left(&self) {
        let Some(left) = &self.0 else {
            return pending().await;
        };
        let mut left = left.clone();
        while left.changed().await.is_ok() {}
    }
}

/// Plannings whose threads are alive.
#[derive(Debug, Default)]
pub(super) struct Plannings(Arc<AtomicUsize>);

/// One of them.
pub(super) struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Plannings {
    /// How many there are.
    pub(super) fn alive(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// One more, until what is given is dropped.
    ///
    /// # Errors
    /// There are as many as may be.
    pub(super) fn begin(&self) -> PortResult<Alive> {
        let alive = Alive(Arc::clone(&self.0));
        if self.0.fetch_add(1, Ordering::Relaxed) < PLANNINGS_MAX {
            return Ok(alive);
        }
        let words = format!(
            "{PLANNINGS_MAX} plannings are under way, or were given up and have not ended \
             (PLANNINGS_MAX); try again when one of them has ended"
        );
        Err(PortError::new(ErrorKind::ResourceExhausted, words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_may_plan_at_once_and_one_more_when_one_has_ended() {
        let plannings = Plannings::default();
        let begun: PortResult<Vec<Alive>> = (0..PLANNINGS_MAX).map(|_| plannings.begin()).collect();
        let mut begun = begun.expect("as many as may be");
        let error = plannings.begin().map(drop).expect_err("one more");
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        assert!(error.message().contains("PLANNINGS_MAX"), "{error}");
        assert_eq!(plannings.alive(), PLANNINGS_MAX);
        begun.pop();
        assert!(plannings.begin().is_ok(), "one has ended");
    }

    #[tokio::test]
    async fn a_caller_has_left_when_nobody_is_here() {
        let (caller, here) = Caller::while_here();
        let mut left = std::pin::pin!(caller.left());
        assert!(futures::poll!(left.as_mut()).is_pending(), "still here");
        drop(here);
        left.await;
        // As often as it is asked.
        caller.left().await;
    }
}
