//! `x IN (constants)`: whether the value is one of a set, by the rules of comparisons (-0.0 is 0.0,
//! NaN is NaN). A value that is not found is NULL where the list has a NULL, else false; NULL is
//! NULL. Looked up, whatever the length of the list.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, BooleanArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::DataType;
use forebay_core::PortResult;
use forebay_core::exact::canonical;

use super::column::{Booleans, Column, Texts, nulls_of};
use crate::scalar::kernel::{Kernel, Operand, RowFaults};

/// A list of constants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Members {
    set: Set,
    has_null: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Set {
    Texts(HashSet<String>),
    /// Numbers, times and booleans, DOUBLE by its bits.
    Numbers(HashSet<i64>),
    /// A list of numbers so short that it is looked through.
    Few(Vec<i64>),
}

const FEW: usize = 8;

fn bits(value: f64) -> i64 {
    canonical(value).to_bits().cast_signed()
}

impl Members {
    /// The list of these constants, arrays of one row and one type.
    pub(crate) fn of(list: &[&ArrayRef]) -> Self {
        let has_null = list.iter().any(|array| array.is_null(0));
        let list = list.iter().filter(|array| array.is_valid(0));
        let is_text = |array: &&&ArrayRef| *array.data_type() == DataType::Utf8;
        if list.clone().any(|array| is_text(&array)) {
            let texts = list.map(|array| array.as_string::<i32>().value(0).to_owned());
            let set = Set::Texts(texts.collect());
            return Self { set, has_null };
        }
        let number = |array: &ArrayRef| match array.data_type() {
            DataType::Int32 => i64::from(array.as_primitive::<Int32Type>().value(0)),
            DataType::Int64 => array.as_primitive::<Int64Type>().value(0),
            DataType::Float64 => bits(array.as_primitive::<Float64Type>().value(0)),
            DataType::Boolean => i64::from(array.as_boolean().value(0)),
            DataType::Date32 => i64::from(array.as_primitive::<Date32Type>().value(0)),
            _ => array.as_primitive::<TimestampMicrosecondType>().value(0),
        };
        let numbers: HashSet<i64> = list.map(|array| number(array)).collect();
        let set = if numbers.len() <= FEW {
            Set::Few(numbers.into_iter().collect())
        } else {
            Set::Numbers(numbers)
        };
        Self { set, has_null }
    }

    fn has(&self, number: i64) -> bool {
        match &self.set {
            Set::Few(list) => list.contains(&number),
            Set::Numbers(set) => set.contains(&number),
            Set::Texts(_) => false,
        }
    }
}

impl Kernel for Members {
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        _: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        let operand = operands[0];
        let collect = |found: &dyn Fn(usize) -> bool| BooleanBuffer::collect_bool(rows, found);
        let found = match operand.array.data_type() {
            DataType::Int32 => {
                let column = Column::of::<Int32Type>(operand, rows);
                collect(&|row| self.has(i64::from(column.value(row))))
            }
            DataType::Int64 => {
                let column = Column::of::<Int64Type>(operand, rows);
                collect(&|row| self.has(column.value(row)))
            }
            DataType::Float64 => {
                let column = Column::of::<Float64Type>(operand, rows);
                collect(&|row| self.has(bits(column.value(row))))
            }
            DataType::Boolean => {
                let column = Booleans::of(operand);
                collect(&|row| self.has(i64::from(column.value(row))))
            }
            DataType::Utf8 => {
                let column = Texts::of(operand);
                let set = match &self.set {
                    Set::Texts(set) => Some(set),
                    _ => None,
                };
                collect(&|row| set.is_some_and(|set| set.contains(column.value(row))))
            }
            DataType::Date32 => {
                let column = Column::of::<Date32Type>(operand, rows);
                collect(&|row| self.has(i64::from(column.value(row))))
            }
            _ => {
                let column = Column::of::<TimestampMicrosecondType>(operand, rows);
                collect(&|row| self.has(column.value(row)))
            }
        };
        let mut nulls = nulls_of(operands, rows);
        if self.has_null {
            // Not found among values that are not all known.
            nulls = NullBuffer::union(nulls.as_ref(), Some(&NullBuffer::new(found.clone())));
        }
        Ok(Arc::new(BooleanArray::new(found, nulls)))
    }
}
