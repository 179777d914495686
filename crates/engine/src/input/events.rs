//! Events of a source from its table: Parquet files or batches in memory, in the order in which
//! they are named, a batch at a time, only the columns that are asked for. A column of another type
//! is cast where no value is lost; a column that is missing is an error that names the file and the
//! column.
//!
//! The archive's own columns say where each row stood in the log. Plain files have none: their rows
//! are partition 0 and are numbered through all files in order, so that ties of event time break
//! the same way in every lowering. `_late` is not read: a late row counts like any other (see
//! [`crate::probe`]).

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    new_null_array,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use forebay_core::ports::TableInput;
use forebay_core::source::{SourceDef, meta};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::cast::{conform, sql_name};
use crate::error::{EngineError, Result};

/// Rows decoded at a time.
const BATCH_ROWS: usize = 8_192;

/// Events with their places in the log.
#[derive(Debug)]
pub(crate) struct EventBatch {
    /// The source's columns, in its order and of its types; columns that nobody asked for are NULL.
    pub(crate) rows: RecordBatch,
    /// Kafka partition.
    pub(crate) partition: Int32Array,
    /// Kafka offset.
    pub(crate) offset: Int64Array,
    /// Kafka topic; None where the table does not say: the source's own.
    pub(crate) topic: Option<StringArray>,
}

/// For each column of `source` whether `plan` names it; the event time always counts as named.
pub(crate) fn referenced_columns(plan: &LogicalPlan, source: &SourceDef) -> Result<Vec<bool>> {
    let mut named: Vec<bool> = (0..source.columns.len())
        .map(|index| index == source.time_column)
        .collect();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            for column in expr.column_refs() {
                if let Some(index) = source.columns.iter().position(|c| c.name == column.name) {
                    named[index] = true;
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })
    .map_err(|e| {
        EngineError::Internal(format!(
            "the columns of a plan over source {}: {e}",
            source.name
        ))
    })?;
    Ok(named)
}

/// Reads one table of one source.
#[derive(Debug)]
pub(crate) struct TableReader<'a> {
    source: &'a SourceDef,
    needed: &'a [bool],
    /// The source's columns, all nullable: those that nobody asked for are NULL.
    schema: SchemaRef,
    /// Rows so far, over all files.
    rows: i64,
}

impl<'a> TableReader<'a> {
    /// A reader of the columns of `source` that are marked in `needed`.
    pub(crate) fn new(source: &'a SourceDef, needed: &'a [bool]) -> Self {
        let fields = source
            .columns
            .iter()
            .map(|c| Field::new(&c.name, c.data_type.clone(), true));
        Self {
            source,
            needed,
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            rows: 0,
        }
    }

    /// Call `each` with every batch of `input`, in order.
    pub(crate) fn read(
        mut self,
        input: &TableInput,
        each: &mut dyn FnMut(EventBatch) -> Result<()>,
    ) -> Result<()> {
        match input {
            TableInput::Parquet(files) => {
                files.iter().try_for_each(|file| self.read_file(file, each))
            }
            TableInput::Memory(batches) => {
                batches.iter().enumerate().try_for_each(|(number, batch)| {
                    let events = self.events(
                        batch,
                        &format!("batch {number} of table {}", self.source.name),
                    )?;
                    each(events)
                })
            }
        }
    }

