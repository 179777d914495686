//! The windows of a view over one table of folded events and virtual rows, as DataFusion has them:
//! every aggregate of the view over plain columns, partitioned by the key and ordered by the event
//! time, with the frame and the FILTER of the definition. Its window operators know nothing of
//! tiles or of the probe, which is what makes them a judge of both.
//!
//! `run` makes the table and reads the result: one row for each virtual row, with the aggregates at
//! its moment and the newest event time of its key. What stands before the windows (WHERE,
//! arguments, FILTERs) and behind them (features) is computed by the view's own programs.

use std::sync::Arc;

use arrow_array::types::IntervalMonthDayNano;
use datafusion::error::Result;
use datafusion::functions_aggregate::min_max::max_udaf;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    AggregateUDF, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Projection, TableSource, Window,
    WindowFrame, WindowFrameBound, WindowFrameUnits, ident,
};
use datafusion::scalar::ScalarValue;
use forebay_core::time::DAY_US;
use forebay_core::view::{AggregateSpec, ViewSpec, Window as Span};

use crate::functions::WindowAggregate;

/// Names of the table's columns.
pub(super) mod column {
    /// The event time, or the moment of a virtual row.
    pub(crate) const TIME: &str = "time";
    /// True on events, false on virtual rows.
    pub(crate) const EVENT: &str = "event";
    /// Its opposite.
    pub(crate) const VIRTUAL: &str = "virtual";
    /// Number of the spine row; NULL on events.
    pub(crate) const ROW: &str = "row";
    /// Kafka partition; NULL on virtual rows.
    pub(crate) const PARTITION: &str = "partition";
    /// Kafka offset; NULL on virtual rows.
    pub(crate) const OFFSET: &str = "offset";
    /// Newest event time at or before the row, of its key.
    pub(crate) const NEWEST: &str = "newest";

    /// Key column `index`.
    pub(crate) fn key(index: usize) -> String {
        format!("key_{index}")
    }

    /// Argument `index`; NULL on virtual rows.
    pub(crate) fn argument(index: usize) -> String {
        format!("argument_{index}")
    }

    /// FILTER `index`; false on virtual rows.
    pub(crate) fn filter(index: usize) -> String {
        format!("filter_{index}")
    }

    /// Aggregate `index`.
    pub(crate) fn aggregate(index: usize) -> String {
        format!("aggregate_{index}")
    }

    /// Whether aggregate `index` has no value; of one that may fail.
    pub(crate) fn fault(index: usize) -> String {
        format!("fault_{index}")
    }
}

const TABLE: &str = "rows";

/// The virtual rows of `table`, each with its number, the newest event time and the aggregates of
/// `spec`.
pub(super) fn windows(spec: &ViewSpec, table: Arc<dyn TableSource>) -> Result<LogicalPlan> {
    let rows = LogicalPlanBuilder::scan(TABLE, table, None)?.build()?;
    let newest = Call {
        function: max_udaf(),
        args: vec![ident(column::TIME)],
        filter: None,
        frame: WindowFrame::new(Some(false)),
    };
    let mut exprs = vec![newest.over(spec).alias(column::NEWEST)];
    let mut outputs = vec![column::ROW.to_owned(), column::NEWEST.to_owned()];
    for (index, aggregate) in spec.aggregates.iter().enumerate() {
        let call = Call::of(spec, index, aggregate);
        exprs.push(call.over(spec).alias(column::aggregate(index)));
        outputs.push(column::aggregate(index));
        if aggregate.may_fail() {
            let fault = Call::of_fault(spec, index, aggregate);
            exprs.push(fault.over(spec).alias(column::fault(index)));
            outputs.push(column::fault(index));
        }
    }
    let windows = LogicalPlan::Window(Window::try_new(exprs, Arc::new(rows))?);
    let asked = LogicalPlan::Filter(Filter::try_new(ident(column::VIRTUAL), Arc::new(windows))?);
    let outputs = outputs.into_iter().map(ident).collect();
    Projection::try_new(outputs, Arc::new(asked)).map(LogicalPlan::Projection)
}

/// One aggregate over a window.
struct Call {
    function: Arc<AggregateUDF>,
    args: Vec<Expr>,
    filter: Option<usize>,
    frame: WindowFrame,
}

impl Call {
    fn of(spec: &ViewSpec, index: usize, aggregate: &AggregateSpec) -> Self {
        let partial = &spec.partials[aggregate.partial];
        let (name, kind) = (column::aggregate(index), aggregate.kind);
        let function = WindowAggregate::function(name, kind, partial, &aggregate.data_type);
        Self::calling(function, spec, aggregate)
    }

    fn of_fault(spec: &ViewSpec, index: usize, aggregate: &AggregateSpec) -> Self {
        let partial = &spec.partials[aggregate.partial];
        let function = WindowAggregate::fault(column::fault(index), aggregate.kind, partial);
        Self::calling(function, spec, aggregate)
    }

    fn calling(function: Arc<AggregateUDF>, spec: &ViewSpec, aggregate: &AggregateSpec) -> Self {
        let partial = &spec.partials[aggregate.partial];
        let arguments = partial.arguments.iter();
        let mut args: Vec<Expr> = arguments
            .map(|index| ident(column::argument(*index)))
            .collect();
        args.extend([column::TIME, column::PARTITION, column::OFFSET].map(ident));
        Self {
            function,
            args,
            filter: partial.filter,
            frame: frame(aggregate.window),
        }
    }

    fn over(self, spec: &ViewSpec) -> Expr {
        let mut call = WindowFunction::new(self.function, self.args);
        let filter = self.filter.map(column::filter);
        call.params.partition_by = (0..spec.key.len())
            .map(|index| ident(column::key(index)))
            .collect();
        call.params.order_by = vec![ident(column::TIME).sort(true, false)];
        call.params.window_frame = self.frame;
        call.params.filter = Some(Box::new(ident(
            filter.unwrap_or_else(|| column::EVENT.to_owned()),
        )));
        Expr::WindowFunction(Box::new(call))
    }
}

/// `[t - W, t]`, or all up to t.
fn frame(window: Span) -> WindowFrame {
    match window {
        Span::Lifetime => WindowFrame::new(Some(false)),
        Span::Range { preceding_us } => {
            let days = preceding_us / DAY_US;
            let rest_us = preceding_us % DAY_US;
            let interval = match i32::try_from(days) {
                Ok(days) => IntervalMonthDayNano::new(0, days, rest_us * 1_000),
                // Longer than all of time.
                Err(_) => return WindowFrame::new(Some(false)),
            };
            WindowFrame::new_bounds(
                WindowFrameUnits::Range,
                WindowFrameBound::Preceding(ScalarValue::IntervalMonthDayNano(Some(interval))),
                WindowFrameBound::CurrentRow,
            )
        }
    }
}
