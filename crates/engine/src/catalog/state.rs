//! What a catalog writes down: the applied texts with their versions and ids, and beside each what
//! was compiled of it. Everything else follows from the texts. The binary keeps it as JSON; the
//! shape has a format version.

use forebay_core::limits::DEFINITION_FILE_MAX_BYTES;
use forebay_core::view::ViewId;
use serde::{Deserialize, Serialize};

use super::compiled::Compiled;
use crate::error::{EngineError, Result};
use crate::parse::{ObjectKind, Statement, parse_file};
use crate::patience::Patience;

/// Version of the shape of [`CatalogState`] and of the digests in it.
pub(super) const CATALOG_FORMAT: u32 = 4;
/// The same without compiled forms; it is read too.
pub(super) const CATALOG_FORMAT_BEFORE_FORMS: u32 = 3;

/// A catalog as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogState {
    /// [`CATALOG_FORMAT`].
    pub format: u32,
    /// Id of the next view version. Ids are never reused.
    pub next_view_id: ViewId,
    /// Objects in the order in which they are built.
    pub objects: Vec<ObjectState>,
    /// Dropped names with their last versions, so that no version stands for two definitions.
    pub dropped: Vec<DroppedState>,
}

impl CatalogState {
    /// Of no object.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            format: CATALOG_FORMAT,
            next_view_id: 1,
            objects: Vec::new(),
            dropped: Vec::new(),
        }
    }
}

/// One applied definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectState {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name; of a model `name/version`.
    pub name: String,
    /// Version of the definition, from 1.
    pub version: u32,
    /// Id of a view's version.
    pub view_id: Option<ViewId>,
    /// Digest of its text and of what it depends on.
    pub digest: String,
    /// Its statement as written.
    pub text: String,
    /// File that it came from.
    pub file: String,
    /// Line of its first word there.
    pub line: u64,
    /// Column of its first word there.
    pub column: u64,
    /// What was compiled of it, where there is anything to compile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compiled: Option<Compiled>,
}

impl ObjectState {
    /// Lines or columns before `number`, which a file of definitions can have.
    fn before(&self, number: u64) -> Result<usize> {
        let before = usize::try_from(number.saturating_sub(1)).ok();
        let before = before.filter(|before| *before <= DEFINITION_FILE_MAX_BYTES);
        before.ok_or_else(|| {
            EngineError::Input(format!(
                "the saved catalog says that {} {} stands at {}:{}:{}, which no file has; restore it from a backup",
                self.kind, self.name, self.file, self.line, self.column
            ))
        })
    }

    /// The statement again, with the places that it had.
    pub(crate) fn statement(&self, patience: &Patience) -> Result<Statement> {
        let (lines, columns) = (self.before(self.line)?, self.before(self.column)?);
        let text = format!("{}{}{}", "\n".repeat(lines), " ".repeat(columns), self.text);
        let mut statements = parse_file(&self.file, &text, patience)?;
        match (statements.pop(), statements.pop()) {
            (Some(statement), None)
                if statement.kind == self.kind && statement.name == self.name =>
            {
                Ok(statement)
            }
            _ => Err(EngineError::Input(format!(
                "the saved catalog holds another statement than that of {} {}; restore it from a backup, or apply the \
                 definitions to an empty one",
                self.kind, self.name
            ))),
        }
    }
}

/// A name that was dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DroppedState {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// The last version that it had.
    pub version: u32,
}
