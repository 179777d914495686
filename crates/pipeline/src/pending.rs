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
//! | 6 | DATE | 4 bytes, days |

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use forebay_core::PortError;
use forebay_core::bytes::{BytesResult, Reader, Writer};
use forebay_core::invariant;
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
    let mut w = Writer::versioned(VERSION);
    for column in columns {
        match Value::from_array(column.as_ref(), row)? {
            Value::Null => w.u8(0),
            Value::Bool(value) => {
                w.u8(1);
                w.bool(value);
            }
            Value::Int(value) => {
                w.u8(2);
                w.i64(value);
            }
            Value::Float(value) => {
                w.u8(3);
                w.f64(value);
            }
            Value::Text(value) => {
                w.u8(4);
                w.text(&value);
            }
            Value::Date(value) => {
                w.u8(6);
                w.i32(value);
            }
            Value::Timestamp(value) => {
                w.u8(5);
                w.i64(value);
            }
            Value::List(_) => {
                let message =
                    "a deployment's columns hold an array, which CREATE DEPLOYMENT refuses";
                return Err(PortError::internal(message).into());
            }
        }
    }
    Ok(w.finish())
}

/// One row for each of `pending`, with `columns`.
///
/// # Errors
/// Bytes that this format does not allow, or values of other columns:
/// [`PipelineError::PendingBytes`].
pub(crate) fn decode_rows(
    columns: &[Column],
    pending: &[Arc<PendingScore>],
) -> Result<RecordBatch, PipelineError> {
    let mut values: Vec<Vec<Value>> = vec![Vec::with_capacity(pending.len()); columns.len()];
    for score in pending {
        decode_row(columns, &score.request, &mut values).map_err(|why| {
            PipelineError::PendingBytes {
                id: score.key.id(),
                detail: why.to_string(),
            }
        })?;
    }
    invariant!(
        ColumnsAgree,
        values.iter().all(|values| values.len() == pending.len()),
        "{} requests do not fill each of {} columns",
        pending.len(),
        columns.len()
    );
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

/// Append one row's values.
fn decode_row(columns: &[Column], request: &[u8], values: &mut [Vec<Value>]) -> BytesResult<()> {
    let mut reader = Reader::versioned(request, VERSION)?;
    for (column, values) in columns.iter().zip(values) {
        let value = decode_value(&mut reader)?;
        if !fits(&value, &column.data_type) {
            return Err(format!("column '{}' is no {}", column.name, column.data_type).into());
        }
        values.push(value);
    }
    reader
        .end()
        .map_err(|_| "it has more columns than the deployment".into())
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
        | (Value::Date(_), DataType::Date32)
        | (Value::Timestamp(_), DataType::Timestamp(..)) => true,
        _ => false,
    }
}

fn decode_value(reader: &mut Reader<'_>) -> BytesResult<Value> {
    Ok(match reader.u8()? {
        0 => Value::Null,
        1 => Value::Bool(reader.u8()? == 1),
        2 => Value::Int(reader.i64()?),
        3 => Value::Float(reader.f64()?),
        4 => Value::Text(reader.text()?.into()),
        5 => Value::Timestamp(reader.i64()?),
        6 => Value::Date(reader.i32()?),
        other => return Err(format!("unknown tag {other}").into()),
    })
}

#[cfg(test)]
mod tests {
    use arrow_array::{
        BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, StringArray,
        TimestampMicrosecondArray,
    };
    use forebay_core::prediction::{PredictionKey, Role};
    use forebay_core::time::timestamp_type;
    use proptest::prelude::*;

    use super::*;

    fn pending(request: Vec<u8>) -> Arc<PendingScore> {
        let key = PredictionKey {
            deployment: "d".into(),
            model_version: 1,
            role: Role::Live,
            topic: "t".into(),
            partition: 0,
            offset: 7,
        };
        Arc::new(PendingScore {
            key,
            event_time_us: 5,
            request,
        })
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

    #[test]
    fn golden_bytes_of_a_request_and_one_of_another_version_is_refused_with_the_remedy() {
        let instants = TimestampMicrosecondArray::from(vec![i64::MAX]).with_timezone("UTC");
        let arrays: [ArrayRef; 9] = [
            Arc::new(StringArray::from(vec!["é"])),
            Arc::new(Float64Array::from(vec![-0.0])),
            Arc::new(Int64Array::from(vec![i64::MIN])),
            Arc::new(Int32Array::from(vec![-2])),
            Arc::new(BooleanArray::from(vec![true])),
            Arc::new(BooleanArray::from(vec![false])),
            Arc::new(instants),
            Arc::new(StringArray::from(vec![None::<&str>])),
            Arc::new(Date32Array::from(vec![-1])),
        ];
        let golden = "01 04 02000000 c3a9 03 0000000000000080 02 0000000000000080 \
                      02 feffffffffffffff 01 01 01 00 05 ffffffffffffff7f 00 06 ffffffff";
        let mut bytes = encode_row(&arrays, 0).expect("types of requests");
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden.replace(' ', ""));
        let types = [
            DataType::Utf8,
            DataType::Float64,
            DataType::Int64,
            DataType::Int32,
            DataType::Boolean,
            DataType::Boolean,
            timestamp_type(),
            DataType::Utf8,
            DataType::Date32,
        ];
        let columns = types.map(|data_type| Column {
            name: "c".to_owned(),
            data_type,
            nullable: true,
        });
        let read = decode_rows(&columns, &[pending(bytes.clone())]).expect("golden bytes");
        assert_eq!(
            encode_row(read.columns(), 0).expect("the same types"),
            bytes
        );
        for version in [0, VERSION + 1] {
            bytes[0] = version;
            let error = decode_rows(&columns, &[pending(bytes.clone())]).expect_err("another");
            let words = error.to_string();
            for part in [
                &*format!("version code {version}"),
                "move the state directory away",
            ] {
                assert!(words.contains(part), "{words}");
            }
        }
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
