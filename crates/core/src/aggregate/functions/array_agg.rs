//! `array_agg(x, n)`: the last n values of x in the order of the log, (event time, partition,
//! offset), the oldest first, NULLs among them; NULL over no row.

use crate::aggregate::function::{ConstantKind, Function, planned};
use crate::aggregate::partial::{AnyState, PartialClass};
use crate::aggregate::rows::ColumnKind;
use crate::value::list_type;

pub(super) static ARRAY_AGG: Function = Function {
    names: &["array_agg"],
    constant: ConstantKind::Count,
    arguments: 1..=1,
    call: "array_agg(x, 10)",
    takes: "anything but arrays, and how many from 1 to 256 (`ARRAY_AGG_MAX_ITEMS`)",
    gives: "an array of x, NULL or not, of the greatest (event time, partition, offset), the oldest first",
    plan: |arguments| match arguments {
        [argument] if ColumnKind::is_ordered(argument) => {
            planned(PartialClass::Newest, list_type(argument.clone()))
        }
        _ => None,
    },
    instead: "an array holds no arrays; write an item, array_agg(x[1], 10), or last_value(x)",
    finish: |state, _| match state {
        AnyState::Newest(newest) => Some(Ok(newest.value())),
        _ => None,
    },
    ..Function::PLAIN
};
