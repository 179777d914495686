//! The monitor end to end: windows close behind the watermark, drift raises an alarm after k of m
//! windows and no sooner, labels arrive late, are corrected and expire, repeats count once, and
//! alerts are CloudEvents with a stable id.

use std::collections::BTreeSet;

use crate::{
    ALERT_TOPIC, Calibration, ColumnReport, Monitor, MonitorError, MonitorEvent, MonitorMarks,
    MonitorReport, ReferenceProfile, Verdict, WindowReport, WindowState,
};
use forebay_core::bytes::Reader;
use forebay_core::definition::AlertThreshold;
use forebay_core::prediction::Role;
use forebay_core::time::{DAY_US, HOUR_US, MINUTE_US, Micros};
use serde_json::Value;

use crate::state::{read_monitor, write_monitor};
use crate::tests::fixtures::{
    LabelRow, PredictionRow, definition, label_batch, monitor, observe, observe_behind,
    observe_labels, options, prediction_batch, predictions, reference,
};

const RATE: AlertThreshold = AlertThreshold::FalseAlarmRate(0.01);

fn day(index: i64, shift: f64) -> Vec<PredictionRow> {
    predictions(
        100 + index as u64,
        600,
        index * DAY_US,
        (index + 1) * DAY_US,
        shift,
    )
}

fn column<'a>(window: &'a WindowReport, name: &str) -> &'a ColumnReport {
    window
        .columns
        .iter()
        .find(|c| c.column == name)
        .expect("a column of the reference")
}

fn only(report: &MonitorReport) -> &[WindowReport] {
    assert_eq!(report.series.len(), 1);
    &report.series[0].windows
}

fn alarms(events: &[MonitorEvent]) -> Vec<(String, bool, Micros)> {
    let alarm = |event: &MonitorEvent| match event {
        MonitorEvent::AlarmRaised(n) | MonitorEvent::AlarmResolved(n) => {
            Some((n.column.clone(), n.firing, n.window_end_us / DAY_US))
        }
        _ => None,
    };
    events.iter().filter_map(alarm).collect()
}

#[test]
fn an_alarm_goes_up_after_two_drifted_days_and_down_after_three_quiet_ones() {
    let mut monitor = monitor(RATE);
    let mut seen = Vec::new();
    for index in 0..12 {
        let shift = if (3..6).contains(&index) { 12.0 } else { 0.0 };
        observe(&mut monitor, &day(index, shift));
        seen.extend(monitor.advance(MonitorMarks::both((index + 1) * DAY_US + HOUR_US)));
    }
    assert_eq!(
        alarms(&seen),
        [
            ("delay".to_owned(), true, 5),
            ("delay".to_owned(), false, 9)
        ]
    );
    let report = monitor.snapshot();
    let windows = only(&report);
    assert_eq!(windows.len(), 12);
    assert!(
        windows
            .iter()
            .all(|w| w.state == WindowState::Closed && w.rows == 600 && w.revision == 0)
    );
    let drifted = column(&windows[4], "delay");
    assert_eq!(
        (drifted.verdict, drifted.calibration),
        (Verdict::Drifted, Some(Calibration::Fitted))
    );
    assert!(drifted.psi > drifted.threshold && drifted.p < Some(1e-4) && drifted.ks_p < Some(1e-6));
    assert_eq!(column(&windows[4], "carrier").verdict, Verdict::Stable);
    assert_eq!(column(&windows[1], "delay").verdict, Verdict::Stable);
    assert!(report.series[0].alarms.is_empty(), "resolved");
}

