//! Parquet files that a user names: spines, events without an archive, training sets. A folder with
//! one NAME.parquet a source is a set of tables; the binary hands it over wherever the archive
//! would stand. Nothing here writes into an archive, and nothing here is trusted: a file of another
//! shape is refused by name.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use forebay_core::ports::{ORIGIN, RowStream, Scan, TableScan};
use forebay_core::{ErrorKind, PortError, PortResult};
use futures::stream;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;

use crate::parquet_file;

/// A folder of Parquet files, each a table named after it.
#[derive(Debug, Clone)]
pub struct ParquetFolder {
    folder: PathBuf,
}

impl ParquetFolder {
    /// The tables in `folder`.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// Where the rows of `table` lie.
    #[must_use]
    pub fn path(&self, table: &str) -> PathBuf {
        self.folder.join(format!("{table}.parquet"))
    }
}

#[async_trait]
impl TableScan for ParquetFolder {
    /// Rows come in the file's order: a file that a user made has no log to be in order of.
    async fn scan(&self, table: &str, scan: Scan) -> PortResult<RowStream> {
        let path = self.path(table);
        let columns = scan.columns;
        let rows = read_parquet(&path, columns.as_deref())?;
        Ok(Box::pin(stream::iter(rows)))
    }
}

/// The batches of the file at `path`, with its columns of these names (None: all) in the order of
/// the names. The file is read as the batches are taken; each says in its metadata where it is
/// from.
///
/// # Errors
/// It does not exist or is no Parquet; a batch is an error where the file is damaged.
pub fn read_parquet(
    path: &Path,
    columns: Option<&[String]>,
) -> PortResult<impl Iterator<Item = PortResult<RecordBatch>> + Send + use<>> {
    let unreadable = unreadable(path);
    let reader = parquet_file::open_path(path, |name| {
        columns.is_none_or(|columns| columns.iter().any(|c| c == name))
    })
    .map_err(|e| unreadable(e.into()))?;
    let schema = described(&reader_schema(&reader), path);
    let order = columns.map(|columns| {
        let position = |name: &String| schema.index_of(name).ok();
        columns.iter().filter_map(position).collect::<Vec<_>>()
    });
    Ok(reader.map(move |batch| {
        let batch = batch.map_err(|e| unreadable(e.into()))?;
        let batch = batch
            .with_schema(Arc::clone(&schema))
            .map_err(|e| unreadable(e.into()))?;
        match &order {
            Some(order) => batch.project(order).map_err(|e| unreadable(e.into())),
            None => Ok(batch),
        }
    }))
}

/// The schema of the file at `path`, with its metadata.
///
/// # Errors
/// As [`read_parquet`].
pub fn parquet_schema(path: &Path) -> PortResult<SchemaRef> {
    parquet_file::schema_path(path).map_err(|e| unreadable(path)(e.into()))
}

/// A Parquet file that is written some rows at a time. Without [`Self::finish`] it is none.
pub struct ParquetRows {
    writer: ArrowWriter<File>,
}

impl fmt::Debug for ParquetRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParquetRows").finish_non_exhaustive()
    }
}

impl ParquetRows {
    /// Write rows of `schema` to `file`.
    ///
    /// # Errors
    /// The disk fails, or a type has no place in Parquet.
    pub fn begin(file: File, schema: SchemaRef) -> PortResult<Self> {
        let writer = parquet_file::writer(file, schema).map_err(unwritable)?;
        Ok(Self { writer })
    }

    /// Write `rows`.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn write(&mut self, rows: &RecordBatch) -> PortResult<()> {
        self.writer.write(rows).map_err(unwritable)
    }

    /// Write what ends the file.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn finish(self) -> PortResult<()> {
        self.writer.close().map(|_| ()).map_err(unwritable)
    }
}

fn unwritable(cause: ParquetError) -> PortError {
    let words = format!("cannot write rows as Parquet: {cause}");
    PortError::with_source(ErrorKind::Unavailable, words, cause)
}

fn reader_schema(reader: &parquet::arrow::arrow_reader::ParquetRecordBatchReader) -> SchemaRef {
    arrow_array::RecordBatchReader::schema(reader)
}

fn described(schema: &SchemaRef, path: &Path) -> SchemaRef {
    let mut metadata = schema.metadata().clone();
    metadata.insert(ORIGIN.to_owned(), path.display().to_string());
    Arc::new(schema.as_ref().clone().with_metadata(metadata))
}

fn unreadable(
    path: &Path,
) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> PortError + Send + use<> {
    let path = path.to_owned();
    move |cause| {
        PortError::with_source(
            ErrorKind::NotFound,
            format!(
                "{} is missing or not a Parquet file that can be read ({cause}); check the path",
                path.display()
            ),
            cause,
        )
    }
}
