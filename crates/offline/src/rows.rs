//! The rows of one append: brought into the table's shape, checked against the offsets that they
//! claim, cut at the marks, in log order. Pure: reads nothing, writes nothing.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondArray, new_null_array,
};
use arrow_ord::sort::{SortColumn, lexsort_to_indices};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter_record_batch;
use arrow_select::take::take_record_batch;
use forebay_core::invariant;
use forebay_core::progress::{Applied, TopicPartition};
use forebay_core::source::meta;
use forebay_core::time::Micros;

use crate::error::OfflineError;
use crate::marks::Marks;

/// One batch with the table's columns but `_ingest_time`, in the table's order. Columns are matched
/// by name; one that the table has not is an error, one that only the table has is NULL where it
/// may be. An error is a row at or above its partition's
/// `up_to`: the next append would doubt it.
pub(crate) fn align(
    table: &str,
    schema: &Schema,
    batches: &[RecordBatch],
    up_to: &Applied,
) -> Result<RecordBatch, OfflineError> {
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .filter(|f| f.name() != meta::INGEST_TIME)
        .cloned()
        .collect();
    let target: SchemaRef = Arc::new(Schema::new(fields));
    let mut aligned = Vec::with_capacity(batches.len());
    for batch in batches.iter().filter(|b| b.num_rows() > 0) {
        let unknown = |f: &&Arc<arrow_schema::Field>| schema.column_with_name(f.name()).is_none();
        if let Some(extra) = batch.schema().fields().iter().find(unknown) {
            return Err(OfflineError::bad_rows(
                table,
                format!("the table has no column `{}`", extra.name()),
            ));
        }
        let columns = target.fields().iter().map(|field| {
            let column = match batch.column_by_name(field.name()) {
                Some(column) => column,
                // The source no longer has it.
                None if field.is_nullable() => {
                    return Ok(new_null_array(field.data_type(), batch.num_rows()));
                }
                None => {
                    let why = format!("column `{}` is missing", field.name());
                    return Err(OfflineError::bad_rows(table, why));
                }
            };
            if column.data_type() != field.data_type() {
                let (is, wanted) = (column.data_type(), field.data_type());
                return Err(OfflineError::bad_rows(
                    table,
                    format!("column `{}` is {is} and not {wanted}", field.name()),
                ));
            }
            Ok(Arc::clone(column))
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
        aligned.push(
            RecordBatch::try_new(Arc::clone(&target), columns).map_err(|e| refused(table, &e))?,
        );
    }
    let rows = concat_batches(&target, &aligned).map_err(|e| refused(table, &e))?;
    let given: usize = batches.iter().map(RecordBatch::num_rows).sum();
    invariant!(
        PartsMakeTheWhole,
        rows.num_rows() == given,
        "table {table}: {} of {given} rows",
        rows.num_rows()
    );
    check_offsets(table, &rows, up_to)?;
    Ok(rows)
}

fn check_offsets(table: &str, rows: &RecordBatch, up_to: &Applied) -> Result<(), OfflineError> {
    let places = Places::of(rows);
    let ends = places.marks(|partition| up_to.next_offset(partition));
    let Some(row) = (0..rows.num_rows()).find(|row| places.offset.value(*row) >= ends[*row]) else {
        return Ok(());
    };
    Err(OfflineError::bad_rows(
        table,
        format!(
            "row {row} stands at offset {} of {}/{}, which this append covers up to {} only",
            places.offset.value(row),
            places.topic.value(row),
            places.partition.value(row),
            ends[row]
        ),
    ))
}

/// The rows that the marks do not cover yet.
pub(crate) fn above(
    table: &str,
    rows: &RecordBatch,
    marks: &Marks,
) -> Result<RecordBatch, OfflineError> {
    let places = Places::of(rows);
    let next = places.marks(|partition| marks.next_offset(partition));
    let keep: BooleanArray = next
        .iter()
        .zip(places.offset.values())
        .map(|(next, at)| Some(at >= next))
        .collect();
    if keep.true_count() == rows.num_rows() {
        return Ok(rows.clone());
    }
    filter_record_batch(rows, &keep).map_err(|e| refused(table, &e))
}

/// The rows in log order: as they came where the offsets of each partition ascend, else sorted by
/// where they stand. A caller that brings rows as they were read keeps the interleaving of its
/// partitions.
pub(crate) fn in_log_order(table: &str, rows: &RecordBatch) -> Result<RecordBatch, OfflineError> {
    let places = Places::of(rows);
    let mut greatest: HashMap<(&str, i32), i64> = HashMap::new();
    let ascends = places.runs().all(|run| {
        let greatest = greatest.entry((run.topic, run.partition)).or_insert(-1);
        run.offsets.iter().all(|offset| {
            let ascends = offset > greatest;
            *greatest = *offset;
            ascends
        })
    });
    if ascends {
        return Ok(rows.clone());
    }
    let by: Vec<SortColumn> = [meta::TOPIC, meta::PARTITION, meta::OFFSET]
        .iter()
        .filter_map(|name| rows.column_by_name(name))
        .map(|column| SortColumn {
            values: Arc::clone(column),
            options: None,
        })
        .collect();
    let indices = lexsort_to_indices(&by, None).map_err(|e| refused(table, &e))?;
    let sorted = take_record_batch(rows, &indices).map_err(|e| refused(table, &e))?;
    invariant!(
        RowsInLogOrder,
        Places::of(&sorted)
            .runs()
            .all(|run| run.offsets.is_sorted_by(|a, b| a < b)),
        "table {table}: one of {} rows is there twice",
        sorted.num_rows()
    );
    Ok(sorted)
}

/// The rows in the table's full schema, all with the same `_ingest_time`.
pub(crate) fn with_ingest_time(
    table: &str,
    rows: &RecordBatch,
    schema: &SchemaRef,
    ingest_time_us: Micros,
) -> Result<RecordBatch, OfflineError> {
    let time: ArrayRef = Arc::new(
        TimestampMicrosecondArray::from_value(ingest_time_us, rows.num_rows()).with_timezone("UTC"),
    );
    let columns = schema.fields().iter().map(|field| {
        rows.column_by_name(field.name())
            .map_or_else(|| Arc::clone(&time), Arc::clone)
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect()).map_err(|e| refused(table, &e))
}

fn refused(table: &str, error: &ArrowError) -> OfflineError {
    OfflineError::bad_rows(table, error.to_string())
}

/// The places of rows in their order, as one number: two streams of the same rows have the same,
/// however they are cut into batches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PlaceDigest {
    rows: u64,
    crc: u32,
}

impl PlaceDigest {
    /// The next rows.
    pub(crate) fn add(&mut self, rows: &RecordBatch) {
        for run in Places::of(rows).runs() {
            let partition = run.partition.to_le_bytes();
            for offset in run.offsets {
                self.crc = crc32c::crc32c_append(self.crc, run.topic.as_bytes());
                self.crc = crc32c::crc32c_append(self.crc, &partition);
                self.crc = crc32c::crc32c_append(self.crc, &offset.to_le_bytes());
            }
        }
        self.rows += rows.num_rows() as u64;
    }

    /// How many there were.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }
}

/// Where rows stand in their log.
pub(crate) struct Places<'a> {
    pub(crate) topic: &'a arrow_array::StringArray,
    pub(crate) partition: &'a arrow_array::Int32Array,
    pub(crate) offset: &'a arrow_array::Int64Array,
}

/// Neighbouring rows of one partition.
pub(crate) struct Run<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offsets: &'a [i64],
}

