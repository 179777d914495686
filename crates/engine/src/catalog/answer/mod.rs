//! Answers to `SHOW`, `DESCRIBE` and `EXPLAIN` from a catalog: the same whether a server's or one
//! that a client has made of files. An answer is data, facts and tables of JSON values, which
//! travels from server to client as it is; whoever prints it need not know what an object is.
//!
//! `kinds` has what is told of each kind, `explain` how a view is computed.

mod explain;
mod table;
#[cfg(test)]
mod tests;
mod words;

use serde_json::Value as Json;

use super::inner::{Entry, Inner, Key};
use super::kinds::Kind;
use super::references::Reference;
use super::{Catalog, ObjectKind};
use crate::error::{EngineError, Result, listed};
use crate::parse::{Question, parse_question};
use explain::explain;
pub(super) use table::names;
pub use table::{Answer, AnswerTable};
pub(super) use words::{length, window};

impl Catalog {
    /// The answer to `statement`: SHOW, DESCRIBE or EXPLAIN.
    ///
    /// # Errors
    /// It is none of these, or names an object that is not there.
    pub fn answer(&self, statement: &str) -> Result<Answer> {
        match parse_question(statement)? {
            Question::Show(kind) => Ok(self.show(kind)),
            Question::Describe { kind, name } => self.describe(kind, &name),
            Question::Explain { view } => {
                let (key, entry) = self.find(Some(ObjectKind::View), &view)?;
                let view = self.view(&key.1);
                let view = view.ok_or_else(|| {
                    EngineError::Internal(format!("feature view {} is not compiled", key.1))
                })?;
                Ok(explain(view, entry))
            }
        }
    }

    /// All objects of `kind` with what is told of each first.
    fn show(&self, kind: ObjectKind) -> Answer {
        let mut table = AnswerTable::new(&many(kind), &["name", "version"]);
        for ((_, name), entry) in self.entries_of(kind) {
            let facts = told(&self.inner, entry).facts;
            if table.rows.is_empty() {
                table
                    .columns
                    .extend(facts.iter().map(|(name, _)| name.clone()));
            }
            let mut row = vec![Json::from(name.as_str()), Json::from(entry.state.version)];
            row.extend(facts.into_iter().map(|(_, value)| value));
            table.rows.push(row);
        }
        let mut tables = vec![table];
        let mut unusable = AnswerTable::new("set aside", &["name", "why"]);
        for broken in self.broken().filter(|broken| broken.kind == kind) {
            unusable
                .rows
                .push(vec![broken.name.into(), broken.why.into()]);
        }
        if kind == ObjectKind::View {
            for name in self.outdated() {
                let why = "its functions mean something else than when its state was begun; rebuild or apply it";
                unusable.rows.push(vec![name.as_str().into(), why.into()]);
            }
        }
        if !unusable.rows.is_empty() {
            tables.push(unusable);
        }
        Answer {
            facts: Vec::new(),
            tables,
        }
    }

    fn entries_of(&self, kind: ObjectKind) -> impl Iterator<Item = (&Key, &Entry)> {
        let entries = self.inner.entries.iter();
        let entries = entries.filter(move |(key, _)| key.0 == kind);
        entries.map(|(key, entry)| (key, entry.as_ref()))
    }

    fn describe(&self, kind: Option<ObjectKind>, name: &str) -> Result<Answer> {
        let (key, entry) = self.find(kind, name)?;
        let Answer { facts, mut tables } = told(&self.inner, entry);
        let state = &entry.state;
        let mut all = vec![
            ("kind".to_owned(), Json::from(key.0.to_string())),
            ("name".to_owned(), Json::from(key.1.as_str())),
            ("version".to_owned(), Json::from(state.version)),
        ];
        all.extend(facts);
        all.push(("digest".to_owned(), state.digest.as_str().into()));
        let place = format!("{}:{}:{}", state.file, state.line, state.column);
        all.push(("defined".to_owned(), place.into()));
        all.push(("statement".to_owned(), state.text.as_str().into()));
        let users = self.users_of(key)?;
        if !users.rows.is_empty() {
            tables.push(users);
        }
        Ok(Answer { facts: all, tables })
    }

    /// What names `key`.
    fn users_of(&self, key: &Key) -> Result<AnswerTable> {
        let mut table = AnswerTable::new("used by", &["kind", "name"]);
        for (user, entry) in &self.inner.entries {
            let references = entry.statement.references()?;
            let names = |r: &Reference| (r.kind, &r.name) == (key.0, &key.1);
            if references.iter().any(names) {
                let row = vec![user.0.to_string().into(), user.1.as_str().into()];
                table.rows.push(row);
            }
        }
        Ok(table)
    }

    /// The one object of `name`, of `kind` where that is said.
    fn find(&self, kind: Option<ObjectKind>, name: &str) -> Result<(&Key, &Entry)> {
        let called = |key: &Key| {
            let of_model = key.0 == ObjectKind::Model && key.1.split('/').next() == Some(name);
            kind.is_none_or(|kind| kind == key.0) && (key.1 == name || of_model)
        };
        let entries = self.inner.entries.iter();
        let found: Vec<(&Key, &Entry)> = entries
            .filter(|(key, _)| called(key))
            .map(|(key, entry)| (key, entry.as_ref()))
            .collect();
        if let [found] = found.as_slice() {
            return Ok(*found);
        }
        let broken = self.inner.broken.iter().find(|(key, _)| called(key));
        if let Some((key, broken)) = broken {
            let (kind, name, why) = (key.0, &key.1, &broken.why);
            return Err(EngineError::NotFound(format!(
                "{kind} {name} is set aside: {why}"
            )));
        }
        let what = kind.map_or_else(|| "object".to_owned(), |kind| kind.to_string());
        if found.is_empty() {
            let keys = self.inner.entries.keys();
            let known: Vec<String> = keys
                .filter(|key| kind.is_none_or(|kind| kind == key.0))
                .map(|key| match kind {
                    Some(_) => key.1.clone(),
                    None => format!("{} {}", key.0, key.1),
                })
                .collect();
            return Err(EngineError::NotFound(format!(
                "there is no {what} {name}; known: {}",
                listed(&known)
            )));
        }
        let which: Vec<String> = found.iter().map(|(key, _)| written(key)).collect();
        Err(EngineError::NotFound(format!(
            "there are several objects {name}; write one of: {}",
            which.join(", ")
        )))
    }
}

/// What is told of `entry`, beside its name, version and text.
fn told(inner: &Inner, entry: &Entry) -> Answer {
    let clauses = entry.statement.definition.clauses();
    clauses.describe(&entry.state.name, inner)
}

/// How DESCRIBE names `key`.
fn written(key: &Key) -> String {
    let words = Kind::of(key.0).words.join(" ");
    match key.1.split_once('/') {
        Some((name, version)) if key.0 == ObjectKind::Model => {
            format!("DESCRIBE {words} {name} VERSION {version}")
        }
        _ => format!("DESCRIBE {words} {}", key.1),
    }
}

/// What many objects of `kind` are called.
fn many(kind: ObjectKind) -> String {
    let row = Kind::of(kind);
    match row.name.rsplit_once(' ') {
        Some((before, _)) => format!("{before} {}", row.plural.to_lowercase()),
        None => row.plural.to_lowercase(),
    }
}
