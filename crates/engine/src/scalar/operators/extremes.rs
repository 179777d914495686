//! greatest and least of any number of values of one type: NULL is skipped, all NULL is NULL. The
//! order is that of comparisons; of equal values the first one stays (0.0 and -0.0 are equal). A
//! NaN that wins leaves as the one NaN.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, BooleanArray, PrimitiveArray, new_null_array};
use arrow_schema::DataType;
use arrow_select::interleave::interleave;
use forebay_core::aggregate::compare_floats;
use forebay_core::exact::CANONICAL_NAN;
use forebay_core::{ErrorKind, PortError, PortResult};
use serde::{Deserialize, Serialize};

use super::column::{Booleans, Texts, is_null};
use crate::scalar::kernel::{Kernel, Operand, RowFaults};

/// greatest, or least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Extreme {
    Greatest,
    Least,
}

impl Extreme {
    fn beats(self, order: Ordering) -> bool {
        match self {
            Self::Greatest => order.is_gt(),
            Self::Least => order.is_lt(),
        }
    }

    /// For each row which operand wins; None where all are NULL.
    fn winners(
        self,
        operands: &[Operand<'_>],
        rows: usize,
        order: impl Fn(usize, usize, usize) -> Ordering,
    ) -> Vec<Option<usize>> {
        let winner = |row: usize| {
            let mut best: Option<usize> = None;
            for (number, operand) in operands.iter().enumerate() {
                if is_null(operand, row) {
                    continue;
                }
                if best.is_none_or(|best| self.beats(order(number, best, row))) {
                    best = Some(number);
                }
            }
            best
        };
        (0..rows).map(winner).collect()
    }

    fn numbers<T: ArrowPrimitiveType>(
        self,
        operands: &[Operand<'_>],
        rows: usize,
        order: impl Fn(T::Native, T::Native) -> Ordering,
        leaves: impl Fn(T::Native) -> T::Native,
    ) -> PrimitiveArray<T> {
        let columns: Vec<&PrimitiveArray<T>> = operands
            .iter()
            .map(|operand| operand.array.as_primitive::<T>())
            .collect();
        let value = |number: usize, row: usize| columns[number].value(operands[number].index(row));
        let winners = self.winners(operands, rows, |a, b, row| {
            order(value(a, row), value(b, row))
        });
        winners
            .iter()
            .enumerate()
            .map(|(row, winner)| winner.map(|number| leaves(value(number, row))))
            .collect()
    }
}

impl Kernel for Extreme {
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        _: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        let data_type = operands[0].array.data_type();
        Ok(match data_type {
            DataType::Int32 => {
                Arc::new(self.numbers::<Int32Type>(operands, rows, |a, b| a.cmp(&b), |v| v))
            }
            DataType::Int64 => {
                Arc::new(self.numbers::<Int64Type>(operands, rows, |a, b| a.cmp(&b), |v| v))
            }
            DataType::Float64 => {
                let one_nan = |v: f64| if v.is_nan() { CANONICAL_NAN } else { v };
                Arc::new(self.numbers::<Float64Type>(operands, rows, compare_floats, one_nan))
            }
            DataType::Date32 => {
                Arc::new(self.numbers::<Date32Type>(operands, rows, |a, b| a.cmp(&b), |v| v))
            }
            DataType::Timestamp(..) => {
                let order = |a: i64, b: i64| a.cmp(&b);
                let array = self.numbers::<TimestampMicrosecondType>(operands, rows, order, |v| v);
                Arc::new(array.with_data_type(data_type.clone()))
            }
            DataType::Boolean => {
                let columns: Vec<Booleans<'_>> =
                    operands.iter().map(|o| Booleans::of(*o)).collect();
                let winners = self.winners(operands, rows, |a, b, row| {
                    columns[a].value(row).cmp(&columns[b].value(row))
                });
                let value =
                    |(row, winner): (usize, &Option<usize>)| winner.map(|n| columns[n].value(row));
                Arc::new(
                    winners
                        .iter()
                        .enumerate()
                        .map(value)
                        .collect::<BooleanArray>(),
                )
            }
            DataType::Utf8 => {
                let columns: Vec<Texts<'_>> = operands.iter().map(|o| Texts::of(*o)).collect();
                let winners = self.winners(operands, rows, |a, b, row| {
                    columns[a].value(row).cmp(columns[b].value(row))
                });
                picked(operands, &winners)?
            }
            other => {
                return Err(PortError::internal(format!(
                    "greatest and least of {other}"
                )));
            }
        })
    }
}

/// The values of the winners.
fn picked(operands: &[Operand<'_>], winners: &[Option<usize>]) -> PortResult<ArrayRef> {
    let null = new_null_array(operands[0].array.data_type(), 1);
    let mut arrays: Vec<&dyn Array> = operands.iter().map(|o| o.array.as_ref()).collect();
    let none = (arrays.len(), 0);
    arrays.push(null.as_ref());
    let places: Vec<(usize, usize)> = winners
        .iter()
        .enumerate()
        .map(|(row, winner)| winner.map_or(none, |n| (n, operands[n].index(row))))
        .collect();
    interleave(&arrays, &places)
        .map_err(|e| PortError::with_source(ErrorKind::Internal, "greatest and least", e))
}
