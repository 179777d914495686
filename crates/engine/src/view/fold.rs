//! From decoded rows of a source to what tiles fold: WHERE, NULL keys, arguments and FILTERs,
//! on whole columns.
//!
//! A row on which the WHERE or a FILTER has no value is left out of the view, with the reason;
//! so is one on which an argument has none, where a FILTER of an aggregate of that argument is
//! true, or there is no FILTER. What an argument is where no aggregate takes it is nobody's
//! business.
//!
//! The hot path of ingest: batches come from `kafka` through `pipeline`, which hands the result
//! to `online`; both offline lowerings fold archived rows by the same code. Where every row
//! counts, plain columns pass through without a copy.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::DataType;
use arrow_select::filter::{FilterBuilder, FilterPredicate};
use forebay_core::fault::RowFault;
use forebay_core::source::SourceDef;
use forebay_core::view::FoldBatch;
use forebay_core::{ErrorKind, PortError, PortResult};
use serde::{Deserialize, Serialize};

use crate::expression::{Columns, Program};
use crate::scalar::{Evaluated, Fault, Guards, SavedCode};

/// What a fold evaluates, over the source's columns.
#[derive(Debug)]
pub(super) struct FoldPlan {
    pub(super) predicate: Option<Program>,
    /// Key columns, as indices into the source's columns.
    pub(super) key: Vec<usize>,
    /// Arguments, then FILTERs.
    pub(super) values: Program,
    /// For each argument the FILTERs of the aggregates that take it; None: one takes it everywhere.
    pub(super) guards: Vec<Vec<Option<usize>>>,
}

/// A [`FoldPlan`] as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedFold {
    predicate: Option<SavedCode>,
    key: Vec<usize>,
    values: SavedCode,
    guards: Vec<Vec<Option<usize>>>,
}

impl SavedFold {
    /// The fold of `object` over the columns of `source`.
    ///
    /// # Errors
    /// It is none of this build, or of other columns.
    pub(super) fn restored(&self, object: &str, source: &SourceDef) -> Result<Fold, String> {
        let types = source.columns.iter().map(|c| c.data_type.clone());
        let types: Vec<DataType> = types.collect();
        let program = |saved: &SavedCode| Program::restored(object, saved, &types);
        if self.key.iter().any(|column| *column >= types.len()) {
            return Err("a key column is not there".to_owned());
        }
        let plan = FoldPlan {
            predicate: self.predicate.as_ref().map(program).transpose()?,
            key: self.key.clone(),
            values: program(&self.values)?,
            guards: self.guards.clone(),
        };
        Ok(Fold::of(object, source, plan))
    }
}

/// Compiled; see the module.
#[derive(Debug)]
pub(super) struct Fold {
    object: String,
    /// The source's columns that anything reads, ascending; all indices below point into these.
    needed: Vec<usize>,
    columns: Columns,
    /// Those that something behind the WHERE reads.
    kept: Vec<bool>,
    predicate: Option<Program>,
    key: Vec<usize>,
    time: usize,
    time_name: String,
    values: Program,
    guards: Vec<Vec<Option<usize>>>,
}

impl Fold {
    pub(super) fn of(object: &str, source: &SourceDef, plan: FoldPlan) -> Self {
        let mut needed: Vec<usize> = plan
            .values
            .reads()
            .chain(plan.predicate.iter().flat_map(Program::reads))
            .chain(plan.key.iter().copied())
            .chain([source.time_column])
            .collect();
        needed.sort_unstable();
        needed.dedup();
        let place = |index: usize| {
            needed
                .binary_search(&index)
                .expect("all that is read is among the needed")
        };
        let key: Vec<usize> = plan.key.iter().map(|i| place(*i)).collect();
        let time = place(source.time_column);
        let values = plan.values.moved(place);
        let predicate = plan.predicate.map(|predicate| predicate.moved(place));
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
        let columns = Columns::new(format!("source {}", source.name), columns.collect());
        Self {
            object: object.to_owned(),
            columns,
            kept,
            predicate,
            key,
            time,
            time_name: source.columns[source.time_column].name.clone(),
            values,
            guards: plan.guards,
            needed,
        }
    }

    /// It as data; None where a constant is of no type of ours.
    pub(super) fn saved(&self) -> Option<SavedFold> {
        let over_source = |program: &Program| program.clone().moved(|place| self.needed[place]);
        let predicate = match &self.predicate {
            Some(predicate) => Some(over_source(predicate).saved()?),
            None => None,
        };
        Some(SavedFold {
            predicate,
            key: self.key.iter().map(|place| self.needed[*place]).collect(),
            values: over_source(&self.values).saved()?,
            guards: self.guards.clone(),
        })
    }

    /// The source's columns that it reads, ascending.
    pub(super) fn reads(&self) -> &[usize] {
        &self.needed
    }

    /// The programs that it runs over events.
    pub(super) fn programs(&self) -> impl Iterator<Item = (&Program, &Guards)> {
        let none: &Guards = &[];
        let predicate = self.predicate.iter().map(move |program| (program, none));
        predicate.chain([(&self.values, self.guards.as_slice())])
    }

