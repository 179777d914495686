//! The wish to stop, as everybody who waits sees it: threads by [`Stop::wait`], tasks by
//! [`Stop::asked`]. Set once, never taken back, without any lock that a waiter could hold.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// Clones share the wish.
#[derive(Debug, Clone)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

/// How long a thread that waits may overlook the wish.
const SLICE: Duration = Duration::from_millis(20);

impl Stop {
    /// Ask for it.
    pub fn ask(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was asked for.
    #[must_use]
    pub(crate) fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Completes when it is asked for.
    pub async fn asked(&self) {
        // The sender lives as long as `self`: waiting cannot fail.
        drop(self.0.subscribe().wait_for(|asked| *asked).await);
    }

    /// Wait on this thread for `pause`, or until it is asked for. True when it was not.
    #[must_use]
    pub fn wait(&self, pause: Duration) -> bool {
        let mut left = pause;
        while !left.is_zero() && !self.is_asked() {
            let slice = left.min(SLICE);
            std::thread::sleep(slice);
            left -= slice;
        }
        !self.is_asked()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_sees_it() {
        let stop = Stop::default();
        assert!(stop.wait(Duration::from_millis(1)));
        let other = stop.clone();
        let waiting = std::thread::spawn(move || other.wait(Duration::from_secs(60)));
        stop.ask();
        assert!(!waiting.join().expect("no panic"));
        assert!(stop.is_asked());
    }
}
