//! Events of a source from its table, a batch at a time as the table's stream brings them, only the
//! columns that are asked for. A column of another type is cast where no value is lost; a column
//! that is missing is an error that names the file (where the stream says it) and the column.
//!
//! The archive's own columns say where each row stood in the log. Plain files have none: their rows
//! are partition 0 and are numbered in the order in which they come, so that ties of event time
//! break the same way in every lowering. `_late` is not read: a late row counts like any other (see
//! [`crate::probe`]).

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    new_null_array,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use forebay_core::cast::conform;
use forebay_core::ports::{ORIGIN, RowStream, Scan};
use forebay_core::source::{SourceDef, meta, sql_name};
use futures::executor::block_on_stream;

use crate::error::{EngineError, Result};

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

/// What to read of the table of `source` for views that read the columns marked in `needed`: these,
/// and where each row stood in the log.
pub(crate) fn event_scan(source: &SourceDef, needed: &[bool]) -> Scan {
    let own = source.columns.iter().zip(needed);
    let own = own.filter_map(|(column, needed)| needed.then_some(column.name.as_str()));
    Scan::columns(own.chain([meta::TOPIC, meta::PARTITION, meta::OFFSET]))
}

/// Reads one table of one source.
#[derive(Debug)]
pub(crate) struct TableReader<'a> {
    source: &'a SourceDef,
    needed: &'a [bool],
    /// The source's columns, all nullable: those that nobody asked for are NULL.
    schema: SchemaRef,
    /// Rows so far.
    rows: i64,
    /// Whether the batch at hand is of a user's file.
    is_file: bool,
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
            is_file: false,
        }
    }

    /// Call `each` with every batch of `rows`, in order. Blocks: for threads of our own.
    pub(crate) fn read(
        mut self,
        rows: RowStream,
        each: &mut dyn FnMut(EventBatch) -> Result<()>,
    ) -> Result<()> {
        for (number, batch) in block_on_stream(rows).enumerate() {
            let batch = batch.map_err(EngineError::Port)?;
            let origin = batch.schema_ref().metadata().get(ORIGIN);
            self.is_file = origin.is_some();
            let owner = origin
                .cloned()
                .unwrap_or_else(|| format!("batch {number} of table {}", self.source.name));
            each(self.events(&batch, &owner)?)?;
        }
        Ok(())
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
            let array = self.admitted(array, &column.name, owner)?;
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

    /// The column `name` as the source's declared type admits it. The archive's rows are what was
    /// admitted when they came, and stay so; those of a user's file are judged here.
    fn admitted(&self, array: ArrayRef, name: &str, owner: &str) -> Result<ArrayRef> {
        let domain = self.source.domains.get(name).filter(|_| self.is_file);
        let Some(domain) = domain else {
            return Ok(array);
        };
        domain.admit_all(&array).map_err(|(row, found)| {
            let row = row.map_or_else(String::new, |row| {
                format!(" in row {} (counted from 0)", self.rows + rows_i64(row))
            });
            EngineError::Input(format!(
                "{owner}: column `{name}` is {domain} in source {}, the file has {found}{row}",
                self.source.name
            ))
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
