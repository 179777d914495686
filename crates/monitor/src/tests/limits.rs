//! Every limit of the monitor, reached: rows beyond it are counted and dropped, and nothing stops.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};

use crate::{
    CalibrationWindows, ColumnBins, Monitor, MonitorError, MonitorLimits, MonitorMarks,
    MonitorOptions, NumericEdges,
};
use forebay_core::definition::AlertThreshold;
use forebay_core::limits::{
    MONITOR_MAX_BINS, MONITOR_MAX_CALIBRATION_WINDOWS, MONITOR_MAX_CATEGORIES,
    MONITOR_MAX_CATEGORY_BYTES, MONITOR_MAX_COLUMNS, MONITOR_MAX_OPEN_PANES,
    MONITOR_MAX_OTHER_VALUES, MONITOR_MAX_PENDING, MONITOR_MAX_PENDING_LABELS, MONITOR_MAX_PER_KEY,
    MONITOR_MAX_SERIES, MONITOR_MAX_WINDOWS,
};
use forebay_core::time::{DAY_US, HOUR_US, Micros};

use crate::tests::fixtures::{
    LabelRow, PredictionRow, build_profile, definition, observe, observe_behind, observe_labels,
    options, predictions, reference, training_batch,
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

/// One prediction at each of `times`.
fn at_times(times: impl IntoIterator<Item = Micros>) -> Vec<PredictionRow> {
    let row = &predictions(1, 1, 0, DAY_US, 0.0)[0];
    let at = |time| PredictionRow {
        time,
        delay: Some(time as f64),
        ..row.clone()
    };
    times.into_iter().map(at).collect()
}

#[test]
fn without_other_limits_the_named_ones_hold() {
    // Ten million rows that wait are no test: their effect is that of fewer, above.
    let limits = MonitorLimits::default();
    assert_eq!(
        (limits.pending_predictions, limits.pending_labels),
        (MONITOR_MAX_PENDING, MONITOR_MAX_PENDING_LABELS)
    );

    let mut per_key = monitor(limits);
    let mut rows = at_times(0..=MONITOR_MAX_PER_KEY as i64);
    rows.iter_mut()
        .for_each(|row| row.flight = Some("same".into()));
    observe(&mut per_key, &rows);
    let fates = per_key.snapshot().labels.expect("a monitor with labels");
    assert_eq!(fates.untracked_predictions, 1);

    let mut series = monitor(limits);
    let mut rows = at_times(0..=MONITOR_MAX_SERIES as i64);
    (1..)
        .zip(&mut rows)
        .for_each(|(version, row)| row.version = version);
    observe(&mut series, &rows);
    let input = series.snapshot().input;
    assert_eq!(
        (input.accepted, input.overflowed),
        (MONITOR_MAX_SERIES as u64, 1)
    );

    let mut panes = monitor(limits);
    let hours = 0..=MONITOR_MAX_OPEN_PANES as i64;
    observe(&mut panes, &at_times(hours.map(|hour| hour * HOUR_US)));
    let input = panes.snapshot().input;
    assert_eq!(
        (input.accepted, input.overflowed),
        (MONITOR_MAX_OPEN_PANES as u64, 1)
    );

    let mut windows = monitor(limits);
    let days = MONITOR_MAX_WINDOWS as i64 + 1;
    for day in 0..days {
        observe(&mut windows, &at_times([day * DAY_US]));
        windows.advance(MonitorMarks::both((day + 1) * DAY_US + HOUR_US));
    }
    let kept = &windows.snapshot().series[0].windows;
    assert_eq!(
        (kept.len(), kept[0].start_us),
        (MONITOR_MAX_WINDOWS, DAY_US)
    );
}

/// The profile of one text column with these values.
fn categories<'a>(values: impl IntoIterator<Item = &'a str>) -> ColumnBins {
    let values: StringArray = values.into_iter().map(Some).collect();
    let batch = RecordBatch::try_from_iter([("tail", Arc::new(values) as ArrayRef)]);
    let batch = batch.expect("one column");
    let mut profile = build_profile("tails", &[batch], &["tail"], None, None).expect("text");
    profile.columns.remove(0).bins
}

#[test]
fn long_categories_share_a_bin_and_further_values_are_listed_up_to_their_limit() {
    let fits = "a".repeat(MONITOR_MAX_CATEGORY_BYTES);
    let long = "b".repeat(MONITOR_MAX_CATEGORY_BYTES + 1);
    let ColumnBins::Categorical {
        categories: own,
        others,
        ..
    } = categories([fits.as_str(), &long])
    else {
        panic!("text is categorical")
    };
    assert_eq!((own, others.len()), (vec![fits], 1));

    let names: Vec<String> = (0..=MONITOR_MAX_CATEGORIES + MONITOR_MAX_OTHER_VALUES)
        .map(|i| i.to_string())
        .collect();
    let listed = |count: usize| match categories(names[..count].iter().map(String::as_str)) {
        ColumnBins::Categorical {
            others,
            others_complete,
            ..
        } => (others.len(), others_complete),
        ColumnBins::Numeric(_) => panic!("text is categorical"),
    };
    assert_eq!(listed(names.len() - 1), (MONITOR_MAX_OTHER_VALUES, true));
    assert_eq!(
        listed(names.len()),
        (0, false),
        "no list says less than all"
    );
}

#[test]
fn a_reference_is_calibrated_on_so_many_windows() {
    let windows = |count: u32| {
        // Two rows in each window and one behind the last: that one is not full.
        let rows = at_times((0..=2 * i64::from(count)).map(|half| half * HOUR_US / 2));
        let calibration = CalibrationWindows {
            time_column: "event_time",
            window_us: HOUR_US,
            min_rows: 1,
        };
        let batch = training_batch(&rows);
        let built = build_profile("long", &[batch], &["delay"], None, Some(calibration));
        let profile = built.expect("a numeric column");
        profile.columns[0].calibration.len()
    };
    let limit = MONITOR_MAX_CALIBRATION_WINDOWS;
    assert_eq!(windows(limit), limit as usize);
    assert_eq!(windows(limit + 1), limit as usize);
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

    let names: StringArray = (0..400)
        .map(|i| Some(format!("tail {}", i % 150)))
        .collect();
    let batch =
        RecordBatch::try_from_iter([("tail", Arc::new(names) as ArrayRef)]).expect("one column");
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
