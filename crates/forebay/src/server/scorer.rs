//! Who scores: the workers that are configured or have registered for the model version, and this
//! process where there is none. The choice is made for each batch, so that the first worker takes
//! over when it comes and this process when the last one leaves.

use std::sync::Arc;
use std::time::Instant;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use forebay_core::PortResult;
use forebay_core::ports::{Scorer, Scores};
use forebay_infer::{LocalScorer, ModelId, WorkerInfo, WorkerPool};

/// Spreads batches over workers, or scores here.
#[derive(Debug, Clone)]
pub(crate) struct RoutedScorer {
    local: LocalScorer,
    pool: WorkerPool,
}

impl RoutedScorer {
    /// `pool` while it knows a worker for a version, else `local`.
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
        if is_served(
            &self.pool.registry().workers(Instant::now()),
            &ModelId::new(model, version),
        ) {
            return self.pool.score(model, version, features).await;
        }
        self.local.score(model, version, features).await
    }
}

/// Whether any of `workers` may be asked for `id`: one that registered says what it has, one from
/// the settings is asked.
fn is_served(workers: &[WorkerInfo], id: &ModelId) -> bool {
    workers.iter().any(|worker| {
        worker
            .models
            .as_ref()
            .is_none_or(|models| models.contains(id))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_asked_for_the_versions_that_it_has() {
        let (old, new) = (ModelId::new("late", 1), ModelId::new("late", 2));
        let worker = |models| WorkerInfo {
            address: "127.0.0.1:9000".to_owned(),
            models,
        };
        let of_old = [worker(Some(Vec::new())), worker(Some(vec![old.clone()]))];
        assert!(is_served(&of_old, &old));
        assert!(
            !is_served(&of_old, &new),
            "a new version is scored here until a worker has it"
        );
        assert!(is_served(&[worker(None)], &new));
        assert!(!is_served(&[], &old));
    }
}
