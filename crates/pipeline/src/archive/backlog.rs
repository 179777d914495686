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

/// Batches that may come for one table while an append to it runs for longer than [`WAIT_MAX`].
/// Until then what is collected is bounded by its bytes alone: a source of a thousand events a
/// second has as many batches, so a bound on their number would stop the reader for the rest of
/// each append. One that hangs is to be noticed by a source of few rows, too.
const BATCHES_MAX: usize = 64;
/// How long an append fails, with tries in between, before its source is held back: a failure that
/// passes at once is not worth reading again what the reader had fetched.
const FAILS_MAX: Duration = Duration::from_secs(1);
/// How long the reader, and with it every source, waits for a table that is behind, or an append
/// runs while its table is: what is slow catches up by then, what hangs does not. Of several tables
/// that hang at once the reader waits for the first one alone.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// The part of all that may wait which one table may hold at most, where there are more tables.
const LARGEST_PART: usize = 4;

/// How far the archive is behind what was handed over to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArchiveReach {
    /// Number of the newest hand-over.
    pub handed: u64,
    /// Number of the newest one of which, as of all before, the archive has everything.
    pub archived: u64,
}

/// What may wait for the tables, bytes. However many of them hang, all together hold no more than
/// is parted here, and each other one keeps its own part: half of all is parted evenly, the other
/// half goes to the tables that ask first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shares {
    own: usize,
    common: usize,
    most: usize,
}

impl Shares {
    /// `all_bytes` for so many `tables`.
    pub(crate) fn of(all_bytes: usize, tables: usize) -> Self {
        let (half, tables) = (all_bytes / 2, tables.max(1));
        let own = half / tables;
        invariant!(
            PartsMakeTheWhole,
            own * tables + half <= all_bytes,
            "{all_bytes} bytes for {tables} tables"
        );
        Self {
            own,
            common: half,
            most: all_bytes / tables.min(LARGEST_PART),
        }
    }

    /// What one table may hold at most.
    pub(crate) fn most_bytes(&self) -> usize {
        self.most
    }
}

/// Whether a table takes one more batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It does, and is charged with so many bytes for it.
    Free(usize),
    /// It is behind; ask again.
    Behind,
    /// It holds its source back.
    Held,
}

/// What waits for each table of the archive.
#[derive(Debug)]
pub(crate) struct Backlog {
    shares: Shares,
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

impl State {
    /// The most that `table` may hold now: its own part, and what the others have left of what is
    /// common.
    fn most_bytes(&self, table: &str, shares: Shares) -> usize {
        let others = self.tables.iter().filter(|(name, _)| *name != table);
        let taken = others.map(|(_, waiting)| waiting.bytes.saturating_sub(shares.own));
        let left = shares.common.saturating_sub(taken.sum());
        shares.most.min(shares.own + left)
    }
}

impl Waiting {
    /// What is charged for a batch of `bytes` where the table may hold `most_bytes`; None while it
    /// is behind.
    fn charge(&self, bytes: usize, most_bytes: usize, now: Duration) -> Option<usize> {
        if self.batches == 0 {
            // What is larger than that is let through where nothing else waits.
            return Some(bytes.min(most_bytes));
        }
        let is_full = self.bytes + bytes > most_bytes;
        let is_stuck =
            self.append_age(now) >= WAIT_MAX && self.batches >= self.in_append + BATCHES_MAX;
        (!is_full && !is_stuck).then_some(bytes)
    }

    /// For how long the append that runs does; 0 where none does.
    fn append_age(&self, now: Duration) -> Duration {
        let age = |since| now.saturating_sub(since);
        self.appending.map_or(Duration::ZERO, age)
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
            let seconds = self.append_age(now).as_secs();
            because(format!("an append has not ended for {seconds} s"))
        })
    }
}

