//! What can go wrong in this crate: batches that lack a column, definitions that contradict
//! themselves, profiles that do not fit. Every error leaves the monitor as it was. Each variant has
//! one kind of `core`.

use arrow_schema::DataType;
use forebay_core::memory::OutOfMemory;
use forebay_core::{ErrorKind, PortError};
use thiserror::Error;

/// Errors of the monitor.
#[derive(Debug, Error)]
pub enum MonitorError {
    /// A batch lacks a column that the monitor reads.
    #[error("{object} has no column {column}; it has {known}")]
    MissingColumn {
        /// Which batch.
        object: String,
        /// The column looked for.
        column: String,
        /// The columns that are there.
        known: String,
    },
    /// A column has a type that cannot be read.
    #[error("column {column} is {found}, expected {expected}")]
    WrongType {
        /// The column.
        column: String,
        /// Its type.
        found: DataType,
        /// Types that would do.
        expected: &'static str,
    },
    /// Arrays that belong together differ in length.
    #[error(
        "{labels} labels and {times} event times for {rows} rows; give one of each for every row"
    )]
    UnequalLengths {
        /// Rows of the batch.
        rows: usize,
        /// Labels.
        labels: usize,
        /// Event times.
        times: usize,
    },
    /// The definition of the monitor is contradictory.
    #[error("monitor {monitor}: {problem}")]
    Definition {
        /// Its name.
        monitor: String,
        /// What is wrong and what to write instead.
        problem: String,
    },
    /// A reference profile does not fit, or contradicts itself.
    #[error("reference profile {name}: {problem}; build it again from its training set")]
    Profile {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A named limit was reached.
    #[error("{object} exceeds {limit} = {value}")]
    Limit {
        /// What is too large.
        object: String,
        /// Name of the limit.
        limit: &'static str,
        /// Its value.
        value: usize,
    },
    /// JSON that cannot be read or written.
    #[error("reference profile is not readable JSON")]
    Json(#[from] serde_json::Error),
    /// The rows of a training set cannot be read.
    #[error("cannot read the rows of a training set")]
    Rows(#[source] PortError),
    /// What would be held does not fit into the memory that there is.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// A port of `core` refused.
    #[error("join key of a prediction or label")]
    Port(#[from] PortError),
}

/// Result of this crate's functions.
pub type Result<T> = std::result::Result<T, MonitorError>;

impl MonitorError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::MissingColumn { .. } | Self::WrongType { .. } | Self::UnequalLengths { .. } => {
                ErrorKind::FailedPrecondition
            }
            Self::Definition { .. } => ErrorKind::InvalidArgument,
            Self::Profile { .. } | Self::Json(_) => ErrorKind::DataLoss,
            Self::Limit { .. } | Self::Memory(_) => ErrorKind::ResourceExhausted,
            Self::Rows(error) | Self::Port(error) => error.kind(),
        }
    }
}

impl From<MonitorError> for PortError {
    fn from(error: MonitorError) -> Self {
        Self::with_source(error.kind(), error.to_string(), error)
    }
}
