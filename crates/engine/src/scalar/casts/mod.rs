//! Casts between the types of expressions. A value without a counterpart is a fault of its row
//! (`Cast`), and NULL by TRY_CAST. DOUBLE becomes an integer by truncation toward zero, NaN and
//! infinities have none; a number is true where it is not 0; TIMESTAMP and numbers are microseconds
//! since 1970; a DATE is its midnight in UTC, a TIMESTAMP lies in one. Text is read by the grammars
//! of `text` and `moment`, numbers are written as briefly as they are read back, NaN and infinities
//! as `NaN`, `inf` and `-inf`.

mod moment;
mod text;

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, DurationMicrosecondType, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array,
    TimestampMicrosecondArray, new_null_array,
};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::DataType;
use forebay_core::date;
use forebay_core::fault::FaultKind;
use forebay_core::time::timestamp_type;
use forebay_core::{ErrorKind, PortError, PortResult};

use super::function::Type;
use super::kernel::{Kernel, Operand, RowFaults};
use super::operators::{Column, Items, lists_of, nulls_of};

/// A cast from the type of its operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cast {
    pub(super) to: Type,
    /// Whether a value without a counterpart is NULL.
    pub(super) trying: bool,
}

/// Whether there is a cast.
pub(super) fn exists(from: Type, to: Type) -> bool {
    use Type::{BigInt, Boolean, Date, Double, Duration, Integer, Text, Timestamp};
    let number = |of: Type| matches!(of, Integer | BigInt | Double);
    from == to
        || match (from, to) {
            (Date, to) => matches!(to, Text | Timestamp),
            (from, Date) => matches!(from, Text | Timestamp),
            (Boolean | Timestamp, Text) | (Text, Boolean | Timestamp) => true,
            (Boolean | Timestamp | Text, to) => number(to),
            (Type::List(_), _) | (_, Type::List(_)) => from.widens_to(to),
            (Duration, to) => to == BigInt,
            (from, Boolean | Timestamp | Text) => number(from),
            (from, to) => number(from) && number(to),
        }
}

impl Kernel for Cast {
    fn run(
        &self,
        operands: &[Operand<'_>],
        rows: usize,
        faults: &mut RowFaults,
    ) -> PortResult<ArrayRef> {
        let operand = operands[0];
        let job = Job {
            operand,
            rows,
            nulls: nulls_of(operands, rows),
            to: self.to,
            trying: self.trying,
            faults,
        };
        match operand.array.data_type() {
            DataType::Null => Ok(new_null_array(&self.to.arrow(), rows)),
            DataType::Boolean => job.booleans(),
            DataType::Int32 => job.integers::<Int32Type>(),
            DataType::Int64 => job.integers::<Int64Type>(),
            DataType::Date32 => job.dates(),
            DataType::Timestamp(..) if self.to == Type::Text => job.moments(),
            DataType::Timestamp(..) => job.integers::<TimestampMicrosecondType>(),
            DataType::Duration(_) => job.integers::<DurationMicrosecondType>(),
            DataType::Float64 => job.doubles(),
            DataType::Utf8 => job.texts(),
            DataType::List(_) => job.lists(),
            other => Err(no_cast(other, self.to)),
        }
    }
}

fn no_cast(from: &DataType, to: Type) -> PortError {
    PortError::internal(format!("{from} is cast to {}", to.sql()))
}

/// One cast of one column.
struct Job<'a, 'f> {
    operand: Operand<'a>,
    rows: usize,
    nulls: Option<NullBuffer>,
    to: Type,
    trying: bool,
    faults: &'f mut RowFaults,
}

/// An array of the column type that stands for `to`.
fn numbers<T: ArrowPrimitiveType>(values: Vec<T::Native>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(arrow_array::PrimitiveArray::<T>::new(values.into(), nulls))
}

fn times(values: Vec<i64>, nulls: Option<NullBuffer>) -> ArrayRef {
    let array = TimestampMicrosecondArray::new(values.into(), nulls);
    Arc::new(array.with_data_type(timestamp_type()))
}

impl Job<'_, '_> {
    /// What `value` gives for each row that is not NULL; None has no counterpart.
    fn all<R: Default>(&mut self, value: impl Fn(usize) -> Option<R>) -> Vec<R> {
        let mut values = Vec::with_capacity(self.rows);
        let mut bad: Vec<usize> = Vec::new();
        for row in 0..self.rows {
            let is_null = self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
            let found = if is_null { None } else { value(row) };
            if found.is_none() && !is_null {
                bad.push(row);
            }
            values.push(found.unwrap_or_default());
        }
        self.without(&bad);
        values
    }

