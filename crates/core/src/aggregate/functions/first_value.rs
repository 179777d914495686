//! `first_value`: x of the row that is least by (event time, partition, offset) inside the window,
//! NULL or not.

use crate::aggregate::function::{ANY_TYPE, Function, same_type};
use crate::aggregate::partial::{AnyState, PartialClass};

pub(super) static FIRST_VALUE: Function = Function {
    names: &["first_value"],
    arguments: 1..=1,
    call: "first_value(x)",
    takes: "anything",
    gives: "x, NULL or not, of the least (event time, partition, offset)",
    plan: |arguments| same_type(PartialClass::First, arguments),
    instead: ANY_TYPE,
    finish: |state, _| match state {
        AnyState::First(first) => Some(Ok(first.value())),
        _ => None,
    },
    ..Function::PLAIN
};