impl<'a> Places<'a> {
    /// Of rows that have the columns of their log, of these types (`schema::table_schema` saw to
    /// it).
    pub(crate) fn of(rows: &'a RecordBatch) -> Self {
        let column = |name: &str| {
            rows.column_by_name(name)
                .expect("every table has the columns of its log")
        };
        Self {
            topic: column(meta::TOPIC).as_string(),
            partition: column(meta::PARTITION).as_primitive::<Int32Type>(),
            offset: column(meta::OFFSET).as_primitive::<Int64Type>(),
        }
    }

    /// The rows cut where the partition changes.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Run<'a>> + '_ {
        let mut from = 0;
        std::iter::from_fn(move || {
            let rows = self.offset.len();
            if from >= rows {
                return None;
            }
            let (topic, partition) = (self.topic.value(from), self.partition.value(from));
            let same = |row: &usize| {
                self.partition.value(*row) == partition && self.topic.value(*row) == topic
            };
            let to = (from + 1..rows).find(|row| !same(row)).unwrap_or(rows);
            let run = Run {
                topic,
                partition,
                offsets: &self.offset.values()[from..to],
            };
            from = to;
            Some(run)
        })
    }

    /// For each row what `mark` says of its partition; asked once for each run of rows of one
    /// partition.
    pub(crate) fn marks(&self, mark: impl Fn(&TopicPartition) -> i64) -> Vec<i64> {
        let marks: Vec<i64> = self
            .runs()
            .flat_map(|run| {
                let mark = mark(&TopicPartition::new(run.topic, run.partition));
                std::iter::repeat_n(mark, run.offsets.len())
            })
            .collect();
        invariant!(
            PartsMakeTheWhole,
            marks.len() == self.offset.len(),
            "{} marks for {} rows",
            marks.len(),
            self.offset.len()
        );
        marks
    }
}
