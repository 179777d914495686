//! `[monitor]`: defaults, bounds, and the options of every monitor, written out without a default
//! so that none can be reached from code alone. Owns no key (those are in [`super`], from which the
//! pages are written). The server's monitors and `forebay profile` take what is in force from here,
//! so that a reference is calibrated on windows that a monitor would judge.

use anyhow::{Result, ensure};
use forebay_core::limits::{
    MONITOR_MAX_OPEN_PANES, MONITOR_MAX_PENDING, MONITOR_MAX_PENDING_LABELS, MONITOR_MAX_PER_KEY,
    MONITOR_MAX_SERIES, MONITOR_MAX_WINDOWS,
};
use forebay_monitor::{MonitorLimits, MonitorOptions};

use super::{Monitor, within};

/// Most `monitor.min_rows`.
const MIN_ROWS_MAX: u64 = 1_000_000_000;

impl Default for Monitor {
    fn default() -> Self {
        Self {
            min_rows: 500,
            score_threshold: 0.5,
            pending_max_predictions: MONITOR_MAX_PENDING,
            pending_max_labels: MONITOR_MAX_PENDING_LABELS,
            key_max_records: MONITOR_MAX_PER_KEY,
            max_series: MONITOR_MAX_SERIES,
            max_windows: MONITOR_MAX_WINDOWS,
            max_open_panes: MONITOR_MAX_OPEN_PANES,
        }
    }
}

impl Monitor {
    /// Refuse values that contradict limits.
    pub(super) fn validate(&self) -> Result<()> {
        within("monitor.min_rows", self.min_rows, 1, MIN_ROWS_MAX)?;
        ensure!(
            self.score_threshold.is_finite(),
            "monitor.score_threshold = {} is no score; give a finite number, such as 0.5",
            self.score_threshold
        );
        for (key, value, most) in [
            (
                "monitor.pending_max_predictions",
                self.pending_max_predictions,
                MONITOR_MAX_PENDING,
            ),
            (
                "monitor.pending_max_labels",
                self.pending_max_labels,
                MONITOR_MAX_PENDING_LABELS,
            ),
            (
                "monitor.key_max_records",
                self.key_max_records,
                MONITOR_MAX_PER_KEY,
            ),
            ("monitor.max_series", self.max_series, MONITOR_MAX_SERIES),
            ("monitor.max_windows", self.max_windows, MONITOR_MAX_WINDOWS),
            (
                "monitor.max_open_panes",
                self.max_open_panes,
                MONITOR_MAX_OPEN_PANES,
            ),
        ] {
            within(key, value, 1, most)?;
        }
        Ok(())
    }

    /// What every monitor keeps to.
    pub(crate) fn options(&self) -> MonitorOptions {
        MonitorOptions {
            min_rows: self.min_rows,
            score_threshold: self.score_threshold,
            limits: MonitorLimits {
                pending_predictions: self.pending_max_predictions,
                pending_labels: self.pending_max_labels,
                per_key: self.key_max_records,
                series: self.max_series,
                windows: self.max_windows,
                open_panes: self.max_open_panes,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_reaches_its_option() {
        let monitor = Monitor {
            min_rows: 2,
            score_threshold: -0.25,
            pending_max_predictions: 3,
            pending_max_labels: 5,
            key_max_records: 7,
            max_series: 11,
            max_windows: 13,
            max_open_panes: 17,
        };
        monitor.validate().expect("within its bounds");
        let expected = MonitorOptions {
            min_rows: 2,
            score_threshold: -0.25,
            limits: MonitorLimits {
                pending_predictions: 3,
                pending_labels: 5,
                per_key: 7,
                series: 11,
                windows: 13,
                open_panes: 17,
            },
        };
        assert_eq!(monitor.options(), expected);
        assert_eq!(Monitor::default().options(), MonitorOptions::default());
    }

    #[test]
    fn a_threshold_that_is_no_number_is_refused() {
        for score_threshold in [f64::NAN, f64::INFINITY] {
            let monitor = Monitor {
                score_threshold,
                ..Monitor::default()
            };
            let error = monitor.validate().expect_err("refused").to_string();
            assert!(error.starts_with("monitor.score_threshold = "), "{error}");
        }
    }
}
