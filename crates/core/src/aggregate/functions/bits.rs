//! `bit_and`, `bit_or`, `bit_xor`: the bits that all values have, that one has, that an odd number
//! of them has. NULL over nothing.

use arrow_schema::DataType;

use crate::aggregate::cells::Cell;
use crate::aggregate::function::{Function, Planned, same_type};
use crate::aggregate::partial::{AnyState, PartialClass};
use crate::aggregate::quantile::Quantile;
use crate::value::Value;

fn plan(arguments: &[DataType]) -> Option<Planned> {
    match arguments {
        [DataType::Int32 | DataType::Int64] => same_type(PartialClass::Bits, arguments),
        _ => None,
    }
}

const fn of_bits(
    names: &'static [&'static str],
    call: &'static str,
    gives: &'static str,
    finish: fn(&AnyState, Option<Quantile>) -> Option<Cell>,
) -> Function {
    Function {
        names,
        arguments: 1..=1,
        call,
        takes: "BIGINT, INTEGER",
        gives,
        plan,
        instead: "write CAST(x AS BIGINT)",
        finish,
        ..Function::PLAIN
    }
}

pub(super) static BIT_AND: Function = of_bits(
    &["bit_and"],
    "bit_and(x)",
    "the bits that all have",
    |state, _| match state {
        AnyState::Bits(bits) => Some(cell(bits.combined().map(|bits| bits.and))),
        _ => None,
    },
);

pub(super) static BIT_OR: Function = of_bits(
    &["bit_or"],
    "bit_or(x)",
    "the bits that one has",
    |state, _| match state {
        AnyState::Bits(bits) => Some(cell(bits.combined().map(|bits| bits.or))),
        _ => None,
    },
);

pub(super) static BIT_XOR: Function = of_bits(
    &["bit_xor"],
    "bit_xor(x)",
    "the bits that an odd number of them has",
    |state, _| match state {
        AnyState::Bits(bits) => Some(cell(bits.combined().map(|bits| bits.xor))),
        _ => None,
    },
);

fn cell(bits: Option<i64>) -> Cell {
    Ok(bits.map_or(Value::Null, Value::Int))
}