impl Backlog {
    /// Of `tables`, for which what `shares` say may wait.
    pub(crate) fn of(tables: impl Iterator<Item = String>, shares: Shares) -> Self {
        let state = State {
            handed: 0,
            tables: tables.map(|table| (table, Waiting::default())).collect(),
        };
        Self {
            shares,
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
        let mut state = self.state.lock();
        let most_bytes = state.most_bytes(table, self.shares);
        let waiting = state.tables.entry(table.to_owned()).or_default();
        let charge = waiting.charge(bytes, most_bytes, now);
        let waited = waited.max(waiting.append_age(now));
        waiting.is_given_up |= charge.is_none() && waited >= WAIT_MAX;
        match (waiting.held(table, now), charge) {
            (Some(_), _) => Entry::Held,
            (None, None) => Entry::Behind,
            (None, Some(bytes)) => Entry::Free(bytes),
        }
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
        let tables = state.tables.iter();
        tables
            .map(|(table, waiting)| (table.clone(), waiting.append_age(now)))
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
        let names = ["a", "b"].map(str::to_owned);
        Backlog::of(names.into_iter(), Shares::of(2 * SHARE, 2))
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
        assert_eq!(enter("a", Duration::ZERO), Entry::Free(600));
        backlog.hand_over("a", Some(600));
        assert_eq!(enter("a", Duration::ZERO), Entry::Behind);
        assert_eq!(
            enter("a", WAIT_MAX - Duration::from_millis(1)),
            Entry::Behind
        );
        assert!(backlog.held(NOW).is_empty());
        assert_eq!(enter("a", WAIT_MAX), Entry::Held);
        assert_eq!(enter("b", Duration::ZERO), Entry::Free(600));
        let held = backlog.held(NOW);
        assert_eq!(held.keys().collect::<Vec<_>>(), ["a"]);
        backlog.ends("a", (1, 1, 600));
        assert!(backlog.held(NOW).is_empty());
        assert_eq!(enter("a", Duration::ZERO), Entry::Free(600));
    }

    #[test]
    fn batches_are_bounded_as_bytes_are_and_one_larger_than_the_share_passes_alone() {
        let backlog = backlog();
        let enter = |bytes| backlog.enter("a", bytes, Duration::ZERO, NOW);
        let free = |bytes| enter(bytes) == Entry::Free(bytes);
        assert_eq!(
            enter(9 * SHARE),
            Entry::Free(SHARE),
            "charged with its share"
        );
        for _ in 0..3 * BATCHES_MAX {
            assert!(free(1), "no append is due yet");
            backlog.hand_over("a", Some(1));
        }
        backlog.begins("a", NOW);
        for _ in 0..3 * BATCHES_MAX {
            assert!(free(1), "an append that takes its time stops no reader");
            backlog.hand_over("a", Some(1));
        }
        let later = |wait| backlog.enter("a", 1, Duration::ZERO, NOW + wait);
        let shorter = WAIT_MAX - Duration::from_millis(1);
        assert_eq!(later(shorter), Entry::Free(1));
        assert_eq!(later(WAIT_MAX), Entry::Held, "the append does not end");
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

    #[test]
    fn however_many_tables_hang_they_hold_no_more_than_all_and_the_last_one_keeps_its_part() {
        const TABLES: usize = 40;
        for batch in [1, SHARE / 100, SHARE / 10, SHARE, 9 * SHARE] {
            let names = || (0..TABLES).map(|number| number.to_string());
            let backlog = Backlog::of(names(), Shares::of(SHARE, TABLES));
            let mut held = vec![0; TABLES];
            // All but the last one hang with as much as they take.
            for (name, held) in names().zip(&mut held).take(TABLES - 1) {
                while let Entry::Free(bytes) = backlog.enter(&name, batch, Duration::ZERO, NOW) {
                    backlog.hand_over(&name, Some(bytes));
                    *held += bytes;
                }
            }
            let last = (TABLES - 1).to_string();
            let entry = backlog.enter(&last, batch, Duration::ZERO, NOW);
            let part = Shares::of(SHARE, TABLES).own;
            assert_eq!(entry, Entry::Free(batch.min(part)), "{batch}");
            let all: usize = held.iter().sum();
            assert!(all + part <= SHARE, "{batch}: {all}");
        }
    }

    #[test]
    fn of_tables_that_hang_at_once_the_reader_waits_for_the_first_alone() {
        let backlog = backlog();
        for table in ["a", "b"] {
            backlog.hand_over(table, Some(SHARE));
            backlog.begins(table, NOW);
        }
        let enter = |table, waited| backlog.enter(table, 1, waited, NOW + WAIT_MAX);
        assert_eq!(enter("a", WAIT_MAX), Entry::Held);
        assert_eq!(enter("b", Duration::ZERO), Entry::Held);
        backlog.ends("b", (1, 1, SHARE));
        assert_eq!(enter("b", Duration::ZERO), Entry::Free(1));
    }
}