    /// Whether there is a WHERE that is not simply true.
    pub(super) fn is_filtered(&self) -> bool {
        self.predicate.is_some()
    }

    /// The rows that count.
    pub(super) fn run(&self, batch: &RecordBatch) -> PortResult<FoldBatch> {
        let mut columns = self.columns.pick(batch)?;
        let mut left_out = Vec::new();
        let mut rows = batch.num_rows();
        let mut source_rows: Vec<u32> = match self.passing(&columns, rows, &mut left_out)? {
            None => (0..index(rows)?).collect(),
            Some(passing) => {
                let source_rows: Vec<u32> = passing.set_indices_u32().collect();
                rows = source_rows.len();
                self.keep(&mut columns, passing)?;
                source_rows
            }
        };
        if columns[self.time].null_count() > 0 {
            return Err(PortError::invalid(format!(
                "{}: event time {} is NULL in a row",
                self.object, self.time_name
            )));
        }
        let mut values = self.values.run(&columns, rows)?;
        let failed = self.failed(&values);
        if !failed.is_empty() {
            let row_faults = failed.iter().map(|fault| {
                let row = source_rows[fault.row as usize];
                row_fault(&self.values, row, *fault)
            });
            left_out.extend(row_faults);
            left_out.sort_by_key(|fault| fault.row);
            let mut failed = failed.iter().peekable();
            let sound = BooleanBuffer::collect_bool(rows, |row| {
                failed.next_if(|fault| fault.row as usize == row).is_none()
            });
            source_rows = sound.set_indices().map(|row| source_rows[row]).collect();
            self.keep(&mut columns, sound.clone())?;
            let sound = predicate_of(sound);
            for value in &mut values {
                value.array = filtered(&sound, &value.array)?;
            }
        }
        let times = columns[self.time].as_primitive::<TimestampMicrosecondType>();
        let filters = values.split_off(self.guards.len());
        Ok(FoldBatch {
            keys: self
                .key
                .iter()
                .map(|index| Arc::clone(&columns[*index]))
                .collect(),
            times: times.clone(),
            arguments: values.into_iter().map(|value| value.array).collect(),
            filters: filters
                .iter()
                .map(|filter| filter.array.as_boolean().clone())
                .collect(),
            source_rows,
            left_out,
        })
    }

    /// The faults of arguments and FILTERs that count, one a row.
    fn failed(&self, values: &[Evaluated]) -> Vec<Fault> {
        if values.iter().all(|value| value.faults.is_empty()) {
            return Vec::new();
        }
        let (arguments, filters) = values.split_at(self.guards.len());
        let mut failed: Vec<Fault> = filters
            .iter()
            .flat_map(|filter| filter.faults.iter().copied())
            .collect();
        for (argument, guards) in arguments.iter().zip(&self.guards) {
            let taken = |row: usize| {
                guards.iter().any(|guard| match guard {
                    None => true,
                    Some(filter) => {
                        let filter = filters[*filter].array.as_boolean();
                        filter.is_valid(row) && filter.value(row)
                    }
                })
            };
            let reached = argument.faults.iter().copied();
            failed.extend(reached.filter(|fault| taken(fault.row as usize)));
        }
        // Stable: of a row, the first one stays.
        failed.sort_by_key(|fault| fault.row);
        failed.dedup_by_key(|fault| fault.row);
        failed
    }

    /// Rows where WHERE is true and no part of the key is NULL; None for all. Rows with a key on
    /// which WHERE has no value join `left_out`.
    fn passing(
        &self,
        columns: &[ArrayRef],
        rows: usize,
        left_out: &mut Vec<RowFault>,
    ) -> PortResult<Option<BooleanBuffer>> {
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
            let has_key = |fault: &&Fault| {
                let row = fault.row as usize;
                passing.as_ref().is_none_or(|keys| keys.value(row))
            };
            let failed = values[0].faults.iter().filter(has_key);
            left_out.extend(failed.map(|fault| row_fault(predicate, fault.row, *fault)));
            let values = values[0].array.as_boolean();
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
        let passing = predicate_of(passing);
        for (column, kept) in columns.iter_mut().zip(&self.kept) {
            if *kept {
                *column = filtered(&passing, column)?;
            }
        }
        Ok(())
    }
}

fn predicate_of(rows: BooleanBuffer) -> FilterPredicate {
    FilterBuilder::new(&BooleanArray::new(rows, None))
        .optimize()
        .build()
}

fn filtered(rows: &FilterPredicate, array: &ArrayRef) -> PortResult<ArrayRef> {
    rows.filter(array)
        .map_err(|e| PortError::with_source(ErrorKind::Internal, "filter a batch", e))
}

/// Row `row` of the batch cannot be folded.
fn row_fault(program: &Program, row: u32, fault: Fault) -> RowFault {
    RowFault {
        row,
        kind: fault.kind,
        what: program.text(fault),
    }
}

fn index(rows: usize) -> PortResult<u32> {
    u32::try_from(rows)
        .map_err(|_| PortError::invalid(format!("a batch of {rows} rows is too long; cut it")))
}