    fn read_file(
        &mut self,
        path: &Path,
        each: &mut dyn FnMut(EventBatch) -> Result<()>,
    ) -> Result<()> {
        let unreadable = |e: Box<dyn std::error::Error + Send + Sync>| EngineError::File {
            path: path.to_owned(),
            source: e,
        };
        let file = File::open(path).map_err(|e| unreadable(e.into()))?;
        let builder =
            ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| unreadable(e.into()))?;
        let roots = builder.parquet_schema().root_schema().get_fields();
        let wanted: Vec<usize> = (0..roots.len())
            .filter(|root| self.is_wanted(roots[*root].name()))
            .collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
        let reader = builder
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|e| unreadable(e.into()))?;
        let owner = path.display().to_string();
        for batch in reader {
            each(self.events(&batch.map_err(|e| unreadable(e.into()))?, &owner)?)?;
        }
        Ok(())
    }

    fn is_wanted(&self, name: &str) -> bool {
        [meta::TOPIC, meta::PARTITION, meta::OFFSET].contains(&name)
            || self
                .source
                .columns
                .iter()
                .zip(self.needed)
                .any(|(column, needed)| *needed && column.name == name)
    }

    fn events(&mut self, batch: &RecordBatch, owner: &str) -> Result<EventBatch> {
        let rows = batch.num_rows();
        let mut columns = Vec::with_capacity(self.source.columns.len());
        for (column, needed) in self.source.columns.iter().zip(self.needed) {
            if !needed {
                columns.push(new_null_array(&column.data_type, rows));
                continue;
            }
            let array = self.column(batch, &column.name, &column.data_type, owner)?;
            if !column.nullable && array.null_count() > 0 {
                return Err(EngineError::Input(format!(
                    "{owner}: column `{}` holds NULL, source {} declares it NOT NULL; leave such rows out",
                    column.name, self.source.name
                )));
            }
            columns.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let events = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|e| EngineError::Internal(format!("{owner}: {e}")))?;
        let (partition, offset) = self.places(batch, owner)?;
        let topic = match batch.column_by_name(meta::TOPIC) {
            Some(_) => Some(
                self.place(batch, meta::TOPIC, &DataType::Utf8, owner)?
                    .as_string::<i32>()
                    .clone(),
            ),
            None => None,
        };
        self.rows += rows_i64(rows);
        Ok(EventBatch {
            rows: events,
            partition,
            offset,
            topic,
        })
    }

    /// Partition and offset of each row; where the table has neither, partition 0 and the row's
    /// number.
    fn places(&self, batch: &RecordBatch, owner: &str) -> Result<(Int32Array, Int64Array)> {
        let rows = batch.num_rows();
        let has = |name| batch.column_by_name(name).is_some();
        match (has(meta::PARTITION), has(meta::OFFSET)) {
            (true, true) => {
                let partition = self.place(batch, meta::PARTITION, &DataType::Int32, owner)?;
                let offset = self.place(batch, meta::OFFSET, &DataType::Int64, owner)?;
                Ok((
                    partition.as_primitive::<Int32Type>().clone(),
                    offset.as_primitive::<Int64Type>().clone(),
                ))
            }
            (false, false) => {
                let end = self.rows + rows_i64(rows);
                Ok((
                    Int32Array::from(vec![0; rows]),
                    Int64Array::from_iter_values(self.rows..end),
                ))
            }
            (partition, _) => {
                let (there, lacking) = if partition {
                    (meta::PARTITION, meta::OFFSET)
                } else {
                    (meta::OFFSET, meta::PARTITION)
                };
                Err(EngineError::Input(format!(
                    "{owner} has column `{there}` and lacks `{lacking}`; a row's place in the log needs both or neither"
                )))
            }
        }
    }

    /// A column of the archive's own, which is never NULL.
    fn place(
        &self,
        batch: &RecordBatch,
        name: &str,
        data_type: &DataType,
        owner: &str,
    ) -> Result<ArrayRef> {
        let array = self.column(batch, name, data_type, owner)?;
        if array.null_count() > 0 {
            return Err(EngineError::Input(format!(
                "{owner}: column `{name}` holds NULL; was it written by Forebay?"
            )));
        }
        Ok(array)
    }

    fn column(
        &self,
        batch: &RecordBatch,
        name: &str,
        data_type: &DataType,
        owner: &str,
    ) -> Result<ArrayRef> {
        let source = &self.source.name;
        let array = batch.column_by_name(name).ok_or_else(|| {
            EngineError::Input(format!(
                "{owner} has no column `{name}` {}, which source {source} needs",
                sql_name(data_type)
            ))
        })?;
        conform(array, data_type).map_err(|why| {
            EngineError::Input(format!(
                "{owner}: column `{name}` is {}, source {source} declares {}{why}",
                array.data_type(),
                sql_name(data_type)
            ))
        })
    }
}

/// Rows of a batch as offsets count them.
fn rows_i64(rows: usize) -> i64 {
    i64::try_from(rows).expect("a batch lies in memory")
}
