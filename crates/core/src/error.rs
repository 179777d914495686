//! Error kinds: whose fault an error is, whether to retry, and what it becomes on each surface
//! (gRPC, exit code, metric label). Each crate has its own error enum; at a port it becomes a
//! [`PortError`], which keeps the kind and the words. Text is lower case, names the object and says
//! the remedy; the source is chained, not repeated.

use std::error::Error as StdError;
use std::fmt;

/// Whose fault it is and what may be done about it. One mapping for every surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The caller's words are wrong: SQL, ticket, type, name of a column. Remedy: correct the call
    /// as the words say.
    InvalidArgument,
    /// The named object does not exist. Remedy: correct the name, or create the object.
    NotFound,
    /// The named object exists and differs. Remedy: take another name, or drop what is there.
    AlreadyExists,
    /// The system is not in the state that the call needs (another log, another schema
    /// fingerprint). Remedy: change what the words name, then call again.
    FailedPrecondition,
    /// A time or offset outside what is kept. Remedy: ask for a newer one; older values are
    /// answered offline (`forebay training-set`).
    OutOfRange,
    /// A named limit of what is asked for at once was reached; the text names it. Not the limit of
    /// one row or value, which is the caller's fault for good: `InvalidArgument`. Remedy: ask for
    /// less at once, or again later.
    ResourceExhausted,
    /// Something outside (broker, disk, worker) does not answer. Remedy: try again; mend what the
    /// words name if it goes on.
    Unavailable,
    /// The deadline passed first. Remedy: give more time, or ask for less.
    DeadlineExceeded,
    /// The outcome is unknown: a write may or may not have happened. Remedy: read again before
    /// retrying.
    MaybeWritten,
    /// Stored bytes contradict themselves or an invariant broke. Remedy: restore what the words
    /// name from a backup, or rebuild the state (`forebay rebuild`).
    DataLoss,
    /// Our own defect. Remedy: report it with the log.
    Internal,
}

impl ErrorKind {
    /// Numeric gRPC status code (see the gRPC specification, `google.rpc.Code`).
    #[must_use]
    pub fn grpc_code(self) -> i32 {
        match self {
            Self::InvalidArgument => 3,
            Self::DeadlineExceeded => 4,
            Self::NotFound => 5,
            Self::AlreadyExists => 6,
            Self::ResourceExhausted => 8,
            Self::FailedPrecondition => 9,
            Self::OutOfRange => 11,
            Self::Internal | Self::MaybeWritten => 13,
            Self::Unavailable => 14,
            Self::DataLoss => 15,
        }
    }

    /// Exit code of a command: 2 the user's fault, 3 something outside, 4 ours.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::InvalidArgument
            | Self::NotFound
            | Self::AlreadyExists
            | Self::FailedPrecondition
            | Self::OutOfRange => 2,
            Self::ResourceExhausted
            | Self::Unavailable
            | Self::DeadlineExceeded
            | Self::MaybeWritten => 3,
            Self::DataLoss | Self::Internal => 4,
        }
    }

    /// Label for metrics, in snake case.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::FailedPrecondition => "failed_precondition",
            Self::OutOfRange => "out_of_range",
            Self::ResourceExhausted => "resource_exhausted",
            Self::Unavailable => "unavailable",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::MaybeWritten => "maybe_written",
            Self::DataLoss => "data_loss",
            Self::Internal => "internal",
        }
    }

    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retriable(self) -> bool {
        matches!(
            self,
            Self::Unavailable | Self::DeadlineExceeded | Self::ResourceExhausted
        )
    }

    /// Whether it is the fault of what was sent and of nothing else: no other time, place or
    /// configuration helps.
    #[must_use]
    pub fn is_of_the_data(self) -> bool {
        matches!(self, Self::InvalidArgument | Self::OutOfRange)
    }
}

/// An error as it crosses a port: its kind, its words, its cause.
#[derive(Debug)]
pub struct PortError {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Result of a port's method.
pub type PortResult<T> = Result<T, PortError>;

impl PortError {
    /// An error of `kind` with its words.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// The same with the cause chained behind it.
    pub fn with_source(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            message: message.into(),
            source: Some(source.into()),
        }
    }

    /// The caller's fault.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// The named object does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Our own defect.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The kind, for the surfaces.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The words without the chain.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// `error` in words, with the chain of its causes, each once: what a log line or a status says.
#[must_use]
pub fn with_causes(error: &dyn StdError) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.contains(&text) {
            words.push_str(": ");
            words.push_str(&text);
        }
        cause = error.source();
    }
    words
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for PortError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|e| e as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_an_error_name_each_of_its_causes_once() {
        let disk = std::io::Error::other("no space left on device");
        let full = PortError::with_source(ErrorKind::Unavailable, "cannot write part-1", disk);
        let port = PortError::with_source(ErrorKind::Unavailable, "cannot write part-1", full);
        let words = with_causes(&port);
        assert_eq!(words, "cannot write part-1: no space left on device");
    }
}
