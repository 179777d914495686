//! The monitor of a world: it watches the one model, by its score alone, and joins labels that come
//! on a topic of their own. Windows and horizons are short, so that many close while a seed is
//! played.

use arrow_array::{Float64Array, RecordBatch};
use forebay_control::MonitorParts;
use forebay_core::definition::{AlertThreshold, LabelDef, MonitorDef};
use forebay_core::memory::Budget;
use forebay_core::time::{MINUTE_US, Micros, SECOND_US};
use forebay_core::value::Value;
use forebay_core::{PortError, PortResult};
use forebay_monitor::{
    LabelFeed, MonitorOptions, ReferenceProfile, WatchedDeployment, build_profile_of,
};
use forebay_testkit::{PlainLabel, Random};
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::deployed::Routes;
use crate::world::{PREDICTIONS, World};

/// The source of labels.
pub const LABELS: &str = "labels";
/// Where they lie.
pub const LABELS_TOPIC: &str = "topic.labels";
/// Partitions of that.
pub(crate) const LABEL_PARTITIONS: usize = 2;
/// `WINDOW INTERVAL '2' MINUTE`.
pub const WINDOW_US: Micros = 2 * MINUTE_US;
/// `LATENESS INTERVAL '2' SECOND`.
pub const LATENESS_US: Micros = 2 * SECOND_US;
/// `WITHIN INTERVAL '1' MINUTE`.
pub const WITHIN_US: Micros = MINUTE_US;

/// Where the one edge between the two bins of the reference lies.
pub const SPLIT_SCORE: f64 = 100.0;
/// Scores of the reference up to it.
pub(crate) const REFERENCE_LOW: u64 = 901;
/// Scores above it.
pub(crate) const REFERENCE_HIGH: u64 = 100;
/// The population stability index above which scores have drifted: about half of them high.
pub(crate) const PSI_LIMIT: f64 = 1.0;
/// Scores without which a window says nothing.
pub(crate) const MIN_ROWS: u64 = 5;

/// The monitor, as its definition would bind it.
///
/// # Errors
/// The definition is contradictory.
pub fn parts(world: &World, routes: Routes) -> PortResult<MonitorParts> {
    let def = MonitorDef {
        name: "quality".to_owned(),
        model: "model".to_owned(),
        window_us: WINDOW_US,
        lateness_us: LATENESS_US,
        labels: Some(LabelDef {
            source: LABELS.to_owned(),
            using: vec!["n".to_owned()],
            expression: "y".to_owned(),
            within_us: WITHIN_US,
        }),
        reference: "reference".to_owned(),
        threshold: AlertThreshold::Psi(PSI_LIMIT),
        raised_windows: 1,
        of_windows: world.setup.alarm_windows,
    };
    let watched = WatchedDeployment {
        deployment: "scorer".to_owned(),
        scored: Arc::clone(&world.sources[0]),
        predictions: PREDICTIONS.to_owned(),
        versions: BTreeSet::from([routes.live]),
    };
    let labels = LabelFeed {
        source: Arc::clone(&world.sources[2]),
        expression: Arc::new(PlainLabel::new("y")),
    };
    let options = MonitorOptions {
        min_rows: MIN_ROWS,
        ..MonitorOptions::default()
    };
    MonitorParts::new(def, reference()?, vec![watched], Some(labels), options)
}

/// A reference with two bins, whatever its quantiles: infinite scores make no edge, so that the one
/// finite score alone does.
fn reference() -> PortResult<ReferenceProfile> {
    let all = 0..REFERENCE_LOW + REFERENCE_HIGH;
    let score = |number: u64| match number + 1 {
        number if number < REFERENCE_LOW => f64::NEG_INFINITY,
        REFERENCE_LOW => SPLIT_SCORE,
        _ => f64::INFINITY,
    };
    let scores: Float64Array = all.map(|number| Some(score(number))).collect();
    let rows = RecordBatch::try_from_iter([("score", Arc::new(scores) as _)]);
    let rows = rows.map_err(|error| PortError::internal(error.to_string()))?;
    let (rows, memory) = ([rows], Budget::whole(usize::MAX));
    let built = build_profile_of(
        "reference",
        &rows.as_slice(),
        &[],
        Some("score"),
        None,
        &memory,
    );
    Ok(built?)
}

/// Labels of the event `number` at `time_us`: early, in time, late, twice, NULL, or none.
pub(crate) fn append_labels(world: &World, random: &mut Random, number: i64, time_us: Micros) {
    for _ in 0..random.below(3) {
        let after = i64::try_from(random.below(150)).expect("few") * SECOND_US;
        let label = [Value::Bool(true), Value::Bool(false), Value::Null];
        let label = label[random.below(5).min(2)].clone();
        let time = Value::Timestamp(time_us - 30 * SECOND_US + after);
        let partition = random.below(LABEL_PARTITIONS);
        let values = vec![Value::Int(number), time, label];
        world.log.append(LABELS_TOPIC, partition, Ok(values));
    }
}
