//! Rows as one Parquet data file: how it is encoded, its checksum, and the `add` action that names
//! it. The rows stand in log order, which the action says in a tag.
//!
//! Float columns carry no statistics, neither in Parquet nor in the log: writers and readers
//! disagree about NaN, and a reader that prunes by them loses rows.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use deltalake::kernel::Add;
use forebay_core::invariant;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::facts::FileFacts;
use crate::parquet_file::compression;
use crate::statistics::Statistics;
use crate::sums::{CHECKSUM_TAG, FACTS_TAG, ORDER_LOG, ORDER_TAG, checksum_text};

/// Rows of one row group.
const ROW_GROUP_ROWS: usize = 131_072;
/// An encoded data file.
#[derive(Debug)]
pub(crate) struct DataFile {
    /// The whole file.
    pub(crate) bytes: Bytes,
    checksum: u32,
    rows: u64,
    statistics: String,
}

/// A data file in the making, in memory.
pub(crate) struct Encoder {
    writer: ArrowWriter<Vec<u8>>,
    statistics: Statistics,
}

impl Encoder {
    /// Of rows of `schema`.
    pub(crate) fn new(schema: &SchemaRef) -> Result<Self, ParquetError> {
        let properties = properties(schema)?;
        Ok(Self {
            writer: ArrowWriter::try_new(Vec::new(), Arc::clone(schema), Some(properties))?,
            statistics: Statistics::new(schema),
        })
    }

    /// Add `rows`, which come in log order.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<(), ParquetError> {
        self.statistics.add(rows);
        self.writer.write(rows)
    }

    /// The whole file.
    pub(crate) fn finish(mut self) -> Result<DataFile, ParquetError> {
        self.writer.flush()?;
        let groups = self.writer.flushed_row_groups().iter();
        let written: i64 = groups.map(|group| group.num_rows()).sum();
        invariant!(
            FileHoldsItsRows,
            written.unsigned_abs() == self.statistics.rows() as u64,
            "{written} rows, {} counted",
            self.statistics.rows()
        );
        let bytes = Bytes::from(self.writer.into_inner()?);
        Ok(DataFile {
            checksum: crc32c::crc32c(&bytes),
            bytes,
            rows: self.statistics.rows() as u64,
            statistics: self.statistics.json(),
        })
    }
}

impl DataFile {
    /// Encode `rows`, which are in log order.
    pub(crate) fn encode(rows: &RecordBatch) -> Result<Self, ParquetError> {
        let mut encoder = Encoder::new(&rows.schema())?;
        encoder.write(rows)?;
        encoder.finish()
    }

    /// The action that adds the file at `path` (relative to the table).
    pub(crate) fn add(&self, path: &str, now_ms: i64) -> Add {
        let mut tags = HashMap::from([
            (CHECKSUM_TAG.to_owned(), Some(checksum_text(self.checksum))),
            (ORDER_TAG.to_owned(), Some(ORDER_LOG.to_owned())),
        ]);
        let mut add = Add {
            path: path.to_owned(),
            partition_values: HashMap::new(),
            size: i64::try_from(self.bytes.len()).expect("no buffer is longer than isize::MAX"),
            modification_time: now_ms,
            data_change: true,
            stats: Some(self.statistics.clone()),
            tags: Some(tags.clone()),
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
        };
        let facts = FileFacts::of(&add).expect("our statistics count the rows");
        invariant!(
            FileHoldsItsRows,
            facts.rows == self.rows,
            "{path}: {} rows, the log is told {}",
            self.rows,
            facts.rows
        );
        tags.insert(FACTS_TAG.to_owned(), Some(facts.sum()));
        add.tags = Some(tags);
        add
    }
}

fn properties(schema: &Schema) -> Result<WriterProperties, ParquetError> {
    let mut floats = Vec::new();
    for field in schema.fields() {
        walk(field, &mut Vec::new(), &mut floats);
    }
    let mut properties = WriterProperties::builder()
        .set_compression(compression()?)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_created_by(concat!("forebay ", env!("CARGO_PKG_VERSION")).to_owned());
    for path in floats {
        properties = properties.set_column_statistics_enabled(path, EnabledStatistics::None);
    }
    Ok(properties.build())
}

/// Collect the paths of the leaves below `field` that hold floats.
fn walk(field: &Arc<Field>, path: &mut Vec<String>, floats: &mut Vec<ColumnPath>) {
    path.push(field.name().clone());
    match field.data_type() {
        DataType::Struct(children) => children.iter().for_each(|child| walk(child, path, floats)),
        DataType::Float64 => floats.push(ColumnPath::new(path.clone())),
        _ => {}
    }
    path.pop();
}
