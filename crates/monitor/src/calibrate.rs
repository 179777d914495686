//! What a drift score means: its tail probability and the score at which an alarm's line is drawn.
//! Calibrated on the reference's own windows where the profile has them (real streams are
//! autocorrelated: the textbook threshold is wrong by a factor of ten), else the textbook's
//! chi-square, else the fixed number that the user wrote.

use forebay_core::definition::AlertThreshold;
use serde::{Deserialize, Serialize};

use crate::profile::ColumnProfile;
use crate::statistics::{chi_square_tail, chi_square_threshold};

/// Calibration windows from which on a fit is trusted.
pub(crate) const STRONG_WINDOWS: usize = 20;
/// Calibration windows below which nothing is fitted.
pub(crate) const FEWEST_WINDOWS: usize = 3;

/// Where a threshold comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Calibration {
    /// The number in the monitor's definition.
    Fixed,
    /// Scaled chi-square fitted to at least [`STRONG_WINDOWS`] windows of the reference.
    Fitted,
    /// The same on fewer windows: take the false-alarm rate with salt.
    Weak,
    /// (1/n + 1/m) chi-square, for independent rows: too many alarms on autocorrelated ones.
    Analytic,
}

/// A score in the light of the reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Judgement {
    /// P(score or more) without drift.
    pub(crate) p: f64,
    /// Where the line is drawn.
    pub(crate) threshold: f64,
    pub(crate) calibration: Calibration,
}

/// How to judge the scores of one column.
#[derive(Debug, Clone)]
pub(crate) struct ScoreRule {
    /// Fixed threshold, if the user wrote one.
    fixed: Option<f64>,
    /// Scale and degrees of freedom of the fit, with its strength.
    fit: Option<(f64, f64, Calibration)>,
    degrees: f64,
    /// Chi-square value whose tail is the false-alarm rate, at the fit's (or else the textbook's)
    /// degrees of freedom.
    line: f64,
    reference_values: u64,
}

impl ScoreRule {
    pub(crate) fn new(column: &ColumnProfile, threshold: AlertThreshold) -> Self {
        let shares = column.bins.share_counts(&column.counts);
        let degrees = (shares.iter().filter(|count| **count > 0).count().max(2) - 1) as f64;
        let fit = fit(&column.calibration);
        let (fixed, line) = match threshold {
            AlertThreshold::Psi(fixed) => (Some(fixed), fixed),
            AlertThreshold::FalseAlarmRate(rate) => (
                None,
                chi_square_threshold(rate, fit.map_or(degrees, |(_, degrees, _)| degrees)),
            ),
        };
        Self {
            fixed,
            fit,
            degrees,
            line,
            reference_values: column.values(),
        }
    }

    /// `values`: those of the column in the window, not 0.
    pub(crate) fn judge(&self, score: f64, values: u64) -> Judgement {
        let (scale, degrees, strength) = self.fit.unwrap_or_else(|| {
            let scale = 1.0 / self.reference_values as f64 + 1.0 / values as f64;
            (scale, self.degrees, Calibration::Analytic)
        });
        let p = chi_square_tail(score / scale, degrees);
        match self.fixed {
            Some(threshold) => Judgement {
                p,
                threshold,
                calibration: Calibration::Fixed,
            },
            None => Judgement {
                p,
                threshold: scale * self.line,
                calibration: strength,
            },
        }
    }
}

/// Scaled chi-square with the scores' mean u and variance v: scale v/2u, 2u^2/v degrees of freedom.
fn fit(scores: &[f64]) -> Option<(f64, f64, Calibration)> {
    if scores.len() < FEWEST_WINDOWS {
        return None;
    }
    let n = scores.len() as f64;
    let mean = scores.iter().sum::<f64>() / n;
    let variance = scores.iter().map(|s| (s - mean) * (s - mean)).sum::<f64>() / (n - 1.0);
    let strength = if scores.len() < STRONG_WINDOWS {
        Calibration::Weak
    } else {
        Calibration::Fitted
    };
    let fit = (
        variance / (2.0 * mean),
        2.0 * mean * mean / variance,
        strength,
    );
    (fit.0.is_normal() && fit.1.is_normal()).then_some(fit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{ColumnBins, ColumnRole};

    fn column(calibration: Vec<f64>) -> ColumnProfile {
        let bins = ColumnBins::Categorical {
            categories: vec!["a".into(), "b".into(), "c".into()],
            others: Vec::new(),
            others_complete: true,
        };
        let (counts, name) = (vec![500, 300, 200, 0, 0], "x".to_owned());
        ColumnProfile {
            name,
            role: ColumnRole::Feature,
            bins,
            counts,
            nulls: 0,
            nans: 0,
            moments: None,
            calibration,
        }
    }

    #[test]
    fn the_line_has_the_asked_tail_and_the_fit_its_moments() {
        let scores: Vec<f64> = (0..25).map(|i| 0.02 + 0.001 * f64::from(i % 5)).collect();
        let rule = ScoreRule::new(&column(scores), AlertThreshold::FalseAlarmRate(0.01));
        let line = rule.judge(0.05, 700);
        assert_eq!(line.calibration, Calibration::Fitted);
        assert!((rule.judge(line.threshold, 700).p - 0.01).abs() < 1e-9);
        let (scale, degrees, _) = rule.fit.expect("25 windows");
        assert!(
            (scale * degrees - 0.022).abs() < 1e-12,
            "mean of a scaled chi-square"
        );
    }

    #[test]
    fn few_windows_are_weak_and_none_is_analytic() {
        let judge = |scores: &[f64]| {
            ScoreRule::new(
                &column(scores.to_vec()),
                AlertThreshold::FalseAlarmRate(0.05),
            )
            .judge(0.01, 1_000)
        };
        assert_eq!(judge(&[0.01, 0.02, 0.03]).calibration, Calibration::Weak);
        assert_eq!(judge(&[0.01, 0.02]).calibration, Calibration::Analytic);
        assert_eq!(
            judge(&[0.0, 0.0, 0.0]).calibration,
            Calibration::Analytic,
            "no variance, nothing to fit"
        );
        // 5.991464547107979 is the 95 % point of chi-square with two degrees of freedom.
        assert!((judge(&[]).threshold - 5.991_464_547_107_979 * (2.0 / 1_000.0)).abs() < 1e-12);
    }

    #[test]
    fn a_fixed_threshold_is_the_users_number() {
        let rule = ScoreRule::new(&column(Vec::new()), AlertThreshold::Psi(0.2));
        let judged = rule.judge(0.3, 1_000);
        assert_eq!(
            (judged.threshold, judged.calibration),
            (0.2, Calibration::Fixed)
        );
    }
}
