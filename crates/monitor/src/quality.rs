//! Quality of a binary classifier from late labels: what a label adds to its prediction's pane, and
//! the figures read from those counts. Every addition can be taken back exactly, so a corrected
//! label is one subtraction and one addition.
//!
//! AUC comes from two histograms of 1,000 equal bins over the score (error about 1e-6); log-loss
//! and Brier score are exact sums of per-row terms. A figure whose denominator is 0 is absent,
//! never 0.

use forebay_core::exact::FloatSum;
use forebay_core::time::Micros;
use serde::{Deserialize, Serialize};

/// Bins of the score histograms over [0, 1]; scores outside count in the outer bins.
pub(crate) const SCORE_BINS: usize = 1_000;

/// Linear counts of predictions and their labels.
#[derive(Debug, Clone, Default)]
pub(crate) struct QualityCounts {
    /// Predictions that may get a label.
    pub(crate) predictions: u64,
    /// Those that have one.
    pub(crate) labelled: u64,
    /// Those whose horizon passed without one.
    pub(crate) expired: u64,
    /// Predicted 1, label 1.
    pub(crate) true_positives: u64,
    /// Predicted 1, label 0.
    pub(crate) false_positives: u64,
    /// Predicted 0, label 0.
    pub(crate) true_negatives: u64,
    /// Predicted 0, label 1.
    pub(crate) false_negatives: u64,
    /// Score histogram by label: `[negatives, positives]`; empty until the first label.
    pub(crate) histograms: [Vec<u64>; 2],
    pub(crate) log_loss: FloatSum,
    pub(crate) squared_error: FloatSum,
    pub(crate) delay_us: i128,
}

/// A label as it is credited to a prediction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Credit {
    /// The prediction's score, finite.
    pub(crate) score: f64,
    /// The label.
    pub(crate) label: bool,
    /// Label time less prediction time, microseconds.
    pub(crate) delay_us: Micros,
}

impl Credit {
    /// -(y ln p + (1-y) ln(1-p)) with p clipped to machine epsilon from both ends, as scikit-learn
    /// does for f64.
    #[must_use]
    pub(crate) fn log_loss(&self) -> f64 {
        let p = self.score.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
        -libm::log(if self.label { p } else { 1.0 - p })
    }

    fn squared_error(&self) -> f64 {
        let error = self.score - f64::from(u8::from(self.label));
        error * error
    }

    fn bin(&self) -> usize {
        // The cast saturates: scores below 0 fall into bin 0.
        ((self.score * SCORE_BINS as f64) as usize).min(SCORE_BINS - 1)
    }
}

impl QualityCounts {
    /// Credit a label at decision threshold `threshold` (predicted 1 from it on).
    pub(crate) fn credit(&mut self, credit: &Credit, threshold: f64) {
        self.labelled += 1;
        *self.cell(credit, threshold) += 1;
        self.histogram(credit.label)[credit.bin()] += 1;
        self.log_loss.add(credit.log_loss());
        self.squared_error.add(credit.squared_error());
        self.delay_us += i128::from(credit.delay_us);
    }

    /// Take back what [`Self::credit`] added for the same label and threshold.
    pub(crate) fn retract(&mut self, credit: &Credit, threshold: f64) {
        self.labelled -= 1;
        *self.cell(credit, threshold) -= 1;
        self.histogram(credit.label)[credit.bin()] -= 1;
        self.log_loss.retract(credit.log_loss());
        self.squared_error.retract(credit.squared_error());
        self.delay_us -= i128::from(credit.delay_us);
    }

    /// Whether each label is in one of the four cells, and no prediction both has one and expired.
    pub(crate) fn adds_up(&self) -> bool {
        let cells = [
            self.true_positives,
            self.false_positives,
            self.true_negatives,
            self.false_negatives,
        ];
        let cells: u128 = cells.map(u128::from).iter().sum();
        let settled = u128::from(self.labelled) + u128::from(self.expired);
        cells == u128::from(self.labelled) && settled <= u128::from(self.predictions)
    }

