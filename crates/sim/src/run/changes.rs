//! How the definitions of a seed's processes change: which change comes next, how a stop may cut it
//! short, and what must hold of the views that it has left.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::PortResult;
use forebay_core::ports::{At, FeatureReader, Runtime, StateHealth, ViewDamage};
use forebay_core::time::Micros;
use forebay_core::value::Value;
use forebay_core::view::ViewId;
use forebay_pipeline::backfill::Filling;
use forebay_testkit::{PlainService, StoreReader, StoredRow};

use super::Run;
use crate::definitions::{Definitions, EXTRA, NEXT, extra, looks_back_us, twin};
use crate::deployed::Routes;
use crate::oracle::Oracle;
use crate::recomputed::features_within;
use crate::server::Server;
use crate::world::{KEYS, RECENT, START_US, request_for};

/// Changes of definitions that came into force, by what they did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    /// Views that were dropped.
    pub dropped: u64,
    /// Views that came back with the text that they had before.
    pub came_back: u64,
    /// Views that got another text under the same name.
    pub next_versions: u64,
    /// Views that were dropped, or got another text, while a fill that was cut off had rows of
    /// them.
    pub unfilled: u64,
    /// Changes that a stop has cut short.
    pub cut_short: u64,
    /// Features of added views that were read and computed anew.
    pub read: u64,
    /// Deployments whose live version became another one.
    pub rerouted: u64,
    /// Shadow versions that were added, removed or exchanged.
    pub shadows: u64,
    /// Deployments that were dropped.
    pub undeployed: u64,
    /// Deployments that were created again.
    pub deployed_again: u64,
    /// Monitors that were dropped.
    pub unwatched: u64,
    /// Monitors that came late, or again.
    pub watched: u64,
    /// Changes of the deployment when events waited for it.
    pub while_pending: u64,
}

impl Changes {
    /// With `other`.
    pub fn add(&mut self, other: &Self) {
        self.dropped += other.dropped;
        self.came_back += other.came_back;
        self.next_versions += other.next_versions;
        self.unfilled += other.unfilled;
        self.cut_short += other.cut_short;
        self.read += other.read;
        self.rerouted += other.rerouted;
        self.shadows += other.shadows;
        self.undeployed += other.undeployed;
        self.deployed_again += other.deployed_again;
        self.while_pending += other.while_pending;
        self.unwatched += other.unwatched;
        self.watched += other.watched;
    }
}

impl Run {
    /// Change the definitions, while a few more events come. Faults may be in the way of it, or a
    /// stop of the process.
    pub(super) fn change(&mut self, server: &Arc<Server>) {
        if self.random.below(6) == 0 {
            self.stop_within(server);
        }
        let told = self.change_and_back(server);
        if told.is_err() && server.is_stopping() {
            self.met.changes.cut_short += 1;
        }
    }

    /// The same where nothing is in the way of it.
    pub(super) fn change_calmly(&mut self, server: &Server) {
        let told = self.change_and_back(server);
        told.expect("nothing is in the way of it");
    }

    /// One change; a deployment that it has dropped may be back soon.
    fn change_and_back(&mut self, server: &Server) -> PortResult<()> {
        self.change_to_other(server)?;
        let is_gone = self.disk.saved(&self.world.setup).routes.is_none();
        if is_gone && self.world.setup.scored && self.random.below(2) == 0 {
            self.change_to_other(server)?;
        }
        Ok(())
    }

    fn change_to_other(&mut self, server: &Server) -> PortResult<()> {
        let before = self.disk.saved(&self.world.setup);
        let next = self.other_definitions(&before);
        self.world
            .append_events(self.random.below(12), self.random.bits());
        if next.routes != before.routes && self.random.below(2) == 0 {
            server.silence_models(Duration::from_secs(30));
            let some = Duration::from_millis(self.random.below(2_000) as u64);
            self.runtime.pause(some);
        }
        let (unfilled, waiting) = (self.unfilled(&before), self.world.store.unfinished().0);
        server.apply(&next)?;
        self.note_views(&before, &next, &unfilled);
        self.note_routes(before.routes, next.routes, waiting > 0);
        let changes = &mut self.met.changes;
        changes.unwatched += u64::from(before.monitored && !next.monitored);
        changes.watched += u64::from(!before.monitored && next.monitored);
        Ok(())
    }

