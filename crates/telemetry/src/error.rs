//! What can go wrong with telemetry: all of it at the start of the process, none of it while
//! recording. The binary prints them and ends; a process that records has none of them any more.

use forebay_core::{ErrorKind, PortError};
use thiserror::Error;

/// An error of telemetry set-up or of writing the metrics out.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// A log filter that does not parse.
    #[error("log filter {filter:?} is not valid; write levels as `info,forebay_pipeline=debug`")]
    BadFilter {
        /// The text as given.
        filter: String,
        /// Why.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The process has its subscriber already.
    #[error("logs are set up already; install them once, first thing in main")]
    AlreadyInstalled(#[source] tracing_subscriber::util::TryInitError),
    /// A metric cannot be registered or written: its definition in [`crate::names`] is wrong.
    #[error("metric {name} cannot be registered")]
    Metric {
        /// Full name.
        name: &'static str,
        /// Why.
        #[source]
        source: prometheus::Error,
    },
    /// The registry cannot be written as text.
    #[error("the metrics cannot be written as text")]
    Exposition(#[source] prometheus::Error),
}

impl TelemetryError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BadFilter { .. } => ErrorKind::InvalidArgument,
            Self::AlreadyInstalled(_) | Self::Metric { .. } | Self::Exposition(_) => {
                ErrorKind::Internal
            }
        }
    }
}

impl From<TelemetryError> for PortError {
    fn from(error: TelemetryError) -> Self {
        Self::with_source(error.kind(), error.to_string(), error)
    }
}
