//! The aggregates of SQL, with ours in the place of those built-in ones that are inexact or depend
//! on order: sum, avg, var*, stddev*, min and max over DOUBLE, and last_value by the order of the
//! log. They wrap the partial states of `core`, so that a plan of DataFusion, a tile and the probe
//! lowering compute one value.
//!
//! Nothing here is an alternative: all three lowerings use the registry made here and no other.

mod accumulator;
mod exact;
mod frontier;
mod last;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::functions_aggregate::all_default_aggregate_functions;
use datafusion::logical_expr::AggregateUDF;
use forebay_core::aggregate::AggregateKind;

pub(crate) use frontier::Frontier;
pub(crate) use last::last_value_function;

/// Name under which [`last_value_function`] shows in plans; `last_value` itself would be planned as
/// a window function.
pub(crate) const LAST_VALUE: &str = "forebay_last_value";

/// Version of all functions' meaning: part of every view's digest. It stays: a function that comes
/// to mean something else gets a version of its own ([`aggregate_version`]).
pub(crate) const FUNCTIONS_VERSION: u32 = 1;

/// All aggregate functions, ours in the place of the inexact ones.
pub(crate) fn aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    let mut functions: Vec<Arc<AggregateUDF>> = all_default_aggregate_functions()
        .into_iter()
        .map(|built_in| match aggregate_kind(built_in.name()) {
            Some(kind) if kind != AggregateKind::Count && kind != AggregateKind::Last => Arc::new(
                AggregateUDF::new_from_impl(exact::ExactAggregate::new(kind, built_in)),
            ),
            _ => built_in,
        })
        .collect();
    functions.push(last_value_function());
    functions
}

/// Version of the meaning of an aggregate; above 1 it is part of the digest of every definition
/// that uses it. 2: sums of integers are exact or an error, moments of integers are rounded once.
pub(crate) fn aggregate_version(kind: AggregateKind) -> u32 {
    match kind {
        AggregateKind::Sum
        | AggregateKind::Avg
        | AggregateKind::VarPop
        | AggregateKind::VarSamp
        | AggregateKind::StddevPop
        | AggregateKind::StddevSamp => 2,
        _ => 1,
    }
}

/// The aggregate that a function of DataFusion is, if a view can keep it.
pub(crate) fn aggregate_kind(name: &str) -> Option<AggregateKind> {
    Some(match name {
        "count" => AggregateKind::Count,
        "sum" => AggregateKind::Sum,
        "avg" => AggregateKind::Avg,
        "min" => AggregateKind::Min,
        "max" => AggregateKind::Max,
        "var" => AggregateKind::VarSamp,
        "var_pop" => AggregateKind::VarPop,
        "stddev" => AggregateKind::StddevSamp,
        "stddev_pop" => AggregateKind::StddevPop,
        LAST_VALUE => AggregateKind::Last,
        _ => return None,
    })
}
