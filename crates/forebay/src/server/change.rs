//! How a server starts, changes its definitions and stops. `control` decides the steps; here is
//! what each of them does to store, archive, models, serving and ingest.
//!
//! Start: the parts of the last run's definitions are bound, what cannot be started is set aside
//! alone, reads are answered, then ingest goes on. Apply: the new definitions are bound first, and
//! nothing is published before ingest starts with them. A rebuild (`rebuild`) is a change of states
//! alone. Stop: asked for without a lock, seen by every step that waits.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Result, anyhow};
use forebay_control::{ApplyFacts, Parts, Phase, Step, Stop, Which, execute, plan_apply};
use forebay_core::ports::{CompiledView, OnlineStore};
use forebay_core::view::{ViewId, ViewSpec};
use forebay_core::{PortError, PortResult};
use forebay_engine::{Catalog, Change, ChangeAction, DefinitionFile};
use forebay_pipeline::backfill::Filling;
use parking_lot::MutexGuard;

use super::app::{App, SERVING};
use super::catalog_file;
use super::wiring::{Binding, Wiring};
use crate::exit;

/// Which of two states of a view: the one that a rebuild makes, and the one that it replaces.
const STATE_ANEW: &str = "anew";
const STATE_BEFORE: &str = "before";
/// How long an apply waits for a start or for another change.
const CHANGE_WAIT: Duration = Duration::from_secs(30);
/// How long an apply waits for requests that began with a view that it drops.
const RETIRE_WAIT: Duration = Duration::from_secs(5);
/// Time between two looks at them.
const RETIRE_POLL: Duration = Duration::from_millis(20);
/// How long a stop waits for whoever changes the definitions.
const STOP_WAIT: Duration = Duration::from_secs(3);

/// One change of definitions under way.
pub(crate) struct Transition {
    current: Catalog,
    next: Catalog,
    /// What the new definitions run on, until ingest starts with it.
    wiring: Option<Wiring>,
    added: BTreeMap<String, Arc<dyn CompiledView>>,
    removed: BTreeMap<String, Retired>,
    /// How far each new view is filled.
    fillings: BTreeMap<String, Filling>,
}

/// A view that the new definitions do not have. Whoever still answers with it holds it.
struct Retired {
    id: ViewId,
    view: Weak<dyn CompiledView>,
}

impl Retired {
    fn of(view: &Arc<dyn CompiledView>) -> Self {
        Self {
            id: view.spec().id,
            view: Arc::downgrade(view),
        }
    }

    /// Wait until nobody answers with it any more, for a while at most: a request that began before
    /// the change would miss its state. The view must have left the catalog by now.
    fn wait_unused(&self, stop: &Stop) {
        let mut left = RETIRE_WAIT;
        while self.view.strong_count() > 0 && !left.is_zero() && stop.wait(RETIRE_POLL) {
            left = left.saturating_sub(RETIRE_POLL);
        }
    }
}

impl Transition {
    fn of(&self, which: Which) -> &Catalog {
        match which {
            Which::Current => &self.current,
            Which::Next => &self.next,
        }
    }

    fn added(&self, view: &str) -> Result<&Arc<dyn CompiledView>> {
        let known = self.added.get(view);
        known.ok_or_else(|| anyhow!("view {view} is no view of the new definitions"))
    }

    /// The state of a view that this change has made or leaves behind.
    fn id_of(&self, view: &str) -> Result<ViewId> {
        let added = self.added.get(view).map(|view| view.spec().id);
        let known = added.or_else(|| Some(self.removed.get(view)?.id));
        known.ok_or_else(|| anyhow!("view {view} is no view of this change"))
    }
}

/// As steps, logs and errors name a view: versions of one name live side by side for a while, and
/// so do two states of one version, of which `of_two` says which it is.
fn label(spec: &ViewSpec, of_two: Option<&str>) -> String {
    let which = of_two.map(|which| format!(" ({which})"));
    format!(
        "{} version {}{}",
        spec.name,
        spec.version,
        which.unwrap_or_default()
    )
}

impl App {
    /// Go on with the definitions of the last run. A part that cannot be started is set aside with
    /// its reason, and everything else runs.
    ///
    /// # Errors
    /// A store fails; the text names it.
    pub(crate) fn begin(&self) -> Result<()> {
        let _changing = self.changing.lock();
        let catalog = self.catalog();
        let wiring = self.bind(&catalog, Binding::Lenient)?;
        for part in &wiring.suspended {
            tracing::error!(
                kind = part.kind,
                name = part.name,
                reason = part.reason,
                "set aside; everything else runs"
            );
        }
        self.delete_leftovers(&catalog)?;
        self.prepare(&wiring)?;
        self.resume(catalog, wiring)?;
        self.life.running();
        Ok(())
    }

