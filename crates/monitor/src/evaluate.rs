//! From the counts of a window to what is said about each column: scores, evidence, verdict. A pure
//! function of counts, reference and rule, so a replay says the same; the alarms of `alarm` are
//! built on its verdicts.

use forebay_core::definition::AlertThreshold;

use crate::calibrate::ScoreRule;
use crate::counts::{ColumnCounts, PaneCounts};
use crate::profile::{ColumnBins, ColumnProfile, ReferenceProfile};
use crate::report::{BinShift, ColumnReport, Verdict};
use crate::statistics::{
    benjamini_hochberg, chi_square, js_distance, ks_distance, ks_probability, psi, psi_term,
};

/// The rules of all columns of one monitor.
#[derive(Debug)]
pub(crate) struct DriftRules {
    columns: Vec<ScoreRule>,
    threshold: AlertThreshold,
    min_rows: u64,
}

impl DriftRules {
    pub(crate) fn new(
        profile: &ReferenceProfile,
        threshold: AlertThreshold,
        min_rows: u64,
    ) -> Self {
        Self {
            columns: profile
                .columns
                .iter()
                .map(|column| ScoreRule::new(column, threshold))
                .collect(),
            threshold,
            min_rows: min_rows.max(1),
        }
    }

    /// What the counts of one window say about each column of `profile`.
    pub(crate) fn evaluate(
        &self,
        profile: &ReferenceProfile,
        counts: &PaneCounts,
    ) -> Vec<ColumnReport> {
        let columns = profile
            .columns
            .iter()
            .zip(&counts.columns)
            .zip(&self.columns);
        let mut reports: Vec<ColumnReport> = columns
            .map(|((reference, current), rule)| self.column(reference, current, rule))
            .collect();
        let tested: Vec<usize> = (0..reports.len())
            .filter(|i| reports[*i].verdict == Verdict::Stable)
            .collect();
        let exceeds: Vec<bool> = match self.threshold {
            AlertThreshold::Psi(limit) => tested
                .iter()
                .map(|i| reports[*i].psi.is_some_and(|s| s > limit))
                .collect(),
            AlertThreshold::FalseAlarmRate(rate) => {
                let p: Vec<f64> = tested
                    .iter()
                    .map(|i| reports[*i].p.unwrap_or(1.0))
                    .collect();
                benjamini_hochberg(&p, rate)
            }
        };
        for (i, _) in tested.iter().zip(exceeds).filter(|(_, exceeds)| *exceeds) {
            reports[*i].verdict = Verdict::Drifted;
        }
        reports
    }

    /// One column, with the verdict that it would have if it did not exceed its threshold.
    fn column(
        &self,
        reference: &ColumnProfile,
        current: &ColumnCounts,
        rule: &ScoreRule,
    ) -> ColumnReport {
        let (n, m) = (reference.values(), current.values());
        let (p, q) = (
            reference.bins.share_counts(&reference.counts),
            reference.bins.share_counts(&current.bins),
        );
        let score = psi(&p, &q);
        let judged = score.map(|score| rule.judge(score, m));
        let numeric = matches!(reference.bins, ColumnBins::Numeric(_));
        let ks = numeric
            .then(|| ks_distance(&reference.counts, &current.bins))
            .flatten();
        let chi = reference
            .bins
            .other()
            .and_then(|other| chi_square(&reference.counts, &current.bins, other));
        let rows = m + current.nulls + current.nans;
        let reference_rows = n + reference.nulls + reference.nans;
        ColumnReport {
            column: reference.name.clone(),
            role: reference.role,
            values: m,
            nulls: current.nulls,
            nans: current.nans,
            null_ratio: (rows > 0).then(|| current.nulls as f64 / rows as f64),
            reference_null_ratio: (reference_rows > 0)
                .then(|| reference.nulls as f64 / reference_rows as f64),
            unseen: reference.bins.other().map(|other| current.bins[other + 1]),
            mean: if numeric { current.sum.avg() } else { None },
            reference_mean: reference.moments.map(|moments| moments.mean),
            bins: p.len(),
            psi: score,
            js: js_distance(&p, &q),
            ks,
            ks_p: ks.map(|distance| ks_probability(distance, n, m)),
            chi_square: chi.map(|test| test.statistic),
            chi_square_p: chi.map(|test| test.p),
            outer_ratio: (numeric && m > 0).then(|| outer(&current.bins) as f64 / m as f64),
            p: judged.map(|judged| judged.p),
            threshold: judged.map(|judged| judged.threshold),
            calibration: judged.map(|judged| judged.calibration),
            verdict: if n < self.min_rows || p.len() < 2 {
                Verdict::NoReference
            } else if m < self.min_rows {
                Verdict::Insufficient
            } else {
                Verdict::Stable
            },
        }
    }
}

/// The bins that contribute most to a column's population stability index, the greatest first.
pub(crate) fn top_bins(
    reference: &ColumnProfile,
    current: &ColumnCounts,
    most: usize,
) -> Vec<BinShift> {
    let (p, q) = (
        reference.bins.share_counts(&reference.counts),
        reference.bins.share_counts(&current.bins),
    );
    let (n, m) = (
        p.iter().sum::<u64>().max(1) as f64,
        q.iter().sum::<u64>().max(1) as f64,
    );
    let mut shifts: Vec<BinShift> = bin_names(&reference.bins)
        .into_iter()
        .zip(p.iter().zip(&q))
        .map(|(bin, (p, q))| {
            let (reference_share, share) = (*p as f64 / n, *q as f64 / m);
            BinShift {
                bin,
                reference_share,
                share,
                contribution: psi_term(reference_share, share),
            }
        })
        .collect();
    shifts.sort_by(|a, b| b.contribution.total_cmp(&a.contribution));
    shifts.truncate(most);
    shifts
}

/// Names of the bins of the share-based scores: an interval, the one value of an atom, or a
/// category.
fn bin_names(bins: &ColumnBins) -> Vec<String> {
    match bins {
        ColumnBins::Numeric(edges) => {
            let inner: Vec<f64> = edges.decile_edges().collect();
            let bound = |i: usize| inner.get(i).copied();
            let below = |i: usize| i.checked_sub(1).and_then(bound);
            let name = |i: usize| match (below(i), bound(i)) {
                (Some(low), Some(high)) if low == high.next_down() => format!("{high}"),
                (Some(low), Some(high)) => format!("({low}, {high}]"),
                (None, Some(high)) => format!("(-inf, {high}]"),
                (Some(low), None) => format!("({low}, inf)"),
                (None, None) => "(-inf, inf)".to_owned(),
            };
            (0..=inner.len()).map(name).collect()
        }
        ColumnBins::Categorical { categories, .. } => categories
            .iter()
            .cloned()
            .chain(["OTHER".to_owned(), "UNSEEN".to_owned()])
            .collect(),
    }
}

fn outer(bins: &[u64]) -> u64 {
    match bins {
        [first, .., last] => first + last,
        _ => 0,
    }
}
