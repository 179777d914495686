//! What a monitor says: plain data that serialises to JSON, for the summary, the console, the
//! metrics and the alerts. Deterministic: equal rows and watermarks give equal reports, in whatever
//! order and batches the rows came.

use forebay_core::prediction::Role;
use forebay_core::time::Micros;
use serde::{Deserialize, Serialize};

use crate::calibrate::Calibration;
use crate::labels::LabelFates;
use crate::profile::ColumnRole;
use crate::quality::QualityReport;

/// Everything that a monitor knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MonitorReport {
    /// Name of the monitor.
    pub monitor: String,
    /// Model that it watches.
    pub model: String,
    /// Name of the reference.
    pub reference: String,
    /// Digest of the reference profile.
    pub reference_digest: String,
    /// Length of a window, microseconds.
    pub window_us: Micros,
    /// Event time up to which all predictions are back; None before the first. Closes windows.
    pub watermark_us: Option<Micros>,
    /// Event time up to which labels have come; None before the first, and without labels. Lets
    /// labels expire.
    pub labels_watermark_us: Option<Micros>,
    /// What became of the prediction rows.
    pub input: InputCounts,
    /// What became of the labels; None where the monitor has none.
    pub labels: Option<LabelFates>,
    /// One for each version and role, ascending.
    pub series: Vec<SeriesReport>,
}

/// What became of prediction rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputCounts {
    /// Counted.
    pub accepted: u64,
    /// Seen before.
    pub repeats: u64,
    /// Of another model.
    pub other_model: u64,
    /// Without event time, identity or a known role.
    pub invalid: u64,
    /// Of a window that is no longer kept.
    pub too_old: u64,
    /// Beyond a limit on series, partitions or open panes.
    pub overflowed: u64,
}

impl InputCounts {
    /// Rows that were looked at, repeats left out: those are dropped before.
    pub(crate) fn rows(&self) -> u64 {
        self.accepted + self.other_model + self.invalid + self.too_old + self.overflowed
    }
}

/// One model version in one role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesReport {
    /// Model version.
    pub version: u32,
    /// Live or shadow.
    pub role: Role,
    /// Whether a deployment routes to it; it has no alarms when none does.
    pub is_routed: bool,
    /// Kept windows, oldest first; windows without rows are absent.
    pub windows: Vec<WindowReport>,
    /// Alarms that are up after the last closed window.
    pub alarms: Vec<RaisedAlarm>,
    /// Quality over all predictions so far, also of windows no longer kept; None where the monitor
    /// has no labels.
    pub overall: Option<QualityReport>,
}

/// Whether a window still takes rows without a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowState {
    /// Still open: no alarm hangs on it.
    Provisional,
    /// The watermark has passed its end plus lateness.
    Closed,
}

/// One window of one series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowReport {
    /// Start, microseconds since the epoch, included.
    pub start_us: Micros,
    /// End, excluded.
    pub end_us: Micros,
    /// Open or closed.
    pub state: WindowState,
    /// Rows that came when it had closed, by the log of their event's partition.
    pub revision: u32,
    /// Predictions.
    pub rows: u64,
    /// Columns of the reference, in its order.
    pub columns: Vec<ColumnReport>,
    /// Drifted columns over columns with a verdict; None when none has one.
    pub drifted_ratio: Option<f64>,
    /// What labels say so far; None where the monitor has none.
    pub quality: Option<QualityReport>,
}

/// What can be said of a column in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The reference has too few values of this column.
    NoReference,
    /// The window has too few.
    Insufficient,
    /// Not above the threshold.
    Stable,
    /// Above it.
    Drifted,
}

