//! The events, their archive as Parquet files, and the service over them: for an airport, the count
//! and the sum of delays of the last hour, and the request's own distance passed through.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use forebay_core::aggregate::AggregateKind;
use forebay_core::ports::{
    Archive, Beginnings, LogIdentity, RowStream, Scan, TableScan, TableSnapshot,
};
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::{Column, SourceDef, meta};
use forebay_core::time::{HOUR_US, Micros, timestamp_type};
use forebay_core::view::{AggregateSpec, ServiceSpec, ServiceView, ViewSpec, Window};
use forebay_core::{PortError, PortResult};
use forebay_testkit::MemoryTables;

pub(crate) const SOURCE: &str = "departures";
pub(crate) const TOPIC: &str = "flights";
pub(crate) const SERVICE: &str = "delays";

/// One event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) origin: &'static str,
    pub(crate) time_us: Micros,
    pub(crate) delay: f64,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// Events of three airports over some hours in two partitions; a function of the index.
pub(crate) fn events(count: i64) -> Vec<Event> {
    let airport = |n: i64| ["JFK", "LGA", "EWR"][usize::try_from(n.rem_euclid(3)).expect("0 to 2")];
    let event = |n: i64| Event {
        origin: airport(n * n),
        time_us: n * 60_000_000 + (n * 7_919_333) % 90_000_000,
        delay: [0.1, -0.0, 1e16, 0.3][usize::try_from(n % 4).expect("0 to 3")] * n as f64,
        partition: i32::try_from(n % 2).expect("0 or 1"),
        offset: n / 2,
    };
    (0..count).map(event).collect()
}

/// The value of the service: count and sum over [t - 1h, t] below the cut; None for a key without
/// an earlier event.
pub(crate) fn value(
    events: &[Event],
    origin: &str,
    at_us: Micros,
    cut: &dyn Fn(i32) -> i64,
) -> Option<(i64, Option<f64>)> {
    let seen = |e: &&Event| e.origin == origin && e.time_us <= at_us && e.offset < cut(e.partition);
    let mut inside: Vec<&Event> = events.iter().filter(seen).collect();
    if inside.is_empty() {
        return None;
    }
    inside.retain(|e| e.time_us >= at_us - HOUR_US);
    inside.sort_by_key(|e| (e.time_us, e.partition, e.offset));
    let sum = inside.iter().map(|e| e.delay).reduce(|a, b| a + b);
    Some((i64::try_from(inside.len()).expect("few"), sum))
}

pub(crate) fn applied(next: i64) -> Applied {
    let progress = PartitionProgress {
        next_offset: next,
        max_event_time_us: None,
        last: None,
    };
    Applied(
        (0..2)
            .map(|p| (TopicPartition::new(TOPIC, p), progress))
            .collect(),
    )
}

fn column(name: &str, data_type: DataType) -> Column {
    Column {
        name: name.to_owned(),
        data_type,
        nullable: true,
    }
}

pub(crate) fn source() -> Arc<SourceDef> {
    Arc::new(SourceDef::json(
        SOURCE,
        TOPIC,
        vec![
            column("origin", DataType::Utf8),
            column("dep_time", timestamp_type()),
            column("dep_delay", DataType::Float64),
        ],
        1,
    ))
}

pub(crate) fn service() -> Arc<ServiceSpec> {
    let aggregate = |name: &str, kind, data_type| AggregateSpec {
        name: name.to_owned(),
        kind,
        data_type,
        partial: 0,
        window: Window::Range {
            preceding_us: HOUR_US,
        },
    };
    let view = ViewSpec {
        id: 1,
        name: "traffic".to_owned(),
        version: 1,
        entity: "airport".to_owned(),
        source: SOURCE.to_owned(),
        key: vec![column("origin", DataType::Utf8)],
        arguments: vec![DataType::Float64],
        filters: 0,
        partials: Vec::new(),
        aggregates: vec![
            aggregate("n", AggregateKind::Count, DataType::Int64),
            aggregate("total", AggregateKind::Sum, DataType::Float64),
        ],
        ttl_us: None,
        digest: "v1".to_owned(),
    };
    Arc::new(ServiceSpec {
        name: SERVICE.to_owned(),
        version: 3,
        request: vec![
            column("airport", DataType::Utf8),
            column("distance", DataType::Float64),
        ],
        views: vec![ServiceView {
            alias: "t".to_owned(),
            view: Arc::new(view),
            key_columns: vec![0],
        }],
        features: vec![
            column("n", DataType::Int64),
            column("total", DataType::Float64),
            column("distance", DataType::Float64),
        ],
        fingerprint: "f1".to_owned(),
    })
}

