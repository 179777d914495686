//! The errors of the engine: what is wrong with a definition (and where in which file), with a
//! query's input, or with an expression on the data. Each maps to a [`ErrorKind`] once, here, and
//! becomes a [`PortError`] at the ports.

use std::fmt;
use std::path::PathBuf;

use datafusion::error::DataFusionError;
use forebay_core::memory::OutOfMemory;
use forebay_core::{ErrorKind, PortError};

/// Result of the engine's own functions.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// A place in a definition file; lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Location {
    /// File as it was given.
    pub file: String,
    /// Line.
    pub line: u64,
    /// Column, in characters.
    pub column: u64,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// What can go wrong in the engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The text is not a statement.
    #[error("{at}: {message}")]
    Syntax {
        /// Where.
        at: Location,
        /// What was expected.
        message: String,
    },
    /// The text is a statement that cannot be kept exact, or contradicts itself.
    #[error("{at}: {object}: {message}")]
    Refused {
        /// Where.
        at: Location,
        /// Kind and name.
        object: String,
        /// What is refused and what to write instead.
        message: String,
    },
    /// A statement names something that does not exist.
    #[error("{at}: {object}: {message}")]
    Unknown {
        /// Where.
        at: Location,
        /// Kind and name of the statement.
        object: String,
        /// What is missing, and what exists.
        message: String,
    },
    /// Two statements define one name.
    #[error(
        "{at}: {object} is defined twice, first at {first}; drop one of them or write CREATE OR REPLACE"
    )]
    Duplicate {
        /// Where.
        at: Location,
        /// Kind and name.
        object: String,
        /// The first definition.
        first: Location,
    },
    /// A named limit was reached.
    #[error("{at}: {message}")]
    Limit {
        /// Where.
        at: Location,
        /// The limit's name, value and remedy.
        message: String,
    },
    /// DataFusion could not plan the text.
    #[error("{at}: {object}: {message}")]
    Planning {
        /// Where.
        at: Location,
        /// Kind and name.
        object: String,
        /// Its first line.
        message: String,
        /// The cause.
        source: Box<DataFusionError>,
    },
    /// An expression failed on the data.
    #[error("{object}: an expression failed on the data: {message}")]
    Evaluation {
        /// Kind and name.
        object: String,
        /// What happened.
        message: String,
        /// The cause.
        source: Box<DataFusionError>,
    },
    /// A spine, request or table is not what the definition needs.
    #[error("{0}")]
    Input(String),
    /// The caller asks for an object that the catalog does not have.
    #[error("{0}")]
    NotFound(String),
    /// A table cannot be read; message and kind are those of the adapter that stores it.
    #[error("{0}")]
    Port(PortError),
    /// A file cannot be read.
    #[error("cannot read {}; check that it exists and is readable", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Our own defect.
    #[error("engine: {0}")]
    Internal(String),
}

impl EngineError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            // Nothing but another text helps where a limit is reached.
            Self::Syntax { .. }
            | Self::Refused { .. }
            | Self::Limit { .. }
            | Self::Planning { .. }
            | Self::Input(_) => ErrorKind::InvalidArgument,
            // What DataFusion calls internal is no row's fault.
            Self::Evaluation { source, .. } => match source.find_root() {
                DataFusionError::Internal(_) => ErrorKind::Internal,
                DataFusionError::ResourcesExhausted(_) => ErrorKind::ResourceExhausted,
                _ => ErrorKind::InvalidArgument,
            },
            Self::Unknown { .. } | Self::NotFound(_) | Self::File { .. } => ErrorKind::NotFound,
            Self::Duplicate { .. } => ErrorKind::AlreadyExists,
            Self::Port(error) => error.kind(),
            Self::Internal(_) => ErrorKind::Internal,
        }
    }

    /// `object` is refused: what, and what to write instead.
    pub(crate) fn refused(at: Location, object: &str, message: impl Into<String>) -> Self {
        Self::Refused {
            at,
            object: object.to_owned(),
            message: message.into(),
        }
    }

    /// `object` names what does not exist.
    pub(crate) fn unknown(at: Location, object: &str, message: impl Into<String>) -> Self {
        Self::Unknown {
            at,
            object: object.to_owned(),
            message: message.into(),
        }
    }

    /// DataFusion could not plan the body of `object`.
    pub(crate) fn planning(at: Location, object: &str, source: DataFusionError) -> Self {
        Self::Planning {
            at,
            object: object.to_owned(),
            message: first_line(&source),
            source: Box::new(source),
        }
    }

    /// An expression of `object` failed on the data.
    pub(crate) fn evaluation(object: &str, source: DataFusionError) -> Self {
        Self::Evaluation {
            object: object.to_owned(),
            message: first_line(&source),
            source: Box::new(source),
        }
    }
}

/// `names` in a sentence, or that there is none.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    if names.is_empty() {
        "none yet".to_owned()
    } else {
        names.join(", ")
    }
}

/// DataFusion's words without its prefix and without what follows the first line.
fn first_line(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    let text = text.lines().next().unwrap_or_default();
    let text = text
        .trim_start_matches("Error during planning: ")
        .trim_start_matches("Schema error: ");
    let mut chars = text.trim_end_matches('.').chars();
    // Lower case like our own words, but leave names and acronyms alone.
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        (first, _) => first.into_iter().chain(chars).collect(),
    }
}

impl From<EngineError> for PortError {
    fn from(error: EngineError) -> Self {
        let (kind, message) = (error.kind(), error.to_string());
        match error {
            EngineError::Planning { source, .. } | EngineError::Evaluation { source, .. } => {
                Self::with_source(kind, message, source)
            }
            EngineError::Port(error) => error,
            EngineError::File { source, .. } => Self::with_source(kind, message, source),
            _ => Self::new(kind, message),
        }
    }
}

impl From<OutOfMemory> for EngineError {
    fn from(error: OutOfMemory) -> Self {
        Self::Port(error.into())
    }
}

impl From<PortError> for EngineError {
    fn from(error: PortError) -> Self {
        match error.kind() {
            ErrorKind::Internal => Self::Internal(error.message().to_owned()),
            _ => Self::Input(error.message().to_owned()),
        }
    }
}
