//! Throttles log lines: the first of many alike is logged at once, after that once a minute how
//! many followed. A line for each event would say nothing more, and fill the disk. Each call site
//! keeps one throttle for each subject of its line.

use std::time::Duration;

use parking_lot::Mutex;

/// Between two lines about the same.
const AGAIN: Duration = Duration::from_secs(60);

/// When a line of one kind was logged last, and how many events came since.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Duration>,
    /// Those since, of which nothing was said.
    since: u64,
}

impl LogThrottle {
    /// `count` more, `now`: how many a line is to speak of, or None where it is to wait.
    pub(crate) fn add(&self, count: u64, now: Duration) -> Option<u64> {
        let mut state = self.0.lock();
        state.since += count;
        let is_new = state
            .last
            .is_none_or(|last| now.saturating_sub(last) >= AGAIN);
        if !is_new || state.since == 0 {
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_at_once_and_those_that_follow_by_their_number_once_a_minute() {
        let throttle = LogThrottle::default();
        let at = |seconds, count| throttle.add(count, Duration::from_secs(seconds));
        assert_eq!(at(0, 0), None, "there is none");
        assert_eq!(at(0, 2), Some(2));
        assert_eq!(at(0, 1), None);
        assert_eq!(at(59, 500), None);
        assert_eq!(at(60, 1), Some(502), "none is left out");
        assert_eq!(at(119, 1), None);
        assert_eq!(at(200, 0), Some(1));
    }
}
