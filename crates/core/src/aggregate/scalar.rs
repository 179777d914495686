//! The scalars that some states hold: their bytes, and the one form that equal ones have. What is
//! read may be anything and is checked here, once.

use std::sync::Arc;

use arrow_schema::DataType;

use super::code;
use crate::bytes::{BytesError, BytesResult, Reader, write_signed, write_unsigned};
use crate::exact::canonical;
use crate::value::Value;

/// What `value` holds beside itself, bytes: texts may be shared with others.
pub(super) fn heap_bytes(value: &Value) -> usize {
    value.heap_bytes()
}

/// `value` as comparisons see it: one NaN, no negative zero.
pub(super) fn canonical_value(value: &Value) -> Value {
    match value {
        Value::Float(float) => Value::Float(canonical(*float)),
        other => other.clone(),
    }
}

/// `value` as it is passed on: as it is, but with one NaN.
pub(super) fn one_nan(value: &Value) -> Value {
    match value {
        Value::Float(float) if float.is_nan() => Value::Float(canonical(*float)),
        // Mostly there is none, and then the items are shared.
        Value::List(items) if items.iter().any(is_nan) => {
            Value::List(items.iter().map(one_nan).collect())
        }
        other => other.clone(),
    }
}

fn is_nan(value: &Value) -> bool {
    matches!(value, Value::Float(float) if float.is_nan())
}

pub(super) fn write_scalar(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(code::scalar::NULL),
        Value::Bool(false) => out.push(code::scalar::FALSE),
        Value::Bool(true) => out.push(code::scalar::TRUE),
        Value::Int(value) => {
            out.push(code::scalar::INT);
            write_signed(out, *value);
        }
        Value::Float(value) => {
            out.push(code::scalar::FLOAT);
            out.extend_from_slice(&value.to_le_bytes());
        }
        Value::Text(value) => {
            out.push(code::scalar::TEXT);
            write_unsigned(out, value.len() as u64);
            out.extend_from_slice(value.as_bytes());
        }
        Value::Date(value) => {
            out.push(code::scalar::DATE);
            write_signed(out, i64::from(*value));
        }
        Value::Timestamp(value) => {
            out.push(code::scalar::TIMESTAMP);
            write_signed(out, *value);
        }
        Value::List(items) => {
            out.push(code::scalar::LIST);
            write_items(out, items);
        }
    }
}

/// Append an array without the code in front: how many items, then each as a scalar, with one NaN.
pub fn write_items(out: &mut Vec<u8>, items: &[Value]) {
    write_unsigned(out, items.len() as u64);
    let items = items.iter().map(one_nan);
    items.for_each(|item| write_scalar(out, &item));
}

/// Read what [`write_items`] wrote, of items of type `item`; of any one type where that is None.
///
/// # Errors
/// Bytes that it does not write.
pub fn read_items(reader: &mut Reader<'_>, item: Option<&DataType>) -> BytesResult<Arc<[Value]>> {
    let count = reader.unsigned()?;
    // Each item has a byte at least, so that a count says nothing of memory that is not there.
    if count > reader.rest().len() as u64 {
        return Err("an array has fewer items than it says".into());
    }
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(match item {
            Some(_) => read_scalar(reader, item)?,
            None => read_any(reader)?,
        });
    }
    Ok(items.into())
}

/// A scalar of any type that is no array.
fn read_any(reader: &mut Reader<'_>) -> BytesResult<Value> {
    Ok(match reader.u8()? {
        code::scalar::NULL => Value::Null,
        code::scalar::FALSE => Value::Bool(false),
        code::scalar::TRUE => Value::Bool(true),
        code::scalar::INT => Value::Int(reader.signed()?),
        code::scalar::FLOAT => {
            let value = reader.f64()?;
            if value.is_nan() && value.to_bits() != canonical(value).to_bits() {
                return Err("a NaN is not in its one form".into());
            }
            Value::Float(value)
        }
        code::scalar::TEXT => {
            let length = reader.unsigned()?;
            let text = std::str::from_utf8(reader.take(length)?).map_err(|_| BytesError::Utf8)?;
            Value::Text(text.into())
        }
        code::scalar::DATE => {
            let days = i32::try_from(reader.signed()?);
            Value::Date(days.map_err(|_| "a date is out of range")?)
        }
        code::scalar::TIMESTAMP => Value::Timestamp(reader.signed()?),
        other => return Err(format!("unknown scalar code {other:#04x}").into()),
    })
}

/// A scalar of type `data_type`, or NULL.
pub(super) fn read_scalar(
    reader: &mut Reader<'_>,
    data_type: Option<&DataType>,
) -> BytesResult<Value> {
    let value = match reader.rest().first() {
        Some(&code::scalar::LIST) => {
            reader.u8()?;
            return match data_type {
                Some(DataType::List(item)) if !item.data_type().is_nested() => {
                    Ok(Value::List(read_items(reader, Some(item.data_type()))?))
                }
                other => Err(format!("an array in a state over {other:?}").into()),
            };
        }
        _ => read_any(reader)?,
    };
    let fits = match (&value, data_type) {
        (Value::Null, _) => true,
        (Value::Bool(_), Some(DataType::Boolean))
        | (Value::Int(_), Some(DataType::Int64))
        | (Value::Float(_), Some(DataType::Float64))
        | (Value::Text(_), Some(DataType::Utf8 | DataType::Utf8View))
        | (Value::Date(_), Some(DataType::Date32))
        | (Value::Timestamp(_), Some(DataType::Timestamp(..))) => true,
        (Value::Int(value), Some(DataType::Int32)) => i32::try_from(*value).is_ok(),
        _ => false,
    };
    if fits {
        Ok(value)
    } else {
        Err(format!("{value:?} in a state over {data_type:?}").into())
    }
}

/// A scalar in the form that [`canonical_value`] gives.
pub(super) fn read_canonical(
    reader: &mut Reader<'_>,
    data_type: Option<&DataType>,
) -> BytesResult<Value> {
    match read_scalar(reader, data_type)? {
        Value::Float(value) if value.to_bits() != canonical(value).to_bits() => {
            Err("a value that is compared is a negative zero".into())
        }
        value => Ok(value),
    }
}
