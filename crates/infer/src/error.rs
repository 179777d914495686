//! Errors of inference: what a model file, a version directory, a batch or a worker may be refused
//! for.
//!
//! Each variant has one [`ErrorKind`]; at the `Scorer` port it becomes a [`PortError`] that keeps
//! kind and words. The texts name the object and say the remedy; they never hold feature values.

use std::path::PathBuf;

use forebay_core::{ErrorKind, PortError};
use thiserror::Error;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, InferError>;

/// Why something was refused.
#[derive(Debug, Error)]
pub enum InferError {
    /// A file of a model version cannot be read.
    #[error("cannot read {path}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A named limit was reached.
    #[error("{what}, the limit is {limit} ({name})")]
    Limit {
        /// What is too large, with its size.
        what: String,
        /// Name of the constant in `forebay_core::limits`.
        name: &'static str,
        /// Its value.
        limit: u64,
    },
    /// The model file contradicts its format.
    #[error("model file: {0}")]
    ModelFile(String),
    /// The file is well formed and asks for something that is not served.
    #[error("model not supported: {0}")]
    Unsupported(String),
    /// The manifest is malformed or contradicts the model file.
    #[error("manifest {path}: {what}")]
    Manifest {
        /// Path of the manifest.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A file is not the one that the manifest was written for.
    #[error(
        "{file} has sha256 {found}, the manifest says {expected}: copy the version directory again"
    )]
    Digest {
        /// File name inside the version directory.
        file: String,
        /// Digest in the manifest, hex.
        expected: String,
        /// Digest of the file, hex.
        found: String,
    },
    /// The golden rows are unreadable or were not reproduced.
    #[error("golden rows of {model}: {what}")]
    Golden {
        /// Model and version.
        model: String,
        /// The first difference.
        what: String,
    },
    /// No such model version here.
    #[error("unknown model {model} version {version}; READY here: {known}")]
    UnknownModel {
        /// Name asked for.
        model: String,
        /// Version asked for.
        version: u32,
        /// What can be served, or `none`.
        known: String,
    },
    /// Another content under a name and version that is already loaded.
    #[error(
        "{model} version {version} is loaded with digest {loaded} and a version never changes: put back the directory that has it, and give digest {offered} a version of its own"
    )]
    VersionDiffers {
        /// Model.
        model: String,
        /// Version.
        version: u32,
        /// Digest of the loaded one.
        loaded: String,
        /// Digest of the offered one.
        offered: String,
    },
    /// The features are those of another version of the service.
    #[error(
        "{model} version {version} was made for feature fingerprint {expected}, the service has {found}: train it again on that service or deploy the service it was made for"
    )]
    Fingerprint {
        /// Model.
        model: String,
        /// Version.
        version: u32,
        /// Fingerprint in the manifest.
        expected: String,
        /// Fingerprint of the service.
        found: String,
    },
    /// A feature is missing or has another type: the service is not the model's.
    #[error("{model}: {what}")]
    Features {
        /// Model and version.
        model: String,
        /// Which feature and why.
        what: String,
    },
    /// A row holds what the manifest refuses.
    #[error("{model}: {what}")]
    Row {
        /// Model and version.
        model: String,
        /// Which feature and row, and why.
        what: String,
    },
    /// A worker, or the absence of one.
    #[error("{message}")]
    Worker {
        /// As the worker said, or what its silence means.
        kind: ErrorKind,
        /// Names the worker and the model.
        message: String,
    },
}

impl InferError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            // A path that is not there is the definition's fault; a disk that fails is not.
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                ErrorKind::NotFound
            }
            Self::Io { .. } => ErrorKind::Unavailable,
            Self::Limit { .. } => ErrorKind::ResourceExhausted,
            Self::ModelFile(_)
            | Self::Unsupported(_)
            | Self::Manifest { .. }
            | Self::Row { .. } => ErrorKind::InvalidArgument,
            Self::Digest { .. } | Self::Golden { .. } => ErrorKind::DataLoss,
            Self::UnknownModel { .. } => ErrorKind::NotFound,
            Self::VersionDiffers { .. } => ErrorKind::AlreadyExists,
            Self::Fingerprint { .. } | Self::Features { .. } => ErrorKind::FailedPrecondition,
            Self::Worker { kind, .. } => *kind,
        }
    }

    /// A limit of `forebay_core::limits` that `what` exceeds.
    pub(crate) fn limit(what: String, name: &'static str, limit: usize) -> Self {
        Self::Limit {
            what,
            name,
            limit: limit as u64,
        }
    }

    /// An error about a worker.
    pub(crate) fn worker(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::Worker {
            kind,
            message: message.into(),
        }
    }
}

impl From<InferError> for PortError {
    fn from(error: InferError) -> Self {
        let (kind, message) = (error.kind(), error.to_string());
        match error {
            InferError::Io { source, .. } => Self::with_source(kind, message, source),
            _ => Self::new(kind, message),
        }
    }
}
