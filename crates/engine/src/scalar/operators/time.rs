//! Times and intervals, all in 64 bits of microseconds and checked. A time plus an interval moves
//! by its months first, to the last day of a shorter month, then by its days of 24 hours, then by
//! its nanoseconds, rounded down to a microsecond; minus moves by the opposites in the same order.
//! The difference of two times is a length in microseconds.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    DurationMicrosecondType, IntervalMonthDayNano, IntervalMonthDayNanoType,
    TimestampMicrosecondType,
};
use arrow_array::{ArrayRef, DurationMicrosecondArray, TimestampMicrosecondArray};
use forebay_core::PortResult;
use forebay_core::fault::FaultKind;
use forebay_core::time::{DAY_US, Micros, timestamp_type};
use serde::{Deserialize, Serialize};

use super::arithmetic::judged;
use super::column::{Column, binary, nulls_of};
use crate::scalar::functions::calendar::Civil;
use crate::scalar::kernel::{Kernel, Operand, RowFaults};

/// Lengths and times that are added or taken away; both sides count microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Spans {
    /// time - time
    Between,
    /// time + length
    Later,
    /// time - length
    Earlier,
    /// length + length
    Add,
    /// length - length
    Subtract,
}

impl Kernel for Spans {
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        faults: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        let time = |i: usize| Column::of::<TimestampMicrosecondType>(operands[i], rows);
        let span = |i: usize| Column::of::<DurationMicrosecondType>(operands[i], rows);
        let (left, right) = match self {
            Self::Between => (time(0), time(1)),
            Self::Later | Self::Earlier => (time(0), span(1)),
            Self::Add | Self::Subtract => (span(0), span(1)),
        };
        let plus = matches!(self, Self::Later | Self::Add);
        let mut bad = false;
        let mut note = |(value, over): (i64, bool)| {
            bad |= over;
            value
        };
        let values = if plus {
            binary(left, right, rows, |l, r| note(l.overflowing_add(r)))
        } else {
            binary(left, right, rows, |l, r| note(l.overflowing_sub(r)))
        };
        let fault = |row| {
            let (l, r) = (left.value(row), right.value(row));
            let value = if plus {
                l.checked_add(r)
            } else {
                l.checked_sub(r)
            };
            value.is_none().then_some(FaultKind::Overflow)
        };
        let nulls = judged(bad, nulls_of(operands, rows), rows, faults, fault);
        Ok(match self {
            Self::Later | Self::Earlier => Arc::new(
                TimestampMicrosecondArray::new(values.into(), nulls)
                    .with_data_type(timestamp_type()),
            ),
            _ => Arc::new(DurationMicrosecondArray::new(values.into(), nulls)),
        })
    }
}

/// A time moved by an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Moment {
    Later,
    Earlier,
}

impl Moment {
    fn moved(self, time_us: Micros, by: IntervalMonthDayNano) -> Option<Micros> {
        let sign = match self {
            Self::Later => 1,
            Self::Earlier => -1,
        };
        let mut time_us = time_us;
        if by.months != 0 {
            let civil = Civil::of(time_us);
            time_us = civil.plus_months(sign * i64::from(by.months)).micros()?;
        }
        let days_us = i128::from(by.days) * i128::from(DAY_US);
        let rest_us = (i128::from(sign) * i128::from(by.nanoseconds)).div_euclid(1_000);
        let moved = i128::from(time_us) + i128::from(sign) * days_us + rest_us;
        Micros::try_from(moved).ok()
    }
}

impl Kernel for Moment {
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        faults: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        let times = Column::of::<TimestampMicrosecondType>(operands[0], rows);
        let intervals = operands[1].array.as_primitive::<IntervalMonthDayNanoType>();
        let mut bad = false;
        let by = |row: usize| intervals.value(operands[1].index(row));
        let values: Vec<Micros> = (0..rows)
            .map(|row| {
                let moved = self.moved(times.value(row), by(row));
                bad |= moved.is_none();
                moved.unwrap_or_default()
            })
            .collect();
        let fault = |row| {
            let moved = self.moved(times.value(row), by(row));
            moved.is_none().then_some(FaultKind::Overflow)
        };
        let nulls = judged(bad, nulls_of(operands, rows), rows, faults, fault);
        let array = TimestampMicrosecondArray::new(values.into(), nulls);
        Ok(Arc::new(array.with_data_type(timestamp_type())))
    }
}