    /// Add `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.merge_counts(other);
        self.log_loss.merge(&other.log_loss);
        self.squared_error.merge(&other.squared_error);
        self.delay_us += other.delay_us;
    }

    /// The figures of these counts.
    #[must_use]
    pub(crate) fn report(&self) -> QualityReport {
        let (tp, fp, fneg) = (
            self.true_positives,
            self.false_positives,
            self.false_negatives,
        );
        let pending = self
            .predictions
            .saturating_sub(self.labelled + self.expired);
        QualityReport {
            predictions: self.predictions,
            labelled: self.labelled,
            expired: self.expired,
            pending,
            coverage: ratio(self.labelled, self.predictions),
            maturity: ratio(self.predictions - pending, self.predictions),
            final_coverage: ratio(self.labelled, self.labelled + self.expired),
            positive_rate: ratio(tp + fneg, self.labelled),
            true_positives: tp,
            false_positives: fp,
            true_negatives: self.true_negatives,
            false_negatives: fneg,
            precision: ratio(tp, tp + fp),
            recall: ratio(tp, tp + fneg),
            f1: ratio(2 * tp, 2 * tp + fp + fneg),
            auc: self.auc(),
            log_loss: self.log_loss.avg(),
            brier: self.squared_error.avg(),
            label_delay_seconds: (self.labelled > 0)
                .then(|| self.delay_us as f64 / self.labelled as f64 / 1e6),
        }
    }

    /// Sum over score bins of pos (neg below + neg / 2), over P N, in integers up to the last
    /// division.
    fn auc(&self) -> Option<f64> {
        let [negatives, positives] = &self.histograms;
        let (mut below, mut twice_area) = (0_u128, 0_u128);
        for (neg, pos) in negatives.iter().zip(positives) {
            twice_area += u128::from(*pos) * (2 * below + u128::from(*neg));
            below += u128::from(*neg);
        }
        let pairs = below * positives.iter().map(|pos| u128::from(*pos)).sum::<u128>();
        (pairs > 0).then(|| twice_area as f64 / (2 * pairs) as f64)
    }

    fn cell(&mut self, credit: &Credit, threshold: f64) -> &mut u64 {
        match (credit.score >= threshold, credit.label) {
            (true, true) => &mut self.true_positives,
            (true, false) => &mut self.false_positives,
            (false, false) => &mut self.true_negatives,
            (false, true) => &mut self.false_negatives,
        }
    }

    /// The histogram of one class; both get their bins with the first label, for their sums are
    /// taken in pairs.
    fn histogram(&mut self, label: bool) -> &mut [u64] {
        self.histograms
            .iter_mut()
            .for_each(|h| h.resize(SCORE_BINS, 0));
        &mut self.histograms[usize::from(label)]
    }

    fn merge_counts(&mut self, other: &Self) {
        let pairs = [
            (&mut self.predictions, other.predictions),
            (&mut self.labelled, other.labelled),
            (&mut self.expired, other.expired),
            (&mut self.true_positives, other.true_positives),
            (&mut self.false_positives, other.false_positives),
            (&mut self.true_negatives, other.true_negatives),
            (&mut self.false_negatives, other.false_negatives),
        ];
        for (mine, theirs) in pairs {
            *mine += theirs;
        }
        for label in [false, true] {
            let theirs = &other.histograms[usize::from(label)];
            if !theirs.is_empty() {
                self.histogram(label)
                    .iter_mut()
                    .zip(theirs)
                    .for_each(|(a, b)| *a += b);
            }
        }
    }
}

/// Equal counts and exact sums; a histogram that was never touched equals one that is all zero.
impl PartialEq for QualityCounts {
    fn eq(&self, other: &Self) -> bool {
        let same_bins = |a: &[u64], b: &[u64]| {
            (0..SCORE_BINS)
                .all(|i| a.get(i).copied().unwrap_or(0) == b.get(i).copied().unwrap_or(0))
        };
        self.report() == other.report()
            && same_bins(&self.histograms[0], &other.histograms[0])
            && same_bins(&self.histograms[1], &other.histograms[1])
            && self.delay_us == other.delay_us
    }
}

/// Quality of the predictions of one window, or of all of them. Absent figures had nothing to be
/// computed from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct QualityReport {
    /// Predictions that may get a label.
    pub predictions: u64,
    /// Those that have one.
    pub labelled: u64,
    /// Those whose horizon passed without one.
    pub expired: u64,
    /// Those that still wait.
    pub pending: u64,
    /// labelled / predictions.
    pub coverage: Option<f64>,
    /// 1 - pending / predictions.
    pub maturity: Option<f64>,
    /// labelled / (labelled + expired).
    pub final_coverage: Option<f64>,
    /// Share of label 1 among the labelled.
    pub positive_rate: Option<f64>,
    /// Predicted 1, label 1.
    pub true_positives: u64,
    /// Predicted 1, label 0.
    pub false_positives: u64,
    /// Predicted 0, label 0.
    pub true_negatives: u64,
    /// Predicted 0, label 1.
    pub false_negatives: u64,
    /// TP / (TP + FP).
    pub precision: Option<f64>,
    /// TP / (TP + FN).
    pub recall: Option<f64>,
    /// 2 TP / (2 TP + FP + FN).
    pub f1: Option<f64>,
    /// Area under the ROC curve.
    pub auc: Option<f64>,
    /// Mean log-loss, natural logarithm.
    pub log_loss: Option<f64>,
    /// Mean squared error of the score.
    pub brier: Option<f64>,
    /// Mean distance from prediction to label, seconds.
    pub label_delay_seconds: Option<f64>,
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
