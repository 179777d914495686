//! The sources of a world, and the columns of an event. Data only: where records lie and what
//! becomes of them is the world's.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::DataType;
use forebay_core::format::SourceFormat;
use forebay_core::prediction::column;
use forebay_core::source::{Column, SourceDef};
use forebay_core::time::{Micros, timestamp_type};
use forebay_core::value::Value;
use forebay_testkit::column as column_of;

use crate::world::{DELAY_US, PREDICTIONS};

/// A source of JSON with these columns; `time` is its event time.
///
/// # Panics
/// `time` is none of them.
pub fn source(name: &str, topic: &str, columns: Vec<Column>, time: &str) -> Arc<SourceDef> {
    Arc::new(SourceDef {
        name: name.to_owned(),
        time_column: columns
            .iter()
            .position(|c| c.name == time)
            .expect("the time column is one of them"),
        columns,
        watermark_delay_us: DELAY_US,
        idle_timeout_us: forebay_core::limits::IDLE_TIMEOUT_US,
        event_future_max_us: forebay_core::limits::EVENT_FUTURE_MAX_US,
        topic: topic.to_owned(),
        format: SourceFormat::json(),
        epoch_units: BTreeMap::new(),
        domains: BTreeMap::new(),
    })
}

/// A source of events: `k`, `ts`, `x`, `n`.
pub fn event_source(name: &str, topic: &str) -> Arc<SourceDef> {
    let columns = vec![
        column_of("k", DataType::Utf8, true),
        column_of("ts", timestamp_type(), false),
        column_of("x", DataType::Float64, true),
        column_of("n", DataType::Int64, false),
    ];
    source(name, topic, columns, "ts")
}

/// The predictions that come back on `topic`.
#[must_use]
pub fn prediction_source(topic: &str) -> Arc<SourceDef> {
    let columns = vec![
        column_of(column::PREDICTION_ID, DataType::Utf8, false),
        column_of(column::DEPLOYMENT, DataType::Utf8, false),
        column_of(column::MODEL, DataType::Utf8, false),
        column_of(column::MODEL_VERSION, DataType::Int32, false),
        column_of(column::ROLE, DataType::Utf8, false),
        column_of(column::SOURCE_TOPIC, DataType::Utf8, false),
        column_of(column::SOURCE_PARTITION, DataType::Int32, false),
        column_of(column::SOURCE_OFFSET, DataType::Int64, false),
        column_of(column::EVENT_TIME, timestamp_type(), false),
        column_of(column::SCORE, DataType::Float64, false),
        column_of("n", DataType::Int64, true),
    ];
    source(PREDICTIONS, topic, columns, column::EVENT_TIME)
}

/// What became of events: `n`, `ts`, `y`.
pub(crate) fn label_source(name: &str, topic: &str) -> Arc<SourceDef> {
    let columns = vec![
        column_of("n", DataType::Int64, true),
        column_of("ts", timestamp_type(), false),
        column_of("y", DataType::Boolean, true),
    ];
    source(name, topic, columns, "ts")
}

/// An event's columns.
pub fn event(key: Option<&str>, time_us: Micros, x: Option<f64>, number: i64) -> Vec<Value> {
    let key = key.map_or(Value::Null, |key| Value::Text(key.into()));
    vec![
        key,
        Value::Timestamp(time_us),
        x.map_or(Value::Null, Value::Float),
        Value::Int(number),
    ]
}