    /// The rows `bad` have no value.
    fn without(&mut self, bad: &[usize]) {
        if bad.is_empty() {
            return;
        }
        if !self.trying {
            bad.iter()
                .for_each(|row| self.faults.push(*row, FaultKind::Cast));
        }
        let mut bad = bad.iter().peekable();
        let valid =
            BooleanBuffer::collect_bool(self.rows, |row| bad.next_if(|bad| **bad == row).is_none());
        self.nulls = NullBuffer::union(self.nulls.as_ref(), Some(&NullBuffer::new(valid)));
    }

    fn nulls(&mut self) -> Option<NullBuffer> {
        self.nulls.take()
    }

    fn booleans(mut self) -> PortResult<ArrayRef> {
        let array = self.operand.array.as_boolean().clone();
        let operand = self.operand;
        let value = move |row: usize| array.value(operand.index(row));
        Ok(match self.to {
            Type::Integer => {
                let values = (0..self.rows).map(|row| i32::from(value(row))).collect();
                numbers::<Int32Type>(values, self.nulls())
            }
            Type::BigInt => {
                let values = (0..self.rows).map(|row| i64::from(value(row))).collect();
                numbers::<Int64Type>(values, self.nulls())
            }
            Type::Double => {
                let values = (0..self.rows)
                    .map(|row| f64::from(u8::from(value(row))))
                    .collect();
                numbers::<Float64Type>(values, self.nulls())
            }
            Type::Text => return self.written(),
            to => return Err(no_cast(&DataType::Boolean, to)),
        })
    }

    /// Integers, and times and lengths as their microseconds.
    fn integers<T>(mut self) -> PortResult<ArrayRef>
    where
        T: ArrowPrimitiveType,
        T::Native: Into<i64>,
    {
        let column = Column::of::<T>(self.operand, self.rows);
        let rows = self.rows;
        let whole = |value: T::Native| -> i64 { value.into() };
        Ok(match self.to {
            Type::Boolean => {
                let values = BooleanBuffer::collect_bool(rows, |row| whole(column.value(row)) != 0);
                Arc::new(BooleanArray::new(values, self.nulls()))
            }
            Type::Integer => {
                let values = self.all(|row| i32::try_from(whole(column.value(row))).ok());
                Arc::new(Int32Array::new(values.into(), self.nulls()))
            }
            Type::BigInt => {
                let values = column.map(rows, whole);
                Arc::new(Int64Array::new(values.into(), self.nulls()))
            }
            Type::Double => {
                #[allow(clippy::cast_precision_loss, reason = "the nearest number is meant")]
                let values = column.map(rows, |value| whole(value) as f64);
                Arc::new(Float64Array::new(values.into(), self.nulls()))
            }
            // Of a TIMESTAMP: numbers have no cast to it.
            Type::Date => {
                let values = self.all(|row| date::of_moment(whole(column.value(row))));
                Arc::new(Date32Array::new(values.into(), self.nulls()))
            }
            Type::Timestamp => times(column.map(rows, whole), self.nulls()),
            Type::Text => return self.written(),
            to => return Err(no_cast(self.operand.array.data_type(), to)),
        })
    }

    fn doubles(mut self) -> PortResult<ArrayRef> {
        let column = Column::of::<Float64Type>(self.operand, self.rows);
        let rows = self.rows;
        Ok(match self.to {
            Type::Boolean => {
                let values = BooleanBuffer::collect_bool(rows, |row| column.value(row) != 0.0);
                Arc::new(BooleanArray::new(values, self.nulls()))
            }
            Type::Integer => {
                let small = |row| truncated(column.value(row)).and_then(|v| i32::try_from(v).ok());
                let values = self.all(small);
                Arc::new(Int32Array::new(values.into(), self.nulls()))
            }
            Type::BigInt => {
                let values = self.all(|row| truncated(column.value(row)));
                Arc::new(Int64Array::new(values.into(), self.nulls()))
            }
            Type::Timestamp => {
                let values = self.all(|row| truncated(column.value(row)));
                times(values, self.nulls())
            }
            Type::Text => return self.written(),
            to => return Err(no_cast(&DataType::Float64, to)),
        })
    }

