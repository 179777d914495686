//! Feature views: from the text of a SELECT with window aggregates to the spec that `online` folds
//! and reads by, and to compiled expressions on both sides of the tiles. What cannot be kept exact
//! is refused here, when it is created.
//!
//! `catalog` hands over statements and takes [`View`]s; `pipeline` folds with them, `serve` and the
//! both offline lowerings fold and finish with them. The path of a text: `parse` (clauses) ->
//! `session` (names and types) -> `matching` and `windows` (what a tile can keep) -> `compile`
//! (states and programs) -> `fold`.

mod compile;
mod fold;
mod matching;
mod partition;
mod saved;
mod subject;
#[cfg(test)]
mod tests;
mod windows;

pub(crate) use compile::{missing_column, planning_error, told_at};
pub(crate) use saved::SavedView;
pub(crate) use subject::refused;

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{Field, Schema, SchemaRef};
use forebay_core::PortResult;
use forebay_core::aggregate::PartialSpec;
use forebay_core::cells::Cells;
use forebay_core::definition::EntityDef;
use forebay_core::digest::digest;
use forebay_core::ports::CompiledView;
use forebay_core::source::{Column, SourceDef};
use forebay_core::time::timestamp_type;
use forebay_core::view::{FoldBatch, ViewId, ViewSpec};

use crate::error::Result;
use crate::expression::Program;
use crate::parse::ViewStatement;
use crate::scalar::Branch;
use crate::session::Session;
use fold::Fold;
use subject::Subject;

/// A view, compiled.
#[derive(Debug)]
pub(crate) struct View {
    spec: Arc<ViewSpec>,
    /// Digest of the definition that it was compiled from.
    definition: String,
    source: Arc<SourceDef>,
    key_columns: Vec<usize>,
    features: SchemaRef,
    /// For each feature the aggregates that it reads.
    aggregates: Vec<Vec<usize>>,
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
        let object = object(&identity.name);
        let subject = Subject {
            object: &object,
            body: &statement.body,
            source,
            entity,
            patience: session.patience(),
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
            filters: states.filters(),
            digest: digest_of_state(identity.digest.clone(), &states.partials),
            arguments: states.argument_types,
            partials: states.partials,
            aggregates: states.aggregates,
            ttl_us: statement.ttl_us,
        };
        Ok(Self {
            spec: Arc::new(spec),
            definition: identity.digest,
            source: Arc::clone(source),
            key_columns: compiled.key,
            features: feature_schema(&compiled.features),
            aggregates: compiled.aggregates,
            fold: compiled.fold,
            finish: compiled.finish,
        })
    }

    /// Digest of the definition that it was compiled from.
    pub(crate) fn definition(&self) -> &str {
        &self.definition
    }

    /// The source that it scans.
    pub(crate) fn source(&self) -> &Arc<SourceDef> {
        &self.source
    }

    /// Whether it counts only some rows.
    pub(crate) fn is_filtered(&self) -> bool {
        self.fold.is_filtered()
    }

    /// Note from now on which branches of CASE events and answers take.
    pub(crate) fn trace(&self) {
        for (program, guards) in self.fold.programs() {
            program.trace(guards);
        }
        self.finish.trace(&[]);
    }

    /// The branches of CASE in it, and whether one took them since it is traced.
    pub(crate) fn branches(&self) -> Vec<Branch> {
        let programs = self.fold.programs().map(|(program, _)| program);
        let programs = programs.chain([&self.finish]);
        programs.flat_map(Program::branches).collect()
    }

    /// For each feature the aggregates of the spec that it reads.
    pub(crate) fn aggregates(&self) -> &[Vec<usize>] {
        &self.aggregates
    }
}

/// The view `name` in messages.
fn object(name: &str) -> String {
    format!("feature view {name}")
}

fn feature_schema(features: &[Column]) -> SchemaRef {
    let field = |column: &Column| Field::new(&column.name, column.data_type.clone(), true);
    Arc::new(Schema::new(features.iter().map(field).collect::<Vec<_>>()))
}

/// The digest that the state of a view goes by: that of its definition, and which of its parts are
/// kept otherwise than by the first builds, which must not be read as if they were not.
fn digest_of_state(definition: String, partials: &[PartialSpec]) -> String {
    let layout = partials.iter().map(PartialSpec::layout).max();
    match layout {
        None | Some(1) => definition,
        Some(layout) => digest([definition.as_str(), &format!("layout {layout}")]),
    }
}

impl CompiledView for View {
    fn spec(&self) -> &Arc<ViewSpec> {
        &self.spec
    }

    fn reads(&self) -> &[usize] {
        self.fold.reads()
    }

    fn key_columns(&self) -> &[usize] {
        // A derived table may rename them.
        &self.key_columns
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
        aggregates: &Cells,
    ) -> PortResult<Cells> {
        let rows = at.len();
        let mut inputs = Cells::from(keys.to_vec());
        // Event times are UTC whatever the caller's array calls its zone.
        let at = at.clone().with_data_type(timestamp_type());
        inputs.columns.push(Arc::new(at));
        inputs.extend(aggregates);
        self.finish.run_cells(&inputs, rows)
    }
}
