//! When the tables that are set aside are looked at again: with growing pauses, from the first one
//! anew where others are set aside. Pure: moments come in, on whatever clock the caller has.

use std::collections::BTreeSet;
use std::time::Duration;

/// Pause before the first look; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause: a table is whole for so long at most before its source is read again.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// When to look again.
#[derive(Debug, Default)]
pub(super) struct Mending {
    tables: BTreeSet<String>,
    pause: Duration,
    next: Option<Duration>,
}

impl Mending {
    /// Whether `tables`, which are set aside, are to be looked at, `now`.
    pub(super) fn is_due(&mut self, tables: BTreeSet<String>, now: Duration) -> bool {
        if tables.is_empty() {
            // Those that are set aside again after a start are looked at less and less.
            return false;
        }
        if tables != self.tables {
            (self.pause, self.next) = (FIRST_PAUSE, Some(now + FIRST_PAUSE));
            self.tables = tables;
        }
        let is_due = self.next.is_some_and(|next| next <= now);
        if is_due {
            self.pause = (2 * self.pause).min(LONGEST_PAUSE);
            self.next = Some(now + self.pause);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_looked_at_with_growing_pauses_also_when_they_are_set_aside_again() {
        let (mut mending, began) = (Mending::default(), Duration::from_secs(7));
        let tables = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mut looks = Vec::new();
        for second in 0..400 {
            // Each look starts ingest again; for a moment nothing is set aside.
            let names: &[&str] = if looks.last().is_some_and(|last| last + 1 == second) {
                &[]
            } else {
                &["a"]
            };
            if mending.is_due(tables(names), began + Duration::from_secs(second)) {
                looks.push(second);
            }
        }
        assert_eq!(looks, [2, 6, 14, 30, 62, 126, 246, 366]);
        let now = began + Duration::from_secs(400);
        assert!(!mending.is_due(tables(&["a", "b"]), now));
        assert!(
            mending.is_due(tables(&["a", "b"]), now + FIRST_PAUSE),
            "others"
        );
    }
}
