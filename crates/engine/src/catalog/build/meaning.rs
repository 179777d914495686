//! Digests of definitions: of a statement with all that it names, by which the catalog knows what
//! has changed, and of what its values are, by which a model knows what it was made for.

use forebay_core::digest::digest;

use super::Builder;
use crate::catalog::kinds::{Named, columns_of, events_of};
use crate::catalog::references::Reference;
use crate::error::{EngineError, Result, listed};
use crate::functions::{FUNCTIONS_VERSION, aggregate_kind, aggregate_version};
use crate::parse::{Definition, Statement};
use crate::scalar::versions;

/// Version of all functions that a statement can call; those of single ones follow behind what it
/// names.
fn functions_of(statement: &Statement) -> u32 {
    match statement.definition.clauses().calls_functions() {
        true => FUNCTIONS_VERSION,
        // 1 keeps the digests of the first builds.
        false => 1,
    }
}

impl Builder<'_> {
    /// The columns that `statement` can read of the source that it names.
    fn named(&self, statement: &Statement) -> Named {
        let clauses = statement.definition.clauses();
        clauses.named(statement, &self.after)
    }

    /// Digest of a statement and of all that it names, which must be there.
    pub(super) fn digest(&self, statement: &Statement) -> Result<(String, Vec<Reference>)> {
        let references = statement.references()?;
        let functions = functions_of(statement).to_string();
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
        let Some(query) = statement.definition.clauses().query(statement)? else {
            return Ok(None);
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
    pub(in crate::catalog) fn meaning(&self, statement: &Statement) -> Result<String> {
        let mut parts = vec![statement.canonical.clone(), FUNCTIONS_VERSION.to_string()];
        for Reference { kind, name, .. } in statement.references()? {
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
