//! Compiles a statement and takes it into the catalog: from the form that was saved of it, where
//! that is of this build and of the same meaning, else from its text.

use std::sync::Arc;

use forebay_core::definition::{EntityDef, MonitorDef};
use forebay_core::ports::CompiledLabel;
use forebay_core::source::SourceDef;

use super::Builder;
use super::identity::{Identity, Meaning};
use super::proof::Proof;
use crate::catalog::compiled::Compiled;
use crate::catalog::inner::{Entry, MonitorPlan};
use crate::catalog::references::references;
use crate::catalog::state::ObjectState;
use crate::error::{EngineError, Result};
use crate::label::{Label, SavedLabel};
use crate::parse::{Definition, ObjectKind, QueryText, ServiceStatement, Statement, ViewStatement};
use crate::service::{SavedService, Service, ServiceIdentity};
use crate::session::plain_schema;
use crate::view::{SavedView, View, ViewIdentity};

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
        // Before it is taken: what is refused leaves nothing behind.
        self.check(&statement)?;
        let compiled = match &statement.definition {
            Definition::View(view) => self.compile_view(&statement, view, &identity, meaning)?,
            Definition::Service(service) => {
                self.compile_service(&statement, service, &identity, meaning)?
            }
            Definition::Monitor(def, label) => {
                self.compile_monitor(&statement, def, label.as_ref(), meaning)?
            }
            other => {
                self.after.insert_plain(other);
                None
            }
        };
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
    fn restored_or<S: serde::de::DeserializeOwned, T>(
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

    fn compile_view(
        &mut self,
        statement: &Statement,
        view: &ViewStatement,
        identity: &Identity,
        meaning: Meaning<'_>,
    ) -> Result<Option<Compiled>> {
        self.check_view(statement)?;
        let (source, entity) = self.tables_of(statement, &view.entity)?;
        let id = identity
            .view_id
            .ok_or_else(|| EngineError::Internal("a view without an id".to_owned()))?;
        let of = ViewIdentity {
            id,
            name: statement.name.clone(),
            version: identity.version,
            digest: meaning.digest.to_owned(),
        };
        let restore = |_: &Self, saved: SavedView| saved.restored(id, &source);
        let view = self.restored_or(statement, meaning, restore, |builder| {
            View::compile(&builder.session, of, view, &source, &entity)
        })?;
        self.proven(statement, Proof::of_view(&view))?;
        let compiled = Compiled::of(meaning.digest, view.saved());
        self.after.insert_view(&statement.name, Arc::new(view));
        Ok(compiled)
    }

    fn compile_service(
        &mut self,
        statement: &Statement,
        service: &ServiceStatement,
        identity: &Identity,
        meaning: Meaning<'_>,
    ) -> Result<Option<Compiled>> {
        let of = ServiceIdentity {
            name: statement.name.clone(),
            version: identity.version,
            digest: self.meaning(statement)?,
        };
        let columns = service.request.iter();
        let request = plain_schema(columns.map(|c| (c.name.clone(), c.data_type.clone())));
        let known = of.clone();
        let restore =
            |builder: &Self, saved: SavedService| saved.restored(known, &builder.after.own_views);
        let service = self.restored_or(statement, meaning, restore, |builder| {
            Service::compile(&builder.session, of, service, &builder.after.own_views)
        })?;
        self.proven(statement, Proof::of_service(&service, &request))?;
        let compiled = Compiled::of(meaning.digest, service.saved());
        self.after
            .insert_service(&statement.name, Arc::new(service));
        Ok(compiled)
    }

    fn compile_monitor(
        &mut self,
        statement: &Statement,
        def: &MonitorDef,
        label: Option<&QueryText>,
        meaning: Meaning<'_>,
    ) -> Result<Option<Compiled>> {
        let mut plan = MonitorPlan {
            def: def.clone(),
            label: None,
        };
        let mut compiled = None;
        if let (Some(labels), Some(expression)) = (&def.labels, label) {
            let source = Arc::clone(&self.after.sources[&labels.source]);
            let object = statement.object();
            let restore = |_: &Self, saved: SavedLabel| saved.restored(&object, &source);
            let label = self.restored_or(statement, meaning, restore, |builder| {
                Label::compile(&builder.session, &object, expression, &source)
            })?;
            self.proven(statement, Proof::of_label(&label, &source))?;
            compiled = Compiled::of(meaning.digest, label.saved());
            plan.label = Some(Arc::new(label) as Arc<dyn CompiledLabel>);
        }
        self.after.monitors.insert(statement.name.clone(), plan);
        Ok(compiled)
    }

    /// The source and the entity of a view; `digest` found both.
    pub(super) fn tables_of(
        &self,
        statement: &Statement,
        entity: &str,
    ) -> Result<(Arc<SourceDef>, EntityDef)> {
        let source = references(statement)?
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
