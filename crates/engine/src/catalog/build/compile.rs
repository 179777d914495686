//! Compiles a statement and takes it into the catalog: from the form that was saved of it, where
//! that is of this build and of the same meaning, else from its text. What there is to compile is
//! its kind's business (`kinds`).

use std::sync::Arc;

use forebay_core::definition::EntityDef;
use forebay_core::source::SourceDef;

use super::Builder;
use super::identity::{Identity, Meaning};
use crate::catalog::inner::Entry;
use crate::catalog::state::ObjectState;
use crate::error::{EngineError, Result};
use crate::parse::{ObjectKind, Statement};

impl Builder<'_> {
    /// Compile `statement` under `identity`. `meaning` is what it is now.
    pub(super) fn compile(
        &mut self,
        statement: Statement,
        identity: Identity,
        meaning: Meaning<'_>,
    ) -> Result<()> {
        self.patience.begin(&statement.object())?;
        let name = statement.name.clone();
        let clauses = statement.definition.clauses();
        // Before it is taken: what is refused leaves nothing behind.
        clauses.check(&statement, &self.after)?;
        let compiled = clauses.compile(self, &statement, &identity, meaning)?;
        let Identity {
            version,
            view_id,
            digest,
        } = identity;
        let state = ObjectState {
            kind: statement.kind,
            name: name.clone(),
            version,
            view_id,
            digest,
            text: statement.text.clone(),
            file: statement.at.file.clone(),
            line: statement.at.line,
            column: statement.at.column,
            compiled,
        };
        self.after
            .entries
            .insert((statement.kind, name), Arc::new(Entry { state, statement }));
        Ok(())
    }

    /// What `restore` makes of the form that was saved; else what `compile` makes of the text.
    pub(in crate::catalog) fn restored_or<S: serde::de::DeserializeOwned, T>(
        &mut self,
        statement: &Statement,
        meaning: Meaning<'_>,
        restore: impl FnOnce(&Self, S) -> std::result::Result<T, String>,
        compile: impl FnOnce(&Self) -> Result<T>,
    ) -> Result<T> {
        if let Some(saved) = meaning.saved {
            let form = saved.read(meaning.digest);
            match form.and_then(|form| restore(self, form)) {
                Ok(restored) => return Ok(restored),
                Err(why) => {
                    tracing::info!(object = statement.object(), why, "compiled from its text");
                }
            }
        }
        self.after.planned += 1;
        compile(self)
    }

    /// The source and the entity of a view; `digest` found both.
    pub(in crate::catalog) fn tables_of(
        &self,
        statement: &Statement,
        entity: &str,
    ) -> Result<(Arc<SourceDef>, EntityDef)> {
        let source = statement
            .references()?
            .into_iter()
            .find(|reference| reference.kind == ObjectKind::Source);
        let source = source.and_then(|reference| self.after.sources.get(&reference.name));
        match (source, self.after.entities.get(entity)) {
            (Some(source), Some(entity)) => Ok((Arc::clone(source), entity.clone())),
            _ => Err(EngineError::Internal(format!(
                "{} lost its source or its entity",
                statement.object()
            ))),
        }
    }
}