#[test]
fn alerts_are_cloud_events_that_a_replay_repeats_to_the_byte() {
    let run = || {
        let mut monitor = monitor(RATE);
        let mut records = Vec::new();
        for index in 0..4 {
            observe(&mut monitor, &day(index, 12.0));
            for event in monitor.advance(MonitorMarks::both((index + 1) * DAY_US + HOUR_US)) {
                records.extend(
                    event
                        .alarm()
                        .map(|alarm| alarm.outbox_record(0).expect("JSON")),
                );
            }
        }
        records
    };
    let records = run();
    assert_eq!(records, run());
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].topic, ALERT_TOPIC);
    let event: Value = serde_json::from_slice(&records[0].payload).expect("JSON");
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["type"], "forebay.monitor.alarm.firing");
    assert_eq!(event["subject"], "late_arrival/1/live/delay");
    assert_eq!(event["time"], "1970-01-03T00:00:00Z");
    assert_eq!(event["id"], "f2c311bb-12ac-5f4b-b646-2624c379701d");
    assert_eq!(event["data"]["top_bins"].as_array().map(Vec::len), Some(3));
    assert!(event["data"]["score"].as_f64() > event["data"]["threshold"].as_f64());
}

#[test]
fn a_fixed_threshold_is_taken_at_its_word() {
    for (threshold, verdict) in [(0.2, Verdict::Drifted), (50.0, Verdict::Stable)] {
        let mut monitor = monitor(AlertThreshold::Psi(threshold));
        observe(&mut monitor, &day(0, 12.0));
        monitor.advance(MonitorMarks::both(2 * DAY_US));
        let report = monitor.snapshot();
        let delay = column(&only(&report)[0], "delay");
        assert_eq!(
            (delay.verdict, delay.calibration),
            (verdict, Some(Calibration::Fixed))
        );
        assert_eq!(delay.threshold, Some(threshold));
    }
}

#[test]
fn open_windows_are_provisional_and_late_rows_revise_closed_ones() {
    let mut monitor = monitor(RATE);
    let rows = day(0, 0.0);
    observe(&mut monitor, &rows[..500]);
    assert!(
        monitor
            .advance(MonitorMarks::both(DAY_US + HOUR_US - 1))
            .is_empty(),
        "lateness keeps the window open"
    );
    assert_eq!(only(&monitor.snapshot())[0].state, WindowState::Provisional);
    assert_eq!(
        monitor.advance(MonitorMarks::both(DAY_US + HOUR_US)).len(),
        1
    );
    observe_behind(&mut monitor, &rows[500..550], Some(DAY_US + HOUR_US));
    observe_behind(&mut monitor, &rows[550..], Some(2 * DAY_US));
    let pending = monitor.snapshot();
    let events = monitor.advance(MonitorMarks::both(DAY_US + HOUR_US));
    let [MonitorEvent::WindowClosed { window, .. }] = &events[..] else {
        panic!("one revision: {events:?}")
    };
    assert_eq!((window.rows, window.revision), (600, 100));
    assert_eq!(
        only(&pending)[0],
        *window,
        "a snapshot shows late rows before they are announced"
    );
    let mut straight = crate::tests::fixtures::monitor(RATE);
    observe(&mut straight, &rows);
    straight.advance(MonitorMarks::both(DAY_US + HOUR_US));
    assert_eq!(only(&straight.snapshot())[0].columns, window.columns);
}

#[test]
fn too_few_rows_say_nothing() {
    let mut monitor = monitor(RATE);
    observe(&mut monitor, &day(0, 40.0)[..90]);
    monitor.advance(MonitorMarks::both(2 * DAY_US));
    let report = monitor.snapshot();
    assert!(
        only(&report)[0]
            .columns
            .iter()
            .all(|c| c.verdict == Verdict::Insufficient)
    );
    assert_eq!(only(&report)[0].drifted_ratio, None);
}

#[test]
fn versions_and_other_models_are_told_apart() {
    let mut monitor = monitor(RATE);
    let mut rows = day(0, 0.0);
    observe(&mut monitor, &rows);
    rows.iter_mut()
        .for_each(|row| (row.version, row.role) = (2, "shadow"));
    observe(&mut monitor, &rows);
    rows[0].role = "unknown";
    observe(&mut monitor, &rows[..1]);
    let mut def = definition(RATE);
    def.model = "another".into();
    let mut other = Monitor::new(def, reference(30, 600), options()).expect("sound");
    observe(&mut other, &rows[1..]);
    let report = monitor.snapshot();
    assert_eq!((report.input.accepted, report.input.invalid), (1_200, 1));
    let series: Vec<(u32, usize)> = report
        .series
        .iter()
        .map(|s| (s.version, s.windows.len()))
        .collect();
    assert_eq!(series, [(1, 1), (2, 1)]);
    assert_eq!(other.snapshot().input.other_model, 599);
}

