//! Tables of the archive that are no source's: dead letters, and decisions about time. Opened
//! before ingest starts; the decisions are read back, since marks follow from them. What is in them
//! is `pipeline`'s and `offline`'s.

use anyhow::Result;
use forebay_core::ports::{Archive, Scan};
use forebay_core::watermark::MarkRecord;
use forebay_offline::dead_letter_schema;
use forebay_pipeline::archive::DEAD_LETTER_TABLE;
use forebay_pipeline::watermark::table::{self, MARKS_TABLE, marks_schema};
use tokio::runtime::Handle;

use super::archived::blocking;

/// Open them, or make them.
pub(super) async fn open(archive: &dyn Archive) -> Result<()> {
    archive
        .open_table(DEAD_LETTER_TABLE, dead_letter_schema())
        .await?;
    archive.open_table(MARKS_TABLE, marks_schema()).await?;
    Ok(())
}

/// The decisions about time that `archive` has.
pub(super) fn marks(archive: &dyn Archive, runtime: &Handle) -> Result<Vec<MarkRecord>> {
    let rows = runtime.block_on(archive.scan(MARKS_TABLE, Scan::default()))?;
    let mut records = Vec::new();
    for rows in blocking(runtime.clone(), rows) {
        records.extend(table::read(&rows?)?);
    }
    Ok(records)
}
