//! Rows of the archive's Parquet files: a few columns at a time, newest file first, bounded. The
//! archive names the files; nothing here writes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StructArray};
use arrow_schema::{Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::error::TrainingError;

/// Rows decoded at a time.
const BATCH_ROWS: usize = 8_192;

/// Call `each` with the columns `names` of every batch of `file`, in its order, until it answers
/// false. Columns that the file has not are left out.
pub(crate) fn read_file(
    file: &Path,
    names: &[&str],
    each: &mut dyn FnMut(RecordBatch) -> Result<bool, TrainingError>,
) -> Result<bool, TrainingError> {
    let opened = File::open(file).map_err(|e| TrainingError::file("open", file, e))?;
    let failed = |e: parquet::errors::ParquetError| TrainingError::file("read", file, e);
    let builder = ParquetRecordBatchReaderBuilder::try_new(opened).map_err(failed)?;
    let roots = builder.parquet_schema().root_schema().get_fields();
    let wanted: Vec<usize> = (0..roots.len())
        .filter(|root| names.contains(&roots[*root].name()))
        .collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let reader = builder
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(failed)?;
    for batch in reader {
        if !each(batch.map_err(|e| TrainingError::file("read", file, e))?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Up to about `max_rows` of the newest rows of `files` (oldest first, as a snapshot lists them),
/// whole batches.
pub(crate) fn newest(
    files: &[PathBuf],
    names: &[&str],
    max_rows: usize,
) -> Result<Vec<RecordBatch>, TrainingError> {
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut rows = 0;
    for file in files.iter().rev() {
        read_file(file, names, &mut |batch| {
            rows += batch.num_rows();
            batches.push(batch);
            // A file is in order of time: to have its newest rows it is read to its end, within
            // reason.
            Ok(rows < max_rows.saturating_mul(4))
        })?;
        if rows >= max_rows {
            break;
        }
    }
    Ok(batches)
}

/// The children of a struct column as a batch.
pub(crate) fn unnest(column: &StructArray) -> Result<RecordBatch, TrainingError> {
    let schema: SchemaRef = Arc::new(Schema::new(column.fields().clone()));
    let columns: Vec<ArrayRef> = column.columns().to_vec();
    let options = arrow_array::RecordBatchOptions::new()
        .with_row_count(Some(arrow_array::Array::len(column)));
    RecordBatch::try_new_with_options(schema, columns, &options)
        .map_err(TrainingError::arrow("unpack a record"))
}
