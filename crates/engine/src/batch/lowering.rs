//! A view's plan, made to run over events and virtual rows in one table. Only what virtual rows
//! need changes:
//!
//! * the scan reads a table that has four columns more ([`extra`]);
//! * WHERE is true on a virtual row;
//! * every aggregate's FILTER leaves virtual rows out;
//! * `last_value` is told event time, partition and offset, by which it decides;
//! * the newest event time is one more aggregate, over all events up to the row;
//! * above the windows only the virtual rows go on whose key is present: no other row is asked for;
//! * projections pass the extra columns on.
//!
//! WHERE, FILTER and arguments are evaluated on events alone, because they may fail where a virtual
//! row is NULL. Names of columns stay, so that everything above an aggregate is as it was planned.

use std::sync::Arc;

use arrow_schema::DataType;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    AggregateUDF, Cast, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Projection, SubqueryAlias,
    TableSource, Window, WindowFrame, WindowFunctionDefinition, lit, when,
};
use forebay_core::time::Micros;

use crate::functions::LAST_VALUE;

/// Names of the columns that the table has beside the source's own.
pub(super) mod extra {
    /// True on virtual rows.
    pub(crate) const VIRTUAL: &str = "_forebay_virtual";
    /// Number of the spine row; NULL on events.
    pub(crate) const ROW: &str = "_forebay_row";
    /// Kafka partition; NULL on virtual rows.
    pub(crate) const PARTITION: &str = "_forebay_partition";
    /// Kafka offset; NULL on virtual rows.
    pub(crate) const OFFSET: &str = "_forebay_offset";
    /// Newest event time at or before the row, of its key.
    pub(crate) const NEWEST: &str = "_forebay_newest";
}

/// Rewrites plans of one session.
pub(super) struct Lowering {
    /// The table of events and virtual rows.
    pub(super) table: Arc<dyn TableSource>,
    /// `max`.
    pub(super) max: Arc<AggregateUDF>,
    /// The view's TTL.
    pub(super) ttl_us: Option<Micros>,
}

impl Lowering {
    /// `plan` over the table: its virtual rows of present keys, with [`extra::ROW`] and
    /// [`extra::NEWEST`] beside its own columns.
    pub(super) fn lower(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        match plan {
            LogicalPlan::SubqueryAlias(alias) => {
                let input = Arc::new(self.lower(&alias.input)?);
                SubqueryAlias::try_new(input, alias.alias.clone()).map(LogicalPlan::SubqueryAlias)
            }
            LogicalPlan::Projection(node) => project(node.expr.clone(), self.lower(&node.input)?),
            LogicalPlan::Window(window) => {
                let input = self.lower_inside(plan)?;
                let present = self.present(window, &input)?;
                Filter::try_new(present, Arc::new(input)).map(LogicalPlan::Filter)
            }
            other => unexpected(&other.display().to_string()),
        }
    }

    /// `plan`, up to its last windows, over all rows of the table.
    fn lower_inside(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        match plan {
            LogicalPlan::TableScan(scan) if scan.filters.is_empty() && scan.fetch.is_none() => {
                LogicalPlanBuilder::scan(scan.table_name.clone(), Arc::clone(&self.table), None)?
                    .build()
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let input = Arc::new(self.lower_inside(&alias.input)?);
                SubqueryAlias::try_new(input, alias.alias.clone()).map(LogicalPlan::SubqueryAlias)
            }
            LogicalPlan::Filter(filter) => {
                let input = self.lower_inside(&filter.input)?;
                let keep = when(column(&input, extra::VIRTUAL)?, lit(true))
                    .otherwise(filter.predicate.clone())?;
                Filter::try_new(keep, Arc::new(input)).map(LogicalPlan::Filter)
            }
            LogicalPlan::Projection(node) => {
                let input = self.lower_inside(&node.input)?;
                let is_event = is_event(&input)?;
                let exprs = node
                    .expr
                    .iter()
                    .map(|expr| on_events(expr.clone(), &is_event))
                    .collect::<Result<Vec<_>>>()?;
                project(exprs, input)
            }
            LogicalPlan::Window(window) => {
                let mut input = self.lower_inside(&window.input)?;
                if !has_column(&input, extra::NEWEST) {
                    let newest = self.newest(&window.window_expr, &input)?;
                    input = LogicalPlan::Window(Window::try_new(vec![newest], Arc::new(input))?);
                }
                let exprs = window
                    .window_expr
                    .iter()
                    .map(|expr| windowed(expr, &input))
                    .collect::<Result<Vec<_>>>()?;
                Window::try_new(exprs, Arc::new(input)).map(LogicalPlan::Window)
            }
            other => unexpected(&other.display().to_string()),
        }
    }

    /// `max(event time)` over all events up to the row, partitioned and ordered as the view's
    /// windows are.
    fn newest(&self, windows: &[Expr], input: &LogicalPlan) -> Result<Expr> {
        let Some(params) = windows.first().and_then(params) else {
            return unexpected("a window without aggregates");
        };
        let mut newest = WindowFunction::new(Arc::clone(&self.max), vec![event_time(params)?]);
        newest.params.partition_by.clone_from(&params.partition_by);
        newest.params.order_by.clone_from(&params.order_by);
        newest.params.window_frame = WindowFrame::new(Some(false));
        newest.params.filter = Some(Box::new(is_event(input)?));
        Ok(Expr::WindowFunction(Box::new(newest)).alias(extra::NEWEST))
    }