    fn other_definitions(&mut self, before: &Definitions) -> Definitions {
        let mut views = BTreeSet::new();
        for first in EXTRA {
            let known = [first, twin(first)];
            let of_name = |views: &BTreeSet<ViewId>| known.into_iter().find(|v| views.contains(v));
            // One that was dropped comes back more often than another text.
            match self.random.below(8) {
                0..=2 => views.extend(of_name(&before.views)),
                3 => {}
                4 => drop(views.insert(first)),
                5 => drop(views.insert(twin(first))),
                _ => views.extend(of_name(&self.dropped)),
            }
        }
        let routes = self.other_routes(before.routes);
        let monitored = match before.monitored {
            _ if routes.is_none() => false,
            true => self.random.below(6) > 0,
            false => self.world.setup.monitored && self.random.below(4) > 0,
        };
        Definitions {
            views,
            routes,
            monitored,
        }
    }

    /// The deployment stays as it is, goes, comes, or gets other routes.
    fn other_routes(&mut self, before: Option<Routes>) -> Option<Routes> {
        let setup = &self.world.setup;
        if !setup.scored || self.random.below(3) == 0 {
            return before;
        }
        let live = 1 + self.random.below(3);
        let shadow = 2 + self.random.below(3);
        let number = |version: usize| u32::try_from(version).expect("few");
        let routes = Routes {
            live: number(live),
            shadow: (shadow != live && shadow < 4).then_some(number(shadow)),
        };
        (before.is_none() || self.random.below(3) > 0).then_some(routes)
    }

    /// Somebody asks for the stop of the process soon.
    fn stop_within(&mut self, server: &Arc<Server>) {
        let soon = Duration::from_millis(self.random.below(4_000) as u64);
        let (server, runtime) = (Arc::clone(server), self.runtime.clone());
        let stop = async move {
            runtime.sleep(soon).await;
            server.ask_to_stop();
        };
        self.runtime.spawn_task("stop", Box::pin(stop));
    }

    /// Views beyond `before` of which a fill that was cut off has rows.
    fn unfilled(&self, before: &Definitions) -> BTreeSet<ViewId> {
        let all = EXTRA.iter().chain(&NEXT).copied();
        let others = all.filter(|view| !before.views.contains(view));
        let is_begun = |view: &ViewId| {
            let filling = Filling::of(&self.world.store, *view).expect("in memory");
            filling.is_begun()
        };
        others.filter(is_begun).collect()
    }

    fn note_routes(&mut self, before: Option<Routes>, next: Option<Routes>, waits: bool) {
        let changes = &mut self.met.changes;
        changes.while_pending += u64::from(before != next && waits);
        match (before, next) {
            (Some(before), Some(next)) => {
                changes.rerouted += u64::from(before.live != next.live);
                changes.shadows += u64::from(before.shadow != next.shadow);
            }
            (Some(_), None) => changes.undeployed += 1,
            (None, Some(_)) => changes.deployed_again += 1,
            (None, None) => {}
        }
    }

    fn note_views(
        &mut self,
        before: &Definitions,
        next: &Definitions,
        unfilled: &BTreeSet<ViewId>,
    ) {
        let changes = &mut self.met.changes;
        for view in before.views.difference(&next.views) {
            let is_next = next.views.contains(&twin(*view));
            changes.next_versions += u64::from(is_next);
            changes.dropped += u64::from(!is_next);
            self.dropped.insert(*view);
        }
        let back = next.views.difference(&before.views);
        changes.came_back += back.filter(|view| self.dropped.contains(view)).count() as u64;
        changes.unfilled += unfilled.difference(&next.views).count() as u64;
    }

