//! Bins, atoms and calibration of a profile; values are compared with numpy in
//! `src/tests/golden.rs`.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, TimestampMicrosecondArray};
use forebay_core::time::DAY_US;

use super::*;

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
