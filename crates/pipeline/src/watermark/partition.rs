//! What a partition is to its source: unread, live, idle or ended. A pure decision over what the
//! log says and when the partition last moved; it reads no clock. [`super::Watermarks`] gathers the
//! facts and acts on the state.

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
}

/// All that the state of a partition follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionFacts {
    /// What the log says.
    pub log: LogFacts,
    /// Whether it ever had a row that was accepted.
    pub has_rows: bool,
    /// When its position last moved, or it was first seen.
    pub moved_us: Micros,
    /// The present.
    pub now_us: Micros,
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
    /// Decide. A clock that went back makes no partition idle.
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
        if facts.now_us.saturating_sub(facts.moved_us) >= timeout_us {
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
        // Position, last stable offset, whether it had rows, seconds since its last move, state.
        let cases: [(i64, Option<i64>, bool, i64, PartitionState); 14] = [
            (0, Some(0), false, 0, Live),
            (0, Some(0), false, 4, Live),
            (0, Some(0), false, 5, Idle),
            // Nothing but aborted records, once the reader has passed them.
            (6, Some(6), false, 5, Idle),
            (0, Some(6), false, 900, Unread),
            (9, Some(9), true, 0, Live),
            (9, Some(9), true, 29, Live),
            (9, Some(9), true, 30, Idle),
            (9, Some(10), true, 900, Unread),
            // The last stable offset was asked for before the last record was read.
            (10, Some(9), true, 31, Idle),
            (9, Some(9), true, -500, Live),
            (9, None, true, 0, Ended),
            (0, None, false, 0, Ended),
            (0, None, false, 900, Ended),
        ];
        for (position, last_stable, has_rows, seconds, expected) in cases {
            let facts = PartitionFacts {
                log: LogFacts {
                    position,
                    last_stable,
                },
                has_rows,
                moved_us: 1_000 * SECOND_US,
                now_us: (1_000 + seconds) * SECOND_US,
                idle_timeout_us: timeout,
            };
            let state = PartitionState::of(&facts);
            assert_eq!(state, expected, "{facts:?}");
            assert_eq!(state.holds_back(), matches!(expected, Unread | Live));
        }
        let short = PartitionFacts {
            log: LogFacts {
                position: 0,
                last_stable: Some(0),
            },
            has_rows: false,
            moved_us: 0,
            now_us: 2 * SECOND_US,
            idle_timeout_us: 2 * SECOND_US,
        };
        assert_eq!(PartitionState::of(&short), Idle, "no longer than declared");
    }
}
