//! Matches the plan of a view's SELECT: projections over window aggregates over projections,
//! filters and the scan of one source. Every output becomes an expression over the source's columns
//! and over aggregates, whatever the nesting.
//!
//! The plan comes from `session`, checked; what leaves goes to `compile`. Every node
//! or function that a tile cannot keep exact is refused with a sentence that names it and says what
//! to write instead.

use datafusion::common::{Column, DFSchema};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Window as WindowNode, lit, when};
use datafusion::sql::sqlparser::tokenizer::Location as Position;

use super::partition::Partition;
use super::subject::{Subject, aggregate_column};
use super::windows::{Windowed, windowed};
use crate::error::{EngineError, Result};
use crate::nodes::{self, Nodes};
use crate::outputs::Outputs;
use crate::session::Session;
use crate::substitute::substitute;

/// What a view's plan says. Expressions name the source's columns without a relation.
#[derive(Debug)]
pub(super) struct Matched {
    /// Rows that count: where this is true.
    pub(super) predicate: Option<Expr>,
    /// For each key column of the entity the source's column that it is.
    pub(super) key: Vec<usize>,
    /// The aggregates, in the order of the text.
    pub(super) aggregates: Vec<Windowed>,
    /// Outputs of the plan in order.
    pub(super) outputs: Vec<(String, Expr)>,
    /// For each of them where its name stands.
    pub(super) places: Vec<Option<Position>>,
}

/// Match `plan`.
///
/// # Errors
/// `Refused`, with what to write instead.
pub(super) fn match_plan(
    session: &Session,
    subject: Subject<'_>,
    plan: &LogicalPlan,
    names: &Outputs,
) -> Result<Matched> {
    let mut matcher = Matcher {
        session,
        subject,
        predicate: None,
        partition: None,
        aggregates: Vec::new(),
        nodes: Nodes::new(),
    };
    let outputs = matcher.walk(plan)?;
    let Some(partition) = matcher.partition else {
        return subject.refuse(
            None,
            "it has no aggregate; write at least one, as in last_value(x) OVER (PARTITION BY key ORDER BY event_time) \
             AS x",
        );
    };
    let planned = plan
        .schema()
        .fields()
        .iter()
        .map(|field| names.written(field.name()));
    let outputs: Vec<(String, Expr)> = planned.zip(outputs).collect();
    let key = partition.key(subject, &outputs)?;
    let fields = plan.schema().fields().iter();
    let places = fields.map(|field| names.place(field.name())).collect();
    Ok(Matched {
        predicate: matcher.predicate,
        key,
        aggregates: matcher.aggregates,
        outputs,
        places,
    })
}

struct Matcher<'a> {
    session: &'a Session,
    subject: Subject<'a>,
    predicate: Option<Expr>,
    /// What all windows are partitioned by.
    partition: Option<Partition>,
    aggregates: Vec<Windowed>,
    /// What is left for the expressions that columns are replaced by.
    nodes: Nodes,
}

impl Matcher<'_> {
    /// The columns of `plan` as expressions over the source and the aggregates.
    fn walk(&mut self, plan: &LogicalPlan) -> Result<Vec<Expr>> {
        match plan {
            LogicalPlan::TableScan(scan) if scan.filters.is_empty() && scan.fetch.is_none() => {
                let names = scan.projected_schema.fields().iter();
                Ok(names
                    .map(|field| Expr::Column(Column::new_unqualified(field.name())))
                    .collect())
            }
            LogicalPlan::SubqueryAlias(alias) => self.walk(&alias.input),
            LogicalPlan::Filter(filter) => {
                let below = self.walk(&filter.input)?;
                if !self.aggregates.is_empty() {
                    return self.subject.refuse(
                        Some("WHERE"),
                        "a condition on aggregates would take the view's row away; write it as CASE in a feature",
                    );
                }
                let condition =
                    self.substitute(&filter.predicate, filter.input.schema(), &below)?;
                self.predicate = Some(match self.predicate.take() {
                    // CASE, because the outer condition is not even evaluated where the inner one
                    // is not true.
                    Some(inner) => when(inner, condition)
                        .otherwise(lit(false))
                        .map_err(|e| internal(&e))?,
                    None => condition,
                });
                Ok(below)
            }
            LogicalPlan::Projection(Projection { expr, input, .. }) => {
                let below = self.walk(input)?;
                expr.iter()
                    .map(|e| self.substitute(e, input.schema(), &below))
                    .collect()
            }
            LogicalPlan::Window(window) => self.window(window),
            other => self.subject.refuse(None, refused_node(other)),
        }
    }

    fn window(&mut self, window: &WindowNode) -> Result<Vec<Expr>> {
        let mut columns = self.walk(&window.input)?;
        let below = columns.clone();
        for expr in &window.window_expr {
            let inner = |e: &Expr| self.substitute(e, window.input.schema(), &below);
            let (aggregate, partition) = windowed(self.subject, expr, &inner)?;
            match &self.partition {
                Some(other) if !other.is_same(&partition) => {
                    return self.subject.refuse_near(
                        Some("PARTITION"),
                        partition.near,
                        "its windows are partitioned by different columns; write the same PARTITION BY in all, or a \
                         view for each",
                    );
                }
                Some(_) => {}
                None => self.partition = Some(partition),
            }
            let index = self
                .aggregates
                .iter()
                .position(|other| *other == aggregate)
                .unwrap_or_else(|| {
                    self.aggregates.push(aggregate);
                    self.aggregates.len() - 1
                });
            columns.push(Expr::Column(aggregate_column(index)));
        }
        Ok(columns)
    }

    /// `expr` over the columns of `schema`, with each column replaced by what it is below.
    fn substitute(&self, expr: &Expr, schema: &DFSchema, below: &[Expr]) -> Result<Expr> {
        self.session.goes_on()?;
        substitute(&self.nodes, expr, schema, below).map_err(|error| {
            let (object, body) = (self.subject.object, self.subject.body);
            nodes::limit(&error, object, body).unwrap_or_else(|| internal(&error))
        })
    }
}

fn internal(error: &DataFusionError) -> EngineError {
    EngineError::Internal(format!("a checked plan contradicts itself: {error}"))
}

/// Why a plan with this node is refused. Most are caught on the text, with their place; this is the
/// backstop.
fn refused_node(plan: &LogicalPlan) -> String {
    match plan {
        LogicalPlan::Aggregate(_) => {
            "an aggregate without OVER answers one row for the whole source; write it OVER \
                                      (PARTITION BY key ORDER BY event_time)"
                .to_owned()
        }
        LogicalPlan::Unnest(_) => {
            "unnest makes several rows of one event; it is not supported".to_owned()
        }
        other => {
            let node = other.display().to_string();
            let name = node.split([':', ' ']).next().unwrap_or_default();
            format!("plan node {name} is not supported in a feature view")
        }
    }
}
