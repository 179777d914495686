//! How long the ingest thread waits for records: shortly while some come, longer the longer none
//! does. A poll ends with the first record however long it may wait, so no event waits for this;
//! what does is a stop, a decision of the watch and a failure elsewhere, and each of them at most
//! as long as nothing has come by then. Looks at all partitions are rarer, too, once nothing has
//! come for a while: with a thousand of them they are most of what a resting server does.

use std::time::Duration;

/// The longest wait: ten looks a second cost nothing that can be measured.
const LONGEST: Duration = Duration::from_millis(100);
/// After so long without a record the log rests.
const RESTS_AFTER: Duration = Duration::from_secs(10);
/// How many times rarer a look is then: at most two seconds pass between two, which is little
/// beside what a partition's idle timeout is.
const RARER: u32 = 4;

/// How long the next poll may wait, longer the longer nothing has come.
#[derive(Debug)]
pub(crate) struct IdleWait {
    shortest: Duration,
    next: Duration,
}

impl IdleWait {
    /// Beginning with `shortest`.
    pub(crate) fn new(shortest: Duration) -> Self {
        Self {
            shortest,
            next: shortest,
        }
    }

    /// The longest time that the next poll may wait.
    pub(crate) fn next(&self) -> Duration {
        self.next
    }

    /// A poll has ended, and `brought` something or not.
    pub(crate) fn note(&mut self, brought: bool) {
        self.next = if brought {
            self.shortest
        } else {
            (2 * self.next).clamp(self.shortest, LONGEST.max(self.shortest))
        };
    }
}

/// When the last record came, by the runtime's time.
#[derive(Debug)]
pub(crate) struct LastRecord(Duration);

impl LastRecord {
    /// As if one came `now`.
    pub(crate) fn at(now: Duration) -> Self {
        Self(now)
    }

    /// How long to wait `now` before what is done `often` while records come is done again.
    pub(crate) fn wait(&self, often: Duration, now: Duration) -> Duration {
        if now.saturating_sub(self.0) < RESTS_AFTER {
            often
        } else {
            often * RARER
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_often_is_done_rarely_once_the_log_rests() {
        let (often, came) = (Duration::from_millis(500), Duration::from_secs(70));
        let last = LastRecord::at(came);
        let wait_after = |rested| last.wait(often, came + rested);
        assert_eq!(wait_after(Duration::ZERO), often);
        assert_eq!(wait_after(RESTS_AFTER - often), often);
        assert_eq!(wait_after(RESTS_AFTER), often * RARER);
        assert_eq!(last.wait(often, Duration::ZERO), often, "a time before it");
    }

    #[test]
    fn the_wait_doubles_while_nothing_comes_and_is_short_again_with_the_first_record() {
        let waits = |shortest_ms: u64, brought: &[bool]| {
            let mut wait = IdleWait::new(Duration::from_millis(shortest_ms));
            let mut taken = vec![wait.next().as_millis()];
            for brought in brought {
                wait.note(*brought);
                taken.push(wait.next().as_millis());
            }
            taken
        };
        let idle = [false; 6];
        assert_eq!(waits(5, &idle), [5, 10, 20, 40, 80, 100, 100]);
        assert_eq!(waits(5, &[false, false, true, false]), [5, 10, 20, 5, 10]);
        assert_eq!(
            waits(400, &[false, true]),
            [400, 400, 400],
            "what is set is kept"
        );
    }
}
