//! Whose turn it is after a change of routes: what waits for the version before goes first, so that
//! an entity that changes hands keeps its order in the topic that both versions have. Not for long,
//! and not while the model of that version fails: either is a usual reason for the change. Decides
//! for one arm; [`super::stage`] asks before each chunk.

use std::time::Duration;

use forebay_core::PortResult;
use forebay_core::limits::ROUTE_CHANGE_WAIT_MAX_MS;
use forebay_core::prediction::Arm;

use crate::score::lane::Lane;

/// The turns of one arm.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    is_others: bool,
    /// Since when the arm might have gone on and gave way.
    gave_way_at: Option<Duration>,
}

impl Turn {
    /// Whether it was another's at the last look.
    pub(crate) fn is_others(&self) -> bool {
        self.is_others
    }

    /// Nobody has to wait: there is nothing to go on with.
    pub(crate) fn skip(&mut self) {
        self.is_others = false;
    }

    /// Whether another goes first now. To be asked where `arm` has room at its topic: what has none
    /// waits for the topic, however long, and not for another.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub(crate) fn look(&mut self, lane: &Lane, arm: Arm) -> PortResult<bool> {
        self.is_others = false;
        if lane.unrouted.is_empty() || lane.unrouted.contains(&arm) {
            return Ok(false);
        }
        let load = lane.load()?;
        let waits = |other: &Arm| other.role == arm.role && load.of(*other).scores > 0;
        let mut before = lane.unrouted.iter().filter(|other| waits(other));
        if before.any(|other| !lane.is_failing(*other)) {
            let now = lane.runtime().elapsed();
            let since = *self.gave_way_at.get_or_insert(now);
            let longest = Duration::from_millis(ROUTE_CHANGE_WAIT_MAX_MS);
            self.is_others = now.saturating_sub(since) < longest;
        }
        Ok(self.is_others)
    }
}
