//! Feature services: what a model reads. `FROM request LEFT JOIN view AS alias USING (key)` names
//! the views, SELECT the features: request columns, features of views, and on-demand expressions
//! over both, compiled once.
//!
//! `catalog` makes a [`Service`] from a statement; `serve`, scoring and both offline lowerings look
//! up the views' rows and call [`CompiledService::finish`], so that all of them compute the same
//! bits.
//!
//! Names in a training set (decided with `input/spine`, which does it): all spine columns come
//! first, untouched, then all features. A feature keeps its name in any case. Where a request
//! column of the service has the name of a feature (`request.dep_delay`, or `CAST(request.distance
//! AS DOUBLE) AS distance`), the spine's column goes by `request_<name>`; any other spine column
//! with the name of a feature is an error that names both.

mod joins;
mod outputs;
mod saved;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{RecordBatch, TimestampMicrosecondArray};
use arrow_schema::SchemaRef;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::tokenizer::Location as Position;
use forebay_core::cells::Cells;
use forebay_core::digest::digest;
use forebay_core::ports::{CompiledService, CompiledView};
use forebay_core::source::Column;
use forebay_core::time::timestamp_type;
use forebay_core::view::{ServiceSpec, ServiceView};
use forebay_core::{PortError, PortResult};
use serde::{Deserialize, Serialize};

use crate::error::{EngineError, Result};
use crate::expression::{CAST_REMEDY, Columns, Input, Program, storable};
use crate::name;
use crate::nodes;
use crate::outputs::Outputs;
use crate::parse::{QueryText, ServiceStatement, parse_query, refuse_clauses};
use crate::scalar::{Branch, Lowering, position_of};
use crate::session::{Session, Unplanned, plain_schema};
use crate::view::{View, missing_column, planning_error, refused, told_at};
pub(crate) use joins::REQUEST;
use joins::{Scope, Tables};
pub(crate) use saved::SavedService;

const AGGREGATES: &str =
    "it aggregates over the rows of a request; aggregate events in a feature view";

/// A service, compiled.
#[derive(Debug)]
pub(crate) struct Service {
    spec: Arc<ServiceSpec>,
    views: Vec<Arc<dyn CompiledView>>,
    request: Columns,
    /// Over the request columns, the request's moment, then the features of each view.
    program: Program,
    reads: Vec<Vec<FeatureRead>>,
}

/// A feature of a view that a feature of a service reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureRead {
    /// Place of the view among those that the service joins.
    pub view: usize,
    /// Place of the feature among the view's.
    pub feature: usize,
}

/// What the catalog says of a version of a service.
#[derive(Debug, Clone)]
pub(crate) struct ServiceIdentity {
    pub(crate) name: String,
    pub(crate) version: u32,
    /// Digest of its text and of the views that it reads.
    pub(crate) digest: String,
}