    /// Delete the state of views that no definition names: an apply was cut off.
    fn delete_leftovers(&self, catalog: &Catalog) -> Result<()> {
        let known: HashSet<ViewId> = catalog.views().values().map(|v| v.spec().id).collect();
        for view in self.store.views()? {
            if !known.contains(&view) {
                tracing::info!(view, "deletes the state of a view that no definition names");
                self.store.drop_view(view)?;
            }
        }
        Ok(())
    }

    /// What applying `files` would change. Changes nothing itself.
    ///
    /// # Errors
    /// A definition is wrong.
    pub(crate) fn plan(&self, files: &[DefinitionFile]) -> Result<Vec<Change>> {
        let planned = self.catalog().plan(files)?;
        self.bind(&planned.catalog, Binding::Strict)?;
        Ok(planned.changes)
    }

    /// Apply `files`. What can be refused is refused while ingest still runs; what fails after that
    /// brings back the definitions before.
    ///
    /// # Errors
    /// A definition is wrong, a store fails, or another change is under way; the text says what
    /// holds now.
    pub(crate) fn apply(&self, files: &[DefinitionFile]) -> Result<Vec<Change>> {
        let _changing = self.alone(CHANGE_WAIT)?;
        let current = self.catalog();
        let planned = current.plan(files)?;
        if !self.is_ingesting() {
            self.start_again(&current);
        }
        let changes = planned
            .changes
            .iter()
            .any(|c| c.action != ChangeAction::Unchanged);
        if !changes && self.is_ingesting() {
            return Ok(planned.changes);
        }
        let wiring = self.bind(&planned.catalog, Binding::Strict)?;
        self.switch((current, planned.catalog), wiring, changes)?;
        let changed = planned
            .changes
            .iter()
            .filter(|c| c.action != ChangeAction::Unchanged);
        tracing::info!(changes = changed.count(), "definitions applied");
        Ok(planned.changes)
    }

