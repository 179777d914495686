//! The kinds of objects as statements write them, in one table: the words of each, one and many,
//! and what reads the clauses behind its name. CREATE, DROP, SHOW and DESCRIBE find their kind
//! here, and so do errors that list what may stand.

use std::fmt;

use super::cursor::Cursor;
use super::statement::{Definition, ObjectKind};
use crate::error::Result;

/// How one kind is written.
pub(crate) struct Grammar {
    pub(crate) kind: ObjectKind,
    /// `["FEATURE", "VIEW"]`.
    pub(crate) words: &'static [&'static str],
    /// The last of them, of many.
    pub(crate) plural: &'static str,
    /// The kind in a sentence.
    pub(crate) name: &'static str,
    /// Reads what stands behind the name.
    pub(super) clauses: fn(&mut Cursor<'_>, &str) -> Result<Definition>,
}

/// All kinds, in the order in which a catalog is built.
pub(crate) const GRAMMARS: [Grammar; 7] = [
    Grammar {
        kind: ObjectKind::Source,
        words: &["SOURCE"],
        plural: "SOURCES",
        name: "source",
        clauses: |cursor, name| Ok(Definition::Source(cursor.source(name)?)),
    },
    Grammar {
        kind: ObjectKind::Entity,
        words: &["ENTITY"],
        plural: "ENTITIES",
        name: "entity",
        clauses: |cursor, name| Ok(Definition::Entity(cursor.entity(name)?)),
    },
    Grammar {
        kind: ObjectKind::View,
        words: &["FEATURE", "VIEW"],
        plural: "VIEWS",
        name: "feature view",
        clauses: |cursor, _| Ok(Definition::View(cursor.view()?)),
    },
    Grammar {
        kind: ObjectKind::Service,
        words: &["FEATURE", "SERVICE"],
        plural: "SERVICES",
        name: "feature service",
        clauses: |cursor, _| Ok(Definition::Service(cursor.service()?)),
    },
    Grammar {
        kind: ObjectKind::Model,
        words: &["MODEL"],
        plural: "MODELS",
        name: "model",
        clauses: |cursor, name| Ok(Definition::Model(cursor.model(name)?)),
    },
    Grammar {
        kind: ObjectKind::Deployment,
        words: &["DEPLOYMENT"],
        plural: "DEPLOYMENTS",
        name: "deployment",
        clauses: |cursor, name| Ok(Definition::Deployment(cursor.deployment(name)?)),
    },
    Grammar {
        kind: ObjectKind::Monitor,
        words: &["MONITOR"],
        plural: "MONITORS",
        name: "monitor",
        clauses: |cursor, name| cursor.monitor(name),
    },
];

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Grammar::of(*self).name)
    }
}

impl Grammar {
    /// How `kind` is written.
    pub(crate) fn of(kind: ObjectKind) -> &'static Self {
        let found = GRAMMARS.iter().find(|grammar| grammar.kind == kind);
        found.expect("the table has each kind")
    }

    /// `FEATURE VIEW`, or `FEATURE VIEWS` where there are `many`.
    fn written(&self, many: bool) -> String {
        let (last, before) = self.words.split_last().expect("a kind has a word");
        let last = if many { self.plural } else { last };
        before
            .iter()
            .chain([&last])
            .copied()
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// All kinds behind `verb`, as errors list them.
pub(super) fn all_behind(verb: &str, many: bool) -> String {
    let kinds = GRAMMARS.iter();
    let kinds: Vec<String> = kinds
        .map(|grammar| format!("{verb} {}", grammar.written(many)))
        .collect();
    kinds.join(", ")
}

impl Cursor<'_> {
    /// The kind whose words stand next, those of `many` objects or of one; None where the first
    /// word begins no kind.
    pub(super) fn take_kind(&mut self, many: bool) -> Result<Option<ObjectKind>> {
        let last = |grammar: &Grammar| match grammar.words.split_last() {
            Some((_, before)) if many => (before, grammar.plural),
            Some((last, before)) => (before, *last),
            None => (&[][..], ""),
        };
        let mut begun = Vec::new();
        for grammar in &GRAMMARS {
            let (before, last) = last(grammar);
            match before {
                [] if self.take_word(last) => return Ok(Some(grammar.kind)),
                [first] if self.is_word(first) => begun.push((first, last, grammar.kind)),
                _ => {}
            }
        }
        let Some((first, ..)) = begun.first() else {
            return Ok(None);
        };
        self.take_word(first);
        for (_, last, kind) in &begun {
            if self.take_word(last) {
                return Ok(Some(*kind));
            }
        }
        let lasts: Vec<&str> = begun.iter().map(|(_, last, _)| *last).collect();
        self.expected(&lasts.join(" or "))
    }
}
