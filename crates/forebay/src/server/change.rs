//! How a server starts, changes its definitions and stops. `control` decides the steps; here is
//! what each of them does to store, archive, models, serving and ingest.
//!
//! Start: the parts of the last run's definitions are bound, what cannot be started is set aside
//! alone, reads are answered, then ingest goes on. Apply: the new definitions are bound first, and
//! nothing is published before ingest starts with them. A rebuild (`rebuild`) is a change of states
//! alone. Stop: asked for without a lock, seen by every step that waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use forebay_control::{
    ApplyFacts, Around, Cause, ChangeFailed, Parts, Phase, Step, Which, begin, begin_again, end,
    execute, log_stop, plan_apply, source_tables,
};
use forebay_core::PortResult;
use forebay_core::ports::ViewStates;
use forebay_engine::{Catalog, CatalogPlan, Change, ChangeAction, DefinitionFile, ObjectKind};

use super::app::{App, SERVING};
use super::catalog_file;
use super::plannings::Caller;
use super::suspended::left_aside;
use super::transition::Transition;
use super::wiring::{Binding, Wiring};
use crate::exit;

/// What an apply has planned before it has the right to change anything.
struct Ahead {
    base: Catalog,
    in_force: Catalog,
    planned: Result<CatalogPlan>,
}

impl Ahead {
    /// Whether it was planned over these definitions, beside those in force.
    fn is_over(&self, base: &Catalog, in_force: &Catalog) -> bool {
        self.base.is_same(base) && self.in_force.is_same(in_force)
    }
}

