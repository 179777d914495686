//! Statistics against numpy, scipy and scikit-learn: `tests/python/monitor_oracle.py` made the
//! expected values. Tolerances: distances 1e-9 relative, bin counts equal, Kolmogorov tail 2 % from
//! nm/(n+m) = 1000 on.

use std::path::PathBuf;
use std::sync::Arc;

use crate::quality::{Credit, QualityCounts};
use crate::statistics::{
    benjamini_hochberg, chi_square, chi_square_tail, chi_square_threshold, js_distance,
    kolmogorov_tail, ks_distance, ks_probability, psi,
};
use crate::tests::fixtures::build_profile;
use crate::{ColumnBins, NumericEdges};
use arrow_array::{ArrayRef, Float64Array, RecordBatch};
use serde::Deserialize;
use serde::de::DeserializeOwned;

fn golden<T: DeserializeOwned>(name: &str) -> T {
    let path: PathBuf = [
        env!("CARGO_MANIFEST_DIR"),
        "..",
        "..",
        "tests",
        "golden",
        "monitor",
        name,
    ]
    .iter()
    .collect();
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[track_caller]
fn close(what: &str, actual: f64, expected: f64, relative: f64) {
    let tolerance = relative * expected.abs().max(1e-12);
    assert!(
        (actual - expected).abs() <= tolerance,
        "{what}: {actual} where {expected} is expected"
    );
}

#[derive(Deserialize)]
struct NumericCase {
    name: String,
    reference: Vec<f64>,
    current: Vec<f64>,
    deciles: Vec<f64>,
    reference_counts: Vec<u64>,
    current_counts: Vec<u64>,
    psi: f64,
    js: f64,
    ks: f64,
    ks_exact: f64,
    ks_gap_bound: f64,
    ks_p: f64,
    mean: f64,
    std: f64,
    iqr: f64,
}

#[test]
fn numeric_distances_agree_with_scipy() {
    for case in golden::<Vec<NumericCase>>("numeric.json") {
        let name = &case.name;
        let values: ArrayRef = Arc::new(Float64Array::from(case.reference.clone()));
        let batch = RecordBatch::try_from_iter([("x", values)]).expect("one column");
        let profile =
            build_profile("golden", &[batch], &["x"], None, None).expect("a numeric column");
        let column = &profile.columns[0];
        let ColumnBins::Numeric(edges) = &column.bins else {
            panic!("{name}: not numeric")
        };
        assert_eq!(
            edges.decile_edges().collect::<Vec<_>>(),
            case.deciles,
            "{name}: decile edges"
        );
        let mut current = vec![0_u64; edges.all.len() + 1];
        case.current
            .iter()
            .for_each(|value| current[edges.bin(*value)] += 1);
        assert_eq!(
            column.counts, case.reference_counts,
            "{name}: reference counts"
        );
        assert_eq!(current, case.current_counts, "{name}: current counts");

        let (p, q) = (
            edges.decile_counts(&column.counts),
            edges.decile_counts(&current),
        );
        close(
            &format!("{name}: psi"),
            psi(&p, &q).expect("values"),
            case.psi,
            1e-9,
        );
        close(
            &format!("{name}: js"),
            js_distance(&p, &q).expect("values"),
            case.js,
            1e-9,
        );
        let distance = ks_distance(&column.counts, &current).expect("values");
        assert!(
            (distance - case.ks).abs() <= 1e-12,
            "{name}: ks {distance}, expected {}",
            case.ks
        );
        assert!(
            distance <= case.ks_exact + 1e-12 && case.ks_exact - distance <= case.ks_gap_bound,
            "{name}: ks gap"
        );
        let (n, m) = (case.reference.len() as u64, case.current.len() as u64);
        let effective = n as f64 * m as f64 / (n + m) as f64;
        let tolerance = if effective >= 1_000.0 { 0.02 } else { 0.05 };
        close(
            &format!("{name}: ks p"),
            ks_probability(distance, n, m),
            case.ks_p,
            tolerance,
        );

        let moments = column.moments.expect("finite values");
        close(&format!("{name}: mean"), moments.mean, case.mean, 1e-12);
        close(&format!("{name}: std"), moments.std, case.std, 1e-9);
        close(&format!("{name}: iqr"), moments.iqr, case.iqr, 1e-9);
    }
}

#[derive(Deserialize)]
struct CategoricalCase {
    name: String,
    reference: Vec<u64>,
    current: Vec<u64>,
    other: usize,
    psi: f64,
    js: f64,
    chi_square: f64,
    degrees: usize,
    p: f64,
}

#[test]
fn categorical_distances_agree_with_scipy() {
    for case in golden::<Vec<CategoricalCase>>("categorical.json") {
        let name = &case.name;
        let test =
            chi_square(&case.reference, &case.current, case.other).expect("two cells or more");
        close(
            &format!("{name}: chi-square"),
            test.statistic,
            case.chi_square,
            1e-9,
        );
        assert_eq!(test.degrees, case.degrees, "{name}: degrees of freedom");
        close(&format!("{name}: p"), test.p, case.p, 1e-9);
        close(
            &format!("{name}: psi"),
            psi(&case.reference, &case.current).expect("values"),
            case.psi,
            1e-9,
        );
        close(
            &format!("{name}: js"),
            js_distance(&case.reference, &case.current).expect("values"),
            case.js,
            1e-9,
        );
    }
}

#[derive(Deserialize)]
struct Tails {
    chi_square: Vec<ChiSquareTail>,
    chi_square_points: Vec<ChiSquarePoint>,
    kolmogorov: Vec<KolmogorovTail>,
    benjamini_hochberg: Vec<Discoveries>,
}

#[derive(Deserialize)]
struct ChiSquareTail {
    x: f64,
    degrees: f64,
    p: f64,
}

#[derive(Deserialize)]
struct ChiSquarePoint {
    alpha: f64,
    degrees: f64,
    x: f64,
}

#[derive(Deserialize)]
struct KolmogorovTail {
    z: f64,
    p: f64,
}

#[derive(Deserialize)]
struct Discoveries {
    alpha: f64,
    p: Vec<f64>,
    rejected: Vec<bool>,
}

#[test]
fn tails_agree_with_scipy() {
    let tails: Tails = golden("tails.json");
    for ChiSquareTail { x, degrees, p } in tails.chi_square {
        close(
            &format!("chi-square tail of {x} at {degrees}"),
            chi_square_tail(x, degrees),
            p,
            1e-10,
        );
    }
    for ChiSquarePoint { alpha, degrees, x } in tails.chi_square_points {
        close(
            &format!("chi-square point of {alpha} at {degrees}"),
            chi_square_threshold(alpha, degrees),
            x,
            1e-9,
        );
    }
    for KolmogorovTail { z, p } in tails.kolmogorov {
        close(
            &format!("kolmogorov tail of {z}"),
            kolmogorov_tail(z),
            p,
            1e-9,
        );
    }
    for Discoveries { alpha, p, rejected } in tails.benjamini_hochberg {
        assert_eq!(
            benjamini_hochberg(&p, alpha),
            rejected,
            "false discovery rate {alpha}"
        );
    }
}

#[derive(Deserialize)]
struct QualityCase {
    score: Vec<f64>,
    label: Vec<bool>,
    auc: f64,
    log_loss: f64,
    brier: f64,
    precision: f64,
    recall: f64,
    f1: f64,
}

#[test]
fn quality_agrees_with_scikit_learn() {
    let case: QualityCase = golden("quality.json");
    let mut counts = QualityCounts::default();
    for (score, label) in case.score.iter().zip(&case.label) {
        counts.credit(
            &Credit {
                score: *score,
                label: *label,
                delay_us: 0,
            },
            0.5,
        );
    }
    let report = counts.report();
    // A histogram of 1,000 bins knows the order of scores up to a bin; at 3,000 rows that is some
    // 1e-4.
    close("auc", report.auc.expect("both classes"), case.auc, 5e-4);
    close(
        "log-loss",
        report.log_loss.expect("labels"),
        case.log_loss,
        1e-12,
    );
    close("brier", report.brier.expect("labels"), case.brier, 1e-12);
    close(
        "precision",
        report.precision.expect("positives"),
        case.precision,
        1e-15,
    );
    close(
        "recall",
        report.recall.expect("positives"),
        case.recall,
        1e-15,
    );
    close("f1", report.f1.expect("positives"), case.f1, 1e-15);
}

#[test]
fn a_column_without_values_has_one_bin() {
    let edges = NumericEdges::from_sorted(&[]);
    assert_eq!(
        (edges.all.len(), edges.bin(3.0), edges.decile_counts(&[7])),
        (0, 0, vec![7])
    );
}
