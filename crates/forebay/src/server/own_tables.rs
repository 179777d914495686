//! Tables of the archive that are no source's: dead letters, and decisions about time. Opened
//! before ingest starts. What is in them is `pipeline`'s and `offline`'s.

use anyhow::Result;
use forebay_core::ports::Archive;
use forebay_offline::dead_letter_schema;
use forebay_pipeline::archive::DEAD_LETTER_TABLE;
use forebay_pipeline::watermark::table::{MARKS_TABLE, marks_schema};

/// Open them, or make them.
pub(super) async fn open(archive: &dyn Archive) -> Result<()> {
    archive
        .open_table(DEAD_LETTER_TABLE, dead_letter_schema())
        .await?;
    archive.open_table(MARKS_TABLE, marks_schema()).await?;
    Ok(())
}
