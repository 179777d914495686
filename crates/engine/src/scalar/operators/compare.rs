//! Comparisons, of two values of one type: FALSE before TRUE, numbers by value, -0.0 equal to 0.0,
//! all NaN equal and greater than everything else, text by its bytes, times by when. NULL in, NULL
//! out, but for IS [NOT] DISTINCT FROM, which never is NULL. Intervals and differences of times
//! compare by their length, a month as 30 days and a day as 24 hours, as PostgreSQL has it. Arrays
//! are equal or not, and have no order.
//!
//! `nullif` is a comparison that takes the value away where it is true.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, DurationMicrosecondType, Float64Type, Int32Type, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, TimestampMicrosecondType,
};
use arrow_array::{ArrayRef, BooleanArray};
use arrow_buffer::BooleanBuffer;
use arrow_schema::DataType;
use arrow_select::nullif::nullif;
use forebay_core::{ErrorKind, PortError, PortResult};
use serde::{Deserialize, Serialize};

use super::arrays;
use super::column::{Booleans, Column, Texts, binary_bits, nulls_of, valid_of};
use crate::scalar::kernel::{Kernel, Operand, RowFaults};

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Distinct,
    NotDistinct,
}

impl Comparison {
    /// Name in SQL.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Distinct => "IS DISTINCT FROM",
            Self::NotDistinct => "IS NOT DISTINCT FROM",
        }
    }
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compare(pub(crate) Comparison);

impl Kernel for Compare {
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        _: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        let (left, right) = (operands[0], operands[1]);
        let array = match self.0 {
            Comparison::Distinct | Comparison::NotDistinct => {
                let (l, r) = (valid_of(&left, rows), valid_of(&right, rows));
                let both = &l & &r;
                let neither = !&(&l | &r);
                let equal = &both & &bits(Comparison::Equal, left, right, rows)?;
                let same = &equal | &neither;
                let values = match self.0 {
                    Comparison::Distinct => !&same,
                    _ => same,
                };
                BooleanArray::new(values, None)
            }
            comparison => BooleanArray::new(
                bits(comparison, left, right, rows)?,
                nulls_of(operands, rows),
            ),
        };
        Ok(Arc::new(array))
    }
}

/// `a` where it is not equal to `b`, else NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NullIf;

impl Kernel for NullIf {
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        _: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        let equal = bits(Comparison::Equal, operands[0], operands[1], rows)?;
        let equal = BooleanArray::new(equal, nulls_of(operands, rows));
        let first = operands[0];
        let failed = |e| PortError::with_source(ErrorKind::Internal, "nullif", e);
        let array = if first.constant {
            let zeros = arrow_array::UInt32Array::from(vec![0; rows]);
            arrow_select::take::take(first.array, &zeros, None).map_err(failed)?
        } else {
            ArrayRef::clone(first.array)
        };
        nullif(&array, &equal).map_err(failed)
    }
}

