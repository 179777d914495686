//! Where the next batch of a scan comes from: one file that is decoded as it is read, or several
//! that are sorted first. Opening compares the bytes with the checksum that was committed with
//! them.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_schema::ArrowError;
use arrow_select::filter::filter_record_batch;
use arrow_select::interleave::interleave_record_batch;
use bytes::Bytes;
use forebay_core::invariant;
use forebay_core::ports::ScanOrder;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::held::Held;
use super::order::{LogOrder, disordered};
use super::plan::Plan;
use crate::blocking::blocking;
use crate::error::OfflineError;
use crate::facts::FileFacts;
use crate::parquet_file::{self, BATCH_ROWS, Types};
use crate::rows::Places;
use crate::sums::checksum_text;

/// Where the next batch of a scan comes from.
pub(super) enum Source {
    File {
        name: String,
        reader: ParquetRecordBatchReader,
        held: Held,
    },
    Sorted {
        batches: Vec<RecordBatch>,
        /// (batch, row), sorted.
        order: std::vec::IntoIter<(usize, usize)>,
        /// Given back with the rows.
        _held: Held,
    },
}

impl Source {
    /// Open the files of one group.
    pub(super) async fn open(
        plan: &Arc<Plan>,
        group: Vec<FileFacts>,
    ) -> Result<Self, OfflineError> {
        let sorts = plan.scan.order == ScanOrder::Log
            && (group.len() > 1 || group.iter().any(|file| !file.in_log_order));
        let mut held = Held::of(plan);
        if !sorts && let [file] = group.as_slice() {
            held.file(plan, file.size)?;
            let reader = decode(plan, file).await?;
            return Ok(Self::File {
                name: file.path.to_string(),
                reader,
                held,
            });
        }
        let mut batches = Vec::new();
        for file in &group {
            held.sorted_file(plan, file.size)?;
            let reader = decode(plan, file).await?;
            let (reading, name) = (Arc::clone(plan), file.path.to_string());
            // Each batch is charged before the next one is decoded.
            let read = blocking(move || {
                for batch in reader {
                    let batch = batch.map_err(|e| unreadable(&reading.table, &name, &e.into()))?;
                    let batch = reading.bounded(batch)?;
                    held.sorted_rows(&reading, sorted_bytes(&batch))?;
                    batches.push(batch);
                }
                Ok::<_, OfflineError>((held, batches))
            });
            let read = read
                .await
                .map_err(|e| OfflineError::lost_task(&plan.table, e))?;
            (held, batches) = read?;
        }
        held.sorted_file(plan, 0)?;
        let order = sorted(&batches);
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        invariant!(
            PartsMakeTheWhole,
            order.len() == rows,
            "table {}: {} of {rows} rows are sorted",
            plan.table,
            order.len()
        );
        let order = order.into_iter();
        Ok(Self::Sorted {
            batches,
            order,
            _held: held,
        })
    }

    /// The next batch of the plan's columns; None at the end.
    pub(super) fn next(
        &mut self,
        plan: &Plan,
        order: &mut LogOrder,
    ) -> Result<Option<RecordBatch>, OfflineError> {
        let batch = match self {
            Self::File { name, reader, held } => match reader.next() {
                None => return Ok(None),
                Some(batch) => {
                    let batch = batch.map_err(|e| unreadable(&plan.table, name, &e.into()))?;
                    held.rows(plan, batch.get_array_memory_size())?;
                    plan.bounded(batch)?
                }
            },
            Self::Sorted { batches, order, .. } => {
                let rows: Vec<_> = order.by_ref().take(BATCH_ROWS).collect();
                if rows.is_empty() {
                    return Ok(None);
                }
                let batches: Vec<&RecordBatch> = batches.iter().collect();
                interleave_record_batch(&batches, &rows).map_err(|e| plan.refused(&e))?
            }
        };
        if plan.scan.order == ScanOrder::Log && !order.admit(&batch) {
            return Err(disordered(&plan.table));
        }
        plan.project(&batch).map(Some)
    }
}

