//! Builds a catalog from statements, kind by kind, so that whatever a statement names is there
//! before it. What did not change, in text or in what it depends on, is taken over as it was
//! compiled; the rest gets a new version.

mod broken;
mod compile;
mod identity;
mod meaning;
mod proof;
mod renew;
mod take_over;

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::limits::CATALOG_MAX_VIEWS;
use forebay_core::ports::{CompiledService, CompiledView};
use forebay_core::view::ViewId;

use identity::{Identity, Meaning};
use proof::Proof;

use super::change::{Change, ChangeAction};
use super::checks::{check_deployment, check_model, check_monitor};
use super::inner::{Entry, Inner, Key};
use super::references::{Reference, references};
use super::state::{
    CATALOG_FORMAT, CATALOG_FORMAT_BEFORE_FORMS, CatalogState, DroppedState, ObjectState,
};
use super::wanted::Wanted;
use crate::error::{EngineError, Result, listed};
use crate::parse::{Definition, ObjectKind, Statement};
use crate::patience::Patience;
use crate::service::{REQUEST, Service};
use crate::session::Session;
use crate::view::View;

/// A catalog under construction.
pub(super) struct Builder<'a> {
    before: &'a Inner,
    /// What is in force, where `before` is not yet.
    in_force: Option<&'a Inner>,
    after: Inner,
    changes: Vec<Change>,
    /// Of what was compiled last.
    warnings: Vec<String>,
    patience: &'a Arc<Patience>,
    /// Plans for as long as that says.
    session: Session,
}

impl<'a> Builder<'a> {
    pub(super) fn new(before: &'a Inner, patience: &'a Arc<Patience>) -> Self {
        let mut after = Inner::new(before.session.clone());
        after.state.next_view_id = before.state.next_view_id;
        after.state.dropped.clone_from(&before.state.dropped);
        Self {
            before,
            in_force: None,
            after,
            changes: Vec::new(),
            warnings: Vec::new(),
            patience,
            session: before.session.with_patience(patience),
        }
    }

    /// Objects that come to be what they are `in_force` are taken over from there.
    pub(super) fn beside(mut self, in_force: Option<&'a Inner>) -> Self {
        self.in_force = in_force;
        self
    }

