//! `avg`: the exact mean, rounded once. Read from the states of `sum`; integers are not made DOUBLE
//! first. NULL over nothing.

use arrow_schema::DataType;

use super::sum::CAST_TO_NUMBER;
use crate::aggregate::function::{Function, float, planned};
use crate::aggregate::partial::{AnyState, PartialClass};

pub(super) static AVG: Function = Function {
    names: &["avg", "mean"],
    arguments: 1..=1,
    call: "avg(x)",
    takes: "numbers",
    gives: "DOUBLE, the exact mean rounded once",
    plan: |arguments| match arguments {
        [DataType::Float64] => planned(PartialClass::FloatSum, DataType::Float64),
        [DataType::Int32 | DataType::Int64] => planned(PartialClass::IntSum, DataType::Float64),
        _ => None,
    },
    instead: CAST_TO_NUMBER,
    finish: |state, _| match state {
        AnyState::FloatSum(sum) => Some(float(sum.avg())),
        AnyState::IntSum(sum) => Some(float(sum.avg())),
        _ => None,
    },
    ..Function::PLAIN
};
