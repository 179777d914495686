//! A clock that stands still until a test moves it, and a runtime whose time passes with it. What
//! the binary gives the crates in production is the system's; nothing else may read it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use forebay_core::PortResult;
use forebay_core::ports::{Body, Runtime, Task};
use forebay_core::time::{Clock, Micros};

/// A clock that stands until a test moves it.
#[derive(Debug, Default)]
pub struct FakeClock {
    now_us: AtomicI64,
    passed_us: AtomicI64,
}

impl FakeClock {
    /// A clock that shows `now_us`.
    #[must_use]
    pub fn at(now_us: Micros) -> Self {
        Self {
            now_us: AtomicI64::new(now_us),
            passed_us: AtomicI64::new(0),
        }
    }

    /// Let `by_us` pass.
    pub fn advance(&self, by_us: Micros) {
        self.passed_us.fetch_add(by_us, Ordering::SeqCst);
        self.step(by_us);
    }

    /// Set it on by `by_us`, or back, while no time passes.
    pub fn step(&self, by_us: Micros) {
        self.now_us.fetch_add(by_us, Ordering::SeqCst);
    }

    /// What has passed since the test began.
    fn passed(&self) -> Duration {
        let passed_us = self.passed_us.load(Ordering::SeqCst);
        Duration::from_micros(passed_us.unsigned_abs())
    }
}

impl Clock for FakeClock {
    fn now_us(&self) -> Micros {
        self.now_us.load(Ordering::SeqCst)
    }
}

/// A runtime in which what passes on a [`FakeClock`] has passed too; all else is that of the one
/// beneath.
#[derive(Debug)]
pub struct PassingRuntime {
    inner: Arc<dyn Runtime>,
    clock: Arc<FakeClock>,
}

impl PassingRuntime {
    /// Over `inner`.
    #[must_use]
    pub fn over(inner: Arc<dyn Runtime>, clock: &Arc<FakeClock>) -> Self {
        Self {
            inner,
            clock: Arc::clone(clock),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl Runtime for PassingRuntime {
    fn elapsed(&self) -> Duration {
        self.inner.elapsed() + self.clock.passed()
    }

    fn sleep(&self, pause: Duration) -> Task<()> {
        self.inner.sleep(pause)
    }

    fn spawn_thread(&self, name: &str, body: Body) -> PortResult<()> {
        self.inner.spawn_thread(name, body)
    }

    fn spawn_task(&self, name: &str, task: Task<()>) {
        self.inner.spawn_task(name, task);
    }

    fn wait(&self, future: Pin<&mut (dyn Future<Output = ()> + '_)>) {
        self.inner.wait(future);
    }
}
