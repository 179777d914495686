//! Every limit of the monitor, reached: rows beyond it are counted and dropped, and nothing stops.

use crate::{
    ColumnBins, Monitor, MonitorError, MonitorLimits, MonitorMarks, MonitorOptions, NumericEdges,
    build_profile,
};
use forebay_core::definition::AlertThreshold;
use forebay_core::limits::{MONITOR_MAX_BINS, MONITOR_MAX_CATEGORIES, MONITOR_MAX_COLUMNS};
use forebay_core::time::{DAY_US, HOUR_US, Micros};

use crate::tests::fixtures::{
    LabelRow, definition, observe, observe_behind, observe_labels, options, predictions, reference,
    training_batch,
};

fn monitor(limits: MonitorLimits) -> Monitor {
    let options = MonitorOptions {
        limits,
        ..options()
    };
    Monitor::new(
        definition(AlertThreshold::Psi(0.2)),
        reference(3, 200),
        options,
    )
    .expect("sound")
}

#[test]
fn old_windows_go_but_their_labels_stay_in_the_total() {
    let mut monitor = monitor(MonitorLimits {
        windows: 2,
        ..MonitorLimits::default()
    });
    for day in 0..4 {
        observe(
            &mut monitor,
            &predictions(day as u64, 200, day * DAY_US, (day + 1) * DAY_US, 0.0),
        );
    }
    monitor.advance(MonitorMarks::both(5 * DAY_US));
    let late = predictions(9, 50, HOUR_US, 2 * HOUR_US, 0.0);
    observe_behind(&mut monitor, &late, Some(4 * DAY_US));
    let report = monitor.snapshot();
    let starts: Vec<Micros> = report.series[0]
        .windows
        .iter()
        .map(|w| w.start_us / DAY_US)
        .collect();
    assert_eq!(starts, [2, 3]);
    assert_eq!(report.input.too_old, 50);
    assert_eq!(
        report.series[0].overall.as_ref().map(|q| q.predictions),
        Some(800)
    );
}

#[test]
fn open_panes_and_series_are_bounded() {
    let rows = predictions(1, 200, 0, DAY_US, 0.0);
    let mut few_panes = monitor(MonitorLimits {
        open_panes: 2,
        ..MonitorLimits::default()
    });
    observe(&mut few_panes, &rows);
    let input = few_panes.snapshot().input;
    assert_eq!(input.accepted + input.overflowed, 200);
    assert!(
        input.accepted > 0 && input.overflowed > 150,
        "panes of an hour, two of them: {input:?}"
    );
    let mut one_series = monitor(MonitorLimits {
        series: 1,
        ..MonitorLimits::default()
    });
    let mut rows = rows;
    rows[150..].iter_mut().for_each(|row| row.version = 2);
    observe(&mut one_series, &rows);
    let input = one_series.snapshot().input;
    assert_eq!((input.accepted, input.overflowed), (150, 50));
}

#[test]
fn waiting_predictions_and_labels_are_bounded() {
    let limits = MonitorLimits {
        pending_predictions: 120,
        pending_labels: 30,
        ..MonitorLimits::default()
    };
    let mut monitor = monitor(limits);
    let rows = predictions(1, 200, 0, DAY_US, 0.0);
    observe(&mut monitor, &rows);
    let labels = rows.iter().take(40).map(|row| LabelRow {
        flight: row.flight.clone(),
        time: row.time + HOUR_US,
        label: Some(true),
    });
    observe_labels(&mut monitor, &labels.collect::<Vec<_>>());
    let report = monitor.snapshot();
    let fates = report.labels.expect("a monitor with labels");
    assert_eq!((fates.untracked_predictions, fates.overflowed), (80, 10));
    let quality = report.series[0]
        .overall
        .clone()
        .expect("a monitor with labels");
    assert_eq!((quality.predictions, quality.expired), (200, 80));

    let mut one_key = crate::tests::limits::monitor(MonitorLimits {
        per_key: 3,
        ..MonitorLimits::default()
    });
    let mut rows = rows;
    rows.iter_mut()
        .for_each(|row| row.flight = Some("same".into()));
    observe(&mut one_key, &rows);
    assert_eq!(
        one_key.snapshot().labels.map(|f| f.untracked_predictions),
        Some(197)
    );
}

#[test]
fn a_key_that_is_too_long_stops_nobody_else() {
    let mut monitor = monitor(MonitorLimits::default());
    let mut rows = predictions(1, 200, 0, DAY_US, 0.0);
    rows[7].flight = Some("x".repeat(5_000));
    observe(&mut monitor, &rows);
    let report = monitor.snapshot();
    assert_eq!(report.input.accepted, 200);
    assert_eq!(report.labels.map(|f| f.untracked_predictions), Some(1));
}

#[test]
fn bins_categories_and_columns_are_bounded() {
    let atoms: Vec<f64> = (0..255_000).map(|i| f64::from(i / 1_000)).collect();
    let edges = NumericEdges::from_sorted(&atoms);
    assert!(
        edges.all.len() < MONITOR_MAX_BINS,
        "{} edges",
        edges.all.len()
    );
    assert!(edges.all.len() > MONITOR_MAX_BINS / 2);
    assert!(edges.decile_edges().count() >= 9);

    let rows = predictions(1, 400, 0, DAY_US, 0.0);
    let many: Vec<&str> = std::iter::repeat_n("delay", MONITOR_MAX_COLUMNS + 1).collect();
    let error = build_profile("wide", &[training_batch(&rows)], &many, None, None)
        .expect_err("too many columns");
    assert!(
        matches!(
            error,
            MonitorError::Limit {
                limit: "MONITOR_MAX_COLUMNS",
                ..
            }
        ),
        "{error}"
    );

    let names: arrow_array::StringArray = (0..400)
        .map(|i| Some(format!("tail {}", i % 150)))
        .collect();
    let batch =
        arrow_array::RecordBatch::try_from_iter([("tail", std::sync::Arc::new(names) as _)])
            .expect("one column");
    let profile = build_profile("tails", &[batch], &["tail"], None, None).expect("text");
    let ColumnBins::Categorical {
        categories,
        others,
        others_complete,
    } = &profile.columns[0].bins
    else {
        panic!("text is categorical")
    };
    assert_eq!(
        (categories.len(), others.len(), *others_complete),
        (MONITOR_MAX_CATEGORIES, 50, true)
    );
    assert_eq!(profile.columns[0].counts.iter().sum::<u64>(), 400);
    assert_eq!(
        categories[0], "tail 0",
        "most frequent first, ties in text order"
    );
}
