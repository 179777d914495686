//! k of m: when exceeding windows become an alarm and when it ends. Pure; folded over the closed
//! windows of a series in event-time order, so that a replay, a late window or a revision gives
//! what a straight run would have given.

use std::collections::VecDeque;

/// What one window says about one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Above the threshold.
    Exceeds,
    /// Not above it, but above 0.8 times it.
    Between,
    /// Clearly below.
    Clear,
    /// Too few rows to say anything: such a window neither raises nor resolves.
    Skipped,
}

/// `FOR k OF m WINDOWS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AlarmRule {
    /// k: this many of the last m windows exceed.
    pub(crate) raised_windows: u32,
    /// m; as many clear windows in a row resolve.
    pub(crate) of_windows: u32,
}

/// Alarm of one column as of some window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AlarmState {
    pub(crate) raised: bool,
    pub(crate) recent: VecDeque<Outcome>,
}

impl AlarmState {
    /// Whether the alarm is up.
    #[must_use]
    pub(crate) fn is_raised(&self) -> bool {
        self.raised
    }

    /// Take in the next window. `Some(true)` when the alarm goes up with it, `Some(false)` when it
    /// goes down.
    pub(crate) fn step(&mut self, outcome: Outcome, rule: AlarmRule) -> Option<bool> {
        if outcome == Outcome::Skipped {
            return None;
        }
        let span = rule.of_windows.max(1) as usize;
        self.recent.push_back(outcome);
        while self.recent.len() > span {
            self.recent.pop_front();
        }
        let count = |wanted: Outcome| {
            self.recent
                .iter()
                .filter(|outcome| **outcome == wanted)
                .count()
        };
        let change = match self.raised {
            false if count(Outcome::Exceeds) >= rule.raised_windows.max(1) as usize => Some(true),
            true if count(Outcome::Clear) == span => Some(false),
            _ => None,
        };
        self.raised = change.unwrap_or(self.raised);
        change
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome::{Between, Clear, Exceeds, Skipped};
    use super::*;

    const TWO_OF_THREE: AlarmRule = AlarmRule {
        raised_windows: 2,
        of_windows: 3,
    };

    fn changes(outcomes: &[Outcome], rule: AlarmRule) -> Vec<(usize, bool)> {
        let mut state = AlarmState::default();
        let steps = outcomes.iter().enumerate();
        steps
            .filter_map(|(at, outcome)| state.step(*outcome, rule).map(|up| (at, up)))
            .collect()
    }

    #[test]
    fn two_of_three_raise_and_three_clear_ones_resolve() {
        let run = [
            Exceeds, Clear, Clear, Exceeds, Between, Exceeds, Clear, Clear, Between, Clear, Clear,
            Clear,
        ];
        assert_eq!(changes(&run, TWO_OF_THREE), [(5, true), (11, false)]);
    }

    #[test]
    fn windows_with_too_few_rows_do_not_count() {
        assert_eq!(
            changes(&[Exceeds, Skipped, Skipped, Skipped, Exceeds], TWO_OF_THREE),
            [(4, true)]
        );
        assert_eq!(
            changes(
                &[Exceeds, Exceeds, Clear, Clear, Skipped, Clear],
                TWO_OF_THREE
            ),
            [(1, true), (5, false)]
        );
    }

    #[test]
    fn one_of_one_follows_each_window() {
        let rule = AlarmRule {
            raised_windows: 1,
            of_windows: 1,
        };
        assert_eq!(
            changes(&[Exceeds, Exceeds, Between, Clear, Exceeds], rule),
            [(0, true), (3, false), (4, true)]
        );
    }
}
