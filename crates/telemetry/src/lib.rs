//! Telemetry: every metric of Forebay, by name, and the set-up of logs.
//!
//! [`Metrics`] is a value that owns its registry; the binary makes one and hands it to whoever
//! records. [`names`] holds the one list of metrics, [`family`] the handles that are resolved once
//! and then recorded through, [`timing`] durations that a part counts without a registry, [`logs`]
//! the subscriber, [`invariants`] what a broken invariant becomes. Nothing here is global but the
//! subscriber that [`logs::install`] sets and the report of
//! [`invariants::InvariantReport::of_process`], once for the process; nothing here opens a port:
//! `serve` exposes [`Metrics::text`] at `/metrics`.

mod described;
pub mod error;
pub mod family;
pub mod invariants;
pub mod logs;
pub mod names;
pub mod timing;

pub use error::TelemetryError;
pub use family::{
    Counter, CounterFamily, Gauge, GaugeFamily, Histogram, HistogramFamily, TimingFamily,
    TimingSeries,
};
pub use names::Metrics;
pub use timing::{Timing, TimingStats, Timings};

#[cfg(test)]
mod tests;
