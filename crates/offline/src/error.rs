//! What can go wrong in the offline store, and whose fault it is. One enum; at a port it becomes a
//! [`forebay_core::PortError`], which keeps the kind and the words.

use deltalake::DeltaTableError;
use forebay_core::memory::OutOfMemory;
use forebay_core::{ErrorKind, PortError};
use object_store::path::Path;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// No such table in the archive.
    #[error("the archive has no table `{table}`; it is made when its source is applied")]
    UnknownTable {
        /// Its name.
        table: String,
    },
    /// A name, an owner or a schema that the archive cannot hold.
    #[error("{what} cannot be archived: {why}")]
    Unfit {
        /// What was given.
        what: String,
        /// Why not, and what to do.
        why: String,
    },
    /// The table exists with columns that it cannot keep beside the wanted ones.
    #[error(
        "table `{table}` exists with another schema: {difference}; columns may be added, without NOT NULL, and left out, \
         their types stay; else give the changed source another name and topic; or \
         drop the source, stop the server, move the table's directory away and start with the new definition"
    )]
    SchemaDiffers {
        /// Its name.
        table: String,
        /// The first column that cannot be.
        difference: String,
    },
    /// Rows that do not fit their table or their offsets.
    #[error("rows for table `{table}` are refused: {why}")]
    BadRows {
        /// Its name.
        table: String,
        /// What is wrong with them.
        why: String,
    },
    /// Another process appends to the same partitions.
    #[error(
        "another owner ({owner}) appended to table `{table}`; stop one of the two processes and start this one again"
    )]
    Fenced {
        /// Its name.
        table: String,
        /// Who, as its commits say.
        owner: String,
    },
    /// A table that somebody else changed in a way that this crate cannot honour.
    #[error("table `{table}` cannot be used: {why}")]
    Unsupported {
        /// Its name.
        table: String,
        /// What it has, and the remedy.
        why: String,
    },
    /// The commit may or may not have landed, and the log could not be read to tell.
    #[error("the outcome of an append to table `{table}` is unknown; append the same rows again")]
    MaybeWritten {
        /// Its name.
        table: String,
        /// Why the log could not be read.
        #[source]
        source: Box<OfflineError>,
    },
    /// The Delta log does not answer; nothing was written.
    #[error("cannot {action} table `{table}`")]
    Delta {
        /// Its name.
        table: String,
        /// What was being done.
        action: &'static str,
        /// Why not.
        #[source]
        source: Box<DeltaTableError>,
    },
    /// The store of files does not answer; nothing was committed.
    #[error("cannot {action} {path}")]
    Store {
        /// What was being done.
        action: &'static str,
        /// File or directory.
        path: String,
        /// Why not.
        #[source]
        source: object_store::Error,
    },
    /// Bytes of the table contradict themselves.
    #[error("table `{table}` is damaged: {why}")]
    Damaged {
        /// Its name.
        table: String,
        /// What contradicts what.
        why: String,
    },
    /// The process has no memory for what a scan reads.
    #[error("table `{table}` cannot be read now")]
    Memory {
        /// Its name.
        table: String,
        /// Who asked for how much.
        #[source]
        source: OutOfMemory,
    },
    /// The machine's clock is days away from where it was.
    #[error(
        "rows are not dated: the machine's clock says {now}, and the archive was written last when it said {known}, \
         {days} days away; set the clock right, and appends go on within ten minutes; if it is right, set \
         archive.clock_gap_max_days above {days} and start again"
    )]
    ClockOff {
        /// What the clock says.
        now: String,
        /// What it said last, or the newest date in the archive.
        known: String,
        /// Days between the two.
        days: u64,
    },
    /// The machine's clock was set while the process ran.
    #[error(
        "rows are not dated: the machine's clock says {now}, and by the time that has passed since it was read last it \
         is {expected}; set the clock right, and appends go on within ten minutes; if it is right, start again"
    )]
    ClockStepped {
        /// What the clock says.
        now: String,
        /// What it would say without the step.
        expected: String,
    },
    /// A task of ours panicked.
    #[error("a task over table `{table}` was lost; the log above says where it panicked")]
    LostTask {
        /// Its name.
        table: String,
        /// What the runtime says.
        #[source]
        source: tokio::task::JoinError,
    },
    /// Arrow or Parquet refuse what they were given.
    #[error("cannot encode rows of table `{table}`")]
    Encode {
        /// Its name.
        table: String,
        /// Why not.
        #[source]
        source: parquet::errors::ParquetError,
    },
}

impl OfflineError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownTable { .. } => ErrorKind::NotFound,
            Self::Unfit { .. } | Self::BadRows { .. } => ErrorKind::InvalidArgument,
            Self::SchemaDiffers { .. } => ErrorKind::AlreadyExists,
            Self::Fenced { .. } | Self::Unsupported { .. } => ErrorKind::FailedPrecondition,
            Self::MaybeWritten { .. } => ErrorKind::MaybeWritten,
            Self::Delta { .. }
            | Self::Store { .. }
            | Self::ClockOff { .. }
            | Self::ClockStepped { .. } => ErrorKind::Unavailable,
            Self::Damaged { .. } => ErrorKind::DataLoss,
            Self::Memory { .. } => ErrorKind::ResourceExhausted,
            Self::LostTask { .. } | Self::Encode { .. } => ErrorKind::Internal,
        }
    }

    pub(crate) fn delta(
        table: &str,
        action: &'static str,
        source: impl Into<DeltaTableError>,
    ) -> Self {
        Self::Delta {
            table: table.to_owned(),
            action,
            source: Box::new(source.into()),
        }
    }

    pub(crate) fn bad_rows(table: &str, why: impl Into<String>) -> Self {
        Self::BadRows {
            table: table.to_owned(),
            why: why.into(),
        }
    }

    pub(crate) fn lost_task(table: &str, source: tokio::task::JoinError) -> Self {
        Self::LostTask {
            table: table.to_owned(),
            source,
        }
    }

    pub(crate) fn damaged(table: &str, why: impl Into<String>) -> Self {
        Self::Damaged {
            table: table.to_owned(),
            why: why.into(),
        }
    }

    /// The data file at `path` could not be read: one that is missing is damage.
    pub(crate) fn unread(table: &str, path: &Path, source: object_store::Error) -> Self {
        match source {
            object_store::Error::NotFound { .. } => Self::damaged(
                table,
                format!("file {path} is missing, which its log names; restore it from a backup"),
            ),
            source => Self::Store {
                action: "read",
                path: format!("{table}/{path}"),
                source,
            },
        }
    }

    pub(crate) fn unsupported(table: &str, why: impl Into<String>) -> Self {
        Self::Unsupported {
            table: table.to_owned(),
            why: why.into(),
        }
    }
}

impl From<OfflineError> for PortError {
    fn from(error: OfflineError) -> Self {
        Self::with_source(error.kind(), error.to_string(), error)
    }
}
