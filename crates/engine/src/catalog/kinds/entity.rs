//! `CREATE ENTITY`: what features are of, and the columns that tell one from another. There is
//! nothing to compile; views and answers read the definition.

use forebay_core::definition::EntityDef;
use serde_json::json;

use super::clauses::{Clauses, Kind};
use crate::catalog::answer::{Answer, AnswerTable, names};
use crate::catalog::inner::Inner;
use crate::parse::{Definition, ObjectKind};

pub(super) const KIND: Kind = Kind {
    kind: ObjectKind::Entity,
    words: &["ENTITY"],
    plural: "ENTITIES",
    name: "entity",
    clauses: |cursor, name| Ok(Definition::Entity(cursor.entity(name)?)),
};

impl Clauses for EntityDef {
    fn insert(&self, inner: &mut Inner) {
        inner.entities.insert(self.name.clone(), self.clone());
    }

    fn describe(&self, _name: &str, _inner: &Inner) -> Answer {
        Answer::of(
            [("key", json!(names(&self.key)))],
            vec![AnswerTable::of_columns("key", &self.key)],
        )
    }
}
