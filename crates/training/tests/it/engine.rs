//! An engine that reads the archive's tables whole and counts by brute force, with the cut of each
//! spine row.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_schema::{Field, Schema};
use async_trait::async_trait;
use forebay_core::PortResult;
use forebay_core::memory::{Budget, Part};
use forebay_core::ports::{Known, PointInTime, Scan, SpineAnswer, TableScan};
use forebay_core::progress::TopicPartition;
use forebay_core::source::meta;
use futures::TryStreamExt;

use crate::world::{Event, SOURCE, TOPIC, features};

#[derive(Debug)]
pub(crate) struct FakeEngine;

/// A [`FakeEngine`] that notes what is held of `budget` while it computes.
#[derive(Debug)]
pub(crate) struct WatchingEngine {
    pub(crate) budget: Arc<Budget>,
    pub(crate) held_bytes: Arc<AtomicUsize>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl PointInTime for WatchingEngine {
    async fn training_set(
        &self,
        service: &str,
        spine: RecordBatch,
        time_column: &str,
        tables: &dyn TableScan,
        known: Known,
    ) -> PortResult<SpineAnswer> {
        let held = self.budget.used_bytes(Part::PointInTime);
        self.held_bytes.store(held, Ordering::Relaxed);
        FakeEngine
            .training_set(service, spine, time_column, tables, known)
            .await
    }
}

#[async_trait]
impl PointInTime for FakeEngine {
    async fn training_set(
        &self,
        _service: &str,
        spine: RecordBatch,
        time_column: &str,
        tables: &dyn TableScan,
        known: Known,
    ) -> PortResult<SpineAnswer> {
        let rows = tables.scan(SOURCE, Scan::default()).await?;
        let batches: Vec<RecordBatch> = rows.try_collect().await?;
        let events: Vec<Event> = batches.iter().flat_map(read).collect();
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
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns);
        Ok(SpineAnswer {
            rows: rows.expect("well formed"),
            faults: Vec::new(),
            left_out: Vec::new(),
        })
    }
}

fn read(batch: &RecordBatch) -> Vec<Event> {
    let column = |name: &str| batch.column_by_name(name).expect("an event's");
    let origins = column("origin").as_string::<i32>();
    let times = column("dep_time").as_primitive::<TimestampMicrosecondType>();
    let delays = column("dep_delay").as_primitive::<Float64Type>();
    let partitions = column(meta::PARTITION).as_primitive::<Int32Type>();
    let offsets = column(meta::OFFSET).as_primitive::<Int64Type>();
    let event = |row: usize| {
        let known = ["JFK", "LGA", "EWR"]
            .into_iter()
            .find(|o| *o == origins.value(row));
        Event {
            origin: known.expect("one of three"),
            time_us: times.value(row),
            delay: delays.value(row),
            partition: partitions.value(row),
            offset: offsets.value(row),
        }
    };
    (0..batch.num_rows()).map(event).collect()
}
