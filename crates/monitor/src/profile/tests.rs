//! Bins, atoms and calibration of a profile; values are compared with numpy in
//! `src/tests/golden.rs`.

use std::cell::Cell;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use forebay_core::memory::{Budget, Part};
use forebay_core::time::DAY_US;
use forebay_core::{ErrorKind, PortResult};
use proptest::prelude::*;

use super::*;
use crate::tests::fixtures::build_profile;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))
        .expect("equal lengths")
}

#[test]
fn an_atom_has_a_bin_of_its_own() {
    let mut values: Vec<f64> = (1..=60).map(f64::from).collect();
    values.extend([0.0; 40]);
    values.sort_by(f64::total_cmp);
    let edges = NumericEdges::from_sorted(&values);
    let zero = edges.bin(0.0);
    assert_eq!(edges.bin(-0.0), zero);
    assert_eq!(
        (edges.bin(-1e-300), edges.bin(1e-300)),
        (zero - 1, zero + 1)
    );
    let deciles: Vec<f64> = edges.decile_edges().collect();
    assert!(deciles.contains(&0.0) && deciles.contains(&0.0_f64.next_down()));
    assert_eq!(
        (edges.bin(f64::NEG_INFINITY), edges.bin(f64::INFINITY)),
        (0, edges.all.len())
    );
}

#[test]
fn nulls_and_nan_are_counted_apart_and_infinities_lie_outside() {
    let values = [
        Some(1.0),
        None,
        Some(f64::NAN),
        Some(f64::INFINITY),
        Some(2.0),
        Some(f64::NEG_INFINITY),
    ];
    let flags: ArrayRef = Arc::new(BooleanArray::from(vec![
        Some(true),
        Some(true),
        None,
        Some(false),
        None,
        None,
    ]));
    let numbers: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
    let profile = build_profile(
        "odd",
        &[batch(vec![("x", numbers), ("flag", flags)])],
        &["x", "flag"],
        None,
        None,
    )
    .expect("ok");
    let x = profile.column("x", ColumnRole::Feature).expect("given");
    assert_eq!((x.nulls, x.nans, x.values()), (1, 1, 4));
    assert_eq!(x.moments, None, "quartiles are infinite");
    let flag = profile.column("flag", ColumnRole::Feature).expect("given");
    assert_eq!(
        (flag.nulls, flag.counts.clone()),
        (3, vec![2, 1, 0, 0]),
        "true, false, OTHER, UNSEEN"
    );
    assert_eq!(
        ReferenceProfile::from_json(&profile.to_json().expect("JSON")).expect("sound"),
        profile
    );
}

#[test]
fn calibration_scores_each_full_window_against_the_rest() {
    let rows = 5 * 100 + 30;
    let times: Vec<i64> = (0..rows).map(|i| i * DAY_US / 100).collect();
    // The third day is unlike the others.
    let values: Vec<f64> = (0..rows)
        .map(|i| {
            f64::from(u32::try_from(i * 37 % 100).expect("small"))
                + if i / 100 == 2 { 60.0 } else { 0.0 }
        })
        .collect();
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times));
    let values: ArrayRef = Arc::new(Float64Array::from(values));
    let whole = batch(vec![("t", times), ("x", values)]);
    let calibration = CalibrationWindows {
        time_column: "t",
        window_us: DAY_US,
        min_rows: 100,
    };
    let build = |batches: &[RecordBatch]| {
        build_profile("days", batches, &["x"], None, Some(calibration)).expect("ok")
    };
    let profile = build(std::slice::from_ref(&whole));
    let scores = &profile.columns[0].calibration;
    assert_eq!(scores.len(), 5, "the sixth day is partial");
    assert!(
        scores
            .iter()
            .enumerate()
            .all(|(day, score)| (day == 2) == (*score > 1.0)),
        "{scores:?}"
    );
    assert_eq!(
        build(&[whole.slice(300, 230), whole.slice(0, 300)]),
        profile,
        "no order, no cuts"
    );
    let few = CalibrationWindows {
        min_rows: 101,
        ..calibration
    };
    let none = build_profile("days", &[whole], &["x"], None, Some(few)).expect("ok");
    assert!(none.columns[0].calibration.is_empty());
}

