//! Why a fill does not come about: adapters' errors pass through, what it waited for in vain is
//! said with the remedy.

use std::time::Duration;

use forebay_core::limits::{FILL_REST_MAX_ROWS, FILL_ROUNDS_MAX};
use forebay_core::{ErrorKind, PortError};
use forebay_pipeline::PipelineError;
use thiserror::Error;

use super::ASK_MAX;

/// Errors of a fill.
#[derive(Debug, Error)]
pub enum FillError {
    /// An adapter failed.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A pass, or ingest beside it, failed.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The server stops.
    #[error("the server is stopping; {what} was given up")]
    Stopped {
        /// What was under way.
        what: &'static str,
    },
    /// A table did not answer in time.
    #[error(
        "{what} of source {source_name} took longer than {ASK_MAX:?}; check the disk of the data \
         directory, then apply again"
    )]
    Slow {
        /// What was asked for.
        what: &'static str,
        /// The source, which has the table's name.
        source_name: String,
    },
    /// The topic's events are in the archive of another source.
    #[error(
        "topic {topic} was read before by a source of another name, and the archive of {source_name} \
         lacks those events; give the source its old name, or use an empty data directory"
    )]
    OtherName {
        /// The topic.
        topic: String,
        /// The source that reads it now.
        source_name: String,
    },
    /// The archive is behind the state and does not move.
    #[error(
        "the archive of source {source_name} is behind its state, and {why}; mend that, then again"
    )]
    Standing {
        /// The source.
        source_name: String,
        /// Why it does not move.
        why: String,
    },
    /// The archive is behind the state, for too long.
    #[error(
        "the archive of source {source_name} did not reach the state within {waited:?}; try again \
         when ingest has caught up"
    )]
    Behind {
        /// The source.
        source_name: String,
        /// How long that was waited for.
        waited: Duration,
    },
    /// Shards have read different events, and stay so.
    #[error(
        "shard {shard} has read {topic}-{partition} up to offset {has}, and another one up to \
         {furthest}: what a deployment that comes or goes would score of it is not clear, and {why}; \
         mend that, then again"
    )]
    Apart {
        /// The one that is behind.
        shard: u16,
        /// The topic.
        topic: String,
        /// Its partition.
        partition: i32,
        /// One past the last offset that it has.
        has: i64,
        /// The same of the furthest.
        furthest: i64,
        /// Why it stays behind.
        why: String,
    },
    /// Events come faster than they are filled in, whatever ingest is slowed to.
    #[error(
        "after {FILL_ROUNDS_MAX} rounds beside ingest {left} archived rows are still to be filled in, more \
         than the {most} for which ingest may stand ({FILL_REST_MAX_ROWS} rows and half a second at \
         most, FILL_REST_MAX_ROWS); bring fewer events for a while or add fewer views at once, then \
         apply again"
    )]
    Outrun {
        /// Rows that the new views lack.
        left: u64,
        /// Rows that may be left.
        most: u64,
    },
    /// Nobody knows where a new state begins.
    #[error(
        "the state is new and has read nothing of {topic}-{partition} yet, so that nobody knows what \
         of the archive of source {source_name} the log brings again: {why}; try again when it is \
         read"
    )]
    NotBegun {
        /// A topic of which nothing was read.
        topic: String,
        /// Its partition.
        partition: i32,
        /// The source.
        source_name: String,
        /// Why it is not read.
        why: String,
    },
}

impl FillError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Port(error) => error.kind(),
            Self::Pipeline(error) => error.kind(),
            Self::Outrun { .. } => ErrorKind::ResourceExhausted,
            _ => ErrorKind::FailedPrecondition,
        }
    }
}

impl From<FillError> for PortError {
    fn from(error: FillError) -> Self {
        match error {
            FillError::Port(error) => error,
            FillError::Pipeline(error) => error.into(),
            other => Self::new(other.kind(), other.to_string()),
        }
    }
}
