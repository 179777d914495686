//! What an aggregate function is: its names, what it takes and gives, the state that it is read
//! from and how. `functions` has one value of it for each; `engine` plans calls by it and documents
//! are held equal to it.

use std::ops::RangeInclusive;

use arrow_schema::DataType;

use super::cells::Cell;
use super::partial::{AnyState, PartialClass};
use super::quantile::Quantile;
use super::rows::ColumnKind;
use crate::value::Value;

/// One aggregate function.
#[derive(Debug)]
pub struct Function {
    /// Its names in SQL; messages use the first.
    pub names: &'static [&'static str],
    /// Whether it is called with DISTINCT.
    pub is_distinct: bool,
    /// The constant that follows its arguments.
    pub constant: ConstantKind,
    /// How many arguments it takes.
    pub arguments: RangeInclusive<usize>,
    /// How it is called, for messages and documents.
    pub call: &'static str,
    /// What it takes, for documents.
    pub takes: &'static str,
    /// What it gives, for documents.
    pub gives: &'static str,
    /// State and result over arguments of these types; None where it does not take them.
    pub plan: fn(&[DataType]) -> Option<Planned>,
    /// What to write where it does not take the types.
    pub instead: &'static str,
    /// The value of a state; None of a state that it is not read from.
    pub(super) finish: fn(&AnyState, Option<Quantile>) -> Option<Cell>,
}

impl Function {
    /// What most functions are.
    pub(super) const PLAIN: Self = Self {
        names: &[],
        is_distinct: false,
        constant: ConstantKind::None,
        arguments: 1..=1,
        call: "",
        takes: "",
        gives: "",
        plan: |_| None,
        instead: "",
        finish: |_, _| None,
    };
}

/// What stands behind the arguments of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConstantKind {
    /// Nothing.
    None,
    /// A fraction from 0 to 1.
    Fraction,
    /// How many rows are kept.
    Count,
}

/// What a call is planned as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The state that it is read from.
    pub class: PartialClass,
    /// Type of the result.
    pub data_type: DataType,
}

pub(super) fn planned(class: PartialClass, data_type: DataType) -> Option<Planned> {
    Some(Planned { class, data_type })
}

/// A state of `class` over one argument of any type that a value has, which the result has too.
pub(super) fn same_type(class: PartialClass, arguments: &[DataType]) -> Option<Planned> {
    match arguments {
        [argument] if ColumnKind::of(argument).is_some() => planned(class, argument.clone()),
        _ => None,
    }
}

/// The same of a type whose values have an order.
pub(super) fn ordered_type(class: PartialClass, arguments: &[DataType]) -> Option<Planned> {
    let ordered = arguments.iter().all(ColumnKind::is_ordered);
    ordered.then(|| same_type(class, arguments)).flatten()
}

/// What to write where arrays are not taken, or a type that there is not.
pub(super) const ORDERED_TYPE: &str = "cast it to BOOLEAN, INTEGER, BIGINT, DOUBLE, VARCHAR or TIMESTAMP; of an array \
                                       write an item, x[1], or cardinality(x)";

pub(super) const ANY_TYPE: &str =
    "cast it to BOOLEAN, INTEGER, BIGINT, DOUBLE, VARCHAR, DATE or TIMESTAMP";

pub(super) fn float(value: Option<f64>) -> Cell {
    Ok(value.map_or(Value::Null, Value::Float))
}
