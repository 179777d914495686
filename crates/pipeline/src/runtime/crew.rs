//! The threads of one pipeline: a runtime that counts those that it has started, so that a start
//! that fails half-way can wait until nothing of it runs any more. All else is the runtime's
//! beneath.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use forebay_core::PortResult;
use forebay_core::ports::{Body, Runtime, Task};
use tokio::sync::Notify;

use crate::runtime::block_on;

/// A runtime that counts the threads which it has started and which still run.
#[derive(Debug)]
pub(crate) struct Crew {
    runtime: Arc<dyn Runtime>,
    aboard: Arc<Aboard>,
}

#[derive(Debug, Default)]
struct Aboard {
    threads: AtomicUsize,
    left: Notify,
}

/// One thread's place; given up when dropped.
struct Place(Arc<Aboard>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.threads.fetch_sub(1, Ordering::AcqRel);
        self.0.left.notify_waiters();
    }
}

impl Crew {
    /// Over `runtime`, nobody aboard.
    pub(crate) fn over(runtime: Arc<dyn Runtime>) -> Self {
        Self {
            runtime,
            aboard: Arc::default(),
        }
    }

    /// Wait until all threads have ended.
    pub(crate) fn wait_for_all(&self) {
        loop {
            let left = self.aboard.left.notified();
            if self.aboard.threads.load(Ordering::Acquire) == 0 {
                return;
            }
            block_on(self.runtime.as_ref(), left);
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl Runtime for Crew {
    fn elapsed(&self) -> Duration {
        self.runtime.elapsed()
    }

    fn sleep(&self, pause: Duration) -> Task<()> {
        self.runtime.sleep(pause)
    }

    fn spawn_thread(&self, name: &str, body: Body) -> PortResult<()> {
        self.aboard.threads.fetch_add(1, Ordering::AcqRel);
        let place = Place(Arc::clone(&self.aboard));
        let body = move || {
            body();
            drop(place);
        };
        self.runtime.spawn_thread(name, Box::new(body))
    }

    fn spawn_task(&self, name: &str, task: Task<()>) {
        self.runtime.spawn_task(name, task);
    }

    fn wait(&self, future: Pin<&mut (dyn Future<Output = ()> + '_)>) {
        self.runtime.wait(future);
    }
}