#[test]
fn an_empty_training_set_has_a_profile() {
    let empty: ArrayRef = Arc::new(Float64Array::from(Vec::<f64>::new()));
    let profile =
        build_profile("empty", &[batch(vec![("x", empty)])], &["x"], None, None).expect("ok");
    assert_eq!(
        (profile.rows, profile.columns[0].counts.clone()),
        (0, vec![0])
    );
    assert!(build_profile("missing", &[], &["x"], None, None).is_ok());
}

#[test]
fn a_missing_column_is_named() {
    let x: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
    let error =
        build_profile("odd", &[batch(vec![("x", x)])], &["y"], None, None).expect_err("no y");
    assert_eq!(
        error.to_string(),
        "the training set odd has no column y; it has x"
    );
}

/// A day of 40 rows, of every type that a profile takes, with NULLs, NaN and values that share a
/// mass; a function of the row's number alone.
fn mixed(rows: i64) -> RecordBatch {
    let noise = |row: i64, salt: i64| (row * 7_919 + salt * 104_729) % 1_009;
    let number = |row: i64| match noise(row, 1) {
        0..100 => None,
        100..150 => Some(f64::NAN),
        150..160 => Some(f64::NEG_INFINITY),
        160..400 => Some(-0.0),
        other => Some((other as f64).sqrt() - 25.0),
    };
    let text = |row: i64| match noise(row, 2) {
        0..50 => None,
        50..60 => Some(format!("{row}{}", "long".repeat(100))),
        60..400 => Some("common".to_owned()),
        other => Some(format!("t{}", other % 173)),
    };
    let time = |row: i64| (noise(row, 3) > 20).then_some(row * DAY_US / 40);
    let rows = || 0..rows;
    let x: ArrayRef = Arc::new(rows().map(number).collect::<Float64Array>());
    let n: ArrayRef = Arc::new(
        rows()
            .map(|row| Some(noise(row, 4)))
            .collect::<Int64Array>(),
    );
    let s: ArrayRef = Arc::new(rows().map(text).collect::<StringArray>());
    let flag = rows().map(|row| (noise(row, 5) > 90).then_some(noise(row, 6) % 3 == 0));
    let flag: ArrayRef = Arc::new(flag.collect::<BooleanArray>());
    let score = rows().map(|row| Some(noise(row, 7) as f64 / 1_009.0));
    let score: ArrayRef = Arc::new(score.collect::<Float64Array>());
    let t: ArrayRef = Arc::new(rows().map(time).collect::<TimestampMicrosecondArray>());
    batch(vec![
        ("x", x),
        ("n", n),
        ("s", s),
        ("flag", flag),
        ("score", score),
        ("t", t),
    ])
}

const FEATURES: [&str; 4] = ["x", "n", "s", "flag"];
const DAYS: CalibrationWindows<'static> = CalibrationWindows {
    time_column: "t",
    window_us: DAY_US,
    min_rows: 25,
};

#[test]
fn the_digest_of_a_mixed_training_set_stays_what_it_was() {
    let built = build_profile(
        "mixed",
        &[mixed(2_000)],
        &FEATURES,
        Some("score"),
        Some(DAYS),
    );
    let profile = built.expect("every type is known");
    assert!(
        profile.columns.iter().all(|c| c.calibration.len() > 40),
        "{profile:?}"
    );
    // As the code gave it that held the whole set in memory.
    let expected = "d017f2a8f7453a53db801ad808d2a9f42b0a0cffa6a9844bf94f620241cc45e6";
    assert_eq!(profile.digest, expected);
}

/// A training set in batches, of which no more comes than is asked for.
struct Cut {
    batches: Vec<RecordBatch>,
    readings: Cell<usize>,
}

impl Cut {
    /// `rows` cut at `cuts`, each a share of them.
    fn at(rows: &RecordBatch, cuts: &[f64]) -> Self {
        let mut ends: Vec<usize> = cuts
            .iter()
            .map(|share| (share * rows.num_rows() as f64) as usize)
            .collect();
        ends.push(rows.num_rows());
        ends.sort_unstable();
        let mut from = 0;
        let batches = ends.iter().map(|end| {
            let batch = rows.slice(from, end - from);
            from = *end;
            batch
        });
        Self {
            batches: batches.collect(),
            readings: Cell::new(0),
        }
    }
}

