//! What can go wrong in the online store, in words for the person who must act, and each with its
//! kind. At the port an [`OnlineError`] becomes a [`PortError`] that keeps the kind, the words and
//! the cause.
//!
//! Never put a key or a feature value into the words: errors are logged and sent to callers.

use std::path::PathBuf;

use forebay_core::bytes::BytesError;
use forebay_core::view::ViewId;
use forebay_core::{ErrorKind, PortError};
use thiserror::Error;

/// Result of the store's own functions.
pub type OnlineResult<T> = Result<T, OnlineError>;

/// An error of the online store.
#[derive(Debug, Error)]
pub enum OnlineError {
    /// RocksDB refused an operation.
    #[error(
        "the state of shard {shard} cannot be {action}; check the disk of the data directory and the limit of open files (ulimit -n)"
    )]
    Disk {
        /// Shard number.
        shard: u16,
        /// What was tried, as a participle: `opened`, `written`, `read`.
        action: &'static str,
        /// What RocksDB said.
        #[source]
        source: rocksdb::Error,
    },
    /// Files of a shard are missing or do not hold what was written: no retry mends that.
    #[error(
        "the state of shard {shard} is damaged at {}; check the disk, move the state directory away and start again: a new \
         state reads what the log still holds, and `forebay rebuild SOURCE` brings back what only the archive has",
        file.display()
    )]
    Damaged {
        /// Shard number.
        shard: u16,
        /// The file, or the shard's directory where RocksDB names none.
        file: PathBuf,
        /// What RocksDB said.
        #[source]
        source: rocksdb::Error,
    },
    /// The shard's database was closed after an error and could not be opened again yet.
    #[error(
        "the state of shard {shard} is closed after an error ({why}) and is opened again with the next write; check the disk of the data directory and the limit of open files (ulimit -n)"
    )]
    Closed {
        /// Shard number.
        shard: u16,
        /// What had failed.
        why: String,
    },
    /// The shard cannot be written any more by this process.
    #[error(
        "the state of shard {shard} cannot be brought back ({why}); check the disk of the data directory and restart the server"
    )]
    Lost {
        /// Shard number.
        shard: u16,
        /// What had failed.
        why: String,
    },
    /// Another build's format: neither damage nor a fault of the settings.
    #[error(
        "{what} in {} has format {found} and this build reads {supported}; start the build that wrote it, or move the state \
         directory away: a new state reads what the log still holds, and `forebay rebuild SOURCE` brings back what only the \
         archive has",
        path.display()
    )]
    Format {
        /// The shard's directory.
        path: PathBuf,
        /// Which record.
        what: &'static str,
        /// As stored.
        found: u8,
        /// As this build writes it.
        supported: u8,
    },
    /// Another process has the shard open.
    #[error(
        "the state directory {} is in use by another forebay process; stop it, or give another --data-dir",
        path.display()
    )]
    InUse {
        /// The shard's directory.
        path: PathBuf,
        /// What RocksDB said.
        #[source]
        source: rocksdb::Error,
    },
    /// A directory could not be made or listed.
    #[error("the state directory {} cannot be used; check that it exists and is writable", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The directory was made with another number of shards.
    #[error(
        "the state directory was made with {stored} shards and the settings say {asked}; set shards = {stored}, or move \
         the directory away: a new state reads what the log still holds, and `forebay rebuild SOURCE` brings back what only \
         the archive has"
    )]
    ShardCount {
        /// As stored.
        stored: u32,
        /// As asked.
        asked: u16,
    },
    /// An option is out of its limits.
    #[error("{0}")]
    Options(String),
    /// Stored bytes contradict themselves.
    #[error(
        "{what} of shard {shard} cannot be decoded: {why}; move the state directory away: a new state reads what the log \
         still holds, and `forebay rebuild SOURCE` brings back what only the archive has"
    )]
    Corrupt {
        /// Shard number.
        shard: u16,
        /// Which record.
        what: &'static str,
        /// What is wrong with it.
        why: BytesError,
    },
    /// What is stored of one view in a shard is damaged or outdated, or lacks rows on which its SQL
    /// has failed: other views' is not.
    #[error(
        "the state of view {name} cannot be used in shard {shard}: {why}; `forebay rebuild {name}` makes it anew from the archive once the cause is mended"
    )]
    ViewDamaged {
        /// Id of the view.
        view: ViewId,
        /// Its name.
        name: String,
        /// Shard number.
        shard: u16,
        /// What is damaged or has failed, or why it is outdated.
        why: String,
    },
    /// A view was not registered.
    #[error("view {0} is not known to the online store; apply its definition first")]
    UnknownView(u32),
    /// The id is in use for another definition.
    #[error(
        "view id {view} already belongs to {stored}; a changed definition needs a new id: put back \
         the catalog.json that the state was made under, or move it away and apply the definitions again"
    )]
    ViewDiffers {
        /// The id.
        view: u32,
        /// Name and digest of the one that has it.
        stored: String,
    },
    /// A shard number above S.
    #[error("there is no shard {asked}; this store has {shards}")]
    UnknownShard {
        /// As asked.
        asked: u16,
        /// S.
        shards: u16,
    },
    /// The state follows another log.
    #[error(
        "the state follows log {stored} and not {asked}; point the settings to that log, or move the state directory away"
    )]
    OtherLog {
        /// As stored.
        stored: String,
        /// As asked.
        asked: String,
    },
    /// A read below what is kept.
    #[error(
        "view {view} keeps exact values from {t_min_us} microseconds since 1970 on (T_min), and {at_us} was asked for; ask the \
         offline store (a training set) for older instants"
    )]
    TooOld {
        /// Name of the view.
        view: String,
        /// The least instant that is answered.
        t_min_us: i64,
        /// As asked.
        at_us: i64,
    },
    /// The caller's batch does not fit the view.
    #[error("{0}")]
    Mismatch(String),
    /// A partial state or a value refused.
    #[error(transparent)]
    Port(#[from] PortError),
}

