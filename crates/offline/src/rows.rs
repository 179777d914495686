//! The rows of one append: brought into the table's shape, checked against the offsets that they
//! claim, cut at the marks, sorted. Pure: reads nothing, writes nothing.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow_ord::sort::{SortColumn, lexsort_to_indices};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter_record_batch;
use arrow_select::take::take_record_batch;
use forebay_core::progress::{Applied, TopicPartition};
use forebay_core::source::meta;
use forebay_core::time::Micros;

use crate::error::OfflineError;
use crate::marks::Marks;

/// One batch with the table's columns but `_ingest_time`, in the table's order. Columns are matched
/// by name; one that the table has not is an error, and so is a row at or above its partition's
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
            let column = batch.column_by_name(field.name());
            let column = column.ok_or_else(|| {
                OfflineError::bad_rows(table, format!("column `{}` is missing", field.name()))
            })?;
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

/// The rows sorted by `order` and then by where they stand; also the indices of those columns.
pub(crate) fn sort(
    table: &str,
    rows: &RecordBatch,
    order: &[String],
) -> Result<(RecordBatch, Vec<usize>), OfflineError> {
    let schema = rows.schema();
    let mut by = Vec::with_capacity(order.len() + 3);
    for name in order
        .iter()
        .map(String::as_str)
        .chain([meta::TOPIC, meta::PARTITION, meta::OFFSET])
    {
        let (index, _) = schema.column_with_name(name).ok_or_else(|| {
            OfflineError::bad_rows(table, format!("it is sorted by `{name}`, which it has not"))
        })?;
        if !by.contains(&index) {
            by.push(index);
        }
    }
    let columns: Vec<SortColumn> = by
        .iter()
        .map(|i| SortColumn {
            values: Arc::clone(rows.column(*i)),
            options: None,
        })
        .collect();
    let indices = lexsort_to_indices(&columns, None).map_err(|e| refused(table, &e))?;
    let sorted = take_record_batch(rows, &indices).map_err(|e| refused(table, &e))?;
    Ok((sorted, by))
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

/// Where rows stand in their log.
struct Places<'a> {
    topic: &'a arrow_array::StringArray,
    partition: &'a arrow_array::Int32Array,
    offset: &'a arrow_array::Int64Array,
}

impl<'a> Places<'a> {
    /// Of aligned rows: the columns are there and of these types (`schema::table_schema` saw to
    /// it).
    fn of(rows: &'a RecordBatch) -> Self {
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

    /// For each row what `mark` says of its partition; asked once for each run of rows of one
    /// partition.
    fn marks(&self, mark: impl Fn(&TopicPartition) -> i64) -> Vec<i64> {
        let mut run: Option<(&str, i32, i64)> = None;
        (0..self.offset.len())
            .map(|row| {
                let (topic, partition) = (self.topic.value(row), self.partition.value(row));
                match run {
                    Some((t, p, mark)) if t == topic && p == partition => mark,
                    _ => {
                        let mark = mark(&TopicPartition::new(topic, partition));
                        run = Some((topic, partition, mark));
                        mark
                    }
                }
            })
            .collect()
    }
}
