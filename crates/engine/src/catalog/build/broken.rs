//! Saved definitions that this build does not take: another grammar, another function, a file that
//! was edited. Each is kept as it was saved and named with its reason; what depends on it follows,
//! everything else is built. An apply drops it, replaces it, or leaves it as it is.

use std::sync::Arc;

use super::Builder;
use super::identity::{Identity, Meaning};
use crate::catalog::change::ChangeAction;
use crate::catalog::inner::{Broken, Key};
use crate::catalog::planner::guarded;
use crate::catalog::references::Reference;
use crate::catalog::state::ObjectState;
use crate::error::{EngineError, Result};
use crate::parse::{ObjectKind, Statement};

impl Builder<'_> {
    /// Build `object` as it was saved, or keep it as one that does not compile, also where that
    /// panics: a definition is taken into the catalog only once all of it is there.
    ///
    /// # Errors
    /// The saved catalog is damaged.
    pub(super) fn load_object(&mut self, object: &ObjectState) -> Result<()> {
        let patience = self.patience;
        let statement = match guarded(patience, || object.statement(patience)) {
            Ok(statement) => statement,
            Err(error @ (EngineError::Input(_) | EngineError::Port(_))) => return Err(error),
            Err(error) => {
                self.keep_broken(object, None, &error);
                return Ok(());
            }
        };
        match guarded(patience, || self.load_statement(object, statement.clone())) {
            Ok(()) => {}
            // Nobody knows whether it compiles.
            Err(error @ EngineError::Port(_)) => return Err(error),
            Err(error) => self.keep_broken(object, Some(statement), &error),
        }
        Ok(())
    }

    fn load_statement(&mut self, object: &ObjectState, statement: Statement) -> Result<()> {
        let (now, references) = self.digest(&statement)?;
        let changed = now != object.digest;
        let is_outdated = |r: &Reference| self.after.outdated.contains(&r.name);
        let waits = references.iter().any(is_outdated);
        let is_outdated_view = changed && object.kind == ObjectKind::View;
        let identity = match object.kind {
            // What a version of a service answers never changes. One that joins a view of those
            // answers nothing until that is made anew, and has its next version then.
            ObjectKind::Service if changed && !waits => Identity {
                version: 1 + object.version,
                digest: now.clone(),
                ..Identity::of(object)
            },
            _ => Identity::of(object),
        };
        let meaning = Meaning {
            digest: &now,
            saved: object.compiled.as_ref(),
        };
        self.compile(statement, identity, meaning)?;
        if is_outdated_view {
            // A view keeps what its state was folded under, until the state is made anew.
            self.after.outdated.insert(object.name.clone());
        }
        Ok(())
    }

    fn keep_broken(
        &mut self,
        object: &ObjectState,
        statement: Option<Statement>,
        error: &EngineError,
    ) {
        let broken = Broken {
            state: object.clone(),
            statement,
            why: error.to_string(),
        };
        let key = (object.kind, object.name.clone());
        self.after.broken.insert(key, Arc::new(broken));
    }

    /// Apply `wanted` to a definition that did not compile: another text takes its place. The same
    /// text, or none, leaves it as it is, unless it compiles by now.
    pub(super) fn add_over(
        &mut self,
        key: &Key,
        broken: &Arc<Broken>,
        wanted: Option<Statement>,
    ) -> Result<()> {
        let is_same = |statement: &Statement| statement.text == broken.state.text;
        let in_files = wanted.is_some();
        let statement = match wanted {
            Some(statement) if !is_same(&statement) => return self.add(statement, true),
            Some(statement) => Some(statement),
            None => broken.statement.clone(),
        };
        let next_view_id = self.after.state.next_view_id;
        let error = match statement.clone() {
            Some(statement) => match self.add(statement, in_files) {
                Ok(()) => return Ok(()),
                Err(error @ EngineError::Port(_)) => return Err(error),
                Err(error) => error.to_string(),
            },
            None => broken.why.clone(),
        };
        // No version was made.
        self.after.state.next_view_id = next_view_id;
        if in_files {
            let text = Some(broken.state.text.clone());
            let note = format!("it stays set aside: {error}");
            let version = broken.state.version;
            self.note(
                key,
                ChangeAction::Unchanged,
                version,
                text.clone(),
                text,
                note,
            );
        }
        let kept = Broken {
            state: broken.state.clone(),
            statement,
            why: error,
        };
        self.after.broken.insert(key.clone(), Arc::new(kept));
        Ok(())
    }

    /// What to say of a `reference` that is not there, where it was saved and does not compile.
    pub(super) fn broken_reference(&self, reference: &Reference) -> Option<String> {
        let key = (reference.kind, reference.name.clone());
        let broken = self.after.broken.get(&key)?;
        Some(format!(
            "it reads {} {}, which cannot be used: {}",
            reference.kind, reference.name, broken.why
        ))
    }
}
