//! Records what serving does: one handle set a (method, service), resolved once per stream or call.
//! The label of a service is the name of one that exists; a name that only a client knows becomes
//! `unknown`.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use forebay_core::invariant::Invariant;
use forebay_telemetry::{Counter, Gauge, Histogram, Metrics};

use crate::error::ServeError;

/// Label of a service that does not exist.
pub(crate) const UNKNOWN_SERVICE: &str = "unknown";

/// Time spent in the stages of a request.
#[derive(Debug, Clone)]
pub(crate) struct Stages {
    /// Bytes to rows.
    pub(crate) decode: Histogram,
    /// Rows to features.
    pub(crate) lookup: Histogram,
    /// Features to bytes.
    pub(crate) encode: Histogram,
}

impl Stages {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let stage = |name| metrics.serving_stage_duration.with([name]);
        Self {
            decode: stage("decode"),
            lookup: stage("lookup"),
            encode: stage("encode"),
        }
    }
}

/// Records the requests of one method on one service.
pub(crate) struct Recorder {
    metrics: Arc<Metrics>,
    method: &'static str,
    service: String,
    ok: Counter,
    duration: Histogram,
    rows: Counter,
    in_flight: Gauge,
}

impl Recorder {
    pub(crate) fn new(metrics: &Arc<Metrics>, method: &'static str, service: &str) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            method,
            service: service.to_owned(),
            ok: metrics.serving_requests.with([method, service, "ok"]),
            duration: metrics.serving_duration.with([method, service]),
            rows: metrics.serving_rows.with([service]),
            in_flight: metrics.serving_in_flight.with([]),
        }
    }

    /// A request is being answered until the returned value is dropped.
    pub(crate) fn enter(&self) -> InFlight {
        self.in_flight.add(1.0);
        InFlight(self.in_flight.clone())
    }

    /// It was answered with `rows` rows.
    pub(crate) fn answered(&self, arrived: Instant, rows: usize) {
        self.ok.inc();
        self.rows.add(rows as u64);
        self.duration.observe_duration(arrived.elapsed());
    }

    /// It was refused or failed.
    pub(crate) fn failed(&self, arrived: Instant, error: &ServeError) {
        let code = match error {
            ServeError::Unsupported(_) => "unimplemented",
            other => other.kind().label(),
        };
        self.metrics
            .serving_requests
            .with([self.method, &self.service, code])
            .inc();
        self.duration.observe_duration(arrived.elapsed());
        match error {
            ServeError::Limit { limit, .. } => self.metrics.limit_rejections.with([limit]).inc(),
            ServeError::Overload { reason, .. } => self.metrics.serving_shed.with([reason]).inc(),
            _ => {}
        }
    }

    /// A panic was contained: a defect, counted as such.
    pub(crate) fn panicked(&self) {
        self.metrics
            .invariant_violations
            .with([Invariant::RequestDoesNotPanic.id()])
            .inc();
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("method", &self.method)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

/// Holds the in-flight gauge up.
#[derive(Debug)]
pub(crate) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.sub(1.0);
    }
}
