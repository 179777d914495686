//! `covar_samp`, `covar_pop` and `corr` of two DOUBLEs: the exact value, rounded once. A row with a
//! NULL does not count. NULL over too few rows, and `corr` where one of both never changes; NaN
//! where one is NaN or infinite.

use arrow_schema::DataType;

use crate::aggregate::cells::Cell;
use crate::aggregate::function::{Function, Planned, float, planned};
use crate::aggregate::partial::{AnyState, PartialClass};
use crate::aggregate::quantile::Quantile;
use crate::exact::CoMoments;

fn plan(arguments: &[DataType]) -> Option<Planned> {
    match arguments {
        [DataType::Float64, DataType::Float64] => planned(PartialClass::Pairs, DataType::Float64),
        _ => None,
    }
}

const fn of_pairs(
    names: &'static [&'static str],
    call: &'static str,
    gives: &'static str,
    finish: fn(&AnyState, Option<Quantile>) -> Option<Cell>,
) -> Function {
    Function {
        names,
        arguments: 2..=2,
        call,
        takes: "DOUBLE",
        gives,
        plan,
        instead: "write CAST(x AS DOUBLE)",
        finish,
        ..Function::PLAIN
    }
}

fn pairs(state: &AnyState) -> Option<&CoMoments> {
    match state {
        AnyState::Pairs(pairs) => Some(pairs),
        _ => None,
    }
}

const GIVES: &str = "DOUBLE, the exact value rounded once";

pub(super) static COVAR_SAMP: Function = of_pairs(
    &["covar_samp", "covar"],
    "covar_samp(x, y)",
    GIVES,
    |state, _| Some(float(pairs(state)?.covar_samp())),
);

pub(super) static COVAR_POP: Function =
    of_pairs(&["covar_pop"], "covar_pop(x, y)", GIVES, |state, _| {
        Some(float(pairs(state)?.covar_pop()))
    });

pub(super) static CORR: Function = of_pairs(
    &["corr"],
    "corr(x, y)",
    "DOUBLE, the exact value rounded once; NULL where x or y never changes",
    |state, _| Some(float(pairs(state)?.corr())),
);
