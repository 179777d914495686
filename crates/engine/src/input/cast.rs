//! One column brought to its declared type, if every value survives. Files come from many writers:
//! narrower or wider integers, other layouts of text, timestamps of any unit, naive ones (which are
//! UTC).
//!
//! A value that does not fit is an error, never a NULL and never another value; but times are kept
//! in microseconds, and what is finer is rounded down.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowTimestampType, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt64Type,
};
use arrow_array::{Array, ArrayRef, PrimitiveArray, TimestampMicrosecondArray};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use forebay_core::time::{Micros, timestamp_type};

/// `array` as `to`; else what is in the way, as the end of a sentence.
pub(super) fn conform(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, String> {
    let from = array.data_type();
    if from == to {
        return Ok(Arc::clone(array));
    }
    if let DataType::Dictionary(_, values) = from {
        let plain = arrow_cast::cast(array, values).map_err(|e| format!("; {e}"))?;
        return conform(&plain, to);
    }
    if matches!(from, DataType::Timestamp(..))
        && matches!(to, DataType::Timestamp(TimeUnit::Microsecond, _))
    {
        let micros = micros(array).map_err(|e| format!("; {e}"))?;
        return Ok(Arc::new(micros.with_data_type(to.clone())));
    }
    if !admitted(from, to) {
        return Err(String::new());
    }
    if to == &DataType::Float64 && !fits_double(array) {
        return Err("; a value that a DOUBLE cannot hold exactly".to_owned());
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(array, to, &options).map_err(|e| format!("; {e}"))
}

/// Whether a DOUBLE has each integer of `array`; those of 32 bits and less it has. Of those beyond
/// 2^53 some fit by luck, and they are refused as serving refuses them.
fn fits_double(array: &ArrayRef) -> bool {
    const EXACT_MAX: u64 = 1 << f64::MANTISSA_DIGITS;
    match array.data_type() {
        DataType::Int64 => {
            let mut values = array.as_primitive::<Int64Type>().iter().flatten();
            values.all(|value| value.unsigned_abs() <= EXACT_MAX)
        }
        DataType::UInt64 => {
            let mut values = array.as_primitive::<UInt64Type>().iter().flatten();
            values.all(|value| value <= EXACT_MAX)
        }
        _ => true,
    }
}

fn admitted(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Null, _) => true,
        (_, DataType::Utf8) => matches!(from, DataType::LargeUtf8 | DataType::Utf8View),
        (_, DataType::Float64) => {
            matches!(from, DataType::Float16 | DataType::Float32) || from.is_integer()
        }
        // A value that does not fit fails the cast.
        (_, DataType::Int64 | DataType::Int32) => from.is_integer(),
        _ => false,
    }
}

/// Any timestamps as microseconds in UTC. What is finer is rounded down, before 1970 too.
pub(super) fn micros(array: &ArrayRef) -> Result<TimestampMicrosecondArray, ArrowError> {
    let scaled = match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => scale::<TimestampSecondType>(array, 1_000_000)?,
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            scale::<TimestampMillisecondType>(array, 1_000)?
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            array.as_primitive::<TimestampMicrosecondType>().clone()
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => array
            .as_primitive::<TimestampNanosecondType>()
            .unary(|nanos| nanos.div_euclid(1_000)),
        other => return Err(ArrowError::CastError(format!("{other} is no timestamp"))),
    };
    Ok(scaled.with_data_type(timestamp_type()))
}

fn scale<T: ArrowTimestampType>(
    array: &ArrayRef,
    factor: Micros,
) -> Result<PrimitiveArray<TimestampMicrosecondType>, ArrowError> {
    array.as_primitive::<T>().try_unary(|value| {
        value.checked_mul(factor).ok_or_else(|| {
            ArrowError::ArithmeticOverflow(format!(
                "timestamp {value} is out of range in microseconds"
            ))
        })
    })
}