impl OnlineError {
    /// What is damaged, for an error that does not say yet of which view; None where nothing is.
    pub(crate) fn damage(&self) -> Option<String> {
        match self {
            Self::Corrupt { what, why, .. } => Some(format!("{what} cannot be decoded: {why}")),
            Self::Damaged { file, source, .. } => {
                let file = file.display();
                Some(format!("{file} cannot be read, check the disk: {source}"))
            }
            Self::Port(error) if error.kind() == ErrorKind::DataLoss => {
                Some(error.message().to_owned())
            }
            _ => None,
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            // A failed write may be tried again as it is: values are whole and the offsets drop
            // what was applied.
            Self::Disk { .. } | Self::Directory { .. } | Self::Closed { .. } => {
                ErrorKind::Unavailable
            }
            Self::Lost { .. } => ErrorKind::Internal,
            Self::ShardCount { .. }
            | Self::InUse { .. }
            | Self::Format { .. }
            | Self::OtherLog { .. } => ErrorKind::FailedPrecondition,
            Self::Options(_) | Self::UnknownShard { .. } => ErrorKind::InvalidArgument,
            Self::Corrupt { .. } | Self::Damaged { .. } | Self::ViewDamaged { .. } => {
                ErrorKind::DataLoss
            }
            Self::UnknownView(_) => ErrorKind::NotFound,
            Self::ViewDiffers { .. } => ErrorKind::AlreadyExists,
            Self::TooOld { .. } => ErrorKind::OutOfRange,
            Self::Mismatch(_) => ErrorKind::Internal,
            Self::Port(error) => error.kind(),
        }
    }
}

impl From<OnlineError> for PortError {
    fn from(error: OnlineError) -> Self {
        match error {
            OnlineError::Port(error) => error,
            other => Self::with_source(other.kind(), other.to_string(), other),
        }
    }
}
