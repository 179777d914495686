//! The wish to stop, as everybody who waits sees it: threads by [`Stop::wait`], tasks by
//! [`Stop::asked`]. Set once, never taken back, without any lock that a waiter could hold. A change
//! has one of its own under that of the server ([`Stop::under`]), by which it gives way to another.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::ports::Runtime;
use futures::future::select;
use tokio::sync::watch;

/// Clones share the wish.
#[derive(Debug, Clone)]
pub struct Stop {
    asked: Arc<watch::Sender<bool>>,
    /// One that counts as this one too.
    above: Option<Arc<watch::Sender<bool>>>,
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
            above: None,
            runtime,
        }
    }

    /// A stop that is asked for by itself or with this one, which has none above it.
    #[must_use]
    pub fn under(&self) -> Self {
        Self {
            above: Some(Arc::clone(&self.asked)),
            ..Self::new(Arc::clone(&self.runtime))
        }
    }

    /// Ask for it.
    pub fn ask(&self) {
        self.asked.send_replace(true);
    }

    /// Whether it was asked for.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        *self.asked.borrow() || self.above.as_ref().is_some_and(|above| *above.borrow())
    }

    /// Completes when it is asked for.
    pub async fn asked(&self) {
        match &self.above {
            None => is_set(&self.asked).await,
            Some(above) => {
                select(pin!(is_set(&self.asked)), pin!(is_set(above))).await;
            }
        }
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

/// Completes when the wish is there.
async fn is_set(wish: &watch::Sender<bool>) {
    // The sender lives as long as the borrow: waiting cannot fail.
    drop(wish.subscribe().wait_for(|asked| *asked).await);
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

    #[test]
    fn one_under_another_is_asked_for_with_it_and_not_the_other_way_round() {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let system = SystemRuntime::new(runtime.handle().clone());
        let above = Stop::new(Arc::new(system));
        let (own, other) = (above.under(), above.under());
        own.ask();
        assert!(own.is_asked() && !above.is_asked() && !other.is_asked());
        runtime.block_on(own.asked());
        assert!(other.wait(Duration::from_millis(1)));
        above.ask();
        assert!(other.is_asked() && !other.wait(Duration::from_secs(60)));
        runtime.block_on(other.asked());
    }
}