impl Service {
    /// Compile `statement` over `views`.
    ///
    /// # Errors
    /// `Syntax`, `Planning`, `Refused` or `Unknown`, with the place.
    pub(crate) fn compile(
        session: &Session,
        identity: ServiceIdentity,
        statement: &ServiceStatement,
        views: &BTreeMap<String, Arc<View>>,
    ) -> Result<Self> {
        let object = object(&identity.name);
        let body = &statement.body;
        let mut query = parse_query(body)?;
        refuse_clauses(&object, body, &query, true)?;
        let scope = Scope {
            object: &object,
            body,
            request: &statement.request,
            views,
        };
        if let Some((name, near)) = session.bare_aggregate(&query) {
            let at = body.locate_near(Some(&name), near);
            return Err(EngineError::refused(at, &object, AGGREGATES));
        }
        let tables = scope.tables(&mut query)?;
        let refused = |refusal| refused(&object, body, refusal);
        let names = Outputs::rename(&mut query);
        let plan = session
            .plan(query, &schemas(&statement.request, &tables))
            .map_err(|e| explain(&scope, &tables, e))?;
        if aggregates(&plan) {
            return Err(EngineError::refused(body.locate(None), &object, AGGREGATES));
        }
        let outputs = outputs::of(session, &plan).map_err(|error| {
            nodes::limit(&error, &object, body)
                .unwrap_or_else(|| EngineError::Internal(format!("the plan of {object}: {error}")))
        })?;
        let inputs = inputs(&statement.request, &tables);
        let mut lowering = Lowering::new(&inputs).patient(session.patience());
        let mut expressions = Vec::with_capacity(outputs.len());
        let mut reads = Vec::with_capacity(outputs.len());
        let mut features: Vec<Column> = Vec::with_capacity(outputs.len());
        for (expr, field) in outputs.iter().zip(plan.schema().fields()) {
            let name = &names.written(field.name());
            let place = names.place(field.name()).or_else(|| position_of(expr));
            check_feature((&object, body), (name, place), &features)?;
            let typed = lowering.lower(expr).map_err(refused)?;
            reads.push(reads_of(expr, &inputs, &statement.request, &tables));
            let Some(kept) = storable(typed.of) else {
                let found = typed.sql();
                let message = format!("feature {name} is of type {found}; {CAST_REMEDY}");
                let at = body.locate_near(Some(name), position_of(expr));
                return Err(EngineError::refused(at, &object, message));
            };
            expressions.push(typed.slot);
            features.push(Column {
                name: name.clone(),
                data_type: kept,
                nullable: true,
            });
        }
        let program = Program::of(&object, lowering, &expressions).map_err(refused)?;
        let mut service = Self::assemble(
            identity,
            statement.request.clone(),
            tables,
            features,
            program,
        );
        service.reads = reads;
        Ok(service)
    }

    /// Note from now on which branches of CASE answers take.
    pub(crate) fn trace(&self) {
        self.program.trace(&[]);
    }

    /// The branches of CASE in it, and whether an answer took them since it is traced.
    pub(crate) fn branches(&self) -> Vec<Branch> {
        self.program.branches().collect()
    }

    /// For each feature the features of views that it reads.
    pub(crate) fn reads(&self) -> &[Vec<FeatureRead>] {
        &self.reads
    }

    fn assemble(
        identity: ServiceIdentity,
        request: Vec<Column>,
        tables: Tables,
        features: Vec<Column>,
        program: Program,
    ) -> Self {
        let columns = request
            .iter()
            .enumerate()
            .map(|(i, c)| (i, c.name.clone(), c.data_type.clone()))
            .collect();
        let owner = format!("the request of {}", object(&identity.name));
        let fingerprint = fingerprint(&identity.digest, &request, &features);
        let views = tables
            .lookups
            .iter()
            .map(|l| Arc::clone(&l.view) as Arc<dyn CompiledView>)
            .collect();
        let bound = tables.lookups.into_iter().map(|lookup| ServiceView {
            view: Arc::clone(lookup.view.spec()),
            alias: lookup.alias,
            key_columns: lookup.key_columns,
        });
        let spec = ServiceSpec {
            name: identity.name,
            version: identity.version,
            request,
            views: bound.collect(),
            features,
            fingerprint,
        };
        Self {
            spec: Arc::new(spec),
            views,
            request: Columns::new(owner, columns),
            program,
            reads: Vec::new(),
        }
    }
}

/// The service `name` in messages.
fn object(name: &str) -> String {
    format!("feature service {name}")
}

/// The features of views that `expr` reads, which stand behind what the request has in `inputs`.
fn reads_of(
    expr: &Expr,
    inputs: &[Input],
    request: &[Column],
    tables: &Tables,
) -> Vec<FeatureRead> {
    let columns = expr.column_refs();
    let read = |input: &Input| columns.iter().any(|column| input.is(column));
    let mut places = inputs.iter().map(read).skip(request.len() + 1);
    let mut reads = Vec::new();
    for (view, lookup) in tables.lookups.iter().enumerate() {
        for feature in 0..lookup.view.features().fields().len() {
            if places.next() == Some(true) {
                reads.push(FeatureRead { view, feature });
            }
        }
    }
    reads
}

/// The tables as the planner sees them. A view has its features alone: its key is the request's.
fn schemas(request: &[Column], tables: &Tables) -> Vec<(String, SchemaRef)> {
    let mut schemas: Vec<(String, SchemaRef)> = tables
        .lookups
        .iter()
        .map(|lookup| (lookup.view.spec().name.clone(), lookup.view.features()))
        .collect();
    let columns = request
        .iter()
        .map(|column| (column.name.clone(), column.data_type.clone()));
    schemas.push((REQUEST.to_owned(), plain_schema(columns)));
    schemas
}

