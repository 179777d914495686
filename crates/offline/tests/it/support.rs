//! Rows to append, a clock to set, and a reader of tables that goes by the log's JSON entries and
//! the Parquet reader alone.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    StructArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use forebay_core::memory::Budget;
use forebay_core::progress::{Applied, PartitionProgress, TopicPartition};
use forebay_core::source::meta;
use forebay_core::time::{Clock, Micros, PassingClock, timestamp_type};
use forebay_offline::{ArchiveSettings, DeltaArchive};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

pub(crate) const TABLE: &str = "departures";
pub(crate) const TOPIC: &str = "flights.eu";

/// A clock that tests set, and microseconds that have passed: where only the first changes, that is
/// a step.
#[derive(Debug, Default)]
pub(crate) struct FakeClock(pub(crate) AtomicI64, pub(crate) AtomicI64);

impl Clock for FakeClock {
    fn now_us(&self) -> Micros {
        self.0.load(Ordering::Relaxed)
    }
}

impl PassingClock for FakeClock {
    fn passed(&self) -> Duration {
        Duration::from_micros(self.1.load(Ordering::Relaxed).unsigned_abs())
    }
}

pub(crate) fn clock() -> Arc<FakeClock> {
    Arc::new(FakeClock(
        AtomicI64::new(1_700_000_000_000_000),
        AtomicI64::default(),
    ))
}

pub(crate) fn open(root: &Path, owner: &str) -> DeltaArchive {
    DeltaArchive::open(root, ArchiveSettings::new("prod", owner), clock()).expect("opened")
}

/// More memory than any merge asks for.
pub(crate) fn plenty() -> Arc<Budget> {
    Budget::whole(1 << 40)
}

fn nested() -> Fields {
    Fields::from(vec![
        Field::new("x", DataType::Float64, true),
        Field::new("label", DataType::Utf8, true),
    ])
}

/// Schema of the test table, a struct in it, without `_ingest_time`.
pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("origin", DataType::Utf8, false),
        Field::new("dep_time", timestamp_type(), false),
        Field::new("dep_delay", DataType::Float64, true),
        Field::new("features", DataType::Struct(nested()), false),
        Field::new(meta::TOPIC, DataType::Utf8, false),
        Field::new(meta::PARTITION, DataType::Int32, false),
        Field::new(meta::OFFSET, DataType::Int64, false),
        Field::new(meta::KAFKA_TIME, timestamp_type(), true),
        Field::new(meta::LATE, DataType::Boolean, false),
    ]))
}

/// One row, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) time_us: i64,
    pub(crate) delay_bits: Option<u64>,
}

/// The row that stands at an offset: a function of the place, so that a replay brings the same.
pub(crate) fn row_at(partition: i32, offset: i64) -> Row {
    let special = [
        f64::NAN.to_bits(),
        f64::INFINITY.to_bits(),
        (-0.0_f64).to_bits(),
        0x7ff0_0000_0000_0001,
        1,
    ];
    let delay_bits = match offset.rem_euclid(7) {
        0 => None,
        n if n <= 5 => Some(special[usize::try_from(n - 1).expect("0 to 4")]),
        _ => Some((offset as f64 * 0.1).to_bits()),
    };
    Row {
        partition,
        offset,
        time_us: (offset * 7_919).rem_euclid(1_000_003) - 500_000,
        delay_bits,
    }
}

pub(crate) fn batch(rows: &[Row]) -> RecordBatch {
    let delays: ArrayRef = Arc::new(Float64Array::from_iter(
        rows.iter().map(|r| r.delay_bits.map(f64::from_bits)),
    ));
    let labels: ArrayRef = Arc::new(StringArray::from_iter_values(
        rows.iter().map(|r| format!("o{}", r.offset)),
    ));
    let time =
        |values: Vec<i64>| Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(
            rows.iter().map(|r| format!("K{}", r.offset % 3)),
        )),
        time(rows.iter().map(|r| r.time_us).collect()),
        Arc::clone(&delays),
        Arc::new(StructArray::new(nested(), vec![delays, labels], None)),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|_| TOPIC))),
        Arc::new(Int32Array::from_iter_values(
            rows.iter().map(|r| r.partition),
        )),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.offset))),
        time(rows.iter().map(|r| r.time_us + 1).collect()),
        Arc::new(BooleanArray::from(vec![false; rows.len()])),
    ];
    RecordBatch::try_new(schema(), columns).expect("well formed")
}

