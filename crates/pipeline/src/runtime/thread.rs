//! A thread that can be joined, and waited for by async code. The runtime starts it; a panic ends
//! it without an outcome, and the caller of `join` decides what that means.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use forebay_core::PortResult;
use forebay_core::ports::Runtime;
use tokio::sync::oneshot;

use crate::runtime::block_on;

/// One started thread, with its outcome.
pub struct Thread<T> {
    runtime: Arc<dyn Runtime>,
    ended: Arc<AtomicBool>,
    outcome: oneshot::Receiver<T>,
}

impl<T> fmt::Debug for Thread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thread(ended: {})", self.is_finished())
    }
}

impl<T: Send + 'static> Thread<T> {
    /// Start `body`. What it owns is dropped before the thread counts as ended.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn spawn(
        runtime: &Arc<dyn Runtime>,
        name: &str,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> PortResult<Self> {
        let (send, outcome) = oneshot::channel();
        let ended = Arc::<AtomicBool>::default();
        let end = Arc::clone(&ended);
        let run = move || {
            let outcome = catch_unwind(AssertUnwindSafe(body));
            end.store(true, Ordering::Release);
            if let Ok(outcome) = outcome {
                // Ignore the send error: the owner of the thread does not wait for it.
                let _unheard = send.send(outcome);
            }
        };
        runtime.spawn_thread(name, Box::new(run))?;
        Ok(Self {
            runtime: Arc::clone(runtime),
            ended,
            outcome,
        })
    }

    /// Wait for its outcome; None when it has panicked.
    #[must_use]
    pub fn join(self) -> Option<T> {
        let runtime = Arc::clone(&self.runtime);
        block_on(runtime.as_ref(), self.joined())
    }

    /// [`Self::join`] without holding a thread.
    pub(crate) async fn joined(self) -> Option<T> {
        self.outcome.await.ok()
    }
}

impl<T> Thread<T> {
    /// Whether it has ended.
    pub(crate) fn is_finished(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}
