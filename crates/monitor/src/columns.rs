//! Typed views of the columns that batches bring: looked up by name once a batch, read by row
//! without a match per value. Training sets and prediction records come in as Arrow, counts go out
//! through `counts` and `profile`.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, PrimitiveArray, RecordBatch, StringArray, StringViewArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, TimeUnit};

use crate::error::{MonitorError, Result};

/// Column `name` of `batch`, which the error text calls `object`.
pub(crate) fn column<'a>(batch: &'a RecordBatch, name: &str, object: &str) -> Result<&'a ArrayRef> {
    batch
        .column_by_name(name)
        .ok_or_else(|| MonitorError::MissingColumn {
            object: object.to_owned(),
            column: name.to_owned(),
            known: batch
                .schema()
                .fields()
                .iter()
                .map(|f| f.name().as_str())
                .collect::<Vec<_>>()
                .join(", "),
        })
}

/// A text column of either layout.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TextColumn<'a> {
    Plain(&'a StringArray),
    View(&'a StringViewArray),
}

impl<'a> TextColumn<'a> {
    pub(crate) fn new(name: &str, array: &'a dyn Array) -> Result<Self> {
        match array.data_type() {
            DataType::Utf8 => Ok(Self::Plain(array.as_string())),
            DataType::Utf8View => Ok(Self::View(array.as_string_view())),
            other => Err(wrong_type(name, other, "Utf8 or Utf8View")),
        }
    }

    pub(crate) fn get(&self, row: usize) -> Option<&'a str> {
        match self {
            Self::Plain(array) => array.is_valid(row).then(|| array.value(row)),
            Self::View(array) => array.is_valid(row).then(|| array.value(row)),
        }
    }
}

/// A whole-number column of either width.
#[derive(Debug, Clone, Copy)]
pub(crate) enum IntegerColumn<'a> {
    Narrow(&'a PrimitiveArray<Int32Type>),
    Wide(&'a PrimitiveArray<Int64Type>),
}

impl<'a> IntegerColumn<'a> {
    pub(crate) fn new(name: &str, array: &'a dyn Array) -> Result<Self> {
        match array.data_type() {
            DataType::Int32 => Ok(Self::Narrow(array.as_primitive())),
            DataType::Int64 => Ok(Self::Wide(array.as_primitive())),
            other => Err(wrong_type(name, other, "Int32 or Int64")),
        }
    }

    pub(crate) fn get(&self, row: usize) -> Option<i64> {
        match self {
            Self::Narrow(array) => array.is_valid(row).then(|| i64::from(array.value(row))),
            Self::Wide(array) => array.is_valid(row).then(|| array.value(row)),
        }
    }
}

/// An event-time column: microseconds, with or without a zone (naive is UTC).
pub(crate) fn times<'a>(
    name: &str,
    array: &'a dyn Array,
) -> Result<&'a PrimitiveArray<TimestampMicrosecondType>> {
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => Ok(array.as_primitive()),
        other => Err(wrong_type(name, other, "Timestamp(us)")),
    }
}

/// A column whose distribution is watched.
#[derive(Debug, Clone)]
pub(crate) struct WatchedColumn<'a> {
    pub(crate) values: WatchedValues<'a>,
    /// NULLs of the column and of the struct around it.
    pub(crate) nulls: Option<NullBuffer>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum WatchedValues<'a> {
    Double(&'a PrimitiveArray<Float64Type>),
    Single(&'a PrimitiveArray<Float32Type>),
    Wide(&'a PrimitiveArray<Int64Type>),
    Narrow(&'a PrimitiveArray<Int32Type>),
    Text(TextColumn<'a>),
    Boolean(&'a BooleanArray),
}

impl<'a> WatchedColumn<'a> {
    /// `outer`: validity of the struct that holds the column.
    pub(crate) fn new(
        name: &str,
        array: &'a dyn Array,
        outer: Option<&NullBuffer>,
    ) -> Result<Self> {
        let values = match array.data_type() {
            DataType::Float64 => WatchedValues::Double(array.as_primitive()),
            DataType::Float32 => WatchedValues::Single(array.as_primitive()),
            DataType::Int64 => WatchedValues::Wide(array.as_primitive()),
            DataType::Int32 => WatchedValues::Narrow(array.as_primitive()),
            DataType::Boolean => WatchedValues::Boolean(array.as_boolean()),
            DataType::Utf8 | DataType::Utf8View => {
                WatchedValues::Text(TextColumn::new(name, array)?)
            }
            other => return Err(wrong_type(name, other, "a number, Utf8 or Boolean")),
        };
        Ok(Self {
            values,
            nulls: NullBuffer::union(outer, array.nulls()),
        })
    }

    pub(crate) fn is_numeric(&self) -> bool {
        !matches!(
            self.values,
            WatchedValues::Text(_) | WatchedValues::Boolean(_)
        )
    }

    /// Its rows.
    pub(crate) fn len(&self) -> usize {
        match self.values {
            WatchedValues::Double(array) => array.len(),
            WatchedValues::Single(array) => array.len(),
            WatchedValues::Wide(array) => array.len(),
            WatchedValues::Narrow(array) => array.len(),
            WatchedValues::Text(TextColumn::Plain(array)) => array.len(),
            WatchedValues::Text(TextColumn::View(array)) => array.len(),
            WatchedValues::Boolean(array) => array.len(),
        }
    }

    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// The number at `row`; None for NULL and for columns that hold no numbers. -0.0 counts as 0.0.
    pub(crate) fn number(&self, row: usize) -> Option<f64> {
        if self.is_null(row) {
            return None;
        }
        let value = match self.values {
            WatchedValues::Double(array) => array.value(row),
            WatchedValues::Single(array) => f64::from(array.value(row)),
            WatchedValues::Wide(array) => array.value(row) as f64,
            WatchedValues::Narrow(array) => f64::from(array.value(row)),
            WatchedValues::Text(_) | WatchedValues::Boolean(_) => return None,
        };
        Some(value + 0.0)
    }

    /// The category at `row`; None for NULL and for numbers.
    pub(crate) fn category(&self, row: usize) -> Option<&'a str> {
        if self.is_null(row) {
            return None;
        }
        match self.values {
            WatchedValues::Text(text) => text.get(row),
            WatchedValues::Boolean(array) => Some(if array.value(row) { "true" } else { "false" }),
            _ => None,
        }
    }
}

pub(crate) fn wrong_type(name: &str, found: &DataType, expected: &'static str) -> MonitorError {
    MonitorError::WrongType {
        column: name.to_owned(),
        found: found.clone(),
        expected,
    }
}
