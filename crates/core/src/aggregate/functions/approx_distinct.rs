//! `approx_distinct`: about how many different values there are, however many. The same rows give
//! the same number, in any order.

use arrow_schema::DataType;

use crate::aggregate::function::{Function, ORDERED_TYPE, planned};
use crate::aggregate::partial::{AnyState, PartialClass};
use crate::aggregate::rows::ColumnKind;
use crate::value::Value;

pub(super) static APPROX_DISTINCT: Function = Function {
    names: &["approx_distinct", "approx_count_distinct"],
    arguments: 1..=1,
    call: "approx_distinct(x)",
    takes: "anything but arrays",
    gives: "BIGINT: about how many different values are not NULL (standard error 2.3 %), the same in any order",
    plan: |arguments| match arguments {
        [argument] if ColumnKind::is_ordered(argument) => {
            planned(PartialClass::Registers, DataType::Int64)
        }
        _ => None,
    },
    instead: ORDERED_TYPE,
    finish: |state, _| match state {
        AnyState::Registers(registers) => Some(Ok(Value::Int(registers.estimate()))),
        _ => None,
    },
    ..Function::PLAIN
};