/// Request columns and the request's moment, then the features of each view.
fn inputs(request: &[Column], tables: &Tables) -> Vec<Input> {
    let mut inputs: Vec<Input> = request
        .iter()
        .map(|c| Input::of(REQUEST, &c.name, &c.data_type))
        .chain([Input::moment()])
        .collect();
    for lookup in &tables.lookups {
        let features = lookup.view.features();
        inputs.extend(
            features
                .fields()
                .iter()
                .map(|f| Input::of(&lookup.alias, f.name(), f.data_type())),
        );
    }
    inputs
}

/// A planning error; a key column that is asked of a view is the request's.
fn explain(scope: &Scope<'_>, tables: &Tables, unplanned: Unplanned) -> EngineError {
    let asked = missing_column(&unplanned.error).and_then(|(column, _)| {
        let alias = column.relation.as_ref()?.table();
        let lookup = tables.lookups.iter().find(|lookup| lookup.alias == alias)?;
        let key = lookup
            .view
            .spec()
            .key
            .iter()
            .position(|key| key.name == column.name)?;
        Some((alias, column, &scope.request[lookup.key_columns[key]].name))
    });
    if let Some((alias, column, request)) = asked {
        let message = format!(
            "{alias}.{} is the request's column; write {}.{request}",
            column.name, tables.request
        );
        let near = told_at(&unplanned.error).or(unplanned.near);
        let at = scope.body.locate_near(Some(alias), near);
        return EngineError::refused(at, scope.object, message);
    }
    planning_error(scope.object, scope.body, unplanned)
}

/// Whether `plan` does more than reading tables side by side.
fn aggregates(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Aggregate(_) | LogicalPlan::Window(_))
        || plan.inputs().into_iter().any(aggregates)
}

fn check_feature(
    (object, body): (&str, &QueryText),
    (name, near): (&str, Option<Position>),
    before: &[Column],
) -> Result<()> {
    let refuse = |message: String| {
        let at = body.locate_near(Some(name), near);
        Err(EngineError::refused(at, object, message))
    };
    if let Some(fault) = name::fault(name) {
        return refuse(format!("feature {fault}; rename it"));
    }
    if before.iter().any(|column| column.name == name) {
        return refuse(format!(
            "two features go by the name {name}; give each its own: AS name"
        ));
    }
    Ok(())
}

/// Digest over names, types and definitions. Versions and ids are no part of it.
fn fingerprint(definition: &str, request: &[Column], features: &[Column]) -> String {
    let described =
        |column: &Column| format!("{} {} {}", column.name, column.data_type, column.nullable);
    let request = request.iter().map(described);
    let features = features.iter().map(described);
    let parts: Vec<String> = [
        "service".to_owned(),
        definition.to_owned(),
        "request".to_owned(),
    ]
    .into_iter()
    .chain(request)
    .collect();
    let parts: Vec<String> = parts
        .into_iter()
        .chain(["features".to_owned()])
        .chain(features)
        .collect();
    digest(parts.iter().map(String::as_str))
}

impl CompiledService for Service {
    fn spec(&self) -> &Arc<ServiceSpec> {
        &self.spec
    }

    fn views(&self) -> &[Arc<dyn CompiledView>] {
        &self.views
    }

    fn finish(
        &self,
        request: &RecordBatch,
        at: &TimestampMicrosecondArray,
        views: &[Cells],
    ) -> PortResult<Cells> {
        let mut inputs = Cells::from(self.request.pick(request)?);
        // Moments are UTC whatever the caller's array calls its zone.
        let at = at.clone().with_data_type(timestamp_type());
        inputs.columns.push(Arc::new(at));
        let agree = views.len() == self.views.len()
            && views
                .iter()
                .zip(&self.views)
                .all(|(cells, view)| cells.columns.len() == view.features().fields().len());
        if !agree {
            return Err(PortError::internal(format!(
                "feature service {} was given features of other views than it reads",
                self.spec.name
            )));
        }
        views.iter().for_each(|cells| inputs.extend(cells));
        self.program.run_cells(&inputs, request.num_rows())
    }
}
