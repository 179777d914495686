//! One window aggregate of a view: which function, over which argument and FILTER, over which
//! events. Refuses every frame but `[t - W, t]` and "all up to t": those alone have one value at
//! any moment, with or without an event at it.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{NullTreatment, Sort, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Expr, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use datafusion::sql::sqlparser::tokenizer::Location as Position;
use forebay_core::aggregate::{AggregateKind, ConstantKind, Kept, Quantile};
use forebay_core::time::DAY_US;
use forebay_core::view::Window;

use super::partition::Partition;
use super::subject::{Subject, reads_aggregates, source_column};
use crate::error::Result;
use crate::functions::{aggregate_kind, sql_name};
use crate::scalar::position_of;

/// A window aggregate; equal ones are computed once.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Windowed {
    pub(super) kind: AggregateKind,
    /// None for `count(*)`.
    pub(super) arguments: Vec<Expr>,
    pub(super) filter: Option<Expr>,
    pub(super) window: Window,
}

const RANGE: &str = "write RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW";

/// Match `expr`, and find what it is partitioned by.
/// `inner` turns an expression of the window into one over the source.
pub(super) fn windowed(
    subject: Subject<'_>,
    expr: &Expr,
    inner: &dyn Fn(&Expr) -> Result<Expr>,
) -> Result<(Windowed, Partition)> {
    let call = match expr {
        Expr::Alias(alias) => return windowed(subject, &alias.expr, inner),
        Expr::WindowFunction(call) => call.as_ref(),
        other => return subject.refuse(None, format!("{other} is no window aggregate")),
    };
    // The window stands behind its function: the places of its columns tell both.
    let near = position_of(expr);
    let WindowFunctionParams {
        args,
        partition_by,
        order_by,
        window_frame,
        filter,
        null_treatment,
        distinct: _,
    } = &call.params;
    let kind = function(subject, call, near)?;
    let name = kind.name();
    refuse_nulls(subject, name, *null_treatment, near)?;
    let of_window = partition_by.iter().find_map(position_of);
    let of_window = of_window.or_else(|| order_by.iter().find_map(|sort| position_of(&sort.expr)));
    let partition = Partition::of(subject, partition_by, inner, of_window.or(near))?;
    check_order(subject, name, order_by, inner, of_window.or(near))?;
    let of_order = order_by.iter().find_map(|sort| position_of(&sort.expr));
    let window = frame(subject, window_frame, of_order)?;
    let (kind, args) = constant(subject, kind, args, near)?;
    let arguments = arguments(kind, args, inner)?;
    let filter = match filter {
        None => None,
        Some(filter) => match inner(filter)? {
            Expr::Literal(ScalarValue::Boolean(Some(true)), _) => None,
            filter => Some(filter),
        },
    };
    if arguments.iter().chain(&filter).any(reads_aggregates) {
        return subject.refuse_near(
            Some(name),
            near,
            format!("{name} of an aggregate is not supported; write it over a column"),
        );
    }
    Ok((
        Windowed {
            kind,
            arguments,
            filter,
            window,
        },
        partition,
    ))
}

fn refuse_nulls(
    subject: Subject<'_>,
    name: &str,
    nulls: Option<NullTreatment>,
    near: Option<Position>,
) -> Result<()> {
    if matches!(nulls, Some(NullTreatment::IgnoreNulls)) {
        let message = format!(
            "{name} with IGNORE NULLS is not supported; write {name}(x) FILTER (WHERE x IS NOT NULL)"
        );
        return subject.refuse_near(Some("IGNORE"), near, message);
    }
    Ok(())
}

/// A window is ordered by the event time alone, ascending.
fn check_order(
    subject: Subject<'_>,
    name: &str,
    order_by: &[Sort],
    inner: &dyn Fn(&Expr) -> Result<Expr>,
    near: Option<Position>,
) -> Result<()> {
    let ordered_by_time = match order_by {
        [sort] => {
            sort.asc
                && source_column(subject.source, &inner(&sort.expr)?)
                    == Some(subject.source.time_column)
        }
        [] => {
            let message = format!(
                "{name} OVER (..) without ORDER BY sees the future; write ORDER BY {}",
                time(subject)
            );
            return subject.refuse_near(Some("OVER"), near, message);
        }
        _ => false,
    };
    if !ordered_by_time {
        let message = format!(
            "its windows must be ordered by the event time alone, ascending: ORDER BY {}",
            time(subject)
        );
        let own = order_by.iter().find_map(|sort| position_of(&sort.expr));
        return subject.refuse_near(Some("ORDER"), own.or(near), message);
    }
    Ok(())
}

fn time(subject: Subject<'_>) -> &str {
    &subject.source.columns[subject.source.time_column].name
}