    /// The right to change the definitions, which one has at a time.
    ///
    /// # Errors
    /// Another one has it for longer than `wait`, or the server is still starting.
    pub(super) fn alone(&self, wait: Duration) -> Result<MutexGuard<'_, ()>> {
        let changing = self.changing.try_lock_for(wait);
        // A start may not have got this lock yet: ingest must not begin twice.
        let starts = self.life.phase() == Phase::Starting;
        Ok(changing.filter(|_| !starts).ok_or_else(|| self.busy())?)
    }

    /// Carry out the change from one catalog to the other, which runs on `wiring`; `changes` says
    /// whether any definition or state differs. Returns how far each new view was filled, by name.
    pub(super) fn switch(
        &self,
        (current, next): (Catalog, Catalog),
        wiring: Wiring,
        changes: bool,
    ) -> Result<BTreeMap<String, Filling>> {
        let removed = only_in(&current, &next, STATE_BEFORE);
        let mut change = Transition {
            added: only_in(&next, &current, STATE_ANEW),
            removed: removed
                .into_iter()
                .map(|(name, view)| (name, Retired::of(&view)))
                .collect(),
            current,
            next,
            wiring: Some(wiring),
            fillings: BTreeMap::new(),
        };
        let steps = plan_apply(&ApplyFacts {
            changes,
            ingesting: self.is_ingesting(),
            added: change.added.keys().cloned().collect(),
            removed: change.removed.keys().cloned().collect(),
        });
        let surroundings = (&self.life, &self.stop, self.clock.as_ref());
        let outcome = execute(self, &mut change, &steps, surroundings);
        let name_of = |label: &String| change.added[label].spec().name.clone();
        for label in change.added.keys() {
            self.fill_is_over(&name_of(label));
        }
        outcome?;
        let fillings = change.fillings.iter();
        Ok(fillings
            .map(|(label, f)| (name_of(label), f.clone()))
            .collect())
    }

    /// Ingest has failed: begin it anew with the definitions in force, once they are what a restart
    /// finds (a change that was undone may not have saved them). Where that fails too, the new
    /// definitions may mend it.
    pub(super) fn start_again(&self, current: &Catalog) {
        if let Err(error) = self.pause() {
            tracing::warn!(error = exit::words(&error), "ingest had failed");
        }
        let again = catalog_file::save(&self.settings.server.data_dir, current)
            .and_then(|()| self.bind(current, Binding::Lenient))
            .and_then(|wiring| self.resume(current.clone(), wiring));
        if let Err(error) = again {
            tracing::warn!(error = exit::words(&error), "ingest does not start again");
        }
    }

    fn busy(&self) -> PortError {
        let what = match self.life.phase() {
            Phase::Starting => "the server is still starting".to_owned(),
            Phase::Changing { step, rows, .. } => {
                let rows = rows.map(|(done, all)| format!(" ({done} of {all} rows)"));
                format!(
                    "another change is under way: {step}{}",
                    rows.unwrap_or_default()
                )
            }
            Phase::Running | Phase::Stopping => "the server is busy with another change".to_owned(),
        };
        let words = format!("{what}; try again when it is done");
        PortError::new(forebay_core::ErrorKind::FailedPrecondition, words)
    }

    /// Everybody who waits gives up soon; nothing is begun any more.
    pub(crate) fn ask_to_stop(&self) {
        self.life.stopping();
        self.reads
            .missing_because(SERVING, "the server is stopping");
        self.stop.ask();
    }

    /// Stop ingest: finish what was read. An apply that is under way gives up.
    ///
    /// # Errors
    /// The first error of any of its threads.
    pub(crate) fn stop(&self) -> Result<()> {
        self.ask_to_stop();
        // An apply that hangs in a store must not hold back the stop: it sees the wish when it is
        // back, and what is saved is what a restart finds, whatever step it was at.
        let changing = self.changing.try_lock_for(STOP_WAIT);
        if changing.is_none() {
            tracing::warn!("an apply that is under way does not end; stopping without it");
        }
        self.pause()
    }

    fn step(&self, change: &mut Transition, step: &Step) -> Result<()> {
        match step {
            Step::MakeTables => match &change.wiring {
                Some(wiring) => self.prepare(wiring),
                None => Ok(()),
            },
            Step::BeginView(view) => {
                let spec = change.added(view)?.spec();
                // What an apply that did not end left behind.
                self.store.drop_view(spec.id)?;
                Ok(self.store.register_view(Arc::clone(spec))?)
            }
            Step::FillBeside(name) => {
                let view = Arc::clone(change.added(name)?);
                let filling = change.fillings.entry(name.clone()).or_default();
                self.with_filler(&change.next, view.as_ref(), |filler, source| {
                    filler.beside(source, view.as_ref(), filling)
                })
            }
            Step::Pause => self.pause(),
            Step::FillRest(name) => {
                let view = Arc::clone(change.added(name)?);
                let filling = change.fillings.entry(name.clone()).or_default();
                self.with_filler(&change.next, view.as_ref(), |filler, source| {
                    filler.rest(source, view.as_ref(), filling)
                })
            }
            Step::Save(which) => {
                catalog_file::save(&self.settings.server.data_dir, change.of(*which))
            }
            Step::Resume(which) => {
                let catalog = change.of(*which).clone();
                let bound = change.wiring.take().filter(|_| *which == Which::Next);
                let wiring = match bound {
                    Some(wiring) => wiring,
                    None => self.bind(&catalog, Binding::Lenient)?,
                };
                // A resume that failed may have started ingest with the other definitions.
                self.pause()?;
                self.resume(catalog, wiring)
            }
            Step::DropView(view) => {
                if change.removed.contains_key(view) {
                    // The new definitions are in force: nothing here needs those before.
                    change.current = change.next.clone();
                }
                if let Some(retired) = change.removed.get(view) {
                    retired.wait_unused(&self.stop);
                }
                Ok(self.store.drop_view(change.id_of(view)?)?)
            }
        }
    }
}

impl Parts for App {
    type Change = Transition;

    fn carry_out(&self, change: &mut Transition, step: &Step) -> PortResult<()> {
        tracing::debug!(%step, "a step of a change");
        self.step(change, step)
            .map_err(|error| exit::port_error(&error))
    }
}

/// The views of `these` that `those` do not have, by label. One that they have in the same version
/// has another state there; `of_two` tells this one from it.
fn only_in(
    these: &Catalog,
    those: &Catalog,
    of_two: &str,
) -> BTreeMap<String, Arc<dyn CompiledView>> {
    let known: HashSet<ViewId> = those.views().values().map(|v| v.spec().id).collect();
    let only = these
        .views()
        .values()
        .filter(|v| !known.contains(&v.spec().id));
    only.map(|view| {
        let spec = view.spec();
        let twin = those.views().get(&spec.name);
        let twin = twin.filter(|twin| twin.spec().version == spec.version);
        (label(spec, twin.map(|_| of_two)), Arc::clone(view))
    })
    .collect()
}
