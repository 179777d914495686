//! A bell between threads: the producer of work rings, the consumer waits for a ring since its last
//! look. It carries no data, so a spurious ring costs one look. None is missed, because the
//! consumer notes the count before it reads the facts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use forebay_core::ports::Runtime;
use tokio::sync::Notify;

use crate::runtime::{block_on, within};

/// Counts rings, and wakes who waits for the next one.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rings: AtomicU64,
    rang: Notify,
}

impl Bell {
    /// There is work, or a reason to end.
    pub(crate) fn ring(&self) {
        self.rings.fetch_add(1, Ordering::AcqRel);
        self.rang.notify_waiters();
    }

    /// How often it has rung.
    pub(crate) fn rings(&self) -> u64 {
        self.rings.load(Ordering::Acquire)
    }

    /// Wait until it has rung more often than `heard`, at most `patience`.
    pub(crate) fn wait(&self, runtime: &dyn Runtime, heard: u64, patience: Duration) {
        // Listens before it looks, so that a ring in between is heard.
        let rang = self.rang.notified();
        if self.rings() == heard {
            block_on(runtime, within(runtime, patience, rang));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_between_the_look_and_the_wait_is_not_missed() {
        let (bell, rt) = (Bell::default(), crate::runtime::for_tests());
        let heard = bell.rings();
        bell.ring();
        let start = rt.elapsed();
        bell.wait(&rt, heard, Duration::from_secs(60));
        assert!(
            rt.elapsed() - start < Duration::from_secs(30),
            "it had rung"
        );
        bell.wait(&rt, bell.rings(), Duration::from_millis(1));
    }
}
