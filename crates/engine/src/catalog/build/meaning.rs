//! Digests of definitions: of a statement with all that it names, by which the catalog knows what
//! has changed, and of what its values are, by which a model knows what it was made for.

use std::collections::BTreeSet;

use forebay_core::digest::digest;
use forebay_core::source::{Column, SourceDef};

use super::Builder;
use crate::catalog::references::{Reference, references};
use crate::error::{EngineError, Result, listed};
use crate::functions::{FUNCTIONS_VERSION, aggregate_kind, aggregate_version};
use crate::parse::{Definition, ObjectKind, QueryText, Statement, label_query, parse_query};
use crate::scalar::versions;

/// Which columns of a source a definition can read: by their names, in lower case. None: all.
type Named = Option<BTreeSet<String>>;

fn is_named(named: &Named, column: &Column) -> bool {
    let name = column.name.to_lowercase();
    named.as_ref().is_none_or(|named| named.contains(&name))
}

/// Digest of those columns of a source that are `named`, and of its event time, whatever its topic.
/// A column that nobody names may come and go.
fn columns_of(source: &SourceDef, named: &Named) -> String {
    let column =
        |column: &Column| format!("{} {} {}", column.name, column.data_type, column.nullable);
    let time = source.columns[source.time_column].name.clone();
    let columns = source
        .columns
        .iter()
        .filter(|column| is_named(named, column));
    let columns = columns.map(column);
    // Records and tables know columns by their names; their order may change.
    let columns: BTreeSet<String> = columns.collect();
    let parts: Vec<String> = [source.name.clone(), time]
        .into_iter()
        .chain(columns)
        .collect();
    digest(parts.iter().map(String::as_str))
}

/// Digest of which events a source has: its `named` columns, topic, format and the units of
/// their times. When they count as
/// late, and how long an idle partition is waited for, is no part of it: what is computed from the
/// events stays when that changes.
fn events_of(source: &SourceDef, named: &Named) -> String {
    let mut format = source.format.to_string();
    if source.format.format().positional {
        for (place, column) in source.columns.iter().enumerate() {
            if is_named(named, column) {
                format.push_str(&format!(", {place} {}", column.name));
            }
        }
    }
    let time = &source.columns[source.time_column].name;
    for (name, unit) in &source.epoch_units {
        let column = source.columns.iter().find(|column| column.name == *name);
        if name == time || column.is_some_and(|column| is_named(named, column)) {
            format.push_str(&format!(", {name} from epoch {}", unit.word()));
        }
    }
    for (name, domain) in &source.domains {
        let column = source.columns.iter().find(|column| column.name == *name);
        if name == time || column.is_some_and(|column| is_named(named, column)) {
            format.push_str(&format!(", {name} {domain}"));
        }
    }
    digest([columns_of(source, named).as_str(), &source.topic, &format])
}

/// The words of a query, among which are the columns that it reads; None where it has a star for
/// all of them.
fn words_of(query: &QueryText) -> Named {
    query
        .words()
        .map(|words| words.map(str::to_lowercase).collect())
}

/// Version of all functions that a statement of `kind` can call; those of single ones follow
/// behind what it names.
fn functions_of(kind: ObjectKind) -> u32 {
    match kind {
        ObjectKind::View | ObjectKind::Service | ObjectKind::Monitor => FUNCTIONS_VERSION,
        // They call none. 1 keeps the digests of the first builds.
        ObjectKind::Source | ObjectKind::Entity | ObjectKind::Model | ObjectKind::Deployment => 1,
    }
}