    fn texts(mut self) -> PortResult<ArrayRef> {
        let array = self.operand.array.as_string::<i32>().clone();
        let operand = self.operand;
        let value = |row: usize| array.value(operand.index(row));
        Ok(match self.to {
            Type::Boolean => {
                let values = self.all(|row| text::boolean(value(row)));
                Arc::new(BooleanArray::new(values.into(), self.nulls()))
            }
            Type::Integer => {
                let values = self.all(|row| text::integer(value(row)));
                Arc::new(Int32Array::new(values.into(), self.nulls()))
            }
            Type::BigInt => {
                let values = self.all(|row| text::integer(value(row)));
                Arc::new(Int64Array::new(values.into(), self.nulls()))
            }
            Type::Double => {
                let values = self.all(|row| text::double(value(row)));
                Arc::new(Float64Array::new(values.into(), self.nulls()))
            }
            Type::Date => {
                let values = self.all(|row| date::parse(value(row).trim_ascii()));
                Arc::new(Date32Array::new(values.into(), self.nulls()))
            }
            Type::Timestamp => {
                let values = self.all(|row| moment::read(value(row)));
                times(values, self.nulls())
            }
            to => return Err(no_cast(&DataType::Utf8, to)),
        })
    }

    fn dates(mut self) -> PortResult<ArrayRef> {
        let column = Column::of::<Date32Type>(self.operand, self.rows);
        match self.to {
            Type::Timestamp => Ok(times(column.map(self.rows, date::midnight), self.nulls())),
            Type::Text => self.spelled(|row, out| out.push_str(&date::format(column.value(row)))),
            to => Err(no_cast(&DataType::Date32, to)),
        }
    }

    /// Arrays of integers as arrays of wider numbers.
    fn lists(mut self) -> PortResult<ArrayRef> {
        let items = Items::of(self.operand)?;
        let Some(item) = self.to.item() else {
            return Err(no_cast(self.operand.array.data_type(), self.to));
        };
        let cast = Cast {
            to: item,
            trying: self.trying,
        };
        let operand = Operand {
            array: &items.array,
            constant: false,
        };
        // Widening has no faults.
        let wide = cast.run(&[operand], items.array.len(), &mut RowFaults::default())?;
        let place = |row| items.place(row).unwrap_or_default();
        let kept = (0..self.rows).flat_map(place).map(|at| at as u64);
        let kept = arrow_array::UInt64Array::from_iter_values(kept);
        let failed = |e| PortError::with_source(ErrorKind::Internal, "items of arrays", e);
        let wide = arrow_select::take::take(&wide, &kept, None).map_err(failed)?;
        let lengths = (0..self.rows).map(|row| place(row).len());
        lists_of(&item.arrow(), wide, lengths, self.nulls())
    }

    /// Times as text.
    fn moments(self) -> PortResult<ArrayRef> {
        let column = Column::of::<TimestampMicrosecondType>(self.operand, self.rows);
        self.spelled(|row, out| moment::write(column.value(row), out))
    }

    /// The texts that `write` writes.
    fn spelled(self, write: impl Fn(usize, &mut String)) -> PortResult<ArrayRef> {
        let mut builder = StringBuilder::with_capacity(self.rows, self.rows * 24);
        let mut written = String::new();
        for row in 0..self.rows {
            if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                builder.append_null();
                continue;
            }
            written.clear();
            write(row, &mut written);
            builder.append_value(&written);
        }
        Ok(Arc::new(builder.finish()))
    }

    /// Numbers and booleans as text.
    fn written(self) -> PortResult<ArrayRef> {
        let failed = |e| PortError::with_source(ErrorKind::Internal, "values as text", e);
        let array = arrow_cast::cast(self.operand.array, &DataType::Utf8).map_err(failed)?;
        if !self.operand.constant {
            return Ok(array);
        }
        let zeros = arrow_array::UInt32Array::from(vec![0; self.rows]);
        arrow_select::take::take(&array, &zeros, None).map_err(failed)
    }
}

/// The integer part of `value`, if 64 bits hold it.
fn truncated(value: f64) -> Option<i64> {
    // -2^63 is a DOUBLE, 2^63 - 1 is none: the bound above is open.
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    let whole = value.trunc();
    #[allow(clippy::cast_possible_truncation, reason = "the bounds are checked")]
    (-BOUND..BOUND).contains(&whole).then_some(whole as i64)
}
