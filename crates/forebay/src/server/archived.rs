//! Rows of the archive's Parquet files, read back into memory: what a backfill folds, and what repeats and monitors are
//! rebuilt from at start. The archive names the files; nothing here writes.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result};
use arrow_array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Rows decoded at a time.
const BATCH_ROWS: usize = 8_192;

/// Call `each` with every batch of `files`, in their order, with the columns `names` (all where None).
///
/// # Errors
/// A file cannot be read; what `each` refuses.
pub(crate) fn read_files(
    files: &[PathBuf],
    names: Option<&[&str]>,
    mut each: impl FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    for path in files {
        let failed = || format!("cannot read {}", path.display());
        let file = File::open(path).with_context(failed)?;
        let mut builder = ParquetRecordBatchReaderBuilder::try_new(file).with_context(failed)?;
        if let Some(names) = names {
            let roots = builder.parquet_schema().root_schema().get_fields();
            let wanted: Vec<usize> = (0..roots.len()).filter(|root| names.contains(&roots[*root].name())).collect();
            let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
            builder = builder.with_projection(mask);
        }
        for batch in builder.with_batch_size(BATCH_ROWS).build().with_context(failed)? {
            each(batch.with_context(failed)?)?;
        }
    }
    Ok(())
}
