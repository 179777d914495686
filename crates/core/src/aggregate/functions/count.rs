//! `count(*)` and `count(x)`: rows, and rows where x is not NULL. Never NULL where the key is
//! known.

use arrow_schema::DataType;

use crate::aggregate::function::{ANY_TYPE, Function, planned};
use crate::aggregate::partial::{AnyState, PartialClass};
use crate::value::Value;

pub(super) static COUNT: Function = Function {
    names: &["count"],
    arguments: 0..=1,
    call: "count(x)",
    takes: "anything, or `*`",
    gives: "BIGINT: rows, or rows where x is not NULL",
    plan: |_| planned(PartialClass::Count, DataType::Int64),
    instead: ANY_TYPE,
    finish: |state, _| match state {
        AnyState::Count(count) => Some(Ok(Value::Int(count.rows()))),
        _ => None,
    },
    ..Function::PLAIN
};
