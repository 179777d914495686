//! One append's rows as one Parquet file: how it is encoded, its checksum, and the `add` action
//! that names it.
//!
//! Float columns carry no statistics, neither in Parquet nor in the log: writers and readers
//! disagree about NaN, and a reader that prunes by them loses rows.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field};
use bytes::Bytes;
use deltalake::kernel::Add;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::statistics;

/// Tag of an `add` action: CRC-32C of the whole file, eight hex digits.
pub(crate) const CHECKSUM_TAG: &str = "forebay.crc32c";
/// Rows of one row group.
const ROW_GROUP_ROWS: usize = 131_072;
/// zstd level: 1 compresses event data about as well as 3 and twice as fast.
const ZSTD_LEVEL: i32 = 1;

/// An encoded data file.
#[derive(Debug)]
pub(crate) struct DataFile {
    /// The whole file.
    pub(crate) bytes: Bytes,
    checksum: u32,
    statistics: String,
}

impl DataFile {
    /// Encode `rows`, which are sorted by the columns `order` (indices, ascending, NULLs first).
    pub(crate) fn encode(rows: &RecordBatch, order: &[usize]) -> Result<Self, ParquetError> {
        let mut bytes = Vec::with_capacity(rows.get_array_memory_size() / 4);
        let mut writer =
            ArrowWriter::try_new(&mut bytes, rows.schema(), Some(properties(rows, order)?))?;
        writer.write(rows)?;
        writer.close()?;
        let checksum = crc32c::crc32c(&bytes);
        Ok(Self {
            bytes: bytes.into(),
            checksum,
            statistics: statistics::json(rows),
        })
    }

    /// The action that adds the file at `path` (relative to the table).
    pub(crate) fn add(&self, path: &str, now_ms: i64) -> Add {
        Add {
            path: path.to_owned(),
            partition_values: HashMap::new(),
            size: i64::try_from(self.bytes.len()).unwrap_or(i64::MAX),
            modification_time: now_ms,
            data_change: true,
            stats: Some(self.statistics.clone()),
            tags: Some(HashMap::from([(
                CHECKSUM_TAG.to_owned(),
                Some(checksum_text(self.checksum)),
            )])),
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
        }
    }
}

/// How a checksum is written in a tag.
pub(crate) fn checksum_text(checksum: u32) -> String {
    format!("{checksum:08x}")
}

fn properties(rows: &RecordBatch, order: &[usize]) -> Result<WriterProperties, ParquetError> {
    let schema = rows.schema();
    let mut first_leaf = Vec::with_capacity(schema.fields().len());
    let mut floats = Vec::new();
    let mut leaves = 0;
    for field in schema.fields() {
        first_leaf.push(leaves);
        walk(field, &mut Vec::new(), &mut leaves, &mut floats);
    }
    let sorting = order.iter().filter_map(|column| {
        let column_idx = i32::try_from(*first_leaf.get(*column)?).ok()?;
        Some(SortingColumn {
            column_idx,
            descending: false,
            nulls_first: true,
        })
    });
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_sorting_columns(Some(sorting.collect()))
        .set_created_by(concat!("forebay ", env!("CARGO_PKG_VERSION")).to_owned());
    for path in floats {
        properties = properties.set_column_statistics_enabled(path, EnabledStatistics::None);
    }
    Ok(properties.build())
}

/// Count the Parquet leaves below `field` and collect the paths of those that hold floats.
fn walk(
    field: &Arc<Field>,
    path: &mut Vec<String>,
    leaves: &mut usize,
    floats: &mut Vec<ColumnPath>,
) {
    path.push(field.name().clone());
    match field.data_type() {
        DataType::Struct(children) => children
            .iter()
            .for_each(|child| walk(child, path, leaves, floats)),
        DataType::Float64 => {
            floats.push(ColumnPath::new(path.clone()));
            *leaves += 1;
        }
        _ => *leaves += 1,
    }
    path.pop();
}
