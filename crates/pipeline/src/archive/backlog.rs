//! What waits for each table of the archive, counted from the hand-over to the append, and what is
//! wrong with a table that takes nothing. It tells two things: how far the archive as a whole is,
//! and which tables hold their source back. A source waits for its own table alone; where that goes
//! on failing or hangs, the source is read no more until the table has room again, and every other
//! source goes on. Locked for moments only; keeps no rows.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use forebay_core::invariant;
use parking_lot::Mutex;

use crate::halt::HaltReason;

/// Batches that may come for one table while an append to it runs. What is collected for the next
/// one is bounded by its bytes alone: a source of few rows has many batches until an append is due.
const BATCHES_MAX: usize = 64;
/// How long an append fails, with tries in between, before its source is held back: a failure that
/// passes at once is not worth reading again what the reader had fetched.
const FAILS_MAX: Duration = Duration::from_secs(1);
/// How long the reader, and with it every source, waits for a table that is behind: what is slow
/// catches up by then, what hangs does not.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// How far the archive is behind what was handed over to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArchiveReach {
    /// Number of the newest hand-over.
    pub handed: u64,
    /// Number of the newest one of which, as of all before, the archive has everything.
    pub archived: u64,
}

/// Whether a table takes one more batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It does.
    Free,
    /// It is behind; ask again.
    Behind,
    /// It holds its source back.
    Held,
}

/// What waits for each table of the archive.
#[derive(Debug)]
pub(crate) struct Backlog {
    /// What may wait for one table, bytes.
    share_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    handed: u64,
    tables: BTreeMap<String, Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Numbers of the hand-overs that the table has not got, ascending.
    open: VecDeque<u64>,
    batches: usize,
    /// Those of them that the append which runs has.
    in_append: usize,
    bytes: usize,
    failing: Option<Failing>,
    /// The reader has waited for it in vain.
    is_given_up: bool,
    /// Since when the append that runs does.
    appending: Option<Duration>,
}

#[derive(Debug)]
struct Failing {
    since: Duration,
    /// When it failed last: a try that runs may pass.
    last: Duration,
    /// Waiting alone will not help.
    is_final: bool,
    why: String,
}

impl Waiting {
    fn is_behind(&self, more_bytes: usize, share_bytes: usize) -> bool {
        // What is larger than the share is let through where nothing else waits.
        let is_full = self.bytes > 0 && self.bytes + more_bytes > share_bytes;
        let is_stuck = self.appending.is_some() && self.batches >= self.in_append + BATCHES_MAX;
        is_full || is_stuck
    }

    /// Why the table holds its source back; None where it does not.
    fn held(&self, table: &str, now: Duration) -> Option<HaltReason> {
        let because = |why: String| HaltReason::NotArchived {
            table: table.to_owned(),
            why,
        };
        if let Some(failing) = &self.failing
            && (failing.is_final || failing.last.saturating_sub(failing.since) >= FAILS_MAX)
        {
            return Some(because(failing.why.clone()));
        }
        self.is_given_up.then(|| {
            let since = self.appending.unwrap_or(now);
            let seconds = now.saturating_sub(since).as_secs();
            because(format!("an append has not ended for {seconds} s"))
        })
    }
}

impl Backlog {
    /// Of `tables`, for each of which `share_bytes` may wait.
    pub(crate) fn of(tables: impl Iterator<Item = String>, share_bytes: usize) -> Self {
        let state = State {
            handed: 0,
            tables: tables.map(|table| (table, Waiting::default())).collect(),
        };
        Self {
            share_bytes,
            state: Mutex::new(state),
        }
    }

    fn change<T>(&self, table: &str, change: impl FnOnce(&mut Waiting) -> T) -> T {
        let mut state = self.state.lock();
        change(state.tables.entry(table.to_owned()).or_default())
    }

    /// Whether `table` takes a batch of `bytes` more. `waited`: for how long the reader has been
    /// asking for this batch.
    pub(crate) fn enter(
        &self,
        table: &str,
        bytes: usize,
        waited: Duration,
        now: Duration,
    ) -> Entry {
        let share_bytes = self.share_bytes;
        self.change(table, |waiting| {
            let is_behind = waiting.is_behind(bytes, share_bytes);
            waiting.is_given_up |= is_behind && waited >= WAIT_MAX;
            match waiting.held(table, now) {
                Some(_) => Entry::Held,
                None if is_behind => Entry::Behind,
                None => Entry::Free,
            }
        })
    }

    /// Something is handed over to `table`, with `bytes` of rows if it has a batch.
    pub(crate) fn hand_over(&self, table: &str, bytes: Option<usize>) {
        let mut state = self.state.lock();
        state.handed += 1;
        let number = state.handed;
        let waiting = state.tables.entry(table.to_owned()).or_default();
        waiting.open.push_back(number);
        waiting.batches += usize::from(bytes.is_some());
        waiting.bytes += bytes.unwrap_or(0);
    }

    /// An append of what was handed over to `table` begins.
    pub(crate) fn begins(&self, table: &str, now: Duration) {
        self.change(table, |waiting| {
            waiting.appending = Some(now);
            waiting.in_append = waiting.batches;
        });
    }

    /// An append to `table` fails; `is_final`: waiting alone will not help.
    pub(crate) fn fails(&self, table: &str, why: String, is_final: bool, now: Duration) {
        self.change(table, |waiting| {
            let since = waiting.failing.as_ref().map_or(now, |known| known.since);
            waiting.failing = Some(Failing {
                since,
                last: now,
                is_final,
                why,
            });
        });
    }

