//! `max_by` (`arg_max`) and `min_by` (`arg_min`): x, NULL or not, where y is greatest or least. Of
//! rows with equal y the first in the log counts; a row without y does not.

use arrow_schema::DataType;

use crate::aggregate::function::{Function, ORDERED_TYPE, Planned, planned};
use crate::aggregate::partial::{AnyState, PartialClass};
use crate::aggregate::rows::ColumnKind;

fn plan(class: PartialClass, arguments: &[DataType]) -> Option<Planned> {
    let known = |data_type: &DataType| ColumnKind::of(data_type).is_some();
    match arguments {
        [value, by] if known(value) && ColumnKind::is_ordered(by) => planned(class, value.clone()),
        _ => None,
    }
}

pub(super) static MAX_BY: Function = Function {
    names: &["max_by", "arg_max"],
    arguments: 2..=2,
    call: "max_by(x, y)",
    takes: "anything; y no array",
    gives: "x, NULL or not, of the row with the greatest y; of equal ones the first",
    plan: |arguments| plan(PartialClass::MaxBy, arguments),
    instead: ORDERED_TYPE,
    finish: |state, _| match state {
        AnyState::MaxBy(best) => Some(Ok(best.value())),
        _ => None,
    },
    ..Function::PLAIN
};

pub(super) static MIN_BY: Function = Function {
    names: &["min_by", "arg_min"],
    arguments: 2..=2,
    call: "min_by(x, y)",
    takes: "anything; y no array",
    gives: "x, NULL or not, of the row with the least y; of equal ones the first",
    plan: |arguments| plan(PartialClass::MinBy, arguments),
    instead: ORDERED_TYPE,
    finish: |state, _| match state {
        AnyState::MinBy(best) => Some(Ok(best.value())),
        _ => None,
    },
    ..Function::PLAIN
};