    /// Apply `wanted` to what was there.
    pub(super) fn apply(
        mut self,
        mut wanted: BTreeMap<Key, Wanted>,
    ) -> Result<(Vec<Change>, Inner)> {
        self.drop_objects(&wanted)?;
        let mut keys: Vec<Key> = self
            .before
            .entries
            .keys()
            .chain(self.before.broken.keys())
            .chain(wanted.keys())
            .cloned()
            .collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let wanted = wanted.remove(&key);
            if let Some(broken) = self.before.broken.get(&key) {
                let statement = match wanted {
                    Some(Wanted::Dropped { .. }) => continue,
                    Some(Wanted::Defined(statement)) => Some(*statement),
                    None => None,
                };
                self.add_over(&key, broken, statement)?;
                continue;
            }
            match (wanted, self.before.entries.get(&key)) {
                (Some(Wanted::Dropped { .. }), _) | (None, None) => {}
                (Some(Wanted::Defined(statement)), _) => self.add(*statement, true)?,
                (None, Some(entry)) => self.add(entry.statement.clone(), false)?,
            }
        }
        Ok((self.changes, self.after.sealed()))
    }

    /// Build what `state` says, with its versions and ids.
    pub(super) fn load(mut self, state: &CatalogState) -> Result<Inner> {
        if ![CATALOG_FORMAT, CATALOG_FORMAT_BEFORE_FORMS].contains(&state.format) {
            return Err(EngineError::Input(format!(
                "the saved catalog has format {}, this program reads {CATALOG_FORMAT_BEFORE_FORMS} and {CATALOG_FORMAT}; use the version that wrote it, or apply \
                 the definitions with another data directory",
                state.format
            )));
        }
        let mut objects: Vec<&ObjectState> = state.objects.iter().collect();
        objects.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        for object in objects {
            self.load_object(object)?;
        }
        self.after.state.next_view_id = state.next_view_id;
        self.after.state.dropped.clone_from(&state.dropped);
        Ok(self.after.sealed())
    }

    fn drop_objects(&mut self, wanted: &BTreeMap<Key, Wanted>) -> Result<()> {
        for (key, want) in wanted.iter().rev() {
            let Wanted::Dropped { at, if_exists } = want else {
                continue;
            };
            let object = format!("{} {}", key.0, key.1);
            let Some(state) = self.before.saved(key) else {
                if *if_exists {
                    continue;
                }
                let known = self
                    .before
                    .entries
                    .keys()
                    .chain(self.before.broken.keys())
                    .filter(|k| k.0 == key.0)
                    .map(|k| &k.1);
                let message = format!(
                    "it does not exist; known: {}; write DROP .. IF EXISTS",
                    listed(known)
                );
                return Err(EngineError::unknown(at.clone(), &object, message));
            };
            if let Some(user) = self.users(key, wanted)? {
                let message = format!("{user} depends on it; drop that too, or change it first");
                return Err(EngineError::refused(at.clone(), &object, message));
            }
            self.after
                .state
                .dropped
                .retain(|d| (d.kind, &d.name) != (key.0, &key.1));
            let version = state.version;
            self.after.state.dropped.push(DroppedState {
                kind: key.0,
                name: key.1.clone(),
                version,
            });
            self.changes.push(Change {
                action: ChangeAction::Drop,
                kind: key.0,
                name: key.1.clone(),
                version,
                before: Some(state.text.clone()),
                after: None,
                note: String::new(),
                warnings: Vec::new(),
            });
        }
        Ok(())
    }

    /// What will still be there and names `key`.
    fn users(&self, key: &Key, wanted: &BTreeMap<Key, Wanted>) -> Result<Option<String>> {
        let built = self.before.entries.iter();
        let broken = self.before.broken.iter();
        let stays = built
            .map(|(key, entry)| (key, &entry.statement))
            .chain(broken.filter_map(|(key, broken)| Some((key, broken.statement.as_ref()?))))
            .filter(|(other, _)| !wanted.contains_key(*other));
        let defined = wanted.values().filter_map(|want| match want {
            Wanted::Defined(statement) => Some(statement.as_ref()),
            Wanted::Dropped { .. } => None,
        });
        for statement in stays.map(|(_, statement)| statement).chain(defined) {
            if references(statement)?
                .iter()
                .any(|reference| (reference.kind, &reference.name) == (key.0, &key.1))
            {
                return Ok(Some(statement.object()));
            }
        }
        Ok(None)
    }

    /// Add `statement`: as it was, or as a new version.
    fn add(&mut self, statement: Statement, in_files: bool) -> Result<()> {
        self.patience.begin(&statement.object())?;
        let key = (statement.kind, statement.name.clone());
        let (digest, references) = self.digest(&statement)?;
        let before = self.before.entries.get(&key);
        if let Some(entry) = before.filter(|entry| entry.state.digest == digest) {
            if in_files {
                let text = Some(entry.state.text.clone());
                self.note(
                    &key,
                    ChangeAction::Unchanged,
                    entry.state.version,
                    text.clone(),
                    text,
                    String::new(),
                );
            }
            return self.take_over(self.before, &key, entry);
        }
        if let Some((in_force, entry)) = self.in_force_as(&key, &digest) {
            let (old, new) = (before.map(|entry| entry.state.text.clone()), &entry.state);
            let action = match before {
                Some(_) => ChangeAction::Replace,
                None => ChangeAction::Create,
            };
            let note = "it stays what is in force".to_owned();
            self.note(&key, action, new.version, old, Some(new.text.clone()), note);
            return self.take_over(in_force, &key, entry);
        }
        let broken = self.before.broken.get(&key);
        let (action, version, note) = match before {
            None if broken.is_some() => (
                ChangeAction::Replace,
                1 + broken.map_or(0, |broken| broken.state.version),
                "it could not be used".to_owned(),
            ),
            None => (
                ChangeAction::Create,
                1 + self.last_dropped(&key),
                "it is new".to_owned(),
            ),
            Some(entry) if entry.statement.canonical != statement.canonical => (
                ChangeAction::Replace,
                1 + entry.state.version,
                "its text changes".to_owned(),
            ),
            Some(entry) => (
                ChangeAction::Replace,
                1 + entry.state.version,
                self.why(&references),
            ),
        };
        let old = self.before.saved(&key).map(|state| state.text.clone());
        let new = statement.text.clone();
        let identity = Identity {
            version,
            view_id: self.next_view_id(key.0),
            digest: digest.clone(),
        };
        self.compile(statement, identity, Meaning::new(&digest))?;
        self.note(&key, action, version, old, Some(new), note);
        Ok(())
    }

    /// The object that is in force under `key`, if it has this `digest`.
    fn in_force_as(&self, key: &Key, digest: &str) -> Option<(&'a Inner, &'a Arc<Entry>)> {
        let in_force = self.in_force?;
        let entry = in_force.entries.get(key)?;
        (entry.state.digest == digest).then_some((in_force, entry))
    }

    fn note(
        &mut self,
        key: &Key,
        action: ChangeAction,
        version: u32,
        before: Option<String>,
        after: Option<String>,
        note: String,
    ) {
        self.changes.push(Change {
            action,
            kind: key.0,
            name: key.1.clone(),
            version,
            before,
            after,
            note,
            warnings: std::mem::take(&mut self.warnings),
        });
    }

    /// What trying has brought; it is told with the change.
    fn proven(&mut self, statement: &Statement, proof: Proof) -> Result<()> {
        if let Some(why) = proof.refused {
            return Err(EngineError::refused(
                statement.at.clone(),
                &statement.object(),
                why,
            ));
        }
        self.warnings = proof.warnings;
        Ok(())
    }

    fn last_dropped(&self, key: &Key) -> u32 {
        let dropped = self
            .before
            .state
            .dropped
            .iter()
            .find(|d| (d.kind, &d.name) == (key.0, &key.1));
        dropped.map_or(0, |dropped| dropped.version)
    }

    fn next_view_id(&mut self, kind: ObjectKind) -> Option<ViewId> {
        (kind == ObjectKind::View).then(|| {
            let id = self.after.state.next_view_id;
            self.after.state.next_view_id += 1;
            id
        })
    }

    /// Which of the things that an unchanged text names has changed.
    fn why(&self, references: &[Reference]) -> String {
        let changed = |reference: &&Reference| {
            let key = (reference.kind, reference.name.clone());
            let digest = |inner: &Inner| {
                inner
                    .entries
                    .get(&key)
                    .map(|entry| entry.state.digest.clone())
            };
            digest(self.before) != digest(&self.after)
        };
        match references.iter().find(changed) {
            Some(reference) => format!("{} {} changes", reference.kind, reference.name),
            None => "the meaning of functions changes".to_owned(),
        }
    }

    fn check_view(&self, statement: &Statement) -> Result<()> {
        if statement.name == REQUEST {
            let message = "services read the request by this name; give the view another one";
            return Err(EngineError::refused(
                statement.at.clone(),
                &statement.object(),
                message,
            ));
        }
        if self.after.own_views.len() >= CATALOG_MAX_VIEWS {
            let message = format!(
                "a catalog has at most {CATALOG_MAX_VIEWS} feature views (CATALOG_MAX_VIEWS); drop some"
            );
            return Err(EngineError::Limit {
                at: statement.at.clone(),
                message,
            });
        }
        Ok(())
    }

    fn check(&self, statement: &Statement) -> Result<()> {
        match &statement.definition {
            Definition::Deployment(deployment) => {
                check_deployment(&self.after, statement, deployment)
            }
            Definition::Monitor(monitor, _) => check_monitor(&self.after, statement, monitor),
            Definition::Model(model) => check_model(&self.after, statement, model),
            _ => Ok(()),
        }
    }
}

