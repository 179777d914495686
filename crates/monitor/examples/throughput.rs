//! How many predictions a second one core counts, at 20 numeric features, with and without labels:
//! `cargo run --release -p forebay-monitor --example throughput`. Batches are made beforehand, so
//! that only the monitor is measured.
#![expect(clippy::print_stdout, reason = "an example prints what it measured")]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Fields};
use forebay_core::definition::{AlertThreshold, LabelDef, MonitorDef};
use forebay_core::time::{DAY_US, HOUR_US, Micros};
use forebay_monitor::{Monitor, MonitorOptions, ReferenceProfile, build_profile};

const FEATURES: usize = 20;
const BATCH_ROWS: i64 = 8_192;
const BATCHES: i64 = 60;
/// Predictions a second of event time.
const RATE: i64 = 10;

fn value(row: i64, column: usize) -> f64 {
    let mixed = (row as u64 ^ (column as u64) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

fn batch(first: i64) -> Result<RecordBatch, Box<dyn Error>> {
    let rows = first..first + BATCH_ROWS;
    let text = |value: &'static str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.clone().map(|_| value)))
    };
    let fields: Fields = (0..FEATURES)
        .map(|i| Field::new(format!("f{i}"), DataType::Float64, true))
        .collect();
    let numbers = |column: usize| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(
            rows.clone().map(|row| value(row, column)),
        ))
    };
    let features = StructArray::try_new(fields, (0..FEATURES).map(numbers).collect(), None)?;
    let times =
        TimestampMicrosecondArray::from_iter_values(rows.clone().map(|row| row * 1_000_000 / RATE));
    Ok(RecordBatch::try_from_iter([
        ("deployment", text("d")),
        ("model", text("m")),
        (
            "model_version",
            Arc::new(Int32Array::from_iter_values(rows.clone().map(|_| 1))) as ArrayRef,
        ),
        ("role", text("live")),
        ("source_topic", text("t")),
        (
            "source_partition",
            Arc::new(Int32Array::from_iter_values(rows.clone().map(|_| 0))),
        ),
        (
            "source_offset",
            Arc::new(Int64Array::from_iter_values(rows.clone())),
        ),
        ("event_time", Arc::new(times.with_timezone("UTC"))),
        ("score", numbers(FEATURES)),
        ("id", Arc::new(Int64Array::from_iter_values(rows))),
        ("features", Arc::new(features)),
    ])?)
}

fn definition(labels: bool) -> MonitorDef {
    MonitorDef {
        name: "bench".into(),
        model: "m".into(),
        window_us: DAY_US,
        lateness_us: HOUR_US,
        labels: labels.then(|| LabelDef {
            source: "labels".into(),
            using: vec!["id".into()],
            expression: "true".into(),
            within_us: HOUR_US,
        }),
        reference: "bench".into(),
        threshold: AlertThreshold::FalseAlarmRate(0.01),
        raised_windows: 2,
        of_windows: 3,
    }
}

fn measure(
    name: &str,
    labels: bool,
    profile: &ReferenceProfile,
    batches: &[RecordBatch],
) -> Result<(), Box<dyn Error>> {
    let mut monitor = Monitor::new(
        definition(labels),
        profile.clone(),
        MonitorOptions::default(),
    )?;
    let start = Instant::now();
    for (index, batch) in batches.iter().enumerate() {
        monitor.observe_predictions(batch)?;
        monitor.advance(index as Micros * BATCH_ROWS * 1_000_000 / RATE);
    }
    let seconds = start.elapsed().as_secs_f64();
    let rows = monitor.snapshot().input.accepted;
    println!(
        "{name}: {rows} rows x {FEATURES} features in {seconds:.3} s = {:.0} rows/s",
        rows as f64 / seconds
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let batches = (0..BATCHES)
        .map(|i| batch(i * BATCH_ROWS))
        .collect::<Result<Vec<_>, _>>()?;
    let names: Vec<String> = (0..FEATURES).map(|i| format!("f{i}")).collect();
    let columns: Vec<&str> = names.iter().map(String::as_str).collect();
    let features = batches[0]
        .column(10)
        .as_any()
        .downcast_ref::<StructArray>()
        .ok_or("features are a struct")?;
    let profile = build_profile(
        "bench",
        &[RecordBatch::from(features)],
        &columns,
        None,
        None,
    )?;
    measure("drift", false, &profile, &batches)?;
    measure("drift and label join", true, &profile, &batches)
}