/// The rows of `partition` from `from` to `to`, newest first: appends sort.
pub(crate) fn range(partition: i32, from: i64, to: i64) -> Vec<Row> {
    (from..to)
        .rev()
        .map(|offset| row_at(partition, offset))
        .collect()
}

pub(crate) fn up_to(marks: &[(i32, i64)]) -> Applied {
    let progress = |next_offset| PartitionProgress {
        next_offset,
        max_event_time_us: None,
        last: None,
    };
    Applied(
        marks
            .iter()
            .map(|(p, next)| (TopicPartition::new(TOPIC, *p), progress(*next)))
            .collect(),
    )
}

/// Data files of `table` below `root` that its log entries name, in the order of their commits.
pub(crate) fn files(root: &Path, table: &str) -> Vec<PathBuf> {
    let directory = root.join(table);
    let mut entries: Vec<PathBuf> = fs::read_dir(directory.join("_delta_log"))
        .expect("a table")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    entries.sort();
    let mut named = BTreeMap::new();
    for (order, entry) in entries.iter().enumerate() {
        for line in fs::read_to_string(entry).expect("readable").lines() {
            let action: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let path = |kind: &str| action[kind]["path"].as_str().map(str::to_owned);
            if let Some(path) = path("remove") {
                named.remove(&path);
            }
            if let Some(path) = path("add") {
                named.insert(path, order);
            }
        }
    }
    let mut named: Vec<(usize, String)> = named.into_iter().map(|(p, o)| (o, p)).collect();
    named.sort();
    named.iter().map(|(_, path)| directory.join(path)).collect()
}

/// Every row of [`TABLE`] below `root` with its `_ingest_time`, file by file, with the struct's
/// copy checked.
pub(crate) fn stored(root: &Path) -> Vec<(Row, Micros)> {
    stored_in(&files(root, TABLE))
}

/// The same of these files.
pub(crate) fn stored_in(files: &[PathBuf]) -> Vec<(Row, Micros)> {
    let mut rows = Vec::new();
    for file in files {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file).expect("there"))
            .expect("Parquet");
        for batch in reader.build().expect("readable") {
            collect(&batch.expect("readable"), &mut rows);
        }
    }
    rows
}

fn collect(batch: &RecordBatch, rows: &mut Vec<(Row, Micros)>) {
    let column = |name: &str| batch.column_by_name(name).expect(name);
    let times = column("dep_time").as_primitive::<TimestampMicrosecondType>();
    let delays = column("dep_delay").as_primitive::<Float64Type>();
    let inner = column("features")
        .as_struct()
        .column_by_name("x")
        .expect("x")
        .as_primitive::<Float64Type>();
    let partitions = column(meta::PARTITION).as_primitive::<Int32Type>();
    let offsets = column(meta::OFFSET).as_primitive::<Int64Type>();
    let ingest = column(meta::INGEST_TIME).as_primitive::<TimestampMicrosecondType>();
    let bits = |value: Option<f64>| value.map(f64::to_bits);
    for (row, delay) in delays.iter().enumerate() {
        assert_eq!(bits(delay), bits(inner.iter().nth(row).expect("as long")));
        let stored = Row {
            partition: partitions.value(row),
            offset: offsets.value(row),
            time_us: times.value(row),
            delay_bits: bits(delay),
        };
        rows.push((stored, ingest.value(row)));
    }
}

/// The rows alone, sorted by place.
pub(crate) fn by_place(root: &Path) -> Vec<Row> {
    let mut rows: Vec<Row> = stored(root).into_iter().map(|(row, _)| row).collect();
    rows.sort_by_key(|row| (row.partition, row.offset));
    rows
}

pub(crate) fn expected(ranges: &[(i32, i64)]) -> Vec<Row> {
    ranges
        .iter()
        .flat_map(|(partition, to)| (0..*to).map(|offset| row_at(*partition, offset)))
        .collect()
}
