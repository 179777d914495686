//! The dead-letter table: the raw bytes of every record that could not become a row, and why.
//! `kafka` finds them, `pipeline` carries them and appends what [`dead_letter_batch`] makes; people
//! read them with any Delta reader.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use forebay_core::limits::DEAD_LETTER_PAYLOAD_MAX_BYTES;
use forebay_core::ports::DeadLetter;
use forebay_core::source::meta;
use forebay_core::time::timestamp_type;
use forebay_core::{ErrorKind, PortError, PortResult};

/// Columns of the dead-letter table but `_ingest_time`, which the archive adds.
#[must_use]
pub fn dead_letter_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("source", DataType::Utf8, false),
        Field::new(meta::TOPIC, DataType::Utf8, false),
        Field::new(meta::PARTITION, DataType::Int32, false),
        Field::new(meta::OFFSET, DataType::Int64, false),
        Field::new(meta::KAFKA_TIME, timestamp_type(), true),
        Field::new("payload", DataType::Binary, false),
        Field::new("reason", DataType::Utf8, false),
        Field::new("detail", DataType::Utf8, false),
    ]))
}

/// Dead letters as rows of [`dead_letter_schema`]. Payloads are cut at
/// [`DEAD_LETTER_PAYLOAD_MAX_BYTES`].
///
/// # Errors
/// More text than one Arrow batch holds.
pub fn dead_letter_batch(letters: &[DeadLetter]) -> PortResult<RecordBatch> {
    let payload =
        |l: &DeadLetter| l.payload[..l.payload.len().min(DEAD_LETTER_PAYLOAD_MAX_BYTES)].to_vec();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(
            letters.iter().map(|l| &l.source),
        )),
        Arc::new(StringArray::from_iter_values(
            letters.iter().map(|l| &*l.partition.topic),
        )),
        Arc::new(Int32Array::from_iter_values(
            letters.iter().map(|l| l.partition.partition),
        )),
        Arc::new(Int64Array::from_iter_values(
            letters.iter().map(|l| l.offset),
        )),
        Arc::new(
            TimestampMicrosecondArray::from_iter(letters.iter().map(|l| l.kafka_time_us))
                .with_timezone("UTC"),
        ),
        Arc::new(BinaryArray::from_iter_values(letters.iter().map(payload))),
        Arc::new(StringArray::from_iter_values(
            letters.iter().map(|l| l.reason),
        )),
        Arc::new(StringArray::from_iter_values(
            letters.iter().map(|l| &l.detail),
        )),
    ];
    RecordBatch::try_new(dead_letter_schema(), columns).map_err(|e| {
        PortError::with_source(
            ErrorKind::Internal,
            "dead letters do not fit their table",
            e,
        )
    })
}