#[test]
fn labels_arrive_late_are_corrected_and_expire() {
    let mut monitor = monitor(RATE);
    let rows = day(0, 0.0);
    observe(&mut monitor, &rows);
    let label = |row: &PredictionRow, after: Micros, label: bool| LabelRow {
        flight: row.flight.clone(),
        time: row.time + after,
        label: Some(label),
    };
    let mut labels: Vec<LabelRow> = rows[..400]
        .iter()
        .map(|row| label(row, 6 * HOUR_US, row.score > 0.5))
        .collect();
    labels.extend(
        rows[..10]
            .iter()
            .map(|row| label(row, 7 * HOUR_US, row.score <= 0.5)),
    );
    labels.push(label(&rows[500], -MINUTE_US, true));
    labels.push(label(&rows[501], 13 * HOUR_US, true));
    labels.push(LabelRow {
        flight: Some("nobody".into()),
        time: DAY_US / 2,
        label: Some(true),
    });
    labels.push(LabelRow {
        flight: Some("nobody".into()),
        time: DAY_US / 2,
        label: None,
    });
    labels.push(labels[0].clone());
    observe_labels(&mut monitor, &labels);
    let quality = only(&monitor.snapshot())[0]
        .quality
        .clone()
        .expect("a monitor with labels");
    assert_eq!(
        (quality.labelled, quality.pending, quality.expired),
        (400, 200, 0)
    );
    assert_eq!(
        quality.true_positives + quality.true_negatives,
        390,
        "ten labels were corrected"
    );
    assert_eq!(quality.coverage, Some(400.0 / 600.0));
    monitor.advance(MonitorMarks::both(3 * DAY_US));
    let report = monitor.snapshot();
    let quality = only(&report)[0]
        .quality
        .clone()
        .expect("a monitor with labels");
    assert_eq!(
        (quality.labelled, quality.pending, quality.expired),
        (400, 0, 200)
    );
    assert_eq!(quality.final_coverage, Some(400.0 / 600.0));
    let fates = report.labels.expect("a monitor with labels");
    assert_eq!(
        (fates.matched, fates.early, fates.expired, fates.unmatched),
        (410, 1, 1, 1)
    );
    assert_eq!(
        (fates.null, fates.duplicate, fates.corrected, fates.waiting),
        (1, 1, 10, 0)
    );
    assert_eq!(report.series[0].overall.as_ref(), Some(&quality));
}

#[test]
fn a_window_matures_once_and_with_final_numbers() {
    let mut monitor = monitor(RATE);
    let rows = day(0, 0.0);
    observe(&mut monitor, &rows);
    let matured = |events: Vec<MonitorEvent>| {
        events.into_iter().find_map(|event| match event {
            MonitorEvent::WindowMatured { window, .. } => Some(window),
            _ => None,
        })
    };
    assert!(
        matured(monitor.advance(MonitorMarks::both(DAY_US + 13 * HOUR_US))).is_none(),
        "labels may still come"
    );
    let window = matured(monitor.advance(MonitorMarks::both(DAY_US + 14 * HOUR_US)))
        .expect("all have expired");
    assert_eq!(window.quality.map(|q| q.expired), Some(600));
    assert!(matured(monitor.advance(MonitorMarks::both(9 * DAY_US))).is_none());
}

