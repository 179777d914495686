//! The table of a source among those that a call hands over, opened. An error names the view that
//! needs it.

use std::sync::Arc;

use forebay_core::ErrorKind;
use forebay_core::ports::{RowStream, Scan, TableScan};
use forebay_core::source::SourceDef;

use crate::catalog::Catalog;
use crate::error::{EngineError, Result};

/// Source `name`, which `view` scans.
pub(crate) fn source_of<'a>(
    catalog: &'a Catalog,
    name: &str,
    view: &str,
) -> Result<&'a Arc<SourceDef>> {
    catalog.sources().get(name).ok_or_else(|| {
        EngineError::Internal(format!(
            "view {view} scans source {name}, which the catalog lacks"
        ))
    })
}

/// What `scan` asks of the table of source `name`.
pub(crate) async fn open_table(
    tables: &dyn TableScan,
    name: &str,
    view: &str,
    scan: Scan,
) -> Result<RowStream> {
    tables.scan(name, scan).await.map_err(|error| {
        if error.kind() == ErrorKind::NotFound {
            EngineError::NotFound(format!(
                "view {view} needs the table of source {name}: {error}"
            ))
        } else {
            EngineError::Port(error)
        }
    })
}