impl Builder<'_> {
    /// The columns that `statement` can read of the source that it names.
    fn named(&self, statement: &Statement) -> Named {
        match &statement.definition {
            Definition::View(view) => words_of(&view.body),
            Definition::Monitor(_, label) => words_of(label.as_ref()?),
            // What it asks a service for comes from the event, by the names of the request.
            Definition::Deployment(deployment) => {
                let entry = |kind, name: String| self.after.entries.get(&(kind, name));
                // Carried columns and the key that routes it are in its text.
                let words = statement.canonical.split_whitespace();
                let words = words.map(|word| word.trim_matches('"').to_lowercase());
                let mut named: BTreeSet<String> = words.collect();
                for route in &deployment.routes {
                    let model = format!("{}/{}", deployment.model, route.version);
                    let Definition::Model(model) =
                        &entry(ObjectKind::Model, model)?.statement.definition
                    else {
                        return None;
                    };
                    let Definition::Service(service) =
                        &entry(ObjectKind::Service, model.service.clone())?
                            .statement
                            .definition
                    else {
                        return None;
                    };
                    named.extend(service.request.iter().map(|c| c.name.to_lowercase()));
                }
                Some(named)
            }
            _ => None,
        }
    }

    /// Digest of a statement and of all that it names, which must be there.
    pub(super) fn digest(&self, statement: &Statement) -> Result<(String, Vec<Reference>)> {
        let references = references(statement)?;
        let functions = functions_of(statement.kind).to_string();
        let mut parts: Vec<String> = vec![statement.canonical.clone(), functions];
        for reference in &references {
            let Some(entry) = self
                .after
                .entries
                .get(&(reference.kind, reference.name.clone()))
            else {
                let known: Vec<&String> = self
                    .after
                    .entries
                    .keys()
                    .filter(|k| k.0 == reference.kind)
                    .map(|k| &k.1)
                    .collect();
                let kind = reference.kind;
                let message = self.broken_reference(reference).unwrap_or_else(|| {
                    format!(
                        "there is no {kind} {}; known: {}",
                        reference.name,
                        listed(known)
                    )
                });
                return Err(EngineError::unknown(
                    reference.at.clone(),
                    &statement.object(),
                    message,
                ));
            };
            parts.push(match &entry.statement.definition {
                Definition::Source(source) => events_of(source, &self.named(statement)),
                _ => entry.state.digest.clone(),
            });
        }
        parts.extend(self.versions(statement)?);
        Ok((digest(parts.iter().map(String::as_str)), references))
    }

    /// The functions, operators and aggregates that `statement` uses and whose meaning is not that
    /// of the first builds, with its version; None where there are none, so that digests stay.
    fn versions(&self, statement: &Statement) -> Result<Option<String>> {
        let query = match &statement.definition {
            Definition::View(view) => parse_query(&view.body)?,
            Definition::Service(service) => parse_query(&service.body)?,
            Definition::Monitor(_, Some(label)) => label_query(label, &statement.name)?,
            _ => return Ok(None),
        };
        let aggregate = |name: &str| {
            let function = self.session.aggregate(name)?;
            let kind = aggregate_kind(function.name(), false)?;
            Some((kind.name(), aggregate_version(kind)))
        };
        let used: Vec<String> = versions(&query, &aggregate).into_iter().collect();
        Ok((!used.is_empty()).then(|| used.join(" ")))
    }

    /// Digest of what the values of `statement` are: its text and those of all that it names, but
    /// of a source only its columns. Events may come by a topic of another name elsewhere, and a
    /// model made for these values serves there.
    pub(super) fn meaning(&self, statement: &Statement) -> Result<String> {
        let mut parts = vec![statement.canonical.clone(), FUNCTIONS_VERSION.to_string()];
        for Reference { kind, name, .. } in references(statement)? {
            let Some(entry) = self.after.entries.get(&(kind, name)) else {
                return Err(EngineError::Internal(format!(
                    "{} lost what it names",
                    statement.object()
                )));
            };
            parts.push(match &entry.statement.definition {
                Definition::Source(source) => columns_of(source, &self.named(statement)),
                _ => self.meaning(&entry.statement)?,
            });
        }
        parts.extend(self.versions(statement)?);
        Ok(digest(parts.iter().map(String::as_str)))
    }
}
