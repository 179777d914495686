//! A bell between threads: whoever has made work rings, whoever looks for work waits until it rang
//! since the last look. It carries no data, so a ring too many costs one look and none is missed:
//! the listener notes the count before it looks at the facts.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rings: Mutex<u64>,
    rang: Condvar,
}

impl Bell {
    /// There is work, or a reason to end.
    pub(crate) fn ring(&self) {
        *self.rings.lock() += 1;
        self.rang.notify_all();
    }

    /// How often it has rung.
    pub(crate) fn rings(&self) -> u64 {
        *self.rings.lock()
    }

    /// Wait until it has rung more often than `heard`, at most `patience`.
    pub(crate) fn wait(&self, heard: u64, patience: Duration) {
        let mut rings = self.rings.lock();
        if *rings == heard {
            self.rang.wait_for(&mut rings, patience);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_ring_between_the_look_and_the_wait_is_not_missed() {
        let bell = Bell::default();
        let heard = bell.rings();
        bell.ring();
        let start = Instant::now();
        bell.wait(heard, Duration::from_secs(60));
        assert!(start.elapsed() < Duration::from_secs(30), "it had rung");
        bell.wait(bell.rings(), Duration::from_millis(1));
    }
}
