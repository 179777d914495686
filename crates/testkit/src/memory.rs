//! Memory without a bound, for tests that are about something else.

use std::sync::Arc;

use forebay_core::memory::{Budget, Part, Reservation};

/// A budget that never refuses.
#[must_use]
pub fn unbounded_budget() -> Arc<Budget> {
    Budget::whole(usize::MAX)
}

/// A reservation that always grows.
#[must_use]
pub fn unbounded() -> Reservation {
    unbounded_budget().empty(Part::Answers)
}
