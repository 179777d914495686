//! `last_value`: x of the row that is greatest by (event time, partition, offset), NULL or not. A
//! view scans one source and a source is one topic, so the topic never decides.

use crate::aggregate::function::{ANY_TYPE, Function, same_type};
use crate::aggregate::partial::{AnyState, PartialClass};

pub(super) static LAST_VALUE: Function = Function {
    names: &["last_value"],
    arguments: 1..=1,
    call: "last_value(x)",
    takes: "anything",
    gives: "x, NULL or not, of the greatest (event time, partition, offset)",
    plan: |arguments| same_type(PartialClass::Last, arguments),
    instead: ANY_TYPE,
    finish: |state, _| match state {
        AnyState::Last(last) => Some(Ok(last.value())),
        _ => None,
    },
    ..Function::PLAIN
};
