//! Whose turn it is after a change of routes: in each shard what waits for another version and lies
//! before an arm's own goes first, so that an entity that changes hands keeps its order in the
//! topic that both versions have, also where the change is taken back. Not for long, and not while
//! the model of that version fails: either is a usual reason for the change. Decides for one arm;
//! [`super::stage`] asks before each chunk.

use std::time::Duration;

use forebay_core::PortResult;
use forebay_core::limits::ROUTE_CHANGE_WAIT_MAX_MS;
use forebay_core::prediction::Arm;

use crate::score::lane::Lane;

/// The turns of one arm.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    is_others: bool,
    /// When the arm first saw that something waits for another version.
    seen_at: Option<Duration>,
}

impl Turn {
    /// Whether all that the arm could go on with was another's to precede at the last look.
    pub(crate) fn is_others(&self) -> bool {
        self.is_others
    }

    /// Nobody has to wait: there is nothing to go on with, or something that comes first.
    pub(crate) fn skip(&mut self) {
        self.is_others = false;
    }

    /// All that there is to go on with lies behind what [`Self::ends`] said.
    pub(crate) fn give_way(&mut self) {
        self.is_others = true;
    }

    /// For each shard the place from which on others go before `arm`; the greatest number where
    /// none does. To be asked where `arm` has room at its topic: what has none waits for the topic,
    /// however long, and not for another.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub(crate) fn ends(&mut self, lane: &Lane, arm: Arm) -> PortResult<Vec<u64>> {
        let store = &lane.parts.store;
        let mut ends = vec![u64::MAX; usize::from(store.shards())];
        if lane.unrouted.is_empty() {
            return Ok(ends);
        }
        // Arms that both stay on their routes keep no order with each other: one would wait for
        // every event of the other.
        let changes = |other: &Arm| lane.unrouted.contains(other) || lane.unrouted.contains(&arm);
        let load = lane.load()?;
        let others = load.arms.keys().copied().filter(|other| {
            *other != arm && other.role == arm.role && changes(other) && load.of(*other).scores > 0
        });
        let others: Vec<(Arm, bool)> = others
            .map(|other| (other, lane.is_failing(other)))
            .collect();
        for other in self.before(&others, lane.runtime().elapsed()) {
            for shard in 0..store.shards() {
                let first = store.pending(shard, &lane.name, other, 0, 1)?;
                if let Some(first) = first.first() {
                    let end = &mut ends[usize::from(shard)];
                    *end = (*end).min(first.sequence);
                }
            }
        }
        Ok(ends)
    }

    /// Which of `others`, for which something waits, go first as far as they lie before; of each it
    /// is said whether it fails. The time runs from the first look on, whether they fail or not: a
    /// model that comes back later does not stop a version that has long been at work.
    fn before(&mut self, others: &[(Arm, bool)], now: Duration) -> Vec<Arm> {
        if others.is_empty() {
            return Vec::new();
        }
        let seen_at = *self.seen_at.get_or_insert(now);
        if now.saturating_sub(seen_at) >= Duration::from_millis(ROUTE_CHANGE_WAIT_MAX_MS) {
            return Vec::new();
        }
        let well = others.iter().filter(|(_, fails)| !fails);
        well.map(|(other, _)| *other).collect()
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::prediction::Role;

    use super::*;

    #[test]
    fn others_go_first_for_so_long_since_they_were_seen_whether_they_failed_or_not() {
        let role = Role::Live;
        let (old, older) = (Arm { version: 1, role }, Arm { version: 2, role });
        let longest = Duration::from_millis(ROUTE_CHANGE_WAIT_MAX_MS);
        let (soon, late) = (Duration::from_secs(1), Duration::from_secs(100));
        let fails = [(old, true), (older, true)];
        let one_is_well = [(old, true), (older, false)];
        let well = [(old, false), (older, false)];
        let mut turn = Turn::default();
        assert_eq!(turn.before(&[], Duration::ZERO), []);
        assert_eq!(turn.before(&fails, late), []);
        assert_eq!(turn.before(&one_is_well, late + soon), [older]);
        assert_eq!(turn.before(&well, late + soon), [old, older]);
        assert_eq!(turn.before(&well, late + longest), []);
    }
}