fn function(
    subject: Subject<'_>,
    call: &WindowFunction,
    near: Option<Position>,
) -> Result<AggregateKind> {
    let distinct = call.params.distinct;
    let name = match &call.fun {
        WindowFunctionDefinition::AggregateUDF(function) => function.name(),
        WindowFunctionDefinition::WindowUDF(function) => function.name(),
    };
    if let Some(kind) = aggregate_kind(name, distinct) {
        return Ok(kind);
    }
    let name = sql_name(name);
    if let Some(kind) = AggregateKind::of(name, false).filter(|_| distinct) {
        let name = kind.name();
        let message = format!(
            "{name}(DISTINCT ..) is not supported; drop DISTINCT, or write count(DISTINCT x)"
        );
        return subject.refuse_near(Some("DISTINCT"), near, message);
    }
    let message = match name {
        "nth_value" | "lag" | "lead" | "row_number" | "rank" | "dense_rank" | "percent_rank"
        | "ntile" | "cume_dist" => {
            format!(
                "{name} depends on which rows stand beside this one and has no value between events"
            )
        }
        "approx_percentile_cont_with_weight" => {
            format!("{name} depends on the order of arrival")
        }
        "median" | "percentile_cont" | "string_agg" => {
            format!("{name} has no state of bounded size that is exact")
        }
        _ => format!("{name} is not supported in a feature view"),
    };
    let mut known: Vec<&str> = AggregateKind::ALL.iter().map(|kind| kind.name()).collect();
    known.dedup();
    let known = known.join(", ");
    subject.refuse_near(
        Some(name),
        near,
        format!("{message}; write one of: {known}"),
    )
}

/// The function with its constant, where it takes one, and the arguments in front of that.
fn constant<'a>(
    subject: Subject<'_>,
    kind: AggregateKind,
    args: &'a [Expr],
    near: Option<Position>,
) -> Result<(AggregateKind, &'a [Expr])> {
    let function = kind.function();
    if function.constant == ConstantKind::None {
        return Ok((kind, args));
    }
    let found = args.split_last().and_then(|(last, arguments)| {
        let with = match (function.constant, last) {
            (ConstantKind::Fraction, Expr::Literal(ScalarValue::Float64(Some(value)), _)) => {
                kind.with_fraction(Quantile::of(*value)?)?
            }
            (ConstantKind::Fraction, Expr::Literal(ScalarValue::Int64(Some(value)), _)) => {
                kind.with_fraction(Quantile::of(*value as f64)?)?
            }
            (ConstantKind::Count, Expr::Literal(ScalarValue::Int64(Some(value)), _)) => {
                kind.keeping(Kept::of(*value)?)?
            }
            _ => return None,
        };
        Some((with, arguments))
    });
    match found {
        Some(found) => Ok(found),
        None => {
            let (name, call) = (kind.name(), function.call);
            let message = format!("{name} takes {}; write {call}", function.takes);
            subject.refuse_near(Some(name), near, message)
        }
    }
}

/// The arguments over the source; none for `count(*)`, which the planner writes as `count(1)`.
fn arguments(
    kind: AggregateKind,
    args: &[Expr],
    inner: &dyn Fn(&Expr) -> Result<Expr>,
) -> Result<Vec<Expr>> {
    match args {
        [Expr::Literal(value, _)] if kind == AggregateKind::Count && !value.is_null() => {
            Ok(Vec::new())
        }
        arguments => arguments.iter().map(inner).collect(),
    }
}

fn frame(subject: Subject<'_>, frame: &WindowFrame, near: Option<Position>) -> Result<Window> {
    match frame.units {
        WindowFrameUnits::Range => {}
        WindowFrameUnits::Rows => {
            let message = format!(
                "a ROWS frame has no value between events: the moment itself would count as a row; {RANGE}"
            );
            return subject.refuse_near(Some("ROWS"), near, message);
        }
        WindowFrameUnits::Groups => {
            return subject.refuse_near(
                Some("GROUPS"),
                near,
                format!("GROUPS frames are not supported; {RANGE}"),
            );
        }
    }
    if !matches!(frame.end_bound, WindowFrameBound::CurrentRow) {
        let message = match frame.end_bound {
            WindowFrameBound::Following(_) => {
                "a frame that ends after the current row sees the future"
            }
            _ => "a frame that ends before the current row is not supported",
        };
        return subject.refuse_near(Some("RANGE"), near, format!("{message}; {RANGE}"));
    }
    match &frame.start_bound {
        WindowFrameBound::CurrentRow => Ok(Window::Range { preceding_us: 0 }),
        WindowFrameBound::Preceding(bound) if bound.is_null() => Ok(Window::Lifetime),
        WindowFrameBound::Preceding(ScalarValue::IntervalMonthDayNano(Some(interval))) => {
            if interval.months != 0 {
                let message =
                    "a frame of months or years has no fixed length; write days: INTERVAL '30' DAY";
                return subject.refuse_near(Some("INTERVAL"), near, message);
            }
            let nanoseconds = i128::from(interval.days) * i128::from(DAY_US) * 1_000
                + i128::from(interval.nanoseconds);
            let whole = nanoseconds >= 0 && nanoseconds % 1_000 == 0;
            match i64::try_from(nanoseconds / 1_000) {
                Ok(preceding_us) if whole => Ok(Window::Range { preceding_us }),
                _ => subject.refuse_near(
                    Some("INTERVAL"),
                    near,
                    "a frame is a whole, positive number of microseconds; write INTERVAL '1' HOUR",
                ),
            }
        }
        WindowFrameBound::Following(_) => {
            let message =
                format!("a frame that begins after the current row sees the future; {RANGE}");
            subject.refuse_near(Some("RANGE"), near, message)
        }
        // The analyzer makes an interval of every bound over times.
        other => subject.refuse_near(
            Some("RANGE"),
            near,
            format!("frame bound {other} is not supported"),
        ),
    }
}
