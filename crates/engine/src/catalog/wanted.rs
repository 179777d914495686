//! The net effect of the statements of a set of files: for each object the statement that defines
//! it, or that it goes. Files are read as one text, in order; the order of statements matters only
//! for one name that occurs twice.

use std::collections::BTreeMap;

use super::inner::Key;
use crate::error::{EngineError, Location, Result};
use crate::parse::{Definition, Statement};

/// What the files want of one object.
#[derive(Debug)]
pub(super) enum Wanted {
    /// It is there, as this statement says.
    Defined(Box<Statement>),
    /// It is not there.
    Dropped { at: Location, if_exists: bool },
}

/// The net effect of `statements`.
///
/// # Errors
/// `Duplicate`: two plain CREATEs of one name.
pub(super) fn net_effect(statements: Vec<Statement>) -> Result<BTreeMap<Key, Wanted>> {
    let mut wanted: BTreeMap<Key, Wanted> = BTreeMap::new();
    for statement in statements {
        let key = (statement.kind, statement.name.clone());
        let before = wanted.get(&key);
        let next = match (&statement.definition, before) {
            // DROP after CREATE of the same name in these files is allowed even if the object did
            // not exist before.
            (Definition::Drop { if_exists }, before) => Wanted::Dropped {
                at: statement.at.clone(),
                if_exists: *if_exists || matches!(before, Some(Wanted::Defined(_))),
            },
            (_, Some(Wanted::Defined(first))) if !statement.or_replace => {
                let (object, first) = (statement.object(), first.at.clone());
                return Err(EngineError::Duplicate {
                    at: statement.at,
                    object,
                    first,
                });
            }
            _ => Wanted::Defined(Box::new(statement)),
        };
        wanted.insert(key, next);
    }
    Ok(wanted)
}
