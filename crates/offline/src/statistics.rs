//! The statistics of an `add` action (Delta protocol, "Per-file Statistics"): row count, and null
//! counts, least and greatest values of the columns that `schema::has_statistics` admits.

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Schema};
use chrono::{DateTime, Datelike};
use forebay_core::date;
use forebay_core::invariant;
use forebay_core::source::meta;
use serde_json::{Map, Value, json};

use crate::schema::has_statistics;

/// Longer text gets no bounds: a cut lower bound would do, but a cut upper bound needs the next
/// string after it.
const TEXT_MAX_BYTES: usize = 32;

/// The statistics of the batches of one file.
#[derive(Debug)]
pub(crate) struct Statistics {
    rows: usize,
    columns: Vec<Column>,
}

/// Those of one column.
#[derive(Debug)]
struct Column {
    index: usize,
    name: String,
    nulls: usize,
    bounds: Bounds,
}

/// Least and greatest value so far.
#[derive(Debug)]
enum Bounds {
    /// There was no value.
    Empty,
    /// Both ends, as the log writes them.
    Between(Value, Value),
    /// There was a value that no bound can be written for.
    Unknown,
}

impl Bounds {
    fn widen(&mut self, low: Value, high: Value) {
        *self = match std::mem::replace(self, Self::Unknown) {
            Self::Empty => Self::Between(low, high),
            Self::Between(least, greatest) => Self::Between(
                if is_less(&low, &least) { low } else { least },
                if is_less(&greatest, &high) {
                    high
                } else {
                    greatest
                },
            ),
            Self::Unknown => Self::Unknown,
        };
    }
}

/// Of two values of one column. Instants have one width, so they compare as their texts do.
fn is_less(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a < b,
        _ => a.as_i64() < b.as_i64(),
    }
}

impl Statistics {
    /// Of no rows yet.
    pub(crate) fn new(schema: &Schema) -> Self {
        let fields = schema.fields().iter().enumerate();
        let columns = fields.filter(|(_, field)| has_statistics(field));
        Self {
            rows: 0,
            columns: columns
                .map(|(index, field)| Column {
                    index,
                    name: field.name().clone(),
                    nulls: 0,
                    bounds: Bounds::Empty,
                })
                .collect(),
        }
    }

    /// Take in `rows`.
    pub(crate) fn add(&mut self, rows: &RecordBatch) {
        self.rows += rows.num_rows();
        for column in &mut self.columns {
            let values = rows.column(column.index);
            column.nulls += values.null_count();
            // Offsets say nothing without their topic, so that one has bounds at any length.
            let text_max = if column.name == meta::TOPIC {
                usize::MAX
            } else {
                TEXT_MAX_BYTES
            };
            match bounds(values.as_ref(), text_max) {
                Some((low, high)) => column.bounds.widen(low, high),
                None if values.null_count() < values.len() => column.bounds = Bounds::Unknown,
                None => {}
            }
        }
    }

    /// How many rows were added.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Their JSON text.
    pub(crate) fn json(self) -> String {
        let (mut least, mut greatest, mut nulls) = (Map::new(), Map::new(), Map::new());
        for column in self.columns {
            invariant!(
                NullsAmongRows,
                column.nulls <= self.rows,
                "column {}: {} of {} rows",
                column.name,
                column.nulls,
                self.rows
            );
            nulls.insert(column.name.clone(), json!(column.nulls));
            if let Bounds::Between(low, high) = column.bounds {
                // A scan that prunes by them would skip a file that has the rows.
                invariant!(
                    StatisticsOrdered,
                    !is_less(&high, &low),
                    "column {}",
                    column.name
                );
                least.insert(column.name.clone(), low);
                greatest.insert(column.name, high);
            }
        }
        json!({ "numRecords": self.rows, "minValues": least, "maxValues": greatest, "nullCount": nulls }).to_string()
    }
}

fn bounds(column: &dyn Array, text_max: usize) -> Option<(Value, Value)> {
    fn ends<T: Ord + Copy>(values: impl Iterator<Item = T>) -> Option<(T, T)> {
        values.fold(None, |ends, value| match ends {
            None => Some((value, value)),
            Some((low, high)) => Some((value.min(low), value.max(high))),
        })
    }
    match column.data_type() {
        DataType::Int32 => ends(column.as_primitive::<Int32Type>().iter().flatten())
            .map(|(low, high)| (json!(low), json!(high))),
        DataType::Int64 => ends(column.as_primitive::<Int64Type>().iter().flatten())
            .map(|(low, high)| (json!(low), json!(high))),
        DataType::Date32 => {
            let (low, high) = ends(column.as_primitive::<Date32Type>().iter().flatten())?;
            Some((json!(date::format(low)), json!(date::format(high))))
        }
        DataType::Timestamp(..) => {
            let (low, high) = ends(
                column
                    .as_primitive::<TimestampMicrosecondType>()
                    .iter()
                    .flatten(),
            )?;
            Some((json!(instant(low)?), json!(instant(high)?)))
        }
        DataType::Utf8 => {
            let (low, high) = ends(column.as_string::<i32>().iter().flatten())?;
            (low.len() <= text_max && high.len() <= text_max).then(|| (json!(low), json!(high)))
        }
        _ => None,
    }
}

/// ISO 8601 with microseconds; None where the year has not four digits, which readers do not agree
/// on.
fn instant(us: i64) -> Option<String> {
    let time = DateTime::from_timestamp_micros(us)?;
    (0..=9999)
        .contains(&time.year())
        .then(|| time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
    use arrow_schema::Field;
    use forebay_core::time::timestamp_type;

    use super::*;

    #[test]
    fn floats_and_long_text_and_strange_years_have_no_bounds() {
        let schema = Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("x", DataType::Float64, true),
            Field::new("short", DataType::Utf8, true),
            Field::new("long", DataType::Utf8, true),
            Field::new("t", timestamp_type(), true),
            Field::new("far", timestamp_type(), true),
        ]);
        let rows = RecordBatch::try_new(
            Arc::new(schema),
            vec![
                Arc::new(Int64Array::from(vec![Some(3), None, Some(-4)])),
                Arc::new(Float64Array::from(vec![1.0, f64::NAN, 2.0])),
                Arc::new(StringArray::from(vec!["b", "a", "c"])),
                Arc::new(StringArray::from(vec![
                    "b".to_owned(),
                    "a".to_owned(),
                    "z".repeat(33),
                ])),
                Arc::new(
                    TimestampMicrosecondArray::from(vec![0, 1_500_000, -1]).with_timezone("UTC"),
                ),
                Arc::new(
                    TimestampMicrosecondArray::from(vec![0, i64::MAX, 1]).with_timezone("UTC"),
                ),
            ],
        )
        .expect("well formed");
        // Batch by batch as at once.
        let mut statistics = Statistics::new(&rows.schema());
        (0..3).for_each(|row| statistics.add(&rows.slice(row, 1)));
        let statistics: Value = serde_json::from_str(&statistics.json()).expect("JSON");
        assert_eq!(
            statistics,
            json!({
                "numRecords": 3,
                "minValues": {"n": -4, "short": "a", "t": "1969-12-31T23:59:59.999999Z"},
                "maxValues": {"n": 3, "short": "c", "t": "1970-01-01T00:00:01.500000Z"},
                "nullCount": {"n": 1, "short": 0, "long": 0, "t": 0, "far": 0},
            })
        );
    }
}