/// How long a stop waits for a change of the definitions that is under way.
const STOP_WAIT: Duration = Duration::from_secs(3);

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
        let mut change = Transition::new((catalog.clone(), catalog), Some(wiring), &self.stop);
        Ok(begin(self, &mut change, self.around())?)
    }

    fn around(&self) -> Around<'_> {
        (&self.life, &self.stop, self.clock.as_ref())
    }

    /// What applying `files` would change. Changes nothing itself.
    ///
    /// # Errors
    /// A definition is wrong.
    pub(crate) fn plan(&self, files: &[DefinitionFile], caller: &Caller) -> Result<Vec<Change>> {
        let (planned, _) = self.planned(&self.wished(), files, caller)?;
        Ok(planned.changes)
    }

    /// `files` over the definitions `base`, with what they run on; nothing is published of it.
    pub(super) fn planned(
        &self,
        base: &Catalog,
        files: &[DefinitionFile],
        caller: &Caller,
    ) -> Result<(CatalogPlan, Wiring)> {
        let planned = self.plan_over(base, &self.catalog(), files, caller)?;
        let aside = left_aside(self.suspended(), &planned.changes);
        let wiring = self.bind(&planned.catalog, Binding::Strict(&aside))?;
        Ok((planned, wiring))
    }

    /// Apply `files`. What can be refused is refused while ingest still runs; what fails after that
    /// brings back the definitions before. Parts that are set aside start too where they can by
    /// now, also without any change. A change that fills views is taken over ([`turn`]).
    ///
    /// [`turn`]: super::turn
    ///
    /// # Errors
    /// A definition is wrong, a store fails, or another change is under way; the text says what
    /// holds now.
    pub(crate) fn apply(&self, files: &[DefinitionFile], caller: &Caller) -> Result<Vec<Change>> {
        self.apply_over(files, caller, false)
    }

    /// As [`Self::apply`], once for a start: a change that brings `files` already is waited for,
    /// and one that takes this one over brings them.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub(crate) fn apply_first(&self, files: &[DefinitionFile]) -> Result<Vec<Change>> {
        let outcome = self.apply_over(files, &Caller::stays(), true);
        match outcome.as_ref().err().and_then(anyhow::Error::downcast_ref) {
            Some(failed) if ChangeFailed::is_taken_over(failed) => {
                tracing::info!("another apply took the definitions of this start over");
                Ok(Vec::new())
            }
            _ => outcome,
        }
    }

    fn apply_over(
        &self,
        files: &[DefinitionFile],
        caller: &Caller,
        waits: bool,
    ) -> Result<Vec<Change>> {
        // Before the right to change anything is taken: it may last, and others want that right.
        let ahead = self.plan_ahead(files, caller);
        // A change that is under way may wait for views to go that were planned over.
        let (_turn, ahead) = match self.alone() {
            Ok(changing) => ((changing, None), Some(ahead)),
            Err(_) => {
                drop(ahead);
                (self.alone_to_apply(files, caller, waits)?, None)
            }
        };
        let current = self.catalog();
        let left = self.takeover.lock().left().cloned();
        let is_left = left.is_some();
        let base = left.as_ref().unwrap_or(&current);
        let planned = match ahead.filter(|ahead| ahead.is_over(base, &current)) {
            Some(ahead) => ahead.planned?,
            None => self.plan_over(base, &current, files, caller)?,
        };
        // Its views may have to go: nobody may hold them then.
        drop(left);
        if !self.is_ingesting() {
            self.start_again(&current);
        }
        let changes = is_left || differs(&planned);
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

    /// Plan `files` over what they would be applied to now.
    fn plan_ahead(&self, files: &[DefinitionFile], caller: &Caller) -> Ahead {
        let (base, in_force) = (self.wished(), self.catalog());
        let planned = self.plan_over(&base, &in_force, files, caller);
        Ahead {
            base,
            in_force,
            planned,
        }
    }

    /// Carry out the change from one catalog to the other, which runs on `wiring`; `changes` says
    /// whether any definition or state differs. Returns how far each new view was filled, by name.
    pub(super) fn switch(
        &self,
        (current, next): (Catalog, Catalog),
        wiring: Wiring,
        changes: bool,
    ) -> Result<BTreeMap<String, u64>> {
        let mut change = Transition::new((current, next), Some(wiring), &self.stop);
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
        let own = change.own.clone();
        if let Some(brings) = &change.for_others {
            self.takeover.lock().begin(brings, &own);
        }
        let outcome = execute(self, &mut change, &steps, &own, self.around());
        let gave_way = outcome.as_ref().is_err_and(ChangeFailed::is_taken_over);
        self.takeover.lock().end(&change.next, gave_way);
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
        let mut change = Transition::new((current.clone(), current.clone()), None, &self.stop);
        if let Err(error) = begin_again(self, &mut change) {
            tracing::warn!(
                error = exit::words(&error.into()),
                "ingest does not start again"
            );
        }
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
        let mut change = Transition::new((catalog.clone(), catalog), None, &self.stop);
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
                self.with_filler_until(&change.own, |filler| filler.begin(&source, view.as_ref()))
            }
            Step::FillBeside(name) => {
                let view = Arc::clone(change.added(name)?);
                let (source, course) = (change.source_of(&view)?, &mut change.course);
                self.with_filler_until(&change.own, |filler| {
                    filler.beside(&source, view.as_ref(), course)
                })
            }
            Step::CatchUp => {
                let views = change.added.values();
                let views = views.map(|view| Ok((change.source_of(view)?, Arc::clone(view))));
                let views = views.collect::<Result<Vec<_>>>()?;
                let course = &mut change.course;
                self.with_filler_until(&change.own, |filler| {
                    filler.catch_up_with_ingest(&views, course)
                })
            }
            Step::Pause => self.pause_for(change),
            Step::Level => {
                let sources = self.scored_by_others(change)?;
                self.with_filler(|filler| {
                    filler.level(&sources, &mut |step| self.carry_out(change, step))
                })
            }
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

/// Whether `planned` changes any definition.
pub(super) fn differs(planned: &CatalogPlan) -> bool {
    let mut changes = planned.changes.iter();
    changes.any(|change| change.action != ChangeAction::Unchanged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::transition::tests::defined;

    #[test]
    fn the_new_sources_alone_can_be_planned_over_the_definitions_before() {
        let (before, next) = (Catalog::empty(), defined());
        let planned = before.plan(&new_sources(&before, &next));
        let planned = planned.expect("a source needs nothing").catalog;
        assert!(planned.sources().contains_key("events") && planned.views().is_empty());
        assert!(new_sources(&next, &next).is_empty());
    }
}
