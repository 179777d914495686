//! The `Scorer` port over the models of this process: what `forebay demo` and a server without
//! workers use.
//!
//! Small batches are scored where they are; large ones go to tokio's blocking threads when there is
//! a runtime, so that a server's async threads are never held for long.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Instant;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use forebay_core::ports::{Scorer, Scores};
use forebay_core::{ErrorKind, PortResult};
use forebay_telemetry::Metrics;
use tokio::runtime::Handle;

use crate::error::InferError;
use crate::model::ModelStore;
use crate::recorder::Recorder;

/// Tree walks that may run on an async thread (a walk of six levels takes about 20 ns).
const INLINE_MAX_WALKS: usize = 20_000;

/// Scores with the models of a [`ModelStore`].
#[derive(Debug, Clone)]
pub struct LocalScorer {
    store: Arc<ModelStore>,
    threads: usize,
    recorder: Arc<Recorder>,
}

impl LocalScorer {
    /// Over `store`, large batches on all cores.
    #[must_use]
    pub fn new(store: Arc<ModelStore>) -> Self {
        Self::with_threads(store, available_parallelism().map_or(1, usize::from))
    }

    /// Over `store`, large batches on up to `threads` threads (at least one).
    pub(crate) fn with_threads(store: Arc<ModelStore>, threads: usize) -> Self {
        Self {
            store,
            threads: threads.max(1),
            recorder: Arc::default(),
        }
    }

    /// Tell `metrics` what is scored, from now on.
    pub fn record_to(&self, metrics: Arc<Metrics>) {
        self.recorder.record_to(metrics);
    }

    /// The models behind it.
    #[must_use]
    pub fn store(&self) -> &Arc<ModelStore> {
        &self.store
    }
}

#[async_trait]
impl Scorer for LocalScorer {
    async fn score(&self, model: &str, version: u32, features: RecordBatch) -> PortResult<Scores> {
        let loaded = self.store.get(model, version)?;
        let walks = loaded.forest().trees().saturating_mul(features.num_rows());
        let (threads, rows, start) = (self.threads, features.num_rows(), Instant::now());
        let raw = match Handle::try_current() {
            Ok(runtime) if walks > INLINE_MAX_WALKS => runtime
                .spawn_blocking(move || loaded.score(&features, threads))
                .await
                .unwrap_or_else(|error| match error.try_into_panic() {
                    // The caller contains a panic of the scorer, also one from another thread.
                    Ok(panic) => resume_unwind(panic),
                    Err(_) => Err(InferError::worker(
                        ErrorKind::Unavailable,
                        "scoring was cut off",
                    )),
                })?,
            _ => loaded.score(&features, threads)?,
        };
        self.recorder.scored(model, rows, start.elapsed());
        Ok(raw.into())
    }
}
