//! Watching a model: does what it sees and says still look like its training set, and do its
//! predictions come true?
//!
//! [`build_profile_of`] makes a [`ReferenceProfile`] from a training set once. A [`Monitor`] takes
//! prediction records and labels as Arrow batches and a watermark, and gives [`MonitorEvent`]s
//! (windows closed, alarms up and down) and a [`MonitorReport`]. State is integer counts over the
//! reference's fixed bins and exact sums: merging is addition, correction is subtraction, and a
//! replay gives identical numbers.
//!
//! A [`MonitorBinding`] binds one to the log: it reads events, predictions and labels in whatever
//! order they arrive, decides how far the monitor may move, and gives and takes checkpoints. This
//! crate does no I/O, reads no clock, and knows no topic but the name of the alerts'; `control`
//! does the rest. Follow a prediction: `feed` -> `binding` -> `batch` -> `binner` -> `window` ->
//! `evaluate` -> `series`; a label: `feed` -> `label_rows` -> `labels` -> `quality`; a checkpoint:
//! `state`.

mod alarm;
mod alert;
mod batch;
mod binding;
mod binner;
mod calibrate;
mod columns;
mod counts;
mod decided;
mod error;
mod evaluate;
mod feed;
mod label_rows;
mod labels;
mod marks;
mod monitor;
mod options;
mod profile;
mod quality;
mod report;
mod series;
mod state;
mod statistics;
#[cfg(test)]
mod tests;
mod window;

pub use alert::ALERT_TOPIC;
pub use binding::{LabelFeed, MonitorBinding, WatchedDeployment};
pub use calibrate::Calibration;
pub use error::{MonitorError, Result};
pub use feed::SourceRows;
pub use label_rows::FailedLabels;
pub use labels::LabelFates;
#[cfg(test)]
pub(crate) use marks::MonitorMarks;
pub use monitor::Monitor;
pub use options::{MonitorLimits, MonitorOptions};
pub use profile::{
    CalibrationWindows, ColumnBins, ColumnProfile, ColumnRole, Moments, NumericEdges,
    ReferenceProfile, TrainingBatches, TrainingRows, build_profile_of,
};
pub use quality::QualityReport;
pub use report::{
    AlarmNotice, BinShift, ColumnReport, InputCounts, MonitorEvent, MonitorReport, RaisedAlarm,
    SeriesReport, Verdict, WindowReport, WindowState,
};
