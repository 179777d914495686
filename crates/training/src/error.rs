//! What can go wrong while building or verifying. Values that differ are not errors: they are the
//! report. Errors of the ports pass through with their kind; here are those of spines, manifests
//! and archived predictions.

use std::path::PathBuf;

use forebay_core::progress::TopicPartition;
use forebay_core::{ErrorKind, PortError};

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// A port failed; its words are kept.
    #[error("{0}")]
    Port(#[from] PortError),
    /// The caller's words are wrong.
    #[error("{0}")]
    Invalid(String),
    /// The archive lacks what the state had applied.
    #[error(
        "table '{table}' of the archive begins at offset {from} of {}-{}, and the state had applied \
         records before that: the table was lost and the log has lost its head, so rows built from \
         it would differ from what was served; restore the table's directory from a backup",
        partition.topic, partition.partition
    )]
    TableCut {
        /// Table.
        table: String,
        /// Its first partition that is cut.
        partition: TopicPartition,
        /// Where it begins there.
        from: i64,
    },
    /// The archive lacks what the state had applied of a gap that was accepted.
    #[error(
        "table '{table}' of the archive lacks records below offset {below} of {}-{} that the state had \
         applied: the log lost them before they were archived, and their gap was accepted, so rows \
         built from it would differ from what was served; begin anew with an empty --data-dir, \
         which holds what the log still has",
        partition.topic, partition.partition
    )]
    TableGap {
        /// Table.
        table: String,
        /// Its first partition that lacks any.
        partition: TopicPartition,
        /// One past the last record that is missing.
        below: i64,
    },
    /// A file of the archive or of a training set cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A cell has no value, and the set is to have no such cell.
    #[error(
        "feature {feature} of service {service} failed for {key}: {why}; mend the expression, or build \
         with --on-error null, which makes such cells NULL and lists them"
    )]
    Cell {
        /// Feature service.
        service: String,
        /// Its feature.
        feature: String,
        /// The row's key, in words.
        key: String,
        /// The expression, and what is wrong.
        why: String,
    },
    /// Arrow refuses what it was given.
    #[error("cannot {action}")]
    Arrow {
        /// What was being done.
        action: &'static str,
        /// Why not.
        #[source]
        source: arrow_schema::ArrowError,
    },
    /// The engine broke its promise: rows or columns of its answer are not those of the question.
    #[error("the engine's answer does not fit: {0}")]
    Answer(String),
    /// A task of ours was lost.
    #[error("a task of the verification ended early")]
    Task(#[from] tokio::task::JoinError),
}

impl TrainingError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Port(error) => error.kind(),
            Self::Invalid(_) | Self::Cell { .. } => ErrorKind::InvalidArgument,
            Self::TableCut { .. } | Self::TableGap { .. } => ErrorKind::FailedPrecondition,
            Self::File { .. } => ErrorKind::Unavailable,
            Self::Arrow { .. } | Self::Answer(_) | Self::Task(_) => ErrorKind::Internal,
        }
    }

    pub(crate) fn file(
        action: &'static str,
        path: &std::path::Path,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::File {
            action,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    pub(crate) fn arrow(action: &'static str) -> impl Fn(arrow_schema::ArrowError) -> Self {
        move |source| Self::Arrow { action, source }
    }
}

impl From<TrainingError> for PortError {
    fn from(error: TrainingError) -> Self {
        match error {
            TrainingError::Port(error) => error,
            other => Self::with_source(other.kind(), other.to_string(), other),
        }
    }
}
