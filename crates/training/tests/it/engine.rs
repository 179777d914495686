//! An engine that reads the archive's files whole and counts by brute force, with the cut of each
//! spine row.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_schema::{Field, Schema};
use async_trait::async_trait;
use forebay_core::PortResult;
use forebay_core::ports::{Known, PointInTime, TableInput};
use forebay_core::progress::TopicPartition;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::world::{Event, SOURCE, TOPIC, features};

#[derive(Debug)]
pub(crate) struct FakeEngine;

#[async_trait]
impl PointInTime for FakeEngine {
    async fn training_set(
        &self,
        _service: &str,
        spine: RecordBatch,
        time_column: &str,
        tables: &BTreeMap<String, TableInput>,
        known: Known,
    ) -> PortResult<RecordBatch> {
        let TableInput::Parquet(files) = &tables[SOURCE] else {
            panic!("files only")
        };
        let events: Vec<Event> = files.iter().flat_map(|file| read(file)).collect();
        let at = spine
            .column_by_name(time_column)
            .expect("time")
            .as_primitive::<TimestampMicrosecondType>();
        let origins: Vec<Option<&str>> = spine
            .column_by_name("airport")
            .expect("key")
            .as_string::<i32>()
            .iter()
            .collect();
        let distances = Arc::clone(spine.column_by_name("distance").expect("distance"));
        let cut = |row: usize, partition: i32| match &known {
            Known::All => i64::MAX,
            Known::Applied { cuts, index } => {
                cuts[index[0][row] as usize].next_offset(&TopicPartition::new(TOPIC, partition))
            }
        };
        let features = features(&events, &origins, distances, at.values(), &cut);
        let mut fields: Vec<Arc<Field>> = spine.schema().fields().iter().cloned().collect();
        fields.extend(features.schema().fields().iter().cloned());
        let columns = spine
            .columns()
            .iter()
            .chain(features.columns())
            .cloned()
            .collect();
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("well formed"))
    }
}

fn read(file: &std::path::Path) -> Vec<Event> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file).expect("there"))
        .expect("Parquet");
    let mut events = Vec::new();
    for batch in reader.build().expect("readable") {
        let batch = batch.expect("readable");
        let origin = batch.column(0).as_string::<i32>();
        for row in 0..batch.num_rows() {
            let known = ["JFK", "LGA", "EWR"]
                .into_iter()
                .find(|o| *o == origin.value(row));
            events.push(Event {
                origin: known.expect("one of three"),
                time_us: batch
                    .column(1)
                    .as_primitive::<TimestampMicrosecondType>()
                    .value(row),
                delay: batch.column(2).as_primitive::<Float64Type>().value(row),
                partition: batch.column(3).as_primitive::<Int32Type>().value(row),
                offset: batch.column(4).as_primitive::<Int64Type>().value(row),
            });
        }
    }
    assert!(events.iter().all(|e| e.offset >= 0));
    events
}
