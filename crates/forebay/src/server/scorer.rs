//! Who scores: the workers that are configured or have registered, and this process where there is none. The choice is
//! made for each batch, so that the first worker takes over when it comes and this process when the last one leaves.

use std::sync::Arc;
use std::time::Instant;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use forebay_core::PortResult;
use forebay_core::ports::{Scorer, Scores};
use forebay_infer::{LocalScorer, WorkerPool};

/// Spreads batches over workers, or scores here.
#[derive(Debug, Clone)]
pub(crate) struct RoutedScorer {
    local: LocalScorer,
    pool: WorkerPool,
}

impl RoutedScorer {
    /// `pool` while it knows a worker, else `local`.
    #[must_use]
    pub(crate) fn shared(local: LocalScorer, pool: WorkerPool) -> Arc<Self> {
        Arc::new(Self { local, pool })
    }

    /// The pool, for registrations and fingerprints.
    #[must_use]
    pub(crate) fn pool(&self) -> &WorkerPool {
        &self.pool
    }
}

#[async_trait]
impl Scorer for RoutedScorer {
    async fn score(&self, model: &str, version: u32, features: RecordBatch) -> PortResult<Scores> {
        if self.pool.registry().workers(Instant::now()).is_empty() {
            return self.local.score(model, version, features).await;
        }
        self.pool.score(model, version, features).await
    }
}
