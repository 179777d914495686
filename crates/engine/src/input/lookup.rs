//! The table of a source among those that a call hands over. An error lists what was given, because
//! a name is mostly misspelt, not missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::ports::TableInput;
use forebay_core::source::SourceDef;

use crate::catalog::Catalog;
use crate::error::{EngineError, Result, listed};

/// Source `name` and its table.
pub(crate) fn find_table<'a>(
    catalog: &'a Catalog,
    name: &str,
    view: &str,
    tables: &'a BTreeMap<String, TableInput>,
) -> Result<(&'a Arc<SourceDef>, &'a TableInput)> {
    let source = catalog.sources().get(name).ok_or_else(|| {
        EngineError::Internal(format!(
            "view {view} scans source {name}, which the catalog lacks"
        ))
    })?;
    let input = tables.get(name).ok_or_else(|| {
        let given = listed(tables.keys());
        EngineError::NotFound(format!(
            "view {view} needs the table of source {name}; tables given: {given}"
        ))
    })?;
    Ok((source, input))
}
