//! Prediction records, labels and a reference, made from a small seeded generator. Rows are plain
//! structs until they are put into a batch, so that tests can shuffle, cut and repeat them.

use std::sync::Arc;

use crate::error::Result;
use crate::{CalibrationWindows, Monitor, MonitorOptions, ReferenceProfile, build_profile_of};
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    StructArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Fields, Schema};
use forebay_core::definition::{AlertThreshold, LabelDef, MonitorDef};
use forebay_core::memory::Budget;
use forebay_core::time::{DAY_US, HOUR_US, Micros};

pub(crate) const MODEL: &str = "late_arrival";
pub(crate) const FEATURES: [&str; 4] = ["delay", "departures", "carrier", "weekend"];
const CARRIERS: [&str; 4] = ["UA", "B6", "EV", "DL"];

/// SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Roughly normal, mean 0, standard deviation 1.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.below(i + 1);
            items.swap(i, j);
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct PredictionRow {
    pub(crate) version: i32,
    pub(crate) role: &'static str,
    pub(crate) offset: i64,
    pub(crate) time: Micros,
    pub(crate) score: f64,
    pub(crate) flight: Option<String>,
    pub(crate) delay: Option<f64>,
    pub(crate) departures: i64,
    pub(crate) carrier: Option<&'static str>,
    pub(crate) weekend: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct LabelRow {
    pub(crate) flight: Option<String>,
    pub(crate) time: Micros,
    pub(crate) label: Option<bool>,
}

/// `count` predictions evenly spread over [from, to), with `shift` added to the delay.
pub(crate) fn predictions(
    seed: u64,
    count: usize,
    from: Micros,
    to: Micros,
    shift: f64,
) -> Vec<PredictionRow> {
    let mut random = Random(seed);
    let step = (to - from) / count as Micros;
    let row = |i: usize| {
        let time = from + step * i as Micros + random.below(step.max(1) as usize) as Micros;
        PredictionRow {
            version: 1,
            role: "live",
            offset: from / HOUR_US * 10_000 + i as i64,
            time,
            score: random.unit(),
            flight: Some(format!("{from}-{i}")),
            delay: (random.below(20) != 0).then(|| random.normal() * 10.0 + shift),
            departures: random.below(12) as i64,
            carrier: Some(CARRIERS[random.below(10).min(3)]),
            weekend: random.below(7) > 4,
        }
    };
    (0..count).map(row).collect()
}

pub(crate) fn schema(with_times: bool) -> Fields {
    let mut fields = vec![
        Field::new("delay", DataType::Float64, true),
        Field::new("departures", DataType::Int64, true),
        Field::new("carrier", DataType::Utf8, true),
        Field::new("weekend", DataType::Boolean, true),
    ];
    if with_times {
        fields.push(Field::new(
            "event_time",
            forebay_core::time::timestamp_type(),
            false,
        ));
        fields.push(Field::new("predicted", DataType::Float64, false));
    }
    fields.into()
}

fn feature_arrays(rows: &[PredictionRow]) -> Vec<ArrayRef> {
    vec![
        Arc::new(Float64Array::from_iter(rows.iter().map(|r| r.delay))),
        Arc::new(Int64Array::from_iter_values(
            rows.iter().map(|r| r.departures),
        )),
        Arc::new(StringArray::from_iter(rows.iter().map(|r| r.carrier))),
        Arc::new(BooleanArray::from_iter(
            rows.iter().map(|r| Some(r.weekend)),
        )),
    ]
}

fn times(values: impl Iterator<Item = Micros>) -> TimestampMicrosecondArray {
    TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC")
}

/// A batch with the columns of prediction records that the monitor reads.
pub(crate) fn prediction_batch(rows: &[PredictionRow]) -> RecordBatch {
    let text = |value: &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(|_| value)))
    };
    let features = StructArray::new(schema(false), feature_arrays(rows), None);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("prediction_id", text("unused")),
        ("deployment", text(MODEL)),
        ("model", text(MODEL)),
        (
            "model_version",
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|r| r.version))),
        ),
        (
            "role",
            Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.role))),
        ),
        ("source_topic", text("departures")),
        (
            "source_partition",
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|_| 0))),
        ),
        (
            "source_offset",
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.offset))),
        ),
        ("event_time", Arc::new(times(rows.iter().map(|r| r.time)))),
        (
            "score",
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.score))),
        ),
        (
            "flight",
            Arc::new(StringArray::from_iter(
                rows.iter().map(|r| r.flight.as_deref()),
            )),
        ),
        ("features", Arc::new(features)),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .expect("columns are equally long")
}

