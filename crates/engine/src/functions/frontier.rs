//! The monotone deque: the best of a sliding window in amortised constant time. Rows enter at one
//! end and leave at the other in the same order; a row that a newer one beats can never be the best
//! again and is dropped at once.

use std::collections::VecDeque;

/// The candidates for the extremum of a window that slides. `T` is what competes.
#[derive(Debug)]
pub(crate) struct Frontier<T> {
    /// Candidates with their numbers, best first, numbers ascending.
    candidates: VecDeque<(u64, T)>,
    entered: u64,
    left: u64,
}

impl<T> Default for Frontier<T> {
    fn default() -> Self {
        Self {
            candidates: VecDeque::new(),
            entered: 0,
            left: 0,
        }
    }
}

impl<T> Frontier<T> {
    /// A row enters. `beats(newer, older)` says whether the older one can be forgotten.
    pub(crate) fn push(&mut self, item: T, beats: impl Fn(&T, &T) -> bool) {
        while self
            .candidates
            .back()
            .is_some_and(|(_, older)| beats(&item, older))
        {
            self.candidates.pop_back();
        }
        self.candidates.push_back((self.entered, item));
        self.entered += 1;
    }

    /// The `count` oldest rows leave.
    pub(crate) fn pop_oldest(&mut self, count: usize) {
        self.left += count as u64;
        debug_assert!(
            self.left <= self.entered,
            "rows leave only after they entered"
        );
        while self
            .candidates
            .front()
            .is_some_and(|(number, _)| *number < self.left)
        {
            self.candidates.pop_front();
        }
    }

    /// The best of the rows inside.
    pub(crate) fn best(&self) -> Option<&T> {
        self.candidates.front().map(|(_, item)| item)
    }

    /// Heap bytes, without what the items own.
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.candidates.capacity() * size_of::<(u64, T)>()
    }
}
