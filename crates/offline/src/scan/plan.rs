//! What every file of a scan is read by: where it lies, which columns the answer has, and what was
//! asked. Decides nothing but which columns a file must be decoded for.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use forebay_core::ports::{Scan, ScanOrder};
use forebay_core::source::meta;
use object_store::ObjectStore;

/// What every file of a scan is read by.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) table: String,
    pub(super) store: Arc<dyn ObjectStore>,
    /// Columns of the answer.
    pub(super) schema: SchemaRef,
    pub(super) scan: Scan,
}

impl Plan {
    /// Whether a file's column `name` must be decoded: asked for, or needed to place the rows.
    pub(super) fn reads(&self, name: &str) -> bool {
        self.schema.column_with_name(name).is_some() || (self.needs_places() && is_place(name))
    }

    fn needs_places(&self) -> bool {
        self.scan.order == ScanOrder::Log || !self.scan.takes_all_offsets()
    }
}

/// Whether the column says where a row stands in its log.
pub(super) fn is_place(name: &str) -> bool {
    [meta::TOPIC, meta::PARTITION, meta::OFFSET].contains(&name)
}