/// One column of one window against the reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnReport {
    /// Name of the feature, or `score`.
    pub column: String,
    /// Feature or score.
    pub role: ColumnRole,
    /// Values that are neither NULL nor NaN.
    pub values: u64,
    /// NULLs.
    pub nulls: u64,
    /// NaN.
    pub nans: u64,
    /// NULLs over rows.
    pub null_ratio: Option<f64>,
    /// The same in the reference.
    pub reference_null_ratio: Option<f64>,
    /// Values that the reference lacks; categorical columns only.
    pub unseen: Option<u64>,
    /// Mean of the finite values.
    pub mean: Option<f64>,
    /// The same in the reference.
    pub reference_mean: Option<f64>,
    /// Bins of the share-based scores.
    pub bins: usize,
    /// Population stability index, floor 1e-4.
    pub psi: Option<f64>,
    /// Jensen-Shannon distance, base 2.
    pub js: Option<f64>,
    /// Kolmogorov-Smirnov distance; numeric columns only.
    pub ks: Option<f64>,
    /// Its tail probability for independent rows.
    pub ks_p: Option<f64>,
    /// Two-sample chi-square statistic; categorical columns only.
    pub chi_square: Option<f64>,
    /// Its tail probability for independent rows.
    pub chi_square_p: Option<f64>,
    /// Share of values in the two outer bins: near 1 the reference no longer resolves the column.
    pub outer_ratio: Option<f64>,
    /// Probability of this index or more without drift, by the calibration below.
    pub p: Option<f64>,
    /// The index at which the line is drawn.
    pub threshold: Option<f64>,
    /// Where the line comes from.
    pub calibration: Option<Calibration>,
    /// What follows.
    pub verdict: Verdict,
}

/// An alarm that is up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RaisedAlarm {
    /// Column.
    pub column: String,
    /// Feature or score.
    pub role: ColumnRole,
    /// End of the window that raised it.
    pub since_us: Micros,
}

/// How a bin moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BinShift {
    /// Interval, single value, category, OTHER or UNSEEN.
    pub bin: String,
    /// Share in the reference.
    pub reference_share: f64,
    /// Share in the window.
    pub share: f64,
    /// Part of the population stability index.
    pub contribution: f64,
}

/// An alarm that went up or down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlarmNotice {
    /// Name of the monitor.
    pub monitor: String,
    /// Model.
    pub model: String,
    /// Model version.
    pub version: u32,
    /// Live or shadow.
    pub role: Role,
    /// Column.
    pub column: String,
    /// Feature or score.
    pub column_role: ColumnRole,
    /// Score that it is about: `psi`.
    pub method: String,
    /// True when it went up.
    pub firing: bool,
    /// Window that decided.
    pub window_start_us: Micros,
    /// Its end.
    pub window_end_us: Micros,
    /// Its revision.
    pub revision: u32,
    /// Score in that window.
    pub score: Option<f64>,
    /// Its threshold.
    pub threshold: Option<f64>,
    /// Its tail probability.
    pub p: Option<f64>,
    /// Values of the column in that window.
    pub values: u64,
    /// Values of the column in the reference.
    pub reference_values: u64,
    /// Where the threshold comes from.
    pub calibration: Option<Calibration>,
    /// Name of the reference.
    pub reference: String,
    /// Digest of its profile.
    pub reference_digest: String,
    /// Label coverage of that window.
    pub coverage: Option<f64>,
    /// Bins that moved most.
    pub top_bins: Vec<BinShift>,
}

/// What an advancing watermark brings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum MonitorEvent {
    /// A window closed, or late rows changed a closed one.
    WindowClosed {
        /// Model version.
        version: u32,
        /// Live or shadow.
        role: Role,
        /// The window.
        window: WindowReport,
    },
    /// All predictions of a closed window have their label or have waited long enough. Once a
    /// window.
    WindowMatured {
        /// Model version.
        version: u32,
        /// Live or shadow.
        role: Role,
        /// The window.
        window: WindowReport,
    },
    /// An alarm went up.
    AlarmRaised(AlarmNotice),
    /// An alarm went down.
    AlarmResolved(AlarmNotice),
}