/// Schema of the service's features.
pub(crate) fn feature_schema() -> SchemaRef {
    let spec = service();
    let fields = spec
        .features
        .iter()
        .map(|c| Field::new(&c.name, c.data_type.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Features of request rows, each at its instant with its own cut.
pub(crate) fn features(
    events: &[Event],
    origins: &[Option<&str>],
    distances: ArrayRef,
    at_us: &[Micros],
    cut: &dyn Fn(usize, i32) -> i64,
) -> RecordBatch {
    let values: Vec<_> = origins
        .iter()
        .zip(at_us)
        .enumerate()
        .map(|(row, (origin, at))| {
            origin.and_then(|o| value(events, o, *at, &|partition| cut(row, partition)))
        })
        .collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter(
            values.iter().map(|v| v.map(|(n, _)| n)),
        )),
        Arc::new(Float64Array::from_iter(
            values.iter().map(|v| v.and_then(|(_, total)| total)),
        )),
        distances,
    ];
    RecordBatch::try_new(feature_schema(), columns).expect("well formed")
}

/// Events as the archive of [`SOURCE`] has them, in two batches, oldest first.
pub(crate) fn event_batches(events: &[Event]) -> Vec<RecordBatch> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("origin", DataType::Utf8, true),
        Field::new("dep_time", timestamp_type(), true),
        Field::new("dep_delay", DataType::Float64, true),
        Field::new(meta::TOPIC, DataType::Utf8, false),
        Field::new(meta::PARTITION, DataType::Int32, false),
        Field::new(meta::OFFSET, DataType::Int64, false),
    ]));
    let (older, newer) = events.split_at(events.len() / 2);
    let batch = |events: &[Event]| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(
                events.iter().map(|e| e.origin),
            )),
            Arc::new(
                TimestampMicrosecondArray::from_iter_values(events.iter().map(|e| e.time_us))
                    .with_timezone("UTC"),
            ),
            Arc::new(Float64Array::from_iter_values(
                events.iter().map(|e| e.delay),
            )),
            Arc::new(StringArray::from_iter_values(events.iter().map(|_| TOPIC))),
            Arc::new(Int32Array::from_iter_values(
                events.iter().map(|e| e.partition),
            )),
            Arc::new(Int64Array::from_iter_values(
                events.iter().map(|e| e.offset),
            )),
        ];
        RecordBatch::try_new(Arc::clone(&schema), columns).expect("well formed")
    };
    vec![batch(older), batch(newer)]
}

/// An archive of fixed batches.
#[derive(Debug, Default)]
pub(crate) struct FakeArchive {
    tables: std::sync::Mutex<Vec<(String, Vec<RecordBatch>, Applied)>>,
    /// Of each table.
    pub(crate) beginnings: Beginnings,
}

impl FakeArchive {
    pub(crate) fn set(&self, name: &str, batches: Vec<RecordBatch>, applied: Applied) {
        let mut tables = self.tables.lock().expect("not poisoned");
        tables.retain(|(table, ..)| table != name);
        tables.push((name.to_owned(), batches, applied));
    }

    pub(crate) fn of_events(events: &[Event], next: i64) -> Arc<Self> {
        let archive = Self::default();
        let below: Vec<Event> = events.iter().filter(|e| e.offset < next).copied().collect();
        archive.set(SOURCE, event_batches(&below), applied(next));
        Arc::new(archive)
    }

    fn table(&self, name: &str) -> PortResult<(Vec<RecordBatch>, Applied)> {
        let tables = self.tables.lock().expect("not poisoned");
        let found = tables.iter().find(|(table, ..)| table == name);
        found
            .map(|(_, batches, applied)| (batches.clone(), applied.clone()))
            .ok_or_else(|| PortError::not_found(format!("no table `{name}`")))
    }
}

#[async_trait]
impl TableScan for FakeArchive {
    async fn scan(&self, name: &str, scan: Scan) -> PortResult<RowStream> {
        let (batches, _) = self.table(name)?;
        MemoryTables::one(name, batches).scan(name, scan).await
    }
}

#[async_trait]
impl Archive for FakeArchive {
    async fn open_table(&self, _: &str, _: SchemaRef) -> PortResult<()> {
        Err(PortError::internal("not part of this world"))
    }

    async fn begin(
        &self,
        _: &str,
        _: &Beginnings,
        _: &BTreeMap<String, LogIdentity>,
    ) -> PortResult<()> {
        Err(PortError::internal("not part of this world"))
    }

    async fn progress(&self, name: &str) -> PortResult<Applied> {
        self.snapshot(name).await.map(|s| s.applied)
    }

    async fn append(&self, _: &str, _: Vec<RecordBatch>, _: &Applied) -> PortResult<u64> {
        Err(PortError::internal("not part of this world"))
    }

    async fn snapshot(&self, name: &str) -> PortResult<TableSnapshot> {
        let (batches, applied) = self.table(name)?;
        Ok(TableSnapshot {
            id: name.to_owned(),
            version: 7,
            schema: Arc::new(Schema::empty()),
            rows: batches.iter().map(|b| b.num_rows() as u64).sum(),
            applied,
            beginnings: self.beginnings.clone(),
            logs: BTreeMap::new(),
            last: BTreeMap::new(),
        })
    }
}