impl Plan {
    /// The rows of `batch` whose offsets are asked for.
    fn bounded(&self, batch: RecordBatch) -> Result<RecordBatch, OfflineError> {
        if self.scan.takes_all_offsets() {
            return Ok(batch);
        }
        let places = Places::of(&batch);
        let from = places.marks(|place| self.scan.from.next_offset(place));
        let below = self.scan.below.as_ref();
        let below = below.map(|below| places.marks(|place| below.next_offset(place)));
        let keep = places.offset.values().iter().enumerate().map(|(row, at)| {
            let below = below.as_ref().is_none_or(|below| *at < below[row]);
            Some(*at >= from[row] && below)
        });
        let keep: BooleanArray = keep.collect();
        if keep.true_count() == batch.num_rows() {
            return Ok(batch);
        }
        filter_record_batch(&batch, &keep).map_err(|e| self.refused(&e))
    }

    /// The plan's columns of `batch`.
    fn project(&self, batch: &RecordBatch) -> Result<RecordBatch, OfflineError> {
        let columns = self.schema.fields().iter().map(|field| {
            batch
                .column_by_name(field.name())
                .map(Arc::clone)
                .ok_or_else(|| {
                    OfflineError::damaged(
                        &self.table,
                        format!(
                            "a file lacks column `{}`; restore it from a backup",
                            field.name()
                        ),
                    )
                })
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|e| self.refused(&e))
    }

    fn refused(&self, error: &ArrowError) -> OfflineError {
        OfflineError::damaged(
            &self.table,
            format!("a file's rows do not fit it ({error}); restore the file from a backup"),
        )
    }
}

/// What `rows` take until they are handed on: themselves, and their places in the order.
fn sorted_bytes(rows: &RecordBatch) -> usize {
    rows.get_array_memory_size() + rows.num_rows() * size_of::<(usize, usize)>()
}

/// (batch, row) of every row, by topic, partition and offset.
fn sorted(batches: &[RecordBatch]) -> Vec<(usize, usize)> {
    let places: Vec<Places<'_>> = batches.iter().map(Places::of).collect();
    let mut order: Vec<(usize, usize)> = places
        .iter()
        .enumerate()
        .flat_map(|(batch, places)| (0..places.offset.len()).map(move |row| (batch, row)))
        .collect();
    order.sort_unstable_by_key(|(batch, row)| {
        let places = &places[*batch];
        (
            places.topic.value(*row),
            places.partition.value(*row),
            places.offset.value(*row),
        )
    });
    order
}

async fn decode(
    plan: &Arc<Plan>,
    file: &FileFacts,
) -> Result<ParquetRecordBatchReader, OfflineError> {
    let bytes = read_checked(&plan.table, plan.store.as_ref(), file).await?;
    parquet_file::open(bytes, Types::Plain, |name| plan.reads(name))
        .map_err(|e| unreadable(&plan.table, file.path.as_ref(), &e))
}

/// The bytes of `file`, which are those that were committed, as far as its commit says.
pub(crate) async fn read_checked(
    table: &str,
    store: &dyn ObjectStore,
    file: &FileFacts,
) -> Result<Bytes, OfflineError> {
    let failed = |source| OfflineError::unread(table, &file.path, source);
    let found = store.get(&file.path).await.map_err(failed)?;
    let bytes = found.bytes().await.map_err(failed)?;
    let Some(expected) = &file.checksum else {
        return Ok(bytes);
    };
    let whole = bytes.clone();
    let checksum = blocking(move || checksum_text(crc32c::crc32c(&whole)))
        .await
        .map_err(|e| OfflineError::lost_task(table, e))?;
    if checksum == *expected {
        return Ok(bytes);
    }
    Err(OfflineError::damaged(
        table,
        format!(
            "file {} has changed since it was written (its CRC-32C is {checksum} and was {expected}); \
             restore it from a backup",
            file.path
        ),
    ))
}

fn unreadable(table: &str, file: &str, error: &parquet::errors::ParquetError) -> OfflineError {
    OfflineError::damaged(
        table,
        format!(
            "file {file} is not what Parquet readers expect ({error}); restore it from a backup"
        ),
    )
}