#[test]
fn quality_without_labels_or_with_one_class_is_absent_not_zero() {
    let mut monitor = monitor(RATE);
    let rows = day(0, 0.0);
    observe(&mut monitor, &rows);
    let quality = only(&monitor.snapshot())[0]
        .quality
        .clone()
        .expect("a monitor with labels");
    assert_eq!(
        (
            quality.auc,
            quality.precision,
            quality.log_loss,
            quality.final_coverage
        ),
        (None, None, None, None)
    );
    let negative: Vec<LabelRow> = rows
        .iter()
        .map(|row| LabelRow {
            flight: row.flight.clone(),
            time: row.time + 1,
            label: Some(false),
        })
        .collect();
    observe_labels(&mut monitor, &negative);
    let quality = only(&monitor.snapshot())[0]
        .quality
        .clone()
        .expect("a monitor with labels");
    assert_eq!(
        (quality.auc, quality.recall, quality.precision),
        (None, None, Some(0.0))
    );
    assert!(quality.log_loss.is_some());
}

#[test]
fn a_bad_batch_is_refused_whole_and_names_the_column() {
    let mut monitor = monitor(RATE);
    let batch = prediction_batch(&day(0, 0.0));
    let mut columns: Vec<usize> = (0..batch.num_columns()).collect();
    columns.retain(|i| batch.schema().field(*i).name() != "flight");
    let error = monitor
        .observe_predictions(&batch.project(&columns).expect("columns"), &[None; 600])
        .expect_err("no join key");
    assert!(
        matches!(&error, MonitorError::MissingColumn { column, .. } if column == "flight"),
        "{error}"
    );
    let (rows, labels, times) = label_batch(&[LabelRow {
        flight: None,
        time: 0,
        label: Some(true),
    }]);
    assert!(
        monitor
            .observe_labels(&rows, &labels.slice(0, 0), &times, &[None])
            .is_err()
    );
    assert_eq!(monitor.snapshot().input.accepted, 0);
    monitor
        .observe_labels(&rows, &labels, &times, &[None])
        .expect("a NULL key is no error");
    assert_eq!(
        monitor.snapshot().labels.map(|fates| fates.invalid),
        Some(1)
    );
}

#[test]
fn contradictory_definitions_and_changed_profiles_are_refused() {
    let mut def = definition(RATE);
    (def.raised_windows, def.of_windows) = (4, 3);
    assert!(matches!(
        Monitor::new(def, reference(3, 200), options()),
        Err(MonitorError::Definition { .. })
    ));
    let profile = reference(3, 200);
    let bytes = profile.to_json().expect("JSON");
    assert_eq!(
        ReferenceProfile::from_json(&bytes).expect("unchanged"),
        profile
    );
    let text = String::from_utf8(bytes)
        .expect("UTF-8")
        .replacen("\"nulls\":0", "\"nulls\":1", 1);
    let error = ReferenceProfile::from_json(text.as_bytes()).expect_err("changed");
    assert!(error.to_string().contains("digest"), "{error}");
}

#[test]
fn a_monitor_without_labels_watches_drift_alone() {
    let mut def = definition(RATE);
    def.labels = None;
    let mut monitor = Monitor::new(def, reference(30, 600), options()).expect("sound");
    observe(&mut monitor, &day(0, 0.0));
    monitor.advance(MonitorMarks::both(2 * DAY_US));
    let report = monitor.snapshot();
    assert!(report.labels.is_none() && report.series[0].overall.is_none());
    let text = serde_json::to_string(&report).expect("JSON");
    assert_eq!(
        serde_json::from_str::<MonitorReport>(&text).expect("JSON"),
        report
    );
}

#[test]
fn a_quiet_stream_raises_no_alarm_in_a_hundred_windows() {
    let mut monitor = Monitor::new(definition(RATE), reference(60, 600), options()).expect("sound");
    let mut seen = Vec::new();
    for index in 0..100 {
        observe(&mut monitor, &day(index, 0.0));
        seen.extend(monitor.advance(MonitorMarks::both((index + 1) * DAY_US + HOUR_US)));
    }
    assert_eq!(alarms(&seen), []);
    let report = monitor.snapshot();
    let drifted = only(&report)
        .iter()
        .filter(|window| window.drifted_ratio > Some(0.0))
        .count();
    // One window in a hundred was asked for; with 60 calibration windows two in a hundred are
    // measured, and 8 would happen by chance less than once in a thousand runs.
    assert!(drifted < 8, "{drifted} of 100 windows drifted");
}

