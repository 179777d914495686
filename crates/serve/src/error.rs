//! The errors of serving: each names what is wrong and what to do, has a kind, and becomes a gRPC
//! status or an in-band answer. Nothing here stops the service: an error ends one request or one
//! stream.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;

use arrow_schema::ArrowError;
use forebay_core::error::with_causes;
use forebay_core::memory::{OutOfMemory, Part};
use forebay_core::{ErrorKind, PortError};
use thiserror::Error;
use tonic::{Code, Status};

/// Pause that the server asks of a client which it refused for load, milliseconds.
pub(crate) const RETRY_AFTER_MS: u64 = 20;

/// Result of this crate.
pub type ServeResult<T> = Result<T, ServeError>;

/// An error of serving.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The caller's request is wrong.
    #[error("{0}")]
    Request(String),
    /// The named object does not exist.
    #[error("{0}")]
    NotFound(String),
    /// A named limit was reached.
    #[error("{message} ({limit})")]
    Limit {
        /// Name of the limit in `core::limits`.
        limit: &'static str,
        /// What reached it and what to do.
        message: String,
    },
    /// Too much work at once: nothing was done, try again.
    #[error("{message}; try again in {retry_after_ms} ms")]
    Overload {
        /// Metric label of what is scarce.
        reason: &'static str,
        /// What is scarce.
        message: String,
        /// When to try again.
        retry_after_ms: u64,
    },
    /// The server is not in the state that the call needs.
    #[error("{0}")]
    Precondition(String),
    /// The protocol has the call, this server does not.
    #[error("{0}")]
    Unsupported(String),
    /// The request's deadline passed first.
    #[error(
        "the deadline of {deadline_us} us passed before the answer was ready; ask for fewer rows or more time"
    )]
    Deadline {
        /// As the request gave it.
        deadline_us: u64,
    },
    /// The address cannot be bound.
    #[error("cannot listen on {address}; choose a free port, or stop what uses it")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An address that others can reach, without what that needs.
    #[error(
        "refused to listen on {address}: beyond loopback a listener needs TLS and credentials, which this version does \
         not have; use 127.0.0.1 or [::1] (and a tunnel to reach it from elsewhere)"
    )]
    NotLoopback {
        /// As configured.
        address: SocketAddr,
    },
    /// A port's error, passed on.
    #[error("{0}")]
    Port(#[source] PortError),
    /// Arrow cannot build or encode what we made: our defect.
    #[error("{what} cannot be built")]
    Arrow {
        /// What was to be built.
        what: &'static str,
        /// Why.
        #[source]
        source: ArrowError,
    },
    /// The other end answered with an error, or does not answer (client side).
    #[error("{message}")]
    Remote {
        /// What the other end said of its kind.
        kind: ErrorKind,
        /// Its words.
        message: String,
    },
}

