//! Asking a model, in this process or on a worker.
//! `infer` implements it.

use std::fmt::Debug;

use arrow_array::RecordBatch;
use async_trait::async_trait;

use crate::error::PortResult;

/// Scores of one batch.
#[derive(Debug, Clone)]
pub struct Scores {
    /// Raw model output, f32 widened to f64 without loss, one for each row.
    pub margin: Vec<f64>,
    /// The output that the objective defines (a probability for a classifier), one for each row.
    pub score: Vec<f64>,
}

/// A pool of workers, or a model in this process.
#[async_trait]
pub trait Scorer: Send + Sync + Debug {
    /// Score `features` (a service's features) with version `version` of `model`.
    ///
    /// # Errors
    /// Unknown model or version, another feature fingerprint, no worker.
    async fn score(&self, model: &str, version: u32, features: RecordBatch) -> PortResult<Scores>;
}
