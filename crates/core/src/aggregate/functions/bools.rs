//! `bool_and` (`every`) and `bool_or`: whether all values, or one, are true. NULL over
//! nothing.

use arrow_schema::DataType;

use crate::aggregate::cells::Cell;
use crate::aggregate::function::{Function, Planned, planned};
use crate::aggregate::partial::{AnyState, PartialClass};
use crate::value::Value;

const INSTEAD: &str = "write a condition: x > 0";

fn plan(arguments: &[DataType]) -> Option<Planned> {
    match arguments {
        [DataType::Boolean] => planned(PartialClass::Bools, DataType::Boolean),
        _ => None,
    }
}

fn truth(value: Option<bool>) -> Cell {
    Ok(value.map_or(Value::Null, Value::Bool))
}

pub(super) static BOOL_AND: Function = Function {
    names: &["bool_and", "every"],
    arguments: 1..=1,
    call: "bool_and(x)",
    takes: "BOOLEAN",
    gives: "whether all are true",
    plan,
    instead: INSTEAD,
    finish: |state, _| match state {
        AnyState::Bools(counts) => Some(truth(counts.all())),
        _ => None,
    },
    ..Function::PLAIN
};

pub(super) static BOOL_OR: Function = Function {
    names: &["bool_or"],
    arguments: 1..=1,
    call: "bool_or(x)",
    takes: "BOOLEAN",
    gives: "whether one is true",
    plan,
    instead: INSTEAD,
    finish: |state, _| match state {
        AnyState::Bools(counts) => Some(truth(counts.any())),
        _ => None,
    },
    ..Function::PLAIN
};
