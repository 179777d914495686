//! What a statement names: the objects that must be there before it. Each kind reads it from its
//! own clauses (`kinds`); the catalog looks the names up.

use crate::error::{Location, Result};
use crate::parse::{ObjectKind, Statement};

/// A name that a statement uses, and where.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    pub(super) kind: ObjectKind,
    pub(super) name: String,
    pub(super) at: Location,
}

impl Reference {
    /// One whose place is that of the whole `statement`.
    pub(super) fn of(kind: ObjectKind, name: &str, statement: &Statement) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            at: statement.at.clone(),
        }
    }
}

impl Statement {
    /// What it names, in the order in which that counts into its digest.
    ///
    /// # Errors
    /// It cannot name what it names.
    pub(super) fn references(&self) -> Result<Vec<Reference>> {
        self.definition.clauses().references(self)
    }
}
