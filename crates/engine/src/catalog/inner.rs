//! What a catalog holds: the applied statements, and what was compiled of them, by kind and name.
//! `build` fills it, `checks` reads it, the catalog hands it out; once it is in a catalog it does
//! not change any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use forebay_core::definition::{DeploymentDef, EntityDef, ModelDef, MonitorDef};
use forebay_core::ports::{CompiledLabel, CompiledService, CompiledView};
use forebay_core::source::SourceDef;

use super::state::{CatalogState, ObjectState};
use crate::parse::{ObjectKind, Statement};
use crate::service::Service;
use crate::session::Session;
use crate::view::View;

/// Kind and name.
pub(super) type Key = (ObjectKind, String);

/// A monitor and its label, compiled.
#[derive(Clone, Debug)]
pub struct MonitorPlan {
    /// Its definition.
    pub def: MonitorDef,
    /// Its label, if it has one.
    pub label: Option<Arc<dyn CompiledLabel>>,
}

/// One applied statement.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) state: ObjectState,
    pub(super) statement: Statement,
}

/// A saved definition that this build does not take.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) state: ObjectState,
    /// What it says, where that can be read.
    pub(super) statement: Option<Statement>,
    pub(super) why: String,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) session: Session,
    pub(super) state: CatalogState,
    pub(super) entries: BTreeMap<Key, Arc<Entry>>,
    pub(super) sources: BTreeMap<String, Arc<SourceDef>>,
    pub(super) entities: BTreeMap<String, EntityDef>,
    pub(super) views: BTreeMap<String, Arc<dyn CompiledView>>,
    pub(super) own_views: BTreeMap<String, Arc<View>>,
    pub(super) services: BTreeMap<String, Arc<dyn CompiledService>>,
    pub(super) own_services: BTreeMap<String, Arc<Service>>,
    pub(super) models: Vec<ModelDef>,
    pub(super) deployments: BTreeMap<String, DeploymentDef>,
    pub(super) monitors: BTreeMap<String, MonitorPlan>,
    /// Views whose texts mean something else than when they were saved.
    pub(super) outdated: BTreeSet<String>,
    pub(super) broken: BTreeMap<Key, Arc<Broken>>,
    /// Definitions whose SQL was planned, and not bound from what was saved.
    pub(super) planned: usize,
}

impl Inner {
    /// What was saved of `key`, whether it compiles or not.
    pub(super) fn saved(&self, key: &Key) -> Option<&ObjectState> {
        let built = self.entries.get(key).map(|entry| &entry.state);
        built.or_else(|| self.broken.get(key).map(|broken| &broken.state))
    }

    pub(super) fn new(session: Session) -> Self {
        Self {
            session,
            state: CatalogState::empty(),
            entries: BTreeMap::new(),
            sources: BTreeMap::new(),
            entities: BTreeMap::new(),
            views: BTreeMap::new(),
            own_views: BTreeMap::new(),
            services: BTreeMap::new(),
            own_services: BTreeMap::new(),
            models: Vec::new(),
            deployments: BTreeMap::new(),
            monitors: BTreeMap::new(),
            outdated: BTreeSet::new(),
            broken: BTreeMap::new(),
            planned: 0,
        }
    }
}
