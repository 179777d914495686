//! `count(DISTINCT x)`: how many different values there are, with one NaN and one zero, exactly. Of
//! more than [`crate::limits::DISTINCT_MAX_VALUES`] there is no value: `approx_distinct` has one.

use arrow_schema::DataType;

use crate::aggregate::function::{Function, ORDERED_TYPE, planned};
use crate::aggregate::partial::{AnyState, PartialClass};
use crate::aggregate::rows::ColumnKind;
use crate::value::Value;

pub(super) static COUNT_DISTINCT: Function = Function {
    names: &["count"],
    is_distinct: true,
    arguments: 1..=1,
    call: "count(DISTINCT x)",
    takes: "anything but arrays",
    gives: "BIGINT: different values that are not NULL; without a value above 1,024 (`DISTINCT_MAX_VALUES`)",
    plan: |arguments| match arguments {
        [argument] if ColumnKind::is_ordered(argument) => {
            planned(PartialClass::Distinct, DataType::Int64)
        }
        _ => None,
    },
    instead: ORDERED_TYPE,
    finish: |state, _| match state {
        AnyState::Distinct(values) => Some(values.count().map(Value::Int)),
        _ => None,
    },
    ..Function::PLAIN
};
