//! The `Scorer` port over worker processes: spreads batches over the workers that serve a model
//! version and loses none.
//!
//! A batch is split, sent ([`super::route`]) and put together in order. Every wait ends at a
//! deadline with a typed error. A caller that can score by itself uses
//! [`WorkerPool::score_or_decline`], which waits for no worker that has failed. Tasks run on the
//! runtime that is given at the start, so both may be awaited from any executor.

use std::sync::Arc;
use std::time::Instant;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use async_trait::async_trait;
use forebay_core::ports::{Scorer, Scores};
use forebay_core::{ErrorKind, PortError, PortResult};
use forebay_telemetry::Metrics;
use futures::future::try_join_all;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::options::PoolOptions;
use super::protocol::Expected;
use super::registry::WorkerRegistry;
use super::route::{Call, Declined, Shared};
use crate::error::InferError;
use crate::model::ModelId;
use crate::random::SplitMix64;
use crate::recorder::Recorder;

/// Bytes of one batch above which it is split further than by rows.
const BATCH_TARGET_BYTES: usize = 8 << 20;

/// Scores on worker processes.
#[derive(Debug, Clone)]
pub struct WorkerPool {
    shared: Arc<Shared>,
}

impl WorkerPool {
    /// Over the workers of `registry`; streams live on `runtime`.
    #[must_use]
    pub fn new(registry: Arc<WorkerRegistry>, runtime: Handle, options: PoolOptions) -> Self {
        let random = Mutex::new(SplitMix64::new(options.seed));
        let shared = Shared {
            registry,
            options,
            runtime,
            expected: Mutex::default(),
            slots: Mutex::default(),
            random,
            freed: Arc::new(Notify::new()),
            recorder: Recorder::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Tell `metrics` which workers answer and what waits there, from now on.
    pub fn record_to(&self, metrics: Arc<Metrics>) {
        self.shared.recorder.record_to(metrics);
    }

    /// The workers that it spreads over.
    #[must_use]
    pub fn registry(&self) -> &Arc<WorkerRegistry> {
        &self.shared.registry
    }

    /// Features for this model version come from a service with this `fingerprint`, and its files
    /// have this `digest`: workers refuse it when theirs differ, and so is an answer of another
    /// digest. Without them workers check names and types alone.
    pub fn expect(&self, model: &str, version: u32, fingerprint: &str, digest: &str) {
        let expected = Expected {
            fingerprint: fingerprint.to_owned(),
            digest: digest.to_owned(),
        };
        self.shared
            .expected
            .lock()
            .insert(ModelId::new(model, version), expected);
    }

    /// Score on workers that have not failed. Those that have are probed beside it, and nothing
    /// waits for them.
    ///
    /// # Errors
    /// No worker scores these rows now, and why.
    pub async fn score_or_decline(
        &self,
        model: &str,
        version: u32,
        features: RecordBatch,
    ) -> Result<Scores, Declined> {
        self.ask(ModelId::new(model, version), features, false)
            .await
    }

    /// `worker` has refused rows of `id` that others score: it counts as failed.
    pub fn contradict(&self, worker: &str, id: &ModelId) {
        self.shared.contradict(worker, id, "this process");
    }

    /// Split, send, put together in order, on the pool's runtime.
    async fn ask(
        &self,
        id: ModelId,
        features: RecordBatch,
        waits: bool,
    ) -> Result<Scores, Declined> {
        let shared = Arc::clone(&self.shared);
        let named = id.to_string();
        let work = self
            .shared
            .runtime
            .spawn(async move { score_all(&shared, id, &features, waits).await });
        work.await.unwrap_or_else(|error| {
            let kind = if error.is_cancelled() {
                ErrorKind::Unavailable
            } else {
                ErrorKind::Internal
            };
            let words = format!("scoring with {named} was cut off: {error}");
            Err(Declined::by_nobody(InferError::worker(kind, words)))
        })
    }
}

#[async_trait]
impl Scorer for WorkerPool {
    async fn score(&self, model: &str, version: u32, features: RecordBatch) -> PortResult<Scores> {
        let asked = self.ask(ModelId::new(model, version), features, true).await;
        asked.map_err(|declined| PortError::from(declined.error))
    }
}

async fn score_all(
    shared: &Arc<Shared>,
    id: ModelId,
    features: &RecordBatch,
    waits: bool,
) -> Result<Scores, Declined> {
    let options = &shared.options;
    let rows = features.num_rows();
    let schema: SchemaRef = Arc::new(Schema::new(features.schema_ref().fields().clone()));
    let call = Arc::new(Call {
        id,
        schema,
        deadline: Instant::now() + options.deadline,
        waits,
        probes: false,
    });
    let row_bytes = (features.get_array_memory_size() / rows.max(1)).max(1);
    let part_rows = (BATCH_TARGET_BYTES / row_bytes).clamp(1, options.batch_max_rows.max(1));
    let parts = (0..rows).step_by(part_rows).map(|start| {
        let part = features.slice(start, part_rows.min(rows - start));
        shared.score_part(&call, part)
    });
    let mut scores = Scores {
        margin: Vec::with_capacity(rows),
        score: Vec::with_capacity(rows),
    };
    for part in try_join_all(parts).await? {
        scores.margin.extend(part.margin);
        scores.score.extend(part.score);
    }
    Ok(scores)
}