/// The comparison in every row; where an operand is NULL, of whatever lies there.
fn bits(
    comparison: Comparison,
    left: Operand<'_>,
    right: Operand<'_>,
    rows: usize,
) -> PortResult<BooleanBuffer> {
    macro_rules! ordered {
        ($type:ty) => {{
            let left = Column::of::<$type>(left, rows);
            let right = Column::of::<$type>(right, rows);
            match comparison {
                Comparison::NotEqual => binary_bits(left, right, rows, |l, r| l != r),
                Comparison::Less => binary_bits(left, right, rows, |l, r| l < r),
                Comparison::LessOrEqual => binary_bits(left, right, rows, |l, r| l <= r),
                Comparison::Greater => binary_bits(left, right, rows, |l, r| l > r),
                Comparison::GreaterOrEqual => binary_bits(left, right, rows, |l, r| l >= r),
                _ => binary_bits(left, right, rows, |l, r| l == r),
            }
        }};
    }
    Ok(match (left.array.data_type(), right.array.data_type()) {
        (DataType::Int32, DataType::Int32) => ordered!(Int32Type),
        (DataType::Int64, DataType::Int64) => ordered!(Int64Type),
        (DataType::Date32, DataType::Date32) => ordered!(Date32Type),
        (DataType::Timestamp(..), DataType::Timestamp(..)) => ordered!(TimestampMicrosecondType),
        (DataType::Duration(_), DataType::Duration(_)) => ordered!(DurationMicrosecondType),
        (DataType::Float64, DataType::Float64) => doubles(
            comparison,
            Column::of::<Float64Type>(left, rows),
            Column::of::<Float64Type>(right, rows),
            rows,
        ),
        (DataType::Utf8, DataType::Utf8) => {
            let (left, right) = (Texts::of(left), Texts::of(right));
            by_order(comparison, rows, |row| {
                left.value(row).as_bytes().cmp(right.value(row).as_bytes())
            })
        }
        (DataType::Boolean, DataType::Boolean) => {
            let (left, right) = (Booleans::of(left), Booleans::of(right));
            by_order(comparison, rows, |row| {
                left.value(row).cmp(&right.value(row))
            })
        }
        (
            DataType::Duration(_) | DataType::Interval(_),
            DataType::Duration(_) | DataType::Interval(_),
        ) => by_order(comparison, rows, |row| {
            length_ns(left, row).cmp(&length_ns(right, row))
        }),
        (DataType::List(_), DataType::List(_)) => {
            let equal = arrays::equal(left, right, rows)?;
            match comparison {
                Comparison::NotEqual => !&equal,
                _ => equal,
            }
        }
        (left, right) => {
            return Err(PortError::internal(format!(
                "{left} is compared with {right}"
            )));
        }
    })
}

/// NaN is equal to itself and greater than all else.
fn doubles(
    comparison: Comparison,
    left: Column<'_, f64>,
    right: Column<'_, f64>,
    rows: usize,
) -> BooleanBuffer {
    fn equal(l: f64, r: f64) -> bool {
        l == r || (l.is_nan() && r.is_nan())
    }
    fn less(l: f64, r: f64) -> bool {
        l < r || (r.is_nan() && !l.is_nan())
    }
    match comparison {
        Comparison::NotEqual => binary_bits(left, right, rows, |l, r| !equal(l, r)),
        Comparison::Less => binary_bits(left, right, rows, less),
        Comparison::LessOrEqual => binary_bits(left, right, rows, |l, r| !less(r, l)),
        Comparison::Greater => binary_bits(left, right, rows, |l, r| less(r, l)),
        Comparison::GreaterOrEqual => binary_bits(left, right, rows, |l, r| !less(l, r)),
        _ => binary_bits(left, right, rows, equal),
    }
}

fn by_order(
    comparison: Comparison,
    rows: usize,
    order: impl Fn(usize) -> Ordering,
) -> BooleanBuffer {
    match comparison {
        Comparison::NotEqual => BooleanBuffer::collect_bool(rows, |row| order(row).is_ne()),
        Comparison::Less => BooleanBuffer::collect_bool(rows, |row| order(row).is_lt()),
        Comparison::LessOrEqual => BooleanBuffer::collect_bool(rows, |row| order(row).is_le()),
        Comparison::Greater => BooleanBuffer::collect_bool(rows, |row| order(row).is_gt()),
        Comparison::GreaterOrEqual => BooleanBuffer::collect_bool(rows, |row| order(row).is_ge()),
        _ => BooleanBuffer::collect_bool(rows, |row| order(row).is_eq()),
    }
}

/// How long the interval or difference of a row is, nanoseconds.
fn length_ns(operand: Operand<'_>, row: usize) -> i128 {
    let row = operand.index(row);
    match operand.array.data_type() {
        DataType::Duration(_) => {
            let length_us = operand.array.as_primitive::<DurationMicrosecondType>();
            i128::from(length_us.value(row)) * 1_000
        }
        _ => {
            let interval = operand.array.as_primitive::<IntervalMonthDayNanoType>();
            interval_ns(interval.value(row))
        }
    }
}

/// How long an interval is, nanoseconds.
fn interval_ns(interval: IntervalMonthDayNano) -> i128 {
    const DAY_NS: i128 = 86_400_000_000_000;
    let days = i128::from(interval.months) * 30 + i128::from(interval.days);
    days * DAY_NS + i128::from(interval.nanoseconds)
}