#[test]
fn a_label_feed_that_ends_lets_drift_windows_close_and_alarms_rise() {
    let mut monitor = monitor(RATE);
    let mut seen = Vec::new();
    for index in 0..5 {
        observe(&mut monitor, &day(index, 12.0));
        seen.extend(monitor.advance(MonitorMarks {
            predictions_us: Some((index + 1) * DAY_US + HOUR_US),
            labels_us: Some(DAY_US / 2),
        }));
    }
    assert_eq!(alarms(&seen), [("delay".to_owned(), true, 2)]);
    let report = monitor.snapshot();
    let closed = |w: &&WindowReport| w.state == WindowState::Closed;
    assert_eq!(only(&report).iter().filter(closed).count(), 5);
    let overall = report.series[0].overall.clone();
    let pending = overall.map(|quality| (quality.pending, quality.expired));
    assert_eq!(pending, Some((3_000, 0)), "quality waits for its labels");
}

#[test]
fn alarms_of_a_version_that_is_no_longer_routed_are_over() {
    let mut monitor = monitor(RATE);
    for index in 0..3 {
        observe(&mut monitor, &day(index, 12.0));
        monitor.advance(MonitorMarks::both((index + 1) * DAY_US + HOUR_US));
    }
    assert_eq!(monitor.snapshot().series[0].alarms.len(), 1);
    let ended = monitor.set_routed(BTreeSet::from([(2, Role::Live)]));
    assert_eq!(alarms(&ended), [("delay".to_owned(), false, 3)]);
    assert_eq!(monitor.set_routed(BTreeSet::from([(2, Role::Live)])), []);
    assert_eq!(monitor.announced(), [], "a start raises it no more");
    let report = monitor.snapshot();
    assert!(report.series[0].alarms.is_empty() && !report.series[0].is_routed);
    observe(&mut monitor, &day(3, 12.0));
    assert_eq!(alarms(&monitor.advance(MonitorMarks::both(9 * DAY_US))), []);
    let back = monitor.set_routed(BTreeSet::from([(1, Role::Live), (2, Role::Live)]));
    assert_eq!(alarms(&back), [("delay".to_owned(), true, 4)]);
}

#[test]
fn a_version_that_a_restart_finds_routed_again_has_the_alarm_that_a_rebuild_gives_it() {
    let mut away = monitor(RATE);
    drop(away.set_routed(BTreeSet::from([(2, Role::Live)])));
    for index in 0..3 {
        observe(&mut away, &day(index, 12.0));
        away.advance(MonitorMarks::both((index + 1) * DAY_US + HOUR_US));
    }
    assert!(away.snapshot().series[0].alarms.is_empty());
    let mut bytes = Vec::new();
    write_monitor(&mut bytes, &away);
    let mut back = monitor(RATE);
    read_monitor(&mut Reader::new(&bytes), &mut back).expect("its own bytes");
    let events = back.set_routed(BTreeSet::from([(1, Role::Live)]));
    assert_eq!(alarms(&events), [("delay".to_owned(), true, 3)]);
    let alarms = &back.snapshot().series[0].alarms;
    assert_eq!(alarms.len(), 1, "{alarms:?}");
}

#[test]
fn the_alarms_of_kept_windows_are_said_again_on_demand() {
    let mut monitor = monitor(RATE);
    let mut seen = Vec::new();
    for index in 0..12 {
        let shift = if (3..6).contains(&index) { 12.0 } else { 0.0 };
        observe(&mut monitor, &day(index, shift));
        seen.extend(monitor.advance(MonitorMarks::both((index + 1) * DAY_US + HOUR_US)));
    }
    assert_eq!(alarms(&monitor.announced()), alarms(&seen));
}
