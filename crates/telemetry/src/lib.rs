//! Telemetry: every metric of Forebay, by name, and the set-up of logs.
//!
//! [`Metrics`] is a value that owns its registry; the binary makes one and hands it to whoever
//! records. [`names`] holds the one list of metrics, [`family`] the handles that are resolved once
//! and then recorded through, [`logs`] the subscriber, [`invariants`] what a
//! broken invariant becomes. Nothing here is global but the subscriber that [`logs::install`] and
//! the hook that [`invariants::InvariantReport::install`] set, once, for the process; nothing here
//! opens a port: `serve` exposes [`Metrics::text`] at `/metrics`.

pub mod error;
pub mod family;
pub mod invariants;
pub mod logs;
pub mod names;

pub use error::TelemetryError;
pub use family::{Counter, CounterFamily, Gauge, GaugeFamily, Histogram, HistogramFamily};
pub use names::Metrics;

#[cfg(test)]
mod tests;
