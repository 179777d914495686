//! Room in memory for rows on their way to the archive, and for epochs on their way into the
//! shards. Ingest takes it before it hands either over and waits while there is none: that is how a
//! slow archive or a slow shard holds the reader back by bytes, where the length of a queue bounds
//! batches alone. The archiver gives it back when the rows are appended, the shard writers when
//! every shard has the epoch.
//!
//! No wait is without end: all tables of the archive hold a quarter of ingest's most together,
//! however many of them hang ([`Shares`](crate::archive)), and an epoch is charged with a quarter,
//! so what both hold is what the budget always leaves to ingest. Neither a lane of the archive nor
//! a shard writer waits for room itself: what the writers hold comes back while ingest waits for
//! more.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::memory::{Budget, Part, Reservation};
use forebay_core::ports::Runtime;

use crate::runtime::pause;

/// Time between two tries. Short beside an append, which is what makes room.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// Where room comes from.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    budget: Arc<Budget>,
}

impl Room {
    pub(crate) fn of(budget: &Arc<Budget>) -> Self {
        Self {
            budget: Arc::clone(budget),
        }
    }

    /// The most that one epoch is charged with, and that may wait for all tables, bytes.
    pub(crate) fn quarter_bytes(&self) -> usize {
        self.budget.most_bytes(Part::Ingest) / 4
    }

    /// Room for `bytes`, waiting for it. None once `gone` says that nobody makes room any more.
    pub(crate) fn take(
        &self,
        bytes: usize,
        runtime: &dyn Runtime,
        gone: impl Fn() -> bool,
    ) -> Option<Reservation> {
        while !gone() {
            if let Some(taken) = self.ask(bytes) {
                return Some(taken);
            }
            pause(runtime, ASK_AGAIN);
        }
        None
    }

    /// Room for `bytes` where there is some now.
    pub(crate) fn ask(&self, bytes: usize) -> Option<Reservation> {
        let charged = bytes.min(self.quarter_bytes());
        self.budget.reserve(Part::Ingest, charged).ok()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests run in real time")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::runtime::for_tests;

    #[test]
    fn who_finds_no_room_waits_until_some_is_given_back() {
        let (budget, runtime) = (Budget::shared(1_600), for_tests());
        let room = Room::of(&budget);
        let held = budget.reserve(Part::Ingest, 700).expect("below its most");
        let asked = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                let count = || asked.fetch_add(1, Ordering::Relaxed) > usize::MAX / 2;
                room.take(150, &runtime, count).map(|taken| taken.bytes())
            });
            while asked.load(Ordering::Relaxed) < 3 {
                std::thread::yield_now();
            }
            assert!(!waits.is_finished());
            drop(held);
            assert_eq!(waits.join().expect("no panic"), Some(150));
        });
    }

    #[test]
    fn a_batch_larger_than_its_share_is_let_through_and_one_without_an_archiver_is_not() {
        let (budget, runtime) = (Budget::shared(1_600), for_tests());
        let room = Room::of(&budget);
        let taken = room.take(1 << 30, &runtime, || false).expect("let through");
        assert_eq!(taken.bytes(), room.quarter_bytes());
        assert!(room.take(1, &runtime, || true).is_none());
    }

    #[test]
    fn an_epoch_and_what_all_tables_hold_fit_what_is_always_left_to_ingest() {
        let budget = Budget::shared(1_600);
        let mut others = Vec::new();
        for part in Part::ALL.into_iter().filter(|p| *p != Part::Ingest) {
            others.push(budget.reserve(part, budget.most_bytes(part)));
        }
        let room = Room::of(&budget);
        let tables = budget.reserve(Part::Ingest, room.quarter_bytes());
        let epoch = budget.reserve(Part::Ingest, room.quarter_bytes());
        assert!(tables.is_ok() && epoch.is_ok());
    }
}
