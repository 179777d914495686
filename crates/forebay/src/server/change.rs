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

use anyhow::{Context, Result, anyhow};
use forebay_control::{
    ApplyFacts, Around, Cause, Course, Parts, Phase, Step, Stop, Which, begin, begin_again, end,
    execute, log_stop, plan_apply, source_tables,
};
use forebay_core::ports::{CompiledView, ViewStates};
use forebay_core::source::SourceDef;
use forebay_core::view::{ViewId, ViewSpec};
use forebay_core::{PortError, PortResult};
use forebay_engine::{Catalog, Change, ChangeAction, DefinitionFile, ObjectKind};
use parking_lot::MutexGuard;

use super::app::{App, SERVING};
use super::catalog_file;
use super::suspended::left_aside;
use super::wiring::{Binding, Wiring};
use crate::exit;

/// Which of two states of a view: the one that a rebuild makes, and the one that it replaces.
const STATE_ANEW: &str = "anew";
const STATE_BEFORE: &str = "before";
/// How long an apply waits for a start or for another change.
const CHANGE_WAIT: Duration = Duration::from_secs(30);
/// Time between two looks at what the other change does.
const CHANGE_POLL: Duration = Duration::from_millis(100);
/// How long an apply waits for requests that began with a view that it drops.
const RETIRE_WAIT: Duration = Duration::from_secs(5);
/// Time between two looks at them.
const RETIRE_POLL: Duration = Duration::from_millis(20);
/// How long a stop waits for a change of the definitions that is under way.
const STOP_WAIT: Duration = Duration::from_secs(3);

/// One change of definitions under way.
pub(crate) struct Transition {
    current: Catalog,
    /// Those, and the new sources.
    sources: Catalog,
    next: Catalog,
    /// What the new definitions run on, until ingest starts with it.
    wiring: Option<Wiring>,
    added: BTreeMap<String, Arc<dyn CompiledView>>,
    /// Every view that only the definitions before or only the new ones have.
    states: BTreeMap<String, Retired>,
    /// Tables of sources that only the new definitions have.
    new_tables: Vec<String>,
    /// How the fill of the new views goes.
    course: Course,
    /// Archived rows that were read for each new view.
    filled: BTreeMap<String, u64>,
}

/// A view whose state may have to go. Reads that are under way hold the view.
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

    fn is_used(&self) -> bool {
        self.view.strong_count() > 0
    }

    /// Wait until nobody answers with it any more, for a while at most: a request that began before
    /// the change, or before its undoing, would miss its state. The view must have left the catalog
    /// by now.
    fn wait_unused(&self, stop: &Stop) {
        let mut left = RETIRE_WAIT;
        while self.is_used() && !left.is_zero() && stop.wait(RETIRE_POLL) {
            left = left.saturating_sub(RETIRE_POLL);
        }
    }
}

impl Transition {
    fn new(current: Catalog, next: Catalog, wiring: Option<Wiring>) -> Self {
        let added = only_in(&next, &current, STATE_ANEW);
        let removed = only_in(&current, &next, STATE_BEFORE);
        let both = added.iter().chain(&removed);
        let is_new = |table: &&String| !current.sources().contains_key(*table);
        Self {
            new_tables: next.sources().keys().filter(is_new).cloned().collect(),
            states: both
                .map(|(label, view)| (label.clone(), Retired::of(view)))
                .collect(),
            added,
            sources: current.clone(),
            current,
            next,
            wiring,
            course: Course::default(),
            filled: BTreeMap::new(),
        }
    }

    /// The view `label` goes: nothing here holds it any more, nor the definitions that have it.
    /// They are not in force: a new view goes when the change is undone, one of before after the
    /// change.
    fn retire(&mut self, label: &str) -> Result<&Retired> {
        if self.added.remove(label).is_some() {
            self.wiring = None;
            self.next = self.current.clone();
        } else {
            self.current = self.next.clone();
        }
        self.sources = self.current.clone();
        let known = self.states.get(label);
        known.ok_or_else(|| anyhow!("view {label} is no view of this change"))
    }

    fn of(&self, which: Which) -> &Catalog {
        match which {
            Which::Current => &self.current,
            Which::Sources => &self.sources,
            Which::Next | Which::Saved => &self.next,
        }
    }

