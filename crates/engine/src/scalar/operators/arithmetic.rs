//! Arithmetic. Integers are checked: what does not fit, and a division by zero, is a fault of its
//! row; `MIN % -1` is 0. DOUBLE is IEEE 754, `x / 0` an infinity or NaN, and every NaN that leaves
//! is the one NaN; the sign of a zero stays. Bits shift by 0 to 63 places, arithmetically to the
//! right; any other count is out of range.

use std::sync::Arc;

use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{ArrayRef, Float64Array, Int32Array, Int64Array, PrimitiveArray};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use forebay_core::PortResult;
use forebay_core::exact::CANONICAL_NAN;
use forebay_core::fault::FaultKind;
use serde::{Deserialize, Serialize};

use super::column::{Column, binary, nulls_of};
use crate::scalar::kernel::{Kernel, Operand, RowFaults};

/// `+ - * / %` over BIGINT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Integers {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Integers {
    /// Why a row has no value; None where it has one.
    fn fault(self, left: i64, right: i64) -> Option<FaultKind> {
        let value = match self {
            Self::Add => left.checked_add(right),
            Self::Subtract => left.checked_sub(right),
            Self::Multiply => left.checked_mul(right),
            Self::Divide | Self::Remainder if right == 0 => return Some(FaultKind::Division),
            Self::Divide => left.checked_div(right),
            Self::Remainder => Some(left.wrapping_rem(right)),
        };
        value.is_none().then_some(FaultKind::Overflow)
    }
}

impl Kernel for Integers {
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        faults: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        let left = Column::of::<Int64Type>(operands[0], rows);
        let right = Column::of::<Int64Type>(operands[1], rows);
        let nulls = nulls_of(operands, rows);
        let mut bad = false;
        let mut note = |(value, over): (i64, bool)| {
            bad |= over;
            value
        };
        let values = match self {
            Self::Add => binary(left, right, rows, |l, r| note(l.overflowing_add(r))),
            Self::Subtract => binary(left, right, rows, |l, r| note(l.overflowing_sub(r))),
            Self::Multiply => binary(left, right, rows, |l, r| note(l.overflowing_mul(r))),
            Self::Divide => binary(left, right, rows, |l, r| match r {
                0 => note((0, true)),
                r => note(l.overflowing_div(r)),
            }),
            Self::Remainder => binary(left, right, rows, |l, r| match r {
                0 => note((0, true)),
                r => l.wrapping_rem(r),
            }),
        };
        let fault = |row| self.fault(left.value(row), right.value(row));
        let nulls = judged(bad, nulls, rows, faults, fault);
        Ok(Arc::new(Int64Array::new(values.into(), nulls)))
    }
}

/// Where a row may have failed (`bad`), find which ones did: `nulls` with those.
pub(super) fn judged(
    bad: bool,
    nulls: Option<NullBuffer>,
    rows: usize,
    faults: &mut RowFaults,
    fault: impl Fn(usize) -> Option<FaultKind>,
) -> Option<NullBuffer> {
    if !bad {
        return nulls;
    }
    let valid = |row: usize| {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return false;
        }
        let found = fault(row);
        if let Some(kind) = found {
            faults.push(row, kind);
        }
        found.is_none()
    };
    let valid = NullBuffer::from((0..rows).map(valid).collect::<Vec<bool>>());
    (valid.null_count() > 0).then_some(valid)
}

/// `+ - * / %` over DOUBLE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Doubles {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

fn one_nan(value: f64) -> f64 {
    if value.is_nan() { CANONICAL_NAN } else { value }
}

impl Kernel for Doubles {
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        _: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        let left = Column::of::<Float64Type>(operands[0], rows);
        let right = Column::of::<Float64Type>(operands[1], rows);
        let values = match self {
            Self::Add => binary(left, right, rows, |l, r| one_nan(l + r)),
            Self::Subtract => binary(left, right, rows, |l, r| one_nan(l - r)),
            Self::Multiply => binary(left, right, rows, |l, r| one_nan(l * r)),
            Self::Divide => binary(left, right, rows, |l, r| one_nan(l / r)),
            Self::Remainder => binary(left, right, rows, |l, r| one_nan(l % r)),
        };
        let nulls = nulls_of(operands, rows);
        Ok(Arc::new(Float64Array::new(values.into(), nulls)))
    }
}

/// `& | # << >>` over BIGINT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Bits {
    And,
    Or,
    Xor,
    Left,
    Right,
}

impl Kernel for Bits {
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        faults: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        let left = Column::of::<Int64Type>(operands[0], rows);
        let right = Column::of::<Int64Type>(operands[1], rows);
        let mut bad = false;
        // `places` is the count where it is one.
        let mut places = |count: i64| {
            let places = u32::try_from(count).ok().filter(|places| *places < 64);
            bad |= places.is_none();
            places.unwrap_or_default()
        };
        let values = match self {
            Self::And => binary(left, right, rows, |l, r| l & r),
            Self::Or => binary(left, right, rows, |l, r| l | r),
            Self::Xor => binary(left, right, rows, |l, r| l ^ r),
            Self::Left => binary(left, right, rows, |l, r| l << places(r)),
            Self::Right => binary(left, right, rows, |l, r| l >> places(r)),
        };
        let fault = |row| (!(0..64).contains(&right.value(row))).then_some(FaultKind::Range);
        let nulls = judged(bad, nulls_of(operands, rows), rows, faults, fault);
        Ok(Arc::new(Int64Array::new(values.into(), nulls)))
    }
}

/// Unary minus, of any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Negate;

impl Kernel for Negate {
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        faults: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        let nulls = nulls_of(operands, rows);
        let operand = operands[0];
        Ok(match operand.array.data_type() {
            DataType::Int32 => {
                let column = Column::of::<Int32Type>(operand, rows);
                let values = column.map(rows, i32::wrapping_neg);
                let fault = |row| (column.value(row) == i32::MIN).then_some(FaultKind::Overflow);
                let nulls = judged(values.contains(&i32::MIN), nulls, rows, faults, fault);
                Arc::new(Int32Array::new(values.into(), nulls))
            }
            DataType::Int64 => {
                let column = Column::of::<Int64Type>(operand, rows);
                let values = column.map(rows, i64::wrapping_neg);
                let fault = |row| (column.value(row) == i64::MIN).then_some(FaultKind::Overflow);
                let nulls = judged(values.contains(&i64::MIN), nulls, rows, faults, fault);
                Arc::new(Int64Array::new(values.into(), nulls))
            }
            _ => {
                let column = Column::of::<Float64Type>(operand, rows);
                let values = column.map(rows, |value| one_nan(-value));
                Arc::new(PrimitiveArray::<Float64Type>::new(values.into(), nulls))
            }
        })
    }
}
