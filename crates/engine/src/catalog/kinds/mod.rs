//! The kinds of objects, in one table. A kind is a file here: how it is written, what it names,
//! what counts into its digest, what is checked and compiled, and what is told of it. `parse` finds
//! the words of a kind in [`KINDS`]; `build` and `answer` ask the clauses of a statement by
//! [`Clauses`] and know no kind. Another kind is another file, a row of the table and a variant of
//! [`ObjectKind`] and of [`Definition`].

mod clauses;
mod deployment;
mod entity;
mod model;
mod monitor;
mod service;
mod source;
mod view;

use super::answer::Answer;
use super::build::{Builder, Identity, Meaning};
use super::compiled::Compiled;
use super::inner::Inner;
use crate::error::{EngineError, Result};
use crate::parse::{Definition, ObjectKind, Statement};
pub(crate) use clauses::Kind;
pub(super) use clauses::{Clauses, Named};
pub(super) use source::{columns_of, events_of};

/// All kinds, in the order in which a catalog is built.
pub(crate) const KINDS: [Kind; 7] = [
    source::KIND,
    entity::KIND,
    view::KIND,
    service::KIND,
    model::KIND,
    deployment::KIND,
    monitor::KIND,
];

impl Kind {
    /// How `kind` is written.
    pub(crate) fn of(kind: ObjectKind) -> &'static Self {
        let found = KINDS.iter().find(|row| row.kind == kind);
        found.expect("the table has each kind")
    }
}

/// Of a DROP, which is gone before a catalog is built.
struct Dropped;

impl Clauses for Dropped {
    fn compile(
        &self,
        _builder: &mut Builder<'_>,
        statement: &Statement,
        _identity: &Identity,
        _meaning: Meaning<'_>,
    ) -> Result<Option<Compiled>> {
        let message = format!("DROP of {} is compiled", statement.object());
        Err(EngineError::Internal(message))
    }

    fn describe(&self, _name: &str, _inner: &Inner) -> Answer {
        Answer::default()
    }
}

impl Definition {
    pub(super) fn clauses(&self) -> &dyn Clauses {
        match self {
            Self::Source(source) => source,
            Self::Entity(entity) => entity,
            Self::View(view) => view,
            Self::Service(service) => service,
            Self::Model(model) => model,
            Self::Deployment(deployment) => deployment,
            Self::Monitor(monitor) => monitor,
            Self::Drop { .. } => &Dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_has_each_kind_once_in_the_order_of_building() {
        let kinds = KINDS.map(|row| row.kind);
        assert!(kinds.is_sorted_by(|a, b| a < b), "{kinds:?}");
        let words: BTreeSet<String> = KINDS.iter().map(|row| row.words.join(" ")).collect();
        assert_eq!(words.len(), KINDS.len());
    }
}