    /// What a new view reads.
    fn source_of(&self, view: &Arc<dyn CompiledView>) -> Result<Arc<SourceDef>> {
        let source = self.next.sources().get(&view.spec().source);
        let source = source.context("a view reads a source that is not defined: a defect")?;
        Ok(Arc::clone(source))
    }

    fn added(&self, view: &str) -> Result<&Arc<dyn CompiledView>> {
        let known = self.added.get(view);
        known.ok_or_else(|| anyhow!("view {view} is no view of the new definitions"))
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
        let mut change = Transition::new(catalog.clone(), catalog, Some(wiring));
        Ok(begin(self, &mut change, self.around())?)
    }

    fn around(&self) -> Around<'_> {
        (&self.life, &self.stop, self.clock.as_ref())
    }

    /// What applying `files` would change. Changes nothing itself.
    ///
    /// # Errors
    /// A definition is wrong.
    pub(crate) fn plan(&self, files: &[DefinitionFile]) -> Result<Vec<Change>> {
        let planned = self.catalog().plan(files)?;
        let aside = left_aside(self.suspended(), &planned.changes);
        self.bind(&planned.catalog, Binding::Strict(&aside))?;
        Ok(planned.changes)
    }

    /// Apply `files`. What can be refused is refused while ingest still runs; what fails after that
    /// brings back the definitions before. Parts that are set aside start too where they can by
    /// now, also without any change.
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
        let aside = left_aside(self.suspended(), &planned.changes);
        if !changes && self.is_ingesting() && aside.is_empty() {
            return Ok(planned.changes);
        }
        let wiring = self.bind(&planned.catalog, Binding::Strict(&aside))?;
        let is_mended = wiring.suspended.len() < aside.len();
        self.switch((current, planned.catalog), wiring, changes || is_mended)?;
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
    ) -> Result<BTreeMap<String, u64>> {
        let mut change = Transition::new(current, next, Some(wiring));
        let unread = self.unread_sources(&change)?;
        if !unread.is_empty() {
            change.sources = change.current.plan(&unread)?.catalog;
        }
        let is_new = |label: &&String| change.added.contains_key(*label);
        let (added, removed) = change.states.keys().cloned().partition(|l| is_new(&l));
        let steps = plan_apply(&ApplyFacts {
            changes,
            ingesting: self.is_ingesting(),
            unread: !unread.is_empty(),
            added,
            removed,
        });
        let names = change.added.iter();
        let names: BTreeMap<String, String> = names
            .map(|(label, view)| (label.clone(), view.spec().name.clone()))
            .collect();
        let outcome = execute(self, &mut change, &steps, self.around());
        for name in names.values() {
            self.fill_is_over(name);
        }
        self.with_filler(|filler| {
            filler.release();
            Ok(())
        })?;
        outcome?;
        let filled = change.filled.into_iter();
        Ok(filled
            .map(|(label, rows)| (names[&label].clone(), rows))
            .collect())
    }

    /// The new sources, where a view of `change` is to be filled from what the archive has of one
    /// of them and the state has not: the definitions before were lost.
    fn unread_sources(&self, change: &Transition) -> Result<Vec<DefinitionFile>> {
        for view in change.added.values() {
            let name = &view.spec().source;
            let source = change.next.sources().get(name);
            let Some(source) = source.filter(|_| !change.current.sources().contains_key(name))
            else {
                continue;
            };
            let tables = source_tables(std::iter::once(source));
            if let Some(error) = self.table_looks.opened(tables).remove(name) {
                return Err(error.into());
            }
            if self.with_filler(|filler| filler.must_be_read(source))? {
                return Ok(new_sources(&change.current, &change.next));
            }
        }
        Ok(Vec::new())
    }

    /// Whether ingest ought to run and does not: it has ended by itself. One that stands for a
    /// table has not.
    pub(super) fn has_ended(&self) -> bool {
        let stands = {
            let running = self.running.lock();
            running.pipeline.is_none() && !running.aside.why.is_empty()
        };
        self.life.phase() == Phase::Running && !self.is_ingesting() && !stands
    }

    /// Begin ingest anew for `cause`, unless somebody changes the definitions, has begun it anew
    /// meanwhile, or stops the server.
    pub(super) fn begin_anew(&self, cause: &Cause) {
        let Some(_changing) = self.changing.try_lock() else {
            return;
        };
        let holds = match cause {
            Cause::Ended => self.has_ended(),
            Cause::Mended(aside) => self.running.lock().aside == *aside,
        };
        if holds && !self.stop.is_asked() {
            self.start_again(&self.catalog());
        }
    }

    /// Ingest has failed: begin it anew with the definitions in force. Where that fails too, the
    /// new definitions may mend it.
    pub(super) fn start_again(&self, current: &Catalog) {
        let mut change = Transition::new(current.clone(), current.clone(), None);
        if let Err(error) = begin_again(self, &mut change) {
            tracing::warn!(
                error = exit::words(&error.into()),
                "ingest does not start again"
            );
        }
    }

    /// The right to make a change that itself takes long: it waits for the short steps of another
    /// change, such as the start of ingest, and never for a fill, which may take hours.
    ///
    /// # Errors
    /// A fill is under way, or another change does not end.
    pub(super) fn alone_unless_filling(&self) -> Result<MutexGuard<'_, ()>> {
        let mut waited = Duration::ZERO;
        loop {
            let tried = self.alone(Duration::ZERO);
            let fills = matches!(self.life.phase(), Phase::Changing { fills: true, .. });
            let is_over = tried.is_ok() || fills || waited >= CHANGE_WAIT;
            if is_over || !self.stop.wait(CHANGE_POLL) {
                return tried;
            }
            waited += CHANGE_POLL;
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
        let catalog = self.catalog();
        let mut change = Transition::new(catalog.clone(), catalog, None);
        Ok(end(self, &mut change)?)
    }

    /// Stop ingest for `change`. Only what its new views read must be archived whole.
    fn pause_for(&self, change: &Transition) -> Result<()> {
        let sources = change.added.values().map(|view| change.source_of(view));
        let sources = sources.collect::<Result<Vec<_>>>()?;
        let stopped = self.pause()?;
        self.with_filler(|filler| filler.after(stopped, &sources))
    }

    fn step(&self, change: &mut Transition, step: &Step) -> Result<()> {
        match step {
            Step::DropUnnamed => self.begin_states(&change.next),
            Step::MakeTables => match &change.wiring {
                Some(wiring) => self.prepare(wiring),
                None => Ok(()),
            },
            Step::BeginView(view) => {
                let view = change.added(view)?;
                let source = change.source_of(view)?;
                self.refuse_aside(&source.name)?;
                self.with_filler(|filler| filler.begin(&source, view.as_ref()))
            }
            Step::FillBeside(name) => {
                let view = Arc::clone(change.added(name)?);
                let (source, course) = (change.source_of(&view)?, &mut change.course);
                self.with_filler(|filler| filler.beside(&source, view.as_ref(), course))
            }
            Step::CatchUp => {
                let views = change.added.values();
                let views = views.map(|view| Ok((change.source_of(view)?, Arc::clone(view))));
                let views = views.collect::<Result<Vec<_>>>()?;
                let course = &mut change.course;
                self.with_filler(|filler| filler.catch_up_with_ingest(&views, course))
            }
            Step::Pause => self.pause_for(change),
            Step::FillRest(name) => {
                let view = change.added(name)?;
                let source = change.source_of(view)?;
                let rows = self.with_filler(|filler| filler.rest(&source, view.as_ref()))?;
                change.filled.insert(name.clone(), rows);
                Ok(())
            }
            Step::Save(which) => {
                catalog_file::save(&self.settings.server.data_dir, change.of(*which))
            }
            Step::Resume(which) => {
                let catalog = change.of(*which).clone();
                let bound = match which {
                    Which::Next | Which::Saved => change.wiring.take(),
                    Which::Current | Which::Sources => None,
                };
                let wiring = match bound {
                    Some(wiring) => wiring,
                    None => self.bind(&catalog, Binding::Lenient)?,
                };
                // A resume that failed may have started ingest with the other definitions.
                log_stop(self.pause()?);
                self.resume(catalog, wiring)
            }
            Step::DropEmptyTables => self.drop_empty_tables(&change.new_tables),
            Step::DropView(view) => {
                let retired = change.retire(view)?;
                retired.wait_unused(&self.stop);
                Ok(self.store.drop_view(retired.id)?)
            }
            Step::DropLeftovers => self.drop_leftovers(&change.next),
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

/// The statements of the sources that `next` has and `current` has not.
fn new_sources(current: &Catalog, next: &Catalog) -> Vec<DefinitionFile> {
    let objects = next.state().objects.iter();
    let new = objects.filter(|object| {
        object.kind == ObjectKind::Source && !current.sources().contains_key(&object.name)
    });
    new.map(|object| DefinitionFile {
        path: object.file.clone(),
        text: object.text.clone(),
    })
    .collect()
}

/// The ids of the views of `catalog`.
fn named(catalog: &Catalog) -> HashSet<ViewId> {
    catalog.views().values().map(|v| v.spec().id).collect()
}

/// The views of `these` that `those` do not have, by label. One that they have in the same version
/// has another state there; `of_two` tells this one from it.
fn only_in(
    these: &Catalog,
    those: &Catalog,
    of_two: &str,
) -> BTreeMap<String, Arc<dyn CompiledView>> {
    let known = named(those);
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

#[cfg(test)]
pub(super) mod tests {
    use forebay_pipeline::SystemRuntime;

    use super::*;

    const DEFINITIONS: &str = "
        CREATE SOURCE events (k VARCHAR, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts)
            WITH (connector = 'kafka');
        CREATE ENTITY e (k VARCHAR);
        CREATE FEATURE VIEW v ENTITY e AS
            SELECT count(*) OVER (PARTITION BY k ORDER BY ts) AS c FROM events;";

    /// One view, `v`, and what it reads.
    pub(in crate::server) fn defined() -> Catalog {
        let file = DefinitionFile {
            path: "d.sql".to_owned(),
            text: DEFINITIONS.to_owned(),
        };
        let planned = Catalog::empty().plan(&[file]).expect("definitions");
        planned.catalog
    }

    #[test]
    fn a_state_goes_when_no_request_answers_from_it_whether_the_change_was_made_or_undone() {
        for label in ["v version 1 (anew)", "v version 1 (before)"] {
            let before = defined();
            let views = before.views_of("v").expect("a view");
            let anew = before.renewed(&views).expect("the same definitions");
            let of_label = if label.ends_with("(anew)") {
                &anew
            } else {
                &before
            };
            let request = Arc::clone(&of_label.views()["v"]);
            let mut change = Transition::new(before, anew, None);
            let retired = change.retire(label).expect("a view of the change");
            assert_eq!(retired.id, request.spec().id);
            assert!(retired.is_used(), "{label}: a request holds it");
            drop(request);
            assert!(!retired.is_used(), "{label}: nobody holds it");
        }
    }

    #[test]
    fn an_undone_change_waits_for_the_request_that_answers_from_its_view() {
        let system = tokio::runtime::Runtime::new().expect("a runtime");
        let runtime = SystemRuntime::new(system.handle().clone());
        let stop = Stop::new(Arc::new(runtime));
        let next = defined();
        let request = Arc::clone(&next.views()["v"]);
        let mut change = Transition::new(Catalog::empty(), next, None);
        let retired = change.retire("v version 1").expect("a view of the change");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| retired.wait_unused(&stop));
            assert!(stop.wait(3 * RETIRE_POLL));
            assert!(!waiting.is_finished(), "a request holds the view");
            drop(request);
            waiting.join().expect("it only waits");
        });
        assert!(!retired.is_used());
        // A request that does not end holds up a change for a bounded time.
        let next = defined();
        let _request = Arc::clone(&next.views()["v"]);
        let mut change = Transition::new(Catalog::empty(), next, None);
        stop.ask();
        let retired = change.retire("v version 1").expect("a view of the change");
        retired.wait_unused(&stop);
        assert!(retired.is_used());
    }

    #[test]
    fn the_new_sources_alone_can_be_planned_over_the_definitions_before() {
        let (before, next) = (Catalog::empty(), defined());
        let planned = before.plan(&new_sources(&before, &next));
        let planned = planned.expect("a source needs nothing").catalog;
        assert!(planned.sources().contains_key("events") && planned.views().is_empty());
        assert!(new_sources(&next, &next).is_empty());
    }
}
