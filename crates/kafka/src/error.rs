//! What can go wrong with Kafka, in this crate's words: each variant has a kind (whose fault,
//! whether to retry) and says the remedy. At a port it becomes a [`PortError`] with the same kind
//! and words and the client's error chained behind.

use std::time::Duration;

use forebay_core::{ErrorKind, PortError};
use rdkafka::error::KafkaError;

/// An error of the Kafka adapter. The client's own error is boxed: it is five times as large as the
/// rest.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No broker answered in time. Retriable.
    #[error(
        "no Kafka broker answered at {bootstrap} within {} ms while {action}: check that it runs and that \
         --bootstrap names it",
        timeout.as_millis()
    )]
    Unreachable {
        /// Configured addresses.
        bootstrap: String,
        /// How long we waited.
        timeout: Duration,
        /// What was asked.
        action: String,
        /// The client's error, where it gave one.
        source: Option<Box<KafkaError>>,
    },
    /// All connections are gone. Retriable.
    #[error(
        "no Kafka broker is connected at {bootstrap} while {action}, which goes on when one answers: check that it runs and \
         that --bootstrap names it"
    )]
    Disconnected {
        /// Configured addresses.
        bootstrap: String,
        /// What was tried.
        action: String,
        /// The client's error.
        source: Box<KafkaError>,
    },
    /// The topic is not there.
    #[error(
        "topic `{topic}` does not exist at {bootstrap}: create it, or correct the topic of the definition"
    )]
    UnknownTopic {
        /// The topic.
        topic: String,
        /// Configured addresses.
        bootstrap: String,
    },
    /// A client property that may not be set, or has a bad value.
    #[error("Kafka client property `{property}`: {problem}")]
    Settings {
        /// Its name.
        property: String,
        /// What is wrong.
        problem: String,
    },
    /// A column of a type that records of its source's format cannot fill or give.
    #[error(
        "column `{column}` has type {data_type}, which a record cannot hold: use VARCHAR, DOUBLE, BIGINT, INTEGER, \
         BOOLEAN, DATE or TIMESTAMP"
    )]
    UnsupportedColumn {
        /// The column.
        column: String,
        /// Its type.
        data_type: String,
    },
    /// Decoded text of one batch above what 32-bit offsets hold.
    #[error(
        "column `{column}` of one batch holds more than 2 GiB of text: poll fewer records at a time"
    )]
    BatchTooLarge {
        /// The column.
        column: String,
    },
    /// Records were sent and at least one was not acknowledged. The outcome of the others is
    /// unknown: send all again.
    #[error(
        "{failed} of {sent} records were not acknowledged by the brokers at {bootstrap}; send them again"
    )]
    NotAcknowledged {
        /// How many failed.
        failed: u64,
        /// Of how many.
        sent: u64,
        /// Configured addresses.
        bootstrap: String,
        /// The first failure.
        source: Option<Box<KafkaError>>,
    },
    /// The broker refuses, and will refuse again: authentication, authorization, a record above its
    /// size limit.
    #[error("the Kafka brokers at {bootstrap} refuse {action}")]
    Refused {
        /// Configured addresses.
        bootstrap: String,
        /// What was asked.
        action: String,
        /// Why.
        source: Box<KafkaError>,
    },
    /// The client library failed in a way that only a defect or a broken installation explains.
    #[error("the Kafka client failed while {action}")]
    Client {
        /// What was asked.
        action: String,
        /// Its error.
        source: Box<KafkaError>,
    },
}

impl Error {
    /// Whose fault it is and what may be done.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreachable { .. } | Self::Disconnected { .. } | Self::NotAcknowledged { .. } => {
                ErrorKind::Unavailable
            }
            Self::UnknownTopic { .. } => ErrorKind::NotFound,
            Self::Refused { .. } => ErrorKind::FailedPrecondition,
            Self::Settings { .. } | Self::UnsupportedColumn { .. } => ErrorKind::InvalidArgument,
            Self::BatchTooLarge { .. } => ErrorKind::ResourceExhausted,
            Self::Client { .. } => ErrorKind::Internal,
        }
    }
}

impl From<Error> for PortError {
    fn from(error: Error) -> Self {
        match &error {
            Error::Unreachable {
                source: Some(cause),
                ..
            }
            | Error::NotAcknowledged {
                source: Some(cause),
                ..
            }
            | Error::Refused { source: cause, .. }
            | Error::Disconnected { source: cause, .. }
            | Error::Client { source: cause, .. } => {
                Self::with_source(error.kind(), error.to_string(), cause.clone())
            }
            _ => Self::new(error.kind(), error.to_string()),
        }
    }
}
