//! The bytes of partial states: a code byte of [`super::code`] and what it names. Tiles keep them
//! for years, so decoding checks the code against the plan, takes one canonical form only, and
//! turns anything else into a typed error.

use arrow_schema::DataType;

use super::order::RowOrder;
use super::partial::Partial;
use super::{PartialClass, PartialSpec, code};
use crate::bytes::{BytesError, BytesResult, Reader, write_signed, write_unsigned};
use crate::error::PortResult;
use crate::exact::{FloatMoments, FloatSum, IntegerSum, canonical, corrupt};
use crate::invariant;
use crate::value::Value;

impl Partial {
    /// Append the canonical bytes: the same rows in any order give the same bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if let Self::Count(count) = self {
            // It is written without a sign, and read back as damage where it had one.
            invariant!(CountsNotNegative, *count >= 0, "{count}");
        }
        match self {
            Self::Count(count) => {
                out.push(code::COUNT);
                write_unsigned(out, *count as u64);
            }
            Self::FloatSum(sum) => sum.encode(out),
            Self::FloatMoments(moments) => moments.encode(out),
            Self::IntSum(sum) => {
                out.push(code::INT_SUM);
                sum.write(out);
            }
            Self::Min(value) => {
                out.push(code::MIN);
                write_scalar(out, value);
            }
            Self::Max(value) => {
                out.push(code::MAX);
                write_scalar(out, value);
            }
            Self::Last(None) => out.push(code::LAST_NONE),
            Self::Last(Some((order, value))) => {
                out.push(code::LAST);
                write_signed(out, order.time_us);
                write_signed(out, i64::from(order.partition));
                write_signed(out, order.offset);
                write_scalar(out, value);
            }
        }
    }

    /// Read what [`Self::encode`] wrote for a state of `spec`, and move `bytes` past it.
    ///
    /// # Errors
    /// Bytes that no state of `spec` has (`DataLoss`).
    pub fn decode(spec: &PartialSpec, bytes: &mut &[u8]) -> PortResult<Self> {
        let mut reader = Reader::new(bytes);
        let state = Self::read(spec, &mut reader).map_err(corrupt)?;
        *bytes = reader.rest();
        Ok(state)
    }

    fn read(spec: &PartialSpec, reader: &mut Reader<'_>) -> BytesResult<Self> {
        match spec.class {
            PartialClass::FloatSum => return FloatSum::read(reader).map(Self::FloatSum),
            PartialClass::FloatMoments => {
                return FloatMoments::read(reader).map(|m| Self::FloatMoments(Box::new(m)));
            }
            _ => {}
        }
        let found = reader.u8()?;
        let state = match (spec.class, found) {
            (PartialClass::Count, code::COUNT) => Self::Count(reader.count()?),
            (PartialClass::IntSum, code::INT_SUM) => Self::IntSum(IntegerSum::read(reader)?),
            (PartialClass::Min, code::MIN) => Self::Min(read_extremum(reader, spec)?),
            (PartialClass::Max, code::MAX) => Self::Max(read_extremum(reader, spec)?),
            (PartialClass::Last, code::LAST_NONE) => Self::Last(None),
            (PartialClass::Last, code::LAST) => {
                let time_us = reader.signed()?;
                let partition =
                    i32::try_from(reader.signed()?).map_err(|_| "a partition is out of range")?;
                let order = RowOrder {
                    time_us,
                    partition,
                    offset: reader.signed()?,
                };
                Self::Last(Some((order, read_scalar(reader, spec)?)))
            }
            (class, found) => {
                return Err(
                    format!("code {found:#04x} where a state of {class:?} should begin").into(),
                );
            }
        };
        Ok(state)
    }
}

fn write_scalar(out: &mut Vec<u8>, value: &Value) {
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
        Value::Timestamp(value) => {
            out.push(code::scalar::TIMESTAMP);
            write_signed(out, *value);
        }
    }
}

/// A scalar of the argument's type, or NULL.
fn read_scalar(reader: &mut Reader<'_>, spec: &PartialSpec) -> BytesResult<Value> {
    let value = match reader.u8()? {
        code::scalar::NULL => return Ok(Value::Null),
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
        code::scalar::TIMESTAMP => Value::Timestamp(reader.signed()?),
        other => return Err(format!("unknown scalar code {other:#04x}").into()),
    };
    let fits = match (&value, spec.argument_type.as_ref()) {
        (Value::Bool(_), Some(DataType::Boolean))
        | (Value::Int(_), Some(DataType::Int64))
        | (Value::Float(_), Some(DataType::Float64))
        | (Value::Text(_), Some(DataType::Utf8 | DataType::Utf8View))
        | (Value::Timestamp(_), Some(DataType::Timestamp(..))) => true,
        (Value::Int(value), Some(DataType::Int32)) => i32::try_from(*value).is_ok(),
        _ => false,
    };
    if fits {
        Ok(value)
    } else {
        Err(format!("{value:?} in a state over {:?}", spec.argument_type).into())
    }
}

/// A scalar as min and max keep it: no negative zero.
fn read_extremum(reader: &mut Reader<'_>, spec: &PartialSpec) -> BytesResult<Value> {
    match read_scalar(reader, spec)? {
        Value::Float(value) if value.to_bits() != canonical(value).to_bits() => {
            Err("an extremum is a negative zero".into())
        }
        value => Ok(value),
    }
}
