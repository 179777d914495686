//! Predictions and dead letters in a form that tests can read: JSON with timestamps as their
//! microseconds. The real encoder is `kafka`'s, which this crate does not know.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field, Schema};
use forebay_core::ports::DeadLetter;
use forebay_core::source::{SourceDef, meta};
use forebay_core::value::Value;
use forebay_core::{ErrorKind, PortError, PortResult};
use forebay_pipeline::prediction::RecordEncoder;
use serde_json::{Map, Value as Json};
use std::sync::Arc;

/// Predictions and dead letters as JSON.
#[derive(Debug)]
pub struct JsonEncoder;

impl RecordEncoder for JsonEncoder {
    fn encode(&self, rows: &RecordBatch) -> PortResult<Vec<Vec<u8>>> {
        let whole = StructArray::from(rows.clone());
        (0..rows.num_rows())
            .map(|row| Ok(object(&whole, row)?.to_string().into_bytes()))
            .collect()
    }
}

fn object(columns: &StructArray, row: usize) -> PortResult<Json> {
    let mut object = Map::new();
    for (field, column) in columns.fields().iter().zip(columns.columns()) {
        let value = match column.as_struct_opt() {
            Some(inner) => self::object(inner, row)?,
            None => cell(&Value::from_array(column.as_ref(), row)?),
        };
        object.insert(field.name().clone(), value);
    }
    Ok(Json::Object(object))
}

fn cell(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => (*value).into(),
        Value::Date(days) => (*days).into(),
        Value::Int(value) | Value::Timestamp(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::Text(value) => value.as_ref().into(),
        Value::List(items) => items.iter().map(cell).collect::<Vec<Json>>().into(),
    }
}

/// A record as the decoder of `source` would read it.
pub fn decode(source: &SourceDef, payload: &[u8]) -> Vec<Value> {
    let json: Json = serde_json::from_slice(payload).expect("the encoder writes JSON");
    let value = |name: &str, data_type: &DataType| match (&json[name], data_type) {
        (Json::Null, _) => Value::Null,
        (Json::String(text), DataType::Utf8) => Value::Text(text.as_str().into()),
        (Json::Number(number), DataType::Date32) => {
            let days = number.as_i64().and_then(|days| i32::try_from(days).ok());
            Value::Date(days.expect("a day"))
        }
        (Json::Number(number), DataType::Timestamp(..)) => {
            Value::Timestamp(number.as_i64().expect("whole"))
        }
        (Json::Number(number), DataType::Float64) => {
            Value::Float(number.as_f64().expect("a number"))
        }
        (Json::Number(number), _) => Value::Int(number.as_i64().expect("whole")),
        (other, _) => panic!("{other} in column {name}"),
    };
    source
        .columns
        .iter()
        .map(|c| value(&c.name, &c.data_type))
        .collect()
}

/// Rows of the dead-letter table.
pub fn dead_letter_rows(letters: &[DeadLetter]) -> PortResult<RecordBatch> {
    let text = |value: &dyn Fn(&DeadLetter) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(letters.iter().map(value)))
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("source", text(&|l| l.source.clone())),
        (meta::TOPIC, text(&|l| l.partition.topic.to_string())),
        (
            meta::PARTITION,
            Arc::new(arrow_array::Int32Array::from_iter_values(
                letters.iter().map(|l| l.partition.partition),
            )),
        ),
        (
            meta::OFFSET,
            Arc::new(arrow_array::Int64Array::from_iter_values(
                letters.iter().map(|l| l.offset),
            )),
        ),
        (
            "payload",
            text(&|l| String::from_utf8_lossy(&l.payload).into_owned()),
        ),
        ("reason", text(&|l| l.reason.to_owned())),
        ("detail", text(&|l| l.detail.clone())),
    ];
    let fields = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), false));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new(
        schema,
        columns.into_iter().map(|(_, column)| column).collect(),
    )
    .map_err(|e| PortError::with_source(ErrorKind::Internal, "dead letters do not fit", e))
}
