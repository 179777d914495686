//! Why monitors and the filter of repeats cannot begin. A table of the archive is named, so that
//! the caller can begin without it; every other error ends the start.

use forebay_core::PortError;
use thiserror::Error;

/// Why nothing begins.
#[derive(Debug, Error)]
pub enum BeginError {
    /// What a table of the archive holds cannot be read.
    #[error("table '{table}' of the archive cannot be read")]
    Table {
        /// Its name.
        table: String,
        /// Why not.
        source: PortError,
    },
    /// The state or a checkpoint fails, or rows are not those of their table.
    #[error(transparent)]
    Port(#[from] PortError),
}

impl From<BeginError> for PortError {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::Port(error) => error,
            BeginError::Table { ref source, .. } => {
                let (kind, words) = (source.kind(), error.to_string());
                Self::with_source(kind, words, error)
            }
        }
    }
}
