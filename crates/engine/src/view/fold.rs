//! From decoded rows of a source to what tiles fold: WHERE, NULL keys, arguments and FILTERs, on
//! whole columns.
//!
//! The hot path of ingest: batches come from `kafka` through `pipeline`, which hands the result to
//! `online`; the probe lowering folds archived rows by the same code. Where every row counts, plain
//! columns pass through without a copy.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, new_empty_array};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::DataType;
use arrow_select::filter::FilterBuilder;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use forebay_core::source::SourceDef;
use forebay_core::view::FoldBatch;
use forebay_core::{ErrorKind, PortError, PortResult};

use crate::expression::{Columns, Input, Program, schema_of, type_of};
use crate::session::Session;

/// What a fold evaluates, over the source's columns.
#[derive(Debug)]
pub(super) struct FoldPlan<'a> {
    pub(super) predicate: Option<&'a Expr>,
    /// Key columns, as indices into the source's columns.
    pub(super) key: &'a [usize],
    pub(super) arguments: &'a [Expr],
    pub(super) filters: &'a [Expr],
}

/// Compiled; see the module.
#[derive(Debug)]
pub(super) struct Fold {
    object: String,
    /// The source's columns that anything reads; all indices below point into these.
    columns: Columns,
    /// Those that something behind the WHERE reads.
    kept: Vec<bool>,
    predicate: Option<Program>,
    key: Vec<usize>,
    time: usize,
    time_name: String,
    /// Arguments, then FILTERs, and their types.
    values: Program,
    value_types: Vec<DataType>,
    arguments: usize,
}

impl Fold {
    pub(super) fn compile(
        session: &Session,
        object: &str,
        source: &SourceDef,
        plan: &FoldPlan<'_>,
    ) -> Result<Self> {
        let values: Vec<Expr> = plan.arguments.iter().chain(plan.filters).cloned().collect();
        let read: Vec<&str> = values
            .iter()
            .chain(plan.predicate)
            .flat_map(Expr::column_refs)
            .map(|column| column.name.as_str())
            .collect();
        let needed: Vec<usize> = (0..source.columns.len())
            .filter(|i| {
                plan.key.contains(i)
                    || *i == source.time_column
                    || read.contains(&source.columns[*i].name.as_str())
            })
            .collect();
        let inputs: Vec<Input> = needed
            .iter()
            .map(|i| &source.columns[*i])
            .map(|c| Input::plain(&c.name, &c.data_type))
            .collect();
        let place = |index: usize| {
            needed
                .iter()
                .position(|i| *i == index)
                .expect("keys and time are among the needed")
        };
        let program = |predicate: &Expr| {
            Program::compile(session, object, &inputs, std::slice::from_ref(predicate))
        };
        let predicate = plan.predicate.map(program).transpose()?;
        let key: Vec<usize> = plan.key.iter().map(|i| place(*i)).collect();
        let time = place(source.time_column);
        let schema = schema_of(&inputs)?;
        let types = values.iter().map(|value| type_of(session, value, &schema));
        let value_types = types.collect::<Result<_>>()?;
        let values = Program::compile(session, object, &inputs, &values)?;
        let mut kept = vec![false; needed.len()];
        values
            .reads()
            .chain(key.iter().copied())
            .chain([time])
            .for_each(|index| kept[index] = true);
        let columns = needed.iter().map(|i| {
            let column = &source.columns[*i];
            (*i, column.name.clone(), column.data_type.clone())
        });
        let columns = columns.collect();
        Ok(Self {
            object: object.to_owned(),
            columns: Columns::new(format!("source {}", source.name), columns),
            kept,
            predicate,
            key,
            time,
            time_name: source.columns[source.time_column].name.clone(),
            values,
            value_types,
            arguments: plan.arguments.len(),
        })
    }

    /// The rows that count.
    pub(super) fn run(&self, batch: &RecordBatch) -> PortResult<FoldBatch> {
        let mut columns = self.columns.pick(batch)?;
        let mut rows = batch.num_rows();
        let source_rows = match self.passing(&columns, rows)? {
            None => (0..index(rows)?).collect(),
            Some(passing) => {
                let source_rows: Vec<u32> = passing.set_indices_u32().collect();
                rows = source_rows.len();
                self.keep(&mut columns, passing)?;
                source_rows
            }
        };
        let times = columns[self.time]
            .as_primitive::<TimestampMicrosecondType>()
            .clone();
        if times.null_count() > 0 {
            return Err(PortError::invalid(format!(
                "{}: event time {} is NULL in a row",
                self.object, self.time_name
            )));
        }
        let mut arguments = self.values(&columns, rows)?;
        let filters = arguments.split_off(self.arguments);
        Ok(FoldBatch {
            keys: self
                .key
                .iter()
                .map(|index| Arc::clone(&columns[*index]))
                .collect(),
            times,
            arguments,
            filters: filters
                .iter()
                .map(|filter| filter.as_boolean().clone())
                .collect(),
            source_rows,
            left_out: Vec::new(),
        })
    }

    /// Arguments and FILTERs. Without a row nothing is evaluated: an expression may fail there that
    /// no row reaches.
    fn values(&self, columns: &[ArrayRef], rows: usize) -> PortResult<Vec<ArrayRef>> {
        if rows == 0 {
            return Ok(self.value_types.iter().map(new_empty_array).collect());
        }
        self.values.run(columns, rows)
    }

    /// Rows where WHERE is true and no part of the key is NULL; None for all.
    fn passing(&self, columns: &[ArrayRef], rows: usize) -> PortResult<Option<BooleanBuffer>> {
        if rows == 0 {
            return Ok(None);
        }
        let mut valid: Option<NullBuffer> = None;
        for index in &self.key {
            valid = NullBuffer::union(valid.as_ref(), columns[*index].nulls());
        }
        let mut passing = valid.map(NullBuffer::into_inner);
        if let Some(predicate) = &self.predicate {
            let values = predicate.run(columns, rows)?;
            let values = values[0].as_boolean();
            let mut truth = values.values().clone();
            if let Some(nulls) = values.nulls() {
                truth = &truth & nulls.inner();
            }
            passing = Some(passing.map_or_else(|| truth.clone(), |keys| &keys & &truth));
        }
        Ok(passing.filter(|passing| passing.count_set_bits() < rows))
    }

    /// Keep the passing rows of the columns that are read from here on.
    fn keep(&self, columns: &mut [ArrayRef], passing: BooleanBuffer) -> PortResult<()> {
        let filter = FilterBuilder::new(&BooleanArray::new(passing, None))
            .optimize()
            .build();
        for (column, kept) in columns.iter_mut().zip(&self.kept) {
            if *kept {
                *column = filter.filter(column).map_err(|e| {
                    PortError::with_source(ErrorKind::Internal, "filter a batch", e)
                })?;
            }
        }
        Ok(())
    }
}

fn index(rows: usize) -> PortResult<u32> {
    u32::try_from(rows)
        .map_err(|_| PortError::invalid(format!("a batch of {rows} rows is too long; cut it")))
}
