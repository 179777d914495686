//! `min`: the least value. NaN is the greatest, -0.0 is 0.0, text goes by its bytes, true is above
//! false. NULL over nothing.

use crate::aggregate::function::{Function, ORDERED_TYPE, ordered_type};
use crate::aggregate::partial::{AnyState, PartialClass};

pub(super) static MIN: Function = Function {
    names: &["min"],
    arguments: 1..=1,
    call: "min(x)",
    takes: "anything but arrays",
    gives: "the least x; NaN is the greatest value, -0.0 is 0.0",
    plan: |arguments| ordered_type(PartialClass::Min, arguments),
    instead: ORDERED_TYPE,
    finish: |state, _| match state {
        AnyState::Min(least) => Some(Ok(least.value().clone())),
        _ => None,
    },
    ..Function::PLAIN
};
