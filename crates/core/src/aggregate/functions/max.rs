//! `max`: the greatest value. NaN is the greatest, -0.0 is 0.0, text goes by its bytes, true is
//! above false. NULL over nothing.

use crate::aggregate::function::{ANY_TYPE, Function, same_type};
use crate::aggregate::partial::{AnyState, PartialClass};

pub(super) static MAX: Function = Function {
    names: &["max"],
    arguments: 1..=1,
    call: "max(x)",
    takes: "anything",
    gives: "the greatest x; NaN is the greatest value, -0.0 is 0.0",
    plan: |arguments| same_type(PartialClass::Max, arguments),
    instead: ANY_TYPE,
    finish: |state, _| match state {
        AnyState::Max(greatest) => Some(Ok(greatest.value().clone())),
        _ => None,
    },
    ..Function::PLAIN
};
