//! What this crate tells the metrics: batches scored, workers up and their queues, models READY.
//! Silent until a registry of metrics is given; names and labels are in `telemetry`. Nothing is
//! decided from what is recorded here.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use forebay_telemetry::Metrics;

use crate::model::ModelId;

/// The only device that scores so far.
const DEVICE: &str = "cpu";

/// Records, once it knows where to.
#[derive(Debug, Default)]
pub(crate) struct Recorder(OnceLock<Arc<Metrics>>);

impl Recorder {
    /// From now on record to `metrics`; the first call counts.
    pub(crate) fn record_to(&self, metrics: Arc<Metrics>) {
        self.0.get_or_init(|| metrics);
    }

    fn with(&self, record: impl FnOnce(&Metrics)) {
        if let Some(metrics) = self.0.get() {
            record(metrics);
        }
    }

    /// A batch of `rows` was scored in `took`.
    pub(crate) fn scored(&self, model: &str, rows: usize, took: Duration) {
        self.with(|metrics| {
            metrics
                .inference_batch_rows
                .with([model])
                .observe(rows as f64);
            metrics
                .inference_compute_duration
                .with([model, DEVICE])
                .observe_duration(took);
        });
    }

    /// A batch waited `waited` before its worker began with it.
    pub(crate) fn queued(&self, waited: Duration) {
        self.with(|metrics| {
            metrics
                .inference_queue_duration
                .with([])
                .observe_duration(waited)
        });
    }

    /// `worker` answers, with `pending_rows` waiting there.
    pub(crate) fn worker_up(&self, worker: &str, pending_rows: u64) {
        self.with(|metrics| {
            metrics.worker_up.with([worker]).set(1.0);
            metrics
                .worker_queue_rows
                .with([worker])
                .set(pending_rows as f64);
        });
    }

    /// `worker` does not answer.
    pub(crate) fn worker_down(&self, worker: &str) {
        self.with(|metrics| metrics.worker_up.with([worker]).set(0.0));
    }

    /// `worker` is known no more.
    pub(crate) fn worker_forgotten(&self, worker: &str) {
        self.with(|metrics| {
            metrics.worker_up.remove([worker]);
            metrics.worker_queue_rows.remove([worker]);
        });
    }

    /// Whether the version scores.
    pub(crate) fn model_ready(&self, id: &ModelId, ready: bool) {
        self.with(|metrics| {
            let value = if ready { 1.0 } else { 0.0 };
            metrics
                .model_ready
                .with([&id.model, &id.version.to_string(), DEVICE])
                .set(value);
        });
    }
}
