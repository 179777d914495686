//! What a partition is to its source: unread, live, idle or ended. A pure decision over what the
//! log says and when the partition last moved; it reads no clock. [`super::Watermarks`] gathers the
//! facts and acts on the state.
//!
//! Times are those of the runtime, which never step: a wall clock that is set makes no partition
//! idle and keeps none from it.

use std::time::Duration;

use forebay_core::limits::EMPTY_IDLE_TIMEOUT_US;
use forebay_core::time::Micros;

/// What the log says of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogFacts {
    /// Where it is read next. What was skipped counts as read: aborted records, control records,
    /// holes.
    pub position: i64,
    /// One past its newest record that may be read; None when the partition is gone from its topic.
    pub last_stable: Option<i64>,
    /// When that was asked for; None where nobody answered, so that it may be out of date.
    pub answered: Option<Answered>,
}

/// When somebody has answered for a partition, each time that it was asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// The first time without one between in which nobody did.
    pub since: Duration,
    /// The last time.
    pub last: Duration,
}

/// All that the state of a partition follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionFacts {
    /// What the log says.
    pub log: LogFacts,
    /// Whether it ever had a row that was accepted.
    pub has_rows: bool,
    /// When its position last moved, or it was first seen.
    pub moved: Duration,
    /// `idle_timeout` of its source.
    pub idle_timeout_us: Micros,
}

/// What a partition is to its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PartitionState {
    /// It has records that were not read: what they hold may be older than anything seen.
    Unread,
    /// All is read, and more may come at any moment.
    Live,
    /// All is read, and nothing came for the declared time: it holds nothing back.
    Idle,
    /// It is gone from its topic, and nothing more comes: it holds nothing back.
    Ended,
}

impl PartitionState {
    /// Decide. A partition is idle when somebody answers for its end, and has done so without it
    /// moving for the declared time before that end was asked for last.
    #[must_use]
    pub fn of(facts: &PartitionFacts) -> Self {
        let Some(last_stable) = facts.log.last_stable else {
            return Self::Ended;
        };
        if facts.log.position < last_stable {
            return Self::Unread;
        }
        let timeout_us = if facts.has_rows {
            facts.idle_timeout_us
        } else {
            facts.idle_timeout_us.min(EMPTY_IDLE_TIMEOUT_US)
        };
        let timeout = Duration::from_micros(timeout_us.unsigned_abs());
        let rested = facts.log.answered.map(|answered| {
            let from = facts.moved.max(answered.since);
            answered.last.saturating_sub(from)
        });
        if rested.is_some_and(|rested| rested >= timeout) {
            Self::Idle
        } else {
            Self::Live
        }
    }

    /// Whether its source waits for it.
    #[must_use]
    pub(crate) fn holds_back(self) -> bool {
        matches!(self, Self::Unread | Self::Live)
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::time::SECOND_US;

    use super::*;

    #[test]
    fn a_partition_is_what_its_position_and_its_last_move_make_it() {
        use PartitionState::{Ended, Idle, Live, Unread};
        let timeout = 30 * SECOND_US;
        let moved = Duration::from_secs(1_000);
        // Position, last stable offset, whether it had rows, seconds from its last move to the last
        // answer, state.
        type Case = (i64, Option<i64>, bool, Option<i64>, PartitionState);
        let cases: [Case; 16] = [
            (0, Some(0), false, Some(0), Live),
            (0, Some(0), false, Some(4), Live),
            (0, Some(0), false, Some(5), Idle),
            // Nothing but aborted records, once the reader has passed them.
            (6, Some(6), false, Some(5), Idle),
            (0, Some(6), false, Some(900), Unread),
            (9, Some(9), true, Some(0), Live),
            (9, Some(9), true, Some(29), Live),
            (9, Some(9), true, Some(30), Idle),
            (9, Some(10), true, Some(900), Unread),
            // The last stable offset was asked for before the last record was read.
            (10, Some(9), true, Some(31), Idle),
            (10, Some(9), true, Some(-500), Live),
            // Nobody answers: what is known of its end may be out of date.
            (9, Some(9), true, None, Live),
            (9, Some(10), true, None, Unread),
            (9, None, true, Some(0), Ended),
            (0, None, false, Some(0), Ended),
            (0, None, false, None, Ended),
        ];
        for (position, last_stable, has_rows, seconds, expected) in cases {
            let answered = |seconds: i64| {
                let by = Duration::from_secs(seconds.unsigned_abs());
                if seconds < 0 { moved - by } else { moved + by }
            };
            let facts = PartitionFacts {
                log: LogFacts {
                    position,
                    last_stable,
                    answered: seconds.map(|seconds| Answered {
                        since: Duration::ZERO,
                        last: answered(seconds),
                    }),
                },
                has_rows,
                moved,
                idle_timeout_us: timeout,
            };
            let state = PartitionState::of(&facts);
            assert_eq!(state, expected, "{facts:?}");
            assert_eq!(state.holds_back(), matches!(expected, Unread | Live));
        }
        let short = |since: u64, last: u64| PartitionFacts {
            log: LogFacts {
                position: 0,
                last_stable: Some(0),
                answered: Some(Answered {
                    since: Duration::from_secs(since),
                    last: Duration::from_secs(last),
                }),
            },
            has_rows: false,
            moved: Duration::ZERO,
            idle_timeout_us: 2 * SECOND_US,
        };
        let state = PartitionState::of(&short(0, 2));
        assert_eq!(state, Idle, "no longer than declared");
        // Nobody answered for a while: it rests anew.
        assert_eq!(PartitionState::of(&short(9, 10)), Live);
        assert_eq!(PartitionState::of(&short(9, 11)), Idle);
    }
}