impl Inner {
    fn insert_view(&mut self, name: &str, view: Arc<View>) {
        self.views
            .insert(name.to_owned(), Arc::clone(&view) as Arc<dyn CompiledView>);
        self.own_views.insert(name.to_owned(), view);
    }

    fn insert_service(&mut self, name: &str, service: Arc<Service>) {
        self.services.insert(
            name.to_owned(),
            Arc::clone(&service) as Arc<dyn CompiledService>,
        );
        self.own_services.insert(name.to_owned(), service);
    }

    /// Insert what needs no compiling.
    fn insert_plain(&mut self, definition: &Definition) {
        match definition {
            Definition::Source(source) => {
                self.sources
                    .insert(source.name.clone(), Arc::new(source.clone()));
            }
            Definition::Entity(entity) => {
                self.entities.insert(entity.name.clone(), entity.clone());
            }
            Definition::Model(model) => {
                self.models.push(model.clone());
                self.models
                    .sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
            }
            Definition::Deployment(deployment) => {
                self.deployments
                    .insert(deployment.name.clone(), deployment.clone());
            }
            Definition::View(_)
            | Definition::Service(_)
            | Definition::Monitor(..)
            | Definition::Drop { .. } => {}
        }
    }

    /// The state of all entries.
    fn sealed(mut self) -> Self {
        let built = self.entries.values().map(|entry| &entry.state);
        let broken = self.broken.values().map(|broken| &broken.state);
        let mut objects: Vec<ObjectState> = built.chain(broken).cloned().collect();
        objects.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        self.state.objects = objects;
        self
    }
}
