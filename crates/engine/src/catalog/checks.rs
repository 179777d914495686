//! What the checks of statements share: columns found by name, and errors with a statement's place.
//! The checks themselves are those of each kind (`kinds`).

use forebay_core::source::{Column, SourceDef};

use crate::error::{EngineError, Result, listed};
use crate::parse::Statement;

pub(super) fn refuse<T>(statement: &Statement, message: impl Into<String>) -> Result<T> {
    Err(EngineError::refused(
        statement.at.clone(),
        &statement.object(),
        message,
    ))
}

pub(super) fn missing<T>(statement: &Statement, message: impl Into<String>) -> Result<T> {
    Err(EngineError::unknown(
        statement.at.clone(),
        &statement.object(),
        message,
    ))
}

pub(super) fn find<'a>(
    statement: &Statement,
    source: &'a SourceDef,
    name: &str,
    what: &str,
) -> Result<&'a Column> {
    match source.columns.iter().find(|column| column.name == name) {
        Some(column) => Ok(column),
        None => {
            let names: Vec<String> = source
                .columns
                .iter()
                .map(|column| column.name.clone())
                .collect();
            missing(
                statement,
                format!(
                    "source {} has no {what} {name}; it has: {}",
                    source.name,
                    listed(&names)
                ),
            )
        }
    }
}
