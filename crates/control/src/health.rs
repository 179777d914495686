//! Whether ingest moves, judged from outside it: what is applied, what the log still has, and how
//! long nothing has moved. The thread that is stuck is never asked.

use forebay_core::time::Micros;

/// What one look finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IngestFacts {
    /// Whether the ingest loop runs.
    pub running: bool,
    /// A number that grows whenever anything is applied.
    pub applied: u64,
    /// Records that the log has and that are not applied; None where nobody can tell.
    pub lag_records: Option<u64>,
}

/// The verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IngestHealth {
    /// Something was applied, or there is nothing to apply.
    Moving,
    /// Nothing has moved since then although there is something to apply, or the loop does not run.
    Standing {
        /// Since when.
        since_us: Micros,
    },
}

/// Remembers when ingest moved last.
#[derive(Debug)]
pub struct IngestWatch {
    stall_us: Micros,
    applied: u64,
    moved_us: Micros,
}

impl IngestWatch {
    /// Ingest that stands still for `stall_us` is unhealthy. `now_us`: the first moment.
    #[must_use]
    pub fn new(stall_us: Micros, now_us: Micros) -> Self {
        Self {
            stall_us,
            applied: 0,
            moved_us: now_us,
        }
    }

    /// One look.
    pub fn look(&mut self, facts: IngestFacts, now_us: Micros) -> IngestHealth {
        // A clock that was set back must not look like a stall later on.
        self.moved_us = self.moved_us.min(now_us);
        let idle = facts.running && facts.lag_records == Some(0);
        if facts.applied != self.applied || idle {
            self.applied = facts.applied;
            self.moved_us = now_us;
        }
        if now_us.saturating_sub(self.moved_us) >= self.stall_us {
            IngestHealth::Standing {
                since_us: self.moved_us,
            }
        } else {
            IngestHealth::Moving
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Micros = 1_000_000;

    fn facts(running: bool, applied: u64, lag_records: u64) -> IngestFacts {
        IngestFacts {
            running,
            applied,
            lag_records: Some(lag_records),
        }
    }

    #[test]
    fn it_stands_when_something_waits_and_nothing_moves_for_as_long_as_said() {
        let mut watch = IngestWatch::new(10 * SECOND, 0);
        let standing = |since: Micros| IngestHealth::Standing {
            since_us: since * SECOND,
        };
        let looks = [
            (1, facts(true, 5, 100), IngestHealth::Moving),
            (9, facts(true, 5, 100), IngestHealth::Moving),
            (11, facts(true, 5, 100), standing(1)),
            (12, facts(true, 6, 100), IngestHealth::Moving),
            (30, facts(true, 6, 0), IngestHealth::Moving),
            (50, facts(true, 6, 0), IngestHealth::Moving),
            (55, facts(false, 6, 0), IngestHealth::Moving),
            (60, facts(false, 6, 0), standing(50)),
            (61, facts(true, 6, 0), IngestHealth::Moving),
        ];
        for (second, facts, expected) in looks {
            assert_eq!(
                watch.look(facts, second * SECOND),
                expected,
                "at {second} s"
            );
        }
    }

    #[test]
    fn it_stands_also_where_nobody_can_tell_what_waits() {
        let mut watch = IngestWatch::new(10 * SECOND, 0);
        let unknown = IngestFacts {
            lag_records: None,
            ..facts(true, 0, 0)
        };
        assert_eq!(watch.look(unknown, 9 * SECOND), IngestHealth::Moving);
        let standing = IngestHealth::Standing { since_us: 0 };
        assert_eq!(watch.look(unknown, 10 * SECOND), standing);
    }

    #[test]
    fn a_clock_that_is_set_back_is_no_stall() {
        let mut watch = IngestWatch::new(10 * SECOND, 100 * SECOND);
        assert_eq!(
            watch.look(facts(true, 1, 5), 20 * SECOND),
            IngestHealth::Moving
        );
        assert_eq!(
            watch.look(facts(true, 1, 5), 25 * SECOND),
            IngestHealth::Moving
        );
    }
}
