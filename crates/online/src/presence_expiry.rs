//! Removal of keys that no permitted read can tell from keys that never were: those of a view with
//! a TTL whose newest event is older than TTL, windows and history together, and as long again
//! ([`forget_floor`]). Such a key has no tile left and answers NULL with status OUTSIDE_MAX_AGE;
//! once it is forgotten it answers NULL with status NOT_FOUND. Values never change.
//!
//! A key of a view without a TTL never dies (an empty window is a count of 0, a lifetime aggregate
//! and a latest value never expire), nor does one with lifetime aggregates under a TTL: the next
//! event brings their value back.
//!
//! The sweep looks at some presence records with each commit, and deletes in that commit's batch;
//! the key leaves the table with the publication. It decides by the floor of `expiry`, which is a
//! function of the log, never by a clock.

use std::sync::Arc;

use forebay_core::invariant;
use forebay_core::key::key_hash;
use forebay_core::time::Micros;

use crate::draft::{Draft, ForgottenKey};
use crate::error::OnlineResult;
use crate::fold::{Gathered, table_hash};
use crate::format;
use crate::shard::Shard;
use crate::sweep::Sweep;
use crate::view::{ViewRuntime, Views};
use crate::writer::Writer;

/// The event time below which a key's newest event makes the key forgettable; None where keys of
/// the view never die. `floor` is the view's floor for rows.
fn forget_floor(view: &ViewRuntime, floor: Micros, history_us: Micros) -> Option<Micros> {
    let folds_expired = view.folds_expired();
    forget_below(
        view.spec.ttl_us,
        folds_expired,
        view.reach_us,
        floor,
        history_us,
    )
}

fn forget_below(
    ttl_us: Option<Micros>,
    folds_expired: bool,
    reach_us: Micros,
    floor: Micros,
    history_us: Micros,
) -> Option<Micros> {
    let dies = ttl_us.is_some() && !folds_expired;
    dies.then(|| floor.saturating_sub(reach_us.max(history_us)))
}

impl Shard {
    /// Go on with the sweep over the presence records, or start one that is due.
    pub(crate) fn sweep_presence(
        &self,
        writer: &mut Writer,
        draft: &mut Draft<'_, '_>,
        views: &Views,
        gathered: &Gathered<'_>,
    ) -> OnlineResult<()> {
        let floor_of = |view: &ViewRuntime| {
            forget_floor(view, draft.floors.of(view.spec.id)?, self.history_us)
        };
        writer
            .presence_sweeper
            .start(views, floor_of, self.history_us);
        let Some(mut sweep) = writer.presence_sweeper.take() else {
            return Ok(());
        };
        let Some((view, floor)) = views
            .get(&sweep.view)
            .and_then(|view| Some((view, floor_of(view)?)))
        else {
            return Ok(());
        };
        // A score that became pending meanwhile may have lowered the floor.
        sweep.floor = sweep.floor.min(floor);
        let (dead, finished) = self.of_view(&view.spec, self.find_dead(&mut sweep))?;
        for key in dead {
            let is_dirty = gathered
                .keys
                .binary_search_by(|k| (k.view.spec.id, k.key).cmp(&(sweep.view, &key)))
                .is_ok();
            if !is_dirty && self.of_view(&view.spec, self.has_no_rows(view, &key))? {
                forget(draft, view, key);
            }
        }
        writer.presence_sweeper.put_back(sweep, finished);
        Ok(())
    }

    /// Keys among the next presence records whose newest expired event lies below the floor;
    /// whether the view's end was reached.
    fn find_dead(&self, sweep: &mut Sweep) -> OnlineResult<(Vec<Vec<u8>>, bool)> {
        let floor = sweep.floor;
        let mut dead: Vec<Vec<u8>> = Vec::new();
        let finished = sweep.step(
            &self.database,
            format::FAMILY_PRESENCE,
            |stored_key, value| {
                let gone_newest_us = format::decode_presence(value)
                    .map_err(|why| self.database.corrupt("a presence record", why))?;
                if gone_newest_us.is_some_and(|newest_us| newest_us < floor) {
                    let key = format::parse_presence_key(stored_key)
                        .map_err(|why| self.database.corrupt("a presence key", why))?;
                    dead.push(key.to_vec());
                }
                Ok(())
            },
        )?;
        Ok((dead, finished))
    }

    /// Whether no tile and no lifetime state of the key is left. The presence record alone does not
    /// tell: newer rows leave it as it is.
    fn has_no_rows(&self, view: &Arc<ViewRuntime>, key: &[u8]) -> OnlineResult<bool> {
        let id = view.spec.id;
        let hash = table_hash(id, key_hash(key));
        let state = self.table.read().peek(id, hash, key).cloned();
        match state {
            Some(state) => Ok(!state.has_rows() && state.folded.is_none()),
            None => self.database.has_no_tiles(id, key),
        }
    }
}

/// Delete the key's presence with this commit, and take it from the table when it is published.
fn forget(draft: &mut Draft<'_, '_>, view: &ViewRuntime, key: Vec<u8>) {
    let id = view.spec.id;
    invariant!(
        PresenceOnlyWithoutRows,
        view.spec.ttl_us.is_some() && !view.folds_expired(),
        "view {id}"
    );
    let mut prefix = Vec::new();
    format::key_prefix(&mut prefix, id, &key);
    draft.batch.delete(format::FAMILY_PRESENCE, &prefix);
    draft.forgotten.push(ForgottenKey {
        view: id,
        hash: table_hash(id, key_hash(&key)),
        key,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_of_views_with_a_ttl_and_without_lifetime_aggregates_die() {
        let cases = [
            (None, false, 40, 10, None),
            (None, true, 0, 10, None),
            (Some(50), true, 50, 10, None),
            (Some(50), false, 50, 10, Some(950)),
            (Some(30), false, 40, 10, Some(960)),
            (Some(30), false, 40, 700, Some(300)),
        ];
        for (ttl_us, is_lifetime, reach_us, history_us, expected) in cases {
            assert_eq!(
                forget_below(ttl_us, is_lifetime, reach_us, 1_000, history_us),
                expected,
                "TTL {ttl_us:?}, reach {reach_us}, history {history_us}"
            );
        }
    }
}
