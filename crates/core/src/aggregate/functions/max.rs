//! `max`: the greatest value. NaN is the greatest, -0.0 is 0.0, text goes by its bytes, true is
//! above false. NULL over nothing.

use crate::aggregate::function::{Function, ORDERED_TYPE, ordered_type};
use crate::aggregate::partial::{AnyState, PartialClass};

pub(super) static MAX: Function = Function {
    names: &["max"],
    arguments: 1..=1,
    call: "max(x)",
    takes: "anything but arrays",
    gives: "the greatest x; NaN is the greatest value, -0.0 is 0.0",
    plan: |arguments| ordered_type(PartialClass::Max, arguments),
    instead: ORDERED_TYPE,
    finish: |state, _| match state {
        AnyState::Max(greatest) => Some(Ok(greatest.value().clone())),
        _ => None,
    },
    ..Function::PLAIN
};
