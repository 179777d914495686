//! `var_samp`, `var_pop`, `stddev_samp`, `stddev_pop`: the exact value from exact moments, rounded
//! once. NULL over too few values, NaN where one is NaN or infinite.

use arrow_schema::DataType;

use super::sum::CAST_TO_NUMBER;
use crate::aggregate::cells::Cell;
use crate::aggregate::function::{Function, Planned, float, planned};
use crate::aggregate::partial::{AnyState, PartialClass};
use crate::aggregate::quantile::Quantile;
use crate::exact::FloatMoments;

const GIVES: &str = "DOUBLE, the exact value rounded once";

const fn of_moments(
    names: &'static [&'static str],
    call: &'static str,
    finish: fn(&AnyState, Option<Quantile>) -> Option<Cell>,
) -> Function {
    Function {
        names,
        arguments: 1..=1,
        call,
        takes: "numbers",
        gives: GIVES,
        plan,
        instead: CAST_TO_NUMBER,
        finish,
        ..Function::PLAIN
    }
}

fn plan(arguments: &[DataType]) -> Option<Planned> {
    match arguments {
        [DataType::Float64 | DataType::Int32 | DataType::Int64] => {
            planned(PartialClass::FloatMoments, DataType::Float64)
        }
        _ => None,
    }
}

fn moments(state: &AnyState) -> Option<&FloatMoments> {
    match state {
        AnyState::FloatMoments(moments) => Some(moments),
        _ => None,
    }
}

pub(super) static VAR_SAMP: Function = of_moments(&["var_samp", "var"], "var(x)", |state, _| {
    Some(float(moments(state)?.var_samp()))
});

pub(super) static VAR_POP: Function = of_moments(&["var_pop"], "var_pop(x)", |state, _| {
    Some(float(moments(state)?.var_pop()))
});

pub(super) static STDDEV_SAMP: Function =
    of_moments(&["stddev_samp", "stddev"], "stddev(x)", |state, _| {
        Some(float(moments(state)?.stddev_samp()))
    });

pub(super) static STDDEV_POP: Function =
    of_moments(&["stddev_pop"], "stddev_pop(x)", |state, _| {
        Some(float(moments(state)?.stddev_pop()))
    });
