//! `sum`: the exact sum. Of DOUBLE it is rounded once; of integers it is a BIGINT, and a fault
//! where it does not fit, whatever is added on the way. NULL over nothing.

use arrow_schema::DataType;

use crate::aggregate::function::{Function, float, planned};
use crate::aggregate::partial::{AnyState, PartialClass};
use crate::value::Value;

/// What to write for an argument that is no number.
pub(super) const CAST_TO_NUMBER: &str = "write CAST(x AS DOUBLE) or CAST(x AS BIGINT)";

pub(super) static SUM: Function = Function {
    names: &["sum"],
    arguments: 1..=1,
    call: "sum(x)",
    takes: "numbers",
    gives: "DOUBLE, the exact sum rounded once; of integers BIGINT, without a value where it does not fit",
    plan: |arguments| match arguments {
        [DataType::Float64] => planned(PartialClass::FloatSum, DataType::Float64),
        [DataType::Int32 | DataType::Int64] => planned(PartialClass::IntSum, DataType::Int64),
        _ => None,
    },
    instead: CAST_TO_NUMBER,
    finish: |state, _| match state {
        AnyState::FloatSum(sum) => Some(float(sum.sum())),
        AnyState::IntSum(sum) => Some(sum.sum().map(|sum| sum.map_or(Value::Null, Value::Int))),
        _ => None,
    },
    ..Function::PLAIN
};
