//! What can go wrong in the pipeline itself; adapters' errors pass through with their own kind and
//! words. A thread that ended because another failed is told apart from the cause, which is what a
//! person must read.

use forebay_core::limits::PREDICTION_MAX_BYTES;
use forebay_core::{ErrorKind, PortError};
use thiserror::Error;

/// Errors of the pipeline.
#[derive(Debug, Error)]
pub enum PipelineError {
    /// An adapter failed.
    #[error(transparent)]
    Port(#[from] PortError),
    /// Nothing there to be accepted.
    #[error(
        "source '{source_name}'{} has no gap that can be accepted; `forebay gap list` shows what is halted",
        partition.map_or_else(String::new, |p| format!(" partition {p}"))
    )]
    NoGap {
        /// Source.
        source_name: String,
        /// Partition, where one was named.
        partition: Option<i32>,
    },
    /// Two sources read one topic.
    #[error(
        "sources '{first}' and '{second}' both read topic '{topic}', and a topic has one event time; define one source \
         and two views over it"
    )]
    SharedTopic {
        /// The topic.
        topic: String,
        /// A source of it.
        first: String,
        /// Another.
        second: String,
    },
    /// The archive lacks what the state had applied.
    #[error(
        "the archive of source '{source_name}' begins at offset {from} of {topic}-{partition}, and \
         the state had applied records before that: its table was lost and the log has lost its \
         head, so no view can be filled from it; restore the table's directory from a backup, or \
         begin anew with an empty data directory"
    )]
    ArchiveCut {
        /// Source.
        source_name: String,
        /// Its topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Where the archive begins.
        from: i64,
    },
    /// A gap was accepted of which the state had records that the archive had not got.
    #[error(
        "the archive of source '{source_name}' lacks records below offset {below} of \
         {topic}-{partition} that the state had applied: the log lost them before they were \
         archived, and their gap was accepted; no view can be filled from it, and those that are \
         there keep their values; to fill others, begin anew with an empty --data-dir, which \
         holds what the log still has"
    )]
    ArchiveGap {
        /// Source.
        source_name: String,
        /// Its topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// One past the last record that is missing.
        below: i64,
    },
    /// A deployment asks for a column that its source does not have.
    #[error(
        "deployment '{deployment}' needs column '{column}' ({wanted}), which source '{source_name}' {found}"
    )]
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
    #[error(
        "pending score {id} cannot be read ({detail}); its deployment was defined anew, or the state is damaged: then \
         move the state directory away, since a new state reads what the log still holds"
    )]
    PendingBytes {
        /// Prediction id.
        id: String,
        /// What is wrong.
        detail: String,
    },
    /// A prediction that no broker would take.
    #[error(
        "prediction {id} has {bytes} bytes and a record of it at most {PREDICTION_MAX_BYTES} (PREDICTION_MAX_BYTES); \
         deploy under another name with fewer or shorter carried columns"
    )]
    PredictionTooLarge {
        /// Prediction id.
        id: String,
        /// Bytes of its record.
        bytes: usize,
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
            Self::NoGap { .. } | Self::ArchiveCut { .. } | Self::ArchiveGap { .. } => {
                ErrorKind::FailedPrecondition
            }
            Self::DeploymentColumn { .. } | Self::SharedTopic { .. } => ErrorKind::InvalidArgument,
            Self::PredictionTooLarge { .. } => ErrorKind::OutOfRange,
            Self::PendingBytes { .. } => ErrorKind::DataLoss,
            Self::ThreadGone(_) | Self::Batch(_) => ErrorKind::Internal,
        }
    }
}

/// The first error that says what happened: a thread that is gone is the effect of another's error.
pub(crate) fn first_cause(
    outcomes: impl IntoIterator<Item = Result<(), PipelineError>>,
) -> Result<(), PipelineError> {
    let mut first = Ok(());
    for error in outcomes.into_iter().filter_map(Result::err) {
        if first.is_ok() || matches!(first, Err(PipelineError::ThreadGone(_))) {
            first = Err(error);
        }
    }
    first
}

impl From<PipelineError> for PortError {
    fn from(error: PipelineError) -> Self {
        match error {
            PipelineError::Port(error) => error,
            other => Self::new(other.kind(), other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_preferred_to_the_thread_that_it_ended() {
        let gone = || Err(PipelineError::ThreadGone("shard writer"));
        let disk = || Err(PortError::new(ErrorKind::Unavailable, "the disk is full").into());
        assert!(first_cause([Ok(()), Ok(())]).is_ok());
        let cause = |outcomes| first_cause(outcomes).expect_err("one failed").to_string();
        assert_eq!(cause([Ok(()), gone(), disk()]), "the disk is full");
        assert_eq!(cause([disk(), gone(), Ok(())]), "the disk is full");
        assert!(cause([gone(), Ok(()), Ok(())]).contains("shard writer"));
    }
}
