//! Feature views: from the text of a SELECT with window aggregates to the spec that `online` folds
//! and reads by, and to compiled expressions on both sides of the tiles. What cannot be kept exact
//! is refused here, when it is created.
//!
//! `catalog` hands over statements and takes [`View`]s; `pipeline` folds with them, `serve` and the
//! probe finish with them, and the batch lowering runs [`View::plan`] itself. The path of a text:
//! `parse` (clauses) -> `session` (names and types) -> `matching` and `windows` (what a tile can
//! keep) -> `compile` (states and programs) -> `fold`.

mod clocks;
mod compile;
mod fold;
mod matching;
mod reads;
mod subject;
#[cfg(test)]
mod tests;
mod windows;

pub(crate) use clocks::refuse_clocks;
pub(crate) use compile::{missing_column, planning_error};

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{Field, Schema, SchemaRef};
use datafusion::logical_expr::LogicalPlan;
use forebay_core::PortResult;
use forebay_core::definition::EntityDef;
use forebay_core::ports::CompiledView;
use forebay_core::source::SourceDef;
use forebay_core::time::timestamp_type;
use forebay_core::view::{FoldBatch, ViewId, ViewSpec};

use crate::error::Result;
use crate::expression::Program;
use crate::parse::ViewStatement;
use crate::session::Session;
use fold::Fold;
use reads::referenced_columns;
use subject::Subject;

/// A view, compiled.
#[derive(Debug)]
pub(crate) struct View {
    spec: Arc<ViewSpec>,
    source: Arc<SourceDef>,
    plan: LogicalPlan,
    reads: Vec<usize>,
    key_columns: Vec<usize>,
    feature_outputs: Vec<usize>,
    features: SchemaRef,
    fold: Fold,
    finish: Program,
}

/// What the catalog says of a version of a view.
#[derive(Debug, Clone)]
pub(crate) struct ViewIdentity {
    pub(crate) id: ViewId,
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) digest: String,
}

impl View {
    /// Compile `statement`, a view over `source` for `entity`.
    ///
    /// # Errors
    /// `Syntax`, `Planning`, `Refused` or `Limit`, with the place.
    pub(crate) fn compile(
        session: &Session,
        identity: ViewIdentity,
        statement: &ViewStatement,
        source: &Arc<SourceDef>,
        entity: &EntityDef,
    ) -> Result<Self> {
        let object = format!("feature view {}", identity.name);
        let subject = Subject {
            object: &object,
            body: &statement.body,
            source,
            entity,
        };
        let compiled = compile::compile(session, subject)?;
        let states = compiled.states;
        let spec = ViewSpec {
            id: identity.id,
            name: identity.name,
            version: identity.version,
            entity: entity.name.clone(),
            source: source.name.clone(),
            key: entity.key.clone(),
            arguments: states.argument_types,
            filters: states.filters.len(),
            partials: states.partials,
            aggregates: states.aggregates,
            ttl_us: statement.ttl_us,
            digest: identity.digest,
        };
        let fields = compiled
            .features
            .iter()
            .map(|c| Field::new(&c.name, c.data_type.clone(), true));
        Ok(Self {
            reads: referenced_columns(&compiled.plan, source)?,
            spec: Arc::new(spec),
            source: Arc::clone(source),
            plan: compiled.plan,
            key_columns: compiled.key,
            feature_outputs: compiled.feature_outputs,
            features: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            fold: compiled.fold,
            finish: compiled.finish,
        })
    }

    /// The source that it scans.
    pub(crate) fn source(&self) -> &Arc<SourceDef> {
        &self.source
    }

    /// The checked and simplified plan of its text, over a table that has the source's name and
    /// [`SourceDef::schema`].
    pub(crate) fn plan(&self) -> &LogicalPlan {
        &self.plan
    }

    /// For each key column of the spec, the source's column that it is (a derived table may rename
    /// it).
    pub(crate) fn key_columns(&self) -> &[usize] {
        &self.key_columns
    }

    /// For each feature its column in the output of [`Self::plan`].
    pub(crate) fn feature_outputs(&self) -> &[usize] {
        &self.feature_outputs
    }
}

impl CompiledView for View {
    fn spec(&self) -> &Arc<ViewSpec> {
        &self.spec
    }

    fn reads(&self) -> &[usize] {
        &self.reads
    }

    fn fold(&self, rows: &RecordBatch) -> PortResult<FoldBatch> {
        self.fold.run(rows)
    }

    fn features(&self) -> SchemaRef {
        Arc::clone(&self.features)
    }

    fn finish(
        &self,
        keys: &[ArrayRef],
        at: &TimestampMicrosecondArray,
        aggregates: &[ArrayRef],
    ) -> PortResult<Vec<ArrayRef>> {
        let rows = at.len();
        let mut columns: Vec<ArrayRef> = keys.to_vec();
        // Event times are UTC whatever the caller's array calls its zone.
        columns.push(Arc::new(at.clone().with_data_type(timestamp_type())));
        columns.extend(aggregates.iter().cloned());
        self.finish.run(&columns, rows)
    }
}
