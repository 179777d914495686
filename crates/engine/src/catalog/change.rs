//! What applying definitions would change: the lines of `forebay plan`, and what the binary acts on
//! after `apply`. Made by `plan` from two catalogs, written as JSON between client and server; it
//! applies nothing.

use serde::{Deserialize, Serialize};

use crate::parse::ObjectKind;

/// What happens to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeAction {
    /// It is new.
    Create,
    /// It gets a new version.
    Replace,
    /// It goes.
    Drop,
    /// It is as it was.
    Unchanged,
}

/// One object that a set of files names, or that changes with one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What happens.
    pub action: ChangeAction,
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name; of a model `name/version`.
    pub name: String,
    /// The version that results; of a drop the last one.
    pub version: u32,
    /// Its SQL before, if it was there.
    pub before: Option<String>,
    /// Its SQL after, if it stays.
    pub after: Option<String>,
    /// Why it changes.
    pub note: String,
    /// What its expressions cannot do on some rows: on one of defaults, on the archive's newest.
    /// Those rows are left out of a view, and a feature is NULL in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}
