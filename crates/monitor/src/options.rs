//! What a monitor is set up with beside its definition: from how many rows on it speaks, what it
//! takes as a positive prediction, and how much it may hold.

use forebay_core::limits;

/// Settings that a definition does not have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MonitorOptions {
    /// Values that a column needs in a window before anything is said about it.
    pub min_rows: u64,
    /// Score from which on the model is taken to predict TRUE.
    pub score_threshold: f64,
    /// Limits; the defaults are those of `core::limits`.
    pub limits: MonitorLimits,
}

/// Limits of one monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MonitorLimits {
    /// Predictions that wait for a label.
    pub pending_predictions: usize,
    /// Labels that wait for a prediction.
    pub pending_labels: usize,
    /// Predictions, and labels, that share one join key.
    pub per_key: usize,
    /// (Model version, role) pairs.
    pub series: usize,
    /// Closed windows kept for one series, those without rows counted too.
    pub windows: usize,
    /// Open panes of one series.
    pub open_panes: usize,
}

impl Default for MonitorLimits {
    fn default() -> Self {
        Self {
            pending_predictions: limits::MONITOR_MAX_PENDING,
            pending_labels: limits::MONITOR_MAX_PENDING_LABELS,
            per_key: limits::MONITOR_MAX_PER_KEY,
            series: limits::MONITOR_MAX_SERIES,
            windows: limits::MONITOR_MAX_WINDOWS,
            open_panes: limits::MONITOR_MAX_OPEN_PANES,
        }
    }
}

impl Default for MonitorOptions {
    fn default() -> Self {
        Self {
            min_rows: 500,
            score_threshold: 0.5,
            limits: MonitorLimits::default(),
        }
    }
}
