//! Records as the decoder of their source would hand them over. Pure: which records were taken is
//! the reader's to say.

use std::sync::Arc;

use arrow_array::RecordBatch;
use forebay_core::index::RowIndex;
use forebay_core::ports::{DeadLetter, Origin, SourceBatch};
use forebay_core::progress::{RecordDigest, TopicPartition};
use forebay_core::source::SourceDef;
use forebay_core::value::{Value, array_from_values};
use forebay_core::{ErrorKind, PortError, PortResult};

use super::{Record, digest};

/// What of `taken` belongs to `source`; None where that is nothing.
pub(super) fn batch(
    source: &Arc<SourceDef>,
    taken: &[(TopicPartition, Record)],
) -> PortResult<Option<SourceBatch>> {
    let mut origin = Origin::default();
    let mut read_up_to: Vec<(TopicPartition, i64)> = Vec::new();
    let mut last_records: Vec<(TopicPartition, RecordDigest)> = Vec::new();
    let mut columns: Vec<Vec<Value>> = vec![Vec::new(); source.columns.len()];
    let mut dead_letters = Vec::new();
    for (place, record) in taken
        .iter()
        .filter(|(place, _)| *place.topic == *source.topic)
    {
        let slot = origin
            .partitions
            .iter()
            .position(|p| p == place)
            .unwrap_or_else(|| {
                origin.partitions.push(place.clone());
                read_up_to.push((place.clone(), 0));
                last_records.push((place.clone(), digest(record)));
                origin.partitions.len() - 1
            });
        read_up_to[slot].1 = record.offset + 1;
        last_records[slot].1 = digest(record);
        match &record.values {
            Ok(values) => {
                columns
                    .iter_mut()
                    .zip(values)
                    .for_each(|(column, value)| column.push(value.clone()));
                origin.partition.push(RowIndex::at(slot).number());
                origin.offset.push(record.offset);
                origin.kafka_time_us.push(record.kafka_time_us);
            }
            Err(reason) => dead_letters.push(DeadLetter {
                source: source.name.clone(),
                partition: place.clone(),
                offset: record.offset,
                kafka_time_us: record.kafka_time_us,
                key: None,
                payload: b"?".to_vec(),
                headers: Vec::new(),
                is_cut: false,
                reason,
                detail: "the test says so".to_owned(),
            }),
        }
    }
    if read_up_to.is_empty() {
        return Ok(None);
    }
    let arrays = source.columns.iter().zip(&columns);
    let arrays = arrays.map(|(column, values)| array_from_values(&column.data_type, values.iter()));
    let rows = RecordBatch::try_new(source.schema(), arrays.collect::<PortResult<Vec<_>>>()?)
        .map_err(|e| {
            PortError::with_source(ErrorKind::Internal, "records do not fit their source", e)
        })?;
    Ok(Some(SourceBatch {
        source: Arc::clone(source),
        rows,
        origin,
        dead_letters,
        read_up_to,
        last_records,
    }))
}
