//! The catalog: all applied definitions, checked and compiled. Immutable; applying files makes
//! another one, so that what runs goes on with the one that it has.
//!
//! Texts come from files ([`read_definitions`]) or from a saved [`CatalogState`]; what leaves are
//! compiled views, services and labels for the pipeline, the reader, the trainer and the monitors.
//! Applying is additive and idempotent: the same text over the same dependencies is unchanged, any
//! other is a new version, and a new version of a view is a new id.

mod answer;
mod build;
mod change;
mod checks;
mod compiled;
mod files;
mod inner;
mod kinds;
mod planner;
mod references;
mod state;
#[cfg(test)]
mod tests;
mod trial;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use forebay_core::definition::{DeploymentDef, ModelDef};
use forebay_core::ports::{CompiledService, CompiledView};
use forebay_core::source::SourceDef;
use forebay_core::view::ViewId;

pub use answer::{Answer, AnswerTable};
pub use change::{Change, ChangeAction};
pub use files::{DefinitionFile, read_definitions};
pub use inner::MonitorPlan;
pub(crate) use kinds::{KINDS, Kind};
pub use planner::Planning;
pub use state::{CatalogState, DroppedState, ObjectState};
pub use trial::{Tried, ViewTrial};

use crate::error::{EngineError, Result, listed};
use crate::parse::{ObjectKind, parse_file};
use crate::patience::Patience;
use crate::scalar::Branch;
use crate::service::{FeatureRead, Service};
use crate::session::Session;
use crate::view::View;
use build::Builder;
use inner::Inner;
use wanted::net_effect;

/// Definitions, checked and compiled. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Catalog {
    inner: Arc<Inner>,
}

