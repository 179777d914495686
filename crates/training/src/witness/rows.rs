//! Rows as what they are compared by: one digest a row, over the bits of its columns, so that the
//! archived form and the decoded form of a million records fit into memory side by side; and the
//! places of archived rows.

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, DataType};
use forebay_core::PortError;
use forebay_core::aggregate::write_items;
use forebay_core::invariant;
use forebay_core::progress::TopicPartition;
use forebay_core::source::meta;
use forebay_core::value::Value;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::TrainingError;

/// Seed of a NULL: no value has its digest but by chance.
const NULL_SEED: u64 = 0x6e75_6c6c;

/// One digest for each row of `batch`, over `columns` in their order.
///
/// # Errors
/// A column is missing, or has a type that cannot be written as text.
pub(super) fn digests(batch: &RecordBatch, columns: &[&str]) -> Result<Vec<u64>, TrainingError> {
    let mut digests = vec![0_u64; batch.num_rows()];
    for name in columns {
        let column = batch.column_by_name(name).ok_or_else(|| lacks(name))?;
        fold(&mut digests, column.as_ref())
            .map_err(TrainingError::arrow("write a value as text"))?;
    }
    Ok(digests)
}

/// Take the values of `column` into the digests of its rows.
fn fold(digests: &mut [u64], column: &dyn Array) -> Result<(), ArrowError> {
    let mut take = |row: usize, bytes: Option<&[u8]>| {
        let digest = &mut digests[row];
        *digest = match bytes {
            Some(bytes) => xxh3_64_with_seed(bytes, *digest),
            None => xxh3_64_with_seed(&[], *digest ^ NULL_SEED),
        };
    };
    macro_rules! fixed {
        ($array:expr) => {
            for (row, value) in $array.iter().enumerate() {
                take(
                    row,
                    value
                        .map(|value| value.to_le_bytes())
                        .as_ref()
                        .map(|b| &b[..]),
                );
            }
        };
    }
    match column.data_type() {
        DataType::Float64 => fixed!(column.as_primitive::<Float64Type>()),
        DataType::Int64 => fixed!(column.as_primitive::<Int64Type>()),
        DataType::Int32 => fixed!(column.as_primitive::<Int32Type>()),
        DataType::Date32 => fixed!(column.as_primitive::<Date32Type>()),
        DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, _) => {
            fixed!(column.as_primitive::<TimestampMicrosecondType>());
        }
        DataType::Utf8 => {
            for (row, text) in column.as_string::<i32>().iter().enumerate() {
                take(row, text.map(str::as_bytes));
            }
        }
        DataType::List(_) => {
            for row in 0..column.len() {
                let value = Value::from_array(column, row);
                let value = value.map_err(|e| ArrowError::ExternalError(Box::new(e)))?;
                let mut bytes = Vec::new();
                if let Value::List(items) = &value {
                    write_items(&mut bytes, items);
                }
                take(row, (value != Value::Null).then_some(&bytes[..]));
            }
        }
        _ => {
            let formatter = ArrayFormatter::try_new(column, &FormatOptions::default())?;
            for row in 0..column.len() {
                let text = formatter.value(row).try_to_string()?;
                take(row, column.is_valid(row).then_some(text.as_bytes()));
            }
        }
    }
    Ok(())
}

/// Where the rows of an archived batch stand in their logs.
pub(super) struct Places<'a> {
    topic: &'a StringArray,
    partition: &'a Int32Array,
    pub(super) offset: &'a Int64Array,
}

impl<'a> Places<'a> {
    pub(super) fn of(batch: &'a RecordBatch) -> Result<Self, TrainingError> {
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| lacks(name));
        let wrong =
            || TrainingError::Answer("archived rows say their places in other types".into());
        Ok(Self {
            topic: column(meta::TOPIC)?
                .as_string_opt::<i32>()
                .ok_or_else(wrong)?,
            partition: column(meta::PARTITION)?
                .as_primitive_opt::<Int32Type>()
                .ok_or_else(wrong)?,
            offset: column(meta::OFFSET)?
                .as_primitive_opt::<Int64Type>()
                .ok_or_else(wrong)?,
        })
    }

    /// Runs of rows of one partition: the partition, and first and one past the last row.
    pub(super) fn runs(&self) -> Vec<(TopicPartition, usize, usize)> {
        let rows = self.offset.len();
        let same = |a: usize, b: usize| {
            self.partition.value(a) == self.partition.value(b)
                && self.topic.value(a) == self.topic.value(b)
        };
        let mut runs = Vec::new();
        let mut from = 0;
        for row in 1..=rows {
            if row == rows || !same(from, row) {
                let place = TopicPartition::new(self.topic.value(from), self.partition.value(from));
                runs.push((place, from, row));
                from = row;
            }
        }
        let lengths = runs.iter().map(|(_, from, to)| to - from);
        invariant!(
            PartsMakeTheWhole,
            lengths.sum::<usize>() == rows,
            "{} runs of {rows} rows",
            runs.len()
        );
        runs
    }
}

fn lacks(column: &str) -> TrainingError {
    TrainingError::Port(PortError::internal(format!(
        "archived rows have no column '{column}'; was the table written by Forebay?"
    )))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, BooleanArray, Float64Array};

    use super::*;

    #[test]
    fn rows_that_differ_in_a_bit_have_other_digests() {
        let columns: [(&str, ArrayRef); 3] = [
            (
                "a",
                Arc::new(Float64Array::from(vec![
                    Some(0.0),
                    Some(-0.0),
                    None,
                    Some(0.0),
                ])),
            ),
            (
                "b",
                Arc::new(BooleanArray::from(vec![true, true, true, false])),
            ),
            ("c", Arc::new(StringArray::from(vec!["x", "x", "x", "x"]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
        let of = |columns: &[&str]| digests(&batch, columns).expect("known columns");
        let all = of(&["a", "b", "c"]);
        for row in 1..4 {
            assert_ne!(all[0], all[row], "row {row}");
        }
        assert_eq!(of(&["c"])[0], of(&["c"])[3]);
        assert!(digests(&batch, &["d"]).is_err());
    }
}
