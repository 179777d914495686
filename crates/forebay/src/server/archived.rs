//! Rows of the archive's Parquet files, read back: what a backfill folds, and what repeats and
//! monitors are rebuilt from at start. The archive names the files; nothing here writes.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use arrow_array::RecordBatch;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

/// Rows decoded at a time.
const BATCH_ROWS: usize = 8_192;

/// The batches of `files`, in their order. A file is opened when its turn comes.
pub(crate) fn read_files(files: Vec<PathBuf>) -> impl Iterator<Item = Result<RecordBatch>> {
    files
        .into_iter()
        .flat_map(|path| -> Box<dyn Iterator<Item = Result<RecordBatch>>> {
            match open(&path) {
                Ok(reader) => {
                    Box::new(reader.map(move |batch| batch.with_context(|| cannot_read(&path))))
                }
                Err(error) => Box::new(std::iter::once(Err(error))),
            }
        })
}

fn open(path: &Path) -> Result<ParquetRecordBatchReader> {
    let file = File::open(path).with_context(|| cannot_read(path))?;
    let builder =
        ParquetRecordBatchReaderBuilder::try_new(file).with_context(|| cannot_read(path))?;
    builder
        .with_batch_size(BATCH_ROWS)
        .build()
        .with_context(|| cannot_read(path))
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read {}", path.display())
}
