//! The two total orders of aggregates: that of rows, which decides the last value, and that of
//! scalars, which decides minimum and maximum. Both are functions of the log alone, never of
//! arrival.

use std::cmp::Ordering;

use crate::bytes::{BytesResult, Reader, write_signed};
use crate::time::Micros;
use crate::value::Value;

/// Where a row stands in the total order (event time, topic, partition, offset). A view scans one
/// source and a source is one topic, so the topic never decides and is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowOrder {
    /// Event time.
    pub time_us: Micros,
    /// Kafka partition.
    pub partition: i32,
    /// Kafka offset.
    pub offset: i64,
}

/// -inf < .. < -0.0 = +0.0 < .. < +inf < NaN, all NaN equal.
#[must_use]
pub fn compare_floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b)
        .unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Order of two scalars of one type; NULL before everything. Floats as [`compare_floats`], text by
/// its bytes.
///
/// # Panics
/// Scalars of different types: the planner gives every argument one type.
pub(crate) fn compare_values(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::Int(a), Value::Int(b)) | (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => compare_floats(*a, *b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (a, b) => panic!("one argument column held {a:?} and {b:?}; the planner gives it one type"),
    }
}

/// Append a row's place.
pub(super) fn write_order(out: &mut Vec<u8>, order: RowOrder) {
    write_signed(out, order.time_us);
    write_signed(out, i64::from(order.partition));
    write_signed(out, order.offset);
}

/// Read what [`write_order`] wrote.
pub(super) fn read_order(reader: &mut Reader<'_>) -> BytesResult<RowOrder> {
    let time_us = reader.signed()?;
    let partition = i32::try_from(reader.signed()?).map_err(|_| "a partition is out of range")?;
    Ok(RowOrder {
        time_us,
        partition,
        offset: reader.signed()?,
    })
}
