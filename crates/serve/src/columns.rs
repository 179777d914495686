//! From columns as a caller sends them to columns as a definition declares them: found by name,
//! cast where no information is lost, checked for NULL. The same for a service's request rows and
//! for rows pushed into a source.

use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType, TimestampNanosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, TimeUnit};
use forebay_core::source::{Column, sql_name};
use forebay_core::{PortError, PortResult};

use crate::cells::is_exact;

/// What declares columns, for error texts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner<'a> {
    Service(&'a str),
    Source(&'a str),
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "service {name}"),
            Self::Source(name) => write!(f, "source {name}"),
        }
    }
}

/// The column `column` of `batch`, as `owner` declares it.
///
/// # Errors
/// It is missing, or of a type that does not cast without loss.
pub(crate) fn declared(
    batch: &RecordBatch,
    column: &Column,
    owner: Owner<'_>,
) -> PortResult<ArrayRef> {
    let Some(array) = batch.column_by_name(&column.name) else {
        let names: Vec<&str> = batch
            .schema_ref()
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        let names = if names.is_empty() {
            "no column".to_owned()
        } else {
            names.join(", ")
        };
        return Err(PortError::invalid(format!(
            "{owner} needs column {} {}; the rows have: {names}",
            column.name,
            sql_name(&column.data_type)
        )));
    };
    cast_lossless(array, &column.data_type).map_err(|reason| {
        PortError::invalid(format!(
            "column {} of {owner} is {}, the rows have {}{reason}",
            column.name,
            sql_name(&column.data_type),
            array.data_type()
        ))
    })
}

/// The first row that is NULL, where `column` does not admit it.
pub(crate) fn first_forbidden_null(array: &ArrayRef, column: &Column) -> Option<usize> {
    if column.nullable || array.null_count() == 0 {
        return None;
    }
    (0..array.len()).find(|row| array.is_null(*row))
}

/// Cast `array` to `to` if every value survives; else why not.
fn cast_lossless(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, String> {
    let from = array.data_type();
    if from == to {
        return Ok(Arc::clone(array));
    }
    let admitted = match to {
        DataType::Utf8 => matches!(
            from,
            DataType::Null | DataType::LargeUtf8 | DataType::Utf8View
        ),
        DataType::Float64 => {
            matches!(from, DataType::Null | DataType::Float16 | DataType::Float32)
                || from.is_integer()
        }
        // A value that does not fit fails the cast below.
        DataType::Int64 | DataType::Int32 => matches!(from, DataType::Null) || from.is_integer(),
        DataType::Boolean => matches!(from, DataType::Null),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            matches!(
                from,
                DataType::Null | DataType::Timestamp(..) | DataType::Date32
            )
        }
        _ => false,
    };
    if !admitted {
        return Err(String::new());
    }
    match (from, to) {
        (DataType::Int64 | DataType::UInt64, DataType::Float64) => {
            let integers = cast_strictly(array, &DataType::Int64)?;
            if integers
                .as_primitive::<Int64Type>()
                .iter()
                .flatten()
                .all(is_exact)
            {
                cast_strictly(&integers, to)
            } else {
                Err(", and a value that a DOUBLE cannot hold exactly".to_owned())
            }
        }
        (DataType::Timestamp(..) | DataType::Date32, DataType::Timestamp(unit, zone)) => {
            if let DataType::Timestamp(TimeUnit::Nanosecond, _) = from
                && array
                    .as_primitive::<TimestampNanosecondType>()
                    .iter()
                    .flatten()
                    .any(|ns| ns % 1_000 != 0)
            {
                return Err(", and a value between two microseconds".to_owned());
            }
            // A time without a zone is UTC; one with a zone is the same instant.
            let naive = cast_strictly(array, &DataType::Timestamp(*unit, None))?;
            let times = naive.as_primitive::<TimestampMicrosecondType>().clone();
            Ok(Arc::new(times.with_timezone_opt(zone.clone())))
        }
        _ => cast_strictly(array, to),
    }
}

fn cast_strictly(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, String> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(array, to, &options).map_err(|error| format!(": {error}"))
}

#[cfg(test)]
mod tests {
    use arrow_array::{
        Date32Array, Float32Array, Int8Array, Int64Array, LargeStringArray, StringArray,
        StringViewArray, TimestampMicrosecondArray, TimestampNanosecondArray, TimestampSecondArray,
        UInt64Array,
    };
    use forebay_core::time::timestamp_type;

    use super::*;

    fn cast(array: impl Array + 'static, to: &DataType) -> Result<ArrayRef, String> {
        cast_lossless(&(Arc::new(array) as ArrayRef), to)
    }

    #[test]
    fn a_cast_keeps_every_value() {
        let utc = |values: Vec<i64>| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
        };
        let good: Vec<(Result<ArrayRef, String>, ArrayRef)> = vec![
            (
                cast(Int64Array::from(vec![1 << 53]), &DataType::Float64),
                Arc::new(arrow_array::Float64Array::from(vec![
                    9_007_199_254_740_992.0,
                ])),
            ),
            (
                cast(Int8Array::from(vec![-3]), &DataType::Int64),
                Arc::new(Int64Array::from(vec![-3])),
            ),
            (
                cast(Float32Array::from(vec![0.5]), &DataType::Float64),
                Arc::new(arrow_array::Float64Array::from(vec![0.5])),
            ),
            (
                cast(LargeStringArray::from(vec!["a"]), &DataType::Utf8),
                Arc::new(StringArray::from(vec!["a"])),
            ),
            (
                cast(
                    StringViewArray::from(vec!["longer than twelve bytes"]),
                    &DataType::Utf8,
                ),
                Arc::new(StringArray::from(vec!["longer than twelve bytes"])),
            ),
            (
                cast(TimestampSecondArray::from(vec![7]), &timestamp_type()),
                utc(vec![7_000_000]),
            ),
            (
                cast(
                    TimestampNanosecondArray::from(vec![-5_000]).with_timezone("+02:00"),
                    &timestamp_type(),
                ),
                utc(vec![-5]),
            ),
            (
                cast(Date32Array::from(vec![1]), &timestamp_type()),
                utc(vec![86_400_000_000]),
            ),
        ];
        for (cast, expected) in good {
            assert_eq!(cast.expect("admitted").as_ref(), expected.as_ref());
        }
    }

    #[test]
    fn a_cast_that_would_lose_something_is_refused() {
        for (refused, why) in [
            (
                cast(Int64Array::from(vec![(1 << 53) + 1]), &DataType::Float64),
                "DOUBLE cannot hold",
            ),
            (
                cast(UInt64Array::from(vec![u64::MAX]), &DataType::Int64),
                "cast",
            ),
            (
                cast(Int64Array::from(vec![1 << 40]), &DataType::Int32),
                "cast",
            ),
            (
                cast(TimestampNanosecondArray::from(vec![1]), &timestamp_type()),
                "between two microseconds",
            ),
            (
                cast(
                    TimestampSecondArray::from(vec![i64::MAX]),
                    &timestamp_type(),
                ),
                ":",
            ),
            (cast(StringArray::from(vec!["1"]), &DataType::Int64), ""),
            (cast(Float32Array::from(vec![1.0]), &DataType::Int64), ""),
        ] {
            let reason = refused.expect_err("refused");
            assert!(
                reason.to_lowercase().contains(&why.to_lowercase()),
                "{reason}"
            );
        }
    }
}