impl TrainingRows for Cut {
    fn batches(&self, columns: &[&str]) -> PortResult<TrainingBatches<'_>> {
        self.readings.set(self.readings.get() + 1);
        let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
        Ok(Box::new(self.batches.iter().map(move |batch| {
            let index = |name: &String| batch.schema().index_of(name).ok();
            let wanted: Vec<usize> = columns.iter().filter_map(index).collect();
            Ok(batch.project(&wanted).expect("of this batch"))
        })))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However the rows are cut, and whichever columns come with a batch: the same profile, to the
    /// bit, and nothing is held afterwards.
    #[test]
    fn cuts_of_the_rows_do_not_matter(
        rows in 0_i64..600,
        cuts in prop::collection::vec(0.0_f64..=1.0, 0..8),
        calibrated in any::<bool>(),
    ) {
        let (whole, calibration) = (mixed(rows), calibrated.then_some(DAYS));
        let expected = build_profile(
            "mixed", std::slice::from_ref(&whole), &FEATURES, Some("score"), calibration,
        );
        let memory = Budget::whole(16 << 20);
        let cut = Cut::at(&whole, &cuts);
        let built = build_profile_of(
            "mixed", &cut, &FEATURES, Some("score"), calibration, &memory,
        );
        let (built, expected) = (built.expect("sound"), expected.expect("sound"));
        prop_assert_eq!(built.to_json().expect("JSON"), expected.to_json().expect("JSON"));
        prop_assert_eq!(cut.readings.get(), 1 + 2 * (FEATURES.len() + 1));
        prop_assert_eq!(memory.used_bytes(Part::PointInTime), 0);
    }
}

#[test]
fn memory_for_one_column_is_enough_for_all_and_less_is_refused_with_the_remedy() {
    let whole = mixed(20_000);
    let cut = Cut::at(&whole, &[0.2, 0.4, 0.6, 0.8]);
    let profiled = |features: &[&str], bytes: usize| {
        let memory = Budget::whole(bytes);
        let built = build_profile_of("mixed", &cut, features, Some("score"), None, &memory);
        assert_eq!(memory.used_bytes(Part::PointInTime), 0, "nothing leaks");
        built
    };
    let column_bytes = 20_000 * size_of::<f64>();
    assert!(profiled(&["x", "n"], column_bytes).is_ok());
    let error = profiled(&["x", "n"], column_bytes - 1).expect_err("too little");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    assert!(error.to_string().contains("memory.limit_mib"), "{error}");
    // A text is held once, however often it comes.
    assert!(profiled(&["s"], column_bytes).is_ok());
    let whole = mixed(20_000);
    let unlike = (0..20_000).map(|row| Some(format!("text {row}")));
    let unlike: ArrayRef = Arc::new(unlike.collect::<StringArray>());
    let unlike = batch(vec![("s", unlike), ("score", Arc::clone(whole.column(4)))]);
    let memory = Budget::whole(column_bytes);
    let rows: &[RecordBatch] = &[unlike];
    let error = build_profile_of("unlike", &rows, &["s"], Some("score"), None, &memory);
    assert!(matches!(error, Err(MonitorError::Memory(_))), "{error:?}");
}

/// Gives one batch more, or one fewer, at each reading.
struct Changing {
    batch: RecordBatch,
    left: Cell<usize>,
    step: isize,
}

impl TrainingRows for Changing {
    fn batches(&self, _: &[&str]) -> PortResult<TrainingBatches<'_>> {
        let count = self.left.get();
        self.left.set(count.saturating_add_signed(self.step));
        Ok(Box::new((0..count).map(|_| Ok(self.batch.clone()))))
    }
}

#[test]
fn a_training_set_that_changes_while_it_is_read_is_refused() {
    for step in [1, -1] {
        let changing = Changing {
            batch: mixed(10),
            left: Cell::new(3),
            step,
        };
        let memory = Budget::whole(1 << 20);
        let error = build_profile_of("odd", &changing, &["x"], None, None, &memory);
        let error = error.expect_err("it changes").to_string();
        assert!(error.contains("changed while it was read"), "{error}");
    }
}