impl ServeError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Request(_) | Self::Unsupported(_) | Self::NotLoopback { .. } => {
                ErrorKind::InvalidArgument
            }
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Limit { .. } | Self::Overload { .. } => ErrorKind::ResourceExhausted,
            Self::Precondition(_) => ErrorKind::FailedPrecondition,
            Self::Deadline { .. } => ErrorKind::DeadlineExceeded,
            Self::Listen { .. } => ErrorKind::Unavailable,
            Self::Port(error) => error.kind(),
            Self::Arrow { .. } => ErrorKind::Internal,
            Self::Remote { kind, .. } => *kind,
        }
    }

    /// The words with the chain of causes behind them, for a wire that carries one text.
    #[must_use]
    pub fn words(&self) -> String {
        with_causes(self)
    }

    /// As the status of a gRPC stream.
    #[must_use]
    pub(crate) fn to_status(&self) -> Status {
        let code = match self {
            Self::Unsupported(_) => Code::Unimplemented,
            other => Code::from_i32(other.kind().grpc_code()),
        };
        Status::new(code, self.words())
    }

    /// From a status that the other end sent.
    pub(crate) fn from_status(status: &Status) -> Self {
        let kind = match status.code() {
            // How the transport says that the time which a call was given is over.
            Code::Cancelled if status.message() == "Timeout expired" => ErrorKind::DeadlineExceeded,
            Code::InvalidArgument | Code::Unimplemented => ErrorKind::InvalidArgument,
            Code::DeadlineExceeded => ErrorKind::DeadlineExceeded,
            Code::NotFound => ErrorKind::NotFound,
            Code::AlreadyExists => ErrorKind::AlreadyExists,
            Code::ResourceExhausted => ErrorKind::ResourceExhausted,
            Code::FailedPrecondition | Code::PermissionDenied | Code::Unauthenticated => {
                ErrorKind::FailedPrecondition
            }
            Code::OutOfRange => ErrorKind::OutOfRange,
            Code::DataLoss => ErrorKind::DataLoss,
            Code::Internal => ErrorKind::Internal,
            Code::Ok | Code::Cancelled | Code::Unknown | Code::Aborted | Code::Unavailable => {
                ErrorKind::Unavailable
            }
        };
        Self::Remote {
            kind,
            message: status.message().to_owned(),
        }
    }
}

impl From<PortError> for ServeError {
    fn from(error: PortError) -> Self {
        let cause = error.source();
        match cause.and_then(|cause| cause.downcast_ref::<OutOfMemory>()) {
            Some(full) => Self::from(*full),
            None => Self::Port(error),
        }
    }
}

impl From<OutOfMemory> for ServeError {
    fn from(error: OutOfMemory) -> Self {
        if error.never_fits() {
            let what = match error.part {
                Part::Requests => "request",
                _ => "answer",
            };
            return Self::Limit {
                limit: "memory.limit_mib",
                message: format!(
                    "the {what} needs {} bytes and the memory for {} holds {} at most; ask for fewer rows at once, or \
                     raise the limit",
                    error.held.saturating_add(error.asked),
                    error.part.label(),
                    error.most
                ),
            };
        }
        Self::Overload {
            reason: "memory",
            message: error.to_string(),
            retry_after_ms: RETRY_AFTER_MS,
        }
    }
}

impl From<ServeError> for PortError {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Port(error) => error,
            other => Self::with_source(other.kind(), other.to_string(), other),
        }
    }
}

impl From<ServeError> for Status {
    fn from(error: ServeError) -> Self {
        error.to_status()
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::memory::Budget;

    use super::*;

    #[test]
    fn who_asks_for_more_memory_than_there_can_ever_be_is_not_told_to_try_again() {
        let budget = Budget::shared(1_600);
        let most = budget.most_bytes(Part::Answers);
        let refused = |bytes| {
            let error = budget.reserve(Part::Answers, bytes).expect_err("refused");
            ServeError::from(PortError::from(error))
        };
        let never = refused(most + 1);
        assert!(matches!(never, ServeError::Limit { .. }), "{never:?}");
        for word in ["301 bytes", "300 at most", "fewer rows", "memory.limit_mib"] {
            assert!(never.to_string().contains(word), "{never}");
        }
        assert!(!never.to_string().contains("try again"), "{never}");
        assert_eq!(never.to_status().code(), Code::ResourceExhausted);
        let _other = budget.reserve(Part::Answers, 1).expect("free");
        let now = refused(most);
        assert!(matches!(now, ServeError::Overload { .. }), "{now:?}");
    }

    /// The transport says that a call's time is over by a status of its own; this fails where an
    /// upgrade of tonic words it otherwise.
    #[test]
    fn the_transports_timeout_is_a_deadline() {
        let status = Status::from_error(Box::new(tonic::TimeoutExpired(())));
        assert_eq!(
            ServeError::from_status(&status).kind(),
            ErrorKind::DeadlineExceeded,
            "{status}"
        );
    }
}
