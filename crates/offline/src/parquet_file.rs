//! The one reader and the one writer of Parquet: every file that Forebay opens or makes passes
//! here, an archive's data file, a checkpoint, a file that a user names. Columns are projected
//! before they are decoded and batches are bounded; whose bytes these are, and whether they may be
//! trusted, is decided by the caller.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::ChunkReader;

/// Rows decoded at a time, at most.
pub(crate) const BATCH_ROWS: usize = 8_192;
/// Bytes decoded at a time, about. With row groups of 131,072 rows and events of 1 MiB no batch can
/// pass 2 GiB, which 32-bit offsets could not address, however unevenly the long rows lie.
const BATCH_BYTES: u64 = 16 << 20;
/// zstd level: 1 compresses event data about as well as 3 and twice as fast.
pub(crate) const ZSTD_LEVEL: i32 = 1;

/// Which Arrow types a file's columns come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Types {
    /// Those of Parquet itself: text as `Utf8`, whatever the writer held it in.
    Plain,
    /// Those that the writer noted, as users expect of their own files.
    AsWritten,
}

/// The batches of `input`: its top-level columns that `wanted` admits, in the file's order.
pub(crate) fn open<T: ChunkReader + 'static>(
    input: T,
    types: Types,
    wanted: impl Fn(&str) -> bool,
) -> Result<ParquetRecordBatchReader, ParquetError> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(types == Types::Plain);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(input, options)?;
    let roots = roots(&builder, wanted);
    let rows = batch_rows(&builder, &roots);
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    builder.with_projection(mask).with_batch_size(rows).build()
}

/// The same of these ranges of rows, one after the other.
pub(crate) fn open_ranges(
    input: Bytes,
    ranges: Vec<Range<usize>>,
    wanted: impl Fn(&str) -> bool,
) -> Result<RangeReader, ParquetError> {
    let options = ArrowReaderOptions::new()
        .with_skip_arrow_metadata(true)
        // Where a page begins: else all before it would be decoded for each range.
        .with_offset_index_policy(PageIndexPolicy::Optional);
    let metadata = ArrowReaderMetadata::load(&input, options)?;
    let builder =
        ParquetRecordBatchReaderBuilder::new_with_metadata(input.clone(), metadata.clone());
    let roots = roots(&builder, wanted);
    Ok(RangeReader {
        rows: usize::try_from(metadata.metadata().file_metadata().num_rows())
            .map_err(|e| ParquetError::External(Box::new(e)))?,
        batch_rows: batch_rows(&builder, &roots),
        mask: ProjectionMask::roots(builder.parquet_schema(), roots),
        input,
        metadata,
        ranges: ranges.into_iter(),
        current: None,
    })
}

/// Batches of ranges of one file's rows.
pub(crate) struct RangeReader {
    input: Bytes,
    metadata: ArrowReaderMetadata,
    /// Rows of the file.
    rows: usize,
    batch_rows: usize,
    mask: ProjectionMask,
    ranges: std::vec::IntoIter<Range<usize>>,
    current: Option<ParquetRecordBatchReader>,
}

impl RangeReader {
    fn open(&self, range: Range<usize>) -> Result<ParquetRecordBatchReader, ParquetError> {
        let (input, metadata) = (self.input.clone(), self.metadata.clone());
        ParquetRecordBatchReaderBuilder::new_with_metadata(input, metadata)
            .with_projection(self.mask.clone())
            .with_batch_size(self.batch_rows)
            .with_row_selection(RowSelection::from_consecutive_ranges(
                std::iter::once(range),
                self.rows,
            ))
            .build()
    }
}

impl Iterator for RangeReader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.current.as_mut().and_then(Iterator::next) {
                return Some(batch);
            }
            let range = self.ranges.next()?;
            match self.open(range) {
                Ok(reader) => self.current = Some(reader),
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}

fn roots<T: ChunkReader + 'static>(
    builder: &ParquetRecordBatchReaderBuilder<T>,
    wanted: impl Fn(&str) -> bool,
) -> Vec<usize> {
    let fields = builder.parquet_schema().root_schema().get_fields();
    (0..fields.len())
        .filter(|root| wanted(fields[*root].name()))
        .collect()
}

/// Rows of one batch of the columns `roots`: fewer where rows are long. The size of a column chunk
/// says little, since equal texts are written once; its statistics say how long they are decoded.
fn batch_rows<T: ChunkReader + 'static>(
    builder: &ParquetRecordBatchReaderBuilder<T>,
    roots: &[usize],
) -> usize {
    let schema = builder.parquet_schema();
    let row_bytes = builder.metadata().row_groups().iter().map(|group| {
        let columns = group.columns().iter().enumerate();
        let wanted = columns.filter(|(leaf, _)| roots.contains(&schema.get_column_root_idx(*leaf)));
        let bytes = wanted.map(|(_, chunk)| {
            let decoded = chunk.unencoded_byte_array_data_bytes().unwrap_or(0);
            decoded.max(chunk.uncompressed_size()).unsigned_abs()
        });
        bytes.sum::<u64>() / group.num_rows().unsigned_abs().max(1)
    });
    let longest = row_bytes.max().unwrap_or(0).max(1);
    let rows = (BATCH_BYTES / longest).clamp(1, BATCH_ROWS as u64);
    usize::try_from(rows).expect("at most BATCH_ROWS")
}

/// [`open`] on a file of this machine.
pub(crate) fn open_path(
    path: &Path,
    wanted: impl Fn(&str) -> bool,
) -> Result<ParquetRecordBatchReader, ParquetError> {
    let file = File::open(path).map_err(|e| ParquetError::External(Box::new(e)))?;
    open(file, Types::AsWritten, wanted)
}

/// The schema of the file at `path` with its metadata, which the schema of a reader leaves out.
pub(crate) fn schema_path(path: &Path) -> Result<SchemaRef, ParquetError> {
    let file = File::open(path).map_err(|e| ParquetError::External(Box::new(e)))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
    Ok(Arc::clone(builder.schema()))
}

/// How our files are compressed.
pub(crate) fn compression() -> Result<Compression, ParquetError> {
    Ok(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
}

/// A writer of one file for people to read.
pub(crate) fn writer<T: Write + Send>(
    output: T,
    schema: SchemaRef,
) -> Result<ArrowWriter<T>, ParquetError> {
    let properties = WriterProperties::builder()
        .set_compression(compression()?)
        .build();
    ArrowWriter::try_new(output, schema, Some(properties))
}
