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
use arrow_array::{Array, ArrayRef, ListArray};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, FieldRef, TimeUnit};

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
    /// An array of one of these, NULLs among them, never of arrays.
    List(Arc<[Value]>),
}

impl Value {
    /// The value of `array` at `row`. Types: `Boolean`, `Int32`, `Int64`, `Float64`, `Utf8`,
    /// `Utf8View`, `Date32`, `Timestamp(us)`, and `List` of these.
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
            DataType::List(item) if !item.data_type().is_nested() => {
                let items = array.as_list::<i32>().value(row);
                let items = (0..items.len()).map(|item| Self::from_array(&items, item));
                Self::List(items.collect::<PortResult<_>>()?)
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
            (Self::List(a), Self::List(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.same_bits(b))
            }
            _ => self == other,
        }
    }

    /// What the texts in it take, bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::List(items) => items.iter().map(Self::text_bytes).sum(),
            _ => 0,
        }
    }

    /// What it holds beside itself, bytes: texts and items may be shared with others.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::List(items) => {
                size_of_val::<[Self]>(items) + items.iter().map(Self::heap_bytes).sum::<usize>()
            }
            _ => 0,
        }
    }
}

/// The type of arrays of `item`: the one layout in which they are kept and answered.
#[must_use]
pub fn list_type(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

/// The type of the items of an array type.
#[must_use]
pub fn item_type(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::List(item) => Some(item.data_type()),
        _ => None,
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
        DataType::List(item) if !item.data_type().is_nested() => lists(item, values),
        other => Err(unsupported(other)),
    }
}

fn lists<'a>(
    item: &FieldRef,
    values: impl ExactSizeIterator<Item = &'a Value>,
) -> PortResult<ArrayRef> {
    let (mut items, mut lengths, mut valid) = (Vec::<&Value>::new(), Vec::new(), Vec::new());
    for value in values {
        let found: &[Value] = match value {
            Value::Null => &[],
            Value::List(found) => found,
            other => {
                let message = format!("{other:?} in a column of arrays of {}", item.data_type());
                return Err(PortError::internal(message));
            }
        };
        items.extend(found);
        lengths.push(found.len());
        valid.push(*value != Value::Null);
    }
    // Arrow counts the items of a column in 32 bits, and panics beyond.
    if i32::try_from(items.len()).is_err() {
        let message = "a column has more than 2^31 items of arrays; ask for fewer rows at once";
        return Err(PortError::new(crate::ErrorKind::ResourceExhausted, message));
    }
    let items = array_from_values(item.data_type(), items.iter().copied())?;
    let nulls = valid.contains(&false).then(|| NullBuffer::from(valid));
    let offsets = OffsetBuffer::from_lengths(lengths);
    ListArray::try_new(FieldRef::clone(item), offsets, items, nulls)
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(|e| PortError::with_source(crate::ErrorKind::Internal, "a column of arrays", e))
}

fn unsupported(data_type: &DataType) -> PortError {
    PortError::invalid(format!(
        "type {data_type} is not supported here; use BOOLEAN, INTEGER, BIGINT, DOUBLE, VARCHAR, DATE, TIMESTAMP or an array of one of these"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_come_back_from_their_columns() {
        let text = |text: &str| Value::Text(text.into());
        let list = |items: Vec<Value>| Value::List(items.into());
        let data_type = list_type(DataType::Utf8);
        let values = [
            Value::Null,
            list(vec![]),
            list(vec![text("a"), Value::Null, text("")]),
            list(vec![Value::Null]),
        ];
        let column = array_from_values(&data_type, values.iter()).expect("arrays of texts");
        assert_eq!(column.data_type(), &data_type);
        for (row, value) in values.iter().enumerate() {
            let back = Value::from_array(&column.slice(row, 1), 0).expect("a value");
            assert!(back.same_bits(value), "{back:?}");
        }
        assert_eq!(values[2].text_bytes(), 1);
        assert_eq!(values[2].heap_bytes(), 3 * size_of::<Value>() + 1);
        // The catalog keeps types by their words.
        let words = data_type.to_string();
        assert_eq!(words.parse::<DataType>().ok(), Some(data_type));
        let times = list_type(crate::time::timestamp_type());
        assert_eq!(times.to_string().parse::<DataType>().ok(), Some(times));
    }

    #[test]
    fn arrays_are_equal_item_by_item_and_to_the_bit() {
        let floats =
            |values: &[f64]| Value::List(values.iter().map(|v| Value::Float(*v)).collect());
        assert!(floats(&[f64::NAN, -0.0]).same_bits(&floats(&[-f64::NAN, -0.0])));
        assert!(!floats(&[0.0]).same_bits(&floats(&[-0.0])));
        assert!(!floats(&[0.0]).same_bits(&floats(&[0.0, 0.0])));
    }

    #[test]
    fn arrays_of_arrays_and_items_of_other_types_are_refused() {
        let nested = list_type(list_type(DataType::Int64));
        let empty = Value::List(Arc::from([]));
        assert!(array_from_values(&nested, [empty].iter()).is_err());
        let mixed = Value::List(Arc::from([Value::Bool(true)]));
        let integers = list_type(DataType::Int64);
        assert!(array_from_values(&integers, [mixed].iter()).is_err());
        assert!(array_from_values(&integers, [Value::Int(1)].iter()).is_err());
    }
}
