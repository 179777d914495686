//! A constant as data: what a saved definition keeps of the literals in its programs, and by which
//! lists of constants are told apart. A DOUBLE is its bits, so that every value comes back.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, DurationMicrosecondType, Float64Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, DurationMicrosecondArray, Float64Array, Int32Array,
    Int64Array, IntervalMonthDayNanoArray, StringArray, TimestampMicrosecondArray, new_null_array,
};
use arrow_buffer::IntervalMonthDayNano;
use forebay_core::time::timestamp_type;
use serde::{Deserialize, Serialize};

use super::function::Type;
use super::kernel::Operand;
use super::operators::array_of;

/// One value of a type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Constant {
    Null(Type),
    Boolean(bool),
    Integer(i32),
    BigInt(i64),
    /// IEEE 754 bits.
    Double(u64),
    Text(String),
    /// Days.
    Date(i32),
    /// Microseconds.
    Timestamp(i64),
    /// Microseconds.
    Duration(i64),
    /// Months, days, nanoseconds.
    Interval(i32, i32, i64),
    /// An array of items of a type.
    List(Type, Vec<Constant>),
}

impl Constant {
    /// Of an array of one row; None where expressions have no such type.
    pub(super) fn of(array: &ArrayRef) -> Option<Self> {
        let of = Type::of(array.data_type())?;
        if array.is_null(0) {
            return Some(Self::Null(of));
        }
        Some(match of {
            Type::Boolean => Self::Boolean(array.as_boolean().value(0)),
            Type::Integer => Self::Integer(array.as_primitive::<Int32Type>().value(0)),
            Type::BigInt => Self::BigInt(array.as_primitive::<Int64Type>().value(0)),
            Type::Double => Self::Double(array.as_primitive::<Float64Type>().value(0).to_bits()),
            Type::Text => Self::Text(array.as_string::<i32>().value(0).to_owned()),
            Type::Date => Self::Date(array.as_primitive::<Date32Type>().value(0)),
            Type::Timestamp => {
                Self::Timestamp(array.as_primitive::<TimestampMicrosecondType>().value(0))
            }
            Type::Duration => {
                Self::Duration(array.as_primitive::<DurationMicrosecondType>().value(0))
            }
            Type::Interval => {
                let value = array.as_primitive::<IntervalMonthDayNanoType>().value(0);
                Self::Interval(value.months, value.days, value.nanoseconds)
            }
            Type::List(_) => {
                let items = array.as_list::<i32>().value(0);
                let items = (0..items.len()).map(|item| Self::of(&items.slice(item, 1)));
                Self::List(of, items.collect::<Option<_>>()?)
            }
        })
    }

    /// The array of one row.
    pub(super) fn array(&self) -> ArrayRef {
        match self {
            Self::Null(of) => new_null_array(&of.arrow(), 1),
            Self::Boolean(value) => Arc::new(BooleanArray::from(vec![*value])),
            Self::Integer(value) => Arc::new(Int32Array::from(vec![*value])),
            Self::BigInt(value) => Arc::new(Int64Array::from(vec![*value])),
            Self::Double(bits) => Arc::new(Float64Array::from(vec![f64::from_bits(*bits)])),
            Self::Text(text) => Arc::new(StringArray::from(vec![text.as_str()])),
            Self::Date(value) => Arc::new(Date32Array::from(vec![*value])),
            Self::Timestamp(value) => {
                let array = TimestampMicrosecondArray::from(vec![*value]);
                Arc::new(array.with_data_type(timestamp_type()))
            }
            Self::Duration(value) => Arc::new(DurationMicrosecondArray::from(vec![*value])),
            Self::Interval(months, days, nanoseconds) => {
                let value = IntervalMonthDayNano::new(*months, *days, *nanoseconds);
                Arc::new(IntervalMonthDayNanoArray::from(vec![value]))
            }
            Self::List(of, items) => {
                let items: Vec<ArrayRef> = items.iter().map(Self::array).collect();
                let operands: Vec<Operand<'_>> = items.iter().map(Operand::constant).collect();
                array_of(*of, &operands, 1).unwrap_or_else(|_| new_null_array(&of.arrow(), 1))
            }
        }
    }
}
