//! What a monitor reads of the log, in one shape whether it comes from the reader or from the
//! archive: rows of a source with their partitions and offsets. Within a partition rows come in log
//! order; between partitions and sources in any.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, PrimitiveArray, RecordBatch, UInt32Array};
use arrow_select::take::take_record_batch;
use forebay_core::PortError;
use forebay_core::ports::SourceBatch;
use forebay_core::source::{SourceDef, meta};

use crate::error::Result;

/// Rows of one source.
#[derive(Debug, Clone)]
pub struct SourceRows {
    /// The source.
    pub source: Arc<SourceDef>,
    /// Its columns, by name; others may stand beside them.
    pub rows: RecordBatch,
    /// The partition of each row.
    pub partition: Vec<i32>,
    /// Its offset.
    pub offset: Vec<i64>,
}

impl SourceRows {
    /// What the reader brought.
    #[must_use]
    pub fn read(batch: &SourceBatch) -> Self {
        let partitions = &batch.origin.partitions;
        let slots = batch.origin.partition.iter();
        Self {
            source: Arc::clone(&batch.source),
            rows: batch.rows.clone(),
            partition: slots
                .map(|slot| partitions[*slot as usize].partition)
                .collect(),
            offset: batch.origin.offset.clone(),
        }
    }

    /// What the archive has of `source`.
    ///
    /// # Errors
    /// The rows lack the columns of [`meta`].
    pub fn archived(source: &Arc<SourceDef>, rows: RecordBatch) -> Result<Self> {
        let lacks = |name: &str| {
            PortError::internal(format!("the archive of {} lacks {name}", source.name))
        };
        let partition = rows
            .column_by_name(meta::PARTITION)
            .and_then(|c| c.as_primitive_opt::<Int32Type>())
            .ok_or_else(|| lacks(meta::PARTITION))?;
        let offset = rows
            .column_by_name(meta::OFFSET)
            .and_then(|c| c.as_primitive_opt::<Int64Type>())
            .ok_or_else(|| lacks(meta::OFFSET))?;
        Ok(Self {
            source: Arc::clone(source),
            partition: partition.values().to_vec(),
            offset: offset.values().to_vec(),
            rows,
        })
    }

    /// Event times of the rows.
    ///
    /// # Errors
    /// The column is missing or no timestamp, or a time is NULL, which no source lets pass.
    pub(crate) fn times(&self) -> Result<&PrimitiveArray<TimestampMicrosecondType>> {
        let name = &self.source.columns[self.source.time_column].name;
        let times = self.rows.column_by_name(name);
        let times = times.and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
        let lacks = || PortError::internal(format!("rows of {} lack {name}", self.source.name));
        Ok(times
            .filter(|times| times.null_count() == 0)
            .ok_or_else(lacks)?)
    }

    /// These of its rows, ascending.
    pub(crate) fn pick(&self, rows: &[u32]) -> Result<Self> {
        let taken = take_record_batch(&self.rows, &UInt32Array::from(rows.to_vec()));
        let taken = taken.map_err(|e| PortError::internal(format!("rows cannot be taken: {e}")))?;
        Ok(Self {
            source: Arc::clone(&self.source),
            rows: taken,
            partition: rows.iter().map(|r| self.partition[*r as usize]).collect(),
            offset: rows.iter().map(|r| self.offset[*r as usize]).collect(),
        })
    }
}
