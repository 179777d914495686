//! The wish to stop, as everybody who waits sees it: threads by [`Stop::wait`], tasks by
//! [`Stop::asked`]. Set once, never taken back, without any lock that a waiter could hold.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::ports::Runtime;
use tokio::sync::watch;

/// Clones share the wish.
#[derive(Debug, Clone)]
pub struct Stop {
    asked: Arc<watch::Sender<bool>>,
    runtime: Arc<dyn Runtime>,
}

/// How long a thread that waits may overlook the wish.
const SLICE: Duration = Duration::from_millis(20);

impl Stop {
    /// A stop that is not asked for yet; waits for it run on `runtime`.
    #[must_use]
    pub fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self {
            asked: Arc::new(watch::Sender::new(false)),
            runtime,
        }
    }

    /// Ask for it.
    pub fn ask(&self) {
        self.asked.send_replace(true);
    }

    /// Whether it was asked for.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        *self.asked.borrow()
    }

    /// Completes when it is asked for.
    pub async fn asked(&self) {
        // The sender lives as long as `self`: waiting cannot fail.
        drop(self.asked.subscribe().wait_for(|asked| *asked).await);
    }

    /// Wait on this thread for `pause`, or until it is asked for. True when it was not.
    #[must_use]
    pub fn wait(&self, pause: Duration) -> bool {
        let mut left = pause;
        while !left.is_zero() && !self.is_asked() {
            let slice = left.min(SLICE);
            self.runtime.wait(self.runtime.sleep(slice).as_mut());
            left -= slice;
        }
        !self.is_asked()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests run in real time")]
mod tests {
    use forebay_pipeline::SystemRuntime;

    use super::*;

    #[test]
    fn whoever_waits_sees_it() {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let system = SystemRuntime::new(runtime.handle().clone());
        let stop = Stop::new(Arc::new(system));
        assert!(stop.wait(Duration::from_millis(1)));
        let other = stop.clone();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(move || other.wait(Duration::from_secs(60)));
            stop.ask();
            assert!(!waiting.join().expect("no panic"));
        });
        assert!(stop.is_asked());
    }
}
