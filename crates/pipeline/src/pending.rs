//! The bytes of a pending score's request: one row of columns, written in the epoch's batch and
//! read again after a crash. Format: version byte, then for each column a tag and a body, little
//! endian. Retired tags stay reserved.
//!
//! | tag | value | body |
//! |---|---|---|
//! | 0 | NULL | - |
//! | 1 | BOOLEAN | one byte |
//! | 2 | INTEGER, BIGINT | 8 bytes |
//! | 3 | DOUBLE | 8 bytes, the bits |
//! | 4 | VARCHAR | u32 length, UTF-8 |
//! | 5 | TIMESTAMP | 8 bytes, microseconds |

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use forebay_core::prediction::PendingScore;
use forebay_core::source::Column;
use forebay_core::value::{Value, array_from_values};

use crate::error::PipelineError;

const VERSION: u8 = 1;

/// Encode `row` of `columns`.
///
/// # Errors
/// A column type that no request may have.
pub fn encode_row(columns: &[ArrayRef], row: usize) -> Result<Vec<u8>, PipelineError> {
    let mut out = Vec::with_capacity(1 + columns.len() * 10);
    out.push(VERSION);
    for column in columns {
        match Value::from_array(column.as_ref(), row)? {
            Value::Null => out.push(0),
            Value::Bool(value) => out.extend_from_slice(&[1, u8::from(value)]),
            Value::Int(value) => push(&mut out, 2, &value.to_le_bytes()),
            Value::Float(value) => push(&mut out, 3, &value.to_bits().to_le_bytes()),
            Value::Text(value) => {
                push(
                    &mut out,
                    4,
                    &(u32::try_from(value.len()).unwrap_or(u32::MAX)).to_le_bytes(),
                );
                out.extend_from_slice(value.as_bytes());
            }
            Value::Timestamp(value) => push(&mut out, 5, &value.to_le_bytes()),
        }
    }
    Ok(out)
}

fn push(out: &mut Vec<u8>, tag: u8, body: &[u8]) {
    out.push(tag);
    out.extend_from_slice(body);
}

/// One row for each of `pending`, with `columns`.
///
/// # Errors
/// Bytes that this format does not allow, or values of other columns:
/// [`PipelineError::PendingBytes`].
pub fn decode_rows(
    columns: &[Column],
    pending: &[PendingScore],
) -> Result<RecordBatch, PipelineError> {
    let mut values: Vec<Vec<Value>> = vec![Vec::with_capacity(pending.len()); columns.len()];
    for score in pending {
        let damaged = |detail: &str| PipelineError::PendingBytes {
            id: score.key.id(),
            detail: detail.to_owned(),
        };
        let mut bytes = Bytes(&score.request);
        if bytes.take::<1>() != Some([VERSION]) {
            return Err(damaged("unknown version"));
        }
        for (column, values) in columns.iter().zip(&mut values) {
            let value = bytes
                .value()
                .ok_or_else(|| damaged("it ends early or has an unknown tag"))?;
            if !fits(&value, &column.data_type) {
                return Err(damaged(&format!(
                    "column '{}' is no {}",
                    column.name, column.data_type
                )));
            }
            values.push(value);
        }
        if !bytes.0.is_empty() {
            return Err(damaged("it has more columns than the deployment"));
        }
    }
    let fields: Vec<Field> = columns
        .iter()
        .map(|c| Field::new(&c.name, c.data_type.clone(), true))
        .collect();
    let arrays = columns
        .iter()
        .zip(&values)
        .map(|(column, values)| array_from_values(&column.data_type, values.iter()))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

/// Whether a column of `data_type` can hold `value`. A deployment that was defined anew may have
/// other columns than the one that wrote the row.
fn fits(value: &Value, data_type: &DataType) -> bool {
    match (value, data_type) {
        (Value::Int(value), DataType::Int32) => i32::try_from(*value).is_ok(),
        (Value::Null, _)
        | (Value::Bool(_), DataType::Boolean)
        | (Value::Int(_), DataType::Int64)
        | (Value::Float(_), DataType::Float64)
        | (Value::Text(_), DataType::Utf8)
        | (Value::Timestamp(_), DataType::Timestamp(..)) => true,
        _ => false,
    }
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    fn value(&mut self) -> Option<Value> {
        let [tag] = self.take::<1>()?;
        Some(match tag {
            0 => Value::Null,
            1 => Value::Bool(self.take::<1>()? == [1]),
            2 => Value::Int(i64::from_le_bytes(self.take()?)),
            3 => Value::Float(f64::from_bits(u64::from_le_bytes(self.take()?))),
            4 => {
                let length = u32::from_le_bytes(self.take()?) as usize;
                let (text, tail) = self.0.split_at_checked(length)?;
                self.0 = tail;
                Value::Text(std::str::from_utf8(text).ok()?.into())
            }
            5 => Value::Timestamp(i64::from_le_bytes(self.take()?)),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{BooleanArray, Float64Array, Int64Array, StringArray};
    use forebay_core::prediction::{PredictionKey, Role};
    use proptest::prelude::*;

    use super::*;

    fn pending(request: Vec<u8>) -> PendingScore {
        let key = PredictionKey {
            deployment: "d".into(),
            model_version: 1,
            role: Role::Live,
            topic: "t".into(),
            partition: 0,
            offset: 7,
        };
        PendingScore {
            key,
            event_time_us: 5,
            request,
        }
    }

    fn columns() -> Vec<Column> {
        [
            DataType::Utf8,
            DataType::Float64,
            DataType::Int64,
            DataType::Boolean,
        ]
        .into_iter()
        .enumerate()
        .map(|(i, data_type)| Column {
            name: format!("c{i}"),
            data_type,
            nullable: true,
        })
        .collect()
    }

    proptest! {
        #[test]
        fn rows_come_back_to_the_bit(text in proptest::option::of(".{0,9}"), float in any::<u64>(), int in any::<i64>()) {
            let float = f64::from_bits(float);
            let arrays: Vec<ArrayRef> = vec![
                Arc::new(StringArray::from(vec![text.as_deref()])),
                Arc::new(Float64Array::from(vec![float])),
                Arc::new(Int64Array::from(vec![int])),
                Arc::new(BooleanArray::from(vec![None])),
            ];
            let bytes = encode_row(&arrays, 0).expect("supported types");
            let rows = decode_rows(&columns(), &[pending(bytes)]).expect("own bytes");
            for (written, read) in arrays.iter().zip(rows.columns()) {
                let written = Value::from_array(written.as_ref(), 0).expect("supported");
                prop_assert!(written.same_bits(&Value::from_array(read.as_ref(), 0).expect("supported")));
            }
        }

        #[test]
        fn rows_of_other_columns_are_named(int in any::<i64>(), wanted in 0_usize..4) {
            let bytes = encode_row(&[Arc::new(Int64Array::from(vec![int])) as ArrayRef], 0).expect("supported");
            let column = &columns()[wanted..=wanted];
            match decode_rows(column, &[pending(bytes)]) {
                Ok(rows) => prop_assert_eq!(rows.column(0).data_type(), &DataType::Int64),
                Err(error) => prop_assert!(matches!(error, PipelineError::PendingBytes { .. }), "{}", error),
            }
        }

        #[test]
        fn hostile_bytes_are_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _outcome = decode_rows(&columns(), &[pending(bytes)]);
        }
    }
}