    /// Drop the views that are set aside, and define them again, which makes their state anew.
    pub(super) fn make_anew(&mut self, server: &Server) {
        let damages = self.world.store.set_aside();
        let aside: BTreeSet<ViewId> = damages.iter().map(|damage| damage.view).collect();
        let saved = self.disk.views();
        assert!(aside.is_subset(&saved), "{aside:?} of {saved:?}");
        // What other shards have of them is as it should be.
        for view in &aside {
            let expected = self.rows_as(*view);
            for (shard, rows) in self.rows(*view).iter().enumerate() {
                let is_aside = |d: &ViewDamage| d.view == *view && usize::from(d.shard) == shard;
                let is_right = damages.iter().any(is_aside) || *rows == expected[shard];
                assert!(
                    is_right,
                    "view {view} is not what it would be in shard {shard}"
                );
            }
        }
        for views in [&saved - &aside, saved] {
            let applied = server.apply_views(&views);
            applied.expect("nothing is in the way of it");
        }
        self.met.made_anew += aside.len() as u64;
    }

    /// A view that definitions have added is what it would be had it been there from the first
    /// event, and one that they do not have has left nothing.
    pub(super) fn check_extra(&mut self) {
        let saved = self.disk.views();
        let oracle = Oracle::of(&self.world);
        for view in EXTRA.into_iter().chain(NEXT) {
            let rows = self.rows(view);
            if saved.contains(&view) {
                let expected = self.rows_as(view);
                let lacking = difference(&expected, &rows);
                let beyond = difference(&rows, &expected);
                assert!(
                    rows == expected,
                    "view {view} is not what it would be: lacks {lacking:?}, has {beyond:?} beyond"
                );
                self.check_reads(view, &oracle);
            } else {
                let filling = Filling::of(&self.world.store, view).expect("in memory");
                assert!(
                    filling.is_begun() || rows.iter().all(Vec::is_empty),
                    "dropped view {view} has rows, and no fill goes on with them"
                );
            }
        }
    }

    /// What a service answers from `view`, for every key at some instants, is what the log says.
    fn check_reads(&mut self, view: ViewId, oracle: &Oracle) {
        let service = PlainService::new("extra", extra(&self.world, view));
        let reader = StoreReader::new(Arc::new(self.world.store.clone()), Vec::new());
        let newest = oracle.accepted.iter().map(|row| row.time_us).max();
        let spread = (newest.unwrap_or(START_US) - START_US).max(1);
        for key in KEYS {
            let of_spread = self.random.below(1_000_000) as Micros;
            let at = START_US + spread / 1_000 * of_spread / 1_000;
            let request = request_for(key);
            let answer = reader.read(&service, &request, At::Instant(at));
            let answer = answer.expect("readable").features;
            let value = |column: usize| {
                let value = Value::from_array(answer.column(column).as_ref(), 0);
                match value.expect("a feature") {
                    Value::Int(count) => count as f64,
                    Value::Float(total) => total,
                    _ => 0.0,
                }
            };
            let expected = features_within(oracle, key, at, looks_back_us(view));
            assert_eq!((value(0), value(1)), expected, "view {view}: {key} at {at}");
            self.met.changes.read += 1;
        }
    }

    pub(super) fn rows(&self, view: ViewId) -> Vec<Vec<StoredRow>> {
        let mut rows = self.world.store.rows(view);
        rows.iter_mut().flatten().for_each(|row| row.view = 0);
        rows
    }

    /// What `view` would have, by the rows of [`RECENT`]: those are compared with the log.
    fn rows_as(&self, view: ViewId) -> Vec<Vec<StoredRow>> {
        let mut rows = self.rows(RECENT);
        for row in rows.iter_mut().flatten() {
            let earliest = row.watermark_us.map(|mark| mark - looks_back_us(view));
            row.late = earliest.is_some_and(|earliest| row.time_us < earliest);
        }
        rows
    }
}

/// Rows of `these` that `those` do not have.
fn difference<'a>(these: &'a [Vec<StoredRow>], those: &[Vec<StoredRow>]) -> Vec<&'a StoredRow> {
    let missing = |row: &&StoredRow| !those.iter().flatten().any(|other| other == *row);
    these.iter().flatten().filter(missing).collect()
}