impl Catalog {
    /// Without any definition.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            inner: Arc::new(Inner::new(Session::new())),
        }
    }

    /// From what [`Self::state`] gave earlier. Ids and versions stay; see [`Self::outdated`] for
    /// what a build whose functions mean something else makes of them.
    ///
    /// A definition that does not compile any more, and what depends on it, is in [`Self::broken`];
    /// everything else is as it was.
    ///
    /// # Errors
    /// Another format, or a damaged catalog.
    pub fn load(state: &CatalogState) -> Result<Self> {
        let (empty, state) = (Self::empty(), state.clone());
        planner::run(move |patience| {
            let inner = Builder::new(&empty.inner, patience).load(&state)?;
            Ok(Self {
                inner: Arc::new(inner),
            })
        })
    }

    /// How many definitions were planned from their texts when this catalog was made; all others
    /// are bound from what was compiled of them before.
    #[must_use]
    pub fn planned(&self) -> usize {
        self.inner.planned
    }

    /// What to keep, so that [`Self::load`] makes the same catalog again.
    #[must_use]
    pub fn state(&self) -> &CatalogState {
        &self.inner.state
    }

    /// What applying `files` would change, and the catalog that results. Nothing is applied.
    ///
    /// # Errors
    /// The first thing that is wrong, with file, line and column.
    pub fn plan(&self, files: &[DefinitionFile]) -> Result<CatalogPlan> {
        self.plan_beside(files, None)
    }

    /// As [`Self::plan`], over definitions that are not `in_force` yet: an object that comes to be
    /// what it is in force keeps its version there, and a view its state.
    ///
    /// # Errors
    /// As [`Self::plan`].
    pub(crate) fn plan_beside(
        &self,
        files: &[DefinitionFile],
        in_force: Option<&Self>,
    ) -> Result<CatalogPlan> {
        planner::run(self.plan_of(files, in_force))
    }

    /// As [`Self::plan_beside`], for who does not wait for ever: the answer is a future, and
    /// planning goes on for as long as `patience` says. What is left behind when the future is
    /// dropped ends when it asks next.
    ///
    /// # Errors
    /// The system gives no thread. The future has the other errors.
    pub fn planning(
        &self,
        files: &[DefinitionFile],
        in_force: Option<&Self>,
        patience: &Arc<Patience>,
    ) -> Result<Planning<CatalogPlan>> {
        planner::start(patience, self.plan_of(files, in_force))
    }

    /// What plans `files`.
    fn plan_of(
        &self,
        files: &[DefinitionFile],
        in_force: Option<&Self>,
    ) -> impl FnOnce(&Arc<Patience>) -> Result<CatalogPlan> + Send + use<> {
        let (before, files) = (self.clone(), files.to_vec());
        let in_force = in_force.cloned();
        move |patience| {
            let mut statements = Vec::new();
            for file in &files {
                statements.extend(parse_file(&file.path, &file.text, patience)?);
            }
            let in_force = in_force.as_ref().map(|catalog| catalog.inner.as_ref());
            let builder = Builder::new(&before.inner, patience).beside(in_force);
            let (changes, inner) = builder.apply(net_effect(statements)?)?;
            Ok(CatalogPlan {
                changes,
                catalog: Self {
                    inner: Arc::new(inner),
                },
            })
        }
    }

    /// Whether both are one and the same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// The views that `name` stands for: the view of that name, or else all that read the source of
    /// that name. A view and a source may have one name; the view goes first, since more than it is
    /// no one's wish who named a view.
    ///
    /// # Errors
    /// There is neither, or the source has no view; the text lists the known names.
    pub fn views_of(&self, name: &str) -> Result<BTreeSet<String>> {
        if self.views().contains_key(name) {
            return Ok(BTreeSet::from([name.to_owned()]));
        }
        let of_source = |(_, view): &(&String, &Arc<dyn CompiledView>)| view.spec().source == name;
        let views = self.views().iter().filter(of_source);
        let views: BTreeSet<String> = views.map(|(view, _)| view.clone()).collect();
        if !views.is_empty() {
            return Ok(views);
        }
        let (known, sources) = (listed(self.views().keys()), listed(self.sources().keys()));
        Err(EngineError::NotFound(
            if self.sources().contains_key(name) {
                format!("no feature view reads source {name}; known views: {known}")
            } else {
                format!(
                    "there is no feature view and no source {name}; known views: {known}; known \
                     sources: {sources}"
                )
            },
        ))
    }

    /// The same definitions, with new ids of `views`: for the store they are other views, whose
    /// state is yet to be made.
    ///
    /// # Errors
    /// A text does not compile any more: a defect.
    pub fn renewed(&self, views: &BTreeSet<String>) -> Result<Self> {
        let (before, views) = (self.clone(), views.clone());
        planner::run(move |patience| {
            let inner = Builder::new(&before.inner, patience).renew(&views)?;
            Ok(Self {
                inner: Arc::new(inner),
            })
        })
    }

    /// Views whose definition means something else than when their state was begun: functions of
    /// this build differ, or the saved text was changed. No row may be folded into such a state or
    /// read from it; [`Self::renewed`] and a definition applied anew end that, with a new
    /// version of the view and of each service that joins it. Another service whose own expressions
    /// mean something else has its new version from [`Self::load`] on.
    #[must_use]
    pub fn outdated(&self) -> &BTreeSet<String> {
        &self.inner.outdated
    }

    /// Saved definitions that this build does not take. They are part of [`Self::state`] as they
    /// were saved, and of nothing else, until an apply replaces or drops them.
    pub fn broken(&self) -> impl Iterator<Item = BrokenDefinition<'_>> {
        let broken = self.inner.broken.values();
        broken.map(|broken| BrokenDefinition {
            kind: broken.state.kind,
            name: &broken.state.name,
            view_id: broken.state.view_id,
            why: &broken.why,
        })
    }

    /// Ids of all views that are defined, also of those that do not compile.
    pub fn view_ids(&self) -> impl Iterator<Item = ViewId> {
        let objects = self.inner.state.objects.iter();
        objects.filter_map(|object| object.view_id)
    }

    /// Sources by name.
    #[must_use]
    pub fn sources(&self) -> &BTreeMap<String, Arc<SourceDef>> {
        &self.inner.sources
    }

    /// Feature views by name.
    #[must_use]
    pub fn views(&self) -> &BTreeMap<String, Arc<dyn CompiledView>> {
        &self.inner.views
    }

    /// Feature services by name.
    #[must_use]
    pub fn services(&self) -> &BTreeMap<String, Arc<dyn CompiledService>> {
        &self.inner.services
    }

    /// Model versions, by name and version.
    #[must_use]
    pub fn models(&self) -> &[ModelDef] {
        &self.inner.models
    }

    /// Deployments by name.
    #[must_use]
    pub fn deployments(&self) -> &BTreeMap<String, DeploymentDef> {
        &self.inner.deployments
    }

    /// Monitors by name.
    #[must_use]
    pub fn monitors(&self) -> &BTreeMap<String, MonitorPlan> {
        &self.inner.monitors
    }

    /// For each feature of the view `name` the aggregates that it reads, by their place in its
    /// spec.
    #[must_use]
    pub fn aggregates_of(&self, name: &str) -> &[Vec<usize>] {
        self.view(name).map_or(&[], |view| view.aggregates())
    }

    /// For each feature of the service `name` the features of its views that it reads.
    #[must_use]
    pub fn reads_of(&self, name: &str) -> &[Vec<FeatureRead>] {
        let service = self.inner.own_services.get(name);
        service.map_or(&[], |service| service.reads())
    }

    /// Note from now on, for the coverage of tests, which branches of CASE rows take in views and
    /// services. It costs every evaluation some time.
    pub fn trace_branches(&self) {
        self.inner.own_views.values().for_each(|view| view.trace());
        let services = self.inner.own_services.values();
        services.for_each(|service| service.trace());
    }

    /// The branches of CASE in the view or service `name`, and whether a row took them since they
    /// are traced; none of other kinds.
    #[must_use]
    pub fn branches_of(&self, kind: ObjectKind, name: &str) -> Vec<Branch> {
        match kind {
            ObjectKind::View => self.view(name).map(|view| view.branches()),
            ObjectKind::Service => {
                let service = self.inner.own_services.get(name);
                service.map(|service| service.branches())
            }
            _ => None,
        }
        .unwrap_or_default()
    }

    /// The view `name`, for the lowerings.
    pub(crate) fn view(&self, name: &str) -> Option<&Arc<View>> {
        self.inner.own_views.get(name)
    }

    /// The service `name`.
    ///
    /// # Errors
    /// There is none; the text lists the known ones.
    pub(crate) fn service(&self, name: &str) -> Result<&Arc<Service>> {
        self.inner.own_services.get(name).ok_or_else(|| {
            let key = (ObjectKind::Service, name.to_owned());
            if let Some(broken) = self.inner.broken.get(&key) {
                let why = &broken.why;
                return EngineError::NotFound(format!(
                    "feature service {name} cannot be used: {why}"
                ));
            }
            let known = listed(self.inner.own_services.keys());
            EngineError::NotFound(format!(
                "there is no feature service {name}; known services: {known}"
            ))
        })
    }

    /// DataFusion, as the definitions were planned with.
    pub(crate) fn session(&self) -> &Session {
        &self.inner.session
    }
}

/// One of [`Catalog::broken`].
#[derive(Debug, Clone, Copy)]
pub struct BrokenDefinition<'a> {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name; of a model `name/version`.
    pub name: &'a str,
    /// Under which the store keeps the state of a view.
    pub view_id: Option<ViewId>,
    /// Why it is not taken, with its place.
    pub why: &'a str,
}

/// A set of changes and the catalog that results. Nothing is applied: that is for the caller, by
/// using the catalog.
#[derive(Debug)]
pub struct CatalogPlan {
    /// Drops first, then the rest in the order in which a catalog is built.
    pub changes: Vec<Change>,
    /// The catalog after the changes.
    pub catalog: Catalog,
}
