//! The aggregates of SQL, from the table of `core`: how DataFusion plans a call of one
//! ([`aggregate_functions`]), how its window operators run one for the batch lowering
//! ([`WindowAggregate`]), and how rows leave a window that slides ([`Sliding`]), which the probe
//! shares. All of them keep the partial states of `core`, so that a plan of DataFusion, a tile and
//! the probe compute one value.
//!
//! Nothing here is an alternative: a name of the table never means DataFusion's own function.

mod frontier;
mod planned;
mod sliding;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;

use datafusion::functions_aggregate::all_default_aggregate_functions;
use datafusion::logical_expr::AggregateUDF;
use forebay_core::aggregate::AggregateKind;

pub(crate) use planned::{aggregate_kind, planned_name, sql_name};
pub(crate) use sliding::Sliding;
pub(crate) use window::WindowAggregate;

/// Version of all functions' meaning: part of every view's digest. It stays: a function that comes
/// to mean something else gets a version of its own ([`aggregate_version`]).
pub(crate) const FUNCTIONS_VERSION: u32 = 1;

/// All aggregate functions: those of the table, and those of DataFusion that have another name,
/// which a view refuses by it.
pub(crate) fn aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    let others = all_default_aggregate_functions()
        .into_iter()
        .filter(|function| AggregateKind::of(function.name(), false).is_none());
    let plain = AggregateKind::ALL
        .iter()
        .filter(|kind| !kind.function().is_distinct);
    let ours = plain.map(|kind| planned::function(*kind));
    others.chain(ours).collect()
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
