//! What can go wrong in the pipeline itself; adapters' errors pass through with their own kind and words.

use forebay_core::{ErrorKind, PortError};
use thiserror::Error;

/// Errors of the pipeline.
#[derive(Debug, Error)]
pub enum PipelineError {
    /// An adapter failed.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The state belongs to another log.
    #[error(
        "the state in the data directory follows Kafka cluster '{known}', but the broker is cluster '{found}'; \
         use that cluster, or an empty data directory to start anew"
    )]
    OtherLog {
        /// Cluster that the state follows.
        known: String,
        /// Cluster that answered.
        found: String,
    },
    /// A deployment asks for a column that its source does not have.
    #[error("deployment '{deployment}' needs column '{column}' ({wanted}), which source '{source_name}' {found}")]
    DeploymentColumn {
        /// Deployment.
        deployment: String,
        /// Column.
        column: String,
        /// Its type in the service.
        wanted: String,
        /// Source.
        source_name: String,
        /// What the source has instead.
        found: String,
    },
    /// A pending score's bytes cannot be read.
    #[error("pending score {id} cannot be read ({detail}); the state is damaged: rebuild it from the archive")]
    PendingBytes {
        /// Prediction id.
        id: String,
        /// What is wrong.
        detail: String,
    },
    /// A thread of the pipeline ended.
    #[error("the {0} thread has stopped; see the log for its error, then restart the server")]
    ThreadGone(&'static str),
    /// Arrow refused columns that the planner admitted.
    #[error("a batch could not be built: {0}")]
    Batch(#[from] arrow_schema::ArrowError),
}

impl PipelineError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Port(error) => error.kind(),
            Self::OtherLog { .. } => ErrorKind::FailedPrecondition,
            Self::DeploymentColumn { .. } => ErrorKind::InvalidArgument,
            Self::PendingBytes { .. } => ErrorKind::DataLoss,
            Self::ThreadGone(_) | Self::Batch(_) => ErrorKind::Internal,
        }
    }
}

impl From<PipelineError> for PortError {
    fn from(error: PipelineError) -> Self {
        match error {
            PipelineError::Port(error) => error,
            other => Self::new(other.kind(), other.to_string()),
        }
    }
}
