//! One scalar, as it moves between Arrow arrays and partial states. Small and boring on purpose:
//! columns move as arrays; a `Value` is what one key's `min`, `max` or `last_value` holds and what
//! one answered cell is.

use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Date32Builder, Float64Builder, Int32Builder, Int64Builder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};

use crate::error::{PortError, PortResult};
use crate::time::Micros;

/// A scalar of one of the column types that sources have.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// BOOLEAN.
    Bool(bool),
    /// INTEGER and BIGINT.
    Int(i64),
    /// DOUBLE.
    Float(f64),
    /// VARCHAR.
    Text(Arc<str>),
    /// DATE, days since 1970.
    Date(i32),
    /// TIMESTAMP, microseconds UTC.
    Timestamp(Micros),
}

impl Value {
    /// The value of `array` at `row`. Types: `Boolean`, `Int32`, `Int64`, `Float64`, `Utf8`,
    /// `Utf8View`, `Date32`, `Timestamp(us)`.
    ///
    /// # Errors
    /// Another type is a defect of the planner, which admits only these.
    pub fn from_array(array: &dyn Array, row: usize) -> PortResult<Self> {
        if array.is_null(row) {
            return Ok(Self::Null);
        }
        Ok(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool(array.as_boolean().value(row)),
            DataType::Int32 => Self::Int(i64::from(array.as_primitive::<Int32Type>().value(row))),
            DataType::Int64 => Self::Int(array.as_primitive::<Int64Type>().value(row)),
            DataType::Float64 => Self::Float(array.as_primitive::<Float64Type>().value(row)),
            DataType::Utf8 => Self::Text(array.as_string::<i32>().value(row).into()),
            DataType::Utf8View => Self::Text(array.as_string_view().value(row).into()),
            DataType::Date32 => Self::Date(array.as_primitive::<Date32Type>().value(row)),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Self::Timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row))
            }
            other => return Err(unsupported(other)),
        })
    }

    /// Equal to the bit: all NaN are one value, -0.0 and 0.0 differ.
    #[must_use]
    pub fn same_bits(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => {
                (a.is_nan() && b.is_nan()) || a.to_bits() == b.to_bits()
            }
            _ => self == other,
        }
    }
}

/// An array of `data_type` from `values`. The types are those of [`Value::from_array`], text as
/// `Utf8`.
///
/// # Errors
/// A value that is not of `data_type`, or an unsupported type.
pub fn array_from_values<'a>(
    data_type: &DataType,
    values: impl ExactSizeIterator<Item = &'a Value> + Clone,
) -> PortResult<ArrayRef> {
    macro_rules! build {
        ($builder:expr, $($pattern:pat => $value:expr),+) => {{
            let mut builder = $builder;
            for value in values {
                match value {
                    Value::Null => builder.append_null(),
                    $($pattern => builder.append_value($value),)+
                    other => return Err(PortError::internal(format!("{other:?} in a column of {data_type}"))),
                }
            }
            Ok(Arc::new(builder.finish()) as ArrayRef)
        }};
    }
    let rows = values.len();
    match data_type {
        DataType::Boolean => build!(BooleanBuilder::with_capacity(rows), Value::Bool(v) => *v),
        DataType::Int32 => {
            build!(Int32Builder::with_capacity(rows), Value::Int(v) => i32::try_from(*v)
            .map_err(|e| PortError::with_source(crate::ErrorKind::Internal, format!("{v} in a column of Int32"), e))?)
        }
        DataType::Int64 => build!(Int64Builder::with_capacity(rows), Value::Int(v) => *v),
        DataType::Float64 => build!(Float64Builder::with_capacity(rows), Value::Float(v) => *v),
        DataType::Utf8 => {
            // A builder that grows doubles: what is reserved for an answer is its texts' length.
            let texts = values.clone().map(|value| match value {
                Value::Text(text) => text.len(),
                _ => 0,
            });
            let builder = StringBuilder::with_capacity(rows, texts.sum());
            build!(builder, Value::Text(v) => v)
        }
        DataType::Date32 => build!(Date32Builder::with_capacity(rows), Value::Date(v) => *v),
        DataType::Timestamp(TimeUnit::Microsecond, _) => build!(
            TimestampMicrosecondBuilder::with_capacity(rows).with_data_type(data_type.clone()),
            Value::Timestamp(v) => *v
        ),
        other => Err(unsupported(other)),
    }
}

fn unsupported(data_type: &DataType) -> PortError {
    PortError::invalid(format!(
        "type {data_type} is not supported here; use BOOLEAN, INTEGER, BIGINT, DOUBLE, VARCHAR, DATE or TIMESTAMP"
    ))
}
