//! A clock that stands still until a test moves it. What the binary gives the crates in production
//! is the system's clock; nothing else may read it.

use std::sync::atomic::{AtomicI64, Ordering};

use forebay_core::time::{Clock, Micros};

/// A clock that stands until a test moves it.
#[derive(Debug, Default)]
pub struct FakeClock(AtomicI64);

impl FakeClock {
    /// A clock that shows `now_us`.
    #[must_use]
    pub fn at(now_us: Micros) -> Self {
        Self(AtomicI64::new(now_us))
    }

    /// Let `by_us` pass.
    pub fn advance(&self, by_us: Micros) {
        self.0.fetch_add(by_us, Ordering::SeqCst);
    }
}

impl Clock for FakeClock {
    fn now_us(&self) -> Micros {
        self.0.load(Ordering::SeqCst)
    }
}
