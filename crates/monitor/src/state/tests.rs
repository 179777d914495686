//! Golden bytes of a monitor's state: each count, code and sum of it once, written by hand.

use std::collections::VecDeque;

use super::*;
use crate::tests::fixtures::small_monitor;

fn sum_of(value: f64) -> FloatSum {
    let mut sum = FloatSum::new();
    sum.add(value);
    sum
}

fn quality() -> QualityCounts {
    let mut histograms = [vec![0; SCORE_BINS], vec![0; SCORE_BINS]];
    histograms[0][0] = 1;
    histograms[0][SCORE_BINS - 1] = 300;
    QualityCounts {
        predictions: 30,
        labelled: 22,
        expired: 3,
        true_positives: 4,
        false_positives: 5,
        true_negatives: 6,
        false_negatives: 7,
        histograms,
        log_loss: sum_of(1.0),
        squared_error: sum_of(-1.0),
        delay_us: -2,
    }
}

fn series(profile: &ReferenceProfile) -> Series {
    let mut pane = PaneCounts::new(profile);
    pane.rows = 300;
    pane.late_rows = 1;
    let column = &mut pane.columns[0];
    column.bins = Box::new([1, 2, 3, 300]);
    column.nulls = 4;
    column.nans = 5;
    column.sum = sum_of(1.0);
    pane.quality = quality();
    let closed = ClosedWindow {
        counts: PaneCounts::new(profile),
        is_stale: true,
        is_matured: false,
        columns: Vec::new(),
    };
    let mut series = Series::new(258, Role::Shadow, 1, true);
    series.windows = SeriesWindows {
        panes: BTreeMap::from([(-3_600, pane)]),
        closed: BTreeMap::from([(3_600, closed)]),
        evicted_quality: QualityCounts::default(),
        evicted_before_us: Some(i64::MIN),
    };
    series.alarms[0] = ColumnAlarm {
        base: AlarmState {
            raised: true,
            recent: VecDeque::from(OUTCOMES),
        },
        base_since_us: None,
        announced: BTreeMap::from([(-1, true)]),
        announced_up: false,
        since_us: Some(300),
    };
    series
}

fn fill_join(join: &mut LabelJoin) {
    *join.fates_mut() = LabelFates {
        matched: 1,
        early: 2,
        expired: 3,
        unmatched: 4,
        late: 5,
        waiting: 6,
        null: 7,
        invalid: 8,
        duplicate: 9,
        corrected: 10,
        overflowed: 11,
        untracked_predictions: 12,
        late_predictions: 13,
    };
    let prediction = Prediction {
        time_us: -2,
        score: 0.5,
        credited: Some((300, true)),
        series: 0,
        expired: false,
    };
    let label = |(time_us, fate)| Label {
        time_us,
        value: time_us == 3,
        fate,
    };
    let entry = Key {
        predictions: vec![prediction],
        labels: (1..).zip(FATES).map(label).collect(),
    };
    join.restore(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10, entry);
}

#[test]
fn golden_bytes_of_a_state_with_one_of_everything() {
    let mut monitor = small_monitor(true);
    monitor.marks.predictions_us = Some(-2);
    monitor.input = InputCounts {
        accepted: 300,
        repeats: 1,
        other_model: 2,
        invalid: 3,
        too_old: 4,
        overflowed: 5,
    };
    let series = series(&monitor.context.profile);
    monitor.positions.insert((series.version, series.role), 0);
    monitor.series.push(series);
    fill_join(monitor.join.as_mut().expect("it has labels"));

    let no_quality = "00000000000000 00 00 11000000 11000000 00000000000000000000000000000000";
    let golden = [
        // Marks, what came in, one series: version and role.
        "0103 00 ac02 01 02 03 04 05 01 8202 01",
        // An open pane: its rows, its column, its labels.
        "01 9f38 ac02 01 01 02 03 ac02 04 05 110186010104",
        "1e 16 03 04 05 06 07 02 00 01 e707 ac02 00 110186010104 1101860101fc",
        "feffffffffffffffffffffffffffffff",
        // A closed window without rows, then what is no longer kept.
        "01 a038 00 00 00 00 00 00 00 00 11000000",
        no_quality,
        "01 00",
        no_quality,
        "01 ffffffffffffffffff01",
        // The alarm of the column.
        "01 04 00 01 02 03 00 01 01 01 00 01 d804",
        // The fates of labels, and one key with a prediction and a label of each fate.
        "01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 01 100f0e0d0c0b0a090807060504030201",
        "01 03 000000000000e03f 01 d804 01 00 00",
        "05 02 00 00 04 00 01 06 01 02 08 00 03 0a 00 04",
    ];
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    let mut bytes = Vec::new();
    write_monitor(&mut bytes, &monitor);
    assert_eq!(hex(&bytes), golden.concat().replace(' ', ""));

    let mut read = small_monitor(true);
    let reader = &mut Reader::new(&bytes);
    read_monitor(reader, &mut read).expect("its own bytes");
    reader.end().expect("all of them");
    let mut again = Vec::new();
    write_monitor(&mut again, &read);
    assert_eq!(hex(&again), hex(&bytes));
}
