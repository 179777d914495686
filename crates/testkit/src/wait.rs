//! Waiting for what other threads do: for a condition, with a deadline, never for a time.

use std::time::{Duration, Instant};

/// Far beyond what any test takes, so that a hang ends with words.
const DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(1);

/// Wait until `done`.
///
/// # Panics
/// It is not done within half a minute: `what` says what was waited for.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !done() {
        assert!(
            Instant::now() < deadline,
            "waited {DEADLINE:?} in vain until {what}"
        );
        std::thread::sleep(LOOK);
    }
}