/// The training set: features, event time and the model's score.
pub(crate) fn training_batch(rows: &[PredictionRow]) -> RecordBatch {
    let mut columns = feature_arrays(rows);
    columns.push(Arc::new(times(rows.iter().map(|r| r.time))));
    columns.push(Arc::new(Float64Array::from_iter_values(
        rows.iter().map(|r| r.score),
    )));
    RecordBatch::try_new(Arc::new(Schema::new(schema(true))), columns)
        .expect("columns are equally long")
}

/// A reference of `days` windows of a day with `per_day` rows each.
pub(crate) fn reference(days: i64, per_day: usize) -> ReferenceProfile {
    let rows = predictions(1, per_day * days as usize, 0, days * DAY_US, 0.0);
    let calibration = CalibrationWindows {
        time_column: "event_time",
        window_us: DAY_US,
        min_rows: 100,
    };
    build_profile(
        "quiet",
        &[training_batch(&rows)],
        &FEATURES,
        Some("predicted"),
        Some(calibration),
    )
    .expect("the training set has these columns")
}

pub(crate) fn definition(threshold: AlertThreshold) -> MonitorDef {
    MonitorDef {
        name: "late_arrival_quality".into(),
        model: MODEL.into(),
        window_us: DAY_US,
        lateness_us: HOUR_US,
        labels: Some(LabelDef {
            source: "arrivals".into(),
            using: vec!["flight".into()],
            expression: "arr_delay > 15".into(),
            within_us: DAY_US / 2,
        }),
        reference: "quiet".into(),
        threshold,
        raised_windows: 2,
        of_windows: 3,
    }
}

pub(crate) fn options() -> MonitorOptions {
    MonitorOptions {
        min_rows: 100,
        ..MonitorOptions::default()
    }
}

pub(crate) fn monitor(threshold: AlertThreshold) -> Monitor {
    Monitor::new(definition(threshold), reference(30, 600), options())
        .expect("the definition is sound")
}

/// A monitor of one boolean feature, whose reference has both of its values: a short state.
pub(crate) fn small_monitor(has_labels: bool) -> Monitor {
    let rows = predictions(1, 40, 0, DAY_US, 0.0);
    let profile = build_profile("small", &[training_batch(&rows)], &["weekend"], None, None);
    let def = definition(AlertThreshold::Psi(0.25));
    let def = MonitorDef {
        labels: def.labels.filter(|_| has_labels),
        ..def
    };
    Monitor::new(def, profile.expect("its column"), options()).expect("the definition is sound")
}

/// The arrays that `Monitor::observe_labels` takes.
pub(crate) fn label_batch(
    rows: &[LabelRow],
) -> (RecordBatch, BooleanArray, TimestampMicrosecondArray) {
    let flights: ArrayRef = Arc::new(StringArray::from_iter(
        rows.iter().map(|r| r.flight.as_deref()),
    ));
    let batch =
        RecordBatch::try_from_iter_with_nullable([("flight", flights, true)]).expect("one column");
    (
        batch,
        rows.iter().map(|r| r.label).collect(),
        times(rows.iter().map(|r| r.time)),
    )
}

pub(crate) fn observe_labels(monitor: &mut Monitor, rows: &[LabelRow]) {
    let (batch, labels, times) = label_batch(rows);
    monitor
        .observe_labels(&batch, &labels, &times, &vec![None; rows.len()])
        .expect("the label batch is sound");
}

/// Punctual predictions.
pub(crate) fn observe(monitor: &mut Monitor, rows: &[PredictionRow]) {
    observe_behind(monitor, rows, None);
}

/// Predictions of events before which their partition had come to `log_us`.
pub(crate) fn observe_behind(
    monitor: &mut Monitor,
    rows: &[PredictionRow],
    log_us: Option<Micros>,
) {
    monitor
        .observe_predictions(&prediction_batch(rows), &vec![log_us; rows.len()])
        .expect("the prediction batch is sound");
}

/// The profile of rows in memory, without a bound on it.
pub(crate) fn build_profile(
    name: &str,
    batches: &[RecordBatch],
    columns: &[&str],
    score: Option<&str>,
    calibration: Option<CalibrationWindows<'_>>,
) -> Result<ReferenceProfile> {
    let memory = Budget::whole(usize::MAX);
    build_profile_of(name, &batches, columns, score, calibration, &memory)
}