    /// True on the virtual rows of `input` whose key is present: core's `feature_status`, in SQL.
    fn present(&self, window: &Window, input: &LogicalPlan) -> Result<Expr> {
        let newest = column(input, extra::NEWEST)?;
        let known = column(input, extra::VIRTUAL)?.and(newest.clone().is_not_null());
        let (Some(ttl_us), Some(params)) =
            (self.ttl_us, window.window_expr.first().and_then(params))
        else {
            return Ok(known);
        };
        let micros = |time: Expr| Expr::Cast(Cast::new(Box::new(time), DataType::Int64));
        Ok(known.and((micros(event_time(params)?) - micros(newest)).lt_eq(lit(ttl_us))))
    }
}

/// `exprs` of `input`, and its extra columns.
fn project(mut exprs: Vec<Expr>, input: LogicalPlan) -> Result<LogicalPlan> {
    for name in [
        extra::VIRTUAL,
        extra::ROW,
        extra::PARTITION,
        extra::OFFSET,
        extra::NEWEST,
    ] {
        // Below the windows there is no newest event yet.
        if name != extra::NEWEST || has_column(&input, name) {
            exprs.push(column(&input, name)?);
        }
    }
    Projection::try_new(exprs, Arc::new(input)).map(LogicalPlan::Projection)
}

/// `expr` on events and NULL on virtual rows, under its own name. Columns are as they are: the key
/// and the time matter.
fn on_events(expr: Expr, is_event: &Expr) -> Result<Expr> {
    match expr {
        Expr::Column(_) | Expr::Literal(..) => Ok(expr),
        Expr::Alias(mut alias) if !matches!(*alias.expr, Expr::Column(_) | Expr::Literal(..)) => {
            *alias.expr = when(is_event.clone(), *alias.expr).end()?;
            Ok(Expr::Alias(alias))
        }
        Expr::Alias(_) => Ok(expr),
        computed => {
            let name = computed.schema_name().to_string();
            Ok(when(is_event.clone(), computed).end()?.alias(name))
        }
    }
}

/// The expression that the windows of `params` are ordered by.
fn event_time(params: &WindowFunctionParams) -> Result<Expr> {
    match params.order_by.first() {
        Some(time) => Ok(time.expr.clone()),
        None => unexpected("a window without ORDER BY"),
    }
}

/// `expr`, an aggregate of a window, without the virtual rows of `input`, under its own name.
fn windowed(expr: &Expr, input: &LogicalPlan) -> Result<Expr> {
    let name = expr.schema_name().to_string();
    let is_event = is_event(input)?;
    let (partition, offset) = (
        column(input, extra::PARTITION)?,
        column(input, extra::OFFSET)?,
    );
    let changed = expr.clone().transform_up(|node| {
        let Expr::WindowFunction(mut call) = node else {
            return Ok(Transformed::no(node));
        };
        let WindowFunctionDefinition::AggregateUDF(function) = &call.fun else {
            return unexpected(call.fun.name());
        };
        let is_last_value = function.name() == LAST_VALUE;
        let params = &mut call.params;
        for argument in &mut params.args {
            *argument = on_events(argument.clone(), &is_event)?;
        }
        if is_last_value {
            params
                .args
                .extend([event_time(params)?, partition.clone(), offset.clone()]);
        }
        params.filter = Some(Box::new(match params.filter.take() {
            Some(filter) => when(is_event.clone(), *filter).otherwise(lit(false))?,
            None => is_event.clone(),
        }));
        Ok(Transformed::yes(Expr::WindowFunction(call)))
    })?;
    Ok(match changed.data {
        aliased @ Expr::Alias(_) => aliased,
        call => call.alias(name),
    })
}

fn params(expr: &Expr) -> Option<&WindowFunctionParams> {
    match expr {
        Expr::Alias(alias) => params(&alias.expr),
        Expr::WindowFunction(call) => Some(&call.params),
        _ => None,
    }
}

fn has_column(plan: &LogicalPlan, name: &str) -> bool {
    plan.schema()
        .fields()
        .iter()
        .any(|field| field.name() == name)
}

/// True on the events of `plan`.
fn is_event(plan: &LogicalPlan) -> Result<Expr> {
    Ok(Expr::Not(Box::new(column(plan, extra::VIRTUAL)?)))
}

/// The column `name` of `plan`, whatever table it is of.
fn column(plan: &LogicalPlan, name: &str) -> Result<Expr> {
    let (relation, field) = plan.schema().qualified_field_with_unqualified_name(name)?;
    Ok(Expr::Column(Column::new(relation.cloned(), field.name())))
}

fn unexpected<T>(what: &str) -> Result<T> {
    Err(DataFusionError::Internal(format!(
        "a view's plan holds {what}, which views are refused for"
    )))
}
