//! `approx_quantile(x, fraction)` (`approx_percentile_cont`) and `approx_median(x)`: a value below
//! which that fraction of the values lies. The same rows give the same value, in any order; several
//! fractions of one column share their state.

use arrow_schema::DataType;

use super::sum::CAST_TO_NUMBER;
use crate::aggregate::cells::Cell;
use crate::aggregate::function::{ConstantKind, Function, Planned, float, planned};
use crate::aggregate::partial::{AnyState, PartialClass};
use crate::aggregate::quantile::Quantile;

fn plan(arguments: &[DataType]) -> Option<Planned> {
    match arguments {
        [DataType::Float64 | DataType::Int32 | DataType::Int64] => {
            planned(PartialClass::Sketch, DataType::Float64)
        }
        _ => None,
    }
}

fn at(state: &AnyState, quantile: Quantile) -> Option<Cell> {
    match state {
        AnyState::Sketch(sketch) => Some(float(sketch.quantile(quantile))),
        _ => None,
    }
}

pub(super) static APPROX_QUANTILE: Function = Function {
    names: &["approx_quantile", "approx_percentile_cont"],
    arguments: 1..=1,
    constant: ConstantKind::Fraction,
    call: "approx_quantile(x, 0.9)",
    takes: "numbers, and a fraction from 0 to 1 of at most six digits",
    gives: "DOUBLE: the value at that place among the sorted ones, cut to at least 8 bits (up to 1/256 nearer to zero), the same in any order",
    plan,
    instead: CAST_TO_NUMBER,
    finish: |state, quantile| at(state, quantile?),
    ..Function::PLAIN
};

pub(super) static APPROX_MEDIAN: Function = Function {
    names: &["approx_median"],
    arguments: 1..=1,
    call: "approx_median(x)",
    takes: "numbers",
    gives: "`approx_quantile(x, 0.5)`",
    plan,
    instead: CAST_TO_NUMBER,
    finish: |state, _| at(state, Quantile::MEDIAN),
    ..Function::PLAIN
};
