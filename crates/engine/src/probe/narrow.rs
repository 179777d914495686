//! What a spine can see of a table: the columns, the range of event times, the ranges of keys and
//! the offsets outside which no event counts for any of its rows. It only narrows what is read;
//! each row still decides by itself. Pure.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use forebay_core::ports::{ColumnRange, Known, Scan};
use forebay_core::progress::Applied;
use forebay_core::source::SourceDef;
use forebay_core::time::Micros;
use forebay_core::value::Value;
use forebay_core::view::ViewSpec;

use crate::input::event_scan;

/// One view over the table, as narrowing sees it.
pub(super) struct Seen<'a> {
    pub(super) spec: &'a ViewSpec,
    /// For each key column of the view the source's column that it is.
    pub(super) key_columns: &'a [usize],
    /// The spine's keys.
    pub(super) keys: &'a [ArrayRef],
}

/// The scan of the table of `source` for `views`, whose columns are marked in `needed`, as of the
/// instants `at_us`.
pub(super) fn scan(
    source: &SourceDef,
    needed: &[bool],
    views: &[Seen<'_>],
    at_us: &[Micros],
    known: &Known,
) -> Scan {
    Scan {
        time: times(source, views, at_us),
        keys: keys(source, views),
        below: offsets(known),
        ..event_scan(source, needed)
    }
}

/// No event after the last instant counts. An event before the first counts as long as a window, a
/// time to live, or, in a view without one, the presence of its key can depend on it.
fn times(source: &SourceDef, views: &[Seen<'_>], at_us: &[Micros]) -> Option<ColumnRange> {
    let (first, last) = (at_us.iter().min()?, at_us.iter().max()?);
    let from = views.iter().map(|view| {
        let reach = view.spec.reach_us();
        reach.map_or(Micros::MIN, |reach| first.saturating_sub(reach))
    });
    let time = &source.columns[source.time_column].name;
    Some(ColumnRange::times(time, from.min()?, *last))
}

/// The ranges of the spine's keys, where all views agree on what a key is.
fn keys(source: &SourceDef, views: &[Seen<'_>]) -> Vec<ColumnRange> {
    let Some(columns) = views.first().map(|view| view.key_columns) else {
        return Vec::new();
    };
    if views.iter().any(|view| view.key_columns != columns) {
        return Vec::new();
    }
    let range = |(number, column): (usize, &usize)| {
        let parts = views.iter().map(|view| bounds(&view.keys[number]));
        let (least, greatest) = parts.reduce(|a, b| match (a, b) {
            (Some(a), Some(b)) => Some((lesser(a.0, b.0), greater(a.1, b.1))),
            (a, b) => a.or(b),
        })??;
        Some(ColumnRange {
            column: source.columns[*column].name.clone(),
            least,
            greatest,
        })
    };
    columns.iter().enumerate().filter_map(range).collect()
}

/// What any of the cuts has applied; None where every event counts.
fn offsets(known: &Known) -> Option<Applied> {
    let Known::Applied { cuts, .. } = known else {
        return None;
    };
    let mut union = Applied::default();
    for (partition, progress) in cuts.iter().flat_map(|cut| &cut.0) {
        union.advance(partition, *progress);
    }
    Some(union)
}

/// Least and greatest value of a key column; None where all are NULL, or the type has no range.
fn bounds(keys: &ArrayRef) -> Option<(Value, Value)> {
    fn ends<T: Ord + Copy>(values: impl Iterator<Item = T>) -> Option<(T, T)> {
        values.fold(None, |ends, value| match ends {
            None => Some((value, value)),
            Some((least, greatest)) => Some((least.min(value), greatest.max(value))),
        })
    }
    let both = |(least, greatest): (i64, i64), value: fn(i64) -> Value| {
        Some((value(least), value(greatest)))
    };
    match keys.data_type() {
        DataType::Utf8 => {
            let (least, greatest) = ends(keys.as_string::<i32>().iter().flatten())?;
            Some((
                Value::Text(Arc::from(least)),
                Value::Text(Arc::from(greatest)),
            ))
        }
        DataType::Int32 => both(
            ends(
                keys.as_primitive::<Int32Type>()
                    .iter()
                    .flatten()
                    .map(i64::from),
            )?,
            Value::Int,
        ),
        DataType::Int64 => both(
            ends(keys.as_primitive::<Int64Type>().iter().flatten())?,
            Value::Int,
        ),
        DataType::Date32 => {
            let (least, greatest) = ends(keys.as_primitive::<Date32Type>().iter().flatten())?;
            Some((Value::Date(least), Value::Date(greatest)))
        }
        DataType::Timestamp(..) => both(
            ends(
                keys.as_primitive::<TimestampMicrosecondType>()
                    .iter()
                    .flatten(),
            )?,
            Value::Timestamp,
        ),
        _ => None,
    }
}

fn is_less(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Date(a), Value::Date(b)) => a < b,
        (Value::Int(a), Value::Int(b)) | (Value::Timestamp(a), Value::Timestamp(b)) => a < b,
        (Value::Text(a), Value::Text(b)) => a < b,
        _ => false,
    }
}

fn lesser(a: Value, b: Value) -> Value {
    if is_less(&b, &a) { b } else { a }
}

fn greater(a: Value, b: Value) -> Value {
    if is_less(&a, &b) { b } else { a }
}