    /// `table` has the oldest `messages` of what was handed over to it, `batches` and `bytes` of
    /// rows among them.
    pub(crate) fn ends(&self, table: &str, (messages, batches, bytes): (usize, usize, usize)) {
        self.change(table, |waiting| {
            invariant!(
                ArchivedNotAhead,
                messages <= waiting.open.len() && bytes <= waiting.bytes,
                "table {table}: {messages} of {} messages, {bytes} of {} bytes",
                waiting.open.len(),
                waiting.bytes
            );
            waiting.open.drain(..messages.min(waiting.open.len()));
            waiting.batches = waiting.batches.saturating_sub(batches);
            waiting.bytes = waiting.bytes.saturating_sub(bytes);
            (waiting.failing, waiting.appending) = (None, None);
            waiting.is_given_up = false;
        });
    }

    /// Tables that hold their source back, each with its reason.
    pub(crate) fn held(&self, now: Duration) -> BTreeMap<String, HaltReason> {
        let state = self.state.lock();
        let tables = state.tables.iter();
        tables
            .filter_map(|(table, waiting)| Some((table.clone(), waiting.held(table, now)?)))
            .collect()
    }

    /// For how long the append that each table waits for has run.
    pub(crate) fn running(&self, now: Duration) -> BTreeMap<String, Duration> {
        let state = self.state.lock();
        let age = |since: Option<Duration>| since.map_or(Duration::ZERO, |s| now.saturating_sub(s));
        let tables = state.tables.iter();
        tables
            .map(|(table, waiting)| (table.clone(), age(waiting.appending)))
            .collect()
    }

    /// How far the archive is behind.
    pub(crate) fn reach(&self) -> ArchiveReach {
        let state = self.state.lock();
        let oldest = state.tables.values().filter_map(|w| w.open.front()).min();
        let reach = ArchiveReach {
            handed: state.handed,
            archived: oldest.map_or(state.handed, |oldest| oldest - 1),
        };
        invariant!(
            ArchivedNotAhead,
            reach.archived <= reach.handed,
            "{reach:?}"
        );
        reach
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);
    const SHARE: usize = 1_000;

    fn backlog() -> Backlog {
        Backlog::of(["a", "b"].map(str::to_owned).into_iter(), SHARE)
    }

    #[test]
    fn the_archive_has_what_every_table_has() {
        let backlog = backlog();
        let reach = |handed, archived| ArchiveReach { handed, archived };
        assert_eq!(backlog.reach(), reach(0, 0));
        backlog.hand_over("a", Some(5));
        backlog.hand_over("b", Some(5));
        backlog.hand_over("a", None);
        assert_eq!(backlog.reach(), reach(3, 0));
        backlog.ends("a", (1, 1, 5));
        assert_eq!(backlog.reach(), reach(3, 1));
        backlog.ends("a", (1, 0, 0));
        assert_eq!(backlog.reach(), reach(3, 1), "b lacks the second");
        backlog.ends("b", (1, 1, 5));
        assert_eq!(backlog.reach(), reach(3, 3));
    }

    #[test]
    fn a_table_that_is_full_is_waited_for_and_then_holds_back_its_source_alone() {
        let backlog = backlog();
        let enter = |table, waited| backlog.enter(table, 600, waited, NOW);
        assert_eq!(enter("a", Duration::ZERO), Entry::Free);
        backlog.hand_over("a", Some(600));
        assert_eq!(enter("a", Duration::ZERO), Entry::Behind);
        assert_eq!(
            enter("a", WAIT_MAX - Duration::from_millis(1)),
            Entry::Behind
        );
        assert!(backlog.held(NOW).is_empty());
        assert_eq!(enter("a", WAIT_MAX), Entry::Held);
        assert_eq!(enter("b", Duration::ZERO), Entry::Free);
        let held = backlog.held(NOW);
        assert_eq!(held.keys().collect::<Vec<_>>(), ["a"]);
        backlog.ends("a", (1, 1, 600));
        assert!(backlog.held(NOW).is_empty());
        assert_eq!(enter("a", Duration::ZERO), Entry::Free);
    }

    #[test]
    fn batches_are_bounded_as_bytes_are_and_one_larger_than_the_share_passes_alone() {
        let backlog = backlog();
        let free = |bytes| backlog.enter("a", bytes, Duration::ZERO, NOW) == Entry::Free;
        assert!(free(9 * SHARE));
        for _ in 0..3 * BATCHES_MAX {
            assert!(free(1), "no append is due yet");
            backlog.hand_over("a", Some(1));
        }
        backlog.begins("a", NOW);
        for _ in 0..BATCHES_MAX {
            assert!(free(1));
            backlog.hand_over("a", Some(1));
        }
        assert!(!free(1), "the append does not end");
    }

    #[test]
    fn a_failure_holds_back_its_source_once_it_lasts_and_at_once_where_waiting_does_not_help() {
        for (is_final, after) in [(false, FAILS_MAX), (true, Duration::ZERO)] {
            let backlog = backlog();
            backlog.hand_over("a", Some(1));
            backlog.begins("a", NOW);
            backlog.fails("a", "no space".to_owned(), is_final, NOW);
            if !is_final {
                assert!(backlog.held(NOW).is_empty(), "it may pass");
            }
            // Another failure does not begin it anew.
            backlog.fails("a", "no space".to_owned(), is_final, NOW + after);
            let held = backlog.held(NOW + after);
            assert!(held["a"].to_string().contains("(no space)"), "{held:?}");
            assert!(!held.contains_key("b"));
            assert_eq!(backlog.running(NOW + after)["a"], after);
            backlog.ends("a", (1, 1, 1));
            assert!(backlog.held(NOW + after).is_empty());
            assert_eq!(backlog.running(NOW + after)["a"], Duration::ZERO);
        }
    }
}
