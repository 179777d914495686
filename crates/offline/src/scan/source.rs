//! Where the next batch of a scan comes from: one file that is decoded as it is read, or rows that
//! are sorted first: those of several files together, and those of one whose order fails. Opening
//! compares the bytes with the checksum that was committed with them.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use arrow_select::interleave::interleave_record_batch;
use bytes::Bytes;
use forebay_core::cast::conform;
use forebay_core::invariant;
use forebay_core::ports::ScanOrder;
use forebay_core::source::meta;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use parquet::errors::ParquetError;

use super::held::Held;
use super::order::{LogOrder, disordered};
use super::plan::{Plan, is_place};
use super::runs::Runs;
use crate::blocking::blocking;
use crate::error::OfflineError;
use crate::facts::FileFacts;
use crate::parquet_file::{self, BATCH_ROWS, RangeReader, Types};
use crate::rows::Places;
use crate::sums::checksum_text;

/// Batches as they are decoded.
type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

/// Where the next batch of a scan comes from.
pub(super) enum Source {
    File {
        name: String,
        reader: Batches,
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
        if let [file] = group.as_slice()
            && let Some(streamed) = Self::streamed(plan, file).await?
        {
            return Ok(streamed);
        }
        let mut held = Held::of(plan);
        let mut batches = Vec::new();
        for file in &group {
            held.sorted_file(plan, file.size)?;
            let bytes = read_checked(&plan.table, plan.store.as_ref(), file).await?;
            let reader = decode(plan, file, bytes)?;
            let (reading, name) = (Arc::clone(plan), file.path.to_string());
            // Each batch is charged before the next one is decoded.
            let read = blocking(move || {
                for batch in reader {
                    let batch = batch.map_err(|e| unreadable(&reading.table, &name, &e.into()))?;
                    let batch = reading.whole(&reading.bounded(batch)?)?;
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

    /// `file` as it is read; None where its rows must be sorted first.
    async fn streamed(plan: &Arc<Plan>, file: &FileFacts) -> Result<Option<Self>, OfflineError> {
        let mut held = Held::of(plan);
        held.file(plan, file.size)?;
        let bytes = read_checked(&plan.table, plan.store.as_ref(), file).await?;
        let name = file.path.to_string();
        let reader: Batches = if plan.scan.order == ScanOrder::Any || file.in_log_order {
            Box::new(decode(plan, file, bytes)?)
        } else {
            let (reading, path) = (Arc::clone(plan), name.clone());
            let found = blocking(move || {
                let found = runs_in_order(&reading, &path, bytes, &mut held)?;
                Ok::<_, OfflineError>((found, held))
            });
            let found = found
                .await
                .map_err(|e| OfflineError::lost_task(&plan.table, e))?;
            let found = found?;
            held = found.1;
            match found.0 {
                Some(reader) => Box::new(reader),
                None => return Ok(None),
            }
        };
        Ok(Some(Self::File { name, reader, held }))
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

    /// `batch` with the plan's columns and those that place its rows, of whatever file it is.
    fn whole(&self, batch: &RecordBatch) -> Result<RecordBatch, OfflineError> {
        let places = batch.schema_ref().fields().iter();
        let places = places.filter(|f| self.schema.column_with_name(f.name()).is_none());
        let fields: Vec<_> = self.schema.fields().iter().chain(places).cloned().collect();
        self.columns(batch, Arc::new(Schema::new(fields)))
    }

    /// The plan's columns of `batch`.
    fn project(&self, batch: &RecordBatch) -> Result<RecordBatch, OfflineError> {
        self.columns(batch, Arc::clone(&self.schema))
    }

    /// The columns of `schema` of `batch`; one that the table has got since its file was written is
    /// NULL.
    fn columns(&self, batch: &RecordBatch, schema: SchemaRef) -> Result<RecordBatch, OfflineError> {
        let rows = batch.num_rows();
        let columns = schema.fields().iter().map(|field| {
            let name = field.name();
            match batch.column_by_name(name) {
                // Other writers lay arrays out otherwise.
                Some(column) if field.data_type().is_nested() => {
                    Ok(conform(column, field.data_type()).unwrap_or_else(|_| Arc::clone(column)))
                }
                Some(column) => Ok(Arc::clone(column)),
                None if field.is_nullable() => Ok(new_null_array(field.data_type(), rows)),
                None => Err(OfflineError::damaged(
                    &self.table,
                    format!("a file lacks column `{name}`; restore it from a backup"),
                )),
            }
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(schema, columns, &options).map_err(|e| self.refused(&e))
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

/// The rows of a file without our order tag, append by append; None where that does not put them
/// in log order. Their times and then their places are decoded first, and nothing is held but a
/// batch of them.
fn runs_in_order(
    plan: &Arc<Plan>,
    name: &str,
    bytes: Bytes,
    held: &mut Held,
) -> Result<Option<RangeReader>, OfflineError> {
    let refused = |e: ParquetError| unreadable(&plan.table, name, &e);
    let mut runs = Runs::default();
    let times = parquet_file::open(bytes.clone(), Types::Plain, |name| {
        name == meta::INGEST_TIME
    });
    for batch in times.map_err(refused)? {
        let batch = batch.map_err(|e| refused(e.into()))?;
        held.rows(plan, batch.get_array_memory_size())?;
        if !runs.add(&batch) {
            return Ok(None);
        }
    }
    let Some(ranges) = runs.in_order() else {
        return Ok(None);
    };
    let mut order = LogOrder::default();
    let places = parquet_file::open_ranges(bytes.clone(), ranges.clone(), is_place);
    for batch in places.map_err(refused)? {
        let batch = batch.map_err(|e| refused(e.into()))?;
        held.rows(plan, batch.get_array_memory_size())?;
        if !order.admit(&batch) {
            return Ok(None);
        }
    }
    let reader = parquet_file::open_ranges(bytes, ranges, |name| plan.reads(name));
    reader.map(Some).map_err(refused)
}

fn decode(
    plan: &Plan,
    file: &FileFacts,
    bytes: Bytes,
) -> Result<ParquetRecordBatchReader, OfflineError> {
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

fn unreadable(table: &str, file: &str, error: &ParquetError) -> OfflineError {
    OfflineError::damaged(
        table,
        format!(
            "file {file} is not what Parquet readers expect ({error}); restore it from a backup"
        ),
    )
}
